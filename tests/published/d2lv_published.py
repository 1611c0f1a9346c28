"""``d2lv`` and its networks: seeded random weights in the published form, in the published folders.

Networks of one backbone share their weights, as 33 of their own would take ten gigabytes. The learned power of GeM is
not 3, and must not matter.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import torch
from random_weights import drawn

from ndec_baselines import registry
from ndec_baselines.networks.isc_resnet import IscResNet

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_baselines.networks.isc_resnet import Backbone

    State = dict[str, torch.Tensor]

_BACKBONES: dict[str, Backbone] = {"50": "50", "152": "152", "ibn": "ibn"}


@cache
def _network(backbone: Backbone) -> State:
    with torch.device("meta"):
        network = IscResNet(backbone)
    found: State = drawn(network.state_dict(), seed=len(backbone))
    found["base.10.p"] = torch.tensor([3.4])
    return found


def write(name: str, folder: Path) -> None:
    """Write the files that the card of baseline ``name`` lists into ``folder``."""
    weights = registry.card(name).weights
    for file in weights.files if weights is not None else ():
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        backbone = _BACKBONES[path.name.removesuffix(".pth.tar").rpartition("_")[2]]
        first = next((other for other in folder.rglob(f"*_{backbone}.pth.tar") if other != path), None)
        if first is not None:
            path.hardlink_to(first)
        else:
            torch.save(_network(backbone), path)
