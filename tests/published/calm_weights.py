"""Random EfficientNets and NFNets that are no chaos: rounding moves their descriptors as little as a trained one's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from random_weights import Network


def calmed(network: Network, side: int) -> Network:
    """Return ``network``, timm's blocks with random weights, so changed that its last map is of the order of one.

    Purely random ones reach 1e10 and more on photographs, and two orders of additions then give two descriptors: gains
    of weight-standardised filters multiply, gates saturate, and sums of residuals grow. So gains are near one, gates
    near a half, residuals small, and batch normalisation has the statistics of one batch of coarse and fine noise of
    ``side`` x ``side``.
    """
    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith(".gain"):
                value.mul_(0.1).add_(1)
            elif name.endswith("se.conv_expand.weight"):
                value.mul_(0.1)
            elif name.endswith("skipinit_gain"):
                value.mul_(0.25)
        for block in network.modules():
            if type(block).__name__ in ("InvertedResidual", "EdgeResidual"):
                last = block.get_submodule("bn3" if hasattr(block, "bn3") else "bn2")
                last.get_parameter("weight").mul_(0.35)
        for norm in network.modules():
            if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
                norm.reset_running_stats()
                norm.momentum = None  # the plain mean of all batches: here of one
        network.train()(_noise(side))
    return network.eval()


def _noise(side: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    images = torch.zeros((4, 3, side, side))
    for grid, strength in ((1, 1.0), (8, 1.0), (side, 2.0)):
        noise = torch.randn((len(images), 3, grid, grid), generator=generator)
        images += strength * nn.functional.interpolate(noise, size=(side, side), mode="bilinear")
    return images
