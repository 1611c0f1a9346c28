"""``ndec-bench download`` as users see it: plan, consent, outcome, errors, exit codes; against a mirror here."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import time
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest
from small_archives import disc21_images, ndec_queries, tar_of, zip_of
from static_host import Fault, StaticHost

from ndec_bench.cli import run
from ndec_bench.download.exchange import Policy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUERIES = tar_of(ndec_queries(range(25_000, 25_010)))
REFERENCES = {f"references_{n}.zip": zip_of(disc21_images("R", range(n * 50_000, n * 50_000 + 3))) for n in range(20)}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[StaticHost]:
    files = {"query_images_h5.tar": QUERIES, **REFERENCES}
    with StaticHost({f"/{name}": content for name, content in files.items()}) as running:
        for kind in ("HUGGINGFACE", "META", "GDRIVE"):
            monkeypatch.setenv(f"NDEC_BENCH_BASE_URL_{kind}", running.url)
        yield running


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Point every source to a closed port, so that no test waits for the real ones."""
    for kind in ("HUGGINGFACE", "META", "GDRIVE", "WEB"):
        monkeypatch.setenv(f"NDEC_BENCH_BASE_URL_{kind}", "http://127.0.0.1:9")


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def call_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    code, out, _ = call(capsys, *arguments, "--json")
    return code, json.loads(out)


def test_the_plan_of_everything_needs_no_network(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, plan = call_json(capsys, "download", "ndec", "--dry-run", "--root", str(tmp_path))
    assert code == 0
    assert len(plan["files"]) == 46
    assert plan["files"][0]["sources"][0]["url"].startswith("http://127.0.0.1:9/")  # the mirror, in place of the source
    assert plan["bytes_total"] == sum(file["bytes"] for file in plan["files"])
    assert plan["bytes_exact"] is False
    assert plan["disk_free"] > 0
    for file in plan["files"]:
        assert {"name", "part", "sources", "bytes", "bytes_exact", "sha256", "licence"} <= file.keys()
        assert file["sources"]
        assert file["sources"][0]["source"] in {"huggingface", "gdrive", "meta"}
    assert list(tmp_path.iterdir()) == []


def test_the_plan_in_words(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = call(capsys, "download", "ndec", "--dry-run", "--root", str(tmp_path), "--rate", "50")
    assert (code, err) == (0, "")
    assert "references_0.zip .. references_19.zip (20)" in out
    assert "negative_pair.tar.aa .. negative_pair.tar.ac (3)" in out
    assert "about 468 GB of 468 GB" in out
    assert "In place of meta: http://127.0.0.1:9" in out
    assert "2 h 36 min at 50.0 MB/s" in out
    assert "Licence CC-BY-NC-4.0: Creative Commons" in out
    assert "Licence DISC21: Image Similarity Dataset License Agreement (Meta)" in out


def test_licences_are_shown_and_asked_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, host: StaticHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("download", "ndec", "queries", "--root", str(tmp_path))
    code, _, err = call(capsys, *arguments)
    assert code == 2
    assert "CC-BY-NC-4.0: Creative Commons" in err
    assert "not accepted: Creative Commons" in err
    assert "--yes" in err
    assert host.requests == []
    for answer, expected in (("n\n", 6), ("", 6), ("y\n", 0)):
        monkeypatch.setattr(sys, "stdin", _Terminal(answer))
        code, _, err = call(capsys, *arguments)
        assert "Do you accept Creative Commons" in err
        assert code == expected
    (tmp_path / "ndec" / "query_images_h5.tar").unlink()
    assert "Do you accept" not in call(capsys, *arguments)[2], "what was accepted is not asked for again"


class _Terminal:
    def __init__(self, answer: str) -> None:
        self._answer = answer

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self._answer


def test_files_arrive_and_the_outcome_says_whence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, host: StaticHost
) -> None:
    arguments = ("download", "ndec", "queries", "references", "--yes", "--root", str(tmp_path))
    code, outcome = call_json(capsys, *arguments)
    assert code == 0
    assert {file["name"]: (file["state"], file["source"]) for file in outcome["files"]} == {
        "query_images_h5.tar": ("fetched", "mirror of huggingface"),
        **dict.fromkeys(REFERENCES, ("fetched", "mirror of meta")),
    }
    assert outcome["files"][0]["sha256"] == sha256(QUERIES).hexdigest()
    assert outcome["ground_truth"]["used"] is None
    for name, content in REFERENCES.items():
        assert (tmp_path / "disc21" / name).read_bytes() == content
    asked = len(host.requests)
    code, out, _ = call(capsys, *arguments)
    assert (code, len(host.requests)) == (0, asked)
    assert "query_images_h5.tar: " in out
    assert "was here (from mirror of huggingface)" in out
    code, out, _ = call(capsys, "download", "ndec", "queries", "references", "--offline", "--root", str(tmp_path))
    assert code == 0


def test_offline_names_what_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = call(capsys, "download", "ndec", "references", "--offline", "--root", str(tmp_path))
    assert code == 4
    assert "references_0.zip, references_1.zip" in err
    assert "and 15 others" in err
    assert "--from DIR" in err


def test_one_failed_file_fails_the_command_and_no_other_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, host: StaticHost
) -> None:
    host.fault("/references_7.zip", Fault(status=403), always=True)
    arguments = ("download", "disc21", "references", "--yes", "--root", str(tmp_path))
    code, _out, err = call(capsys, *arguments)
    assert code == 5
    assert "references_7.zip: FAILED" in err
    assert err.splitlines()[-1].startswith("ndec-bench: network: references_7.zip: ")
    assert len(list((tmp_path / "disc21").glob("*.zip"))) == 19
    code, outcome = call_json(capsys, *arguments)
    assert code == 5
    assert outcome["error"]["exit_code"] == 5
    assert [file["name"] for file in outcome["files"] if file["state"] == "failed"] == ["references_7.zip"]


