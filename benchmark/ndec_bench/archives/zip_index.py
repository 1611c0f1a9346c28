"""The members of a zip, from its central directory, and the header in front of each."""

from __future__ import annotations

import struct
import zipfile
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.archives import safe
from ndec_bench.archives.headers import HeaderStream
from ndec_bench.archives.members import DEFLATED, STORED, Listing, Members
from ndec_bench.errors import DataError, NdecBenchError
from ndec_bench.progress import Progress, silent

if TYPE_CHECKING:
    from ndec_bench.archives.headers import ByteReader

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
MAX_LOCAL_HEADER = _LOCAL.size + 2 * (1 << 16)
"""Bytes of the longest header of a member: name and extra field have up to 64 KiB each."""
_MAX_DIRECTORY = 512 * 2**20
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_PATCHED = 0x20
_UTF8 = 0x800
_PAGE = 1 << 17
_CENTRAL = b"PK\x01\x02"
_STARTS = (b"PK\x03\x04", b"PK\x05\x06")


def index_zip(file: ByteReader, progress: Progress = silent) -> Members:
    """Return the members of the zip ``file``, also of a ZIP64; those stored or deflated are accepted.

    Raises
    ------
    DataError
        If it is not a zip, is damaged or cut short, or holds what `safe` refuses, an encrypted member, another
        compression, members that overlap or lie outside, or a name that appears twice.
    """
    stage = f"indexing {PurePath(file.name).name}"
    progress(stage, 0, file.size)
    listing = Listing(file.name)
    try:
        with _Directory(file, _MAX_DIRECTORY, _PAGE) as stream, zipfile.ZipFile(stream) as archive:
            end = archive.start_dir
            infos = archive.infolist()
            _check_places(file, infos, end)
            for info in infos:
                _add(file.name, info, listing)
    except NdecBenchError:
        raise
    except Exception as error:
        # Directories made up by others make the parser raise anything, struct.error and OverflowError among it.
        raise DataError(
            f"{file.name}: not a complete zip archive ({error or type(error).__name__})", hint="fetch it again"
        ) from error
    members = listing.members("zip")
    progress(stage, file.size, file.size)
    return members


class _Directory(HeaderStream):
    def read(self, size: int | None = -1, /) -> bytes:
        block = super().read(size)
        safe.check_count(self._file.name, block.count(_CENTRAL))  # before zipfile makes an object of each
        return block


def is_zip(start: bytes) -> bool:
    """Return whether ``start``, the first bytes of a file, begins a zip."""
    return start.startswith(_STARTS)


def parse_local_header(archive: str, content: bytes) -> tuple[tuple[str, int], int]:
    """Return name and method, and the length with name and extra field, of the header at the start of ``content``.

    Raises
    ------
    DataError
        If there is no header, or it says that the member is encrypted.
    """
    try:
        magic, _, flags, method, _, _, _, _, _, name_length, extra_length = _LOCAL.unpack_from(content)
        raw = content[_LOCAL.size : _LOCAL.size + name_length]
        if magic != _STARTS[0] or len(raw) < name_length:
            raise ValueError("no member begins here")
        name = safe.plain_name(archive, _text(raw, flags))
    except (struct.error, ValueError) as error:
        raise DataError(f"{archive}: damaged header ({error})", hint="fetch the archive again") from error
    if flags & _ENCRYPTED:
        raise safe.refusal(archive, name, "encrypted")
    return (name, method), _LOCAL.size + name_length + extra_length


def _add(archive: str, info: zipfile.ZipInfo, listing: Listing) -> None:
    # orig_filename is the name as stored: the other one is cut at a NUL and may come from an extra field.
    name = safe.plain_name(archive, _text(_stored_name(info), info.flag_bits))
    if info.orig_filename.endswith(("/", "\\")):
        return
    mode = info.external_attr >> 16
    if info.create_system == 3 and (mode & 0o170000) not in {0, 0o100000}:
        raise safe.refusal(archive, name, "a link or a device, expected files and folders only")
    if info.flag_bits & _ENCRYPTED:
        raise safe.refusal(archive, name, "encrypted")
    if info.compress_type not in {STORED, DEFLATED} or info.flag_bits & _PATCHED:
        raise safe.refusal(archive, name, f"compressed by method {info.compress_type}, expected stored or deflated")
    if info.compress_type == STORED and info.file_size != info.compress_size:
        raise safe.refusal(archive, name, f"{info.compress_size:,} bytes stored, but {info.file_size:,} stated")
    if not name:
        raise safe.refusal(archive, name, "a file without a name")
    listing.add(
        name,
        info.header_offset,
        size=info.file_size,
        stored=info.compress_size,
        method=info.compress_type,
        crc=info.CRC,
    )


def _stored_name(info: zipfile.ZipInfo) -> bytes:
    return info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437")


def _text(raw: bytes, flags: int) -> str:
    """Return the name ``raw`` as text: UTF-8 where it is that, since Info-ZIP does not always say so; else cp437.

    Backslashes, which Windows PowerShell 5 writes between folders, become slashes.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        if flags & _UTF8:
            raise
        text = raw.decode("cp437")
    return text.replace("\\", "/")


def _check_places(file: ByteReader, infos: list[zipfile.ZipInfo], end: int) -> None:
    """Raise DataError if two members share bytes, or one reaches past ``end``, where the directory begins."""
    if not infos:
        return
    starts = np.array([info.header_offset for info in infos], dtype=np.int64)
    lengths = np.array([_LOCAL.size + len(_stored_name(info)) + info.compress_size for info in infos], dtype=np.int64)
    order = np.argsort(starts, kind="stable")
    limits = np.append(starts[order][1:], end)
    wrong = np.flatnonzero((starts[order] < 0) | (starts[order] + lengths[order] > limits))
    if len(wrong):
        name = infos[order[wrong[0]]].orig_filename
        raise safe.refusal(file.name, name, "overlaps the next member or lies outside the archive")
