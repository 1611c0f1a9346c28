"""References that most of a query's keypoints point to: exact nearest neighbours over all reference keypoints.

After ``local_fea/faiss_search/db_search.py`` in sun-xl/ISC2021, which searched in half precision; here the distances
are whole numbers and exact. Of equal distances the earlier reference counts.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from ndec_baselines.esvitp.nearest import Nearest
from ndec_bench.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from ndec_baselines.esvitp.store import KeypointFiles

FEWEST_KEYPOINTS = 10
"""Images with fewer take no part, neither as query nor as reference (``siftfp_extract.cpp``)."""

MORE_THAN_VOTES = 3
MORE_THAN_VOTES_ALONE = 5
BELOW_MEAN_DISTANCE = 8000

QUERY_KEYPOINTS = 1 << 20
"""Query keypoints per pass over the references: 0.13 GB, and 0.07 GB for their neighbours."""
REFERENCE_KEYPOINTS = 1 << 16


def recalled(
    queries: KeypointFiles,
    references: KeypointFiles,
    *,
    workers: int,
    progress: Progress = silent,
    stage: str = "matching keypoints",
    query_keypoints: int = QUERY_KEYPOINTS,
    reference_keypoints: int = REFERENCE_KEYPOINTS,
) -> list[tuple[int, int]]:
    """Return (query, reference) places for the queries that recall a reference, see `elected`; sorted by query.

    Memory holds ``query_keypoints`` and ``reference_keypoints`` at a time (or one image, if it has more); they change
    the time, never the result. Each pass over the references serves one block of queries.

    Parameters
    ----------
    workers
        Threads.
    progress, stage
        Called as ``progress(stage, done, total)`` in references times passes.
    """
    enough = np.flatnonzero(queries.counts >= FEWEST_KEYPOINTS)
    blocks = list(_runs(queries.counts, enough, query_keypoints))
    pairs = []
    total = len(blocks) * len(references.ids)
    progress(stage, 0, max(total, 1))
    with ThreadPoolExecutor(workers, thread_name_prefix="recall") as pool, threadpool_limits(1, "blas"):
        for number, (first, last) in enumerate(blocks):
            nearest = Nearest(queries.descriptors(first, last), pool)
            for start, stop in _runs(references.counts, np.arange(len(references.ids)), reference_keypoints):
                counts = references.counts[start:stop]
                owners = np.repeat(np.arange(start, stop), counts)
                kept = np.repeat(counts >= FEWEST_KEYPOINTS, counts)
                nearest.offer(references.descriptors(start, stop)[kept], owners[kept])
                progress(stage, number * len(references.ids) + stop, total)
            distances = nearest.distances()
            bounds = np.concatenate([[0], np.cumsum(queries.counts[first:last])])
            for query in enough[(enough >= first) & (enough < last)].tolist():
                its = slice(bounds[query - first], bounds[query - first + 1])
                reference = elected(nearest.owners[its], distances[its])
                if reference is not None:
                    pairs.append((query, reference))
    progress(stage, max(total, 1), max(total, 1))
    return pairs


def elected(owners: NDArray[np.int64], distances: NDArray[np.int64]) -> int | None:
    """Return the reference that a query recalls, or None.

    Every keypoint of the query votes for the reference of its nearest keypoint. The one with most votes is recalled
    if it has more than three and more than the next, and its mean squared distance is below 8000; if no other got a
    vote, more than five are asked. Owners of −1 (no reference at all) do not vote.
    """
    voters = owners >= 0
    names, votes = np.unique(owners[voters], return_counts=True)
    if not len(names):
        return None
    winner = int(votes.argmax())
    if len(names) > 1:
        clear = votes[winner] > MORE_THAN_VOTES and votes[winner] > np.delete(votes, winner).max()
    else:
        clear = votes[winner] > MORE_THAN_VOTES_ALONE
    if clear and distances[owners == names[winner]].mean() < BELOW_MEAN_DISTANCE:
        return int(names[winner])
    return None


def _runs(counts: NDArray[np.int64], images: NDArray[np.int64], most: int) -> Iterator[tuple[int, int]]:
    """Yield bounds (first, last) of runs of images that cover ``images`` and hold at most ``most`` keypoints each."""
    first, held = -1, 0
    for image in images.tolist():
        if first >= 0 and held + counts[image] > most:
            yield first, image
            first = -1
        if first < 0:
            first, held = image, 0
        held += int(counts[image])
    if first >= 0:
        yield first, int(images[-1]) + 1
