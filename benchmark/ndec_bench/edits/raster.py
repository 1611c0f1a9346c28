"""Integer picture arithmetic: the reason why ndec-mini has the same pixels on every machine.

Everything here works on 8-bit pictures with whole numbers alone. A sum or product of integers has one value,
whatever the order, the compiler, the vector width or the math library; floating point has not (fused multiply-add,
another libm, another summation order). Where a sine or a power is needed, it comes from a table of rounded integers:
a table entry depends on the math library only if the exact value lies within its error of a rounding border, and
`tests/test_edits.py` checks that no entry is nearer to one than 1e-9, a million times the error of any libm.

Pictures are numpy arrays (height, width, 3), uint8, RGB. Positions are in pixels, x to the right, y down.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = NDArray[np.uint8]
    Mask = NDArray[np.uint8]

UNIT_BITS = 14
UNIT = 1 << UNIT_BITS
DEGREES = 360

# Luma weights of ITU-R BT.601 in 1/256; they sum to 256.
LUMA = (77, 150, 29)


@cache
def sines() -> tuple[int, ...]:
    """Return ``round(sin(d) * 2**14)`` for the degrees d = 0..359."""
    return tuple(math.floor(math.sin(math.radians(d)) * UNIT + 0.5) for d in range(DEGREES))


def sine(degrees: int) -> int:
    """Return the sine of whole ``degrees`` in units of 2**-14."""
    return sines()[degrees % DEGREES]


def cosine(degrees: int) -> int:
    """Return the cosine of whole ``degrees`` in units of 2**-14."""
    return sines()[(degrees + 90) % DEGREES]


@cache
def gamma_table(tenths: int) -> tuple[int, ...]:
    """Return ``round(255 * (v / 255) ** (tenths / 10))`` for v = 0..255."""
    return tuple(math.floor(255 * (v / 255) ** (tenths / 10) + 0.5) for v in range(256))


def luma(pixels: Pixels) -> NDArray[np.int32]:
    """Return the luma (height, width), int32 in 0..255, BT.601 weights, rounded down."""
    red, green, blue = (pixels[..., c].astype(np.int32) for c in range(3))
    grey: NDArray[np.int32] = (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue) >> 8
    return grey


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    """Return the picture at ``width`` x ``height``: the area mean along a side that shrinks, linear where it grows.

    Not Pillow's: its resampling changed by a grey level here and there between Pillow 12 and 13. Each side is done on
    its own, rows first, with exact rational weights and one rounding to 8 bits.
    """
    for axis, length in ((0, height), (1, width)):
        if pixels.shape[axis] != length:
            pixels = _resized_along(pixels, length, axis)
    return pixels


def _resized_along(pixels: Pixels, length: int, axis: int) -> Pixels:
    places, weights, whole = _taps(pixels.shape[axis], length)
    shape = (-1, 1, 1) if axis == 0 else (1, -1, 1)
    total = np.full((1, 1, 1), whole // 2, np.int32)
    for place, weight in zip(places, weights, strict=True):
        total = total + pixels.take(place, axis=axis) * weight.reshape(shape)
    return (total // whole).astype(np.uint8)


@lru_cache(maxsize=512)
def _taps(before: int, after: int) -> tuple[list[NDArray[np.int64]], list[NDArray[np.int32]], int]:
    """Return per tap the source places (after,) and weights (after,), and the sum of the weights of one output."""
    output = np.arange(after, dtype=np.int64)
    if after < before:
        # In units of 1/after pixel an output covers `before` units from output * before on, a source pixel `after`.
        first = output * before // after
        taps = -(-before // after) + 1
        places = [first + k for k in range(taps)]
        overlap = [
            np.minimum((p + 1) * after, (output + 1) * before) - np.maximum(p * after, output * before) for p in places
        ]
        weights = [w.clip(0).astype(np.int32) for w in overlap]
        return [p.clip(0, before - 1) for p in places], weights, before
    # Centres: (output + 1/2) * before / after - 1/2, in units of 1 / (2 after).
    at = (2 * output + 1) * before - after
    low = at // (2 * after)
    share = at - low * 2 * after
    places = [low.clip(0, before - 1), (low + 1).clip(0, before - 1)]
    return places, [(2 * after - share).astype(np.int32), share.astype(np.int32)], 2 * after


def blurred(pixels: Pixels, radius: int, passes: int = 2) -> Pixels:
    """Return the picture under ``passes`` box means of (2 radius + 1)² pixels; edges repeat."""
    if radius < 1:
        return pixels
    values = pixels.astype(np.int32)
    for _ in range(passes):
        for axis in (0, 1):
            values = _box(values, radius, axis)
    return values.astype(np.uint8)


def _box(values: NDArray[np.int32], radius: int, axis: int) -> NDArray[np.int32]:
    span = 2 * radius + 1
    pad = [(0, 0)] * values.ndim
    pad[axis] = (radius + 1, radius)
    sums = np.cumsum(np.pad(values, pad, mode="edge"), axis=axis, dtype=np.int32)
    upper = sums[span:] if axis == 0 else sums[:, span:]
    lower = sums[:-span] if axis == 0 else sums[:, :-span]
    mean: NDArray[np.int32] = (upper - lower + span // 2) // span
    return mean


def sampled(
    pixels: Pixels, x: NDArray[np.int64], y: NDArray[np.int64], fill: Pixels | tuple[int, int, int]
) -> tuple[Pixels, Mask]:
    """Return ``pixels`` read at the positions ``x``, ``y`` (in 1/256 pixel, centre of the first pixel at 0).

    Bilinear, with weights of 8 bits. Where the position lies outside, the result is ``fill`` (a colour, or a picture
    of the shape of ``x``), and the second result, a mask of 0 and 255, is 0.
    """
    height, width = pixels.shape[:2]
    inside = (x >= -128) & (y >= -128) & (x < (width << 8) - 128) & (y < (height << 8) - 128)
    x = np.clip(x, 0, (width - 1) << 8)
    y = np.clip(y, 0, (height - 1) << 8)
    column, row = x >> 8, y >> 8
    right, low = (x & 255)[..., None].astype(np.int32), (y & 255)[..., None].astype(np.int32)
    flat = pixels.reshape(-1, 3)
    base = row * width + column
    step_x = (column < width - 1).astype(np.int64)
    step_y = np.where(row < height - 1, width, 0)
    top = flat[base] * (256 - right) + flat[base + step_x] * right
    bottom = flat[base + step_y] * (256 - right) + flat[base + step_y + step_x] * right
    values = ((top * (256 - low) + bottom * low + (1 << 15)) >> 16).astype(np.uint8)
    background = np.broadcast_to(np.asarray(fill, dtype=np.uint8), values.shape)
    return np.where(inside[..., None], values, background), np.where(inside, 255, 0).astype(np.uint8)


def clipped(
    shape: tuple[int, ...], x: int, y: int, width: int, height: int
) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """Return where a box with its corner at (x, y) lies in an array of ``shape``, and what of the box lies there.

    Both as slices of rows and columns; None where the box lies outside.
    """
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + width, shape[1]), min(y + height, shape[0])
    if left >= right or top >= bottom:
        return None
    return (slice(top, bottom), slice(left, right)), (slice(top - y, bottom - y), slice(left - x, right - x))


def blended(below: Pixels, above: Pixels | tuple[int, int, int], alpha: NDArray[np.int32]) -> Pixels:
    """Return ``below`` covered by ``above`` to ``alpha`` (height, width) in 0..256."""
    base = below.astype(np.int32)
    over = np.asarray(above, dtype=np.int32)
    return (base + (((over - base) * alpha[..., None] + 128) >> 8)).astype(np.uint8)


# An alphabet of our own, because font renderers differ between versions and these 5 x 7 dots do not: seven rows of five
# dots per sign, each row a number of five bits, leftmost dot highest.
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
GLYPH_HEIGHT = 7


@lru_cache(maxsize=256)
def _dots(sign: str) -> NDArray[np.uint8]:
    rows = bytes.fromhex(_SIGNS.get(sign, _SIGNS["?"]))
    bits = [[row >> (4 - column) & 1 for column in range(5)] + [0] for row in rows]
    return np.array(bits, dtype=np.uint8)


def lettering(text: str, scale: int) -> NDArray[np.int32]:
    """Return the alpha (7 scale, 6 scale len(text)), int32 in 0..256, of ``text`` in capitals; unknown: ``?``."""
    dots = (
        np.concatenate([_dots(sign) for sign in text.upper()], axis=1)
        if text
        else np.zeros((GLYPH_HEIGHT, 1), np.uint8)
    )
    large = dots.repeat(scale, axis=0).repeat(scale, axis=1).astype(np.int32) * 256
    return large if scale < 3 else _rounded(large)


def _rounded(alpha: NDArray[np.int32]) -> NDArray[np.int32]:
    # A 3 x 3 mean with a steep threshold takes the corners off the dots.
    padded = np.pad(alpha, 1)
    height, width = alpha.shape
    total = sum(padded[i : i + height, j : j + width] for i in range(3) for j in range(3))
    smooth: NDArray[np.int32] = np.clip((total - 768) // 3, 0, 256).astype(np.int32)
    return smooth
