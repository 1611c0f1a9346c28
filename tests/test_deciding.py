"""Thresholds, their bounds, alarms against the number of references, floods."""

from __future__ import annotations

import json
import math
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import pytest

import ndec_bench as nb
from ndec_bench.cli import run
from ndec_bench.deciding.alarms import alarm_curve, curve_frame
from ndec_bench.deciding.bounds import (
    lower_bound,
    most_hits,
    queries_needed,
    upper_bound,
    upper_bound_anywhere,
)
from ndec_bench.deciding.decision import decide
from ndec_bench.deciding.evidence import Evidence, evidence
from ndec_bench.deciding.floods import floods
from ndec_bench.deciding.point import Goal, operating_point
from ndec_bench.deciding.unit import unit_of
from ndec_bench.errors import UsageError
from populations import CASES, coverage, pairs_of, population, split_of

if TYPE_CHECKING:
    from pathlib import Path


def _chance(share: float, queries: int, hits: range) -> float:
    return sum(math.comb(queries, k) * share**k * (1 - share) ** (queries - k) for k in hits)


def test_bounds_are_those_of_the_binomial_distribution() -> None:
    assert upper_bound(0, 166) == pytest.approx(1 - 0.05 ** (1 / 166))
    assert round(upper_bound(0, 166), 3) == 0.018
    # At the upper bound, three hits or fewer of twenty have a chance of 5 %; at the lower one, three or more.
    assert _chance(upper_bound(3, 20), 20, range(4)) == pytest.approx(0.05)
    assert _chance(lower_bound(3, 20), 20, range(3, 21)) == pytest.approx(0.05)
    assert upper_bound(5, 5) == 1.0
    assert (most_hits(166, 0.01), most_hits(1000, 0.01)) == (None, 4)
    assert upper_bound(most_hits(1000, 0.01) or 0, 1000) <= 0.01 < upper_bound(5, 1000)
    assert queries_needed(0.01) == 299
    assert upper_bound(0, 299) <= 0.01 < upper_bound(0, 298)


@pytest.mark.parametrize("hits", [0, 1, 7, 150, 299, 300])
def test_a_bound_at_all_thresholds_is_wider_than_one_at_a_single_threshold(hits: int) -> None:
    assert upper_bound(hits, 300) <= upper_bound_anywhere(hits, 300) <= 1.0


@pytest.mark.parametrize(("goal", "tail", "ties"), CASES)
def test_bounds_hold_as_often_as_they_say(goal: Goal, tail: str, ties: bool) -> None:
    held = coverage(goal, tail=tail, ties=ties, draws=150)
    assert len(held) > 120
    # Where the chance is 95 %, fewer than 133 of 150 have one below a thousandth.
    assert (np.mean(held, axis=0) >= 133 / 150).all()


def test_the_budget_is_spent_and_ties_are_alarms() -> None:
    split = split_of(2, 100)
    rows = [("M0000", "R0000", 9.0), ("M0001", "R0001", 3.0)]
    rows += [(f"P{number:04}", "R0009", 8.0 if number < 2 else 7.0 if number < 5 else 1.0) for number in range(100)]
    seen = evidence(pairs_of(rows), split)
    allowed = most_hits(100, 0.1)
    assert allowed == 4
    point = operating_point(seen, Goal("max_alarms", 0.1))
    # At 7.0 five queries would be alarmed, so the threshold is just above.
    assert (point.score, point.alarms["without_match"].hits, point.recall.hits) == (np.nextafter(7.0, 8.0), 2, 1)
    assert point.alarm_rate_upper == upper_bound(4, 100)


def test_precision_at_a_prior_by_hand() -> None:
    split = split_of(4, 10)
    rows = [(f"M{number:04}", f"R{number:04}", 5.0 - number) for number in range(3)]
    rows += [("M0003", "R0000", 4.5), ("P0000", "R0001", 3.5), ("P0001", "R0001", 2.9)]
    point = operating_point(evidence(pairs_of(rows), split), Goal("threshold", 3.0, prior=0.2))
    assert (point.recall.hits, point.alerted.hits, point.alarms["without_match"].hits) == (3, 4, 1)
    assert point.precision_at_prior == pytest.approx(0.2 * 0.75 / (0.2 * 1.0 + 0.8 * 0.1))
    assert point.precision_of_pairs == 3 / 5
    chosen = operating_point(evidence(pairs_of(rows), split), Goal("min_precision", 0.9))
    assert (chosen.score, chosen.precision_of_pairs) == (5.0, 1.0)


