"""Still lifes: many shaded and textured things on a table before a wall."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ndec_bench.mini.canvas import SURFACES, Canvas, body, fractal, gradient, material, mixed, tiled, varied
from ndec_bench.mini.scenes.base import TRAVEL

if TYPE_CHECKING:
    from ndec_bench.mini.canvas import Colour, Field
    from ndec_bench.mini.scenes.base import Scene
    from ndec_bench.randomness import Stream

LAMPS: tuple[Colour, ...] = ((128, 128, 128), (138, 126, 108), (112, 122, 136), (120, 112, 100), (104, 104, 108))
WALLS: tuple[Colour, ...] = (
    (196, 188, 172), (150, 158, 164), (104, 112, 118), (214, 206, 196), (86, 70, 62), (126, 142, 128),
    (60, 66, 78), (178, 150, 128), (226, 222, 214), (92, 108, 132),
)  # fmt: skip
TABLES: tuple[Colour, ...] = (
    (132, 92, 58), (94, 64, 44), (176, 138, 96), (206, 202, 196), (70, 62, 58), (150, 120, 92), (222, 218, 210),
)  # fmt: skip
THINGS: tuple[tuple[Colour, ...], ...] = (
    ((186, 48, 40), (222, 146, 42), (88, 128, 52), (228, 196, 70), (120, 40, 52)),
    ((44, 74, 120), (198, 200, 204), (168, 92, 54), (232, 226, 214), (62, 60, 60)),
    ((120, 144, 108), (206, 178, 132), (150, 84, 66), (92, 96, 86), (236, 220, 190)),
    ((40, 104, 112), (222, 104, 70), (240, 212, 150), (70, 60, 88), (180, 180, 170)),
    ((150, 60, 96), (84, 110, 164), (230, 180, 60), (100, 150, 110), (210, 206, 210)),
)


class Look(NamedTuple):
    """How a thing looks: its colour, where the lamp is, and a field larger than the thing."""

    colour: Colour
    lamp: tuple[int, int, int]
    texture: Field


def still(canvas: Canvas, scene: Scene) -> None:
    """Paint a still life."""
    width, height = canvas.width, canvas.height
    layout, palette, light = scene.stream("layout"), scene.stream("palette"), scene.stream("light")
    edge = height * layout.integer(28, 56) // 100
    travel = scene.travel() - TRAVEL // 2
    side = light.choice((-1, 1))
    lamp = (side * light.integer(30, 90), -light.integer(40, 100), light.integer(50, 100))
    warm = scene.chosen("light", LAMPS)
    texture = material(scene.stream("texture"), 240, 240, layout.choice(SURFACES))
    _room(canvas, palette, layout, scene, edge, side, travel)
    tones = palette.choice(THINGS)
    sizes = layout.choice(((10, 22), (8, 15), (16, 34), (8, 34)))
    count = layout.integer(5, 11 if sizes[0] > 10 else 26)
    places = sorted((layout.integer(0, 100), layout.integer(-4, 104), layout.integer(*sizes)) for _ in range(count))
    objects = scene.stream("objects")
    for depth, across, size in places:
        x = width * across // 100 - travel * (30 + depth) // 130
        y = edge + 3 + (height - edge) * depth // 115
        radius = min(60, max(4, size * height * (70 + depth) // 22000))
        thing(canvas, objects, x, y, radius, Look(varied(objects, objects.choice(tones), 26), lamp, texture))
    canvas.pixels[:] = (canvas.pixels.astype(np.int32) * np.array(warm, np.int32) >> 7).clip(0, 255)


def _room(canvas: Canvas, palette: Stream, layout: Stream, scene: Scene, edge: int, side: int, travel: int) -> None:
    width, height = canvas.width, canvas.height
    stream = scene.stream("texture").child("room")
    wall, table = palette.choice(WALLS), palette.choice(TABLES)
    fall = (np.arange(width, dtype=np.int32) * 70 // width)[:: -side or 1]
    grain = material(stream, height, width, layout.choice(SURFACES)).astype(np.int32)
    shade = 96 + fall[None] + (grain[:edge] * layout.integer(8, 40) >> 7)
    pattern = layout.choice(("plain", "plain", "stripes", "tiles"))
    columns = np.arange(width, dtype=np.int32) + travel // 5 + 1000
    pitch = layout.integer(8, 30)
    if pattern == "stripes":
        shade = shade - 14 * (columns // pitch % 2)[None]
    elif pattern == "tiles":
        lines = np.arange(edge, dtype=np.int32)[:, None]
        shade = shade - 30 * ((columns % pitch < 1)[None] | (lines % pitch < 1))
    canvas.pixels[:edge] = (shade[..., None] * np.array(wall, np.int32) >> 7).clip(0, 255)
    rows = height - edge
    wood = fractal(stream, rows, width // 8 + 2, levels=4, gain=12).repeat(8, axis=1)[:, :width].astype(np.int32)
    plank = wood if layout.unit() < 0.6 else grain[edge:]
    base = gradient(mixed(table, (0, 0, 0), 30), table, rows).astype(np.int32)[:, None]
    shade = 104 + (fall[None] >> 1) + (plank * layout.integer(14, 44) >> 7) + (grain[edge:] * 8 >> 7)
    canvas.pixels[edge:] = (shade[..., None] * base >> 7).clip(0, 255)
    canvas.pixels[edge : edge + 2] = canvas.pixels[edge : edge + 2] * 3 >> 2


def thing(canvas: Canvas, stream: Stream, x: int, y: int, radius: int, look: Look) -> None:
    """Paint one thing that stands on (x, y): a ball, fruit, box, bottle, cup, pile of books or can."""
    kind = stream.choice(("ball", "ball", "fruit", "box", "bottle", "cup", "books", "can"))
    drift = -look.lamp[0] * radius // 160
    canvas.shadow(x + drift, y, radius * 5 // 4 + 2, max(2, radius * 2 // 5), 96)
    at, grain = stream.integer(0, 110), stream.integer(10, 130)
    look = look._replace(texture=look.texture[at:, at:])
    if kind in ("ball", "fruit"):
        ry = radius if kind == "ball" else radius * stream.integer(80, 116) // 100
        gloss = stream.integer(0, 200)
        canvas.ball(x, y - ry * 4 // 5, radius, ry, *look, grain=grain, gloss=gloss)
        if kind == "fruit":
            canvas.rectangle(x, y - ry * 9 // 5 - 3, 2, max(3, radius // 3), (70, 54, 36))
    elif kind == "box":
        _box(canvas, stream, x, y, radius, look)
    elif kind == "books":
        _books(canvas, stream, x, y, radius, look.colour)
    else:
        _round(canvas, stream, kind, x, y, radius, look)


def _box(canvas: Canvas, stream: Stream, x: int, y: int, radius: int, look: Look) -> None:
    wide, tall = radius * stream.integer(12, 26) // 10, radius * stream.integer(12, 34) // 10
    deep = max(2, wide * stream.integer(15, 40) // 100)
    face = _surface(stream, wide, min(tall, 120), look)
    tall = face.shape[0]
    canvas.rectangle(x - wide // 2, y - tall, wide, tall, face)
    to_right = look.lamp[0] < 0
    dark = mixed(look.colour, (0, 0, 0), 56)
    for i in range(deep // 2):
        at = x + wide // 2 + i if to_right else x - wide // 2 - 1 - i
        canvas.rectangle(at, y - tall - i, 1, tall, dark)
        lean = i if to_right else -i
        canvas.rectangle(x - wide // 2 + lean, y - tall - 1 - i, wide, 1, mixed(look.colour, (255, 255, 255), 40))


def _surface(stream: Stream, wide: int, tall: int, look: Look) -> Field:
    """Return a printed face (tall, wide, 3): plain, striped, chequered or with a label."""
    shade = 118 + (tiled(look.texture, tall, wide).astype(np.int32) * stream.integer(10, 50) >> 7)
    out = (shade[..., None] * np.array(look.colour, np.int32) >> 7).clip(0, 255)
    other = np.array(varied(stream, mixed(look.colour, (235, 232, 225), 84), 30), np.int32)
    kind, pitch = stream.integer(0, 5), stream.integer(3, 11)
    rows, columns = np.arange(out.shape[0])[:, None], np.arange(wide)[None]
    if kind == 1:
        out = np.where(((rows // pitch % 2) == 0)[..., None] & (columns >= 0)[..., None], out, other)
    elif kind == 2:
        out = np.where((((rows // pitch) + (columns // pitch)) % 2 == 0)[..., None], out, other)
    elif kind == 3:
        inner = (rows > tall // 4) & (rows < tall * 3 // 4) & (columns > wide // 6) & (columns < wide * 5 // 6)
        lines = inner & (rows % 5 < 2) & (columns % 7 < 5)
        out = np.where(inner[..., None], np.where(lines[..., None], np.array((40, 40, 44)), other), out)
    return out.astype(np.int16)


def _books(canvas: Canvas, stream: Stream, x: int, y: int, radius: int, colour: Colour) -> None:
    for i in range(stream.integer(2, 6)):
        wide, thick = radius * stream.integer(18, 30) // 10, max(3, radius * stream.integer(2, 6) // 10)
        tone = varied(stream, colour, 50)
        left = x - wide // 2 + stream.integer(-3, 4)
        y -= thick
        canvas.rectangle(left, y, wide, thick, tone)
        canvas.rectangle(left, y, wide, 1, mixed(tone, (255, 255, 255), 40))
        canvas.rectangle(left + wide - max(2, wide // 12), y + 1, max(2, wide // 12), thick - 1, (226, 220, 204))
        if i % 2:
            canvas.rectangle(left + wide // 4, y + thick // 3, wide // 3, max(1, thick // 4), (228, 214, 170))


def _round(canvas: Canvas, stream: Stream, kind: str, x: int, y: int, radius: int, look: Look) -> None:
    half = max(3, radius * stream.integer(5, 8) // 10)
    tall = min(150, radius * {"bottle": 30, "cup": 14, "can": 20}[kind] // 10)
    _column(canvas, stream, x, y, half, tall, look)
    if kind == "bottle":
        neck = max(1, half // 3)
        canvas.ball(x, y - tall, half, max(2, half * 2 // 3), look.colour, light=look.lamp, gloss=90)
        dark = look._replace(colour=mixed(look.colour, (0, 0, 0), 14))
        _column(canvas, stream, x, y - tall, neck, half * 2, dark)
        canvas.rectangle(x - neck - 1, y - tall - half * 2 - 3, 2 * neck + 2, 4, varied(stream, (180, 150, 90), 40))
    else:
        rim = max(2, half // 4)
        canvas.ball(x, y - tall, half, rim, mixed(look.colour, (255, 255, 255), 50), flat=110)
        canvas.ball(x, y - tall, half * 5 // 6, max(1, rim * 3 // 4), mixed(look.colour, (0, 0, 0), 76), flat=110)


def _column(canvas: Canvas, stream: Stream, x: int, y: int, half: int, tall: int, look: Look) -> None:
    _, normal, _, depth = body(half, 1)
    middle = normal.shape[0] // 2
    across = (
        normal[middle, 1:-1].astype(np.int32) * look.lamp[0] + depth[middle, 1:-1].astype(np.int32) * look.lamp[2]
    ) >> 7
    shade = (60 + across).clip(20, 170)
    face = _surface(stream, 2 * half + 1, tall, look).astype(np.int32)
    lit = (face * shade[None, : face.shape[1], None] >> 7).clip(0, 255).astype(np.int16)
    canvas.rectangle(x - half, y - tall, face.shape[1], tall, lit)
