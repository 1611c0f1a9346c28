"""``cnncl`` and ``cnncl-selfsup``: the winner of the Image Similarity Challenge's descriptor track, in two states.

Yokoo, "Contrastive Learning with Large Memory Bank and Negative Embedding Subtraction for Accurate Copy Detection",
2021, https://arxiv.org/abs/2112.04323; code and weights: lyakaap/ISC21-Descriptor-Track-1st, read at 228aad3. The last
training stage used the ground truth of dev set I, so results there say nothing of the first; the second saw no label.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import nn

from ndec_baselines.cards import registrations
from ndec_baselines.networks.checkpoints import filled, read_checkpoint, state_dict_in, without_prefix
from ndec_baselines.networks.inference import TorchBaseline
from ndec_baselines.networks.pixels import stretched
from ndec_baselines.networks.pooling import gem
from ndec_baselines.networks.torchvision_import import import_torchvision
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_baselines.base import LocalWeights, ModelCard

SIDE = 512
DIMENSION = 256
MICRO_BATCH = 1
MEAN = DEVIATION = (0.5, 0.5, 0.5)
TRUNK = "tf_efficientnetv2_m"
"""timm's name; the checkpoints call it ``tf_efficientnetv2_m_in21ft1k``, after the weights that training began from."""

preprocess = partial(stretched, side=SIDE, resample=Image.Resampling.BILINEAR, mean=MEAN, deviation=DEVIATION)
"""Values in [-1, 1] (model.py 159-168 of the published code). The published code resizes the image in the mode it is
stored in; here it is RGB, as every image of DISC21 is."""


class CnnclNet(nn.Module):
    """Maps images (n, 3, h, w) to unit vectors (n, 256). Names of parts and layers are those of the checkpoints.

    lyakaap/ISC21-Descriptor-Track-1st, isc_feature_extractor/model.py 32-83 and 125-138: the map before the last 1 x 1
    convolution (512 channels, stride 32) ends in a linear layer and has negative values, so pooling with p = 1 is the
    mean of the clamped map, not average pooling.
    """

    def __init__(self) -> None:
        super().__init__()
        import_torchvision()  # timm imports it too, and has no remedy next to a CPU-only torch
        import timm

        self.backbone: nn.Module = timm.create_model(TRUNK, pretrained=False, features_only=True, out_indices=(4,))
        self.fc = nn.Linear(512, DIMENSION, bias=False)
        self.bn = nn.BatchNorm1d(DIMENSION)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the descriptors of ``images``."""
        (maps,) = self.backbone(images)
        return nn.functional.normalize(self.bn(self.fc(gem(maps, 1.0))))


def network(path: Path) -> nn.Module:
    """Return the network with the weights in ``path``: maps (n, 3, 512, 512) to unit vectors (n, 256).

    Raises
    ------
    DataError
        If the file is not such a checkpoint, was made for another size of input, or lacks or has extra keys.
    """
    content = read_checkpoint(path, inert=("argparse.Namespace",))
    state = without_prefix(state_dict_in(path, content, "state_dict"), "module.")
    # The weights fit images of any size, but earlier stages of the training (256, 384) are other baselines.
    side = getattr(content.get("args"), "input_size", None)
    if side != SIDE:
        raise DataError(
            f"{path}: a checkpoint for images of side {side}, expected {SIDE} (args.input_size)",
            hint="give the published file",
        )
    return filled(path, CnnclNet, state)


def load(card: ModelCard, weights: LocalWeights, device: str) -> TorchBaseline:
    """Return the baseline on ``device``."""
    model = network(weights.only)
    return TorchBaseline(card, model, preprocess, device=device, micro_batch=MICRO_BATCH, weights=weights)


BASELINES = registrations("cnncl", load)
