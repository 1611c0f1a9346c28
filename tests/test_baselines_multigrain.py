"""``multigrain`` with random weights in the published container: what is read, how images shrink, what comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import multigrain_published
import numpy as np
import pytest
import torch
from PIL import Image

import ndec_baselines
from ndec_baselines.methods.multigrain import preprocess
from ndec_baselines.networks.torchvision_import import import_torchvision

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_baselines.base import Baseline

CARD = ndec_baselines.card("multigrain")
SIZES = [(96, 128), (128, 96), (101, 67)]


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Baseline:
    folder = tmp_path_factory.mktemp("multigrain")
    multigrain_published.write("multigrain", folder)
    return ndec_baselines.load("multigrain", weights=folder)


def _noise(seed: int, height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(3, height, width)).astype(np.float32))


def _picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def test_descriptors_equal_a_composition_of_timms_network(baseline: Baseline) -> None:
    """timm names the tensors of its ResNet as torchvision does; the mean of the seventh powers is written out here."""
    import_torchvision()
    import timm

    network: Any = timm.create_model("resnet50", pretrained=False).eval()
    network.load_state_dict(multigrain_published.network().state_dict(), strict=True)
    images = [_noise(seed, *size) for seed, size in enumerate(SIZES)]
    found = baseline.describe(images).vectors
    assert found.shape == (3, 2048)
    for row, image in zip(found, images, strict=True):
        with torch.no_grad():
            maps = network.forward_features(image[None])[0].double().numpy()
        expected = np.mean(np.clip(maps, 1e-6, None) ** 7, axis=(1, 2)) ** (1 / 7)
        assert np.abs(row - expected).max() < 1e-5 * expected.max()
        assert np.linalg.norm(row) > 2  # the PCA wants the length; unit length would be 1


def test_a_feature_map_of_zeros_gives_the_floor(baseline: Baseline) -> None:
    """1e-6 to the seventh is a subnormal float32, near 1e-42; its root must still be near 1e-6, not zero."""
    found = baseline._model.pooling(torch.zeros(1, 5, 3, 3))  # type: ignore[attr-defined]
    assert found.numpy() == pytest.approx(np.full((1, 5), 1e-6), rel=0.01)


def test_parameters_are_those_of_the_trunk() -> None:
    """torchvision's 25,557,032 without the 2,049,000 of the classifier."""
    assert CARD.parameters == 25_557_032 - 2_049_000
    names = multigrain_published.network().state_dict()
    assert sum(value.numel() for name, value in multigrain_published.network().named_parameters()) == 25_557_032
    assert len([name for name in names if not name.startswith("fc.")]) == 318


def _values(image: Image.Image) -> torch.Tensor:
    transforms = import_torchvision().transforms
    published = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])]
    )
    values: torch.Tensor = published(image)
    return values


@pytest.mark.parametrize(
    ("size", "expected"),
    [((1024, 768), (512, 384)), ((700, 999), (359, 512)), ((513, 10), (512, 10)), ((900, 1), (512, 1))],
)
def test_a_large_image_shrinks_by_lanczos(size: tuple[int, int], expected: tuple[int, int]) -> None:
    """Below four times too large, Pillow's thumbnail is a plain resize to the rounded size."""
    image = _picture(*size)
    assert torch.equal(preprocess(image), _values(image.resize(expected, Image.Resampling.LANCZOS)))
    assert image.size == size  # a copy shrinks, not the caller's image


def test_a_very_large_image_is_averaged_in_blocks_first() -> None:
    """4,096 to 512 with a gap of 2: blocks of 4 x 4 are averaged, then LANCZOS halves, as Pillow documents."""
    image = _picture(4096, 2048)
    blocks = image.reduce(4)
    assert torch.equal(preprocess(image), _values(blocks.resize((512, 256), Image.Resampling.LANCZOS)))
    assert not torch.equal(preprocess(image), _values(image.resize((512, 256), Image.Resampling.LANCZOS)))


@pytest.mark.parametrize("size", [(512, 512), (512, 300), (40, 30), (1, 1)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_small_image_is_left_as_it_is(size: tuple[int, int], mode: str, baseline: Baseline) -> None:
    image = _picture(*size, mode)
    assert torch.equal(torch.as_tensor(baseline.preprocess(image)), _values(image.convert("RGB")))


def test_the_smallest_image_has_a_descriptor(baseline: Baseline) -> None:
    vectors = baseline.describe([baseline.preprocess(Image.new("RGB", (1, 1)))]).vectors
    assert np.isfinite(vectors).all()
    assert np.abs(vectors).max() > 0


def _saved(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    return path


def test_pooling_exponent_and_classifier_of_the_file_do_not_matter(tmp_path: Path, baseline: Baseline) -> None:
    content = multigrain_published.content()
    for name in ("pool.p", "classifier.weight", "classifier.bias"):
        del content["model_state"][name]
    image = _noise(0, 64, 64)
    found = ndec_baselines.load("multigrain", weights=_saved(tmp_path, content)).describe([image]).vectors
    assert np.array_equal(found, baseline.describe([image]).vectors)
