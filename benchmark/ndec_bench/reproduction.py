"""Whether a measured number is the published one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from ndec_bench.report import Result

Measure = Literal["micro_ap", "recall_at_p90", "recall_at_1", "recall_at_10"]
Verdict = Literal["OK", "close", "FAIL"]

SAME = 0.002
"""Most papers print three digits, of numbers computed by other libraries on other machines."""
CLOSE = 0.01


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
    """Return ``measure`` of part ``all`` of ``result`` under ``protocol``, from its protocol card where it has one.

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
