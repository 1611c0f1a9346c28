"""µAP and its kin against numbers worked out by hand, a plain second implementation, and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from ndec_bench.metrics import average_precision as metrics


def ranking(scores: list[float], correct: list[int], positives: int) -> metrics.Ranking:
    return metrics.rank(np.array(scores, dtype=np.float64), np.array(correct, dtype=bool), positives)


def plain_micro_ap(scores: list[float], correct: list[int], positives: int) -> float:
    """The definition, step by step: sort, walk, add precision times the step in recall."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], correct[i]))
    total, found, last = 0.0, 0, 0.0
    for seen, i in enumerate(order, start=1):
        found += correct[i]
        recall = found / positives
        total += (recall - last) * found / seen
        last = recall
    return total


# Each row: scores, truth, positives, µAP by hand, recall@P90 by hand.
HAND = [
    # isc2021's definition: the true pair comes second, precision there 1/2.
    ([0.9, 0.8], [0, 1], 1, 1 / 2, None),
    # One of two positives predicted, at the top: 1/2 · 1.
    ([0.9], [1], 2, 1 / 2, 1 / 2),
    # A tie: the wrong pair counts first.
    ([0.9, 0.9], [1, 0], 1, 1 / 2, None),
    # Two hits and one miss at one score: misses first, (1/2 + 2/3) / 2 = 7/12.
    ([0.5, 0.5, 0.5], [1, 1, 0], 2, 7 / 12, None),
    # Hits at ranks 1 and 3 of 2 positives: (1 + 2/3) / 2.
    ([3.0, 2.0, 1.0], [1, 0, 1], 2, 5 / 6, 1 / 2),
    # The organisers' script (DrivenData), worked by hand: AP 0.4833333, R@P90 0.2.
    ([0.9, 0.8, 0.8, 0.7, 0.6], [1, 1, 0, 1, 0], 5, (1 + 2 / 3 + 3 / 4) / 5, 1 / 5),
    # The same script: two ties, miss first in both; AP (1/2 + 2/4) / 2, precision 0.9 never reached.
    ([1.0, 1.0, 0.5, 0.5], [1, 0, 1, 0], 2, 1 / 2, None),
    ([1.0], [0], 3, 0.0, None),
    ([], [], 3, 0.0, None),
]


@pytest.mark.parametrize(("scores", "correct", "positives", "micro_ap", "recall"), HAND)
def test_hand_made_numbers(
    scores: list[float], correct: list[int], positives: int, micro_ap: float, recall: float | None
) -> None:
    ranked = ranking(scores, correct, positives)
    assert metrics.micro_ap(ranked) == pytest.approx(micro_ap, abs=1e-15)
    point = metrics.recall_at_precision(ranked, 0.9)
    assert (None if point is None else point.recall) == recall


def test_no_true_pair_scores_zero() -> None:
    ranked = ranking([1.0, 0.5], [0, 0], 0)
    assert metrics.micro_ap(ranked) == 0.0
    assert metrics.recall_at_precision(ranked, 0.9) is None
    assert metrics.precision_at_recall(ranked, 0.5) is None


def test_recall_at_precision_recovers_after_a_dip() -> None:
    # Precision 1, 1/2, 2/3, 3/4, ..., 9/10 at the tenth pair: the last position that reaches it counts.
    scores = list(range(12, 0, -1))
    correct = [1, 0] + [1] * 9 + [0]
    point = metrics.recall_at_precision(ranking([float(s) for s in scores], correct, 20), 0.9)
    assert point is not None
    assert (point.recall, point.precision, point.threshold) == (10 / 20, 10 / 11, 2.0)


def test_precision_at_recall_takes_the_best_position_from_there_on() -> None:
    ranked = ranking([4.0, 3.0, 2.0, 1.0], [1, 0, 0, 1], 2)
    assert metrics.precision_at_recall(ranked, 0.5) == 1.0
    assert metrics.precision_at_recall(ranked, 0.7) == 0.5
    assert metrics.precision_at_recall(ranking([1.0], [1], 2), 0.7) is None


