"""Choices by hash: fixed, nested, independent of order; those of ndec-val-1 are frozen."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import pytest

from ndec_bench.data import known
from ndec_bench.data.own_splits import chosen
from ndec_bench.download.derived.val import QUERIES_SHA256, REFERENCES_SHA256, RULE, ValRule, val_ids
from ndec_bench.errors import DataError

DEV_1 = Path(__file__).parents[2] / "shared" / "data" / "disc21_dev1_ground_truth.csv"
IDS = tuple(f"R{number:06d}" for number in range(200))


def test_the_smallest_hashes_are_chosen() -> None:
    ranked = sorted(IDS, key=lambda each: hashlib.sha256(f"a key {each}".encode()).hexdigest())
    assert chosen(IDS, 7, "a key") == tuple(sorted(ranked[:7]))


def test_choices_are_nested_and_need_no_order() -> None:
    assert set(chosen(IDS, 5, "k")) < set(chosen(reversed(IDS), 50, "k"))
    assert chosen(IDS, 50, "k") != chosen(IDS, 50, "l")
    assert chosen(IDS, 0, "k") == ()
    assert chosen(IDS, 1000, "k") == IDS


def test_a_choice_is_the_same_everywhere() -> None:
    # By the command sha256sum over the texts "ndec-subset-1 0 R000000" to "ndec-subset-1 0 R000199", sorted.
    assert chosen(IDS, 3, "ndec-subset-1 0") == ("R000101", "R000102", "R000132")


@pytest.mark.skipif(not DEV_1.is_file(), reason="needs the published ground truth of dev I")
def test_the_ids_of_ndec_val_1_are_the_frozen_ones() -> None:
    truth = known.read("disc21-dev1", DEV_1)
    ids = val_ids(truth)
    assert (len(ids.queries), len(ids.references)) == (4_991 + 5_000, 4_991 + 20_000)
    assert not {query for query, _ in ids.pairs}.intersection(ids.distractors)
    fewer = type(truth)(truth.query_ids, truth.pairs[1:], listed=True)
    with pytest.raises(DataError, match=r"queries of dev I chosen have SHA-256 [0-9a-f]{64}, frozen is 2de1cdac"):
        val_ids(fewer)
    assert val_ids(fewer, ValRule(distractors=1)).distractors
    assert ValRule() == RULE


def test_the_frozen_digests_are_the_golden_ones() -> None:
    golden = tomllib.loads((Path(__file__).parent / "golden" / "ndec-val-1.toml").read_text())
    assert (golden["queries"]["sha256"], golden["references"]["sha256"]) == (QUERIES_SHA256, REFERENCES_SHA256)
    counts = (4_991 + RULE.distractors, 4_991 + RULE.others)
    assert counts == (golden["queries"]["count"], golden["references"]["count"])
