"""The network of ``cnncl``: EfficientNetV2-M's last feature map, pooled, projected, normalised."""

from __future__ import annotations

import torch
from torch import nn

from ndec_baselines.networks.pooling import gem
from ndec_baselines.networks.torchvision_import import import_torchvision

DIMENSION = 256
TRUNK = "tf_efficientnetv2_m"
"""timm's name; the checkpoints call it ``tf_efficientnetv2_m_in21ft1k``, after the weights that training began from."""


class CnnclNet(nn.Module):
    """Maps images (n, 3, h, w) to unit vectors (n, 256). Names of parts and layers are those of the checkpoints.

    lyakaap/ISC21-Descriptor-Track-1st, isc_feature_extractor/model.py 32-83 and 125-138: the map before the last 1 x 1
    convolution (512 channels, stride 32) ends in a linear layer and has negative values, so pooling with p = 1 is the
    mean of the clamped map, not average pooling.
    """

    def __init__(self) -> None:
        super().__init__()
        import_torchvision()  # timm imports it too, and has no remedy beside a CPU-only torch
        import timm

        self.backbone: nn.Module = timm.create_model(TRUNK, pretrained=False, features_only=True, out_indices=(4,))
        self.fc = nn.Linear(512, DIMENSION, bias=False)
        self.bn = nn.BatchNorm1d(DIMENSION)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the descriptors of ``images``."""
        (maps,) = self.backbone(images)
        return nn.functional.normalize(self.bn(self.fc(gem(maps, 1.0))))
