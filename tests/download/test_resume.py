"""What an earlier run left: gone on with where the bytes are the same ones for certain, thrown away elsewhere."""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING

import pytest
from ranged import CONTENT, DIGEST, NAME, POLICY, check, leave
from static_host import Fault, StaticHost

from ndec_bench.download.exchange import Location
from ndec_bench.download.part import Facts, sidecar
from ndec_bench.download.ranges import Fetched, fetch
from ndec_bench.errors import NetworkError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import requests


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
