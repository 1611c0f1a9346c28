"""Truth by codes, and parts scored as if alone from one pass of the bootstrap."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndec_bench.data.ground_truth import GroundTruth
from ndec_bench.data.split import Split
from ndec_bench.metrics import average_precision as metrics
from ndec_bench.metrics import bootstrap
from ndec_bench.protocol import DRIVENDATA, NDEC_1
from ndec_bench.scoring.parts import PairList, TruthTable, score_parts

if TYPE_CHECKING:
    from ndec_bench.results.record import PartScore

QUERIES, REFERENCES = 90, 200


def random_split() -> Split:
    """Thirty copies, two of them of two references, thirty plain distractors, thirty hard negatives, an own part."""
    queries = tuple(f"Q{i:03d}" for i in range(QUERIES))
    pairs = sorted([(queries[i], f"R{i:03d}") for i in range(30)] + [("Q003", "R150"), ("Q007", "R003")])
    return Split(
        "random",
        GroundTruth(queries, tuple(pairs)),
        frozenset(queries[60:]),
        own_parts={"mine": frozenset(queries[:45:3])},
        edits=dict.fromkeys(queries[:30], ("crop",)) | {"Q003": ("crop", "text"), "Q050": ("text",)},
    )


def random_lists(truth: TruthTable) -> dict[str, PairList]:
    generator = np.random.default_rng(3)
    rows = generator.permutation(QUERIES * REFERENCES)[:2000]
    rows = np.unique(np.r_[rows, np.arange(30) * (REFERENCES + 1)])
    queries, references = np.divmod(rows, REFERENCES)
    # A coarse grid of scores: ties everywhere.
    scores = (generator.normal(size=len(rows)) + 2.5 * (queries == references)).round(1)
    codes = truth.reference_codes([f"R{i:03d}" for i in range(REFERENCES)])
    lists = {}
    for part in truth.split.parts:
        mine = np.flatnonzero(truth.members(part)[queries])
        kept = mine[np.argsort(-scores[mine], kind="stable")][: 10 * int(truth.members(part).sum())]
        lists[part] = truth.pairs(queries[kept], codes[references[kept]], scores[kept])
    return lists


def scored(lists: dict[str, PairList], truth: TruthTable, replicates: int = 40) -> dict[str, PartScore]:
    parts, _ = score_parts(lists, truth, NDEC_1, replicates=replicates, references=REFERENCES, account=True)
    return parts


def test_codes_are_positions_and_minus_one_for_others() -> None:
    truth = TruthTable(random_split())
    ids = ["Q089", "x", "Q000", "", "Q0000"]
    assert truth.query_codes(ids).tolist() == [89, -1, 0, -1, -1]
    assert truth.query_codes(np.array(ids)).tolist() == [89, -1, 0, -1, -1]
    # True references are R000 to R029 and R150; only these have codes.
    assert truth.reference_codes(["R150", "R029", "R030", "Q000"]).tolist() == [30, 29, -1, -1]
    assert truth.reference_codes(np.array([], dtype=str)).tolist() == []


@given(
    truth=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 6)), unique=True, max_size=12),
    given_pairs=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), max_size=40),
)
def test_truth_of_pairs_is_that_of_the_set_of_true_pairs(
    truth: list[tuple[int, int]], given_pairs: list[tuple[int, int]]
) -> None:
    pairs = tuple(sorted((f"Q{q}", f"R{r}") for q, r in truth))
    table = TruthTable(Split("s", GroundTruth(tuple(f"Q{i}" for i in range(5)), pairs)))
    listed = table.pairs(
        table.query_codes([f"Q{q}" for q, _ in given_pairs]),
        table.reference_codes([f"R{r}" for _, r in given_pairs]),
        np.arange(len(given_pairs), dtype=np.float64),
    )
    assert listed.correct.tolist() == [pair in set(truth) for pair in given_pairs]
    assert listed.codes.tolist() == [q for q, _ in given_pairs]
    assert table.positives.tolist() == [sum(q == query for q, _ in truth) for query in range(5)]


def test_each_part_scores_as_its_queries_alone_would() -> None:
    split = random_split()
    truth = TruthTable(split)
    lists = random_lists(truth)
    together = scored(lists, truth)
    assert list(together) == ["all", "isc", "mine"]
    for part, members in split.parts.items():
        queries = tuple(query for query in split.query_ids if query in members)
        pairs = tuple(pair for pair in split.truth.pairs if pair[0] in members)
        alone = TruthTable(replace(split, truth=GroundTruth(queries, pairs), hard_negatives=None, own_parts={}))
        ids = np.array(split.query_ids)[lists[part].codes]
        listed = PairList(alone.query_codes(ids), lists[part].scores, lists[part].correct)
        assert scored({"all": listed}, alone)["all"] == together[part]
        assert together[part].positives == len(pairs)
        assert together[part].queries == len(members)


def test_the_order_of_a_list_does_not_show() -> None:
    truth = TruthTable(random_split())
    lists = random_lists(truth)
    generator = np.random.default_rng(0)
    shuffled = {}
    for part, pairs in lists.items():
        order = generator.permutation(len(pairs.scores))
        shuffled[part] = PairList(pairs.codes[order], pairs.scores[order], pairs.correct[order])
    whole = score_parts(lists, truth, NDEC_1, replicates=0, references=REFERENCES, account=True)
    assert score_parts(shuffled, truth, NDEC_1, replicates=0, references=REFERENCES, account=True) == whole


def test_intervals_are_those_of_the_stored_replicates() -> None:
    truth = TruthTable(random_split())
    for score in scored(random_lists(truth), truth, replicates=200).values():
        assert score.replicates is not None
        assert score.replicates.stream == bootstrap.STREAM
        assert (len(score.replicates.micro_ap), len(score.replicates.recall_at_p90)) == (200, 200)
        assert score.micro_ap_interval == bootstrap.interval(score.replicates.micro_ap)
        assert score.recall_at_p90_interval == bootstrap.interval(score.replicates.recall_at_p90)
        assert score.micro_ap_interval[0] < score.micro_ap < score.micro_ap_interval[1]


def test_without_replicates_there_are_no_intervals_and_no_stage() -> None:
    truth = TruthTable(random_split())
    parts, account = score_parts(
        random_lists(truth),
        truth,
        NDEC_1,
        replicates=0,
        references=REFERENCES,
        account=True,
        progress=lambda *_: pytest.fail("a stage was reported"),
    )
    assert all(p.replicates is None and p.micro_ap_interval is None for p in parts.values())
    assert account is not None


def test_the_account_is_left_out_on_request_and_without_hard_negatives() -> None:
    truth = TruthTable(random_split())
    lists = random_lists(truth)
    _, account = score_parts(lists, truth, NDEC_1, replicates=2, references=REFERENCES, account=False)
    assert account is None
    truth = TruthTable(replace(random_split(), hard_negatives=None))
    _, account = score_parts({"all": lists["all"]}, truth, NDEC_1, replicates=2, references=REFERENCES, account=True)
    assert account is None


def test_precisions_asked_for_are_reported_by_their_text() -> None:
    truth = TruthTable(random_split())
    lists = random_lists(truth)
    parts, _ = score_parts(
        lists, truth, NDEC_1, replicates=0, references=REFERENCES, account=False, precisions=(0.5, 0.95, 1.0)
    )
    for part, score in parts.items():
        assert list(score.recall_at_precision) == ["0.5", "0.95", "1.0"]
        pairs = lists[part]
        ranking = metrics.rank(pairs.scores, pairs.correct, score.positives)
        for text, point in score.recall_at_precision.items():
            expected = metrics.recall_at_precision(ranking, float(text))
            assert point.recall == (expected and expected.recall)
            assert point.threshold == (expected and expected.threshold)


def test_a_precision_never_reached_is_null_or_what_the_protocol_says() -> None:
    truth = TruthTable(Split("s", GroundTruth(("Q1", "Q2"), (("Q1", "R1"),))))
    codes = truth.query_codes(["Q2", "Q1"])
    pairs = truth.pairs(codes, truth.reference_codes(["R1", "R1"]), np.array([2.0, 1.0]))
    for protocol, recall in ((NDEC_1, None), (DRIVENDATA, 0.0)):
        parts, _ = score_parts(
            {"all": pairs}, truth, protocol, replicates=40, references=1, account=False, precisions=(0.95,)
        )
        score = parts["all"]
        assert (score.recall_at_p90, score.threshold_at_p90) == (recall, None)
        point = score.recall_at_precision["0.95"]
        assert (point.recall, point.threshold) == (recall, None)
        # It is reached where Q1 was drawn and Q2 was not; a replicate that never reaches it counts 0.
        reached = [float(first > 0 and second == 0) for first, second in bootstrap.weights(truth.keys, 0, 40).T]
        assert score.replicates is not None
        assert score.replicates.recall_at_p90 == reached
        assert set(reached) == {0.0, 1.0}


def test_incomplete_parts_are_marked() -> None:
    truth = TruthTable(random_split())
    parts, _ = score_parts(
        random_lists(truth),
        truth,
        NDEC_1,
        replicates=0,
        references=REFERENCES,
        account=False,
        complete={"all": True, "isc": False, "mine": True},
    )
    assert {part: score.complete for part, score in parts.items()} == {"all": True, "isc": False, "mine": True}


def test_edits_count_the_copies_of_the_part() -> None:
    truth = TruthTable(random_split())
    parts = scored(random_lists(truth), truth, replicates=0)
    copies = {part: {k: v.copies for k, v in (score.recall_by_edit or {}).items()} for part, score in parts.items()}
    # Q050 is no copy; of Q000, Q003, ..., Q042 the first ten are copies.
    assert copies == {
        "all": {"crop": 30, "text": 1},
        "isc": {"crop": 30, "text": 1},
        "mine": {"crop": 10, "text": 1},
    }


def test_an_empty_list_scores_zero() -> None:
    truth = TruthTable(random_split())
    none = np.zeros(0, dtype=np.int64)
    empty = truth.pairs(none, none, np.zeros(0))
    parts, account = score_parts(
        dict.fromkeys(("all", "isc"), empty),
        truth,
        NDEC_1,
        replicates=5,
        references=REFERENCES,
        account=True,
        own_threshold=0.0,
    )
    assert (parts["all"].micro_ap, parts["all"].recall_at_10, parts["all"].predictions) == (0.0, 0.0, 0)
    assert parts["isc"].micro_ap_interval == (0.0, 0.0)
    assert account is not None
    assert (account.at_p90_isc, account.cost) == (None, 0.0)
    assert account.at_own_threshold is not None
    assert account.at_own_threshold.alerts_per_true_match_interval is None
