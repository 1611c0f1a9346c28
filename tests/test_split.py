import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from ndec_bench.data.layouts import images_of
from ndec_bench.data.roots import data_root, find_split
from ndec_bench.data.split import Split
from ndec_bench.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "toy"
    (root / "images" / "queries").mkdir(parents=True)
    for query in ("Q1", "Q2", "Q3"):
        (root / "images" / "queries" / f"{query}.jpg").touch()
    (root / "split.json").write_text(json.dumps({"name": "toy-1"}))
    (root / "ground_truth.csv").write_text("query_id,reference_id\nQ1,R1\nQ2,\nQ3,\n")
    (root / "hard_negatives.txt").write_text("Q3\n")
    (root / "references.txt").write_text("R2\nR1\n")
    (root / "edits.csv").write_text("query_id,step,kind\nQ1,1,crop\nQ1,2,text\n")
    return root


def test_a_folder_holds_the_whole_split(folder: Path) -> None:
    split = Split.from_folder(folder)
    assert (split.name, split.query_ids, split.reference_ids) == ("toy-1", ("Q1", "Q2", "Q3"), ("R1", "R2"))
    assert split.parts == {"all": {"Q1", "Q2", "Q3"}, "isc": {"Q1", "Q2"}}
    assert split.edits == {"Q1": ("crop", "text")}
    assert tuple(images_of(split, "queries").ids) == split.query_ids


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("hard_negatives.txt", "Q9\n", "none of its 1 query ids is known: it has Q9, expected are ids such as Q1"),
        ("hard_negatives.txt", "Q1\n", "Q1 has a true reference"),
        ("ground_truth.csv", "Q3,\n", "no query has a reference"),
        ("references.txt", "R2\n", "Q1 names reference R1"),
        ("split.json", "[]", "not a split description"),
        ("split.json", "{}", "not a split description"),
        ("edits.csv", "a,b\n1,2\n", "columns query_id and kind expected"),
    ],
)
def test_contradictions_are_refused(folder: Path, file: str, content: str, message: str) -> None:
    (folder / file).write_text(content)
    with pytest.raises(DataError, match=message):
        Split.from_folder(folder)


def test_missing_images_are_named(folder: Path) -> None:
    with pytest.raises(DataError, match="references: missing"):
        images_of(Split.from_folder(folder), "references")
    with pytest.raises(DataError, match="'thumbnails'"):
        images_of(Split.from_folder(folder), "thumbnails")


def test_a_ground_truth_alone_has_the_part_all_only(folder: Path) -> None:
    split = Split.from_ground_truth(folder / "ground_truth.csv")
    assert list(split.parts) == ["all"]
    assert split.reference_ids is None
    assert split.name.startswith("user-")
    hard = Split.from_ground_truth(folder / "ground_truth.csv", hard_negatives=folder / "hard_negatives.txt")
    assert hard.parts["isc"] == {"Q1", "Q2"}


def listed(tmp_path: Path, *ids: str, name: str = "own.txt") -> Path:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(ids))
    return path


def test_a_ground_truth_is_no_test_split_of_its_own(folder: Path, tmp_path: Path) -> None:
    split = Split.from_ground_truth(folder / "ground_truth.csv")
    assert (split.test, split.source) == (False, str(folder / "ground_truth.csv"))
    assert Split.from_folder(folder).test
    matches = listed(tmp_path, "Q1,R1", name="matches.csv")
    assert Split.from_ground_truth(matches).truth.matches_only
    whole = Split.from_ground_truth(matches, queries=listed(tmp_path, "Q1", "Q2", "Q3"), multi=True, name="mine")
    assert (whole.name, whole.query_ids, whole.truth.matches_only) == ("mine", ("Q1", "Q2", "Q3"), False)


def test_a_folder_holds_all_its_queries(folder: Path) -> None:
    (folder / "ground_truth.csv").write_text("Q1,R1\nQ3,\n")
    assert not Split.from_folder(folder).truth.matches_only
    (folder / "ground_truth.csv").write_text("Q1,R1\n")
    (folder / "hard_negatives.txt").write_text("")
    assert not Split.from_folder(folder).truth.matches_only


def test_own_parts_come_after_the_others_by_name(folder: Path, tmp_path: Path) -> None:
    parts = {
        "logos": listed(tmp_path, "Q3", "Q2", name="b.txt"),
        "art-1": listed(tmp_path, "Q1", name="a.txt"),
    }
    split = Split.from_ground_truth(
        folder / "ground_truth.csv", hard_negatives=folder / "hard_negatives.txt", parts=parts
    )
    assert list(split.parts) == ["all", "isc", "art-1", "logos"]
    assert split.parts["logos"] == {"Q2", "Q3"}
    assert list(Split.from_ground_truth(folder / "ground_truth.csv", parts=parts).parts) == ["all", "art-1", "logos"]


def test_a_folder_may_list_parts(folder: Path) -> None:
    before = Split.from_folder(folder)
    assert before.own_parts == {}
    listed(folder, "Q1", "Q3", name="parts/faces.txt")
    split = Split.from_folder(folder)
    assert split.parts["faces"] == {"Q1", "Q3"}
    assert split.sha256 != before.sha256


@pytest.mark.parametrize(
    ("name", "ids", "message"),
    [
        ("all", ("Q1",), "a part cannot be called 'all'"),
        ("isc", ("Q1",), "a part cannot be called 'isc'"),
        ("Big", ("Q1",), "a part cannot be called 'Big'; use a-z"),
        ("", ("Q1",), "a part cannot be called ''"),
        ("a|b", ("Q1",), "cannot be called"),
        ("own", (), r"own.txt: part own has no query"),
        ("own", ("Q1", "Q9", "Q8"), r"own.txt: part own names Q8, which is not a labelled query \(2 such ids\)"),
    ],
)
def test_parts_that_cannot_be_scored_are_refused(
    folder: Path, tmp_path: Path, name: str, ids: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        Split.from_ground_truth(folder / "ground_truth.csv", parts={name: listed(tmp_path, *ids)})
    with pytest.raises(DataError, match=message.replace("own.txt", "split")):
        Split("made", Split.from_folder(folder).truth, own_parts={name: frozenset(ids)})


def test_the_digest_without_own_parts_is_that_of_the_documented_lines(folder: Path) -> None:
    # Results hold it: it may not change.
    lines = ["query Q1", "query Q2", "query Q3", "pair Q1 R1", "hard Q3", "reference R1", "reference R2"]
    split = Split.from_folder(folder)
    assert split.sha256 == sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
    lines += ["part b Q1", "part b Q2"]
    with_part = replace(split, own_parts={"b": frozenset({"Q2", "Q1"})})
    assert with_part.sha256 == sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def test_the_digest_covers_everything_that_decides_a_score(folder: Path) -> None:
    before = Split.from_folder(folder).sha256
    (folder / "edits.csv").unlink()
    assert Split.from_folder(folder).sha256 == before
    (folder / "hard_negatives.txt").write_text("Q2\n")
    assert Split.from_folder(folder).sha256 != before


def test_splits_are_found_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_split("toy-1", folder).name == "toy-1"
    folder.rename(folder.with_name("toy-1"))
    assert find_split("toy-1", folder.parent).name == "toy-1"
    monkeypatch.setenv("NDEC_ROOT", str(folder.parent))
    assert data_root() == folder.parent
    assert data_root(folder) == folder
    with pytest.raises(DataError, match=r"'ndec-mini-1' is not under .*ndec-bench mini build --out"):
        find_split("ndec-mini-1", folder.parent)
