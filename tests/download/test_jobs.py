"""Files fetched side by side: verified, recorded, moved; what fails fails alone, and loses nothing."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from static_host import Fault, StaticHost

from ndec_bench.data.registry import RemoteFile, Source
from ndec_bench.data.trust import read_trust
from ndec_bench.download import cost, jobs
from ndec_bench.download.exchange import Policy
from ndec_bench.download.jobs import Outcome, Run, download, failures, locked
from ndec_bench.errors import DataError, InterruptedRun, NetworkError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HASTY = Policy(attempts=3, first_wait=0.001, longest_wait=0.002)


def archive(seed: int, shard: int = 0, size: int = 3_000_000) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr(
            zipfile.ZipInfo(f"images/references/R{50_000 * shard:06d}.jpg"),  # without the time of day
            bytes((seed + n * 7) % 251 for n in range(1000)) * (size // 1000),
        )
    return buffer.getvalue()


CONTENT = {f"references_{n}.zip": archive(n, n) for n in range(3)}


@pytest.fixture
def host() -> Iterator[StaticHost]:
    with StaticHost({f"/{name}": content for name, content in CONTENT.items()}) as running:
        yield running


def remote(host: StaticHost, name: str, **update: object) -> RemoteFile:
    content = CONTENT.get(name, b"?")
    address = f"{host.url}/{name}"
    values: dict[str, object] = {
        "name": name,
        "dataset": "disc21",
        "part": "references",
        "bytes": len(content),
        "licence": "DISC21",
        "unpack": "zip",
        "sources": (Source(kind="web", url=address, address=address),),
    }
    return RemoteFile.model_validate(values | update)


def fetch(root: Path, *files: RemoteFile, at_once: int = 2, run: Run | None = None) -> tuple[Outcome, ...]:
    return download(cost.plan(files, root), run or Run(root, policy=HASTY), jobs=at_once)


def test_files_come_whole_and_are_recorded(tmp_path: Path, host: StaticHost) -> None:
    seen: dict[str, tuple[int, int]] = {}
    run = Run(tmp_path, policy=HASTY, progress=lambda name, done, total: seen.update({name: (done, total)}))
    outcomes = fetch(tmp_path, *(remote(host, name) for name in CONTENT), run=run)
    assert [(outcome.file.name, outcome.state, outcome.source) for outcome in outcomes] == [
        (name, "fetched", "web") for name in CONTENT
    ]
    for outcome in outcomes:
        content = CONTENT[outcome.file.name]
        assert outcome.path.read_bytes() == content
        assert (outcome.bytes, outcome.sha256) == (len(content), sha256(content).hexdigest())
        assert seen[outcome.file.name] == (len(content), len(content))
    assert sorted(path.name for path in (tmp_path / "disc21").iterdir()) == sorted(CONTENT)
    assert {key: entry.sha256 for key, entry in read_trust(tmp_path).files.items()} == {
        f"disc21/{name}": sha256(content).hexdigest() for name, content in CONTENT.items()
    }


def test_what_is_there_is_not_asked_for_nor_read_again(tmp_path: Path, host: StaticHost) -> None:
    file = remote(host, "references_0.zip")
    fetch(tmp_path, file)
    asked, read = len(host.requests), []
    run = Run(tmp_path, policy=HASTY, progress=lambda *args: read.append(args))
    (outcome,) = fetch(tmp_path, file, run=run)
    assert (outcome.state, outcome.source, len(host.requests), read) == ("present", "web", asked, [])


def test_a_wrong_bit_is_found_before_it_is_recorded(tmp_path: Path, host: StaticHost) -> None:
    file = remote(host, "references_0.zip")
    damaged = bytearray(CONTENT[file.name])
    damaged[2_000_000] ^= 1
    host.change(f"/{file.name}", bytes(damaged))
    (outcome,) = fetch(tmp_path, file)
    assert outcome.state == "failed"
    assert "CRC" in str(outcome.error)
    assert read_trust(tmp_path).files == {}
    host.change(f"/{file.name}", CONTENT[file.name])
    assert fetch(tmp_path, file)[0].state == "fetched"


def test_a_damaged_file_under_its_final_name_says_what_to_delete(tmp_path: Path, host: StaticHost) -> None:
    file = remote(host, "references_0.zip", bytes_exact=False)
    place = file.path(tmp_path)
    place.parent.mkdir()
    place.write_bytes(CONTENT[file.name][:100_000])
    (outcome,) = fetch(tmp_path, file)
    assert outcome.error is not None
    assert outcome.error.hint == f"remove {place} and run again: it is fetched then"
    place.unlink()
    assert fetch(tmp_path, file)[0].state == "fetched"


def test_two_processes_lose_no_record_of_each_other(tmp_path: Path) -> None:
    """As "data verify" during "download" does."""
    code = (
        "import sys; from pathlib import Path; from ndec_bench.data.trust import FileRecord, record\n"
        "entry = FileRecord(bytes=1, sha256='0' * 64, source='local', mtime_ns=1)\n"
        "for n in range(25): record(Path(sys.argv[1]), f'{sys.argv[2]}/{n}', entry)"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), each]) for each in "ab"]
    assert [process.wait(timeout=60) for process in running] == [0, 0]
    assert len(read_trust(tmp_path).files) == 50


def test_sizes_that_one_source_gave_are_held_against_no_file(
    tmp_path: Path, host: StaticHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan that does not fit by its estimates is measured; the file then comes from another source."""
    big, small = archive(1, size=900_000), archive(1, size=800_000)
    host.change("/a.zip", big)
    host.change("/b.zip", small)
    host.fault("/a.zip", *[Fault()] * 1, *[Fault(status=404)] * 5)
    sources = [Source(kind="web", url=f"{host.url}/{name}", address=name) for name in ("a.zip", "b.zip")]
    free = 10 * 2**30
    monkeypatch.setattr(cost, "disk_free", lambda _root: free)
    file = remote(host, "references_0.zip", bytes=free, bytes_exact=False, sources=sources)
    (outcome,) = fetch(tmp_path, file)
    assert (outcome.state, outcome.bytes) == ("fetched", len(small)), outcome.error


