"""The two lists of a submission with norms, without and with an asymmetric rule, set against each other.

With nq and nr the norms of a true pair's query and reference, t = (nr − nq) / (nr + nq) tells the direction of copying:
above 0 where the query carries less. A pair of two zero norms has t = 0. Swapping a pair turns t into −t, so over n
true pairs

    AUC = (#{(i, j): t_i > −t_j} + #{(i, j): t_i = −t_j} / 2) / n²

is the chance that a true pair looks more like a copying than a swapped one does. The counts are exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
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
from ndec_bench.scoring.hard_negatives import HARD, MATCHED, PLAIN, share

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ndec_bench.results.record import HardNegativeAccount, PartScore, Replicates
    from ndec_bench.scoring.parts import PairList, TruthTable
    from ndec_bench.search import Rule

_REPLICATES_PER_STEP = 64


@dataclass(frozen=True)
class ScoredLists:
    """The lists of one submission under one rule, scored.

    Attributes
    ----------
    everything
        The list of part ``all``.
    parts, account
        What `ndec_bench.scoring.parts.score_parts` makes of all of them.
    """

    everything: PairList
    parts: Mapping[str, PartScore]
    account: HardNegativeAccount | None


@dataclass(frozen=True)
class TrueNorms:
    """The norms of the true pairs of which both sides are described, found or not; parallel arrays.

    Attributes
    ----------
    codes
        (n,) int64 position of the query among the split's queries.
    query, reference
        (n,) float32.
    """

    codes: NDArray[np.int64]
    query: NDArray[np.float32]
    reference: NDArray[np.float32]


def compare_lists(
    rule: Rule,
    truth: TruthTable,
    norms: TrueNorms,
    plain: ScoredLists,
    ruled: ScoredLists,
    kept: NDArray[np.bool_],
) -> Direction:
    """Return what ``rule`` changes from the lists ``plain``, made without it, to the lists ``ruled``.

    Parameters
    ----------
    rule
        The rule of ``ruled``.
    truth
        What is true.
    norms
        Those of the true pairs.
    plain, ruled
        Scored with the same number of replicates, so that these can be paired.
    kept
        Parallel to ``plain.everything``: is the query's norm not above the reference's.
    """
    replicates = plain.parts["all"].replicates
    t = _leaning(norms)
    pairs = len(t)
    return Direction(
        rule=str(rule),
        parts={part: _part(score, ruled.parts[part]) for part, score in plain.parts.items()},
        true_pairs=pairs,
        true_pairs_kept=share(int((norms.query <= norms.reference).sum()), pairs),
        true_pairs_kept_if_swapped=share(int((norms.reference <= norms.query).sum()), pairs),
        swap_gap=_swap_gap(rule, norms) if rule.smooth and pairs else None,
        direction_auc=auc(t) if pairs else None,
        direction_auc_interval=None if replicates is None else _auc_interval(t, truth.keys[norms.codes], replicates),
        at_p90_isc=_at_one_threshold(truth, plain, ruled),
        at_own_p90_isc=_at_own_thresholds(truth, plain, ruled),
        dropped=_dropped(plain, truth, kept),
    )


def auc(t: NDArray[np.float64]) -> float:
    """Return the AUC of the module's docstring for (n,) float64 ``t``, n above 0, in n log n steps."""
    ordered = np.sort(t)
    greater = int((len(t) - np.searchsorted(ordered, -t, side="right")).sum())
    equal = int((np.searchsorted(ordered, -t, side="right") - np.searchsorted(ordered, -t, side="left")).sum())
    return (2 * greater + equal) / (2 * len(t) ** 2)


def _leaning(norms: TrueNorms) -> NDArray[np.float64]:
    query, reference = norms.query.astype(np.float64), norms.reference.astype(np.float64)
    total = reference + query
    return np.divide(reference - query, total, out=np.zeros(len(total)), where=total > 0)


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


def _swap_gap(rule: Rule, norms: TrueNorms) -> SwapGap:
    # What is symmetric in the score cancels: the gap is the penalty of the swapped pair minus that of the pair.
    gaps = rule.penalty(norms.reference, norms.query) - rule.penalty(norms.query, norms.reference)
    return SwapGap(
        # An exact sum, so that the order of the pairs does not show.
        mean=math.fsum(gaps.tolist()) / len(gaps),
        median=float(np.median(gaps)),
        above_zero=share(int((gaps > 0.0).sum()), len(gaps)),
    )


def _at_one_threshold(truth: TruthTable, plain: ScoredLists, ruled: ScoredLists) -> PassingByRule | None:
    threshold = _p90_isc(plain)
    if threshold is None:
        return None
    return PassingByRule(
        without_rule=_passing(threshold, plain.everything, truth),
        with_rule=_passing(threshold, ruled.everything, truth),
    )


def _at_own_thresholds(truth: TruthTable, plain: ScoredLists, ruled: ScoredLists) -> PassingByRule | None:
    if plain.account is None:
        return None
    without, with_rule = (
        None if (threshold := _p90_isc(one)) is None else _passing(threshold, one.everything, truth)
        for one in (plain, ruled)
    )
    return PassingByRule(without_rule=without, with_rule=with_rule)


def _p90_isc(scored: ScoredLists) -> float | None:
    at = None if scored.account is None else scored.account.at_p90_isc
    return None if at is None else at.threshold


def _passing(threshold: float, pairs: PairList, truth: TruthTable) -> Passing:
    above = pairs.scores >= threshold
    queries = np.bincount(truth.kinds, minlength=3)
    wrong = np.bincount(truth.kinds[np.unique(pairs.codes[above & ~pairs.correct])], minlength=3)
    found = len(np.unique(pairs.codes[above & pairs.correct]))
    return Passing(
        threshold=threshold,
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