def test_folders_of_users_are_taken_in_place(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    theirs = tmp_path / "theirs" / "refs_50k_0"
    theirs.mkdir(parents=True)
    for name, content in disc21_images("R", range(3), ""):
        (theirs / name).write_bytes(content)
    root = tmp_path / "root"
    arguments = ("download", "ndec", "references", "--from", str(tmp_path / "theirs"), "--root", str(root))
    code, _, err = call(capsys, *arguments, "--dry-run")
    assert code == 0
    assert "would take: disc21 references: 3 images in" in err
    assert not root.exists()
    code, out, err = call(capsys, *arguments, "--offline")
    assert code == 4
    assert "disc21 references: 3 of 1,000,000 images are unpacked" in err
    assert "not under " in err
    assert "references_0.zip" in err
    assert "warning: disc21 references: 3 of 1,000,000 here; results on them would be partial" in err
    assert "taken: disc21/references: recorded" in err
    code, out, _ = call(capsys, "download", "ndec", "references", "--dry-run", "--root", str(root))
    assert "disc21 references: 3 of 1,000,000 images are unpacked in" in out
    assert "To fetch: about 167 GB" in out, "a partial folder never takes the place of the archives"
    code, out, _ = call(capsys, "data", "forget", "disc21/references", "--root", str(root))
    assert (code, out) == (0, f"left out: {theirs}\n")
    code, _, err = call(capsys, "data", "forget", "disc21/references", "--root", str(root))
    assert code == 2
    assert "no folder was taken in place for 'disc21/references'" in err
    assert len(list(theirs.iterdir())) == 3


def test_of_a_users_folder_the_parts_asked_for_are_taken(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    theirs, root = tmp_path / "theirs", tmp_path / "root"
    for letter in "RT":
        (theirs / letter).mkdir(parents=True)
        for name, content in disc21_images(letter, range(3), ""):
            (theirs / letter / name).write_bytes(content)
    arguments = ("--from", str(theirs), "--root", str(root), "--offline")
    _, _, err = call(capsys, "download", "disc21", "training", *arguments)
    assert "taken: disc21/training: recorded" in err
    assert "taken: disc21/references" not in err


def test_a_link_whose_disk_is_not_mounted_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "disc21").mkdir()
    link = tmp_path / "disc21" / "references_3.zip"
    link.symlink_to("/mnt/not-there/references_3.zip")
    code, _, err = call(capsys, "download", "disc21", "references", "--yes", "--root", str(tmp_path))
    assert code == 4
    assert f"{link}: leads to /mnt/not-there/references_3.zip, which is not there; mount its disk" in err
    assert link.is_symlink()


def test_too_few_images_are_told(capsys: pytest.CaptureFixture[str], tmp_path: Path, host: StaticHost) -> None:
    arguments = ("download", "disc21", "references", "--yes", "--root", str(tmp_path))
    code, _, err = call(capsys, *arguments)
    assert code == 0
    assert "references_7.zip: WARNING: holds 3 images, 50,000 are expected" in err


def test_an_outage_longer_than_the_usual_tries_is_waited_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, host: StaticHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Policy, "wait", lambda *_: 0.001)
    arguments = ("download", "ndec", "queries", "--yes", "--root", str(tmp_path))
    host.fault("/query_images_h5.tar", *[Fault(status=503)] * 30)
    code, _, err = call(capsys, *arguments, "--retries", "2")
    assert (code, len(host.requests)) == (5, 2)
    assert "2 tries in a row brought nothing new" in err
    code, _, _ = call(capsys, *arguments, "--keep-trying")
    assert (code, len(host.requests)) == (0, 31)


