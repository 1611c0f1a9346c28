"""What an index of compressed vectors costs against the exact search: pairs, µAP, time and bytes."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from ndec_bench.errors import UsageError
from ndec_bench.matches import Matches
from ndec_bench.memory import usable_cores
from ndec_bench.printable import one_line
from ndec_bench.progress import silent
from ndec_bench.protocol import NDEC_1
from ndec_bench.randomness import Stream
from ndec_bench.scoring.fit import fit_descriptors
from ndec_bench.scoring.score import Options, score_matches
from ndec_bench.search import Wanted, search
from ndec_bench.search.record import pair_scores

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ndec_bench.data.split import Split
    from ndec_bench.descriptors import Descriptors, Submission, VectorSource
    from ndec_bench.progress import Progress
    from ndec_bench.protocol import Metric

TRAINED_ON = 1 << 16
"""References that an index is trained on at most."""
_ROWS_PER_BLOCK = 1 << 14
_VALUES_PER_STEP = 1 << 24
_MORE = 8
"""Further pairs of each query: float32 may order those at the end otherwise than the exact search."""


@dataclass(frozen=True)
class IndexScore:
    """One way to search the references.

    Attributes
    ----------
    factory
        As faiss writes it; ``exact`` for the exact search.
    bytes_per_reference
        Of the whole index, written to a file, divided by the references; for the exact search that of float32.
    build_seconds, queries_per_second
        Measured on this machine; None for the exact search.
    list_recall
        Share of the pairs of the exact list that its own list has.
    micro_ap, recall_at_p90
        Of its list, as in a result; recall@P90 is None where not reached.
    """

    factory: str
    bytes_per_reference: float
    build_seconds: float | None
    queries_per_second: float | None
    list_recall: float
    micro_ap: float
    recall_at_p90: float | None


def score_indexes(
    submission: Submission,
    split: Split,
    factories: Sequence[str],
    *,
    nprobe: int | None = None,
    threads: int | None = None,
    where: str = "the submission",
    progress: Progress = silent,
) -> list[IndexScore]:
    """Return the exact search and each index by name, on the labelled queries of ``split``.

    An index is trained on at most `TRAINED_ON` references, ``Stream("index training", 0).sample`` of all, on one thread
    with the seeds of faiss. Each query is searched as deep as the longest row of the exact list, so that ``Flat`` gives
    the exact list. The score of a pair is that of the query, after the transforms of the index, and the decoded
    reference, in float64: what the index computes, without its rounding.

    Parameters
    ----------
    submission, split
        As in `ndec_bench.scoring.score.score_descriptors`; ``where`` begins messages about the submission.
    factories
        As ``faiss.index_factory`` reads them.
    nprobe
        Cells that are searched, of an index with cells; None for one, as faiss.
    threads
        Threads of the searches; None for all cores this process may use.

    Raises
    ------
    SubmissionError
        If the submission does not fit the split.
    UsageError
        If faiss refuses a factory, or there are too few references for it.
    """
    submission, (fit,) = fit_descriptors(submission, [split], where)
    queries = submission.queries.take(np.flatnonzero(fit.labelled))
    trial = _Trial(queries, submission.references, split, submission.metric, threads or usable_cores())
    wanted = {"list": Wanted(NDEC_1.cap(len(split.query_ids)), submission.metric)}
    found = search(queries, submission.references, wanted, threads=threads, progress=progress)["list"]
    exact = trial.matches(found.query_rows, found.reference_rows, found.scores)
    depth = int(np.bincount(found.query_rows).max(initial=1)) + _MORE
    scores = [trial.scored("exact", exact, exact, 4.0 * submission.references.dimension, None, None)]
    for done, factory in enumerate(factories):
        progress("indexes", done, len(factories))
        scores.append(trial.run(factory, depth, exact, nprobe))
    progress("indexes", len(factories), len(factories))
    return scores


class _Trial:
    """The vectors that all indexes get, and the split that their lists are scored against."""

    def __init__(
        self, queries: Descriptors, references: VectorSource, split: Split, metric: Metric, threads: int
    ) -> None:
        self._queries, self._references = queries, references
        self._split, self._metric, self._threads = split, metric, threads
        self._ids = np.array(queries.ids), np.array(references.ids)
        self._cap = NDEC_1.cap(len(split.query_ids))

    def run(self, factory: str, depth: int, exact: Matches, nprobe: int | None) -> IndexScore:
        """Return the score of the index that ``factory`` names."""
        import faiss

        start = time.perf_counter()
        with self._refusals(factory):
            index = self._built(factory, nprobe)
        built = time.perf_counter() - start
        with threadpool_limits(limits=self._threads, user_api="openmp"):
            start = time.perf_counter()
            _, nearest = index.search(self._queries.vectors, min(depth, len(self._references)))
            seconds = time.perf_counter() - start
        query_rows, places = np.nonzero(nearest >= 0)
        reference_rows = nearest[query_rows, places]
        with self._refusals(factory):
            scores = self._scores(index, query_rows, reference_rows)
        matches = self.matches(query_rows, reference_rows, scores).sorted(self._cap)
        size = len(faiss.serialize_index(index)) / len(self._references)
        return self.scored(factory, matches, exact, size, built, len(self._queries) / seconds)

    def matches(
        self, query_rows: NDArray[np.int64], reference_rows: NDArray[np.int64], scores: NDArray[np.float64]
    ) -> Matches:
        """Return pairs of rows with their ids."""
        return Matches.trusted(self._ids[0][query_rows], self._ids[1][reference_rows], scores)

    def scored(
        self, factory: str, matches: Matches, exact: Matches, size: float, built: float | None, speed: float | None
    ) -> IndexScore:
        """Return the record of one list."""
        part = score_matches(matches, self._split, options=Options(replicates=0, name=factory)).parts["all"]
        pairs, every = (
            set(zip(one.query_ids.tolist(), one.reference_ids.tolist(), strict=True)) for one in (matches, exact)
        )
        return IndexScore(
            factory, size, built, speed, len(pairs & every) / len(every), part.micro_ap, part.recall_at_p90
        )

    def _built(self, factory: str, nprobe: int | None) -> Any:  # noqa: ANN401 -- faiss has no types
        import faiss

        metric = faiss.METRIC_L2 if self._metric == "l2" else faiss.METRIC_INNER_PRODUCT
        index = faiss.index_factory(self._references.dimension, factory, metric)
        total = len(self._references)
        chosen = sorted(Stream("index training", 0).sample(range(total), min(TRAINED_ON, total)))
        blocks = range(0, total, _ROWS_PER_BLOCK)
        rows = np.array(chosen)
        some = [
            self._references.read(start, min(start + _ROWS_PER_BLOCK, total))[
                rows[(rows >= start) & (rows < start + _ROWS_PER_BLOCK)] - start
            ]
            for start in blocks
        ]
        with threadpool_limits(limits=1):
            index.train(np.concatenate(some))
        for start in blocks:
            index.add(self._references.read(start, min(start + _ROWS_PER_BLOCK, total)))
        cells = faiss.try_extract_index_ivf(index)
        if cells is not None and nprobe is not None:
            cells.nprobe = nprobe
        return index

    def _scores(self, index: Any, queries: NDArray[np.int64], references: NDArray[np.int64]) -> NDArray[np.float64]:  # noqa: ANN401
        """Return the scores of pairs of rows, in the space that ``index`` searches."""
        import faiss

        index = faiss.downcast_index(index)
        vectors = self._queries.vectors
        if isinstance(index, faiss.IndexPreTransform):
            chain: Any = index.chain
            for place in range(chain.size()):
                vectors = faiss.downcast_VectorTransform(chain.at(place)).apply(vectors)
            index = faiss.downcast_index(index.index)
        if isinstance(index, faiss.IndexLSH):
            raise UsageError("LSH compares bits of both sides", hint='score "ndec-bench postprocess --step sign"')
        decoded = index.reconstruct_n(0, len(self._references))
        step = max(1, _VALUES_PER_STEP // vectors.shape[1])
        parts = [slice(start, start + step) for start in range(0, len(queries), step)]
        scores = [pair_scores(vectors, decoded, queries[part], references[part], self._metric) for part in parts]
        return np.concatenate(scores) if scores else np.empty(0)

    @contextmanager
    def _refusals(self, factory: str) -> Iterator[None]:
        """Make what faiss raises an error for users."""
        try:
            yield
        except RuntimeError as error:
            cells = 2 ** int(math.log2(max(math.sqrt(len(self._references)), 1)))
            why = str(error).rpartition("Error: ")[2] or str(error)
            raise UsageError(
                f"faiss refuses the index {one_line(factory, 80)!r}: {one_line(why, 200)}",
                hint=f'for {len(self._references):,} references "IVF{cells},Flat" fits',
            ) from error
