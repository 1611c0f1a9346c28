"""``copynce``: seeded random weights in the published form, with the parameter that the loss leaves in the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from random_weights import drawn

from ndec_baselines.methods import copynce

if TYPE_CHECKING:
    from pathlib import Path


def content(name: str = "copynce", dimension: int = copynce.DIMENSION) -> dict[str, object]:
    """Return what the published file holds: the state dict of the model in training, and the epoch."""
    with torch.device("meta"):
        network = copynce.network(dimension)
    state = drawn(network.state_dict(), seed=0)
    return {"model": {**state, "infonce_log_scale": torch.tensor(3.2)}, "epoch": 30}


def write(name: str, folder: Path) -> None:
    """Write the files that the card of baseline ``name`` lists into ``folder``."""
    torch.save(content(), folder / "descriptor_vits_224.pth.tar")
