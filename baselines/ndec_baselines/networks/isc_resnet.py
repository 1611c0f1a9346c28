"""The networks of BoT and D2LV: a ResNet trunk in eleven slots, generalised-mean pooling, a projector of 8192 numbers.

Sources, read for facts: WangWenhao0716/ISC-Track1-Submission (D2LV) ``Test/final/*/models_balance/{resnet,resnet_ibn,
resnet_ibn_a,gem}.py``, WangWenhao0716/ISC-Track2-Submission (BoT) ``Test/models_balance_matrix/resnet.py``. The
bottlenecks are torchvision's; what torchvision lacks (the split normalisation of IBN-a, WaveBlock) is here. Names and
order of the modules are those of the published state dicts, flat dicts of this network, ``classifier_*`` aside.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from ndec_baselines.networks.checkpoints import filled, read_state_dict
from ndec_baselines.networks.inference import out_of_row
from ndec_baselines.networks.pooling import GeM, LearnedGeM, UnitLength
from ndec_baselines.networks.torchvision_import import import_torchvision

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Backbone = Literal["50", "152", "ibn"]

CHANNELS = 2048
HIDDEN = 4096
PROJECTED = 8192
REDUCED = 256
SLOPE = 0.2
GEM_SLOT = 10
GEM_POWER = 3.0
"""Power at the test. The learned one is discarded: extract_feature_matrix.py L47, ``--GeM_p 3`` in D2LV's scripts."""

_SPLIT_STAGES = ("layer1", "layer2", "layer3")


class SplitNorm(nn.Module):
    """The normalisation of IBN-a: the first half of the channels by image, the second half by batch.

    Pan, Luo, Shi, Tang, "Two at Once: Enhancing Learning and Generalization Capacities via IBN-Net", ECCV 2018.
    Source: resnet_ibn_a.py L54-L68. The first half keeps no running statistics.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.split = channels // 2
        self.IN = nn.InstanceNorm2d(self.split, affine=True)
        self.BN = nn.BatchNorm2d(channels - self.split)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return the normalised maps (n, c, h, w)."""
        first, second = maps[:, : self.split].contiguous(), maps[:, self.split :].contiguous()
        return torch.cat((self.IN(first), self.BN(second)), dim=1)


