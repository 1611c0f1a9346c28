"""The networks of ``efnet``: timm trunks with a learned pooling power, a linear layer and a unit vector each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ndec_baselines.networks.checkpoints import load_strictly, read_checkpoint, state_dict_in
from ndec_baselines.networks.inference import out_of_row
from ndec_baselines.networks.pooling import gem
from ndec_baselines.networks.torchvision_import import import_torchvision
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ndec_baselines.methods.efnet import Member
    from ndec_baselines.networks.checkpoints import State

CALLBACKS = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "model_checkpoint.ModelCheckpoint",
)
"""Classes that PyTorch-Lightning up to 1.4 writes as keys of a checkpoint's ``callbacks`` (trainer/callback_hook.py):
its own, and the changed copy (``modules/model_checkpoint.py``) that the published modules import."""

CLASSES = "criterion.kernel"
"""The matrix of training classes, up to 2 GB, of no use to a descriptor; the files named LIGHT are without."""

SHORTEST = 1e-6


class LearnedGeM(nn.Module):
    """Generalised-mean pooling with one learned power: maps (n, c, h, w) to (n, c)."""

    def __init__(self) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.full((1,), 3.0))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return the pooled maps."""
        return gem(maps, self.p)


class NearlyUnitLength(nn.Module):
    """Rows divided by their norm plus 1e-6, so a little shorter than one (Facebook_AF_model_v25.py 1073-1083)."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the rows (n, d), scaled."""
        norms: torch.Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        return rows / (norms + SHORTEST)


class MemberNet(nn.Module):
    """One network: maps images (n, 3, side, side) to (n, dimension). Names of layers are those of the checkpoints.

    Facebook_AF_model_v25.py 1009-1039 and 1687-1849, Facebook_model_v20.py 1156-1246: the whole classifier without its
    last layer, its pooling replaced; necks "A" (with bias) and "F" (without).
    """

    def __init__(self, member: Member) -> None:
        super().__init__()
        import_torchvision()  # timm imports it too, and has no remedy beside a CPU-only torch
        import timm

        trunk: Any = timm.create_model(member.trunk, pretrained=False, num_classes=0)
        holder = trunk if hasattr(trunk, "global_pool") else trunk.head
        holder.global_pool = LearnedGeM()
        linear = nn.Linear(trunk.num_features, member.dimension, bias=member.paired)
        self.backbone = nn.Sequential(trunk, linear, NearlyUnitLength())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the descriptors of ``images``."""
        descriptors: torch.Tensor = self.backbone(images)
        return descriptors


class EnsembleNet(nn.Module):
    """Several networks side by side: maps rows of all their inputs (n, total) to their joined descriptors.

    A row holds one image per side in ``sides``, as `ndec_baselines.networks.inference.in_one_row` joins them; each
    network takes the one of its own side.
    """

    def __init__(self, networks: Sequence[nn.Module], sides: Sequence[int]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.sides = tuple(sides)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the joined descriptors (n, sum of dimensions)."""
        distinct = tuple(dict.fromkeys(self.sides))
        inputs = dict(zip(distinct, out_of_row(rows, [(3, side, side) for side in distinct]), strict=True))
        return torch.cat([network(inputs[side]) for network, side in zip(self.networks, self.sides, strict=True)], 1)


def load_member(path: Path, member: Member) -> MemberNet:
    """Return the network of ``member`` with the weights in ``path``.

    Raises
    ------
    DataError
        If the file is no such checkpoint, lacks or has extra keys beside `CLASSES`, or holds two networks that differ.
    """
    state = state_dict_in(path, read_checkpoint(path, inert=CALLBACKS), "state_dict")
    if member.paired:
        state = _one_of_two(path, state)
    network = MemberNet(member)
    load_strictly(path, network, state, drop=lambda name: name == CLASSES)
    return network


def _one_of_two(path: Path, state: State) -> State:
    """Return ``state`` with the network that stands in it twice once, under the names of `MemberNet`.

    The older class has one module under two names (Facebook_model_v20.py 1184-1220); the published descriptors are
    those of ``qry_``.
    """
    references = {name.removeprefix("ref_"): value for name, value in state.items() if name.startswith("ref_")}
    queries = {name.removeprefix("qry_"): value for name, value in state.items() if name.startswith("qry_")}
    different = sorted(
        name
        for name in references.keys() | queries.keys()
        if name not in references or name not in queries or not torch.equal(references[name], queries[name])
    )
    if different:
        raise DataError(
            f"{path}: {len(different)} weights differ between ref_ and qry_, or stand in one of them only; the first "
            f"is {different[0]}",
            hint="give the published file",
        )
    rest = {name: value for name, value in state.items() if not name.startswith(("ref_", "qry_"))}
    return {_new_name(name): value for name, value in queries.items()} | rest


def _new_name(name: str) -> str:
    for old, new in (("backbone.", "backbone.0."), ("neck.0.", "backbone.1.")):
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name
