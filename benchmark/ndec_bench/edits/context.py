"""Edits that set the picture into something larger: border, other picture, collage, screenshot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.edits.geometry import scaled
from ndec_bench.edits.picture import (
    DONOR,
    LONGEST,
    PLACE,
    SEED,
    EditKind,
    Picture,
    below,
    between,
    drawing,
    one_of,
    span,
)  # fmt: skip
from ndec_bench.edits.raster import blended, blurred, lettering, resized

if TYPE_CHECKING:
    from ndec_bench.edits.picture import Donors, EditStep
    from ndec_bench.edits.raster import Pixels
    from ndec_bench.randomness import Stream


def _set_into(picture: Picture, scenery: Pixels, x: int, y: int) -> Picture:
    pixels = scenery.copy()
    mask = np.zeros(pixels.shape[:2], np.uint8)
    place = np.s_[y : y + picture.height, x : x + picture.width]
    pixels[place], mask[place] = picture.pixels, picture.mask
    return picture.framed(pixels, mask)


def _fitted(picture: Picture, wide: int, tall: int) -> Picture:
    """Return ``picture`` at the largest size that fits ``wide`` x ``tall``, aspect kept."""
    if picture.width * tall > picture.height * wide:
        return scaled(picture, wide, max(1, picture.height * wide // picture.width))
    return scaled(picture, max(1, picture.width * tall // picture.height), tall)


def _border(strength: int, stream: Stream) -> int:
    return stream.integer(0, between(60, 420, strength) + 1)


def _pad(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    left, right = (picture.width * step.number(side) // 1000 for side in ("left", "right"))
    top, bottom = (picture.height * step.number(side) // 1000 for side in ("top", "bottom"))
    tall, wide = picture.height + top + bottom, picture.width + left + right
    fill = step.word("fill")
    scenery = np.full((tall, wide, 3), 255 if fill == "white" else 0, np.uint8)
    if fill == "mean":
        scenery[:] = picture.pixels.reshape(-1, 3).sum(axis=0, dtype=np.int64) // max(1, picture.width * picture.height)
    elif fill == "blur":
        scenery = blurred(resized(picture.pixels, wide, tall), 12)
    return _set_into(picture, scenery, left, top)


def _paste(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    scenery = donors[step.number("donor") % len(donors)]
    tall, wide = (scenery.shape[0] * step.number("size") // 1000, scenery.shape[1] * step.number("size") // 1000)
    small = _fitted(picture, max(1, wide), max(1, tall))
    x = (scenery.shape[1] - small.width) * step.number("x") // 1000
    y = (scenery.shape[0] - small.height) * step.number("y") // 1000
    return _set_into(small, scenery, x, y)


def _draw_grid(strength: int, stream: Stream) -> str:
    grids = ("2x1", "1x2", "2x1", "1x2", "2x2", "2x2", "3x2", "3x3")
    return grids[min(len(grids) - 1, strength * len(grids) // 1000)]


def _collage(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    columns, rows = (int(n) for n in step.word("grid").split("x"))
    gap, chosen = step.number("gap"), step.number("cell") % (columns * rows)
    cell_wide = max(8, (LONGEST - gap) // columns - gap)
    cell_tall = max(8, min((LONGEST - gap) // rows - gap, cell_wide * picture.height // picture.width))
    tall, wide = rows * (cell_tall + gap) + gap, columns * (cell_wide + gap) + gap
    scenery = np.full((tall, wide, 3), 250, np.uint8)
    mine = (gap, gap)
    for cell in range(columns * rows):
        x, y = gap + cell % columns * (cell_wide + gap), gap + cell // columns * (cell_tall + gap)
        if cell == chosen:
            mine = (x, y)
            continue
        donor = donors[(step.number("donor") + cell) % len(donors)]
        scenery[y : y + cell_tall, x : x + cell_wide] = resized(donor, cell_wide, cell_tall)
    return _set_into(scaled(picture, cell_wide, cell_tall), scenery, *mine)


def _draw_device(strength: int, stream: Stream) -> str:
    return "window" if strength < 400 else stream.choice(("phone", "phone", "post"))


def _screenshot(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    stream, device = step.stream(), step.word("device")
    dark = stream.unit() < 0.4
    wide, tall = (248, 200) if device == "window" else (150, 254) if device == "phone" else (220, 240)
    scenery = np.full((tall, wide, 3), 24 if dark else 246, np.uint8)
    line, ink = (60, 225) if dark else (214, 40)
    bar = 18 if device == "window" else 26
    scenery[:bar] = line
    _marks(scenery, stream, device, ink)
    inner_wide, inner_tall = wide - 8, tall - bar - (10 if device == "window" else 66)
    small = _fitted(picture, inner_wide * max(600, step.number("size")) // 1000, inner_tall)
    x = (wide - small.width) // 2
    y = bar + 4 + stream.integer(0, max(1, inner_tall - small.height + 1))
    below = y + small.height + 6
    while below < tall - 12:
        length = wide * stream.integer(30, 90) // 100
        scenery[below : below + 4, 8 : 8 + length] = line
        below += 9
    return _set_into(small, scenery, x, y)


def _marks(scenery: Pixels, stream: Stream, device: str, ink: int) -> None:
    """Draw what tells a window or a phone: buttons, address, clock, battery."""
    if device == "window":
        for i, colour in enumerate(((230, 90, 80), (240, 190, 70), (100, 190, 90))):
            scenery[6:12, 6 + 10 * i : 12 + 10 * i] = colour
        scenery[4:14, 44:-30] = 255 if ink < 128 else 40
        _write(scenery, "PHOTOS/" + str(stream.integer(100, 999)), 48, 6, ink)
        return
    _write(scenery, f"{stream.integer(1, 24)}:{stream.integer(10, 60)}", 6, 3, ink)
    scenery[3:9, -18:-6] = ink
    name = stream.choice(("@ANNA.K", "@CITY_LIFE", "@PIXEL", "GALLERY", "MESSAGES", "@TRAVELLER"))
    _write(scenery, name, 20, 15, ink)
    scenery[13:23, 6:16] = stream.choice(((220, 90, 90), (90, 140, 220), (90, 190, 120)))


def _write(scenery: Pixels, text: str, x: int, y: int, ink: int) -> None:
    letters = lettering(text, 1)[:, : scenery.shape[1] - x]
    place = np.s_[y : y + letters.shape[0], x : x + letters.shape[1]]
    scenery[place] = blended(scenery[place], (ink, ink, ink), letters)


_PAD = drawing(
    left=_border, right=_border, top=_border, bottom=_border, fill=one_of("black", "white", "blur", "mean"), seed=SEED
)
_PASTE = drawing(donor=DONOR, size=span(920, 340), x=PLACE, y=PLACE)
_COLLAGE = drawing(grid=_draw_grid, cell=below(64), donor=DONOR, gap=below(7))
_SCREENSHOT = drawing(device=_draw_device, seed=SEED, size=span(950, 500))
KINDS = (
    EditKind("pad", "context", 10, _PAD, _pad, "borders of up to 6 % to 42 % on each side"),
    EditKind("paste", "context", 9, _PASTE, _paste, "onto another picture at 92 % to 34 % of its size", donors=True),
    EditKind("collage", "context", 5, _COLLAGE, _collage, "one cell of a grid from 2 x 1 to 3 x 3", donors=True),
    EditKind("screenshot", "context", 5, _SCREENSHOT, _screenshot,
             "in a window, a phone or a post, at 95 % to 60 % of the width"),
)  # fmt: skip
