"""RDCD: an EfficientNet-B0 that learned from SSCD, with descriptors of 64, 128 or 256 numbers.

Kim, Woo, Nang, "Relational Self-supervised Distillation with Compact Descriptors for Image Copy Detection", WACV 2025.
Facts from juntae9926/RDCD: ``rdcd/models/model.py`` (``get_encoder``: the network), ``rdcd/models/moco.py`` (which of
its two outputs is the descriptor: the compact one, ``q``), ``rdcd/train.py`` (what a checkpoint holds),
``rdcd/disc_eval.py`` and ``rdcd/disc_eval.sh`` (preprocessing and post-processing).

What is uncertain: the repository prints its numbers without the split and the input size. Its DISC21 script squashes
images to 288 x 288 and reads the 50,000 dev queries, and the SSCD row of the same table is that of these queries, so
both are taken here; its example for NDEC (``ndec_eval.sh``) has 224 x 224. The published files could not be opened for
this adapter: the names in them follow from the classes that wrote them.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING

from PIL import Image
from torch import nn

from ndec_baselines.cards import registrations
from ndec_baselines.networks.checkpoints import filled, read_checkpoint, state_dict_in, without_prefix
from ndec_baselines.networks.inference import TorchBaseline
from ndec_baselines.networks.pixels import stretched
from ndec_baselines.networks.pooling import GeM, UnitLength
from ndec_baselines.networks.torchvision_import import import_torchvision

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_baselines.base import LocalWeights, ModelCard

SIDE = 288
FEATURES = 512
GEM_POWER = 3.0
# One at a time: torch computes the last few numbers of a tensor one by one, the others in vectors, and its SiLU rounds
# differently in the two. In a batch, the 28 numbers of a squeeze layer would then depend on their place.
MICRO_BATCH = 1

STUDENT = "model.encoder_q."
DROPPED = ("model.encoder_k.", "model.queue", "model.queue_ptr", "teacher.", "kld.")
"""What a checkpoint holds next to the student: its slow copy, the queue of earlier descriptors with its pointer, the
SSCD network it learned from, and the buffers of the distillation loss (class ``RDCD`` of ``rdcd/train.py``)."""

INERT = ("argparse.Namespace",)
"""PyTorch-Lightning 1.5, which the repository asks for, keeps the parsed command line as a hyperparameter."""

preprocess = partial(stretched, side=SIDE, resample=Image.Resampling.BILINEAR)
"""Source: ``make_test_dataset`` of ``rdcd/train.py`` with ``--size=288 --preserve_aspect_ratio=false``."""


def student(dimension: int) -> nn.Sequential:
    """Return the untrained student, from images (n, 3, 288, 288) to unit vectors (n, ``dimension``).

    Source: ``get_encoder`` of ``rdcd/models/model.py``: torchvision's network with another pooling and classifier,
    named ``backbone.*``, then ``projector.*``. There is nothing between the two linear layers.
    """
    backbone = import_torchvision().models.efficientnet_b0(weights=None, num_classes=FEATURES)
    backbone.avgpool = GeM(GEM_POWER)
    layers = OrderedDict(backbone=backbone, projector=nn.Linear(FEATURES, dimension), norm=UnitLength())
    return nn.Sequential(layers)


def trained_student(path: Path, dimension: int) -> nn.Sequential:
    """Return `student` with the weights of the Lightning checkpoint in ``path``.

    The names under ``model.encoder_q.`` must be those of the network, one by one; those in `DROPPED` are left out.

    Raises
    ------
    DataError
        If the file is not such a checkpoint, lacks a name or has another one.
    """
    state = state_dict_in(path, read_checkpoint(path, inert=INERT), "state_dict")
    kept = {name: values for name, values in state.items() if not _dropped(name)}
    return filled(path, partial(student, dimension), without_prefix(kept, STUDENT))


def _dropped(name: str) -> bool:
    return any(name.startswith(one) if one.endswith(".") else name == one for one in DROPPED)


def load(card: ModelCard, weights: LocalWeights, device: str) -> TorchBaseline:
    """Return the baseline on ``device``."""
    network = trained_student(weights.only, card.dimension)
    return TorchBaseline(card, network, preprocess, device=device, micro_batch=MICRO_BATCH, weights=weights)


BASELINES = registrations("rdcd", load)