def test_ranks_count_ties_against_the_true_pair() -> None:
    # Query 0: true pair at 0.9 tied with one wrong pair: rank 1. Query 1: true pair alone on top: rank 0.
    # Query 2: third of three.
    codes = np.array([0, 0, 1, 1, 2, 2, 2])
    scores = np.array([0.9, 0.9, 0.7, 0.2, 0.5, 0.4, 0.3])
    correct = np.array([True, False, True, False, False, False, True])
    ranks = metrics.true_ranks(codes, scores, correct)
    assert ranks.tolist() == [1, 0, 2]
    assert metrics.recall_at_rank(ranks, 4, 1) == 1 / 4
    assert metrics.recall_at_rank(ranks, 4, 10) == 3 / 4
    assert metrics.recall_at_rank(metrics.true_ranks(codes[:0], scores[:0], correct[:0]), 4, 1) == 0.0


def plain_curve(scores: list[float], correct: list[int], positives: int) -> list[tuple[float, float, float]]:
    """(precision, recall, score) after each pair, misses first at equal score."""
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], correct[i]))
    found, curve = 0, []
    for seen, i in enumerate(order, start=1):
        found += correct[i]
        curve.append((found / seen, found / positives, scores[i]))
    return curve


PAIRS = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=40)


@given(pairs=PAIRS, extra=st.integers(0, 5), seed=st.integers(0, 2**32 - 1))
def test_agrees_with_the_plain_definition_in_any_order(pairs: list[tuple[int, bool]], extra: int, seed: int) -> None:
    scores, correct = [float(s) for s, _ in pairs], [int(c) for _, c in pairs]
    positives = sum(correct) + extra
    if positives == 0:
        return
    expected = plain_micro_ap(scores, correct, positives)
    order = np.random.default_rng(seed).permutation(len(scores))
    shuffled = ranking([scores[i] for i in order], [correct[i] for i in order], positives)
    assert metrics.micro_ap(shuffled) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=50)
@given(
    scores=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=60, unique=True),
    seed=st.integers(0, 2**32 - 1),
    missed=st.integers(0, 3),
)
def test_agrees_with_scikit_learn_without_ties(scores: list[float], seed: int, missed: int) -> None:
    correct = np.random.default_rng(seed).integers(0, 2, len(scores))
    if not correct.any():
        correct[0] = 1
    positives = int(correct.sum()) + missed
    # scikit-learn knows found pairs only, so its recall is rescaled to all positives.
    expected = average_precision_score(correct, scores) * correct.sum() / positives
    assert metrics.micro_ap(ranking(scores, correct.tolist(), positives)) == pytest.approx(expected, abs=1e-12)


def test_a_threshold_of_zero_has_no_sign() -> None:
    point = metrics.recall_at_precision(metrics.rank(np.array([-0.0, -1.0]), np.array([True, False]), 1), 0.9)
    assert point is not None
    assert point.threshold.hex() == "0x0.0p+0"


def test_thinning_keeps_the_area_and_the_ends() -> None:
    generator = np.random.default_rng(1)
    correct = generator.random(50_000) < np.linspace(0.9, 0.05, 50_000)
    ranked = metrics.rank(np.linspace(1, 0, 50_000), correct, int(correct.sum()) + 100)
    kept = metrics.thin_curve(ranked)
    peaks = np.flatnonzero(correct)
    assert len(kept) < 2_000
    assert (kept[0], kept[-1]) == (peaks[0], peaks[-1])
    full = np.trapezoid(ranked.precision[peaks], ranked.recall[peaks])
    assert abs(np.trapezoid(ranked.precision[kept], ranked.recall[kept]) - full) <= 1e-4


@given(pairs=PAIRS, extra=st.integers(0, 5), target=st.sampled_from([0.25, 0.5, 0.75, 0.9, 1.0]))
def test_operating_points_agree_with_the_plain_definition(
    pairs: list[tuple[int, bool]], extra: int, target: float
) -> None:
    scores, correct = [float(s) for s, _ in pairs], [int(c) for _, c in pairs]
    positives = sum(correct) + extra
    if positives == 0:
        return
    curve = plain_curve(scores, correct, positives)
    ranked = ranking(scores, correct, positives)
    highest = max((recall for precision, recall, _ in curve if precision >= target), default=0.0)
    point = metrics.recall_at_precision(ranked, target)
    if highest == 0.0:
        assert point is None
    else:
        # isc2021: the threshold is the score of the first position that reaches this recall.
        threshold = next(score for _, recall, score in curve if recall == highest)
        assert point is not None
        assert (point.recall, point.threshold) == (highest, threshold)
        assert point.precision >= target
    best = max((precision for precision, recall, _ in curve if recall >= target), default=None)
    assert metrics.precision_at_recall(ranked, target) == best


