"""Landscapes: sky and clouds, ranges that fade into the air, water or fields, trees, rocks and houses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.mini.canvas import SURFACES, Canvas, fractal, fractal_line, gradient, material, mixed, varied
from ndec_bench.mini.scenes.base import TRAVEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_bench.mini.canvas import Colour, Field
    from ndec_bench.mini.scenes.base import Scene
    from ndec_bench.randomness import Stream

    Ground = tuple[Colour, Colour]
    Sky = tuple[Colour, Colour, Colour, Colour]

# Sky at the top, sky at the horizon, light's tint (128 is neutral), cloud.
SKIES: tuple[Sky, ...] = (
    ((62, 112, 188), (176, 206, 232), (132, 130, 122), (246, 247, 248)),
    ((38, 84, 160), (138, 182, 222), (136, 132, 120), (250, 250, 248)),
    ((96, 128, 160), (206, 212, 214), (118, 122, 126), (232, 232, 232)),
    ((70, 70, 118), (240, 168, 104), (134, 104, 92), (244, 190, 150)),
    ((46, 52, 96), (222, 118, 92), (122, 92, 92), (226, 142, 126)),
    ((138, 148, 158), (196, 200, 204), (104, 108, 112), (216, 218, 220)),
    ((22, 30, 58), (70, 86, 122), (56, 64, 84), (92, 104, 134)),
    ((112, 160, 202), (232, 226, 208), (136, 128, 112), (255, 252, 244)),
)
GROUNDS: tuple[Ground, ...] = (
    ((70, 96, 48), (104, 118, 58)),
    ((54, 74, 44), (86, 104, 52)),
    ((128, 108, 72), (164, 142, 96)),
    ((92, 84, 74), (128, 120, 108)),
    ((150, 122, 84), (188, 160, 116)),
    ((206, 212, 218), (232, 236, 240)),
    ((96, 70, 50), (140, 96, 62)),
    ((62, 88, 80), (98, 124, 106)),
)


def landscape(canvas: Canvas, scene: Scene) -> None:
    """Paint a landscape."""
    width, height = canvas.width, canvas.height
    layout, palette = scene.stream("layout"), scene.stream("palette")
    sky = scene.chosen("light", SKIES)
    ground = palette.choice(GROUNDS)
    travel = scene.travel()
    horizon = height * layout.integer(26, 76) // 100
    _sky(canvas, scene, sky, horizon)
    texture = material(scene.stream("texture"), height, width + TRAVEL, layout.choice(SURFACES[:6]))
    far_tone = mixed(palette.choice(GROUNDS)[0], (70, 86, 110), 40)
    ranges = layout.integer(1, 5)
    for i in range(ranges):
        depth = 128 * (ranges - i) // (ranges + 1)
        base = horizon - height * (ranges - 1 - i) * layout.integer(3, 8) // 100
        swing = height * layout.integer(6, 46) // 100 * (ranges - i + 1) // (ranges + 1)
        line = _ridge(layout, width, travel * (i + 1) // (ranges + 6), gain=layout.integer(7, 11))
        tone = mixed(mixed(far_tone, ground[0], 128 * i // ranges), sky[1], depth)
        _slope(
            canvas, base - (line.astype(np.int32) * swing >> 8), tone, texture, travel * (i + 1) // 8, sky, 30 + 12 * i
        )
    if layout.unit() < 0.36:
        _water(canvas, horizon, sky, scene.stream("texture").child("water"))
    else:
        _plain(canvas, horizon, ground, texture, travel // 3, sky)
    _standing(canvas, scene, horizon, ground, sky, travel)


def _sky(canvas: Canvas, scene: Scene, sky: Sky, horizon: int) -> None:
    rows = horizon + canvas.height // 8
    canvas.pixels[:rows] = gradient(sky[0], sky[1], rows)[:, None]
    stream = scene.stream("sky")
    cover = stream.integer(-90, 70)
    field = fractal(stream, rows, canvas.width, levels=6, gain=9)
    # Clouds flatten towards the horizon: rows of the field are read twice as fast there.
    steps = np.arange(rows)
    field = field[(steps * (steps + rows) // max(2 * rows, 1)).clip(0, rows - 1)]
    alpha = (field + cover).clip(0, 118)
    under = np.roll(field, 3, axis=0) - field
    shade = (np.array(sky[3], np.int16) - 10) + (under.clip(-60, 40) >> 1)[..., None]
    canvas.paint(0, 0, alpha, shade.clip(0, 255))
    if scene.stream("light").child("sun").unit() < 0.3:
        x, y = stream.integer(0, canvas.width), stream.integer(horizon // 3, horizon + 1)
        for radius, strength in ((34, 24), (20, 40), (9, 110)):
            canvas.ball(x, y, radius, radius, mixed(sky[1], (255, 250, 225), strength), flat=128, light=(0, 0, 128))


def _ridge(stream: Stream, width: int, offset: int, gain: int) -> Field:
    return fractal_line(stream, width + TRAVEL, levels=7, gain=gain)[offset : offset + width]


def _slope(
    canvas: Canvas, top: NDArray[np.int32], tone: Colour, texture: Field, offset: int,
    sky: Sky, contrast: int,
) -> None:  # fmt: skip
    first = max(0, int(top.min()))
    rows = np.arange(first, canvas.height, dtype=np.int32)[:, None]
    alpha = ((rows - top) * 96).clip(0, 128).astype(np.int16)
    grain = texture[first:, offset : offset + canvas.width].astype(np.int32)
    light = (top - np.roll(top, 3)).clip(-8, 8) * 5
    depth = ((rows - top) // 3).clip(0, 22)
    shade = 118 + ((grain * contrast) >> 7) + light + depth
    colour = shade.clip(20, 230)[..., None] * (np.array(tone, np.int32) * np.array(sky[2], np.int32) >> 7) >> 7
    canvas.paint(0, first, alpha, colour.clip(0, 255).astype(np.int16))


def _plain(
    canvas: Canvas, horizon: int, ground: Ground, texture: Field, offset: int,
    sky: Sky,
) -> None:  # fmt: skip
    rows = canvas.height - horizon
    if rows < 1:
        return
    depth = np.arange(rows, dtype=np.int32)
    # A plain in perspective: the texture is squeezed near the horizon, in both directions.
    row = (texture.shape[0] - 1) * depth * (depth + rows // 2) // max(rows * rows * 3 // 2, 1)
    middle = canvas.width // 2
    columns = (np.arange(canvas.width, dtype=np.int32)[None] - middle) * (3 * rows - 2 * depth[:, None]) // rows
    grain = texture[row[:, None], (columns + middle + offset) % texture.shape[1]].astype(np.int32)
    base = gradient(mixed(ground[1], sky[1], 50), ground[0], rows).astype(np.int32)[:, None]
    shade = 122 + ((grain * (16 + 50 * depth[:, None] // rows)) >> 7)
    colour = (base * np.array(sky[2], np.int32) >> 7) * shade.clip(30, 230)[..., None] >> 7
    canvas.pixels[horizon:] = colour.clip(0, 255)


def _water(canvas: Canvas, horizon: int, sky: Sky, stream: Stream) -> None:
    rows = canvas.height - horizon
    waves = fractal(stream, rows, canvas.width // 4 + 1, levels=4, gain=11).repeat(4, axis=1)[:, : canvas.width]
    depth = np.arange(rows, dtype=np.int32)[:, None]
    wobble = (waves.astype(np.int32) * (2 + 10 * depth // max(rows, 1))) >> 8
    source = (horizon - 1 - depth + wobble).clip(0, horizon - 1)
    mirror = canvas.pixels[source, np.arange(canvas.width)[None]].astype(np.int32)
    tint = np.array(mixed(sky[0], (30, 60, 70), 64), np.int32)
    colour = (mirror * 88 + tint * 40) >> 7
    colour += (waves.astype(np.int32) * (8 + 22 * depth // max(rows, 1)) >> 7)[..., None]
    canvas.pixels[horizon:] = colour.clip(0, 255)


def _standing(
    canvas: Canvas, scene: Scene, horizon: int, ground: Ground,
    sky: Sky, travel: int,
) -> None:  # fmt: skip
    objects, layout = scene.stream("objects"), scene.stream("layout").child("standing")
    count = layout.choice((0, 1, 3, 6, 10, 16))
    kind = layout.choice(("trees", "trees", "mixed", "rocks", "houses"))
    places = sorted((layout.integer(2, 100), layout.integer(-30, 130)) for _ in range(count))
    field = fractal(scene.stream("texture").child("leaves"), 160, 160, levels=4, gain=12)
    leaf = objects.choice(((52, 84, 40), (70, 98, 44), (40, 66, 44), (150, 96, 40), (120, 118, 52)))
    for near, across in places:
        y = horizon + (canvas.height - horizon) * near * near // 10000
        size = max(3, canvas.height * (6 + near // 2) // 150)
        x = canvas.width * across // 100 + (TRAVEL // 2 - travel) * near // 70
        what = kind if kind != "mixed" else objects.choice(("trees", "rocks", "houses"))
        dim = mixed((0, 0, 0), sky[2], 118)
        if what == "trees":
            _tree(canvas, objects, x, y, size, _lit(leaf, dim), field)
        elif what == "rocks":
            tone = varied(objects, _lit((124, 116, 106), dim), 30)
            canvas.shadow(x, y + 1, size, max(2, size // 4))
            canvas.ball(x, y - size // 4, size * 2 // 3, size // 2, tone, texture=field, grain=150)
        else:
            _house(canvas, objects, x, y, size, dim)


def _lit(colour: Colour, light: Colour) -> Colour:
    r, g, b = (min(255, c * t >> 7) for c, t in zip(colour, light, strict=True))
    return r, g, b


def _tree(canvas: Canvas, stream: Stream, x: int, y: int, size: int, leaf: Colour, field: Field) -> None:
    tall = size * stream.integer(14, 26) // 10
    trunk = max(1, size // 9)
    canvas.shadow(x, y, size * 3 // 4, max(2, size // 6), 80)
    canvas.rectangle(x - trunk // 2, y - tall // 2, trunk, tall // 2 + 1, (58, 46, 36))
    if stream.unit() < 0.35:
        for i in range(5):
            radius = max(2, size * (6 - i) // 12)
            tone = varied(stream, leaf, 14)
            canvas.ball(x, y - tall // 4 - i * tall // 6, radius, max(2, tall // 9), tone, texture=field, grain=130)
        return
    for _ in range(min(9, 3 + size // 5)):
        radius = max(2, size * stream.integer(22, 46) // 100)
        dx, dy = stream.integer(-size // 2, size // 2 + 1), stream.integer(0, tall // 2 + 1)
        at = stream.integer(0, 40)
        tone = varied(stream, leaf, 22)
        canvas.ball(x + dx, y - tall * 2 // 5 - dy, radius, radius * 4 // 5, tone, texture=field[at:, at:], grain=190)


def _house(canvas: Canvas, stream: Stream, x: int, y: int, size: int, light: Colour) -> None:
    wide, tall = size * stream.integer(10, 22) // 10, size * stream.integer(7, 13) // 10
    wall = _lit(stream.choice(((214, 204, 188), (182, 112, 88), (160, 160, 156), (226, 214, 170))), light)
    roof = _lit(stream.choice(((128, 58, 44), (84, 76, 72), (70, 62, 60))), light)
    canvas.shadow(x, y, wide * 2 // 3, max(2, size // 5), 90)
    canvas.rectangle(x - wide // 2, y - tall, wide, tall, wall)
    canvas.rectangle(x + wide // 5, y - tall, wide // 2 - wide // 5, tall, mixed(wall, (0, 0, 0), 34))
    steps = max(1, tall * 2 // 3)
    for i in range(steps):
        half = (wide // 2 + 2) * (steps - i) // steps
        canvas.rectangle(x - half, y - tall - i, 2 * half, 1, mixed(roof, (0, 0, 0), 20 * (i % 3 == 0)))
    pane = max(1, size // 6)
    for i in range(max(1, wide // (3 * pane))):
        canvas.rectangle(x - wide // 2 + pane + i * 3 * pane, y - tall * 3 // 4, pane, pane + 1, (44, 52, 66))
