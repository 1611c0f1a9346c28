"""The record of scored pairs: their order of record and their digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndec_bench.matches.lines import text_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

COLUMNS = ("query_id", "reference_id", "score")
_ROWS_PER_STEP = 1 << 14
_MAX_KEYS = 4


@dataclass(frozen=True)
class Matches:
    """Scored pairs as parallel arrays; higher scores are more alike.

    Attributes
    ----------
    query_ids, reference_ids
        (n,) arrays of str (numpy unicode).
    scores
        (n,) float64, finite.
    """

    query_ids: NDArray[np.str_]
    reference_ids: NDArray[np.str_]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.scores)

    def sorted(self, limit: int | None = None) -> Matches:
        """Return the first ``limit`` pairs in the order of record: score descending, query id, reference id.

        The order knows nothing of the truth; ids compare by code point.
        """
        if limit is not None and 0 < limit < len(self):
            # Pairs below the last score that can make the list need no sorting.
            last = np.partition(self.scores, -limit)[-limit]
            rows = np.flatnonzero(self.scores >= last)
            if len(rows) < len(self):
                return self.take(rows).sorted(limit)
        keys = [*sort_keys(self.query_ids), *sort_keys(self.reference_ids)]
        order = np.lexsort((*reversed(keys), -self.scores))[:limit]
        return self.take(order)

    def take(self, rows: NDArray[Any]) -> Matches:
        """Return the pairs at ``rows`` (indices or a boolean mask), in that order."""
        return Matches(self.query_ids[rows], self.reference_ids[rows], self.scores[rows])

    @property
    def sha256(self) -> str:
        """Return the SHA-256 (hex) over ``query_id TAB reference_id TAB float.hex(score) LF`` in the present order."""
        digest = hashlib.sha256()
        for start in range(0, len(self), _ROWS_PER_STEP):
            part = slice(start, start + _ROWS_PER_STEP)
            digest.update(text_of(self.query_ids[part], self.reference_ids[part], self.scores[part]))
        return digest.hexdigest()


def sort_keys(ids: NDArray[np.str_]) -> list[NDArray[np.integer[Any]]]:
    """Return arrays of integers that order rows as ``ids`` does, the most important first.

    Eight ASCII characters, or two of any kind, are packed into one integer: sorting these is many times faster than
    sorting strings, and the padding zeros put a prefix before what it begins, as code point order does.
    """
    width = ids.dtype.itemsize // 4
    if not len(ids) or not width or ids.dtype.kind != "U" or not ids.dtype.isnative:
        return [np.unique(ids, return_inverse=True)[1]]
    points = np.ascontiguousarray(ids).view(np.uint32).reshape(len(ids), width)
    bits = 8 if points.max() < 1 << 8 else 32
    per_key = 64 // bits
    if width > _MAX_KEYS * per_key:
        return [np.unique(ids, return_inverse=True)[1]]
    keys = []
    for start in range(0, width, per_key):
        key = np.zeros(len(ids), dtype=np.uint64)
        for column in range(start, start + per_key):
            key <<= np.uint64(bits)
            if column < width:
                key |= points[:, column]
        keys.append(key)
    return list(keys)
