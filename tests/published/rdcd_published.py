"""``rdcd-*``: seeded random weights in a checkpoint as PyTorch-Lightning 1.5.10 writes one of class ``RDCD``.

The arrangement was compared with a file that this version wrote. Of what stands beside the student there are a few
tensors each, small: the adapter reads past them by name.
"""

from __future__ import annotations

import argparse
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import torch
from random_weights import filled

from ndec_baselines.networks.checkpoints import unfilled
from ndec_baselines.networks.torchvision_import import import_torchvision

if TYPE_CHECKING:
    from pathlib import Path


class Encoder(torch.nn.Module):
    """The two parts that ``get_encoder`` of juntae9926/RDCD rdcd/models/model.py names."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.backbone = import_torchvision().models.efficientnet_b0(weights=None, num_classes=512)
        self.projector = torch.nn.Linear(512, dimension)


def encoder(name: str) -> Encoder:
    """Return the student whose weights `write` saves for baseline ``name``."""
    return filled(unfilled(lambda: Encoder(int(name.removeprefix("rdcd-")))), seed=0)


def content(name: str) -> dict[str, Any]:
    """Return what the checkpoint of baseline ``name`` holds."""
    network = encoder(name)
    dimension = network.projector.out_features
    state: OrderedDict[str, torch.Tensor] = OrderedDict()
    for key, value in network.state_dict().items():
        state[f"model.encoder_q.{key}"] = value
    for key, value in network.state_dict().items():
        state[f"model.encoder_k.{key}"] = 0.5 * value
    generator = torch.Generator().manual_seed(1)
    state["model.queue"] = torch.randn(dimension, 64, generator=generator)
    state["model.queue_ptr"] = torch.zeros(1, dtype=torch.long)
    state["teacher.backbone.conv1.weight"] = torch.randn(64, 3, 7, 7, generator=generator)
    state["teacher.backbone.fc.bias"] = torch.randn(512, generator=generator)
    state["kld.queue"] = torch.randn(512, 64, generator=generator)
    options = argparse.Namespace(
        backbone="TV_EFFICIENTNET_B0", dim=dimension, kd_dim=512, ckpt="./weights/sscd_disc_mixup.torchvision.pt"
    )
    return {
        "epoch": 100,
        "global_step": 390_600,
        "pytorch-lightning_version": "1.5.10",
        "state_dict": state,
        "callbacks": {"ModelCheckpoint{'monitor': None, 'mode': 'min'}": {"kth_value": torch.tensor(torch.inf)}},
        "optimizer_states": [{"state": {0: {"momentum_buffer": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]}],
        "lr_schedulers": [{"last_epoch": 390_600, "base_lrs": [1.0]}],
        "hparams_name": "kwargs",
        "hyper_parameters": {"args": options, "train_steps": 3906},
    }


def write(name: str, folder: Path) -> None:
    """Write the files that the card of baseline ``name`` lists into ``folder``."""
    torch.save(content(name), folder / f"rdcd_effb0_{name.removeprefix('rdcd-')}.ckpt")
