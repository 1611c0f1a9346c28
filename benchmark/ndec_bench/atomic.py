"""Files that appear whole or not at all: written next to their target, flushed, then moved."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ndec_bench.errors import DataError, os_errors, reason

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``target``; move it over ``target`` when the block succeeds.

    The temporary file is removed when the block fails, and ``target`` stays as it was. The content is flushed to
    disk before the move, so that a power cut leaves the old file or the new one.

    Raises
    ------
    DataError
        If the folder cannot be made or written to, or the block or the move fails with an OSError (a full disk).
    """
    temporary = _temporary(target)
    try:
        yield temporary
        _flush(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except OSError as error:
        hint = "give the name of a file" if target.is_dir() else "free disk space and run again"
        raise DataError(f"{target}: writing failed ({reason(error)})", hint=hint) from error
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(target: Path) -> None:
    """Raise DataError if ``target`` cannot be written: to be asked before long work, not after it."""
    if target.is_dir():
        raise DataError(f"{target}: is a folder", hint="give the name of a file")
    _temporary(target).unlink()


def write_bytes(target: Path, content: bytes) -> None:
    """Write ``content`` to ``target``, whole or not at all. Raises DataError as `replacing` does."""
    with replacing(target) as temporary:
        temporary.write_bytes(content)


def write_text(target: Path, content: str) -> None:
    """Write ``content`` as UTF-8 with the line ends it has, whole or not at all."""
    write_bytes(target, content.encode("utf-8"))


def _temporary(target: Path) -> Path:
    with os_errors(f"{target}: cannot be written", hint="choose another folder or free its disk"):
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".part", dir=target.parent)
    os.close(handle)
    return Path(name)


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    # mkstemp makes private files; results are meant to be read by others as the user's umask allows.
    mask = os.umask(0)
    os.umask(mask)
    return mask
