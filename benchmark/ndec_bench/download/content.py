"""Whether a file is what its name says: of a ground truth the pairs, of an archive the list of what it holds."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ndec_bench.archives.archive import read_member
from ndec_bench.archives.joined import JoinedFile
from ndec_bench.archives.tar_index import index_tar
from ndec_bench.archives.zip_index import index_zip
from ndec_bench.data import known
from ndec_bench.data.registry import image_sets, remote_files
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_bench.archives.members import Members
    from ndec_bench.data.registry import RemoteFile
    from ndec_bench.progress import Progress

_TAR_MAGIC = slice(257, 262)
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_CHUNKS_WITHOUT_START = (".ab", ".ac")


def check_content(file: RemoteFile, path: Path, *, read: Progress | None = None) -> str | None:
    """Return what is doubtful about the file ``path``, that it holds too few images; None if nothing is.

    A zip or tar must be whole, and every image in it whose name is one of its set must belong to this shard. Of the raw
    pieces of a split tar only the first is looked at, and only its beginning: they are not archives by themselves.

    Parameters
    ----------
    read
        Where nothing else vouches for the bytes: called as every member of a zip is read and compared with its CRC-32.

    Raises
    ------
    DataError
        If it cannot be ``file``: cut short, damaged, another archive, or another ground truth.
    """
    if file.ground_truth is not None:
        known.read(file.ground_truth, path)
        return None
    with path.open("rb") as opened:
        start = opened.read(512)
    if file.unpack == "zip" and not start.startswith(_ZIP_STARTS):
        raise _not(file, "zip archive", start)
    starts = file.unpack in {"tar", "tar-chunk"} and not file.name.endswith(_CHUNKS_WITHOUT_START)
    if starts and start[_TAR_MAGIC] != b"ustar":
        raise _not(file, "tar archive", start)
    return _check_members(file, path, read) if file.unpack in {"zip", "tar"} else None


def _check_members(file: RemoteFile, path: Path, read: Progress | None) -> str | None:
    images = image_sets()[file.dataset, file.part]
    with JoinedFile([path]) as joined:
        members = index_zip(joined) if file.unpack == "zip" else index_tar(joined)
        if file.unpack == "zip" and read is not None:
            _check_checksums(file, joined, members, read)
    if not members.whole:
        raise DataError(f"{file.name}: the archive is cut short", hint="fetch it again")
    pattern = re.compile(images.id or ".*")
    ids = [PurePosixPath(members.names[row]).stem for row in members.images()]
    ids = [each for each in ids if pattern.fullmatch(each)]
    if not ids:
        raise DataError(
            f"{file.name}: holds no image called {pattern.pattern}", hint="it is another archive: fetch it again"
        )
    numbers = _numbers(file)
    strange = next((each for each in ids if int(each[1:]) not in numbers), None) if numbers else None
    if strange is not None:
        raise DataError(
            f"{file.name}: holds {strange}, expected numbers from {numbers.start} to {numbers.stop - 1}",
            hint="it is another archive: fetch it again, or give it its own name",
        )
    expected = len(numbers) or images.images
    return None if len(ids) >= expected else f"holds {len(ids):,} images, {expected:,} are expected"


def _check_checksums(file: RemoteFile, joined: JoinedFile, members: Members, read: Progress) -> None:
    done = 0
    for row in range(len(members)):
        read_member(joined, members, row)
        done += int(members.stored[row])
        read(f"{file.name}: checking", done, joined.size)
    read(f"{file.name}: checking", joined.size, joined.size)


def _numbers(file: RemoteFile) -> range:
    """Return the numbers of the images in a shard; an empty range where they follow no rule."""
    images = image_sets()[file.dataset, file.part]
    if images.first is None:
        return range(0)
    shards = [each for each in remote_files() if (each.dataset, each.part) == (file.dataset, file.part)]
    size, place = images.images // len(shards), [each.name for each in shards].index(file.name)
    return range(images.first + place * size, images.first + (place + 1) * size)


def _not(file: RemoteFile, expected: str, start: bytes) -> DataError:
    found = "a web page" if start.lstrip()[:1] == b"<" else f"a file that begins with {start[:8].hex(' ')}"
    return DataError(f"{file.name}: not a {expected}, but {found}", hint="the source gave something else: try another")
