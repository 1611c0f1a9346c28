"""What is refused in a file is refused in Python too, when the record is made."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from ndec_bench import Descriptors, Evaluator, Matches, Split, alarm_curve, operating_point, score, score_matches
from ndec_bench.descriptors import Submission
from ndec_bench.errors import DataError, NdecBenchError, SubmissionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Ids = NDArray[np.str_]
    Numbers = list[float]

QUERIES, REFERENCES = np.array(["Q1", "Q2"]), np.array(["R1", "R2"])


@pytest.mark.parametrize(
    ("query_ids", "reference_ids", "scores", "message"),
    [
        (QUERIES, REFERENCES, [0.5, np.nan], "scores: nan at 1, expected a finite number"),
        (QUERIES, REFERENCES, [np.inf, 0.5], "scores: inf at 0, expected a finite number"),
        (QUERIES[[0, 0]], REFERENCES[[1, 1]], [0.5, 0.4], "the pair Q1,R2 appears twice"),
        (QUERIES, REFERENCES, [0.5], "2 query ids, 2 reference ids and 1 scores"),
        (QUERIES, REFERENCES, [1, 2], "scores: int64 of shape"),
        (QUERIES, REFERENCES, [[0.5, 0.4]], "scores: float64 of shape"),
        (QUERIES.astype("S"), REFERENCES, [0.5, 0.4], "query_ids: |S2 of shape"),
        (QUERIES, np.array([1, 2]), [0.5, 0.4], "reference_ids: int64 of shape"),
        (np.array(["Q1", None], dtype=object), REFERENCES, [0.5, 0.4], "query_ids: object of shape"),
        (np.array(["Q1\0", "Q1"], dtype=object), REFERENCES, [0.5, 0.4], "has characters that cannot be printed"),
        (np.ma.array(QUERIES, mask=[True, False]), REFERENCES, [0.5, 0.4], "query_ids: some values are masked"),
        (QUERIES, REFERENCES, np.ma.array([0.5, 0.4], mask=[True, False]), "scores: some values are masked"),
        (QUERIES, REFERENCES, [[0.5], [0.4, 0.3]], "scores: list cannot be read as a plain array"),
        (np.array(["Q1", ""]), REFERENCES, [0.5, 0.4], 'query_ids: "" at 1 is empty'),
        (np.array(["Q1", "Q\n2"]), REFERENCES, [0.5, 0.4], "has characters that cannot be printed"),
    ],
)
def test_pairs_that_a_file_may_not_hold(query_ids: Ids, reference_ids: Ids, scores: Numbers, message: str) -> None:
    with pytest.raises(SubmissionError) as error:
        Matches(query_ids, reference_ids, scores)  # type: ignore[arg-type]
    assert message in str(error.value)


def test_pairs_in_any_plain_form_are_the_same() -> None:
    usual = Matches(QUERIES, REFERENCES, np.array([0.5, 0.25]))
    lists = Matches(["Q1", "Q2"], ["R1", "R2"], [0.5, 0.25])  # type: ignore[arg-type]
    assert lists.sha256 == usual.sha256
    single = Matches(QUERIES, REFERENCES, np.array([0.5, 0.25], dtype=np.float32))  # type: ignore[arg-type]
    assert (single.sha256, single.scores.dtype) == (usual.sha256, np.float64)
    assert len(Matches(np.array([]), np.array([]), np.array([]))) == 0


@pytest.mark.parametrize("kind", ["str", "object", "category", "string[pyarrow]"])
def test_columns_of_pandas_are_the_usual_way_in(kind: str) -> None:
    usual = Matches(QUERIES, REFERENCES, np.array([0.5, 0.25]))
    table = pd.DataFrame({"query": QUERIES, "reference": REFERENCES}, index=[7, 3]).astype(kind)
    scores = pd.Series([0.5, 0.25], index=[7, 3])
    columns = Matches(table["query"], table["reference"], scores)  # type: ignore[arg-type]
    arrays = Matches(table["query"].to_numpy(), table["reference"].to_numpy(), scores.to_numpy())
    assert columns.sha256 == arrays.sha256 == usual.sha256
    assert columns.query_ids.dtype == usual.query_ids.dtype


def test_scores_may_be_tensors() -> None:
    torch = pytest.importorskip("torch")
    usual = Matches(QUERIES, REFERENCES, np.array([0.5, 0.25]))
    plain = torch.tensor([0.5, 0.25])
    for scores in (plain.clone().requires_grad_(), plain.bfloat16(), plain.double()):
        assert Matches(QUERIES, REFERENCES, scores).sha256 == usual.sha256
    for scores, message in ((plain.to_sparse(), "Tensor cannot be read as a plain array"), (plain.int(), "int32")):
        with pytest.raises(SubmissionError, match=message):
            Matches(QUERIES, REFERENCES, scores)


@pytest.mark.parametrize(
    "options",
    [
        {"precisions": (np.nan,)},
        {"precisions": (2,)},
        {"precisions": (-1,)},
        {"precisions": ["a"]},
        {"precisions": 0.5},
        {"threshold": np.nan},
        {"threshold": np.inf},
        {"threshold": "x"},
        {"threshold": 10**400},
        {"replicates": -1},
        {"replicates": "10"},
        {"replicates": 1.5},
        {"threads": "2"},
        {"threads": 0},
        {"protocol": "ndec-0"},
        {"protocol": 3},
        {"asymmetric": None},
        {"name": 5},
        {"save_matches": 5},
    ],
)
def test_options_out_of_range(
    options: dict[str, object], make_submission: Callable[..., tuple[Submission, Split]]
) -> None:
    submission, split = make_submission()
    name = next(iter(options))
    with pytest.raises(UsageError, match=f"^{name.removesuffix('s')}"):
        score(submission, split=split, **options)
    if name in ("threads", "protocol"):
        with pytest.raises(UsageError, match=f"^{name}"):
            Evaluator(split, **options)  # type: ignore[arg-type]


def test_options_in_any_plain_form(make_submission: Callable[..., tuple[Submission, Split]], tmp_path: Path) -> None:
    submission, split = make_submission()
    saved = tmp_path / "list.csv"
    options = {"precisions": [np.float32(0.5)], "threshold": np.float32(0.5), "save_matches": str(saved)}
    result = score(submission, split=split, protocol="isc2021", replicates=np.int64(0), **options)
    assert (result.protocol, saved.exists()) == ("isc2021", True)


@pytest.mark.parametrize(
    ("query_ids", "message"),
    [
        ({"Q1", "Q2"}, "query_ids: set, expected ids in the order of the rows"),
        (frozenset({"Q1"}), "query_ids: frozenset"),
        ({"Q1": 1}, "query_ids: dict"),
        ("Q1", "query_ids: str"),
        (5, "query_ids: int"),
    ],
)
def test_ids_without_an_order(
    query_ids: object, message: str, make_submission: Callable[..., tuple[Submission, Split]]
) -> None:
    submission, split = make_submission()
    queries, references = submission.queries, submission.references
    assert isinstance(queries, Descriptors)
    assert isinstance(references, Descriptors)
    evaluator = Evaluator(replace(split, test=False))
    with pytest.raises(SubmissionError, match=message):
        evaluator(queries.vectors, references.vectors, query_ids, references.ids)  # type: ignore[arg-type]
    masked = np.ma.array(queries.vectors, mask=queries.vectors > 0)
    with pytest.raises(SubmissionError, match="queries: some values are masked"):
        evaluator(masked, references.vectors, queries.ids, references.ids)
    with pytest.raises(UsageError, match="replicates -1"):
        evaluator(queries.vectors, references.vectors, queries.ids, references.ids, replicates=-1)


def test_what_is_not_a_split_or_a_list() -> None:
    pairs = Matches(QUERIES, REFERENCES, np.array([0.5, 0.25]))
    with pytest.raises(UsageError, match="split 5 is not a split"):
        Evaluator(5)  # type: ignore[arg-type]
    for matches, split, message in ((pairs, 5, "split: int"), (None, None, "matches: NoneType")):
        with pytest.raises(UsageError, match=message):
            operating_point(matches, split=split, score=0.5)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=message):
            alarm_curve(matches, 0.5, split=split)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.nan, np.inf, "x"])
def test_goals_are_finite_numbers(value: float) -> None:
    pairs = Matches(QUERIES, REFERENCES, np.array([0.5, 0.25]))
    for name in ("max_alarms", "score", "prior"):
        with pytest.raises(UsageError, match=f"^{name} {value}; give a finite number"):
            operating_point(pairs, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=f"^score {value}; give a finite number"):
        alarm_curve(pairs, value)


def test_a_share_of_hard_negatives_that_are_not_known(tmp_path: Path) -> None:
    truth = tmp_path / "gt.csv"
    truth.write_text("query_id,reference_id\nQ1,R1\nQ2,\n")
    pairs = Matches(QUERIES, REFERENCES, np.array([0.5, 0.25]))
    with pytest.raises(UsageError, match="does not know which queries are hard negatives"):
        operating_point(pairs, split=truth, min_precision=0.5, hard_share=0.5)


def test_an_empty_list_of_hard_negatives(tmp_path: Path) -> None:
    truth, listed = tmp_path / "gt.csv", tmp_path / "hard.txt"
    truth.write_text("query_id,reference_id\nQ1,R1\nQ2,\n")
    listed.write_text("\n \n")
    with pytest.raises(DataError, match="no hard negative is listed"):
        Split.from_ground_truth(truth, hard_negatives=listed)


@pytest.mark.parametrize(
    ("ids", "vectors", "message"),
    [
        ((b"Q1", b"Q2"), np.eye(2, dtype=np.float32), "the id of row 0 is b'Q1', not text"),
        (("Q1", "Q2"), np.eye(2, dtype=np.int64), "int64, expected floating-point numbers"),
        (("Q1", "Q1"), np.eye(2, dtype=np.float32), "Q1"),
        (("Q1",), np.full((1, 2), np.nan, dtype=np.float32), "finite"),
    ],
)
def test_descriptors_that_a_file_may_not_hold(ids: tuple[str, ...], vectors: NDArray[np.float32], message: str) -> None:
    with pytest.raises(SubmissionError) as error:
        Descriptors(ids, vectors)
    assert message in str(error.value)


def test_a_metric_is_known_before_the_first_epoch(make_submission: Callable[..., tuple[Submission, Split]]) -> None:
    submission, split = make_submission()
    with pytest.raises(UsageError, match="metric 'cosine' is not known; give one of l2, ip"):
        Evaluator(split, metric="cosine")  # type: ignore[arg-type]
    with pytest.raises(SubmissionError, match="metric 'cosine' is not known"):
        Submission(submission.queries, submission.references, metric="cosine")  # type: ignore[arg-type]
    ids = submission.queries.ids, [name.encode() for name in submission.references.ids]
    assert isinstance(submission.references, Descriptors)
    with pytest.raises(NdecBenchError, match="not text"), pytest.warns(UserWarning, match="is a test split"):
        Evaluator(split)(submission.queries.vectors, submission.references.vectors, *ids)


def test_float32_scores_are_scored(make_submission: Callable[..., tuple[Submission, Split]]) -> None:
    _, split = make_submission()
    pairs = np.array(sorted(split.truth.pairs))
    scores = np.linspace(1, 0, len(pairs), dtype=np.float32)
    result = score_matches(Matches(pairs[:, 0], pairs[:, 1], scores), split)  # type: ignore[arg-type]
    assert result.parts["all"].micro_ap == 1.0
