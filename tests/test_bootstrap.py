import numpy as np
import pytest

from ndec_bench import bootstrap, metrics


def test_the_stream_is_frozen() -> None:
    # Recorded when the stream was frozen. A change here makes all stored replicates incomparable.
    keys = bootstrap.query_keys(["Q25000", "Q25001", "Q25002", "Q49999"])
    drawn = [bootstrap.weights(keys, replicate).tolist() for replicate in (0, 1, 999)]
    assert drawn == [[1, 2, 2, 1], [1, 2, 1, 1], [1, 0, 0, 1]]


def test_weights_are_poisson_with_mean_one() -> None:
    keys = bootstrap.query_keys([f"Q{i:05d}" for i in range(20_000)])
    weights = bootstrap.weights(keys, 3)
    shares = np.bincount(weights, minlength=4)[:4] / len(weights)
    assert shares == pytest.approx([0.3679, 0.3679, 0.1839, 0.0613], abs=0.012)
    assert weights.mean() == pytest.approx(1.0, abs=0.03)


def test_a_replicate_equals_repeating_the_queries() -> None:
    """Second opinion: write every query out as often as its weight says and score that list plainly."""
    generator = np.random.default_rng(5)
    codes = generator.integers(0, 30, 400)
    scores = np.sort(generator.normal(size=400))[::-1]
    correct = generator.random(400) < 0.3
    positives_per_query = np.bincount(codes[correct], minlength=30) + 1
    keys = bootstrap.query_keys([f"Q{i}" for i in range(30)])
    micro_ap, recall = bootstrap.replicate_scores(
        codes, correct, positives_per_query, keys, precision_target=0.5, count=20
    )
    for replicate in range(20):
        weights = bootstrap.weights(keys, replicate)
        times = weights[codes]
        # Copies of one pair are told apart by a tiny step, so that they stand together and none is a tie of another.
        repeated = metrics.Ranking(
            np.repeat(correct, times), np.repeat(scores, times), int(weights @ positives_per_query)
        )
        # A pair that counts w times counts as one step in the weighted form: precision after all its copies.
        last = np.cumsum(times)[correct & (times > 0)] - 1
        own = times[correct & (times > 0)]
        expected = (repeated.precision[last] * own).sum() / repeated.positives
        assert micro_ap[replicate] == pytest.approx(expected, abs=1e-12)
        good = last[repeated.precision[last] >= 0.5]
        assert recall[replicate] == pytest.approx(repeated.recall[good[-1]] if len(good) else 0.0, abs=1e-12)


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
        keys = bootstrap.query_keys([f"Q{i}" for i in range(queries)])
        micro_ap, _ = bootstrap.replicate_scores(
            codes, correct[order], np.ones(queries, dtype=np.int64), keys, precision_target=0.9, count=200
        )
        low, high = bootstrap.interval(micro_ap)
        point = metrics.micro_ap(metrics.Ranking(correct[order], np.linspace(1, 0, queries * 2), queries))
        assert low < point < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 2
