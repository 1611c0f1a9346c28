"""The scores of the parts of a split, each from its own list of pairs."""

from __future__ import annotations

from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.metrics import average_precision as metrics
from ndec_bench.metrics import bootstrap
from ndec_bench.progress import silent
from ndec_bench.results.record import Curve, EditRecall, PartScore, PointAtPrecision, Replicates
from ndec_bench.scoring.hard_negatives import (
    HARD,
    MATCHED,
    PLAIN,
    Judged,
    PairList,
    hard_negative_account,
    rate_counts,
    with_intervals,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ndec_bench.data.split import Split
    from ndec_bench.progress import Progress
    from ndec_bench.protocol import Protocol
    from ndec_bench.results.record import HardNegativeAccount

__all__ = ["PairList", "TruthTable", "score_parts"]


class TruthTable:
    """The truth of a split as arrays, in the order of its queries.

    Attributes
    ----------
    positives
        (queries,) int64 number of true pairs of each query.
    kinds
        (queries,) int64 MATCHED, PLAIN or HARD.
    """

    def __init__(self, split: Split) -> None:
        self.split = split
        self._position = {query: code for code, query in enumerate(split.query_ids)}
        true_references = sorted({reference for _, reference in split.truth.pairs})
        self._reference = {reference: code for code, reference in enumerate(true_references)}
        queries = np.array([self._position[query] for query, _ in split.truth.pairs], dtype=np.int64)
        references = np.array([self._reference[reference] for _, reference in split.truth.pairs], dtype=np.int64)
        self._true_keys = np.sort(queries * max(len(true_references), 1) + references)
        self.positives = np.bincount(queries, minlength=len(split.query_ids)).astype(np.int64)
        self.kinds = np.where(self.positives > 0, MATCHED, PLAIN)
        for query in split.hard_negatives or ():
            self.kinds[self._position[query]] = HARD
        self._members: dict[str, NDArray[np.bool_]] = {}

    @cached_property
    def keys(self) -> NDArray[np.uint64]:
        """Return (queries,) uint64 keys of the bootstrap stream."""
        return bootstrap.query_keys(self.split.query_ids)

    @property
    def true_codes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return query code and reference code of each true pair, sorted by both; see `query_codes`."""
        queries, references = np.divmod(self._true_keys, max(len(self._reference), 1))
        return queries, references

    def query_codes(self, ids: Sequence[str] | NDArray[np.str_]) -> NDArray[np.int64]:
        """Return (n,) the position of each id among the split's queries, -1 for any other."""
        return _codes(ids, self._position)

    def reference_codes(self, ids: Sequence[str] | NDArray[np.str_]) -> NDArray[np.int64]:
        """Return (n,) the position of each id among the true references (sorted, each once), -1 for any other."""
        return _codes(ids, self._reference)

    def pairs(
        self, query_codes: NDArray[np.int64], reference_codes: NDArray[np.int64], scores: NDArray[np.float64]
    ) -> PairList:
        """Return scored pairs, given by their codes, with the truth of each.

        ``query_codes`` (n,) from `query_codes`, none below 0; ``reference_codes`` (n,) from `reference_codes`;
        ``scores`` (n,) float64. A query may have several true references.
        """
        correct = np.zeros(len(scores), dtype=bool)
        # Few pairs name a true reference at all: only these are looked up.
        some = np.flatnonzero(reference_codes >= 0)
        if len(some) and len(self._true_keys):
            keys = query_codes[some] * len(self._reference) + reference_codes[some]
            at = np.minimum(np.searchsorted(self._true_keys, keys), len(self._true_keys) - 1)
            correct[some] = self._true_keys[at] == keys
        return PairList(query_codes, scores, correct)

    def members(self, part: str) -> NDArray[np.bool_]:
        """Return (queries,) bool: does the query belong to ``part``."""
        if part not in self._members:
            ids = self.split.parts[part]
            self._members[part] = np.fromiter(
                (query in ids for query in self.split.query_ids), dtype=bool, count=len(self.split.query_ids)
            )
        return self._members[part]

    def positives_in(self, part: str) -> int:
        """Return the number of true pairs of the queries of ``part``."""
        return int(self.positives[self.members(part)].sum())

    def copies_by_edit(self, part: str) -> dict[str, set[int]]:
        """Return the codes of the copies in ``part`` by kind of edit; empty where the split does not know the edits."""
        copies: dict[str, set[int]] = {}
        wanted = self.members(part) & (self.positives > 0)
        for query, kinds in (self.split.edits or {}).items():
            code = self._position.get(query)
            if code is not None and wanted[code]:
                for kind in kinds:
                    copies.setdefault(kind, set()).add(code)
        return dict(sorted(copies.items()))


def score_parts(
    lists: Mapping[str, PairList],
    truth: TruthTable,
    protocol: Protocol,
    *,
    replicates: int,
    references: int | None,
    precisions: Sequence[float] = (),
    own_threshold: float | None = None,
    complete: Mapping[str, bool] | None = None,
    account: bool = True,
    progress: Progress = silent,
) -> tuple[dict[str, PartScore], HardNegativeAccount | None]:
    """Return the scores of every part from its own list, and the hard-negative account where there is a part ``isc``.

    Parameters
    ----------
    lists
        By part, ``all`` among them; each as if its part stood alone, in any order.
    truth, protocol
        What is true, and the rules.
    replicates
        Bootstrap replicates; 0 for no intervals. All parts and rates share the weights of a replicate.
    references
        Number of references searched, all true ones among them; None if unknown: then no pair rates are given.
    precisions
        Further precisions at which the highest recall is reported, under their text, such as ``0.95``.
    own_threshold
        The authors' own threshold, for the account; None if they declared none.
    complete
        By part, whether nothing can lack in its list; None where that holds for all.
    account
        Give the account; False where look-alikes may be missing from the references.
    progress
        Called as ``progress("bootstrap", done, total)`` in replicates.
    """
    parts = {
        part: _score_part(part, pairs, truth, protocol, precisions, complete is None or complete[part])
        for part, pairs in lists.items()
    }
    judged = summary = None
    if account and "isc" in lists:
        judged = Judged(lists["all"], lists["isc"], truth.kinds, truth.split.query_ids, truth.positives, references)
        summary = hard_negative_account(judged, protocol, own_threshold=own_threshold)
    if not replicates:
        return parts, summary
    counts = np.zeros((0, len(truth.kinds)), dtype=np.int64)
    if summary is not None and judged is not None:
        counts = rate_counts(summary, judged)
    samples, sums = bootstrap.replicate_lists(
        {part: _ranked(part, pairs, truth) for part, pairs in lists.items()},
        counts,
        truth.keys,
        precision_target=protocol.precision_target,
        count=replicates,
        progress=progress,
    )
    parts = {part: _with_replicates(score, samples[part]) for part, score in parts.items()}
    return parts, None if summary is None else with_intervals(summary, sums)


def _score_part(
    part: str, pairs: PairList, truth: TruthTable, protocol: Protocol, precisions: Sequence[float], complete: bool
) -> PartScore:
    positives = truth.positives_in(part)
    ranking = metrics.rank(pairs.scores, pairs.correct, positives)
    point = metrics.recall_at_precision(ranking, protocol.precision_target)
    threshold = None if point is None else point.threshold
    ranks = metrics.true_ranks(pairs.codes, pairs.scores, pairs.correct)
    queries = len(truth.split.parts[part])
    return PartScore(
        queries=queries,
        positives=positives,
        predictions=len(pairs.scores),
        cap=protocol.cap(queries),
        micro_ap=metrics.micro_ap(ranking),
        recall_at_p90=protocol.unreached if point is None else point.recall,
        threshold_at_p90=threshold,
        recall_at_1=metrics.recall_at_rank(ranks, positives, 1),
        recall_at_10=metrics.recall_at_rank(ranks, positives, 10),
        precision_at_recall={
            str(level): metrics.precision_at_recall(ranking, level) for level in protocol.recall_levels
        },
        recall_at_precision={str(precision): _point(ranking, precision, protocol) for precision in precisions},
        complete=complete,
        recall_by_edit=_recall_by_edit(pairs, ranks, threshold, truth.copies_by_edit(part)),
        pr_curve=_curve(ranking),
    )


def _point(ranking: metrics.Ranking, precision: float, protocol: Protocol) -> PointAtPrecision:
    point = metrics.recall_at_precision(ranking, precision)
    if point is None:
        return PointAtPrecision(recall=protocol.unreached, threshold=None)
    return PointAtPrecision(recall=point.recall, threshold=point.threshold)


def _ranked(part: str, pairs: PairList, truth: TruthTable) -> bootstrap.RankedList:
    order = metrics.rank_order(pairs.scores, pairs.correct)
    return bootstrap.RankedList(
        query_codes=pairs.codes[order],
        true_rows=np.flatnonzero(pairs.correct[order]),
        positives=np.where(truth.members(part), truth.positives, 0),
    )


def _with_replicates(score: PartScore, samples: NDArray[np.float64]) -> PartScore:
    micro_ap, recall = samples
    # Six decimals are far below the noise of any replicate and keep a result file small.
    stored = Replicates(
        stream=bootstrap.STREAM, micro_ap=micro_ap.round(6).tolist(), recall_at_p90=recall.round(6).tolist()
    )
    return score.model_copy(
        update={
            "micro_ap_interval": bootstrap.interval(stored.micro_ap),
            "recall_at_p90_interval": bootstrap.interval(stored.recall_at_p90),
            "replicates": stored,
        }
    )


def _recall_by_edit(
    pairs: PairList, ranks: NDArray[np.int64], threshold: float | None, copies: Mapping[str, set[int]]
) -> dict[str, EditRecall] | None:
    if not copies:
        return None
    true_codes, true_scores = pairs.codes[pairs.correct], pairs.scores[pairs.correct]
    first = set(true_codes[ranks == 0].tolist())
    above = set() if threshold is None else set(true_codes[true_scores >= threshold].tolist())
    return {
        kind: EditRecall(
            copies=len(codes),
            recall_at_1=len(codes & first) / len(codes),
            recall_at_p90=len(codes & above) / len(codes),
        )
        for kind, codes in copies.items()
    }


def _codes(ids: Sequence[str] | NDArray[np.str_], known: Mapping[str, int]) -> NDArray[np.int64]:
    names = ids.tolist() if isinstance(ids, np.ndarray) else ids
    return np.fromiter(map(known.get, names, repeat(-1)), dtype=np.int64, count=len(names))


def _curve(ranking: metrics.Ranking) -> Curve:
    at = metrics.thin_curve(ranking)
    return Curve(
        recall=ranking.recall[at].round(6).tolist(),
        precision=ranking.precision[at].round(6).tolist(),
        threshold=[float(f"{score:.7g}") for score in ranking.scores[at].tolist()],
    )
