"""DINOv2: class tokens of the self-supervised vision transformers ViT-S/14 and ViT-B/14, as general image descriptors.

Oquab et al., "DINOv2: Learning Robust Visual Features without Supervision", TMLR 2024. Facts from
facebookresearch/dinov2 ``dinov2/hub/backbones.py`` (how the published files are loaded) and
``dinov2/models/vision_transformer.py``.

Nobody published DINOv2's score on a split of this benchmark, so the preprocessing is our choice: the whole image as a
square of 224 pixels, without the centre crop of classification, which would cut evidence of a copy away.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import nn

from ndec_baselines.cards import registrations
from ndec_baselines.networks.checkpoints import filled, read_state_dict
from ndec_baselines.networks.inference import TorchBaseline
from ndec_baselines.networks.pixels import stretched
from ndec_baselines.networks.pooling import UnitLength
from ndec_baselines.networks.torchvision_import import import_torchvision

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_baselines.base import LocalWeights, ModelCard

SIDE = 224
PATCH = 14
GRID = SIDE // PATCH
OFFSET = 0.1
"""Added to the target grid by the published models when they resize their position embeddings."""
MICRO_BATCH = 1

DROPPED = frozenset({"mask_token"})
"""Stands for hidden patches in training; describing an image never uses it."""

NETWORKS = {"dinov2-b": "vit_base_patch14_dinov2", "dinov2-s": "vit_small_patch14_dinov2"}
"""timm's names."""

preprocess = partial(stretched, side=SIDE, resample=Image.Resampling.BICUBIC)


def positions_at(published: torch.Tensor, grid: int) -> torch.Tensor:
    """Return the position embeddings (1, 1 + side², d) of a square of patches, resized to (1, 1 + grid², d).

    The first row, of the class token, stays. The others are interpolated bicubically without antialiasing, by the scale
    (grid + 0.1) / side: sampling points lie where that scale puts them, not where the ratio of the grids would. Source:
    ``interpolate_pos_encoding`` of ``dinov2/models/vision_transformer.py`` with the settings of
    ``dinov2/hub/backbones.py``. timm resizes with antialiasing and without the 0.1, which gives other descriptors.
    """
    rows, dimension = published.shape[1] - 1, published.shape[2]
    side = math.isqrt(rows)
    scale = (grid + OFFSET) / side
    square = published[:, 1:].reshape(1, side, side, dimension).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(square, scale_factor=(scale, scale), mode="bicubic", antialias=False)
    return torch.cat((published[:, :1], resized.permute(0, 2, 3, 1).reshape(1, grid * grid, dimension)), dim=1)


def transformer(path: Path, name: str) -> nn.Module:
    """Return timm's network ``name`` with the official weights in ``path``: (n, 3, 224, 224) to unit vectors (n, d).

    The official names are timm's, one by one, besides `DROPPED`.

    Raises
    ------
    DataError
        If the file is not a plain state dict, or lacks or has extra keys.
    """
    import_torchvision()  # timm imports it too, and fails where it does
    import timm

    make = partial(timm.create_model, name, pretrained=False, num_classes=0)
    network: Any = filled(path, make, read_state_dict(path), drop=DROPPED.__contains__)
    positions = positions_at(network.pos_embed.detach(), GRID)
    network.set_input_size(img_size=SIDE)
    network.pos_embed = nn.Parameter(positions)
    return nn.Sequential(network, UnitLength())


def load(card: ModelCard, weights: LocalWeights, device: str) -> TorchBaseline:
    """Return the baseline on ``device``."""
    network = transformer(weights.only, NETWORKS[card.name])
    return TorchBaseline(card, network, preprocess, device=device, micro_batch=MICRO_BATCH, weights=weights)


BASELINES = registrations("dinov2", load)
