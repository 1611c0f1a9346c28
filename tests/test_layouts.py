"""Where images lie: every layout that public code uses, archives under every published name, and the traps."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from small_archives import disc21_images, jpeg, ndec_queries, negative_pairs, split, tar_of, write_pieces, zip_of

from ndec_bench.data.layouts import SOURCES_FILE, adopt, find, open_set, recognise
from ndec_bench.data.recognition import is_ndec
from ndec_bench.errors import DataError, MissingDataError

if TYPE_CHECKING:
    from pathlib import Path

REFERENCES, TRAINING = ("disc21", "references"), ("disc21", "training")
DEV, FINAL = ("disc21", "dev-queries"), ("disc21", "final-queries")
NDEC, PAIRS = ("ndec", "queries"), ("ndec", "negative-pairs")


def put(folder: Path, *names: str) -> None:
    """Write a picture under each name; ids only matter here, so all may look alike."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(len(name)))


LAYOUTS = {
    "WangWenhao0716/ASL": (
        "query_images_h5/Q25000 query_images_h5/Q50001 reference_images/R000001",
        {NDEC: 2, REFERENCES: 1},
    ),
    "RDCD": (
        "NDEC_test_query/Q25000 NDEC_test_query/Q60000 DISC/images/references/R000001 DISC/images/train/T000001",
        {NDEC: 2, REFERENCES: 1, TRAINING: 1},
    ),
    "NDEC user A": (
        "query_set/query_images_h5/Q25000 query_set/query_images_h5/Q50000 reference_set_true~match/R000001 "
        "negative_pair/00001/T613143 negative_pair/00001/x",
        {NDEC: 2, REFERENCES: 1, PAIRS: 1},
    ),
    "sscd": ("val_query/Q00001 val_ref/R000001 training/T000001", {DEV: 1, REFERENCES: 1, TRAINING: 1}),
    "kd_icd": (
        "images/dev_queries/Q00001 images/final_queries/Q50001 images/references/R000001 images/train/T000001",
        {DEV: 1, FINAL: 1, REFERENCES: 1, TRAINING: 1},
    ),
    "isc2021": (
        "images/queries/Q00001 images/references/R000001 images/train/T000001",
        {DEV: 1, REFERENCES: 1, TRAINING: 1},
    ),
    "CopyNCE": (
        "DISC21/query_images/Q00001 DISC21/query_images/Q50001 DISC21/reference_images/R000001 "
        "DISC21/training_images/T000001",
        {DEV: 1, FINAL: 1, REFERENCES: 1, TRAINING: 1},
    ),
    "LINE": (
        "train_images/T000001 reference_images/0/R000001 reference_images/1/R050001 query_images/Q00001 "
        "query_images_phase2/Q50001",
        {DEV: 1, FINAL: 1, REFERENCES: 2, TRAINING: 1},
    ),
    "active_indexing": ("train/T000001 references/R000001", {REFERENCES: 1, TRAINING: 1}),
    "raw Meta unzip": (
        "refs_50k_0/R000001 refs_50k_1/R050001 train_50k_0/T000001 dev_queries_50k_0/Q00001 test_queries_50k_0/Q50001",
        {DEV: 1, FINAL: 1, REFERENCES: 2, TRAINING: 1},
    ),
}
"""Users of a layout to its files and what they are."""


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_in_use_is_recognised_and_read_in_place(tmp_path: Path, name: str) -> None:
    names, expected = LAYOUTS[name]
    put(tmp_path / "theirs", *(f"{each.replace('~', ' ')}.jpg" for each in names.split()), "theirs.txt")
    found = recognise(tmp_path / "theirs")
    assert found.counts == expected
    root = tmp_path / "root"
    adopt(found, root)
    for key, count in expected.items():
        source = open_set(root, *key)
        assert len(source.ids) == (2 * count if key == PAIRS else count)
        assert source.read(source.ids[0]).mode == "RGB"
    copied = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path.name for path in copied] == [SOURCES_FILE]


