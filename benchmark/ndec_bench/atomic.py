"""Files that appear whole or not at all: written next to their target, flushed, then moved."""

from __future__ import annotations

import os
import platform
import re
import shutil
import stat
import sys
import tempfile
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ndec_bench.errors import DataError, os_errors, reason

if TYPE_CHECKING:
    from collections.abc import Iterator

_HINT = "choose another folder or free its disk"
_NAME_OF_FILE = "give the name of a file"
_STANDARD = {"/dev/stdout": 1, "/dev/stderr": 2}
_DESCRIPTORS = ("/dev/fd", "/proc/self/fd")


@contextmanager
def replacing(target: Path, *, size: int = 0) -> Iterator[Path]:
    """Yield a temporary path next to ``target``; move it over ``target`` when the block succeeds.

    The temporary file is removed when the block fails, and ``target`` stays as it was. The content is flushed to
    disk before the move, so that a power cut leaves the old file or the new one. A symbolic link stays one: the file
    that it leads to is replaced. A pipe, the null device and ``/dev/stdout`` are written to and stay what they are.

    Parameters
    ----------
    target
        The file; its folder is made.
    size
        Bytes that the block will write at most. They are claimed on the disk first, for writers such as HDF5 that
        cannot recover from a disk that fills up.

    Raises
    ------
    DataError
        If ``target`` is a folder or another device, the folder cannot be made or written to, or the block or the move
        fails with an OSError (a full disk).
    """
    stream = is_stream(target)
    real = target if stream else destination(target)
    temporary = _temporary(None if stream else real, target)
    try:
        if size:
            _claim(temporary, size)
        yield temporary
        if stream:
            _pour(temporary, real)
        else:
            _flush(temporary)
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(real)
    except OSError as error:
        raise DataError(f"{target}: writing failed ({reason(error)})", hint="free disk space and run again") from error
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(target: Path, *, regular: bool = False) -> None:
    """Raise DataError if ``target`` cannot be written: to be asked before long work, not after it.

    ``regular`` also refuses pipes and devices, for files that are read again or have a record next to them.
    """
    if not is_stream(target):
        with os_errors(f"{target}: cannot be written", hint=_HINT), tempfile.TemporaryFile(dir=_folder(target)):
            return
    if regular:
        raise DataError(f"{target}: is not a regular file", hint=_NAME_OF_FILE)


def destination(target: Path) -> Path:
    """Return the file that ``target`` leads to as a symbolic link, else itself. Raises DataError for a circle."""
    if not target.is_symlink():
        return target
    try:
        return target.resolve()
    except (OSError, RuntimeError) as error:  # the latter for links in a circle
        raise DataError(f"{target}: cannot be followed ({error})", hint=_NAME_OF_FILE) from error


def write_bytes(target: Path, content: bytes) -> None:
    """Write ``content`` to ``target``, whole or not at all. Raises DataError as `replacing` does."""
    with replacing(target) as temporary:
        temporary.write_bytes(content)


def write_text(target: Path, content: str) -> None:
    """Write ``content`` as UTF-8 with the line ends it has, whole or not at all."""
    write_bytes(target, content.encode("utf-8"))


def is_stream(target: Path) -> bool:
    """Return whether ``target`` is written to instead of replaced. Raises DataError for what can be neither."""
    try:
        found = target.stat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise DataError(f"{target}: cannot be written ({reason(error)})", hint=_HINT) from error
    if stat.S_ISDIR(found.st_mode):
        raise DataError(f"{target}: is a folder", hint=_NAME_OF_FILE)
    if stat.S_ISREG(found.st_mode):
        return _descriptor(target) is not None
    is_null = stat.S_ISCHR(found.st_mode) and found.st_rdev == Path(os.devnull).stat().st_rdev
    if is_null or stat.S_ISFIFO(found.st_mode) or _descriptor(target) == 1:
        return True
    raise DataError(f"{target}: is a device or a socket", hint=_NAME_OF_FILE)


def _descriptor(target: Path) -> int | None:
    """Return the open file of this process that ``target`` names, such as ``/dev/stdout``; None for any other path."""
    folder, _, number = target.as_posix().rpartition("/")
    if folder in _DESCRIPTORS and number.isdecimal():
        return int(number)
    return _STANDARD.get(target.as_posix())


def _temporary(real: Path | None, target: Path) -> Path:
    """Return a new file in the folder of ``real``, or where temporary files go."""
    with os_errors(f"{target}: cannot be written", hint=_HINT):
        if real is None:
            handle, name = tempfile.mkstemp(suffix=".part")
        else:
            prefix = f".{real.name[:40]}.{platform.node()[:40]}-{os.getpid()}-"
            handle, name = tempfile.mkstemp(prefix=prefix, suffix=".part", dir=_folder(real))
    os.close(handle)
    return Path(name)


def _folder(target: Path) -> Path:
    """Return the folder that a file for ``target`` is written to, made and without left-overs."""
    folder = destination(target).parent
    folder.mkdir(parents=True, exist_ok=True)
    _remove_left_overs(folder.absolute())
    return folder


@cache  # once in a folder, which may be large and written to often
def _remove_left_overs(folder: Path) -> None:
    """Remove the temporary files whose processes on this machine were killed; others may be at work."""
    pattern = re.compile(rf"\..*\.{re.escape(platform.node()[:40])}-(\d+)-\w+\.part", re.DOTALL)
    with suppress(OSError):  # a folder that may not be listed, or files of another user
        for path in folder.iterdir():
            if (found := pattern.fullmatch(path.name)) and not _is_alive(int(found[1])):
                path.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    if os.name != "posix":  # there, the question would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _claim(path: Path, size: int) -> None:
    """Raise OSError if the disk, a quota or a limit leaves no room for a file of that size."""
    with path.open("rb+") as file, suppress(AttributeError):  # not on every system
        os.posix_fallocate(file.fileno(), 0, size)
        file.truncate(0)


def _pour(source: Path, target: Path) -> None:
    """Copy the content of ``source`` into what is open or will be opened as ``target``."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    descriptor = _descriptor(target)
    opened = target if descriptor is None else os.dup(descriptor)
    with source.open("rb") as content, open(opened, "wb") as sink:  # noqa: PTH123 -- may be a descriptor
        shutil.copyfileobj(content, sink)


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _umask() -> int:
    # mkstemp makes private files; results are meant to be read by others as the user's umask allows.
    mask = os.umask(0)
    os.umask(mask)
    return mask