def test_a_file_put_there_by_hand_is_read_once_and_recorded(tmp_path: Path, host: StaticHost) -> None:
    file = remote(host, "references_0.zip")
    file.path(tmp_path).parent.mkdir()
    file.path(tmp_path).write_bytes(CONTENT[file.name])
    (outcome,) = fetch(tmp_path, file)
    assert (outcome.state, outcome.source, host.requests) == ("present", "local", [])
    assert read_trust(tmp_path).files["disc21/references_0.zip"].sha256 == sha256(CONTENT[file.name]).hexdigest()


def test_a_touched_file_is_read_again_and_a_changed_one_refused(tmp_path: Path, host: StaticHost) -> None:
    file = remote(host, "references_0.zip", bytes_exact=False)
    (first,) = fetch(tmp_path, file)
    os.utime(first.path, ns=(1, 1))
    assert fetch(tmp_path, file)[0].state == "present"
    assert read_trust(tmp_path).files["disc21/references_0.zip"].mtime_ns == 1
    first.path.write_bytes(archive(9))
    (outcome,) = fetch(tmp_path, file)
    assert outcome.state == "failed"
    old, new = (sha256(content).hexdigest() for content in (CONTENT[file.name], archive(9)))
    assert f"SHA-256 {new}, but {old} when first verified (web)" in str(outcome.error)
    assert first.path.read_bytes() == archive(9), "a user's file is never removed"


def test_a_source_that_changed_since_is_an_error_with_both_digests(tmp_path: Path, host: StaticHost) -> None:
    file = remote(host, "references_0.zip", bytes_exact=False)
    (first,) = fetch(tmp_path, file)
    first.path.unlink()
    host.files["/references_0.zip"] = archive(9)
    (outcome,) = fetch(tmp_path, file)
    assert outcome.state == "failed"
    for content in (CONTENT[file.name], archive(9)):
        assert sha256(content).hexdigest() in str(outcome.error)
    assert "ndec-bench.lock.json" in str(outcome.error)
    assert list((tmp_path / "disc21").iterdir()) == []


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"sha256": "0" * 64}, "SHA-256 [0-9a-f]{64}, published 0{64}"),
        ({"bytes": 1000}, r"3,000,\d+ bytes, published 1,000"),
        ({"unpack": "tar"}, "not a tar archive, but a file that begins with 50 4b 03 04"),
        ({"ground_truth": "disc21-dev", "unpack": "none"}, "a zip archive, expected a table of text"),
    ],
)
def test_what_is_not_the_file_never_gets_its_name(
    tmp_path: Path, host: StaticHost, update: dict[str, object], message: str
) -> None:
    (outcome,) = fetch(tmp_path, remote(host, "references_0.zip", **update))
    assert outcome.state == "failed"
    with pytest.raises((DataError, NetworkError), match=message):
        raise outcome.error or AssertionError
    assert list((tmp_path / "disc21").iterdir()) == []
    assert read_trust(tmp_path).files == {}


