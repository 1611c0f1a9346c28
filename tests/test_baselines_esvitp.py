"""``esvitp``: structure as the authors' network has it, strict loading, outputs against torchvision's Swin blocks."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Any

import esvitp_published
import numpy as np
import pytest
import torch
from torch import nn

from ndec_baselines import registry
from ndec_baselines.base import LocalWeights
from ndec_baselines.describing.boxes import Box
from ndec_baselines.esvitp import BASELINES, CARD
from ndec_baselines.esvitp.network import EsViT, load_network
from ndec_baselines.esvitp.overlay import global_box, local_box
from ndec_baselines.networks.torchvision_import import import_torchvision
from ndec_baselines.weights import find_weights, local_weights
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ndec_baselines.base import Baseline

IMAGES = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 224, 224)).astype(np.float32))
DEPTHS, HEADS, WINDOWS = (2, 2, 18, 2), (4, 8, 16, 32), (14, 14, 14, 7)


@pytest.fixture(scope="module")
def network() -> EsViT:
    return esvitp_published.network()


@pytest.fixture(scope="module")
def state(network: EsViT) -> dict[str, torch.Tensor]:
    return esvitp_published.state(network)


def _torchvision_blocks(stage: int, state: Mapping[str, torch.Tensor]) -> list[Callable[[torch.Tensor], torch.Tensor]]:
    import_torchvision()
    from torchvision.models import swin_transformer as swin

    norm = partial(nn.LayerNorm, eps=1e-6)
    blocks: list[Callable[[torch.Tensor], torch.Tensor]] = []
    for number in range(DEPTHS[stage]):
        window = WINDOWS[stage]
        # torchvision drops the shift itself where the window covers the grid.
        shift = window // 2 if number % 2 else 0
        block = swin.SwinTransformerBlock(
            128 * 2**stage, HEADS[stage], [window, window], [shift, shift], norm_layer=norm
        ).eval()
        prefix = f"layers.{stage}.blocks.{number}."
        names = {name.replace("mlp.0.", "mlp.fc1.").replace("mlp.3.", "mlp.fc2."): name for name in block.state_dict()}
        # An index in the file must be torchvision's own, up to its shape.
        its = {name: state[prefix + ours] for ours, name in names.items()}
        index = "attn.relative_position_index"
        assert torch.equal(its[index].ravel(), block.state_dict()[index])
        its[index] = its[index].ravel()
        block.load_state_dict(its, strict=True)
        blocks.append(block)
    return blocks


@torch.inference_mode()
def _last_outputs(images: torch.Tensor, state: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    """Return the maps of the last four blocks by torchvision's blocks, under the published names.

    Merging ends stages 0 to 2; the last stage's maps go through the final norm.
    """

    def norm(maps: torch.Tensor, name: str) -> torch.Tensor:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return nn.functional.layer_norm(maps, (maps.shape[-1],), weight, bias, eps=1e-6)

    patches = nn.functional.conv2d(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=4)
    maps = norm(patches.permute(0, 2, 3, 1), "patch_embed.norm")
    outputs = []
    for stage in range(4):
        for block in _torchvision_blocks(stage, state):
            maps = block(maps)
            outputs.append(norm(maps, "norm") if stage == 3 else maps)
        if stage < 3:
            corners = [maps[:, row::2, column::2] for row, column in ((0, 0), (1, 0), (0, 1), (1, 1))]
            merged = norm(torch.cat(corners, dim=-1), f"layers.{stage}.downsample.norm")
            maps = merged @ state[f"layers.{stage}.downsample.reduction.weight"].T
    return outputs[-4:]


def _described(outputs: list[torch.Tensor], state: Mapping[str, torch.Tensor]) -> torch.Tensor:
    means = torch.cat([maps.mean(dim=(1, 2)) for maps in outputs], dim=1)
    rows = means @ state["head.linear.weight"].T + state["head.linear.bias"]
    return nn.functional.normalize(rows, dim=1)


@pytest.mark.slow
def test_descriptors_equal_torchvisions_blocks(network: EsViT, state: dict[str, torch.Tensor]) -> None:
    with torch.inference_mode():
        found, means = network(IMAGES[:1]), network.read_out(IMAGES[:1])
    assert found.shape == (1, 256)
    assert means.shape == (1, 3072)
    assert torch.allclose(found.norm(dim=1), torch.ones(1))
    outputs = _last_outputs(IMAGES[:1], state)
    assert (found - _described(outputs, state)).abs().max() < 2e-6
    early = [nn.functional.layer_norm(maps, (512,), eps=1e-6) for maps in outputs[:2]]
    assert (found - _described([*early, *outputs[2:]], state)).abs().max() > 1e-3
    swapped = [outputs[1], outputs[0], *outputs[2:]]
    assert (found - _described(swapped, state)).abs().max() > 1e-3


def test_entries_parameters_and_shapes_are_the_published_ones(state: dict[str, torch.Tensor], network: EsViT) -> None:
    """353 entries; MD5 over sorted ``name:shape`` lines as tabulated from the authors' own network."""
    lines = "\n".join(sorted(f"{name}:{tuple(value.shape)}" for name, value in state.items()))
    assert len(state) == 353
    assert hashlib.md5(lines.encode(), usedforsecurity=False).hexdigest() == "1b3e3451bc8f919e984fc739ebc5d790"
    assert sum(parameter.numel() for parameter in network.parameters()) == CARD.parameters == 87_704_632
    assert sum(parameter.numel() for parameter in network.head.parameters()) == 786_688


