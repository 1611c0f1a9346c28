import zlib

import numpy as np
import pytest

from ndec_bench.errors import DataError, UsageError
from ndec_bench.metrics.compare import holm
from ndec_bench.results.comparison import compare, paired, rank_intervals
from ndec_bench.results.record import Curve, Digests, PartScore, Provenance, Replicates, Result

# Pencil and paper: eight draws of the difference a - b are +2 +1 +3 +1 -1 +2 0 +4 hundredths.
A = [0.52, 0.51, 0.53, 0.51, 0.49, 0.52, 0.50, 0.54]
B = [0.50] * 8


def result(
    name: str,
    score: float,
    replicates: list[float] | None,
    *,
    split: str = "ab" * 32,
    stream: str = "s",
    recall: float | None = 0.4,
) -> Result:
    stored = replicates and Replicates(stream=stream, micro_ap=replicates, recall_at_p90=[x / 2 for x in replicates])
    part = PartScore(
        queries=10,
        positives=5,
        predictions=100,
        cap=100,
        micro_ap=score,
        recall_at_p90=recall,
        threshold_at_p90=None,
        recall_at_1=0.5,
        recall_at_10=0.5,
        precision_at_recall={},
        pr_curve=Curve(recall=[], precision=[], threshold=[]),
        replicates=stored,
    )
    return Result(
        name=name,
        split="hand",
        protocol="ndec-1",
        track="descriptor",
        metric="l2",
        signature="",
        predictions_sha256="",
        partial=False,
        references=10,
        parts={"all": part},
        digests=Digests(submission="", ground_truth="", split=split),
        provenance=Provenance(
            ndec_bench="0",
            git_commit=None,
            python="3",
            libraries={},
            platform="",
            cpu="",
            seconds=0.0,
            peak_memory_bytes=None,
        ),
    )


def noisy(name: str, score: float, count: int = 1000) -> Result:
    shared = np.random.default_rng(1).normal(0, 0.01, count)
    own = np.random.default_rng(zlib.crc32(name.encode())).normal(0, 0.002, count)
    return result(name, score, np.clip(score + shared + own, 0, 1).tolist())


def test_paired_by_hand() -> None:
    found = paired(result("a", 0.515, A), result("b", 0.5, B))
    assert found.difference == pytest.approx(0.015)
    assert found.interval == pytest.approx((-0.01, 0.04))  # the ends of eight draws
    # two of eight are <= 0 (-1 and 0), seven are >= 0: 2 * (2 + 1) / (8 + 1)
    assert found.p_value == pytest.approx(2 * 3 / 9)
    assert not found.significant


def test_p_value_is_never_zero_and_never_above_one() -> None:
    better = paired(result("a", 0.6, [x + 0.1 for x in B]), result("b", 0.5, B))
    assert better.p_value == pytest.approx(2 / 9)
    assert better.significant
    same = paired(result("a", 0.5, B), result("b", 0.5, B))
    assert (same.p_value, same.interval, same.significant) == (1.0, (0.0, 0.0), False)


def test_pairing_sees_what_overlapping_intervals_hide() -> None:
    a, b = noisy("a", 0.612), noisy("b", 0.600)
    spread = np.quantile(a.parts["all"].replicates.micro_ap, 0.025)  # type: ignore[union-attr]
    assert spread < 0.600  # a's own interval covers b's score
    assert paired(a, b).significant


def test_paired_on_recall_counts_not_reached_as_zero() -> None:
    found = paired(result("a", 0.5, A, recall=0.25), result("b", 0.5, B, recall=None), measure="recall_at_p90")
    assert found.difference == 0.25
    assert found.interval == pytest.approx((-0.005, 0.02))


