"""``bot``: Bag of Tricks, third of the ISC2021 descriptor track; and each of its four image sizes alone.

Wang, Zhang, Sun, Yang, "Bag of Tricks and A Strong baseline for Image Copy Detection", 2021. Facts from
WangWenhao0716/ISC-Track2-Submission at e822ed9cbf, ``Test/``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from PIL import Image
from torch import nn

from ndec_baselines.cards import registrations
from ndec_baselines.describing.boxes import letterbox_pad
from ndec_baselines.networks.inference import TorchBaseline, in_one_row
from ndec_baselines.networks.isc_resnet import MultiScale, read_network
from ndec_baselines.networks.pixels import stretched
from ndec_baselines.networks.pooling import UnitLength

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from ndec_baselines.base import LocalWeights, ModelCard
    from ndec_baselines.describing.boxes import Box

SIDES = (200, 256, 320, 400)
MICRO_BATCH = 2
OVERLAY = 0
LEAST_SCORE = 0.90


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

    Of one side it is (3, side, side), of several all values are in one row
    (`ndec_baselines.networks.inference.in_one_row`).
    Source: ``Test/extract_feature_matrix.py`` L65-L84, L161-L172; Pillow 8.3.2 resizes bicubically by default.
    """
    inputs = [stretched(image, side, Image.Resampling.BICUBIC) for side in sides]
    return inputs[0] if len(inputs) == 1 else in_one_row(inputs)


def load(card: ModelCard, weights: LocalWeights, device: str) -> TorchBaseline:
    """Return the baseline on ``device``: at all `SIDES`, or at the one that its name ends with."""
    sides = SIDES if card.name == "bot" else (int(card.name.removeprefix("bot-")),)
    network = read_network(weights.only, "50", reduced=True)
    model: nn.Module = MultiScale(network, sides) if len(sides) > 1 else nn.Sequential(network, UnitLength())
    prepare = partial(preprocess, sides=sides)
    return TorchBaseline(card, model, prepare, device=device, micro_batch=MICRO_BATCH, weights=weights)


BASELINES = registrations("bot", load, choose_box=choose_box)
