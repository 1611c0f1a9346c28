"""Steps that look at the background images nearest to a vector: normalisation, stretching, subtraction, shift.

Neighbours are found exactly, by the search that scores submissions (`ndec_bench.search`): by the score of record, equal
scores by id. A vector counts as its own neighbour where it is in the background itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import numpy as np
from pydantic import Field, model_validator

from ndec_bench.descriptors import Descriptors
from ndec_bench.errors import SubmissionError, UsageError
from ndec_bench.postprocess.linear import unit
from ndec_bench.postprocess.step import Change, Count, Fitted, Positive, Side
from ndec_bench.postprocess.workspace import Rows
from ndec_bench.search import Wanted, search

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Self

    from numpy.typing import NDArray

    from ndec_bench.descriptors import VectorSource
    from ndec_bench.postprocess.workspace import Workspace
    from ndec_bench.protocol import Metric

_BATCH_BYTES = 256 << 20
_BATCH_PAIRS = 1 << 21
_MOST_ROWS = 1 << 16
_VALUES_PER_BLOCK = 1 << 22


@dataclass(frozen=True)
class Neighbourhood:
    """A block of vectors with their neighbours in the background.

    Attributes
    ----------
    ids
        n image ids.
    vectors
        (n, d) float64, free to be written to.
    rows, scores
        (n, depth) int64 rows of the background and their float64 scores of record, by score descending, id.
    """

    ids: Sequence[str]
    vectors: NDArray[np.float64]
    rows: NDArray[np.int64]
    scores: NDArray[np.float64]


class ScoreNorm(Change):
    """s'(q, r) = ⟨q, r⟩ − factor · mean of the ``first`` to ``last`` largest ⟨q, t⟩ over background images t.

    One dimension more holds it: −factor · mean on the query, 1 on the reference, the inner product of both is s'. The
    background is of no further use: its own component would have no meaning.

    Attributes
    ----------
    first, last
        Ranks of the neighbours, from 1, both included.
    factor
        Factor of their mean similarity.
    """

    about: ClassVar[str] = "subtract from each query's scores its mean similarity to near background images"
    source: ClassVar[str] = "SSCD sscd/disc_eval.py apply_score_norm; isc2021 scripts/score_normalization.py"
    per_side: ClassVar[bool] = True
    metric: ClassVar[Metric | None] = "ip"
    final: ClassVar[bool] = True
    on_background: ClassVar[bool] = True

    name: Literal["score-norm"] = "score-norm"
    first: Count
    last: Count
    factor: Positive

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last < self.first:
            raise UsageError(
                f"step {self.name}: last is {self.last}, before first, {self.first}",
                hint="ranks count from 1, the nearest, and both are included",
            )
        return self

    def fit(self, sides: Mapping[Side, VectorSource], work: Workspace) -> Fitted:
        """Return the step fitted on the background."""
        background = sides["background"]
        self.check_rows(background, self.last)

        def bias(near: Neighbourhood) -> NDArray[np.float64]:
            mean = _mean(near.scores[:, self.first - 1 :])
            return np.concatenate([near.vectors, -self.factor * mean[:, None]], axis=1)

        def with_one(x: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.concatenate([x, np.ones((len(x), 1))], axis=1)

        def change(side: Side, source: VectorSource) -> VectorSource:
            where, stage, dimension = f"{side} after {self}", f"{self.name}: {side}", source.dimension + 1
            if side != "query":
                return work.mapped(where, source, dimension, with_one, stage)
            looked = nearest(source, background, self.last, "ip", work, stage)
            return changed(where, source, dimension, looked, bias, work)

        return Fitted(change)


class Stretch(Change):
    """q' = factor · mean of the ``neighbours`` largest ⟨q, t⟩ · q; references stay as they are.

    The score is −‖q' − r‖²: the step sets the metric l2.

    Attributes
    ----------
    neighbours
        Background images looked at.
    factor
        Factor of their mean similarity.
    """

    about: ClassVar[str] = "scale each query by its mean similarity to near background images"
    source: ClassVar[str] = "BoT, WangWenhao0716/ISC-Track2-Submission Test/descriptor_stretching.py"
    per_side: ClassVar[bool] = True
    metric: ClassVar[Metric | None] = "l2"
    on_background: ClassVar[bool] = True

    name: Literal["stretch"] = "stretch"
    neighbours: Count = 5
    factor: Positive = 2.5

    def fit(self, sides: Mapping[Side, VectorSource], work: Workspace) -> Fitted:
        """Return the step fitted on the background."""
        self.check_rows(sides["background"], self.neighbours)

        def stretched(near: Neighbourhood) -> NDArray[np.float64]:
            return near.vectors * (self.factor * _mean(near.scores)[:, None])

        return Fitted(_moved_queries(self, sides["background"], self.neighbours, "ip", stretched, work))


class Subtract(Change):
    """x' = unit(x − factor · mean of the ``neighbours`` rows of T' with the largest ⟨x, t'⟩), on every side.

    T' is the background, smoothed: t' = unit(Σ ⟨t, u⟩^power · u over the ``smooth`` rows u of the background with the
    largest ⟨t, u⟩), t itself among them where vectors have length 1. The published run goes once over it, as here.

    Attributes
    ----------
    neighbours
        Rows of T' whose mean is subtracted.
    factor
        Factor of that mean.
    smooth
        Rows of the background in each sum; 1 leaves unit vectors as they are.
    power
        Of the similarity, the weight in that sum.
    """

    about: ClassVar[str] = "subtract the mean of near background vectors, smoothed first, from every vector"
    source: ClassVar[str] = "CNNCL, lyakaap/ISC21-Descriptor-Track-1st scripts/postprocess.py"
    on_background: ClassVar[bool] = True

    name: Literal["subtract"] = "subtract"
    neighbours: Count = 10
    factor: Positive = 0.35
    smooth: Count = 10
    power: int = Field(3, ge=0, description="a whole number of at least 0")

    def fit(self, sides: Mapping[Side, VectorSource], work: Workspace) -> Fitted:
        """Return the step fitted on the background."""
        self.check_rows(sides["background"], max(self.neighbours, self.smooth))
        smoothed = self._smoothed(sides["background"], work)

        def subtracted(near: Neighbourhood) -> NDArray[np.float64]:
            rows = smoothed.take(near.rows).astype(np.float64)
            return unit(near.vectors - self.factor * (rows.sum(axis=1) / self.neighbours))

        def change(side: Side, source: VectorSource) -> VectorSource:
            looked = nearest(source, smoothed, self.neighbours, "ip", work, f"{self.name}: {side}")
            return changed(f"{side} after {self}", source, source.dimension, looked, subtracted, work)

        return Fitted(change, scratch=(smoothed,))

    def _smoothed(self, source: VectorSource, work: Workspace) -> Rows:
        background = work.rows(source)

        def summed(near: Neighbourhood) -> NDArray[np.float64]:
            rows = background.take(near.rows).astype(np.float64)
            return unit(np.einsum("nkd,nk->nd", rows, near.scores**self.power))

        looked = nearest(background, background, self.smooth, "ip", work, f"{self.name}: smoothing the background")
        smoothed = changed(f"background smoothed by {self}", background, background.dimension, looked, summed, work)
        if background is not source:
            work.release(background)
        return smoothed


class Shift(Change):
    """q' = q + factor · √m · u; references stay as they are, and q' is not scaled to length 1.

    t_1, t_2, … are the ``neighbours`` background images nearest to q by distance, D_kj = q_j − t_kj. Each coordinate j
    of D is divided by its norm over the neighbours, √Σ_k D_kj² (over the neighbours, not over the coordinates: so it
    was submitted; 0 / 0 counts as 0), averaged over k and the result scaled to length 1: u. m is the mean of
    1 − ‖q − t_k‖² / 2, the cosine of unit vectors, over the ``nearest`` first. The step sets the metric l2.

    Attributes
    ----------
    neighbours
        Background images that give the direction.
    nearest
        Of these, the first that give the length.
    factor
        Factor of the length.
    """

    about: ClassVar[str] = "move each query away from near background images"
    source: ClassVar[str] = (
        "EfNet, socom20/facebook-image-similarity-challenge-2021 submissions_v9.ipynb, cells 67 to 72"
    )
    per_side: ClassVar[bool] = True
    metric: ClassVar[Metric | None] = "l2"
    on_background: ClassVar[bool] = True

    name: Literal["shift"] = "shift"
    neighbours: Count = 100
    nearest: Count = 3
    factor: Positive = 1.8

    @model_validator(mode="after")
    def _nearest_of_neighbours(self) -> Self:
        if self.nearest > self.neighbours:
            raise UsageError(
                f"step {self.name}: nearest is {self.nearest}, more than neighbours, {self.neighbours}",
                hint="the nearest are the first of the neighbours",
            )
        return self

    def fit(self, sides: Mapping[Side, VectorSource], work: Workspace) -> Fitted:
        """Return the step fitted on the background."""
        self.check_rows(sides["background"], self.neighbours)
        background = work.rows(sides["background"])

        def shifted(near: Neighbourhood) -> NDArray[np.float64]:
            length = np.sqrt(self._cosines(near))
            away = near.vectors[:, None, :] - background.take(near.rows)
            norms = np.sqrt(np.einsum("nkd,nkd->nd", away, away))
            summed = away.sum(axis=1)
            direction = unit(np.divide(summed, norms, out=np.zeros_like(summed), where=norms > 0.0))
            return near.vectors + self.factor * length[:, None] * direction

        change = _moved_queries(self, background, self.neighbours, "l2", shifted, work)
        return Fitted(change, scratch=() if background is sides["background"] else (background,))

    def _cosines(self, near: Neighbourhood) -> NDArray[np.float64]:
        cosines = 1.0 + _mean(near.scores[:, : self.nearest]) / 2.0
        bad = np.flatnonzero(cosines < 0.0)
        if len(bad):
            raise SubmissionError(
                f"step {self.name}: the mean cosine of {near.ids[int(bad[0])]} with its {self.nearest} nearest "
                "background images is below 0, its root has no value",
                hint="are the vectors of length 1? put l2 before shift",
            )
        return cosines


def _moved_queries(
    step: Change,
    background: VectorSource,
    depth: int,
    metric: Metric,
    move: Callable[[Neighbourhood], NDArray[np.float64]],
    work: Workspace,
) -> Callable[[Side, VectorSource], VectorSource]:
    """Return the change of a side by a step that moves queries and leaves all else as it is."""

    def change(side: Side, source: VectorSource) -> VectorSource:
        if side != "query":
            return source
        looked = nearest(source, background, depth, metric, work, f"{step.name}: {side}")
        return changed(f"{side} after {step}", source, source.dimension, looked, move, work)

    return change


def nearest(
    source: VectorSource, background: VectorSource, depth: int, metric: Metric, work: Workspace, stage: str
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.float64]]]:
    """Yield, batch by batch, the ``depth`` background rows of the highest score for each row of ``source``.

    Each item is the row of ``source`` that the batch begins with, (rows, depth) rows of ``background``, and their
    scores, as in `Neighbourhood`. Batches follow one another without gaps.
    """
    most = max(1, min(_MOST_ROWS, _BATCH_BYTES // (4 * source.dimension), _BATCH_PAIRS // depth, len(source)))
    for start in range(0, len(source), most):
        stop = min(start + most, len(source))
        # The last batch reaches back to be as long as the others: a short one could hold nothing but equal vectors,
        # which no set of descriptors may.
        low = max(0, stop - most)

        def tell(_: str, done: int, total: int, /, start: int = start, stop: int = stop) -> None:
            work.progress(stage, start + (stop - start) * done // total, len(source))

        queries = Descriptors(source.ids[low:stop], source.read(low, stop))
        wanted = {"nearest": Wanted(depth, metric=metric, per_query=True)}
        found = search(
            queries, background, wanted, backend=work.backend, threads=work.threads, progress=tell, stage=stage
        )["nearest"]
        # The pooled list is in decreasing order, so a stable sort by query leaves each query's own in order.
        order = np.argsort(found.query_rows, kind="stable")
        rows = found.reference_rows[order].reshape(stop - low, depth)
        scores = found.scores[order].reshape(stop - low, depth)
        yield start, rows[start - low :], scores[start - low :]


def changed(
    where: str,
    source: VectorSource,
    dimension: int,
    looked: Iterator[tuple[int, NDArray[np.int64], NDArray[np.float64]]],
    change: Callable[[Neighbourhood], NDArray[np.float64]],
    work: Workspace,
) -> Rows:
    """Return ``source`` after ``change``, called in blocks of what `nearest` yields.

    ``change`` returns (n, dimension) float64; it runs in several threads.
    """
    vectors = work.room(len(source), dimension)

    def one(block: NDArray[np.float32], start: int, rows: NDArray[np.int64], scores: NDArray[np.float64]) -> None:
        stop = start + len(block)
        near = Neighbourhood(source.ids[start:stop], block.astype(np.float64), rows, scores)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by the survey
            vectors[start:stop] = change(near)

    def jobs(first: int, rows: NDArray[np.int64], scores: NDArray[np.float64]) -> Iterator[Callable[[], None]]:
        step = max(1, _VALUES_PER_BLOCK // (rows.shape[1] * max(source.dimension, dimension)))
        for at in range(0, len(rows), step):
            block = source.read(first + at, first + min(at + step, len(rows)))
            yield partial(one, block, first + at, rows[at : at + step], scores[at : at + step])

    for batch in looked:
        for _ in work.in_order(jobs(*batch)):
            pass
    return Rows(where, source.ids, vectors)


def _mean(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the (n,) means of (n, k) scores, added in order of rank."""
    return cast("NDArray[np.float64]", np.cumsum(scores, axis=1)[:, -1] / scores.shape[1])
