"""``esvitp`` and ``esvitp-sift``: seeded random weights under the names of the authors' network."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import torch
from random_weights import filled

from ndec_baselines.esvitp.network import EsViT

if TYPE_CHECKING:
    from pathlib import Path

FILE = "EsViT_SwinB_finetune_bs8_lr0.0001_adjustlr_0_margin1.0_dataFB_epoch200.pth"


def network(seed: int = 0) -> EsViT:
    """Return the network with random weights."""
    return filled(EsViT(), seed)


def state(network: EsViT) -> dict[str, torch.Tensor]:
    """Return its 353 entries: merging at the end of a stage, index buffers, ``head.linear``."""
    named = {_published(name): value for name, value in network.state_dict().items()}
    for name, value in network.named_buffers():
        if name.endswith("relative_position_index"):
            named[_published(name)] = value
    return named


def _published(name: str) -> str:
    if name.startswith("head."):
        return name.replace("head.", "head.linear.")
    return re.sub(
        r"layers\.(\d+)\.downsample", lambda found: f"layers.{int(found[1]) - 1}.downsample", name[len("trunk.") :]
    )


def content(state: dict[str, torch.Tensor]) -> dict[str, object]:
    """Return what a file of the authors' training would hold: the state with the prefix of parallel training."""
    return {"model": {f"module.{name}": value for name, value in state.items()}, "epoch": 200}


def write(name: str, folder: Path) -> None:
    """Write the file that the card of baseline ``name`` lists into ``folder``."""
    torch.save(content(state(network())), folder / FILE)
