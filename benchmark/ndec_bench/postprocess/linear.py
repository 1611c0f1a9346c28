"""Steps of linear algebra: unit length, centring, projection on principal components."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import scipy.linalg

from ndec_bench.errors import SubmissionError, UsageError
from ndec_bench.postprocess.step import Change, Fitted, OneOf, Side, Whole, YesNo, check_rows, parameter
from ndec_bench.postprocess.workspace import blocks
from ndec_bench.randomness import Stream

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from ndec_bench.descriptors import VectorSource
    from ndec_bench.postprocess.workspace import Workspace

_TILE = 256
# Vectors in float32 carry a variance of rounding below 1e-14 of the largest: what is smaller than this is no direction.
_SMALLEST_VARIANCE = 1e-12

_ON = OneOf(("background", "references", "queries"))
_SIDE_OF: Mapping[str, Side] = {"background": "background", "references": "reference", "queries": "query"}


@dataclass(frozen=True)
class L2(Change):
    """x / ‖x‖."""

    name: ClassVar[str] = "l2"
    about: ClassVar[str] = "scale every vector to length 1"
    source: ClassVar[str] = "x / ‖x‖"

    def fit(self, sides: Mapping[Side, VectorSource], work: Workspace) -> Fitted:
        """Return the step; there is nothing to fit."""

        def change(side: Side, source: VectorSource) -> VectorSource:
            return work.mapped(
                f"{side} after {self}", source, source.dimension, lambda x, _: unit(x), f"{self.name}: {side}"
            )

        return Fitted(change)


@dataclass(frozen=True)
class Centre(Change):
    """x − mean of the background."""

    name: ClassVar[str] = "centre"
    about: ClassVar[str] = "subtract the mean of the background"
    source: ClassVar[str] = "x − mean"

    @property
    def fitted_on(self) -> tuple[Side, ...]:
        """Return the background."""
        return ("background",)

    def fit(self, sides: Mapping[Side, VectorSource], work: Workspace) -> Fitted:
        """Return the step fitted on the background."""
        mean = mean_of(sides["background"], work, f"{self.name}: mean")

        def change(side: Side, source: VectorSource) -> VectorSource:
            return work.mapped(
                f"{side} after {self}", source, source.dimension, lambda x, _: x - mean, f"{self.name}: {side}"
            )

        return Fitted(change)


@dataclass(frozen=True)
class Pca(Change):
    """Projection on the principal components of some vectors, whitened if asked for.

    With mean m, covariance C = Σ (x − m)(x − m)ᵀ / n = Σ λ_i v_i v_iᵀ, λ_1 ≥ λ_2 ≥ …, component i of the result is
    ⟨x − m, v_i⟩, divided by √λ_i with ``whiten``. Of ±v_i the one is taken whose entry of largest magnitude (the first
    of equals) is positive. Nothing is scaled to length 1 here. Up to one common factor, and signs, this is
    ``PCAMatrix(d, dim, eigen_power=-0.5)`` of faiss (there λ is of the undivided Σ), which SSCD
    (``sscd/disc_eval.py``), EfNet (``submissions_v9.ipynb``) and D2LV (``extract_features.py``) use.

    Attributes
    ----------
    dim
        Components kept.
    whiten
        Divide by √λ.
    sample
        Fit on at most so many vectors: ``Stream("postprocess pca", seed).sample`` of all, in the order of their ids.
        None takes all.
    seed
        Of that sample.
    on
        What the step is fitted on.
    """

    name: ClassVar[str] = "pca"
    about: ClassVar[str] = "project on principal components, whitened or not"
    source: ClassVar[str] = "faiss PCAMatrix with eigen_power −0.5 or 0, without its sampling"

    dim: int = parameter(Whole(1))
    whiten: bool = parameter(YesNo())
    sample: int | None = parameter(Whole(2), None)
    seed: int | None = parameter(Whole(0), None)
    on: Literal["background", "references", "queries"] = parameter(_ON, "background")

    def __post_init__(self) -> None:
        """Check the parameters. Raises UsageError."""
        super().__post_init__()
        if (self.sample is None) != (self.seed is None):
            raise UsageError(
                "step pca: sample and seed go together", hint="for example sample=20000,seed=123, or neither"
            )

    @property
    def fitted_on(self) -> tuple[Side, ...]:
        """Return the side that ``on`` names."""
        return (_SIDE_OF[self.on],)

    def fit(self, sides: Mapping[Side, VectorSource], work: Workspace) -> Fitted:
        """Return the step fitted on the side that ``on`` names."""
        source = sides[self.fitted_on[0]]
        if self.dim > source.dimension:
            raise SubmissionError(
                f"step pca: dim is {self.dim:,}, the descriptors have {source.dimension:,} dimensions",
                hint="ask for at most as many",
            )
        some = self._some(source, work)
        # n centred vectors span n − 1 directions at most.
        check_rows(self, some, self.dim + 1, f"{self.on} images to fit {self.dim:,} components")
        mean, values, directions = principal(some, self.dim, work)
        if some is not source:
            work.release(some)
        if values[-1] <= _SMALLEST_VARIANCE * values[0]:
            rank = int((values > _SMALLEST_VARIANCE * values[0]).sum())
            raise SubmissionError(
                f"step pca: the {len(some):,} {self.on} images vary in {rank:,} directions only, dim is {self.dim:,}",
                hint=f"ask for at most dim={rank}",
            )
        matrix = directions / np.sqrt(values) if self.whiten else directions

        def change(side: Side, source: VectorSource) -> VectorSource:
            return work.mapped(
                f"{side} after {self}", source, self.dim, lambda x, _: (x - mean) @ matrix, f"{self.name}: {side}"
            )

        return Fitted(change, {"fitted_on_images": len(some)})

    def _some(self, source: VectorSource, work: Workspace) -> VectorSource:
        if self.sample is None or self.seed is None or self.sample >= len(source):
            return source
        chosen = Stream("postprocess pca", self.seed).sample(range(len(source)), self.sample)
        return work.gathered(f"sample of the {self.on}", source, np.array(sorted(chosen), dtype=np.int64))


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, d) float64 rows scaled to length 1; a row of zeros stays as it is."""
    # Squares of float32 values neither overflow nor vanish in float64.
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    scaled: NDArray[np.float64] = np.divide(vectors, norms, out=vectors.copy(), where=norms > 0.0)
    return scaled


