"""``ndec-bench run``: steps, matchers, what is recorded, and the comparison with published numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import toy_baselines
from toy_split import COLOURS, make_toy_split

import ndec_bench as nb
from ndec_baselines import registry, running
from ndec_baselines.base import Registration
from ndec_bench.cli import run
from ndec_bench.data.split import Split
from ndec_bench.descriptors import read_attributes, read_submission
from ndec_bench.errors import UsageError
from ndec_bench.matches import read_pairs
from ndec_bench.results.differences import verdict
from ndec_bench.results.record import read_result
from ndec_bench.submissions.card import read_card

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("toy-mean", "toy-pairs"):
        monkeypatch.setitem(registry.BASELINES, name, "toy_baselines:BASELINES")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_toy_split(tmp_path / "data")


@pytest.fixture
def line(root: Path, tmp_path: Path) -> list[str]:
    return ["--split", "toy-1", "--root", str(root), "--out", str(tmp_path / "out")]


@pytest.mark.parametrize("start", [nb.run, nb.describe])
def test_from_python_a_missing_package_is_an_error_with_its_remedy(
    start: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = replace(toy_baselines.CARD, requires=("no_such_package",))
    monkeypatch.setitem(toy_baselines.BASELINES, "toy-mean", Registration(card, lambda *_: None))
    split = make_toy_split(tmp_path) / "toy-1"
    with pytest.raises(UsageError, match=r"toy-mean needs no_such_package, not installed here; pip install"):
        start("toy-mean", Split.from_folder(split) if start is nb.run else split / "images", tmp_path / "out")


def test_the_record_carries_the_full_name_however_it_was_asked_for(
    line: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.ALIASES, "toy", "toy-mean")
    assert run(["run", "toy", *line]) == 0
    result = read_result(tmp_path / "out" / "results" / "ndec-1" / "toy-mean.json")
    assert (result.name, result.provenance.command) == ("toy-mean", "ndec-bench run toy-mean --split toy-1")


def test_published_steps_are_applied_and_recorded(line: list[str], tmp_path: Path) -> None:
    assert run(["run", "toy-mean", *line]) == 0
    out = tmp_path / "out"
    packed = read_submission(out / "submissions" / "toy-mean" / "toy-mean.h5")
    mean = np.mean(COLOURS["background"], axis=0)
    assert np.allclose(packed.queries.vectors, np.array(COLOURS["queries"]) - mean, atol=1e-4)
    assert np.allclose(packed.references.read(0, 4), np.array(COLOURS["references"]) - mean, atol=1e-4)
    assert read_attributes(out / "submissions" / "toy-mean" / "toy-mean.h5")["steps"] == "centre"
    card = read_card(out / "submissions" / "toy-mean" / "submission.toml")
    assert (card.track, card.declarations.background) == ("descriptor", "other")
    assert card.method.title == "Mean colour"
    assert card.method.description.endswith("plus one. Then, as ndec-bench postprocess does it: centre.")
    result = read_result(out / "results" / "ndec-1" / "toy-mean.json")
    assert result.provenance.command == "ndec-bench run toy-mean --split toy-1"
    assert result.describing is not None
    assert result.describing.images == 11


def test_norms_of_the_baseline_reach_the_submission(line: list[str], tmp_path: Path) -> None:
    assert run(["run", "toy-mean", *line]) == 0
    packed = read_submission(tmp_path / "out" / "submissions" / "toy-mean" / "toy-mean.h5")
    assert packed.query_norms is not None
    assert packed.query_norms.tolist() == pytest.approx([213, 213, 223])


def test_a_run_is_scored_by_an_asymmetric_rule(line: list[str], tmp_path: Path) -> None:
    assert run(["run", "toy-mean", *line, "--asymmetric", "tilt:2", "--name", "ruled"]) == 0
    out = tmp_path / "out"
    result = read_result(out / "results" / "ndec-1" / "ruled.json")
    assert "|asym:tilt:2.0|" in result.signature
    assert result.direction is not None
    assert (result.direction.rule, result.direction.true_pairs) == ("tilt:2.0", 2)
    assert result.provenance.command == "ndec-bench run toy-mean --split toy-1 --name ruled --asymmetric tilt:2.0"
    card = read_card(out / "submissions" / "ruled" / "submission.toml")
    assert card.method.title == "Mean colour, asymmetric tilt:2.0"


def test_other_steps_or_none(line: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out" / "submissions"
    assert run(["run", "toy-mean", *line, "--no-steps", "--name", "plain"]) == 0
    packed = read_submission(out / "plain" / "plain.h5")
    assert np.array_equal(packed.queries.vectors, np.array(COLOURS["queries"], np.float32) + 1)
    card = read_card(out / "plain" / "submission.toml")
    assert (card.declarations.background, card.method.title) == ("none", "Mean colour, plain")
    assert not list((tmp_path / "out" / "descriptors").rglob("background-*"))
    assert run(["run", "toy-mean", *line, "--step", "centre", "--step", "l2", "--name", "unit"]) == 0
    packed = read_submission(out / "unit" / "unit.h5")
    assert np.linalg.norm(packed.queries.vectors, axis=1) == pytest.approx(1)
    assert read_card(out / "unit" / "submission.toml").method.title == "Mean colour + centre, l2"
    result = read_result(tmp_path / "out" / "results" / "ndec-1" / "unit.json")
    assert result.provenance.command == ("ndec-bench run toy-mean --split toy-1 --name unit --step centre --step l2")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--step", "l2", "--no-steps"], "contradict"),
        (["--step", "whiten"], "whiten"),
        (["--check", "--step", "centre", "--step", "l2"], "no published number of toy-mean on toy-1 after the steps"),
        (["--detections", "boxes.csv"], "does not cut queries"),
        (["--asymmetric", "tilt:0"], "expected none, ratio"),
        (["--asymmetric", "ratio", "--check"], "--asymmetric ratio and --check contradict"),
        (["--check", "--step", "pca:dim=1,whiten=no"], "known on toy-1, after their own steps, with detections"),
    ],
)
def test_wrong_use_is_told_before_the_work(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert run(["run", "toy-mean", *line, *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_background_is_told_before_the_work(
    root: Path, line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (root / "toy-1" / "images" / "background").iterdir():
        path.unlink()
    assert run(["run", "toy-mean", *line]) == 4
    assert "background" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_matcher_leaves_pairs_and_a_result(line: list[str], tmp_path: Path) -> None:
    assert run(["run", "toy-pairs", *line]) == 0
    out = tmp_path / "out"
    pairs = read_pairs(out / "submissions" / "toy-pairs" / "toy-pairs.csv")
    assert len(pairs) == 12
    # By hand: 10 of red apart, 10 of green apart, then 70 + 10 for the look-alike.
    assert [*zip(pairs.query_ids[:3], pairs.reference_ids[:3], pairs.scores[:3], strict=True)] == [
        ("Q00000", "R000000", -10.0),
        ("Q00001", "R000001", -10.0),
        ("Q00002", "R000002", -80.0),
    ]
    result = read_result(out / "results" / "ndec-1" / "toy-pairs.json")
    assert (result.track, result.metric, result.parts["all"].micro_ap) == ("matching", "score", 1.0)
    assert result.describing is not None
    assert (result.describing.baseline, result.describing.images) == ("toy-pairs 1", 7)
    card = read_card(out / "submissions" / "toy-pairs" / "submission.toml")
    assert (card.track, card.declarations.background) == ("matching", "none")
    assert card.descriptors is not None
    assert card.descriptors.sha256 == result.digests.submission


def test_a_matcher_that_takes_background_images_declares_them(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = replace(toy_baselines.BASELINES["toy-pairs"].card, background=True)
    taking = Registration(card, lambda *_: toy_baselines.MeanPairs(card))
    monkeypatch.setitem(toy_baselines.BASELINES, "toy-pairs", taking)
    running.run("toy-pairs", "toy-1", tmp_path / "out", root=root)
    submitted = read_card(tmp_path / "out" / "submissions" / "toy-pairs" / "submission.toml")
    assert submitted.declarations.background == "other"


def test_pairs_have_no_norms_for_a_rule(line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "toy-pairs", *line, "--asymmetric", "ratio"]) == 2
    assert "--asymmetric ratio: toy-pairs scores pairs, which have no norms" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_matching_takes_is_that_of_a_run_that_did_all_the_work(line: list[str], tmp_path: Path) -> None:
    file = tmp_path / "out" / "results" / "ndec-1" / "toy-pairs.json"
    assert run(["run", "toy-pairs", *line]) == 0
    first = read_result(file).describing
    assert first is not None
    assert (first.images, first.seconds is not None) == (7, True)
    assert run(["run", "toy-pairs", *line]) == 0
    assert read_result(file).describing == first
    (work,) = (tmp_path / "out" / "matching" / "toy-pairs").iterdir()
    (record,) = work.glob("took-*.json")
    record.rename(work / "something-else")
    assert run(["run", "toy-pairs", *line]) == 0
    again = read_result(file).describing
    assert again is not None
    assert (again.images, again.seconds) == (7, None)


def test_a_matcher_has_no_descriptors_and_takes_no_steps(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["describe", "toy-pairs", "--images", str(tmp_path), "--out", str(tmp_path / "x.h5")]) == 2
    assert '"ndec-bench run toy-pairs" does it all' in capsys.readouterr().err
    assert run(["run", "toy-pairs", *line, "--step", "l2"]) == 2
    assert "there are no descriptors for steps" in capsys.readouterr().err
    assert run(["run", "toy-pairs", *line, "--precision", "float16"]) == 2


def test_check_compares_every_number_of_these_steps(line: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["run", "toy-mean", *line, "--check"]) == 0
    shown = capsys.readouterr().err
    rows = [row.split() for row in shown.splitlines() if "worked out by hand" in row]
    assert [row[:5] for row in rows] == [
        ["micro_ap", "ndec-1", "OK", "1.00000", "1.00000"],
        ["recall_at_1", "isc2021", "OK", "1.00000", "1.00000"],
    ]


def test_check_says_close_and_fail_and_keeps_the_result(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["run", "toy-mean", *line, "--check", "--no-steps", "--name", "near"]) == 0
    assert ["micro_ap", "ndec-1", "close", "0.99500", "1.00000"] in [
        row.split()[:5] for row in capsys.readouterr().err.splitlines()
    ]
    assert run(["run", "toy-mean", *line, "--check", "--step", "l2", "--name", "wrong"]) == 3
    shown = capsys.readouterr().err
    assert "does not reproduce: micro_ap under ndec-1 is 1.00000, published 0.50000" in shown
    assert (tmp_path / "out" / "results" / "ndec-1" / "wrong.json").is_file()


@pytest.mark.parametrize(
    ("published", "measured", "expected"),
    [
        (0.652, 0.652, "OK"),
        (0.652, 0.654, "OK"),
        (0.652, 0.6541, "close"),
        (0.652, 0.642, "close"),
        (0.652, 0.6419, "FAIL"),
        (0.0, None, "FAIL"),
    ],
)
def test_verdicts(published: float, measured: float | None, expected: str) -> None:
    assert verdict(published, measured) == expected
