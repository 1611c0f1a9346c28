"""``copynce``: the descriptor of Lu et al., a small vision transformer trained on traced pixels of edited copies.

Facts from eddielyc/CopyNCE (Apache-2.0): the encoder in ``core/models/vision_transformer.py`` as ``build_encoder`` in
``core/models/build.py`` makes it from ``core/configs/descriptor_default_config.yaml``, ``LinearHead`` in
``core/models/heads.py``, the images in ``CopyDatasetDescriptorEval`` (``core/data/datasets/copy_dataset.py``), the
container in ``core/utils/serialization.py``, the scores in ``scripts/run/score_normalization.py``.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from PIL import Image
from torch import nn

from ndec_baselines.cards import registrations
from ndec_baselines.networks.checkpoints import filled, read_state_dict
from ndec_baselines.networks.inference import TorchBaseline
from ndec_baselines.networks.pixels import stretched
from ndec_baselines.networks.pooling import UnitLength
from ndec_baselines.networks.torchvision_import import import_torchvision

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch

    from ndec_baselines.base import LocalWeights, ModelCard

SIDE = 224
WIDTH = 384
DIMENSION = 512
DIMENSIONS = (DIMENSION, 256)
NORM_EPS = 1e-4  # build_encoder overrides the 1e-6 that the transformer itself and timm have
MICRO_BATCH = 4

_HEAD = "heads.linear_head.fc1.weight"

preprocess = partial(stretched, side=SIDE, resample=Image.Resampling.BICUBIC)


def network(dimension: int = DIMENSION) -> nn.Module:
    """Return the descriptor with weights of its own initialisation: (n, 3, 224, 224) to unit rows (n, dimension).

    timm's transformer has the blocks of the published one under the same names; only the last norm falls away.
    """
    import_torchvision()  # before timm, which imports torchvision itself
    from timm.models.vision_transformer import VisionTransformer

    encoder = VisionTransformer(
        img_size=SIDE,
        patch_size=16,
        embed_dim=WIDTH,
        depth=12,
        num_heads=6,
        num_classes=0,
        global_pool="token",
        norm_layer=partial(nn.LayerNorm, eps=NORM_EPS),
    )
    encoder.norm = nn.Identity()
    head = nn.Sequential()
    head.add_module("fc1", nn.Linear(WIDTH, dimension, bias=False))
    head.add_module("bn", nn.BatchNorm1d(dimension))
    whole = nn.Sequential()
    whole.add_module("encoder", encoder)
    whole.add_module("heads", nn.Sequential())
    whole.get_submodule("heads").add_module("linear_head", head)
    whole.add_module("unit", UnitLength())
    return whole


def load_network(path: Path) -> tuple[nn.Module, int]:
    """Return the network with the weights in ``path``, and its dimension: 512 or 256, as wide as the head in the file.

    The published container is a dict with ``model`` and ``epoch``; a bare state dict is taken too. ``module.`` is
    removed wherever it is. ``infonce_log_scale``, which the loss registers with the model in training, is left out.

    Raises
    ------
    DataError
        If the file is not such a checkpoint, or lacks or has extra keys.
    """
    state = {name.replace("module.", ""): value for name, value in read_state_dict(path, "model").items()}
    dimension = _dimension_in(state)
    whole = filled(path, partial(network, dimension), state, drop=lambda name: name == "infonce_log_scale")
    return whole, dimension


def _dimension_in(state: Mapping[str, torch.Tensor]) -> int:
    found = state[_HEAD].shape[0] if _HEAD in state and state[_HEAD].dim() else DIMENSION
    return found if found in DIMENSIONS else DIMENSION


def load(card: ModelCard, weights: LocalWeights, device: str) -> TorchBaseline:
    """Return the baseline on ``device``, as wide as the head in its file."""
    whole, dimension = load_network(weights.only)
    card = replace(card, dimension=dimension)
    return TorchBaseline(card, whole, preprocess, device=device, micro_batch=MICRO_BATCH, weights=weights)


BASELINES = registrations("copynce", load)
