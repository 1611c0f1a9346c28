"""An archive opened for reading: its members, and the bytes of each, checked as they are read."""

from __future__ import annotations

import re
import zlib
from itertools import product
from string import ascii_lowercase
from typing import TYPE_CHECKING, Self

from ndec_bench.archives import safe, tar_index, zip_index
from ndec_bench.archives.index import members_of
from ndec_bench.archives.joined import JoinedFile
from ndec_bench.archives.members import DEFLATED
from ndec_bench.errors import DataError, MissingDataError
from ndec_bench.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_PIECE = re.compile(r"(.+\.)[a-z]{2}")
_EXTRA = 128
"""Bytes read beyond a zip member's name and data: room for the extra field, whose length only its header tells."""


class Archive:
    """The zip, the tar, or the tar in raw pieces ``paths``, read in place from several threads at once.

    A pickled one takes its index along and opens the files again.

    Attributes
    ----------
    file
        The files as one.
    members
        What it holds.

    Parameters
    ----------
    partial
        Whether a tar may be cut short at its end; then the members that are whole are there.
    progress
        Called while an index is built, in bytes; a stored one is opened without.

    Raises
    ------
    DataError
        If it is neither zip nor tar, damaged, cut short, or refused by `safe`.
    """

    def __init__(self, paths: Sequence[Path], *, partial: bool = False, progress: Progress = silent) -> None:
        self.file = JoinedFile(paths)
        try:
            self.members = members_of(self.file, progress)
            if not self.members.whole and not partial:
                raise _cut(self.file, len(self.members))
        except BaseException:
            self.file.close()
            raise

    def read(self, row: int) -> bytes:
        """Return the bytes of the member in that row of ``members``.

        The header in the archive must name the member and, in a zip, the CRC-32 must be right: an index is not trusted.

        Raises
        ------
        DataError
            If the archive is damaged there or is not what its index says.
        """
        safe.check_size(self.file.name, self.members.names[row], self._size(row), int(self.members.stored[row]))
        return self._read_tar(row) if self.members.kind == "tar" else self._read_zip(row)

    def label(self, row: int) -> str:
        """Return archive and member as messages name them: ``references_0.zip: images/references/R000000.jpg``."""
        return f"{self.file.name}: {self.members.names[row]}"

    def close(self) -> None:
        """Close the files."""
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _size(self, row: int) -> int:
        return int(self.members.sizes[row])

    def _read_tar(self, row: int) -> bytes:
        head, size = int(self.members.heads[row]), self._size(row)
        content = self.file.read_at(int(self.members.offsets[row]), head + size)
        if tar_index.parse_header(self.file.name, content[:head]) != (self.members.names[row], size):
            raise self._stale(row)
        if len(content) != head + size:
            raise self._damaged(row, "it is cut short")
        return content[head:]

    def _read_zip(self, row: int) -> bytes:
        offset, stored = int(self.members.offsets[row]), int(self.members.stored[row])
        guess = zip_index.LOCAL_HEADER + len(self.members.names[row].encode()) + _EXTRA + stored
        content = self.file.read_at(offset, guess)
        name, method, head = zip_index.parse_local_header(self.file.name, content)
        if (name, method) != (self.members.names[row], int(self.members.methods[row])):
            raise self._stale(row)
        if head + stored > len(content):
            content = self.file.read_at(offset, head + stored)
        data = content[head : head + stored]
        if len(data) != stored:
            raise self._damaged(row, "it is cut short")
        if method == DEFLATED:
            data = self._inflated(row, data)
        if self.members.crcs is not None and zlib.crc32(data) != int(self.members.crcs[row]):
            raise self._damaged(row, "its checksum (CRC-32) is wrong")
        return data

    def _inflated(self, row: int, data: bytes) -> bytes:
        size = self._size(row)
        stream = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = stream.decompress(data, size + 1)  # one more than told, and no bomb goes further
        except zlib.error as error:
            raise self._damaged(row, str(error)) from error
        if len(content) != size or not stream.eof:
            raise self._damaged(row, f"it does not unpack to the {size:,} bytes that are told")
        return content

    def _damaged(self, row: int, reason: str) -> DataError:
        return DataError(
            f"{self.file.name}: member {safe.shown(self.members.names[row])}: damaged, {reason}",
            hint="fetch the archive again",
        )

    def _stale(self, row: int) -> MissingDataError:
        # Not a broken image: the archive has changed, and describing must not go on without its images.
        return MissingDataError(
            f"{self.file.name}: member {safe.shown(self.members.names[row])} is not where the index says",
            hint="delete the file ending in .index beside the archive, then start again",
        )


def pieces(path: Path) -> tuple[Path, ...]:
    """Return the files of the archive ``path``: itself, or if it is the first piece (``.aa``) it and those after it.

    Raises
    ------
    DataError
        If a piece is missing between others, or ``path`` is a later piece and the first is there.
    """
    match = _PIECE.fullmatch(path.name)
    if match is None:
        return (path,)
    every = [path.with_name(f"{match[1]}{one}{two}") for one, two in product(ascii_lowercase, repeat=2)]
    count = next((number for number, piece in enumerate(every) if not piece.is_file()), len(every))
    # Only names with the same first letter are taken for later pieces: ".gz" beside the pieces is none.
    near = every[: (count // 26 + 1) * 26]
    if count == 0 or path not in near:
        return (path,)
    if path != every[0]:
        raise DataError(f"{path}: a later piece of an archive", hint=f"give the first one, {every[0].name}")
    for later in near[count:]:
        if later.is_file():
            raise DataError(
                f"{every[count]}: missing, but {later.name} is there",
                hint="fetch it: all pieces must lie side by side",
            )
    return tuple(every[:count])


def _cut(file: JoinedFile, count: int) -> DataError:
    names = ", ".join(path.name for path in file.paths)
    return DataError(
        f"{file.name}: the tar is cut short: {names} hold {count:,} whole files, then it breaks off",
        hint="fetch the rest; its pieces must lie side by side",
    )
