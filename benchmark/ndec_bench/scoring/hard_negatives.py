"""The hard-negative account: what look-alikes that are not copies cost a method.

Queries come in three kinds: matched (with a true reference), plain distractors, hard negatives. With R references, P_q
true references of query q among them and f_q wrong pairs of q at or above a threshold, a group G of queries has::

    share of queries hit   = |{q in G: f_q > 0}| / |G|            interval by Clopper and Pearson (1934)
    pair rate              = Σ_{q in G} f_q / Σ_{q in G} (R − P_q)       interval by bootstrap over queries
    alerts per true match  = pairs at or above it / true pairs at or above it               the same

Queries are the unit of both intervals, since the pairs of one query depend on each other. The headline threshold is
where the ISC part reaches the precision target: it was tuned without hard negatives.

Cost of the hard negatives = µAP of the ISC part with each plain distractor counted (plain + hard) / plain times, minus
µAP of all. Weighted so, the ISC part has as many queries without a match as all queries do, and what is left of the
difference is how hard they are.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.metrics.average_precision import micro_ap, rank, recall_at_precision
from ndec_bench.metrics.bootstrap import interval
from ndec_bench.results.record import (
    FalsePositives,
    HardNegativeAccount,
    PairRate,
    PairRates,
    Share,
    ThresholdAccount,
    ThresholdTransfer,
)
from ndec_bench.scoring.truth import HARD, MATCHED, PLAIN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ndec_bench.protocol import Protocol
    from ndec_bench.scoring.context import Context
    from ndec_bench.scoring.truth import PairList, TruthTable

_FIELDS = ("at_p90_isc", "at_p90_all", "at_own_threshold")


def hard_negative_account(lists: Mapping[str, PairList], context: Context) -> HardNegativeAccount:
    """Return the account of a split with known hard negatives, without bootstrap intervals (see `with_intervals`).

    ``lists`` has the parts ``all`` and ``isc``, each with its own cap.
    """
    truth, target = context.truth, context.protocol.precision_target
    plain, hard = int((truth.kinds == PLAIN).sum()), int((truth.kinds == HARD).sum())
    positives = int(truth.positives.sum())
    everything, isc = lists["all"], lists["isc"]
    all_ranking = rank(everything.scores, everything.correct, positives)
    isc_ranking = rank(isc.scores, isc.correct, positives)
    weight = weighted = None
    if plain:
        # Each plain distractor stands for all queries without a match: the ISC part gets the prior of all queries.
        weight = (plain + hard) / plain
        weights = np.where(truth.kinds[isc.codes] == PLAIN, weight, 1.0)
        weighted = micro_ap(rank(isc.scores, isc.correct, positives, weights))
    points = [recall_at_precision(ranking, target) for ranking in (isc_ranking, all_ranking)]
    thresholds = [None if point is None else point.threshold for point in points] + [context.facts.threshold]
    accounts = [
        None if threshold is None else _at_threshold(threshold, everything, context) for threshold in thresholds
    ]
    return HardNegativeAccount(
        queries=hard,
        plain_distractors=plain,
        weight=weight,
        micro_ap_isc_weighted=weighted,
        cost=None if weighted is None else weighted - micro_ap(all_ranking),
        difference=micro_ap(isc_ranking) - micro_ap(all_ranking),
        **dict(zip(_FIELDS, accounts, strict=True)),
        transfer=_transfer(everything, isc, context),
    )


def rate_counts(account: HardNegativeAccount, everything: PairList, context: Context) -> NDArray[np.int64]:
    """Return (k, queries) int64: the numbers per query whose weighted sums `with_intervals` needs.

    First the non-matching pairs of each query, by group; then, for each threshold of ``account``, wrong pairs of the
    list of part ``all`` above it by group, all pairs above it, true pairs above it.
    """
    truth, candidates = context.truth, _candidates(context)
    groups = _groups(truth).values()
    counts = [(0 if candidates is None else candidates) * group for group in groups]
    for field in _FIELDS:
        at = getattr(account, field)
        if at is not None:
            true, wrong = _above(at.threshold, everything, truth)
            counts += [wrong * group for group in groups]
            counts += [true + wrong, true]
    return np.array(counts, dtype=np.int64)


def with_intervals(account: HardNegativeAccount, sums: NDArray[np.int64]) -> HardNegativeAccount:
    """Return ``account`` with intervals of pair rates and alerts from (replicates, k) sums of `rate_counts`.

    Replicate b of a pair rate is Σ_q w_q(b) f_q / Σ_q w_q(b) (R − P_q), with the weights of
    `ndec_bench.metrics.bootstrap`: a ratio of sums over clusters, resampled by cluster. The interval is null where a
    replicate would divide by zero.
    """
    names = list(PairRates.model_fields)
    pairs, *blocks = np.split(sums.T, range(len(names), sums.shape[1], len(names) + 2))
    changed = {}
    for field, block in zip((field for field in _FIELDS if getattr(account, field) is not None), blocks, strict=True):
        at = getattr(account, field)
        *wrong, above, true = block
        update: dict[str, object] = {"alerts_per_true_match_interval": _ratio(above, true)}
        if at.pair_rates is not None:
            rates = {
                name: getattr(at.pair_rates, name).model_copy(update={"interval": _ratio(wrong[i], pairs[i])})
                for i, name in enumerate(names)
            }
            update["pair_rates"] = PairRates(**rates)
        changed[field] = at.model_copy(update=update)
    return account.model_copy(update=changed)


def share(hits: int, queries: int, *, level: float = 0.95) -> Share:
    """Return ``hits`` of ``queries`` as a rate with its Clopper-Pearson interval; null for no queries.

    Source: Clopper and Pearson, Biometrika 26 (1934); the bounds are quantiles of beta distributions.
    """
    from scipy.special import betaincinv  # slow to import: loaded while a search runs

    if queries == 0:
        return Share(hits=0, queries=0, rate=None, interval=None)
    tail = (1.0 - level) / 2.0
    low = 0.0 if hits == 0 else float(betaincinv(hits, queries - hits + 1, tail))
    high = 1.0 if hits == queries else float(betaincinv(hits + 1, queries - hits, 1.0 - tail))
    return Share(hits=hits, queries=queries, rate=hits / queries, interval=(low, high))


def half_of(query_ids: Sequence[str]) -> NDArray[np.int64]:
    """Return (n,) 0 or 1: the lowest bit of the first byte of SHA-256 of each query id."""
    return np.array([hashlib.sha256(query.encode()).digest()[0] & 1 for query in query_ids], dtype=np.int64)


def _at_threshold(threshold: float, pairs: PairList, context: Context) -> ThresholdAccount:
    truth = context.truth
    true, wrong = _above(threshold, pairs, truth)
    true_positives, false_positives, positives = int(true.sum()), int(wrong.sum()), int(truth.positives.sum())
    total = true_positives + false_positives
    wrong_pairs = [int(wrong[truth.kinds == kind].sum()) for kind in (MATCHED, PLAIN, HARD)]
    hits = np.bincount(truth.kinds[wrong > 0], minlength=3)
    queries = np.bincount(truth.kinds, minlength=3)
    return ThresholdAccount(
        threshold=threshold,
        true_positives=true_positives,
        false_positives=FalsePositives(
            hard_negative=wrong_pairs[HARD],
            plain_distractor=wrong_pairs[PLAIN],
            wrong_reference=wrong_pairs[MATCHED],
        ),
        precision=true_positives / total if total else None,
        recall=true_positives / positives if positives else 0.0,
        hard_negatives_hit=share(int(hits[HARD]), int(queries[HARD])),
        plain_distractors_hit=share(int(hits[PLAIN]), int(queries[PLAIN])),
        without_match_hit=share(int(hits[HARD] + hits[PLAIN]), int(queries[HARD] + queries[PLAIN])),
        alerts_per_true_match=total / true_positives if true_positives else None,
        pair_rates=_pair_rates(wrong, context),
        complete=not _cut_above(true + wrong, total, pairs, context.protocol),
    )


def _above(threshold: float, pairs: PairList, truth: TruthTable) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return (queries,) the true and the wrong pairs of each query at or above ``threshold``."""
    above = pairs.scores >= threshold
    true, wrong = (
        np.bincount(pairs.codes[above & kind], minlength=len(truth.kinds)) for kind in (pairs.correct, ~pairs.correct)
    )
    return true, wrong


