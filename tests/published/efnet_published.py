"""``efnet`` and its members: seeded random weights in the published form.

Members 1 to 5 are whole PyTorch-Lightning checkpoints: the class of a callback as a key, states of optimizer, scheduler
and loss scaling, and in 1, 2, 3 and 5 the matrix of classes in its published shape (one stored number, repeated). 1 and
2 have their network twice. 6 to 8 are what ``modules/make_light_ckpt.py`` leaves of such a file.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from calm_weights import calmed
from random_weights import filled

import ndec_baselines
from ndec_baselines.methods.efnet import CALLBACKS, MEMBERS, MemberNet
from ndec_baselines.networks.checkpoints import unfilled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIGHT = ("efnet-6", "efnet-7", "efnet-8")
CLASSES = {"efnet-1": 980_000, "efnet-2": 1_200_000, "efnet-3": 1_000_000, "efnet-5": 1_000_000}
CALLBACK = {"efnet-1": CALLBACKS[0], "efnet-2": CALLBACKS[0]}


def write(name: str, folder: Path) -> None:
    """Write the files that the card of baseline ``name`` lists into ``folder``."""
    for member in [name] if name in MEMBERS else list(MEMBERS):
        weights = ndec_baselines.card(member).weights
        assert weights is not None
        path = folder / weights.files[0].name
        path.parent.mkdir(parents=True, exist_ok=True)
        save(member, content(member), path)


def content(name: str) -> dict[str, Any]:
    """Return what the file of member ``name`` holds beside its callbacks, which `save` adds."""
    member = MEMBERS[name]
    number = int(name.removeprefix("efnet-"))
    network = filled(unfilled(lambda: MemberNet(member, ndec_baselines.card(name).dimension)), number)
    network.state_dict()[_power(network)].fill_(2.9 - number / 10)  # told from the initial 3, one from another
    calmed(network, side=min(member.side, 224))
    state = published_names(network.state_dict()) if member.paired else dict(network.state_dict())
    light: dict[str, Any] = {"epoch": 17, "global_step": 42649, "pytorch-lightning_version": "1.4.9"}
    if name in LIGHT:
        return {**light, "state_dict": state}
    if name in CLASSES:
        state["criterion.kernel"] = torch.full((1, 1), 0.5).expand(ndec_baselines.card(name).dimension, CLASSES[name])
    return {
        **light,
        "state_dict": state,
        "optimizer_states": [{"state": {0: {"step": 3, "exp_avg": torch.zeros(4)}}, "param_groups": [{"lr": 1e-3}]}],
        "lr_schedulers": [{"factor": 0.9, "patience": 2, "best": float("inf"), "_last_lr": [1e-3]}],
        "native_amp_scaling_state": {"scale": 65536.0, "growth_factor": 2.0},
    }


def published_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the state of a `MemberNet` as the older class names it, under ``ref_`` and again under ``qry_``."""
    names = {"backbone.0.": "backbone.", "backbone.1.": "neck.0."}
    return {
        side + new + key.removeprefix(old): value
        for side in ("ref_", "qry_")
        for old, new in names.items()
        for key, value in state.items()
        if key.startswith(old)
    }


def save(name: str, saved: dict[str, Any], path: Path) -> None:
    """Write ``saved`` to ``path``; a file that is not LIGHT gets its callbacks, a class of PyTorch-Lightning as key."""
    if name in LIGHT:
        torch.save(saved, path)
        return
    with importable(CALLBACK.get(name, CALLBACKS[1])) as callback:
        states = {callback: {"monitor": "val_acc_epoch", "best_model_score": torch.tensor(0.99), "dirpath": "x"}}
        torch.save({**saved, "callbacks": states}, path)


@contextmanager
def importable(full_name: str) -> Iterator[type]:
    """Make a class that can be pickled under ``full_name`` while the context lasts; nothing is installed."""
    module, _, name = full_name.rpartition(".")
    made = type(name, (), {"__module__": module})
    parents = [".".join(module.split(".")[: depth + 1]) for depth in range(module.count(".") + 1)]
    modules = {parent: ModuleType(parent) for parent in parents}
    setattr(modules[module], name, made)
    with patch.dict(sys.modules, modules):
        yield made


def _power(network: MemberNet) -> str:
    (name,) = [key for key in network.state_dict() if key.endswith("global_pool.p")]
    return name
