"""``bot``: Bag of Tricks, third of the ISC2021 descriptor track; and each of its four image sizes alone.

Wang, Zhang, Sun, Yang, "Bag of Tricks and A Strong baseline for Image Copy Detection", 2021. Facts from
WangWenhao0716/ISC-Track2-Submission at e822ed9cbf, ``Test/``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ndec_baselines.base import IMAGENET_WORDS, Card, Expected, Preprocessing, Registration, Weights, WeightsFile
from ndec_baselines.describing.boxes import letterbox_pad
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from PIL import Image

    from ndec_baselines.base import Loader, LocalWeights
    from ndec_baselines.describing.boxes import Box
    from ndec_baselines.networks.inference import TorchBaseline

SIDES = (200, 256, 320, 400)
MICRO_BATCH = 2
OVERLAY = 0
LEAST_SCORE = 0.90

_GFLOPS = {200: 5.3, 256: 8.2, 320: 12.7, 400: 19.8}
_RECAP = (
    "paper's ablation as reproduced in ducha-aiki/wide-baseline-stereo-blog, DISC21 recap; the image names no set: "
    "dev II is inferred from the CopyNCE repository, which repeats the values rounded in its dev-II table"
)
_AT_256 = "; the size before multi-scale is not named, 256 is inferred"
_REMEASURED = "WangWenhao0716/ViT4ICD README, measured by one of the authors (5,008 positives), with detection"
_STRETCH = ("stretch:neighbours=5,factor=2.5",)

_FINAL = Expected(
    "disc21-final",
    "micro_ap",
    0.5788,
    "drivendataorg/image-similarity-challenge README, phase 2, with detection",
    protocol="drivendata",
    detections=True,
)


def _dev(
    map_: float, recall: float, where: str, steps: tuple[str, ...] | None = None, *, detections: bool
) -> tuple[Expected, ...]:
    found = Expected("disc21-dev2", "micro_ap", map_, where, protocol="isc2021", steps=steps, detections=detections)
    return (found, replace(found, metric="recall_at_p90", value=recall))


_OF_ALL = (
    _FINAL,
    *_dev(0.7273, 0.6725, _REMEASURED, detections=True),
    Expected("disc21-dev2", "recall_at_1", 0.7891, _REMEASURED, protocol="isc2021", detections=True),
    Expected("disc21-dev2", "recall_at_10", 0.8215, _REMEASURED, protocol="isc2021", detections=True),
    *_dev(0.73017, 0.63975, f"{_RECAP}; with detection", detections=True),
)
_OF_256 = (
    *_dev(0.53218, 0.29693, f"{_RECAP}{_AT_256}; without detection", steps=(), detections=False),
    *_dev(0.70481, 0.61631, f"{_RECAP}{_AT_256}; without detection", detections=False),
    *_dev(0.71487, 0.62913, f"{_RECAP}{_AT_256}; with detection", detections=True),
)


def _card(name: str, sides: tuple[int, ...], title: str, text: str, expected: tuple[Expected, ...]) -> Card:
    shown = ", ".join(map(str, sides))
    return Card(
        name=name,
        version="1",
        title=title,
        description=(
            "A ResNet-50 from self-supervised weights (Barlow Twins), trained to tell 100,000 images apart under "
            f"edits, with a projector to 8192 and a second head to 256 numbers; {text}. The published system first "
            "cuts queries to an overlay that a detector found; give its boxes to do so. A box is cut from the stored "
            "image, shifted as published; the published script scales the image to 640 pixels before it cuts."
        ),
        dimension=256,
        metric="l2",
        preprocessing=Preprocessing(
            size=f"square of {shown} pixels, aspect ratio not kept",
            filter="Pillow BICUBIC (antialiased)",
            colour="RGB",
            normalisation=IMAGENET_WORDS,
        ),
        postprocessing=(
            "GeM p=3 (floor 1e-6), both heads, L2" + ("; mean over the sizes, L2" if len(sides) > 1 else "")
        ),
        input=f"{'/'.join(map(str, sides))} RGB",
        code_licence="Apache-2.0; torchvision BSD-3-Clause",
        weights=Weights(
            files=(
                WeightsFile(name="baseline_matrix_baro_c24.pth.tar", source="gdrive:1FGOfqOckHWVUtvQEgAkDj7TxPTINDIKb"),
            ),
            instruction=(
                "ndec-bench download weights bot, or baseline_matrix_baro_c24.pth.tar from the Google Drive link in "
                "Test/README.md of WangWenhao0716/ISC-Track2-Submission, with --weights FILE"
            ),
            licence="unstated (repository MIT)",
            commercial_use="unclear",
            trained_on=(
                "ImageNet images (self-supervised); 100,000 DISC21 training images, one class each; images of "
                "OpenImages pasted in"
            ),
            train_images=("imagenet", "disc21-train", "other"),
            labels_used=("none",),
            reference_images_in_training="none",
            ndec_pairs="no",
            external_data="yes",
            container="state dict",
        ),
        requires=("torch", "torchvision"),
        parameters=67_602_241,
        gflops=round(sum(_GFLOPS[side] for side in sides), 1),
        paper="https://arxiv.org/abs/2111.08004",
        selection="ISC2021 development queries (DISC21 dev), half not named",
        expected=expected,
        steps=_STRETCH,
        family="bot",
    )


CARDS = {
    "bot": _card("bot", SIDES, "BoT", "the mean of unit vectors at four image sizes", _OF_ALL),
    **{
        f"bot-{side}": _card(
            f"bot-{side}", (side,), f"BoT at {side}", f"at {side} pixels alone", _OF_256 if side == 256 else ()
        )
        for side in SIDES
    },
}


def sizes_of(name: str) -> tuple[int, ...]:
    """Return the image sizes of the registered baseline ``name``."""
    return SIDES if name == "bot" else (int(name.removeprefix("bot-")),)


def choose_box(size: tuple[int, int], boxes: Sequence[Box]) -> tuple[float, float, float, float] | None:
    """Return the box that replaces a query of (width, height) ``size``, None to keep it.

    It is the last overlay (kind 0) that the detector was more than 0.90 sure of: the published script writes one after
    the other over the same file (``Test/yolov5/generate.py`` L12-L29), in the detector's order, surest first. It is
    shifted as that script shifts it (`ndec_baselines.describing.boxes.letterbox_pad`).
    """
    overlays = [box for box in boxes if box.kind == OVERLAY and box.score > LEAST_SCORE]
    if not overlays:
        return None
    right, down = letterbox_pad(size)
    last = overlays[-1]
    return last.left + right, last.top + down, last.right + right, last.bottom + down


def preprocess(image: Image.Image, sides: Sequence[int] = SIDES) -> torch.Tensor:
    """Return the image at each of ``sides``, normalised as ImageNet models expect, float32.

    Of one side it is (3, side, side), of several all values stand in one row
    (`ndec_baselines.networks.inference.in_one_row`).
    Source: ``Test/extract_feature_matrix.py`` L65-L84, L161-L172; Pillow 8.3.2 resizes bicubically by default.
    """
    from PIL import Image as PillowImage

    from ndec_baselines.networks.inference import in_one_row
    from ndec_baselines.networks.pixels import normalised, square

    inputs = [normalised(square(image, side, PillowImage.Resampling.BICUBIC)) for side in sides]
    return inputs[0] if len(inputs) == 1 else in_one_row(inputs)


def _loader(name: str) -> Loader:
    def load(weights: LocalWeights | None, device: str) -> TorchBaseline:
        from torch import nn

        from ndec_baselines.networks.inference import TorchBaseline
        from ndec_baselines.networks.isc_resnet import MultiScale, read_network
        from ndec_baselines.networks.pooling import UnitLength

        if weights is None:
            raise DataError(f"baseline {name} needs its weights", hint="give them with --weights FILE")
        sides = sizes_of(name)
        network = read_network(weights.only, "50", reduced=True)
        model: nn.Module = MultiScale(network, sides) if len(sides) > 1 else nn.Sequential(network, UnitLength())
        return TorchBaseline(
            CARDS[name],
            model,
            lambda image: preprocess(image, sides),
            device=device,
            micro_batch=MICRO_BATCH,
            weights_sha256=weights.sha256,
        )

    return load


BASELINES = {name: Registration(card, _loader(name), choose_box=choose_box) for name, card in CARDS.items()}
