"""DINOv2: class tokens of the self-supervised vision transformers ViT-S/14 and ViT-B/14, as general image descriptors.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", TMLR 2024. Facts from
facebookresearch/dinov2 ``dinov2/hub/backbones.py`` (how the published files are loaded) and
``dinov2/models/vision_transformer.py``.

Nobody published DINOv2's score on a split of this benchmark, so the preprocessing is our choice: the whole image as a
square of 224 pixels, without the centre crop of classification, which would cut evidence of a copy away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ndec_baselines.base import IMAGENET_WORDS, Card, Preprocessing, Registration, Weights, WeightsFile
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from PIL import Image

    from ndec_baselines.base import Loader, LocalWeights
    from ndec_baselines.networks.inference import TorchBaseline

SIDE = 224
PATCH = 14
GRID = SIDE // PATCH
OFFSET = 0.1
"""Added to the target grid by the published models when they resize their position embeddings."""
MICRO_BATCH = 1

DROPPED = frozenset({"mask_token"})
"""Stands for hidden patches in training; describing an image never uses it."""


@dataclass(frozen=True)
class _Size:
    title: str
    network: str
    file: str
    dimension: int
    parameters: int
    gflops: float


_SIZES = {
    "dinov2-b": _Size("ViT-B/14", "vit_base_patch14_dinov2", "dinov2_vitb14", 768, 86_579_712, 23.2),
    "dinov2-s": _Size("ViT-S/14", "vit_small_patch14_dinov2", "dinov2_vits14", 384, 22_056_192, 6.1),
}
"""Parameters as published, position embeddings for 518 pixels included, `DROPPED` not."""


def _card(name: str, size: _Size) -> Card:
    address = f"https://dl.fbaipublicfiles.com/dinov2/{size.file}/{size.file}_pretrain.pth"
    return Card(
        name=name,
        version="1",
        title=f"DINOv2 {size.title} (class token)",
        description=(
            f"Vision transformer {size.title} trained without labels to give crops and hidden parts of one picture the "
            "same meaning; its class token after the last normalisation, unit length. It knows what a picture shows, "
            "not whether it is a copy."
        ),
        dimension=size.dimension,
        metric="l2",
        preprocessing=Preprocessing(
            size=f"{SIDE} x {SIDE}, aspect ratio not kept, no crop",
            filter="Pillow BICUBIC (antialiased)",
            colour="RGB",
            normalisation=IMAGENET_WORDS,
        ),
        postprocessing="class token after the last LayerNorm, L2",
        input=f"{SIDE} x {SIDE} RGB",
        code_licence="Apache-2.0; timm Apache-2.0",
        weights=Weights(
            files=(WeightsFile(name=f"{size.file}_pretrain.pth", source=address),),
            instruction=f"ndec-bench download weights {name}, or {address} with --weights FILE",
            licence="Apache-2.0",
            commercial_use="yes",
            trained_on="LVD-142M, 142 million web images chosen for their likeness to curated sets, without labels",
            train_images=("other",),
            labels_used=("none",),
            reference_images_in_training="none",
            ndec_pairs="no",
            external_data="yes",
        ),
        requires=("torch", "torchvision", "timm"),
        parameters=size.parameters,
        gflops=size.gflops,
        paper="https://arxiv.org/abs/2304.07193",
        selected_on=("none",),
        family="dinov2",
    )


def preprocess(image: Image.Image) -> torch.Tensor:
    """Return the image as (3, 224, 224) float32, normalised as ImageNet models expect."""
    from PIL import Image as PillowImage

    from ndec_baselines.networks.pixels import normalised, square

    return normalised(square(image, SIDE, PillowImage.Resampling.BICUBIC))


def positions_at(published: torch.Tensor, grid: int) -> torch.Tensor:
    """Return the position embeddings (1, 1 + side², d) of a square of patches, resized to (1, 1 + grid², d).

    The first row, of the class token, stays. The others are interpolated bicubically without antialiasing, by the scale
    (grid + 0.1) / side: sampling points lie where that scale puts them, not where the ratio of the grids would. Source:
    ``interpolate_pos_encoding`` of ``dinov2/models/vision_transformer.py`` with the settings of
    ``dinov2/hub/backbones.py``. timm resizes with antialiasing and without the 0.1, which gives other descriptors.
    """
    import torch

    rows, dimension = published.shape[1] - 1, published.shape[2]
    side = math.isqrt(rows)
    scale = (grid + OFFSET) / side
    square = published[:, 1:].reshape(1, side, side, dimension).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(square, scale_factor=(scale, scale), mode="bicubic", antialias=False)
    return torch.cat((published[:, :1], resized.permute(0, 2, 3, 1).reshape(1, grid * grid, dimension)), dim=1)


def transformer(path: Path, name: str) -> torch.nn.Module:
    """Return timm's network ``name`` with the official weights in ``path``: (n, 3, 224, 224) to unit vectors (n, d).

    The official names are timm's, one by one, besides `DROPPED`.

    Raises
    ------
    DataError
        If the file is no plain state dict, or lacks or has extra keys.
    """
    import torch

    from ndec_baselines.networks.checkpoints import load_strictly, read_checkpoint, state_dict_in
    from ndec_baselines.networks.pooling import UnitLength
    from ndec_baselines.networks.torchvision_import import import_torchvision

    import_torchvision()  # timm imports it too, and fails where it does
    import timm

    network: Any = timm.create_model(name, pretrained=False, num_classes=0)
    load_strictly(path, network, state_dict_in(path, read_checkpoint(path)), drop=DROPPED.__contains__)
    positions = positions_at(network.pos_embed.detach(), GRID)
    network.set_input_size(img_size=SIDE)
    network.pos_embed = torch.nn.Parameter(positions)
    return torch.nn.Sequential(network, UnitLength())


def _loader(card: Card, size: _Size) -> Loader:
    def load(weights: LocalWeights | None, device: str) -> TorchBaseline:
        from ndec_baselines.networks.inference import TorchBaseline

        if weights is None:
            raise DataError(f"baseline {card.name} needs its weights", hint="give them with --weights FILE")
        network = transformer(weights.only, size.network)
        return TorchBaseline(
            card, network, preprocess, device=device, micro_batch=MICRO_BATCH, weights_sha256=weights.sha256
        )

    return load


BASELINES = {name: Registration(card := _card(name, size), _loader(card, size)) for name, size in _SIZES.items()}
