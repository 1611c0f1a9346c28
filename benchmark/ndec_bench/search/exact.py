"""The global best pairs by one float64 matrix product per block, re-scored in a fixed order.

A matrix product adds in an order that depends on the library, its threads and the shapes, so its last bits do too.
The product here only *selects* pairs, with a margin that bounds its rounding error; the score of record is then
computed from the float32 inputs by plain float64 additions, component by component, which is the same everywhere.

Why the margin is enough. Let u = 2**-53 and γ_d = d·u / (1 − d·u). A float64 dot product in any order of additions
differs from the exact value by at most γ_d · Σ|q_j r_j| ≤ γ_d ‖q‖‖r‖ (Higham, Accuracy and Stability of Numerical
Algorithms, 2nd ed., section 3.1); −‖q‖² − ‖r‖² + 2⟨q, r⟩ therefore by at most γ_{d+4} (‖q‖ + ‖r‖)², and so does the
score of record. Two scores whose estimates differ by more than twice the sum of both bounds are in the right order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.matches import Matches
from ndec_bench.progress import silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_bench.descriptors import Descriptors
    from ndec_bench.progress import Progress

_BLOCK_BYTES = 64 << 20
_RESCORE_ROWS = 1 << 16


def search(
    queries: Descriptors,
    references: Descriptors,
    cap: int,
    *,
    metric: str = "l2",
    progress: Progress = silent,
    stage: str = "searching references",
) -> Matches:
    """Return the best ``cap`` pairs over all queries together, in the order of record.

    The score is −Σ_j (q_j − r_j)² for ``l2`` and Σ_j q_j r_j for ``ip``, float64, j ascending. The result depends on
    the inputs alone: not on block size, threads, or the order of rows. Fewer pairs are returned only where fewer exist.

    Parameters
    ----------
    queries, references
        Descriptors of equal dimension.
    cap
        Number of pairs kept (global top-K).
    metric
        ``l2`` or ``ip``.
    progress, stage
        Called as ``progress(stage, done, total)`` in references.
    """
    q, r = queries.vectors.astype(np.float64), references.vectors.astype(np.float64)
    margin = _error_bound(q, r)
    rows = max(1, _BLOCK_BYTES // (8 * len(q)))
    held = _Held(cap, margin)
    for start in range(0, len(r), rows):
        block = r[start : start + rows]
        held.add(_estimates(q, block, metric), start)
        progress(stage, min(start + rows, len(r)), len(r))
    scores = _scores_of_record(queries.vectors, references.vectors, held.query_rows, held.reference_rows, metric)
    found = Matches(np.array(queries.ids)[held.query_rows], np.array(references.ids)[held.reference_rows], scores)
    return found.sorted(cap)


class _Held:
    """Candidate pairs: the best ``cap`` estimates and all within the margin of the last of them."""

    def __init__(self, cap: int, margin: float) -> None:
        self._cap, self._margin = cap, margin
        self._floor = -np.inf
        self.query_rows = np.zeros(0, dtype=np.int64)
        self.reference_rows = np.zeros(0, dtype=np.int64)
        self._estimates = np.zeros(0)

    def add(self, estimates: NDArray[np.float64], first_reference: int) -> None:
        query_rows, reference_rows = np.nonzero(estimates >= self._floor)
        self.query_rows = np.concatenate([self.query_rows, query_rows])
        self.reference_rows = np.concatenate([self.reference_rows, reference_rows + first_reference])
        self._estimates = np.concatenate([self._estimates, estimates[query_rows, reference_rows]])
        if len(self._estimates) > self._cap:
            self._shrink()

    def _shrink(self) -> None:
        last = np.partition(self._estimates, -self._cap)[-self._cap]
        self._floor = last - self._margin
        keep = self._estimates >= self._floor
        self.query_rows, self.reference_rows = self.query_rows[keep], self.reference_rows[keep]
        self._estimates = self._estimates[keep]


def _error_bound(q: NDArray[np.float64], r: NDArray[np.float64]) -> float:
    # Twice the sum of the bounds of two scores; one bound for all pairs, from the largest norms.
    terms = (q.shape[1] + 4) * 2.0**-53
    gamma = terms / (1.0 - terms)
    largest = np.sqrt(np.einsum("ij,ij->i", q, q).max()) + np.sqrt(np.einsum("ij,ij->i", r, r).max())
    return float(8.0 * gamma * largest * largest)


def _estimates(q: NDArray[np.float64], block: NDArray[np.float64], metric: str) -> NDArray[np.float64]:
    products = q @ block.T
    if metric == "ip":
        return products
    products *= 2.0
    products -= np.einsum("ij,ij->i", q, q)[:, None]
    products -= np.einsum("ij,ij->i", block, block)[None, :]
    return products


def _scores_of_record(
    q: NDArray[np.float32],
    r: NDArray[np.float32],
    query_rows: NDArray[np.int64],
    reference_rows: NDArray[np.int64],
    metric: str,
) -> NDArray[np.float64]:
    scores = np.zeros(len(query_rows))
    for start in range(0, len(scores), _RESCORE_ROWS):
        part = slice(start, start + _RESCORE_ROWS)
        # Transposed, so that each step of the loop adds one component of many pairs: plain adds, j ascending.
        left = q[query_rows[part]].astype(np.float64).T
        right = r[reference_rows[part]].astype(np.float64).T
        terms = left * right if metric == "ip" else -np.square(left - right)
        total = scores[part]
        for term in terms:
            total += term
    return scores
