"""The two lists of a submission with vector norms, without and with an asymmetric rule, compared.

With nq and nr the norms of a true pair's query and reference, t = (nr − nq) / (nr + nq) tells the direction of copying:
above 0 where the query carries less. A pair of two zero norms has t = 0. Swapping a pair turns t into −t, so over n
true pairs

    AUC = (#{(i, j): t_i > −t_j} + #{(i, j): t_i = −t_j} / 2) / n²

is the chance that a true pair looks more like a copying than a swapped one does. The counts are exact.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.metrics import bootstrap
from ndec_bench.results.record import (
    Direction,
    DirectionPart,
    Dropped,
    DroppedPairs,
    Passing,
    PassingByRule,
    RuleScore,
    SwapGap,
)
from ndec_bench.scoring.hard_negatives import share
from ndec_bench.scoring.truth import HARD, MATCHED, PLAIN

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_bench.results.record import PartScore, Replicates
    from ndec_bench.scoring.context import Context
    from ndec_bench.scoring.lists import SearchedLists
    from ndec_bench.scoring.parts import ScoredLists
    from ndec_bench.scoring.truth import PairList, TruthTable
    from ndec_bench.search import PairRule, Rule

_REPLICATES_PER_STEP = 64


def compare_lists(
    context: Context, rule: PairRule, lists: SearchedLists, plain: ScoredLists, ruled: ScoredLists
) -> Direction:
    """Return what ``rule`` changes from the scores ``plain``, made without it, to the scores ``ruled``.

    ``lists`` are those of ``plain``. Both have the same number of replicates, so that these can be paired.
    """
    truth = context.truth
    codes, query_rows, reference_rows = lists.true_rows()
    query, reference = rule.query_norms[query_rows], rule.reference_norms[reference_rows]
    t = _leaning(query, reference)
    pairs, replicates = len(t), plain.parts["all"].replicates
    without = _passing(plain.everything, truth, plain)
    return Direction(
        rule=str(rule.rule),
        parts={part: _part(score, ruled.parts[part]) for part, score in plain.parts.items()},
        true_pairs=pairs,
        true_pairs_kept=share(int((query <= reference).sum()), pairs),
        true_pairs_kept_if_swapped=share(int((reference <= query).sum()), pairs),
        swap_gap=_swap_gap(rule.rule, query, reference) if rule.rule.smooth and pairs else None,
        direction_auc=auc(t) if pairs else None,
        direction_auc_interval=None if replicates is None else _auc_interval(t, truth.keys[codes], replicates),
        at_p90_isc=None
        if without is None
        else PassingByRule(without_rule=without, with_rule=_passing(ruled.everything, truth, plain)),
        at_own_p90_isc=None
        if plain.account is None
        else PassingByRule(without_rule=without, with_rule=_passing(ruled.everything, truth, ruled)),
        dropped=_dropped(plain, truth, rule.keeps(*lists.rows("all", context.protocol))),
    )


def auc(t: NDArray[np.float64]) -> float:
    """Return the AUC of the module's docstring for (n,) float64 ``t``, n above 0, in n log n steps."""
    ordered = np.sort(t)
    greater = int((len(t) - np.searchsorted(ordered, -t, side="right")).sum())
    equal = int((np.searchsorted(ordered, -t, side="right") - np.searchsorted(ordered, -t, side="left")).sum())
    return (2 * greater + equal) / (2 * len(t) ** 2)


