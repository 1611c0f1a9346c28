"""The networks that ASL trains: trunk, pooling, projector; and how they are kept in files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ndec_baselines.networks import isc_resnet
from ndec_baselines.networks.checkpoints import (
    load_strictly,
    read_checkpoint,
    state_dict_in,
    unfilled,
    without_prefix,
)
from ndec_baselines.networks.pooling import GeM, LearnedGeM
from ndec_baselines.networks.torchvision_import import import_torchvision
from ndec_bench.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ndec_baselines.asl.config import Network
    from ndec_baselines.networks.checkpoints import State

MOBILE_CHANNELS = 1280


class SmallNetwork(nn.Module):
    """MobileNetV2 with the pooling and the projector of the large networks, in widths of one's choice."""

    def __init__(self, hidden: int, projected: int) -> None:
        super().__init__()
        features = import_torchvision().models.mobilenet_v2(weights=None).get_submodule("features")
        self.base = nn.Sequential(*features.children(), GeM(isc_resnet.GEM_POWER))
        self.projector_feat_bn = isc_resnet.projector(MOBILE_CHANNELS, hidden, projected)


class AslNetwork(nn.Module):
    """A trunk with pooling (``base``) and a projector (``projector_feat_bn``), as the published state dicts name them.

    GeM's power is held at 3: the published networks learn one and test with 3.

    Parameters
    ----------
    settings
        Backbone, widths, and which tensor is measured and which is searched.
    checkpointing
        Whether to compute the trunk's features again on the way back, for less memory.
    """

    def __init__(self, settings: Network, *, checkpointing: bool = False) -> None:
        super().__init__()
        self.settings = settings
        self.checkpointing = checkpointing
        if settings.backbone == "mobilenetv2":
            self.body: nn.Module = SmallNetwork(settings.hidden, settings.projected)
        else:
            self.body = _large(settings)
        self._blocks = cast("nn.Sequential", self.body.get_submodule("base"))
        if settings.frozen >= len(self._blocks):
            raise UsageError(
                f"network.frozen = {settings.frozen}: {settings.backbone} has {len(self._blocks) - 1} blocks",
                hint="freeze fewer",
            )
        for block in self._frozen():
            block.requires_grad_(False)
        for block in self._blocks:
            if isinstance(block, nn.ReLU):
                block.inplace = False  # where features are computed again, its input is what is kept

    @property
    def widths(self) -> dict[str, int]:
        """Return the widths of the pooled and the projected features."""
        pooled = MOBILE_CHANNELS if self.settings.backbone == "mobilenetv2" else isc_resnet.CHANNELS
        return {"pooled": pooled, "projected": self.settings.projected}

    def train(self, mode: bool = True) -> AslNetwork:
        """Return the network, in training but for its frozen blocks."""
        super().train(mode)
        for block in self._frozen():
            block.eval()
        return self

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return ``pooled`` (n, p) and ``projected`` (n, d) features of images (n, 3, s, s); no norm is taken out."""
        maps = images
        for place, block in enumerate(self._blocks):
            if self.checkpointing and self.training and place >= self.settings.frozen and torch.is_grad_enabled():
                maps = checkpoint(block, maps, use_reentrant=False)
            else:
                maps = block(maps)
        return {"pooled": maps, "projected": self.body.get_submodule("projector_feat_bn")(maps)}

    def _frozen(self) -> list[nn.Module]:
        return list(self._blocks)[: self.settings.frozen]

    def heads(self) -> Iterable[nn.Parameter]:
        """Return the projector's trainable parameters."""
        return [p for p in self.body.get_submodule("projector_feat_bn").parameters() if p.requires_grad]

    def trunk(self) -> Iterable[nn.Parameter]:
        """Return the trunk's trainable parameters."""
        return [p for p in self._blocks.parameters() if p.requires_grad]


