"""``cnncl`` and ``cnncl-selfsup``: the winner of the Image Similarity Challenge's descriptor track, in two states.

Yokoo, "Contrastive Learning with Large Memory Bank and Negative Embedding Subtraction for Accurate Copy Detection",
2021, https://arxiv.org/abs/2112.04323; code and weights: lyakaap/ISC21-Descriptor-Track-1st, read at 228aad3. The last
training stage used the ground truth of dev set I, so results there say nothing of the first; the second saw no label.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ndec_baselines.base import Card, Expected, Preprocessing, Registration, Weights, WeightsFile
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from PIL import Image

    from ndec_baselines.base import LocalWeights
    from ndec_baselines.networks.inference import TorchBaseline
    from ndec_bench.submissions.card import Labels, TrainImages

SIDE = 512
MICRO_BATCH = 1
MEAN = DEVIATION = (0.5, 0.5, 0.5)
SUBTRACTION = "subtract:neighbours=10,factor=0.35,smooth=10,power=3"
"""scripts/postprocess.py 93-118 of the published code: one round, queries and references alike."""

_TABLE = "the winner's table of ablations (private part of phase 1), ducha-aiki/wide-baseline-stereo-blog, DISC21 recap"
_FINAL = "drivendataorg/image-similarity-challenge README; R@P90 from the poster of eddielyc/CopyNCE"
_LOCAL = "lyakaap/ISC21-Descriptor-Track-1st reproduce_experiments.md 99-106; these labels are training data"
_MEMO = "lyakaap/ISC21-Descriptor-Track-1st memo.md 641-645 at 4751f70 (v98, epoch 2, without subtraction)"
_TRAINED_ON = (
    "DISC21 training images without labels and DISC21 references as negatives; the trunk began from ImageNet-21k and "
    "ImageNet-1k classes"
)


def _card(
    name: str,
    file: WeightsFile,
    *,
    title: str,
    state: str,
    trained_on: str,
    train_images: tuple[TrainImages, ...],
    labels_used: tuple[Labels, ...],
    selection: str,
    expected: tuple[Expected, ...],
) -> Card:
    return Card(
        name=name,
        version="1",
        title=title,
        description=(
            "EfficientNetV2-M without its classifier, generalised-mean pooling with p = 1, a linear layer to 256 "
            "numbers, batch normalisation, unit length; trained to tell copies by contrastive learning with a memory "
            f"bank. {state} Its authors subtract from every descriptor a share of its nearest background descriptors; "
            "run with --no-steps for the descriptor alone."
        ),
        dimension=256,
        metric="l2",
        preprocessing=Preprocessing(
            size=f"{SIDE} x {SIDE}, aspect ratio not kept",
            filter="Pillow BILINEAR (antialiased)",
            colour="RGB",
            normalisation="divided by 255, minus 0.5, divided by 0.5",
        ),
        postprocessing="GeM p=1 (floor 1e-6), linear 512 to 256, batch normalisation, L2",
        input=f"{SIDE} x {SIDE} RGB",
        code_licence="Apache-2.0; timm Apache-2.0",
        weights=Weights(
            files=(file,),
            instruction=f"ndec-bench download weights {name}, or {file.source} with --weights FILE",
            licence="MIT (repository)",
            commercial_use="unclear",
            trained_on=trained_on,
            train_images=train_images,
            labels_used=labels_used,
            reference_images_in_training="plain",  # resized, nothing else: preprocess in exp/v98.py and exp/v107.py
            ndec_pairs="no",
            external_data="yes",
            container="dict of state_dict (keys begin with module.), optimizer and argparse.Namespace",
        ),
        requires=("torch", "torchvision", "timm"),
        parameters=52_332_020,
        gflops=27.8,
        paper="https://arxiv.org/abs/2112.04323",
        selected_on=("dev1",),
        selection=selection,
        expected=expected,
        steps=(SUBTRACTION,),
        family="cnncl",
    )


_RELEASE = "https://github.com/lyakaap/ISC21-Descriptor-Track-1st/releases/download/v1.0.1"

CARDS = {
    "cnncl": _card(
        "cnncl",
        # Size and digest: Original-Pictures/soft-bindings-benchmark, scripts/weights.lock.json. The authors state none.
        WeightsFile(
            name="isc_ft_v107.pth.tar",
            source=f"{_RELEASE}/isc_ft_v107.pth.tar",
            size=420_418_996,
            sha256="512390a15ab52f8ab5adc14a315b157a5d6e732e3361c7a0dce5be6e95a86d30",
        ),
        title="CNNCL (ISC 2021 descriptor track, 1st)",
        state="The last stage was supervised by the labelled pairs of dev set I.",
        trained_on=f"{_TRAINED_ON}; then the 4,991 labelled pairs of dev set I",
        train_images=("disc21-train", "imagenet", "other"),
        labels_used=("dev1",),
        selection="dev I",
        expected=(
            Expected("disc21-dev1", "micro_ap", 0.9479039, _LOCAL, protocol="drivendata"),
            Expected("disc21-dev1", "recall_at_p90", 0.9192547, _LOCAL, protocol="drivendata"),
            Expected("disc21-dev2", "micro_ap", 0.7743, _TABLE, protocol="drivendata"),
            Expected("disc21-dev2", "recall_at_p90", 0.6892, _TABLE, protocol="drivendata"),
            Expected("disc21-dev2", "micro_ap", 0.7557, _TABLE, protocol="drivendata", steps=()),
            Expected("disc21-dev2", "recall_at_p90", 0.6404, _TABLE, protocol="drivendata", steps=()),
            Expected("disc21-final", "micro_ap", 0.6354, _FINAL, protocol="drivendata"),
            Expected("disc21-final", "recall_at_p90", 0.554, _FINAL, protocol="drivendata"),
        ),
    ),
    "cnncl-selfsup": _card(
        "cnncl-selfsup",
        WeightsFile(name="isc_selfsup_v98.pth.tar", source=f"{_RELEASE}/isc_selfsup_v98.pth.tar"),
        title="CNNCL without labels (ISC 2021)",
        state="This is the stage before the last, which saw no label.",
        trained_on=_TRAINED_ON,
        train_images=("disc21-train", "imagenet"),
        labels_used=("none",),
        selection="dev I (epochs and settings of training)",
        expected=(
            Expected("disc21-dev1", "micro_ap", 0.6519199, _MEMO, protocol="drivendata", steps=()),
            Expected("disc21-dev1", "recall_at_p90", 0.5710279, _MEMO, protocol="drivendata", steps=()),
            Expected("disc21-dev2", "micro_ap", 0.6435, _TABLE, protocol="drivendata", steps=()),
            Expected("disc21-dev2", "recall_at_p90", 0.5662, _TABLE, protocol="drivendata", steps=()),
        ),
    ),
}


def preprocess(image: Image.Image) -> torch.Tensor:
    """Return the image as a (3, 512, 512) float32 tensor in [-1, 1] (model.py 159-168 of the published code).

    The published code resizes the image in the mode it is stored in; here it is RGB, as every image of DISC21 is.
    """
    from PIL import Image as PillowImage

    from ndec_baselines.networks.pixels import normalised, square

    return normalised(square(image, SIDE, PillowImage.Resampling.BILINEAR), MEAN, DEVIATION)


def network(path: Path) -> torch.nn.Module:
    """Return the network with the weights in ``path``: maps (n, 3, 512, 512) to unit vectors (n, 256).

    Raises
    ------
    DataError
        If the file is no such checkpoint, was made for another size of input, or lacks or has extra keys.
    """
    from ndec_baselines.networks.checkpoints import load_strictly, read_checkpoint, state_dict_in, without_prefix
    from ndec_baselines.networks.cnncl_net import CnnclNet

    content = read_checkpoint(path, inert=("argparse.Namespace",))
    state = without_prefix(state_dict_in(path, content, "state_dict"), "module.")
    # The weights fit images of any size, but earlier stages of the training (256, 384) are other baselines.
    side = getattr(content.get("args"), "input_size", None)
    if side != SIDE:
        raise DataError(
            f"{path}: a checkpoint for images of side {side}, expected {SIDE} (args.input_size)",
            hint="give the published file",
        )
    loaded = CnnclNet()
    load_strictly(path, loaded, state)
    return loaded


def _load(weights: LocalWeights | None, device: str, *, card: Card) -> TorchBaseline:
    from ndec_baselines.networks.inference import TorchBaseline

    if weights is None:
        raise DataError(f"baseline {card.name} needs its weights", hint="give them with --weights FILE")
    return TorchBaseline(
        card, network(weights.only), preprocess, device=device, micro_batch=MICRO_BATCH, weights_sha256=weights.sha256
    )


BASELINES = {name: Registration(card, partial(_load, card=card)) for name, card in CARDS.items()}