ZIP = archive(0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (ZIP[:-30], "not a complete zip archive"),
        (archive(1, 1), "holds R050000, expected numbers from 0 to 49999; it is another archive"),
        (ZIP.replace(b"R000000.jpg", b"T000000.jpg"), "holds no image called R"),
        (ZIP.replace(b"R000000.jpg", b"R000000.txt"), "holds no image called R"),
        (ZIP.replace(b"images/references/", b"../../references_/"), r"\.\./\.\./references"),
    ],
)
def test_an_archive_that_is_not_whole_or_another_one_is_neither_taken_nor_recorded(
    tmp_path: Path, host: StaticHost, content: bytes, message: str
) -> None:
    host.files["/references_0.zip"] = content
    (outcome,) = fetch(tmp_path, remote(host, "references_0.zip", bytes=len(content)))
    assert outcome.state == "failed"
    with pytest.raises(DataError, match=message):
        raise outcome.error or AssertionError
    assert list((tmp_path / "disc21").iterdir()) == []
    assert read_trust(tmp_path).files == {}


def test_a_linked_archive_that_is_refused_makes_room_for_the_right_one(tmp_path: Path, host: StaticHost) -> None:
    theirs = tmp_path / "theirs.zip"
    theirs.write_bytes(archive(1, 1))
    file = remote(host, "references_0.zip")
    file.path(tmp_path).parent.mkdir()
    file.path(tmp_path).symlink_to(theirs)
    assert fetch(tmp_path, file)[0].state == "failed"
    assert theirs.read_bytes() == archive(1, 1)
    assert fetch(tmp_path, file)[0].state == "fetched"
    assert file.path(tmp_path).read_bytes() == CONTENT[file.name]


def test_an_unfinished_file_that_is_a_link_does_not_lead_anywhere(tmp_path: Path, host: StaticHost) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"precious")
    file = remote(host, "references_0.zip")
    file.path(tmp_path).parent.mkdir()
    cost.part_of(file.path(tmp_path)).symlink_to(theirs)
    assert fetch(tmp_path, file)[0].state == "fetched"
    assert (theirs.read_bytes(), file.path(tmp_path).is_symlink()) == (b"precious", False)


def test_the_next_source_serves_and_the_reason_is_kept(tmp_path: Path, host: StaticHost) -> None:
    host.files["/page.zip"] = b"<!doctype html><title>Sign in</title>"
    urls = (f"{host.url}/gone.zip", f"{host.url}/page.zip", f"{host.url}/references_0.zip")
    sources = tuple(Source(kind="web", url=url, address=url) for url in urls)
    (outcome,) = fetch(tmp_path, remote(host, "references_0.zip", sources=sources))
    assert outcome.state == "fetched"
    assert len(outcome.notes) == 2
    assert "404" in outcome.notes[0]
    assert "Sign in" in outcome.notes[1]


def test_a_file_that_fails_does_not_stop_the_others(tmp_path: Path, host: StaticHost) -> None:
    host.fault("/references_1.zip", Fault(status=403), always=True)
    outcomes = fetch(tmp_path, *(remote(host, name) for name in CONTENT))
    assert [outcome.state for outcome in outcomes] == ["fetched", "failed", "fetched"]
    assert [outcome.file.name for outcome in failures(outcomes, truth=False)] == ["references_1.zip"]
    host.fault("/references_1.zip", Fault(), always=True)
    assert [outcome.state for outcome in fetch(tmp_path, *(remote(host, name) for name in CONTENT))] == [
        "present",
        "fetched",
        "present",
    ]