class Describer(nn.Module):
    """A trained network as a baseline: unit vectors (n, d) of the searched tensor, norms (n,) of the measured one."""

    def __init__(self, network: AslNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return vectors and norms of images (n, 3, s, s)."""
        outputs = self.network(images)
        settings = self.network.settings
        vectors = nn.functional.normalize(outputs[settings.descriptor].float(), eps=1e-12)
        return vectors, torch.linalg.vector_norm(outputs[settings.norm].float(), dim=1)


def load_initial(network: AslNetwork, path: Path) -> str:
    """Return in words what of the file ``path`` went into ``network``: a whole run's export, or a trunk.

    Trunks are state dicts of torchvision (``conv1.weight``, ``features.0.0.weight``; ``fc`` and ``classifier`` are left
    out), as Barlow Twins publishes its ResNet-50, such a dict under ``model`` or ``state_dict`` with or without
    ``module.``, or one of this project's exports, of which everything is taken.

    Raises
    ------
    DataError
        If the file is none of these or does not fit.
    """
    content = read_checkpoint(path)
    if isinstance(content, dict) and content.get("format") == EXPORT_FORMAT:
        load_strictly(path, network.body, state_dict_in(path, content, "state"))
        return f"trunk and projector of {path.name}"
    key = next((key for key in ("state_dict", "model") if isinstance(content, dict) and key in content), None)
    state = without_prefix(state_dict_in(path, content, key), "module.")
    trunk = network.body.get_submodule("base")
    load_strictly(path, trunk, {**_own(trunk), **_trunk_names(state, network.settings.backbone)}, drop=_is_head)
    return f"trunk of {path.name}"


def _is_head(name: str) -> bool:
    return name.startswith(("fc.", "classifier."))


def _own(trunk: nn.Module) -> State:
    # The power of the pooling is not learned and is in no trunk's file.
    return {name: value for name, value in trunk.state_dict().items() if name.endswith(".p")}


_RESNET_SLOTS = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "7", "layer4": "9"}


def _trunk_names(state: State, backbone: str) -> State:
    """Return the entries under the names of the trunk's slots."""
    if backbone == "mobilenetv2":
        return without_prefix(state, "features.")
    renamed = {}
    for name, value in state.items():
        head, _, rest = name.partition(".")
        renamed[f"{_RESNET_SLOTS[head]}.{rest}" if head in _RESNET_SLOTS else name] = value
    return renamed


def _large(settings: Network) -> isc_resnet.IscResNet:
    if (settings.hidden, settings.projected) != (isc_resnet.HIDDEN, isc_resnet.PROJECTED):
        raise UsageError(
            f"network.hidden = {settings.hidden}, network.projected = {settings.projected}: the projector of "
            f"{settings.backbone} has {isc_resnet.HIDDEN} and {isc_resnet.PROJECTED}",
            hint="leave both out",
        )
    network = isc_resnet.IscResNet(cast("isc_resnet.Backbone", settings.backbone))
    pooling = cast("LearnedGeM", network.base[isc_resnet.GEM_SLOT])
    pooling.p.requires_grad_(False)
    return network


EXPORT_FORMAT = "ndec-asl-1"


def export(network: AslNetwork, *, trained: str) -> dict[str, Any]:
    """Return what `read_export` reads back: format, settings of the network as JSON, state dict, a line of words."""
    return {
        "format": EXPORT_FORMAT,
        "network": network.settings.model_dump_json(),
        "state": {name: value.detach().cpu().clone() for name, value in network.body.state_dict().items()},
        "trained": trained,
    }


def read_export(path: Path) -> AslNetwork:
    """Return the network in a file that ``ndec-bench train asl`` wrote, in evaluation.

    Raises
    ------
    DataError
        If the file is none, is damaged, or its weights do not fit its settings.
    """
    from pydantic import ValidationError

    from ndec_baselines.asl.config import Network

    content = read_checkpoint(path)
    if not isinstance(content, dict) or content.get("format") != EXPORT_FORMAT:
        raise DataError(f"{path}: not an export of ndec-bench train asl", hint="give the model.pt of its folder")
    try:
        settings = Network.model_validate_json(content["network"])
        network = unfilled(lambda: AslNetwork(settings))
    except (KeyError, TypeError, ValidationError, UsageError) as error:
        raise DataError(f"{path}: the settings in it do not fit ({error})", hint="train again") from error
    load_strictly(path, network.body, state_dict_in(path, content, "state"))
    return network.eval()
