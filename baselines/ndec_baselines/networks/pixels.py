"""The numbers a network expects of a decoded image: the few forms that published preprocessing takes.

Resizing is Pillow's, antialiased, with the filter named by each baseline: the default filter has changed over the
years, and a tensor resize gives other values. Division and normalisation are float32 operations in the order of
torchvision's ToTensor and Normalize.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from PIL import Image

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


def square(image: Image.Image, side: int, resample: Image.Resampling) -> Image.Image:
    """Return the image in RGB at ``side`` x ``side``; the aspect ratio is not kept, nothing is cropped."""
    return image.convert("RGB").resize((side, side), resample)


def short_edge(image: Image.Image, side: int, resample: Image.Resampling) -> Image.Image:
    """Return the image in RGB with its shorter edge at ``side``; the longer one is truncated to whole pixels.

    The rule of torchvision's ``Resize(side)`` on a Pillow image: an image that has the size already is left as it is.
    """
    width, height = image.size
    short, long = sorted((width, height))
    if short == side:
        return image.convert("RGB")
    other = int(side * long / short)
    size = (side, other) if width <= height else (other, side)
    return image.convert("RGB").resize(size, resample)


def normalised(
    image: Image.Image, mean: Sequence[float] = IMAGENET_MEAN, deviation: Sequence[float] = IMAGENET_DEVIATION
) -> torch.Tensor:
    """Return the image as (3, height, width) float32: divided by 255, minus ``mean``, divided by ``deviation``."""
    values: NDArray[Any] = np.asarray(image.convert("RGB"), dtype=np.float32) / np.float32(255)
    values = (values - np.array(mean, np.float32)) / np.array(deviation, np.float32)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))


def stretched(
    image: Image.Image,
    side: int,
    resample: Image.Resampling,
    mean: Sequence[float] = IMAGENET_MEAN,
    deviation: Sequence[float] = IMAGENET_DEVIATION,
) -> torch.Tensor:
    """Return the image as (3, side, side) float32: `square`, then `normalised`."""
    return normalised(square(image, side, resample), mean, deviation)
