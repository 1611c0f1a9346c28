"""Where a row stands in its table, before and after a pull request."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ndec_bench.errors import DataError
from ndec_bench.results.comparison import paired, rank_intervals
from ndec_bench.submissions.policy import level_of, never_ranks, undeclared, why_unranked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_bench.metrics.compare import Paired
    from ndec_bench.results.comparison import Standing
    from ndec_bench.results.record import Result
    from ndec_bench.submissions.card import SubmissionCard
    from ndec_bench.submissions.check.changes import Row
    from ndec_bench.submissions.check.repository import Repository, ResultFile
    from ndec_bench.submissions.policy import Level


@dataclass(frozen=True)
class Neighbour:
    """The ranked result just above or below a row.

    Attributes
    ----------
    above
        Whether it stands above the row.
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
    """A row's place among the results that rank.

    Attributes
    ----------
    rank, best, worst, group
        As in `ndec_bench.results.comparison.Standing`.
    among
        Number of results that rank, the row itself included.
    """

    rank: int
    best: int | None
    worst: int | None
    group: int | None
    among: int


@dataclass(frozen=True)
class Change:
    """A row of a pull request, with where it stands.

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
        The results beside ``place``.
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
    return [_stand(row, repository, base, broken) for row in rows]


def _stand(row: Row, repository: Repository, base: Repository, broken: frozenset[str]) -> Change:
    before = None if row.before is None else _place(row.before.result, _ranking(row.before, base, frozenset()))
    if row.found is None:
        return Change(row, None, (), None, False, before, ())
    result, card = row.found.result, row.card.card if row.card else None
    unranked = tuple(why_unranked(result, card))
    level = level_of(result, card)
    waits = bool(unranked) and not never_ranks(result, card) and not undeclared(card)
    if str(row.found.path) in broken or (unranked and not waits):
        return Change(row, level, unranked, None, False, before, ())
    ranked = _ranking(row.found, repository, broken)
    if waits:
        ranked.append(result)
    standings = rank_intervals(ranked)
    return Change(row, level, unranked, _found(result, standings), waits, before, _neighbours(result, standings))


def _ranking(of: ResultFile, repository: Repository, broken: frozenset[str]) -> list[Result]:
    """Return the results of the table of ``of`` that rank."""
    return [
        found.result
        for _, found in sorted(repository.scored.items())
        if _table(found.result) == _table(of.result)
        and str(found.path) not in broken
        and "all" in found.result.parts
        and not why_unranked(found.result, _card(found, repository))
    ]


def _card(found: ResultFile, repository: Repository) -> SubmissionCard | None:
    card = repository.cards.get(found.name)
    return card.card if card else None


def _table(result: Result) -> tuple[str, ...]:
    return result.split, result.track, result.protocol, result.digests.split


def _place(result: Result, ranked: list[Result]) -> Place | None:
    return _found(result, rank_intervals(ranked)) if any(one is result for one in ranked) else None


def _found(result: Result, standings: Sequence[Standing]) -> Place:
    own = next(one for one in standings if one.result is result)
    return Place(own.rank, own.best, own.worst, own.group, len(standings))


def _neighbours(result: Result, standings: Sequence[Standing]) -> tuple[Neighbour, ...]:
    at = next(place for place, one in enumerate(standings) if one.result is result)
    near = [(place, standings[place].result) for place in (at - 1, at + 1) if 0 <= place < len(standings)]
    return tuple(
        Neighbour(place < at, other.name, _paired(result, other), _overlap(result, other)) for place, other in near
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
