"""What the page shows: sections of rows, each a query and one or two references."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ndec_bench.data.split import Split
    from ndec_bench.results.record import Result

Side = Literal["queries", "references"]


@dataclass(frozen=True)
class Shown:
    """A reference beside a query.

    Attributes
    ----------
    reference
        Its id.
    true
        Whether the query is a copy of it; otherwise it was returned and is wrong.
    rank, score
        Place of the pair in the list of the first result, from 1, and its score; None where it is not in that list.
    remark
        What several results say of the pair; empty in the sections of one result.
    """

    reference: str
    true: bool
    rank: int | None = None
    score: float | None = None
    remark: str = ""


@dataclass(frozen=True)
class Row:
    """A query and what was returned for it.

    Attributes
    ----------
    query
        Its id.
    kind
        ``copy``, ``hard negative``, ``plain distractor``, or ``no copy`` where hard negatives are not known.
    references
        What stands beside it: returned, true, or both in this order.
    edits
        The kinds of edits that made the query, where the split knows them.
    """

    query: str
    kind: str
    references: tuple[Shown, ...]
    edits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """Rows of one kind.

    Attributes
    ----------
    name
        Short name, an anchor of the page and a key of the JSON.
    title, text
        Heading, and what the rows are and in which order.
    total
        How many rows there would be without a limit.
    rows
        The first of them.
    """

    name: str
    title: str
    text: str
    total: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Gallery:
    """Everything on the page but the pictures.

    Attributes
    ----------
    results
        The result that the page is about, then those it is compared with.
    split
        What they were scored against.
    sections
        In the order of the page.
    """

    results: Sequence[Result]
    split: Split
    sections: Sequence[Section]

    def images(self) -> list[tuple[Side, str]]:
        """Return side and id of every image on the page, sorted, each once."""
        return sorted(set(self._places()))

    @property
    def pictures(self) -> int:
        """Return how many pictures the page holds; an image may stand in several rows."""
        return sum(1 for _ in self._places())

    def _places(self) -> Iterator[tuple[Side, str]]:
        for section in self.sections:
            for row in section.rows:
                yield "queries", row.query
                for shown in row.references:
                    yield "references", shown.reference
