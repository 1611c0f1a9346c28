"""The Range downloader against a host that fails in every way we know of."""

from __future__ import annotations

import io
import itertools
import json
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ranged import CONTENT, DIGEST, HASTY, MIB, NAME, POLICY, check, leave
from requests.adapters import BaseAdapter
from static_host import Fault, StaticHost

from ndec_bench.download.exchange import Location, Policy, retry_after
from ndec_bench.download.part import discard, sidecar
from ndec_bench.download.ranges import Fetched, fetch
from ndec_bench.errors import DataError, InterruptedRun, NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def test_a_file_is_fetched_with_its_size_digest_and_etag(
    host: StaticHost, get: Callable[..., Fetched], part: Path
) -> None:
    seen: list[tuple[int, int | None]] = []
    fetched = get(sha256=DIGEST, size=len(CONTENT), advance=lambda done, total: seen.append((done, total)))
    check(fetched, part)
    assert fetched.etag == host.etag(NAME)
    assert fetched.notes == ()
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    (request,) = host.requests
    assert request.range is None
    assert request.headers["accept-encoding"] == "identity"


def test_an_empty_file_is_a_file(host: StaticHost, get: Callable[..., Fetched], part: Path) -> None:
    host.files["/empty"] = b""
    check(get("/empty"), part, b"")


def test_facts_lie_beside_the_part_before_the_first_byte_and_name_no_address(
    host: StaticHost, get: Callable[..., Fetched], part: Path
) -> None:
    seen: list[dict[str, object]] = []
    get("/images.zip?signature=secret", advance=lambda *_: seen.append(json.loads(sidecar(part).read_text())))
    assert seen[0] == {
        "version": 1,
        "etag": host.etag(NAME),
        "last_modified": "Tue, 14 Nov 2023 22:13:20 GMT",
        "size": len(CONTENT),
        "sha256": None,
    }
    discard(part)
    assert list(part.parent.iterdir()) == []


@pytest.mark.parametrize("reset", [False, True])
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, len(CONTENT) // 3), max_size=3))
def test_cuts_anywhere_cost_next_to_nothing_twice(
    host: StaticHost, get: Callable[..., Fetched], part: Path, reset: bool, cuts: Sequence[int]
) -> None:
    discard(part)
    host.requests.clear()
    host.fault(NAME, *(Fault(cut_after=cut, reset=reset) for cut in cuts))
    check(get(), part)
    twice = host.sent(NAME) - len(CONTENT)
    # The first 511 bytes are held back until they show that this is no web page; a reset drops what was not yet read.
    assert twice <= (MIB if reset else 511) * len(cuts)
    assert len(host.requests) == 1 + len(cuts)


