"""The networks of D2LV at work: what an image goes through, and the PCA-whitening behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import nn

from ndec_baselines.d2lv.plan import BLUR_RADIUS
from ndec_baselines.networks.pixels import stretched
from ndec_baselines.networks.pooling import UnitLength
from ndec_bench.errors import DataError
from ndec_bench.postprocess.linear import principal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_bench.descriptors import VectorSource
    from ndec_bench.postprocess.workspace import Workspace

MICRO_BATCH = 2
# Descriptors in float32 carry a variance of rounding below 1e-14 of the largest: what is smaller is not a direction.
_SMALLEST_VARIANCE = 1e-12


def preprocess(image: Image.Image, side: int, *, grey: bool = False, blur: bool = False) -> torch.Tensor:
    """Return the image as (3, side, side) float32, normalised as ImageNet models expect.

    Blurred at full size, then grey, then resized: ``extract_features.py`` L83-L109 of the blur folders. Grey is
    Pillow's ``L`` three times, as torchvision's RandomGrayscale(p=1) makes it.
    """
    image = image.convert("RGB")
    if blur:
        image = image.filter(ImageFilter.GaussianBlur(BLUR_RADIUS))
    if grey:
        image = Image.merge("RGB", [image.convert("L")] * 3)
    return stretched(image, side, Image.Resampling.BICUBIC)


class Whitening(nn.Module):
    """Rows minus a mean, projected and scaled to unit length: (n, d) to (n, k).

    Parameters
    ----------
    mean
        (d,) float64.
    matrix
        (d, k) float64.
    """

    def __init__(self, mean: NDArray[np.float64], matrix: NDArray[np.float64]) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.matrix: torch.Tensor
        self.register_buffer("mean", torch.from_numpy(mean).float())
        self.register_buffer("matrix", torch.from_numpy(matrix).float())
        self.unit = UnitLength()

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the whitened rows."""
        whitened: torch.Tensor = self.unit((rows - self.mean) @ self.matrix)
        return whitened


def whitening(
    source: VectorSource, dimensions: int, work: Workspace
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean (d,) and the matrix (d, k) of PCA-whitening fitted on ``source``, both float64.

    Column i of the matrix is the i-th principal direction divided by the root of its variance
    (`ndec_bench.postprocess.linear.Pca`; faiss's PCAMatrix with eigen_power −0.5, up to one common factor). k is
    ``dimensions``, or how many directions the vectors vary in, if that is less: one less than their number at most.

    Raises
    ------
    DataError
        If they do not vary.
    """
    most = min(dimensions, len(source) - 1, source.dimension)
    mean, values, directions = principal(source, most, work)
    kept = values > _SMALLEST_VARIANCE * values[0]
    if not kept.any() or values[0] <= 0:
        raise DataError("the descriptors of the background do not vary", hint="give other background images")
    return mean, np.ascontiguousarray(directions[:, kept] / np.sqrt(values[kept]))
