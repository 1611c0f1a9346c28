"""Subsets of the references out of remote zips: which ids, what is fetched, what is kept after a stop."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from small_archives import disc21_images, stray_files, zip_of
from static_host import Fault, StaticHost

from ndec_bench.data import known
from ndec_bench.data.ground_truth import GroundTruth, write_ground_truth
from ndec_bench.data.images import open_images
from ndec_bench.data.layouts import images_of
from ndec_bench.data.registry import image_sets
from ndec_bench.data.roots import find_split
from ndec_bench.data.verify import Check, verify
from ndec_bench.download.derived.subset import SubsetRule, fetch_subset, parse_subset, plan_subset, subset_ids
from ndec_bench.download.exchange import Policy
from ndec_bench.download.jobs import Run
from ndec_bench.errors import DataError, InterruptedRun, NetworkError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HASTY = Policy(attempts=2, first_wait=0.001, longest_wait=0.002)
ISC = tuple(f"Q{number}" for number in range(25_000, 50_000))
MATCHED = (3, 50, 50_007)
PAIRS = tuple((ISC[5 * n], f"R{number:06d}") for n, number in enumerate(MATCHED))
THERE = (*range(100), *range(50_000, 50_100))
RULE = SubsetRule(20)
NAME = "ndec-subset-matched+20-seed0"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with the ground truth of a dev II that has three pairs, in a world with 200 references."""
    digest = sha256("".join(f"{query},{reference}\n" for query, reference in PAIRS).encode()).hexdigest()
    small = {name: replace(known.KNOWN[name], positives=3, pairs_sha256=digest) for name in ("disc21-dev2", "ndec")}
    monkeypatch.setattr(known, "KNOWN", {**known.KNOWN, **small})
    monkeypatch.setattr(known, "reference_ids", lambda: tuple(f"R{number:06d}" for number in THERE))
    path = tmp_path / "root" / "disc21-dev2" / "ground_truth.csv"
    path.parent.mkdir(parents=True)
    path.write_text(write_ground_truth(GroundTruth(ISC, PAIRS, listed=True)))
    return tmp_path / "root"


def archives(numbers: tuple[int, ...] = THERE) -> dict[str, bytes]:
    """The two archives that hold these references, the second with its images at another depth."""
    first = disc21_images("R", [n for n in numbers if n < 50_000])
    second = disc21_images("R", [n for n in numbers if n >= 50_000], "references/deep/")
    return {
        "/references_0.zip": zip_of([*first, *stray_files("images/")]),
        "/references_1.zip": zip_of(second, deflated=True),
    }


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[StaticHost]:
    with StaticHost(archives()) as running:
        monkeypatch.setenv("NDEC_BENCH_BASE_URL_META", running.url)
        yield running


def ids_of(root: Path, rule: SubsetRule = RULE, seed: int = 0) -> tuple[str, ...]:
    return subset_ids(frozenset(reference for _, reference in PAIRS), rule, seed)


@pytest.mark.parametrize(("text", "count"), [("matched+20000", 20_000), ("matched", 0), ("matched+994991", 994_991)])
def test_rules_are_written_so(text: str, count: int) -> None:
    assert parse_subset(text) == SubsetRule(count)


@pytest.mark.parametrize("text", ["", "20000", "matched+", "matched+-1", "matched+994992", "matched+1e4", "all"])
def test_other_rules_are_wrong_use(text: str) -> None:
    with pytest.raises(UsageError, match=r"write matched\+N with N from 0 to 994,991"):
        parse_subset(text)


def test_ids_are_seeded_nested_and_hold_the_matched(root: Path) -> None:
    small, large, other = ids_of(root), ids_of(root, SubsetRule(40)), ids_of(root, seed=1)
    assert {reference for _, reference in PAIRS} < set(small) < set(large)
    assert (len(small), len(large)) == (23, 43)
    assert small != other


def test_pictures_come_out_of_the_remote_archives(root: Path, host: StaticHost) -> None:
    report = fetch_subset(Run(root, policy=HASTY), RULE, 0, jobs=2)
    folder = root / NAME
    source = open_images(folder / "images" / "references")
    assert tuple(source.ids) == ids_of(root)
    expected = dict(disc21_images("R", THERE, ""))
    assert all(source.read_bytes(each) == expected[f"{each}.jpg"] for each in source.ids)
    content = json.loads((folder / "subset.json").read_text())
    assert (content["images"], content["partial"], report.sources) == (23, True, ("mirror of meta",))
    assert "hard negatives" in content["warning"]
    assert content["ids_sha256"] == sha256("".join(f"{each}\n" for each in source.ids).encode()).hexdigest()
    assert "hard negatives are invalid" in report.describe()
    assert {request.path for request in host.requests} == {"/references_0.zip", "/references_1.zip"}


