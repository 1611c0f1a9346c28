"""Likeness of pictures in whole numbers: signatures of the whole, and local block matching.

All products are of whole numbers and stay below 2**24, so float32 matrix products give them exactly, in any order and
with any BLAS: the check comes to the same verdict on every machine.

Block matching finds a shared part of two photographs that a signature of the whole misses. Five blocks of each picture
are slid over every other picture, first coarsely; where two or more are found, again at twice the resolution and in the
fine detail alone, because coarsely any two horizons look alike. A block is scaled to a length of 1000, so a product is
a correlation in millionths.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ndec_bench.edits.raster import luma, resized

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from ndec_bench.edits.raster import Pixels

    Grey = NDArray[np.uint8]
    Blocks = NDArray[np.float32]
    Tones = NDArray[np.int16]

SIDE = 16
SCALE = 1000
LONG_SIDE, BLOCK = 96, 24
COARSE_LIMIT, FINE_LIMIT = 960_000, 800_000
# Blocks of a picture that must be found in the other one, of five.
ENOUGH = 2
# Blocks with a smaller standard deviation, in grey levels, match anything and are left out.
FLAT, FLAT_DETAIL = 6, 2


# What a picture may have been through, on the last two axes of an array.
TURNS: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "upright": lambda pictures: pictures,
    "mirrored": lambda pictures: pictures[..., ::-1],
    **{f"turned by {90 * k}": partial(np.rot90, k=k, axes=(-2, -1)) for k in (1, 2, 3)},
}


def signature(pixels: Pixels) -> Tones:
    """Return the signature (256,), int16, of a picture (height, width, 3), uint8.

    It is the luma of 16 x 16 cells, mean removed, scaled to a length of 1000: a product is a correlation in millionths.
    """
    small = luma(resized(pixels, SIDE, SIDE)).astype(np.int64)
    centred = small * small.size - int(small.sum())
    length = math.isqrt(int((centred * centred).sum())) or 1
    return (centred * SCALE // length).astype(np.int16).reshape(-1)


def turned(tones: Tones, turn: str) -> Tones:
    """Return the signatures (n, 256) of the pictures after ``turn``."""
    return TURNS[turn](tones.reshape(-1, SIDE, SIDE)).reshape(-1, SIDE * SIDE)


def slopes(tones: Tones) -> Tones:
    """Return the difference hashes (n, 480), 1 and -1, of signatures: signs of the steps to the right and downwards."""
    grid = tones.reshape(-1, SIDE, SIDE)
    steps = [(np.diff(grid, axis=axis) > 0).reshape(len(grid), -1) for axis in (2, 1)]
    return 2 * np.concatenate(steps, axis=1).astype(np.int16) - 1


def small_grey(pixels: Pixels) -> Grey:
    """Return the luma at a long side of 96 pixels, uint8, even sides: what is kept of a picture for the comparison."""
    height, width = pixels.shape[:2]
    wide, tall = (max(BLOCK, side * LONG_SIDE // max(height, width) // 2 * 2) for side in (width, height))
    return luma(resized(pixels, wide, tall)).astype(np.uint8)


def shared_parts(greys: Sequence[Grey]) -> list[tuple[int, int]]:
    """Return the pairs (i, j), i < j, of pictures where two or more of five blocks of one lie in the other."""
    windows = [_windows(_halved(grey), BLOCK // 2) for grey in greys]
    if not windows:
        return []
    probes = np.concatenate([_five(blocks, grid) for blocks, grid in windows])
    found: set[tuple[int, int]] = set()
    for j, (blocks, _) in enumerate(windows):
        best = (probes @ blocks.T).max(axis=1).reshape(-1, 5)
        for i in np.flatnonzero((best >= COARSE_LIMIT).sum(axis=1) >= ENOUGH).tolist():
            if i != j and _fine_hits(greys[i], greys[j]) >= ENOUGH:
                found.add((min(i, j), max(i, j)))
    return sorted(found)


def _fine_hits(first: Grey, second: Grey) -> int:
    blocks, grid = _windows(_detail(first), BLOCK, straight=True)
    best = (_five(blocks, grid) @ _windows(_detail(second), BLOCK, straight=True)[0].T).max(axis=1)
    return int((best >= FINE_LIMIT).sum())


def _detail(grey: Grey) -> NDArray[np.int64]:
    """Return what a 5 x 5 mean takes away, times 25: edges of horizons and walls weigh less in it than texture."""
    wide = grey.astype(np.int64)
    padded = np.pad(wide, 2, mode="edge")
    height, width = grey.shape
    total = sum(padded[i : i + height, j : j + width] for i in range(5) for j in range(5))
    detail: NDArray[np.int64] = np.clip((25 * wide - total) // 25, -24, 24)
    return detail


def _halved(grey: Grey) -> Grey:
    wide = grey.astype(np.int32)
    return ((wide[::2, ::2] + wide[1::2, ::2] + wide[::2, 1::2] + wide[1::2, 1::2] + 2) >> 2).astype(np.uint8)


def _windows(grey: NDArray[np.integer], side: int, *, straight: bool = False) -> tuple[Blocks, tuple[int, int]]:
    """Return all blocks (n, side²), float32 whole numbers of length 1000 (flat ones 0), and their grid.

    ``straight`` takes the means of rows and columns away: a table's edge or a horizon is not shared detail.
    """
    view = np.lib.stride_tricks.sliding_window_view(grey.astype(np.int64), (side, side))
    area = side * side
    blocks = view.reshape(-1, side, side)
    centred = blocks * area - blocks.sum(axis=(1, 2), keepdims=True)
    if straight:
        total = blocks.sum(axis=(1, 2), keepdims=True)
        rows, columns = blocks.sum(axis=2, keepdims=True), blocks.sum(axis=1, keepdims=True)
        centred = blocks * area - side * rows - side * columns + total
    centred = centred.reshape(-1, area)
    # IEEE 754 rounds square roots of whole numbers below 2**53 correctly, on every machine.
    length = np.sqrt((centred * centred).sum(axis=1).astype(np.float64))
    scaled = centred * SCALE // np.maximum(length, 1.0).astype(np.int64)[:, None]
    scaled[length < (FLAT_DETAIL if straight else FLAT) * area * side] = 0
    return scaled.astype(np.float32), (view.shape[0], view.shape[1])


def _five(blocks: Blocks, grid: tuple[int, int]) -> Blocks:
    """Return the blocks in the middle and near the four corners."""
    rows, columns = grid
    places = [(rows // 2, columns // 2)]
    places += [(r, c) for r in (rows // 5, rows - 1 - rows // 5) for c in (columns // 5, columns - 1 - columns // 5)]
    return np.stack([blocks[r * columns + c] for r, c in places])