def test_the_curve_is_the_mean_over_all_subsets() -> None:
    split = split_of(1, 3, 2, references=7)
    rows = [("M0000", "R0000", 9.0), ("P0000", "R0001", 8.0), ("P0000", "R0002", 7.0), ("P0001", "R0002", 6.0)]
    rows += [("H0000", f"R{number:04}", 5.0) for number in range(6)] + [("H0001", "R0003", 1.0)]
    seen = evidence(pairs_of(rows), split)
    hits = {query: {r for q, r, score in rows if q == query and score >= 5.0} for query, _, _ in rows}
    for one in alarm_curve(seen, 5.0, sizes=range(1, 8)):
        kinds = {"without_match": "PH", "plain_distractor": "P", "hard_negative": "H"}[one.group]
        queries = [query for query in split.query_ids if query[0] in kinds]
        subsets = list(combinations(split.reference_ids or (), one.references))
        expected = np.mean([bool(hits.get(query, set()) & set(subset)) for subset in subsets for query in queries])
        assert one.rate == pytest.approx(float(expected), abs=1e-12)
        assert one.lower <= float(expected) <= one.upper


def test_a_tenth_of_the_references_foretells_the_whole() -> None:
    rng = np.random.default_rng(3)
    split = split_of(1, 2000, references=1000)
    # Queries differ: most hit nothing, a few hit many references.
    chances = rng.gamma(0.05, 0.02, size=2000).clip(0, 1)
    rows = [("M0000", "R0000", 2.0)]
    rows += [
        (f"P{query:04}", f"R{reference:04}", 1.0)
        for query in range(2000)
        for reference in np.flatnonzero(rng.random(1000) < chances[query])
    ]
    whole = alarm_curve(evidence(pairs_of(rows), split), 1.0, sizes=[100, 1000])
    few = [row for row in rows if int(row[1][1:]) < 100]
    unknown = split_of(1, 2000, references=None)
    tenth = alarm_curve(evidence(pairs_of(few), unknown), 1.0, sizes=[100, 1000], references=100)
    assert tenth[0].rate == pytest.approx(whole[0].rate, rel=0.15)
    assert tenth[1].extrapolated
    assert tenth[1].rate is None
    assert tenth[1].lower <= (whole[1].rate or 0.0) <= tenth[1].upper


def test_alarms_of_hard_negatives_are_not_extrapolated() -> None:
    split = split_of(1, 2, 2, references=10)
    rows = [("M0000", "R0000", 9.0), ("P0000", "R0001", 8.0), ("H0000", "R0001", 8.0), ("P0000", "R0002", 8.0)]
    frame = curve_frame(alarm_curve(evidence(pairs_of(rows), split), 8.0, sizes=[10, 100]))
    assert set(frame.loc[frame.references == 100, "group"]) == {"plain_distractor"}


@pytest.mark.parametrize(
    ("pairs_each", "references", "message"), [(2, 50, "nearest of each"), (1, 1, "but 50 were searched")]
)
def test_curves_of_lists_that_lack_pairs_are_refused(pairs_each: int, references: int, message: str) -> None:
    rows = [("M0000", "R0000", 9.0)]
    rows += [(f"P{query:04}", f"R{place:04}", 9.0 - place) for query in range(12) for place in range(pairs_each)]
    seen = evidence(pairs_of(rows), split_of(1, 12))
    with pytest.raises(UsageError, match=message):
        alarm_curve(seen, 9.0, references=references)
    assert alarm_curve(seen, 9.0, complete=True)


def test_floods_are_measured_on_the_other_half() -> None:
    split = split_of(4, 40)
    rows = [(f"M{number:04}", f"R{number:04}", 9.0) for number in range(4)]
    rows += [(f"P{number:04}", "R0030", 8.0) for number in range(20)] + [("P0030", "R0031", 8.0)]
    (one,) = floods(evidence(pairs_of(rows), split), 8.0, worst=(1,))
    assert one.share == 20 / 25
    assert (one.alarms_before, one.alarms_after) == (21 / 40, 1 / 40)
    assert (one.recall_before, one.recall_after) == (1.0, 1.0)


