"""``mobilenetv2``: seeded random weights in the published form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from random_weights import drawn

from ndec_baselines.networks.torchvision_import import import_torchvision

if TYPE_CHECKING:
    from pathlib import Path


def content(name: str = "mobilenetv2") -> dict[str, torch.Tensor]:
    """Return the published state dict."""
    with torch.device("meta"):
        network = import_torchvision().models.mobilenet_v2()
    return drawn(network.state_dict(), seed=0)


def write(name: str, folder: Path) -> None:
    """Write the files that the card of baseline ``name`` lists into ``folder``."""
    torch.save(content(), folder / "mobilenet_v2-b0353104.pth")
