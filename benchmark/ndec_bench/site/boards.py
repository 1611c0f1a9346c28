"""Results sorted into tables: one table per split, edition of the split, protocol and track; nothing is mixed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from ndec_bench.results.comparison import paired
from ndec_bench.submissions.entries import slug_of
from ndec_bench.submissions.ranking import FINAL, NDEC, boards

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_bench.metrics.compare import Paired
    from ndec_bench.submissions.entries import Entry
    from ndec_bench.submissions.ranking import Board, Row

MINI = "ndec-mini"
NEIGHBOURS = 3

Kind = Literal["ndec", "final", "mini", "other"]
KINDS: tuple[Kind, ...] = ("ndec", "final", "other", "mini")
"""The order of splits on a page of several kinds."""


@dataclass(frozen=True)
class SplitTables:
    """All tables of one split."""

    split: str
    boards: tuple[Board, ...]

    @property
    def kind(self) -> Kind:
        """Return which kind of split it is, see `kind_of`."""
        return kind_of(self.split)

    @property
    def title(self) -> str:
        """Return the name of the split as it is printed."""
        return self.boards[0].title

    @property
    def ranks(self) -> bool:
        """Return whether any row of them ranks."""
        return any(board.rows for board in self.boards)

    @property
    def editions(self) -> int:
        """Return how many editions of the split there are results for."""
        return len({board.edition for board in self.boards})

    @property
    def page(self) -> str:
        """Return the path of the page that shows these tables."""
        pages = {"ndec": "index.html", "final": "disc21-final/index.html", "mini": "ndec-mini/index.html"}
        return pages.get(self.kind, f"splits/{slug_of(self.split)}/index.html")

    @property
    def results(self) -> int:
        """Return the number of results."""
        return sum(len(board.entries) for board in self.boards)


@dataclass(frozen=True)
class Neighbour:
    """Another ranked row, and how far this one lies above it."""

    row: Row
    paired: Paired


def kind_of(split: str) -> Kind:
    """Return whether ``split`` is NDEC, the final split of DISC21, one of the embedded benchmarks, or another."""
    if split == NDEC:
        return "ndec"
    if split == FINAL:
        return "final"
    return "mini" if split.startswith(MINI) else "other"


def tables(entries: Sequence[Entry]) -> list[SplitTables]:
    """Return the tables of every split, splits by name, tables by track, protocol and edition."""
    ordered = groupby(boards(entries), key=lambda board: board.split)
    return [SplitTables(split, tuple(group)) for split, group in ordered]


def neighbours(board: Board, row: Row) -> list[Neighbour]:
    """Return the paired differences of ``row`` with up to three ranked rows on either side, best first.

    Rows whose replicates cannot be paired with its own are left out.
    """
    paired_rows = [other for other in board.rows if other.standing and other.standing.best]
    place = next((i for i, other in enumerate(paired_rows) if other is row), None)
    if place is None:
        return []
    near = paired_rows[max(0, place - NEIGHBOURS) : place + NEIGHBOURS + 1]
    return [Neighbour(other, paired(row.result, other.result)) for other in near if other is not row]


def declared_order(name: str, values: Sequence[str]) -> int:
    """Return where the values of a declaration sort: 0 for nothing to flag, 1 for what is flagged, 2 for unknown."""
    if "unknown" in values:
        return 2
    harmless = "yes" if name == "query_independent" else "no" if values[0] in ("yes", "no") else "none"
    return 0 if tuple(values) == (harmless,) else 1
