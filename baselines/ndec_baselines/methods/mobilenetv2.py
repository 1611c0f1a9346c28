"""``mobilenetv2``: an ImageNet classifier's last feature map, pooled. The honest row of a generic CNN."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PIL import Image
from torch import nn

from ndec_baselines.cards import model_cards, registrations
from ndec_baselines.networks.checkpoints import filled, read_state_dict
from ndec_baselines.networks.inference import TorchBaseline
from ndec_baselines.networks.pixels import stretched
from ndec_baselines.networks.pooling import GeM, UnitLength
from ndec_baselines.networks.torchvision_import import import_torchvision

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_baselines.base import LocalWeights, ModelCard

MICRO_BATCH = 2
GEM_POWER = 3.0
CARD = model_cards()["mobilenetv2"]

preprocess = partial(stretched, side=224, resample=Image.Resampling.BILINEAR)


def trunk(path: Path) -> nn.Module:
    """Return the network with the weights in ``path`` and its last feature map pooled to unit vectors (n, 1280).

    The file is torchvision's whole MobileNetV2, classifier included.

    Raises
    ------
    DataError
        If the file is not a plain state dict, or lacks or has extra keys.
    """
    network = filled(path, import_torchvision().models.mobilenet_v2, read_state_dict(path))
    return nn.Sequential(network.get_submodule("features"), GeM(GEM_POWER), UnitLength())


def load(card: ModelCard, weights: LocalWeights, device: str) -> TorchBaseline:
    """Return the baseline on ``device``."""
    return TorchBaseline(card, trunk(weights.only), preprocess, device=device, micro_batch=MICRO_BATCH, weights=weights)


BASELINES = registrations("mobilenetv2", load)
