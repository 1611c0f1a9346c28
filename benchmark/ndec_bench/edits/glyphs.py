"""Lettering from a bitmap alphabet of our own: font renderers differ between versions, these 5 x 7 dots do not."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Seven rows of five dots per sign, each row a number of five bits, leftmost dot highest.
_SIGNS = {
    "A": "0e11111f111111", "B": "1e11111e11111e", "C": "0e11101010110e", "D": "1e11111111111e",
    "E": "1f10101e10101f", "F": "1f10101e101010", "G": "0e11101711110f", "H": "1111111f111111",
    "I": "0e04040404040e", "J": "0702020202120c", "K": "11121418141211", "L": "1010101010101f",
    "M": "111b1515111111", "N": "11191513111111", "O": "0e11111111110e", "P": "1e11111e101010",
    "Q": "0e11111115120d", "R": "1e11111e141211", "S": "0f10100e01011e", "T": "1f040404040404",
    "U": "1111111111110e", "V": "11111111110a04", "W": "1111111515150a", "X": "11110a040a1111",
    "Y": "11110a04040404", "Z": "1f01020408101f",
    "0": "0e11131519110e", "1": "040c040404040e", "2": "0e11010204081f", "3": "1f02040201110e",
    "4": "02060a121f0202", "5": "1f101e0101110e", "6": "0608101e11110e", "7": "1f010204080808",
    "8": "0e11110e11110e", "9": "0e11110f01020c",
    " ": "00000000000000", ".": "00000000000c0c", ",": "000000000c0408", "!": "04040404040004", "?": "0e110102040004",
    "-": "0000001f000000", ":": "000c0c000c0c00", "#": "0a0a1f0a1f0a0a", "%": "18190204081303", "+": "0004041f040400",
    "@": "0e11010d15150e", "/": "00010204081000",
}  # fmt: skip
SIGNS = "".join(sorted(_SIGNS))
HEIGHT, ADVANCE = 7, 6


@lru_cache(maxsize=256)
def _dots(sign: str) -> NDArray[np.uint8]:
    rows = bytes.fromhex(_SIGNS.get(sign, _SIGNS["?"]))
    bits = [[row >> (4 - column) & 1 for column in range(5)] + [0] for row in rows]
    return np.array(bits, dtype=np.uint8)


def lettering(text: str, scale: int) -> NDArray[np.int32]:
    """Return the alpha (7 scale, 6 scale len(text)), int32 in 0..256, of ``text`` in capitals; unknown: ``?``."""
    dots = np.concatenate([_dots(sign) for sign in text.upper()], axis=1) if text else np.zeros((HEIGHT, 1), np.uint8)
    large = dots.repeat(scale, axis=0).repeat(scale, axis=1).astype(np.int32) * 256
    return large if scale < 3 else _rounded(large)


def _rounded(alpha: NDArray[np.int32]) -> NDArray[np.int32]:
    # A 3 x 3 mean with a steep threshold takes the corners off the dots.
    padded = np.pad(alpha, 1)
    height, width = alpha.shape
    total = sum(padded[i : i + height, j : j + width] for i in range(3) for j in range(3))
    smooth: NDArray[np.int32] = np.clip((total - 768) // 3, 0, 256).astype(np.int32)
    return smooth
