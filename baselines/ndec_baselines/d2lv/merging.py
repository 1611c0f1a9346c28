"""One score per pair from the lists of many models: arithmetic alone.

Sources, in WangWenhao0716/ISC-Track1-Submission at 3484142c05, ``Test/``: ``final/*/aggregate.py`` (three backbones),
``final/combine.py`` (twelve lists of one size), ``agg_256_320_200.py``, ``aggnew_1.py``, ``top2.py``, ``aggnew_2.py``
and ``submit.py`` (sizes). They go through CSV files with scores rounded to six decimals, and some of their rules ask
for equal scores; here scores stay float64 and are equal only if all their bits are. Duplicate rows that their joins
make on the way are not made, as they are taken out afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

WHOLE = -1
"""Crop number of an image that has none: its id carries no suffix."""

PENALTY = 0.05
UNPENALISED = (0, *range(1000, 1020))
"""Crop numbers of queries whose scores stay: the whole image (``_0``) and the first twenty detections."""


MAX_IMAGES = 1 << 21
MAX_CROPS = (1 << 11) - 1


@dataclass(frozen=True, eq=False)
class Rows:
    """Scored pairs of crops, as parallel arrays of n.

    Attributes
    ----------
    queries, references
        int32 places in the lists of ids.
    query_crops, reference_crops
        int16 crop numbers, or `WHOLE`.
    scores
        float64.
    """

    queries: NDArray[np.int32]
    query_crops: NDArray[np.int16]
    references: NDArray[np.int32]
    reference_crops: NDArray[np.int16]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, rows: NDArray[Any]) -> Rows:
        """Return the rows at ``rows``, indices or a mask, in that order."""
        return Rows(
            self.queries[rows],
            self.query_crops[rows],
            self.references[rows],
            self.reference_crops[rows],
            self.scores[rows],
        )

    def of_crops(self) -> NDArray[np.int64]:
        """Return (n,) int64, a number for each pair of crops: the same for the same pair in any list."""
        query = crop_keys(self.queries, self.query_crops)
        pairs: NDArray[np.int64] = (query << 32) + crop_keys(self.references, self.reference_crops)
        return pairs

    def stripped(self) -> Rows:
        """Return the rows as pairs of whole images."""
        whole = np.full(len(self), WHOLE, dtype=np.int16)
        return replace(self, query_crops=whole, reference_crops=whole)


def crop_keys(images: NDArray[Any], crops: NDArray[Any]) -> NDArray[np.int64]:
    """Return (n,) int64 of 32 bits, a number for each crop of an image: see `MAX_IMAGES` and `MAX_CROPS`."""
    keys: NDArray[np.int64] = (images.astype(np.int64) << 11) + crops + 1
    return keys


def joined(parts: Sequence[Rows]) -> Rows:
    """Return the rows of all parts, one after the other; at least one part is given."""
    return Rows(
        np.concatenate([part.queries for part in parts]),
        np.concatenate([part.query_crops for part in parts]),
        np.concatenate([part.references for part in parts]),
        np.concatenate([part.reference_crops for part in parts]),
        np.concatenate([part.scores for part in parts]),
    )


def agreed(lists: Sequence[Rows], least: int) -> Rows:
    """Return the rows of those pairs of crops that are in at least ``least`` of the lists, with each list's score.

    Each list holds a pair once. D2LV asks for two of three backbones with cropped queries, for all three with cropped
    references.
    """
    rows = joined(lists)
    _, place, times = np.unique(rows.of_crops(), return_inverse=True, return_counts=True)
    return rows.take(times[place] >= least)


def without_repeats(rows: Rows) -> Rows:
    """Return the first of rows that are equal in pair of crops and score."""
    return rows.take(np.sort(_groups(rows.of_crops(), rows.scores)[0]))


def without_small(rows: Rows, small: NDArray[np.int64]) -> Rows:
    """Return the rows whose query crop is none of ``small``, given by its number of `crop_keys`."""
    return rows.take(~np.isin(crop_keys(rows.queries, rows.query_crops), small))


def of_whole_images(rows: Rows) -> Rows:
    """Return cropped references' rows as pairs of whole images; the published list of faces (face_del.npy) is not used.

    Rows that are equal once they have lost their crops vanish, all of them: so combine.py's removal works.
    """
    rows = without_repeats(rows).stripped()
    first, times = _groups(rows.of_crops(), rows.scores)
    return rows.take(np.sort(first[times == 1]))


def penalised(rows: Rows) -> Rows:
    """Return the rows, 0.05 taken off where the query's crop is not of `UNPENALISED`.

    Rows without a crop number lose it too: those of cropped references have lost their suffix before (combine.py
    L85-L94).
    """
    stay = np.isin(rows.query_crops, np.array(UNPENALISED, dtype=np.int16))
    return replace(rows, scores=np.where(stay, rows.scores, rows.scores - PENALTY))


def of_one_size(cropped_queries: Sequence[Rows], cropped_references: Rows | None) -> Rows:
    """Return the rows of all lists of one size of input, penalised.

    ``cropped_queries`` are lists that went through `agreed` and `without_small`, ``cropped_references`` one that went
    through `of_whole_images`.
    """
    lists = [without_repeats(rows) for rows in cropped_queries]
    return penalised(joined(lists if cropped_references is None else [*lists, cropped_references]))


def final(sizes: Sequence[Rows]) -> Rows:
    """Return one row per pair of images, by query and reference: the mean of its best and its second score.

    The second score is the largest that differs from the best and occurs only once for the pair, over all crops,
    models and sizes; without one the best score is taken (top2.py). Equal rows count once before that.
    """
    rows = without_repeats(joined(sizes)).stripped()
    pairs, place = np.unique(rows.of_crops(), return_inverse=True)
    best = np.full(len(pairs), -np.inf)
    np.maximum.at(best, place, rows.scores)
    first, times = _groups(rows.of_crops(), rows.scores)
    others = first[(times == 1) & (rows.scores[first] != best[place[first]])]
    second = np.full(len(pairs), -np.inf)
    np.maximum.at(second, place[others], rows.scores[others])
    where = np.empty(len(pairs), dtype=np.int64)
    where[place[::-1]] = np.arange(len(rows))[::-1]
    scores = np.where(np.isfinite(second), (best + second) / 2, best)
    return replace(rows.take(where), scores=scores)


def _groups(keys: NDArray[np.int64], scores: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first row of every group of rows with equal key and score, and how many rows the group has."""
    order = np.lexsort((scores, keys))  # stable: the first of a group comes first
    new = np.ones(len(order), dtype=bool)
    new[1:] = (keys[order[1:]] != keys[order[:-1]]) | (scores[order[1:]] != scores[order[:-1]])
    starts = np.flatnonzero(new)
    return order[starts], np.diff(np.append(starts, len(order)))
