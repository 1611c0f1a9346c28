"""MultiGrain, as the organisers of the Image Similarity Challenge used it: the learned baseline of DISC21.

Berman, Jegou, Vedaldi, Kokkinos, Douze, "MultiGrain: a unified image embedding for classes and instances", 2019. The
weights and their container are those of facebookresearch/multigrain (``README.md``,
``multigrain/backbones/backbone.py``, ``multigrain/utils/checkpoint.py``); everything else follows
facebookresearch/isc2021 ``baselines/GeM_baseline.py`` and ``docs/4_multigrain_subset.md``,
``docs/5_multigrain_full.md``.

The pooled vector is not brought to unit length here, because the published PCA is fitted on it and applied to it as it
is; unit length comes after. The descriptors of `describe` are therefore meant for `Card.steps`.
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

    from ndec_baselines.base import LocalWeights
    from ndec_baselines.networks.inference import TorchBaseline

LONGEST = 512
GEM_POWER = 7.0
REDUCING_GAP = 2.0

STATE = "model_state"
DROPPED = frozenset({"classifier.weight", "classifier.bias", "pool.p"})
"""The ImageNet classifier, and the pooling exponent of the training (3; the published descriptor uses 7)."""

ADDRESS = "https://dl.fbaipublicfiles.com/multigrain/multigrain_models/joint_3B_0.5.pth"
PLAIN = ("pca:dim=1500,whiten=yes,sample=10000,seed=123", "l2")
NORMALISED = (*PLAIN, "score-norm:first=10,last=10,factor=2")
"""Post-processing of the two published rows. ``GeM_baseline.py`` fits its PCA on 10,000 images drawn with seed 123; the
generator is another one here, so the images are others."""


def _rows(split: str, steps: tuple[str, ...], values: tuple[float, float, float, float]) -> tuple[Expected, ...]:
    source = "facebookresearch/isc2021 docs/5_multigrain_full.md"
    uap, p90, at_1, at_10 = values
    return (
        Expected(split, "micro_ap", uap, source, "isc2021", steps=steps),
        Expected(split, "recall_at_p90", p90, source, "isc2021", steps=steps),
        Expected(split, "recall_at_1", at_1, source, "isc2021", steps=steps),
        Expected(split, "recall_at_10", at_10, source, "isc2021", steps=steps),
    )


CARD = Card(
    name="multigrain",
    version="1",
    title="MultiGrain ResNet-50 (DISC21 baseline)",
    description=(
        "ResNet-50 trained on ImageNet to name classes and to recognise edited copies of one image at once; "
        "generalised-mean pooling (p = 7) of the last feature map at one scale. The learned baseline of the Image "
        "Similarity Challenge 2021."
    ),
    dimension=2048,
    metric="l2",
    preprocessing=Preprocessing(
        size=f"longer edge {LONGEST} where it is longer, never enlarged, aspect ratio kept",
        filter=f"Pillow thumbnail with LANCZOS, reducing gap {REDUCING_GAP}, no draft decoding",
        colour="RGB",
        normalisation=IMAGENET_WORDS,
    ),
    postprocessing="GeM p=7 (floor 1e-6), length kept",
    input=f"long edge {LONGEST} RGB",
    code_licence="Apache-2.0; torchvision BSD-3-Clause",
    weights=Weights(
        files=(WeightsFile(name="joint_3B_0.5.pth", source=ADDRESS),),
        instruction=f"ndec-bench download weights multigrain, or {ADDRESS} with --weights FILE",
        licence="CC-BY-NC-4.0",
        commercial_use="no",
        trained_on="ImageNet-1k training images and class labels",
        train_images=("imagenet",),
        labels_used=("none",),
        reference_images_in_training="none",
        ndec_pairs="no",
        external_data="yes",
        container="dictionary with a state dict under model_state",
    ),
    requires=("torch", "torchvision"),
    parameters=23_508_032,
    gflops=16.0,  # at 384 x 512, a 4:3 photograph
    paper="https://arxiv.org/abs/1902.05509",
    selection="not stated for DISC21; p, size and PCA are those of isc2021",
    expected=(
        *_rows("disc21-dev1", PLAIN, (0.15402, 0.03426, 0.44861, 0.48387)),
        *_rows("disc21-dev", PLAIN, (0.16470, 0.06360, 0.42150, 0.44210)),
        *_rows("disc21-dev1", NORMALISED, (0.36491, 0.26828, 0.44961, 0.49309)),
        *_rows("disc21-dev", NORMALISED, (0.36420, 0.27200, 0.44520, 0.48300)),
    ),
    steps=NORMALISED,
)


def preprocess(image: Image.Image) -> torch.Tensor:
    """Return the image as (3, height, width) float32, longer edge at most 512, normalised as ImageNet models expect.

    Source: ``ImageList`` of ``baselines/GeM_baseline.py``: converted to RGB, then Pillow's ``thumbnail``. That one
    averages whole blocks of pixels first where the image is at least four times too large (its reducing gap of 2). It
    can also let the JPEG decoder scale, but neither there nor here: the conversion to RGB has decoded the image.
    """
    from PIL import Image as PillowImage

    from ndec_baselines.networks.pixels import normalised

    small = image.convert("RGB")  # a copy: thumbnail works in place
    small.thumbnail((LONGEST, LONGEST), PillowImage.Resampling.LANCZOS, reducing_gap=REDUCING_GAP)
    return normalised(small)


def trunk(path: Path) -> torch.nn.Module:
    """Return the network with the weights in ``path``, from images (n, 3, height, width) to pooled maps (n, 2048).

    The names under ``features.`` must be those of the network, one by one; those in `DROPPED` are left out.

    Raises
    ------
    DataError
        If the file is no such checkpoint, lacks a name or has another one.
    """
    from torch import nn

    from ndec_baselines.networks.checkpoints import load_strictly, read_checkpoint, state_dict_in
    from ndec_baselines.networks.pooling import GeM
    from ndec_baselines.networks.torchvision_import import import_torchvision

    # All but pooling and classifier, under the name that multigrain/backbones/backbone.py gives them.
    layers = OrderedDict(list(import_torchvision().models.resnet50(weights=None).named_children())[:-2])
    network = nn.Sequential(OrderedDict(features=nn.Sequential(layers), pooling=GeM(GEM_POWER)))
    state = state_dict_in(path, read_checkpoint(path), STATE)
    load_strictly(path, network, state, drop=DROPPED.__contains__)
    return network


def _load(weights: LocalWeights | None, device: str) -> TorchBaseline:
    from ndec_baselines.networks.inference import TorchBaseline

    if weights is None:
        raise DataError(f"baseline {CARD.name} needs its weights", hint="give them with --weights FILE")
    # Neighbours seldom share a size; padding each to a batch would multiply the work.
    return TorchBaseline(
        CARD,
        trunk(weights.only),
        preprocess,
        device=device,
        micro_batch=1,
        cuda_micro_batch=1,
        weights_sha256=weights.sha256,
    )


BASELINE = Registration(CARD, _load)
