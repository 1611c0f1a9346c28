import json
from pathlib import Path

import pytest

from ndec_bench.data.roots import data_root, find_split
from ndec_bench.data.split import Split
from ndec_bench.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "toy"
    (root / "images" / "queries").mkdir(parents=True)
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
    assert split.images("queries") == folder / "images" / "queries"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("hard_negatives.txt", "Q9\n", "Q9 is no labelled query"),
        ("hard_negatives.txt", "Q1\n", "Q1 has a true reference"),
        ("ground_truth.csv", "Q3,\n", "all 1 labelled queries are hard negatives"),
        ("references.txt", "R2\n", "Q1 names reference R1"),
        ("split.json", "[]", "no split description"),
        ("split.json", "{}", "no split description"),
        ("edits.csv", "a,b\n1,2\n", "columns query_id and kind expected"),
    ],
)
def test_contradictions_are_refused(folder: Path, file: str, content: str, message: str) -> None:
    (folder / file).write_text(content)
    with pytest.raises(DataError, match=message):
        Split.from_folder(folder)


def test_missing_images_are_named(folder: Path) -> None:
    with pytest.raises(DataError, match="references: missing"):
        Split.from_folder(folder).images("references")
    with pytest.raises(DataError, match="'thumbnails'"):
        Split.from_folder(folder).images("thumbnails")


def test_a_ground_truth_alone_has_the_part_all_only(folder: Path) -> None:
    split = Split.from_ground_truth(folder / "ground_truth.csv")
    assert list(split.parts) == ["all"]
    assert split.reference_ids is None
    assert split.name.startswith("user-")
    hard = Split.from_ground_truth(folder / "ground_truth.csv", hard_negatives=folder / "hard_negatives.txt")
    assert hard.parts["isc"] == {"Q1", "Q2"}


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