def mean_of(source: VectorSource, work: Workspace, stage: str) -> NDArray[np.float64]:
    """Return the (d,) float64 mean of all vectors, added up in the order of rows."""
    total, done = np.zeros(source.dimension), 0
    for block in blocks(source):
        total += block.sum(axis=0)
        done += len(block)
        work.progress(stage, done, len(source))
    total /= len(source)
    return total


def principal(
    source: VectorSource, dim: int, work: Workspace
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean (d,), the ``dim`` largest variances, descending, and their directions (d, dim), all float64.

    See `Pca` for the formula and the signs. The mean is subtracted before anything is multiplied; the covariance is
    added up in float64 in fixed blocks. Of fewer vectors than dimensions the inner products are decomposed instead,
    which are fewer numbers and have the same variances.
    """
    mean = mean_of(source, work, "pca: mean")
    fit = _of_covariance if len(source) > source.dimension else _of_products
    values, directions = fit(source, dim, mean, work)
    places = np.abs(directions).argmax(axis=0)
    signs = np.where(directions[places, np.arange(dim)] < 0.0, -1.0, 1.0)
    return mean, values, np.ascontiguousarray(directions * signs)


def _of_covariance(
    source: VectorSource, dim: int, mean: NDArray[np.float64], work: Workspace
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    covariance = _covariance(source, mean, work)
    d = source.dimension
    values, directions = scipy.linalg.eigh(
        covariance, lower=False, subset_by_index=(d - dim, d - 1), driver="evr", overwrite_a=True, check_finite=False
    )
    return values[::-1], directions[:, ::-1]


def _of_products(
    source: VectorSource, dim: int, mean: NDArray[np.float64], work: Workspace
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return variances and directions of few vectors.

    With centred rows X and X Xᵀ / n = Σ λ_i u_i u_iᵀ, the directions of the covariance are Xᵀ u_i / √(n λ_i).
    """
    n = len(source)
    centred = np.concatenate(list(blocks(source))) - mean
    work.progress("pca: products", n, n)
    values, vectors = scipy.linalg.eigh(
        centred @ centred.T / n, subset_by_index=(n - dim, n - 1), driver="evr", overwrite_a=True, check_finite=False
    )
    values, vectors = values[::-1], vectors[:, ::-1]
    # Where there is no variance there is no direction; whoever asks is told by the value, and nothing is divided by 0.
    lengths = np.sqrt(np.maximum(values, max(_SMALLEST_VARIANCE * values[0], np.finfo(np.float64).tiny)) * n)
    return values, centred.T @ (vectors / lengths)


def _covariance(source: VectorSource, mean: NDArray[np.float64], work: Workspace) -> NDArray[np.float64]:
    """Return the upper triangle of the (d, d) covariance; below it stands what the tiles of the diagonal hold."""
    d = source.dimension
    total = np.zeros((d, d))
    tiles = [(i, j) for i in range(0, d, _TILE) for j in range(i, d, _TILE)]

    def add(block: NDArray[np.float64], i: int, j: int) -> None:
        total[i : i + _TILE, j : j + _TILE] += block[:, i : i + _TILE].T @ block[:, j : j + _TILE]

    done = 0
    running: list[Future[None]] = []
    for block in blocks(source):
        centred = block - mean
        # Every tile is added to by one block after the other, whatever thread does it.
        for job in running:
            job.result()
        running = [work.executor.submit(add, centred, i, j) for i, j in tiles]
        done += len(block)
        work.progress("pca: covariance", done, len(source))
    for job in running:
        job.result()
    total /= len(source)
    return total
