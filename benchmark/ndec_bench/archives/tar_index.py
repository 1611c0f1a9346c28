"""The members of a tar, by walking its headers: the data between them is passed over, not read."""

from __future__ import annotations

import io
import tarfile
from pathlib import PurePath
from typing import TYPE_CHECKING

from ndec_bench.archives import safe
from ndec_bench.archives.headers import HeaderStream
from ndec_bench.archives.members import MAX_HEAD, Listing, Members
from ndec_bench.errors import DataError, NdecBenchError
from ndec_bench.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from ndec_bench.archives.headers import ByteReader

_BLOCK = tarfile.BLOCKSIZE
_EXTENDED = {tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE}
_FILES = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}
_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.GNUTYPE_SPARSE: "a file with holes",
}
_MAX_PADDING = 2**20
"""After its end a tar is filled up with zeros to a full record, 10 KiB as a rule."""
_TOLD_EVERY = 500
_PAGE = 2 * _BLOCK
"""Bytes read at once: headers lie far apart, and most have one block."""


def index_tar(file: ByteReader, progress: Progress = silent) -> Members:
    """Return the members of the tar ``file``; ustar, GNU and pax headers are understood.

    A tar without its end is not an error here: ``whole`` is False and the members that are complete are listed.
    ``progress`` counts the bytes passed.

    Raises
    ------
    DataError
        If it is not a tar, is damaged, or holds what `safe` refuses, a link, a device or a name that appears twice.
    """
    stage = f"indexing {PurePath(file.name).name.removesuffix('.aa')}"
    listing = Listing(file.name)
    progress(stage, 0, file.size)
    try:
        end = _walk(file, listing, lambda done: progress(stage, min(done, file.size), file.size))
    except NdecBenchError:
        raise
    except Exception as error:
        # Headers made up by others make the parser raise anything, RecursionError and OverflowError among it.
        raise DataError(
            f"{file.name}: not a readable tar archive ({error or type(error).__name__})", hint="fetch it again"
        ) from error
    members = listing.members("tar", whole=_ends_at(file, end))
    progress(stage, file.size, file.size)
    return members


def parse_header(archive: str, head: bytes) -> tuple[str, int]:
    """Return name and size of the file that the header ``head`` of the tar ``archive`` introduces.

    Raises
    ------
    DataError
        If the header is damaged, or that of something else than a file.
    """
    try:
        if len(head) == _BLOCK:
            info = tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        else:
            with _opened(io.BytesIO(head)) as tar:
                found = tar.next()
            if found is None:
                raise tarfile.ReadError("no header")
            info = found
    except Exception as error:
        raise DataError(f"{archive}: damaged header ({error})", hint="fetch the archive again") from error
    return _checked_name(archive, info), info.size


def is_tar(start: bytes) -> bool:
    """Return whether ``start``, at least the first 512 bytes of a file, begins a tar."""
    try:
        tarfile.TarInfo.frombuf(start[:_BLOCK], "utf-8", "surrogateescape")
    except (tarfile.TarError, ValueError):
        return False
    return True


def _walk(file: ByteReader, listing: Listing, tell: Callable[[int], None]) -> int:
    """Fill ``listing``; return the offset of the first header that is none."""
    with HeaderStream(file, MAX_HEAD, _PAGE) as stream, _opened(stream) as tar:
        seen, end = 0, 0
        while (info := _member_at(tar, stream, end)) is not None:
            if not end <= info.offset < info.offset_data <= tar.offset or info.size < 0:
                raise DataError(f"{file.name}: headers that point backwards", hint="fetch the archive again")
            end = tar.offset
            name = _checked_name(file.name, info)
            if not info.isdir() and info.offset_data + info.size <= file.size:
                head = info.offset_data - info.offset
                listing.add(name, info.offset, head=head, size=info.size, stored=info.size)
            seen += 1
            if seen % _TOLD_EVERY == 0:
                tell(end)
            safe.check_count(file.name, seen)
        return end


def _opened(stream: io.BufferedIOBase) -> tarfile.TarFile:
    return tarfile.open(fileobj=stream, mode="r:", encoding="utf-8", errors="surrogateescape")


def _member_at(tar: tarfile.TarFile, stream: HeaderStream, offset: int) -> tarfile.TarInfo | None:
    """Return the member whose header is at ``offset``; None if none is there."""
    stream.seek(offset)
    try:
        return tarfile.TarInfo.fromtarfile(tar)  # next() would keep all members, and hide damage
    except tarfile.HeaderError:
        return None


def _ends_at(file: ByteReader, offset: int) -> bool:
    """Return whether the tar that has no more header at ``offset`` ends there; False if it is cut short.

    Raises
    ------
    DataError
        If it goes on there with something else.
    """
    block = file.read_at(offset, _BLOCK)
    if len(block) == _BLOCK and not any(block):
        if file.size - offset > _MAX_PADDING or any(file.read_at(offset, _MAX_PADDING)):
            raise DataError(
                f"{file.name}: the tar ends at byte {offset:,}, but more than padding follows",
                hint="it has a hole or is several archives in one; fetch it again",
            )
        return True
    while len(block) == _BLOCK and is_tar(block):
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        if info.type not in _EXTENDED or not 0 <= info.size <= MAX_HEAD:
            break
        offset += _BLOCK + -(-info.size // _BLOCK) * _BLOCK
        block = file.read_at(offset, _BLOCK)
    if len(block) < _BLOCK:
        return False
    raise DataError(f"{file.name}: damaged at byte {offset:,}, where a header should be", hint="fetch it again")


def _checked_name(archive: str, info: tarfile.TarInfo) -> str:
    name = safe.plain_name(archive, info.name)
    if info.isdir():
        return name
    if info.type not in _FILES or info.sparse is not None:
        found = _KINDS.get(info.type, "a file with holes" if info.sparse else f"of unknown kind {info.type!r}")
        raise safe.refusal(archive, name, f"{found}, expected files and folders only")
    if not name:
        raise safe.refusal(archive, name, "a file without a name")
    return name