def test_strays_and_other_sets_are_left_out(tmp_path: Path) -> None:
    put(tmp_path / "theirs", "q/Q00001.jpg", "q/Q49999.jpg", "q/Q50000.jpg", "q/Q99999.jpg", "q/cover.jpg", "q/.Q7.jpg")
    adopt(recognise(tmp_path / "theirs"), tmp_path)
    assert tuple(open_set(tmp_path, *DEV).ids) == ("Q00001", "Q49999")
    assert tuple(open_set(tmp_path, *FINAL).ids) == ("Q50000", "Q99999")
    with pytest.raises(MissingDataError):
        open_set(tmp_path, *NDEC)


@pytest.mark.parametrize(
    ("names", "warning"),
    [
        (
            ("reference_set_true match/R000001.jpg",),
            "disc21 references: 1 of 1,000,000 here; results on them would be partial",
        ),
        (("query_images/Q00001.jpg", "query_images/Q50001.jpg"), "both query sets of DISC21 in one folder"),
        (("val_query/Q50001.jpg",), r"val_query: final queries \(Q50000 and on\), in spite of its name"),
        (("negative_pair/Q25001.jpg", "r/R000001.jpg"), "negative_pair: queries, not pairs, in spite of its name"),
        (("queries_h5/Q25000/query.jpg", "r/R000001.jpg"), r"images without ids \(1\); file names must be the ids"),
    ],
)
def test_traps_are_named(tmp_path: Path, names: tuple[str, ...], warning: str) -> None:
    put(tmp_path, *names)
    found = recognise(tmp_path)
    assert re.search(warning, "; ".join(found.warnings))
    assert REFERENCES not in found.counts or found.counts == {REFERENCES: 1}


def test_nothing_is_an_error_that_says_what_is_expected(tmp_path: Path) -> None:
    put(tmp_path, "cats/tom.jpg")
    with pytest.raises(DataError, match=r"nothing of NDEC or DISC21 was recognised; expected archives"):
        recognise(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        recognise(tmp_path / "nowhere")


def archives(folder: Path, *, meta: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ("refs_50k_03.zip" if meta else "references_3.zip")).write_bytes(
        zip_of(disc21_images("R", (150_000, 150_001)))
    )
    (folder / ("dev_queries_50k_0.zip" if meta else "dev_queries.zip")).write_bytes(zip_of(disc21_images("Q", (1, 2))))
    (folder / "query_images_h5.tar").write_bytes(tar_of(ndec_queries((25_000, 50_000))))
    pairs = tar_of(negative_pairs([(1, 613_143), (2, 5)]))
    write_pieces(folder, "negative_pair.tar", split(pairs, [700, 900]))


@pytest.mark.parametrize("meta", [False, True])
def test_archives_are_linked_under_their_own_names(tmp_path: Path, meta: bool) -> None:
    archives(tmp_path / "theirs" / "deep", meta=meta)
    root = tmp_path / "root"
    done = adopt(recognise(tmp_path / "theirs"), root)
    assert {each.how for each in done} == {"linked"}
    assert (root / "disc21" / "references_3.zip").is_symlink()
    assert tuple(open_set(root, *REFERENCES).ids) == ("R150000", "R150001")
    assert tuple(open_set(root, *NDEC).ids) == ("Q25000", "Q50000")
    assert tuple(open_set(root, *PAIRS).ids) == ("00001/1", "00001/T613143", "00002/1", "00002/T000005")
    holding = find(root, *REFERENCES)
    assert holding is not None
    assert (holding.kind, len(holding.missing)) == ("archives", 19)
    assert [each.how for each in adopt(recognise(tmp_path / "theirs"), root)] == ["in place"] * len(done)


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    archives(tmp_path / "theirs")
    own = tmp_path / "root" / "disc21" / "dev_queries.zip"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    with pytest.raises(DataError, match="is there already and is another file"):
        adopt(recognise(tmp_path / "theirs"), tmp_path / "root")
    assert own.read_bytes() == b"mine"


def test_an_archive_found_twice_is_taken_once(tmp_path: Path) -> None:
    archives(tmp_path / "a")
    archives(tmp_path / "b", meta=True)
    found = recognise(tmp_path)
    assert len(found.archives) == len({file.name for file, _ in found.archives})
    assert sum("a second references_3.zip" in warning for warning in found.warnings) == 1


def test_an_unpacked_folder_in_its_own_place_needs_no_record(tmp_path: Path) -> None:
    put(tmp_path, "disc21/references/R000001.jpg")
    assert [each.how for each in adopt(recognise(tmp_path), tmp_path)] == ["in place"]
    assert tuple(open_set(tmp_path, *REFERENCES).ids) == ("R000001",)


def test_a_folder_inside_another_is_read_once(tmp_path: Path) -> None:
    put(tmp_path / "theirs", "R000001.jpg", "more/R000002.jpg")
    adopt(recognise(tmp_path / "theirs"), tmp_path / "root")
    assert tuple(open_set(tmp_path / "root", *REFERENCES).ids) == ("R000001", "R000002")


def test_a_folder_that_went_away_is_told(tmp_path: Path) -> None:
    put(tmp_path / "theirs", "references/R000001.jpg")
    adopt(recognise(tmp_path / "theirs"), tmp_path / "root")
    (tmp_path / "theirs" / "references").rename(tmp_path / "gone")
    with pytest.raises(MissingDataError, match="references: gone; it was taken in place"):
        open_set(tmp_path / "root", *REFERENCES)


def test_archives_come_before_a_folder_that_went_away(tmp_path: Path) -> None:
    put(tmp_path / "theirs", "references/R000001.jpg")
    adopt(recognise(tmp_path / "theirs"), tmp_path / "root")
    (tmp_path / "theirs" / "references").rename(tmp_path / "gone")
    archive = tmp_path / "root/disc21/references_0.zip"
    archive.parent.mkdir()
    archive.write_bytes(zip_of(disc21_images("R", range(3))))
    assert tuple(open_set(tmp_path / "root", *REFERENCES).ids) == ("R000000", "R000001", "R000002")


@pytest.mark.parametrize("content", ["", "[]", '{"sets": []}', '{"sets": {"disc21/references": "x"}}'])
def test_a_damaged_record_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / SOURCES_FILE).write_text(content)
    with pytest.raises(DataError, match=r"ndec-bench\.sources\.json: damaged"):
        find(tmp_path, *REFERENCES)