@pytest.mark.parametrize(
    ("a", "b", "part", "message"),
    [
        (result("a", 0.5, A), result("b", 0.5, B, split="cd" * 32), "all", "a and b: different splits"),
        (result("a", 0.5, A), result("b", 0.5, B, stream="t"), "all", "a and b: replicates cannot be paired"),
        (result("a", 0.5, A), result("b", 0.5, B[:7]), "all", "8 of stream s and 7 of stream s"),
        (result("a", 0.5, A), result("b", 0.5, None), "all", "b: no bootstrap replicates"),
        (result("a", 0.5, A), result("b", 0.5, B), "isc", "a: no part 'isc'"),
    ],
)
def test_paired_refuses_what_does_not_belong_together(a: Result, b: Result, part: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        paired(a, b, part=part)


def test_rank_intervals_by_hand() -> None:
    # a and b swap from draw to draw; c is below both in every draw; d is below c.
    up = [0.7, 0.72] * 50
    down = [0.71, 0.7] * 50
    standings = rank_intervals(
        [
            result("d", 0.2, [0.2] * 100),
            result("b", 0.705, down),
            result("a", 0.71, up),
            result("c", 0.5, [0.5] * 100),
        ]
    )
    assert [(s.result.name, s.rank, s.best, s.worst, s.group) for s in standings] == [
        ("a", 1, 1, 2, 1),
        ("b", 2, 1, 2, 1),
        ("c", 3, 3, 3, 2),
        ("d", 4, 4, 4, 3),
    ]


def test_a_tie_group_is_measured_from_its_first_row() -> None:
    # a ~ b and b ~ c, but a is better than c: c starts a group of its own, its rank interval still reaches b.
    draws = np.linspace(-0.01, 0.01, 101)
    a, b, c = 0.52 + 0 * draws, 0.515 + draws, 0.51 - 0.9 * draws
    standings = rank_intervals([result(n, float(x.mean()), x.tolist()) for n, x in (("a", a), ("b", b), ("c", c))])
    assert [(s.result.name, s.best, s.worst, s.group) for s in standings] == [
        ("a", 1, 2, 1),
        ("b", 1, 3, 1),
        ("c", 2, 3, 2),
    ]


def test_results_without_replicates_keep_a_bare_rank() -> None:
    standings = rank_intervals(
        [result("a", 0.9, A), result("x", 0.7, None), result("y", 0.6, B[:5]), result("b", 0.5, B)]
    )
    assert [(s.result.name, s.rank, s.best, s.worst, s.group) for s in standings] == [
        ("a", 1, 1, 4, 1),
        ("x", 2, None, None, None),
        ("y", 3, None, None, None),
        ("b", 4, 1, 4, 1),
    ]


def test_equal_scores_share_a_rank_and_stand_by_name() -> None:
    standings = rank_intervals([result("b", 0.5, None), result("a", 0.5, None), result("c", 0.4, None)])
    assert [(s.result.name, s.rank) for s in standings] == [("a", 1), ("b", 1), ("c", 3)]


def test_rank_intervals_refuses_two_splits() -> None:
    with pytest.raises(DataError, match="rank results of one split only"):
        rank_intervals([result("a", 0.5, A), result("b", 0.5, B, split="cd" * 32)])


def test_rank_intervals_agrees_with_paired_for_every_pair() -> None:
    results = [noisy(f"m{i:02}", 0.5 + 0.0015 * i) for i in range(30)]
    standings = rank_intervals(results)
    for standing in standings:
        others = [paired(standing.result, other) for other in results if other is not standing.result]
        assert standing.best == 1 + sum(p.interval[1] < 0 for p in others)
        assert standing.worst == len(results) - sum(p.interval[0] > 0 for p in others)


# --- several results ---


def signed(name: str, score: float, *, replicates: list[float] | None = None, **fields: object) -> Result:
    """A result with a signature and a list of its own."""
    signature = {"metric": "l2", "sn": "none", "asym": "none", "v": "1"} | {
        key: str(fields.pop(key)) for key in ("metric", "sn", "asym", "v") if key in fields
    }
    line = "uAP|split:hand|protocol:ndec-1|cand:global100|metric:{metric}|sn:{sn}|asym:{asym}|ties:worst|gt:0|v:{v}"
    base = noisy(name, score) if replicates is None else result(name, score, replicates)
    content = {"signature": line.format(**signature), "predictions_sha256": name}
    return Result.model_validate(base.model_dump() | content | fields)


def test_holm_by_hand() -> None:
    # Sorted 0.005 0.01 0.03 0.04 times 4, 3, 2, 1: 0.02 0.03 0.06 0.04, and none below the one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.3]) == [0.3]
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.02, 0.02, 0.02]) == pytest.approx([0.06] * 3)
    assert holm([]) == []


def test_holm_keeps_the_order_and_stays_between_p_and_m_times_p() -> None:
    p_values = np.random.default_rng(3).uniform(0, 1, 50).tolist()
    adjusted = holm(p_values)
    for p, q in zip(p_values, adjusted, strict=True):
        assert p <= q <= min(1.0, 50 * p)
    order = np.argsort(p_values)
    assert np.all(np.diff(np.array(adjusted)[order]) >= 0)


def test_two_results_are_compared_as_given() -> None:
    low, high = signed("low", 0.5), signed("high", 0.6)
    found = compare([("low.json", low), ("high.json", high)])
    (pair,) = found.pairs
    assert (pair.a, pair.b) == ("low", "high")
    assert pair.difference == pytest.approx(-0.1)
    assert pair.p_holm == pair.p_value
    assert [(s.name, s.rank, s.group) for s in found.results] == [("low", 2, 2), ("high", 1, 1)]
    assert (found.split, found.part, found.replicates, found.stream) == ("hand", "all", 1000, "s")
    assert found.notes == ()


