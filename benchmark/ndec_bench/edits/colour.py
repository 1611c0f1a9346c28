"""Edits that change colours and leave every pixel in its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.edits.picture import EditKind, Picture, between, drawing, one_of, span
from ndec_bench.edits.raster import gamma_table, luma

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_bench.edits.picture import Donors, EditStep, Value
    from ndec_bench.randomness import Stream

_TINTS = {
    "sepia": (150, 124, 90), "cold": (100, 124, 160), "rose": (160, 108, 124), "green": (104, 152, 108),
    "violet": (140, 96, 160),
}  # fmt: skip


def _recoloured(picture: Picture, table: NDArray[np.uint8]) -> Picture:
    return picture.with_pixels(table[picture.pixels])


def _draw_tone(strength: int, stream: Stream) -> dict[str, Value]:
    sign = stream.choice((-1, 1))
    contrast = stream.choice((-1, 1)) * between(0, 110, strength)
    return {"brightness": sign * between(10, 90, strength), "contrast": 128 + max(-90, contrast)}


def _tone(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    values = np.arange(256, dtype=np.int32)
    table = ((values - 128) * step.number("contrast") >> 7) + 128 + step.number("brightness")
    return _recoloured(picture, table.clip(0, 255).astype(np.uint8))


def _saturation(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    grey = luma(picture.pixels)[..., None]
    pixels = grey + ((picture.pixels.astype(np.int32) - grey) * step.number("saturation") >> 7)
    return picture.with_pixels(pixels.clip(0, 255).astype(np.uint8))


def _hue(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    order = ["rgb".index(c) for c in step.word("order")]
    pixels = picture.pixels.astype(np.int32)
    turned = pixels + ((pixels[..., order] - pixels) * step.number("turn") >> 8)
    return picture.with_pixels(turned.astype(np.uint8))


def _gamma(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    return _recoloured(picture, np.array(gamma_table(step.number("tenths")), np.uint8))


def _draw_tint(strength: int, stream: Stream) -> Value:
    return "none" if strength < 500 else stream.choice(sorted(_TINTS))


def _grey(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    tint = np.array(_TINTS.get(step.word("tint"), (128, 128, 128)), np.int32)
    pixels = luma(picture.pixels)[..., None] * tint >> 7
    return picture.with_pixels(pixels.clip(0, 255).astype(np.uint8))


def _posterise(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    levels = max(2, step.number("levels"))
    values = np.arange(256, dtype=np.int32)
    table = values * levels // 256 * 255 // (levels - 1)
    if step.number("invert"):
        table = 255 - values
    return _recoloured(picture, table.astype(np.uint8))


_BAYER = np.array(((0, 8, 2, 10), (12, 4, 14, 6), (3, 11, 1, 9), (15, 7, 13, 5)), np.int32)
"""Thresholds of ordered dithering in sixteenths: Bayer, ICC 1973."""


def _dither(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    steps = max(2, step.number("levels")) - 1
    rows, columns = np.arange(picture.height) % 4, np.arange(picture.width) % 4
    scaled = picture.pixels.astype(np.int32) * steps * 16 // 255
    chosen = (scaled + _BAYER[rows[:, None], columns[None]][..., None]) // 16
    return picture.with_pixels((chosen.clip(0, steps) * 255 // steps).astype(np.uint8))


KINDS = (
    EditKind("tone", "colour", 6, _draw_tone, _tone, "brightness by 10 to 90 levels, contrast 1 to 0.3 or 1.9 times"),
    EditKind("saturation", "colour", 4, drawing(saturation=one_of(span(110, 0), span(150, 420))), _saturation,
             "0.86 to 0 times, or 1.2 to 3.3 times"),
    EditKind("hue", "colour", 4, drawing(turn=span(20, 256), order=one_of("gbr", "brg", "rbg", "bgr", "grb")), _hue,
             "channels mixed into another order, 8 % to 100 %"),
    EditKind("gamma", "colour", 3, drawing(tenths=one_of(span(9, 3), span(12, 30))), _gamma,
             "exponent 0.9 to 0.3, or 1.2 to 3"),
    EditKind("grey", "colour", 4, drawing(tint=_draw_tint), _grey, "grey; from 0.5 on tinted"),
    EditKind("posterise", "colour", 2, drawing(levels=span(8, 2), invert=lambda strength, stream: int(strength > 850)),
             _posterise, "8 to 2 levels; from 0.85 on the negative"),
    EditKind("dither", "colour", 2, drawing(levels=span(6, 2)), _dither, "a palette of 6 to 2 levels, in dots",
             in_mini=False),
)  # fmt: skip
