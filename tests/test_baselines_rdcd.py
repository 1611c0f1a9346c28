"""``rdcd-*`` with random weights in a Lightning checkpoint: what is read, what is left out, what comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import rdcd_published
import torch

import ndec_baselines
from ndec_baselines.methods import rdcd
from ndec_baselines.networks.torchvision_import import import_torchvision
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_baselines.base import Baseline

DIMENSIONS = {"rdcd-64": 64, "rdcd-128": 128, "rdcd-256": 256}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rdcd")
    for name in DIMENSIONS:
        rdcd_published.write(name, path)
    return path


@pytest.fixture(scope="module")
def baseline(folder: Path) -> Baseline:
    return ndec_baselines.load("rdcd-64", weights=folder)


def _noise(count: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(count, 3, 96, 96)).astype(np.float32))


def _timms_trunk(network: torch.nn.Module) -> torch.nn.Module:
    """Return timm's EfficientNet-B0 with the tensors of torchvision's: other names, the same order."""
    import_torchvision()
    import timm

    trunk: torch.nn.Module = timm.create_model("efficientnet_b0", pretrained=False, num_classes=0).eval()
    values = [value for name, value in network.state_dict().items() if not name.startswith("classifier")]
    trunk.load_state_dict(dict(zip(trunk.state_dict(), values, strict=True)), strict=True)
    return trunk


@pytest.mark.parametrize("name", DIMENSIONS)
def test_descriptors_equal_a_composition_of_timms_network(name: str, folder: Path) -> None:
    """The descriptor is the compact embedding at unit length, not the feature of 512 numbers before it."""
    encoder = rdcd_published.encoder(name)
    images = _noise(2)
    with torch.no_grad():
        trunk: Any = _timms_trunk(encoder.backbone)
        maps = trunk.forward_features(images).double()
        pooled = (maps.clamp(min=1e-6) ** 3).mean(dim=(2, 3)) ** (1 / 3)
        linear = encoder.backbone.classifier[1]
        feature = pooled @ linear.weight.double().T + linear.bias.double()
        compact = feature @ encoder.projector.weight.double().T + encoder.projector.bias.double()
        expected = (compact / compact.norm(dim=1, keepdim=True)).numpy()
    found = ndec_baselines.load(name, weights=folder).describe(images).vectors
    assert found.shape == (2, DIMENSIONS[name])
    assert np.abs(found - expected).max() < 2e-6


@pytest.mark.parametrize("name", DIMENSIONS)
def test_parameters_are_those_of_student_and_projector(name: str) -> None:
    """The trunk is torchvision's 5,288,548 without the 1,281,000 of its classifier; then two linear layers."""
    card = ndec_baselines.card(name)
    by_hand = 5_288_548 - 1_281_000 + (1280 * 512 + 512) + (512 * card.dimension + card.dimension)
    assert card.parameters == by_hand
    assert sum(parameter.numel() for parameter in rdcd.student(card.dimension).parameters()) == by_hand


def test_the_slow_copy_and_the_teacher_do_not_matter(tmp_path: Path, baseline: Baseline) -> None:
    content = rdcd_published.content("rdcd-64")
    state = content["state_dict"]
    for name in [name for name in state if not name.startswith("model.encoder_q.")]:
        del state[name]
    path = tmp_path / "student.ckpt"
    torch.save(content, path)
    images = _noise(1)
    found = ndec_baselines.load("rdcd-64", weights=path).describe(images).vectors
    assert np.array_equal(found, baseline.describe(images).vectors)


def test_the_files_of_three_sizes_are_not_taken_for_each_other(folder: Path) -> None:
    with pytest.raises(DataError, match=r"projector\.weight \(256, 512\), expected \(128, 512\)"):
        ndec_baselines.load("rdcd-128", weights=folder / "rdcd_effb0_256.ckpt")
