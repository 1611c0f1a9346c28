"""The global descriptor of EsViTp: Swin-B with windows of 14, read out at its last four blocks.

Facts from sun-xl/ISC2021 (MIT), ``global_fea/feature_extract``: ``models/swin_transformer.py`` (read-out 819-857, head
39-52 and 860-869, epsilon 993, loading 1012-1023), ``config/swin_base_patch4_window14_224.yaml``,
``predict_FB_model.py``.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torch import nn

from ndec_baselines.cards import model_cards
from ndec_baselines.networks.checkpoints import load_strictly, read_state_dict
from ndec_baselines.networks.inference import TorchBaseline
from ndec_baselines.networks.pixels import stretched
from ndec_baselines.networks.torchvision_import import import_torchvision

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ndec_baselines.base import LocalWeights

    State = dict[str, torch.Tensor]

SIDE = 224
DIMENSION = 256
LAST_BLOCKS = 4
READ_OUT = 2 * 512 + 2 * 1024
NORM_EPS = 1e-6  # timm's Swin has 1e-5
MICRO_BATCH = 2

preprocess = partial(stretched, side=SIDE, resample=Image.Resampling.BICUBIC)

_DOWNSAMPLE = re.compile(r"layers\.(\d+)\.downsample\.")
_INDEX = "attn.relative_position_index"


class EsViT(nn.Module):
    """Images (n, 3, 224, 224) to unit rows (n, 256).

    The read-out is the mean over tokens of the outputs of the last four blocks, 512 + 512 + 1024 + 1024 numbers in the
    order of the network. Those of the last stage go through the final LayerNorm, one norm for both; those of the stage
    before do not.
    """

    def __init__(self) -> None:
        super().__init__()
        import_torchvision()  # before timm, which imports torchvision itself
        from timm.models.swin_transformer import SwinTransformer

        norm: Any = partial(nn.LayerNorm, eps=NORM_EPS)
        self.trunk: Any = SwinTransformer(
            img_size=SIDE,
            patch_size=4,
            num_classes=0,
            embed_dim=128,
            depths=(2, 2, 18, 2),
            num_heads=(4, 8, 16, 32),
            window_size=14,
            norm_layer=norm,
        )
        self.head = nn.Linear(READ_OUT, DIMENSION)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the descriptors (n, 256)."""
        return nn.functional.normalize(self.head(self.read_out(images)), dim=1)

    def read_out(self, images: torch.Tensor) -> torch.Tensor:
        """Return what goes into the head, (n, 3072)."""
        maps = self.trunk.patch_embed(images)
        outputs: list[torch.Tensor] = []
        stages = list(self.trunk.layers)
        for stage in stages:
            maps = stage.downsample(maps)
            for block in stage.blocks:
                maps = block(maps)
                outputs.append(self.trunk.norm(maps) if stage is stages[-1] else maps)
        return torch.cat([output.mean(dim=(1, 2)) for output in outputs[-LAST_BLOCKS:]], dim=1)


def load_network(path: Path) -> EsViT:
    """Return the network with the weights in ``path``: a dict with ``model``, or a bare state dict.

    As in the published loader, ``module.`` is removed wherever it is. Unlike there, loading is strict: only the
    index buffers, which follow from the window size, may be left out.

    Raises
    ------
    DataError
        If the file is not such a checkpoint, or lacks or has extra keys.
    """
    network = EsViT()
    load_strictly(path, network, renamed(read_state_dict(path, "model")), drop=lambda name: name.endswith(_INDEX))
    return network


def renamed(state: Mapping[str, torch.Tensor]) -> State:
    """Return a published state dict under the names of `EsViT`.

    timm has the merging of patches at the beginning of a stage, the published network at the end of the one before.
    """
    return {_renamed(name.replace("module.", "")): value for name, value in state.items()}


def _renamed(name: str) -> str:
    if name.startswith("head.linear."):
        return name.replace("head.linear.", "head.")
    return "trunk." + _DOWNSAMPLE.sub(lambda found: f"layers.{int(found[1]) + 1}.downsample.", name)


def describer(weights: LocalWeights, device: str) -> TorchBaseline:
    """Return the global descriptor on ``device``."""
    network = load_network(weights.only)
    return TorchBaseline(
        model_cards()["esvitp"], network, preprocess, device=device, micro_batch=MICRO_BATCH, weights=weights
    )
