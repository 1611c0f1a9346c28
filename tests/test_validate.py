"""``ndec-bench validate``: one line per file, and the same refusals as ``score``."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from ndec_bench.cli import run
from ndec_bench.data.ground_truth import write_ground_truth
from ndec_bench.data.split import Split
from ndec_bench.descriptors import Submission, write_submission

Make = Callable[..., tuple[Submission, Split]]


@pytest.fixture
def files(make_submission: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Submissions in all forms with a ground truth of their own."""
    submission, split = make_submission()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NDEC_ROOT", str(tmp_path / "nothing"))
    write_submission(Path("mine.h5"), submission)
    for name, ids, vectors in [
        ("q1.h5", submission.queries.ids[:20], submission.queries.vectors[:20]),
        ("q2.h5", submission.queries.ids[20:], submission.queries.vectors[20:]),
        ("r.h5", submission.references.ids, submission.references.read(0, 90)),
        ("b.h5", ("B1", "B2"), np.eye(2, 16, dtype=np.float32)),
        ("wide.h5", ("B1", "B2"), np.eye(2, 17, dtype=np.float32)),
    ]:
        with h5py.File(name, "w") as file:
            file["vectors"], file["image_names"] = vectors, [f"{identifier}.jpg" for identifier in ids]
    Path("gt.csv").write_text(write_ground_truth(split.truth))
    Path("pairs.csv").write_text("query_id,reference_id,score\nQ00000,R000000,0.9\nQ00001,R000005,0.8\n")
    return tmp_path


def out(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_each_file_gets_its_line(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "mine.h5", "pairs.csv", "--ground-truth", "gt.csv"]) == 0
    lines = out(capsys).splitlines()
    assert len(lines) == 2
    first = "mine.h5: descriptor track, 60 queries × 90 references, 16 dimensions, float32, l2: valid for user-"
    assert lines[0].startswith(first)
    assert lines[1].startswith("pairs.csv: matching track, 2 pairs of 2 queries and 2 references: valid for user-")


def test_as_json(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "mine.h5", "pairs.csv", "--ground-truth", "gt.csv", "--json"]) == 0
    first, second = json.loads(out(capsys))["files"]
    assert (first["file"], first["track"], first["valid"], first["notes"]) == ("mine.h5", "descriptor", True, [])
    assert first["facts"] | {"sha256": ""} == {
        "queries": 60,
        "references": 90,
        "background": 0,
        "invalid": 0,
        "dimensions": 16,
        "dtype": "float32",
        "metric": "l2",
        "split": None,
        "norms": False,
        "threshold": None,
        "sha256": "",
    }
    assert (second["track"], second["facts"]["pairs"], second["audit"]) == ("matching", 2, None)


def test_the_form_of_isc2021(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["validate", "--query", "q1.h5", "q2.h5", "--reference", "r.h5", "--background", "b.h5"]
    assert run([*arguments, "--ground-truth", "gt.csv"]) == 0
    assert "q1.h5: descriptor track, 60 queries × 90 references" in (shown := out(capsys))
    assert "2 background images: valid for user-" in shown
    assert run([*arguments[:3], *arguments[4:], "--ground-truth", "gt.csv"]) == 3
    assert "q1.h5: 40 of 60 labelled queries have no row, first Q00020" in capsys.readouterr().err


def test_without_a_split_the_file_alone_is_checked_and_a_note_says_so(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["validate", "mine.h5"]) == 0
    shown = out(capsys)
    assert ": valid, checked against no split\n  note: not checked against a split: mine.h5 does not say" in shown
    with h5py.File("mine.h5", "r+") as file:
        file.attrs["split"] = "ndec"
    assert run(["validate", "mine.h5"]) == 0
    assert "float32, l2, split ndec: valid, checked against no split" in out(capsys)
    assert run(["validate", "mine.h5", "--split", "ndec"]) == 4
    # A ground truth that is there and wrong is no reason to pass.
    monkeypatch.setenv("NDEC_ROOT", str(files))
    Path("public_ground_truth_h5.csv").write_text("query_id,reference_id\nQ25000,R352148\nQ25001,\n")
    assert run(["validate", "mine.h5"]) == 4
    assert "2 queries, NDEC has 49,252" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["validate"], 2, "no submission is given; give a submission file"),
        (["validate", "mine.h5", "--query", "q1.h5", "--reference", "r.h5"], 2, "FILE and --query exclude each other"),
        (["validate", "--query", "q1.h5"], 2, "--query and --reference go together"),
        (["validate", "mine.h5", "--multi"], 2, "--multi goes with --ground-truth"),
        (["validate", "pairs.csv", "--audit", "mine.h5"], 2, "--audit compares descriptors, pairs.csv is a list"),
        (["validate", "absent.h5", "--ground-truth", "gt.csv"], 3, "absent.h5: cannot be read"),
        (["validate", "mine.h5", "--ground-truth", "absent.csv"], 4, "absent.csv"),
        (["validate", "gt.csv", "--ground-truth", "gt.csv"], 3, "gt.csv"),
        (["validate", "q1.h5", "--ground-truth", "gt.csv"], 3, "give it as --query or --reference, or pack both"),
        (["validate", "--background", "wide.h5", "mine.h5"], 3, "wide.h5: background has 17 dimensions"),
    ],
)
def test_what_is_wrong_ends_with_the_documented_code(
    files: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    assert run(arguments) == code
    assert message in capsys.readouterr().err
    assert run([*arguments, "--json"]) == code
    error = json.loads(out(capsys))["error"]
    assert error["exit_code"] == code


def test_a_bad_vector_is_refused_with_its_place(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File("mine.h5", "r+") as file:
        file["reference"][7, 3] = np.nan
    assert run(["validate", "mine.h5", "--ground-truth", "gt.csv"]) == 3
    assert "mine.h5: reference: row 7 (R000007) holds nan" in capsys.readouterr().err


def test_audit_tells_what_it_finds_and_refuses_nothing(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with h5py.File("mine.h5", "r+") as file, h5py.File("other.h5", "w") as other:
        for name in ("query", "reference"):
            other[f"{name}_ids"] = file[f"{name}_ids"][:]
            other[name] = file[name][:] * np.float32(2)
    assert run(["validate", "mine.h5", "--audit", "other.h5", "--ground-truth", "gt.csv"]) == 0
    lines = out(capsys).splitlines()
    assert "valid for user-" in lines[0]
    assert lines[1].startswith("  audit warning: query: 60 of 60 shared descriptors (100.0%) have a cosine above")
    assert "  audit note: query: length of the query tells matched from unmatched queries" in "\n".join(lines)
    assert run(["validate", "mine.h5", "--audit", "other.h5", "--ground-truth", "gt.csv", "--json"]) == 0
    findings = json.loads(out(capsys))["files"][0]["audit"]["findings"]
    assert [finding["kind"] for finding in findings[:2]] == ["near_identical", "same_geometry"]
