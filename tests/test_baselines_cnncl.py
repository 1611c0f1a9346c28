"""``cnncl`` with random weights in the published form: its layers, its container, its preprocessing."""

from __future__ import annotations

import hashlib
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cnncl_published
import numpy as np
import pytest
import torch
from torch import nn

import ndec_baselines
from ndec_baselines.methods.cnncl import CnnclNet, network
from ndec_baselines.networks.torchvision_import import import_torchvision
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_baselines.networks.inference import TorchBaseline

    Content = dict[str, Any]
    Described = tuple[torch.Tensor, NDArray[np.float32]]

NAME = "isc_selfsup_v98.pth.tar"


@pytest.fixture(scope="module")
def content() -> Content:
    """What the file of ``cnncl-selfsup`` holds."""
    return cnncl_published.content("cnncl-selfsup")


@pytest.fixture(scope="module")
def baseline(content: Content, tmp_path_factory: pytest.TempPathFactory) -> TorchBaseline:
    """``cnncl-selfsup``, whose file has no published digest."""
    path = tmp_path_factory.mktemp("cnncl") / NAME
    torch.save(content, path)
    return ndec_baselines.load("cnncl-selfsup", weights=path)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def described(baseline: TorchBaseline) -> Described:
    """Two images of noise as the network takes them, and their descriptors."""
    images = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (2, 3, 256, 256)).astype(np.float32))
    return images, baseline.describe(images).vectors


def test_network_is_the_tabulated_one() -> None:
    """Entries, parameters, and the digest of all names and shapes are those of the published code's network."""
    with torch.device("meta"):
        built = CnnclNet()
    lines = sorted(f"{name}:{tuple(value.shape)}" for name, value in built.state_dict().items())
    assert len(lines) == 1118
    assert (
        hashlib.md5("\n".join(lines).encode(), usedforsecurity=False).hexdigest() == "848c5570c6f7c4d0646a7fee74af13f5"
    )
    parameters = sum(parameter.numel() for parameter in built.parameters())
    assert parameters == ndec_baselines.card("cnncl").parameters


def test_multiply_adds_are_those_of_the_card() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        CnnclNet().eval()(torch.empty(1, 3, 512, 512))
    assert round(counter.get_total_flops() / 2e9, 1) == ndec_baselines.card("cnncl").gflops


def test_descriptors_equal_a_plain_composition(content: Content, described: Described) -> None:
    """timm's whole classifier up to its last block, then every further layer written out from the file's numbers."""
    import_torchvision()
    import timm

    state = {name.removeprefix("module."): value for name, value in content["state_dict"].items()}
    trunk = timm.create_model("tf_efficientnetv2_m", pretrained=False).eval()
    in_trunk = {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}
    missing, unexpected = trunk.load_state_dict(in_trunk, strict=False)
    assert not unexpected
    assert {name.split(".")[0] for name in missing} == {"conv_head", "bn2", "classifier"}
    images, vectors = described
    with torch.inference_mode():
        maps = trunk.blocks(trunk.bn1(trunk.conv_stem(images)))
        assert maps.shape == (2, 512, 8, 8)
        assert (maps < 0).any()
        pooled = torch.maximum(maps, torch.tensor(1e-6)).flatten(2).mean(2)
        rows = pooled @ state["fc.weight"].T - state["bn.running_mean"]
        rows = rows / (state["bn.running_var"] + 1e-5).sqrt() * state["bn.weight"] + state["bn.bias"]
        expected = rows / rows.square().sum(1, keepdim=True).sqrt()
        averaged = nn.functional.normalize(maps.mean((2, 3)) @ state["fc.weight"].T)
    assert vectors.shape == (2, 256)
    assert np.abs(vectors - expected.numpy()).max() < 1e-5
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6
    assert np.abs(vectors - averaged.numpy()).max() > 1e-2


def _refused(content: Content, path: Path, match: str) -> None:
    torch.save(content, path)
    with pytest.raises(DataError, match=match):
        network(path)


def test_only_the_last_size_of_the_training_is_taken(content: Content, tmp_path: Path) -> None:
    smaller = {**content, "args": Namespace(input_size=384)}
    _refused(smaller, tmp_path / NAME, r"for images of side 384, expected 512 \(args\.input_size\)")
    _refused({**content, "args": Namespace()}, tmp_path / NAME, "for images of side None, expected 512")
    without = {key: value for key, value in content.items() if key != "args"}
    _refused(without, tmp_path / NAME, "for images of side None, expected 512")


class _Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("was-run"),))


def test_arguments_cannot_run_code(content: Content, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hostile = {**content, "args": Namespace(input_size=512, other=_Payload())}
    _refused(hostile, tmp_path / NAME, "not a checkpoint that can be read safely")
    assert not Path("was-run").exists()


def test_the_labelled_file_is_pinned_and_both_say_which_labels_they_saw(tmp_path: Path) -> None:
    path = tmp_path / "isc_ft_v107.pth.tar"
    path.write_bytes(b"another file")
    with pytest.raises(DataError, match="expected 512390a15ab5"):
        ndec_baselines.load("cnncl", weights=path)
    used = {name: ndec_baselines.card(name).weights for name in ("cnncl", "cnncl-selfsup")}
    assert {name: weights and weights.labels_used for name, weights in used.items()} == {
        "cnncl": ("dev1",),
        "cnncl-selfsup": ("none",),
    }
