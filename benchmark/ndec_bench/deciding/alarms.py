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

from ndec_bench.deciding.bounds import lower_bound, upper_bound
from ndec_bench.errors import UsageError
from ndec_bench.scoring.truth import HARD

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        One-sided bounds of that share at 95 %.
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
    evidence: Evidence, score: float, sizes: Sequence[int] = (), *, references: int | None = None
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

    Raises
    ------
    UsageError
        If the number of references is unknown, or the list may lack pairs above the threshold.
    """
    total = references or evidence.references
    if total is None:
        raise UsageError("the number of references is not known", hint="give --references N")
    counts = np.bincount(evidence.codes[evidence.scores >= score], minlength=len(evidence.truth.kinds))
    if evidence.per_query or score < evidence.lowest:
        raise UsageError(
            "the list may lack pairs above the threshold: it holds a fixed number for each query, or ends before",
            hint="make a list of all pairs above the threshold",
        )
    if counts.max(initial=0) > total:
        raise UsageError(
            f"a query has {counts.max():,} pairs above the threshold, more than {total:,} references",
            hint="give the number of references that were searched",
        )
    wanted = sorted(set(sizes)) or _sizes(total)
    hard = evidence.truth.kinds == HARD
    return [
        _alarms(name, counts[group], total, size)
        for name, group in evidence.groups.items()
        for size in wanted
        if group.any() and not (size > total and (group & hard).any())
    ]


def curve_frame(curve: Sequence[Alarms]) -> pd.DataFrame:
    """Return ``curve`` as a table, one row per group and number of references."""
    import pandas as pd

    return pd.DataFrame([vars(one) for one in curve])


def _alarms(name: str, counts: NDArray[np.int64], total: int, size: int) -> Alarms:
    queries = len(counts)
    if size > total:
        hits = int((counts > 0).sum())
        upper = min(1.0, size / total * upper_bound(hits, queries))
        return Alarms(name, size, None, lower_bound(hits, queries), upper, extrapolated=True)
    expected = float(_chances(counts, total, size).sum())
    # A sum of chances is less spread out than a count of as many hits, so the bounds of whole numbers around it hold.
    lower, upper = lower_bound(int(expected), queries), upper_bound(int(np.ceil(expected)), queries)
    return Alarms(name, size, expected / queries, lower, upper, extrapolated=False)


def _chances(counts: NDArray[np.int64], total: int, size: int) -> NDArray[np.float64]:
    """Return the chance that ``size`` of ``total`` references hold at least one of each query's ``counts``."""
    from scipy.special import gammaln

    none = np.zeros(len(counts))
    possible = total - counts >= size
    k = counts[possible].astype(np.float64)
    none[possible] = np.exp(
        gammaln(total - k + 1) - gammaln(total - k - size + 1) - gammaln(total + 1) + gammaln(total - size + 1)
    )
    chances: NDArray[np.float64] = np.where(counts > 0, 1.0 - none, 0.0)
    return chances


def _sizes(total: int) -> list[int]:
    steps = np.arange(1.0, np.log10(total) + 2.01, 1.0 / _PER_DECADE)
    spread = {round(10.0**step, -max(int(step) - 1, 0)) for step in steps}
    return sorted({int(size) for size in spread if size >= _LEAST} | {total})