def test_units() -> None:
    assert unit_of("l2", np.array([-4.0, -128.0])).rule(-128.0) == "Hamming distance at most 32"
    assert unit_of("l2", np.array([-0.25])).rule(-0.123456789) == "squared distance at most 0.12345678"
    assert unit_of("ip", np.array([0.5])).rule(0.123456789) == "inner product at least 0.12345679"
    assert unit_of(None, np.array([0.5])).rule(0.5) == "score at least 0.5"
    bits = unit_of("l2", np.array([-4.0]))
    assert bits.rule(float(np.nextafter(-128.0, 0.0))) == "Hamming distance at most 31"
    assert bits.rule(-2.0) == "Hamming distance at most 0"
    assert {bits.rule(score) for score in (5e-324, 2.0)} == {"no pair: the threshold is above every score"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    rng = np.random.default_rng(4)
    split = split_of(60, 90, 30)
    truth = "".join(f"{query},{'R' + query[1:] if query[0] == 'M' else ''}\n" for query in split.query_ids)
    (tmp_path / "gt.csv").write_text("query_id,reference_id\n" + truth)
    (tmp_path / "hard.txt").write_text("".join(f"{query}\n" for query in sorted(split.hard_negatives or ())))
    pairs = population(rng, split_of(60, 90, 30), ties=False, tail="heavy")
    rows = zip(pairs.query_ids, pairs.reference_ids, pairs.scores, strict=True)
    (tmp_path / "pairs.csv").write_text("query_id,reference_id,score\n" + "".join(f"{q},{r},{s}\n" for q, r, s in rows))
    return tmp_path


def _threshold(files: Path, *arguments: str) -> int:
    given = ["--matches", str(files / "pairs.csv"), "--ground-truth", str(files / "gt.csv")]
    return run(["threshold", *given, "--hard-negatives", str(files / "hard.txt"), *arguments])


def test_the_command_prints_useful_points(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _threshold(files) == 0
    shown = capsys.readouterr().out
    assert "--min-recall 0.5" in shown
    assert "--max-alarms 0.01" in shown
    assert "it takes at least 299 of them" in shown


def test_the_command_writes_the_point_and_the_plot(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = [
        "--out",
        str(files / "point.json"),
        "--plot",
        str(files / "alarms.svg"),
        "--references",
        "500",
        "--complete",
    ]
    goal = ["--max-alarms", "0.1", "--prior", "0.2", "--queries-per-day", "1000"]
    assert _threshold(files, *goal, *outputs) == 0
    assert "Alarms per day of 1,000 queries" in capsys.readouterr().out
    point = json.loads((files / "point.json").read_text())
    assert point["points"][0]["alarm_rate_upper"] <= 0.1
    assert point["points"][0]["rule"].startswith("score at least")
    assert {one["group"] for one in point["curve"]} == {"without_match", "plain_distractor", "hard_negative"}
    assert (files / "alarms.svg").read_text().startswith("<svg")
    assert _threshold(files, *goal, "--references", "500", "--complete", "--json") == 0
    assert json.loads(capsys.readouterr().out) == point


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-alarms", "0.001"], "cannot promise --max-alarms 0.001"),
        (["--max-alarms", "1.5"], "--max-alarms 1.5; give a share between 0 and 1"),
        (["--min-recall", "0.5", "--max-alarms", "0.1"], "exclude each other"),
        (["--at", "-99"], "is not above the lowest score of the list"),
        (["--prior", "0.1"], "no goal is given"),
        (["--plot", "a.svg"], "need a goal"),
        (["--at", "nan"], "give a finite number"),
        (["--max-alarms", "0.2", "--queries-per-day", "-5"], "give a number above 0"),
        (["--max-alarms", "0.2", "--plot", "a.svg"], "the number of references is not known"),
        (["--max-alarms", "0.2", "--references", "3", "--plot", "a.svg"], "but the list names"),
    ],
)
def test_wrong_use_has_one_message(
    files: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _threshold(files, *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_list_that_is_cut_is_refused() -> None:
    split = split_of(2, 10)
    rows = [("M0000", "R0000", 9.0)] + [(f"P{q:04}", f"R{r:04}", 5.0) for q in range(4) for r in range(30)]
    seen = evidence(pairs_of(rows), split)
    assert isinstance(seen, Evidence)
    assert seen.full
    with pytest.raises(UsageError, match="the list ends at 5, above the threshold"):
        operating_point(seen, Goal("max_alarms", 0.9))


def test_a_result_of_another_split_is_refused(files: Path) -> None:
    result = nb.score(files / "pairs.csv", split=files / "gt.csv", replicates=0)
    with pytest.raises(UsageError, match="ground truths differ"):
        decide(nb.Matches(np.array(["M0000"]), np.array(["R0000"]), np.array([1.0])), split_of(2, 2), result=result)


def test_python_gives_what_the_command_gives(files: Path) -> None:
    point = nb.operating_point(files / "pairs.csv", split=files / "gt.csv", max_alarms=0.1, prior=0.2)
    assert point.alarm_rate_upper <= 0.1
    curve = nb.alarm_curve(
        files / "pairs.csv", point.score, split=files / "gt.csv", references=500, sizes=[100, 500], complete=True
    )
    assert curve.rate.tolist()[-1] == point.alarm_rate
    with pytest.raises(UsageError, match="no goal is given"):
        nb.operating_point(files / "pairs.csv", split=files / "gt.csv")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "pairs.csv"], "is an input of this command"),
        (["--plot", "gt.csv"], "is an input of this command"),
        (["--out", "same", "--plot", "same"], "is given for two outputs"),
    ],
)
def test_inputs_and_other_outputs_are_not_written_over(
    files: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in files.iterdir()}
    placed = [one if one.startswith("--") else str(files / one) for one in arguments]
    assert _threshold(files, "--max-alarms", "0.2", *placed) == 2
    assert message in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in files.iterdir()} == before
