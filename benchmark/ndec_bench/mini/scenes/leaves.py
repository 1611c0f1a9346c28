"""Dead leaves: overlapping textured bodies of all sizes, the classic model of occlusion in natural pictures.

Sizes follow a power law (Lee, Mumford, Huang: Occlusion Models for Natural Images, IJCV 2001), which makes the
spectrum fall like that of photographs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.mini.canvas import SURFACES, Canvas, gradient, material, mixed, varied
from ndec_bench.mini.scenes.base import TRAVEL

if TYPE_CHECKING:
    from ndec_bench.mini.canvas import Colour
    from ndec_bench.mini.scenes.base import Scene

PALETTES: tuple[tuple[Colour, ...], ...] = (
    ((150, 92, 44), (186, 120, 52), (112, 70, 42), (204, 160, 80), (86, 62, 44)),
    ((72, 96, 52), (104, 126, 64), (54, 70, 46), (140, 148, 84), (90, 74, 54)),
    ((126, 118, 108), (160, 152, 140), (96, 90, 84), (186, 178, 164), (72, 68, 66)),
    ((170, 60, 48), (206, 120, 60), (120, 50, 50), (222, 180, 110), (80, 60, 56)),
    ((66, 92, 120), (110, 136, 156), (44, 60, 84), (170, 184, 190), (120, 104, 92)),
    ((196, 176, 150), (224, 208, 184), (160, 136, 110), (120, 100, 84), (90, 96, 92)),
    ((210, 206, 196), (150, 70, 90), (90, 110, 80), (60, 58, 66), (220, 170, 150)),
)


def leaves(canvas: Canvas, scene: Scene) -> None:
    """Paint overlapping bodies: leaves, pebbles, fruit."""
    width, height = canvas.width, canvas.height
    layout, objects, light = scene.stream("layout"), scene.stream("objects"), scene.stream("light")
    tones = scene.stream("palette").choice(PALETTES)
    texture = material(scene.stream("texture"), 240, 240, layout.choice(SURFACES))
    ground = material(scene.stream("texture").child("ground"), height, width, layout.choice(SURFACES)).astype(np.int32)
    base = gradient(mixed(tones[4], (0, 0, 0), 40), mixed(tones[2], (0, 0, 0), 30), height).astype(np.int32)
    canvas.pixels[:] = (base[:, None] * (120 + (ground * 70 >> 7))[..., None] >> 7).clip(0, 255)
    lamp = (light.integer(-90, 91), -light.integer(20, 100), light.integer(50, 110))
    shine = scene.chosen("light", (96, 112, 128, 148))
    style = layout.choice(("leaf", "leaf", "pebble", "ball", "blade", "mixed"))
    count, most = layout.integer(22, 76), layout.integer(14, 64)
    grain = layout.integer(10, 180)
    flat, shine = layout.integer(0, 129), shine * layout.integer(90, 140) // 100
    travel = scene.travel() - TRAVEL // 2
    for i in range(count):
        # Inverse of the power law n(r) ~ r^-3 between 5 and `most`, at whole numbers.
        draw = layout.integer(1, 1000)
        radius = 5 + (most - 5) * 60 // (60 + draw)
        x, y = layout.integer(-20, width + 20), layout.integer(-10, height + 10)
        x -= travel * (20 + i) // (count + 20)
        angle = layout.integer(0, 18) * 20
        slim = {"leaf": (28, 50), "pebble": (60, 95), "ball": (96, 101), "blade": (10, 22), "mixed": (20, 101)}[style]
        thin = max(3, radius * objects.integer(*slim) // 100)
        tone = varied(objects, objects.choice(tones), 34)
        tone = mixed((0, 0, 0), tone, min(128, shine * (70 + 58 * i // count) >> 7))
        canvas.shadow(x + radius // 6, y + radius // 4, radius + 3, max(radius, thin) * 4 // 5 + 3, 60)
        at, across = objects.integer(0, 120), objects.integer(0, 120)
        look, gloss = (tone, lamp, texture[at:, across:]), objects.choice((0, 0, 60))
        canvas.ball(x, y, radius, thin, *look, grain=grain, degrees=angle, flat=flat, gloss=gloss)
