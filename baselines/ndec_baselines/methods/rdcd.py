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
from typing import TYPE_CHECKING

from ndec_baselines.base import IMAGENET_WORDS, Card, Expected, Preprocessing, Registration, Weights, WeightsFile
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from PIL import Image

    from ndec_baselines.base import Loader, LocalWeights
    from ndec_baselines.networks.inference import TorchBaseline

SIDE = 288
FEATURES = 512
GEM_POWER = 3.0
# One at a time: torch computes the last few numbers of a tensor one by one, the others in vectors, and its SiLU rounds
# differently in the two. In a batch, the 28 numbers of a squeeze layer would then depend on their place.
MICRO_BATCH = 1

STUDENT = "model.encoder_q."
DROPPED = ("model.encoder_k.", "model.queue", "model.queue_ptr", "teacher.", "kld.")
"""What a checkpoint holds beside the student: its slow copy, the queue of earlier descriptors with its pointer, the
SSCD network it learned from, and the buffers of the distillation loss (class ``RDCD`` of ``rdcd/train.py``)."""

INERT = ("argparse.Namespace",)
"""PyTorch-Lightning 1.5, which the repository asks for, keeps the parsed command line as a hyperparameter."""

_FILES = {
    64: ("1k3G-xK4XxLlkrJAk_grYENNiKD6zSEBS", 0.535, 4_696_252),
    128: ("1u5T50kFOzaLlS-Q9stWLWw0E8WS7BYnO", 0.611, 4_729_084),
    256: ("1LAWfP8d3_voxvmHrTRdCGIkN49fCAp-6", 0.657, 4_794_748),
}
"""Dimension to Google Drive id, published µAP after score normalisation, and parameters."""


def _card(dimension: int) -> Card:
    drive, uap, parameters = _FILES[dimension]
    return Card(
        name=f"rdcd-{dimension}",
        version="1",
        title=f"RDCD EfficientNet-B0, {dimension}-d",
        description=(
            "EfficientNet-B0 that learned, without labels, to tell edited copies of one image from other images and to "
            "keep the neighbourhoods that SSCD (disc_mixup) sees: generalised-mean pooling (p = 3), a linear layer to "
            f"{FEATURES} numbers and a second one to {dimension}, unit length."
        ),
        dimension=dimension,
        metric="l2",
        preprocessing=Preprocessing(
            size=f"{SIDE} x {SIDE}, aspect ratio not kept, no crop",
            filter="Pillow BILINEAR (antialiased)",
            colour="RGB",
            normalisation=IMAGENET_WORDS,
        ),
        postprocessing=f"GeM p=3 (floor 1e-6), linear to {FEATURES}, linear to {dimension}, L2",
        input=f"{SIDE} x {SIDE} RGB",
        code_licence="Apache-2.0; torchvision BSD-3-Clause",
        weights=Weights(
            files=(WeightsFile(name=f"rdcd_effb0_{dimension}.ckpt", source=f"gdrive:{drive}"),),
            instruction=(
                f"ndec-bench download weights rdcd-{dimension}, or the link of the README of juntae9926/RDCD with "
                "--weights FILE; the name on Google Drive is not known, this one is ours"
            ),
            licence="unstated (repository MIT)",
            commercial_use="unclear",
            trained_on=(
                "1 million images without labels, from the steps in the checkpoints' names: presumably the DISC21 "
                "training images, though the published train.sh names the folder final_queries; its teacher SSCD: 1 "
                "million DISC21 training images without labels"
            ),
            labels_used=("none",),
            container="PyTorch-Lightning checkpoint",
        ),
        requires=("torch", "torchvision"),
        parameters=parameters,
        gflops=0.6,
        paper="https://arxiv.org/abs/2405.17928",
        selection="not stated; train.sh validates on queries of DISC21 final with their ground truth",
        expected=(
            Expected(
                "disc21-dev",
                "micro_ap",
                uap,
                "juntae9926/RDCD README.md (the split is not printed; its SSCD row is that of disc21-dev)",
                protocol="sscd",
            ),
        ),
        steps=(f"pca:dim={dimension},whiten=yes", "l2", "score-norm:first=1,last=3,factor=1"),
        family="rdcd",
    )


def preprocess(image: Image.Image) -> torch.Tensor:
    """Return the image as (3, 288, 288) float32, normalised as ImageNet models expect.

    Source: ``make_test_dataset`` of ``rdcd/train.py`` with ``--size=288 --preserve_aspect_ratio=false``.
    """
    from PIL import Image as PillowImage

    from ndec_baselines.networks.pixels import normalised, square

    return normalised(square(image, SIDE, PillowImage.Resampling.BILINEAR))


def student(dimension: int) -> torch.nn.Sequential:
    """Return the untrained student, from images (n, 3, 288, 288) to unit vectors (n, ``dimension``).

    Source: ``get_encoder`` of ``rdcd/models/model.py``: torchvision's network with another pooling and classifier,
    named ``backbone.*``, then ``projector.*``. Nothing stands between the two linear layers.
    """
    from torch import nn

    from ndec_baselines.networks.pooling import GeM, UnitLength
    from ndec_baselines.networks.torchvision_import import import_torchvision

    backbone = import_torchvision().models.efficientnet_b0(weights=None, num_classes=FEATURES)
    backbone.avgpool = GeM(GEM_POWER)
    layers = OrderedDict(backbone=backbone, projector=nn.Linear(FEATURES, dimension), norm=UnitLength())
    return nn.Sequential(layers)


def trained_student(path: Path, dimension: int) -> torch.nn.Sequential:
    """Return `student` with the weights of the Lightning checkpoint in ``path``.

    The names under ``model.encoder_q.`` must be those of the network, one by one; those in `DROPPED` are left out.

    Raises
    ------
    DataError
        If the file is no such checkpoint, lacks a name or has another one.
    """
    from ndec_baselines.networks.checkpoints import load_strictly, read_checkpoint, state_dict_in, without_prefix

    network = student(dimension)
    state = state_dict_in(path, read_checkpoint(path, inert=INERT), "state_dict")
    kept = {name: values for name, values in state.items() if not _dropped(name)}
    load_strictly(path, network, without_prefix(kept, STUDENT))
    return network


def _dropped(name: str) -> bool:
    return any(name.startswith(one) if one.endswith(".") else name == one for one in DROPPED)


def _loader(card: Card) -> Loader:
    def load(weights: LocalWeights | None, device: str) -> TorchBaseline:
        from ndec_baselines.networks.inference import TorchBaseline

        if weights is None:
            raise DataError(f"baseline {card.name} needs its weights", hint="give them with --weights FILE")
        network = trained_student(weights.only, card.dimension)
        return TorchBaseline(
            card, network, preprocess, device=device, micro_batch=MICRO_BATCH, weights_sha256=weights.sha256
        )

    return load


BASELINES = {(card := _card(dimension)).name: Registration(card, _loader(card)) for dimension in _FILES}
