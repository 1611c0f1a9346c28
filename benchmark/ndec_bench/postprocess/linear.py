"""Steps of linear algebra: unit length, centring, projection on principal components, means and joined vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
import scipy.linalg
from pydantic import Field, model_validator

from ndec_bench.errors import SubmissionError, UsageError
from ndec_bench.postprocess.step import Change, Count, Fitted, Fusion, Side, YesNo
from ndec_bench.postprocess.workspace import Rows, block_rows, blocks
from ndec_bench.randomness import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future
    from typing import Self

    from numpy.typing import NDArray

    from ndec_bench.descriptors import VectorSource
    from ndec_bench.postprocess.workspace import Workspace

_TILE = 256
# Vectors in float32 carry a variance of rounding below 1e-14 of the largest: what is smaller is not a direction.
_SMALLEST_VARIANCE = 1e-12

_SIDE_OF: Mapping[str, Side] = {"background": "background", "references": "reference", "queries": "query"}


class L2(Change):
    """x / ‖x‖."""

    about: ClassVar[str] = "scale every vector to length 1"
    source: ClassVar[str] = "x / ‖x‖"

    name: Literal["l2"] = "l2"

    def fit(self, sides: Mapping[Side, VectorSource], work: Workspace) -> Fitted:
        """Return the step; there is nothing to fit."""
        return Fitted(mapped(self, work, unit))


class Centre(Change):
    """x − mean of the background."""

    about: ClassVar[str] = "subtract the mean of the background"
    source: ClassVar[str] = "x − mean"
    on_background: ClassVar[bool] = True

    name: Literal["centre"] = "centre"

    def fit(self, sides: Mapping[Side, VectorSource], work: Workspace) -> Fitted:
        """Return the step fitted on the background."""
        mean = mean_of(sides["background"], work, f"{self.name}: mean")
        return Fitted(mapped(self, work, lambda x: x - mean))


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

    about: ClassVar[str] = "project on principal components, whitened or not"
    source: ClassVar[str] = "faiss PCAMatrix with eigen_power −0.5 or 0, without its sampling"

    name: Literal["pca"] = "pca"
    dim: Count
    whiten: YesNo
    sample: int | None = Field(None, ge=2, description="a whole number of at least 2")
    seed: int | None = Field(None, ge=0, description="a whole number of at least 0")
    on: Literal["background", "references", "queries"] = Field(
        "background", description="background, references or queries"
    )

    @model_validator(mode="after")
    def _sample_with_seed(self) -> Self:
        if (self.sample is None) != (self.seed is None):
            raise UsageError(
                "step pca: sample and seed go together", hint="for example sample=20000,seed=123, or neither"
            )
        return self

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
        some = source if self.seed is None else sampled(source, self.sample, "postprocess pca", self.seed, work)
        # n centred vectors span n − 1 directions at most.
        self.check_rows(some, self.dim + 1, f"{self.on} images to fit {self.dim:,} components")
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
        change = mapped(self, work, lambda x: (x - mean) @ matrix, self.dim)
        return Fitted(change, {"fitted_on_images": len(some)})


class Mean(Fusion):
    """The plain mean of the vectors of an image, not scaled to length 1 afterwards."""

    about: ClassVar[str] = "mean of the vectors that several files hold for an image"
    source: ClassVar[str] = "BoT, WangWenhao0716/ISC-Track2-Submission Test/multi_scale.py, with l2 before and after"

    name: Literal["mean"] = "mean"

    def fuse(self, where: str, sources: Sequence[VectorSource], work: Workspace) -> VectorSource:
        """Return the means. Raises SubmissionError if the sources differ in dimension."""
        dimension = sources[0].dimension
        for number, source in enumerate(sources, start=1):
            if source.dimension != dimension:
                raise SubmissionError(
                    f"{where}: {dimension:,} dimensions in the first file, {source.dimension:,} in file {number}; "
                    "a mean needs as many in all",
                    hint="put concat in the place of mean",
                )

        def mean(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
            total = parts[0].astype(np.float64)
            for part in parts[1:]:
                total += part
            return total / len(parts)

        return _fused(self, where, sources, dimension, mean, work)


class Concat(Fusion):
    """The vectors of an image one after the other, in the order of the files, unchanged."""

    about: ClassVar[str] = "the vectors that several files hold for an image, one after the other"
    source: ClassVar[str] = "EfNet, socom20/facebook-image-similarity-challenge-2021 submissions_v9.ipynb, cell 51"

    name: Literal["concat"] = "concat"

    def fuse(self, where: str, sources: Sequence[VectorSource], work: Workspace) -> VectorSource:
        """Return the vectors put together."""
        dimension = sum(source.dimension for source in sources)
        return _fused(self, where, sources, dimension, lambda parts: np.concatenate(parts, axis=1), work)


def mapped(
    step: Change,
    work: Workspace,
    function: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    dimension: int | None = None,
) -> Callable[[Side, VectorSource], VectorSource]:
    """Return the change of a side whose blocks of vectors all go through ``function``."""

    def change(side: Side, source: VectorSource) -> VectorSource:
        width = dimension or source.dimension
        return work.mapped(f"{side} after {step}", source, width, function, f"{step.name}: {side}")

    return change


def sampled(source: VectorSource, most: int | None, name: str, seed: int, work: Workspace) -> VectorSource:
    """Return ``Stream(name, seed).sample`` of ``source``, ``most`` vectors in their order; itself if it has no more."""
    if most is None or most >= len(source):
        return source
    chosen = Stream(name, seed).sample(range(len(source)), most)
    return work.gathered("sample", source, np.array(sorted(chosen), dtype=np.int64))


def _fused(
    step: Fusion,
    where: str,
    sources: Sequence[VectorSource],
    dimension: int,
    fuse: Callable[[Sequence[NDArray[np.float32]]], NDArray[np.floating]],
    work: Workspace,
) -> VectorSource:
    vectors = work.room(len(sources[0]), dimension)
    rows = block_rows(dimension)
    for start in range(0, len(vectors), rows):
        stop = min(start + rows, len(vectors))
        vectors[start:stop] = fuse([source.read(start, stop) for source in sources])
        work.progress(f"{step.name}: {where}", stop, len(vectors))
    return Rows(f"{where} after {step}", sources[0].ids, vectors)


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
    # Where there is no variance there is no direction; the value says so, and nothing is divided by 0.
    lengths = np.sqrt(np.maximum(values, max(_SMALLEST_VARIANCE * values[0], np.finfo(np.float64).tiny)) * n)
    return values, centred.T @ (vectors / lengths)


def _covariance(source: VectorSource, mean: NDArray[np.float64], work: Workspace) -> NDArray[np.float64]:
    """Return the upper triangle of the (d, d) covariance; below it is what the tiles of the diagonal hold."""
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
