"""Pages: adverts, posters and product pictures: one template, other content."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.edits.raster import lettering
from ndec_bench.mini.canvas import LAMP, Canvas, fractal, gradient, material, mixed, varied
from ndec_bench.mini.scenes.still import THINGS, Look, thing

if TYPE_CHECKING:
    from ndec_bench.mini.canvas import Colour
    from ndec_bench.mini.scenes.base import Scene
    from ndec_bench.randomness import Stream

PAPERS: tuple[Colour, ...] = (
    (250, 250, 248), (238, 232, 218), (36, 40, 50), (226, 234, 240), (250, 222, 90), (200, 60, 52), (40, 90, 120),
    (240, 240, 240), (244, 214, 206),
)  # fmt: skip
WORDS = (
    "SALE", "NEW", "SUMMER", "HOME", "OPEN", "MARKET", "FRESH", "CITY", "MUSIC", "LIVE", "BEST", "OFFER", "TODAY",
    "GARDEN",
    "COFFEE", "TRAVEL", "BLUE", "NORTH", "DAILY", "NEWS", "HOUSE", "FESTIVAL", "WINTER", "PRICE", "GREEN", "STUDIO",
)  # fmt: skip


def page(canvas: Canvas, scene: Scene) -> None:
    """Paint a printed or web page."""
    width, height = canvas.width, canvas.height
    layout, palette, objects = scene.stream("layout"), scene.stream("palette"), scene.stream("objects")
    paper = palette.choice(PAPERS)
    ink: Colour = (28, 28, 32) if sum(paper) > 360 else (240, 240, 236)
    accent = palette.choice(THINGS)[palette.integer(0, 5)]
    shade = scene.chosen("light", (128, 116, 104, 138))
    canvas.pixels[:] = gradient(paper, mixed(paper, (0, 0, 0), layout.integer(0, 26)), height)[:, None]
    _template(canvas, scene, layout, objects, ink, accent)
    texture = fractal(scene.stream("texture").child("paper"), height, width, levels=6, gain=8).astype(np.int32)
    lit = canvas.pixels.astype(np.int32) * (shade + (texture * layout.integer(0, 12) >> 7))[..., None] >> 7
    canvas.pixels[:] = lit.clip(0, 255)


def _template(canvas: Canvas, scene: Scene, layout: Stream, objects: Stream, ink: Colour, accent: Colour) -> None:
    width, height = canvas.width, canvas.height
    bar = height * layout.integer(8, 22) // 100
    if layout.unit() < 0.7:
        canvas.rectangle(0, 0, width, bar, accent)
    title = ink if sum(accent) > 420 else (250, 250, 250)
    _title(canvas, objects, 8, max(3, bar // 4), width - 16, max(9, bar * 2 // 3), title)
    columns, rows = layout.choice(((1, 1), (2, 1), (1, 2), (2, 2), (3, 1), (3, 2), (1, 1)))
    top, bottom = bar + 6, height - height * layout.integer(6, 30) // 100
    wide, tall = (width - 6) // columns, (bottom - top) // rows
    kinds = layout.choice(
        (("picture",), ("product",), ("picture", "text"), ("product", "text"), ("product", "picture"))
    )
    n = 0
    for j in range(rows):
        for i in range(columns):
            kind = kinds[n % len(kinds)] if columns * rows > 1 else kinds[0]
            _cell(canvas, scene, objects, kind, 6 + i * wide, top + j * tall, wide - 6, tall - 6, ink, n)
            n += 1
    _text(canvas, objects, 8, bottom + 2, width - 16, height - bottom - 4, ink)
    if layout.unit() < 0.4:
        radius = height * layout.integer(7, 14) // 100
        x, y = width * layout.integer(20, 90) // 100, height * layout.integer(30, 85) // 100
        canvas.ball(x, y, radius, radius, varied(layout, accent, 60), flat=118)
        _title(canvas, objects, x - radius * 3 // 4, y - radius // 3, radius * 3 // 2, radius * 2 // 3, (252, 252, 250))


def _cell(
    canvas: Canvas, scene: Scene, objects: Stream, kind: str, x: int, y: int, wide: int, tall: int, ink: Colour, n: int
) -> None:
    if wide < 12 or tall < 12:
        return
    if kind == "text":
        _text(canvas, objects, x, y, wide, tall, ink)
        return
    stream = scene.stream("texture").child("cell", n)
    field = material(stream, max(tall, 150), max(wide, 150))
    tones = objects.choice(THINGS)
    first, last = varied(objects, objects.choice(tones), 40), varied(objects, objects.choice(tones), 40)
    if kind == "product":
        first = last = mixed(first, (244, 242, 238), 108)
    base = gradient(first, last, tall).astype(np.int32)[:, None]
    grain = 124 + (field[:tall, :wide].astype(np.int32) * (8 if kind == "product" else 60) >> 7)
    cell = Canvas(tall, wide)
    cell.pixels[:] = (base * grain[..., None] >> 7).clip(0, 255)
    for _ in range(1 if kind == "product" else objects.integer(3, 8)):
        size = min(wide, tall) * (30 if kind == "product" else objects.integer(8, 24)) // 100
        at_x = wide // 2 if kind == "product" else objects.integer(0, wide)
        at_y = tall * 84 // 100 if kind == "product" else objects.integer(tall // 3, tall + 1)
        look = Look(varied(objects, objects.choice(tones), 20), LAMP, field[:150, :150])
        thing(cell, objects, at_x, at_y, max(4, size), look)
    canvas.rectangle(x, y, wide, tall, cell.pixels)


def _title(canvas: Canvas, stream: Stream, x: int, y: int, wide: int, tall: int, ink: Colour) -> None:
    scale = max(1, tall // 8)
    words = stream.choice(WORDS)
    while True:
        longer = f"{words} {stream.choice(WORDS)}"
        if len(longer) * 6 * scale > wide:
            break
        words = longer
    letters = lettering(words[: max(1, wide // (6 * scale))], scale)
    canvas.paint(x, y, (letters >> 1).astype(np.int16), ink)


def _text(canvas: Canvas, stream: Stream, x: int, y: int, wide: int, tall: int, ink: Colour) -> None:
    for row in range(min(6, tall // 10)):
        line = ""
        while len(line) * 6 < wide - 40:
            line += stream.choice(WORDS) + " "
        canvas.paint(x, y + row * 10, (lettering(line[: wide // 6], 1) >> 1).astype(np.int16), ink)
