"""Alarms against the number of references: what a threshold costs where more or fewer images are searched.

Of R references, let k_q be those that query q without a match scores at or above the threshold. Against n references
drawn from the R without replacement, q is alarmed with probability::

    1 − C(R − k_q, n) / C(R, n)

which needs no sampling. Its mean A(n) over the queries is concave in n with A(0) = 0, so for n > R references from the
same population A(R) ≤ A(n) ≤ n / R · A(R): bounds of A(R) give bounds of A(n). The look-alike of a hard negative is
among the references or is not: its alarms do not grow with the population, so groups with hard negatives end at R.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.deciding.bounds import upper_bound, upper_bound_anywhere
from ndec_bench.errors import UsageError
from ndec_bench.scoring.truth import HARD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from ndec_bench.deciding.evidence import Evidence

_PER_DECADE = 3
_LEAST = 10


@dataclass(frozen=True)
class Alarms:
    """Alarms of one group of queries against a number of references.

    Attributes
    ----------
    group
        ``without_match``, ``plain_distractor`` or ``hard_negative``.
    references
        How many are searched.
    rate
        Expected share of the queries with an alarm; None where it is extrapolated.
    lower, upper
        One-sided bounds of that share at 95 %. They allow for the sample of queries, not for that of references: an
        image that raises alarms everywhere, and is not among these references, can exceed them.
    extrapolated
        Whether more references are searched than were measured.
    """

    group: str
    references: int
    rate: float | None
    lower: float
    upper: float
    extrapolated: bool


def alarm_curve(
    evidence: Evidence,
    score: float,
    sizes: Sequence[int] = (),
    *,
    references: int | None = None,
    complete: bool = False,
    chosen: bool = False,
) -> list[Alarms]:
    """Return the alarms at threshold ``score`` by group, against each number of references of ``sizes``.

    Parameters
    ----------
    evidence
        A list that has all pairs at or above ``score``.
    score
        The threshold.
    sizes
        Numbers of references; by default a few for each power of ten, up to a hundred times as many as were searched.
    references
        How many were searched, for a split that does not know.
    complete
        Whether the list is known to have all pairs above the threshold, although it looks as if it had a fixed number
        for each query.
    chosen
        Whether the threshold was chosen on the alarms of these queries; the bounds then hold at all thresholds at once.

    Raises
    ------
    UsageError
        If the number of references is unknown or not that of the split, or the list may lack pairs above the threshold.
    """
    total = _total(evidence, references)
    counts = np.bincount(evidence.codes[evidence.scores >= score], minlength=len(evidence.truth.kinds))
    if score < evidence.lowest or (evidence.full and score <= evidence.lowest):
        raise UsageError(
            f"the list may lack pairs above the threshold: it ends at {evidence.lowest:.6g}",
            hint="make a longer list, or choose a stricter threshold",
        )
    if evidence.per_query and not complete:
        raise UsageError(
            "the list may lack pairs above the threshold: many queries have the same number of pairs, the largest, as "
            "if the list held the nearest of each",
            hint="make a list of all pairs above the threshold, or say --complete if it is one",
        )
    if wrong := [size for size in sizes if size != int(size) or size < 1]:
        raise UsageError(f"{wrong[0]} references", hint="give whole numbers from 1")
    wanted = sorted(set(sizes)) or _sizes(total)
    hard = evidence.truth.kinds == HARD
    bound = upper_bound_anywhere if chosen else upper_bound
    return [
        _alarms(name, counts[group], total, size, bound)
        for name, group in evidence.groups.items()
        for size in wanted
        if group.any() and not (size > total and (group & hard).any())
    ]


def _total(evidence: Evidence, references: int | None) -> int:
    known = evidence.references
    if known is not None and references not in (None, known):
        raise UsageError(f"{references:,} references, but {known:,} were searched", hint="leave --references out")
    total = known if references is None else references
    if total is None:
        raise UsageError("the number of references is not known", hint="give --references N")
    named = len(np.unique(evidence.reference_ids))
    if total < max(named, 1):
        raise UsageError(
            f"{total:,} references, but the list names {named:,}",
            hint="give the number of references that were searched",
        )
    return total


def curve_frame(curve: Sequence[Alarms]) -> pd.DataFrame:
    """Return ``curve`` as a table, one row per group and number of references."""
    import pandas as pd

    return pd.DataFrame([vars(one) for one in curve])


def _alarms(name: str, counts: NDArray[np.int64], total: int, size: int, bound: Callable[[int, int], float]) -> Alarms:
    queries, hits = len(counts), int((counts > 0).sum())
    if size > total:
        upper = min(1.0, size / total * bound(hits, queries))
        return Alarms(name, size, None, 1.0 - bound(queries - hits, queries), upper, extrapolated=True)
    expected = hits if size == total else float(_chances(counts, total, size).sum())
    # A sum of chances is less spread out than a count of as many hits, so the bounds of whole numbers around it hold.
    lower, upper = 1.0 - bound(queries - int(expected), queries), bound(int(np.ceil(expected)), queries)
    return Alarms(name, size, expected / queries, lower, upper, extrapolated=False)


def _chances(counts: NDArray[np.int64], total: int, size: int) -> NDArray[np.float64]:
    """Return the chance that ``size`` of ``total`` references hold at least one of each query's ``counts``.

    The first of k references is not drawn with chance 1 − n / R, the next with 1 − n / (R − 1), and so on.
    """
    most = min(int(counts.max(initial=0)), total - size)
    steps = np.log1p(-size / (total - np.arange(most, dtype=np.float64)))
    missed = np.r_[0.0, np.cumsum(steps), -np.inf]
    chances: NDArray[np.float64] = -np.expm1(missed[np.minimum(counts, most + 1)])
    return chances


def _sizes(total: int) -> list[int]:
    steps = np.arange(1.0, np.log10(total) + 2.01, 1.0 / _PER_DECADE)
    spread = {round(10.0**step, -max(int(step) - 1, 0)) for step in steps}
    return sorted({int(size) for size in spread if size >= _LEAST} | {total})
