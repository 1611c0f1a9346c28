"""The Range downloader against a host that fails in every way we know of."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from requests.adapters import BaseAdapter
from static_host import Fault, StaticHost

from ndec_bench.download.answer import retry_after
from ndec_bench.download.location import Fetched, Location
from ndec_bench.download.part import Facts
from ndec_bench.download.policy import Policy
from ndec_bench.download.range_reader import RangeReader
from ndec_bench.download.ranges import discard, fetch, sidecar
from ndec_bench.errors import DataError, InterruptedRun, NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from ndec_bench.download.location import Advance

POLICY = Policy(
    attempts=4,
    connect_timeout=2,
    read_timeout=10,
    first_wait=0.001,
    longest_wait=0.002,
    longest_retry_after=5,
    piece=1 << 16,
)
HASTY = replace(POLICY, read_timeout=0.3)
CONTENT = np.random.default_rng(4).bytes(600_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NAME = "/images.zip"
MIB = 1 << 20


@pytest.fixture
def host() -> Iterator[StaticHost]:
    with StaticHost({NAME: CONTENT}) as running:
        yield running


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as running:
        running.trust_env = False
        yield running


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "images.zip.part"


@pytest.fixture
def get(host: StaticHost, session: requests.Session, part: Path) -> Callable[..., Fetched]:
    """Fetch NAME from the host into ``part``."""

    def run(
        path: str = NAME,
        *,
        sha256: str | None = None,
        size: int | None = None,
        policy: Policy = POLICY,
        advance: Advance | None = None,
        stop: threading.Event | None = None,
    ) -> Fetched:
        location = Location(host.url + path, size, sha256)
        return fetch(lambda: location, part, session=session, policy=policy, advance=advance, stop=stop)

    return run


def leave(host: StaticHost, part: Path, count: int, **facts: object) -> None:
    """Leave what a run that was killed after ``count`` bytes of NAME leaves."""
    part.write_bytes(CONTENT[:count])
    known = {"version": 1, "etag": host.etag(NAME), "last_modified": None, "size": len(CONTENT), **facts}
    sidecar(part).write_text(json.dumps(known))


def check(fetched: Fetched, part: Path, content: bytes = CONTENT) -> None:
    assert part.read_bytes() == content
    assert (fetched.bytes, fetched.sha256) == (len(content), hashlib.sha256(content).hexdigest())


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
    "silence before the answer": [Fault(stall=1)],
    "silence in mid-body": [Fault(stall=1, stall_at=100_000)],
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
    "silence": (Fault(stall=1), 4, r"127\.0\.0\.1 sent nothing more in time; 4 tries"),
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
    assert part.read_bytes() == b""


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


def test_a_killed_run_is_continued_on_condition(host: StaticHost, get: Callable[..., Fetched], part: Path) -> None:
    leave(host, part, 123_456)
    done: list[int] = []
    check(get(advance=lambda count, _: done.append(count)), part)
    assert host.requests[0].range == "bytes=123456-"
    assert host.requests[0].headers["if-range"] == host.etag(NAME)
    assert host.sent() == len(CONTENT) - 123_456
    assert 123_456 in done


def test_a_weak_etag_is_no_condition_but_the_date_is(host: StaticHost, get: Callable[..., Fetched], part: Path) -> None:
    date = "Tue, 14 Nov 2023 22:13:20 GMT"
    leave(host, part, 1_000, etag='W/"x"', last_modified=date)
    host.fault(NAME, Fault(headers={"ETag": 'W/"x"'}))
    check(get(), part)
    assert host.requests[0].headers["if-range"] == date
    assert host.sent() == len(CONTENT) - 1_000


@pytest.mark.parametrize(
    ("facts", "note"),
    [
        ({"etag": '"old"'}, "its ETag changed"),
        ({"size": 700_000}, "its size was 700,000 bytes and is 600,000"),
        ({"etag": None, "last_modified": None}, "gives no ETag and no date"),
        ({"etag": None, "last_modified": "Mon, 13 Nov 2023 22:13:20 GMT"}, "its date changed"),
    ],
)
def test_another_version_starts_again_from_zero(
    host: StaticHost, get: Callable[..., Fetched], part: Path, facts: Mapping[str, object], note: str
) -> None:
    leave(host, part, 1_000, **facts)
    host.fault(NAME, Fault(headers={"ETag": None}) if facts.get("last_modified") else Fault())
    fetched = get()
    check(fetched, part)
    (found,) = fetched.notes
    assert found.startswith("started again from zero after 1,000 bytes: ")
    assert note in found


def test_a_file_that_changes_on_the_way_is_fetched_anew(
    host: StaticHost, get: Callable[..., Fetched], part: Path
) -> None:
    new = CONTENT[::-1]
    host.fault(NAME, Fault(cut_after=300_000))
    fetched = get(advance=lambda done, _: host.change(NAME, new) if 0 < done <= 1 << 16 else None)
    check(fetched, part, new)
    assert "ETag changed" in fetched.notes[0]


@pytest.mark.parametrize(
    "headers",
    [
        {"ETag": '"other"'},
        {"Content-Range": "bytes 1000-599999/600001"},
        {"Content-Range": "bytes 999-599998/600000"},
        {"Content-Range": "bytes 1000-599999/*"},
        {"Content-Range": "bytes 1000-700000/600000"},
        {"Content-Range": "lines 1000-599999/600000"},
        {"Content-Range": None},
    ],
)
def test_a_wrong_partial_answer_is_never_appended(
    host: StaticHost, get: Callable[..., Fetched], part: Path, headers: Mapping[str, str | None]
) -> None:
    leave(host, part, 1_000)
    host.fault(NAME, Fault(headers=headers))
    fetched = get()
    check(fetched, part)
    assert len(fetched.notes) == 1
    assert [request.range for request in host.requests] == ["bytes=1000-", None]


def test_a_file_that_never_stays_the_same_is_given_up(
    host: StaticHost, get: Callable[..., Fetched], part: Path
) -> None:
    leave(host, part, 1_000)
    versions = itertools.count()

    def advance(*_: object) -> None:
        host.change(NAME, CONTENT, etag=f'"{next(versions)}"')

    host.fault(NAME, Fault(cut_after=1_000), always=True)
    with pytest.raises(NetworkError, match=r"one and the same file \(.*its ETag changed; 2 times\)"):
        get(advance=advance)


def test_a_whole_part_is_confirmed_by_416(host: StaticHost, get: Callable[..., Fetched], part: Path) -> None:
    leave(host, part, len(CONTENT))
    check(get(), part)
    assert [request.status for request in host.requests] == [416]


def test_a_whole_part_of_known_digest_asks_nobody(host: StaticHost, get: Callable[..., Fetched], part: Path) -> None:
    leave(host, part, len(CONTENT))
    check(get(sha256=DIGEST, size=len(CONTENT)), part)
    assert host.requests == []


def test_416_otherwise_starts_again(host: StaticHost, get: Callable[..., Fetched], part: Path) -> None:
    leave(host, part, 1_000)
    host.fault(NAME, Fault(status=416, headers={"Content-Range": "bytes */900"}))
    fetched = get()
    check(fetched, part)
    assert "no bytes after those" in fetched.notes[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        '{"version": 1, "et',
        "[]",
        "[" * 100_000,
        '{"version": 2}',
        '{"version": 1, "size": true}',
        '{"version": 1, "etag": 3}',
    ],
)
def test_torn_facts_are_no_facts(host: StaticHost, get: Callable[..., Fetched], part: Path, text: str) -> None:
    leave(host, part, 1_000)
    sidecar(part).write_text(text)
    check(get(), part)
    assert [request.range for request in host.requests] == [None]


def test_a_part_without_facts_or_longer_than_the_file_is_thrown_away(
    host: StaticHost, get: Callable[..., Fetched], part: Path
) -> None:
    part.write_bytes(b"left by somebody")
    check(get(), part)
    leave(host, part, 1_000)
    part.write_bytes(CONTENT + b"more")
    check(get(), part)
    assert [request.range for request in host.requests] == [None, None]


def test_with_a_digest_a_server_without_validators_is_continued(
    host: StaticHost, get: Callable[..., Fetched], part: Path
) -> None:
    bare: dict[str, str | None] = {"ETag": None, "Last-Modified": None}
    host.fault(NAME, Fault(headers=bare, cut_after=100_000), Fault(headers=bare))
    check(get(sha256=DIGEST), part)
    assert host.requests[1].range == "bytes=100000-"
    assert host.sent() == len(CONTENT)


def test_with_a_digest_another_source_continues_whatever_its_etag(
    session: requests.Session, get: Callable[..., Fetched], part: Path, host: StaticHost
) -> None:
    host.fault(NAME, Fault(cut_after=100_000), Fault(status=400))
    with pytest.raises(NetworkError, match="400"):
        get(sha256=DIGEST)
    with StaticHost({NAME: CONTENT}) as mirror:
        mirror.change(NAME, CONTENT, etag='"mirror"')
        fetched = fetch(lambda: Location(mirror.url + NAME, None, DIGEST), part, session=session, policy=POLICY)
        assert mirror.sent() == len(CONTENT) - 100_000
    check(fetched, part)
    assert fetched.notes == ()


def test_with_a_digest_a_server_that_ignores_ranges_is_read_past_what_is_there(
    host: StaticHost, get: Callable[..., Fetched], part: Path
) -> None:
    leave(host, part, 100_000, etag=None, sha256=DIGEST)
    host.fault(NAME, Fault(ignore_range=True))
    fetched = get(sha256=DIGEST)
    check(fetched, part)
    assert fetched.notes == ()


def test_another_published_digest_starts_again(host: StaticHost, get: Callable[..., Fetched], part: Path) -> None:
    leave(host, part, 100_000, sha256="0" * 64)
    fetched = get(sha256=DIGEST)
    check(fetched, part)
    assert fetched.notes == ("started again from zero after 100,000 bytes: its published SHA-256 changed",)


def test_wrong_bytes_are_removed_and_both_digests_shown(
    host: StaticHost, get: Callable[..., Fetched], part: Path
) -> None:
    wrong = bytes(len(CONTENT))
    host.fault(NAME, Fault(body=wrong))
    with pytest.raises(NetworkError) as caught:
        get(sha256=DIGEST.upper())
    assert hashlib.sha256(wrong).hexdigest() in str(caught.value)
    assert DIGEST in str(caught.value)
    assert list(part.parent.iterdir()) == []


def test_damage_on_disk_is_found(host: StaticHost, get: Callable[..., Fetched], part: Path) -> None:
    leave(host, part, 1_000)
    part.write_bytes(bytes(1_000))
    with pytest.raises(NetworkError, match=r"what arrived has SHA-256 .*, expected .*removed"):
        get(sha256=DIGEST)
    check(get(sha256=DIGEST), part)


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


CHILD = """
import resource, sys
from pathlib import Path
import requests
from ndec_bench.download.location import Location
from ndec_bench.download.ranges import fetch
from ndec_bench.download.policy import Policy
from ndec_bench.errors import NdecBenchError
url, part, limit = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    with requests.Session() as session:
        session.trust_env = False
        print(fetch(lambda: Location(url), part, session=session, policy=Policy(first_wait=0.01)).sha256)
