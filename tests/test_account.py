"""The hard-negative account against a slow plain count, its intervals, and cases for pencil and paper."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from ndec_bench.data.ground_truth import GroundTruth
from ndec_bench.data.split import Split
from ndec_bench.metrics import bootstrap
from ndec_bench.protocol import NDEC_1, SSCD, Protocol
from ndec_bench.results.record import HardNegativeAccount, PairRates, ThresholdAccount
from ndec_bench.scoring.context import Context, Facts, Options
from ndec_bench.scoring.fit import Fit
from ndec_bench.scoring.hard_negatives import half_of, share
from ndec_bench.scoring.parts import score_parts
from ndec_bench.scoring.truth import PairList, TruthTable

GROUPS = {
    "hard_negative": ("hard",),
    "plain_distractor": ("plain",),
    "without_match": ("hard", "plain"),
    "all_queries": ("hard", "plain", "matched"),
}
Pair = tuple[str, str, float]


@dataclass(frozen=True)
class Case:
    """A split of queries Q0.. and references R0.., and the list of all queries."""

    kinds: list[str]
    references: int
    truth: list[tuple[str, str]]
    pairs: list[Pair]

    @property
    def queries(self) -> list[str]:
        return [f"Q{i}" for i in range(len(self.kinds))]

    @property
    def kind(self) -> dict[str, str]:
        return dict(zip(self.queries, self.kinds, strict=True))

    def non_matching(self, query: str) -> int:
        return self.references - sum(q == query for q, _ in self.truth)

    @property
    def isc(self) -> list[Pair]:
        return [pair for pair in self.pairs if self.kind[pair[0]] != "hard"]

    def split(self) -> Split:
        hard = frozenset(query for query, kind in self.kind.items() if kind == "hard")
        return Split("case", GroundTruth(tuple(sorted(self.queries)), tuple(sorted(self.truth))), hard)


def lists_of(case: Case, truth: TruthTable) -> dict[str, PairList]:
    return {name: pair_list(truth, pairs) for name, pairs in (("all", case.pairs), ("isc", case.isc))}


def pair_list(truth: TruthTable, pairs: list[Pair]) -> PairList:
    return truth.pairs(
        truth.query_codes([query for query, _, _ in pairs]),
        truth.reference_codes([reference for _, reference, _ in pairs]),
        np.array([score for _, _, score in pairs], dtype=np.float64),
    )


def account_of(
    case: Case, *, own: float | None = None, replicates: int = 0, protocol: Protocol = NDEC_1
) -> HardNegativeAccount:
    truth = TruthTable(case.split())
    facts = Facts("descriptor", "l2", references=case.references, searched=case.references, threshold=own)
    fit = Fit(np.ones(len(case.queries), dtype=bool), 0, 1.0, [])
    context = Context(truth, fit, facts, Options(protocol=protocol, replicates=replicates))
    account = score_parts(lists_of(case, truth), context).account
    assert account is not None
    return account


def plain_ranking(case: Case, pairs: list[Pair]) -> list[tuple[Pair, bool]]:
    true = set(case.truth)
    marked = [(pair, (pair[0], pair[1]) in true) for pair in pairs]
    return sorted(marked, key=lambda entry: (-entry[0][2], entry[1]))


def plain_threshold(case: Case, pairs: list[Pair]) -> float | None:
    found, threshold = 0, None
    for seen, (pair, true) in enumerate(plain_ranking(case, pairs), start=1):
        found += true
        if true and found / seen >= 0.9:
            threshold = pair[2]
    return threshold


def plain_micro_ap(case: Case, pairs: list[Pair], weight: float = 1.0) -> float:
    seen = found = area = 0.0
    for (query, _, _), true in plain_ranking(case, pairs):
        seen += weight if case.kind[query] == "plain" else 1.0
        found += true
        area += found / seen if true else 0.0
    return area / len(case.truth)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    kinds = draw(st.lists(st.sampled_from(["matched", "plain", "hard"]), min_size=2, max_size=12))
    kinds[0] = "matched"
    references = draw(st.integers(2, 6))
    names = [f"R{i}" for i in range(references)]
    truth = [
        (f"Q{i}", reference)
        for i, kind in enumerate(kinds)
        if kind == "matched"
        for reference in draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True))
    ]
    ids = draw(st.lists(st.tuples(st.integers(0, len(kinds) - 1), st.sampled_from(names)), max_size=40, unique=True))
    true = set(truth)
    pairs = []
    for i, reference in ids:
        lift = 2 if (f"Q{i}", reference) in true else 0
        pairs.append((f"Q{i}", reference, float(draw(st.integers(0, 3)) + lift)))
    return Case(kinds, references, truth, pairs)


@settings(max_examples=120)
@given(case=cases(), own=st.sampled_from([None, -1.0, 1.5, 3.0, 9.0]))
def test_the_account_equals_a_plain_count(case: Case, own: float | None) -> None:
    account = account_of(case, own=own)
    plain, hard = case.kinds.count("plain"), case.kinds.count("hard")
    assert (account.queries, account.plain_distractors) == (hard, plain)
    everything = plain_micro_ap(case, case.pairs)
    assert account.difference == pytest.approx(plain_micro_ap(case, case.isc) - everything, abs=1e-12)
    if plain:
        weighted = plain_micro_ap(case, case.isc, (plain + hard) / plain)
        assert account.micro_ap_isc_weighted == pytest.approx(weighted, abs=1e-12)
        assert account.cost == pytest.approx(weighted - everything, abs=1e-12)
    else:
        assert (account.weight, account.micro_ap_isc_weighted, account.cost) == (None, None, None)
    for at, threshold in (
        (account.at_p90_isc, plain_threshold(case, case.isc)),
        (account.at_p90_all, plain_threshold(case, case.pairs)),
        (account.at_own_threshold, own),
    ):
        assert (None if at is None else at.threshold) == threshold
        if at is not None:
            check_counts(case, at)
    check_transfer(case, account)


def check_counts(case: Case, at: ThresholdAccount) -> None:
    true = set(case.truth)
    above = [pair for pair in case.pairs if pair[2] >= at.threshold]
    wrong = [query for query, reference, _ in above if (query, reference) not in true]
    right = len(above) - len(wrong)
    assert at.true_positives == right
    assert at.recall == right / len(case.truth)
    assert at.precision == (right / len(above) if above else None)
    assert at.alerts_per_true_match == (len(above) / right if right else None)
    by_kind = {kind: sum(case.kind[query] == kind for query in wrong) for kind in ("hard", "plain", "matched")}
    counted = at.false_positives
    assert (counted.hard_negative, counted.plain_distractor, counted.wrong_reference) == tuple(by_kind.values())
    for shown, kinds in (
        (at.hard_negatives_hit, ("hard",)),
        (at.plain_distractors_hit, ("plain",)),
        (at.without_match_hit, ("hard", "plain")),
    ):
        assert shown.hits == len({query for query in wrong if case.kind[query] in kinds})
        assert shown.queries == sum(kind in kinds for kind in case.kinds)
    assert at.pair_rates is not None
    for name, kinds in GROUPS.items():
        rate = getattr(at.pair_rates, name)
        pairs = sum(case.non_matching(query) for query in case.queries if case.kind[query] in kinds)
        assert (rate.false_positives, rate.pairs) == (sum(case.kind[query] in kinds for query in wrong), pairs)
        assert rate.rate == (rate.false_positives / pairs if pairs else None)


def check_transfer(case: Case, account: HardNegativeAccount) -> None:
    half = {query: hashlib.sha256(query.encode()).digest()[0] % 2 for query in case.queries}
    thresholds = [plain_threshold(case, [pair for pair in case.isc if half[pair[0]] == side]) for side in (0, 1)]
    shown = account.transfer
    if None in thresholds:
        assert (shown.thresholds, shown.precision, shown.recall) == (None, None, None)
        return
    true = set(case.truth)
    # Each pair meets the threshold that was tuned on the half its query is not in.
    passed = [(q, r) in true for q, r, score in case.pairs if score >= (thresholds[1 - half[q]] or 0.0)]
    assert shown.thresholds == tuple(thresholds)
    assert (shown.true_positives, shown.false_positives) == (sum(passed), len(passed) - sum(passed))
    assert shown.recall == sum(passed) / len(case.truth)
    assert shown.precision == (sum(passed) / len(passed) if passed else None)


@settings(max_examples=40)
@given(case=cases())
def test_intervals_equal_a_plain_bootstrap(case: Case) -> None:
    at = account_of(case, own=2.0, replicates=30).at_own_threshold
    assert at is not None
    assert at.pair_rates is not None
    keys = bootstrap.query_keys(case.queries)
    # The split sorts its ids, so that "Q10" stands before "Q2" there: a weight belongs to an id, not to a place.
    draws = [dict(zip(case.queries, bootstrap.weights(keys, b)[:, 0].tolist(), strict=True)) for b in range(30)]
    true = set(case.truth)
    above = [(query, (query, reference) in true) for query, reference, score in case.pairs if score >= 2.0]
    for name, kinds in GROUPS.items():
        members = [query for query in case.queries if case.kind[query] in kinds]
        values = [
            ratio(
                sum(w[query] for query, right in above if not right and query in members),
                sum(w[query] * case.non_matching(query) for query in members),
            )
            for w in draws
        ]
        assert getattr(at.pair_rates, name).interval == percentile(values)
    alerts = [
        ratio(sum(w[query] for query, _ in above), sum(w[query] for query, right in above if right)) for w in draws
    ]
    assert at.alerts_per_true_match_interval == percentile(alerts)


def ratio(above: int, below: int) -> float:
    return above / below if below else inf


def percentile(values: list[float]) -> tuple[float, float] | None:
    """2.5 % of 30 replicates is one at each end, rounded; none where a replicate divides by zero."""
    return None if inf in values else (min(values), max(values))


# Ten copies found first, then one look-alike and one more copy; two plain distractors, one of them far below.
PENCIL = Case(
    ["matched"] * 11 + ["plain"] * 2 + ["hard"] * 3,
    100,
    [(f"Q{i}", f"R{i}") for i in range(11)],
    [(f"Q{i}", f"R{i}", 50.0 - i) for i in range(10)]
    + [("Q13", "R90", 30.0), ("Q13", "R91", 29.0), ("Q10", "R10", 28.0), ("Q11", "R92", 20.0), ("Q0", "R93", 19.0)],
)


def test_rates_for_pencil_and_paper() -> None:
    account = account_of(PENCIL)
    at = account.at_p90_isc
    assert at is not None
    # Without the look-alike, all eleven copies come first: the threshold is 28, and two pairs of Q13 pass it.
    assert (at.threshold, at.true_positives, at.recall) == (28.0, 11, 1.0)
    assert (at.precision, at.alerts_per_true_match) == (11 / 13, 13 / 11)
    assert (at.hard_negatives_hit.hits, at.hard_negatives_hit.rate) == (1, 1 / 3)
    rates = at.pair_rates
    assert rates is not None
    assert (rates.hard_negative.false_positives, rates.hard_negative.pairs) == (2, 300)
    assert (rates.plain_distractor.rate, rates.plain_distractor.pairs) == (0.0, 200)
    assert rates.without_match.rate == 2 / 500
    assert rates.all_queries.rate == 2 / (500 + 11 * 99)
    # With it, precision at the eleventh copy is 11/13: the list reaches 0.9 only before it.
    assert account.at_p90_all is not None
    assert account.at_p90_all.threshold == 41.0
    assert rates.all_queries.interval is None


def test_a_group_without_queries_has_no_rate() -> None:
    case = Case(["matched", "hard"], 3, [("Q0", "R0")], [("Q0", "R0", 1.0), ("Q1", "R0", 0.5)])
    at = account_of(case, replicates=5).at_p90_isc
    assert at is not None
    assert at.pair_rates is not None
    none = at.pair_rates.plain_distractor
    assert (none.pairs, none.rate, none.interval) == (0, None, None)
    assert (at.plain_distractors_hit.rate, at.plain_distractors_hit.interval) == (None, None)


def test_intervals_hold_the_rates_and_come_with_the_bootstrap_alone() -> None:
    generator = np.random.default_rng(4)
    kinds = ["matched"] * 100 + ["plain"] * 100 + ["hard"] * 100
    truth = [(f"Q{i}", f"R{i}") for i in range(100)]
    pairs = [(f"Q{i}", f"R{i % 100}", float(generator.normal() + (3, 0, 1)[i // 100])) for i in range(300)]
    case = Case(kinds, 100, truth, pairs)
    with_bootstrap, without = account_of(case, own=1.0, replicates=400), account_of(case, own=1.0)
    at, bare = with_bootstrap.at_own_threshold, without.at_own_threshold
    assert at is not None
    assert bare is not None
    assert at.pair_rates is not None
    for name in PairRates.model_fields:
        rate = getattr(at.pair_rates, name)
        assert rate.interval[0] < rate.rate < rate.interval[1]
    assert at.alerts_per_true_match is not None
    assert at.alerts_per_true_match_interval is not None
    assert at.alerts_per_true_match_interval[0] < at.alerts_per_true_match < at.alerts_per_true_match_interval[1]
    assert bare.alerts_per_true_match_interval is None
    stripped = at.model_copy(update={"alerts_per_true_match_interval": None, "pair_rates": bare.pair_rates})
    assert stripped == bare


def test_a_threshold_below_the_end_of_a_full_list_is_marked() -> None:
    # Two queries, a cap of twenty: twenty pairs fill the list, nineteen do not.
    full = [("Q0", f"R{i:02d}", float(-i)) for i in range(20)]
    for pairs, protocol, own, complete in (
        (full, NDEC_1, -19.0, False),
        (full, NDEC_1, -18.5, True),
        (full[:19], NDEC_1, -30.0, True),
        # Ten pairs per query: the tenth of Q0 stands at -9.
        (full[:10], SSCD, -9.0, False),
        (full[:10], SSCD, -8.5, True),
    ):
        at = account_of(
            Case(["matched", "hard"], 50, [("Q0", "R00")], pairs), own=own, protocol=protocol
        ).at_own_threshold
        assert at is not None
        assert at.complete is complete


@pytest.mark.parametrize(("hits", "queries"), [(0, 7), (3, 7), (7, 7), (1, 24_252), (1_951, 24_252)])
def test_clopper_pearson_bounds_are_where_the_tails_hold_a_fortieth(hits: int, queries: int) -> None:
    shown = share(hits, queries)
    assert shown.rate == hits / queries
    assert shown.interval is not None
    low, high = shown.interval
    if hits:
        assert binom.sf(hits - 1, queries, low) == pytest.approx(0.025, rel=1e-6)
    else:
        assert low == 0.0
    if hits < queries:
        assert binom.cdf(hits, queries, high) == pytest.approx(0.025, rel=1e-6)
    else:
        assert high == 1.0


def test_the_halves_are_those_of_the_hash() -> None:
    # First bytes by sha256sum: b9, d2, 80, df.
    assert half_of(["Q25000", "Q25001", "Q25002", "Q25003"]).tolist() == [1, 0, 0, 1]
