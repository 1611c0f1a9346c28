"""How vectors go into the fast float32 pass, and a bound for what its rounding can do to each pair.

The fast pass multiplies prepared vectors y = fl(s·(x − c)) in float32, with s a power of two and c a common shift, and
turns the product of a pair into an estimate of its score. The estimate only *selects*; a pair is dropped when even its
upper bound lies below the cut. What follows is why the bound holds.

Notation. u = 2⁻²⁴ is the unit roundoff of float32, γ_n = n·u / (1 − n·u), x′ = s·(x − c) in exact arithmetic.

1. Scaling. s = 1 unless the largest value lies outside [2⁻³⁰, 2³⁰]; then s brings it near 1, so that no product
   overflows. Multiplying by a power of two is exact. What may underflow, in the data or in a product, is at most
   2⁻⁹⁴ per component.
2. Shift. Where the mean of the references is long compared with the vectors (positive features), the product of
   uncentred vectors drowns their differences. c is that mean, rounded to float32. x − c is formed in float64 and
   rounded once to float32: |y_j − x′_j| ≤ u·|x′_j| (1 + 2⁻²⁸), hence |⟨y_q, y_r⟩ − ⟨x′_q, x′_r⟩| ≤ 2.01·u ‖x′_q‖‖x′_r‖.
   Without a shift this term is zero.
3. Product. In whatever order a library adds, with or without fused operations, a float32 inner product of n terms
   differs from the exact one by at most γ_n Σ|terms| (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed.,
   section 3.1), hence by at most γ_n (‖y_q‖‖y_r‖ + |h_r|), where h_r is a term of the reference alone that may
   ride along as one more component (its partner in the query is 1): −s²‖x_r − c‖²/2 for ``l2``, s²⟨c, x_r⟩ for ``ip``.
4. Score. With float64 norms and products, the score is

       l2:  (2 ⟨x′_q, x′_r⟩)/s² − ‖x_q − c‖² − ‖x_r − c‖²
       ip:  ⟨x′_q, x′_r⟩/s² + ⟨c, x_r⟩ + ⟨c, x_q⟩ − ‖c‖²

   The rounding of these float64 terms, and of the score of record itself, is below
   2⁻⁵⁰ (d + 16) (‖x_q − c‖ + ‖x_r − c‖)² for ``l2`` and below 2⁻⁵⁰ (d + 16) (‖x_q‖ + ‖c‖)(‖x_r‖ + ‖c‖) for ``ip``.

Integer-valued data. If all values are multiples of 2^g and ‖y_q‖‖y_r‖ + |h_r| stays below 2²⁴ steps of 2^(2g − 1),
every partial sum of the product is representable: the float32 product is exact in any order, the float64 terms are too,
and the bound is zero. No shift is made then. This matters because such data (bits, counts) tie by the thousand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_bench.descriptors import VectorSource
    from ndec_bench.protocol import Metric

_U32 = 2.0**-24
_SAFE_EXPONENT = 30
_TINY = 2.0**-94
_FAR_FROM_CENTRED = 0.25
_NORM_SLACK = 1.0 + 2.0**-20


@dataclass(frozen=True)
class Side:
    """Prepared vectors of one side.

    Attributes
    ----------
    vectors
        (n, width) float32, C order: what is multiplied.
    norms
        (n,) float64 upper bounds of ‖x′‖ and of ‖y‖.
    own
        Metric to (n,) float64: the terms of the score that depend on this side alone.
    slack
        Metric to (n,) float64: this side's factor of the float64 rounding.
    riding
        (n,) float64 |h_r|; zeros for queries and where nothing rides along.
    """

    vectors: NDArray[np.float32]
    norms: NDArray[np.float64]
    own: dict[Metric, NDArray[np.float64]]
    slack: dict[Metric, NDArray[np.float64]]
    riding: NDArray[np.float64]


class Frame:
    """Scale, shift and error bound for one search.

    Attributes
    ----------
    exact
        Every estimate is the score of record.
    width
        Components of a prepared vector.
    """

    def __init__(self, queries: VectorSource, references: VectorSource, metric: Metric) -> None:
        """Choose scale, shift and riding component from the surveys of both sides; ``metric`` is the commoner one."""
        q, r = queries.survey, references.survey
        self.dimension = references.dimension
        self._metric = metric
        longest_q, longest_r = np.sqrt(q.squared_norms.max()), np.sqrt(r.squared_norms.max())
        self.exact = self._is_exact(q.grid, r.grid, float(longest_q), float(longest_r))
        exponent = int(np.frexp(max(q.largest, r.largest))[1])
        self._scale = 1.0 if abs(exponent) <= _SAFE_EXPONENT else 2.0**-exponent
        mean = r.total / len(references)
        far = float(mean @ mean) > _FAR_FROM_CENTRED * float(r.squared_norms.mean())
        self._shift = mean.astype(np.float32).astype(np.float64) if far and not self.exact else None
        self._shift_norm = 0.0 if self._shift is None else float(np.sqrt(self._shift @ self._shift))
        self._rides = self._needs_riding(r.squared_norms, float(longest_q * longest_r))
        self.width = self.dimension + int(self._rides)
        self._gamma = 0.0 if self.exact else self.width * _U32 / (1.0 - self.width * _U32)
        self._gamma += 0.0 if self._shift is None else 2.01 * _U32
        self._tiny = 0.0 if self.exact else self.dimension * _TINY

    @property
    def unit(self) -> dict[Metric, float]:
        """Return, by metric, what one unit of the product is worth in the score."""
        return {"l2": 2.0 / self._scale**2, "ip": 1.0 / self._scale**2}

    def queries(self, vectors: NDArray[np.float32], squared_norms: NDArray[np.float64]) -> Side:
        """Return the prepared queries; (n, d) float32 with their (n,) squared norms from the survey."""
        y, norms2, with_shift = self._prepare(vectors, squared_norms)
        if self._rides:
            y = np.concatenate([y, np.ones((len(y), 1), dtype=np.float32)], axis=1)
        own: dict[Metric, NDArray[np.float64]] = {"l2": -norms2, "ip": with_shift - self._shift_norm**2}
        return self._side(y, norms2, squared_norms, own, np.zeros(len(y)))

    def references(self, vectors: NDArray[np.float32], squared_norms: NDArray[np.float64]) -> Side:
        """Return a prepared block of references; as `queries`."""
        y, norms2, with_shift = self._prepare(vectors, squared_norms)
        own: dict[Metric, NDArray[np.float64]] = {"l2": -norms2, "ip": with_shift}
        riding = np.zeros(len(y))
        if self._rides:
            column = (own[self._metric] / self.unit[self._metric]).astype(np.float32)
            y = np.concatenate([y, column[:, None]], axis=1)
            riding = column.astype(np.float64)
            own = {metric: term - self.unit[metric] * riding for metric, term in own.items()}
        return self._side(y, norms2, squared_norms, own, np.abs(riding))

    def error(
        self,
        metric: Metric,
        queries: tuple[NDArray[np.float64], NDArray[np.float64]],
        references: tuple[NDArray[np.float64] | float, NDArray[np.float64] | float, NDArray[np.float64] | float],
    ) -> NDArray[np.float64]:
        """Return the bound on |estimate − score of record|, elementwise.

        ``queries`` are (norms, slack), ``references`` (norms, slack, riding) of the pairs, or the largest of a block.
        """
        if self.exact:
            return np.zeros(np.broadcast(queries[0], references[0]).shape)
        product = self._gamma * (queries[0] * references[0] + references[2]) + self._tiny
        rounding = 2.0**-50 * (self.dimension + 16)
        if metric == "l2":
            return self.unit[metric] * product + rounding * np.square(queries[1] + references[1])
        return self.unit[metric] * product + rounding * queries[1] * references[1]

    def _is_exact(self, q: int | None, r: int | None, longest_q: float, longest_r: float) -> bool:
        if q is None or r is None:
            return False
        step = 2.0 ** (2 * min(q, r) - 1)
        return (longest_q * longest_r + longest_r * longest_r / 2.0) <= 2.0**24 * step

    def _needs_riding(self, squared_norms: NDArray[np.float64], longest: float) -> bool:
        if self._shift is not None:
            return True
        if self._metric == "ip":
            return False
        # Norms that hardly differ, as those of normalised vectors, cost less as a looser threshold of the block.
        spread = float(squared_norms.max() - squared_norms.min()) / 2.0
        return spread > self.dimension * _U32 * longest

    def _prepare(
        self, vectors: NDArray[np.float32], squared_norms: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
        """Return y, ‖x − c‖² and ⟨c, x⟩."""
        if self._shift is None:
            # By way of float64, for a scale of very small values is beyond float32.
            y = vectors if self._scale == 1.0 else (vectors.astype(np.float64) * self._scale).astype(np.float32)
            return y, squared_norms, np.zeros(len(vectors))
        wide = vectors.astype(np.float64)
        with_shift = wide @ self._shift
        wide -= self._shift
        norms2 = np.einsum("ij,ij->i", wide, wide)
        wide *= self._scale
        return wide.astype(np.float32), norms2, with_shift

    def _side(
        self,
        y: NDArray[np.float32],
        norms2: NDArray[np.float64],
        squared_norms: NDArray[np.float64],
        own: dict[Metric, NDArray[np.float64]],
        riding: NDArray[np.float64],
    ) -> Side:
        norms = np.sqrt(norms2) * _NORM_SLACK
        return Side(
            vectors=np.ascontiguousarray(y),
            norms=norms * self._scale,
            own=own,
            slack={"l2": norms, "ip": np.sqrt(squared_norms) + self._shift_norm},
            riding=riding,
        )
