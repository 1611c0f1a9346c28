"""Asymmetric rules: their grammar, and their numbers by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ndec_bench.errors import UsageError
from ndec_bench.results.record import Signature
from ndec_bench.search import NO_RULE, RATIO, PairRule, Rule, Wanted, parse_rule

QUERY = np.array([1.0, 5.0, 2.0, 4.0], dtype=np.float32)
REFERENCE = np.array([2.0, 3.0, 2.0, 0.5], dtype=np.float32)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("ratio", "ratio"),
        ("ratio-after-list", "ratio-after-list"),
        ("tilt:0.50", "tilt:0.5"),
        ("tilt:.5", "tilt:0.5"),
        ("tilt:5e-1", "tilt:0.5"),
        ("hinge:2", "hinge:2.0"),
        ("hinge:2.", "hinge:2.0"),
        ("hinge:1E22", "hinge:1e+22"),
        ("hinge:0.1000000000000000055511151231257827", "hinge:0.1"),
    ],
)
def test_the_canonical_text_reads_back_and_stands_in_signatures(text: str, canonical: str) -> None:
    rule = parse_rule(text)
    assert str(rule) == canonical
    assert parse_rule(canonical) == rule
    signature = Signature(
        split="s",
        protocol="ndec-1",
        candidates="global10",
        metric="l2",
        asymmetric=canonical,
        ground_truth="1a2b3c4d",
        version="1",
    )
    assert f"|asym:{canonical}|" in str(signature)
    assert Signature.parse(str(signature)) == signature


def test_none_is_no_rule() -> None:
    assert parse_rule(NO_RULE) is None
    assert parse_rule("ratio") == RATIO


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is unknown"),
        ("surprise", "'surprise' is unknown"),
        ("Ratio", "'Ratio' is unknown"),
        ("none:1", "'none:1' is unknown"),
        ("ratio:2", "ratio takes no parameter"),
        ("ratio:", "ratio takes no parameter"),
        ("ratio-after-list:1", "ratio-after-list takes no parameter"),
        ("tilt", "'' is not a decimal above 0"),
        ("tilt:", "'' is not a decimal above 0"),
        ("tilt:-1", "'-1' is not a decimal above 0"),
        ("tilt:+1", "is not a decimal above 0"),
        ("tilt:0", "'0' is not a decimal above 0"),
        ("tilt:1e-400", "is not a decimal above 0"),
        ("tilt:nan", "'nan' is not a decimal above 0"),
        ("tilt:inf", "is not a decimal above 0"),
        ("tilt: 1", "is not a decimal above 0"),
        ("tilt:1_0", "is not a decimal above 0"),
        ("tilt:１", "is not a decimal above 0"),
        ("tilt:0.5:1", "is not a decimal above 0"),
        ("tilt:0.5|x", "is not a decimal above 0"),
        ("hinge:1e400", "'1e400' is not a decimal above 0 and up to 1e\\+100"),
        ("hinge:1.1e100", "up to 1e\\+100"),
    ],
)
def test_others_are_refused_with_the_grammar(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_rule(text)
    assert "expected none, ratio, ratio-after-list, hinge:L or tilt:L" in str(caught.value)
    assert caught.value.exit_code == 2


def test_penalties_by_hand() -> None:
    """nq/nr − 1 is −1/2, 2/3, 0, 7; (nq − nr)/(nq + nr) is −1/3, 1/4, 0, 7/9."""
    assert Rule("hinge", 3.0).penalty(QUERY, REFERENCE).tolist() == [0.0, 3.0 * (5.0 / 3.0 - 1.0), 0.0, 21.0]
    assert Rule("tilt", 8.0).penalty(QUERY, REFERENCE).tolist() == [8.0 * (-1.0 / 3.0), 2.0, 0.0, 8.0 * (3.5 / 4.5)]
    with pytest.raises(ValueError, match="ratio subtracts nothing"):
        RATIO.penalty(QUERY, REFERENCE)


def test_equal_norms_are_kept_and_compared_as_float32() -> None:
    rule = PairRule(RATIO, QUERY, REFERENCE)
    assert rule.keeps(np.arange(4), np.arange(4)).tolist() == [True, False, True, False]


@pytest.mark.parametrize("name", ["hinge", "tilt"])
def test_no_penalty_overflows_and_the_least_of_a_block_is_a_bound(name: str) -> None:
    """Over the whole range of float32, with the largest strength; the bound holds but for the last bits."""
    generator = np.random.default_rng(3)
    smallest, largest = np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max
    wide = np.exp(generator.uniform(np.log(1e-44), np.log(3e38), 300)).astype(np.float32)
    near = (1.0 + 1e-6 * generator.random(300)).astype(np.float32)
    norms = np.concatenate([[smallest, largest], wide, near]).astype(np.float32)
    rule = PairRule(Rule(name, 1e100), norms, norms)
    columns, rows = np.meshgrid(np.arange(len(norms)), np.arange(len(norms)))
    penalties = rule.penalties(rows.ravel(), columns.ravel()).reshape(rows.shape)
    assert np.isfinite(penalties).all()
    for block in (slice(0, 2), slice(0, 50), slice(302, 602), slice(0, 602)):
        least = rule.least_penalties(slice(0, len(norms)), block)
        true = penalties[:, block].min(axis=1)
        assert (least <= true + 2.0**-50 * np.abs(least)).all()
        assert (least >= true).all()


def test_the_search_refuses_a_rule_that_acts_after_it() -> None:
    with pytest.raises(ValueError, match="ratio-after-list acts on the finished list"):
        Wanted(1, rule=PairRule(Rule("ratio-after-list"), QUERY, REFERENCE))
