"""An unfinished download on disk: the bytes so far, and a record of what is known of the file they belong to.

``NAME.part`` holds the first bytes of the file, ``NAME.part.json`` the facts by which its source can be asked whether
it still is the same file. The facts are on disk before the first byte is, and are gone before they are wrong: a process
may be killed at any moment, and what it leaves behind is either used as it is or thrown away.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Self

from ndec_bench.atomic import write_text
from ndec_bench.errors import DataError, reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_VERSION = 1
_MOST_FACTS = 1 << 16
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Facts:
    """What a source said about a file: its size, the validators by which it tells versions apart, its SHA-256 (hex).

    Validators hold for one source; the digest, where it is published, for all of them.
    """

    size: int | None = None
    etag: str | None = None
    last_modified: str | None = None
    sha256: str | None = None

    @property
    def validator(self) -> str | None:
        """Return what If-Range can carry: a strong entity tag, else the date of the last change, else None."""
        strong = self.etag if self.etag and not self.etag.startswith("W/") else None
        return strong or self.last_modified

    def difference(self, other: Facts) -> str | None:
        """Return what shows that ``other`` is another file, in words; None if nothing does."""
        if None not in (self.size, other.size) and self.size != other.size:
            return f"its size was {self.size:,} bytes and is {other.size:,}"
        if self.sha256 and other.sha256:
            return None if self.sha256 == other.sha256 else "its published SHA-256 changed"
        if self.etag and other.etag:
            same = self.etag.removeprefix("W/") == other.etag.removeprefix("W/")
            return None if same else "its ETag changed"
        if self.last_modified and other.last_modified and self.last_modified != other.last_modified:
            return "its date changed"
        return None

    def vouches_for(self, other: Facts) -> bool:
        """Return whether ``other`` is certainly the same file: nothing differs, and a digest or a validator says so."""
        shared = {self.sha256, self.validator} & {other.sha256, other.validator} - {None}
        return self.difference(other) is None and bool(shared)


class PartFile:
    """The file ``path`` (``NAME.part``) while it grows; a context manager that closes it.

    Attributes
    ----------
    size
        Bytes on disk.
    facts
        What is known of the file they belong to; None if nothing is, and then ``size`` is 0.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.facts: Facts | None = None
        self._digest = hashlib.sha256()
        with self._disk():
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_symlink():  # none of ours is one, and what it points to is not ours to write to
                path.unlink()
            # Unbuffered, in append mode: what write() took is with the operating system and survives a kill.
            self._file = path.open("a+b", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        with self._disk():
            if self.path.is_file() and not self.path.stat().st_size and self.facts is None:
                discard(self.path)  # nothing came

    @property
    def name(self) -> str:
        """Return the name of the file once it is whole."""
        return self.path.name.removesuffix(".part")

    @property
    def sha256(self) -> str:
        """Return the SHA-256 (hex) of the bytes on disk."""
        return self._digest.hexdigest()

    def load(self) -> Iterator[int]:
        """Take up what is on disk; yield the bytes hashed so far while it is read.

        Bytes without readable facts are thrown away, as are bytes beyond the size of the file. Raises DataError if the
        disk fails.
        """
        facts = _read_facts(sidecar(self.path))
        with self._disk():
            found = self._file.seek(0, os.SEEK_END)
            if facts is None or (facts.size is not None and found > facts.size):
                self.drop()
                return
            self._file.seek(0)
            while block := self._file.read(_BLOCK):
                self._digest.update(block)
                self.size += len(block)
                yield self.size
        self.facts = facts if self.size else None

    def begin(self, facts: Facts) -> None:
        """Throw the bytes away and note the facts of the file whose bytes come next. Raises DataError."""
        self.drop()
        text = json.dumps({"version": _VERSION, **asdict(facts)}, indent=1, sort_keys=True)
        write_text(sidecar(self.path), f"{text}\n")
        self.facts = facts

    def drop(self) -> None:
        """Throw the bytes away. Raises DataError if the disk fails."""
        with self._disk():
            self.facts, self.size, self._digest = None, 0, hashlib.sha256()
            if self._file.seek(0, os.SEEK_END):
                self._file.truncate(0)

    def size_on_disk(self) -> int:
        """Return the bytes on disk, of which `load` may have taken up only some. Raises DataError."""
        with self._disk():
            return self.path.stat().st_size

    def append(self, piece: bytes) -> None:
        """Write ``piece`` at the end. Raises DataError if the disk is full or fails; what fitted stays."""
        view = memoryview(piece)
        with self._disk():
            while view:
                # A write that is cut short on a full disk has written something: it counts.
                written = self._file.write(view) or 0
                self._digest.update(view[:written])
                self.size += written
                view = view[written:]

    def flush(self) -> None:
        """Return when the bytes are on the disk itself. Raises DataError if the disk fails."""
        with self._disk():
            os.fsync(self._file.fileno())

    def remove(self) -> None:
        """Remove the file and its facts: they are of no use. The object must not be written to any more."""
        with self._disk():
            self._file.close()
            discard(self.path)

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._error(error) from error

    def _error(self, error: OSError) -> DataError:
        folder = self.path.parent
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return DataError(
                f"{self.name}: no space left in {folder} after {self.size:,} bytes{self._expected()}",
                hint="free disk space and run again: it goes on where it stopped",
            )
        if error.errno == errno.EFBIG:
            return DataError(
                f"{self.name}: {folder} takes no file beyond {self.size:,} bytes{self._expected()}",
                hint="choose a folder on another file system with --root, or lift the limit (ulimit -f)",
            )
        return DataError(
            f"{self.name}: {self.path} cannot be used ({reason(error)})",
            hint="choose another folder with --root, or repair this one",
        )

    def _expected(self) -> str:
        return f" of {self.facts.size:,}" if self.facts and self.facts.size is not None else ""


def sidecar(part: Path) -> Path:
    """Return where the facts of an unfinished download are kept: ``NAME.part.json``."""
    return part.with_name(f"{part.name}.json")


def discard(part: Path) -> None:
    """Remove an unfinished download and its facts, so far as they are there."""
    # The bytes first: facts without bytes are harmless.
    part.unlink(missing_ok=True)
    sidecar(part).unlink(missing_ok=True)


def _read_facts(path: Path) -> Facts | None:
    """Return the facts in ``path``; None if it is missing, torn or not ours."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(_MOST_FACTS))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or found.get("version") != _VERSION:
        return None
    size, texts = found.get("size"), [found.get(key) for key in ("etag", "last_modified", "sha256")]
    if not (size is None or (type(size) is int and size >= 0)):
        return None
    if not all(text is None or isinstance(text, str) for text in texts):
        return None
    return Facts(size, *texts)
