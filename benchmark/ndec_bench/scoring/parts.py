"""The scores of the parts of a split, each from its own list of pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.metrics import average_precision as metrics
from ndec_bench.metrics import bootstrap
from ndec_bench.results.record import Curve, EditRecall, ListScores, PartScore, PointAtPrecision, Replicates
from ndec_bench.scoring.hard_negatives import hard_negative_account, rate_counts, with_intervals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ndec_bench.protocol import Protocol
    from ndec_bench.results.record import HardNegativeAccount
    from ndec_bench.scoring.context import Context
    from ndec_bench.scoring.truth import PairList, TruthTable


@dataclass(frozen=True)
class ScoredLists:
    """The lists of one split, scored.

    Attributes
    ----------
    everything
        The list of part ``all``.
    parts
        The scores of every part.
    account
        The hard-negative account; None where there is no part ``isc`` or references are missing.
    """

    everything: PairList
    parts: Mapping[str, PartScore]
    account: HardNegativeAccount | None


def score_parts(
    lists: Mapping[str, PairList], context: Context, *, incomplete: frozenset[str] = frozenset()
) -> ScoredLists:
    """Return the scores of every part from its own list, and the hard-negative account where there is a part ``isc``.

    All parts and rates share the weights of a replicate.

    Parameters
    ----------
    lists
        By part, ``all`` among them; each as if its part stood alone, in any order.
    context
        What is true, the rules and the options.
    incomplete
        Parts whose lists may miss pairs.
    """
    truth, protocol, replicates = context.truth, context.protocol, context.options.replicates
    parts = {part: _score_part(part, pairs, context, part not in incomplete) for part, pairs in lists.items()}
    account = None
    # Without all references the look-alikes are missing too, and the account would flatter.
    if "isc" in lists and not context.fit.missing:
        account = hard_negative_account(lists, context)
    if not replicates:
        return ScoredLists(lists["all"], parts, account)
    counts = np.zeros((0, len(truth.kinds)), dtype=np.int64)
    if account is not None:
        counts = rate_counts(account, lists["all"], context)
    samples, sums = bootstrap.replicate_lists(
        {part: _ranked(part, pairs, truth) for part, pairs in lists.items()},
        counts,
        truth.keys,
        precision_target=protocol.precision_target,
        count=replicates,
        progress=context.progress,
    )
    parts = {part: _with_replicates(score, samples[part]) for part, score in parts.items()}
    return ScoredLists(lists["all"], parts, None if account is None else with_intervals(account, sums))


def score_list(
    part: str, pairs: PairList, truth: TruthTable, protocol: Protocol
) -> tuple[ListScores, metrics.Ranking, NDArray[np.int64]]:
    """Return the scores that every protocol has of the list of ``part``, its ranking, and the ranks of its true pairs.

    The ranks, (true pairs,) int64, are those of `ndec_bench.metrics.average_precision.true_ranks`.
    """
    positives = truth.positives_in(part)
    ranking = metrics.rank(pairs.scores, pairs.correct, positives)
    point = metrics.recall_at_precision(ranking, protocol.precision_target)
    ranks = metrics.true_ranks(pairs.codes, pairs.scores, pairs.correct)
    scores = ListScores(
        queries=len(truth.split.parts[part]),
        positives=positives,
        predictions=len(pairs.scores),
        micro_ap=metrics.micro_ap(ranking),
        recall_at_p90=protocol.unreached if point is None else point.recall,
        threshold_at_p90=None if point is None else point.threshold,
        recall_at_1=metrics.recall_at_rank(ranks, positives, 1),
        recall_at_10=metrics.recall_at_rank(ranks, positives, 10),
    )
    return scores, ranking, ranks


def _score_part(part: str, pairs: PairList, context: Context, complete: bool) -> PartScore:
    truth, protocol = context.truth, context.protocol
    scores, ranking, ranks = score_list(part, pairs, truth, protocol)
    copies = truth.copies_by_edit(part)
    return PartScore(
        **scores.model_dump(),
        cap=protocol.cap(scores.queries),
        precision_at_recall={
            str(level): metrics.precision_at_recall(ranking, level) for level in protocol.recall_levels
        },
        recall_at_precision={
            str(precision): _point(ranking, precision, protocol) for precision in context.options.precisions
        },
        complete=complete,
        recall_by_edit=_recall_by_edit(pairs, ranks, scores.threshold_at_p90, copies) if copies else None,
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
) -> dict[str, EditRecall]:
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
