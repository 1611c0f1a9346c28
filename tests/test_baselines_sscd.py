"""``sscd-*`` with random weights traced as the published files are: what goes in, what comes out, what is refused."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sscd_published
import torch
from PIL import Image

import ndec_baselines
from ndec_baselines.methods import sscd
from ndec_baselines.networks.torchvision_import import import_torchvision
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_baselines.base import Baseline

NAMES = sorted(sscd.BASELINES)
TIMM = {"sscd-disc-mixup": "resnet50", "sscd-disc-large": "resnext101_32x4d"}
SIZES = [(160, 160), (96, 128), (128, 96), (97, 131)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sscd")
    sscd_published.write("sscd-disc-mixup", path)
    return path


@pytest.fixture(scope="module")
def baseline(folder: Path) -> Baseline:
    return _load("sscd-disc-mixup", folder)


def _load(name: str, folder: Path) -> Baseline:
    path = folder / _file(name)
    return ndec_baselines.load(name, weights=path, weights_sha256=_digest(path))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _file(name: str) -> str:
    weights = ndec_baselines.card(name).weights
    assert weights is not None
    return weights.files[0].name


def _noise(seed: int, height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(3, height, width)).astype(np.float32))


def _picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Return a picture with edges and colours at every scale, so that resizing and cropping show."""
    noise = np.random.default_rng(0).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.NEAREST).convert(mode)