class WaveBlock(nn.Module):
    """In training, rows of a feature map times 1.5, but for one stripe of 0.3 of the height; at the test, nothing.

    Wang, Zhao, Zhang, Chen, "Attentive WaveBlock", 2020; source: resnet.py L15-L27. The stripe begins at a row drawn
    uniformly from 0 to height − stripe, once per call, for all images and channels. It is drawn from torch's generator
    of the CPU, so that ``torch.manual_seed`` repeats a training run (the published code draws from Python's).
    """

    share = 0.3
    factor = 1.5

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Return the maps (n, c, h, w)."""
        if not self.training:
            return maps
        height = maps.shape[-2]
        stripe = round(self.share * height)
        start = int(torch.randint(height - stripe + 1, (1,)))
        factors = maps.new_full((height, 1), self.factor)
        factors[start : start + stripe] = 1.0
        return maps * factors


class IscResNet(nn.Module):
    """Trunk, pooling and heads.

    Parameters
    ----------
    backbone
        ``50``, ``152``, or ``ibn`` for the 50-layer IBN-a.
    reduced
        Whether BoT's second head, from 8192 to 256 numbers, is there.
    """

    def __init__(self, backbone: Backbone, *, reduced: bool = False) -> None:
        super().__init__()
        resnet = _resnet(backbone)
        wave = WaveBlock()
        self.base = nn.Sequential(
            resnet.get_submodule("conv1"),
            resnet.get_submodule("bn1"),
            resnet.get_submodule("maxpool"),  # before the ReLU: the same numbers, other indices
            resnet.get_submodule("relu"),
            resnet.get_submodule("layer1"),
            resnet.get_submodule("layer2"),
            wave,
            resnet.get_submodule("layer3"),
            wave,
            resnet.get_submodule("layer4"),
            LearnedGeM(),
        )
        self.projector_feat_bn = projector(CHANNELS, HIDDEN, PROJECTED)
        if reduced:
            matrix = nn.Sequential(nn.BatchNorm1d(PROJECTED), nn.LeakyReLU(SLOPE), nn.Linear(PROJECTED, REDUCED))
            self.matrix_feat_bn = nn.Sequential(matrix, _without_bias(nn.BatchNorm1d(REDUCED)))
        self.reduced = reduced

    def outputs(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return pooled (n, 2048), projected (n, 8192) and, where that head is there, reduced (n, 256) numbers.

        Nothing is divided by its norm.
        """
        pooled: torch.Tensor = self.base(images)
        projected: torch.Tensor = self.projector_feat_bn(pooled)
        return (pooled, projected, self.matrix_feat_bn(projected)) if self.reduced else (pooled, projected)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the descriptor of images (n, 3, s, s): reduced (n, 256) of BoT, projected (n, 8192) of D2LV."""
        return self.outputs(images)[-1]


def projector(channels: int, hidden: int, projected: int) -> nn.Sequential:
    """Return the head from ``channels`` pooled numbers over ``hidden`` to ``projected`` ones, normalised by batch."""
    layers = nn.Sequential(
        nn.Linear(channels, hidden), nn.BatchNorm1d(hidden), nn.LeakyReLU(SLOPE), nn.Linear(hidden, projected)
    )
    return nn.Sequential(layers, _without_bias(nn.BatchNorm1d(projected)))


class MultiScale(nn.Module):
    """The mean of a network's unit vectors over several sizes of one image, at unit length again.

    Source: ISC-Track2-Submission ``Test/multi_scale.py`` L5-L32. Takes the sizes in one row (`inference.in_one_row`).
    """

    def __init__(self, network: nn.Module, sides: Sequence[int]) -> None:
        super().__init__()
        self.network, self.unit = network, UnitLength()
        self.shapes = tuple((3, side, side) for side in sides)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return unit vectors (n, d) of rows (n, Σ 3 · side²)."""
        vectors = [self.unit(self.network(images)) for images in out_of_row(rows, self.shapes)]
        mean: torch.Tensor = self.unit(torch.stack(vectors).mean(dim=0))
        return mean


def read_network(path: Path, backbone: Backbone, *, reduced: bool = False) -> IscResNet:
    """Return the network with the published weights in ``path``, as it is used at the test: GeM's power is 3.

    Keys that begin with ``classifier_`` are dropped: the export left the classifiers of BoT's 256 numbers in its file
    (they are children set to None in the published loader, which torch's strict check lets pass).

    Raises
    ------
    DataError
        If the file is not a plain state dict, or lacks or has other keys.
    """
    make = partial(IscResNet, backbone, reduced=reduced)
    return for_the_test(filled(path, make, read_state_dict(path), drop=lambda name: name.startswith("classifier_")))


def for_the_test(network: IscResNet) -> IscResNet:
    """Return ``network`` itself, in evaluation and with GeM's power at 3, whatever was learned."""
    network.base[GEM_SLOT] = GeM(GEM_POWER)
    return network.eval()


def _resnet(backbone: Backbone) -> nn.Module:
    models = import_torchvision().models
    resnet: nn.Module = models.resnet152(weights=None) if backbone == "152" else models.resnet50(weights=None)
    if backbone == "ibn":
        for stage in _SPLIT_STAGES:
            for block in resnet.get_submodule(stage).children():
                norm = block.get_submodule("bn1")
                if isinstance(norm, nn.BatchNorm2d):
                    block.add_module("bn1", SplitNorm(norm.num_features))
    for name in ("layer4.0.conv2", "layer4.0.downsample.0"):
        convolution = resnet.get_submodule(name)
        if isinstance(convolution, nn.Conv2d):
            convolution.stride = (1, 1)
    return resnet


def _without_bias(norm: nn.BatchNorm1d) -> nn.BatchNorm1d:
    """Return ``norm``, its bias held at 0."""
    norm.bias.requires_grad_(False)
    return norm
