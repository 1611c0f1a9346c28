"""``multigrain``: seeded random weights in a checkpoint as the authors' training code writes it.

facebookresearch/multigrain multigrain/utils/checkpoint.py: state dict, optimiser and the learned margin, saved by a
torch of 2019, which knew no zip container. Of the optimiser there are a few tensors: the adapter does not look at it.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch
from random_weights import filled

from ndec_baselines.networks.checkpoints import unfilled
from ndec_baselines.networks.torchvision_import import import_torchvision

if TYPE_CHECKING:
    from pathlib import Path


def network() -> torch.nn.Module:
    """Return the ResNet-50, classifier included, whose weights `write` saves."""
    whole: torch.nn.Module = filled(unfilled(import_torchvision().models.resnet50), seed=0)
    return whole


def content(name: str = "multigrain") -> dict[str, Any]:
    """Return what the checkpoint holds."""
    state: OrderedDict[str, torch.Tensor] = OrderedDict()
    for key, value in network().state_dict().items():
        state[key.replace("fc.", "classifier.") if key.startswith("fc.") else f"features.{key}"] = value
    state["pool.p"] = torch.tensor(3.0)
    optimiser = OrderedDict(
        {
            "backbone.state": {0: {"momentum_buffer": torch.zeros(2)}},
            "backbone.param_groups": [{"lr": 0.2, "momentum": 0.9, "params": [0]}],
        }
    )
    beta = torch.nn.Parameter(torch.tensor(1.2))
    return {"model_state": state, "optimizer_state": optimiser, "extra": {"beta": beta}}


def write(name: str, folder: Path) -> None:
    """Write the files that the card of baseline ``name`` lists into ``folder``."""
    torch.save(content(), folder / "joint_3B_0.5.pth", _use_new_zipfile_serialization=False)
