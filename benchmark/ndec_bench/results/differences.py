"""Differences between measured and published numbers, and between a record and a second scoring."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ndec_bench.results.record import Result

Measure = Literal["micro_ap", "recall_at_p90", "recall_at_1", "recall_at_10"]
Verdict = Literal["OK", "close", "FAIL"]

SAME = 0.002
"""Most papers print three digits, of numbers computed by other libraries on other machines."""
CLOSE = 0.01

RESCORED = 0.0005
"""How far a score may lie from the recorded one if the list of pairs is another: half of the last digit shown."""

_ROUNDED = 1e-9
"""The same list gives the same numbers, but for the last bits of libraries' functions (intervals of shares)."""

# What a result says of a list of pairs, and of the files behind it.
SCORES = ("parts", "hard_negatives", "protocols", "direction")
FACTS = (
    "split",
    "protocol",
    "track",
    "metric",
    "asymmetric",
    "partial",
    "truncated",
    "query_independent",
    "references",
    "missing_references",
    "recall_ceiling",
    "dimensions",
    "bytes_per_reference",
    "stored_dtype",
    "own_threshold",
)
_MEASURES = ("micro_ap", "recall_at_p90")


@dataclass(frozen=True)
class Difference:
    """A value of a record that came out differently.

    Attributes
    ----------
    field
        Its place, for example ``parts.all.micro_ap``.
    recorded, found
        Both values as JSON has them; None also where there is none.
    """

    field: str
    recorded: Any
    found: Any


@dataclass(frozen=True)
class Comparison:
    """How a second scoring compares with the record.

    Attributes
    ----------
    verdict
        ``OK``: the same list of pairs, the same facts and scores. ``close``: another list, but the same facts, and µAP
        and recall@P90 of every part within `RESCORED`; or the same list, of which the record says less than is said
        today. Else ``FAIL``: from the same list every figure follows, so one that differs was not computed from it.
    same_list
        Whether the list of pairs is the same.
    differences
        Every fact and score that differs, in the order of the schema; of a list the first place alone.
    """

    verdict: Verdict
    same_list: bool
    differences: tuple[Difference, ...]


def verdict(published: float, measured: float | None) -> Verdict:
    """Return how a measured share compares with the published one.

    ``OK`` up to `SAME` apart, ``close`` up to `CLOSE`, else ``FAIL``; None (never reached) fails.
    """
    if measured is None:
        return "FAIL"
    # One part in a million of a share is rounding of this comparison, not of the score.
    apart = abs(published - measured) - 1e-6
    return "OK" if apart <= SAME else "close" if apart <= CLOSE else "FAIL"


def measured_in(result: Result, measure: Measure, protocol: str) -> float | None:
    """Return ``measure`` of part ``all`` of ``result`` under ``protocol``, from its protocol table where it has one.

    None where the measure was never reached, or the card has no such entry.
    """
    if protocol == result.protocol:
        value: float | None = getattr(result.parts["all"], measure)
        return value
    entry = (result.protocols or {}).get(protocol)
    if entry is None:
        return None
    of_entry: float | None = getattr(entry, measure)
    return of_entry


def compared(recorded: Result, found: Result) -> Comparison:
    """Return how ``found``, scored with the choices of ``recorded``, compares with it.

    Name, provenance and what describing took are not part of it.
    """
    same = recorded.predictions_sha256 == found.predictions_sha256
    before, now = (one.model_dump(mode="json", include={*FACTS, *SCORES}) for one in (recorded, found))
    facts, scores = (
        [one for name in names for one in _apart(name, before.get(name), now.get(name))] for names in (FACTS, SCORES)
    )
    if same and not facts and not scores:
        return Comparison("OK", same, ())
    # Records of earlier versions do not have what came later; what they say of the same list must hold.
    lacking = same and all(one.recorded is None for one in (*facts, *scores))
    close = lacking or (not same and not facts and _within(recorded, found))
    return Comparison("close" if close else "FAIL", same, (*facts, *scores))


def _within(recorded: Result, found: Result) -> bool:
    """Return whether µAP and recall@P90 of every part lie within `RESCORED` of the record."""
    if recorded.parts.keys() != found.parts.keys():
        return False
    pairs = [
        (getattr(part, measure), getattr(found.parts[name], measure))
        for name, part in recorded.parts.items()
        for measure in _MEASURES
    ]
    return all(
        first is second if None in (first, second) else abs(first - second) <= RESCORED + _ROUNDED
        for first, second in pairs
    )


def _apart(field: str, recorded: Any, found: Any) -> Iterator[Difference]:  # noqa: ANN401 -- any JSON value
    if isinstance(recorded, dict) and isinstance(found, dict):
        for key in _keys(recorded, found):
            yield from _apart(f"{field}.{key}", recorded.get(key), found.get(key))
    elif isinstance(recorded, list) and isinstance(found, list):
        if len(recorded) != len(found):
            yield Difference(f"{field} (length)", len(recorded), len(found))
            return
        for place, (first, second) in enumerate(zip(recorded, found, strict=True)):
            if not _equal(first, second):
                yield Difference(f"{field}[{place}]", first, second)
                return
    elif not _equal(recorded, found):
        yield Difference(field, recorded, found)


def _keys(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    # Signatures name the version of this package, which may be a later one than that of the record.
    return [key for key in dict.fromkeys((*recorded, *found)) if key != "signature"]


def _equal(recorded: object, found: object) -> bool:
    if isinstance(recorded, float) and isinstance(found, float):
        return math.isclose(recorded, found, rel_tol=_ROUNDED, abs_tol=_ROUNDED)
    return recorded == found
