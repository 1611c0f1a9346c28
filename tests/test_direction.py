"""Both lists of a submission with norms: numbers by hand, what swapping and scaling the norms may change, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndec_bench.data.ground_truth import GroundTruth
from ndec_bench.data.split import Split
from ndec_bench.descriptors import Descriptors, Submission
from ndec_bench.errors import SubmissionError, UsageError
from ndec_bench.metrics import bootstrap
from ndec_bench.protocol import get_protocol
from ndec_bench.results.comparison import paired
from ndec_bench.results.record import Result, read_result, result_json, result_schema, write_result
from ndec_bench.scoring.direction import auc
from ndec_bench.scoring.score import Options, score_descriptors, score_splits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ndec_bench.results.record import Direction, DroppedPairs, Passing, Share

    Make = Callable[..., tuple[Submission, Split]]


def scored(submission: Submission, split: Split, rule: str = "none", **options: Any) -> Result:  # noqa: ANN401
    return score_descriptors(
        submission, split, options=Options(asymmetric=rule, **{"replicates": 0, "name": "mine", **options})
    )


def direction_of(submission: Submission, split: Split, rule: str = "none", **options: Any) -> Direction:  # noqa: ANN401
    direction = scored(submission, split, rule, **options).direction
    assert direction is not None
    return direction


def with_norms(submission: Submission, query: Any, reference: Any) -> Submission:  # noqa: ANN401
    return replace(submission, query_norms=np.array(query, np.float32), reference_norms=np.array(reference, np.float32))


def hand_made_submission() -> Submission:
    """One dimension. R1 = 0, R2 = 10, R3 = 20; Q1 = 1 (copy of R1), Q2 = 14 (copy of R2), Q3 = 30 and Q4 = 17 (plain
    distractors), Q5 = 10.5 and Q6 = 19 (hard negatives). The eighteen scores, best first, true pairs marked:

      Q5-R2 -0.25, Q1-R1 -1 *, Q6-R3 -1, Q4-R3 -9, Q2-R2 -16 *, Q2-R3 -36, Q4-R2 -49, Q1-R2 -81, Q6-R2 -81,
      Q5-R3 -90.25, Q3-R3 -100, Q5-R1 -110.25, Q2-R1 -196, Q4-R1 -289, Q1-R3 -361, Q6-R1 -361, Q3-R2 -400, Q3-R1 -900

    The norms of Q2 and Q5 are above those of all references, no other is above any.
    """
    queries = np.array([[1], [14], [30], [17], [10.5], [19]], dtype=np.float32)
    references = np.array([[0.0], [10], [20]], dtype=np.float32)
    return with_norms(
        Submission(
            Descriptors(("Q1", "Q2", "Q3", "Q4", "Q5", "Q6"), queries + 1),
            Descriptors(("R1", "R2", "R3"), references + 1),
        ),
        [1, 5, 2, 2, 4, 1],
        [2, 3, 2],
    )


def counts(share: Share) -> tuple[int, int]:
    assert share.rate == share.hits / share.queries
    return share.hits, share.queries


def passing(at: Passing | None) -> dict[str, tuple[int, int]]:
    assert at is not None
    return {name: counts(getattr(at, name)) for name in ("hard_negatives_hit", "plain_distractors_hit", "copies_found")}


def kinds(dropped: DroppedPairs | None) -> tuple[int, int]:
    assert dropped is not None
    assert dropped.rate == dropped.dropped / dropped.pairs
    return dropped.dropped, dropped.pairs


def test_the_ratio_rule_for_pencil_and_paper(hand_made_split: Split) -> None:
    """With the rule the list begins Q6-R3, Q1-R1 * (a tie, wrong pair first), and Q2-R2 is gone."""
    direction = direction_of(hand_made_submission(), hand_made_split)
    assert direction.rule == "ratio"
    everything, isc = direction.parts["all"], direction.parts["isc"]
    assert everything.without_rule.micro_ap == pytest.approx((1 / 3 + 2 / 5) / 2)
    assert everything.with_rule.micro_ap == pytest.approx((1 / 2) / 2)
    assert everything.micro_ap_difference == pytest.approx(1 / 4 - 11 / 30)
    assert (everything.without_rule.recall_at_p90, everything.with_rule.recall_at_p90) == (None, None)
    assert isc.without_rule.micro_ap == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert isc.with_rule.micro_ap == pytest.approx((1 / 1) / 2)
    assert (isc.recall_at_p90_difference, isc.micro_ap_difference_interval) == (0.0, None)
    # Q1 1 against R1 2, Q2 5 against R2 3: one kept, the other if swapped.
    assert direction.true_pairs == 2
    assert counts(direction.true_pairs_kept) == (1, 2)
    assert counts(direction.true_pairs_kept_if_swapped) == (1, 2)
    # t is 1/3 and -1/4: three of the four sums are above zero.
    assert direction.direction_auc == 3 / 4
    assert (direction.direction_auc_interval, direction.swap_gap) == (None, None)
    # At -1: Q5-R2, Q1-R1 *, Q6-R3 without, Q1-R1 * and Q6-R3 with the rule.
    assert direction.at_p90_isc is not None
    without, ruled = direction.at_p90_isc.without_rule, direction.at_p90_isc.with_rule
    assert passing(without) == {"hard_negatives_hit": (2, 2), "plain_distractors_hit": (0, 2), "copies_found": (1, 2)}
    assert passing(ruled) == {"hard_negatives_hit": (1, 2), "plain_distractors_hit": (0, 2), "copies_found": (1, 2)}
    # Of all 18 pairs: Q2-R2 *; the three of Q5; Q2-R1 and Q2-R3.
    assert kinds(direction.dropped.true_pairs) == (1, 2)
    assert kinds(direction.dropped.hard_negative_pairs) == (3, 6)
    assert kinds(direction.dropped.other_pairs) == (2, 10)


def test_smooth_rules_for_pencil_and_paper(hand_made_split: Split) -> None:
    """Q2-R2: nq/nr − 1 = 2/3; t = 1/3 and −1/4 for the two true pairs."""
    hinge = scored(hand_made_submission(), hand_made_split, "hinge:300")
    assert hinge.direction is not None
    gap = hinge.direction.swap_gap
    assert gap is not None
    assert (gap.mean, gap.median) == (pytest.approx((300 - 200) / 2), pytest.approx((300 - 200) / 2))
    assert counts(gap.above_zero) == (1, 2)
    # Q5-R2 loses 100, Q2-R2 200, their other pairs 300 and more: Q6-R3, Q1-R1 *, Q4-R3, Q4-R2, Q1-R2, Q6-R2, Q3-R3,
    # Q5-R2, Q2-R2 *.
    assert hinge.parts["all"].micro_ap == pytest.approx((1 / 2 + 2 / 9) / 2)
    assert hinge.parts["all"].predictions == 18
    tilt = direction_of(hand_made_submission(), hand_made_split, "tilt:12")
    assert tilt.swap_gap is not None
    assert tilt.swap_gap.mean == pytest.approx((2 * 12 / 3 - 2 * 12 / 4) / 2)
    assert counts(tilt.swap_gap.above_zero) == (1, 2)
    # s' of Q5-R2 is -0.25 - 12/7, of Q1-R1 -1 + 4, of Q6-R3 -1 + 4, of Q4-R3 -9, of Q2-R2 -16 - 3: places 2 and 5.
    assert tilt.parts["all"].with_rule.micro_ap == pytest.approx((1 / 2 + 2 / 5) / 2)
    # Kept and dropped are about the norms alone, whatever the rule.
    plain = direction_of(hand_made_submission(), hand_made_split)
    assert (tilt.true_pairs_kept, tilt.dropped) == (plain.true_pairs_kept, plain.dropped)


def test_a_dropped_pair_makes_room_before_the_cap_and_none_after_the_list() -> None:
    """The list holds ten pairs per query; one query, references at distances 1, 2, .. 30, the odd ones dropped."""
    references = Descriptors(tuple(f"R{i:02d}" for i in range(1, 31)), np.arange(1, 31, dtype=np.float32)[:, None] + 1)
    submission = with_norms(
        Submission(Descriptors(("Q1",), np.array([[1.0]], np.float32)), references), [2.0], [1.0, 3.0] * 15
    )
    split = Split("one", GroundTruth(("Q1",), (("Q1", "R12"),)))
    plain, before, after = (scored(submission, split, rule) for rule in ("none", "ratio", "ratio-after-list"))
    assert [result.parts["all"].predictions for result in (plain, before, after)] == [10, 10, 5]
    assert [result.parts["all"].micro_ap for result in (plain, before, after)] == [0.0, 1 / 6, 0.0]
    assert "|asym:ratio-after-list|" in after.signature
    assert after.direction is not None
    assert (after.direction.rule, after.direction.parts["all"].with_rule.micro_ap) == ("ratio-after-list", 0.0)
    assert kinds(after.direction.dropped.other_pairs) == (5, 10)
    # Lists of single queries are cut and filtered in the same way.
    sscd = get_protocol("sscd")
    assert scored(submission, split, "ratio-after-list", protocol=sscd).parts["all"].predictions == 5
    assert scored(submission, split, "ratio", protocol=sscd).parts["all"].predictions == 10


@pytest.fixture
def random(make_submission: Make) -> tuple[Submission, Split]:
    submission, split = make_submission()
    generator = np.random.default_rng(8)
    # Few values, so that true pairs tie; copies tend to the smaller ones.
    query = generator.choice([1.0, 2.0, 3.0], 60, p=[0.5, 0.3, 0.2])
    return with_norms(submission, query, generator.choice([1.0, 2.0, 3.0], 90, p=[0.2, 0.3, 0.5])), split


def test_the_two_results_of_a_submission_tell_the_same(random: tuple[Submission, Split]) -> None:
    submission, split = random
    plain, ruled = (scored(submission, split, rule, replicates=200) for rule in ("none", "ratio"))
    assert plain.direction == ruled.direction
    assert plain.direction is not None
    assert plain.parts != ruled.parts
    for part, told in plain.direction.parts.items():
        assert told.without_rule.micro_ap == plain.parts[part].micro_ap
        assert told.with_rule.micro_ap == ruled.parts[part].micro_ap
        for measure in ("micro_ap", "recall_at_p90"):
            by_compare = paired(ruled, plain, part=part, measure=measure)  # type: ignore[arg-type]
            assert getattr(told, f"{measure}_difference") == by_compare.difference
            assert getattr(told, f"{measure}_difference_interval") == by_compare.interval
    assert plain.hard_negatives is not None
    assert ruled.hard_negatives is not None
    own = plain.direction.at_own_p90_isc
    assert own is not None
    for at, account in ((own.without_rule, plain.hard_negatives), (own.with_rule, ruled.hard_negatives)):
        assert at is not None
        assert account.at_p90_isc is not None
        assert at.threshold == account.at_p90_isc.threshold
        assert at.hard_negatives_hit == account.at_p90_isc.hard_negatives_hit
        assert at.plain_distractors_hit == account.at_p90_isc.plain_distractors_hit
        assert at.copies_found.hits == account.at_p90_isc.true_positives
    frozen = plain.direction.at_p90_isc
    assert frozen is not None
    assert frozen.without_rule == own.without_rule
    assert frozen.with_rule is not None
    assert own.without_rule is not None
    assert frozen.with_rule.threshold == own.without_rule.threshold


def test_without_norms_nothing_is_told_and_no_byte_changes(random: tuple[Submission, Split]) -> None:
    submission, split = random
    bare = scored(replace(submission, query_norms=None, reference_norms=None), split)
    normed = scored(submission, split)
    assert bare.direction is None
    texts = [
        result_json(result.model_copy(update={"direction": None, "provenance": bare.provenance}))
        for result in (bare, normed)
    ]
    assert texts[0] == texts[1]
    assert '"direction"' not in texts[0]


@pytest.mark.parametrize("rule", ["none", "ratio", "ratio-after-list", "hinge:2", "tilt:0.50"])
def test_results_are_the_same_bytes_whatever_the_order_of_rows(
    random: tuple[Submission, Split], rule: str, tmp_path: Path
) -> None:
    submission, split = random
    result = scored(submission, split, rule, replicates=50)
    order = np.random.default_rng(1).permutation(90)
    assert submission.reference_norms is not None
    assert isinstance(submission.references, Descriptors)
    shuffled = replace(
        submission, references=submission.references.take(order), reference_norms=submission.reference_norms[order]
    )
    again = scored(shuffled, split, rule, replicates=50, threads=2)
    same = {"provenance": result.provenance}
    assert result_json(again.model_copy(update=same)) == result_json(result)
    write_result(tmp_path / "r.json", result)
    assert read_result(tmp_path / "r.json") == result
    assert set(json.loads(result_json(result))) == set(result_schema()["properties"]) - {"mapped_ids"}
    assert result.asymmetric == rule.replace("0.50", "0.5").replace(":2", ":2.0")


@pytest.mark.parametrize("rule", ["ratio", "ratio-after-list", "hinge:2", "tilt:0.5"])
def test_all_norms_doubled_change_nothing(random: tuple[Submission, Split], rule: str) -> None:
    submission, split = random
    assert submission.query_norms is not None
    assert submission.reference_norms is not None
    doubled = with_norms(submission, 2 * submission.query_norms, 2 * submission.reference_norms)
    first, second = scored(submission, split, rule, replicates=50), scored(doubled, split, rule, replicates=50)
    assert (first.direction, first.parts) == (second.direction, second.parts)


def test_swapped_norms_swap_what_is_kept_and_mirror_the_auc(random: tuple[Submission, Split]) -> None:
    submission, split = random
    assert submission.query_norms is not None
    assert submission.reference_norms is not None
    query, reference = submission.query_norms.copy(), submission.reference_norms.copy()
    # True pairs are the first 20 rows of either side.
    query[:20], reference[:20] = submission.reference_norms[:20], submission.query_norms[:20]
    first, second = (
        direction_of(submission, split, "tilt:1"),
        direction_of(with_norms(submission, query, reference), split, "tilt:1"),
    )
    assert first.true_pairs_kept != first.true_pairs_kept_if_swapped
    assert first.true_pairs_kept == second.true_pairs_kept_if_swapped
    assert first.true_pairs_kept_if_swapped == second.true_pairs_kept
    assert first.direction_auc is not None
    assert first.direction_auc > 0.5
    assert second.direction_auc == pytest.approx(1 - first.direction_auc, abs=1e-15)
    assert first.swap_gap is not None
    assert second.swap_gap is not None
    assert (second.swap_gap.mean, second.swap_gap.median) == (-first.swap_gap.mean, -first.swap_gap.median)


@given(st.lists(st.sampled_from([-1.0, -0.5, -1e-9, 0.0, 1e-9, 0.25, 0.5, 1.0]), min_size=1, max_size=12))
def test_the_auc_counts_all_pairs(t: list[float]) -> None:
    wins = sum((a > -b) + (a == -b) / 2 for a in t for b in t)
    assert auc(np.array(t)) == wins / len(t) ** 2


def test_two_zero_norms_tell_no_direction(hand_made_split: Split) -> None:
    submission = with_norms(hand_made_submission(), [0, 0, 1, 1, 1, 1], [0, 0, 1])
    direction = direction_of(submission, hand_made_split)
    assert (direction.direction_auc, counts(direction.true_pairs_kept)) == (0.5, (2, 2))


def test_the_interval_of_the_auc_resamples_queries(random: tuple[Submission, Split]) -> None:
    submission, split = random
    direction = direction_of(submission, split, replicates=70)
    assert submission.query_norms is not None
    assert submission.reference_norms is not None
    q, r = submission.query_norms[:20].astype(float), submission.reference_norms[:20].astype(float)
    t = (r - q) / (r + q)
    wins = (t[:, None] > -t[None, :]) + (t[:, None] == -t[None, :]) / 2
    drawn = bootstrap.weights(bootstrap.query_keys(split.query_ids[:20]), 0, 70)
    found = [w @ wins @ w / w.sum() ** 2 for w in drawn.T.astype(float)]
    assert direction.direction_auc_interval == pytest.approx(bootstrap.interval(found), abs=1e-12)


def test_a_replicate_without_a_true_pair_leaves_the_interval_out(hand_made_split: Split) -> None:
    """Two true pairs: in one of seven replicates neither query is drawn."""
    direction = direction_of(hand_made_submission(), hand_made_split, replicates=100)
    assert direction.direction_auc_interval is None
    assert direction.parts["all"].micro_ap_difference_interval is not None


def test_a_split_without_hard_negatives_has_no_figures_on_them(hand_made_split: Split) -> None:
    split = replace(hand_made_split, hard_negatives=None)
    direction = direction_of(hand_made_submission(), split)
    assert list(direction.parts) == ["all"]
    assert (direction.at_p90_isc, direction.at_own_p90_isc, direction.dropped.hard_negative_pairs) == (None, None, None)
    assert kinds(direction.dropped.true_pairs) == (1, 2)
    assert kinds(direction.dropped.other_pairs) == (5, 16)
    assert direction.direction_auc == 3 / 4


def test_precision_that_is_never_reached_gives_no_threshold(hand_made_split: Split) -> None:
    """Q4 in the place of R1's copy: no true pair of the ISC part comes first in either list."""
    truth = GroundTruth(hand_made_split.query_ids, (("Q2", "R1"),))
    direction = direction_of(hand_made_submission(), replace(hand_made_split, truth=truth))
    assert direction.at_p90_isc is None
    assert direction.at_own_p90_isc is not None
    assert (direction.at_own_p90_isc.without_rule, direction.at_own_p90_isc.with_rule) == (None, None)


