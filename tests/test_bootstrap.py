"""The frozen stream, its recorded numbers, and every replicate against a slow plain walk through the list."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndec_bench.metrics import average_precision as metrics
from ndec_bench.metrics import bootstrap

QUERIES = 6


@dataclass(frozen=True)
class Case:
    """A list in ranking order, in plain Python."""

    codes: list[int]
    correct: list[bool]
    positives: list[int]

    def ranked(self) -> bootstrap.RankedList:
        correct = np.array(self.correct, dtype=bool)
        return bootstrap.RankedList(
            np.array(self.codes, dtype=np.int64), np.flatnonzero(correct), np.array(self.positives, dtype=np.int64)
        )


def keys(queries: int = QUERIES) -> np.ndarray:
    return bootstrap.query_keys([f"Q{25000 + i}" for i in range(queries)])


def replicates(case: Case, *, target: float, count: int) -> np.ndarray:
    none = np.zeros((0, len(case.positives)), dtype=np.int64)
    scores, _ = bootstrap.replicate_lists(
        {"all": case.ranked()}, none, keys(len(case.positives)), precision_target=target, count=count
    )
    return scores["all"]


def plain_weight(key: int, replicate: int) -> int:
    """SplitMix64 in whole Python numbers, then the inverse CDF of Poisson(1) by its terms 1 / (e k!)."""
    mask = (1 << 64) - 1
    z = (key + (replicate + 1) * 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    uniform = (z ^ (z >> 31)) / 2.0**64
    weight, term = 0, np.exp(-1.0)
    cumulated = term
    while uniform >= cumulated:
        weight += 1
        term /= weight
        cumulated += term
    return weight


def plain_replicate(case: Case, weights: list[int], target: float) -> tuple[float, float]:
    """Walk down the list; a pair counts as often as its query was drawn."""
    positives = sum(w * p for w, p in zip(weights, case.positives, strict=True))
    seen = found = 0
    area = recall = 0.0
    for code, true in zip(case.codes, case.correct, strict=True):
        seen += weights[code]
        if true and weights[code]:
            found += weights[code]
            area += weights[code] * found / seen
            if found / seen >= target:
                recall = found / positives
    return (area / positives if positives else 0.0), recall


def test_the_stream_is_frozen() -> None:
    # Recorded when the stream was frozen. A change here makes all stored replicates incomparable.
    four = bootstrap.query_keys(["Q25000", "Q25001", "Q25002", "Q49999"])
    drawn = [bootstrap.weights(four, replicate)[:, 0].tolist() for replicate in (0, 1, 999)]
    assert drawn == [[1, 2, 2, 1], [1, 2, 1, 1], [1, 0, 0, 1]]


def test_the_replicates_are_frozen() -> None:
    # Recorded from version 0.1.0, which drew and summed one replicate at a time.
    case = Case(
        [0, 1, 2, 3, 0, 4, 1, 2, 5, 3, 4, 5],
        [bool(c) for c in (1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1)],
        [1, 1, 1, 0, 2, 1],
    )
    micro_ap, recall = replicates(case, target=0.6, count=8)
    assert micro_ap.round(6).tolist() == [0.62328, 0.583333, 0.563257, 0.538095, 0.277778, 0.53125, 0.733333, 0.694444]
    assert recall.round(6).tolist() == [0.5, 0.2, 0.769231, 0.2, 0.0, 0.625, 0.8, 1.0]


def test_weights_are_those_of_the_definition() -> None:
    many = keys(3000)
    drawn = bootstrap.weights(many, 5, 4)
    expected = [[plain_weight(int(key), replicate) for replicate in range(5, 9)] for key in many]
    assert drawn.tolist() == expected
    assert drawn.max() >= 5


def test_weights_where_the_prefix_does_not_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    # Uniform numbers right below, at and right above every threshold of the inverse CDF.
    thresholds = [int(threshold) for threshold in bootstrap._THRESHOLDS]
    # From k = 19 on, the threshold is within 64 of 2**64; none reaches it.
    edges = np.array([t + step for t in thresholds for step in (-1, 0, 1) if t + step < 2**64], dtype=np.uint64)
    monkeypatch.setattr(bootstrap, "mix", lambda _: edges[:, None])
    expected = [sum(t <= int(edge) for t in thresholds) for edge in edges]
    assert bootstrap.weights(edges, 0)[:, 0].tolist() == expected


def test_weights_are_poisson_with_mean_one() -> None:
    weights = bootstrap.weights(bootstrap.query_keys([f"Q{i:05d}" for i in range(20_000)]), 3)
    shares = np.bincount(weights[:, 0], minlength=4)[:4] / len(weights)
    assert shares == pytest.approx([0.3679, 0.3679, 0.1839, 0.0613], abs=0.012)
    assert weights.mean() == pytest.approx(1.0, abs=0.03)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    pairs = draw(st.lists(st.tuples(st.integers(0, QUERIES - 1), st.booleans()), max_size=40))
    codes, correct = [code for code, _ in pairs], [true for _, true in pairs]
    positives = [sum(c == q and t for c, t in pairs) + draw(st.integers(0, 2)) for q in range(QUERIES)]
    return Case(codes, correct, positives)


@settings(max_examples=60)
@given(lists=st.lists(cases(), min_size=1, max_size=3), target=st.sampled_from([0.5, 0.9, 1.0]))
def test_every_replicate_equals_the_plain_walk(lists: list[Case], target: float) -> None:
    counts = np.array([[3, 0, 1, 0, 0, 7], [10**9] * QUERIES])
    scores, sums = bootstrap.replicate_lists(
        {str(i): case.ranked() for i, case in enumerate(lists)}, counts, keys(), precision_target=target, count=20
    )
    for replicate in range(20):
        weights = [plain_weight(int(key), replicate) for key in keys()]
        assert sums[replicate].tolist() == [
            sum(w * c for w, c in zip(weights, row, strict=True)) for row in counts.tolist()
        ]
        for i, case in enumerate(lists):
            expected = plain_replicate(case, weights, target)
            assert scores[str(i)][:, replicate].tolist() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("size", [1, 7, 64])
def test_the_block_size_does_not_show(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(5)
    codes, correct = generator.integers(0, 300, 5000), generator.random(5000) < 0.3
    case = Case(codes.tolist(), correct.tolist(), (np.bincount(codes[correct], minlength=300) + 1).tolist())
    usual = replicates(case, target=0.3, count=50)
    monkeypatch.setattr(bootstrap, "_BLOCK", size)
    assert replicates(case, target=0.3, count=50).tobytes() == usual.tobytes()


def test_a_longer_run_begins_with_the_shorter_one() -> None:
    case = Case([0, 1, 2, 3], [True, False, True, True], [1, 0, 2, 1, 0, 0])
    assert (replicates(case, target=0.9, count=40)[:, :23] == replicates(case, target=0.9, count=23)).all()


def test_progress_counts_replicates() -> None:
    seen: list[tuple[str, int, int]] = []
    case = Case([0], [True], [1])
    bootstrap.replicate_lists(
        {"all": case.ranked()},
        np.zeros((0, 1), dtype=np.int64),
        keys(1),
        precision_target=0.9,
        count=40,
        progress=lambda *state: seen.append(state),
    )
    assert seen[-1] == ("bootstrap", 40, 40)
    assert [done for _, done, _ in seen] == sorted({done for _, done, _ in seen})


def test_interval_takes_order_statistics() -> None:
    values = np.arange(1000, 0, -1) / 1000
    assert bootstrap.interval(values) == (0.025, 0.976)
    assert bootstrap.interval([0.3]) == (0.3, 0.3)


def test_interval_covers_the_point_and_narrows_with_queries() -> None:
    widths = []
    for queries in (50, 800):
        generator = np.random.default_rng(2)
        correct = np.zeros(queries * 2, dtype=bool)
        correct[:queries] = True
        order = np.argsort(-(generator.normal(size=queries * 2) + 1.5 * correct))
        codes = np.r_[np.arange(queries), np.arange(queries)][order]
        case = Case(codes.tolist(), correct[order].tolist(), [1] * queries)
        low, high = bootstrap.interval(replicates(case, target=0.9, count=200)[0])
        point = metrics.micro_ap(metrics.Ranking(correct[order], np.linspace(1, 0, queries * 2), queries))
        assert low < point < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2
