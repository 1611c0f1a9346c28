"""Exact search over all references in one pass, for any number of lists at once.

A fast float32 product of every query with every reference proposes candidates; each list keeps those that a bound on
the rounding error cannot rule out (`ndec_bench.search.frame`, `ndec_bench.search.lists`); what remains is re-scored in
float64 in a fixed order (`ndec_bench.search.record`) and cut by score descending, query id, reference id. The result
depends on the vectors and ids alone: not on the library that multiplies, its threads, the size of blocks, or the order
of rows. The argument is in the docstring of `ndec_bench.search.frame`.

A bias or the penalty of an asymmetric rule (`ndec_bench.search.rules`) is one float64 number, the same for the estimate
of a pair and for its score of record: it widens the bound by the rounding of that subtraction alone.
"""

from __future__ import annotations

import math
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.errors import UsageError
from ndec_bench.memory import usable_cores
from ndec_bench.progress import silent
from ndec_bench.search.frame import Frame, Side
from ndec_bench.search.lists import CandidateList, GlobalList, QueryLists
from ndec_bench.search.products import backend as open_backend
from ndec_bench.search.record import scores_of_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ndec_bench.descriptors import Descriptors, VectorSource
    from ndec_bench.progress import Progress
    from ndec_bench.protocol import Metric
    from ndec_bench.search.lists import Rescore
    from ndec_bench.search.products import Backend
    from ndec_bench.search.rules import PairRule

    Batch = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]

QUERY_ROWS = 4096
REFERENCE_ROWS = 2048
_BLOCK_BYTES = 64 << 20
_FIRST_PAIRS = 1 << 18
_SAMPLE_ROWS = 4096
_SAMPLE_SHARE = 200
_SAMPLE_BLOCKS = 16
_CHECKED_ROWS = 32
# Bias and penalty enter the threshold of a product, the estimate and the score of record by at most eight roundings
# each, every one below 2⁻⁵³ of the largest term.
_SHIFT_ROUNDING = 2.0**-48


@dataclass(frozen=True, eq=False)
class Wanted:
    """One list to make.

    Attributes
    ----------
    cap
        Pairs of the list; with ``per_query``, pairs of each query.
    metric
        ``l2``: −Σ_j (q_j − r_j)²; ``ip``: Σ_j q_j r_j.
    per_query
        Each query keeps its own best pairs; otherwise all compete for one list.
    members
        (queries,) bool: which queries take part; None for all.
    bias
        (queries,) float64 subtracted from the scores of each query; None for nothing.
    rule
        Drops pairs or moves their scores, after the bias and before any cut; None does neither. A rule that acts on the
        finished list is refused here: it needs the list without a rule.
    """

    cap: int
    metric: Metric = "l2"
    per_query: bool = False
    members: NDArray[np.bool_] | None = None
    bias: NDArray[np.float64] | None = None
    rule: PairRule | None = None

    def __post_init__(self) -> None:
        if self.rule is not None and self.rule.rule.after_list:
            raise ValueError(f"{self.rule.rule} acts on the finished list, not in the search")

    @property
    def penalties(self) -> PairRule | None:
        """Return the rule if it moves scores."""
        return self.rule if self.rule is not None and self.rule.rule.smooth else None

    @property
    def drops(self) -> PairRule | None:
        """Return the rule if it drops pairs."""
        return None if self.rule is None or self.rule.rule.smooth else self.rule


@dataclass(frozen=True, eq=False)
class Found:
    """The pairs of one list in the order of record: score descending, query id, reference id.

    Attributes
    ----------
    query_rows, reference_rows
        (n,) int64 rows of the queries and references that were searched.
    scores
        (n,) float64.
    """

    query_rows: NDArray[np.int64]
    reference_rows: NDArray[np.int64]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.scores)


