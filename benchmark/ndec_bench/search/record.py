"""The score of record of a pair: float64, components in order, plain additions, from the float32 vectors.

Nothing here depends on a library's order of summation. The product of two float32 values is exact in float64, their
difference and its square are rounded once each by IEEE 754, and a cumulative sum has no choice but to add in order.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from numpy.typing import NDArray

    from ndec_bench.descriptors import VectorSource
    from ndec_bench.protocol import Metric

_BYTES_PER_READ = 32 << 20
_VALUES_PER_STEP = 1 << 18


def scores_of_record(
    queries: NDArray[np.float32],
    references: VectorSource,
    query_rows: NDArray[np.int64],
    reference_rows: NDArray[np.int64],
    metric: Metric,
    executor: Executor,
) -> NDArray[np.float64]:
    """Return (n,) float64 scores: −Σ_j (q_j − r_j)² for ``l2``, Σ_j q_j r_j for ``ip``, j ascending.

    Parameters
    ----------
    queries
        (queries, d) float32.
    references
        Read in blocks, each at most once, and only where a pair needs it.
    query_rows, reference_rows
        (n,) rows of each pair, those of references ascending.
    metric
        ``l2`` or ``ip``.
    executor
        Blocks of pairs are scored in its threads; the result does not depend on their number.
    """
    scores = np.empty(len(query_rows))
    step = max(1, _VALUES_PER_STEP // references.dimension)
    rows = max(1, _BYTES_PER_READ // (4 * references.dimension))
    starts = np.arange(0, len(references) + rows, rows)
    bounds = np.searchsorted(reference_rows, starts)
    for start, (low, high) in zip(starts.tolist(), pairwise(bounds.tolist()), strict=False):
        if low == high:
            continue
        block = references.read(start, min(start + rows, len(references)))
        parts = [slice(at, min(at + step, high)) for at in range(low, high, step)]
        jobs = [
            executor.submit(pair_scores, queries, block, query_rows[part], reference_rows[part] - start, metric)
            for part in parts
        ]
        for part, job in zip(parts, jobs, strict=True):
            scores[part] = job.result()
    return scores


def pair_scores(
    queries: NDArray[np.float32],
    references: NDArray[np.float32],
    query_rows: NDArray[np.int64],
    reference_rows: NDArray[np.int64],
    metric: Metric,
) -> NDArray[np.float64]:
    """Return (n,) float64 scores as `scores_of_record` does, of pairs of rows of two arrays, in one go."""
    terms = queries[query_rows].astype(np.float64)
    if metric == "ip":
        terms *= references[reference_rows]
    else:
        terms -= references[reference_rows]
        np.multiply(terms, terms, out=terms)
    total = np.cumsum(terms, axis=1, out=terms)[:, -1]
    # Zero plus the sum: products that are all minus zero add up to zero.
    return 0.0 + total if metric == "ip" else -total
