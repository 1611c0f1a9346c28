"""Paired differences of bootstrap replicates and the rank intervals that follow: arrays in, numbers out.

All results of a split resample the same queries with the same weights, replicate by replicate, so the difference of two
results can be taken within each replicate without their predictions (paired bootstrap: Koehn, Statistical Significance
Tests for Machine Translation Evaluation, EMNLP 2004; used likewise in sacrebleu's ``significance.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.metrics.bootstrap import interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Paired:
    """How far result ``a`` lies above result ``b``.

    Attributes
    ----------
    difference
        Measure of ``a`` minus measure of ``b``, as scored.
    interval
        95 % percentile interval of the difference.
    p_value
        Two-sided; see `paired_difference`.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float

    @property
    def significant(self) -> bool:
        """Return whether the interval leaves out 0."""
        return self.interval[0] > 0 or self.interval[1] < 0


@dataclass(frozen=True)
class RankInterval:
    """The place of one result among others, as far as their replicates tell.

    Attributes
    ----------
    best, worst
        1 + number of results significantly better, and n minus number significantly worse.
    group
        Number of the tie group, from 1 in rank order.
    """

    best: int
    worst: int
    group: int


def paired_difference(difference: float, a: Sequence[float], b: Sequence[float]) -> Paired:
    """Return ``difference`` with the interval and p-value that paired replicates ``a`` and ``b`` give it.

    With replicates x_i of ``a``, y_i of ``b`` (i = 1..B) and d_i = x_i - y_i, the interval is the 95 %
    percentile interval of d (`ndec_bench.metrics.bootstrap.interval`), and::

        p = min(1, 2 * min((#{d_i <= 0} + 1) / (B + 1), (#{d_i >= 0} + 1) / (B + 1)))

    The added 1 keeps p above 0 (Davison and Hinkley, Bootstrap Methods and their Application, 1997, 4.2).
    """
    d = np.asarray(a) - np.asarray(b)
    fewer = min(int((d <= 0).sum()), int((d >= 0).sum()))
    return Paired(difference, interval(d), min(1.0, 2 * (fewer + 1) / (len(d) + 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return ``p_values`` adjusted for their number, in the same order (Holm's step-down procedure).

    With the m values sorted, p_(1) <= ... <= p_(m)::

        p_holm_(i) = max over j <= i of min(1, (m - j + 1) * p_(j))

    Calling different every pair with an adjusted value of at most 0.05 errs anywhere among all m pairs with a chance
    of at most 5 %, however the pairs depend on each other (Holm, A Simple Sequentially Rejective Multiple Test
    Procedure, Scandinavian Journal of Statistics 6, 1979).
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for step, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - step) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def rank_bounds(replicates: NDArray[np.float64], among: int) -> list[RankInterval]:
    """Return the rank interval and tie group of each row of (results, B) paired replicates, in rank order.

    ``among`` is the number of results, those that cannot be paired included. One result is significantly better than
    another if the 95 % interval of their paired difference lies above 0. A tie group starts with a row and takes in the
    rows that follow as long as their difference from that first row is not significant.
    """
    better = _significantly_better(replicates)
    intervals: list[RankInterval] = []
    group = first = 0
    for row in range(len(better)):
        if row == 0 or better[first, row] or better[row, first]:
            group, first = group + 1, row
        intervals.append(RankInterval(1 + int(better[:, row].sum()), among - int(better[row].sum()), group))
    return intervals


def _significantly_better(replicates: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return a square bool array: [i, j] tells whether result i is significantly better than result j."""
    # With sorted differences d, the interval (d[low], d[high]) lies above 0 if at most ``low`` of d are
    # <= 0, below 0 if more than ``high`` are < 0: counting needs no sort. Both ranks come from interval itself.
    ranks = np.arange(replicates.shape[1], dtype=np.float64)
    low, high = interval(ranks) if replicates.size else (0.0, 0.0)
    better = np.zeros((len(replicates), len(replicates)), dtype=np.bool_)
    for i, own in enumerate(replicates):
        others = replicates[i + 1 :]
        better[i, i + 1 :] = (own <= others).sum(axis=1) <= low
        better[i + 1 :, i] = (own < others).sum(axis=1) > high
    return better
