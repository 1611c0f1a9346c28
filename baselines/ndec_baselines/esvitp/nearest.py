"""Exact nearest neighbours among RootSIFT descriptors: whole numbers, so that no order of additions matters.

The product that the search spends its time in is done in int8 by torch, where torch is there and its result is exact
on this processor, otherwise in float32 by numpy. Both give the same numbers; int8 took a fifth of the time.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ndec_baselines.esvitp.sift import VALUES

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

    from numpy.typing import NDArray

    Rows = NDArray[np.uint8]
    Product: TypeAlias = "SinglePrecision | WholeNumbers"

_QUERY_TILE, _REFERENCE_TILE = 1024, 2048
_MIDDLE = 128
_SIDE_ROWS = 1 << 16


class SinglePrecision:
    """The product of uint8 rows of 128 in float32: whole numbers below 2^24 are exact there.

    With uint8 values a squared length, and a product of two rows, is at most 128 · 255² = 8,323,200. Every partial sum
    of 2 q·r − |r|² lies between minus that and twice that, 16,646,400; 2^24 is 16,777,216.
    """

    def squared(self, rows: Rows) -> NDArray[np.int64]:
        """Return (n,) squared lengths from zero."""
        return _squared(rows.astype(np.int32))

    def side(self, rows: Rows) -> NDArray[np.float32]:
        """Return (129, m): twice the references as columns, and minus their squared lengths."""
        side = np.empty((VALUES + 1, len(rows)), dtype=np.float32)
        side[:VALUES] = rows.T
        side[:VALUES] *= 2
        side[VALUES] = -self.squared(rows)
        return side

    def scores(self, rows: Rows, side: Any, start: int, stop: int) -> NDArray[np.float32]:  # noqa: ANN401 -- own form
        """Return 2 q·r − |r|², by a last column of ones that meets the last row of lengths."""
        mine = np.ones((len(rows), VALUES + 1), dtype=np.float32)
        mine[:, :VALUES] = rows
        scores: NDArray[np.float32] = mine @ side[:, start:stop]
        return scores


class WholeNumbers:
    """The product in int8, of values less 128, which changes no distance; sums are int32."""

    def __init__(self) -> None:
        import torch

        from ndec_baselines.networks.inference import one_thread

        self._torch: Any = torch
        self._one_thread = one_thread

    def squared(self, rows: Rows) -> NDArray[np.int64]:
        """Return (n,) squared lengths from (128, ..., 128)."""
        return _squared(rows.astype(np.int32) - _MIDDLE)

    def side(self, rows: Rows) -> tuple[Any, NDArray[np.int32]]:
        """Return the references as int8 and their squared lengths."""
        return self._int8(rows), self.squared(rows).astype(np.int32)

    def scores(self, rows: Rows, side: Any, start: int, stop: int) -> NDArray[np.int32]:  # noqa: ANN401 -- own form
        """Return 2 q·r − |r|² of the shifted rows."""
        references, squared = side
        with self._one_thread():  # it belongs to the calling thread; the tiles are what runs side by side
            scores: NDArray[np.int32] = self._torch._int_mm(self._int8(rows), references[start:stop].T).numpy()
        scores *= 2
        scores -= squared[start:stop]
        return scores

    def _int8(self, rows: Rows) -> Any:  # noqa: ANN401 -- torch is imported on use
        # Flipping the highest bit of a uint8 and reading it as int8 takes 128 away.
        return self._torch.from_numpy((rows ^ np.uint8(_MIDDLE)).view(np.int8))


@cache
def fastest_product() -> Product:
    """Return int8 products if torch is there and gets them right on this processor, else float32.

    Processors without VNNI add pairs of int8 products in int16, which overflows; so the extremes are tried.
    """
    if find_spec("torch") is not None:
        try:
            product = WholeNumbers()
            if is_exact(product):
                return product
        except (ImportError, AttributeError, RuntimeError, NotImplementedError):
            pass  # a torch without this product: the other one is as good, only slower
    return SinglePrecision()


def is_exact(product: Product) -> bool:
    """Return whether a product is right for extreme and for random descriptors."""
    rng = np.random.default_rng(0)
    extremes = [np.full((8, VALUES), value) for value in (0, 1, 127, 128, 255)]
    rows = np.concatenate([*extremes, rng.integers(0, 256, (88, VALUES))]).astype(np.uint8)
    whole = rows.astype(np.int64)
    distances = ((whole[:, None] - whole[None]) ** 2).sum(axis=2)
    found = product.squared(rows)[:, None] - product.scores(rows, product.side(rows), 0, len(rows)).astype(np.int64)
    return np.array_equal(found, distances)


class Nearest:
    """The nearest offered keypoint of each of some keypoints.

    Attributes
    ----------
    owners
        (n,) int64: to whom it belongs; −1 before anything was offered.
    """

    def __init__(self, keypoints: Rows, pool: ThreadPoolExecutor, product: Product | None = None) -> None:
        """``keypoints`` are (n, 128) uint8; ``pool`` does the tiles; ``product`` changes the time, never the result."""
        self._keypoints, self._pool = keypoints, pool
        self._product = fastest_product() if product is None else product
        self._squared = np.zeros(len(keypoints), dtype=np.int64)
        for low in range(0, len(keypoints), _SIDE_ROWS):
            self._squared[low : low + _SIDE_ROWS] = self._product.squared(keypoints[low : low + _SIDE_ROWS])
        self.owners = np.full(len(keypoints), -1, dtype=np.int64)
        self._best = np.full(len(keypoints), np.iinfo(np.int64).min, dtype=np.int64)

    def distances(self) -> NDArray[np.int64]:
        """Return (n,) squared distances; the largest int64 before anything was offered."""
        known = self.owners >= 0
        return np.where(known, self._squared - np.where(known, self._best, 0), np.iinfo(np.int64).max)

    def offer(self, keypoints: Rows, owners: NDArray[np.int64]) -> None:
        """Compare with more keypoints (m, 128) of ``owners`` (m,); on equal distance the earlier one stays."""
        if not len(keypoints):
            return
        side = self._product.side(keypoints)
        list(self._pool.map(lambda low: self._tile(low, side, owners), range(0, len(self.owners), _QUERY_TILE)))

    def _tile(self, low: int, side: Any, owners: NDArray[np.int64]) -> None:  # noqa: ANN401 -- each product has its own form
        rows = self._keypoints[low : low + _QUERY_TILE]
        at = np.arange(len(rows))
        best, winners = self._best[low : low + len(rows)], self.owners[low : low + len(rows)]
        for start in range(0, len(owners), _REFERENCE_TILE):
            scores = self._product.scores(rows, side, start, min(start + _REFERENCE_TILE, len(owners)))
            nearest = scores.argmax(axis=1)
            top = scores[at, nearest].astype(np.int64)
            better = top > best
            best[better] = top[better]
            winners[better] = owners[start + nearest[better]]


def _squared(whole: NDArray[np.int32]) -> NDArray[np.int64]:
    squares: NDArray[np.int64] = np.einsum("ij,ij->i", whole, whole).astype(np.int64)
    return squares
