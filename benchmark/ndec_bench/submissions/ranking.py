"""Results sorted into tables and ranked: one table per split, edition of the split, protocol and track."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ndec_bench.errors import DataError
from ndec_bench.metrics.compare import rank_intervals
from ndec_bench.printable import readable
from ndec_bench.submissions.entries import slug_of
from ndec_bench.submissions.policy import LEVELS
from ndec_bench.submissions.runs import mean_of, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_bench.metrics.compare import Standing
    from ndec_bench.results.record import Result
    from ndec_bench.submissions.entries import Entry
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
        """Return the first run, whose card stands for all."""
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
        """Return the ranked rows by tie group, in rank order; a row without a group stands alone."""
        groups: list[list[Row]] = []
        for row in self.rows:
            if row.starts_group or not groups:
                groups.append([])
            groups[-1].append(row)
        return groups


def table_of(entry: Entry) -> tuple[str, str, str, str]:
    """Return what the results of one table share: split, track, protocol and edition of the split."""
    result = entry.result
    return result.split, result.track, result.protocol, result.digests.split


def board_of(entries: Sequence[Entry]) -> Board:
    """Return the table of ``entries``, which all belong to one."""
    split, track, protocol, edition = table_of(entries[0])
    lines = _lines([entry for entry in entries if entry.ranks])
    standings = rank_intervals([result for _, result in lines])
    by_result = {id(result): runs for runs, result in lines}
    first = [True, *(a.group != b.group or a.group is None for a, b in pairwise(standings))]
    rows = [
        Row(by_result[id(standing.result)], standing.result, standing, starts)
        for standing, starts in zip(standings, first, strict=False)
    ]
    apart = [entry for entry in entries if not entry.ranks]
    return Board(split, edition, protocol, track, tuple(rows), tuple(apart))


def _lines(entries: Sequence[Entry]) -> list[tuple[tuple[Entry, ...], Result]]:
    """Return what stands in one line together: runs of one method with their mean, every other result alone."""
    families: dict[str, list[Entry]] = {}
    for entry in entries:
        families.setdefault(entry.family or f"\n{entry.slug}", []).append(entry)
    lines = []
    for family, found in families.items():
        runs = tuple(sorted(found, key=lambda entry: (entry.seed, entry.slug)))
        several = len(runs) > 1
        if several:
            _check_seeds_alone(runs)
        # Another table may have runs of the same name.
        name = slug_of(f"Runs of {family}", beside=table_of(runs[0]))
        lines.append((runs, mean_of([run.result for run in runs], name) if several else runs[0].result))
    return lines


def _check_seeds_alone(runs: Sequence[Entry]) -> None:
    """Return if ``runs`` may be one row: it shows authors, declarations and sizes of the first for all of them."""
    first = runs[0]
    for run in runs[1:]:
        shared, others = _shared_by_runs(first), _shared_by_runs(run)
        if different := [name for name, value in others.items() if value != shared[name]]:
            raise DataError(
                f"{run.source}: a run of {run.family!r} but unlike {first.result.name} in {', '.join(different)}",
                hint="runs that share runs_of differ by their seed alone; give the others another runs_of",
            )


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