def _cut_above(per_query: NDArray[np.int64], total: int, pairs: PairList, protocol: Protocol) -> bool:
    """Return whether a full list ends above the threshold of these counts, so that pairs above it may have been cut."""
    if protocol.per_query:
        return bool((per_query >= protocol.pairs_per_query).any())
    return total == len(pairs.scores) >= protocol.cap(len(per_query))


def _pair_rates(wrong: NDArray[np.int64], context: Context) -> PairRates | None:
    candidates = _candidates(context)
    if candidates is None:
        return None
    rates = {}
    for name, group in _groups(context.truth).items():
        pairs, false_positives = int(candidates[group].sum()), int(wrong[group].sum())
        rate = false_positives / pairs if pairs else None
        rates[name] = PairRate(false_positives=false_positives, pairs=pairs, rate=rate)
    return PairRates(**rates)


def _candidates(context: Context) -> NDArray[np.int64] | None:
    """Return (queries,) the non-matching pairs of each query that were compared; None if unknown."""
    searched = context.facts.searched
    return None if searched is None else context.truth.non_matching(searched, context.fit.unsearched)


def _groups(truth: TruthTable) -> dict[str, NDArray[np.bool_]]:
    return {
        "hard_negative": truth.kinds == HARD,
        "plain_distractor": truth.kinds == PLAIN,
        "without_match": truth.kinds != MATCHED,
        "all_queries": np.ones(len(truth.kinds), dtype=bool),
    }


def _ratio(above: NDArray[np.int64], below: NDArray[np.int64]) -> tuple[float, float] | None:
    return interval(above / below) if (below > 0).all() else None


def _transfer(everything: PairList, isc: PairList, context: Context) -> ThresholdTransfer:
    """Tune the threshold without hard negatives on one half of the queries, apply it to all of the other half."""
    truth = context.truth
    halves = half_of(truth.split.query_ids)
    thresholds, true_positives, false_positives = [], 0, 0
    for half in (0, 1):
        mine = halves[isc.codes] == half
        own = rank(isc.scores[mine], isc.correct[mine], int(truth.positives[halves == half].sum()))
        point = recall_at_precision(own, context.protocol.precision_target)
        if point is None:
            return ThresholdTransfer(
                thresholds=None, true_positives=None, false_positives=None, precision=None, recall=None
            )
        thresholds.append(point.threshold)
        true, wrong = _above(point.threshold, everything, truth)
        true_positives += int(true[halves != half].sum())
        false_positives += int(wrong[halves != half].sum())
    total = true_positives + false_positives
    return ThresholdTransfer(
        thresholds=(thresholds[0], thresholds[1]),
        true_positives=true_positives,
        false_positives=false_positives,
        precision=true_positives / total if total else None,
        recall=true_positives / int(truth.positives.sum()) if truth.positives.any() else 0.0,
    )