def test_bare_links_serve_when_the_static_host_is_closed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, host: StaticHost
) -> None:
    host.files = {f"/m1/{n}An9x_n.zip": content for n, content in enumerate(REFERENCES.values())}
    listed = tmp_path / "links.txt"
    listed.write_text("".join(f"{host.url}{path}?oh=SECRET&oe=FFFFFFFF\n" for path in reversed(host.files)))
    arguments = ("download", "disc21", "references", "--yes", "--root", str(tmp_path / "root"), "--links", str(listed))
    code, out, err = call(capsys, *arguments)
    assert (code, out.count("fetched from link")) == (0, 20)
    assert "asking what 20 links without names lead to" in err
    assert "SECRET" not in out + err


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("REQUESTS_CA_BUNDLE", "/nonexistent/ca.pem", "REQUESTS_CA_BUNDLE: /nonexistent/ca.pem is not there"),
        ("HTTPS_PROXY", "localhost:1", "HTTPS_PROXY is not the address of a proxy; write HTTPS_PROXY=http://HOST:PORT"),
    ],
)
def test_a_wrong_setting_of_the_network_is_named_at_once(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    host: StaticHost,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    message: str,
) -> None:
    monkeypatch.setenv(variable, value)
    code, _, err = call(capsys, "download", "ndec", "queries", "--yes", "--root", str(tmp_path))
    assert (code, host.requests) == (2, [])
    assert message in err


def test_what_is_there_is_taken_from_a_root_that_is_only_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, host: StaticHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "disc21"
    folder.mkdir()
    for name, content in REFERENCES.items():
        (folder / name).write_bytes(content)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EROFS, "Read-only file system")

    for place in ("ndec_bench.download.jobs.FileLock.acquire", "ndec_bench.atomic.tempfile.mkstemp"):
        monkeypatch.setattr(place, refuse)
    before = sorted(tmp_path.rglob("*"))
    code, out, err = call(capsys, "download", "disc21", "references", "--offline", "--root", str(tmp_path))
    assert (code, out.count("was here (from local)")) == (0, 20)
    assert "its digest is not recorded" in err
    code, out, err = call(capsys, "data", "verify", "--no-images", "--part", "references", "--root", str(tmp_path))
    assert code == 0, err
    assert "Traceback" not in err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_disk_too_full_to_record_what_is_taken_ends_the_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, host: StaticHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disc21").mkdir()
    for name, content in REFERENCES.items():
        (tmp_path / "disc21" / name).write_bytes(content)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ndec_bench.atomic.tempfile.mkstemp", refuse)
    code, _, err = call(capsys, "download", "disc21", "references", "--offline", "--root", str(tmp_path))
    assert code == 4
    assert "ndec-bench.lock.json: cannot be written (No space left on device)" in err


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_with_its_own_code(tmp_path: Path, host: StaticHost, number: int) -> None:
    host.fault("/query_images_h5.tar", Fault(stall_at=2000, stall=30.0), always=True)
    command = ("download", "ndec", "queries", "--yes", "--root", str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", "from ndec_bench.cli import main; main()", *command], stderr=subprocess.PIPE, text=True
    )
    part = tmp_path / "ndec" / "query_images_h5.tar.part"
    while process.poll() is None and not (part.is_file() and part.stat().st_size):
        time.sleep(0.02)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 6
    assert err.splitlines()[-1].startswith("ndec-bench: interrupted: ")
    assert "Traceback" not in err
    assert part.stat().st_size > 0


def test_weights_go_where_baselines_look(capsys: pytest.CaptureFixture[str], tmp_path: Path, host: StaticHost) -> None:
    host.change("/sscd_disc_mixup.torchscript.pt", b"not the published weights")
    code, _out, err = call(capsys, "download", "weights", "sscd_disc_mixup", "--yes", "--root", str(tmp_path))
    assert code == 4
    assert "published 9f26bd4c848cc19b73d2ae92eea6e04886f61a7b764ceb7a13aeee62e6a6db56" in err
    assert list((tmp_path / "weights").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("imagenet", 2, "no data set is called 'imagenet'; known: ndec, disc21, ndec-val, weights"),
        ("ndec videos", 2, "ndec has no part 'videos'; known: ground-truth, queries"),
        ("disc21 --subset matched+1", 2, "--subset belongs to ndec"),
        ("ndec --subset most", 2, "write matched+N"),
        ("ndec references --subset matched", 2, "--subset takes the place of the references"),
        ("ndec-val queries", 2, "ndec-val has no parts"),
        ("weights", 2, "no name given; known: "),
        ("ndec --root=", 2, "--root is empty"),
        ("ndec --rate inf", 2, "--rate inf is not a rate"),
        ("ndec --seed 3", 2, "--seed belongs to --subset"),
        (f"ndec --root {'m' * 300}", 4, "File name too long"),
    ],
)
def test_what_cannot_be_meant_is_one_clear_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: str, code: int, message: str
) -> None:
    where = [] if "--root" in arguments else ["--root", str(tmp_path)]
    found, _, err = call(capsys, "download", *arguments.split(), "--dry-run", *where)
    assert found == code
    assert message in err
    assert err.count("\n") == 1


def test_a_missing_ground_truth_that_nothing_stands_in_for_fails(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, host: StaticHost
) -> None:
    host.fault("/public_ground_truth_h5.csv", Fault(status=404), always=True)
    host.fault("/dev_ground_truth.csv", Fault(status=404), always=True)
    code, out, _ = call(capsys, "download", "ndec", "ground-truth", "--yes", "--root", str(tmp_path), "--json")
    report = json.loads(out)
    assert (code, report["ground_truth"]["used"], report["error"]["exit_code"]) == (5, None, 5)
