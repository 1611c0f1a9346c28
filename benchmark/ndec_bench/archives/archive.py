"""An archive opened for reading: its members, and the bytes of each, checked as they are read."""

from __future__ import annotations

import re
import zlib
from itertools import product
from string import ascii_lowercase, digits
from typing import TYPE_CHECKING, Self

from ndec_bench.archives import safe, tar_index, zip_index
from ndec_bench.archives.index import members_of
from ndec_bench.archives.joined import JoinedFile
from ndec_bench.archives.members import DEFLATED, Members
from ndec_bench.errors import DataError, MissingDataError
from ndec_bench.printable import escaped
from ndec_bench.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from ndec_bench.archives.headers import ByteReader

_PIECE = re.compile(r"(.+\.(?:part|tar)?)([a-z]{2}|[0-9]{2,4}|(?<=part)[0-9])")


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
        """Return the bytes of the member in that row of ``members``. Raises DataError as `read_member` does."""
        return read_member(self.file, self.members, row)

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


def read_member(file: ByteReader, members: Members, row: int) -> bytes:
    """Return the bytes of the member in that row of ``members``, which list the archive ``file``.

    The header in the archive must name the member and, in a zip, the CRC-32 must be right: a list is not trusted.

    Raises
    ------
    DataError
        If the archive is damaged there or is not what its list says.
    """
    start, end = _span(members, row)
    return _content(file.name, members, row, file.read_at(start, end - start))


def read_members(
    file: ByteReader, members: Members, rows: Iterable[int], *, gap: int = 1 << 16, longest: int = 1 << 23
) -> Iterator[tuple[int, bytes]]:
    """Yield each of ``rows`` once, in the order of the archive, with the bytes of its member.

    For files whose reads are dear, remote ones: members with at most ``gap`` bytes between them are read at once, as
    long as that is not more than ``longest`` bytes. Raises as `read_member` does.
    """
    for group in _groups(members, rows, gap, longest):
        begin, last = _span(members, group[0])[0], _span(members, group[-1])[1]
        block = file.read_at(begin, last - begin)
        for row in group:
            start, end = _span(members, row)
            yield row, _content(file.name, members, row, block[start - begin : end - begin])


def _groups(members: Members, rows: Iterable[int], gap: int, longest: int) -> Iterator[list[int]]:
    group: list[int] = []
    first = last = 0
    for row in sorted(set(rows), key=lambda each: int(members.offsets[each])):
        start, end = _span(members, row)
        if group and (start - last > gap or end - first > longest):
            yield group
            group = []
        if not group:
            first = start
        group.append(row)
        last = end
    if group:
        yield group


def _span(members: Members, row: int) -> tuple[int, int]:
    """Return where a member begins, and where it ends at most: only a zip's own header tells how long that is."""
    start, stored = int(members.offsets[row]), int(members.stored[row])
    if members.kind == "tar":
        return start, start + int(members.heads[row]) + stored
    return start, min(start + zip_index.MAX_LOCAL_HEADER + stored, int(members.following[row]))


def _content(archive: str, members: Members, row: int, block: bytes) -> bytes:
    """Return the content of a member; ``block`` holds its bytes in the archive from the header on."""
    name, size, stored = members.names[row], int(members.sizes[row]), int(members.stored[row])
    safe.check_size(archive, name, size, stored)
    if members.kind == "tar":
        head, expected = int(members.heads[row]), (name, size)
        found = tar_index.parse_header(archive, block[:head])
    else:
        expected = (name, int(members.methods[row]))
        found, head = zip_index.parse_local_header(archive, block)
    if found != expected:
        # Not a broken image: the archive has changed, and describing must not go on without its images.
        raise MissingDataError(
            f"{archive}: member {escaped(name)} is not where the index says",
            hint="delete the file ending in .index next to the archive, then start again",
        )
    data = block[head : head + stored]
    if len(data) != stored:
        raise _damaged(archive, name, "it is cut short, or runs into the next one")
    if members.kind == "zip" and members.methods[row] == DEFLATED:
        data = _inflated(archive, name, size, data)
    if members.crcs is not None and zlib.crc32(data) != int(members.crcs[row]):
        raise _damaged(archive, name, "its checksum (CRC-32) is wrong")
    return data


def _inflated(archive: str, name: str, size: int, data: bytes) -> bytes:
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = stream.decompress(data, size + 1)  # one more than stated, and no bomb goes further
    except zlib.error as error:
        raise _damaged(archive, name, str(error)) from error
    if len(content) != size or not stream.eof:
        raise _damaged(archive, name, f"it does not unpack to the {size:,} bytes that are stated")
    return content


def _damaged(archive: str, name: str, reason: str) -> DataError:
    return DataError(f"{archive}: member {escaped(name)}: damaged, {reason}", hint="fetch the archive again")


def pieces(path: Path) -> tuple[Path, ...]:
    """Return the files of the archive ``path``: itself, or if it is the first piece of one, it and those after it.

    Pieces are called as ``split`` and its like call them: ``.aa`` or ``.00`` first, or ``.001``, also with ``part``
    before it.

    Raises
    ------
    DataError
        If a piece is missing between others, or ``path`` is a later piece and the first is there.
    """
    match = _PIECE.fullmatch(path.name)
    if match is None:
        return (path,)
    start, suffix = match.groups()
    every = [path.with_name(start + each) for each in _suffixes(suffix)]
    if suffix.isdigit() and not every[0].is_file():  # counted from 1
        every = every[1:]
    count = next((number for number, piece in enumerate(every) if not piece.is_file()), len(every))
    # Only names near the last piece are taken for later ones: ".gz" next to the pieces is not one.
    near = every[: (count // 26 + 1) * 26]
    if count == 0 or path not in near:
        return (path,)
    if path != every[0]:
        raise DataError(f"{path}: a later piece of an archive", hint=f"give the first one, {every[0].name}")
    for later in near[count:]:
        if later.is_file():
            raise DataError(
                f"{every[count]}: missing, but {later.name} is there",
                hint="fetch it: all pieces must lie in one folder",
            )
    return tuple(every[:count])


def _suffixes(like: str) -> list[str]:
    """Return the ends of names of pieces in their order, letters or digits of the length of ``like``."""
    return ["".join(signs) for signs in product(digits if like.isdigit() else ascii_lowercase, repeat=len(like))]


def _cut(file: JoinedFile, count: int) -> DataError:
    names = ", ".join(path.name for path in file.paths)
    return DataError(
        f"{file.name}: the tar is cut short: {names} hold {count:,} whole files, then it breaks off",
        hint="fetch the rest; all pieces must lie in one folder",
    )
