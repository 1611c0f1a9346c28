"""The norm-ratio loss: values by pencil and paper, gradients, invariances, half precision, and the published draws."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from ndec_baselines.asl import NORM_FLOOR, NormRatioLoss

HALF, ONE, DOUBLE = math.exp(0.5), 1.0, math.exp(-1)
"""What a pair counts whose larger-scale member has half the norm, the same norm, twice the norm of the other."""


def of_norms(norms: list[float], *, dimension: int = 6, seed: int = 0) -> torch.Tensor:
    """Return float64 features of those norms, in random directions, that ask for gradients."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(len(norms), dimension, generator=generator, dtype=torch.float64)
    directions /= directions.norm(dim=1, keepdim=True)
    return (directions * torch.tensor(norms, dtype=torch.float64)[:, None]).requires_grad_()


def loss_of(norms: list[float], scales: list[float], groups: list[int]) -> float:
    return float(NormRatioLoss()(of_norms(norms), torch.tensor(scales), torch.tensor(groups)).detach())


# Values.


@pytest.mark.parametrize(("larger", "smaller", "expected"), [(3, 3, ONE), (5, 2.5, DOUBLE), (1.5, 3, HALF)])
def test_one_pair_by_hand(larger: float, smaller: float, expected: float) -> None:
    """exp(1 − 1) = 1, exp(1 − 2) = 0.367879, exp(1 − ½) = 1.648721; which row is which does not matter."""
    assert expected == pytest.approx({3: 1, 5: 0.367879, 1.5: 1.648721}[larger], abs=1e-6)
    assert loss_of([larger, smaller], [1, 0.4], [7, 7]) == pytest.approx(expected, rel=1e-12)
    assert loss_of([smaller, larger], [0.4, 1], [7, 7]) == pytest.approx(expected, rel=1e-12)


def test_a_group_of_four_is_the_mean_over_its_five_unequal_pairs() -> None:
    norms, scales = [4.0, 5.0, 2.0, 3.0], [1.0, 0.5, 0.5, 0.2]
    terms = []
    for i in range(4):
        for j in range(4):
            if scales[i] > scales[j]:
                terms.append(math.exp(1 - norms[i] / norms[j]))
    assert len(terms) == 5
    assert loss_of(norms, scales, [3] * 4) == pytest.approx(sum(terms) / 5, rel=1e-12)


def test_groups_count_alike_and_those_without_a_pair_count_nothing() -> None:
    """Group 5 has one pair of ratio 2, group −1 three pairs of ratios 1, 2, 2, group 8 a tie, group 0 one image."""
    norms = [2.0, 1.0, 4.0, 4.0, 2.0, 9.0, 1.0, 6.0]
    scales = [0.9, 0.1, 1.0, 0.5, 0.25, 0.3, 0.3, 1.0]
    groups = [5, 5, -1, -1, -1, 8, 8, 0]
    expected = (DOUBLE + (ONE + DOUBLE + DOUBLE) / 3 + 0 + 0) / 4
    assert loss_of(norms, scales, groups) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("sampled", [False, True])
