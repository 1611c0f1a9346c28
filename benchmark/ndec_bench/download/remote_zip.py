"""Single members of a remote zip: its directory and the members asked for are read by Range requests.

The archive comes from strangers over a network: the directory is limited in size and checked for members that overlap
or lie outside, and a member is taken only if its local header, its size and its CRC-32 are as the directory says.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ndec_bench.download.policy import DEFAULT_POLICY, Policy
from ndec_bench.download.range_reader import RangeReader
from ndec_bench.errors import NdecBenchError, NetworkError

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterable, Iterator, Sequence

    import requests

    from ndec_bench.download.location import Advance, Resolve

MAX_MEMBERS = 2_000_000
MAX_DIRECTORY_BYTES = 1 << 30
MAX_MEMBER_BYTES = 1 << 28

_TAIL = 1 << 17
_LOCAL = struct.Struct("<4s5H3I2H")
_LOCAL_SIGNATURE = b"PK\x03\x04"
_CENTRAL_SIGNATURE = b"PK\x01\x02"
_MOST_EXTRA = (1 << 16) - 1
_ENCRYPTED = 0x1 | 0x40
_UTF_8 = 0x800
_OTHER = "use another source, or download the whole archive"


@dataclass(frozen=True)
class RemoteMember:
    """A file in a remote zip.

    Attributes
    ----------
    name
        Path in the archive, as written there: to be compared, never to be used as a path on disk.
    offset
        Where its local header begins.
    compressed, size
        Bytes as stored and as unpacked.
    method
        0 stored, 8 deflated; others are listed and refused when read.
    crc
        CRC-32 of the unpacked bytes.
    encrypted
        Whether it is encrypted; such members are listed and refused when read.
    """

    name: str
    offset: int
    compressed: int
    size: int
    method: int
    crc: int
    encrypted: bool = False


class RemoteZip:
    """A remote zip whose directory has been read. Made by `open_remote_zip`; for use by one thread at a time."""

    def __init__(self, reader: RangeReader, members: tuple[RemoteMember, ...], ends: dict[int, int]) -> None:
        self._reader = reader
        self._ends = ends
        self.members = members

    @property
    def size(self) -> int:
        """Return the size of the archive in bytes."""
        return self._reader.size

    @property
    def etag(self) -> str | None:
        """Return the entity tag of the archive, if its source gives one."""
        return self._reader.etag

    def read_members(
        self,
        wanted: Iterable[RemoteMember],
        *,
        gap: int = 1 << 16,
        longest: int = 1 << 23,
        advance: Advance | None = None,
    ) -> Iterator[tuple[RemoteMember, bytes]]:
        """Yield each member of ``wanted`` once, with its unpacked bytes, in the order in which they lie in the archive.

        Parameters
        ----------
        gap
            Members with at most so many bytes between them are fetched by one request.
        longest
            Most bytes per request; a longer member has a request of its own.
        advance
            Called with the bytes fetched so far, those between members included, and their total.

        Raises
        ------
        ValueError
            If a member is not of this archive.
        NetworkError
            If the source fails, the archive changed, or a member is encrypted, packed by another method, larger than
            `MAX_MEMBER_BYTES`, or not what the directory says.
        InterruptedRun
            If the run is stopped.
        """
        chosen = sorted(set(wanted), key=lambda member: member.offset)
        for member in chosen:
            self._check(member)
        groups = list(self._groups(chosen, gap, longest))
        total = sum(self._ends[group[-1].offset] - group[0].offset for group in groups)
        done = 0
        for group in groups:
            start = group[0].offset
            block = self._reader.read_at(start, self._ends[group[-1].offset] - start)
            done += len(block)
            if advance is not None:
                advance(done, total)
            for member in group:
                yield member, self._unpacked(member, block[member.offset - start : self._ends[member.offset] - start])

    def _check(self, member: RemoteMember) -> None:
        if member.offset not in self._ends:
            raise ValueError(f"{member.name!r} is not a member of {self._reader.name}")
        if member.encrypted:
            raise self._error(member, "is encrypted")
        if member.method not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise self._error(member, f"is packed by method {member.method}, expected 0 (stored) or 8 (deflated)")
        if max(member.size, member.compressed) > MAX_MEMBER_BYTES:
            raise self._error(member, f"has {member.size:,} bytes, at most {MAX_MEMBER_BYTES:,} are accepted")

    def _groups(self, members: Sequence[RemoteMember], gap: int, longest: int) -> Iterator[list[RemoteMember]]:
        group: list[RemoteMember] = []
        for member in members:
            if group:
                between = member.offset - self._ends[group[-1].offset]
                if between > gap or self._ends[member.offset] - group[0].offset > longest:
                    yield group
                    group = []
            group.append(member)
        if group:
            yield group

    def _unpacked(self, member: RemoteMember, block: bytes) -> bytes:
        packed = self._packed(member, block)
        content = packed if member.method == zipfile.ZIP_STORED else self._inflated(member, packed)
        if len(content) != member.size:
            raise self._error(member, f"has {len(content):,} bytes, its directory says {member.size:,}")
        if zlib.crc32(content) != member.crc:
            raise self._error(member, f"has CRC-32 {zlib.crc32(content):08x}, its directory says {member.crc:08x}")
        return content

    def _packed(self, member: RemoteMember, block: bytes) -> bytes:
        """Return the stored bytes of ``member``, after its local header at the beginning of ``block``."""
        if len(block) < _LOCAL.size or not block.startswith(_LOCAL_SIGNATURE):
            raise self._error(member, f"has no local header at byte {member.offset:,}")
        fields = _LOCAL.unpack_from(block)
        flags, name_length, extra_length = fields[2], fields[9], fields[10]
        raw = block[_LOCAL.size : _LOCAL.size + name_length]
        if raw.decode("utf-8" if flags & _UTF_8 else "cp437", "replace") != member.name:
            raise self._error(member, "has another name in its local header")
        start = _LOCAL.size + name_length + extra_length
        if start + member.compressed > len(block):
            raise self._error(member, "runs into the next one")
        return block[start : start + member.compressed]

    def _inflated(self, member: RemoteMember, packed: bytes) -> bytes:
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            content = inflate.decompress(packed, member.size + 1)  # one more shows that there is more
        except zlib.error as error:
            raise self._error(member, f"cannot be unpacked ({error})") from error
        if len(content) <= member.size and not inflate.eof:
            raise self._error(member, "ends before its last byte")
        return content

    def _error(self, member: RemoteMember, found: str) -> NetworkError:
        return self._reader.error(f"member {member.name[:200]!r} {found}", _OTHER)


def open_remote_zip(
    resolve: Resolve,
    *,
    session: requests.Session,
    policy: Policy = DEFAULT_POLICY,
    stop: threading.Event | None = None,
    name: str | None = None,
) -> RemoteZip:
    """Return the remote zip with its ``members``: all files, folders left out, in the order of its directory.

    Parameters are those of `RangeReader`.

    Raises
    ------
    NetworkError
        If the source fails or has no ranges, or the file is no zip, or its directory is larger than
        `MAX_DIRECTORY_BYTES` or `MAX_MEMBERS`, names a file twice, or has members that overlap or lie outside.
    InterruptedRun
        If the run is stopped.
    """
    reader = RangeReader(resolve, session=session, policy=policy, stop=stop, name=name)
    try:
        with zipfile.ZipFile(_Tail(reader)) as archive:
            infos, directory = archive.infolist(), archive.start_dir
    except NdecBenchError:
        raise
    except Exception as error:
        # zipfile meets a hostile directory with BadZipFile, NotImplementedError, struct.error, UnicodeDecodeError, ...
        raise reader.error(f"{reader.host} serves no zip that can be read ({type(error).__name__})", _OTHER) from error
    ends = _ends(reader, infos, directory)
    members = tuple(_member(info) for info in infos if not info.is_dir())
    if len({member.name for member in members}) < len(members):
        raise reader.error("its directory names a file twice", _OTHER)
    return RemoteZip(reader, members, ends)


class _Tail(io.RawIOBase):
    """A remote file as `zipfile` reads it: the end is fetched once and kept, since it is read in many small pieces."""

    def __init__(self, reader: RangeReader) -> None:
        super().__init__()
        self._reader = reader
        self._at = 0
        self._kept_from = max(0, reader.size - _TAIL)
        self._kept = reader.read_at(self._kept_from, _TAIL)

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._reader.size}[whence]
        if base + offset < 0:
            raise OSError("seek before the beginning")
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._reader.size - self._at)
        length = left if size is None or size < 0 else min(size, left)
        if length > MAX_DIRECTORY_BYTES:
            raise self._reader.error(f"its directory has more than {MAX_DIRECTORY_BYTES:,} bytes", _OTHER)
        if self._at >= self._kept_from:
            block = self._kept[self._at - self._kept_from :][:length]
        else:
            block = self._reader.read_at(self._at, length)
        self._at += len(block)
        if block.count(_CENTRAL_SIGNATURE) > MAX_MEMBERS:  # before zipfile makes an object of each
            raise self._reader.error(f"its directory has more than {MAX_MEMBERS:,} members", _OTHER)
        return block


def _member(info: zipfile.ZipInfo) -> RemoteMember:
    return RemoteMember(
        name=info.orig_filename,
        offset=info.header_offset,
        compressed=info.compress_size,
        size=info.file_size,
        method=info.compress_type,
        crc=info.CRC,
        encrypted=bool(info.flag_bits & _ENCRYPTED),
    )


def _ends(reader: RangeReader, infos: Sequence[zipfile.ZipInfo], directory: int) -> dict[int, int]:
    """Return, by the offset of each member, how far it can reach: to the next member or to the directory at most."""
    ordered = sorted(infos, key=lambda info: info.header_offset)
    ends: dict[int, int] = {}
    for number, info in enumerate(ordered):
        limit = ordered[number + 1].header_offset if number + 1 < len(ordered) else directory
        name_length = len(info.orig_filename.encode("utf-8" if info.flag_bits & _UTF_8 else "cp437", "replace"))
        least = info.header_offset + _LOCAL.size + name_length + info.compress_size
        if info.header_offset < 0 or least > limit:
            raise reader.error(f"member {info.orig_filename[:200]!r} overlaps with others or lies outside", _OTHER)
        # The extra field of the local header is not in the directory; what lies between members may be long.
        ends[info.header_offset] = min(limit, least + _MOST_EXTRA)
    return ends
