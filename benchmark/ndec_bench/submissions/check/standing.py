"""The place of a row in its table, before and after a pull request."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ndec_bench.errors import DataError
from ndec_bench.results.comparison import paired
from ndec_bench.submissions.entries import Entry, slug_of
from ndec_bench.submissions.policy import level_of, never_ranks, undeclared, why_unranked
from ndec_bench.submissions.ranking import boards

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_bench.metrics.compare import Paired
    from ndec_bench.results.record import Result
    from ndec_bench.submissions.check.changes import Row
    from ndec_bench.submissions.check.repository import Repository, ResultFile
    from ndec_bench.submissions.policy import Level
    from ndec_bench.submissions.ranking import Row as RankedRow


@dataclass(frozen=True)
class Neighbour:
    """The ranked row just above or below a row.

    Attributes
    ----------
    above
        Whether it is above the row.
    name
        Its name.
    paired
        How far the row lies above it; None where the replicates cannot be paired.
    overlap
        Whether the two intervals of µAP overlap; None where one has none.
    """

    above: bool
    name: str
    paired: Paired | None
    overlap: bool | None


@dataclass(frozen=True)
class Place:
    """A row's place among those that rank, as the site shows it: runs of one method are one row.

    Attributes
    ----------
    rank, best, worst, group
        As in `ndec_bench.results.comparison.Standing`.
    among
        Number of rows that rank, the row itself included.
    """

    rank: int
    best: int | None
    worst: int | None
    group: int | None
    among: int


@dataclass(frozen=True)
class Change:
    """A row of a pull request, with its place.

    Attributes
    ----------
    row
        What changed.
    level
        How far the result is verified; None where it was removed.
    unranked
        Why it does not rank, in few words each.
    place
        Its place; where it only waits for the maintainers' check, the place that it would take. None where it cannot
        rank.
    waits
        Whether ``place`` is such a place.
    before
        Its place in the base; None where it did not rank there.
    neighbours
        The rows next to ``place``.
    """

    row: Row
    level: Level | None
    unranked: tuple[str, ...]
    place: Place | None
    waits: bool
    before: Place | None
    neighbours: tuple[Neighbour, ...]


def stand(rows: Sequence[Row], repository: Repository, base: Repository, broken: frozenset[str]) -> list[Change]:
    """Return ``rows`` with their places; results of ``broken``, files with errors, take part in no ranking."""
    entries = _entries(repository, broken)
    before = _entries(base, frozenset())
    return [_stand(row, entries, before) for row in rows]


def _stand(row: Row, entries: Sequence[Entry], base: Sequence[Entry]) -> Change:
    before = None if row.before is None else _place(*_ranked(row.before, base))
    if row.found is None:
        return Change(row, None, (), None, False, before, ())
    result, card = row.found.result, row.card.card if row.card else None
    unranked = tuple(why_unranked(result, card))
    waits = bool(unranked) and not never_ranks(result, card) and not undeclared(card)
    if waits:  # the place of a row that was verified, together with its other runs that wait
        family = card and card.runs_of
        entries = [
            replace(entry, private=True)
            if entry.source == row.found.path or (family and entry.family == family and not undeclared(entry.card))
            else entry
            for entry in entries
        ]
    ranked, place = _ranked(row.found, entries)
    return Change(
        row, level_of(result, card), unranked, _place(ranked, place), waits, before, _neighbours(ranked, place)
    )


def _entries(repository: Repository, broken: frozenset[str]) -> list[Entry]:
    """Return the results that may take part in a ranking, each with its card."""
    cards = repository.cards
    return [
        Entry(found.result, cards[name].card if name in cards else None, found.path, "", slug_of(name))
        for (_, name), found in sorted(repository.scored.items())
        if str(found.path) not in broken and "all" in found.result.parts
    ]


def _ranked(of: ResultFile, entries: Sequence[Entry]) -> tuple[Sequence[RankedRow], int | None]:
    """Return the ranked rows of the table of a result, and the number of its own; None where it does not rank."""
    for board in boards([entry for entry in entries if entry.result.split == of.result.split]):
        for number, row in enumerate(board.rows):
            if any(entry.source == of.path for entry in row.entries):
                return board.rows, number
    return (), None


def _place(ranked: Sequence[RankedRow], number: int | None) -> Place | None:
    standing = None if number is None else ranked[number].standing
    if standing is None:
        return None
    return Place(standing.rank, standing.best, standing.worst, standing.group, len(ranked))


def _neighbours(ranked: Sequence[RankedRow], number: int | None) -> tuple[Neighbour, ...]:
    if number is None:
        return ()
    own = ranked[number].result
    near = [(place, ranked[place].result) for place in (number - 1, number + 1) if 0 <= place < len(ranked)]
    return tuple(
        Neighbour(place < number, other.name, _paired(own, other), _overlap(own, other)) for place, other in near
    )


def _paired(result: Result, other: Result) -> Paired | None:
    try:
        return paired(result, other)
    except DataError:  # without replicates of one kind
        return None


def _overlap(result: Result, other: Result) -> bool | None:
    own, theirs = result.parts["all"].micro_ap_interval, other.parts["all"].micro_ap_interval
    if own is None or theirs is None:
        return None
    return own[0] <= theirs[1] and theirs[0] <= own[1]
