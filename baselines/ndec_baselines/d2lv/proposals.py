"""Parts of a picture that may be pictures of their own: selective search, thinned.

Uijlings, van de Sande, Gevers, Smeulders, "Selective Search for Object Recognition", IJCV 2013, in the form of the
package selectivesearch 0.4 (MIT), which D2LV calls with scale 500, sigma 0.9 and a least size of 10: regions of
Felzenszwalb and Huttenlocher (scikit-image), joined by similarity two at a time until none touch. That package has
peculiarities, which are kept because they decide what is joined: hue and saturation lie between 0 and 1 but are counted
in 25 bins from 0 to 255, so that of the colours only the value tells regions apart; of the texture codes, 0 to 255,
only 0 and 1 are counted, in 10 bins from 0 to 1; and regions touch if a corner of the later one's box lies inside the
earlier one's. The package loops over pixels; here everything is counted at once, with the same sums in the same order.

D2LV (``Test/augmentation/query/selective_search_nms.py``) thins the boxes, all of one score, in the order in which a
Python set gives them. Here the region found last comes first, so that large regions are kept before their parts.
"""

from __future__ import annotations

import heapq
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Edges = list[dict[int, int]]
    Heap = list[tuple[float, int, int, int]]
    Corners = tuple[int, int, int, int]

SCALE, SIGMA, LEAST_SEGMENT = 500, 0.9, 10
LEAST_PIXELS = 2000
MOST_STRETCHED = 2
MOST_OVERLAP = 0.5
MAX_SEGMENTS = 20_000
"""A picture that falls apart into more (of the published size none does) has no proposals: every pair is compared."""
_VALUE_BINS = 25


@dataclass(frozen=True)
class Regions:
    """The regions of one picture: segments in raster order of their first pixel, then joined ones as they arose.

    Attributes
    ----------
    boxes
        (n, 4) int64: first column, first row, last column, last row.
    pixels
        (n,) int64.
    """

    boxes: NDArray[np.int64]
    pixels: NDArray[np.int64]


def proposals(picture: NDArray[np.uint8]) -> list[Corners]:
    """Return the boxes (left, top, right, bottom) worth cutting out of a picture (height, width, 3), first to last.

    They have regions of at least 2,000 pixels, are at most twice as long as wide, and overlap by at most one half.
    """
    latest_first = worth_cutting(regions(picture))[::-1]
    return [latest_first[row] for row in thinned(np.array(latest_first, dtype=np.int64).reshape(-1, 4))]


def worth_cutting(found: Regions) -> list[Corners]:
    """Return the different boxes of large, compact regions, in the order of the regions.

    Width and height are last minus first, as in the package, so a box lacks its last column and row.
    """
    kept: dict[Corners, None] = {}
    for (left, top, right, bottom), pixels in zip(found.boxes.tolist(), found.pixels.tolist(), strict=True):
        width, height = right - left, bottom - top
        if pixels >= LEAST_PIXELS and 0 < width <= MOST_STRETCHED * height and height <= MOST_STRETCHED * width:
            kept[left, top, right, bottom] = None
    return list(kept)


def thinned(boxes: NDArray[np.int64], most: float = MOST_OVERLAP) -> list[int]:
    """Return the rows of ``boxes`` (n, 4) that stay when each takes away the later ones it overlaps by more than most.

    Overlap is intersection over union, both with one pixel added to width and height.
    """
    left, top, right, bottom = boxes.T
    areas = (right - left + 1) * (bottom - top + 1)
    order = np.arange(len(boxes))
    kept = []
    while len(order):
        first, rest = order[0], order[1:]
        kept.append(int(first))
        wide = np.minimum(right[first], right[rest]) - np.maximum(left[first], left[rest]) + 1
        high = np.minimum(bottom[first], bottom[rest]) - np.maximum(top[first], top[rest]) + 1
        common = np.maximum(0, wide) * np.maximum(0, high)
        order = rest[common / (areas[first] + areas[rest] - common) <= most]
    return kept


def regions(picture: NDArray[np.uint8]) -> Regions:
    """Return all regions of a picture (height, width, 3) uint8, segments and joined ones."""
    labels, count = _segments(picture)
    if count > MAX_SEGMENTS:
        return Regions(np.empty((0, 4), dtype=np.int64), np.empty(0, dtype=np.int64))
    # Joining can only halve: n segments give at most n − 1 joined regions.
    search = _Joining(picture, labels, count)
    search.join_all()
    return Regions(search.boxes[: search.count], search.pixels[: search.count])


