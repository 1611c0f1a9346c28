"""The trust file next to the data: the digest of every file as it was first verified.

Nobody publishes digests of NDEC or DISC21. So the first verified copy sets them, and whoever finds other bytes later
sees both.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Literal

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ndec_bench import atomic
from ndec_bench.errors import DataError, InterruptedRun, os_errors, reason

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ndec_bench.progress import Progress

TRUST_FILE = "ndec-bench.lock.json"
LOCK_FILE = ".ndec-bench.recording"
"""Held while the trust file is changed: "data verify" and "download" may run at the same time."""
_BLOCK = 1 << 20
_WRITING = threading.Lock()


class FileRecord(BaseModel):
    """One file as it was verified: size, SHA-256 (hex), source, entity tag, and when the file system saw it change.

    ``mtime_ns`` only tells whether the file must be read again before it is trusted; it proves nothing.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    source: str
    etag: str | None = None
    mtime_ns: int

    def describes(self, path: Path) -> bool:
        """Return whether the file ``path`` has the recorded size and time of change; no byte of it is read."""
        try:
            found = path.stat()
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns) == (self.bytes, self.mtime_ns)


class Trust(BaseModel):
    """The content of the trust file: files by their path under the data root, and the licences that were accepted."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: Literal[1] = 1
    files: dict[str, FileRecord] = Field(default_factory=dict)
    licences_accepted: tuple[str, ...] = ()


def read_trust(root: Path) -> Trust:
    """Return the trust file of the data root ``root``; an empty one if there is none.

    Raises
    ------
    DataError
        If it cannot be read or is not what this program writes.
    """
    path = root / TRUST_FILE
    try:
        return Trust.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Trust()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)})", hint="check its permissions") from error
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "the file"
        raise DataError(
            f"{path}: damaged ({where}: {error.errors()[0]['msg']})",
            hint="move it away: the files are then read and recorded again",
        ) from error


def record(root: Path, key: str, entry: FileRecord) -> None:
    """Write ``entry`` as the record of the file ``key`` (path under ``root``, with slashes). Raises DataError."""
    with _changing(root) as trust:
        _write(root, trust.model_copy(update={"files": {**trust.files, key: entry}}))


def void(root: Path, key: str) -> None:
    """Remove the record of the file ``key``, so that another copy may set it. Raises DataError."""
    with _changing(root) as trust:
        if key in trust.files:
            files = {each: entry for each, entry in trust.files.items() if each != key}
            _write(root, trust.model_copy(update={"files": files}))


def accept(root: Path, licences: tuple[str, ...]) -> None:
    """Write down that the licences with these keys were accepted for the data under ``root``. Raises DataError."""
    with _changing(root) as trust:
        keys = tuple(sorted({*trust.licences_accepted, *licences}))
        _write(root, trust.model_copy(update={"licences_accepted": keys}))


@contextmanager
def _changing(root: Path) -> Iterator[Trust]:
    """Yield the content of the trust file, which no other thread or process changes meanwhile."""
    path = root / TRUST_FILE
    with _WRITING, ExitStack() as stack:
        with os_errors(f"{path}: cannot be written", hint="check the permissions of the data root"):
            root.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(root / LOCK_FILE))
        yield read_trust(root)


def sha256_of(path: Path, progress: Progress, stage: str, stop: threading.Event | None = None) -> str:
    """Return the SHA-256 (hex) of the file ``path``, telling ``progress`` of its bytes as ``stage``.

    Raises
    ------
    DataError
        If it cannot be read.
    InterruptedRun
        If ``stop`` is set meanwhile.
    """
    digest, done = hashlib.sha256(), 0
    with os_errors(f"{path}: cannot be read", hint="check the disk"), path.open("rb") as file:
        total = os.fstat(file.fileno()).st_size
        while block := file.read(_BLOCK):
            if stop is not None and stop.is_set():
                raise InterruptedRun(f"{path.name}: stopped while it was read")
            digest.update(block)
            done += len(block)
            progress(stage, done, max(total, done))
    return digest.hexdigest()


def _write(root: Path, trust: Trust) -> None:
    content = trust.model_dump(mode="json")
    atomic.write_text(root / TRUST_FILE, json.dumps(content, indent=2, sort_keys=True) + "\n")
