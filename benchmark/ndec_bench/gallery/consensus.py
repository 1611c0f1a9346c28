"""The rows that most of several results get wrong: where methods of different makes agree, the labels may be wrong."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ndec_bench.gallery.sections import Section, Shown
from ndec_bench.gallery.selection import is_missed, names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_bench.gallery.lists import Listed
    from ndec_bench.gallery.sections import Row
    from ndec_bench.gallery.selection import Rows


def sections_of_all(rows: Rows, results: Sequence[Listed], count: int) -> list[Section]:
    """Return the sections of several results, the first among them, of at most ``count`` rows each."""
    return [_missed_by_most(rows, results, count), _hit_by_most(rows, results, count)]


def _missed_by_most(rows: Rows, results: Sequence[Listed], count: int) -> Section:
    pairs = rows.split.truth.pairs
    codes = rows.truth.query_codes([query for query, _ in pairs]).tolist()
    candidates = []
    for pair, code in zip(pairs, codes, strict=True):
        missed = sum(is_missed(listed, pair) for listed in results)
        if 2 * missed > len(results):
            returned = _returned(results, code, [None] * len(results))
            agreed = returned.most_common(1)[0][1] if returned else 0
            candidates.append((-missed, -agreed, pair, returned))
    candidates.sort(key=lambda one: one[:3])
    return Section(
        "missed-by-most",
        "Copies that most results miss",
        f"True pairs that more than half of {len(results)} results miss, each at its own threshold of recall@P90; "
        "most often missed first, then those for which most results have the same best wrong reference. A copy that "
        "all miss may be edited beyond recognition, or wrongly labelled.",
        len(candidates),
        tuple(
            _missed_row(rows, pair, -missed, returned, len(results)) for missed, _, pair, returned in candidates[:count]
        ),
    )


def _missed_row(rows: Rows, pair: tuple[str, str], missed: int, returned: Counter[str], results: int) -> Row:
    true = rows.true(*pair, remark=f"missed by {missed} of {results}")
    if not returned:
        return rows.row(pair[0], true)
    return rows.row(pair[0], _agreed(rows, pair[0], returned, f"best wrong one in {{times}} of {results}"), true)


def _hit_by_most(rows: Rows, results: Sequence[Listed], count: int) -> Section:
    known = rows.split.hard_negatives is not None
    tuned = [(listed, listed.isc_threshold if known else listed.threshold) for listed in results]
    able = [listed for listed, threshold in tuned if threshold is not None]
    thresholds = [threshold for _, threshold in tuned if threshold is not None]
    candidates = []
    for code, query in enumerate(rows.split.query_ids):
        if query in rows.true_references:
            continue
        returned = _returned(able, code, thresholds)
        hits = returned.total()
        if 2 * hits > len(able):
            candidates.append((-hits, -returned.most_common(1)[0][1], query, returned))
    candidates.sort(key=lambda one: one[:3])
    left_out = [listed for listed, threshold in tuned if threshold is None]
    which = "threshold tuned without hard negatives" if known else "own threshold of recall@P90"
    text = (
        f"Queries without a true reference for which more than half of {len(able)} results return one, each at its "
        f"{which}; most often hit first, then those for which most return the same "
        "reference. What all take for a copy may be one that nobody labelled."
    )
    if left_out:
        text += f" Without such a threshold, and left out: {names(left_out)}."
    return Section(
        "hit-by-most",
        "Hard negatives and distractors that most results hit",
        text,
        len(candidates),
        tuple(
            rows.row(query, _agreed(rows, query, returned, f"{{times}} of {len(able)} return it first"))
            for _, _, query, returned in candidates[:count]
        ),
    )


def _returned(results: Sequence[Listed], code: int, thresholds: Sequence[float | None]) -> Counter[str]:
    """Return how many results have each reference as the best wrong one of a query, at or above their thresholds."""
    returned: Counter[str] = Counter()
    for listed, threshold in zip(results, thresholds, strict=True):
        place = listed.best_wrong_of.get(code)
        if place is not None and (threshold is None or listed.matches.scores[place] >= threshold):
            returned[str(listed.matches.reference_ids[place])] += 1
    return returned


def _agreed(rows: Rows, query: str, returned: Counter[str], remark: str) -> Shown:
    """Return the reference that most results return; of several the one with the lowest id.

    ``remark`` has ``{times}`` where the number of these results goes.
    """
    reference, times = min(returned.items(), key=lambda item: (-item[1], item[0]))
    return rows.returned(query, reference, remark.format(times=times))
