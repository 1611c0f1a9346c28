"""Batch normalisation by sub-batches: beside torch's own layers, by hand, and through a recomputed forward pass."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from ndec_baselines.asl.config import Network
from ndec_baselines.asl.network import AslNetwork
from ndec_baselines.asl.sub_batches import SubBatchNorm, collect, settle, with_sub_batches
from ndec_baselines.networks import isc_resnet
from ndec_baselines.networks.torchvision_import import import_torchvision

if TYPE_CHECKING:
    from collections.abc import Iterator

CHANNELS = 6


def torchs_own(two_dimensional: bool) -> nn.BatchNorm1d | nn.BatchNorm2d:
    """Return torch's layer, its parameters and statistics as after some training."""
    generator = torch.Generator().manual_seed(3)
    layer = (nn.BatchNorm2d if two_dimensional else nn.BatchNorm1d)(CHANNELS, momentum=0.3, eps=1e-3)
    layer.weight.data = torch.rand(CHANNELS, generator=generator) + 0.5
    layer.bias.data = torch.randn(CHANNELS, generator=generator)
    layer.running_mean = torch.randn(CHANNELS, generator=generator)
    layer.running_var = torch.rand(CHANNELS, generator=generator) + 0.5
    return layer


def values(two_dimensional: bool, seed: int = 0, count: int = 8) -> torch.Tensor:
    shape = (count, CHANNELS, 3, 5) if two_dimensional else (count, CHANNELS)
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + 1


def alone(summed: torch.Tensor) -> torch.Tensor:
    return summed


def ours(layer: nn.Module) -> SubBatchNorm:
    (made,) = with_sub_batches(nn.Sequential(layer))
    return made


KINDS = pytest.mark.parametrize("two_dimensional", [False, True])


def test_every_normalisation_is_replaced_and_keeps_its_names_and_parameters() -> None:
    network = import_torchvision().models.resnet18(weights=None)
    before, parameters = dict(network.state_dict()), list(network.parameters())
    plain = [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)]
    made = with_sub_batches(network)
    assert len(made) == len(plain) == 20
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    assert [network.get_submodule(name) for name in plain] == made
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert [id(one) for one in network.parameters()] == [id(one) for one in parameters]


@KINDS
def test_evaluation_equals_torchs_layer(two_dimensional: bool) -> None:
    layer, given = torchs_own(two_dimensional).eval(), values(two_dimensional)
    expected = layer(given)
    assert torch.equal(ours(layer).eval()(given), expected)


@KINDS
def test_one_sub_batch_equals_torchs_layer_in_output_gradient_and_statistics(two_dimensional: bool) -> None:
    layer, other = torchs_own(two_dimensional), ours(torchs_own(two_dimensional))
    found = []
    for each in (layer, other):
        given = values(two_dimensional).requires_grad_()
        collect([other], True)
        result = each(given)
        (result**3).sum().backward()
        found.append((result.detach(), given.grad, each.weight.grad, each.bias.grad))
    for expected, one in zip(*found, strict=True):
        assert expected is not None
        assert torch.equal(one, expected)
    assert torch.equal(other.running_mean, torchs_own(two_dimensional).running_mean)  # it waits
    settle([other], 1, alone)
    assert torch.allclose(other.running_mean, layer.running_mean, atol=1e-6)
    assert torch.allclose(other.running_var, layer.running_var, atol=1e-6)
    assert int(other.num_batches_tracked) == int(layer.num_batches_tracked) == 1


@KINDS
def test_running_statistics_move_once_towards_the_mean_of_the_sub_batches(two_dimensional: bool) -> None:
    layer = ours(torchs_own(two_dimensional))
    parts = [values(two_dimensional, seed) * (seed + 1) for seed in range(3)]
    collect([layer], True)
    for part in parts:
        layer(part)
    settle([layer], 3, alone)
    before = torchs_own(two_dimensional)
    axes = (0, 2, 3) if two_dimensional else (0,)
    mean = sum(part.mean(axes) for part in parts) / 3
    variance = sum(part.var(axes, unbiased=True) for part in parts) / 3
    assert torch.allclose(layer.running_mean, 0.7 * before.running_mean + 0.3 * mean, atol=1e-5)
    assert torch.allclose(layer.running_var, 0.7 * before.running_var + 0.3 * variance, atol=1e-4)
    assert int(layer.num_batches_tracked) == 1


@KINDS
def test_a_step_is_forgotten_when_it_is_settled(two_dimensional: bool) -> None:
    layer, twice = ours(torchs_own(two_dimensional)), torchs_own(two_dimensional)
    collect([layer], True)
    for seed in range(2):
        layer(values(two_dimensional, seed))
        settle([layer], 1, alone)
        twice(values(two_dimensional, seed))
    assert torch.allclose(layer.running_mean, twice.running_mean, atol=1e-6)
    assert torch.allclose(layer.running_var, twice.running_var, atol=1e-5)


