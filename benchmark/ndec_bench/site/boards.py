"""Results sorted into tables: one table per split, edition of the split, protocol and track; nothing is mixed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Literal

from ndec_bench.compare import Paired, paired, rank_intervals
from ndec_bench.errors import DataError
from ndec_bench.site.entries import slug_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_bench.compare import Standing
    from ndec_bench.report import Result
    from ndec_bench.site.entries import Entry

NDEC = "ndec"
MINI = "ndec-mini"
NEIGHBOURS = 3

Kind = Literal["ndec", "mini", "other"]


@dataclass(frozen=True)
class Row:
    """One ranked result."""

    entry: Entry
    standing: Standing
    starts_group: bool


@dataclass(frozen=True)
class Board:
    """One table of results that may be compared with each other.

    Attributes
    ----------
    split, protocol, track
        What all its results share.
    edition
        SHA-256 of the split.
    rows
        Ranked results, best first.
    apart
        Results that never rank (partial, truncated, or with queries that see each other), by name.
    """

    split: str
    edition: str
    protocol: str
    track: str
    rows: tuple[Row, ...]
    apart: tuple[Entry, ...]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Return all results, ranked ones first."""
        return (*(row.entry for row in self.rows), *self.apart)

    @property
    def title(self) -> str:
        """Return the name of the split as it is printed."""
        return "NDEC" if self.split == NDEC else self.split

    @property
    def sample(self) -> Result:
        """Return a result to take the numbers of queries and true pairs from, which all share."""
        return self.entries[0].result

    @property
    def references(self) -> int:
        """Return the number of references of the split."""
        return max(entry.result.references + entry.result.missing_references for entry in self.entries)

    @property
    def has_hard_negatives(self) -> bool:
        """Return whether the split knows its hard negatives."""
        return any(entry.result.hard_negatives for entry in self.entries)

    @property
    def key(self) -> str:
        """Return a name for anchors, unique among the tables of a split."""
        return f"{slug_of(self.split)}-{self.track}-{self.protocol}-{self.edition[:8]}"

    @property
    def tie_groups(self) -> list[list[Row]]:
        """Return the ranked rows by tie group, in rank order; a row without a group stands alone."""
        groups: list[list[Row]] = []
        for row in self.rows:
            if row.starts_group or not groups:
                groups.append([])
            groups[-1].append(row)
        return groups


@dataclass(frozen=True)
class SplitTables:
    """All tables of one split."""

    split: str
    boards: tuple[Board, ...]

    @property
    def kind(self) -> Kind:
        """Return whether the split is NDEC, one of the embedded benchmarks, or another."""
        return kind_of(self.split)

    @property
    def editions(self) -> int:
        """Return how many editions of the split there are results for."""
        return len({board.edition for board in self.boards})

    @property
    def page(self) -> str:
        """Return the path of the page that shows these tables."""
        pages = {"ndec": "index.html", "mini": "ndec-mini/index.html"}
        return pages.get(self.kind, f"splits/{slug_of(self.split)}/index.html")

    @property
    def results(self) -> int:
        """Return the number of results."""
        return sum(len(board.entries) for board in self.boards)


@dataclass(frozen=True)
class Neighbour:
    """Another ranked result and how far the one at hand lies above it."""

    row: Row
    paired: Paired


def kind_of(split: str) -> Kind:
    """Return whether ``split`` is NDEC, one of the embedded benchmarks, or another."""
    if split == NDEC:
        return "ndec"
    return "mini" if split.startswith(MINI) else "other"


def tables(entries: Sequence[Entry]) -> list[SplitTables]:
    """Return the tables of every split, splits by name, tables by track, protocol and edition.

    Raises
    ------
    DataError
        If a result lacks the part ``all``.
    """
    for entry in entries:
        if "all" not in entry.result.parts:
            raise DataError(f"{entry.source}: no scores of part all", hint='score again with "ndec-bench score"')
    ordered = sorted(entries, key=_table_of)
    boards = [_board(list(group)) for _, group in groupby(ordered, key=_table_of)]
    return [SplitTables(split, tuple(group)) for split, group in groupby(boards, key=lambda board: board.split)]


def neighbours(board: Board, entry: Entry) -> list[Neighbour]:
    """Return the paired differences of ``entry`` with up to three ranked results on either side, best first.

    Results whose replicates cannot be paired with its own are left out.
    """
    place = next((i for i, row in enumerate(board.rows) if row.entry is entry), None)
    if place is None:
        return []
    near = board.rows[max(0, place - NEIGHBOURS) : place + NEIGHBOURS + 1]
    return [
        Neighbour(row, paired(entry.result, row.entry.result))
        for row in near
        if row.entry is not entry and row.standing.best and board.rows[place].standing.best
    ]


def _table_of(entry: Entry) -> tuple[str, str, str, str]:
    result = entry.result
    return result.split, result.track, result.protocol, result.digests.split


def _board(entries: Sequence[Entry]) -> Board:
    split, track, protocol, edition = _table_of(entries[0])
    standings = rank_intervals([entry.result for entry in entries if entry.ranks])
    by_result = {id(entry.result): entry for entry in entries}
    first = [True, *(a.group != b.group or a.group is None for a, b in pairwise(standings))]
    rows = [
        Row(by_result[id(standing.result)], standing, starts)
        for standing, starts in zip(standings, first, strict=False)
    ]
    apart = [entry for entry in entries if not entry.ranks]
    return Board(split, edition, protocol, track, tuple(rows), tuple(apart))