def test_an_empty_batch_is_zero_and_can_be_differentiated(sampled: bool) -> None:
    features = torch.zeros(0, 8, requires_grad=True)
    loss = NormRatioLoss(sampled=sampled)(features, torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert (loss.shape, float(loss.detach())) == ((), 0.0)
    assert features.grad is not None
    assert features.grad.shape == (0, 8)


@pytest.mark.parametrize(("scales", "groups"), [([1, 0.5, 0.2], [0, 1, 2]), ([0.5, 0.5, 0.5], [4, 4, 4])])
def test_without_any_pair_the_loss_is_zero_and_moves_nothing(scales: list[float], groups: list[int]) -> None:
    features = of_norms([1, 2, 3])
    loss = NormRatioLoss()(features, torch.tensor(scales), torch.tensor(groups))
    loss.backward()
    assert float(loss.detach()) == 0
    assert features.grad is not None
    assert not features.grad.any()


@pytest.mark.parametrize(
    ("norms", "expected"),
    [
        ((0.0, 0.0), ONE),
        ((0.0, 1.0), math.exp(1 - NORM_FLOOR)),
        ((1.0, 0.0), 0.0),
        ((NORM_FLOOR / 2, NORM_FLOOR * 2), HALF),
        ((NORM_FLOOR * 2, NORM_FLOOR / 100), DOUBLE),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_small_norms_count_as_the_floor(norms: tuple[float, float], expected: float, dtype: torch.dtype) -> None:
    features = of_norms(list(norms)).detach().to(dtype).requires_grad_()
    loss = NormRatioLoss()(features, torch.tensor([1.0, 0.5]), torch.tensor([0, 0]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5, abs=1e-30)
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()
    for norm, gradient in zip(norms, features.grad, strict=True):
        assert norm >= NORM_FLOOR or not gradient.any()


def test_a_norm_above_the_floor_moves_beside_one_below_it() -> None:
    features = of_norms([NORM_FLOOR * 1.5, NORM_FLOOR / 2])
    NormRatioLoss()(features, torch.tensor([1.0, 0.5]), torch.tensor([0, 0])).backward()
    assert features.grad is not None
    assert features.grad[0].any()
    assert not features.grad[1].any()


def test_the_floor_can_be_chosen() -> None:
    loss = NormRatioLoss(floor=0.5)(of_norms([1.0, 0.01]), torch.tensor([1.0, 0.5]), torch.tensor([0, 0]))
    assert float(loss.detach()) == pytest.approx(DOUBLE)


# Gradients.


def test_gradients_of_one_pair_by_hand() -> None:
    """L = exp(1 − a/b): ∂L/∂f_a = −L/b · f_a/a and ∂L/∂f_b = L·a/b² · f_b/b; here a = 5, b = 2.5, L = e⁻¹."""
    features = torch.tensor([[3.0, 4.0], [0.0, 2.5]], dtype=torch.float64, requires_grad=True)
    NormRatioLoss()(features, torch.tensor([1.0, 0.5]), torch.tensor([0, 0])).backward()
    expected = [[-0.4 * DOUBLE * 0.6, -0.4 * DOUBLE * 0.8], [0.0, 0.8 * DOUBLE]]
    assert features.grad is not None
    assert torch.allclose(features.grad, torch.tensor(expected, dtype=torch.float64), rtol=1e-12)


@pytest.mark.parametrize("sampled", [False, True])
def test_gradients_equal_numerical_ones(sampled: bool) -> None:
    scales = torch.tensor([1.0, 0.5, 0.5, 0.2, 0.3, 1.0, 0.7])
    groups = torch.tensor([0, 0, 0, 0, 1, 1, 2])

    def loss(features: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(2) if sampled else None  # the same draws at every call
        return NormRatioLoss(sampled=sampled, generator=generator)(features, scales, groups)

    features = of_norms([1.0, 2.0, 0.5, 1.5, 0.8, 1.2, 1.0], dimension=3)
    assert torch.autograd.gradcheck(loss, (features,))
    loss(features).backward()
    assert features.grad is not None
    moved = features.grad.any(dim=1).tolist()
    assert not moved[6]
    assert sampled or all(moved[:6])


# Invariances.


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(30, 5, generator=generator, dtype=torch.float64)
    scales = torch.randint(1, 5, (30,), generator=generator) / 4
    return features, scales, torch.randint(0, 8, (30,), generator=generator)


@pytest.mark.parametrize("seed", range(5))
def test_order_common_factor_and_names_do_not_matter(seed: int) -> None:
    features, scales, groups = drawn(seed)
    loss = NormRatioLoss()
    before = float(loss(features, scales, groups))
    order = torch.randperm(30, generator=torch.Generator().manual_seed(seed))
    assert float(loss(features[order], scales[order], groups[order])) == pytest.approx(before, rel=1e-12)
    assert float(loss(features * 37.5, scales, groups)) == pytest.approx(before, rel=1e-12)
    assert float(loss(-features, scales * 0.01, groups)) == pytest.approx(before, rel=1e-12)
    names = torch.tensor([900, -3, 17, 2**40, 5, 1, 0, -8])
    assert float(loss(features, scales, names[groups])) == pytest.approx(before, rel=1e-12)
    assert float(loss(features[order], scales, groups)) != pytest.approx(before, rel=1e-6)


# Precision.


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("sampled", [False, True])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype, sampled: bool) -> None:
    """8192 numbers of the order of 1,000: a norm of 90,000, which float16 cannot hold, nor the sum of squares."""
    generator = torch.Generator().manual_seed(1)
    values = 1000 * torch.randn(16, 8192, generator=generator) * torch.linspace(0.5, 2, 16)[:, None]
    scales, groups = torch.linspace(0.2, 1, 16), torch.arange(16) // 4
    features = values.to(dtype).requires_grad_()

    def loss(given: torch.Tensor) -> torch.Tensor:
        draws = torch.Generator().manual_seed(3) if sampled else None
        return NormRatioLoss(sampled=sampled, generator=draws)(given, scales, groups)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(features)
    found.backward()
    assert found.dtype == torch.float32
    # The same numbers, widened: nothing of the computation itself may be in half precision.
    assert float(found.detach()) == pytest.approx(float(loss(features.detach().float())), rel=1e-6)
    assert float(found.detach()) == pytest.approx(float(loss(values.double())), rel=5e-3)
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


def test_large_norms_do_not_overflow() -> None:
    features = of_norms([1e4, 1e-3, 1e4, 2e4], dimension=8192).detach().float().requires_grad_()
    loss = NormRatioLoss()(features, torch.tensor([1.0, 0.5, 1.0, 0.5]), torch.tensor([0, 0, 1, 1]))
    loss.backward()
    assert float(loss.detach()) == pytest.approx((0 + HALF) / 2, rel=1e-5)
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


def test_the_loss_has_the_features_precision_but_float32_at_least() -> None:
    scales, groups = torch.tensor([1.0, 0.5]), torch.tensor([0, 0])
    for given, expected in ((torch.float64, torch.float64), (torch.float32, torch.float32), (torch.half, torch.float)):
        assert NormRatioLoss()(torch.ones(2, 3, dtype=given), scales, groups).dtype == expected


# Drawn pairs, as published.


def test_the_same_seed_draws_the_same_pairs() -> None:
    features, scales, groups = drawn(0)

    def losses(seed: int) -> list[float]:
        loss = NormRatioLoss(sampled=True, generator=torch.Generator().manual_seed(seed))
        return [float(loss(features, scales, groups)) for _ in range(5)]

    assert losses(1) == losses(1)
    assert losses(1) != losses(2)
    assert len(set(losses(1))) > 1


def expectation(norms: list[float], scales: list[float], draws: int = 5) -> float:
    """Return the mean over all sequences of at most ``draws`` draws of two places, each with the same chance."""
    if draws == 0:
        return 1.0
    after_a_tie = expectation(norms, scales, draws - 1)
    total = 0.0
    for i, j in itertools.product(range(len(norms)), repeat=2):
        if scales[i] == scales[j]:
            total += after_a_tie
        else:
            larger, smaller = (i, j) if scales[i] > scales[j] else (j, i)
            total += math.exp(1 - norms[larger] / norms[smaller])
    return total / len(norms) ** 2


MIXED = ([4.0, 5.0, 2.0, 3.0], [1.0, 0.5, 0.5, 0.2])
MOSTLY_TIES = ([1.0, 4.0, 4.0, 4.0], [1.0, 0.5, 0.5, 0.5])
"""Ends in five ties with the chance (10 / 16)⁵ = 0.095, so that other numbers of draws have another mean."""


@pytest.mark.parametrize(("norms", "scales"), [MIXED, MOSTLY_TIES])
def test_the_mean_of_many_draws_is_that_of_all_sequences(norms: list[float], scales: list[float]) -> None:
    count = 5_000
    groups = torch.arange(count).repeat_interleave(4)
    loss = NormRatioLoss(sampled=True, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        found = float(loss(of_norms(norms * count), torch.tensor(scales * count), groups))
    assert found == pytest.approx(expectation(norms, scales), abs=0.015)


def test_equal_scales_end_in_a_constant_one() -> None:
    features = of_norms([1.0, 2.0, 3.0, 4.0])
    loss = NormRatioLoss(sampled=True)(features, torch.full((4,), 0.5), torch.zeros(4, dtype=torch.int64))
    loss.backward()
    assert float(loss.detach()) == 1.0
    assert features.grad is not None
    assert not features.grad.any()


def test_of_32_groups_of_four_one_pair_each_is_drawn_within_its_group() -> None:
    """Interleaved; norms differ by group, so that a pair across groups would give neither e⁻¹ nor the 1 of ties."""
    group = torch.arange(128) % 32
    larger = torch.arange(128) < 64
    features = torch.zeros(128, 3, dtype=torch.float64)
    features[:, 1] = torch.where(larger, 2.0, 1.0) * 10.0 ** (group / 4).round()
    features.requires_grad_()
    loss = NormRatioLoss(sampled=True, generator=torch.Generator().manual_seed(0))
    found = loss(features, torch.where(larger, 1.0, 0.5), group)
    found.backward()
    ties = (32 * float(found.detach()) - 32 * DOUBLE) / (1 - DOUBLE)
    assert ties == pytest.approx(round(ties), abs=1e-9)
    assert 0 <= round(ties) <= 5  # the chance of a tie is 1/32 each
    assert features.grad is not None
    moved = features.grad.any(dim=1)
    for number in range(32):
        assert int(moved[group == number].sum()) in (0, 2)
    assert int(moved.sum()) == 2 * (32 - round(ties))


# Wrong use.


@pytest.mark.parametrize(
    ("features", "scales", "groups", "message"),
    [
        (torch.ones(4), torch.ones(4), torch.zeros(4, dtype=torch.int64), r"features of shape \(4,\)"),
        (torch.ones(2, 3).int(), torch.ones(2), torch.zeros(2, dtype=torch.int64), "torch.int32; expected"),
        (torch.ones(2, 3), torch.ones(3), torch.zeros(2, dtype=torch.int64), r"scales \(3,\) .* for 2 features"),
        (torch.ones(2, 3), torch.ones(2), torch.zeros(2, 1, dtype=torch.int64), r"groups \(2, 1\) for 2 features"),
        (torch.ones(2, 3), torch.ones(2), torch.zeros(2), "groups of type torch.float32; expected whole numbers"),
        (torch.ones(2, 3), torch.tensor([1, math.nan]), torch.zeros(2, dtype=torch.int64), "scale nan"),
        (torch.ones(2, 3), torch.tensor([math.inf, 1]), torch.zeros(2, dtype=torch.int64), "scale inf"),
    ],
)
def test_what_does_not_fit_is_refused(
    features: torch.Tensor, scales: torch.Tensor, groups: torch.Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        NormRatioLoss()(features, scales, groups)


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing is drawn unless sampled=True"):
        NormRatioLoss(generator=torch.Generator())
    for floor in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="expected a positive number"):
            NormRatioLoss(floor=floor)