def test_disc21_images_are_never_ndecs(tmp_path: Path) -> None:
    """Q50000 of DISC21 final is another picture than NDEC's: ids alone do not tell, company does."""
    put(tmp_path, "ndec/query_images_h5/Q00001.jpg", "ndec/query_images_h5/Q25000.jpg")
    with pytest.raises(DataError, match="holds Q00001, which is DISC21's"):
        open_set(tmp_path, *NDEC)


def test_the_record_is_sorted(tmp_path: Path) -> None:
    put(tmp_path / "theirs", "b/R000001.jpg", "a/R000002.jpg", "c/T000001.jpg")
    adopt(recognise(tmp_path / "theirs"), tmp_path)
    places = json.loads((tmp_path / SOURCES_FILE).read_text())["sets"]
    assert list(places) == ["disc21/references", "disc21/training"]
    assert places["disc21/references"] == sorted(places["disc21/references"])


def test_what_is_missing_names_the_command(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match='get them with "ndec-bench download disc21 references"'):
        open_set(tmp_path, *REFERENCES)


def test_splits_and_subsets_made_here_are_no_sets(tmp_path: Path) -> None:
    put(tmp_path, "disc21/references/R000001.jpg", "ndec-subset-matched-seed0/images/references/R000001.jpg")
    put(tmp_path, "ndec-val-1/images/reference/T000001.jpg", "other/images/query/Q00001.jpg")
    (tmp_path / "other" / "split.json").write_text("{}")
    assert recognise(tmp_path).counts == {REFERENCES: 1}


