"""``copynce`` with random weights in the published form: strict loading, and the network against plain blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import copynce_published
import numpy as np
import pytest
import torch
from torch.nn import functional

import ndec_baselines
from ndec_baselines.methods import copynce

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ndec_baselines.base import Baseline

IMAGES = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32))


@pytest.fixture(scope="module")
def published() -> dict[str, Any]:
    return copynce_published.content()


@pytest.fixture(scope="module")
def baseline(published: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Baseline:
    return _baseline(published, tmp_path_factory.mktemp("weights"))


def _baseline(content: object, folder: Path) -> Baseline:
    path = folder / "descriptor_vits_224.pth.tar"
    torch.save(content, path)
    return ndec_baselines.load("copynce", weights=path)


def _plain(images: torch.Tensor, state: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the descriptors by torch's functions alone: pre-norm blocks, six heads, exact GELU, no last norm."""

    def linear(rows: torch.Tensor, name: str) -> torch.Tensor:
        return functional.linear(rows, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(rows: torch.Tensor, name: str) -> torch.Tensor:
        return functional.layer_norm(rows, (384,), state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-4)

    patches = functional.conv2d(
        images, state["encoder.patch_embed.proj.weight"], state["encoder.patch_embed.proj.bias"], stride=16
    )
    tokens = torch.cat(
        [state["encoder.cls_token"].expand(len(images), -1, -1), patches.flatten(2).transpose(1, 2)], dim=1
    )
    tokens = tokens + state["encoder.pos_embed"]
    for block in (f"encoder.blocks.{i}" for i in range(12)):
        rows = linear(norm(tokens, f"{block}.norm1"), f"{block}.attn.qkv")
        query, key, value = rows.reshape(len(rows), -1, 3, 6, 64).permute(2, 0, 3, 1, 4)
        mixed = torch.softmax(query @ key.transpose(2, 3) / 8, dim=-1) @ value
        tokens = tokens + linear(mixed.transpose(1, 2).flatten(2), f"{block}.attn.proj")
        hidden = functional.gelu(linear(norm(tokens, f"{block}.norm2"), f"{block}.mlp.fc1"))
        tokens = tokens + linear(hidden, f"{block}.mlp.fc2")
    head = "heads.linear_head"
    rows = tokens[:, 0] @ state[f"{head}.fc1.weight"].T
    rows = (rows - state[f"{head}.bn.running_mean"]) / torch.sqrt(state[f"{head}.bn.running_var"] + 1e-5)
    rows = rows * state[f"{head}.bn.weight"] + state[f"{head}.bn.bias"]
    return functional.normalize(rows, dim=1)


def test_descriptors_equal_a_transformer_written_out(baseline: Baseline, published: dict[str, Any]) -> None:
    vectors = baseline.describe(IMAGES).vectors
    assert vectors.shape == (2, 512)
    assert np.abs(vectors - _plain(IMAGES, published["model"]).numpy()).max() < 2e-6
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_parameters_and_entries() -> None:
    """12 blocks of 12 entries, four of the input, six of the head."""
    network = copynce.network()
    assert sum(parameter.numel() for parameter in network.parameters()) == ndec_baselines.card("copynce").parameters
    assert len(network.state_dict()) == 12 * 12 + 4 + 6


def test_a_bare_state_dict_and_prefixes_are_taken(
    published: dict[str, Any], baseline: Baseline, tmp_path: Path
) -> None:
    inside = {f"module.{name}": value for name, value in published["model"].items()}
    other = _baseline(inside, tmp_path)
    assert np.array_equal(other.describe(IMAGES[:1]).vectors, baseline.describe(IMAGES[:1]).vectors)


def test_a_head_of_256_is_taken_as_it_is(tmp_path: Path) -> None:
    loaded = _baseline(copynce_published.content(dimension=256), tmp_path)
    assert loaded.card.dimension == 256
    assert loaded.describe(IMAGES[:1]).vectors.shape == (1, 256)
