"""Members of remote zips: sound archives of every kind, and hostile ones."""

from __future__ import annotations

import io
import struct
import threading
import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from static_host import Fault, StaticHost

from ndec_bench.download import remote_zip
from ndec_bench.download.location import Location
from ndec_bench.download.policy import Policy
from ndec_bench.download.remote_zip import RemoteMember, RemoteZip, open_remote_zip
from ndec_bench.errors import InterruptedRun, NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

POLICY = Policy(attempts=3, read_timeout=2, first_wait=0.001, longest_wait=0.002)
NAME = "/references_0.zip"
FILES = {
    f"images/references/R{number:06d}.jpg": np.random.default_rng(number).bytes(4_000 + number) for number in range(40)
}


@pytest.fixture
def host() -> Iterator[StaticHost]:
    with StaticHost({}) as running:
        yield running


@pytest.fixture
def opened(host: StaticHost) -> Iterator[Callable[..., RemoteZip]]:
    """Open an archive, given as its bytes or as a file on disk, by way of the host."""
    with requests.Session() as session:
        session.trust_env = False

        def run(content: bytes | Path, stop: threading.Event | None = None) -> RemoteZip:
            if isinstance(content, bytes):
                host.change(NAME, content)
            host.files[NAME] = content
            return open_remote_zip(lambda: Location(host.url + NAME), session=session, policy=POLICY, stop=stop)

        yield run


def archive(files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED, comment: bytes = b"") -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as made:
        for name, content in files.items():
            made.writestr(name, content)
        made.comment = comment
    return target.getvalue()


def read_all(found: RemoteZip) -> dict[str, bytes]:
    return {member.name: content for member, content in found.read_members(found.members)}


class _Pipe(io.RawIOBase):
    """A target that cannot seek: zipfile then writes sizes and CRC behind each member."""

    def __init__(self) -> None:
        super().__init__()
        self.content = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, block: bytes) -> int:  # type: ignore[override]
        self.content += block
        return len(block)


def streamed() -> bytes:
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in FILES.items():
            made.writestr(name, content)
    return bytes(pipe.content)


SOUND = {
    "stored": archive(FILES),
    "deflated": archive(FILES, zipfile.ZIP_DEFLATED),
    "with a comment": archive(FILES, comment=b"PK\x05\x06" + bytes(60_000)),
    "behind a program": b"#!/bin/sh\n" * 500 + archive(FILES),
    "written to a pipe": streamed(),
    "folders and other names": archive({"images/": b"", "images/é.jpg": b"1", "../../x": b"2", "empty": b""}),
    "nothing": archive({}),
}


@pytest.mark.parametrize("kind", SOUND)
def test_sound_archives_are_read_as_zipfile_reads_them(opened: Callable[..., RemoteZip], kind: str) -> None:
    found = opened(SOUND[kind])
    with zipfile.ZipFile(io.BytesIO(SOUND[kind])) as local:
        infos = [info for info in local.infolist() if not info.is_dir()]
        assert read_all(found) == {info.filename: local.read(info) for info in infos}
    assert [(m.name, m.offset, m.compressed, m.size, m.method, m.crc) for m in found.members] == [
        (i.filename, i.header_offset, i.compress_size, i.file_size, i.compress_type, i.CRC) for i in infos
    ]
    assert found.size == len(SOUND[kind])


def test_zip64_beyond_four_gigabytes(host: StaticHost, opened: Callable[..., RemoteZip], tmp_path: Path) -> None:
    path = tmp_path / "large.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("first", b"1" * 1_000)
        made.start_dir = 5 << 30  # where zipfile puts the next member: a hole, which takes no disk
        made.writestr("second", b"2" * 1_000)
    found = opened(path)
    assert found.members[1].offset == 5 << 30
    assert read_all(found) == {"first": b"1" * 1_000, "second": b"2" * 1_000}
    assert host.sent() < 1 << 20


def test_few_members_cost_few_bytes_and_neighbours_one_request(
    host: StaticHost, opened: Callable[..., RemoteZip]
) -> None:
    found = opened(SOUND["stored"])
    host.requests.clear()
    seen: list[tuple[int, int | None]] = []
    wanted = [found.members[number] for number in (30, 3, 2, 4, 2)]
    got = list(found.read_members(wanted, gap=0, advance=lambda done, total: seen.append((done, total))))
    assert [member.name[-6:] for member, _ in got] == ["02.jpg", "03.jpg", "04.jpg", "30.jpg"]
    assert all(content == FILES[member.name] for member, content in got)
    assert [request.status for request in host.requests] == [206, 206]
    assert host.sent() == sum(len(FILES[member.name]) + 30 + len(member.name) for member, _ in got)
    assert [done for done, _ in seen][-1] == seen[-1][1] == host.sent()


def test_gaps_are_fetched_where_that_saves_requests_and_requests_stay_bounded(
    host: StaticHost, opened: Callable[..., RemoteZip]
) -> None:
    found = opened(SOUND["stored"])
    every_other = found.members[::2]
    for gap, longest, requests_made in ((4_000, 1 << 23, 20), (5_000, 1 << 23, 1), (5_000, 20_000, 10)):
        host.requests.clear()
        assert len(list(found.read_members(every_other, gap=gap, longest=longest))) == 20
        assert len(host.requests) == requests_made


def test_cuts_and_refusals_in_between_are_survived(host: StaticHost, opened: Callable[..., RemoteZip]) -> None:
    host.fault(NAME, Fault(status=503), Fault(cut_after=0), Fault(cut_after=9_999), Fault(status=403), Fault())
    found = opened(SOUND["deflated"])
    host.fault(NAME, Fault(cut_after=77_777), Fault(status=500), Fault(cut_after=1))
    assert read_all(found) == FILES