def test_layers_of_different_width_settle_each_by_itself() -> None:
    network = nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 7), nn.BatchNorm1d(7), nn.Linear(7, 2), nn.BatchNorm1d(2))
    other = copy.deepcopy(network)
    layers = with_sub_batches(network)
    given = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 2.0, 3.0, 4.0]) + 1
    collect(layers, True)
    network(given)
    other(given)
    settle(layers, 1, alone)
    for name, value in other.state_dict().items():
        assert torch.allclose(network.state_dict()[name].double(), value.double(), atol=1e-6), name


def test_processes_that_share_the_parts_settle_alike() -> None:
    """One process with two parts; two of one part each, whose sums are added up."""
    whole, halves = ours(torchs_own(True)), [ours(torchs_own(True)) for _ in range(2)]
    collect([whole, *halves], True)
    for seed, half in enumerate(halves):
        whole(values(True, seed))
        half(values(True, seed))
    settle([whole], 2, alone)
    sums: list[torch.Tensor] = []
    settle([halves[0]], 2, lambda given: sums.append(given) or given)
    settle([halves[1]], 2, lambda given: given + sums[0])
    assert torch.allclose(halves[1].running_mean, whole.running_mean, atol=1e-6)
    assert torch.allclose(halves[1].running_var, whole.running_var, atol=1e-6)


def test_what_is_not_collected_and_what_is_frozen_does_not_count() -> None:
    layer, frozen, expected = ours(torchs_own(True)), ours(torchs_own(True)).eval(), torchs_own(True)
    collect([layer, frozen], True)
    layer(values(True))
    frozen(values(True))
    collect([layer, frozen], False)
    layer(values(True, seed=9))
    settle([layer, frozen], 1, alone)
    expected(values(True))
    assert torch.allclose(layer.running_mean, expected.running_mean, atol=1e-6)
    assert torch.equal(frozen.running_mean, torchs_own(True).running_mean)
    assert int(frozen.num_batches_tracked) == 0


@pytest.fixture(params=["mobilenetv2", "50"])
def network_settings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    """Settings of a network with a narrow projector, as the large one's is fixed and takes long."""
    monkeypatch.setattr(isc_resnet, "HIDDEN", 16)
    monkeypatch.setattr(isc_resnet, "PROJECTED", 8)
    return Network(backbone=request.param, side=64, hidden=16, projected=8)


def test_recomputed_features_change_neither_gradients_nor_statistics(network_settings: Network) -> None:
    """ResNet-50 draws stripes (WaveBlock): the second pass must draw the same, and must not count."""
    images = torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    network = AslNetwork(network_settings).train()
    layers = with_sub_batches(network)
    first_weights = {name: value.clone() for name, value in network.state_dict().items()}
    passes: list[int] = []
    network.body.get_submodule("base.5").register_forward_pre_hook(lambda *_: passes.append(1))
    found = []
    for checkpointing in (False, True):
        network.checkpointing = checkpointing
        network.load_state_dict(first_weights)
        network.zero_grad()
        passes.clear()
        outputs = []
        collect(layers, True)
        for seed, part in enumerate(torch.split(images, 3)):
            torch.manual_seed(seed)
            outputs.append(network(part))
        collect(layers, False)
        total = sum(each["projected"].pow(2).mean() + each["pooled"].norm(dim=1).mean() for each in outputs)
        torch.autograd.backward(total)
        settle(layers, 2, alone)
        assert len(passes) == (4 if checkpointing else 2)
        gradients = {name: value.grad for name, value in network.named_parameters() if value.grad is not None}
        found.append(
            (float(total.detach()), gradients, {name: value.clone() for name, value in network.state_dict().items()})
        )
    (total, gradients, state), (other_total, other_gradients, other_state) = found
    assert total == other_total
    assert gradients.keys() == other_gradients.keys()
    assert all(torch.equal(value, other_gradients[name]) for name, value in gradients.items())
    assert all(torch.equal(value, other_state[name]) for name, value in state.items())
    assert {int(layer.num_batches_tracked) for layer in layers} == {1}
    # Without other stripes for another seed this would show nothing of them; MobileNetV2 has none.
    with torch.no_grad():
        torch.manual_seed(9)
        other = network(images[:3])["pooled"]
    torch.manual_seed(0)
    with torch.no_grad():
        assert torch.equal(network(images[:3])["pooled"], other) == (network_settings.backbone == "mobilenetv2")
