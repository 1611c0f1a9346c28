"""``efnet`` and its members with random weights in the published form: layers, containers, the way through JPEG."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import efnet_published
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from written import weights_of

import ndec_baselines
from ndec_baselines.cards import model_cards
from ndec_baselines.methods.efnet import (
    CALLBACKS,
    MEMBERS,
    EnsembleNet,
    MemberNet,
    NearlyUnitLength,
    load_member,
    network_input,
    preprocess,
    preprocess_all,
    stored_copy,
)
from ndec_baselines.networks.checkpoints import read_checkpoint
from ndec_baselines.networks.pooling import LearnedGeM
from ndec_baselines.networks.torchvision_import import import_torchvision
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    Content = dict[str, Any]

CARDS = model_cards()

ENTRIES = {
    "efnet-1": (3098, "05e7b29ee5e6629e864bf645c0be2275"),
    "efnet-2": (1590, "f5cf8cf0bdbc7fea72bd3f44fe47435f"),
    "efnet-3": (794, "0c72e78ea27b4ebcf5ce96f0b11c06bc"),
    "efnet-4": (341, "618d118f8e4eb25cbb580ff7bf6d90ee"),
    "efnet-5": (341, "618d118f8e4eb25cbb580ff7bf6d90ee"),
    "efnet-6": (341, "c4c0bcc4bd24eb9174766222c3c4292e"),
    "efnet-7": (706, "da23344fb1a66fe3ca93e35a2df77d7a"),
    "efnet-8": (497, "0715ea81d7bdb3d6e200b13e1b8b1384"),
}
"""Entries of the state dict without the matrix of classes, and the digest of their names and shapes, as taken from the
published code."""

MAPS = {
    "efnet-1": (1280, 16),
    "efnet-2": (1792, 7),
    "efnet-3": (1792, 5),
    "efnet-4": (3072, 5),
    "efnet-5": (3072, 5),
    "efnet-6": (3072, 5),
    "efnet-7": (1792, 5),
    "efnet-8": (3072, 5),
}
"""Channels and side of the map that is pooled."""


@pytest.fixture(scope="module")
def content() -> Callable[[str], Content]:
    """Return what a member's file holds; each is made once."""
    made: dict[str, Content] = {}

    def of(name: str) -> Content:
        if name not in made:
            made[name] = efnet_published.content(name)
        return made[name]

    return of


def _photo(width: int = 300, height: int = 200) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("name", MEMBERS)
def test_networks_are_the_tabulated_ones(name: str) -> None:
    """Keys and shapes, parameters, multiply-adds, and the shape of the last map, all without a single number."""
    from torch.utils.flop_counter import FlopCounterMode

    member, last_map = MEMBERS[name], []
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        built = MemberNet(member, CARDS[name].dimension).eval()
        pool = next(module for module in built.modules() if isinstance(module, LearnedGeM))
        pool.register_forward_pre_hook(lambda _, inputs: last_map.append(inputs[0].shape))
        built(torch.empty(1, 3, member.side, member.side))
    state = built.state_dict()
    assert sum(parameter.numel() for parameter in built.parameters()) == CARDS[name].parameters
    assert round(counter.get_total_flops() / 2e9, 1) == CARDS[name].gflops
    names = efnet_published.published_names(state) if member.paired else state
    lines = sorted(f"{name}:{tuple(value.shape)}" for name, value in names.items())
    assert (
        len(lines),
        hashlib.md5("\n".join(lines).encode(), usedforsecurity=False).hexdigest(),
    ) == ENTRIES[name]
    channels, side = MAPS[name]
    assert last_map == [(1, channels, side, side)]


def test_the_ensemble_is_the_sum_of_its_members() -> None:
    card = CARDS["efnet"]
    assert card.dimension == 2816
    assert card.parameters == sum(CARDS[name].parameters for name in MEMBERS)
    assert card.gflops == 85.2  # 85.237: the members' are rounded
    assert card.weights is not None
    assert list(card.weights.files) == [file for name in MEMBERS for file in CARDS[name].weights.files]  # type: ignore[union-attr]


