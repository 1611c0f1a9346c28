"""The rows of one result: its worst false positives, the hard negatives it hits, the copies it misses or nearly misses.

The order is that of the list throughout: score descending, query id, reference id. Wrong pairs of one query are mostly
of one cause, so each query is shown once, with the first of them.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.gallery.sections import Row, Section, Shown
from ndec_bench.scoring.truth import HARD

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ndec_bench.data.split import Split
    from ndec_bench.gallery.lists import Listed
    from ndec_bench.scoring.truth import TruthTable


class Rows:
    """Makes the rows of a page.

    Parameters
    ----------
    split, truth
        What is true.
    first
        The result whose ranks and scores are shown.
    """

    def __init__(self, split: Split, truth: TruthTable, first: Listed) -> None:
        self.split, self.truth, self.first = split, truth, first
        self.true_references: dict[str, list[str]] = defaultdict(list)
        for query, reference in split.truth.pairs:
            self.true_references[query].append(reference)

    def kind(self, query: str) -> str:
        """Return what ``query`` is, in words."""
        if query in self.true_references:
            return "copy"
        if self.split.hard_negatives is None:
            return "no copy"
        return "hard negative" if query in self.split.hard_negatives else "plain distractor"

    def row(self, query: str, *references: Shown) -> Row:
        """Return a row of ``query`` and ``references``."""
        return Row(query, self.kind(query), references, (self.split.edits or {}).get(query, ()))

    def wrong(self, place: int) -> Row:
        """Return the row of the wrong pair at ``place`` in the list, with the true reference if there is one."""
        matches = self.first.matches
        query = str(matches.query_ids[place])
        # Of several true references the one nearest to being returned says most.
        true = min(self.true_references.get(query, ()), key=lambda one: (self._place(query, one), one), default=None)
        returned = self.at(place)
        return self.row(query, returned) if true is None else self.row(query, returned, self.true(query, true))

    def at(self, place: int, remark: str = "") -> Shown:
        """Return the reference of the pair at ``place`` in the list."""
        matches = self.first.matches
        return Shown(
            str(matches.reference_ids[place]),
            bool(self.first.correct[place]),
            place + 1,
            float(matches.scores[place]),
            remark,
        )

    def true(self, query: str, reference: str, remark: str = "") -> Shown:
        """Return a true ``reference`` of ``query``, in the list or not."""
        place = self.first.true_places.get((query, reference))
        return Shown(reference, True, remark=remark) if place is None else self.at(place, remark)

    def returned(self, query: str, reference: str, remark: str) -> Shown:
        """Return a wrong ``reference`` for ``query``, in the list or not."""
        matches = self.first.matches
        codes = self.first.codes == self.truth.query_codes([query])[0]
        places = np.flatnonzero(codes & (matches.reference_ids == reference))
        return self.at(int(places[0]), remark) if len(places) else Shown(reference, False, remark=remark)

    def _place(self, query: str, reference: str) -> int:
        return self.first.true_places.get((query, reference), len(self.first.matches))


def sections_of(rows: Rows, count: int) -> list[Section]:
    """Return the sections of the first result, of at most ``count`` rows each."""
    return [
        _false_positives(rows, count),
        _hard_negatives(rows, count),
        _missed(rows, count),
        _lowest_true(rows, count),
    ]


def _false_positives(rows: Rows, count: int) -> Section:
    places = rows.first.best_wrong
    return Section(
        "false-positives",
        "Worst false positives",
        "Wrong pairs with the highest scores, highest first; each query once, with its best wrong pair.",
        len(places),
        tuple(rows.wrong(place) for place in places[:count].tolist()),
    )


def _hard_negatives(rows: Rows, count: int) -> Section:
    first, threshold = rows.first, rows.first.isc_threshold
    name, title = "hard-negatives", "Hard negatives hit"
    if threshold is None:
        return Section(name, title, f"None can be shown: {_no_isc_threshold(rows)}.", 0, ())
    places = first.best_wrong
    hard = rows.truth.kinds[first.codes[places]] == HARD
    hit = places[hard & (first.matches.scores[places] >= threshold)]
    return Section(
        name,
        title,
        "Hard negatives with a pair at or above the threshold that was tuned without hard negatives, highest first; "
        "each query once, with its best pair. They look like a reference and are copies of none.",
        len(hit),
        tuple(rows.wrong(place) for place in hit[:count].tolist()),
    )


def _missed(rows: Rows, count: int) -> Section:
    first, end = rows.first, len(rows.first.matches)
    missed = [pair for pair in rows.split.truth.pairs if is_missed(first, pair)]
    codes = dict(zip(missed, rows.truth.query_codes([query for query, _ in missed]).tolist(), strict=True))

    def order(pair: tuple[str, str]) -> tuple[int, int, tuple[str, str]]:
        return first.best_wrong_of.get(codes[pair], end), -first.true_places.get(pair, end), pair

    listed = sum(pair in first.true_places for pair in missed)
    if first.threshold is None:
        what = "True pairs that are not in the list (precision 0.90 is never reached, so there is no threshold)."
    else:
        what = (
            f"True pairs that are below the threshold of recall@P90 ({listed:,}) or not in the list "
            f"({len(missed) - listed:,})."
        )
    return Section(
        "missed",
        "Missed copies",
        f"{what} First those whose query has the wrong pair with the highest score, which stands beside; those "
        "without any come last.",
        len(missed),
        tuple(_missed_row(rows, pair, codes[pair]) for pair in sorted(missed, key=order)[:count]),
    )


def _missed_row(rows: Rows, pair: tuple[str, str], code: int) -> Row:
    place = rows.first.best_wrong_of.get(code)
    true = rows.true(*pair)
    return rows.row(pair[0], true) if place is None else rows.row(pair[0], rows.at(place), true)


def _lowest_true(rows: Rows, count: int) -> Section:
    first = rows.first
    places = np.flatnonzero(first.correct)
    if first.threshold is not None:
        places = places[first.matches.scores[places] >= first.threshold]
    above = " at or above the threshold of recall@P90" if first.threshold is not None else ""
    return Section(
        "lowest-true",
        "Lowest true positives",
        f"True pairs{above} with the lowest scores, lowest first: found, but only just.",
        len(places),
        tuple(rows.row(str(first.matches.query_ids[place]), rows.at(place)) for place in places[::-1][:count].tolist()),
    )


def _no_isc_threshold(rows: Rows) -> str:
    if rows.split.hard_negatives is None:
        return "the split does not say which queries are hard negatives"
    if rows.first.result.hard_negatives is None:
        return "references are missing, and look-alikes with them"
    return "precision 0.90 is never reached on the queries without hard negatives, so there is no threshold"


def is_missed(listed: Listed, pair: tuple[str, str]) -> bool:
    """Return whether a true pair is below the threshold of recall@P90, or not in the list."""
    place = listed.true_places.get(pair)
    return place is None or (listed.threshold is not None and listed.matches.scores[place] < listed.threshold)


def names(results: Iterable[Listed]) -> str:
    """Return the names of ``results``, with commas."""
    return ", ".join(listed.result.name for listed in results)
