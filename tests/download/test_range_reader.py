"""Single ranges of a remote file: right bytes or an error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ranged import CONTENT, NAME, POLICY
from static_host import Fault, StaticHost

from ndec_bench.download.exchange import Location
from ndec_bench.download.range_reader import RangeReader
from ndec_bench.errors import NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import requests


@pytest.fixture
def reader(host: StaticHost, session: requests.Session) -> Callable[..., RangeReader]:
    def opened(path: str = NAME, size: int | None = None) -> RangeReader:
        return RangeReader("images.zip", lambda: Location(host.url + path, size), session=session, policy=POLICY)

    return opened


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    offset=st.integers(0, len(CONTENT) + 10),
    length=st.integers(0, len(CONTENT)),
    cuts=st.lists(st.integers(0, 99_999), max_size=3),
)
def test_any_range_is_read(
    host: StaticHost, reader: Callable[..., RangeReader], offset: int, length: int, cuts: Sequence[int]
) -> None:
    host.fault(NAME)
    remote = reader()
    host.fault(NAME, *(Fault(cut_after=cut) for cut in cuts))
    assert remote.read_at(offset, length) == CONTENT[offset : offset + length]
    assert (remote.size, remote.etag, remote.name) == (len(CONTENT), host.etag(NAME), "images.zip")


def test_a_stream_is_asked_for_once_and_may_be_left(host: StaticHost, reader: Callable[..., RangeReader]) -> None:
    remote = reader()
    first = next(remote.stream(7))
    assert first == CONTENT[7 : 7 + len(first)]
    assert b"".join(remote.stream(7)) == CONTENT[7:]
    assert len(host.requests) == 3
    with pytest.raises(ValueError, match="range at -1"):
        remote.read_at(-1, 5)


def test_an_empty_remote_file_is_read(host: StaticHost, reader: Callable[..., RangeReader]) -> None:
    host.files["/empty"] = b""
    remote = reader("/empty")
    assert (remote.size, remote.read_at(0, 10)) == (0, b"")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(ignore_range=True), "does not serve ranges of bytes"),
        (Fault(headers={"Content-Range": "bytes 0-0/*"}), "does not serve ranges of bytes"),
        (Fault(html="<title>Sign in</title>"), 'sent a web page titled "Sign in"'),
        (Fault(status=404), "answered 404 Not Found, again after"),
        (Fault(headers={"Content-Range": "bytes 0-0/7"}), "has a file of 7 bytes, expected 600,000"),
    ],
)
def test_a_file_without_ranges_is_refused(
    host: StaticHost, reader: Callable[..., RangeReader], fault: Fault, message: str
) -> None:
    host.fault(NAME, fault, always=True)
    with pytest.raises(NetworkError, match=message):
        reader(size=len(CONTENT))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(ignore_range=True), "no longer serves the file that was opened"),
        (Fault(headers={"ETag": '"other"'}), "changed the file while it was read: its ETag changed"),
        (Fault(headers={"Content-Range": "bytes 10-19/600001"}), "its size was 600,000 bytes and is 600,001"),
        (Fault(headers={"Content-Range": "bytes 11-20/600000"}), "sent other bytes than 10 to 19"),
        (Fault(headers={"Content-Range": "bytes 9-18/600000"}), "sent other bytes than 10 to 19"),
        (Fault(headers={"Content-Range": "bytes 10-90/600000"}), "sent other bytes than 10 to 19"),
        (Fault(headers={"Content-Range": "bytes 10-12/600000"}), "sends more than the 3 bytes asked for"),
        (Fault(gzip=True), "Content-Encoding gzip"),
        (Fault(status=500), "4 tries in a row"),
    ],
)
def test_other_bytes_are_never_returned(
    host: StaticHost, reader: Callable[..., RangeReader], fault: Fault, message: str
) -> None:
    remote = reader()
    host.fault(NAME, fault, always=True)
    with pytest.raises(NetworkError, match=message):
        remote.read_at(10, 10)


def test_a_file_that_changed_is_noticed(host: StaticHost, reader: Callable[..., RangeReader]) -> None:
    remote = reader()
    host.change(NAME, CONTENT[::-1])
    with pytest.raises(NetworkError, match="no longer serves the file that was opened"):
        remote.read_at(10, 10)
