"""Edits that put something on top: text, shapes, faces, other pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.edits.picture import DONOR, PLACE, SEED, EditKind, Picture, between, drawing, one_of, span
from ndec_bench.edits.raster import GLYPH_HEIGHT, blended, clipped, lettering, resized

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_bench.edits.picture import Donors, EditStep
    from ndec_bench.edits.raster import Pixels
    from ndec_bench.randomness import Stream

    Colour = tuple[int, int, int]

_COLOURS: tuple[Colour, ...] = (
    (255, 255, 255), (0, 0, 0), (250, 220, 40), (224, 40, 40), (40, 90, 220), (40, 170, 90), (240, 120, 30),
    (230, 80, 170),
)  # fmt: skip
_WORDS = (
    "WHEN YOU SEE IT", "MONDAY", "LOL", "BREAKING", "FOLLOW @", "SALE 50%", "ONLY TODAY", "SO TRUE!", "HELLO",
    "WEEKEND",
    "NO WAY", "BEFORE / AFTER", "SHARE THIS", "PART 2", "LIVE", "LOOK AT THIS", "GOOD MORNING", "100%", "NEW VIDEO",
    "#TBT",
    "SAMPLE", "WHY?", "THIS IS FINE", "BEST DAY EVER",
)  # fmt: skip


def _laid(picture: Picture, alpha: NDArray[np.int32], colour: Pixels | Colour, x: int, y: int) -> Picture:
    """Return ``picture`` with ``colour`` laid on to ``alpha`` (0..256), its corner at (x, y); clips."""
    found = clipped(picture.mask.shape, x, y, alpha.shape[1], alpha.shape[0])
    if found is None:
        return picture
    place, cut = found
    over = np.asarray(colour, np.uint8)
    pixels = picture.pixels.copy()
    pixels[place] = blended(pixels[place], over[cut] if over.ndim > 1 else over, alpha[cut])
    cover = np.zeros(picture.mask.shape, np.uint8)
    cover[place] = np.where(alpha[cut] > 128, 255, 0)
    return picture.covered(pixels, cover)


def _text(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    stream, level = step.stream(), step.number("level")
    for _ in range(1 + stream.integer(0, 1 + between(1, 4, level))):
        text = stream.choice(_WORDS)
        if stream.unit() < 0.4:
            text = f"{text} {stream.choice(_WORDS)}"
        size = max(1, picture.height * between(5, 20, level) // (100 * GLYPH_HEIGHT) + stream.integer(0, 2))
        size = max(1, min(size, picture.width // (6 * min(len(text), 9))))
        letters = lettering(text[: max(1, picture.width // (6 * size))], size)
        x = stream.integer(0, max(1, picture.width - letters.shape[1]))
        edge = picture.height // 30
        y = stream.choice((edge, picture.height - letters.shape[0] - edge, stream.integer(0, picture.height)))
        ink = stream.choice(_COLOURS)
        if stream.unit() < 0.35:
            plate = np.full((letters.shape[0] + 2 * size, picture.width), stream.choice((150, 256)), np.int32)
            picture = _laid(picture, plate, (0, 0, 0) if sum(ink) > 380 else (255, 255, 255), 0, y - size)
        else:
            shade = (20, 20, 20) if sum(ink) > 380 else (235, 235, 235)
            picture = _laid(picture, letters, shade, x + max(1, size // 2), y + max(1, size // 2))
        picture = _laid(picture, letters, ink, x, y)
    return picture


def _disc(width: int, height: int) -> NDArray[np.int32]:
    """Return the alpha (height, width), 0..256, of an ellipse that fills the box, soft over about one pixel."""
    x = 2 * np.arange(width, dtype=np.int64)[None] - (width - 1)
    y = 2 * np.arange(height, dtype=np.int64)[:, None] - (height - 1)
    square = (x * x * 1024 // (width * width)) + (y * y * 1024 // (height * height))
    return ((1024 - square) * min(width, height) // 8).clip(0, 256).astype(np.int32)


def _shapes(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    stream, level = step.stream(), step.number("level")
    side = min(picture.width, picture.height)
    for _ in range(1 + stream.integer(0, between(2, 5, level))):
        wide = max(2, side * stream.integer(8, between(20, 62, level)) // 100)
        tall = max(2, side * stream.integer(8, between(20, 62, level)) // 100)
        x, y = stream.integer(-wide // 3, picture.width), stream.integer(-tall // 3, picture.height)
        opacity = stream.choice((256, 256, 200, 120))
        kind = stream.choice(("box", "disc", "frame", "bar", "arrow"))
        alpha = np.full((tall, wide), 256, np.int32)
        if kind == "disc":
            alpha = _disc(wide, tall)
        elif kind == "frame":
            edge = max(1, side // 30)
            alpha[edge:-edge, edge:-edge] = 0
        elif kind == "bar":
            alpha = np.full((max(2, side // 24), picture.width), 256, np.int32)
            x = 0
        elif kind == "arrow":
            row = abs(2 * np.arange(tall) - tall)[:, None] * wide
            alpha = np.where(row <= (wide - np.arange(wide))[None] * tall, 256, 0).astype(np.int32)
        picture = _laid(picture, alpha * opacity >> 8, stream.choice(_COLOURS), x, y)
    return picture


def _face(picture: Picture, stream: Stream, size: int, x: int, y: int) -> Picture:
    skin = stream.choice(((250, 205, 60), (250, 160, 70), (130, 200, 90), (240, 110, 110), (110, 170, 240)))
    picture = _laid(picture, _disc(size, size), (90, 60, 20), x, y)
    inner = max(2, size * 92 // 100)
    edge = (size - inner) // 2
    picture = _laid(picture, _disc(inner, inner), skin, x + edge, y + edge)
    eye = max(1, size // 8)
    tall = stream.choice((eye, eye * 2, max(1, eye // 2)))
    for side in (30, 70):
        at_x, at_y = x + size * side // 100 - eye // 2, y + size * 34 // 100
        picture = _laid(picture, _disc(eye, tall), (50, 30, 20), at_x, at_y)
    mouth, open_ = max(2, size // 2), max(2, size // stream.integer(4, 9))
    alpha = _disc(mouth, open_ * 2)
    half = alpha[open_:] if stream.unit() < 0.6 else alpha[:open_]
    return _laid(picture, half, (120, 30, 30), x + size // 2 - mouth // 2, y + size * 58 // 100)


def _faces(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    stream, level = step.stream(), step.number("level")
    side = min(picture.width, picture.height)
    for _ in range(1 + stream.integer(0, between(2, 5, level))):
        size = max(6, side * stream.integer(12, between(18, 66, level)) // 100)
        x = stream.integer(-size // 4, max(1, picture.width - size * 3 // 4))
        y = stream.integer(-size // 4, max(1, picture.height - size * 3 // 4))
        picture = _face(picture, stream, size, x, y)
    return picture


def _inset(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    donor = donors[step.number("donor") % len(donors)]
    wide = max(2, picture.width * step.number("size") // 1000)
    tall = max(2, min(picture.height * step.number("size") // 1000, wide * donor.shape[0] // donor.shape[1]))
    alpha = _disc(wide, tall) if step.word("shape") == "disc" else np.full((tall, wide), 256, np.int32)
    x, y = ((picture.width - wide) * step.number("x") // 1000, (picture.height - tall) * step.number("y") // 1000)
    return _laid(picture, alpha, resized(donor, wide, tall), x, y)


def _blend(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    donor = resized(donors[step.number("donor") % len(donors)], picture.width, picture.height)
    alpha = np.full(picture.mask.shape, min(128, step.number("alpha")), np.int32)
    return picture.with_pixels(blended(picture.pixels, donor, alpha))


def _stripes(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    stream, level = step.stream(), step.number("level")
    lying = stream.unit() < 0.5
    length = picture.height if lying else picture.width
    count = stream.integer(2, 9)
    wide = max(1, length * between(6, 45, level) // (100 * count))
    colour, alpha = stream.choice(_COLOURS), stream.choice((160, 256))
    for place in range(count):
        start = place * length // count + stream.integer(0, max(1, length // count - wide + 1))
        shape = (wide, picture.width) if lying else (picture.height, wide)
        at = (0, start) if lying else (start, 0)
        picture = _laid(picture, np.full(shape, alpha, np.int32), colour, *at)
    return picture


_SEEDED = drawing(seed=SEED, level=span(0, 1000))
_INSET = drawing(donor=DONOR, size=span(180, 700), x=PLACE, y=PLACE, shape=one_of("box", "box", "disc"))
KINDS = (
    EditKind("text", "overlay", 8, _SEEDED, _text, "1 to 5 lines, letters 5 % to 20 % of the height"),
    EditKind("shapes", "overlay", 6, _SEEDED, _shapes,
             "1 to 5 boxes, discs, frames, bars, arrows, each up to 62 % of the short side"),
    EditKind("faces", "overlay", 6, _SEEDED, _faces, "1 to 5 drawn faces, each up to 66 % of the short side"),
    EditKind("inset", "overlay", 6, _INSET, _inset, "another picture on top, 18 % to 70 % of the width", donors=True),
    EditKind("blend", "overlay", 4, drawing(donor=DONOR, alpha=span(30, 128)), _blend,
             "another picture shines through, 12 % to 50 %", donors=True),
    EditKind("stripes", "overlay", 3, _SEEDED, _stripes, "2 to 8 bars over 6 % to 45 % of the picture", in_mini=False),
)  # fmt: skip
