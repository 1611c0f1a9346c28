"""``asl`` and ``asl-small``: seeded random weights in the form that ``ndec-bench train asl`` leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from random_weights import filled

from ndec_baselines import registry
from ndec_baselines.asl.config import Network
from ndec_baselines.asl.network import AslNetwork, export
from ndec_baselines.networks.checkpoints import unfilled

if TYPE_CHECKING:
    from pathlib import Path

_SETTINGS = {
    "asl": Network(backbone="50"),
    "asl-small": Network(backbone="mobilenetv2", side=112, hidden=1024, projected=512, descriptor="pooled"),
}


def write(name: str, folder: Path) -> None:
    """Write the files that the card of baseline ``name`` lists into ``folder``."""
    network = unfilled(lambda: AslNetwork(_SETTINGS[name]))
    filled(network.body, seed=0)
    weights = registry.card(name).weights
    assert weights is not None
    torch.save(export(network, trained="random"), folder / weights.files[0].name)
