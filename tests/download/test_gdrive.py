"""Files of Google Drive, through a proxy to a look-alike: pages before the bytes, refusals, and the way by hand."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Literal

import pytest
import trustme
from connect_proxy import ConnectProxy
from drive_host import BYTES, CONTENT, DRIVE, FRONT, ID, WHOLE, DriveFault, DriveHost
from static_host import Fault

from ndec_bench.data.registry import RemoteFile, Source
from ndec_bench.download import cost, jobs
from ndec_bench.download.exchange import Policy, new_session
from ndec_bench.download.sources import candidates
from ndec_bench.errors import DataError, InterruptedRun, NdecBenchError, NetworkError

if TYPE_CHECKING:
    from pathlib import Path

    from drive_host import Refusal

    from ndec_bench.download.ranges import Advance, Fetched

NAME = "weights.pth.tar"
HASTY = Policy(attempts=2, first_wait=0.001, longest_wait=0.002)
ONCE = replace(HASTY, attempts=1)


def remote(**update: object) -> RemoteFile:
    source = Source(kind="gdrive", url=f"https://drive.google.com/uc?id={ID}", address=ID)
    values: dict[str, object] = {
        "name": NAME,
        "dataset": "weights",
        "part": "bot",
        "bytes": len(WHOLE),
        "bytes_exact": False,
        "sha256": sha256(WHOLE).hexdigest(),
        "licence": "MIT",
        "sources": (source,),
    }
    return RemoteFile.model_validate(values | update)


class Fetcher:
    """Fetches the file as a download does."""

    def __init__(self, folder: Path) -> None:
        self.part = folder / f"{NAME}.part"

    def __call__(
        self,
        file: RemoteFile | None = None,
        *,
        policy: Policy = HASTY,
        advance: Advance = lambda *_: None,
        stop: threading.Event | None = None,
    ) -> Fetched:
        with new_session() as session:
            (candidate,) = candidates(file or remote(), session=session, policy=policy)
            assert candidate.label == "gdrive"
            return candidate.fetch(self.part, advance, stop)

    def refused(self, file: RemoteFile | None = None, *, policy: Policy = HASTY) -> NdecBenchError:
        """Return the error with which a download ends, after a look at its form."""
        with pytest.raises(NetworkError) as caught:
            self(file, policy=policy)
        error = caught.value
        assert error.message.startswith(f"{NAME}: ")
        assert str(error).isprintable(), "one line"
        assert len(error.message) < 300
        by_hand = f"open https://drive.google.com/uc?id={ID} in a browser, and put the file at "
        assert (error.hint or "").endswith(by_hand + str(self.part.with_name(NAME)))
        return error

    @property
    def left(self) -> list[str]:
        """Return the files that lie there, however deep, by names."""
        return sorted(path.name for path in self.part.parent.rglob("*"))


@pytest.fixture
def fetch(tmp_path: Path, this_machine_alone: None) -> Fetcher:
    return Fetcher(tmp_path)


def whole(fetch: Fetcher, fetched: Fetched, content: bytes = WHOLE) -> bool:
    assert (fetched.bytes, fetched.sha256) == (len(content), sha256(content).hexdigest())
    return fetch.part.read_bytes() == content


def test_a_file_is_asked_for_where_a_browser_would(fetch: Fetcher, drive: DriveHost) -> None:
    assert whole(fetch, fetch())
    assert [(asked.host, asked.path, asked.query) for asked in drive.requests] == [
        (DRIVE, "/uc", f"id={ID}"),
        (CONTENT, "/download", f"id={ID}&export=download"),
    ]
    assert not any(asked.range or asked.cookie or "authorization" in asked.headers for asked in drive.requests)


@pytest.mark.parametrize("name", ["../../x.csv", "/etc/passwd", "..", "a\\b.csv", "", "%2e%2e%2fx"])
def test_the_name_that_drive_gives_has_no_effect(fetch: Fetcher, drive: DriveHost, tmp_path: Path, name: str) -> None:
    before = {path.name for path in tmp_path.parent.iterdir()}
    drive.add(ID, WHOLE, filename=name)
    assert whole(fetch, fetch())
    assert {path.name for path in tmp_path.parent.iterdir()} == before


def test_the_page_that_warns_of_unscanned_files_is_followed(fetch: Fetcher, drive: DriveHost) -> None:
    drive.add(ID, WHOLE, scanned=False)
    assert whole(fetch, fetch())
    assert [asked.place for asked in drive.requests] == [FRONT, "warning", BYTES]
    (uuid,) = drive.uuids
    assert drive.requests[-1].query == f"id={ID}&export=download&confirm=t&uuid={uuid}"


def test_a_page_that_leads_to_itself_is_asked_a_few_times(fetch: Fetcher, drive: DriveHost) -> None:
    drive.warns = True
    assert fetch.refused().message == f"{NAME}: {CONTENT} redirects more than 10 times"
    assert len(drive.requests) == 11
    assert fetch.left == []


@pytest.mark.parametrize(
    ("refusal", "found", "asked"),
    [
        ("quota", "Google Drive's quota for this file is used up (Too many users have viewed or downloaded", 1),
        ("sign-in", "Google Drive does not give it (no public link: it is not shared with everybody, is gone", 2),
        ("no-form", "Google Drive does not give it (no public link: it is not shared with everybody, is gone", 2),
        ("access", f"{CONTENT} answered 403 Forbidden, again after its address was renewed", 2),
        ("unknown", f"{DRIVE} answered 404 Not Found, again after its address was renewed", 2),
        ("busy", f"{DRIVE} answered 429 Too Many Requests; 2 tries in a row brought nothing new", 2),
    ],
)
def test_what_drive_refuses_is_reported_with_the_way_by_hand(
    fetch: Fetcher, drive: DriveHost, refusal: Refusal | Literal["unknown"], found: str, asked: int
) -> None:
    if refusal == "unknown":
        drive.files.clear()
    else:
        drive.add(ID, WHOLE, refusal=refusal)
    error = fetch.refused()
    assert error.message.startswith(f"{NAME}: {found}")
    assert (error.hint or "").startswith("wait a day and run again, or ") is (refusal == "quota")
    assert fetch.left == []
    assert len(drive.answers(refusal)) == asked


@pytest.mark.parametrize("kind", ["text/html", "application/octet-stream"])
def test_a_page_in_the_place_of_the_bytes_is_not_the_file(fetch: Fetcher, drive: DriveHost, kind: str) -> None:
    page = Fault(html="\n<!DOCTYPE html><title>Error</title>", headers={"Content-Type": kind})
    drive.fault(BYTES, page, always=True)
    fetch.refused()
    assert fetch.left == []


@pytest.mark.parametrize("place", [FRONT, BYTES])
@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_failure_of_drive_is_got_over(fetch: Fetcher, drive: DriveHost, place: str, status: int) -> None:
    drive.fault(place, Fault(status=status))
    assert whole(fetch, fetch())


@pytest.mark.parametrize("scanned", [False, True])
@pytest.mark.parametrize("digest", [None, sha256(WHOLE).hexdigest()])
def test_the_next_run_goes_on_where_one_failed(
    fetch: Fetcher, drive: DriveHost, scanned: bool, digest: str | None
) -> None:
    drive.add(ID, WHOLE, scanned=scanned)
    drive.fault(BYTES, Fault(cut_after=1_200_000))
    error = fetch.refused(remote(sha256=digest), policy=ONCE)
    assert error.message.startswith(f"{NAME}: {CONTENT} broke ")
    kept = fetch.part.stat().st_size
    assert kept > 1_000_000
    assert whole(fetch, fetch(remote(sha256=digest), policy=ONCE))
    last = drive.answers(BYTES)[-1]
    assert (last.range, last.sent) == (f"bytes={kept}-", len(WHOLE) - kept)


def test_a_drive_that_cannot_go_on_is_asked_for_all_of_it(fetch: Fetcher, drive: DriveHost) -> None:
    drive.fault(BYTES, Fault(cut_after=1_200_000), Fault(ignore_range=True))
    assert whole(fetch, fetch())


def test_a_drip_can_be_stopped_and_gone_on_from(fetch: Fetcher, drive: DriveHost) -> None:
    drive.fault(BYTES, DriveFault(stall_at=600_000, rate=200.0))
    stop = threading.Event()
    with pytest.raises(InterruptedRun, match=r"which are kept; run again to go on$"):
        fetch(advance=lambda *_: stop.set(), stop=stop)
    assert fetch.part.stat().st_size
    assert whole(fetch, fetch())


@pytest.mark.parametrize("size", [2_000_000 - 1, 100])
def test_too_short_is_a_file_that_fails(drive: DriveHost, tmp_path: Path, size: int) -> None:
    drive.add(ID, WHOLE[:size])
    file = remote(bytes_exact=True, sha256=None)
    (outcome,) = jobs.download(cost.plan((file,), tmp_path), jobs.Run(tmp_path, policy=HASTY))
    assert isinstance(outcome.error, DataError)
    assert outcome.error.message == f"{NAME}: {size:,} bytes, published 2,000,000"
    assert list((tmp_path / "weights").iterdir()) == []


@pytest.mark.parametrize("endless", [False, True])
def test_too_long_ends_before_the_disk_is_full(fetch: Fetcher, drive: DriveHost, endless: bool) -> None:
    drive.add(ID, WHOLE * 3)
    if endless:
        drive.fault(BYTES, DriveFault(chunked=True, endless=True), always=True)
    limit = 2 * 1_000_000 + (1 << 20)
    error = fetch.refused(remote(bytes=1_000_000))
    assert re.fullmatch(rf"{NAME}: {CONTENT} sends more than the {limit:,} bytes expected", error.message)
    assert fetch.left == [], "too much is nothing to go on with"


def test_other_bytes_than_the_published_ones(fetch: Fetcher, drive: DriveHost) -> None:
    drive.add(ID, b"")
    assert f"SHA-256 {sha256(b'').hexdigest()}, expected " in fetch.refused().message
    assert fetch.left == []


def test_an_encoding_that_was_not_asked_for(fetch: Fetcher, drive: DriveHost) -> None:
    drive.fault(BYTES, Fault(gzip=True), always=True)
    assert (
        fetch.refused().message == f"{NAME}: {CONTENT} sent it with Content-Encoding gzip, expected the file as it is"
    )
    assert drive.answers(BYTES)[0].headers["accept-encoding"] == "identity"


def test_a_proxy_that_refuses(fetch: Fetcher, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    with ConnectProxy(authority, {"example.org": DriveHost().hosts[DRIVE]}) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        error = fetch.refused(policy=ONCE)
    assert error.message.startswith(f"{NAME}: {DRIVE} cannot be reached through the proxy")
    assert proxy.refused == ["CONNECT drive.google.com:443"]
    assert fetch.left == []


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"])
def test_one_list_of_authorities_serves_whatever_its_variable(
    fetch: Fetcher,
    drive: DriveHost,
    authority: trustme.CA,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    for each in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(each, raising=False)
    bundle = tmp_path_factory.mktemp("authorities") / "authority.pem"
    trustme.CA().cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv(variable, str(bundle))
    assert fetch.refused().message == f"{NAME}: the certificate of {DRIVE} is not valid here"
    assert drive.requests == []
    authority.cert_pem.write_to_path(str(bundle))
    assert whole(fetch, fetch())
