"""Ids in another form than the split has: one rule for every command and side."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import ndec_bench as nb
from ndec_bench.cli import run
from ndec_bench.data.ground_truth import write_ground_truth
from ndec_bench.data.ids import bare, other_forms
from ndec_bench.data.known import KNOWN, recognise
from ndec_bench.data.split import Split
from ndec_bench.descriptors import Descriptors, Submission, write_descriptors, write_submission
from ndec_bench.errors import DataError, SubmissionError
from ndec_bench.matches import Matches

if TYPE_CHECKING:
    from collections.abc import Callable

    Make = Callable[..., tuple[Submission, Split]]

FORMS: dict[str, Callable[[str], str]] = {
    "jpg": lambda one: f"{one}.jpg",
    "upper case": lambda one: f"{one}.JPG",
    "lower case": str.lower,
    "webp": lambda one: f"{one}.webp",
    "folder": lambda one: f"images/{one}.png",
    "folder of Windows": lambda one: f"C:\\images\\{one}.tiff",
}


@pytest.mark.parametrize(
    ("identifier", "plain"),
    [
        ("Q1", "Q1"),
        ("Q1.jpg", "Q1"),
        ("Q1.JPEG", "Q1"),
        ("a/b/Q1.png", "Q1"),
        ("a\\Q1", "Q1"),
        ("Q1.tar.jpg", "Q1.tar"),
        ("Q1.txt", "Q1.txt"),
        (".jpg", ".jpg"),
        ("a/.jpg", ".jpg"),
        ("a/", "a/"),
    ],
)
def test_an_id_without_folder_and_suffix(identifier: str, plain: str) -> None:
    assert bare(identifier) == plain


@pytest.mark.parametrize(
    ("ids", "known", "expected"),
    [
        (["Q1", "Q2"], ["Q1", "Q2"], {}),
        (["Q1", "X"], ["Q1", "Q2"], {}),
        (["Q1", "q2.jpg"], ["Q1", "Q2"], {"q2.jpg": "Q2"}),
        (["Q1"], ["a/Q1.jpg"], {"Q1": "a/Q1.jpg"}),
        (["x/1.jpg", "y/a/2.jpg"], ["a/1.jpg", "a/2.jpg"], {"y/a/2.jpg": "a/2.jpg"}),  # folders that differ count
        (["a/1.jpg", "b/1.jpg"], ["a/1.jpg", "a/2.jpg"], {}),
        (["/d/a/1.jpg", "/d/b/1.jpg"], ["a/1", "b/1"], {"/d/a/1.jpg": "a/1", "/d/b/1.jpg": "b/1"}),
        (["b/1.jpg"], ["d\\b\\1", "d/c/1"], {"b/1.jpg": "d\\b\\1"}),
        (["cafe\u0301.png"], ["caf\u00e9"], {"cafe\u0301.png": "caf\u00e9"}),  # macOS writes two signs
        ([], ["Q1"], {}),
        (["Q1.jpg"], [], {}),
    ],
)
def test_ids_in_another_form(ids: list[str], known: list[str], expected: dict[str, str]) -> None:
    assert (other_forms(ids, known, "f.h5", "query") if ids else {}) == expected


@pytest.mark.parametrize(
    ("ids", "known", "message"),
    [
        (["Q1", "Q1.jpg"], ["Q1"], r"f\.h5: ids Q1 and Q1\.jpg both mean Q1"),
        (["Q1.png", "Q1.jpg"], ["Q1"], r"ids Q1\.jpg and Q1\.png both mean Q1"),
        (["a/1.jpg", "b/1.jpg"], ["1"], r"ids a/1\.jpg and b/1\.jpg both mean 1"),
        (["1"], ["a/1.jpg", "b/1.jpg"], r"id 1 may mean a/1\.jpg or b/1\.jpg"),
        (["im/b/1.jpg"], ["a/1.jpg"], r"none of its 1 query ids is known: it has im/b/1\.jpg"),
        (["X1", "X2"], ["Q1"], "none of its 2 query ids is known: it has X1, expected are ids such as Q1"),
    ],
)
def test_ids_that_cannot_be_told_apart_are_refused(ids: list[str], known: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        other_forms(ids, known, "f.h5", "query", kind=DataError)


@pytest.fixture
def folder(make_submission: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Submission, Split]:
    submission, split = make_submission()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NDEC_ROOT", str(tmp_path / "nothing"))
    Path("gt.csv").write_text(write_ground_truth(split.truth))
    return submission, split


def renamed(submission: Submission, form: Callable[[str], str], *sides: str) -> Submission:
    for side in sides:
        source = getattr(submission, side)
        submission = replace(
            submission, **{side: Descriptors(tuple(map(form, source.ids)), source.read(0, len(source)))}
        )
    return submission


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("sides", [("queries",), ("references",), ("queries", "references")])
def test_a_file_with_other_ids_scores_the_same_and_says_so(
    folder: tuple[Submission, Split], form: Callable[[str], str], sides: tuple[str, ...]
) -> None:
    submission, split = folder
    expected = nb.score(submission, split=split, replicates=0)
    assert expected.mapped_ids is None
    assert "mapped_ids" not in expected.model_dump_json()
    found = nb.score(renamed(submission, form, *sides), split=split, replicates=0)
    assert found.parts == expected.parts
    assert found.predictions_sha256 == expected.predictions_sha256
    assert found.mapped_ids == {side: len(getattr(submission, side)) for side in sides}
    assert len(found.notes) == len(sides)
    assert "matched without folder, suffix and case" in found.notes[0]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_pairs_with_other_ids_score_the_same(folder: tuple[Submission, Split], form: Callable[[str], str]) -> None:
    _, split = folder
    pairs = [(query, reference, 1.0 - at / 100) for at, (query, reference) in enumerate(split.truth.pairs)]
    queries, references, scores = (np.array(column) for column in zip(*pairs, strict=True))
    expected = nb.score(Matches(queries, references, scores), split="gt.csv", replicates=0)
    others = Matches(np.array([form(one) for one in queries]), np.array([form(one) for one in references]), scores)
    found = nb.score(others, split="gt.csv", replicates=0)
    assert (found.parts, found.predictions_sha256) == (expected.parts, expected.predictions_sha256)
    assert found.mapped_ids == {"queries": len(set(queries)), "references": len(set(references))}
    strange = np.array([f"X-{one}" for one in references])
    with pytest.raises(SubmissionError, match="none of its 20 reference ids is known: it has X-R"):
        nb.score(Matches(queries, strange, scores), split="gt.csv", replicates=0)


def test_broken_images_are_known_by_file_name_too(folder: tuple[Submission, Split]) -> None:
    submission, split = folder
    rest = submission.queries.take(np.arange(1, len(submission.queries)))
    expected = nb.score(replace(submission, queries=rest, invalid_ids=("Q00000",)), split=split, replicates=0)
    named = replace(renamed(replace(submission, queries=rest), FORMS["jpg"], "queries"), invalid_ids=("Q00000.jpg",))
    found = nb.score(named, split=split, replicates=0)
    assert found.parts == expected.parts
    with pytest.raises(SubmissionError, match=r"ids Q00000 and Q00000\.jpg both mean Q00000"):
        nb.score(replace(submission, invalid_ids=("Q00000.jpg",)), split=split, replicates=0)


def test_background_images_that_are_queries_are_found_by_file_name(folder: tuple[Submission, Split]) -> None:
    submission, split = folder
    names = ("T1", "Q00003.JPG")
    background = Descriptors(names, submission.queries.vectors[:2])
    with pytest.raises(SubmissionError, match=r"background image Q00003\.JPG is among the queries too \(1 such ids\)"):
        nb.score(replace(submission, background=background), split=split, all_protocols=True)


def test_the_lists_of_a_ground_truth(folder: tuple[Submission, Split]) -> None:
    submission, split = folder
    hard = sorted(split.hard_negatives or ())
    Path("hn.txt").write_text("".join(f"queries/{one}.jpg\n" for one in hard))
    Path("part.txt").write_text("".join(f"{one.lower()}\n" for one in split.query_ids[:9]))
    Path("queries.txt").write_text("".join(f"{one}.png\n" for one in split.query_ids))
    Path("matches.csv").write_text("".join(f"{query},{reference}\n" for query, reference in split.truth.pairs))
    users = Split.from_ground_truth(Path("gt.csv"), hard_negatives=Path("hn.txt"), parts={"own": Path("part.txt")})
    assert users.hard_negatives == split.hard_negatives
    assert users.own_parts == {"own": frozenset(split.query_ids[:9])}
    assert [note.partition(":")[0] for note in nb.score(submission, split=users, replicates=0).notes] == [
        "hn.txt",
        "part.txt",
    ]
    listed = Split.from_ground_truth(Path("matches.csv"), queries=Path("queries.txt"))
    assert nb.score(submission, split=listed, replicates=0).parts["all"].queries == 60


@pytest.mark.parametrize("command", ["score", "validate"])
def test_the_terminal_and_json_tell_how_many(
    folder: tuple[Submission, Split], command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    submission, _ = folder
    write_submission(Path("mine.h5"), renamed(submission, FORMS["jpg"], "queries"))
    more = ["--no-bootstrap"] if command == "score" else []
    assert run([command, "mine.h5", "--ground-truth", "gt.csv", *more]) == 0
    assert "note: 60 query ids are written otherwise than in the split" in capsys.readouterr().out
    write_submission(Path("mine.h5"), renamed(submission, lambda one: f"x-{one}", "references"))
    assert run([command, "mine.h5", "--ground-truth", "gt.csv", *more]) == 3
    assert "none of its 90 reference ids is known: it has x-R" in capsys.readouterr().err


def test_packed_file_names_score_as_ids(folder: tuple[Submission, Split], capsys: pytest.CaptureFixture[str]) -> None:
    submission, split = folder
    for side, form in (("queries", "jpg"), ("references", "upper case")):
        write_descriptors(Path(f"{side}.h5"), getattr(renamed(submission, FORMS[form], side), side), {})
    assert run(["pack", "--query", "queries.h5", "--reference", "references.h5", "--split", "x", "--out", "p.h5"]) == 0
    capsys.readouterr()
    expected = nb.score(submission, split=split, replicates=0).parts["all"].micro_ap
    for form in (["p.h5"], ["--query", "queries.h5", "--reference", "references.h5"]):
        assert run(["score", *form, "--ground-truth", "gt.csv", "--no-bootstrap", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["parts"]["all"]["micro_ap"] == expected


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_known_split_is_recognised_by_file_names(form: Callable[[str], str]) -> None:
    assert recognise(map(form, KNOWN["disc21-dev1"].query_ids)) == "disc21-dev1"