def test_bias_tables_and_shifts(network: EsViT) -> None:
    blocks = [block for stage in network.trunk.layers for block in stage.blocks]
    tables = [tuple(block.attn.relative_position_bias_table.shape) for block in blocks]
    assert [tables[0], tables[2], tables[4], tables[-1]] == [(729, 4), (729, 8), (729, 16), (169, 32)]
    assert [block.shift_size for block in blocks] == [(0, 0), (7, 7)] * 2 + [(0, 0)] * 20


@pytest.fixture(scope="module")
def baseline(state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Baseline:
    folder = tmp_path_factory.mktemp("weights")
    torch.save(esvitp_published.content(state), folder / esvitp_published.FILE)
    weights = local_weights(CARD, folder / esvitp_published.FILE)
    loaded: Any = BASELINES["esvitp"].loader(weights, "cpu")
    (folder / esvitp_published.FILE).unlink()  # a third of a gigabyte
    return loaded  # type: ignore[no-any-return]


@pytest.mark.slow
def test_the_file_with_prefixes_loads_and_bytes_do_not_depend_on_neighbours(baseline: Baseline, network: EsViT) -> None:
    whole = baseline.describe(IMAGES).vectors
    with torch.inference_mode():
        assert np.abs(whole - network(IMAGES).numpy()).max() < 1e-6
    assert np.array_equal(baseline.describe(IMAGES[1:]).vectors[0], whole[1])
    assert np.array_equal(baseline.describe(IMAGES.flip(0)).vectors[::-1], whole)


@pytest.mark.parametrize(
    ("missing", "extra", "message"),
    [
        ("head.linear.bias", None, r"1 missing \(head\.bias\)"),
        (None, "head_dense.weight", r"1 unexpected \(trunk\.head_dense\.weight\)"),
    ],
)
def test_other_weights_are_refused(
    state: dict[str, torch.Tensor],
    network: EsViT,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing: str | None,
    extra: str | None,
    message: str,
) -> None:
    monkeypatch.setattr("ndec_baselines.esvitp.network.EsViT", lambda: network)
    # Shared storage of one number keeps the file small; the shapes are what is compared.
    content = {name: torch.zeros(1).expand(value.shape) for name, value in state.items() if name != missing}
    if extra is not None:
        content[extra] = torch.zeros(1)
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(DataError, match=message):
        load_network(tmp_path / "weights.pth")


def test_weights_are_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NDEC_ROOT", str(tmp_path))
    assert CARD.weights is not None
    assert not CARD.weights.published
    assert {file.source for file in CARD.weights.files} == {""}
    assert registry.card("esvitp") == CARD
    with pytest.raises(DataError, match="needs the weights EsViT_SwinB") as caught:
        find_weights("esvitp", CARD.weights)
    assert "never published" in str(caught.value.hint)


SIZE = (200, 100)
GOOD = Box(20.9, 10.2, 120.8, 80.7, 0.9)


@pytest.mark.parametrize(
    ("boxes", "whole", "local"),
    [
        ([], None, None),
        ([GOOD], (20, 10, 120, 80), (20, 10, 120, 80)),
        ([Box(20, 10, 120, 80, 0.55)], None, (20, 10, 120, 80)),
        ([Box(20, 10, 120, 80, 0.5)], None, None),
        # 0.95 x 0.9 = 0.855 of the area; 0.9 x 0.9 = 0.81
        ([Box(0, 0, 190, 90, 0.9)], None, None),
        ([Box(0, 0, 180, 90, 0.9)], (0, 0, 180, 90), (0, 0, 180, 90)),
        # Shares, not pixels: 40 x 90 pixels are 0.2 x 0.9, too high; 100 x 20 pixels are 0.5 x 0.2.
        ([Box(0, 0, 40, 90, 0.9)], None, None),
        ([Box(0, 0, 100, 20, 0.9)], (0, 0, 100, 20), (0, 0, 100, 20)),
        ([Box(0, 0, 180, 20, 0.9)], None, None),
        # The highest score wins among those that pass; of equals the first.
        ([Box(0, 0, 190, 90, 0.99), Box(0, 0, 50, 50, 0.6), GOOD], (20, 10, 120, 80), (20, 10, 120, 80)),
        ([GOOD, Box(0, 0, 50, 50, 0.9)], (20, 10, 120, 80), (20, 10, 120, 80)),
        ([Box(-30, -5, 100.9, 60, 0.9)], (0, 0, 100, 60), (0, 0, 100, 60)),
        ([Box(3.2, 4.1, 3.9, 4.9, 0.9)], None, None),
        ([Box(300, 40, 310, 60, 0.9)], None, None),
    ],
)
def test_the_box_that_replaces_a_query(
    boxes: list[Box], whole: tuple[int, ...] | None, local: tuple[int, ...] | None
) -> None:
    assert global_box(SIZE, boxes) == whole
    assert local_box(SIZE, boxes) == local
    assert BASELINES["esvitp"].choose_box is global_box


def test_the_whole_system_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: EsViT) -> None:
    monkeypatch.setattr("ndec_baselines.esvitp.network.load_network", lambda path: network)
    loaded: Any = BASELINES["esvitp-sift"].loader(
        LocalWeights({esvitp_published.FILE: tmp_path / esvitp_published.FILE}, "ab" * 32), "cpu"
    )
    assert loaded.card.track == "matching"
    assert loaded.weights_sha256 == "ab" * 32
    assert loaded.device == "cpu"
