"""Floods: references that raise many alerts, and what it costs and gains to leave the worst ones out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.scoring.hard_negatives import half_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_bench.deciding.evidence import Evidence

WORST = (1, 10, 100)


@dataclass(frozen=True)
class Flood:
    """The references with the most alerts.

    Attributes
    ----------
    worst
        How many references.
    share
        Share of all alerts that they raise; None without any alert.
    alarms_before, alarms_after
        Share of unmatched queries with an alarm, with and without the worst references: those of one half of the
        queries, measured on the other half, both ways.
    recall_before, recall_after
        Share of matched queries with a true alert, likewise.
    """

    worst: int
    share: float | None
    alarms_before: float | None
    alarms_after: float | None
    recall_before: float
    recall_after: float


def floods(evidence: Evidence, score: float, worst: tuple[int, ...] = WORST) -> list[Flood]:
    """Return what the ``worst`` references do at threshold ``score``: those with the most alerts, ties by their ids.

    Which half a query belongs to is decided by the hash of its id, see `ndec_bench.scoring.hard_negatives.half_of`.
    """
    above = evidence.scores >= score
    codes, correct = evidence.codes[above], evidence.correct[above]
    ids, references = np.unique(evidence.reference_ids[above], return_inverse=True)
    halves = half_of(evidence.truth.split.query_ids)
    return [_flood(count, evidence, codes, correct, references, len(ids), halves) for count in worst]


def _flood(
    count: int,
    evidence: Evidence,
    codes: NDArray[np.int64],
    correct: NDArray[np.bool_],
    references: NDArray[np.intp],
    known: int,
    halves: NDArray[np.int64],
) -> Flood:
    share = None
    if len(codes):
        share = float(np.isin(references, _worst(references, known, count)).mean())
    kept = np.ones(len(codes), dtype=bool)
    for half in (0, 1):
        chosen = _worst(references[halves[codes] == half], known, count)
        kept &= ~((halves[codes] != half) & np.isin(references, chosen))
    before, after = (_rates(evidence, codes[mask], correct[mask]) for mask in (slice(None), kept))
    return Flood(count, share, before[0], after[0], before[1], after[1])


def _worst(references: NDArray[np.intp], known: int, count: int) -> NDArray[np.intp]:
    """Return the ``count`` references with the most alerts."""
    alerts = np.bincount(references, minlength=known)
    order = np.argsort(-alerts, kind="stable")[:count]
    return order[alerts[order] > 0]


def _rates(evidence: Evidence, codes: NDArray[np.int64], correct: NDArray[np.bool_]) -> tuple[float | None, float]:
    """Return the shares of unmatched queries with an alert and of matched queries with a true one."""
    matched = evidence.matched
    alarmed, found = np.zeros(len(matched), dtype=bool), np.zeros(len(matched), dtype=bool)
    alarmed[codes], found[codes[correct]] = True, True
    rate = float(alarmed[~matched].mean()) if (~matched).any() else None
    return rate, float(found[matched].mean())