def _leaning(query: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
    wide_query, wide_reference = query.astype(np.float64), reference.astype(np.float64)
    total = wide_reference + wide_query
    return np.divide(wide_reference - wide_query, total, out=np.zeros(len(total)), where=total > 0)


def _auc_interval(
    t: NDArray[np.float64], keys: NDArray[np.uint64], replicates: Replicates
) -> tuple[float, float] | None:
    """Return the interval of `auc` with each pair counted as often as its query; None if a replicate has no pair.

    ``keys`` (n,) are those of the queries in the bootstrap stream.
    """
    order = np.argsort(t, kind="stable")
    t, keys = t[order], keys[order]
    below, upto = np.searchsorted(t, -t, side="left"), np.searchsorted(t, -t, side="right")
    count = len(replicates.micro_ap)
    found = np.zeros(count)
    for first in range(0, count, _REPLICATES_PER_STEP):
        block = slice(first, min(first + _REPLICATES_PER_STEP, count))
        drawn = bootstrap.weights(keys, first, block.stop - first)
        cumulated = np.concatenate([np.zeros((1, drawn.shape[1]), dtype=np.int64), np.cumsum(drawn, axis=0)])
        total = cumulated[-1]
        if not total.all():
            return None
        greater = (drawn * (total - cumulated[upto])).sum(axis=0)
        equal = (drawn * (cumulated[upto] - cumulated[below])).sum(axis=0)
        found[block] = (2 * greater + equal) / (2 * total**2)
    return bootstrap.interval(found)


def _part(plain: PartScore, ruled: PartScore) -> DirectionPart:
    intervals: dict[str, tuple[float, float] | None] = {"micro_ap": None, "recall_at_p90": None}
    if plain.replicates is not None and ruled.replicates is not None:
        for measure in intervals:
            less, more = (np.asarray(getattr(one, measure)) for one in (plain.replicates, ruled.replicates))
            intervals[measure] = bootstrap.interval(more - less)
    return DirectionPart(
        without_rule=RuleScore(micro_ap=plain.micro_ap, recall_at_p90=plain.recall_at_p90),
        with_rule=RuleScore(micro_ap=ruled.micro_ap, recall_at_p90=ruled.recall_at_p90),
        micro_ap_difference=ruled.micro_ap - plain.micro_ap,
        micro_ap_difference_interval=intervals["micro_ap"],
        recall_at_p90_difference=(ruled.recall_at_p90 or 0.0) - (plain.recall_at_p90 or 0.0),
        recall_at_p90_difference_interval=intervals["recall_at_p90"],
    )


def _swap_gap(rule: Rule, query: NDArray[np.float32], reference: NDArray[np.float32]) -> SwapGap:
    # What is symmetric in the score cancels: the gap is the penalty of the swapped pair minus that of the pair.
    gaps = rule.penalty(reference, query) - rule.penalty(query, reference)
    return SwapGap(
        # An exact sum, so that the order of the pairs does not show.
        mean=math.fsum(gaps.tolist()) / len(gaps),
        median=float(np.median(gaps)),
        above_zero=share(int((gaps > 0.0).sum()), len(gaps)),
    )


def _passing(pairs: PairList, truth: TruthTable, tuned_on: ScoredLists) -> Passing | None:
    """Return what passes where the ISC part of ``tuned_on`` reaches P90; None if that is never reached or unknown."""
    at = None if tuned_on.account is None else tuned_on.account.at_p90_isc
    if at is None:
        return None
    above = pairs.scores >= at.threshold
    queries = np.bincount(truth.kinds, minlength=3)
    wrong = np.bincount(truth.kinds[np.unique(pairs.codes[above & ~pairs.correct])], minlength=3)
    found = len(np.unique(pairs.codes[above & pairs.correct]))
    return Passing(
        threshold=at.threshold,
        hard_negatives_hit=share(int(wrong[HARD]), int(queries[HARD])),
        plain_distractors_hit=share(int(wrong[PLAIN]), int(queries[PLAIN])),
        copies_found=share(found, int(queries[MATCHED])),
    )


def _dropped(plain: ScoredLists, truth: TruthTable, kept: NDArray[np.bool_]) -> Dropped:
    true, hard = plain.everything.correct, truth.kinds[plain.everything.codes] == HARD
    known = plain.account is not None
    return Dropped(
        true_pairs=_of_kind(true, kept),
        hard_negative_pairs=_of_kind(hard, kept) if known else None,
        other_pairs=_of_kind(~true & ~hard if known else ~true, kept),
    )


def _of_kind(kind: NDArray[np.bool_], kept: NDArray[np.bool_]) -> DroppedPairs:
    pairs, dropped = int(kind.sum()), int((kind & ~kept).sum())
    return DroppedPairs(pairs=pairs, dropped=dropped, rate=dropped / pairs if pairs else None)
