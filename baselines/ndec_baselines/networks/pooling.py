"""Generalised-mean pooling, the common last layer of copy detection networks."""

from __future__ import annotations

import torch
from torch import nn

FLOOR = 1e-6


def gem(maps: torch.Tensor, power: torch.Tensor | float, floor: float = FLOOR) -> torch.Tensor:
    """Return (n, c): the generalised mean of feature maps (n, c, h, w), ``(mean(max(x, floor)^p))^(1/p)``.

    Radenovic, Tolias, Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", IEEE TPAMI 2019, equation 3.
    With p = 1 this is the mean of the clamped map, which differs from average pooling where a map is negative.
    """
    return maps.clamp(min=floor).pow(power).mean(dim=(-2, -1)).pow(1 / power)


class GeM(nn.Module):
    """`gem` as a layer with a fixed power and no parameters, so that it adds no key to a state dict."""

    def __init__(self, power: float = 3.0, floor: float = FLOOR) -> None:
        super().__init__()
        self.power, self.floor = power, floor

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return the pooled maps (n, c)."""
        return gem(maps, self.power, self.floor)


class LearnedGeM(nn.Module):
    """`gem` with a learned power: one number ``p``, 3 at the start (gem.py L22-L44 of the published code of D2LV)."""

    def __init__(self, power: float = 3.0) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), power))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return the pooled maps (n, c)."""
        return gem(maps, self.p)


class UnitLength(nn.Module):
    """Rows divided by their Euclidean norm (at least 1e-12, torch's default), as a layer."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the rows (n, d) at unit length."""
        return nn.functional.normalize(rows, eps=1e-12)