def test_a_root_can_be_taken_into_itself(tmp_path: Path) -> None:
    """Archives are in place; a folder lying elsewhere in the root is recorded, and a second run changes nothing."""
    archives(tmp_path / "disc21")
    put(tmp_path, "mine/train_images/T000001.jpg")
    (tmp_path / "ndec").mkdir()
    first = adopt(recognise(tmp_path), tmp_path)
    record = (tmp_path / SOURCES_FILE).read_bytes()
    assert {each.name: each.how for each in first}["disc21/references_3.zip"] == "in place"
    assert tuple(open_set(tmp_path, *TRAINING).ids) == ("T000001",)
    adopt(recognise(tmp_path), tmp_path)
    assert (tmp_path / SOURCES_FILE).read_bytes() == record


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    put(tmp_path / "disk", "refs/R000001.jpg")
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "references").symlink_to(tmp_path / "disk" / "refs")
    (theirs / "again").symlink_to(tmp_path / "disk" / "refs")
    (theirs / "up").symlink_to(tmp_path)
    (theirs / "round").symlink_to(theirs)
    found = recognise(theirs)
    assert found.counts == {REFERENCES: 1}
    adopt(found, tmp_path / "root")
    assert tuple(open_set(tmp_path / "root", *REFERENCES).ids) == ("R000001",)


@pytest.mark.parametrize(("inside", "expected"), [("query_images_h5", {}), ("query_images_phase2", {FINAL: 2})])
def test_hard_negatives_alone_are_not_taken_for_final_queries(
    tmp_path: Path, inside: str, expected: dict[tuple[str, str], int]
) -> None:
    put(tmp_path, f"{inside}/Q50000.jpg", f"{inside}/Q50001.jpg", "references/R000001.jpg")
    found = recognise(tmp_path)
    assert found.counts == {REFERENCES: 1, **expected}
    assert any("by its name NDEC's" in warning for warning in found.warnings) is not bool(expected)


def test_ndecs_images_are_never_disc21_finals(tmp_path: Path) -> None:
    put(tmp_path, "disc21/final_queries/Q25000.jpg", "disc21/final_queries/Q50000.jpg")
    with pytest.raises(DataError, match="by its ids NDEC's queries"):
        open_set(tmp_path, *FINAL)


def test_more_hard_negatives_than_ndec_has_are_disc21s() -> None:
    isc, hard = np.arange(25_000, 50_000), np.arange(50_000, 74_252)
    assert is_ndec(np.concatenate([isc, hard]))
    assert not is_ndec(np.concatenate([isc, np.arange(50_000, 100_000)]))
    assert not is_ndec(np.concatenate([[24_999], isc, hard]))
    assert not is_ndec(isc)
    assert not is_ndec(hard)


def test_of_folders_that_share_ids_the_larger_is_taken(tmp_path: Path) -> None:
    put(tmp_path, "matched/R000002.jpg", "all/R000001.jpg", "all/R000002.jpg", "all/R000003.jpg")
    put(tmp_path, "some/R000003.jpg", "some/R000004.jpg")
    found = recognise(tmp_path)
    assert found.folders == {REFERENCES: (tmp_path / "all",)}
    ids = "ids of disc21 references are in other folders too"
    assert f"{tmp_path / 'matched'}: left out: 1 {ids}" in found.warnings
    assert f"{tmp_path / 'some'}: left out: 1 {ids}, and with it 1 that are nowhere else" in found.warnings


def test_traps_by_the_thousand_are_told_once(tmp_path: Path) -> None:
    put(tmp_path, *(f"queries_h5/Q{number}/query.jpg" for number in range(25_000, 25_020)), "r/R000001.jpg")
    told = [warning for warning in recognise(tmp_path).warnings if "queries_h5" in warning]
    assert len(told) == 1
    assert "images without ids (20)" in told[0]