PASSING = {  # the last request of each is served well
    "500": [Fault(status=500)],
    "502, 503, 504": [Fault(status=502), Fault(status=503), Fault(status=504)],
    "408": [Fault(status=408)],
    "429 with seconds": [Fault(status=429, retry_after="0")],
    "429 with a date gone by": [Fault(status=429, retry_after="Tue, 14 Nov 2023 22:13:20 GMT")],
    "503 with an unreadable wait": [Fault(status=503, retry_after="soon")],
    "cut in mid-body": [Fault(cut_after=200_001)],
    "reset in mid-body": [Fault(cut_after=200_001, reset=True)],
    "cut before the body": [Fault(cut_after=0)],
    "silence before the answer": [Fault(stall=10)],
    "silence in mid-body": [Fault(stall=10, stall_at=100_000)],
    "cut between chunks": [Fault(chunked=True, cut_after=200_001)],
    "moved": [Fault(redirect=NAME)],
    "moved, with a body that never comes": [Fault(redirect=NAME, content_length=1 << 40)],
    "403 once: the address had expired": [Fault(status=403)],
    "404 once": [Fault(status=404)],
    "a cut, then a 403, then a cut": [
        Fault(cut_after=1_000),
        Fault(status=403),
        Fault(cut_after=1_000),
        Fault(status=410),
    ],
    "a server that ignores ranges and cuts": [
        Fault(cut_after=200_001),
        Fault(ignore_range=True, cut_after=100_000),
        Fault(ignore_range=True, cut_after=300_000),
    ],
    "half of the range": [
        Fault(cut_after=900),
        Fault(headers={"Content-Range": "bytes 900-999/600000"}, content_length=100),
    ],
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes_is_survived(host: StaticHost, get: Callable[..., Fetched], part: Path, name: str) -> None:
    host.fault(NAME, *PASSING[name], Fault())
    fetched = get(policy=HASTY if name.startswith("silence") else POLICY)
    check(fetched, part)
    assert fetched.notes == ()
    assert len(host.requests) == 1 + len(PASSING[name])


LASTING = {
    "400": (Fault(status=400), 1, r"127\.0\.0\.1 answered 400 Bad Request, expected the file"),
    "403": (Fault(status=403), 2, r"answered 403 Forbidden, again after its address was renewed"),
    "404": (Fault(status=404), 2, r"answered 404 Not Found, again after"),
    "410": (Fault(status=410), 2, r"answered 410 Gone, again after"),
    "416": (Fault(status=416), 1, r"answered 416 to a request without a range"),
    "500": (
        Fault(status=500),
        4,
        r"answered 500 Internal Server Error; 4 tries in a row brought nothing new; .*run again",
    ),
    "429": (
        Fault(status=429, retry_after="7200"),
        1,
        r"answered 429 Too Many Requests and asks to wait 7,200 s, at most 5 s",
    ),
    "silence": (Fault(stall=10), 4, r"127\.0\.0\.1 sent nothing more in time; 4 tries"),
    "cut": (Fault(cut_after=0), 4, r"broke the connection; 4 tries"),
    "loop": (Fault(redirect=NAME), 11, r"127\.0\.0\.1 redirects more than 10 times"),
    "no file": (Fault(redirect="file:///etc/passwd"), 1, r"the address is not one of http or https"),
    "no address": (Fault(redirect="http://[::1"), 1, r"redirects to an address that cannot be read"),
    "page": (
        Fault(html="<html><head><title>Sign in\n &amp; \x1b[31maccept</title>"),
        1,
        r'sent a web page titled "Sign in & \[31maccept", expected the file',
    ),
    "page as file": (
        Fault(body=b"\n<!DOCTYPE HTML>\n<title>Quota</title>"),
        1,
        r'sent a web page titled "Quota", expected the file',
    ),
    "gzip": (Fault(gzip=True), 1, r"sent it with Content-Encoding gzip, expected the file as it is"),
    "parts": (Fault(headers={"Content-Type": "multipart/byteranges; boundary=x"}), 1, r"answered with several parts"),
    "206": (Fault(status=206), 1, r"answered 206 to a request without a range"),
    "204": (Fault(status=204), 1, r"answered 204 No Content, expected the file"),
    "no length": (Fault(headers={"Content-Length": None}), 1, r"does not say how long the file is"),
    "short": (Fault(content_length=7), 1, r"has a file of 7 bytes, expected 600,000"),
}


@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_is_one_clear_error_and_leaves_nothing_wrong(
    host: StaticHost, get: Callable[..., Fetched], part: Path, name: str
) -> None:
    fault, requests_made, message = LASTING[name]
    host.fault(NAME, fault, always=True)
    with pytest.raises(NetworkError, match=r"^images\.zip: ") as caught:
        get(
            "/images.zip?signature=secret",
            size=None if name in {"no length", "page as file"} else len(CONTENT),
            policy=HASTY if name == "silence" else POLICY,
        )
    assert caught.match(message)
    assert "secret" not in str(caught.value)
    assert len(host.requests) == requests_made
    assert not part.exists() or part.read_bytes() == b""


def test_chunks_make_a_file(host: StaticHost, get: Callable[..., Fetched], part: Path) -> None:
    host.fault(NAME, Fault(chunked=True))
    check(get(), part)


def test_a_server_that_ignores_ranges_is_read_past_what_is_there(
    host: StaticHost, get: Callable[..., Fetched], part: Path
) -> None:
    leave(host, part, 100_000)
    host.fault(NAME, Fault(ignore_range=True))
    fetched = get()
    check(fetched, part)
    assert fetched.notes == ()
    assert host.sent() == len(CONTENT)


def test_a_web_page_later_on_leaves_what_is_there(host: StaticHost, get: Callable[..., Fetched], part: Path) -> None:
    leave(host, part, 5_000)
    host.fault(NAME, Fault(html="<html><title>Sign in</title>"))
    with pytest.raises(NetworkError, match="Sign in"):
        get()
    assert part.read_bytes() == CONTENT[:5_000]
    check(get(), part)
    assert host.requests[-1].range == "bytes=5000-"


def test_more_than_stated_is_cut_off(host: StaticHost, get: Callable[..., Fetched], part: Path) -> None:
    host.fault(NAME, Fault(chunked=True), always=True)
    with pytest.raises(NetworkError, match=r"sends more than the 1,000 bytes expected"):
        get(size=1_000)
    assert list(part.parent.iterdir()) == []
    with pytest.raises(NetworkError, match=r"sends more than the 100,000 bytes expected"):
        get(policy=Policy(largest=100_000))


def test_less_than_stated_is_refused(host: StaticHost, get: Callable[..., Fetched], part: Path) -> None:
    host.fault(NAME, Fault(chunked=True), always=True)
    with pytest.raises(NetworkError, match=r"what arrived has 600,000 bytes, expected 600,001"):
        get(size=600_001)


def test_a_body_that_ends_with_the_connection_is_taken_to_its_stated_end(
    host: StaticHost, get: Callable[..., Fetched], part: Path
) -> None:
    endless = {"Content-Length": None, "Connection": "close"}
    host.fault(NAME, Fault(headers=endless, cut_after=100_000), Fault(headers=endless, cut_after=200_000))
    check(get(size=len(CONTENT)), part)
    assert [request.range for request in host.requests] == [None, "bytes=100000-", "bytes=300000-"]


def test_a_trickle_is_left_for_a_new_connection(host: StaticHost, get: Callable[..., Fetched], part: Path) -> None:
    host.fault(NAME, Fault(rate=20_000))
    check(get(policy=Policy(first_wait=0.001, slowest=100_000, slow_for=0.1)), part)
    assert len(host.requests) == 2
    assert host.requests[1].range is not None


def test_a_source_that_only_drips_is_left_for_the_next(host: StaticHost, get: Callable[..., Fetched]) -> None:
    host.fault(NAME, Fault(rate=20_000), always=True)
    drip = Policy(first_wait=0.001, longest_wait=0.002, slowest=100_000, slow_for=0.1)
    with pytest.raises(NetworkError, match=r"sends less than 100,000 bytes per second, 3 times in a row; try again"):
        get(policy=drip)
    assert len(host.requests) == 3


def test_an_address_that_expires_is_renewed_again_and_again(
    host: StaticHost, session: requests.Session, part: Path
) -> None:
    issued = itertools.count()

    def resolve() -> Location:
        path = f"/signed/{next(issued)}"
        host.files[path] = CONTENT
        host.change(path, CONTENT)
        host.fault(path, Fault(cut_after=100_000), Fault(status=403), always=True)
        return Location(host.url + path)

    check(fetch(resolve, part, session=session, policy=POLICY), part)
    assert host.sent() - len(CONTENT) == 5 * len("Forbidden")
    assert next(issued) == 6


def test_what_resolve_raises_comes_through_and_keeps_the_part(
    host: StaticHost, session: requests.Session, part: Path
) -> None:
    leave(host, part, 1_000)

    def resolve() -> Location:
        raise NetworkError("nobody knows images.zip")

    with pytest.raises(NetworkError, match="nobody knows"):
        fetch(resolve, part, session=session, policy=POLICY)
    assert part.stat().st_size == 1_000


def test_headers_go_to_their_address_alone(host: StaticHost, session: requests.Session, part: Path) -> None:
    with StaticHost({NAME: CONTENT}) as other:
        host.fault("/begin", Fault(redirect="/next"))
        host.fault("/next", Fault(redirect=other.url + NAME))
        secret = {"X-Token": "secret", "Authorization": "Bearer secret"}
        check(fetch(lambda: Location(host.url + "/begin", headers=secret), part, session=session, policy=POLICY), part)
        assert [request.headers.get("x-token") for request in host.requests] == ["secret", "secret"]
        assert [request.headers.get("authorization") for request in host.requests] == ["Bearer secret"] * 2
        assert not {"x-token", "authorization"} & set(other.requests[0].headers)


def test_a_password_file_does_not_replace_a_token(
    host: StaticHost, part: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with requests.Session() as session:
        headers = {"authorization": "Bearer token"}
        fetch(lambda: Location(host.url + NAME, headers=headers), part, session=session, policy=POLICY)
    assert host.requests[0].headers["authorization"] == "Bearer token"


class _Redirecting(BaseAdapter):
    """Stands for an https host: answers every request with a redirect."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> requests.Response:
        response = requests.Response()
        response.status_code = 302
        response.url = request.url or ""
        response.raw = io.BytesIO()
        response.headers["Location"] = self.target
        return response

    def close(self) -> None:
        pass


def test_https_never_becomes_http(host: StaticHost, session: requests.Session, part: Path) -> None:
    session.mount("https://", _Redirecting(host.url + NAME))
    with pytest.raises(
        NetworkError, match=r"example\.org redirects from https to http \(127\.0\.0\.1\), which is refused"
    ):
        fetch(lambda: Location("https://example.org/x?key=secret"), part, session=session, policy=POLICY)
    assert host.requests == []


def test_nobody_at_home_is_one_clear_error(session: requests.Session, part: Path) -> None:
    with StaticHost({}) as gone:
        url = gone.url
    with pytest.raises(NetworkError) as caught:
        fetch(lambda: Location(f"{url}/x?key=secret"), part, session=session, policy=POLICY)
    assert str(caught.value) == (
        "images.zip: 127.0.0.1 refuses connections; 4 tries in a row brought nothing new; "
        "check the connection and run again: it goes on where it stopped"
    )


@pytest.mark.parametrize("url", ["ftp://host/x", "no address", "http://", "http://[::1/x", "http://host:99999/x"])
def test_an_unusable_address_is_refused_at_once(session: requests.Session, part: Path, url: str) -> None:
    with pytest.raises(NetworkError, match=r"images\.zip: the address"):
        fetch(lambda: Location(url), part, session=session, policy=POLICY)


def test_stopping_keeps_what_is_there(host: StaticHost, get: Callable[..., Fetched], part: Path) -> None:
    stop = threading.Event()

    def advance(done: int, _: int | None) -> None:
        if done >= 100_000:
            stop.set()

    with pytest.raises(InterruptedRun, match=r"images\.zip: stopped after [0-9,]+ bytes, which are kept; run again"):
        get(advance=advance, stop=stop)
    kept = part.stat().st_size
    assert kept >= 100_000
    check(get(), part)
    assert host.requests[-1].range == f"bytes={kept}-"


def test_an_interrupt_at_the_keyboard_keeps_what_is_there(
    host: StaticHost, get: Callable[..., Fetched], part: Path
) -> None:
    def advance(done: int, _: int | None) -> None:
        if done >= 100_000:
            raise KeyboardInterrupt

    with pytest.raises(InterruptedRun):
        get(advance=advance)
    assert part.read_bytes() == CONTENT[: part.stat().st_size]
    check(get(), part)


@pytest.mark.parametrize("fault", [Fault(stall=30, stall_at=100_000), Fault(status=503, retry_after="30")])
def test_stopping_does_not_wait_for_the_source(
    host: StaticHost, get: Callable[..., Fetched], part: Path, fault: Fault
) -> None:
    stop = threading.Event()
    host.fault(NAME, fault, always=True)
    timer = threading.Timer(0.2, stop.set)
    timer.start()
    with pytest.raises(InterruptedRun):
        get(stop=stop, policy=Policy(read_timeout=30))
    timer.join()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_clear_error(
    get: Callable[..., Fetched], part: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    part.symlink_to("/dev/full")
    monkeypatch.setattr(Path, "is_symlink", lambda _path: False)  # a link is removed otherwise
    with pytest.raises(DataError) as caught:
        get()
    assert str(caught.value) == (
        f"images.zip: no space left in {part.parent} after 0 bytes of 600,000; "
        "free disk space and run again: it goes on where it stopped"
    )


def test_an_unusable_folder_is_named(get: Callable[..., Fetched], part: Path) -> None:
    part.mkdir()
    with pytest.raises(DataError, match=r"images\.zip: .*images\.zip\.part cannot be used \(Is a directory\)"):
        get()


def test_a_policy_that_would_lose_more_than_promised_is_refused() -> None:
    with pytest.raises(ValueError, match="1 byte to 1 MiB"):
        Policy(piece=MIB + 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, None), ("0", 0.0), (" 17 ", 17.0), ("-3", None), ("9" * 5_000, None), ("soon", None), ("1.5", None)],
)
def test_retry_after_in_seconds(text: str | None, expected: float | None) -> None:
    assert retry_after(text) == expected


def test_retry_after_as_a_date() -> None:
    soon = retry_after(format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True))
    assert soon is not None
    assert 3_000 < soon <= 3_600
    assert retry_after("Tue, 14 Nov 2023 22:13:20 GMT") == 0.0