except NdecBenchError as error:
    print(error)
"""


def child(host: StaticHost, part: Path, limit: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, host.url + NAME, str(part), str(limit)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
def test_a_disk_that_fills_up_in_mid_file_keeps_what_fitted(
    host: StaticHost, get: Callable[..., Fetched], part: Path
) -> None:
    with child(host, part, limit=100_001) as process:
        found, _ = process.communicate()
    assert found.startswith(f"images.zip: {part.parent} takes no file beyond 100,001 bytes of 600,000; choose")
    assert part.read_bytes() == CONTENT[:100_001]
    check(get(), part)
    assert host.requests[-1].range == "bytes=100001-"


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_at_any_moment_it_goes_on_and_fetches_at_most_one_mib_twice(tmp_path: Path) -> None:
    content = np.random.default_rng(5).bytes(5 * MIB)
    part, moments = tmp_path / "images.zip.part", np.random.default_rng(6)
    with StaticHost({NAME: content}, rate=6 * MIB) as host:
        for kill in range(1, 5):
            goal = kill * MIB + int(moments.integers(MIB // 2))
            with child(host, part) as process:
                while host.sent() < goal and process.poll() is None:
                    host.closing.wait(0.002)
                process.send_signal(signal.SIGKILL)
            assert process.returncode == -signal.SIGKILL
            assert part.read_bytes() == content[: part.stat().st_size]
        with child(host, part) as process:
            found, _ = process.communicate()
        assert found.strip() == hashlib.sha256(content).hexdigest()
        assert part.read_bytes() == content
        assert host.sent() - len(content) <= 4 * MIB
        assert sum(request.range is not None for request in host.requests) >= 3


FAULTS = st.one_of(
    st.sampled_from([Fault(status=status) for status in (403, 404, 410, 416, 429, 500, 503)]),
    st.builds(Fault, cut_after=st.integers(0, 50_000), chunked=st.booleans(), ignore_range=st.booleans()),
    st.builds(Fault, headers=st.sampled_from([{"ETag": '"other"'}, {"ETag": None}, {"Content-Range": "bytes 1-2/3"}])),
    st.builds(Fault, redirect=st.just(NAME)),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(faults=st.lists(FAULTS, max_size=8), kept=st.integers(0, 50_000))
def test_whatever_goes_wrong_the_bytes_are_right_or_there_is_an_error(
    host: StaticHost, get: Callable[..., Fetched], part: Path, faults: Sequence[Fault], kept: int
) -> None:
    small = CONTENT[:50_000]
    host.change(NAME, small)
    leave(host, part, kept, size=len(small))
    host.fault(NAME, *faults)
    for _ in range(20):
        try:
            check(get(), part, small)
            return
        except NetworkError:
            assert small.startswith(part.read_bytes())
    pytest.fail("never ended, although the source was well again")


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


def test_facts_tell_versions_apart() -> None:
    known = Facts(5, '"a"', "Monday")
    assert known.difference(Facts(None, None, None)) is None
    assert known.difference(Facts(5, 'W/"a"', "Tuesday")) is None
    assert known.difference(Facts(6, '"a"', "Monday")) == "its size was 5 bytes and is 6"
    assert known.vouches_for(Facts(5, '"a"', None))
    assert not known.vouches_for(Facts(5, None, "Monday"))
    assert not Facts(5).vouches_for(Facts(5))
    assert Facts(5, '"a"', None, "00").vouches_for(Facts(5, '"b"', None, "00"))
    assert Facts(5, '"a"', None, "00").vouches_for(Facts(5, '"a"'))
    assert not Facts(5, '"a"', None, "00").vouches_for(Facts(5, '"a"', None, "01"))


def test_a_policy_that_would_lose_more_than_promised_is_refused() -> None:
    with pytest.raises(ValueError, match="1 byte to 1 MiB"):
        Policy(piece=MIB + 1)


@pytest.fixture
def reader(host: StaticHost, session: requests.Session) -> Callable[..., RangeReader]:
    def opened(path: str = NAME, size: int | None = None) -> RangeReader:
        return RangeReader(lambda: Location(host.url + path, size), session=session, policy=POLICY)

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
