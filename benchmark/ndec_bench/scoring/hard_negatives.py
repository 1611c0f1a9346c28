"""The hard-negative account: what look-alikes that are no copies cost a method.

Queries come in three kinds: matched (with a true reference), plain distractors, hard negatives. With R references, P_q
true references of query q and f_q wrong pairs of q at or above a threshold, a group G of queries has::

    share of queries hit   = |{q in G: f_q > 0}| / |G|            interval by Clopper and Pearson (1934)
    pair rate              = Σ_{q in G} f_q / Σ_{q in G} (R − P_q)       interval by bootstrap over queries
    alerts per true match  = pairs at or above it / true pairs at or above it               the same

Queries are the unit of both intervals, since the pairs of one query stand or fall together. The headline threshold is
where the ISC part reaches the precision target: it was tuned without hard negatives.

Cost of the hard negatives = µAP of the ISC part with each plain distractor counted (plain + hard) / plain times, minus
µAP of all. Weighted so, the ISC part has as many queries without a match as all queries do, and what is left of the
difference is how hard they are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.metrics.average_precision import Ranking, micro_ap, rank, recall_at_precision
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

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ndec_bench.protocol import Protocol

MATCHED, PLAIN, HARD = 0, 1, 2
_FIELDS = ("at_p90_isc", "at_p90_all", "at_own_threshold")


@dataclass(frozen=True)
class PairList:
    """The list of one part as arrays.

    Attributes
    ----------
    codes
        (n,) int64 position of each pair's query among the split's queries.
    scores
        (n,) float64.
    correct
        (n,) bool.
    """

    codes: NDArray[np.int64]
    scores: NDArray[np.float64]
    correct: NDArray[np.bool_]


@dataclass(frozen=True)
class Judged:
    """What the account looks at.

    Attributes
    ----------
    everything, isc
        The lists of the parts ``all`` and ``isc``, each with its own cap.
    kinds
        (queries,) MATCHED, PLAIN or HARD for each query of the split.
    query_ids
        The split's queries, in the order of ``kinds``.
    positives
        (queries,) number of true pairs of each query.
    references
        Number of references searched, all true ones among them; None if unknown.
    """

    everything: PairList
    isc: PairList
    kinds: NDArray[np.int64]
    query_ids: Sequence[str]
    positives: NDArray[np.int64]
    references: int | None


def hard_negative_account(
    judged: Judged, protocol: Protocol, *, own_threshold: float | None = None
) -> HardNegativeAccount:
    """Return the account of a split with known hard negatives, without bootstrap intervals (see `with_intervals`).

    ``protocol`` gives the precision target; ``own_threshold`` is the authors' own, if they declared one.
    """
    kinds = judged.kinds
    plain, hard = int((kinds == PLAIN).sum()), int((kinds == HARD).sum())
    positives = int(judged.positives.sum())
    everything, isc = judged.everything, judged.isc
    all_ranking = rank(everything.scores, everything.correct, positives)
    isc_ranking = rank(isc.scores, isc.correct, positives)
    weight = (plain + hard) / plain if plain else None
    weighted = None if weight is None else micro_ap(_weighted(isc, kinds, positives, weight))
    points = [recall_at_precision(ranking, protocol.precision_target) for ranking in (isc_ranking, all_ranking)]
    thresholds = [None if point is None else point.threshold for point in points] + [own_threshold]
    accounts = [None if threshold is None else _at_threshold(threshold, judged, protocol) for threshold in thresholds]
    return HardNegativeAccount(
        queries=hard,
        plain_distractors=plain,
        weight=weight,
        micro_ap_isc_weighted=weighted,
        cost=None if weighted is None else weighted - micro_ap(all_ranking),
        difference=micro_ap(isc_ranking) - micro_ap(all_ranking),
        at_p90_isc=accounts[0],
        at_p90_all=accounts[1],
        at_own_threshold=accounts[2],
        transfer=_transfer(everything, isc, judged.query_ids, judged.positives, protocol),
    )


def rate_counts(account: HardNegativeAccount, judged: Judged) -> NDArray[np.int64]:
    """Return (k, queries) int64: the numbers per query whose weighted sums `with_intervals` needs.

    First the non-matching pairs of each query, by group; then, for each threshold of ``account``, wrong pairs above it
    by group, all pairs above it, true pairs above it.
    """
    groups = _groups(judged.kinds)
    candidates = np.zeros_like(judged.positives) if judged.references is None else judged.references - judged.positives
    counts = [candidates * group for group in groups.values()]
    pairs, size = judged.everything, len(judged.kinds)
    for at in _thresholds(account):
        above = pairs.scores >= at.threshold
        wrong = np.bincount(pairs.codes[above & ~pairs.correct], minlength=size)
        counts += [wrong * group for group in groups.values()]
        counts += [np.bincount(pairs.codes[above], minlength=size)]
        counts += [np.bincount(pairs.codes[above & pairs.correct], minlength=size)]
    return np.array(counts, dtype=np.int64)


def with_intervals(account: HardNegativeAccount, sums: NDArray[np.int64]) -> HardNegativeAccount:
    """Return ``account`` with intervals of pair rates and alerts from (replicates, k) sums of `rate_counts`.

    Replicate b of a pair rate is Σ_q w_q(b) f_q / Σ_q w_q(b) (R − P_q), with the weights of
    `ndec_bench.metrics.bootstrap`: a
    ratio of sums over clusters, resampled by cluster. The interval is null where a replicate would divide by zero.
    """
    names = list(PairRates.model_fields)
    pairs = sums[:, : len(names)]
    changed = {}
    column = len(names)
    for field in _FIELDS:
        at = getattr(account, field)
        if at is None:
            continue
        wrong = sums[:, column : column + len(names)]
        above, true = sums[:, column + len(names)], sums[:, column + len(names) + 1]
        column += len(names) + 2
        update: dict[str, object] = {"alerts_per_true_match_interval": _ratio(above, true)}
        if at.pair_rates is not None:
            rates = {
                name: getattr(at.pair_rates, name).model_copy(update={"interval": _ratio(wrong[:, i], pairs[:, i])})
                for i, name in enumerate(names)
            }
            update["pair_rates"] = PairRates(**rates)
        changed[field] = at.model_copy(update=update)
    return account.model_copy(update=changed)


def share(hits: int, queries: int, *, level: float = 0.95) -> Share:
    """Return ``hits`` of ``queries`` as a rate with its Clopper-Pearson interval; null for no queries.

    Source: Clopper and Pearson, Biometrika 26 (1934); the bounds are quantiles of beta distributions.
    """
    if queries == 0:
        return Share(hits=0, queries=0, rate=None, interval=None)
    betaincinv = _betaincinv()
    tail = (1.0 - level) / 2.0
    low = 0.0 if hits == 0 else float(betaincinv(hits, queries - hits + 1, tail))
    high = 1.0 if hits == queries else float(betaincinv(hits + 1, queries - hits, 1.0 - tail))
    return Share(hits=hits, queries=queries, rate=hits / queries, interval=(low, high))


@cache
def _betaincinv() -> Callable[[float, float, float], float]:
    from scipy.special import betaincinv

    return betaincinv  # type: ignore[no-any-return]


def load() -> None:
    """Load what the account needs, which takes longer than the account: something to do while a search runs."""
    _betaincinv()


def half_of(query_ids: Sequence[str]) -> NDArray[np.int64]:
    """Return (n,) 0 or 1: the lowest bit of the first byte of SHA-256 of each query id."""
    return np.array([hashlib.sha256(query.encode()).digest()[0] & 1 for query in query_ids], dtype=np.int64)


def _weighted(isc: PairList, kinds: NDArray[np.int64], positives: int, weight: float) -> Ranking:
    # Each plain distractor stands for all queries without a match, so that the ISC part has the prior of all queries.
    return rank(isc.scores, isc.correct, positives, np.where(kinds[isc.codes] == PLAIN, weight, 1.0))


def _at_threshold(threshold: float, judged: Judged, protocol: Protocol) -> ThresholdAccount:
    pairs, kinds = judged.everything, judged.kinds
    above = pairs.scores >= threshold
    wrong = above & ~pairs.correct
    wrong_kinds = kinds[pairs.codes[wrong]]
    hit = kinds[np.unique(pairs.codes[wrong])]
    true_positives = int((above & pairs.correct).sum())
    total = int(above.sum())
    positives = int(judged.positives.sum())
    hits, queries = np.bincount(hit, minlength=3), np.bincount(kinds, minlength=3)
    return ThresholdAccount(
        threshold=threshold,
        true_positives=true_positives,
        false_positives=FalsePositives(
            hard_negative=int((wrong_kinds == HARD).sum()),
            plain_distractor=int((wrong_kinds == PLAIN).sum()),
            wrong_reference=int((wrong_kinds == MATCHED).sum()),
        ),
        precision=true_positives / total if total else None,
        recall=true_positives / positives if positives else 0.0,
        hard_negatives_hit=share(int(hits[HARD]), int(queries[HARD])),
        plain_distractors_hit=share(int(hits[PLAIN]), int(queries[PLAIN])),
        without_match_hit=share(int(hits[HARD] + hits[PLAIN]), int(queries[HARD] + queries[PLAIN])),
        alerts_per_true_match=total / true_positives if true_positives else None,
        pair_rates=_pair_rates(np.bincount(pairs.codes[wrong], minlength=len(kinds)), judged),
        complete=not _cut_above(threshold, pairs, len(kinds), protocol),
    )


def _cut_above(threshold: float, pairs: PairList, queries: int, protocol: Protocol) -> bool:
    """Return whether a full list ends above ``threshold``, so that pairs above it may have been cut."""
    above = pairs.scores >= threshold
    if protocol.per_query:
        return bool((np.bincount(pairs.codes[above], minlength=1) >= protocol.pairs_per_query).any())
    return len(above) >= protocol.cap(queries) and bool(above.all())


def _pair_rates(wrong: NDArray[np.int64], judged: Judged) -> PairRates | None:
    if judged.references is None:
        return None
    candidates = judged.references - judged.positives
    rates = {}
    for name, group in _groups(judged.kinds).items():
        pairs, false_positives = int(candidates[group].sum()), int(wrong[group].sum())
        rate = false_positives / pairs if pairs else None
        rates[name] = PairRate(false_positives=false_positives, pairs=pairs, rate=rate)
    return PairRates(**rates)


def _groups(kinds: NDArray[np.int64]) -> dict[str, NDArray[np.bool_]]:
    return {
        "hard_negative": kinds == HARD,
        "plain_distractor": kinds == PLAIN,
        "without_match": kinds != MATCHED,
        "all_queries": np.ones(len(kinds), dtype=bool),
    }


def _thresholds(account: HardNegativeAccount) -> list[ThresholdAccount]:
    return [at for at in (getattr(account, field) for field in _FIELDS) if at is not None]


def _ratio(above: NDArray[np.int64], below: NDArray[np.int64]) -> tuple[float, float] | None:
    return interval(above / below) if (below > 0).all() else None


def _transfer(
    everything: PairList,
    isc: PairList,
    query_ids: Sequence[str],
    positives_per_query: NDArray[np.int64],
    protocol: Protocol,
) -> ThresholdTransfer:
    """Tune the threshold without hard negatives on one half of the queries, apply it to all of the other half."""
    halves = half_of(query_ids)
    thresholds, true_positives, false_positives = [], 0, 0
    for half in (0, 1):
        mine = halves[isc.codes] == half
        own = rank(isc.scores[mine], isc.correct[mine], int(positives_per_query[halves == half].sum()))
        point = recall_at_precision(own, protocol.precision_target)
        if point is None:
            return ThresholdTransfer(
                thresholds=None, true_positives=None, false_positives=None, precision=None, recall=None
            )
        thresholds.append(point.threshold)
        above = (halves[everything.codes] != half) & (everything.scores >= point.threshold)
        true_positives += int((above & everything.correct).sum())
        false_positives += int((above & ~everything.correct).sum())
    total = true_positives + false_positives
    return ThresholdTransfer(
        thresholds=(thresholds[0], thresholds[1]),
        true_positives=true_positives,
        false_positives=false_positives,
        precision=true_positives / total if total else None,
        recall=true_positives / int(positives_per_query.sum()) if positives_per_query.any() else 0.0,
    )
