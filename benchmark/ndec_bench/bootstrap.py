"""Confidence intervals by resampling queries, from one frozen stream of weights.

Replicate b gives every labelled query a Poisson(1) weight w (the Poisson bootstrap: Hanley and MacGibbon, "Creating
non-parametric bootstrap samples using Poisson frequencies", 2006): all pairs of the query, true or not, count w
times. The weight depends on the stream's name, the query id and b alone, so the replicates of any two results of one
split belong together pair by pair, whoever computed them, and the parts of a split share their weights.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.progress import silent
from ndec_bench.randomness import key_of, mix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ndec_bench.progress import Progress

STREAM = "ndec-poisson-1"
REPLICATES = 1000
_GAMMA = 0x9E3779B97F4A7C15


def _poisson_thresholds() -> NDArray[np.uint64]:
    """Return floor(P(w <= k) · 2**64) for k = 0..19; beyond, the chance is below 2**-64.

    Decimal's exp is correctly rounded, so the integers are the same everywhere.
    """
    with localcontext(prec=60):
        first = Decimal(-1).exp()
        cumulated = [sum(first / math.factorial(i) for i in range(k + 1)) for k in range(20)]
        return np.array([int(chance * 2**64) for chance in cumulated], dtype=np.uint64)


_THRESHOLDS = _poisson_thresholds()


def query_keys(query_ids: Sequence[str]) -> NDArray[np.uint64]:
    """Return (n,) uint64 keys: first 8 bytes (big endian) of SHA-256 over ``ndec-poisson-1|query_id``."""
    return np.array([key_of(STREAM, query) for query in query_ids], dtype=np.uint64)


def weights(keys: NDArray[np.uint64], replicate: int) -> NDArray[np.int64]:
    """Return (n,) Poisson(1) weights of ``replicate`` (counted from 0) for the queries with these ``keys``.

    The uniform number is SplitMix64's output number ``replicate`` of the stream ``key``; the weight counts the
    thresholds P(w <= k) · 2**64 that it reaches (inverse CDF).
    """
    step = np.uint64(((replicate + 1) * _GAMMA) & ((1 << 64) - 1))
    return np.searchsorted(_THRESHOLDS, mix(keys + step), side="right").astype(np.int64)


def replicate_scores(
    query_codes: NDArray[np.int64],
    correct: NDArray[np.bool_],
    positives_per_query: NDArray[np.int64],
    keys: NDArray[np.uint64],
    *,
    precision_target: float,
    count: int = REPLICATES,
    progress: Progress = silent,
    stage: str = "bootstrap",
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return µAP and recall at ``precision_target`` of each replicate, two (count,) float64 arrays.

    Parameters
    ----------
    query_codes
        (n,) position of each pair's query in ``keys``, pairs in ranking order (see `ndec_bench.metrics.rank`).
    correct
        (n,) bool in the same order.
    positives_per_query
        (queries,) number of true pairs of each query, found or not.
    keys
        (queries,) from `query_keys`.
    precision_target
        Precision of the second number; a replicate that never reaches it counts 0.
    progress, stage
        Called as ``progress(stage, done, total)`` in replicates.
    """
    scores = np.zeros((2, count))
    true_rows = np.flatnonzero(correct)
    for replicate in range(count):
        per_query = weights(keys, replicate)
        positives = int(per_query @ positives_per_query)
        if positives:
            scores[:, replicate] = _replicate(per_query[query_codes], true_rows, positives, precision_target)
        progress(stage, replicate + 1, count)
    return scores[0], scores[1]


def interval(replicates: Sequence[float] | NDArray[np.float64], *, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of ``replicates``: the k-th smallest and k-th largest of B.

    k is (1 − level) / 2 · B, rounded, at least 1: the 25th of each end for 1,000 replicates and level 0.95.
    """
    ordered = np.sort(np.asarray(replicates, dtype=np.float64))
    k = max(round((1.0 - level) / 2.0 * len(ordered)), 1)
    return float(ordered[k - 1]), float(ordered[-k])


def _replicate(
    pair_weights: NDArray[np.int64], true_rows: NDArray[np.intp], positives: int, target: float
) -> tuple[float, float]:
    total = np.cumsum(pair_weights)[true_rows]
    own = pair_weights[true_rows]
    found = np.cumsum(own)
    kept = own > 0
    precision = found[kept] / total[kept]
    micro_ap = float(precision @ own[kept]) / positives
    good = np.flatnonzero(precision >= target)
    recall = float(found[kept][good[-1]]) / positives if len(good) else 0.0
    return micro_ap, recall
