"""Micro-average precision, recall at precision and their kin: arrays in, numbers out.

Definitions follow ``isc/metrics.py`` of facebookresearch/isc2021 (Douze et al., "The 2021 Image Similarity Dataset
and Challenge", arXiv 2106.09672). All pairs of all queries are in one ranking by decreasing score; at equal score,
wrong pairs come before true ones, so a tie never helps. With t_i true pairs among the first i of P true pairs in all
(found or not): precision_i = t_i / i, recall_i = t_i / P, µAP = Σ_i (recall_i − recall_{i−1}) · precision_i.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Ranking:
    """Pairs in the order in which metrics count them.

    Attributes
    ----------
    correct
        (n,) bool: is the pair a true match.
    scores
        (n,) float64, not increasing.
    positives
        Number of true pairs, found or not.
    weights
        (n,) float64 weight of each pair, None for 1.
    """

    correct: NDArray[np.bool_]
    scores: NDArray[np.float64]
    positives: int
    weights: NDArray[np.float64] | None = None

    @cached_property
    def precision(self) -> NDArray[np.float64]:
        """Return (n,) precision after each pair."""
        if self.weights is None:
            return np.cumsum(self.correct) / np.arange(1, len(self.correct) + 1)
        total = np.cumsum(self.weights)
        found = np.cumsum(self.weights * self.correct)
        return np.divide(found, total, out=np.zeros(len(total)), where=total > 0)

    @cached_property
    def recall(self) -> NDArray[np.float64]:
        """Return (n,) unweighted recall after each pair; zeros if there is no true pair at all."""
        return np.cumsum(self.correct) / max(self.positives, 1)


@dataclass(frozen=True)
class OperatingPoint:
    """The threshold that reaches a precision with the highest recall."""

    recall: float
    precision: float
    threshold: float


def rank(
    scores: NDArray[np.float64],
    correct: NDArray[np.bool_],
    positives: int,
    weights: NDArray[np.float64] | None = None,
) -> Ranking:
    """Return the ranking of pairs by decreasing score, wrong pairs first at equal score.

    ``scores`` (n,) finite float64, ``correct`` (n,) bool, ``weights`` (n,) or None. ``positives`` counts all true
    pairs. Weights multiply how often a pair counts in precision; they are for groups of queries without matches.
    """
    order = rank_order(scores, correct)
    # A threshold of zero has no sign; the sign of a zero score matters to the digest of the list alone.
    return Ranking(correct[order], scores[order] + 0.0, positives, None if weights is None else weights[order])


def rank_order(scores: NDArray[np.float64], correct: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return (n,) the positions of pairs by decreasing score, wrong pairs first at equal score."""
    return np.lexsort((correct, -scores))


def micro_ap(ranking: Ranking) -> float:
    """Return µAP, in [0, 1]; 0 if there is no true pair or none was found."""
    if ranking.positives == 0:
        return 0.0
    return float(ranking.precision[ranking.correct].sum() / ranking.positives)


def recall_at_precision(ranking: Ranking, target: float) -> OperatingPoint | None:
    """Return the highest recall at any threshold with precision of at least ``target``; None if never reached.

    The threshold is the score at the first position that has this recall (isc2021 ``find_operating_point``).
    """
    precision = ranking.precision
    good = np.flatnonzero((precision >= target) & ranking.correct)
    if ranking.positives == 0 or len(good) == 0:
        return None
    at = int(good[-1])
    return OperatingPoint(float(ranking.recall[at]), float(precision[at]), float(ranking.scores[at]))


def precision_at_recall(ranking: Ranking, level: float) -> float | None:
    """Return the highest precision at any position whose recall is at least ``level``; None if not reached."""
    recall, precision = ranking.recall, ranking.precision
    reached = recall >= level
    if ranking.positives == 0 or not reached.any():
        return None
    return float(precision[reached].max())


def recall_at_rank(ranks: NDArray[np.int64], positives: int, k: int) -> float:
    """Return the share of ``positives`` true pairs whose rank from `true_ranks` is below ``k``; 0 without true pairs.

    A pair that was not predicted has no rank and counts as missed (isc2021 ``isc/metrics.py``).
    """
    return float((ranks < k).sum() / positives) if positives else 0.0


def true_ranks(
    query_codes: NDArray[np.int64], scores: NDArray[np.float64], correct: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return the rank (0 is best) of each true pair among its query's pairs, in the order of the input.

    The rank counts all pairs of the query with at least the true pair's score, itself left out, so ties hurt.
    ``query_codes`` (n,) tells queries apart; ``scores`` (n,); ``correct`` (n,). Returns (true pairs,) int64.
    """
    # Most queries have no true pair, and no part in this.
    rows = _of_same_queries(query_codes, correct)
    order = rows[np.lexsort((-scores[rows], query_codes[rows]))]
    codes, ordered = query_codes[order], scores[order]
    position = np.arange(len(order))
    starts = np.r_[True, codes[1:] != codes[:-1]] if len(order) else np.zeros(0, dtype=bool)
    first = np.maximum.accumulate(np.where(starts, position, 0))
    # The last position of a block of equal scores within a query: ties push a true pair to the end of its block.
    ends = np.r_[(codes[1:] != codes[:-1]) | (ordered[1:] != ordered[:-1]), True] if len(order) else starts
    last = np.minimum.accumulate(np.where(ends, position, len(order))[::-1])[::-1]
    ranks = np.empty(len(scores), dtype=np.int64)
    ranks[order] = last - first
    return ranks[correct]


def _of_same_queries(query_codes: NDArray[np.int64], chosen: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the rows of all queries that have a chosen row."""
    if not chosen.any():
        return np.zeros(0, dtype=np.intp)
    wanted = np.zeros(int(query_codes.max()) + 1, dtype=bool)
    wanted[query_codes[chosen]] = True
    return np.flatnonzero(wanted[query_codes])


def thin_curve(ranking: Ranking, *, error: float = 1e-4, points: int = 200) -> NDArray[np.int64]:
    """Return the rank positions (0-based) of a thinned precision-recall curve, increasing.

    Kept are true pairs only, where the curve has its peaks. Starting from ``points`` positions spread evenly over
    them, the number doubles until the trapezoid area over recall differs from that of all true pairs by at most
    ``error``.
    """
    peaks = np.flatnonzero(ranking.correct)
    if len(peaks) <= points:
        return peaks
    recall, precision = ranking.recall, ranking.precision
    full = float(np.trapezoid(precision[peaks], recall[peaks]))
    while points < len(peaks):
        chosen = peaks[np.linspace(0, len(peaks) - 1, points).round().astype(np.int64)]
        if abs(float(np.trapezoid(precision[chosen], recall[chosen])) - full) <= error:
            return chosen
        points *= 2
    return peaks
