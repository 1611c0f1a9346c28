"""``asl`` and ``asl-small``: a trained network as a baseline with norms."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import ndec_baselines
from ndec_baselines.asl.config import Network, read_config
from ndec_baselines.asl.network import AslNetwork, export
from ndec_baselines.networks import isc_resnet
from ndec_baselines.networks.torchvision_import import import_torchvision
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from ndec_baselines.base import Baseline

EXPERIMENTS = Path(__file__).parents[2] / "baselines" / "experiments" / "asl"


def pictures() -> list[Image.Image]:
    generator = np.random.default_rng(0)
    return [
        Image.fromarray(generator.integers(0, 256, (4, 5, 3), dtype=np.uint8)).resize((90 + 10 * number, 60))
        for number in range(5)
    ]


def as_tensors() -> torch.Tensor:
    """Return the pictures at 64 pixels, made by torchvision."""
    functional = import_torchvision().transforms.functional
    small = [functional.to_tensor(image.resize((64, 64), Image.Resampling.BILINEAR)) for image in pictures()]
    return torch.stack([functional.normalize(one, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]) for one in small])


def network(seed: int = 0, **settings: Any) -> AslNetwork:  # noqa: ANN401
    """Return a small network with the running statistics of these pictures, so that their features differ."""
    torch.manual_seed(seed)
    chosen = {"backbone": "mobilenetv2", "side": 64, "hidden": 24, "projected": 12} | settings
    made = AslNetwork(Network.model_validate(chosen)).train()
    for norm in made.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            norm.momentum = None  # the plain mean of all batches: here of one
    with torch.no_grad():
        made(as_tensors())
    return made.eval()


def written(path: Path, made: AslNetwork) -> Path:
    torch.save(export(made, trained="for a test"), path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return written(tmp_path / "model.pt", network())


def described(baseline: Baseline) -> tuple[np.ndarray, np.ndarray]:
    found = baseline.describe([baseline.preprocess(image) for image in pictures()])
    assert found.norms is not None
    return found.vectors, found.norms


@pytest.mark.parametrize(
    ("descriptor", "norm"), [("projected", "projected"), ("pooled", "projected"), ("projected", "pooled")]
)
def test_vectors_have_length_one_and_norms_are_those_of_the_raw_features(
    tmp_path: Path, descriptor: str, norm: str
) -> None:
    made = network(descriptor=descriptor, norm=norm)
    baseline = ndec_baselines.load("asl-small", weights=written(tmp_path / "model.pt", made))
    vectors, norms = described(baseline)
    with torch.no_grad():
        raw = made(as_tensors())
    lengths = raw[descriptor].norm(dim=1, keepdim=True)
    width = 12 if descriptor == "projected" else 1280
    assert (vectors.shape, vectors.dtype, norms.shape, norms.dtype) == ((5, width), np.float32, (5,), np.float32)
    assert np.abs(vectors - (raw[descriptor] / lengths).numpy()).max() < 1e-4
    assert norms == pytest.approx(raw[norm].norm(dim=1).numpy(), rel=1e-4)
    assert norms.std() > 0.01 * norms.mean()
    assert baseline.card.dimension == width
    assert baseline.card.parameters == sum(value.numel() for value in made.parameters())
    assert baseline.card.input == "64 x 64 RGB"
    assert baseline.card.postprocessing == f"{descriptor} features, L2; norms of the {norm} features"


def test_bytes_do_not_depend_on_neighbours(model: Path) -> None:
    baseline = ndec_baselines.load("asl-small", weights=model)
    vectors, norms = described(baseline)
    images = [baseline.preprocess(image) for image in pictures()]
    alone = [baseline.describe([image]) for image in images]
    assert np.array_equal(np.concatenate([one.vectors for one in alone]), vectors)
    assert np.array_equal(np.concatenate([one.norms for one in alone if one.norms is not None]), norms)


def test_the_digest_is_that_of_the_file(model: Path) -> None:
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    assert ndec_baselines.load("asl-small", weights=model).weights_sha256 == digest
    with pytest.raises(DataError, match="SHA-256"):
        ndec_baselines.load("asl-small", weights=model, weights_sha256="0" * 64)


def test_a_network_of_the_other_kind_is_refused_with_its_name(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="a network with backbone mobilenetv2; load it as asl-small"):
        ndec_baselines.load("asl", weights=model)
    monkeypatch.setattr(isc_resnet, "HIDDEN", 16)
    monkeypatch.setattr(isc_resnet, "PROJECTED", 8)
    with torch.device("cpu"):
        large = AslNetwork(Network(backbone="50", side=64, hidden=16, projected=8))
    path = written(tmp_path / "large.pt", large)
    with pytest.raises(DataError, match=r"a network with backbone 50; load it as asl$"):
        ndec_baselines.load("asl-small", weights=path)
    found = ndec_baselines.load("asl", weights=path)
    assert (found.card.name, found.card.dimension, found.card.input) == ("asl", 8, "64 x 64 RGB")


def test_strangers_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(import_torchvision().models.mobilenet_v2(weights=None).state_dict(), path)
    with pytest.raises(DataError, match=r"model\.pt: not an export of ndec-bench train asl"):
        ndec_baselines.load("asl-small", weights=path)
    path.write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"model\.pt: a web page, expected a checkpoint"):
        ndec_baselines.load("asl-small", weights=path)


def test_without_weights_the_way_to_them_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NDEC_ROOT", str(tmp_path))
    for name in ("asl", "asl-small"):
        with pytest.raises(
            DataError, match=f"baseline {name} needs the weights {name}.pt, not found here; .*--weights FILE"
        ):
            ndec_baselines.load(name)


@pytest.mark.parametrize(("name", "file"), [("asl", "ndec.toml"), ("asl-small", "c.toml")])
def test_the_cards_tell_of_networks_with_the_settings_of_the_experiments(name: str, file: str) -> None:
    settings, card = read_config(EXPERIMENTS / file).network, ndec_baselines.card(name)
    with torch.device("meta"):
        made = AslNetwork(settings)
        with FlopCounterMode(display=False) as counter:
            made.eval()(torch.zeros(1, 3, settings.side, settings.side))
    assert card.dimension == made.widths[settings.descriptor]
    assert card.parameters == sum(value.numel() for value in made.parameters())
    assert card.gflops == round(counter.get_total_flops() / 2e9, 1)  # multiply-adds
    assert card.input == f"{settings.side} x {settings.side} RGB"
    assert card.postprocessing == f"{settings.descriptor} features, L2; norms of the {settings.norm} features"
