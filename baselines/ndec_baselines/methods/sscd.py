"""SSCD: Meta's self-supervised descriptor for image copy detection, in all seven published TorchScript files.

Pizzi, Roy, Ravindra, Goyal, Douze, "A Self-Supervised Descriptor for Image Copy Detection", CVPR 2022. Facts from
facebookresearch/sscd-copy-detection: ``README.md`` (files, preprocessing), ``sscd/models/model.py`` (what the graph
holds), ``sscd/disc_eval.py`` and ``docs/Evaluation.md`` (post-processing and numbers).

Each file comes in two preprocessings that the authors recommend: ``sscd-disc-mixup`` keeps the aspect ratio, as the
paper does; ``sscd-disc-mixup-320`` squashes the whole image to a square, which lets a GPU work on batches.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from PIL import Image

from ndec_baselines.cards import registrations
from ndec_baselines.networks.checkpoints import read_torchscript
from ndec_baselines.networks.inference import TorchBaseline
from ndec_baselines.networks.pixels import normalised, short_edge, stretched
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from ndec_baselines.base import LocalWeights, ModelCard

SHORT_EDGE = 288
SQUARE = 320
LONGEST = 20
"""An image may be so many times as long as it is short; a longer one is squashed to that."""
SQUARE_MICRO_BATCH = 2


def keep_aspect(image: Image.Image) -> torch.Tensor:
    """Return the image as (3, height, width) float32, shorter edge 288, normalised as ImageNet models expect.

    Source: ``small_288`` of README.md, ``make_validation_dataset`` of ``sscd/train.py``. Of an image more than 20 times
    as long as short the published code makes a tensor without bound; its longer edge is squashed to 5,760 here.
    """
    short, long = sorted(image.size)
    if long > LONGEST * short:
        size = (SHORT_EDGE, LONGEST * SHORT_EDGE) if image.width < image.height else (LONGEST * SHORT_EDGE, SHORT_EDGE)
        return normalised(image.convert("RGB").resize(size, Image.Resampling.BILINEAR))
    return normalised(short_edge(image, SHORT_EDGE, Image.Resampling.BILINEAR))


squash = partial(stretched, side=SQUARE, resample=Image.Resampling.BILINEAR)
"""Source: ``skew_320`` of README.md."""


def descriptor_graph(path: Path, dimension: int) -> nn.Module:
    """Return the TorchScript module in ``path``, from images (n, 3, height, width) to unit vectors (n, ``dimension``).

    Raises
    ------
    DataError
        If the file is not TorchScript, or what it holds does not map a picture to a finite unit vector of that length.
    """
    module = read_torchscript(path)
    # A graph has no keys to compare, so it is asked; two sizes, because one traced for a single size would pass one.
    for height, width in ((64, 64), (64, 96)):
        try:
            with torch.inference_mode():
                answer = module(torch.zeros(2, 3, height, width))
        except RuntimeError as error:
            raise DataError(
                f"{path}: the TorchScript module takes no {width} x {height} image", hint="give the published file"
            ) from error
        shape = tuple(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
        if shape != (2, dimension) or not torch.allclose(answer.norm(dim=1), torch.ones(2), atol=1e-3):
            raise DataError(
                f"{path}: the TorchScript module gives {shape} for two images, expected (2, {dimension}), unit length",
                hint="give the published file of this baseline",
            )
    return module


def load(card: ModelCard, weights: LocalWeights, device: str) -> TorchBaseline:
    """Return the baseline on ``device``."""
    module = descriptor_graph(weights.only, card.dimension)
    if card.name.endswith(f"-{SQUARE}"):
        return TorchBaseline(card, module, squash, device=device, micro_batch=SQUARE_MICRO_BATCH, weights=weights)
    # Neighbours seldom share a size; padding each to a batch would multiply the work.
    return TorchBaseline(card, module, keep_aspect, device=device, micro_batch=1, cuda_micro_batch=1, weights=weights)


BASELINES = registrations("sscd", load)