@pytest.mark.parametrize("name", ["sscd-disc-mixup", pytest.param("sscd-disc-large", marks=pytest.mark.slow)])
def test_descriptors_equal_a_composition_of_timms_network(name: str, folder: Path) -> None:
    """timm names the tensors of its ResNets as torchvision does; pooling and head are written out here."""
    import_torchvision()
    import timm

    network = sscd_published.eager(name)
    if not (folder / _file(name)).exists():
        sscd_published.write(name, folder)
    card = ndec_baselines.card(name)
    trunk: Any = timm.create_model(TIMM[name], pretrained=False, num_classes=card.dimension).eval()
    trunk.load_state_dict(network.backbone.state_dict(), strict=True)
    assert sum(parameter.numel() for parameter in trunk.parameters()) == card.parameters
    images = [_noise(seed, *size) for seed, size in enumerate([(96, 128), (97, 131), (288, 384)])]
    with torch.no_grad():
        expected = []
        for image in images:
            maps = trunk.forward_features(image[None])
            pooled = (maps.double().clamp(min=1e-6) ** 3).mean(dim=(2, 3)) ** (1 / 3)
            row = pooled @ trunk.fc.weight.double().T + trunk.fc.bias.double()
            expected.append((row / row.norm(dim=1, keepdim=True)).numpy())
    found = _load(name, folder).describe(images).vectors
    assert found.shape == (len(images), card.dimension)
    assert np.abs(found - np.concatenate(expected)).max() < 2e-6
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("name", ["sscd-disc-mixup", "sscd-disc-mixup-320"])
def test_bytes_do_not_depend_on_neighbours_repetition_or_threads(name: str, folder: Path) -> None:
    """TorchScript profiles its first runs and optimises later ones; no byte may show that."""
    baseline = _load(name, folder)
    sizes = SIZES if name == "sscd-disc-mixup" else [(160, 160)] * 3
    images = [_noise(seed, *size) for seed, size in enumerate(sizes)]
    whole = baseline.describe(images).vectors
    alone = np.concatenate([baseline.describe([image]).vectors for image in images])
    assert np.array_equal(alone, whole)
    assert np.array_equal(baseline.describe(images[::-1]).vectors[::-1], whole)
    with ThreadPoolExecutor(4) as pool:
        beside = list(pool.map(lambda image: baseline.describe([image]).vectors[0], images * 2))
    assert np.array_equal(np.stack(beside), np.concatenate([whole, whole]))
    before = torch.get_num_threads()
    torch.set_num_threads(2 if before == 1 else 1)
    try:
        assert np.array_equal(baseline.describe(images).vectors, whole)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("size", [(640, 480), (480, 641), (288, 288), (288, 500), (31, 47), (1000, 60)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_preprocessing_equals_torchvisions_transforms(size: tuple[int, int], mode: str) -> None:
    transforms = import_torchvision().transforms
    image = _picture(*size, mode)
    for edge, preprocess in ((288, sscd.keep_aspect), ([320, 320], sscd.squash)):
        published = transforms.Compose(
            [
                transforms.Resize(edge),
                transforms.ToTensor(),
                transforms.Normalize(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225]),
            ]
        )
        assert torch.equal(preprocess(image), published(image.convert("RGB")))


def test_the_aspect_ratio_is_kept_or_not_as_the_name_says(baseline: Baseline, folder: Path) -> None:
    image = _picture(640, 480)
    assert torch.equal(torch.as_tensor(baseline.preprocess(image)), sscd.keep_aspect(image))
    square = _load("sscd-disc-mixup-320", folder)
    assert torch.equal(torch.as_tensor(square.preprocess(image)), sscd.squash(image))
    assert sscd.keep_aspect(_picture(640, 480)).shape == (3, 288, 384)
    assert sscd.keep_aspect(_picture(333, 777)).shape == (3, int(288 * 777 / 333), 288)
    assert sscd.squash(_picture(640, 480)).shape == (3, 320, 320)


def test_a_very_narrow_image_takes_bounded_memory() -> None:
    assert sscd.keep_aspect(_picture(20, 400)).shape == (3, 5760, 288)
    assert sscd.keep_aspect(_picture(20, 401)).shape == (3, 5760, 288)
    assert sscd.keep_aspect(Image.new("RGB", (20_000, 1))).shape == (3, 288, 5760)


def test_nothing_at_the_border_is_cropped() -> None:
    image = _picture(640, 480)
    edged = image.copy()
    edged.paste((255, 0, 0), (632, 0, 640, 480))
    for preprocess in (sscd.keep_aspect, sscd.squash):
        assert not torch.equal(preprocess(image)[..., -1], preprocess(edged)[..., -1])


def test_fourteen_baselines_of_seven_files() -> None:
    assert len(NAMES) == 14
    cards = [sscd.BASELINES[name].card for name in NAMES]
    assert len({_file(name) for name in NAMES}) == 7
    for name, card in zip(NAMES, cards, strict=True):
        assert card.family == "sscd"
        assert card.dimension == (1024 if "large" in name else 512)
        assert card.steps == (f"pca:dim={card.dimension},whiten=yes", "l2", "score-norm:first=1,last=3,factor=1")
        assert card.weights is not None
        assert card.weights.runs_code
        assert ("DISC21" in card.weights.trained_on) is ("disc" in name)
        assert card.weights.files[0].source == (
            f"https://dl.fbaipublicfiles.com/sscd-copy-detection/{card.weights.files[0].name}"
        )
    assert ndec_baselines.card("sscd").name == "sscd-disc-mixup"


def test_a_file_without_a_known_digest_waits_for_the_users_word(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "sscd_disc_blur.torchscript.pt"
    path.write_bytes((folder / _file("sscd-disc-mixup")).read_bytes())
    with pytest.raises(DataError, match="can run code when it is opened") as refused:
        ndec_baselines.load("sscd-disc-blur", weights=path)
    assert refused.value.hint == f"if you trust this file, add --weights-sha256 {_digest(path)}"
    assert ndec_baselines.load("sscd-disc-blur", weights=path, weights_sha256=_digest(path)).weights_sha256


def test_another_file_than_the_published_one_is_not_opened(folder: Path) -> None:
    with pytest.raises(DataError, match="expected 9f26bd4c848cc19b73d2ae92eea6e04886f61a7b764ceb7a13aeee62e6a6db56"):
        ndec_baselines.load("sscd-disc-mixup", weights=folder)


def test_a_graph_of_another_model_is_refused(folder: Path) -> None:
    path = folder / _file("sscd-disc-mixup")
    with pytest.raises(DataError, match=r"gives \(2, 512\) for two images, expected \(2, 1024\)"):
        ndec_baselines.load("sscd-disc-large", weights=path, weights_sha256=_digest(path))


class _Longer(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(2, 3)).new_ones(images.shape[0], 512)


class _OneSize(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(images.reshape(-1, 3 * 64 * 64)[:, :512] + 1)


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (_Longer(), r"expected \(2, 512\), unit length"),
        (_OneSize(), r"gives \(3, 512\) for two images"),
        (torch.nn.Conv2d(4, 8, 3), "takes no 64 x 64 image"),
    ],
)
def test_a_graph_that_gives_no_descriptors_is_refused(network: torch.nn.Module, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "graph.pt"
    sscd_published.save(network, path, channels=4 if isinstance(network, torch.nn.Conv2d) else 3)
    with pytest.raises(DataError, match=reason):
        ndec_baselines.load("sscd-disc-mixup", weights=path, weights_sha256=_digest(path))


def test_a_state_dict_or_a_damaged_file_is_no_torchscript(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save({"fc.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(DataError, match=r"a checkpoint of torch\.save, expected a TorchScript module"):
        ndec_baselines.load("sscd-disc-mixup", weights=path, weights_sha256=_digest(path))
    path.write_bytes((folder / _file("sscd-disc-mixup")).read_bytes()[:1_000_000])
    with pytest.raises(DataError, match="a damaged or cut file, expected a TorchScript module"):
        ndec_baselines.load("sscd-disc-mixup", weights=path, weights_sha256=_digest(path))
