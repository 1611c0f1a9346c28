"""MultiGrain, as the organisers of the Image Similarity Challenge used it: the learned baseline of DISC21.

Berman, Jegou, Vedaldi, Kokkinos, Douze, "MultiGrain: a unified image embedding for classes and instances", 2019. The
weights and their container are those of facebookresearch/multigrain (``README.md``,
``multigrain/backbones/backbone.py``, ``multigrain/utils/checkpoint.py``); everything else follows
facebookresearch/isc2021 ``baselines/GeM_baseline.py`` and ``docs/4_multigrain_subset.md``,
``docs/5_multigrain_full.md``.

The pooled vector is not brought to unit length here, because the published PCA is fitted on it and applied to it as it
is; unit length comes after. The descriptors of `describe` are therefore meant for `ModelCard.steps`.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from PIL import Image
from torch import nn

from ndec_baselines.cards import registrations
from ndec_baselines.networks.checkpoints import filled, read_checkpoint, state_dict_in
from ndec_baselines.networks.inference import TorchBaseline
from ndec_baselines.networks.pixels import normalised
from ndec_baselines.networks.pooling import GeM
from ndec_baselines.networks.torchvision_import import import_torchvision

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from ndec_baselines.base import LocalWeights, ModelCard

LONGEST = 512
GEM_POWER = 7.0
REDUCING_GAP = 2.0

STATE = "model_state"
DROPPED = frozenset({"classifier.weight", "classifier.bias", "pool.p"})
"""The ImageNet classifier, and the pooling exponent of the training (3; the published descriptor uses 7)."""


def preprocess(image: Image.Image) -> torch.Tensor:
    """Return the image as (3, height, width) float32, longer edge at most 512, normalised as ImageNet models expect.

    Source: ``ImageList`` of ``baselines/GeM_baseline.py``: converted to RGB, then Pillow's ``thumbnail``. That one
    averages whole blocks of pixels first where the image is at least four times too large (its reducing gap of 2). It
    can also let the JPEG decoder scale, but neither there nor here: the conversion to RGB has decoded the image.
    """
    small = image.convert("RGB")  # a copy: thumbnail works in place
    small.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS, reducing_gap=REDUCING_GAP)
    return normalised(small)


def trunk(path: Path) -> nn.Module:
    """Return the network with the weights in ``path``, from images (n, 3, height, width) to pooled maps (n, 2048).

    The names under ``features.`` must be those of the network, one by one; those in `DROPPED` are left out.

    Raises
    ------
    DataError
        If the file is not such a checkpoint, lacks a name or has another one.
    """
    return filled(path, _network, state_dict_in(path, read_checkpoint(path), STATE), drop=DROPPED.__contains__)


def _network() -> nn.Sequential:
    # All but pooling and classifier, under the name that multigrain/backbones/backbone.py gives them.
    layers = OrderedDict(list(import_torchvision().models.resnet50().named_children())[:-2])
    return nn.Sequential(OrderedDict(features=nn.Sequential(layers), pooling=GeM(GEM_POWER)))


def load(card: ModelCard, weights: LocalWeights, device: str) -> TorchBaseline:
    """Return the baseline on ``device``."""
    # Neighbours seldom share a size; padding each to a batch would multiply the work.
    return TorchBaseline(
        card, trunk(weights.only), preprocess, device=device, micro_batch=1, cuda_micro_batch=1, weights=weights
    )


BASELINES = registrations("multigrain", load)
