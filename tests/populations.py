"""Populations of queries with known truth, and how often the bounds of a threshold hold on samples of them."""

from __future__ import annotations

import numpy as np

import ndec_bench as nb
from ndec_bench.data.ground_truth import GroundTruth
from ndec_bench.data.split import Split
from ndec_bench.deciding.evidence import evidence
from ndec_bench.deciding.point import Goal, operating_point
from ndec_bench.errors import UsageError

CASES = [
    (Goal("max_alarms", 0.03), "heavy", False),
    (Goal("max_alarms", 0.03), "rare", False),
    (Goal("max_alarms", 0.05), "normal", True),
    (Goal("max_alarms", 0.08, hard_share=0.3), "heavy", False),
    (Goal("min_recall", 0.7), "heavy", False),
    (Goal("min_precision", 0.8, prior=0.3), "normal", False),
]
"""Goal, tail and ties."""
BOUNDS = ("alarm rate", "recall, lower", "recall, upper", "precision at prior, lower")


def split_of(matched: int, plain: int, hard: int = 0, references: int | None = 50) -> Split:
    """Return a split of queries M, P and H, each matched query with the reference of its number."""
    queries = [
        f"{kind}{number:04}" for kind, count in (("M", matched), ("P", plain), ("H", hard)) for number in range(count)
    ]
    pairs = [(f"M{number:04}", f"R{number:04}") for number in range(matched)]
    return Split(
        name="user",
        truth=GroundTruth(tuple(sorted(queries)), tuple(pairs)),
        hard_negatives=frozenset(query for query in queries if query[0] == "H") if hard else None,
        reference_ids=None if references is None else tuple(f"R{number:04}" for number in range(references)),
    )


def pairs_of(rows: list[tuple[str, str, float]]) -> nb.Matches:
    queries, references, scores = zip(*rows, strict=True)
    return nb.Matches(np.array(queries), np.array(references), np.array(scores, dtype=np.float64))


def population(rng: np.random.Generator, split: Split, *, ties: bool, tail: str) -> nb.Matches:
    """Return three pairs per query with scores of one kind of population."""
    rows = []
    for query in split.query_ids:
        wrong = rng.standard_t(2) * 0.5 if tail == "heavy" else rng.normal()
        if tail == "rare":
            wrong = 5.0 + rng.normal() if rng.random() < 0.01 else wrong - 3.0
        scores = [wrong, wrong - abs(rng.normal()), wrong - 2 * abs(rng.normal())]
        if query[0] == "M":
            rows.append((query, f"R{query[1:]}", rng.normal(3.0, 1.5)))
        rows += [(query, f"W{rng.integers(50) + 100 * place:04}", score) for place, score in enumerate(scores)]
    if ties:
        rows = [(query, reference, round(score * 2) / 2) for query, reference, score in rows]
    return pairs_of(rows)


def coverage(goal: Goal, *, tail: str, ties: bool, draws: int, seed: int = 18) -> list[tuple[bool, ...]]:
    """Return for each sample whether the `BOUNDS` hold; samples on which the goal is out of reach are left out.

    Samples are drawn with replacement from the queries of a finite population, so what is true is known exactly.
    """
    rng = np.random.default_rng(seed)
    hard = 0 if goal.hard_share is None else 150
    everyone = split_of(4000, 6000, 10 * hard, references=None)
    listed = population(rng, everyone, ties=ties, tail=tail)
    true = evidence(listed, everyone)
    rows: dict[str, list[tuple[bool, str, float]]] = {query: [] for query in everyone.query_ids}
    for query, reference, score in zip(
        listed.query_ids.tolist(), listed.reference_ids.tolist(), listed.scores.tolist(), strict=True
    ):
        rows[query].append((reference == f"R{query[1:]}", reference, score))
    split = split_of(150, 250, hard, references=None)
    kinds = {kind: [query for query in everyone.query_ids if query[0] == kind] for kind in "MPH"}
    held = []
    for _ in range(draws):
        pairs = [
            (query, f"R{query[1:]}" if correct else reference, score)
            for query in split.query_ids
            for correct, reference, score in rows[kinds[query[0]][rng.integers(len(kinds[query[0]]))]]
        ]
        try:
            point = operating_point(evidence(pairs_of(pairs), split), goal)
        except UsageError:
            continue
        at = operating_point(true, Goal("threshold", max(point.score, true.lowest), goal.prior, goal.hard_share))
        held.append(
            (
                (at.alarm_rate or 0.0) <= point.alarm_rate_upper,
                point.recall.lower <= (at.recall.rate or 0.0),
                (at.recall.rate or 0.0) <= point.recall.upper,
                goal.prior is None or (point.precision_at_prior_lower or 0.0) <= (at.precision_at_prior or 1.0),
            )
        )
    return held
