"""``copynce``: the descriptor of Lu et al., a small vision transformer trained on traced pixels of edited copies.

Facts from eddielyc/CopyNCE (Apache-2.0): the encoder in ``core/models/vision_transformer.py`` as ``build_encoder`` in
``core/models/build.py`` makes it from ``core/configs/descriptor_default_config.yaml``, ``LinearHead`` in
``core/models/heads.py``, the images in ``CopyDatasetDescriptorEval`` (``core/data/datasets/copy_dataset.py``), the
container in ``core/utils/serialization.py``, the scores in ``scripts/run/score_normalization.py``.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ndec_baselines.base import IMAGENET_WORDS, Card, Expected, Preprocessing, Registration, Weights, WeightsFile
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch
    from PIL import Image

    from ndec_baselines.base import LocalWeights
    from ndec_baselines.networks.inference import TorchBaseline

SIDE = 224
WIDTH = 384
DIMENSION = 512
DIMENSIONS = (DIMENSION, 256)
NORM_EPS = 1e-4  # build_encoder overrides the 1e-6 that the transformer itself and timm have
MICRO_BATCH = 4

_HEAD = "heads.linear_head.fc1.weight"
_README = "eddielyc/CopyNCE README.md and assets/performance.png, 25,000 queries of dev II"

CARD = Card(
    name="copynce",
    version="1",
    title="CopyNCE ViT-S/16",
    description=(
        "A vision transformer (ViT-S/16, started from DINO) trained on DISC21's training images by contrast between "
        "images and between patches whose pixels were traced through the edits; the class token after the last block, "
        "without a final LayerNorm, goes through a linear layer and batch normalisation. NDEC 72.5 µAP / 36.8 R@P90 "
        "on the authors' poster is of two networks (ViT-B + ViT-S), not of this one. The descriptor is as wide as the "
        "head in the file: 512, as the command in the README expects, or 256, as the configuration of the final test "
        "does."
    ),
    dimension=DIMENSION,
    metric="ip",
    preprocessing=Preprocessing(
        size=f"{SIDE} x {SIDE}, aspect ratio not kept",
        filter="Pillow BICUBIC (antialiased)",
        colour="RGB",
        normalisation=IMAGENET_WORDS,
    ),
    postprocessing="class token, linear without bias, batch normalisation, L2",
    input=f"{SIDE} x {SIDE} RGB",
    code_licence="Apache-2.0",
    weights=Weights(
        files=(WeightsFile(name="descriptor_vits_224.pth.tar", source="gdrive:1fWChrrOovX8JOcNNCgrj6liXR2L8yKEu"),),
        instruction="ndec-bench download weights copynce, or the descriptor in the README of eddielyc/CopyNCE",
        licence="Apache-2.0",
        commercial_use="yes",
        trained_on="DISC21 training images, no labels; started from DINO (ImageNet-1k images, no labels)",
        train_images=("disc21-train", "imagenet"),
        labels_used=("none",),
        reference_images_in_training="none",
        ndec_pairs="no",
        external_data="yes",
        container="dict with model and epoch",
    ),
    requires=("torch", "torchvision", "timm"),
    parameters=21_862_528,
    gflops=4.6,
    paper="https://arxiv.org/abs/2602.17484",
    selection="not stated; its README evaluates on dev II",
    expected=(
        Expected("disc21-dev2", "micro_ap", 0.726, _README, protocol="sscd"),
        Expected("disc21-dev2", "recall_at_p90", 0.684, _README, protocol="sscd"),
        Expected("disc21-dev2", "micro_ap", 0.705, _README, protocol="sscd", steps=()),
        Expected("disc21-dev2", "recall_at_p90", 0.636, _README, protocol="sscd", steps=()),
    ),
    steps=("score-norm:first=2,last=5,factor=1",),
)


def preprocess(image: Image.Image) -> torch.Tensor:
    """Return the image as a (3, 224, 224) float32 tensor, resized with Pillow BICUBIC, normalised as for ImageNet."""
    from PIL import Image as PillowImage

    from ndec_baselines.networks.pixels import normalised, square

    return normalised(square(image, SIDE, PillowImage.Resampling.BICUBIC))


def network(dimension: int = DIMENSION) -> torch.nn.Module:
    """Return the descriptor with weights of its own initialisation: (n, 3, 224, 224) to unit rows (n, dimension).

    timm's transformer has the blocks of the published one under the same names; only the last norm falls away.
    """
    from torch import nn

    from ndec_baselines.networks.pooling import UnitLength
    from ndec_baselines.networks.torchvision_import import import_torchvision

    import_torchvision()  # before timm, which imports torchvision itself
    from timm.models.vision_transformer import VisionTransformer

    encoder = VisionTransformer(
        img_size=SIDE,
        patch_size=16,
        embed_dim=WIDTH,
        depth=12,
        num_heads=6,
        num_classes=0,
        global_pool="token",
        norm_layer=partial(nn.LayerNorm, eps=NORM_EPS),
    )
    encoder.norm = nn.Identity()
    head = nn.Sequential()
    head.add_module("fc1", nn.Linear(WIDTH, dimension, bias=False))
    head.add_module("bn", nn.BatchNorm1d(dimension))
    whole = nn.Sequential()
    whole.add_module("encoder", encoder)
    whole.add_module("heads", nn.Sequential())
    whole.get_submodule("heads").add_module("linear_head", head)
    whole.add_module("unit", UnitLength())
    return whole


def load_network(path: Path) -> tuple[torch.nn.Module, int]:
    """Return the network with the weights in ``path``, and its dimension: 512 or 256, as wide as the head in the file.

    The published container is a dict with ``model`` and ``epoch``; a bare state dict is taken too. ``module.`` is
    removed wherever it stands. ``infonce_log_scale``, which the loss registers with the model in training, is left out.

    Raises
    ------
    DataError
        If the file is no such checkpoint, or lacks or has extra keys.
    """
    from ndec_baselines.networks.checkpoints import load_strictly, read_checkpoint, state_dict_in

    content = read_checkpoint(path)
    inner = "model" if isinstance(content, dict) and "model" in content else None
    state = {name.replace("module.", ""): value for name, value in state_dict_in(path, content, inner).items()}
    dimension = _dimension_in(state)
    whole = network(dimension)
    load_strictly(path, whole, state, drop=lambda name: name == "infonce_log_scale")
    return whole, dimension


def _dimension_in(state: Mapping[str, torch.Tensor]) -> int:
    found = state[_HEAD].shape[0] if _HEAD in state and state[_HEAD].dim() else DIMENSION
    return found if found in DIMENSIONS else DIMENSION


def _load(weights: LocalWeights | None, device: str) -> TorchBaseline:
    from ndec_baselines.networks.inference import TorchBaseline

    if weights is None:
        raise DataError(f"baseline {CARD.name} needs its weights", hint="give them with --weights FILE")
    whole, dimension = load_network(weights.only)
    return TorchBaseline(
        replace(CARD, dimension=dimension),
        whole,
        preprocess,
        device=device,
        micro_batch=MICRO_BATCH,
        weights_sha256=weights.sha256,
    )


BASELINE = Registration(CARD, _load)
