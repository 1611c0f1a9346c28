"""NDEC's ground truth on Google Drive, and what stands in for it while Drive does not serve."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from drive_host import ID, DriveHost
from made_truth import DEV, HARD, ISC, NDEC, PAIRS, digest, records
from static_host import StaticHost

from ndec_bench.cli import run
from ndec_bench.data import known
from ndec_bench.data.ground_truth import GroundTruth, write_ground_truth

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from drive_host import Refusal


# The last two pairs with their references exchanged.
CHANGED = replace(NDEC, pairs=(*PAIRS[:-2], (PAIRS[-2][0], PAIRS[-1][1]), (PAIRS[-1][0], PAIRS[-2][1])))
PUBLISHED = "public_ground_truth_h5.csv"


def query_archive() -> bytes:
    """Return a tar with the names of all of NDEC's queries, and nothing in them."""
    head = bytearray(tarfile.TarInfo("query_images_h5/Q00000.jpg").tobuf(tarfile.GNU_FORMAT))
    plain = int(head[148:154], 8)  # the sum of a header's bytes grows with its digits
    heads = []
    for name in ISC + HARD:
        head[16:22] = name.encode()
        head[148:154] = b"%06o" % (plain + sum(map(int, name[1:])))
        heads.append(bytes(head))
    return b"".join(heads) + bytes(1024)


class Terminal:
    """Runs commands on one data root, whose ground truths are made up but for ids and counts."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        code = run([*arguments, "--root", str(self.root)])
        captured = self._capsys.readouterr()
        return code, captured.out, captured.err

    def download(self) -> tuple[int, str, str]:
        return self("download", "ndec", "ground-truth", "--yes")

    def status(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what ``data status`` says of the published file, and of NDEC's ground truth."""
        code, out, _ = self("data", "status", "--json")
        assert code == 0
        found = json.loads(out)
        (file,) = (each for each in found["files"] if each["name"] == PUBLISHED)
        (truth,) = (each for each in found["ground_truths"] if each["split"] == "ndec")
        return file, truth

    @property
    def files(self) -> set[str]:
        """Return the files of NDEC, but those of the query archive."""
        return {path.name for path in (self.root / "ndec").iterdir() if "query" not in path.name}


@pytest.fixture
def terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setattr(known, "KNOWN", records())
    return Terminal(tmp_path, capsys)


@pytest.fixture
def meta(monkeypatch: pytest.MonkeyPatch) -> Iterator[StaticHost]:
    with StaticHost({"/dev_ground_truth.csv": write_ground_truth(DEV).encode()}) as running:
        monkeypatch.setenv("NDEC_BENCH_BASE_URL_META", running.url)
        yield running


def publish(drive: DriveHost, truth: GroundTruth, *, refusal: Refusal | None = None) -> None:
    drive.add(ID, write_ground_truth(truth).encode(), filename=PUBLISHED, refusal=refusal)


def test_a_quota_is_told_and_the_truth_derived_until_drive_serves(
    terminal: Terminal, drive: DriveHost, meta: StaticHost
) -> None:
    (terminal.root / "ndec").mkdir()
    (terminal.root / "ndec" / "query_images_h5.tar").write_bytes(query_archive())
    publish(drive, NDEC, refusal="quota")
    code, out, err = terminal.download()
    assert code == 0
    assert (
        f"{PUBLISHED}: FAILED: {PUBLISHED}: Google Drive's quota for this file is used up (Too many users have viewed "
        "or downloaded this file recently."
    ) in err
    assert f"or open https://drive.google.com/uc?id={ID} in a browser, and put the file at " in err
    assert out.splitlines()[-1] == "ground truth of NDEC: derived from DISC21 dev; the published file is not here"
    assert terminal.files == {known.DERIVED_FILE}
    file, truth = terminal.status()
    assert (file["state"], truth["available"]) == ("missing", True)
    assert truth["source"] == str(terminal.root / "ndec" / known.DERIVED_FILE)
    assert truth["note"] == "derived from DISC21 dev; the published file is not here"
    assert (terminal.root / "ndec" / known.DERIVED_FILE).read_text("utf-8") == write_ground_truth(NDEC)

    publish(drive, NDEC)
    code, out, err = terminal.download()
    assert code == 0
    assert out.splitlines()[-1] == f"ground truth of NDEC: published file, {PUBLISHED}; DISC21 dev agrees with it"
    assert "FAILED" not in err
    assert terminal.files == {PUBLISHED}
    file, truth = terminal.status()
    assert (file["state"], file["source"], truth["note"]) == ("verified", "gdrive", None)
    assert truth["source"] == str(terminal.root / "ndec" / PUBLISHED)


def test_without_the_query_archive_the_derived_truth_waits(
    terminal: Terminal, drive: DriveHost, meta: StaticHost
) -> None:
    publish(drive, NDEC, refusal="quota")
    code, out, _ = terminal("download", "ndec", "ground-truth", "--yes", "--json")
    outcome = json.loads(out)
    assert code == 5
    assert outcome["error"]["message"] == outcome["files"][0]["error"].partition("; wait a day")[0]
    assert [(file["name"], file["state"]) for file in outcome["files"]] == [
        (PUBLISHED, "failed"),
        ("dev_ground_truth.csv", "fetched"),
    ]
    assert "quota for this file is used up" in outcome["files"][0]["error"]
    assert outcome["ground_truth"]["used"] is None
    assert "not complete before the query archive is there" in outcome["ground_truth"]["note"]
    assert "split disc21-dev2 works" in outcome["ground_truth"]["note"]
    assert terminal.files == set()


def test_a_published_file_with_other_pairs_is_refused_with_both_digests(
    terminal: Terminal, drive: DriveHost, meta: StaticHost
) -> None:
    publish(drive, CHANGED)
    code, out, err = terminal.download()
    assert code == 4
    assert f"{PUBLISHED}: FAILED: " in err
    assert f"SHA-256 {digest(CHANGED.pairs)}, expected {digest(PAIRS)}" in err
    assert "split disc21-dev2 works" in out
    assert terminal.files == set()


def test_two_truths_that_differ_end_the_command(
    terminal: Terminal, drive: DriveHost, meta: StaticHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_published = replace(known.KNOWN["ndec"], pairs_sha256=digest(CHANGED.pairs))
    monkeypatch.setitem(known.KNOWN, "ndec", as_published)
    publish(drive, CHANGED)
    code, _, err = terminal.download()
    assert code == 4
    last = err.splitlines()[-1]
    assert f"{PUBLISHED}: pairs with SHA-256 " in last
    assert "those of DISC21 dev II, which are here too, " in last
    assert terminal.files == {PUBLISHED}


def test_neither_truth_is_a_failure_of_the_network(terminal: Terminal, drive: DriveHost, meta: StaticHost) -> None:
    meta.files.clear()
    publish(drive, NDEC, refusal="quota")
    code, out, err = terminal.download()
    assert code == 5
    assert "Google Drive's quota for this file is used up" in err
    assert "dev_ground_truth.csv: FAILED: " in err
    assert err.splitlines()[-1].startswith(f"ndec-bench: network: 2 of 2 files failed: {PUBLISHED}, dev_ground_truth.")
    assert "ground truth of NDEC: none, and that of DISC21 dev is missing too" in out
    assert terminal.files == set()
