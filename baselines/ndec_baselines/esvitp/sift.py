"""Keypoints of EsViTp's local branch, by OpenCV's SIFT with the published parameters.

Facts from sun-xl/ISC2021, ``local_fea/source_code``: size and luma in ``src/siftfp_extract.cpp`` and
``util_src/sift/util.c`` (``readImg``, ``scale_no_allocated``), parameters in ``util_src/sift/imgcompare.cpp`` and
``util_src/fast_sift_static/sift_feature_extraction.c``, RootSIFT in ``imgcompare.cpp``, mirroring there too.

What carries over: five octaves from the full size on, seven levels in each, base sigma 1.6 · 2^(1/7) over a nominal
0.5, contrast above 0.5 grey values, edge ratio 10, bins of three sigma under a Gaussian window of two bins, 36
orientation bins with peaks from 80 %, an octave with at most two keypoints as the last, any number of keypoints.

What OpenCV's SIFT does otherwise, and no argument changes:

- it detects in a pyramid that begins with the doubled image; we drop what it finds in that octave and let it compute
  the descriptors again from the image as it is;
- it leaves out a margin of five pixels in every octave, where theirs leaves out one;
- it moves a candidate to a neighbouring level too, and gives up when the refined place is more than half a step away;
  theirs stays in its level and accepts up to one and a half steps;
- it smooths the orientation histogram once with (1, 4, 6, 4, 1) / 16, theirs six times with (1, 1, 1) / 3; it keeps
  every peak, theirs the first four;
- gradients for the descriptor come from the nearest level of its own pyramid, whose Gaussians are cut at other widths;
- it rounds descriptor values to whole numbers, theirs truncates them; orientation bins run the other way round, which
  changes no distance.

Luma: FFmpeg's decoder gives full-range JPEG luma and swscale brings it to 16 to 235 on the way to YUV420P, which makes
the contrast threshold stricter; the same map is applied here to Pillow's luma of the RGB image. The size is reduced
with Pillow BICUBIC in place of swscale's bicubic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SHORT_SIDE = 300
OCTAVES, LEVELS = 5, 7
CONTRAST = 0.5  # grey values of 255
EDGE_RATIO = 10.0
SIGMA = 1.6 * 2 ** (1 / LEVELS)
FEWEST_IN_OCTAVE = 2
VALUES = 128
ROOT = 255

_LIMITED = [round(16 + 219 * grey / 255) for grey in range(256)]
_MIRRORED = np.arange(VALUES).reshape(4, 4, 8)[::-1, :, (0, 7, 6, 5, 4, 3, 2, 1)].ravel()


@dataclass(frozen=True)
class Keypoints:
    """The keypoints of one image.

    Attributes
    ----------
    positions
        (n, 2) float32: x and y in pixels of the reduced image.
    descriptors
        (n, 128) uint8: RootSIFT, length 255 up to rounding.
    """

    positions: NDArray[np.float32]
    descriptors: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.positions)

    def mirrored(self) -> Keypoints:
        """Return the keypoints with the descriptors that the mirror image would have there; the places stay.

        The rows of the 4 x 4 grid are reversed and orientation bin k becomes (8 − k) mod 8 (``imgcompare.cpp``,
        ``imgCompareTwo_xl``). It is its own inverse.
        """
        return Keypoints(self.positions, np.ascontiguousarray(self.descriptors[:, _MIRRORED]))


def luma(image: Image.Image) -> NDArray[np.uint8]:
    """Return (height, width) uint8: luma from 16 to 235, the short side at most 300.

    Sizes are truncated after a product of single precision, as in ``ComputeScaleRatio`` of ``siftfp_extract.cpp``; a
    short side of 300 becomes 299 by that.
    """
    grey = image.convert("L").point(_LIMITED)
    ratio = np.float32(min(SHORT_SIDE / (min(grey.size) + 1e-5), 1.0))
    width, height = (max(1, int(np.float32(side) * ratio)) for side in grey.size)
    return np.asarray(grey.resize((width, height), Image.Resampling.BICUBIC))


def keypoints(image: Image.Image) -> Keypoints:
    """Return the keypoints of an image, sorted by place as OpenCV sorts them; there may be none."""
    import cv2

    opencv: Any = cv2  # its stubs lack SIFT
    grey = luma(image)
    sift = opencv.SIFT_create(
        nfeatures=0,
        nOctaveLayers=LEVELS,
        contrastThreshold=LEVELS * CONTRAST / 255,  # OpenCV divides it by the levels and compares with shares of 1
        edgeThreshold=EDGE_RATIO,
        sigma=SIGMA,
        descriptorType=opencv.CV_8U,
        enable_precise_upscale=True,
    )
    kept = _kept(sift.detect(grey, None))
    if not kept:
        return Keypoints(np.zeros((0, 2), np.float32), np.zeros((0, VALUES), np.uint8))
    kept, values = sift.compute(grey, kept)
    return Keypoints(np.array([point.pt for point in kept], dtype=np.float32), rooted(values))


def rooted(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return RootSIFT of SIFT descriptors (n, 128): ``floor(255 · sqrt(value / sum) + 0.5)``; zeros stay zeros.

    ``imageFeatureExtractionOne`` in ``imgcompare.cpp``; the root is rounded to single precision before the half.
    """
    sums = values.sum(axis=1, dtype=np.float64, keepdims=True)
    roots = np.float32(ROOT * np.sqrt(values / np.maximum(sums, 1)))
    whole: NDArray[np.uint8] = np.floor(roots + np.float64(0.5)).astype(np.uint8)
    return whole


def _kept(found: Sequence[Any]) -> list[Any]:
    """Return OpenCV's keypoints from octave 0 on, up to the first octave that holds few."""
    octaves = [_octave(point) for point in found]
    last = OCTAVES - 1
    for octave in range(OCTAVES):
        # Keypoints of several orientations count once: theirs counts before it assigns orientations.
        if len({(p.pt, p.size) for p, o in zip(found, octaves, strict=True) if o == octave}) <= FEWEST_IN_OCTAVE:
            last = octave
            break
    return [point for point, octave in zip(found, octaves, strict=True) if 0 <= octave <= last]


def _octave(point: Any) -> int:  # noqa: ANN401 -- cv2.KeyPoint, which has no stubs
    """Return the octave that OpenCV packs into the lowest byte, as a signed number; −1 is the doubled image."""
    low = int(point.octave) & 255
    return low - 256 if low > 127 else low
