"""What is refused in a file is refused in Python too, when the record is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from ndec_bench import Descriptors, Evaluator, Matches, score_matches
from ndec_bench.descriptors import Submission
from ndec_bench.errors import NdecBenchError, SubmissionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ndec_bench.data.split import Split

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
        (np.array(["Q1", ""]), REFERENCES, [0.5, 0.4], 'query_ids: "" at 1 is empty'),
        (np.array(["Q1", "Q\n2"]), REFERENCES, [0.5, 0.4], "has characters that cannot be printed"),
    ],
)
def test_pairs_that_a_file_may_not_hold(query_ids: Ids, reference_ids: Ids, scores: Numbers, message: str) -> None:
    with pytest.raises(SubmissionError) as error:
        Matches(query_ids, reference_ids, np.array(scores))
    assert message in str(error.value)


def test_pairs_in_any_plain_form_are_the_same() -> None:
    usual = Matches(QUERIES, REFERENCES, np.array([0.5, 0.25]))
    lists = Matches(["Q1", "Q2"], ["R1", "R2"], [0.5, 0.25])  # type: ignore[arg-type]
    assert lists.sha256 == usual.sha256
    single = Matches(QUERIES, REFERENCES, np.array([0.5, 0.25], dtype=np.float32))  # type: ignore[arg-type]
    assert (single.sha256, single.scores.dtype) == (usual.sha256, np.float64)
    assert len(Matches(np.array([]), np.array([]), np.array([]))) == 0


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
