"""The exact search alone: the same pairs as brute force and as a score, thresholds, and operating points of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ndec_bench as nb
from ndec_bench.cli import run
from ndec_bench.descriptors import Descriptors, write_descriptors
from ndec_bench.errors import SubmissionError, UsageError
from ndec_bench.scoring import matching

RECIPE = {"baseline": "toy", "weights": "1", "metric": "l2"}
POINT = {"metric": "l2", "dimensions": 6, "baseline": "toy", "points": [{"score": -0.5}]}
QUERIES, REFERENCES = 40, 90


def _side(letter: str, count: int, seed: int) -> Descriptors:
    vectors = np.random.default_rng(seed).normal(size=(count, 6)).round(1)  # rounded, so that scores tie
    return Descriptors(tuple(f"{letter}{row:03d}" for row in range(count)), vectors.astype(np.float32))


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Descriptors]:
    """Queries in one file, references in two, as one recipe makes them."""
    monkeypatch.chdir(tmp_path)
    query, reference = _side("Q", QUERIES, 1), _side("R", REFERENCES, 2)
    write_descriptors(Path("q.h5"), query, {**RECIPE, "images_sha256": "a"})
    write_descriptors(Path("r1.h5"), reference.take(np.arange(50)), {**RECIPE, "images_sha256": "b"})
    write_descriptors(Path("r2.h5"), reference.take(np.arange(50, REFERENCES)), {**RECIPE, "images_sha256": "c"})
    return {"query": query, "reference": reference}


def brute_force(files: dict[str, Descriptors], metric: str = "l2") -> list[tuple[str, str, float]]:
    """Every pair in the order of record, from a plain float64 computation."""
    query, reference = (files[side].vectors.astype(np.float64) for side in ("query", "reference"))
    scores = query @ reference.T
    if metric == "l2":
        scores = -((query[:, None] - reference[None]) ** 2).sum(axis=2)
    rows = [
        (q, r, scores[i, j]) for i, q in enumerate(files["query"].ids) for j, r in enumerate(files["reference"].ids)
    ]
    return sorted(rows, key=lambda row: (-row[2], row[0], row[1]))


def matched(**options: Any) -> list[tuple[str, str]]:  # noqa: ANN401
    found = nb.match("q.h5", ["r1.h5", "r2.h5"], **options)
    return list(zip(found.query_ids.tolist(), found.reference_ids.tolist(), strict=True))


def test_the_best_pairs_are_those_of_brute_force(files: dict[str, Descriptors]) -> None:
    every = brute_force(files)
    pairs = [row[:2] for row in every]
    assert matched() == pairs[: 10 * QUERIES]
    assert matched(pairs=7) == pairs[:7]
    assert matched(per_query=3) == [
        pair for place, pair in enumerate(pairs) if sum(pair[0] == other for other, _ in pairs[:place]) < 3
    ]
    last = every[5 * QUERIES][2]
    assert matched(threshold=last) == [row[:2] for row in every if row[2] >= last]
    assert matched(threshold=-1e9) == pairs
    assert matched(threshold=1.0) == []


def test_files_that_name_no_metric_are_searched_as_asked(files: dict[str, Descriptors]) -> None:
    for path in ("q.h5", "r.h5"):
        write_descriptors(Path(path), files["query" if path == "q.h5" else "reference"], {})
    found = nb.match("q.h5", "r.h5", metric="ip", pairs=50)
    assert found.scores == pytest.approx([row[2] for row in brute_force(files, "ip")[:50]])
    assert nb.match("q.h5", "r.h5", pairs=1).scores[0] <= 0.0


def test_the_list_is_that_of_a_score(files: dict[str, Descriptors], capsys: pytest.CaptureFixture[str]) -> None:
    Path("gt.csv").write_text("query_id,reference_id\n" + "".join(f"{query},\n" for query in files["query"].ids[1:]))
    with Path("gt.csv").open("a") as file:
        file.write("Q000,R005\n")
    sides = ["--query", "q.h5", "--reference", "r1.h5", "r2.h5"]
    assert run(["match", *sides, "--out", "list.parquet", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["pairs"] == 10 * QUERIES
    score = ["score", *sides, "--ground-truth", "gt.csv", "--no-bootstrap", "--save-matches", "scored.parquet"]
    assert run([*score, "--json"]) == 0
    assert Path("list.parquet").read_bytes() == Path("scored.parquet").read_bytes()
    assert json.loads(capsys.readouterr().out)["predictions_sha256"] == shown["matches_sha256"]
    assert run(["match", *sides, "--pairs", "3", "--out", "list.csv"]) == 0
    assert len(Path("list.csv").read_text().splitlines()) == 4
    assert "lowest score" in capsys.readouterr().out


def test_an_operating_point_is_used_for_its_own_descriptors(
    files: dict[str, Descriptors], capsys: pytest.CaptureFixture[str]
) -> None:
    truth = "query_id,reference_id\nQ001,R001\n" + "".join(f"{query},\n" for query in files["query"].ids[2:])
    Path("gt.csv").write_text(truth + "Q000,\n")
    sides = ["--query", "q.h5", "--reference", "r1.h5", "r2.h5"]
    assert run(["pack", *sides, "--split", "toy", "--out", "sub.h5"]) == 0
    target = ["--ground-truth", "gt.csv"]
    assert run(["score", "sub.h5", *target, "--no-bootstrap", "--save-matches", "m.csv", "--out", "result.json"]) == 0
    point = ["threshold", "result.json", "--matches", "m.csv", *target, "--at", "-2.0", "--out", "point.json"]
    assert run([*point, "--submission", "sub.h5"]) == 0
    assert json.loads(Path("point.json").read_text())["recipe"] == {"baseline": "toy", "weights": "1"}
    assert matched(operating_point="point.json") == [row[:2] for row in brute_force(files) if row[2] >= -2.0]
    for path, side in (("q.h5", "query"), ("r.h5", "reference")):
        write_descriptors(Path(path), files[side], {**RECIPE, "weights": "2"})
    with pytest.raises(SubmissionError, match="chosen for weights '1', but the descriptors have '2'"):
        nb.match("q.h5", "r.h5", operating_point="point.json")
    capsys.readouterr()
    assert run([*point, "--submission", "q.h5"]) == 2
    assert "q.h5 is not the file of the result" in capsys.readouterr().err
    assert run(["threshold", *point[2:], "--submission", "sub.h5"]) == 2
    assert "--submission needs the result of that file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("point", "code", "message"),
    [
        (POINT | {"metric": "ip"}, 3, "chosen for metric 'ip', but the descriptors have 'l2'"),
        (POINT | {"dimensions": 7}, 3, "chosen for dimensions 7, but the descriptors have 6"),
        (POINT | {"baseline": "gist"}, 3, "chosen for baseline 'gist', but the descriptors have 'toy'"),
        (POINT | {"recipe": {"steps": "l2"}}, 3, "chosen for baseline None, but the descriptors have 'toy'"),
        (POINT | {"metric": None}, 3, "does not say for which descriptors it was chosen"),
        (POINT | {"points": []}, 4, "not an operating point (points: "),
        (POINT | {"points": [{"score": "-0.5"}]}, 4, "not an operating point (points.0.score: "),
        (POINT | {"points": [{"score": float("nan")}]}, 4, "not an operating point (points.0.score: "),
        ([1], 4, "not an operating point (file: "),
    ],
)
def test_an_operating_point_of_other_descriptors_is_refused(
    files: dict[str, Descriptors], point: object, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("point.json").write_text(json.dumps(point))
    sides = ["--query", "q.h5", "--reference", "r1.h5", "r2.h5"]
    assert run(["match", *sides, "--operating-point", "point.json", "--out", "list.csv"]) == code
    assert message in " ".join(capsys.readouterr().err.split())
    assert not Path("list.csv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": 5, "threshold": -1.0}, "--pairs and --threshold exclude each other"),
        ({"pairs": 0}, "--pairs 0; give one or more"),
        ({"per_query": -1}, "--per-query -1; give one or more"),
        ({"threshold": float("nan")}, "--threshold nan; give a finite score"),
        ({"metric": "ip"}, "--metric ip, but the files say l2"),
        ({"threshold": -1e9}, "more than 500 pairs have a score of -1e+09 or higher"),
        ({"pairs": 501}, "a list of 501 pairs; ask for at most 500"),
        ({"per_query": 13}, "a list of 520 pairs; ask for at most 500"),
    ],
)
def test_wrong_use_has_one_message(
    files: dict[str, Descriptors], options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "MOST_PAIRS", 500)
    with pytest.raises(UsageError) as raised:
        matched(**options)
    assert message in f"{raised.value.message}; {raised.value.hint}"


def test_a_side_without_files_is_wrong_use(files: dict[str, Descriptors]) -> None:
    with pytest.raises(UsageError, match="no reference file"):
        nb.match("q.h5", [])


def test_descriptors_of_two_recipes_are_refused(files: dict[str, Descriptors]) -> None:
    write_descriptors(Path("r2.h5"), _side("R", 5, 3), {**RECIPE, "weights": "2"})
    with pytest.raises(SubmissionError, match=r"r2\.h5: weights is '2', but '1' in q\.h5"):
        nb.match("q.h5", "r2.h5")
