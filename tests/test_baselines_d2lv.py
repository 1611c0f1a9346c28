"""The single networks of D2LV: their cards, an independent composition, what images go through, the whitening."""

from __future__ import annotations

from typing import TYPE_CHECKING

import d2lv_published
import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import nn

import ndec_baselines
from ndec_baselines import registry
from ndec_baselines.cards import model_cards
from ndec_baselines.d2lv import BASELINES, NETWORKS, PLANS
from ndec_baselines.d2lv.network import Whitening, preprocess, whitening
from ndec_baselines.d2lv.plan import BACKBONES, VARIANTS, Plan, network_card
from ndec_baselines.networks.torchvision_import import import_torchvision
from ndec_bench.descriptors import Descriptors
from ndec_bench.errors import DataError, UsageError
from ndec_bench.postprocess.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_baselines.base import Baseline


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("d2lv")
    d2lv_published.write("d2lv-blur-bw-ibn", folder)
    return folder


@pytest.fixture(scope="module")
def ibn(published: Path) -> Baseline:
    return ndec_baselines.load("d2lv-blur-bw-ibn-200", weights=published)


def _picture(width: int = 90, height: int = 60, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def test_every_network_at_every_size_is_registered() -> None:
    assert len(NETWORKS) == 11 * 3 * 3
    assert BASELINES.keys() == NETWORKS.keys() | PLANS.keys()
    for name, (variant, backbone, side) in NETWORKS.items():
        card = registry.card(name.replace("-", ":", 1))
        assert card.hidden
        assert card.weights is not None
        assert [file.name for file in card.weights.files] == [variant.file(backbone)]
        own = network_card(variant, backbone, side, blur=False)
        assert (card.name, card.preprocessing) == (own.name, own.preprocessing)


def test_cards_of_the_single_networks() -> None:
    card = registry.card("d2lv-opa-cc-152-320")
    assert card.weights is not None
    assert [file.name for file in card.weights.files] == ["V5_opa_CC/opa_cc_152.pth.tar"]
    assert (card.dimension, card.parameters, card.gflops, card.input) == (8192, 100_123_713, 27.9, "320 x 320 RGB")
    assert card.steps == ("pca:dim=1500,whiten=yes,sample=20000,seed=123", "l2", "score-norm:first=1,last=10,factor=2")
    blurred = network_card(VARIANTS["blur-bw"], "50", 64, blur=True)
    assert (blurred.name, blurred.preprocessing.size) == ("d2lv-blur-bw-50-64", "64 x 64, aspect ratio not kept")
    assert blurred.preprocessing.colour == (
        "RGB, Gaussian blur of radius 5 (Pillow) at full size, then grey (Pillow L) in three equal channels"
    )
    blurred = registry.card("d2lv-blur-bw-50")
    assert "grey" in blurred.preprocessing.colour
    assert "blur" not in blurred.preprocessing.colour
    assert "treats all images as queries" in blurred.description


def test_cards_of_the_systems() -> None:
    whole, part = model_cards()["d2lv"], model_cards()["d2lv-baseline-cc"]
    assert whole.weights is not None
    assert part.weights is not None
    assert len({file.name for file in whole.weights.files}) == 33
    assert [file.name for file in part.weights.files] == [
        f"V5_baseline_CC/baseline_cc_{backbone}.pth.tar" for backbone in BACKBONES
    ]
    assert whole.parameters == 11 * (2 * 65_487_937 + 100_123_713)
    assert {card.track for card in (whole, part)} == {"matching"}
    assert whole.never_run
    assert {(e.split, e.value) for e in whole.expected if e.metric == "micro_ap"} == {
        ("disc21-final", 0.8329),
        ("disc21-dev2", 0.90035),
    }
    assert PLANS["d2lv"] == Plan()


def test_variants_are_the_published_ones() -> None:
    found = {v.file("50").partition("/")[0]: (v.name, v.grey, v.blur, v.least_side) for v in VARIANTS.values()}
    assert found == {
        "V5_baseline_CC": ("baseline-cc", False, False, 200),
        "V5_baseline_BW": ("baseline-bw", True, False, 200),
        "V5_blur_CC": ("blur-cc", False, True, 100),
        "V5_blur_BW": ("blur-bw", True, True, 100),
        "V5_color_CC": ("color-cc", False, False, 100),
        "V5_color_BW": ("color-bw", True, False, 200),
        "V5_dark_CC": ("dark-cc", False, False, 100),
        "V5_face_CC": ("face-cc", False, False, 100),
        "V5_face_BW": ("face-bw", True, False, 150),
        "V5_opa_CC": ("opa-cc", False, False, 200),
        "V5_u_CC": ("u-cc", False, False, 200),
    }


# The descriptor.


class _IbnA(nn.Module):
    """IBN-a's first normalisation by functions, with the names of the published keys."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.IN, self.BN = nn.InstanceNorm2d(channels // 2, affine=True), nn.BatchNorm2d(channels // 2)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        first, second = maps.chunk(2, dim=1)
        centred = first - first.mean(dim=(2, 3), keepdim=True)
        first = centred / (centred.square().mean(dim=(2, 3), keepdim=True) + 1e-5).sqrt()
        first = first * self.IN.weight[:, None, None] + self.IN.bias[:, None, None]
        return torch.cat((first, self.BN(second)), dim=1)


def _composed(state: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """Return D2LV's 8192 numbers by torchvision's ResNet-50 with renamed keys, in its own order of layers."""
    models = import_torchvision().models
    resnet: nn.Module = models.resnet50(weights=None)
    if any(".bn1.IN." in name for name in state):
        for stage, width, depth in (("layer1", 64, 3), ("layer2", 128, 4), ("layer3", 256, 6)):
            for block in range(depth):
                resnet.get_submodule(f"{stage}.{block}").add_module("bn1", _IbnA(width))
    slots = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "7": "layer3", "9": "layer4"}
    renamed = {}
    for name, value in state.items():
        part, _, rest = name.removeprefix("base.").partition(".")
        if name.startswith("base.") and part in slots:
            renamed[f"{slots[part]}.{rest}"] = value
    missing, unexpected = resnet.load_state_dict(renamed, strict=False)
    assert sorted(missing) == ["fc.bias", "fc.weight"]
    assert not unexpected
    for name in ("conv2", "downsample.0"):
        resnet.get_submodule(f"layer4.0.{name}").stride = (1, 1)  # type: ignore[assignment]
    resnet.eval()
    maps = images
    for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
        maps = resnet.get_submodule(name)(maps)
    pooled = nn.functional.avg_pool2d(maps.clamp(min=1e-6) ** 3, maps.shape[-1]).flatten(1) ** (1 / 3)
    head = nn.Sequential(
        nn.Sequential(nn.Linear(2048, 4096), nn.BatchNorm1d(4096), nn.LeakyReLU(0.2), nn.Linear(4096, 8192)),
        nn.BatchNorm1d(8192),
    )
    prefix = "projector_feat_bn."
    head.load_state_dict({n.removeprefix(prefix): v for n, v in state.items() if n.startswith(prefix)})
    found: torch.Tensor = head.eval()(pooled)
    return found


def test_descriptor_equals_torchvisions_resnet_and_head(ibn: Baseline, published: Path) -> None:
    """The file's own power, 3.4, is not used."""
    images = [preprocess(_picture(seed=seed), 96, grey=True) for seed in range(2)]
    state = torch.load(published / "V5_blur_BW" / "blur_bw_ibn.pth.tar", weights_only=True)
    with torch.inference_mode():
        expected = _composed(state, torch.stack(images)).numpy()
    found = ibn.describe(images).vectors
    assert found.shape == (2, 8192)
    assert np.abs(found - expected).max() / np.abs(expected).max() < 5e-6
    assert not np.allclose(np.linalg.norm(found, axis=1), 1)


def test_another_network_is_refused(published: Path) -> None:
    path = published / "V5_blur_BW" / "blur_bw_ibn.pth.tar"
    with pytest.raises(DataError, match=r"65 missing \(base\.4\.0\.bn1\.bias.*91 unexpected"):
        ndec_baselines.load("d2lv-blur-bw-50", weights=path)


def test_systems_make_no_descriptors() -> None:
    with pytest.raises(UsageError, match="scores pairs"):
        ndec_baselines.load("d2lv")


# What images go through.


@pytest.mark.parametrize(("grey", "blur"), [(False, False), (True, False), (False, True), (True, True)])
def test_preprocessing_is_blur_then_grey_then_bicubic(grey: bool, blur: bool) -> None:
    image = expected = _picture(120, 60)
    if blur:
        expected = expected.filter(ImageFilter.GaussianBlur(radius=5.0))
    transforms = import_torchvision().transforms
    if grey:
        expected = transforms.RandomGrayscale(p=1)(expected)
    values = transforms.functional.to_tensor(expected.resize((64, 64), Image.Resampling.BICUBIC))
    expected_values = transforms.functional.normalize(values, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    found = preprocess(image, 64, grey=grey, blur=blur)
    assert found.shape == (3, 64, 64)
    assert torch.allclose(found, expected_values, atol=1e-6)


def test_query_side_of_a_blur_variant_is_sharp_and_grey(ibn: Baseline) -> None:
    image = _picture()
    assert torch.equal(torch.as_tensor(ibn.preprocess(image)), preprocess(image, 200, grey=True))


# The whitening.


def _descriptors(count: int, dimension: int, seed: int = 0) -> Descriptors:
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(count, dimension)) @ random.normal(size=(dimension, dimension)) + 3
    return Descriptors(tuple(f"T{row:04d}" for row in range(count)), vectors.astype(np.float32))


@pytest.mark.parametrize(("count", "dimension", "kept"), [(200, 12, 5), (9, 30, 5), (6, 30, 5), (60, 12, 12)])
def test_whitened_sample_has_unit_covariance_and_faisss_projection(
    tmp_path: Path, count: int, dimension: int, kept: int
) -> None:
    import faiss

    source = _descriptors(count, dimension)
    with Workspace(tmp_path / "x", threads=1) as work:
        mean, matrix = whitening(source, 5 if kept == 5 else dimension, work)
    assert matrix.shape == (dimension, kept)
    whitened = (source.vectors - mean) @ matrix
    assert np.allclose(whitened.T @ whitened / count, np.eye(kept), atol=1e-4)
    pca = faiss.PCAMatrix(dimension, kept, -0.5)
    pca.train(source.vectors)
    theirs = pca.apply(source.vectors)
    theirs *= np.sign((theirs * whitened).sum(axis=0))
    unit, other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (whitened, theirs))
    assert np.abs(unit - other).max() < 2e-4


def test_no_more_directions_than_the_vectors_vary_in(tmp_path: Path) -> None:
    plane = _descriptors(8, 2).vectors @ np.random.default_rng(1).normal(size=(2, 20)).astype(np.float32)
    source = Descriptors(tuple("abcdefgh"), plane.astype(np.float32))
    with Workspace(tmp_path / "x", threads=1) as work:
        assert whitening(source, 5, work)[1].shape == (20, 2)


def test_whitening_layer_subtracts_projects_and_scales() -> None:
    layer = Whitening(np.array([1.0, 2.0]), np.array([[2.0, 0.0], [0.0, 1.0]]))
    assert layer(torch.tensor([[2.5, 6.0]])).tolist() == [pytest.approx([0.6, 0.8])]
