"""Members of remote zips: read by the reader of local ones, over ranges of bytes."""

from __future__ import annotations

import io
import threading
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
from ranged import POLICY
from static_host import Fault, StaticHost

from ndec_bench.archives import safe, zip_index
from ndec_bench.archives.archive import read_members
from ndec_bench.archives.zip_index import index_zip
from ndec_bench.download.exchange import Location
from ndec_bench.download.range_reader import RangeReader
from ndec_bench.errors import DataError, InterruptedRun, NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import requests

    from ndec_bench.archives.members import Members

NAME = "/references_0.zip"
FILES = {
    f"images/references/R{number:06d}.jpg": np.random.default_rng(number).bytes(4_000 + number) for number in range(40)
}


@pytest.fixture
def opened(host: StaticHost, session: requests.Session) -> Callable[..., RemoteZip]:
    """Open an archive, given as its bytes or as a file on disk, by way of the host."""

    def run(content: bytes | Path, stop: threading.Event | None = None) -> RemoteZip:
        if isinstance(content, bytes):
            host.change(NAME, content)
        host.files[NAME] = content
        where = lambda: Location(host.url + NAME)  # noqa: E731
        return RemoteZip(RangeReader("references_0.zip", where, session=session, policy=POLICY, stop=stop))

    return run


class RemoteZip:
    def __init__(self, reader: RangeReader) -> None:
        self.reader = reader
        self.members: Members = index_zip(reader)

    def read(self, *rows: int, **options: int) -> Iterator[tuple[str, bytes]]:
        """Yield names and contents of the members in these rows, of all without any."""
        wanted = rows or range(len(self.members))
        for row, content in read_members(self.reader, self.members, wanted, **options):
            yield self.members.names[row], content


def archive(files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED, comment: bytes = b"") -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", method) as made:
        for name, content in files.items():
            made.writestr(name, content)
        made.comment = comment
    return target.getvalue()


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
    "folders and other names": archive({"images/": b"", "images/é.jpg": b"1", "empty": b""}),
    "nothing": archive({}),
}


@pytest.mark.parametrize("kind", SOUND)
def test_sound_archives_are_read_as_zipfile_reads_them(opened: Callable[..., RemoteZip], kind: str) -> None:
    with zipfile.ZipFile(io.BytesIO(SOUND[kind])) as local:
        expected = {info.filename: local.read(info) for info in local.infolist() if not info.is_dir()}
    assert dict(opened(SOUND[kind]).read()) == expected


def test_zip64_beyond_four_gigabytes(host: StaticHost, opened: Callable[..., RemoteZip], tmp_path: Path) -> None:
    path = tmp_path / "large.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("first", b"1" * 1_000)
        made.start_dir = 5 << 30  # where zipfile puts the next member: a hole, which takes no disk
        made.writestr("second", b"2" * 1_000)
    found = opened(path)
    assert found.members.offsets[1] == 5 << 30
    assert dict(found.read()) == {"first": b"1" * 1_000, "second": b"2" * 1_000}
    assert host.sent() < 1 << 20


def test_few_members_cost_few_bytes_and_neighbours_one_request(
    host: StaticHost, opened: Callable[..., RemoteZip]
) -> None:
    found = opened(SOUND["stored"])
    host.requests.clear()
    got = list(found.read(30, 3, 2, 4, 2, gap=0))
    assert [name[-6:] for name, _ in got] == ["02.jpg", "03.jpg", "04.jpg", "30.jpg"]
    assert all(content == FILES[name] for name, content in got)
    assert [request.status for request in host.requests] == [206, 206]
    assert host.sent() == sum(len(content) + 30 + len(name) for name, content in got)


def test_gaps_are_fetched_where_that_saves_requests_and_requests_stay_bounded(
    host: StaticHost, opened: Callable[..., RemoteZip]
) -> None:
    found = opened(SOUND["stored"])
    for gap, longest, requests_made in ((4_000, 1 << 23, 20), (5_000, 1 << 23, 1), (5_000, 20_000, 10)):
        host.requests.clear()
        assert len(list(found.read(*range(0, 40, 2), gap=gap, longest=longest))) == 20
        assert len(host.requests) == requests_made


def test_cuts_and_refusals_in_between_are_survived(host: StaticHost, opened: Callable[..., RemoteZip]) -> None:
    host.fault(NAME, Fault(status=503), Fault(cut_after=0), Fault(cut_after=9_999), Fault(status=403), Fault())
    found = opened(SOUND["deflated"])
    host.fault(NAME, Fault(cut_after=77_777), Fault(status=500), Fault(cut_after=1))
    assert dict(found.read()) == FILES


def test_a_run_that_is_stopped_stops(opened: Callable[..., RemoteZip]) -> None:
    stop = threading.Event()
    found = opened(SOUND["stored"], stop)
    stop.set()
    with pytest.raises(InterruptedRun, match=r"references_0\.zip: stopped"):
        dict(found.read())


def test_an_archive_that_changes_is_noticed(host: StaticHost, opened: Callable[..., RemoteZip]) -> None:
    found = opened(SOUND["stored"])
    host.change(NAME, SOUND["stored"], etag='"new"')
    with pytest.raises(NetworkError, match="no longer serves the file that was opened"):
        dict(found.read())


def test_a_server_that_breaks_off_for_good_is_named(host: StaticHost, opened: Callable[..., RemoteZip]) -> None:
    host.fault(NAME, Fault(), Fault(status=500), always=True)
    with pytest.raises(NetworkError, match=r"references_0\.zip: 127\.0\.0\.1 answered 500 .*; 4 tries"):
        opened(SOUND["stored"])


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + b"\xff" * 18, SOUND["stored"][:-1]])
def test_what_is_not_a_zip_is_named(opened: Callable[..., RemoteZip], content: bytes) -> None:
    with pytest.raises(DataError, match=r"references_0\.zip: not a complete zip archive"):
        opened(content)


def test_a_hostile_archive_is_refused_as_a_local_one_is(opened: Callable[..., RemoteZip]) -> None:
    content = SOUND["stored"]
    central = content.index(b"PK\x01\x02")
    with pytest.raises(DataError, match="is wrong"):
        dict(opened(content[: central + 16] + b"wrong CRC"[:4] + content[central + 20 :]).read())


def test_directories_are_limited(opened: Callable[..., RemoteZip], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe, "MAX_MEMBERS", 39)
    with pytest.raises(DataError, match="more than 39 members"):
        opened(SOUND["stored"])
    monkeypatch.setattr(zip_index, "_MAX_DIRECTORY", 1_000)
    with pytest.raises(DataError, match="at most 1000 are accepted"):
        opened(SOUND["stored"])
