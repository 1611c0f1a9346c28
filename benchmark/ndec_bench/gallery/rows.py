"""The rows of the page: what one result gets wrong, and what most of several do.

The order is that of the list throughout: score descending, query id, reference id. Wrong pairs of one query are mostly
of one cause, so each query is shown once, with the first of them. Where methods of different makes agree, the labels
may be wrong.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ndec_bench.scoring.truth import HARD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ndec_bench.data.split import Split
    from ndec_bench.gallery.lists import ResultList
    from ndec_bench.results.record import Result
    from ndec_bench.scoring.truth import TruthTable

    Found = tuple[str, Sequence[Any], Callable[[Any], "Row"]]

Side = Literal["queries", "references"]


@dataclass(frozen=True)
class Reference:
    """A reference shown with a query.

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
        What is shown with it: returned, true, or both in this order.
    edits
        The kinds of edits that made the query, where the split knows them.
    """

    query: str
    kind: str
    references: tuple[Reference, ...]
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
        """Return how many pictures the page holds; an image may be in several rows."""
        return sum(1 for _ in self._places())

    def _places(self) -> Iterator[tuple[Side, str]]:
        for section in self.sections:
            for row in section.rows:
                yield "queries", row.query
                for shown in row.references:
                    yield "references", shown.reference


class Rows:
    """Makes the rows of a page.

    Parameters
    ----------
    split, truth
        What is true.
    first
        The result whose ranks and scores are shown.
    """

    def __init__(self, split: Split, truth: TruthTable, first: ResultList) -> None:
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

    def row(self, query: str, *references: Reference | None) -> Row:
        """Return a row of ``query`` and of those ``references`` that there are."""
        shown = tuple(reference for reference in references if reference is not None)
        return Row(query, self.kind(query), shown, (self.split.edits or {}).get(query, ()))

    def wrong(self, place: int) -> Row:
        """Return the row of the wrong pair at ``place`` in the list, with the true reference if there is one."""
        matches = self.first.matches
        query = str(matches.query_ids[place])
        # Of several true references the one nearest to being returned says most.
        true = min(self.true_references.get(query, ()), key=lambda one: (self._place(query, one), one), default=None)
        return self.row(query, self.at(place), None if true is None else self.true(query, true))

    def at(self, place: int, remark: str = "") -> Reference:
        """Return the reference of the pair at ``place`` in the list."""
        matches = self.first.matches
        reference, score = str(matches.reference_ids[place]), float(matches.scores[place])
        return Reference(reference, bool(self.first.correct[place]), place + 1, score, remark)

    def true(self, query: str, reference: str, remark: str = "") -> Reference:
        """Return a true ``reference`` of ``query``, in the list or not."""
        place = self.first.true_places.get((query, reference))
        return Reference(reference, True, remark=remark) if place is None else self.at(place, remark)

    def returned(self, query: str, reference: str, remark: str) -> Reference:
        """Return a wrong ``reference`` for ``query``, in the list or not."""
        matches = self.first.matches
        codes = self.first.codes == self.truth.query_codes([query])[0]
        places = np.flatnonzero(codes & (matches.reference_ids == reference))
        return self.at(int(places[0]), remark) if len(places) else Reference(reference, False, remark=remark)

    def _place(self, query: str, reference: str) -> int:
        return self.first.true_places.get((query, reference), len(self.first.matches))


def sections_of(rows: Rows, results: Sequence[ResultList], count: int) -> list[Section]:
    """Return the sections of at most ``count`` rows: of the first result and, where there are several, of all."""
    makers = {
        ("false-positives", "Worst false positives"): _false_positives,
        ("hard-negatives", "Hard negatives hit"): _hard_negatives,
        ("missed", "Missed copies"): _missed,
        ("lowest-true", "Lowest true positives"): _lowest_true,
    }
    if len(results) > 1:
        makers["missed-by-most", "Copies that most results miss"] = partial(_missed_by_most, results)
        makers["hit-by-most", "Hard negatives and distractors that most results hit"] = partial(_hit_by_most, results)
    sections = []
    for (name, title), make in makers.items():
        text, found, row = make(rows)
        sections.append(Section(name, title, text, len(found), tuple(row(each) for each in found[:count])))
    return sections


# What the rows of a section are and in which order, what they are about, and how to make one.


def _false_positives(rows: Rows) -> Found:
    text = "Wrong pairs with the highest scores, highest first; each query once, with its best wrong pair."
    return text, rows.first.best_wrong.tolist(), rows.wrong


def _hard_negatives(rows: Rows) -> Found:
    first, threshold = rows.first, rows.first.isc_threshold
    if threshold is None:
        return f"None can be shown: {_no_isc_threshold(rows)}.", [], rows.wrong
    places = first.best_wrong
    hard = rows.truth.kinds[first.codes[places]] == HARD
    text = (
        "Hard negatives with a pair at or above the threshold that was tuned without hard negatives, highest first; "
        "each query once, with its best pair. They look like a reference and are copies of none."
    )
    return text, places[hard & (first.matches.scores[places] >= threshold)].tolist(), rows.wrong


def _no_isc_threshold(rows: Rows) -> str:
    if rows.split.hard_negatives is None:
        return "the split does not say which queries are hard negatives"
    if rows.first.result.hard_negatives is None:
        return "references are missing, and look-alikes with them"
    return "precision 0.90 is never reached on the queries without hard negatives, so there is no threshold"


def _missed(rows: Rows) -> Found:
    first, end = rows.first, len(rows.first.matches)
    missed = [pair for pair in rows.split.truth.pairs if first.misses(pair)]
    codes = dict(zip(missed, rows.truth.query_codes([query for query, _ in missed]).tolist(), strict=True))

    def order(pair: tuple[str, str]) -> tuple[int, int, tuple[str, str]]:
        return first.best_wrong_of.get(codes[pair], end), -first.true_places.get(pair, end), pair

    def row(pair: tuple[str, str]) -> Row:
        place = first.best_wrong_of.get(codes[pair])
        return rows.row(pair[0], None if place is None else rows.at(place), rows.true(*pair))

    listed = sum(pair in first.true_places for pair in missed)
    if first.threshold is None:
        what = "True pairs that are not in the list (precision 0.90 is never reached, so there is no threshold)."
    else:
        what = (
            f"True pairs that are below the threshold of recall@P90 ({listed:,}) or not in the list "
            f"({len(missed) - listed:,})."
        )
    text = (
        f"{what} First those whose query has the wrong pair with the highest score, which is shown too; those "
        "without any come last."
    )
    return text, sorted(missed, key=order), row


def _lowest_true(rows: Rows) -> Found:
    first = rows.first
    places = np.flatnonzero(first.correct)
    if first.threshold is not None:
        places = places[first.matches.scores[places] >= first.threshold]
    above = " at or above the threshold of recall@P90" if first.threshold is not None else ""
    text = f"True pairs{above} with the lowest scores, lowest first: found, but only just."
    return text, places[::-1].tolist(), lambda place: rows.row(str(first.matches.query_ids[place]), rows.at(place))


def _missed_by_most(results: Sequence[ResultList], rows: Rows) -> Found:
    pairs = rows.split.truth.pairs
    codes = rows.truth.query_codes([query for query, _ in pairs]).tolist()
    of_all = f"of {len(results)}"

    def row(candidate: tuple[int, int, tuple[str, str], Counter[str]]) -> Row:
        missed, _, pair, returned = candidate
        wrong = _agreed(rows, pair[0], returned, f"best wrong one in {{times}} {of_all}") if returned else None
        return rows.row(pair[0], wrong, rows.true(*pair, remark=f"missed by {-missed} {of_all}"))

    candidates = []
    for pair, code in zip(pairs, codes, strict=True):
        missed = sum(listed.misses(pair) for listed in results)
        if 2 * missed > len(results):
            returned = _returned(results, code, [None] * len(results))
            agreed = returned.most_common(1)[0][1] if returned else 0
            candidates.append((-missed, -agreed, pair, returned))
    text = (
        f"True pairs that more than half of {len(results)} results miss, each at its own threshold of recall@P90; "
        "most often missed first, then those for which most results have the same best wrong reference. A copy that "
        "all miss may be edited beyond recognition, or wrongly labelled."
    )
    return text, sorted(candidates, key=lambda one: one[:3]), row


def _hit_by_most(results: Sequence[ResultList], rows: Rows) -> Found:
    known = rows.split.hard_negatives is not None
    tuned = [(listed, listed.isc_threshold if known else listed.threshold) for listed in results]
    able = [listed for listed, threshold in tuned if threshold is not None]
    thresholds = [threshold for _, threshold in tuned if threshold is not None]

    def row(candidate: tuple[int, int, str, Counter[str]]) -> Row:
        *_, query, returned = candidate
        return rows.row(query, _agreed(rows, query, returned, f"{{times}} of {len(able)} return it first"))

    candidates = []
    for code, query in enumerate(rows.split.query_ids):
        if query in rows.true_references:
            continue
        returned = _returned(able, code, thresholds)
        if 2 * returned.total() > len(able):
            candidates.append((-returned.total(), -returned.most_common(1)[0][1], query, returned))
    left_out = ", ".join(listed.result.name for listed, threshold in tuned if threshold is None)
    which = "threshold tuned without hard negatives" if known else "own threshold of recall@P90"
    text = (
        f"Queries without a true reference for which more than half of {len(able)} results return one, each at its "
        f"{which}; most often hit first, then those for which most return the same "
        "reference. What all take for a copy may be one that nobody labelled."
    )
    if left_out:
        text += f" Without such a threshold, and left out: {left_out}."
    return text, sorted(candidates, key=lambda one: one[:3]), row


def _returned(results: Sequence[ResultList], code: int, thresholds: Sequence[float | None]) -> Counter[str]:
    """Return how many results have each reference as the best wrong one of a query, at or above their thresholds."""
    returned: Counter[str] = Counter()
    for listed, threshold in zip(results, thresholds, strict=True):
        place = listed.best_wrong_of.get(code)
        if place is not None and (threshold is None or listed.matches.scores[place] >= threshold):
            returned[str(listed.matches.reference_ids[place])] += 1
    return returned


def _agreed(rows: Rows, query: str, returned: Counter[str], remark: str) -> Reference:
    """Return the reference that most results return; of several the one with the lowest id.

    ``remark`` has ``{times}`` where the number of these results goes.
    """
    reference, times = min(returned.items(), key=lambda item: (-item[1], item[0]))
    return rows.returned(query, reference, remark.format(times=times))
