"""Meadows: many flowers of a few kinds over grass and leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.edits.raster import UNIT_BITS, cosine, sine
from ndec_bench.mini.canvas import SURFACES, Canvas, fractal, gradient, material, mixed, varied
from ndec_bench.mini.scenes.base import TRAVEL

if TYPE_CHECKING:
    from ndec_bench.mini.canvas import Colour, Field
    from ndec_bench.mini.scenes.base import Scene
    from ndec_bench.randomness import Stream

TINTS: tuple[Colour, ...] = ((128, 128, 128), (142, 130, 104), (108, 116, 128), (134, 116, 100), (96, 100, 104))
GREENS: tuple[Colour, ...] = ((66, 92, 44), (48, 74, 40), (92, 112, 58), (58, 82, 62), (110, 112, 66))
SOILS: tuple[Colour, ...] = (
    (96, 74, 54),
    (168, 150, 120),
    (120, 116, 112),
    (222, 224, 228),
    (60, 78, 84),
    (190, 160, 110),
)
PETALS: tuple[Colour, ...] = (
    (214, 52, 60), (240, 200, 50), (244, 240, 232), (224, 120, 160), (142, 90, 170), (236, 140, 50), (90, 110, 200),
    (190, 40, 90), (250, 224, 150),
)  # fmt: skip


def meadow(canvas: Canvas, scene: Scene) -> None:
    """Paint flowers among leaves."""
    width, height = canvas.width, canvas.height
    layout, palette = scene.stream("layout"), scene.stream("palette")
    green = palette.choice(GREENS)
    petals = [palette.choice(PETALS) for _ in range(layout.integer(1, 4))]
    tint = scene.chosen("light", TINTS)
    travel = scene.travel() - TRAVEL // 2
    grass = scene.stream("texture")
    if layout.unit() < 0.5:
        _grass(canvas, grass, green)
    else:
        _soil(canvas, grass, layout, palette.choice((green, *SOILS)))
    field = material(grass.child("petals"), 120, 120, layout.choice(SURFACES))
    objects = scene.stream("objects")
    blades = layout.integer(2, 34)
    for _ in range(blades):
        x, y = layout.integer(0, width), layout.integer(0, height)
        size = 8 + 22 * y // height
        x -= travel * (30 + 60 * y // height) // 90
        angle = 20 * layout.integer(3, 7)
        thin, tone = max(2, size // layout.integer(4, 8)), varied(objects, green, 30)
        canvas.ball(x, y, size, thin, tone, texture=field, degrees=angle, flat=50)
    most = layout.integer(8, 46)
    count = layout.integer(3, 8 + 360 // most)
    petal_count, slim = layout.integer(4, 10), layout.integer(24, 76)
    places = sorted((layout.integer(-5, 105), layout.integer(-5, 105)) for _ in range(count))
    for row, column in places:
        near = 55 + max(row, 0) * 60 // 100
        x = width * column // 100 - travel * near // 110
        y = height * row // 100
        size = max(4, most * near // 115)
        _flower(canvas, objects, x, y, size, varied(objects, objects.choice(petals), 24), petal_count, slim, field)
    canvas.pixels[:] = (canvas.pixels.astype(np.int32) * np.array(tint, np.int32) >> 7).clip(0, 255)


def _soil(canvas: Canvas, stream: Stream, layout: Stream, tone: Colour) -> None:
    field = material(stream, canvas.height, canvas.width, layout.choice(SURFACES)).astype(np.int32)
    base = gradient(mixed(tone, (0, 0, 0), layout.integer(0, 70)), tone, canvas.height).astype(np.int32)
    shade = (110 + (field * layout.integer(20, 70) >> 7)).clip(16, 230)
    canvas.pixels[:] = (base[:, None] * shade[..., None] >> 7).clip(0, 255)


def _grass(canvas: Canvas, stream: Stream, green: Colour) -> None:
    height, width = canvas.height, canvas.width
    tall = fractal(stream, height // 4 + 2, width, levels=3, gain=13).repeat(4, axis=0)[:height].astype(np.int32)
    fine = fractal(stream, height, width, levels=5, gain=11).astype(np.int32)
    base = gradient(mixed(green, (180, 190, 170), 30), mixed(green, (0, 0, 0), 40), height).astype(np.int32)
    shade = (104 + (tall * 40 >> 7) + (fine * 60 >> 7)).clip(16, 230)
    canvas.pixels[:] = (base[:, None] * shade[..., None] >> 7).clip(0, 255)


def _flower(
    canvas: Canvas, stream: Stream, x: int, y: int, size: int, colour: Colour, petals: int, slim: int, field: Field
) -> None:
    canvas.rectangle(x, y, 2, size * 2, (52, 78, 36))
    start, kind = stream.integer(0, 360), stream.integer(0, 10)
    canvas.shadow(x + 2, y + 3, size, size, 66)
    if kind == 0:
        canvas.ball(x, y, size * 3 // 4, size, colour, texture=field, grain=90)
        canvas.ball(x - size // 4, y - size // 5, size // 2, size * 4 // 5, varied(stream, colour, 24), texture=field)
        return
    long, thin = max(2, size // 2), max(2, size * slim // 200)
    for i in range(petals):
        angle = (start + 360 * i // petals) // 20 * 20
        dx, dy = cosine(angle) * size * 6 // 10 >> UNIT_BITS, sine(angle) * size * 6 // 10 >> UNIT_BITS
        canvas.ball(x + dx, y + dy, long, thin, varied(stream, colour, 12), texture=field, degrees=angle, flat=60)
    core = max(2, size // 4)
    canvas.ball(x, y, core, core, varied(stream, (210, 160, 40), 40), texture=field, grain=160)
