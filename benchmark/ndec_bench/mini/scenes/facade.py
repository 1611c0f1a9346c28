"""Facades: walls of brick or plaster, rows of windows, doors, signs and balconies, seen straight or at a slant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.edits.raster import sampled
from ndec_bench.mini.canvas import SURFACES, Canvas, fractal, gradient, material, mixed, varied
from ndec_bench.mini.scenes.base import TRAVEL
from ndec_bench.mini.scenes.landscape import SKIES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_bench.mini.canvas import Colour
    from ndec_bench.mini.scenes.base import Scene
    from ndec_bench.mini.scenes.landscape import Sky
    from ndec_bench.randomness import Stream

WALLS: tuple[Colour, ...] = (
    (168, 92, 70), (196, 176, 148), (214, 208, 198), (140, 132, 124), (182, 150, 112), (120, 72, 60), (160, 170, 172),
    (206, 190, 140), (94, 92, 96),
)  # fmt: skip


def facade(canvas: Canvas, scene: Scene) -> None:
    """Paint a house front."""
    width, height = canvas.width, canvas.height
    layout, palette = scene.stream("layout"), scene.stream("palette")
    sky = scene.chosen("light", SKIES)
    travel = scene.travel()
    wide = width + TRAVEL
    front = Canvas(height, wide)
    wall = palette.choice(WALLS)
    grain = material(scene.stream("texture"), height, wide, layout.choice(SURFACES)).astype(np.int32)
    rows, columns = np.arange(height, dtype=np.int32)[:, None], np.arange(wide, dtype=np.int32)[None]
    shade = 116 + (grain * layout.integer(14, 44) >> 7) - rows * 16 // height
    if layout.unit() < 0.5:
        brick = layout.integer(3, 6)
        joint = (rows % brick == 0) | ((columns + rows // brick % 2 * brick) % (2 * brick) == 0)
        shade = shade - 22 * joint
    front.pixels[:] = (shade[..., None] * np.array(wall, np.int32) >> 7).clip(0, 255)
    _windows(front, scene, wall, layout)
    _street(front, scene, layout)
    roof = height * layout.integer(-10, 26) // 100
    if roof > 4:
        _above(front, scene, sky, roof)
    light = np.array(sky[2], np.int32) * 15 // 16 + 8
    front.pixels[:] = (front.pixels.astype(np.int32) * light >> 7).clip(0, 255)
    slant = layout.integer(-70, 71) + (travel - TRAVEL // 2)
    seen = _seen(front.pixels.astype(np.uint8), width, height, travel, slant)
    canvas.pixels[:] = seen
    _before(canvas, scene, travel)


def _windows(canvas: Canvas, scene: Scene, wall: Colour, layout: Stream) -> None:
    objects = scene.stream("objects")
    across, down = layout.integer(2, 14), layout.integer(1, 9)
    pitch_x, pitch_y = canvas.width // across, canvas.height * 82 // 100 // down
    wide, tall = pitch_x * layout.integer(36, 74) // 100, pitch_y * layout.integer(44, 82) // 100
    frame = mixed(wall, (240, 240, 236), layout.integer(20, 110))
    sill, bars = layout.unit() < 0.6, layout.integer(1, 4)
    glass = objects.choice(((58, 68, 82), (82, 100, 118), (40, 44, 50), (112, 126, 134)))
    for j in range(down):
        for i in range(across):
            x, y = i * pitch_x + (pitch_x - wide) // 2, canvas.height // 12 + j * pitch_y
            canvas.rectangle(x - 2, y - 2, wide + 4, tall + 4, frame)
            canvas.rectangle(x, y, wide, tall, _pane(objects, glass, wide, tall))
            for b in range(1, bars + 1):
                canvas.rectangle(x + wide * b // (bars + 1), y, 1, tall, frame)
            canvas.rectangle(x, y + tall // 3, wide, 1, frame)
            if sill:
                canvas.rectangle(x - 3, y + tall + 2, wide + 6, 2, mixed(frame, (0, 0, 0), 40))


def _pane(stream: Stream, glass: Colour, wide: int, tall: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    state = stream.integer(0, 10)
    if state == 0:
        return np.repeat(gradient((236, 206, 140), (190, 140, 80), tall)[:, None], wide, axis=1)
    bright = varied(stream, glass, 26)
    pane = np.repeat(gradient(mixed(bright, (200, 214, 226), 40), bright, tall)[:, None], wide, axis=1)
    if state < 5:
        drop = tall * stream.integer(15, 95) // 100
        pane[:drop] = varied(stream, (206, 198, 184), 36)
    if state in (5, 6):
        curtain = max(1, wide * stream.integer(12, 36) // 100)
        pane[:, :curtain] = pane[:, -curtain:] = varied(stream, (190, 170, 150), 50)
    return pane


def _street(canvas: Canvas, scene: Scene, layout: Stream) -> None:
    objects, height = scene.stream("objects").child("street"), canvas.height
    top = height * 84 // 100
    canvas.rectangle(0, top, canvas.width, height - top, varied(layout, (112, 104, 98), 30))
    for _ in range(layout.integer(1, 6)):
        x, wide = layout.integer(0, canvas.width), layout.integer(12, 50)
        tall = height * layout.integer(14, 30) // 100
        tones = ((70, 44, 34), (40, 58, 52), (130, 40, 36), (50, 58, 84), (60, 60, 62))
        tone = varied(objects, objects.choice(tones), 24)
        canvas.rectangle(x, height - tall, wide, tall, tone)
        canvas.rectangle(x + 3, height - tall + 3, max(1, wide - 6), tall // 2, mixed(tone, (190, 200, 206), 50))
        if objects.unit() < 0.5:
            canvas.rectangle(x - 2, height - tall - 7, wide + 4, 7, varied(objects, (190, 160, 70), 60))


def _above(canvas: Canvas, scene: Scene, sky: Sky, roof: int) -> None:
    clouds = fractal(scene.stream("sky"), roof, canvas.width, levels=5, gain=8)
    canvas.rectangle(0, 0, canvas.width, roof, np.repeat(gradient(sky[0], sky[1], roof)[:, None], canvas.width, axis=1))
    canvas.paint(0, 0, (clouds + 10).clip(0, 110), sky[3])
    canvas.rectangle(0, roof, canvas.width, 4, (96, 84, 76))


def _seen(pixels: NDArray[np.uint8], width: int, height: int, travel: int, slant: int) -> NDArray[np.uint8]:
    """Return the wall from the camera's place: rows spread towards one side, as on a wall at an angle."""
    x = np.arange(width, dtype=np.int64)
    lean = 256 + slant * (x - width // 2) // width
    middle = height * 6 // 10
    y = ((np.arange(height, dtype=np.int64) - middle)[:, None] * lean[None]) + (middle << 8)
    columns = np.broadcast_to(((x + travel) << 8)[None], y.shape)
    return sampled(pixels, columns, y.clip(0, (height - 1) << 8), (0, 0, 0))[0]


def _before(canvas: Canvas, scene: Scene, travel: int) -> None:
    layout, objects = scene.stream("layout").child("before"), scene.stream("objects").child("before")
    field = fractal(scene.stream("texture").child("before"), 130, 130, levels=4, gain=12)
    height = canvas.height
    for _ in range(layout.integer(0, 5)):
        x = layout.integer(-10, canvas.width + 60) - travel * 5 // 4 + TRAVEL // 2
        size = height * layout.integer(8, 22) // 100
        kind = layout.choice(("bush", "tree", "car", "post"))
        if kind == "post":
            canvas.rectangle(x, height // 4, 3, height, (52, 52, 54))
            canvas.ball(x + 1, height // 4, 6, 6, (220, 214, 190), flat=60)
        elif kind == "car":
            _car(canvas, objects, x, height - 2, size)
        else:
            rise = height // 3 if kind == "tree" else 0
            if rise:
                canvas.rectangle(x - 2, height - rise, 4, rise, (64, 52, 42))
            for _ in range(9 if rise else 5):
                dx, dy = objects.integer(-size, size + 1), objects.integer(0, size + 1)
                tone = varied(objects, (64, 92, 46), 24)
                canvas.ball(x + dx, height - rise - dy, size * 2 // 3, size // 2, tone, texture=field, grain=180)


def _car(canvas: Canvas, stream: Stream, x: int, y: int, size: int) -> None:
    tones = ((150, 34, 34), (190, 192, 196), (40, 60, 110), (34, 34, 36), (220, 218, 210))
    tone = varied(stream, stream.choice(tones), 16)
    canvas.shadow(x, y, size * 2, max(2, size // 4), 100)
    canvas.ball(x, y - size * 3 // 4, size, size // 2, mixed(tone, (30, 40, 50), 70), gloss=60)
    canvas.ball(x, y - size // 3, size * 7 // 4, max(2, size // 3), tone, gloss=120)
    for side in (-1, 1):
        canvas.ball(x + side * size, y - size // 8, max(2, size // 4), max(2, size // 4), (30, 30, 32), flat=60)
