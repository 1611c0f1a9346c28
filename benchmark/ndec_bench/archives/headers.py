"""Bytes at any place of a local or remote file, and the stream from which an archive's headers are parsed."""

from __future__ import annotations

import io
from typing import Protocol

from ndec_bench.errors import DataError


class ByteReader(Protocol):
    """A file of which any range of bytes can be read: `joined.JoinedFile`, or a remote one."""

    @property
    def name(self) -> str:
        """Return its name for messages."""

    @property
    def size(self) -> int:
        """Return its size in bytes."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes from ``offset`` on, fewer only at the end. Raises NdecBenchError."""


class HeaderStream(io.BufferedIOBase):
    """A seekable stream over ``file`` that refuses to read more than ``most`` bytes at once.

    No header can claim the memory then. At least ``page`` bytes are read at once and kept: the end of a zip is read in
    many small pieces.
    """

    def __init__(self, file: ByteReader, most: int, page: int) -> None:
        self._file, self._most, self._page = file, most, page
        self._at = self._kept_from = 0
        self._kept = b""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to ``size`` bytes, by default the rest. Raises DataError if that is more than headers take."""
        if size is None or size < 0:
            size = max(0, self._file.size - self._at)
        if size > self._most:
            raise DataError(
                f"{self._file.name}: headers of {size} bytes, at most {self._most} are accepted",
                hint="the archive is damaged; fetch it again",
            )
        if size > self._page:
            block = self._file.read_at(self._at, size)
        else:
            start = self._at - self._kept_from
            if not 0 <= start <= len(self._kept) - size:
                self._kept_from = max(0, min(self._at, self._file.size - self._page))
                self._kept = self._file.read_at(self._kept_from, self._page)
                start = self._at - self._kept_from
            block = self._kept[start : start + size]
        self._at += len(block)
        return block

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move as every stream does."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._file.size}[whence]
        if base + offset < 0:
            raise OSError("position before the start")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True
