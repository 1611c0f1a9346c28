"""The baseline's losses: triplets and look-alikes by pencil and paper, the classifier as published."""

from __future__ import annotations

import math

import pytest
import torch

from ndec_baselines.asl.losses import Classifier, distances, look_alike_loss, triplet_loss

LINE = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
"""Two groups of two on a line. Farthest of its own: 1, 1, 4, 4; nearest of the other: 3, 2, 2, 6."""

GROUPS = torch.tensor([4, 4, 9, 9])


def softplus(value: float) -> float:
    return math.log(1 + math.exp(value))


BY_HAND = (softplus(1 - 3) + softplus(1 - 2) + softplus(4 - 2) + softplus(4 - 6)) / 4


def test_distances_are_euclidean() -> None:
    features = torch.randn(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = distances(features.half())
    assert found.dtype == torch.float32
    expected = torch.cdist(features.half().double(), features.half().double())
    assert float((found - expected).abs().max()) < 1e-3
    assert distances(LINE)[3].tolist() == pytest.approx([7, 6, 4, 0], abs=1e-5)


def test_equal_distances_give_ln_2() -> None:
    assert float(triplet_loss(torch.full((4, 4), 0.7), GROUPS)) == pytest.approx(math.log(2))


def test_triplets_of_two_groups_by_hand() -> None:
    assert pytest.approx(0.673511, abs=1e-6) == BY_HAND
    assert float(triplet_loss(distances(LINE), GROUPS)) == pytest.approx(BY_HAND, abs=1e-5)
    order = torch.tensor([2, 0, 3, 1])
    assert float(triplet_loss(distances(LINE[order]), GROUPS[order])) == pytest.approx(BY_HAND, abs=1e-5)


def test_one_group_alone_has_no_triplet() -> None:
    assert float(triplet_loss(distances(LINE), torch.zeros(4, dtype=torch.int64))) == 0.0


def test_look_alikes_are_pushed_from_the_named_group_alone() -> None:
    """A third group lies nearer than the look-alike: for the triplets that counts, here it does not."""
    features = torch.cat([LINE, torch.tensor([[1.5], [1.6]])])
    groups = torch.tensor([4, 4, 9, 9, 2, 2])
    partners = torch.tensor([9, 9, 4, 4, -1, -1])
    between = distances(features)
    assert float(look_alike_loss(between, groups, partners)) == pytest.approx(BY_HAND, abs=1e-5)
    assert float(triplet_loss(between, groups)) != pytest.approx(BY_HAND, abs=1e-2)


def test_only_images_whose_look_alike_is_there_count() -> None:
    """The first group names the second; the second names one that is not in the batch."""
    partners = torch.tensor([9, 9, 77, 77])
    expected = (softplus(1 - 3) + softplus(1 - 2)) / 2
    assert float(look_alike_loss(distances(LINE), GROUPS, partners)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("partner", [-1, 77])
def test_without_look_alikes_the_loss_is_zero_and_moves_nothing(partner: int) -> None:
    features = LINE.clone().requires_grad_()
    loss = look_alike_loss(distances(features), GROUPS, torch.full((4,), partner))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert features.grad is not None
    assert not features.grad.any()


def test_gradients_are_finite_for_identical_features() -> None:
    """Rows 0 and 1 are one point, and rows 2 and 3; every distance within a group is at its smallest."""
    generator = torch.Generator().manual_seed(0)
    features = (100 * torch.randn(2, 2048, generator=generator)).repeat_interleave(2, dim=0).requires_grad_()
    between = distances(features)
    assert float(between.detach().min()) > 0
    (triplet_loss(between, GROUPS) + look_alike_loss(between, GROUPS, torch.tensor([9, 9, 4, 4]))).backward()
    assert features.grad is not None
    assert torch.isfinite(features.grad).all()


def test_the_losses_pull_the_own_group_and_push_the_other() -> None:
    features = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 2.5]], requires_grad=True)
    before = distances(features.detach())
    (triplet_loss(distances(features), GROUPS)).backward()
    assert features.grad is not None
    after = distances(features.detach() - 0.1 * features.grad)
    assert after[0, 1] < before[0, 1]
    assert after[0, 2] > before[0, 2]


def test_the_classifier_is_a_plain_matrix_drawn_as_published() -> None:
    torch.manual_seed(0)
    classifier = Classifier(512, 1000)
    assert [tuple(value.shape) for value in classifier.parameters()] == [(1000, 512)]
    weight = classifier.weight.detach()
    assert float(weight.std()) == pytest.approx(0.001, rel=0.01)
    assert abs(float(weight.mean())) < 1e-5
    features = torch.randn(3, 512)
    logits = classifier(features)
    assert torch.allclose(logits, features @ weight.T, atol=1e-6)
    assert torch.allclose(classifier(10 * features), 10 * logits, atol=1e-5)
