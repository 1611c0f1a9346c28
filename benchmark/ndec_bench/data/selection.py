"""Ids chosen by hash: the same on every machine, for every version of every library, whatever else is chosen."""

from __future__ import annotations

import hashlib
import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def chosen(ids: Iterable[str], count: int, key: str) -> tuple[str, ...]:
    """Return the ``count`` ids with the smallest SHA-256 of ``"KEY ID"``, sorted; all of them if there are fewer.

    A larger count holds the smaller one whole.

    Parameters
    ----------
    ids
        Ids to choose from, in any order.
    count
        How many.
    key
        Name of the choice, with its seed if it has one.
    """
    ranked = ((hashlib.sha256(f"{key} {each}".encode()).digest(), each) for each in ids)
    return tuple(sorted(each for _, each in heapq.nsmallest(count, ranked)))