def test_missing_sides_have_no_norms(random: tuple[Submission, Split]) -> None:
    """Five of twenty true references are missing, and a query that could not be read: 14 true pairs are left."""
    submission, split = random
    assert submission.query_norms is not None
    assert submission.reference_norms is not None
    assert isinstance(submission.references, Descriptors)
    part = replace(
        submission,
        queries=submission.queries.take(np.arange(59)),
        references=submission.references.take(np.arange(5, 90)),
        query_norms=submission.query_norms[:59],
        reference_norms=submission.reference_norms[5:],
        invalid_ids=(split.query_ids[59],),
    )
    direction = direction_of(part, split)
    kept = submission.query_norms[5:20] <= submission.reference_norms[5:20]
    assert counts(direction.true_pairs_kept) == (int(kept.sum()), 15)
    assert (direction.at_p90_isc, direction.dropped.hard_negative_pairs) == (None, None)


def test_a_truth_without_copies_tells_of_none(hand_made_split: Split) -> None:
    split = Split("none", GroundTruth(hand_made_split.query_ids, ()))
    direction = direction_of(hand_made_submission(), split, "tilt:1", replicates=10)
    assert (direction.true_pairs, direction.true_pairs_kept.rate) == (0, None)
    assert (direction.direction_auc, direction.direction_auc_interval, direction.swap_gap) == (None, None, None)
    assert direction.dropped.true_pairs.rate is None


