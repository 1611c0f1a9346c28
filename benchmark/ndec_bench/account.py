"""The hard-negative account: what look-alikes that are no copies cost a method."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import betaincinv

from ndec_bench.metrics import Ranking, micro_ap, rank, recall_at_precision
from ndec_bench.report import FalsePositives, HardNegativeAccount, Share, ThresholdAccount, ThresholdTransfer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ndec_bench.protocol import Protocol

MATCHED, PLAIN, HARD = 0, 1, 2


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


def hard_negative_account(
    everything: PairList,
    isc: PairList,
    kinds: NDArray[np.int64],
    query_ids: Sequence[str],
    positives_per_query: NDArray[np.int64],
    protocol: Protocol,
) -> HardNegativeAccount:
    """Return the account of a split with known hard negatives.

    Parameters
    ----------
    everything, isc
        The lists of the parts ``all`` and ``isc``, each with its own cap.
    kinds
        (queries,) MATCHED, PLAIN or HARD for each query of the split.
    query_ids
        The split's queries, in the order of ``kinds``.
    positives_per_query
        (queries,) number of true pairs of each query.
    protocol
        Gives the precision target.
    """
    plain, hard = int((kinds == PLAIN).sum()), int((kinds == HARD).sum())
    positives = int(positives_per_query.sum())
    all_ranking = rank(everything.scores, everything.correct, positives)
    isc_ranking = rank(isc.scores, isc.correct, positives)
    weight = (plain + hard) / plain if plain else None
    weighted = None if weight is None else micro_ap(_weighted(isc, kinds, positives, weight))
    accounts = [
        None if point is None else _at_threshold(point.threshold, everything, kinds, positives)
        for point in (recall_at_precision(r, protocol.precision_target) for r in (isc_ranking, all_ranking))
    ]
    return HardNegativeAccount(
        queries=hard,
        plain_distractors=plain,
        weight=weight,
        micro_ap_isc_weighted=weighted,
        cost=None if weighted is None else weighted - micro_ap(all_ranking),
        difference=micro_ap(isc_ranking) - micro_ap(all_ranking),
        at_p90_isc=accounts[0],
        at_p90_all=accounts[1],
        transfer=_transfer(everything, isc, query_ids, positives_per_query, protocol),
    )


def share(hits: int, queries: int, *, level: float = 0.95) -> Share:
    """Return ``hits`` of ``queries`` as a rate with its Clopper-Pearson interval; null for no queries.

    Source: Clopper and Pearson, Biometrika 26 (1934); the bounds are quantiles of beta distributions.
    """
    if queries == 0:
        return Share(hits=0, queries=0, rate=None, interval=None)
    tail = (1.0 - level) / 2.0
    low = 0.0 if hits == 0 else float(betaincinv(hits, queries - hits + 1, tail))
    high = 1.0 if hits == queries else float(betaincinv(hits + 1, queries - hits, 1.0 - tail))
    return Share(hits=hits, queries=queries, rate=hits / queries, interval=(low, high))


def half_of(query_ids: Sequence[str]) -> NDArray[np.int64]:
    """Return (n,) 0 or 1: the lowest bit of the first byte of SHA-256 of each query id."""
    return np.array([hashlib.sha256(query.encode()).digest()[0] & 1 for query in query_ids], dtype=np.int64)


def _weighted(isc: PairList, kinds: NDArray[np.int64], positives: int, weight: float) -> Ranking:
    # Each plain distractor stands for all queries without a match, so that the ISC part has the prior of all queries.
    return rank(isc.scores, isc.correct, positives, np.where(kinds[isc.codes] == PLAIN, weight, 1.0))


def _at_threshold(threshold: float, pairs: PairList, kinds: NDArray[np.int64], positives: int) -> ThresholdAccount:
    above = pairs.scores >= threshold
    wrong = above & ~pairs.correct
    wrong_kinds = kinds[pairs.codes[wrong]]
    hit = kinds[np.unique(pairs.codes[wrong])]
    true_positives = int((above & pairs.correct).sum())
    total = int(above.sum())
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
        recall=true_positives / positives,
        hard_negatives_hit=share(int(hits[HARD]), int(queries[HARD])),
        plain_distractors_hit=share(int(hits[PLAIN]), int(queries[PLAIN])),
        without_match_hit=share(int(hits[HARD] + hits[PLAIN]), int(queries[HARD] + queries[PLAIN])),
        alerts_per_true_match=total / true_positives if true_positives else None,
    )


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
        recall=true_positives / int(positives_per_query.sum()),
    )
