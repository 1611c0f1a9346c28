"""The stream from which an archive's headers are parsed: only small reads, so that no header can claim the memory."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from ndec_bench.archives.joined import JoinedFile

_PAGE = 1024
"""Bytes read at once: the headers of a tar lie far apart, and most are 512 bytes."""


class HeaderStream(io.BufferedIOBase):
    """A seekable stream over ``file`` that refuses to read more than ``most`` bytes at once."""

    def __init__(self, file: JoinedFile, most: int) -> None:
        self._stream = file.stream(buffer=_PAGE)
        self._name, self._size = file.name, file.size
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to ``size`` bytes, by default the rest. Raises DataError if that is more than headers take."""
        if size is None or size < 0:
            size = max(0, self._size - self._stream.tell())
        if size > self._most:
            raise DataError(
                f"{self._name}: headers of {size} bytes, at most {self._most} are accepted",
                hint="the archive is damaged; fetch it again",
            )
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Move as every stream does."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._stream.tell()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def close(self) -> None:
        """Close the stream, not the file."""
        self._stream.close()
        super().close()