def test_pairs_are_whole_and_never_training_images(tmp_path: Path) -> None:
    """A folder of one image is no pair, and a flat folder of training images called negative_pair none either."""
    put(tmp_path / "a", "negative_pair/00001/T000001.jpg", "negative_pair/00001/x.jpg")
    put(tmp_path / "a", "negative_pair/00002/T000002.jpg", "negative_pair/cover.jpg")
    found = recognise(tmp_path / "a")
    assert found.counts == {PAIRS: 1}
    assert any("00002: left out: no pair" in warning for warning in found.warnings)
    put(tmp_path / "b", "negative_pair/T000001.jpg", "negative_pair/T000002.jpg")
    with pytest.raises(DataError, match="images outside folders of pairs; left out"):
        recognise(tmp_path / "b")
    adopt(found, tmp_path / "root")
    pairs = open_set(tmp_path / "root", *PAIRS).ids
    assert tuple(pairs) == ("00001/T000001", "00001/x", "00002/T000002")


def test_several_folders_of_pairs_are_all_read(tmp_path: Path) -> None:
    put(tmp_path / "a", "one/00001/T000001.jpg", "one/00001/x.jpg", "two/00002/T000002.jpg", "two/00002/x.jpg")
    adopt(recognise(tmp_path / "a"), tmp_path)
    assert len(open_set(tmp_path, *PAIRS).ids) == 4


def test_pieces_without_the_first_are_told(tmp_path: Path) -> None:
    (tmp_path / "ndec").mkdir()
    (tmp_path / "ndec" / "negative_pair.tar.ab").write_bytes(b"x")
    with pytest.raises(DataError, match=r"negative_pair\.tar\.aa: missing, but negative_pair\.tar\.ab is there"):
        open_set(tmp_path, *PAIRS)


def test_ground_truths_are_linked_under_the_names_that_are_looked_for(tmp_path: Path) -> None:
    put(tmp_path / "theirs", "dev_queries_groundtruth.csv", "gt/public_ground_truth.csv", "public_ground_truth_h5.csv")
    put(tmp_path / "theirs", "other.csv")
    found = recognise(tmp_path / "theirs")
    places = {"disc21/dev_ground_truth.csv", "disc21/public_ground_truth.csv", "ndec/public_ground_truth_h5.csv"}
    assert {place for place, _ in found.ground_truths} == places
    root = tmp_path / "root"
    adopt(found, root)
    assert {path.relative_to(root).as_posix() for path in root.rglob("*.csv") if path.is_symlink()} == places


def test_all_archives_come_before_a_folder_and_a_folder_before_some(tmp_path: Path) -> None:
    put(tmp_path, "disc21/dev_queries/Q00001.jpg", "disc21/references/R000001.jpg")
    archives(tmp_path / "theirs")
    adopt(recognise(tmp_path / "theirs"), tmp_path)
    assert [holding.kind for name in (DEV, REFERENCES) if (holding := find(tmp_path, *name))] == ["archives", "folder"]


def test_nothing_is_taken_when_one_thing_cannot_be(tmp_path: Path) -> None:
    archives(tmp_path / "theirs")
    root = tmp_path / "root"
    (root / "ndec").mkdir(parents=True)
    (root / "ndec" / "query_images_h5.tar").symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match="a link to a file that is gone; remove the link"):
        adopt(recognise(tmp_path / "theirs"), root)
    assert not (root / "disc21").exists()


def test_where_links_are_refused_a_second_name_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(1314, "a required privilege is not held")

    archives(tmp_path / "theirs")
    monkeypatch.setattr(type(tmp_path), "symlink_to", refuse)
    adopt(recognise(tmp_path / "theirs"), tmp_path / "root")
    own = tmp_path / "root" / "disc21" / "dev_queries.zip"
    assert own.samefile(tmp_path / "theirs" / "dev_queries.zip")
    assert not own.is_symlink()


def test_what_was_found_is_told_in_lines(tmp_path: Path) -> None:
    archives(tmp_path)
    put(tmp_path, "a/T000001.jpg", "b/T000002.jpg", "negative_pair/1/T000003.jpg", "negative_pair/1/x.jpg")
    lines = recognise(tmp_path).describe()
    assert f"disc21/references_3.zip from {tmp_path / 'references_3.zip'}" in lines
    assert f"disc21 training: 2 images in {tmp_path / 'a'} and 1 more" in lines
    assert f"ndec negative-pairs: 1 pairs in {tmp_path / 'negative_pair'}" in lines