def test_a_run_that_is_stopped_stops(opened: Callable[..., RemoteZip]) -> None:
    stop = threading.Event()
    found = opened(SOUND["stored"], stop)
    stop.set()
    with pytest.raises(InterruptedRun, match=r"references_0\.zip: stopped"):
        read_all(found)


def test_an_archive_that_changes_is_noticed(host: StaticHost, opened: Callable[..., RemoteZip]) -> None:
    found = opened(SOUND["stored"])
    host.change(NAME, SOUND["stored"], etag='"new"')
    with pytest.raises(NetworkError, match="no longer serves the file that was opened"):
        read_all(found)


def test_a_server_without_ranges_is_named(host: StaticHost, opened: Callable[..., RemoteZip]) -> None:
    host.fault(NAME, Fault(ignore_range=True), always=True)
    with pytest.raises(NetworkError, match=r"references_0\.zip: 127\.0\.0\.1 does not serve ranges of bytes"):
        opened(SOUND["stored"])


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + b"\xff" * 18, SOUND["stored"][:-1]])
def test_what_is_no_zip_is_named(opened: Callable[..., RemoteZip], content: bytes) -> None:
    with pytest.raises(NetworkError, match=r"references_0\.zip: 127\.0\.0\.1 serves no zip that can be read"):
        opened(content)


TWO = archive({"a.jpg": b"a" * 500, "b.jpg": b"b" * 500}, zipfile.ZIP_DEFLATED)
CENTRAL = TWO.index(b"PK\x01\x02")


def changed(offset: int, layout: str, value: int, content: bytes = TWO) -> bytes:
    copy = bytearray(content)
    struct.pack_into(layout, copy, offset, value)
    return bytes(copy)


REFUSED = {
    "encrypted": (changed(CENTRAL + 8, "<H", 1), r"member 'a\.jpg' is encrypted"),
    "other method": (changed(CENTRAL + 10, "<H", 12), r"is packed by method 12, expected 0 \(stored\) or 8"),
    "wrong CRC": (changed(CENTRAL + 16, "<I", 7), r"has CRC-32 [0-9a-f]{8}, its directory says 00000007"),
    "bomb": (changed(CENTRAL + 24, "<I", 100), r"has 101 bytes, its directory says 100"),
    "too short": (changed(CENTRAL + 24, "<I", 501), r"has 500 bytes, its directory says 501"),
    "too large": (changed(CENTRAL + 24, "<I", 1 << 29), r"has 536,870,912 bytes, at most 268,435,456 are accepted"),
    "cut": (changed(CENTRAL + 20, "<I", 4), r"ends before its last byte|overlaps"),
    "not deflated": (changed(35, "<B", 0xFF), r"cannot be unpacked"),
    "no header": (changed(0, "<B", 0), r"has no local header at byte 0"),
    "other name": (changed(30, "<B", ord("x")), r"has another name in its local header"),
    "long header": (changed(28, "<H", 40), r"runs into the next one"),
    "overlap": (changed(CENTRAL + 42, "<I", TWO.index(b"PK\x03\x04", 4)), r"overlaps with others or lies outside"),
    "inside": (changed(CENTRAL + 42, "<I", 10), r"overlaps with others or lies outside"),
    "outside": (changed(CENTRAL + 42, "<I", 1 << 30), r"overlaps with others or lies outside"),
    "reaching out": (changed(CENTRAL + 20, "<I", 1 << 30), r"overlaps with others or lies outside"),
    "twice": (TWO.replace(b"b.jpg", b"a.jpg"), r"its directory names a file twice"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_hostile_archives_are_refused(opened: Callable[..., RemoteZip], kind: str) -> None:
    content, message = REFUSED[kind]
    with pytest.raises(NetworkError, match=message):
        read_all(opened(content))


def test_a_bad_member_does_not_spoil_the_others(opened: Callable[..., RemoteZip]) -> None:
    found = opened(REFUSED["encrypted"][0])
    assert [content for _, content in found.read_members(found.members[1:])] == [b"b" * 500]


def test_a_member_of_another_archive_is_a_mistake(opened: Callable[..., RemoteZip]) -> None:
    found = opened(TWO)
    with pytest.raises(ValueError, match=r"'x' is not a member of references_0\.zip"):
        next(found.read_members([RemoteMember("x", 3, 1, 1, 0, 0)]))


def test_directories_are_limited(opened: Callable[..., RemoteZip], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_zip, "MAX_MEMBERS", 39)
    with pytest.raises(NetworkError, match="its directory has more than 39 members"):
        opened(SOUND["stored"])
    monkeypatch.setattr(remote_zip, "MAX_DIRECTORY_BYTES", 1_000)
    with pytest.raises(NetworkError, match="its directory has more than 1,000 bytes"):
        opened(SOUND["stored"])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, len(TWO) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_whatever_is_damaged_no_wrong_byte_comes_out(
    opened: Callable[..., RemoteZip], changes: list[tuple[int, int]]
) -> None:
    content = bytearray(TWO)
    for offset, value in changes:
        content[offset] = value
    try:
        found = opened(bytes(content))
        for member, unpacked in found.read_members(found.members):
            assert (len(unpacked), zlib.crc32(unpacked)) == (member.size, member.crc)
    except NetworkError as error:
        assert str(error).startswith("references_0.zip: ")  # noqa: PT017 -- one of two right ends