def _composed(name: str, state: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """timm's whole classifier up to the last map, then pooling, linear layer and length written out."""
    import_torchvision()
    import timm

    member = MEMBERS[name]
    trunk_prefix, neck = ("qry_backbone.", "qry_neck.0.") if member.paired else ("backbone.0.", "backbone.1.")
    in_trunk = {key.removeprefix(trunk_prefix): value for key, value in state.items() if key.startswith(trunk_prefix)}
    (power,) = (in_trunk.pop(key) for key in list(in_trunk) if key.endswith("global_pool.p"))
    trunk = timm.create_model(member.trunk, pretrained=False).eval()
    missing, unexpected = trunk.load_state_dict(in_trunk, strict=False)
    assert not unexpected
    assert set(missing) <= {"classifier.weight", "classifier.bias", "head.fc.weight", "head.fc.bias"}
    with torch.inference_mode():
        maps = trunk.forward_features(images).double().flatten(2)
        pooled = (torch.maximum(maps, torch.tensor(1e-6)) ** power).mean(2) ** (1 / power)
        rows = pooled @ state[f"{neck}weight"].double().T + state.get(f"{neck}bias", torch.zeros(()))
        return rows / (rows.square().sum(1, keepdim=True).sqrt() + 1e-6)


@pytest.mark.slow
def test_descriptors_of_all_members_equal_a_plain_composition_and_the_ensemble_joins_them() -> None:
    """Of one image, by the network for all; a member loaded alone gives the same bytes, in a batch too."""
    folder, photo = weights_of("efnet"), _photo()
    whole = ndec_baselines.load("efnet", weights=folder)
    joined = whole.describe([whole.preprocess(photo)]).vectors
    start = 0
    for name, member in MEMBERS.items():
        image = preprocess(photo, member)[None]
        found = joined[:, start : start + CARDS[name].dimension]
        state = read_checkpoint(folder / _file(name), inert=CALLBACKS)["state_dict"]
        assert np.abs(found - _composed(name, state, image).numpy()).max() < 1e-5, name
        start += CARDS[name].dimension
        if name in ("efnet-2", "efnet-7"):
            alone = ndec_baselines.load(name, weights=folder)
            others = torch.cat([preprocess(_photo(90, 400), member)[None], image])
            assert np.array_equal(alone.describe(others).vectors[1:], found)
    assert joined.shape == (1, start)


def test_each_network_of_an_ensemble_gets_the_image_of_its_size() -> None:
    class Mean(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.stack([images.mean((1, 2, 3)), torch.full((len(images),), float(images.shape[-1]))], 1)

    members = list(MEMBERS.values())
    row = preprocess_all(_photo())
    assert row.shape == (3 * (512**2 + 224**2 + 160**2),)
    found = EnsembleNet([Mean() for _ in members], [member.side for member in members])(row[None])[0]
    expected = [(preprocess(_photo(), member).mean(), member.side) for member in members]
    assert torch.allclose(found, torch.tensor(expected).flatten(), atol=1e-6)


@pytest.mark.parametrize("name", ["efnet-1", "efnet-2", "efnet-8"])
def test_preprocessing_against_plain_pillow(name: str) -> None:
    """Pillow told no filter, no quality, no subsampling; then every step of the normalisation in float64."""
    member, photo = MEMBERS[name], _photo(700, 500)
    file = BytesIO()
    photo.resize((member.stored, member.stored)).save(file, "JPEG")
    small = Image.open(file)
    if member.side != member.stored:
        small = small.resize((member.side, member.side))
    expected = (np.asarray(small, dtype=np.float64) - (123.675, 116.28, 103.53)) / (58.395, 57.12, 57.375)
    values = preprocess(photo, member)
    assert values.dtype == torch.float32
    assert np.abs(values.numpy() - expected.transpose(2, 0, 1)).max() < 1e-6
    direct = network_input(photo, member.side)
    assert direct.shape == values.shape
    assert (direct - values).abs().max() > 0.05


def test_normalisation_of_a_flat_image_by_hand() -> None:
    """(0 - 123.675) / 58.395 = -2.117904, (0 - 116.28) / 57.12 = -2.035714, (0 - 103.53) / 57.375 = -1.804444."""
    for member in MEMBERS.values():
        values = preprocess(Image.new("RGB", (30, 50)), member)
        assert values.shape == (3, member.side, member.side)
        assert values[:, 80, 80].tolist() == pytest.approx([-2.117904, -2.035714, -1.804444], abs=1e-5)


def test_a_greyscale_file_gives_what_its_rgb_copy_gives() -> None:
    """The published code writes a JPEG file of one channel and repeats that; three equal channels come out the same."""
    grey = _photo().convert("L")
    file = BytesIO()
    grey.resize((384, 384)).save(file, "JPEG")
    repeated = np.asarray(Image.open(file))[:, :, None].repeat(3, axis=2)
    assert np.array_equal(np.asarray(stored_copy(grey.convert("RGB"), 384)), repeated)


def test_length_is_a_little_less_than_one() -> None:
    rows = torch.tensor([[3e-4, 4e-4], [3.0, 4.0], [0.0, 0.0]])
    lengths = NearlyUnitLength()(rows).norm(dim=1).tolist()
    assert lengths == pytest.approx([5e-4 / 5.01e-4, 5 / 5.000001, 0.0], abs=1e-7)


def _file(name: str) -> str:
    weights = CARDS[name].weights
    assert weights is not None
    return weights.files[0].name


def _refused(name: str, saved: Content, tmp_path: Path, match: str) -> None:
    path = tmp_path / "member.ckpt"
    efnet_published.save(name, saved, path)
    with pytest.raises(DataError, match=match):
        load_member(path, name)


def test_missing_and_unexpected_keys_are_refused(content: Callable[[str], Content], tmp_path: Path) -> None:
    saved = content("efnet-7")
    state = dict(saved["state_dict"])
    power = state.pop("backbone.0.global_pool.p")
    _refused("efnet-7", {**saved, "state_dict": state}, tmp_path, r"1 missing \(backbone\.0\.global_pool\.p\)")
    state |= {"backbone.0.global_pool.p": power, "criterion.other": power}
    _refused("efnet-7", {**saved, "state_dict": state}, tmp_path, r"1 unexpected \(criterion\.other\)")
    _refused("efnet-7", {"epoch": 1}, tmp_path, "no entry 'state_dict'")
    _refused("efnet-3", {**content("efnet-3"), "state_dict": saved["state_dict"]}, tmp_path, "do not fit the network")


def test_networks_that_stand_twice_must_be_equal(content: Callable[[str], Content], tmp_path: Path) -> None:
    saved = content("efnet-2")
    state = saved["state_dict"]
    other = {**state, "ref_neck.0.bias": state["ref_neck.0.bias"] + 1}
    _refused("efnet-2", {**saved, "state_dict": other}, tmp_path, r"1 weights differ .* first is neck\.0\.bias")
    once = {name: value for name, value in state.items() if not name.startswith("ref_neck")}
    _refused("efnet-2", {**saved, "state_dict": once}, tmp_path, r"2 weights differ .* one of them only")


def test_the_matrix_of_classes_is_left_out_whatever_its_shape(
    content: Callable[[str], Content], tmp_path: Path
) -> None:
    saved = content("efnet-3")
    assert saved["state_dict"]["criterion.kernel"].shape == (384, 1_000_000)
    state = {name: value for name, value in saved["state_dict"].items() if name != "criterion.kernel"}
    full, light = tmp_path / "full.ckpt", tmp_path / "light.ckpt"
    efnet_published.save("efnet-3", saved, full)
    torch.save({"epoch": 1, "state_dict": state}, light)
    loaded = [load_member(path, "efnet-3").state_dict() for path in (full, light)]
    assert loaded[0].keys() == loaded[1].keys() == state.keys()
    assert all(torch.equal(loaded[0][name], loaded[1][name]) for name in state)


class _Payload:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("was-run"),))


def test_only_the_callbacks_of_the_trainer_are_passed_over(
    content: Callable[[str], Content], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other classes are refused, and what a known class would hold cannot run either."""
    monkeypatch.chdir(tmp_path)
    saved, path = content("efnet-7"), tmp_path / "member.ckpt"
    with efnet_published.importable("pytorch_lightning.callbacks.swa.Other") as other:
        torch.save({**saved, "callbacks": {other: 1}}, path)
    with pytest.raises(DataError, match="not a checkpoint that can be read safely"):
        load_member(path, "efnet-7")
    hostile = {**content("efnet-3"), "extra": _Payload()}
    _refused("efnet-3", hostile, tmp_path, "not a checkpoint that can be read safely")
    assert not Path("was-run").exists()


def test_weights_are_asked_for_in_their_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"8 of 8 weights files .* sjy_test5/FacebookModel_Eepoch=51"):
        ndec_baselines.load("efnet", weights=tmp_path)