@given(
    pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.booleans()), max_size=40),
    shift=st.lists(st.integers(-9, 9), min_size=5, max_size=5),
)
def test_ranks_agree_with_the_plain_definition(pairs: list[tuple[int, int, bool]], shift: list[int]) -> None:
    codes = np.array([code for code, _, _ in pairs], dtype=np.int64)
    scores = np.array([score for _, score, _ in pairs], dtype=np.float64)
    correct = np.array([true for _, _, true in pairs], dtype=bool)
    expected = [
        sum(other == code and at_least >= score for other, at_least, _ in pairs) - 1
        for code, score, true in pairs
        if true
    ]
    assert metrics.true_ranks(codes, scores, correct).tolist() == expected
    # Whatever is subtracted from all scores of a query, the order within the query stays.
    moved = scores - np.array(shift, dtype=np.float64)[codes]
    assert metrics.true_ranks(codes, moved, correct).tolist() == expected


@given(pairs=PAIRS, extra=st.integers(0, 5), wrong=st.lists(st.integers(-1, 7), min_size=1, max_size=10))
def test_more_wrong_pairs_never_help(pairs: list[tuple[int, bool]], extra: int, wrong: list[int]) -> None:
    scores, correct = [float(s) for s, _ in pairs], [int(c) for _, c in pairs]
    positives = sum(correct) + extra
    before = ranking(scores, correct, positives)
    after = ranking(scores + [float(w) for w in wrong], correct + [0] * len(wrong), positives)
    assert metrics.micro_ap(after) <= metrics.micro_ap(before)
    points = [metrics.recall_at_precision(ranked, 0.5) for ranked in (before, after)]
    assert (points[1].recall if points[1] else 0.0) <= (points[0].recall if points[0] else 0.0)


@given(pairs=PAIRS, extra=st.integers(0, 5), keep=st.integers(0, 40))
def test_a_shorter_list_never_scores_higher(pairs: list[tuple[int, bool]], extra: int, keep: int) -> None:
    scores, correct = [float(s) for s, _ in pairs], [int(c) for _, c in pairs]
    positives = sum(correct) + extra
    whole = ranking(scores, correct, positives)
    head = metrics.Ranking(whole.correct[:keep], whole.scores[:keep], positives)
    assert metrics.micro_ap(head) <= metrics.micro_ap(whole)


@given(pairs=PAIRS, weight=st.integers(1, 4))
def test_a_whole_weight_repeats_the_wrong_pair(pairs: list[tuple[int, bool]], weight: int) -> None:
    scores, correct = [float(s) for s, _ in pairs], [int(c) for _, c in pairs]
    times = [1 if c else weight for c in correct]
    weighted = metrics.rank(
        np.array(scores), np.array(correct, dtype=bool), sum(correct), np.array(times, dtype=np.float64)
    )
    repeated = ranking(
        [s for s, n in zip(scores, times, strict=True) for _ in range(n)],
        [c for c, n in zip(correct, times, strict=True) for _ in range(n)],
        sum(correct),
    )
    assert metrics.micro_ap(weighted) == pytest.approx(metrics.micro_ap(repeated), abs=1e-12)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 3000), rate=st.floats(0.01, 0.99))
def test_thinning_is_within_its_error(seed: int, size: int, rate: float) -> None:
    correct = np.random.default_rng(seed).random(size) < rate
    ranked = metrics.Ranking(correct, -np.arange(size, dtype=np.float64), int(correct.sum()) + 1)
    kept, peaks = metrics.thin_curve(ranked), np.flatnonzero(correct)
    assert set(kept.tolist()) <= set(peaks.tolist())
    assert (np.diff(kept) > 0).all()
    full = np.trapezoid(ranked.precision[peaks], ranked.recall[peaks])
    assert abs(np.trapezoid(ranked.precision[kept], ranked.recall[kept]) - full) <= 1e-4
