"""Scores between epochs."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ndec_bench import Evaluator, Split
from ndec_bench.errors import DataError, SubmissionError
from ndec_bench.scoring.evaluator import TestSplitWarning
from ndec_bench.scoring.score import Options, score_descriptors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ndec_bench.descriptors import Submission


@pytest.fixture
def arrays(make_submission: Callable[..., tuple[Submission, Split]]) -> tuple[Submission, Split]:
    submission, split = make_submission()
    return submission, replace(split, test=False)


def call(evaluator: Evaluator, submission: Submission, convert: Callable[[np.ndarray], object], **more: object):  # noqa: ANN201
    q, r = submission.queries, submission.references.read(0, len(submission.references))
    return evaluator(convert(q.vectors), convert(r), q.ids, submission.references.ids, **more)  # type: ignore[arg-type]


def test_the_result_is_that_of_a_file_without_intervals(arrays: tuple[Submission, Split]) -> None:
    submission, split = arrays
    result = call(Evaluator(split), submission, lambda x: x)
    expected = score_descriptors(submission, split, options=Options(name="evaluation", replicates=0))
    assert result.parts == expected.parts
    assert result.hard_negatives == expected.hard_negatives
    assert result.predictions_sha256 == expected.predictions_sha256
    assert result.parts["all"].replicates is None
    with_intervals = call(Evaluator(split), submission, lambda x: x, replicates=50)
    assert len(with_intervals.parts["all"].replicates.micro_ap) == 50


def test_torch_tensors_of_any_kind_are_taken(arrays: tuple[Submission, Split]) -> None:
    torch = pytest.importorskip("torch")
    submission, split = arrays
    evaluator = Evaluator(split, metric="ip")
    plain = call(evaluator, submission, lambda x: x)
    learning = call(evaluator, submission, lambda x: torch.tensor(x, requires_grad=True) * 1.0)
    assert learning.predictions_sha256 == plain.predictions_sha256
    double = call(evaluator, submission, lambda x: torch.from_numpy(x).double())
    assert double.predictions_sha256 == plain.predictions_sha256
    assert double.stored_dtype == "float64"
    coarse = call(evaluator, submission, lambda x: torch.from_numpy(x).bfloat16())
    assert coarse.stored_dtype == "bfloat16"
    as_coarse = call(evaluator, submission, lambda x: torch.from_numpy(x).bfloat16().float().numpy())
    assert coarse.predictions_sha256 == as_coarse.predictions_sha256
    half = call(evaluator, submission, lambda x: torch.from_numpy(x).half())
    assert half.predictions_sha256 == call(evaluator, submission, lambda x: x.astype(np.float16)).predictions_sha256


def test_a_test_split_warns_once(arrays: tuple[Submission, Split]) -> None:
    submission, split = arrays
    evaluator = Evaluator(replace(split, test=True))
    with pytest.warns(TestSplitWarning, match="is a test split: select nothing on this"):
        call(evaluator, submission, lambda x: x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call(evaluator, submission, lambda x: x)
        call(Evaluator(split), submission, lambda x: x)


def test_unusable_arrays_are_refused(arrays: tuple[Submission, Split]) -> None:
    submission, split = arrays
    evaluator = Evaluator(split)
    with pytest.raises(SubmissionError, match=r"queries: int64 of shape .*expected floating-point"):
        call(evaluator, submission, lambda x: x.astype(np.int64))
    with pytest.raises(SubmissionError, match="expected floating-point numbers of shape"):
        call(evaluator, submission, lambda x: x.ravel())
    with pytest.raises(SubmissionError, match="holds nan"):
        call(evaluator, submission, lambda x: x * np.float32(np.nan))
    with pytest.raises(SubmissionError, match="holds inf"):
        call(evaluator, submission, lambda x: x.astype(np.float64) * 1e39)
    q, r = submission.queries, submission.references
    with pytest.raises(SubmissionError, match="same model"):
        evaluator(q.vectors[:, :1], r.read(0, len(r)), q.ids, r.ids)
    with pytest.raises(SubmissionError, match="labelled queries have no row"):
        evaluator(q.vectors[1:], r.read(0, len(r)), q.ids[1:], r.ids)


def test_a_name_leads_to_the_split_under_the_root(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ground truth of DISC21 dev I .* is not under"):
        Evaluator("disc21-dev1", root=tmp_path)