class _Joining:
    def __init__(self, picture: NDArray[np.uint8], labels: NDArray[np.int64], count: int) -> None:
        self.count = count
        self._all_pixels = labels.size
        room = 2 * count - 1
        self.pixels = np.zeros(room, dtype=np.int64)
        self.pixels[:count] = np.bincount(labels.ravel(), minlength=count)
        self.boxes = np.zeros((room, 4), dtype=np.int64)
        self.boxes[:count] = _boxes(labels, count)
        # Hue and saturation of any region fill one bin each: their common share is 1 + 1.
        self._colours = np.full((room, 1 + _VALUE_BINS), 2.0)
        self._colours[:count, 1:] = _shares(_value_bins(picture), labels, _VALUE_BINS) / self.pixels[:count, None]
        self._textures = np.zeros((room, 6))
        self._textures[:count] = _texture_counts(picture, labels, count) / self.pixels[:count, None]
        self._edges: Edges = [{} for _ in range(room)]
        self._heap: Heap = []
        self._inserted = 0

    def join_all(self) -> None:
        for first in range(self.count - 1):
            self._connect(first, first + 1 + np.flatnonzero(_touching(self.boxes, first, self.count)))
        while self._heap:
            _, edge, first, second = heapq.heappop(self._heap)
            if self._edges[first].get(second) == -edge:
                self._join(first, second)

    def _connect(self, region: int, others: NDArray[np.int64]) -> None:
        """Put the pairs of ``region`` and ``others`` on the heap: the most alike first, of equals the latest."""
        for other, likeness in zip(others.tolist(), self._likeness(region, others).tolist(), strict=True):
            self._inserted += 1
            self._edges[region][other] = self._edges[other][region] = self._inserted
            heapq.heappush(self._heap, (-likeness, -self._inserted, region, other))

    def _join(self, first: int, second: int) -> None:
        edges = self._edges
        del edges[first][second], edges[second][first]
        joined, size = self.count, self.pixels[first] + self.pixels[second]
        self.count += 1
        self.pixels[joined] = size
        self.boxes[joined, :2] = np.minimum(self.boxes[first, :2], self.boxes[second, :2])
        self.boxes[joined, 2:] = np.maximum(self.boxes[first, 2:], self.boxes[second, 2:])
        for shares in (self._colours, self._textures):
            shares[joined] = (shares[first] * self.pixels[first] + shares[second] * self.pixels[second]) / size
        self._colours[joined, 0] = 2.0
        around = sorted((edge, other) for part in (first, second) for other, edge in edges[part].items())
        others = list(dict.fromkeys(other for _, other in around))
        for part in (first, second):
            for other in edges[part]:
                del edges[other][part]
            edges[part] = {}
        if others:
            self._connect(joined, np.array(others, dtype=np.int64))

    def _likeness(self, region: int, others: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return how alike ``region`` is to ``others``: common colours, common textures, small, filling their box."""
        colours = np.minimum(self._colours[region], self._colours[others]).cumsum(axis=1)[:, -1]  # added left to right
        textures = np.minimum(self._textures[region], self._textures[others]).cumsum(axis=1)[:, -1]
        boxes, pixels = self.boxes, self.pixels
        low = np.minimum(boxes[region, :2], boxes[others, :2])
        high = np.maximum(boxes[region, 2:], boxes[others, 2:])
        holes = (high - low).prod(axis=1) - pixels[region] - pixels[others]
        small = 1.0 - (pixels[region] + pixels[others]) / self._all_pixels
        likeness: NDArray[np.float64] = colours + textures + small + (1.0 - holes / self._all_pixels)
        return likeness


def _segments(picture: NDArray[np.uint8]) -> tuple[NDArray[np.int64], int]:
    """Return the segment of each pixel (height, width), counted in raster order of first pixels, and their number."""
    from skimage.segmentation import felzenszwalb
    from skimage.util import img_as_float

    scaled = img_as_float(picture)  # type: ignore[no-untyped-call]
    found = felzenszwalb(scaled, scale=SCALE, sigma=SIGMA, min_size=LEAST_SEGMENT)
    _, first, labels = np.unique(found.ravel(), return_index=True, return_inverse=True)
    ranks = np.empty(len(first), dtype=np.int64)
    ranks[np.argsort(first)] = np.arange(len(first))
    return ranks[labels].reshape(found.shape), len(first)


def _boxes(labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return (count, 4): first column, first row, last column, last row of each segment."""
    from scipy import ndimage

    slices = ndimage.find_objects(labels + 1, max_label=count)
    return np.array([(x.start, y.start, x.stop - 1, y.stop - 1) for y, x in slices], dtype=np.int64)


def _touching(boxes: NDArray[np.int64], first: int, count: int) -> NDArray[np.bool_]:
    """Return (count − first − 1,) bool: those later regions with a corner strictly inside the box of ``first``."""
    left, top, right, bottom = boxes[first].tolist()
    later = boxes[first + 1 : count]
    columns = ((left < later[:, 0]) & (later[:, 0] < right)) | ((left < later[:, 2]) & (later[:, 2] < right))
    rows = ((top < later[:, 1]) & (later[:, 1] < bottom)) | ((top < later[:, 3]) & (later[:, 3] < bottom))
    touching: NDArray[np.bool_] = columns & rows
    return touching


def _value_bins(picture: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the bin of each pixel's value (its largest channel), as numpy.histogram(·, 25, (0, 255)) sorts them."""
    edges = np.histogram_bin_edges([], _VALUE_BINS, (0.0, 255.0))
    of_value = np.minimum(np.searchsorted(edges, np.arange(256), side="right") - 1, _VALUE_BINS - 1)
    bins: NDArray[np.int64] = of_value[picture.max(axis=2)]
    return bins


def _shares(bins: NDArray[np.int64], labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return (segments, count): pixels of each segment in each bin."""
    keys = labels.ravel() * count + bins.ravel()
    return np.bincount(keys, minlength=(int(labels.max()) + 1) * count).reshape(-1, count)


def _texture_counts(picture: NDArray[np.uint8], labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return (count, 6): pixels of each segment whose local binary pattern is 0 and 1, in each channel."""
    from skimage.feature import local_binary_pattern

    columns = []
    for channel in range(3):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # older versions warn of what they do not do to integers
            codes = local_binary_pattern(picture[:, :, channel], 8, 1.0)  # type: ignore[no-untyped-call]
        columns += [np.bincount(labels[codes == code], minlength=count) for code in (0, 1)]
    return np.stack(columns, axis=1)
