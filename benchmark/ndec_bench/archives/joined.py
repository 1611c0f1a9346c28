"""Several files as one stream of bytes: the pieces of a split archive, never joined on disk."""

from __future__ import annotations

import os
import threading
import weakref
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple, Self

from ndec_bench.errors import DataError, os_errors, reason

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Stamp(NamedTuple):
    """What tells one state of a file from another: its name, its size, when it was last written."""

    name: str
    size: int
    mtime_ns: int


class JoinedFile:
    """The files ``paths``, in that order, as one stream of bytes that is read at random from several threads.

    A pickled one opens the files again and refuses them if they changed.

    Attributes
    ----------
    paths
        The files.
    name
        How messages call it: the path of the first file.
    size
        Bytes of all files together.
    stamps
        The state of each file when it was opened.

    Raises
    ------
    DataError
        If a file is missing or cannot be read.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        self.name = str(self.paths[0])
        self._files = _open(self.paths)
        self._close = weakref.finalize(self, _close, self._files)
        self._lock = threading.Lock()
        states = [os.fstat(file) for file in self._files]
        self.stamps = tuple(
            Stamp(path.name, state.st_size, state.st_mtime_ns) for path, state in zip(self.paths, states, strict=True)
        )
        self._ends = tuple(accumulate(stamp.size for stamp in self.stamps))
        self.size = self._ends[-1]

    def read_at(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes from ``offset`` on, fewer only at the end. No position is kept, no lock is held.

        Raises
        ------
        DataError
            If a file became shorter or cannot be read.
        """
        end, parts = min(offset + length, self.size), []
        number = bisect_right(self._ends, offset)
        while 0 <= offset < end:
            parts.append(self._piece(number, offset, min(end, self._ends[number])))
            offset, number = max(offset, self._ends[number]), number + 1
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """Close the files; nothing happens if they are closed."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        return (_reopened, (self.paths, self.stamps))

    def _piece(self, number: int, offset: int, end: int) -> bytes:
        """Return the bytes from ``offset`` to ``end``, which lie in the file ``number``."""
        start = self._ends[number - 1] if number else 0
        content = b""
        try:  # not os_errors(), which costs a tenth of a read
            while len(content) < end - offset:  # a read may end early, at a signal or at 2 GiB
                more = self._pread(self._files[number], end - offset - len(content), offset - start + len(content))
                if not more:
                    raise DataError(f"{self.paths[number]}: became shorter", hint="start again when it is complete")
                content += more
        except OSError as error:
            raise DataError(f"{self.paths[number]}: cannot be read ({reason(error)})", hint="check the disk") from error
        return content

    def _pread(self, file: int, length: int, offset: int) -> bytes:
        if not self._close.alive:
            raise ValueError("read of a closed file")
        if hasattr(os, "pread"):
            return os.pread(file, length, offset)
        with self._lock:  # Windows has no read that leaves the position alone
            os.lseek(file, offset, os.SEEK_SET)
            return os.read(file, length)


def _open(paths: Sequence[Path]) -> list[int]:
    files: list[int] = []
    try:
        for path in paths:
            with os_errors(f"{path}: cannot be opened", hint="give the archive and all its pieces"):
                files.append(os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)))
    except DataError:
        _close(files)
        raise
    return files


def _close(files: Sequence[int]) -> None:
    for file in files:
        os.close(file)


def _reopened(paths: Sequence[Path], stamps: tuple[Stamp, ...]) -> JoinedFile:
    joined = JoinedFile(paths)
    if joined.stamps != stamps:
        joined.close()
        raise DataError(f"{joined.name}: changed since it was opened", hint="start again")
    return joined
