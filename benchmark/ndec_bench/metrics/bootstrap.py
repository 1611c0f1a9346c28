"""Confidence intervals by resampling queries, from one frozen stream of weights.

Replicate b gives every labelled query a Poisson(1) weight w (the Poisson bootstrap: Hanley and MacGibbon, "Creating
non-parametric bootstrap samples using Poisson frequencies", 2006): all pairs of the query, true or not, count w
times. The weight depends on the stream's name, the query id and b alone, so the replicates of any two results of one
split belong together pair by pair, whoever computed them, and the parts of a split share their weights.

The list of a part is frozen, so only weights change from one replicate to the next. With w_i the weight of the query
of the pair at rank i and P_q the true pairs of query q, a replicate has::

    total_i = Σ_{j ≤ i} w_j                     found_i = Σ_{j ≤ i, j true} w_j
    µAP* = Σ_{i true} w_i · found_i / total_i  /  Σ_q w_q P_q

Ranks between two true pairs matter by their sum alone. The sums between true pairs are therefore one product of a
sparse matrix (true pairs × queries, counting pairs) with the weights of a block of replicates. All sums are of integers
and exact, so neither the size of a block nor the machine shows in a result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.progress import silent
from ndec_bench.randomness import key_of, mix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ndec_bench.progress import Progress

STREAM = "ndec-poisson-1"
REPLICATES = 1000
_GAMMA = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
# Replicates whose weights are held at a time: eight bytes each, a cache line per query.
_BLOCK = 16
_UNDECIDED = 255


def _poisson_thresholds() -> NDArray[np.uint64]:
    """Return floor(P(w <= k) · 2**64) for k = 0..19; beyond, the chance is below 2**-64.

    Decimal's exp is correctly rounded, so the integers are the same everywhere.
    """
    with localcontext(prec=60):
        first = Decimal(-1).exp()
        cumulated = [sum(first / math.factorial(i) for i in range(k + 1)) for k in range(20)]
        return np.array([int(chance * 2**64) for chance in cumulated], dtype=np.uint64)


_THRESHOLDS = _poisson_thresholds()


def _weights_by_prefix() -> NDArray[np.uint8]:
    """Return the weight of a uniform number by its upper 16 bits, 255 where the lower bits decide (8 of 65,536)."""
    lowest = np.arange(1 << 16, dtype=np.uint64) << np.uint64(48)
    low = np.searchsorted(_THRESHOLDS, lowest, side="right")
    high = np.searchsorted(_THRESHOLDS, lowest | np.uint64((1 << 48) - 1), side="right")
    return np.where(low == high, low, _UNDECIDED).astype(np.uint8)


_BY_PREFIX = _weights_by_prefix()


@dataclass(frozen=True)
class RankedList:
    """One list in ranking order (see `ndec_bench.metrics.average_precision.rank`), as the bootstrap needs it.

    Attributes
    ----------
    query_codes
        (n,) integers, position of each pair's query among the keys.
    true_rows
        Positions of the true pairs in ``query_codes``, increasing.
    positives
        (queries,) int64 true pairs of each query, found or not; 0 for queries outside the part.
    """

    query_codes: NDArray[np.integer]
    true_rows: NDArray[np.intp]
    positives: NDArray[np.int64]


def query_keys(query_ids: Sequence[str]) -> NDArray[np.uint64]:
    """Return (n,) uint64 keys: first 8 bytes (big endian) of SHA-256 over ``ndec-poisson-1|query_id``."""
    return np.array([key_of(STREAM, query) for query in query_ids], dtype=np.uint64)


def weights(keys: NDArray[np.uint64], first: int, count: int = 1) -> NDArray[np.int64]:
    """Return (n, count) Poisson(1) weights of the queries with these ``keys`` in ``count`` replicates from ``first``.

    Replicates count from 0. The uniform number is SplitMix64's output number b of the stream ``key``; the weight
    counts the thresholds P(w <= k) · 2**64 that it reaches (inverse CDF).
    """
    steps = [((replicate + 1) * _GAMMA) & _MASK for replicate in range(first, first + count)]
    uniform = mix(keys[:, None] + np.array(steps, dtype=np.uint64))
    drawn = _BY_PREFIX[(uniform >> np.uint64(48)).astype(np.intp)]
    undecided = np.nonzero(drawn == _UNDECIDED)
    drawn[undecided] = np.searchsorted(_THRESHOLDS, uniform[undecided], side="right")
    return drawn.astype(np.int64)


def replicate_lists(
    lists: Mapping[str, RankedList],
    counts: NDArray[np.int64],
    keys: NDArray[np.uint64],
    *,
    precision_target: float,
    count: int = REPLICATES,
    progress: Progress = silent,
    stage: str = "bootstrap",
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.int64]]:
    """Return the replicates of every list and of sums over queries, from one pass over the weights.

    The first, by name of the list, are (2, count) float64: µAP, and recall at ``precision_target``. The second are
    (count, k) int64.

    Parameters
    ----------
    lists
        Lists of parts of one split, by name.
    counts
        (k, queries) int64; replicate b of a sum is Σ_q w_q(b) · counts[:, q].
    keys
        (queries,) from `query_keys`.
    precision_target
        Precision of the recall; a replicate that never reaches it counts 0.
    count
        Number of replicates.
    progress, stage
        Called as ``progress(stage, done, total)`` in replicates.
    """
    from scipy.sparse import csr_array  # slow to import, and needed for intervals alone

    prepared = {name: _Resampled(ranked, len(keys)) for name, ranked in lists.items()}
    scores = {name: np.zeros((2, count)) for name in lists}
    sums = np.zeros((count, len(counts)), dtype=np.int64)
    sparse = csr_array(counts)
    for first in range(0, count, _BLOCK):
        block = slice(first, min(first + _BLOCK, count))
        drawn = weights(keys, first, block.stop - first)
        if len(counts):
            sums[block] = (sparse @ drawn).T
        for name, resampled in prepared.items():
            scores[name][:, block] = resampled.scores(drawn, precision_target)
        progress(stage, block.stop, count)
    return scores, sums


class _Resampled:
    """A list prepared for many replicates."""

    def __init__(self, ranked: RankedList, queries: int) -> None:
        from scipy.sparse import csr_array

        at = ranked.true_rows
        self._true_codes = ranked.query_codes[at]
        self._positives = ranked.positives
        used = int(at[-1]) + 1 if len(at) else 0
        # Row i counts, by query, the pairs after true pair i - 1 up to true pair i. The same query may come up several
        # times in a row; the product adds such entries.
        self._between = csr_array(
            (np.ones(used, dtype=np.int64), ranked.query_codes[:used], np.r_[0, at + 1]), shape=(len(at), queries)
        )

    def scores(self, drawn: NDArray[np.int64], target: float) -> NDArray[np.float64]:
        """Return µAP and recall at precision ``target`` with the weights ``drawn`` (queries, b): (2, b)."""
        own = drawn[self._true_codes]
        if not len(own):
            return np.zeros((2, drawn.shape[1]))
        total, found = np.cumsum(self._between @ drawn, axis=0), np.cumsum(own, axis=0)
        counted = own > 0
        precision = np.divide(found, total, out=np.zeros(own.shape), where=counted)
        # Summed along contiguous rows, so that the order of the sum does not depend on the size of the block.
        area = np.ascontiguousarray((precision * own).T).sum(axis=1)
        reached = np.where(counted & (precision >= target), found, 0).max(axis=0)
        positives: NDArray[np.int64] = np.maximum(self._positives @ drawn, 1)
        return np.stack([area / positives, reached / positives])


def interval(replicates: Sequence[float] | NDArray[np.float64], *, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of ``replicates``: the k-th smallest and k-th largest of B.

    k is (1 − level) / 2 · B, rounded, at least 1: the 25th of each end for 1,000 replicates and level 0.95.
    """
    ordered = np.sort(np.asarray(replicates, dtype=np.float64))
    k = max(round((1.0 - level) / 2.0 * len(ordered)), 1)
    return float(ordered[k - 1]), float(ordered[-k])
