"""The plan of a download: what is there, what is left, whether it fits, which terms are still to be accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndec_bench.data.registry import select
from ndec_bench.data.trust import accept
from ndec_bench.download import cost
from ndec_bench.download.cost import RESERVE, disk_free, part_of, plan, plan_json

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

QUERIES, CHUNKS = select("ndec", ["queries"]), select("ndec", ["negative-pairs"])


def test_an_empty_root_misses_everything(tmp_path: Path) -> None:
    found = plan(CHUNKS, tmp_path / "not" / "made")
    assert [planned.state for planned in found.files] == ["missing"] * 3
    assert found.bytes_left == found.bytes_total == 2 * 40 * 2**30 + 35_100_000_000
    assert abs(found.disk_free - disk_free(tmp_path)) < 2**30  # other processes write too
    assert not (tmp_path / "not").exists()


def test_what_is_there_is_taken_off(tmp_path: Path) -> None:
    first, second, _ = (planned.path for planned in plan(CHUNKS, tmp_path).files)
    first.parent.mkdir()
    first.write_bytes(b"whole")
    part_of(second).write_bytes(bytes(1000))
    found = plan(CHUNKS, tmp_path)
    assert [(planned.state, planned.done) for planned in found.files] == [
        ("present", 5),
        ("partial", 1000),
        ("missing", 0),
    ]
    assert found.bytes_left == 40 * 2**30 - 1000 + 35_100_000_000
    assert [planned.path for planned in found.missing] == [second, found.files[2].path]


def test_it_fits_with_a_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = plan(QUERIES, tmp_path).bytes_left
    for free, fits in ((left + RESERVE, True), (left + RESERVE - 1, False)):
        monkeypatch.setattr(cost, "disk_free", lambda _root, free=free: free)
        assert plan(QUERIES, tmp_path).fits is fits


def test_nothing_left_always_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = plan(QUERIES, tmp_path).files[0].path
    path.parent.mkdir()
    path.touch()
    monkeypatch.setattr(cost, "disk_free", lambda _root: 0)
    assert plan(QUERIES, tmp_path).fits


def test_terms_are_asked_for_once_and_only_where_something_is_to_be_fetched(tmp_path: Path) -> None:
    files = select("ndec", ["ground-truth", "queries"])
    assert [licence.key for licence in plan(files, tmp_path).to_accept] == ["CC-BY-NC-4.0", "DISC21"]
    accept(tmp_path, ("DISC21",))
    assert [licence.key for licence in plan(files, tmp_path).to_accept] == ["CC-BY-NC-4.0"]
    for planned in plan(files, tmp_path).files:
        planned.path.parent.mkdir(exist_ok=True)
        planned.path.touch()
    assert plan(files, tmp_path).to_accept == ()
    assert plan(select("weights", ["sscd_disc_mixup"]), tmp_path).to_accept == ()


def test_json_says_it_all(tmp_path: Path) -> None:
    found = plan_json(plan(QUERIES, tmp_path), rate=1e6)
    (file,) = found["files"]  # type: ignore[misc]
    assert file["name"] == "query_images_h5.tar"
    assert (file["part"], file["bytes"], file["bytes_exact"], file["sha256"]) == ("queries", 14 * 10**9, False, None)
    assert [source["source"] for source in file["sources"]] == ["huggingface"]
    assert file["licence"] == "CC-BY-NC-4.0"
    assert (found["bytes_total"], found["seconds"], found["bytes_exact"]) == (14 * 10**9, 14_000, False)
    assert found["licences_to_accept"] == ["CC-BY-NC-4.0"]


def test_a_folder_that_holds_nothing_of_a_set_does_not_take_the_place_of_its_archives(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "Q00001.jpg").touch()
    (tmp_path / "ndec-bench.sources.json").write_text(f'{{"version": 1, "sets": {{"ndec/queries": ["{folder}"]}}}}')
    found = plan(QUERIES, tmp_path)
    assert found.missing == found.files
    assert len(found.notes) == 1
    assert found.notes[0].endswith("archives are used")