def test_one_of_two_ground_truths_and_optional_files_may_fail(tmp_path: Path, host: StaticHost) -> None:
    def outcome(state: str, **update: object) -> Outcome:
        return Outcome(remote(host, "references_0.zip", **update), tmp_path, state)  # type: ignore[arg-type]

    published = outcome("failed", ground_truth="ndec", unpack="none")
    dev = {"ground_truth": "disc21-dev", "unpack": "none"}
    assert failures((published, outcome("fetched", **dev), outcome("failed", optional=True)), truth=True) == ()
    assert failures((published, outcome("fetched", **dev)), truth=False) == (published,)
    assert len(failures((published, outcome("failed", **dev)), truth=False)) == 2
    assert failures((published,), truth=True) == (published,)


def test_a_full_disk_ends_the_run_and_keeps_what_came(
    tmp_path: Path, host: StaticHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "_LOOK_AT_DISK", 1 << 20)
    file = remote(host, "references_0.zip")
    planned = cost.plan((file,), tmp_path)
    monkeypatch.setattr(jobs, "disk_free", lambda _root: 1000)
    with pytest.raises(DataError, match=r"nearly full \(1,000 bytes free\); what was received is kept"):
        download(planned, Run(tmp_path, policy=HASTY), jobs=2)
    part = cost.part_of(file.path(tmp_path))
    kept = part.stat().st_size
    assert kept >= 1 << 20
    monkeypatch.undo()
    fetch(tmp_path, file)
    assert host.requests[-1].range == f"bytes={kept}-"
    assert file.path(tmp_path).read_bytes() == CONTENT[file.name]


def test_estimates_that_do_not_fit_are_checked_with_the_source(
    tmp_path: Path, host: StaticHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    huge = remote(host, "references_0.zip", bytes=10**18, bytes_exact=False)
    assert fetch(tmp_path, huge)[0].state == "fetched"
    asked = len(host.requests)
    with pytest.raises(DataError, match=r"1,000,000,000,000,000,000 bytes are to be fetched and 1 GiB to be left"):
        fetch(tmp_path, remote(host, "references_1.zip", bytes=10**18))
    assert len(host.requests) == asked
    monkeypatch.setattr(cost, "disk_free", lambda _root: cost.RESERVE + 1000)
    with pytest.raises(DataError, match=r"3,000,\d+ bytes are to be fetched"):
        fetch(tmp_path, remote(host, "references_1.zip", bytes=10**18, bytes_exact=False))


def test_two_runs_do_not_fight(tmp_path: Path) -> None:
    again = pytest.raises(DataError, match="another download is at work there")
    with locked(tmp_path / "new"), again, locked(tmp_path / "new"):
        pass
    with locked(tmp_path / "new"):
        pass


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path, host: StaticHost) -> None:
    stop = threading.Event()
    run = Run(tmp_path, policy=HASTY, stop=stop, progress=lambda *_: stop.set())
    with pytest.raises(InterruptedRun, match="what was received is kept"):
        fetch(tmp_path, *(remote(host, name) for name in CONTENT), run=run)
    kept = {path.name: path.stat().st_size for path in (tmp_path / "disc21").glob("*.part")}
    assert any(kept.values())
    assert all(size < len(CONTENT[name.removesuffix(".part")]) for name, size in kept.items())
    fetch(tmp_path, *(remote(host, name) for name in CONTENT))
    assert {f"bytes={size}-" for size in kept.values() if size} <= {request.range for request in host.requests}
    for name, content in CONTENT.items():
        assert (tmp_path / "disc21" / name).read_bytes() == content


def test_the_lock_file_is_the_same_however_it_came_about(tmp_path: Path, host: StaticHost) -> None:
    def digests(root: Path) -> dict[str, dict[str, object]]:
        files = json.loads((root / "ndec-bench.lock.json").read_text())["files"]
        return {key: {k: v for k, v in entry.items() if k != "mtime_ns"} for key, entry in files.items()}

    fetch(tmp_path / "a", *(remote(host, name) for name in CONTENT), at_once=3)
    for name in reversed(CONTENT):
        host.fault(f"/{name}", Fault(cut_after=1_000_000))
        fetch(tmp_path / "b", remote(host, name))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