def test_the_same_subset_has_the_same_bytes(root: Path, host: StaticHost, tmp_path: Path) -> None:
    fetch_subset(Run(root, policy=HASTY), RULE, 0, jobs=1)
    first = (root / NAME / "subset.json").read_bytes()
    (root / NAME).rename(tmp_path / "first")
    fetch_subset(Run(root, policy=HASTY), RULE, 0, jobs=8)
    assert (root / NAME / "subset.json").read_bytes() == first


def test_whatever_was_there_before_the_record_is_the_same(root: Path, host: StaticHost, tmp_path: Path) -> None:
    fetch_subset(Run(root, policy=HASTY), RULE, 0, jobs=1)
    first = (root / NAME / "subset.json").read_bytes()
    for path in (root / NAME / "images" / "references").glob("*[02468].jpg"):
        path.unlink()
    (root / NAME / "subset.json").unlink()
    fetch_subset(Run(root, policy=HASTY), RULE, 0, jobs=1)
    assert (root / NAME / "subset.json").read_bytes() == first


def test_a_picture_that_is_not_the_one_taken_is_found(root: Path, host: StaticHost) -> None:
    def state() -> str:
        found: list[Check] = [each for each in verify(root, images=False).checks if each.name == f"{NAME}: pictures"]
        return found[0].state

    fetch_subset(Run(root, policy=HASTY), RULE, 0, jobs=1)
    assert state() == "ok"
    pictures = sorted((root / NAME / "images" / "references").iterdir())
    content = pictures[3].read_bytes()
    pictures[3].write_bytes(pictures[4].read_bytes())
    assert state() == "failed", "other bytes"
    pictures[3].unlink()
    assert state() == "failed", "one is gone"
    pictures[3].write_bytes(content)
    pictures[3].with_name("R999999.jpg").write_bytes(content)
    assert state() == "failed", "one more"


def test_it_is_ndec_with_fewer_references(root: Path, host: StaticHost) -> None:
    fetch_subset(Run(root, policy=HASTY), RULE, 0, jobs=2)
    queries = root / "ndec" / "public_ground_truth_h5.csv"
    queries.parent.mkdir()
    hard = tuple(f"Q{number}" for number in range(50_000, 74_252))
    queries.write_text(write_ground_truth(GroundTruth(ISC + hard, PAIRS, listed=True)))
    split = find_split(NAME, root)
    assert (split.name, len(split.query_ids)) == ("ndec", 49_252)
    assert tuple(images_of(split, "references").ids) == ids_of(root)


def test_a_second_run_asks_for_nothing(root: Path, host: StaticHost) -> None:
    fetch_subset(Run(root, policy=HASTY), RULE, 0, jobs=2)
    asked = len(host.requests)
    report = fetch_subset(Run(root, policy=HASTY), RULE, 0, jobs=2)
    assert (len(host.requests), report.content["images"]) == (asked, 23)
    assert plan_subset(root, RULE, 0)[0].state == "present"


def test_a_stopped_run_keeps_its_pictures(root: Path, host: StaticHost) -> None:
    run = Run(root, policy=HASTY)
    told: list[int] = []

    def stop_at_five(_stage: str, done: int, _total: int) -> None:
        told.append(done)
        if len(told) == 5:
            run.stop.set()

    run.progress = stop_at_five
    with pytest.raises(InterruptedRun):
        fetch_subset(run, RULE, 0, jobs=1)
    folder = root / NAME / "images" / "references"
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.jpg")}
    assert 5 <= len(kept) < 23
    assert plan_subset(root, RULE, 0)[0].state == "partial"
    fetch_subset(Run(root, policy=HASTY), RULE, 0, jobs=1)
    assert all((folder / name).stat().st_mtime_ns == changed for name, changed in kept.items())
    assert len(list(folder.glob("*.jpg"))) == 23


def test_archives_that_are_here_are_used(root: Path, host: StaticHost) -> None:
    (root / "disc21").mkdir()
    (root / "disc21" / "references_0.zip").write_bytes(archives()["/references_0.zip"])
    report = fetch_subset(Run(root, policy=HASTY), RULE, 0, jobs=2)
    assert report.sources == ("local archive", "mirror of meta")
    assert {request.path for request in host.requests} == {"/references_1.zip"}


