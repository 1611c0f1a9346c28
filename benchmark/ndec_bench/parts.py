"""The scores of one part of a split, from its list of pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ndec_bench import bootstrap, metrics
from ndec_bench.account import HARD, MATCHED, PLAIN, PairList
from ndec_bench.report import Curve, EditRecall, PartScore, Replicates

if TYPE_CHECKING:
    from ndec_bench.data.split import Split
    from ndec_bench.matches import Matches
    from ndec_bench.progress import Progress
    from ndec_bench.protocol import Protocol


class TruthTable:
    """The truth of a split as arrays, in the order of its queries.

    Attributes
    ----------
    positives
        (queries,) int64 number of true pairs of each query.
    kinds
        (queries,) int64 MATCHED, PLAIN or HARD.
    keys
        (queries,) uint64 keys of the bootstrap stream.
    """

    def __init__(self, split: Split) -> None:
        self.split = split
        self.positives = np.zeros(len(split.query_ids), dtype=np.int64)
        self._position = {query: code for code, query in enumerate(split.query_ids)}
        self._true_pairs = frozenset(split.truth.pairs)
        for query, _ in split.truth.pairs:
            self.positives[self._position[query]] += 1
        self.kinds = np.where(self.positives > 0, MATCHED, PLAIN)
        for query in split.hard_negatives or ():
            self.kinds[self._position[query]] = HARD
        self.keys = bootstrap.query_keys(split.query_ids)

    def pairs(self, matches: Matches) -> PairList:
        """Return ``matches`` with the codes of their queries and the truth of each pair."""
        together = zip(matches.query_ids.tolist(), matches.reference_ids.tolist(), strict=True)
        correct = np.fromiter((pair in self._true_pairs for pair in together), dtype=bool, count=len(matches))
        return PairList(metrics.codes_of(matches.query_ids, self.split.query_ids), matches.scores, correct)

    def positives_in(self, part: str) -> int:
        """Return the number of true pairs of the queries of ``part``."""
        members = self.split.parts[part]
        return sum(query in members for query, _ in self.split.truth.pairs)

    def copies_by_edit(self) -> dict[str, set[int]]:
        """Return the codes of the copies made with each kind of edit, by kind; empty where edits are unknown."""
        copies: dict[str, set[int]] = {}
        for query, kinds in (self.split.edits or {}).items():
            code = self._position.get(query)
            if code is not None and self.positives[code]:
                for kind in kinds:
                    copies.setdefault(kind, set()).add(code)
        return dict(sorted(copies.items()))


def score_part(
    part: str, pairs: PairList, truth: TruthTable, protocol: Protocol, *, replicates: int, progress: Progress
) -> PartScore:
    """Return the scores of ``part`` from its own list ``pairs``, with ``replicates`` bootstrap replicates (0: none)."""
    positives = truth.positives_in(part)
    ranking = metrics.rank(pairs.scores, pairs.correct, positives)
    point = metrics.recall_at_precision(ranking, protocol.precision_target)
    threshold = None if point is None else point.threshold
    ranks = metrics.true_ranks(pairs.codes, pairs.scores, pairs.correct)
    samples = None
    if replicates:
        samples = _replicates(part, pairs, truth, protocol, replicates, progress)
    queries = len(truth.split.parts[part])
    return PartScore(
        queries=queries,
        positives=positives,
        predictions=len(pairs.scores),
        cap=protocol.cap(queries),
        micro_ap=metrics.micro_ap(ranking),
        micro_ap_interval=samples and bootstrap.interval(samples.micro_ap),
        recall_at_p90=point and point.recall,
        recall_at_p90_interval=samples and bootstrap.interval(samples.recall_at_p90),
        threshold_at_p90=threshold,
        recall_at_1=metrics.recall_at_rank(ranks, positives, 1),
        recall_at_10=metrics.recall_at_rank(ranks, positives, 10),
        precision_at_recall={
            str(level): metrics.precision_at_recall(ranking, level) for level in protocol.recall_levels
        },
        recall_by_edit=_recall_by_edit(pairs, ranks, threshold, truth),
        pr_curve=_curve(ranking),
        replicates=samples,
    )


def _replicates(
    part: str, pairs: PairList, truth: TruthTable, protocol: Protocol, count: int, progress: Progress
) -> Replicates:
    order = metrics.rank_order(pairs.scores, pairs.correct)
    micro_ap, recall = bootstrap.replicate_scores(
        pairs.codes[order],
        pairs.correct[order],
        truth.positives,
        truth.keys,
        precision_target=protocol.precision_target,
        count=count,
        progress=progress,
        stage=f"bootstrap of part {part}",
    )
    # Six decimals are far below the noise of any replicate and keep a result file small.
    return Replicates(
        stream=bootstrap.STREAM, micro_ap=micro_ap.round(6).tolist(), recall_at_p90=recall.round(6).tolist()
    )


def _recall_by_edit(
    pairs: PairList, ranks: np.ndarray, threshold: float | None, truth: TruthTable
) -> dict[str, EditRecall] | None:
    copies = truth.copies_by_edit()
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


def _curve(ranking: metrics.Ranking) -> Curve:
    at = metrics.thin_curve(ranking)
    return Curve(
        recall=ranking.recall[at].round(6).tolist(),
        precision=ranking.precision[at].round(6).tolist(),
        threshold=[float(f"{score:.7g}") for score in ranking.scores[at].tolist()],
    )
