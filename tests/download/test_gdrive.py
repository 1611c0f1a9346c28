"""Files of Google Drive: gdown, unmodified, through a proxy to a look-alike."""

from __future__ import annotations

import gzip
import re
import sys
import threading
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
import requests
import trustme
from connect_proxy import ConnectProxy
from drive_host import BYTES, CONTENT, DRIVE, FRONT, ID, WHOLE, DriveFault, DriveHost
from static_host import Fault

from ndec_bench.data.registry import RemoteFile, Source
from ndec_bench.download import cost, jobs
from ndec_bench.download.exchange import Policy
from ndec_bench.download.sources import candidates
from ndec_bench.errors import DataError, InterruptedRun, NdecBenchError, NetworkError

if TYPE_CHECKING:
    from drive_host import Refusal

    from ndec_bench.download.ranges import Advance, Fetched

NAME = "weights.pth.tar"
CHUNK = 512 * 1024
"""gdown writes this much at a time; what it has of the next piece goes with the connection."""
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
    """Fetches the file as a download does; nothing may be printed."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.part = folder / f"{NAME}.part"
        self.work = folder / f"{NAME}.part.drive"
        self._capfd = capfd

    def __call__(
        self,
        file: RemoteFile | None = None,
        *,
        policy: Policy = HASTY,
        advance: Advance = lambda *_: None,
        stop: threading.Event | None = None,
    ) -> Fetched:
        with requests.Session() as session:
            (candidate,) = candidates(file or remote(), session=session, policy=policy)
            assert candidate.label == "gdrive"
            try:
                return candidate.fetch(self.part, advance, stop)
            finally:
                assert self._capfd.readouterr() == ("", "")

    def refused(self, file: RemoteFile | None = None, *, policy: Policy = HASTY) -> NdecBenchError:
        """Return the error with which a download ends, after a look at its form."""
        with pytest.raises(NdecBenchError) as caught:
            self(file, policy=policy)
        error = caught.value
        assert error.message.startswith(f"{NAME}: ")
        assert str(error).isprintable(), "one line"
        assert len(error.message) < 300
        assert not {"gdown", "HTTPSConnectionPool", "--continue"} & set(error.message.replace("(", " ").split())
        assert str(self.work) not in str(error)
        return error

    @property
    def left(self) -> list[str]:
        """Return the files that lie there, however deep, by names."""
        return sorted(path.name for path in self.part.parent.rglob("*"))

    @property
    def kept(self) -> int:
        """Return the bytes with which the next run goes on."""
        (path,) = self.work.iterdir()
        return path.stat().st_size


@pytest.fixture
def fetch(tmp_path: Path, this_machine_alone: None, capfd: pytest.CaptureFixture[str]) -> Fetcher:
    return Fetcher(tmp_path, capfd)


def whole(fetch: Fetcher, fetched: Fetched, content: bytes = WHOLE) -> bool:
    assert (fetched.bytes, fetched.sha256) == (len(content), sha256(content).hexdigest())
    assert fetch.left == [f"{NAME}.part"]
    return fetch.part.read_bytes() == content


def test_a_file_is_asked_for_where_a_browser_would(fetch: Fetcher, drive: DriveHost) -> None:
    seen: list[tuple[int, int | None]] = []
    assert whole(fetch, fetch(advance=lambda done, total: seen.append((done, total))))
    assert [(asked.host, asked.path, asked.query) for asked in drive.requests] == [
        (DRIVE, "/uc", f"id={ID}"),
        (CONTENT, "/download", f"id={ID}&export=download"),
    ]
    assert seen[-1] == (len(WHOLE), len(WHOLE))
    assert not any(asked.range or "authorization" in asked.headers for asked in drive.requests)


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


def test_cookies_of_users_stay_theirs(
    fetch: Fetcher, drive: DriveHost, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    import gdown

    cookies = tmp_path_factory.mktemp("user") / "cookies.txt"
    text = "# Netscape HTTP Cookie File\n.google.com\tTRUE\t/\tTRUE\t4102444800\tSID\tsecret\n"
    cookies.write_text(text)
    monkeypatch.setattr(sys.modules["gdown.download"], "DEFAULT_COOKIES_FILE", str(cookies))
    drive.add(ID, WHOLE, scanned=False)
    for _ in range(2):
        assert whole(fetch, fetch())
        first, *later = drive.requests
        assert first.cookie is None, "neither the user's nor those of the run before"
        assert all("secret" not in (asked.cookie or "") for asked in later)
        drive.requests.clear()
    assert cookies.read_text() == text
    # The file would have been found, had gdown been asked to use it.
    gdown.download(id=ID, output=str(fetch.part), quiet=True)
    assert drive.requests[0].cookie == "SID=secret"


@pytest.mark.parametrize("refusal", ["quota", "sign-in", "access", "busy", "no-form", "unknown"])
def test_what_drive_refuses_is_told_with_the_way_by_hand(
    fetch: Fetcher, drive: DriveHost, refusal: Refusal | Literal["unknown"]
) -> None:
    if refusal == "unknown":
        drive.files.clear()
    else:
        drive.add(ID, WHOLE, refusal=refusal)
    error = fetch.refused()
    assert isinstance(error, NetworkError)
    if refusal == "quota":
        told = "'s quota for this file is used up (Too many users have viewed or downloaded this file recently."
        assert error.message.startswith(f"{NAME}: Google Drive{told}")
    else:
        told = "no public link: it is not shared with everybody, is gone, or was asked for too often"
        assert error.message == f"{NAME}: Google Drive does not give it ({told})"
    hint = error.hint or ""
    assert hint.endswith(
        f"open https://drive.google.com/uc?id={ID} in a browser, and put the file at {fetch.part.with_name(NAME)}"
    )
    assert hint.startswith("wait a day and run again, or " if refusal == "quota" else "run again later, or ")
    assert fetch.left == []
    assert len(drive.answers(refusal)) == (1 if refusal == "quota" else 2), "asked once more unless Drive says why"


def test_a_page_that_calls_itself_the_file_is_none(fetch: Fetcher, drive: DriveHost) -> None:
    drive.fault(BYTES, Fault(html="\n<!DOCTYPE html><title>Error</title>"), always=True)
    error = fetch.refused()
    assert error.message == f"{NAME}: Google Drive gave a web page, not the file"
    assert fetch.left == []


@pytest.mark.parametrize("place", [FRONT, BYTES])
@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_failure_of_drive_is_got_over(fetch: Fetcher, drive: DriveHost, place: str, status: int) -> None:
    drive.fault(place, Fault(status=status))
    assert whole(fetch, fetch())


@pytest.mark.parametrize("received", [1_000, 1_200_000])
def test_a_failure_after_a_cut_is_got_over(fetch: Fetcher, drive: DriveHost, received: int) -> None:
    drive.fault(BYTES, Fault(cut_after=received), Fault(status=503))
    fetched = fetch()
    assert whole(fetch, fetched)
    assert fetched.notes == ()
    assert drive.answers(BYTES)[-1].range == (f"bytes={2 * CHUNK}-" if received > CHUNK else None)


def test_drive_that_fails_for_ever(fetch: Fetcher, drive: DriveHost) -> None:
    drive.fault(FRONT, Fault(status=500), always=True)
    assert isinstance(fetch.refused(), NetworkError)
    assert fetch.left == []


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("scanned", [False, True])
def test_a_cut_is_gone_on_from(fetch: Fetcher, drive: DriveHost, reset: bool, scanned: bool) -> None:
    drive.add(ID, WHOLE, scanned=scanned)
    drive.fault(BYTES, Fault(cut_after=1_200_000, reset=reset))
    assert whole(fetch, fetch())
    first, second = drive.answers(BYTES)
    assert first.range is None
    start = int((second.range or "").removeprefix("bytes=").removesuffix("-"))
    assert start % CHUNK == 0
    assert start > 0 or reset, "a reset may throw away what was not read yet"
    assert first.sent - start <= 1 << 20 or reset
    assert second.sent == len(WHOLE) - start


def test_the_next_run_goes_on_where_one_failed(fetch: Fetcher, drive: DriveHost) -> None:
    drive.fault(BYTES, Fault(cut_after=1_200_000))
    error = fetch.refused(policy=ONCE)
    assert isinstance(error, NetworkError)
    assert error.message == f"{NAME}: Google Drive broke the connection"
    assert (error.hint or "").startswith("check the connection and run again: it goes on where it stopped, or open ")
    assert fetch.kept == 2 * CHUNK
    seen: list[int] = []
    assert whole(fetch, fetch(policy=ONCE, advance=lambda done, _total: seen.append(done)))
    assert min(seen) > 2 * CHUNK
    last = drive.answers(BYTES)[-1]
    assert last.range == f"bytes={2 * CHUNK}-"
    assert last.sent == len(WHOLE) - 2 * CHUNK
    assert all(asked.cookie is None for asked in drive.answers(FRONT)[:1])


@pytest.mark.parametrize("policy", [ONCE, HASTY])
def test_a_drive_that_cannot_go_on_is_asked_for_all_of_it(fetch: Fetcher, drive: DriveHost, policy: Policy) -> None:
    drive.fault(BYTES, Fault(cut_after=1_200_000))
    fetch.refused(policy=ONCE)
    drive.fault(BYTES, Fault(ignore_range=True), always=True)
    fetched = fetch(policy=policy)
    assert whole(fetch, fetched)
    assert fetched.notes == ("started again from zero after 1,048,576 bytes: Google Drive did not go on there",)


def test_bytes_that_were_whole_when_a_run_was_killed_block_no_later_one(fetch: Fetcher, drive: DriveHost) -> None:
    fetch.work.mkdir()
    (fetch.work / "fileabcd1234.part").write_bytes(WHOLE)
    assert whole(fetch, fetch())


def test_what_nothing_vouches_for_in_the_end_is_not_gone_on_with_in_another_run(
    drive: DriveHost, fetch: Fetcher
) -> None:
    unknown = remote(sha256=None)
    drive.fault(BYTES, Fault(cut_after=1_200_000))
    fetch.refused(unknown, policy=ONCE)
    assert fetch.kept == 2 * CHUNK
    assert whole(fetch, fetch(unknown, policy=ONCE))
    assert drive.answers(BYTES)[-1].range is None


def test_a_file_that_gdown_had_finished_is_taken(fetch: Fetcher, drive: DriveHost) -> None:
    fetch.work.mkdir()
    (fetch.work / "file").write_bytes(WHOLE)
    assert whole(fetch, fetch())
    assert drive.answers(BYTES)[0].sent < len(WHOLE)


def test_two_unfinished_files_are_none(fetch: Fetcher, drive: DriveHost) -> None:
    fetch.work.mkdir()
    for name in ("fileabcd1234.part", "fileabcd5678.part"):
        (fetch.work / name).write_bytes(b"x" * 1000)
    assert whole(fetch, fetch())


def test_silence_ends_and_the_next_try_goes_on(fetch: Fetcher, drive: DriveHost) -> None:
    impatient = replace(HASTY, read_timeout=1.5)
    stalled = Fault(stall_at=600_000, stall=30.0)
    drive.fault(BYTES, stalled)
    assert whole(fetch, fetch(policy=impatient))
    assert drive.answers(BYTES)[-1].range == f"bytes={CHUNK}-"
    fetch.part.unlink()
    drive.fault(BYTES, stalled, always=True)
    error = fetch.refused(policy=impatient)
    assert error.message == f"{NAME}: Google Drive sent nothing more in time"
    assert fetch.kept >= CHUNK


def test_a_drip_can_be_stopped_and_gone_on_from(fetch: Fetcher, drive: DriveHost) -> None:
    drive.fault(BYTES, DriveFault(stall_at=600_000, rate=200.0))
    stop = threading.Event()
    with pytest.raises(InterruptedRun, match=r"^stopped; what was received is kept; run again to go on$"):
        fetch(advance=lambda *_: stop.set(), stop=stop)
    assert fetch.kept == CHUNK
    assert whole(fetch, fetch(stop=threading.Event()))
    assert drive.answers(BYTES)[-1].range == f"bytes={CHUNK}-"


def test_a_drip_can_be_stopped_before_its_first_piece_is_whole(fetch: Fetcher, drive: DriveHost) -> None:
    drive.fault(BYTES, DriveFault(stall_at=100_000, rate=200.0))
    stop = threading.Event()
    timer = threading.Timer(0.3, stop.set)
    timer.start()
    with pytest.raises(InterruptedRun):
        fetch(stop=stop)
    timer.join()
    assert fetch.left == []


@pytest.mark.parametrize("fault", ["drip", "pages"])
def test_patience_has_an_end(fetch: Fetcher, drive: DriveHost, fault: str) -> None:
    """A drip that never stops, and a page that leads to itself: gdown would stay with either for ever."""
    if fault == "drip":
        drive.fault(BYTES, DriveFault(stall_at=600_000, rate=200.0), always=True)
    else:
        drive.warns = True
    error = fetch.refused(policy=replace(ONCE, connect_timeout=0.5, read_timeout=1.0, slowest=1 << 30))
    assert re.fullmatch(rf"{re.escape(NAME)}: Google Drive sent less than 524,288 bytes in [0-9]+ s", error.message)
    assert isinstance(error, NetworkError)
    if fault == "drip":
        assert fetch.kept >= CHUNK
    else:
        assert fetch.left == []


@pytest.mark.parametrize("size", [CHUNK + 1, 100])
def test_too_short_is_a_file_that_fails(drive: DriveHost, tmp_path: Path, size: int) -> None:
    drive.add(ID, WHOLE[:size])
    file = remote(bytes_exact=True, sha256=None)
    (outcome,) = jobs.download(cost.plan((file,), tmp_path), jobs.Run(tmp_path, policy=HASTY))
    assert isinstance(outcome.error, DataError)
    assert outcome.error.message == f"{NAME}: {size:,} bytes, published 2,000,000"
    assert list((tmp_path / "weights").iterdir()) == []


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("endless", [False, True])
def test_too_long_ends_before_the_disk_is_full(fetch: Fetcher, drive: DriveHost, endless: bool, exact: bool) -> None:
    drive.add(ID, WHOLE * 3)
    if endless:
        drive.fault(BYTES, DriveFault(chunked=True, endless=True), always=True)
    limit = 1_000_000 if exact else 2 * 1_000_000 + (1 << 20)
    error = fetch.refused(remote(bytes=1_000_000, bytes_exact=exact))
    assert isinstance(error, NetworkError)
    found = rf"[0-9,]+ bytes, expected at most {limit:,}"
    assert re.fullmatch(rf"weights\.pth\.tar: Google Drive sends something else \({found}\)", error.message)
    assert fetch.left == [], "too much is nothing to go on with"
    drive.fault(BYTES, Fault())
    drive.add(ID, WHOLE[:900_000])
    assert whole(fetch, fetch(remote(bytes=900_000)), WHOLE[:900_000])


def test_an_empty_file(fetch: Fetcher, drive: DriveHost) -> None:
    drive.add(ID, b"")
    assert fetch.refused().message == f"{NAME}: Google Drive gave 0 bytes, expected about 2,000,000"
    assert fetch.left == []


def test_an_encoding_that_was_not_asked_for(fetch: Fetcher, drive: DriveHost) -> None:
    drive.fault(BYTES, Fault(gzip=True, body=gzip.compress(WHOLE, 1)))
    assert whole(fetch, fetch())
    assert drive.answers(BYTES)[0].headers["accept-encoding"] == "identity"
    drive.fault(BYTES, Fault(gzip=True), always=True)
    error = fetch.refused()
    assert error.message == f"{NAME}: Google Drive sent it in a Content-Encoding that it does not have"


@pytest.mark.parametrize(
    "headers",
    [{"Content-Type": None, "Content-Disposition": None}, {"Content-Type": None}, {"Last-Modified": "soon"}],
)
def test_an_answer_that_gdown_stumbles_over(fetch: Fetcher, drive: DriveHost, headers: dict[str, str | None]) -> None:
    drive.fault(BYTES, Fault(headers=headers), always=True)
    error = fetch.refused()
    assert isinstance(error, NetworkError)
    assert error.message.startswith(f"{NAME}: Google Drive does not give it (")


def test_a_proxy_that_refuses(fetch: Fetcher, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> None:
    with ConnectProxy(authority, {"example.org": DriveHost().hosts[DRIVE]}) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        error = fetch.refused()
    assert error.message == f"{NAME}: Google Drive cannot be reached through the proxy"
    assert proxy.refused == ["CONNECT drive.google.com:443"]
    assert fetch.left == []


def test_no_connection_at_all(fetch: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert fetch.refused().message == f"{NAME}: Google Drive cannot be reached through the proxy"
    assert fetch.left == []


def test_a_certificate_of_somebody_else(
    fetch: Fetcher, drive: DriveHost, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path_factory.mktemp("other") / "authority.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))
    error = fetch.refused()
    assert error.message == f"{NAME}: Google Drive's certificate is not valid here"
    assert drive.requests == []


def test_a_missing_list_of_authorities_is_no_matter_of_the_disk(
    fetch: Fetcher, drive: DriveHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/authority.pem")
    error = fetch.refused()
    assert isinstance(error, NetworkError)
    assert "/nowhere/authority.pem" in error.message
    assert fetch.left == []


def test_a_disk_that_fills_up_keeps_what_came(fetch: Fetcher, drive: DriveHost) -> None:
    def full(_done: int, _total: int | None) -> None:
        raise DataError("the disk is nearly full")

    with pytest.raises(DataError, match=r"^the disk is nearly full$"):
        fetch(advance=full)
    assert fetch.kept == CHUNK
    assert whole(fetch, fetch())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_is_no_matter_of_drive(fetch: Fetcher, drive: DriveHost) -> None:
    fetch.work.mkdir()
    (fetch.work / "fileabcd1234.part").symlink_to("/dev/full")
    error = fetch.refused()
    assert isinstance(error, DataError)
    assert error.message == f"{NAME}: cannot be written (No space left on device)"
    assert error.hint == "free disk space and run again"
    assert fetch.left == []
