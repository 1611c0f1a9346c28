"""BoT and the networks it shares with D2LV: the tabulated key sets, an independent composition, the chosen overlay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import bot_published
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from ndec_baselines.describing.boxes import Box
from ndec_baselines.methods.bot import BASELINES, SIDES, choose_box, preprocess
from ndec_baselines.networks.inference import out_of_row
from ndec_baselines.networks.isc_resnet import (
    Backbone,
    IscResNet,
    MultiScale,
    SplitNorm,
    WaveBlock,
    for_the_test,
    read_network,
)
from ndec_baselines.networks.pooling import LearnedGeM
from ndec_baselines.networks.torchvision_import import import_torchvision

if TYPE_CHECKING:
    from pathlib import Path

    State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    found: State = bot_published.content()
    return found


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bot")
    bot_published.write("bot", folder)
    return folder / "baseline_matrix_baro_c24.pth.tar"


def _picture(width: int = 90, height: int = 60, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


# The networks, as tabulated: keys, parameter tensors, parameters, running statistics, bytes.


@pytest.mark.parametrize(
    ("backbone", "reduced", "keys", "tensors", "parameters", "running", "size"),
    [
        ("50", True, 345, 174, 67_602_241, 94_592, 270_787_788),
        ("50", False, 333, 168, 65_487_937, 77_696, 262_262_972),
        ("152", False, 945, 474, 100_123_713, 176_000, 401_200_108),
        ("ibn", False, 359, 194, 65_487_937, 75_456, 262_254_012),
    ],
)
def test_networks_have_the_published_keys(
    backbone: Backbone, reduced: bool, keys: int, tensors: int, parameters: int, running: int, size: int
) -> None:
    with torch.device("meta"):
        network = IscResNet(backbone, reduced=reduced)
    found = network.state_dict()
    assert found.keys() == _published_keys(backbone, reduced)
    assert (len(found), len(list(network.parameters()))) == (keys, tensors)
    assert sum(value.numel() for value in network.parameters()) == parameters
    assert sum(value.numel() for name, value in found.items() if "running" in name) == running
    assert sum(value.numel() * value.element_size() for value in found.values()) == size
    assert network.get_submodule("projector_feat_bn.1").get_parameter("bias").requires_grad is False


def _published_keys(backbone: Backbone, reduced: bool) -> set[str]:
    """Return the keys as the specification spells them, without asking the network."""
    leaves = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

    def norm(name: str) -> set[str]:
        return {f"{name}.{leaf}" for leaf in leaves}

    keys = {"base.0.weight", "base.10.p", *norm("base.1")}
    depths = (3, 8, 36, 3) if backbone == "152" else (3, 4, 6, 3)
    for slot, depth in zip((4, 5, 7, 9), depths, strict=True):
        for block in range(depth):
            name = f"base.{slot}.{block}"
            keys |= {f"{name}.conv{number}.weight" for number in (1, 2, 3)} | norm(f"{name}.bn2") | norm(f"{name}.bn3")
            if backbone == "ibn" and slot != 9:
                keys |= {f"{name}.bn1.IN.weight", f"{name}.bn1.IN.bias", *norm(f"{name}.bn1.BN")}
            else:
                keys |= norm(f"{name}.bn1")
        keys |= {f"base.{slot}.0.downsample.0.weight", *norm(f"base.{slot}.0.downsample.1")}
    heads = ("projector_feat_bn.0.0", "projector_feat_bn.0.3", *(("matrix_feat_bn.0.2",) if reduced else ()))
    keys |= {f"{head}.{leaf}" for head in heads for leaf in ("weight", "bias")}
    norms = ("projector_feat_bn.0.1", "projector_feat_bn.1")
    for name in (*norms, *(("matrix_feat_bn.0.0", "matrix_feat_bn.1") if reduced else ())):
        keys |= norm(name)
    return keys


@pytest.mark.parametrize(("side", "cells"), [(200, 13), (256, 16), (320, 20), (400, 25)])
def test_maps_have_the_published_size(side: int, cells: int) -> None:
    with torch.device("meta"):
        network = IscResNet("50").eval()
        assert network.base[:10](torch.zeros(1, 3, side, side)).shape == (1, 2048, cells, cells)


def _by_functions(state: State, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return all three outputs of BoT's network from the state dict by functions alone, ReLU before the pool."""

    def norm(name: str, values: torch.Tensor) -> torch.Tensor:
        mean, variance, weight, bias = (
            state[f"{name}.{leaf}"].reshape(1, -1, *[1] * (values.dim() - 2))
            for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        return (values - mean) / torch.sqrt(variance + 1e-5) * weight + bias

    def convolved(name: str, values: torch.Tensor, stride: int = 1, padding: int = 0) -> torch.Tensor:
        return functional.conv2d(values, state[f"{name}.weight"], stride=stride, padding=padding)

    values = functional.max_pool2d(torch.relu(norm("base.1", convolved("base.0", images, 2, 3))), 3, 2, 1)
    for slot, depth, first_stride in ((4, 3, 1), (5, 4, 2), (7, 6, 2), (9, 3, 1)):
        for block in range(depth):
            name, stride = f"base.{slot}.{block}", first_stride if block == 0 else 1
            inside = torch.relu(norm(f"{name}.bn1", convolved(f"{name}.conv1", values)))
            inside = torch.relu(norm(f"{name}.bn2", convolved(f"{name}.conv2", inside, stride, 1)))
            inside = norm(f"{name}.bn3", convolved(f"{name}.conv3", inside))
            if block == 0:
                values = norm(f"{name}.downsample.1", convolved(f"{name}.downsample.0", values, stride))
            values = torch.relu(values + inside)
    pooled = (values.clamp(min=1e-6) ** 3).mean(dim=(2, 3)) ** (1 / 3)

    def linear(name: str, values: torch.Tensor) -> torch.Tensor:
        return values @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def leaky(values: torch.Tensor) -> torch.Tensor:
        return torch.where(values > 0, values, 0.2 * values)

    hidden = leaky(norm("projector_feat_bn.0.1", linear("projector_feat_bn.0.0", pooled)))
    projected = norm("projector_feat_bn.1", linear("projector_feat_bn.0.3", hidden))
    reduced = linear("matrix_feat_bn.0.2", leaky(norm("matrix_feat_bn.0.0", projected)))
    return pooled, projected, norm("matrix_feat_bn.1", reduced)


def test_outputs_equal_a_composition_of_functions(published: Path, state: State) -> None:
    """Also: the power in the file, 2.7, does not matter, nor that the file's pool stands before its ReLU."""
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found = read_network(published, "50", reduced=True).outputs(images)
        expected = _by_functions(state, images)
    assert [tuple(part.shape) for part in found] == [(2, 2048), (2, 8192), (2, 256)]
    for part, other in zip(found, expected, strict=True):
        assert float((part - other).abs().max() / other.abs().max()) < 5e-6


def test_split_norm_is_instance_norm_then_batch_norm() -> None:
    torch.manual_seed(0)
    norm, maps = SplitNorm(6), torch.randn(2, 6, 5, 4)
    norm.BN.running_mean, norm.BN.running_var = torch.randn(3), torch.rand(3) + 0.5
    norm.IN.weight.data, norm.BN.bias.data = torch.randn(3), torch.randn(3)
    found = norm.eval()(maps)
    first, second = maps[:, :3], maps[:, 3:]
    mean, variance = first.mean((2, 3), keepdim=True), first.var((2, 3), unbiased=False, keepdim=True)
    expected = (first - mean) / torch.sqrt(variance + 1e-5) * norm.IN.weight[:, None, None]
    assert torch.allclose(found[:, :3], expected, atol=1e-6)
    scale = torch.sqrt(norm.BN.running_var + 1e-5)[:, None, None]
    expected = (second - norm.BN.running_mean[:, None, None]) / scale + norm.BN.bias[:, None, None]
    assert torch.allclose(found[:, 3:], expected, atol=1e-6)


def test_ibn_splits_the_first_norm_of_three_stages_only() -> None:
    with torch.device("meta"):
        network = IscResNet("ibn")
    split = {name for name, module in network.named_modules() if isinstance(module, SplitNorm)}
    depths = {4: 3, 5: 4, 7: 6}
    assert split == {f"base.{slot}.{block}.bn1" for slot, depth in depths.items() for block in range(depth)}


@pytest.mark.parametrize(("height", "stripe"), [(32, 10), (16, 5), (13, 4), (5, 2), (25, 8)])
def test_wave_block_leaves_one_stripe_and_raises_the_rest(height: int, stripe: int) -> None:
    """``round(0.3 · 5)`` is 2: Python rounds halves to even, here 1.5."""
    wave, maps = WaveBlock(), torch.rand(2, 3, height, 4) + 1
    assert wave.eval()(maps) is maps
    wave.train()
    torch.manual_seed(0)
    starts = set()
    for _ in range(300):
        factors = wave(maps) / maps
        assert torch.equal(factors[:1, :1, :, :1].expand_as(factors).round(decimals=4), factors.round(decimals=4))
        kept = (factors[0, 0, :, 0].round(decimals=4) == 1).nonzero().flatten().tolist()
        assert kept == list(range(kept[0], kept[0] + stripe))
        assert torch.allclose(factors[0, 0, [r for r in range(height) if r not in kept], 0], torch.tensor(1.5))
        starts.add(kept[0])
    assert starts == set(range(height - stripe + 1))


def test_wave_block_is_drawn_from_torchs_generator() -> None:
    wave, maps = WaveBlock().train(), torch.ones(1, 1, 32, 2)
    torch.manual_seed(5)
    first = [wave(maps) for _ in range(5)]
    torch.manual_seed(5)
    assert all(torch.equal(wave(maps), other) for other in first)


def test_training_moves_rows_evaluation_does_not() -> None:
    torch.manual_seed(0)
    network = IscResNet("50")
    images = torch.randn(2, 3, 64, 64)
    network.eval()
    with torch.inference_mode():
        calm = network.base(images)
        assert torch.equal(network.base(images), calm)
        for module in network.modules():
            if isinstance(module, WaveBlock):
                module.train()
        assert not torch.equal(network.base(images), calm)


def test_learned_power_is_used_in_training_and_dropped_at_the_test() -> None:
    pool = LearnedGeM()
    maps = torch.rand(2, 3, 4, 4)
    assert torch.allclose(pool(maps), (maps**3).mean((2, 3)) ** (1 / 3))
    assert torch.allclose(pool(torch.full((1, 2, 3, 3), 0.7)), torch.tensor(0.7))
    assert torch.allclose(pool(torch.full((1, 2, 3, 3), -4.0)), torch.tensor(1e-6))
    pool(maps).sum().backward()
    assert pool.p.grad is not None
    with torch.device("meta"):
        network = IscResNet("50").train()
    assert isinstance(network.base[10], LearnedGeM)
    assert "base.10.p" not in for_the_test(network).state_dict()
    assert not network.training


# The descriptor.


def test_descriptor_is_the_mean_of_the_unit_vectors_of_all_sizes(published: Path) -> None:
    network = read_network(published, "50", reduced=True)
    image, sides = _picture(), (64, 96)
    with torch.inference_mode():
        vectors = []
        for side in sides:
            values = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float64) / 255
            values = (values - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
            vector = network(torch.from_numpy(values.transpose(2, 0, 1)).float()[None])[0].double().numpy()
            vectors.append(vector / np.linalg.norm(vector))
        found = MultiScale(network, sides)(preprocess(image, sides)[None]).numpy()
    mean = sum(vectors) / 2
    assert found.shape == (1, 256)
    assert np.abs(found[0] - mean / np.linalg.norm(mean)).max() < 2e-6


def test_mean_of_equal_vectors_is_that_vector() -> None:
    class Same(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.tensor([[3.0, -4.0]]).expand(len(images), 2)

    found = MultiScale(Same(), (2, 3))(torch.zeros(5, 3 * (4 + 9)))
    assert torch.allclose(found, torch.tensor([[0.6, -0.8]]).expand(5, 2))


def test_preprocessing_is_pillows_bicubic_to_a_square() -> None:
    image = _picture(120, 60)
    parts = out_of_row(preprocess(image)[None], [(3, side, side) for side in SIDES])
    transforms = import_torchvision().transforms
    for side, part in zip(SIDES, parts, strict=True):
        values = transforms.functional.to_tensor(image.resize((side, side), Image.Resampling.BICUBIC))
        expected = transforms.functional.normalize(values, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        assert torch.allclose(part[0], expected, atol=1e-6)


# The overlay.


def test_the_last_sure_overlay_replaces_the_query() -> None:
    boxes = [
        Box(0, 0, 50, 50, 0.99),
        Box(10, 20, 60, 70, 0.91),
        Box(1, 2, 3, 4, 0.95, kind=1),
        Box(5, 5, 9, 9, 0.90),
    ]
    assert choose_box((1024, 768), boxes) == (10, 20, 60, 70)
    assert choose_box((1024, 768), boxes[2:]) is None
    assert choose_box((1024, 768), []) is None


@pytest.mark.parametrize(
    ("size", "shift"),
    [((1000, 667), (0, 10.56)), ((667, 1000), (10.56, 0)), ((500, 333), (0, 10.88)), ((1024, 768), (0, 0))],
)
def test_the_cut_is_shifted_by_the_detectors_margin(size: tuple[int, int], shift: tuple[float, float]) -> None:
    """In pixels of the 640-pixel picture: 667 · 0.64 = 426.88 is padded to 448, half of it above."""
    found = choose_box(size, [Box(10, 20, 60, 70, 0.95)])
    assert found is not None
    gain = 640 / max(size)
    assert [(a - b) * gain for a, b in zip(found, (10, 20, 60, 70), strict=True)] == pytest.approx([*shift, *shift])


def test_every_size_takes_detections() -> None:
    assert {registration.choose_box for registration in BASELINES.values()} == {choose_box}
