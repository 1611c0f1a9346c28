"""What ``import ndec_bench`` offers: the examples of its docstrings, and every way to name a submission and a split."""

from __future__ import annotations

import doctest
from importlib import import_module
from typing import TYPE_CHECKING

import h5py
import pytest

import ndec_bench as nb
from ndec_bench.data.ground_truth import write_ground_truth
from ndec_bench.descriptors import Submission, write_submission
from ndec_bench.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODULES = ["ndec_bench.scoring.score", "ndec_bench.scoring.evaluator", "ndec_bench.deciding.doors"]


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_of_the_docstrings_run(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(import_module(module))
    assert found.failed == 0
    assert found.attempted > 0


def test_every_public_name_is_there() -> None:
    assert {name for name in nb.__all__ if getattr(nb, name, None) is None} == set()


def test_submissions_of_every_kind_score_the_same(
    make_submission: Callable[..., tuple[Submission, nb.Split]], tmp_path: Path
) -> None:
    submission, split = make_submission()
    write_submission(tmp_path / "mine.h5", submission)
    sides = {"q.h5": submission.queries, "r.h5": submission.references}
    for name, side in sides.items():
        with h5py.File(tmp_path / name, "w") as file:
            file["vectors"], file["image_names"] = side.vectors, list(side.ids)
    of_arrays = nb.score(submission, split=split, replicates=0, name="mine")
    by_file = nb.score(tmp_path / "mine.h5", split=split, replicates=0)
    by_sides = nb.score([tmp_path / "q.h5"], [tmp_path / "r.h5"], split=split, replicates=0)
    assert (by_file.name, by_sides.name) == ("mine", "q")
    assert of_arrays.parts == by_file.parts == by_sides.parts
    nb.score(submission, split=split, replicates=0, save_matches=tmp_path / "pairs.csv")
    assert nb.score(str(tmp_path / "pairs.csv"), split=split, replicates=0).parts == of_arrays.parts


def test_a_split_is_an_object_a_name_a_folder_or_a_ground_truth(
    make_submission: Callable[..., tuple[Submission, nb.Split]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission, split = make_submission()
    monkeypatch.setenv("NDEC_ROOT", str(tmp_path / "nothing"))
    (tmp_path / "gt.csv").write_text(write_ground_truth(split.truth))
    assert nb.score(submission, split=tmp_path / "gt.csv", replicates=0).split.startswith("user-")
    for unknown in ("ndec", tmp_path):
        with pytest.raises(DataError):
            nb.score(submission, split=unknown, replicates=0)
    with pytest.raises(UsageError, match="does not say which split it is for"):
        nb.score(submission, replicates=0)
    with pytest.raises(UsageError, match="several files"):
        nb.score(["a.h5", "b.h5"], split=split)
