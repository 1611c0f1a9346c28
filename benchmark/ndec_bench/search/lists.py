"""Lists that fill up during a search: candidates with bounds of their scores, cut by margin or by the exact order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from numpy.typing import NDArray

    Rescore: TypeAlias = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]

_SPARE = 1 << 16


class CandidateList(ABC):
    """Candidates for one list. A candidate is dropped only when it cannot be in the final list.

    A candidate's score of record lies within ``margin`` of ``estimate``. If K candidates have lower bounds of at least
    x, one with an upper bound below x comes after all of them: it is dropped. When ties or wide margins keep too many
    that way, all are re-scored and cut by the order of record, which leaves exactly K. Memory is bounded either way.

    Attributes
    ----------
    query_rows, reference_rows
        (n,) int64.
    estimates, margins
        (n,) float64; a margin of zero says that the estimate is the score of record.
    thresholds
        (queries,) float64: what the upper bound of a new candidate must reach; +inf for queries outside the list.
    """

    per_query: ClassVar[bool]

    def __init__(
        self,
        cap: int,
        members: NDArray[np.bool_],
        query_ranks: NDArray[np.int64],
        reference_ranks: NDArray[np.int64],
        rescore: Rescore,
    ) -> None:
        """Open a list of ``cap`` pairs, or of ``cap`` pairs for each of ``members`` if it is made per query.

        ``query_ranks`` and ``reference_ranks`` give each row's place in the order of ids.
        """
        self.query_rows = np.zeros(0, dtype=np.int64)
        self.reference_rows = np.zeros(0, dtype=np.int64)
        self.estimates = np.zeros(0)
        self.margins = np.zeros(0)
        self.thresholds = np.where(members, -np.inf, np.inf)
        self._members = members
        self._cap = cap
        self._limit = cap * int(members.sum()) if self.per_query else cap
        self._query_ranks, self._reference_ranks = query_ranks, reference_ranks
        self._rescore = rescore

    def __len__(self) -> int:
        return len(self.estimates)

    def raise_to(self, floor: float) -> None:
        """Ask ``floor`` of every further candidate of a member query."""
        self.thresholds = np.maximum(self.thresholds, np.where(self._members, floor, np.inf))

    def add(
        self,
        query_rows: NDArray[np.int64],
        reference_rows: NDArray[np.int64],
        estimates: NDArray[np.float64],
        margins: NDArray[np.float64],
    ) -> None:
        """Add candidates; parallel arrays."""
        self.query_rows = np.concatenate([self.query_rows, query_rows])
        self.reference_rows = np.concatenate([self.reference_rows, reference_rows])
        self.estimates = np.concatenate([self.estimates, estimates])
        self.margins = np.concatenate([self.margins, margins])

    def shrink(self) -> None:
        """Drop what cannot be in the final list, if there is reason to look."""
        if len(self) > self._limit + self._limit // 2 + _SPARE:
            self.cut_by_margin()
        if len(self) > 3 * self._limit + _SPARE:
            self.cut_by_record()

    def cut_by_record(self) -> None:
        """Re-score what has a margin and keep the first pairs by the order of record, in that order."""
        unsure = np.flatnonzero(self.margins > 0.0)
        self.estimates[unsure] = self._rescore(self.query_rows[unsure], self.reference_rows[unsure])
        self.margins[unsure] = 0.0
        self._cut_sorted()

    @abstractmethod
    def cut_by_margin(self) -> None:
        """Drop every candidate whose upper bound lies below enough lower bounds."""

    @abstractmethod
    def _cut_sorted(self) -> None:
        """Sort by the order of record, keep the first pairs and raise the thresholds to them."""

    def _order_of_record(self) -> NDArray[np.int64]:
        """Return (n,) positions by score descending, query id, reference id; the estimates are scores of record."""
        order = np.argsort(-self.estimates, kind="stable")
        scores = self.estimates[order]
        # Only runs of equal scores need their ids compared.
        tied = np.zeros(len(scores) + 1, dtype=bool)
        tied[1:-1] = scores[1:] == scores[:-1]
        tied = tied[1:] | tied[:-1]
        some = order[tied]
        order[tied] = some[
            np.lexsort(
                (
                    self._reference_ranks[self.reference_rows[some]],
                    self._query_ranks[self.query_rows[some]],
                    -self.estimates[some],
                )
            )
        ]
        return order

    def _keep(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> None:
        self.query_rows, self.reference_rows = self.query_rows[rows], self.reference_rows[rows]
        self.estimates, self.margins = self.estimates[rows], self.margins[rows]


class GlobalList(CandidateList):
    """The best ``cap`` pairs of all member queries together."""

    per_query = False

    def cut_by_margin(self) -> None:
        """Drop every candidate whose upper bound lies below ``cap`` lower bounds."""
        if len(self) <= self._cap:
            return
        lower = self.estimates - self.margins
        floor = np.partition(lower, len(lower) - self._cap)[len(lower) - self._cap]
        self._keep(self.estimates + self.margins >= floor)
        self.raise_to(floor)

    def _cut_sorted(self) -> None:
        self._keep(self._order_of_record()[: self._cap])
        if len(self) < self._cap:
            return
        # On equal score only a pair with a smaller id can still displace the last one.
        last, rank = self.estimates[-1], self._query_ranks[self.query_rows[-1]]
        floor = np.where(self._query_ranks <= rank, last, np.nextafter(last, np.inf))
        self.thresholds = np.maximum(self.thresholds, np.where(self._members, floor, np.inf))


class QueryLists(CandidateList):
    """The best ``depth`` references of each member query."""

    per_query = True

    def cut_by_margin(self) -> None:
        """Drop every candidate whose upper bound lies below ``cap`` lower bounds of its query."""
        lower = self.estimates - self.margins
        order = np.lexsort((-lower, self.query_rows))
        last = order[_place_in_group(self.query_rows[order]) == self._cap - 1]
        floor = np.full(len(self.thresholds), -np.inf)
        floor[self.query_rows[last]] = lower[last]
        self.thresholds = np.maximum(self.thresholds, floor)
        self._keep(self.estimates + self.margins >= self.thresholds[self.query_rows])

    def _cut_sorted(self) -> None:
        order = np.lexsort((self._reference_ranks[self.reference_rows], -self.estimates, self.query_rows))
        self._keep(order[_place_in_group(self.query_rows[order]) < self._cap])
        full = np.flatnonzero(_place_in_group(self.query_rows) == self._cap - 1)
        floor = np.full(len(self.thresholds), -np.inf)
        floor[self.query_rows[full]] = self.estimates[full]
        self.thresholds = np.maximum(self.thresholds, floor)
        # Lists of single queries go into metrics pooled: the order of record over all of them.
        self._keep(self._order_of_record())


def _place_in_group(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (n,) each element's place, from 0, in its run of equal values; ``groups`` lie together."""
    if not len(groups):
        return np.zeros(0, dtype=np.int64)
    position = np.arange(len(groups))
    starts = np.r_[True, groups[1:] != groups[:-1]]
    return position - np.maximum.accumulate(np.where(starts, position, 0))
