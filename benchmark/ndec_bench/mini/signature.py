"""Small integer signatures of pictures, and how alike two pictures are by them: the duplicate check's arithmetic.

All products are of whole numbers and stay below 2**24, so float32 matrix products give them exactly, in any order and
with any BLAS: the check comes to the same verdict on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.edits.raster import luma, resized

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_bench.edits.raster import Pixels

SIDE = 16
SCALE = 1000


@dataclass(frozen=True)
class Signature:
    """Two signatures of one picture.

    Attributes
    ----------
    tone
        (256,) int16: 16 x 16 luma, mean removed, scaled to a length of 1000: a product is a correlation in millionths.
    slope
        (480,) int8: signs of the differences to the right and downwards, the difference hash.
    """

    tone: NDArray[np.int16]
    slope: NDArray[np.int8]

    def packed(self) -> str:
        """Return the signature as text."""
        return self.tone.astype("<i2").tobytes().hex()

    @classmethod
    def unpacked(cls, text: str) -> Signature:
        """Return the signature that `packed` wrote. Raises ValueError if the text is none."""
        tone = np.frombuffer(bytes.fromhex(text), "<i2").astype(np.int16)
        if tone.shape != (SIDE * SIDE,):
            raise ValueError(f"signature of {tone.size} numbers, {SIDE * SIDE} expected")
        return cls(tone, _slopes(tone.reshape(SIDE, SIDE)))


def signature(pixels: Pixels) -> Signature:
    """Return the signature of a picture (height, width, 3), uint8."""
    small = luma(resized(pixels, SIDE, SIDE)).astype(np.int64)
    centred = small * small.size - int(small.sum())
    length = math.isqrt(int((centred * centred).sum())) or 1
    tone = (centred * SCALE // length).astype(np.int16)
    return Signature(tone.reshape(-1), _slopes(tone))


def _slopes(tone: NDArray[np.int16]) -> NDArray[np.int8]:
    across, down = np.diff(tone, axis=1) > 0, np.diff(tone, axis=0) > 0
    signs = np.concatenate([across.reshape(-1), down.reshape(-1)])
    return (2 * signs.astype(np.int8) - 1).astype(np.int8)


def mirrored(tones: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return tone signatures (n, 256) of the pictures mirrored left to right."""
    return tones.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(-1, SIDE * SIDE)


def turned(tones: NDArray[np.int16], quarters: int) -> NDArray[np.int16]:
    """Return tone signatures (n, 256) of the pictures turned by ``quarters`` times 90 degrees."""
    return np.rot90(tones.reshape(-1, SIDE, SIDE), quarters, axes=(1, 2)).reshape(-1, SIDE * SIDE)
