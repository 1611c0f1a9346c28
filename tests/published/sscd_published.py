"""``sscd-*``: seeded random weights, traced to TorchScript as the authors' training code does."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch
from random_weights import filled

from ndec_baselines.networks.checkpoints import unfilled
from ndec_baselines.networks.torchvision_import import import_torchvision

if TYPE_CHECKING:
    from pathlib import Path

SEED = 0


class Eager(torch.nn.Module):
    """torchvision's trunk with generalised-mean pooling, linear layer and unit length.

    The arrangement of ``TV_RESNET50`` in facebookresearch/sscd-copy-detection sscd/models/model.py: the linear layer
    is the classifier ``fc`` of the trunk.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        models = import_torchvision().models
        if "large" in name:
            self.backbone = models.ResNet(
                models.resnet.Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=4, num_classes=1024
            )
        else:
            self.backbone = models.resnet50(weights=None, num_classes=512)
        self.backbone.avgpool = _Pool()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows: torch.Tensor = torch.nn.functional.normalize(self.backbone(images))
        return rows


class _Pool(torch.nn.Module):
    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return maps.clamp(min=1e-6).pow(3.0).mean(dim=(2, 3)).pow(1 / 3.0)


def eager(name: str) -> Eager:
    """Return the network whose trace `write` saves."""
    return filled(unfilled(lambda: Eager(name)), SEED)


def write(name: str, folder: Path) -> None:
    """Write the files that the card of baseline ``name`` lists into ``folder``."""
    save(eager(name), folder / f"{name.removesuffix('-320').replace('-', '_')}.torchscript.pt")


def save(network: torch.nn.Module, path: Path, channels: int = 3) -> None:
    """Trace ``network`` on one 64 x 64 image (``SSCD.save_torchscript`` of sscd/train.py) and save it."""
    image = torch.randn((1, channels, 64, 64), generator=torch.Generator().manual_seed(1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls TorchScript deprecated; the published files are what they are
        traced = torch.jit.trace(network, image, check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(traced, path)