def test_three_results_stand_in_order_with_all_pairs() -> None:
    named = [(f"{n}.json", signed(n, s)) for n, s in (("b", 0.55), ("c", 0.5), ("a", 0.6), ("d", 0.5))]
    found = compare(named)
    assert [entry.name for entry in found.results] == ["a", "b", "c", "d"]
    assert [(pair.a, pair.b) for pair in found.pairs] == [
        ("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")
    ]  # fmt: skip
    assert [pair.p_holm for pair in found.pairs] == holm([pair.p_value for pair in found.pairs])
    assert [s.rank for s in found.results] == [1, 2, 3, 3]


def test_same_names_are_told_apart_by_their_files() -> None:
    found = compare([("x/m.json", signed("m", 0.5)), ("y/m.json", signed("m", 0.6, predictions_sha256="other"))])
    assert [entry.name for entry in found.results] == ["m (x/m.json)", "m (y/m.json)"]
    assert (found.pairs[0].a, found.pairs[0].b) == ("m (x/m.json)", "m (y/m.json)")


def test_what_may_differ_is_noted() -> None:
    found = compare(
        [
            ("a.json", signed("a", 0.5, v="1")),
            ("b.json", signed("b", 0.6, v="2", metric="ip", sn="sscd-1.0[0,2]")),
            ("c.json", signed("c", 0.7, v="1", asym="ratio", track="matching")),
        ]
    )
    assert found.notes == (
        "different metric: ip (b); l2 (c, a)",
        "different score normalisation: none (c, a); sscd-1.0[0,2] (b)",
        "different asymmetric rule: none (b, a); ratio (c)",
        "different version: 1 (c, a); 2 (b)",
        "different track: descriptor (b, a); matching (c)",
    )


def test_recall_that_is_never_reached_and_full_lists_are_noted() -> None:
    a = signed("a", 0.5, replicates=A)
    never = a.parts["all"].model_copy(update={"recall_at_p90": None, "complete": False})
    a = Result.model_validate(a.model_dump() | {"parts": {"all": never.model_dump()}})
    found = compare([("a.json", a), ("b.json", signed("b", 0.5, replicates=B))], measure="recall_at_p90")
    assert found.notes[:2] == (
        "a: the list of pairs was full, so its score may be too low",
        "a: precision 0.90 is never reached and counts 0",
    )
    assert found.notes[2].startswith("8 replicates give no p-value below 0.2222")


def test_too_many_pairs_for_the_replicates_are_noted() -> None:
    # 7 results: 21 pairs, 21 * 2 / 1001 = 0.042; 8 results: 28 pairs, 0.056.
    seven = [(f"{i}.json", signed(f"m{i}", 0.3 + 0.05 * i)) for i in range(7)]
    assert compare(seven).notes == ()
    (note,) = compare([*seven, ("7.json", signed("m7", 0.9))]).notes
    assert "among 28 pairs none can reach 0.05" in note


@pytest.mark.parametrize(
    ("other", "part", "message"),
    [
        (signed("b", 0.5, partial=True, missing_references=7), "all", r"b\.json: b is a partial result \(7 references"),
        (signed("b", 0.5, protocol="isc2021"), "all", r"b\.json: protocol isc2021, but a\.json has ndec-1"),
        (signed("b", 0.5, replicates=B), "all", r"b\.json: replicates 8 of stream s, but a\.json has 1000"),
        (signed("b", 0.5), "isc", r"a\.json: a: no part 'isc'"),
        (signed("a", 0.5), "all", r"b\.json: the same result as a\.json"),
        (
            signed("b", 0.5, digests={"submission": "", "ground_truth": "", "split": "c"}),
            "all",
            r"b\.json: split hand c",
        ),
        (
            signed("b", 0.5, digests={"submission": "", "ground_truth": "c", "split": "ab" * 32}),
            "all",
            r"b\.json: true pairs c",
        ),
        (
            signed("b", 0.5, split="user-1a2b3c4d", digests={"submission": "", "ground_truth": "", "split": "c"}),
            "all",
            r"b\.json: split user-1a2b3c4d c.*the true pairs are the same: score both with --split hand",
        ),
        (signed("b", 0.5, signature="none"), "all", "b: no signature"),
    ],
)
def test_compare_refuses_what_does_not_belong_together(other: Result, part: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        compare([("a.json", signed("a", 0.5)), ("b.json", other)], part=part)


def test_missing_replicates_are_refused_by_file() -> None:
    bare = signed("b", 0.5)
    part = bare.parts["all"].model_copy(update={"replicates": None})
    bare = Result.model_validate(bare.model_dump() | {"parts": {"all": part.model_dump()}})
    with pytest.raises(DataError, match=r"b\.json: b: no bootstrap replicates .* score again without --no-bootstrap"):
        compare([("a.json", signed("a", 0.5)), ("b.json", bare)])


@pytest.mark.parametrize("count", [0, 1])
def test_one_result_is_nothing_to_compare(count: int) -> None:
    with pytest.raises(UsageError, match="give two or more results"):
        compare([("a.json", signed("a", 0.5))] * count)