def search(
    queries: Descriptors,
    references: VectorSource,
    wanted: Mapping[str, Wanted],
    *,
    backend: str = "auto",
    threads: int | None = None,
    progress: Progress = silent,
    stage: str = "searching references",
    query_rows: int = QUERY_ROWS,
    reference_rows: int = REFERENCE_ROWS,
) -> dict[str, Found]:
    """Return the list of each name in ``wanted``, all from one pass over ``references``.

    Parameters
    ----------
    queries, references
        Vectors of equal dimension; references are read block by block.
    wanted
        Lists by name.
    backend
        ``auto``, ``blas``, ``faiss`` or ``torch``; it changes the time, never the result.
    threads
        Threads of the search; None for all cores this process may use.
    progress, stage
        Called as ``progress(stage, done, total)`` in references.
    query_rows, reference_rows
        Size of a block; they change the time, never the result.

    Raises
    ------
    UsageError
        If the backend is unknown, not installed, or computes in less than float32 precision.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"{threads} threads", hint="give one or more, or none for all cores")
    executor = ThreadPoolExecutor(threads or usable_cores(), thread_name_prefix="search")
    try:
        with open_backend(backend) as product:
            run = _Search(queries, references, wanted, product, executor)
            run.start_from(_guessed(queries, references, wanted, product, executor))
            run.scan(progress, stage, query_rows, reference_rows)
            found = run.finished()
            again = {name: wanted[name] for name in run.missed(found)}
            if again:
                run = _Search(queries, references, again, product, executor)
                run.scan(progress, f"{stage} again", query_rows, reference_rows)
                found |= run.finished()
            return found
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _guessed(
    queries: Descriptors,
    references: VectorSource,
    wanted: Mapping[str, Wanted],
    product: Backend,
    executor: ThreadPoolExecutor,
) -> dict[str, float]:
    """Return, by name of a global list, a score that its last pair will very likely reach, from a sample of references.

    With it the first blocks need not deliver a flood of pairs that later ones displace. It is a guess: whoever uses it
    must check the finished list against it.
    """
    rows = min(_SAMPLE_ROWS, len(references) // _SAMPLE_SHARE)
    if rows < _SAMPLE_BLOCKS:
        return {}
    some = _Sample(references, rows)
    share = len(some) / len(references)
    guessable = {
        name: replace(
            want,
            cap=math.ceil(1.2 * share * want.cap + 6.0 * math.sqrt(share * want.cap) + 50),
            rule=None if want.rule is None else want.rule.of_references(some.rows),
        )
        for name, want in wanted.items()
        if not want.per_query
    }
    if not guessable:
        return {}
    run = _Search(queries, some, guessable, product, executor)
    run.scan(silent, "", QUERY_ROWS, REFERENCE_ROWS)
    return {name: floor for name, floor in run.floors().items() if floor > -np.inf}


class _Sample:
    """A VectorSource of some rows of another, taken in blocks spread evenly over it."""

    def __init__(self, source: VectorSource, rows: int) -> None:
        each = rows // _SAMPLE_BLOCKS
        starts = [block * len(source) // _SAMPLE_BLOCKS for block in range(_SAMPLE_BLOCKS)]
        at = np.concatenate([np.arange(start, start + each) for start in starts])
        self.rows = at
        self.ids = tuple(source.ids[row] for row in at.tolist())
        self.dimension = source.dimension
        self._vectors = np.concatenate([source.read(start, start + each) for start in starts])
        whole = source.survey
        self.survey = replace(
            whole, squared_norms=whole.squared_norms[at], total=whole.total * (len(at) / len(whole.squared_norms))
        )

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        return self._vectors[start:stop]


class _Search:
    def __init__(
        self,
        queries: Descriptors,
        references: VectorSource,
        wanted: Mapping[str, Wanted],
        product: Backend,
        executor: ThreadPoolExecutor,
    ) -> None:
        self._queries, self._references, self._wanted = queries, references, wanted
        self._product, self._executor = product, executor
        metrics = [want.metric for want in wanted.values()]
        self._frame = Frame(queries, references, max(sorted(set(metrics)), key=metrics.count))
        self._side = self._frame.queries(queries.vectors, queries.survey.squared_norms)
        self._records: dict[Metric, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
        self._biases = {
            name: np.zeros(len(queries)) if want.bias is None else want.bias for name, want in wanted.items()
        }
        self._lists = self._open_lists()
        self._floors: dict[str, float] = {}

    def start_from(self, floors: Mapping[str, float]) -> None:
        """Let the lists named in ``floors`` ask these scores of every candidate from the start; see `missed`."""
        self._floors = dict(floors)
        for name, floor in floors.items():
            self._lists[name].raise_to(floor)

    def missed(self, found: Mapping[str, Found]) -> list[str]:
        """Return the names of finished lists whose floor was too high, so that pairs may be missing."""
        return [
            name
            for name, floor in self._floors.items()
            if len(found[name]) < self._wanted[name].cap or found[name].scores[-1] < floor
        ]

    def floors(self) -> dict[str, float]:
        """Return the lower bound of the last pair of each global list; −inf for one that is not full."""
        for candidates in self._lists.values():
            candidates.cut_by_margin()
        return {
            name: float((candidates.estimates - candidates.margins).min())
            if len(candidates) >= self._wanted[name].cap
            else -np.inf
            for name, candidates in self._lists.items()
        }

    def scan(self, progress: Progress, stage: str, query_rows: int, reference_rows: int) -> None:
        """Offer every pair to every list."""
        squared_norms = self._references.survey.squared_norms
        progress(stage, 0, len(self._references))
        running: deque[tuple[int, list[Future[dict[str, Batch]]]]] = deque()
        for start, stop, settled in self._blocks(reference_rows):
            side = self._frame.references(self._references.read(start, stop), squared_norms[start:stop])
            if start == 0:
                self._check_precision(side)
            block = self._product.block(side.vectors)
            # A block of few references goes with more queries: a task must be worth its overhead.
            rows = max(query_rows, min(query_rows * reference_rows // (stop - start), len(self._queries) // 4))
            jobs = [
                self._executor.submit(self._tile, low, min(low + rows, len(self._queries)), block, side, start)
                for low in range(0, len(self._queries), rows)
            ]
            running.append((stop, jobs))
            # While thresholds still rise fast each block waits for the last; later, one block is always in the works.
            while len(running) > int(settled):
                self._merge(*running.popleft(), progress, stage)
        while running:
            self._merge(*running.popleft(), progress, stage)

    def finished(self) -> dict[str, Found]:
        """Return the lists, re-scored and cut by the order of record."""
        for candidates in self._lists.values():
            candidates.cut_by_margin()
        for metric in sorted({want.metric for want in self._wanted.values()}):
            self._record_all(metric)
        found = {}
        for name, candidates in self._lists.items():
            candidates.cut_by_record()
            found[name] = Found(candidates.query_rows, candidates.reference_rows, self._signed(name))
        return found

    def _signed(self, name: str) -> NDArray[np.float64]:
        """Return the scores of a finished list; a distance of zero, negated, is minus zero however it was found."""
        scores, want = self._lists[name].estimates, self._wanted[name]
        return np.where(scores == 0.0, -0.0, scores) if want.metric == "l2" and want.bias is None else scores

    def _open_lists(self) -> dict[str, CandidateList]:
        query_ranks, reference_ranks = _ranks(self._queries.ids), _ranks(self._references.ids)
        lists: dict[str, CandidateList] = {}
        for name, want in self._wanted.items():
            members = np.ones(len(self._queries), dtype=bool) if want.members is None else want.members
            kind = QueryLists if want.per_query else GlobalList
            lists[name] = kind(want.cap, members, query_ranks, reference_ranks, self._rescorer(name))
        return lists

    def _rescorer(self, name: str) -> Rescore:
        metric, bias, rule = self._wanted[name].metric, self._biases[name], self._wanted[name].penalties

        def rescore(query_rows: NDArray[np.int64], reference_rows: NDArray[np.int64]) -> NDArray[np.float64]:
            scores = self._recorded(metric, query_rows, reference_rows) - bias[query_rows]
            return scores if rule is None else scores - rule.penalties(query_rows, reference_rows)

        return rescore

    def _blocks(self, most: int) -> Iterator[tuple[int, int, bool]]:
        """Yield bounds of blocks of references, small ones first, and whether the size is settled."""
        total = len(self._references)
        most = max(1, min(most, _BLOCK_BYTES // (4 * self._frame.width)))
        rows = most if self._all_have_floors() else max(1, min(most, _FIRST_PAIRS // len(self._queries)))
        start = 0
        while start < total:
            stop = min(start + rows, total)
            yield start, stop, rows == most and (start >= rows or self._all_have_floors())
            # The first blocks set the thresholds: each may be as large as all before it.
            start, rows = stop, min(most, stop)

    def _all_have_floors(self) -> bool:
        return self._floors.keys() == self._lists.keys()

    def _tile(self, low: int, high: int, block: object, side: Side, start: int) -> dict[str, Batch]:
        thresholds = self._product_thresholds(low, high, side, start)
        hits = self._product.hits(self._side.vectors[low:high], block, thresholds)
        query_rows, columns, products = hits
        query_rows = query_rows + low
        wide = products.astype(np.float64)
        return {name: self._candidates(name, query_rows, columns, wide, side, start) for name in self._lists}

    def _product_thresholds(self, low: int, high: int, side: Side, start: int) -> NDArray[np.float32]:
        """Return (queries,) float32: what a product must reach to matter to any list, whatever its reference."""
        lowest = np.full(high - low, np.inf)
        norm, riding = side.norms.max(), side.riding.max()
        for name, candidates in self._lists.items():
            metric = self._wanted[name].metric
            margin = self._frame.error(
                metric,
                (self._side.norms[low:high], self._side.slack[metric][low:high]),
                (norm, side.slack[metric].max(), riding),
            )
            own, most = self._side.own[metric][low:high], side.own[metric].max()
            thresholds = candidates.thresholds[low:high]
            # Infinite where a list has no threshold yet or leaves the query out: nothing to round there.
            sizes = np.abs(np.where(np.isfinite(thresholds), thresholds, 0.0)) + np.abs(own) + np.abs(most)
            needed = thresholds + self._shift_of(name, low, high, side, start, sizes) - own - most
            needed -= margin
            drops = self._wanted[name].drops
            if drops is not None:
                needed[~drops.may_keep(slice(low, high), slice(start, start + len(side.norms)))] = np.inf
            lowest = np.minimum(lowest, needed / self._frame.unit[metric])
        with np.errstate(over="ignore"):
            rounded = lowest.astype(np.float32)
        return np.where(rounded > lowest, np.nextafter(rounded, np.float32(-np.inf)), rounded)

    def _shift_of(
        self, name: str, low: int, high: int, side: Side, start: int, sizes: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return (queries,) float64: the least that bias and penalty take from a score of the block, less its rounding.

        ``sizes`` is that of what else enters the threshold of the product. Of all references in the block the one
        with the largest norm has the least penalty, so what holds for it holds for any.
        """
        want, bias = self._wanted[name], self._biases[name][low:high]
        if want.bias is None and want.penalties is None:
            return bias
        least = np.zeros(high - low)
        if want.penalties is not None:
            least = want.penalties.least_penalties(slice(low, high), slice(start, start + len(side.norms)))
        shift: NDArray[np.float64] = bias + least - _SHIFT_ROUNDING * (sizes + np.abs(bias) + np.abs(least))
        return shift

    def _candidates(
        self,
        name: str,
        query_rows: NDArray[np.int64],
        columns: NDArray[np.int64],
        products: NDArray[np.float64],
        side: Side,
        start: int,
    ) -> Batch:
        want, metric = self._wanted[name], self._wanted[name].metric
        estimates = self._frame.unit[metric] * products + self._side.own[metric][query_rows] + side.own[metric][columns]
        bias = self._biases[name][query_rows]
        estimates -= bias
        shift = np.abs(bias)
        if want.penalties is not None:
            penalties = want.penalties.penalties(query_rows, columns + start)
            estimates -= penalties
            shift += np.abs(penalties)
        margins = self._frame.error(
            metric,
            (self._side.norms[query_rows], self._side.slack[metric][query_rows]),
            (side.norms[columns], side.slack[metric][columns], side.riding[columns]),
        )
        if not self._frame.exact:
            margins += 2.0**-50 * shift
        keep = estimates + margins >= self._lists[name].thresholds[query_rows]
        if want.drops is not None:
            keep &= want.drops.keeps(query_rows, columns + start)
        return query_rows[keep], columns[keep] + start, estimates[keep], margins[keep]

    def _merge(self, done: int, jobs: Sequence[Future[dict[str, Batch]]], progress: Progress, stage: str) -> None:
        batches = [job.result() for job in jobs]
        for name, candidates in self._lists.items():
            parts = [batch[name] for batch in batches if len(batch[name][0])]
            if parts:
                query_rows, reference_rows, estimates, margins = (
                    np.concatenate(column) for column in zip(*parts, strict=True)
                )
                candidates.add(query_rows, reference_rows, estimates, margins)
                candidates.shrink()
        progress(stage, done, len(self._references))

    def _record_all(self, metric: Metric) -> None:
        """Re-score once what several lists need."""
        keys = [
            self._keys(candidates.query_rows, candidates.reference_rows)[candidates.margins > 0.0]
            for name, candidates in self._lists.items()
            if self._wanted[name].metric == metric
        ]
        together = np.sort(np.concatenate(keys))
        # np.unique would hash: here the order is wanted too.
        unique = together[np.r_[True, together[1:] != together[:-1]]] if len(together) else together
        self._records[metric] = (unique, self._scored(metric, unique))

    def _recorded(
        self, metric: Metric, query_rows: NDArray[np.int64], reference_rows: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        keys = self._keys(query_rows, reference_rows)
        if metric in self._records:
            known, scores = self._records[metric]
            return scores[np.searchsorted(known, keys)]
        order = np.argsort(keys)
        scores = np.empty(len(keys))
        scores[order] = self._scored(metric, keys[order])
        return scores

    def _scored(self, metric: Metric, keys: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the scores of record of ascending keys."""
        reference_rows, query_rows = np.divmod(keys, len(self._queries))
        return scores_of_record(
            self._queries.vectors, self._references, query_rows, reference_rows, metric, self._executor
        )

    def _keys(self, query_rows: NDArray[np.int64], reference_rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return reference_rows * len(self._queries) + query_rows

    def _check_precision(self, side: Side) -> None:
        """Refuse a library that quietly multiplies in less than float32: the bound would not hold."""
        queries = self._side.vectors[:_CHECKED_ROWS]
        some = np.ascontiguousarray(side.vectors[:_CHECKED_ROWS])
        everything = np.full(len(queries), -np.inf, dtype=np.float32)
        rows, columns, products = self._product.hits(queries, self._product.block(some), everything)
        true = np.einsum("ij,ij->i", queries[rows].astype(np.float64), some[columns].astype(np.float64))
        bound = self._frame.error(
            "ip", (self._side.norms[rows], np.zeros(len(rows))), (side.norms[columns], 0.0, side.riding[columns])
        ) / self._frame.unit["ip"] + 2.0**-40 * np.abs(true)
        worst = np.abs(products - true) - bound
        if len(rows) and float(worst.max()) > 0.0:
            raise UsageError(
                f"backend {self._product.name} does not multiply in float32 precision here "
                f"(an error exceeds its bound by {float(worst.max()):.3g})",
                hint="take --backend blas, or unset what allows TF32 or bfloat16 products",
            )


def _ranks(ids: Sequence[str]) -> NDArray[np.int64]:
    """Return (n,) the place of each id among all, by code point."""
    ranks = np.arange(len(ids))
    order = sorted(range(len(ids)), key=ids.__getitem__)  # next to nothing where they are in order already
    places = np.empty_like(ranks)
    places[order] = ranks
    return places
