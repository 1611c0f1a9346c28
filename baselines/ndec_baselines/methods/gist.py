"""``gist``: the colour GIST of 960 numbers, the first baseline of the Image Similarity Challenge 2021.

Oliva and Torralba's descriptor (Modeling the shape of the scene, IJCV 2001) as lear_gist 1.2 computes it
(Douze et al., Evaluation of GIST descriptors for web-scale image search, CIVR 2009; called by the script
``baselines/gist_baseline.py`` of facebookresearch/isc2021): the energy of 20 Gabor filters in a grid of 4 x 4, for
each of three colours, on a 32 x 32 image. Own code from that description, in float64; lear_gist computes in float32.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ndec_baselines.base import Described, check_cpu
from ndec_baselines.cards import model_cards, registrations

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_baselines.base import Batch, ModelCard

    Floats = NDArray[np.float64]

SIDE = 32
BLOCKS = 4
ORIENTATIONS = (8, 8, 4)
"""Filters of each scale, the finest first."""
PADDING = 5
CUT_OFF = 4.0
"""Frequency, in cycles per padded image, at which the low-pass filter of the prefilter has fallen to one half."""
_DIMENSION = 3 * sum(ORIENTATIONS) * BLOCKS**2
_FLAT = 1e-9

CARD = model_cards()["gist"]


class Gist:
    """The loaded baseline; see `CARD`."""

    card = CARD
    device = "cpu"
    weights_sha256 = None

    def preprocess(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return (32, 32, 3) uint8: the part of the image that the published script takes (``preproc_image``).

        A landscape keeps its shape, with its height at 32, and loses both ends; an odd pixel goes as Pillow's ``crop``
        rounds, to even. For an image that is not wider than high the script exchanges the axes by mistake: it is
        stretched to 32 height / width by 32, and the left 32 columns stay. The published numbers were measured so.
        """
        width, height = image.size
        wide = width > height
        size = (SIDE * width // height if wide else SIDE * height // width, SIDE)
        left = round((size[0] - SIDE) / 2) if wide else 0
        small = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
        return np.asarray(small.crop((left, 0, left + SIDE, SIDE)))

    def describe(self, batch: Batch) -> Described:
        """Return the descriptors of a batch (n, 32, 32, 3) uint8.

        Images are computed one by one, so that neighbours cannot change the order of additions.
        """
        rows = [unit(gist(np.asarray(image, dtype=np.float64))) for image in batch]
        return Described(np.array(rows, dtype=np.float32).reshape(len(rows), _DIMENSION))


def gist(image: Floats) -> Floats:
    """Return (960,) float64 >= 0, not normalised, of an image (32, 32, 3) of values from 0 to 255.

    Order: colour, filter (scale, then orientation), column of the grid, row of the grid (``color_gist_gabor`` and
    ``color_down_N`` of lear_gist, ``gist.c``).
    """
    colours = [_energies(channel) for channel in prefiltered(image.transpose(2, 0, 1))]
    return np.array(colours).transpose(0, 1, 3, 2).ravel()


def _energies(channel: Floats) -> Floats:
    """Return (20, 4, 4) mean magnitudes of the filtered channel (32, 32): filter, row and column of the grid."""
    from scipy import fft  # three times as fast as numpy's

    responses = fft.ifft2(fft.fft2(channel) * transfer_functions(), overwrite_x=True)
    magnitudes = np.square(responses.real)
    magnitudes += np.square(responses.imag)
    np.sqrt(magnitudes, out=magnitudes)
    cell = SIDE // BLOCKS
    rows = magnitudes.reshape(-1, BLOCKS, cell, SIDE).sum(axis=2)
    sums: Floats = rows.reshape(-1, BLOCKS, BLOCKS, cell).sum(axis=3)
    return sums / cell**2


def unit(values: Floats) -> Floats:
    """Return ``values`` >= 0 at unit length; all -1 at unit length where they are zero but for rounding.

    Two unit vectors without negative components are at a squared distance of at most 2, and each is at 2 or more from
    this one. So flat images are copies of each other and of nothing else. (Smallest norm of an image that is not flat:
    about 1e-5; of rounding errors: about 1e-14.)
    """
    norm = math.sqrt(float(values @ values))
    return values / norm if norm > _FLAT else np.full(len(values), -1 / math.sqrt(len(values)))


def prefiltered(channels: Floats) -> Floats:
    """Return the contrast of three channels (3, h, w), values from 0 to 255, normalised by local contrast.

    On x = log(1 + value), mirrored by 5 pixels at each edge: y = x - G x, then y / (0.2 + sqrt(|G m^2|)), where G is
    a Gaussian low-pass filter of cyclic convolution and m the mean of y over the channels (``color_prefilt`` of
    lear_gist, ``gist.c``; Oliva and Torralba's ``prefilt``).
    """
    edges = ((0, 0), (PADDING, PADDING), (PADDING, PADDING))
    logs = np.pad(np.log1p(channels), edges, mode="symmetric")
    low_pass = _low_pass(*logs.shape[1:])
    size = logs.shape[1:]
    contrast = logs - np.fft.irfft2(np.fft.rfft2(logs) * low_pass, s=size)
    mean = contrast.mean(axis=0)
    local = np.sqrt(np.abs(np.fft.irfft2(np.fft.rfft2(mean * mean) * low_pass, s=size)))
    normalised: Floats = contrast / (0.2 + local)
    return normalised[:, PADDING:-PADDING, PADDING:-PADDING]


@lru_cache
def _low_pass(height: int, width: int) -> Floats:
    """Return exp(-|f|^2 ln 2 / fc^2) at the frequencies of ``rfft2``: one half at the cut-off fc."""
    vertical, horizontal = np.fft.fftfreq(height, 1 / height), np.fft.rfftfreq(width, 1 / width)
    squares = vertical[:, None] ** 2 + horizontal**2
    return np.asarray(np.exp(-squares * math.log(2) / CUT_OFF**2))


@lru_cache
def transfer_functions(side: int = SIDE) -> Floats:
    """Return the 20 filters as (20, side, side) float64 factors at the frequencies of ``fft2``.

    A frequency at distance r and angle a passes orientation k of the n of scale s with the factor
    exp(-3.5 (r / (side c) - 1)^2 - pi n^2 t^2 / 32), where c = 0.3 / 1.85^s and t = a + pi k / n, less 2 pi if above
    pi (``create_gabor`` of lear_gist, ``gist.c``; Oliva and Torralba's ``createGabor``).
    """
    frequency = np.fft.fftfreq(side, 1 / side)
    vertical, horizontal = frequency[:, None], frequency[None, :]
    distance = np.hypot(vertical, horizontal)
    angle = np.arctan2(vertical, horizontal)
    filters: list[Any] = []
    for scale, count in enumerate(ORIENTATIONS):
        centre = 0.3 / 1.85**scale
        for orientation in range(count):
            turned = angle + math.pi / count * orientation
            turned = np.where(turned > math.pi, turned - 2 * math.pi, turned)
            radial = 3.5 * (distance / side / centre - 1) ** 2
            filters.append(np.exp(-radial - math.pi * count**2 * turned**2 / 32))
    return np.array(filters)


def load(card: ModelCard, weights: None, device: str) -> Gist:
    """Return the baseline, which runs on the CPU only. Raises UsageError for another ``device``."""
    check_cpu(card.name, device)
    return Gist()


BASELINES = registrations("gist", load)