def test_several_splits_of_one_search_have_norms_of_their_own(random: tuple[Submission, Split]) -> None:
    submission, whole = random
    truths = [
        GroundTruth(ids, tuple(p for p in whole.truth.pairs if p[0] in ids))
        for ids in (
            whole.query_ids[:30],
            whole.query_ids[10:],
        )
    ]
    splits = [Split(f"s{i}", truth, None, whole.reference_ids) for i, truth in enumerate(truths)]
    stages: list[str] = []
    options = Options(asymmetric="tilt:3", replicates=20)
    together = score_splits(
        submission, splits, options=options, progress=lambda stage, done, total: stages.append(f"{stage} {done}")
    )
    assert stages.count("searching references 90") == 1
    assert {"bootstrap, without a rule 20", "bootstrap, rule tilt:3.0 20"} <= set(stages)
    assert submission.query_norms is not None
    for split, result in zip(splits, together, strict=True):
        rows = np.array([row for row, query in enumerate(submission.queries.ids) if query in split.query_ids])
        alone = replace(submission, queries=submission.queries.take(rows), query_norms=submission.query_norms[rows])
        expected = score_descriptors(alone, split, options=options)
        assert (result.direction, result.parts) == (expected.direction, expected.parts)


@pytest.mark.parametrize(
    ("query", "reference", "rule", "message"),
    [
        ([1, np.nan, 1, 1, 1, 1], [1, 1, 1], "none", r"query_norms row 1 \(Q2\) is nan, expected a finite number"),
        ([1, 1, 1, 1, 1, 1], [1, 1, np.inf], "none", r"reference_norms row 2 \(R3\) is inf, expected a finite"),
        (
            [1, 1, 1, -1, 1, -2],
            [1, 1, 1],
            "ratio",
            r"row 3 \(Q4\) is -1\.0, expected .* zero or above.*\(2 such rows\)",
        ),
        ([1, 1, 1, 1, 1], [1, 1, 1], "none", r"query_norms has shape \(5,\), expected \(6,\)"),
        ([1] * 6, [1, 0, 1], "tilt:0.50", r"reference_norms row 1 \(R2\) is 0, .*--asymmetric tilt:0\.5 divides by"),
        ([1] * 6, [1, 0, 1], "hinge:1", r"reference_norms row 1 \(R2\) is 0, expected a number above zero"),
        ([1, 1, 0, 1, 1, 1], [1, 1, 1], "hinge:1", r"query_norms row 2 \(Q3\) is 0, expected a number above zero"),
    ],
)
def test_norms_that_cannot_be_used(
    hand_made_split: Split, query: list[float], reference: list[float], rule: str, message: str
) -> None:
    with pytest.raises(SubmissionError, match=message) as caught:
        scored(with_norms(hand_made_submission(), query, reference), hand_made_split, rule)
    assert str(caught.value).startswith("submission: ")


def test_a_zero_norm_is_fine_for_rules_that_compare(hand_made_split: Split) -> None:
    submission = with_norms(hand_made_submission(), [0, 0, 1, 1, 1, 1], [1, 0, 0])
    for rule in ("ratio", "ratio-after-list"):
        assert scored(submission, hand_made_split, rule).parts["all"].predictions == 10


def test_a_rule_needs_norms_and_a_name(hand_made_split: Split) -> None:
    bare = replace(hand_made_submission(), query_norms=None)
    for rule in ("ratio", "ratio-after-list", "tilt:1"):
        with pytest.raises(SubmissionError, match=f"--asymmetric {rule}.* needs the datasets query_norms"):
            scored(bare, hand_made_split, rule)
    with pytest.raises(UsageError, match="expected none, ratio, ratio-after-list"):
        Options(asymmetric="tilt:-1")
