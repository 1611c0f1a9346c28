"""Results sorted into tables and ranked: one table per split, edition of the split, protocol and track."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from ndec_bench.errors import DataError
from ndec_bench.printable import readable
from ndec_bench.results.comparison import rank_intervals
from ndec_bench.submissions.entries import raised, slug_of
from ndec_bench.submissions.policy import LEVELS
from ndec_bench.submissions.runs import mean_of, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_bench.results.comparison import Standing
    from ndec_bench.results.record import Result
    from ndec_bench.submissions.entries import Entry, Refuse
    from ndec_bench.submissions.policy import Level
    from ndec_bench.submissions.runs import Spread

NDEC = "ndec"
FINAL = "disc21-final"


@dataclass(frozen=True)
class Row:
    """One line of a table: a result, or the mean of runs that differ by their seed alone.

    Attributes
    ----------
    entries
        The runs, by seed and name; one unless several share ``runs_of`` in their cards.
    result
        What is shown and ranked: the result, or the mean of the runs (`ndec_bench.submissions.runs.mean_of`).
    standing
        Its place; None where it does not rank.
    starts_group
        Whether it is the first of its tie group.
    """

    entries: tuple[Entry, ...]
    result: Result
    standing: Standing | None = None
    starts_group: bool = False

    @property
    def entry(self) -> Entry:
        """Return the first run, whose card is shown for all."""
        return self.entries[0]

    @property
    def slug(self) -> str:
        """Return the row's part of addresses."""
        return self.entry.slug if len(self.entries) == 1 else self.result.name

    @property
    def page(self) -> str:
        """Return the path of the row's page inside the site."""
        return f"s/{self.slug}/index.html"

    @property
    def title(self) -> str:
        """Return the name of the method, of several runs the name that they share."""
        family = readable(self.entry.family or "") if len(self.entries) > 1 else None
        return family or self.entry.title

    @property
    def level(self) -> Level:
        """Return how far the row is verified: as its least verified run."""
        return max((entry.level for entry in self.entries), key=LEVELS.index)

    @property
    def declared(self) -> dict[str, tuple[str, ...]]:
        """Return the values of each declaration by its name, as the first run's card has them."""
        return self.entry.declared

    @property
    def reasons(self) -> list[str]:
        """Return why the row does not rank, in few words each; empty if it ranks."""
        return self.entry.reasons

    @property
    def spread(self) -> Spread | None:
        """Return how far the runs lie apart in µAP; None for a single one."""
        values = [entry.result.parts["all"].micro_ap for entry in self.entries]
        return spread(values) if len(values) > 1 else None


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
        Ranked rows, best first.
    apart
        Results that do not rank (`ndec_bench.submissions.policy`), by name.
    """

    split: str
    edition: str
    protocol: str
    track: str
    rows: tuple[Row, ...]
    apart: tuple[Entry, ...]

    @property
    def unranked(self) -> list[Row]:
        """Return the results that do not rank as rows."""
        return [Row((entry,), entry.result) for entry in self.apart]

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Return all results, ranked ones first."""
        return (*(entry for row in self.rows for entry in row.entries), *self.apart)

    @property
    def title(self) -> str:
        """Return the name of the split as it is printed."""
        return {NDEC: "NDEC", FINAL: "DISC21 final"}.get(self.split, self.split)

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
        edition = hashlib.sha256(self.edition.encode("utf-8", "replace")).hexdigest()[:8]
        return f"{slug_of(self.split)}-{self.track}-{slug_of(self.protocol)}-{edition}"

    @property
    def tie_groups(self) -> list[list[Row]]:
        """Return the ranked rows by tie group, in rank order; a row without a group is one by itself."""
        groups: list[list[Row]] = []
        for row in self.rows:
            if row.starts_group or not groups:
                groups.append([])
            groups[-1].append(row)
        return groups


def boards(entries: Sequence[Entry]) -> list[Board]:
    """Return the tables of ``entries``, by split, track, protocol and edition of the split.

    Runs of one method, which share ``runs_of`` in their cards, are ranked as one row: their mean.
    """
    ordered = sorted(entries, key=_table_of)
    return [_board(key, list(group)) for key, group in groupby(ordered, key=_table_of)]


def _table_of(entry: Entry) -> tuple[str, str, str, str]:
    result = entry.result
    return result.split, result.track, result.protocol, result.digests.split


def _board(key: tuple[str, str, str, str], entries: Sequence[Entry]) -> Board:
    rows = [_unranked_row(runs) for runs in _families([entry for entry in entries if entry.ranks])]
    by_result = {id(row.result): row for row in rows}
    standings = rank_intervals([row.result for row in rows])
    first = [True, *(a.group != b.group or a.group is None for a, b in pairwise(standings))]
    ranked = tuple(
        replace(by_result[id(standing.result)], standing=standing, starts_group=starts)
        for standing, starts in zip(standings, first, strict=False)
    )
    split, track, protocol, edition = key
    return Board(split, edition, protocol, track, ranked, tuple(entry for entry in entries if not entry.ranks))


def _families(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Return ``entries`` by the row that they share, the runs of each by seed and name."""
    families: dict[tuple[str, ...], list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: (entry.seed, entry.slug)):
        families.setdefault((*_table_of(entry), entry.family or f"\n{entry.slug}"), []).append(entry)
    return list(families.values())


def _unranked_row(runs: Sequence[Entry]) -> Row:
    if len(runs) == 1:
        return Row(tuple(runs), runs[0].result)
    return Row(tuple(runs), mean_of([run.result for run in runs], _name_of_runs(runs[0])))


def _name_of_runs(run: Entry) -> str:
    # Another table may have runs of the same name.
    return slug_of(f"Runs of {run.family}", table=_table_of(run))


def fitting(entries: Sequence[Entry], refuse: Refuse = raised) -> list[Entry]:
    """Return those of ``entries`` that tables have a place for.

    ``refuse`` is called with an error for each run that differs from most runs of its row in more than the seed, since
    a row shows authors, declarations and sizes once for all of them, and for each result that has the name of such a
    row. What it returns from is left out.
    """
    slugs = {entry.slug: entry for entry in entries}
    wrong: dict[str, DataError] = {}
    for runs in _families([entry for entry in entries if entry.ranks and entry.family]):
        facts = [_shared_by_runs(run) for run in runs]
        usual = max(facts, key=facts.count)
        first = runs[facts.index(usual)]
        for run, own in zip(runs, facts, strict=True):
            if different := [name for name, value in own.items() if value != usual[name]]:
                message = (
                    f"{run.source}: a run of {run.family!r} but unlike {first.result.name} in {', '.join(different)}"
                )
                hint = "runs that share runs_of differ by their seed alone; give the others another runs_of"
                wrong[run.slug] = DataError(message, hint=hint)
        address = _name_of_runs(first)
        if len(runs) > 1 and address in slugs:
            message = f"{slugs[address].source}: its name is the address of the row of {first.family!r}"
            wrong[address] = DataError(message, hint="give the submission another name")
    for error in wrong.values():
        refuse(error)
    return [entry for entry in entries if entry.slug not in wrong]


def _shared_by_runs(entry: Entry) -> dict[str, object]:
    result, card = entry.result, entry.card
    method = card.method.model_dump(include={"code_licence", "weights_licence", "commercial_use"}) if card else {}
    return {
        "authors": card and card.authors,
        **method,
        **entry.declared,
        "metric": result.metric,
        "dimensions": result.dimensions,
        "bytes_per_reference": result.bytes_per_reference,
    }
