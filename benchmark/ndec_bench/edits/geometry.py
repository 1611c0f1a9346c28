"""Edits that move pixels: crop, flip, rotation, change of aspect, perspective."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.edits.picture import EditKind, Picture, between, drawing, one_of, span
from ndec_bench.edits.raster import UNIT_BITS, cosine, resized, sampled, sine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_bench.edits.picture import Donors, EditStep, Value
    from ndec_bench.edits.raster import Mask
    from ndec_bench.randomness import Stream

FILLS = {"black": (0, 0, 0), "white": (255, 255, 255), "grey": (128, 128, 128)}


def _draw_crop(strength: int, stream: Stream) -> dict[str, Value]:
    area = between(920, 200, strength)
    # Sides in thousandths: width * height = area, width up to 1.35 times or 1/1.35 of the square root.
    root = math.isqrt(area * 1000)
    width = min(1000, max(area, root * stream.integer(74, 136) // 100))
    height = min(1000, max(1, area * 1000 // width))
    return {
        "width": width,
        "height": height,
        "left": stream.integer(0, 1001 - width),
        "top": stream.integer(0, 1001 - height),
    }


def _crop(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    wide, tall = picture.width, picture.height
    left, top = wide * step.number("left") // 1000, tall * step.number("top") // 1000
    right = min(wide, left + max(1, wide * step.number("width") // 1000))
    bottom = min(tall, top + max(1, tall * step.number("height") // 1000))
    survives = np.zeros((tall, wide), np.uint8)
    survives[top:bottom, left:right] = 255
    return picture.moved(picture.pixels[top:bottom, left:right], picture.mask[top:bottom, left:right], survives)


def _flip(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    turn = np.s_[:, ::-1] if step.word("axis") == "horizontal" else np.s_[::-1]
    pixels, mask = np.ascontiguousarray(picture.pixels[turn]), np.ascontiguousarray(picture.mask[turn])
    return picture.framed(pixels, mask)


def _draw_degrees(strength: int, stream: Stream) -> int:
    degrees = between(2, 60, strength) if strength < 850 else stream.choice((90, 180, 270))
    return degrees * stream.choice((-1, 1))


def _rotate(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    degrees, fill = step.number("degrees"), FILLS[step.word("fill")]
    wide, tall = picture.width, picture.height
    c, s = cosine(degrees), sine(degrees)
    new_wide, new_tall = wide, tall
    if step.word("canvas") == "larger" or degrees % 90 == 0:
        new_wide = (abs(c) * wide + abs(s) * tall + (1 << UNIT_BITS) - 1) >> UNIT_BITS
        new_tall = (abs(s) * wide + abs(c) * tall + (1 << UNIT_BITS) - 1) >> UNIT_BITS
    x = 2 * np.arange(new_wide, dtype=np.int64)[None] - (new_wide - 1)
    y = 2 * np.arange(new_tall, dtype=np.int64)[:, None] - (new_tall - 1)
    # Half pixels times 2**14 to 1/256 pixels: 7 bits less.
    at_x = ((x * c + y * s) >> (UNIT_BITS - 7)) + (wide - 1) * 128
    at_y = ((y * c - x * s) >> (UNIT_BITS - 7)) + (tall - 1) * 128
    x = 2 * np.arange(wide, dtype=np.int64)[None] - (wide - 1)
    y = 2 * np.arange(tall, dtype=np.int64)[:, None] - (tall - 1)
    to_x, to_y = (x * c - y * s) >> UNIT_BITS, (x * s + y * c) >> UNIT_BITS
    survives = (abs(to_x) <= new_wide) & (abs(to_y) <= new_tall)
    return _warped(picture, at_x, at_y, fill, survives)


def _warped(
    picture: Picture,
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    fill: tuple[int, int, int],
    survives: NDArray[np.bool_],
) -> Picture:
    pixels, inside = sampled(picture.pixels, x, y, fill)
    rows = ((y + 128) >> 8).clip(0, picture.height - 1)
    columns = ((x + 128) >> 8).clip(0, picture.width - 1)
    mask: Mask = picture.mask[rows, columns] & inside
    return picture.moved(pixels, mask, np.where(survives, 255, 0).astype(np.uint8))


def _aspect(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    wide, tall = picture.width, picture.height
    # The other side shrinks, so that the picture does not grow.
    if step.word("axis") == "width":
        tall = max(1, tall * 1000 // step.number("stretch"))
    else:
        wide = max(1, wide * 1000 // step.number("stretch"))
    return scaled(picture, wide, tall)


def scaled(picture: Picture, width: int, height: int) -> Picture:
    """Return ``picture`` at another size, all of it."""
    rows = np.arange(height) * picture.height // height
    columns = np.arange(width) * picture.width // width
    return picture.framed(resized(picture.pixels, width, height), picture.mask[rows[:, None], columns[None]])


def _draw_tilt(strength: int, stream: Stream) -> int:
    most = between(40, 330, strength)
    return stream.integer(-most, most + 1)


def _perspective(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    wide, tall = picture.width, picture.height
    # A plane tilted about both axes: source = (x, y) * depth, with depth linear in x and y, in 1/1024.
    x = 2 * np.arange(wide, dtype=np.int64)[None] - (wide - 1)
    y = 2 * np.arange(tall, dtype=np.int64)[:, None] - (tall - 1)
    tilt_x, tilt_y = step.number("left"), step.number("top")
    most = abs(tilt_x) + abs(tilt_y)
    depth = 1024 + most + x * tilt_x // wide + y * tilt_y // tall
    at_x = (x * 128 * depth >> 10) + (wide - 1) * 128
    at_y = (y * 128 * depth >> 10) + (tall - 1) * 128
    # Every source pixel is seen: depth is at least 1024, so the output only shrinks the plane.
    return _warped(picture, at_x, at_y, FILLS[step.word("fill")], np.ones((tall, wide), np.bool_))


_FILL = one_of(*sorted(FILLS))
_FLIP = drawing(axis=lambda strength, stream: "horizontal" if strength < 800 else "vertical")
_ROTATE = drawing(degrees=_draw_degrees, canvas=one_of("same", "same", "larger"), fill=_FILL)
_ASPECT = drawing(stretch=span(1080, 2000), axis=one_of("width", "height"))
_PERSPECTIVE = drawing(top=_draw_tilt, left=_draw_tilt, fill=_FILL)
KINDS = (
    EditKind("crop", "geometry", 26, _draw_crop, _crop, "keeps 92 % to 20 % of the area"),
    EditKind("flip", "geometry", 14, _FLIP, _flip, "mirrors left to right; from 0.8 on upside down"),
    EditKind("rotate", "geometry", 9, _ROTATE, _rotate, "by 2 to 60 degrees; from 0.85 on quarter turns"),
    EditKind("aspect", "geometry", 6, _ASPECT, _aspect, "one side 1.08 to 2 times as long as the other"),
    EditKind("perspective", "geometry", 6, _PERSPECTIVE, _perspective,
             "tilts the plane, up to a third nearer on one side"),
)  # fmt: skip
