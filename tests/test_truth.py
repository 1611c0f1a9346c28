"""NDEC's ground truth from two sources: published, derived, both, neither. Pairs are made up, ids and counts true."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from made_truth import DEV, HARD, ISC, NDEC, PAIRS, digest, put, records

from ndec_bench.data import known
from ndec_bench.data.ground_truth import GroundTruth
from ndec_bench.data.truth import derive, settle
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "KNOWN", records())


def test_the_published_file_is_used_and_dev_agrees(tmp_path: Path) -> None:
    put(tmp_path, "ndec/public_ground_truth_h5.csv", NDEC)
    assert settle(tmp_path, None).note == "ground truth of NDEC: published file, public_ground_truth_h5.csv"
    put(tmp_path, "disc21/dev_ground_truth.csv", DEV)
    settled = settle(tmp_path, ISC + HARD)
    assert settled.used == "published"
    assert settled.note.endswith("public_ground_truth_h5.csv; DISC21 dev agrees with it")
    assert not (tmp_path / "ndec" / known.DERIVED_FILE).exists()


def test_without_it_one_is_derived_that_scores_the_same(tmp_path: Path) -> None:
    put(tmp_path / "a", "ndec/public_ground_truth_h5.csv", NDEC)
    put(tmp_path / "b", "disc21/dev_ground_truth.csv", DEV)
    settled = settle(tmp_path / "b", frozenset(ISC + HARD))
    assert settled.used == "derived"
    assert settled.path == tmp_path / "b" / "ndec" / known.DERIVED_FILE
    derived, published = (known.load("ndec", tmp_path / side) for side in "ba")
    assert derived.sha256 == published.sha256
    assert derived.hard_negatives == frozenset(HARD)
    assert derived.source == str(settled.path)


def test_the_derived_file_goes_once_the_published_is_there(tmp_path: Path) -> None:
    put(tmp_path, "disc21/dev_ground_truth.csv", DEV)
    settle(tmp_path, ISC + HARD)
    put(tmp_path, "ndec/public_ground_truth_h5.csv", NDEC)
    assert settle(tmp_path, ISC + HARD).used == "published"
    assert not (tmp_path / "ndec" / known.DERIVED_FILE).exists()


def test_it_waits_for_the_query_archive_and_says_so(tmp_path: Path) -> None:
    put(tmp_path, "disc21/dev_ground_truth.csv", DEV)
    settled = settle(tmp_path, None)
    assert settled.used is None
    assert "not complete before the query archive is there" in settled.note
    assert "disc21-dev2 works" in settled.note
    assert known.load("disc21-dev2", tmp_path).truth.pairs == PAIRS


def test_nothing_at_hand(tmp_path: Path) -> None:
    assert settle(tmp_path, ISC).note == "ground truth of NDEC: none, and that of DISC21 dev is missing too"


def test_the_published_file_is_no_second_opinion_on_itself(tmp_path: Path) -> None:
    put(tmp_path, "ndec/public_ground_truth_h5.csv", NDEC)
    assert "agrees" not in settle(tmp_path, ISC + HARD).note


def test_two_that_disagree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    swapped = (*PAIRS[:-2], (PAIRS[-2][0], PAIRS[-1][1]), (PAIRS[-1][0], PAIRS[-2][1]))
    changed = replace(known.KNOWN["ndec"], pairs_sha256=digest(tuple(sorted(swapped))))
    monkeypatch.setitem(known.KNOWN, "ndec", changed)  # type: ignore[arg-type]  # a dict in tests
    put(tmp_path, "ndec/public_ground_truth_h5.csv", replace(NDEC, pairs=tuple(sorted(swapped))))
    put(tmp_path, "disc21/dev_ground_truth.csv", DEV)
    with pytest.raises(DataError, match="those of DISC21 dev II, which are here too"):
        settle(tmp_path, ISC + HARD)


def test_a_wrong_archive_is_told(tmp_path: Path) -> None:
    put(tmp_path, "ndec/public_ground_truth_h5.csv", NDEC)
    note = settle(tmp_path, (*ISC, *HARD[:-1], "Q99999")).note
    assert "WARNING: 2 queries of the file and of the query archive differ (Q74251 is only in the file)" in note


@pytest.mark.parametrize(
    ("queries", "said"),
    [
        (ISC + HARD[1:], "25,000 ISC queries and 24,251 others"),
        (ISC[1:] + HARD, "24,999 ISC queries and 24,252 others, .*; the first ISC query missing is Q25000"),
        (tuple(f"Q{n}" for n in range(50_000, 99_252)), "0 ISC queries and 49,252 others"),
    ],
)
def test_other_images_than_ndecs_cannot_be_its_queries(tmp_path: Path, queries: tuple[str, ...], said: str) -> None:
    with pytest.raises(DataError, match=said):
        derive(GroundTruth(ISC, PAIRS, listed=True), queries)
    put(tmp_path, "disc21/dev_ground_truth.csv", DEV)
    settled = settle(tmp_path, queries)
    assert settled.used is None
    assert "cannot be derived: NDEC's query images: " in settled.note
