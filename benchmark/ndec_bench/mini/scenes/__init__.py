"""Procedural scenes: pictures of our own, each from a seed, with the statistics and the look-alikes of photographs."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

_GENERATORS: dict[Family, Callable[[Scene], NDArray[np.uint8]]] = {
    "landscape": landscape,
    "still": still,
    "leaves": leaves,
    "facade": facade,
    "meadow": meadow,
    "page": page,
}


def drawn(scene: Scene) -> NDArray[np.uint8]:
    """Return the pixels (height, width, 3), uint8, of ``scene``; the same for the same scene on every machine."""
    return _GENERATORS[scene.family](scene)