def test_a_hole_in_an_archive_is_named(root: Path, host: StaticHost) -> None:
    host.files.update(archives(tuple(n for n in THERE if n != 50_007)))
    with pytest.raises(DataError, match=r"references_1\.zip: picture R050007 is not in it"):
        fetch_subset(Run(root, policy=HASTY), RULE, 0, jobs=2)
    assert not (root / NAME / "subset.json").exists()


def test_no_source_is_told_with_its_reason(root: Path, host: StaticHost) -> None:
    host.fault("/references_1.zip", Fault(ignore_range=True), always=True)
    with pytest.raises(NetworkError, match=r"references_1\.zip: .* does not serve ranges"):
        fetch_subset(Run(root, policy=HASTY), RULE, 0, jobs=2)


def test_an_archive_that_cannot_be_read_is_a_failure_of_its_source(root: Path, host: StaticHost) -> None:
    host.files["/references_1.zip"] = archives()["/references_1.zip"][:-1]
    with pytest.raises(NetworkError, match=r"references_1\.zip: not a complete zip .*; use another source"):
        fetch_subset(Run(root, policy=HASTY), RULE, 0, jobs=2)


def test_another_subset_in_its_place_is_refused(root: Path, host: StaticHost) -> None:
    fetch_subset(Run(root, policy=HASTY), RULE, 0, jobs=2)
    path = root / NAME / "subset.json"
    path.write_text(path.read_text().replace('"ids_sha256": "', '"ids_sha256": "0'))
    with pytest.raises(DataError, match="remove the folder and run again"):
        fetch_subset(Run(root, policy=HASTY), RULE, 0, jobs=2)


def test_a_picture_with_another_digest_than_published_is_noted(
    root: Path, host: StaticHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ndec_bench.download.derived import pieces

    monkeypatch.setattr(pieces, "pictures", lambda: {"R000003": "0" * 64})
    report = fetch_subset(Run(root, policy=HASTY), RULE, 0, jobs=2)
    assert "WARNING: picture R000003 has SHA-256" in report.describe()


def test_a_folder_with_some_of_them_is_completed_from_remote(root: Path, host: StaticHost) -> None:
    folder = root / image_sets()["disc21", "references"].folder
    folder.mkdir(parents=True)
    for name, content in disc21_images("R", range(100), ""):
        (folder / name).write_bytes(content)
    report = fetch_subset(Run(root, policy=HASTY), RULE, 0, jobs=2)
    assert report.sources == ("local folder", "mirror of meta")
    assert {request.path for request in host.requests} == {"/references_1.zip"}


def test_a_hole_in_an_archive_that_is_here_is_named(root: Path, host: StaticHost) -> None:
    (root / "disc21").mkdir()
    holed = archives(tuple(n for n in THERE if n != 50_007))["/references_1.zip"]
    (root / "disc21" / "references_1.zip").write_bytes(holed)
    with pytest.raises(DataError, match=r"references_1\.zip: picture R050007 is not in it"):
        fetch_subset(Run(root, policy=HASTY), RULE, 0, jobs=2)


def test_a_text_with_the_name_of_a_picture_is_none(root: Path, host: StaticHost) -> None:
    members = disc21_images("R", range(100))
    host.files["/references_0.zip"] = zip_of([*members, ("notes/R000003.txt", b"no picture")])
    fetch_subset(Run(root, policy=HASTY), RULE, 0, jobs=2)
    kept = root / NAME / "images" / "references" / "R000003.jpg"
    assert kept.read_bytes() == dict(members)["images/references/R000003.jpg"]


def test_two_pictures_of_one_id_are_refused(root: Path, host: StaticHost) -> None:
    members = disc21_images("R", range(100))
    host.files["/references_0.zip"] = zip_of([*members, ("other/R000003.jpg", b"x")])
    with pytest.raises(DataError, match=r"R000003\.jpg.* have the same id"):
        fetch_subset(Run(root, policy=HASTY), RULE, 0, jobs=2)


def test_nothing_is_left_to_fetch_where_all_archives_are_here(root: Path) -> None:
    (root / "disc21").mkdir()
    for number in range(20):
        assert plan_subset(root, RULE, 0)[0].left > 0
        (root / "disc21" / f"references_{number}.zip").write_bytes(zip_of([]))
    assert plan_subset(root, RULE, 0)[0].left == 0
