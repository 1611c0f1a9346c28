"""``dinov2-*`` with random weights under the official names: the network and its positions against others."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import dinov2_published
import numpy as np
import pytest
import torch

import ndec_baselines
from ndec_baselines.methods import dinov2

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ndec_baselines.base import Baseline

    State = dict[str, torch.Tensor]

HEADS = {"dinov2-s": 6, "dinov2-b": 12}
TOTALS = {"dinov2-s": 22_056_576, "dinov2-b": 86_580_480}


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Baseline:
    folder = tmp_path_factory.mktemp("dinov2")
    dinov2_published.write("dinov2-s", folder)
    return ndec_baselines.load("dinov2-s", weights=folder)


def _noise(count: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(count, 3, 224, 224)).astype(np.float32))


def _bicubic(side: int, grid: int) -> NDArray[np.float64]:
    """Return (grid, side): weights of cubic convolution, a = -0.75, at the points of the scale (grid + 0.1) / side."""
    weights = np.zeros((grid, side))
    for target in range(grid):
        point = (target + 0.5) * side / (grid + 0.1) - 0.5
        first = math.floor(point)
        for tap in range(first - 1, first + 3):
            x, a = abs(point - tap), -0.75
            near = (a + 2) * x**3 - (a + 3) * x**2 + 1
            far = a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a
            weights[target, min(max(tap, 0), side - 1)] += near if x <= 1 else far
    return weights


def _by_hand(state: State, images: torch.Tensor, heads: int) -> NDArray[np.float64]:
    """Return the class tokens at unit length: the transformer written out in float64."""
    w = {name: value.double() for name, value in state.items()}
    dimension = w["cls_token"].shape[-1]

    def normal(x: torch.Tensor, name: str) -> torch.Tensor:
        centred = x - x.mean(-1, keepdim=True)
        scaled = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-6)
        return scaled * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: torch.Tensor, name: str) -> torch.Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def attention(x: torch.Tensor, name: str) -> torch.Tensor:
        query, key, value = linear(x, f"{name}.qkv").reshape(*x.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-1, -2) / math.sqrt(dimension // heads)).softmax(-1)
        return linear((weights @ value).transpose(1, 2).reshape(x.shape), f"{name}.proj")

    def perceptron(x: torch.Tensor, name: str) -> torch.Tensor:
        hidden = linear(x, f"{name}.fc1")
        return linear(hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2))), f"{name}.fc2")

    patches = images.double().reshape(-1, 3, 16, 14, 16, 14).permute(0, 2, 4, 1, 3, 5).reshape(-1, 256, 588)
    patches = patches @ w["patch_embed.proj.weight"].reshape(dimension, 588).T + w["patch_embed.proj.bias"]
    resize = torch.from_numpy(_bicubic(37, 16))
    square = w["pos_embed"][0, 1:].reshape(37, 37, dimension)
    positions = torch.einsum("ai,bj,ijd->abd", resize, resize, square).reshape(256, dimension)
    first = (w["cls_token"] + w["pos_embed"][:, :1]).expand(len(images), 1, dimension)
    x = torch.cat((first, patches + positions), dim=1)
    for block in range(dinov2_published.DEPTH):
        name = f"blocks.{block}"
        x = x + attention(normal(x, f"{name}.norm1"), f"{name}.attn") * w[f"{name}.ls1.gamma"]
        x = x + perceptron(normal(x, f"{name}.norm2"), f"{name}.mlp") * w[f"{name}.ls2.gamma"]
    token = normal(x[:, 0], "norm").numpy()
    rows: NDArray[np.float64] = token / np.linalg.norm(token, axis=1, keepdims=True)
    return rows


def test_descriptors_equal_the_transformer_written_out(baseline: Baseline) -> None:
    images = _noise(2)
    found = baseline.describe(images).vectors
    expected = _by_hand(dinov2_published.content("dinov2-s"), images, HEADS["dinov2-s"])
    assert found.shape == (2, 384)
    assert np.abs(found - expected).max() < 2e-6
    assert np.abs(expected[0] - expected[1]).max() > 0.01  # the pictures are told apart


@pytest.mark.slow
def test_descriptors_of_the_larger_one_equal_the_transformer_written_out(tmp_path: Path) -> None:
    dinov2_published.write("dinov2-b", tmp_path)
    images = _noise(1)
    found = ndec_baselines.load("dinov2-b", weights=tmp_path).describe(images).vectors
    expected = _by_hand(dinov2_published.content("dinov2-b"), images, HEADS["dinov2-b"])
    assert found.shape == (1, 768)
    assert np.abs(found - expected).max() < 2e-6


def test_positions_are_interpolated_by_cubic_convolution() -> None:
    """The published 0.1 and the missing antialiasing both move descriptors: four taps, at points of that scale."""
    published = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 1 + 37 * 37, 5)).astype(np.float32))
    found = dinov2.positions_at(published, 16)[0].double().numpy()
    weights = _bicubic(37, 16)
    square = published[0, 1:].double().numpy().reshape(37, 37, 5)
    expected = np.einsum("ai,bj,ijd->abd", weights, weights, square).reshape(256, 5)
    assert np.array_equal(found[0], published[0, 0].double().numpy())
    assert np.abs(found[1:] - expected).max() < 1e-5


@pytest.mark.parametrize("name", TOTALS)
def test_parameters_and_names_are_the_official_ones(name: str) -> None:
    """12 blocks of 14 tensors, 6 others and the mask token; without it the numbers are those of the card."""
    shapes = dinov2_published.shapes(dinov2_published.FILES[name][1])
    card = ndec_baselines.card(name)
    assert len(shapes) == 12 * 14 + 7
    assert sum(math.prod(shape) for shape in shapes.values()) == TOTALS[name]
    assert card.parameters == TOTALS[name] - card.dimension


def _saved(tmp_path: Path, state: State) -> Path:
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    return path


def test_the_mask_token_does_not_matter(tmp_path: Path, baseline: Baseline) -> None:
    state = dinov2_published.content("dinov2-s")
    del state["mask_token"]
    image = _noise(1)
    found = ndec_baselines.load("dinov2-s", weights=_saved(tmp_path, state)).describe(image).vectors
    assert np.array_equal(found, baseline.describe(image).vectors)
