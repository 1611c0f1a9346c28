"""``cnncl`` and ``cnncl-selfsup``: seeded random weights in the published form, optimizer and arguments included."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

import torch
from calm_weights import calmed
from random_weights import filled

import ndec_baselines
from ndec_baselines.methods.cnncl import CnnclNet
from ndec_baselines.networks.checkpoints import unfilled

if TYPE_CHECKING:
    from pathlib import Path

SEEDS = {"cnncl": 107, "cnncl-selfsup": 98}


def write(name: str, folder: Path) -> None:
    """Write the files that the card of baseline ``name`` lists into ``folder``."""
    weights = ndec_baselines.card(name).weights
    assert weights is not None
    torch.save(content(name), folder / weights.files[0].name)


def content(name: str) -> dict[str, Any]:
    """Return what the file of baseline ``name`` holds: exp/v107.py 366-372 of the published code."""
    network = calmed(filled(unfilled(CnnclNet), SEEDS[name]), side=224)
    optimizer = torch.optim.SGD(network.bn.parameters(), lr=0.5, momentum=0.9, weight_decay=1e-6)
    for parameter in network.bn.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    return {
        "epoch": 10,
        "arch": "tf_efficientnetv2_m_in21ft1k",
        "state_dict": {f"module.{key}": value for key, value in network.state_dict().items()},
        "optimizer": optimizer.state_dict(),
        "args": Namespace(arch="tf_efficientnetv2_m_in21ft1k", input_size=512, gem_p=1.0, ncrops=2, tta=False),
    }
