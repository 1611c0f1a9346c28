"""What a data root holds, told without reading it. Pairs of ground truths are made up, ids and counts true."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from made_truth import DEV, NDEC, put, records
from small_archives import jpeg

from ndec_bench.data import known
from ndec_bench.data.layouts import adopt, recognise
from ndec_bench.data.registry import remote_files
from ndec_bench.data.status import FileStatus, SetStatus, Status, TruthStatus, status
from ndec_bench.data.trust import FileRecord, record

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "KNOWN", records())


def file_of(found: Status, name: str) -> FileStatus:
    return next(each for each in found.files if each.name == name)


def set_of(found: Status, part: str) -> SetStatus:
    return next(each for each in found.image_sets if each.part == part)


def truth_of(found: Status, split: str) -> TruthStatus:
    return next(each for each in found.ground_truths if each.split == split)


def test_an_empty_root_misses_everything_and_names_the_first_command(tmp_path: Path) -> None:
    found = status(tmp_path / "not" / "made")
    assert {each.state for each in found.files} == {"missing"}
    assert len(found.files) == len(remote_files())
    assert {each.state for each in found.image_sets} == {"missing"}
    assert not any(each.available for each in found.ground_truths)
    assert (found.ready, found.splits) == ((), ())
    assert found.next == "ndec-bench download ndec ground-truth queries references"
    assert found.disk_free > 0
    assert not (tmp_path / "not").exists()


def test_the_states_of_a_file(tmp_path: Path) -> None:
    """Verified by size and time; touched it is present again; of another size it has changed."""
    path = put(tmp_path, "disc21/references_3.zip", b"three")
    put(tmp_path, "disc21/references_4.zip.part", b"fo")
    assert [file_of(status(tmp_path), f"references_{n}.zip").state for n in (3, 4, 5)] == [
        "present",
        "partial",
        "missing",
    ]
    assert file_of(status(tmp_path), "references_4.zip").bytes == 2
    stat = path.stat()
    trusted = FileRecord(bytes=5, sha256="0" * 64, source="meta", mtime_ns=stat.st_mtime_ns)
    record(tmp_path, "disc21/references_3.zip", trusted)
    found = file_of(status(tmp_path), "references_3.zip")
    assert (found.state, found.sha256, found.source) == ("verified", "0" * 64, "meta")
    assert (found.bytes, found.bytes_expected, found.bytes_exact) == (5, 5, True)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
    assert file_of(status(tmp_path), "references_3.zip").state == "present"
    path.write_bytes(b"longer")
    assert file_of(status(tmp_path), "references_3.zip").state == "changed"


def test_nothing_is_read_but_names_and_records(tmp_path: Path) -> None:
    """Archives that are none and images that are none are as good as any here."""
    put(tmp_path, "ndec/query_images_h5.tar")
    put(tmp_path, "disc21/final_queries/Q50000.jpg")
    found = status(tmp_path)
    assert set_of(found, "queries").state == "complete"
    assert set_of(found, "final-queries").state == "complete"


def test_archives_are_counted_and_the_missing_ones_named(tmp_path: Path) -> None:
    for number in range(2, 20):
        put(tmp_path, f"disc21/references_{number}.zip")
    found = set_of(status(tmp_path), "references")
    assert (found.state, found.kind, found.archives, found.archives_expected) == ("partial", "archives", 18, 20)
    assert found.missing == ("references_0.zip", "references_1.zip")
    assert found.images_expected == 1_000_000


def test_folders_taken_in_place_are_named_and_missed_when_gone(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    put(theirs, "refs_50k_0/R000001.jpg", jpeg(1))
    put(theirs, "refs_50k_1/R050001.jpg", jpeg(2))
    adopt(recognise(theirs), tmp_path)
    found = set_of(status(tmp_path), "references")
    assert (found.state, found.kind, found.archives, found.gone) == ("complete", "folder", 0, ())
    assert found.places == (str(theirs / "refs_50k_0"), str(theirs / "refs_50k_1"))
    (theirs / "refs_50k_1").rename(tmp_path / "elsewhere")
    found = set_of(status(tmp_path), "references")
    assert (found.state, found.gone) == ("partial", (str(theirs / "refs_50k_1"),))
    (theirs / "refs_50k_0").rename(tmp_path / "there")
    assert set_of(status(tmp_path), "references").state == "missing"


def test_without_ndecs_own_truth_dev2_works_and_it_is_told(tmp_path: Path) -> None:
    put(tmp_path, "disc21/dev_ground_truth.csv", DEV)
    found = status(tmp_path)
    assert [each.split for each in found.ground_truths if each.available] == [
        "disc21-dev1",
        "disc21-dev2",
        "disc21-dev",
    ]
    note = truth_of(found, "ndec").note or ""
    assert "once the query archive is here" in note
    assert "until then split disc21-dev2 works" in note
    assert "score submissions for disc21-dev2" in found.ready
    put(tmp_path, "ndec/query_images_h5.tar")
    assert 'run "ndec-bench download ndec ground-truth"' in (truth_of(status(tmp_path), "ndec").note or "")


def test_a_derived_truth_is_told_apart_from_the_published(tmp_path: Path) -> None:
    put(tmp_path, f"ndec/{known.DERIVED_FILE}", NDEC)
    derived = truth_of(status(tmp_path), "ndec")
    assert (derived.available, derived.note) == (True, "derived from DISC21 dev; the published file is not here")
    path = put(tmp_path, "ndec/public_ground_truth_h5.csv", NDEC)
    published = truth_of(status(tmp_path), "ndec")
    assert (published.available, published.note, published.source) == (True, None, str(path))


def test_a_wrong_truth_is_told_and_stops_nothing(tmp_path: Path) -> None:
    put(tmp_path, "ndec/public_ground_truth_h5.csv", DEV)
    found = truth_of(status(tmp_path), "ndec")
    assert not found.available
    assert "public_ground_truth_h5.csv: 50,000 queries, NDEC has 49,252" in (found.note or "")


def test_what_is_ready_and_what_comes_next(tmp_path: Path) -> None:
    put(tmp_path, "ndec/public_ground_truth_h5.csv", NDEC)
    assert status(tmp_path).next == "ndec-bench download ndec queries references"
    put(tmp_path, "ndec/query_images_h5.tar")
    put(tmp_path, "disc21/references_0.zip")
    found = status(tmp_path)
    assert found.next == "ndec-bench download ndec references"
    assert "describe ndec, partial: references are missing" in found.ready
    for number in range(1, 20):
        put(tmp_path, f"disc21/references_{number}.zip")
    for piece in ("aa", "ab", "ac"):
        put(tmp_path, f"ndec/negative_pair.tar.{piece}")
    found = status(tmp_path)
    assert found.next == "ndec-bench data verify"
    assert {"describe ndec", "score submissions for ndec", "train with NDEC's hard-negative pairs"} <= set(found.ready)


def test_split_folders_and_finished_subsets_are_listed(tmp_path: Path) -> None:
    put(tmp_path, "ndec-mini-1/split.json")
    put(tmp_path, "ndec-val-1/split.json")
    put(tmp_path, "ndec-subset-matched+10-seed0/subset.json")
    put(tmp_path, "ndec-subset-matched+20-seed0/images/references/R000001.jpg")
    assert status(tmp_path).splits == ("ndec-mini-1", "ndec-subset-matched+10-seed0", "ndec-val-1")
