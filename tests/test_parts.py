"""Truth by codes, and parts scored as if alone from one pass of the bootstrap."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ndec_bench.data.ground_truth import GroundTruth
from ndec_bench.data.split import Split
from ndec_bench.metrics import average_precision as metrics
from ndec_bench.metrics import bootstrap
from ndec_bench.progress import silent
from ndec_bench.protocol import DRIVENDATA, NDEC_1
from ndec_bench.scoring.context import Context, Facts, Options
from ndec_bench.scoring.fit import Fit
from ndec_bench.scoring.parts import ScoredLists, score_parts
from ndec_bench.scoring.truth import PairList, TruthTable

if TYPE_CHECKING:
    from ndec_bench.progress import Progress
    from ndec_bench.protocol import Protocol

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


def scored(
    lists: dict[str, PairList],
    truth: TruthTable,
    *,
    missing: int = 0,
    threshold: float | None = None,
    incomplete: frozenset[str] = frozenset(),
    progress: Progress = silent,
    **options: Any,  # noqa: ANN401
) -> ScoredLists:
    facts = Facts("descriptor", "l2", references=REFERENCES, searched=REFERENCES, threshold=threshold)
    fit = Fit(np.ones(QUERIES, dtype=bool), missing, 1.0, [])
    context = Context(truth, fit, facts, Options(**({"replicates": 0} | options)), progress)
    return score_parts(lists, context, incomplete=incomplete)


@pytest.fixture(scope="module")
def truth() -> TruthTable:
    return TruthTable(random_split())


@pytest.fixture(scope="module")
def lists(truth: TruthTable) -> dict[str, PairList]:
    return random_lists(truth)


def test_codes_are_positions_and_minus_one_for_others(truth: TruthTable) -> None:
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


def test_each_part_scores_as_its_queries_alone_would(truth: TruthTable, lists: dict[str, PairList]) -> None:
    split = truth.split
    together = scored(lists, truth, replicates=40).parts
    assert list(together) == ["all", "isc", "mine"]
    for part, members in split.parts.items():
        queries = tuple(query for query in split.query_ids if query in members)
        pairs = tuple(pair for pair in split.truth.pairs if pair[0] in members)
        alone = TruthTable(replace(split, truth=GroundTruth(queries, pairs), hard_negatives=None, own_parts={}))
        ids = np.array(split.query_ids)[lists[part].codes]
        listed = PairList(alone.query_codes(ids), lists[part].scores, lists[part].correct)
        assert scored({"all": listed}, alone, replicates=40).parts["all"] == together[part]
        assert together[part].positives == len(pairs)
        assert together[part].queries == len(members)


def test_the_order_of_a_list_does_not_show(truth: TruthTable, lists: dict[str, PairList]) -> None:
    generator = np.random.default_rng(0)
    shuffled = {}
    for part, pairs in lists.items():
        order = generator.permutation(len(pairs.scores))
        shuffled[part] = PairList(pairs.codes[order], pairs.scores[order], pairs.correct[order])
    first, second = scored(lists, truth), scored(shuffled, truth)
    assert (first.parts, first.account) == (second.parts, second.account)


def test_intervals_are_those_of_the_stored_replicates(truth: TruthTable, lists: dict[str, PairList]) -> None:
    for score in scored(lists, truth, replicates=200).parts.values():
        assert score.replicates is not None
        assert score.replicates.stream == bootstrap.STREAM
        assert (len(score.replicates.micro_ap), len(score.replicates.recall_at_p90)) == (200, 200)
        assert score.micro_ap_interval == bootstrap.interval(score.replicates.micro_ap)
        assert score.recall_at_p90_interval == bootstrap.interval(score.replicates.recall_at_p90)
        assert score.micro_ap_interval[0] < score.micro_ap < score.micro_ap_interval[1]


def test_without_replicates_there_are_no_intervals_and_no_stage(truth: TruthTable, lists: dict[str, PairList]) -> None:
    found = scored(lists, truth, progress=lambda *_: pytest.fail("a stage was reported"))
    assert all(p.replicates is None and p.micro_ap_interval is None for p in found.parts.values())
    assert found.account is not None


def test_the_account_needs_all_references_and_hard_negatives(truth: TruthTable, lists: dict[str, PairList]) -> None:
    assert scored(lists, truth, missing=1, replicates=2).account is None
    without = TruthTable(replace(random_split(), hard_negatives=None))
    assert scored({"all": lists["all"]}, without, replicates=2).account is None


def test_precisions_asked_for_are_reported_by_their_text(truth: TruthTable, lists: dict[str, PairList]) -> None:
    for part, score in scored(lists, truth, precisions=(0.5, 0.95, 1.0)).parts.items():
        assert list(score.recall_at_precision) == ["0.5", "0.95", "1.0"]
        pairs = lists[part]
        ranking = metrics.rank(pairs.scores, pairs.correct, score.positives)
        for text, point in score.recall_at_precision.items():
            expected = metrics.recall_at_precision(ranking, float(text))
            assert point.recall == (expected and expected.recall)
            assert point.threshold == (expected and expected.threshold)


@pytest.mark.parametrize(("protocol", "recall"), [(NDEC_1, None), (DRIVENDATA, 0.0)])
def test_a_precision_never_reached_is_null_or_what_the_protocol_says(protocol: Protocol, recall: float | None) -> None:
    truth = TruthTable(Split("s", GroundTruth(("Q1", "Q2"), (("Q1", "R1"),))))
    codes = truth.query_codes(["Q2", "Q1"])
    pairs = truth.pairs(codes, truth.reference_codes(["R1", "R1"]), np.array([2.0, 1.0]))
    score = scored({"all": pairs}, truth, protocol=protocol, replicates=40, precisions=(0.95,)).parts["all"]
    assert (score.recall_at_p90, score.threshold_at_p90) == (recall, None)
    point = score.recall_at_precision["0.95"]
    assert (point.recall, point.threshold) == (recall, None)
    # It is reached where Q1 was drawn and Q2 was not; a replicate that never reaches it counts 0.
    reached = [float(first > 0 and second == 0) for first, second in bootstrap.weights(truth.keys, 0, 40).T]
    assert score.replicates is not None
    assert score.replicates.recall_at_p90 == reached
    assert set(reached) == {0.0, 1.0}


def test_incomplete_parts_are_marked(truth: TruthTable, lists: dict[str, PairList]) -> None:
    parts = scored(lists, truth, incomplete=frozenset({"isc"})).parts
    assert {part: score.complete for part, score in parts.items()} == {"all": True, "isc": False, "mine": True}


def test_edits_count_the_copies_of_the_part(truth: TruthTable, lists: dict[str, PairList]) -> None:
    parts = scored(lists, truth).parts
    copies = {part: {k: v.copies for k, v in (score.recall_by_edit or {}).items()} for part, score in parts.items()}
    # Q050 is not a copy; of Q000, Q003, ..., Q042 the first ten are copies.
    assert copies == {
        "all": {"crop": 30, "text": 1},
        "isc": {"crop": 30, "text": 1},
        "mine": {"crop": 10, "text": 1},
    }


def test_an_empty_list_scores_zero(truth: TruthTable) -> None:
    none = np.zeros(0, dtype=np.int64)
    empty = truth.pairs(none, none, np.zeros(0))
    found = scored(dict.fromkeys(("all", "isc"), empty), truth, replicates=5, threshold=0.0)
    everything, account = found.parts["all"], found.account
    assert (everything.micro_ap, everything.recall_at_10, everything.predictions) == (0.0, 0.0, 0)
    assert found.parts["isc"].micro_ap_interval == (0.0, 0.0)
    assert account is not None
    assert (account.at_p90_isc, account.cost) == (None, 0.0)
    assert account.at_own_threshold is not None
    assert account.at_own_threshold.alerts_per_true_match_interval is None
