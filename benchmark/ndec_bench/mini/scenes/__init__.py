"""Procedural scenes: pictures of our own, each from a seed, with the statistics and the look-alikes of photographs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndec_bench.mini.canvas import Canvas
from ndec_bench.mini.scenes.base import CHANGED, FAMILIES, Change, Family, Scene
from ndec_bench.mini.scenes.facade import facade
from ndec_bench.mini.scenes.landscape import landscape
from ndec_bench.mini.scenes.leaves import leaves
from ndec_bench.mini.scenes.meadow import meadow
from ndec_bench.mini.scenes.page import page
from ndec_bench.mini.scenes.still import still

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["CHANGED", "FAMILIES", "Change", "Family", "Scene", "drawn"]

_PAINTERS: dict[Family, Callable[[Canvas, Scene], None]] = {
    "landscape": landscape, "still": still, "leaves": leaves, "facade": facade, "meadow": meadow, "page": page,
}  # fmt: skip


def drawn(scene: Scene) -> NDArray[np.uint8]:
    """Return the pixels (height, width, 3), uint8, of ``scene``; the same for the same scene on every machine."""
    width, height = scene.shape()
    canvas = Canvas(height, width)
    _PAINTERS[scene.family](canvas, scene)
    return canvas.finished(scene.stream("look"), scene.stream("noise"))
