"""Scores of pairs by keypoints: a count of unique nearest neighbours at places of their own.

After ``match_keypoint_d_sse2`` in ``local_fea/source_code/util_src/fast_sift_static/sift_feature_match_sse2.c`` and
``imgCompareTwo_xl`` in ``util_src/sift/imgcompare.cpp`` of sun-xl/ISC2021.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_baselines.esvitp.sift import Keypoints

UNIQUE = np.float32(1.8)
"""A best squared distance counts if 1.8 times it is below the second best: 0.745 as a ratio of distances."""

_NEVER = np.float32(0x7FFFFFFF)


def pair_score(reference: Keypoints, query: Keypoints) -> int:
    """Return the larger match count of the reference as it is and mirrored against the query."""
    return max(match_count(reference, query), match_count(reference.mirrored(), query))


def match_count(reference: Keypoints, query: Keypoints) -> int:
    """Return how many reference keypoints have a unique nearest query keypoint, places counted once.

    In the order of the reference's keypoints, a match at a place (rounded to whole pixels, halves to even) that an
    accepted match has already, in either image, replaces that match if its squared distance is not larger, and
    adds nothing to the count. The published order is by octave and row, this one OpenCV's.
    """
    if not len(reference) or not len(query):
        return 0
    rows, nearest, best = _unique(reference.descriptors, query.descriptors)
    here, there = _places(reference.positions)[rows], _places(query.positions)[nearest]
    slots_here, slots_there = np.empty_like(here), np.empty_like(there)
    slots_best = np.empty_like(best)
    count = 0
    for place, other, distance in zip(here, there, best, strict=True):
        taken = slots_here[:count] == place
        _replace(taken, distance, place, other, slots_here, slots_there, slots_best)
        # After the replacement, as in the published loop, whose second test sees the slot as the first one left it.
        seen = slots_there[:count] == other
        _replace(seen, distance, place, other, slots_here, slots_there, slots_best)
        if not taken.any() and not seen.any():
            slots_here[count], slots_there[count], slots_best[count] = place, other, distance
            count += 1
    return count


def squared_distances(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (n, m) float32 squared distances of RootSIFT rows, exact: all sums are whole numbers below 2^24.

    The largest conceivable sum of uint8 values is 128 · 255² = 8,323,200, and twice a product of two rows of length
    255 less than that; float32 holds every whole number up to 16,777,216.
    """
    one, two = first.astype(np.float32), second.astype(np.float32)
    norms_one, norms_two = (np.einsum("ij,ij->i", rows, rows) for rows in (one, two))
    distances: NDArray[np.float32] = norms_one[:, None] + norms_two[None, :] - 2 * (one @ two.T)
    return distances


def _unique(
    reference: NDArray[np.uint8], query: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return the reference rows whose nearest query keypoint is unique, that keypoint's row, and the distance."""
    distances = squared_distances(reference, query)
    nearest = distances.argmin(axis=1)
    rows = np.arange(len(distances))
    best = distances[rows, nearest]
    distances[rows, nearest] = _NEVER
    kept = np.flatnonzero(UNIQUE * best < distances.min(axis=1))
    return kept, nearest[kept], best[kept]


def _places(positions: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return one number per rounded place."""
    x, y = np.rint(positions).astype(np.int64).T
    codes: NDArray[np.int64] = (x << 32) + y
    return codes


def _replace(
    which: NDArray[np.bool_],
    distance: np.float32,
    place: np.int64,
    other: np.int64,
    slots_here: NDArray[np.int64],
    slots_there: NDArray[np.int64],
    slots_best: NDArray[np.float32],
) -> None:
    rows = np.flatnonzero(which & (distance <= slots_best[: len(which)]))
    slots_here[rows], slots_there[rows], slots_best[rows] = place, other, distance
