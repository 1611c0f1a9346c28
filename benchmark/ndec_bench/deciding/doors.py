"""The doors from Python: an operating point and the curve of alarms, from a file or a list of pairs."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from ndec_bench.data.known import recognise
from ndec_bench.data.roots import data_root
from ndec_bench.data.split import Split
from ndec_bench.deciding import alarms, point
from ndec_bench.deciding.evidence import evidence
from ndec_bench.deciding.point import Goal
from ndec_bench.errors import UsageError
from ndec_bench.matches import Matches, read_pairs
from ndec_bench.scoring.context import finite
from ndec_bench.scoring.inputs import split_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from ndec_bench.deciding.evidence import Evidence
    from ndec_bench.deciding.point import OperatingPoint


def operating_point(
    matches: str | PathLike[str] | Matches,
    *,
    split: Split | str | PathLike[str] | None = None,
    max_alarms: float | None = None,
    min_precision: float | None = None,
    min_recall: float | None = None,
    score: float | None = None,
    prior: float | None = None,
    hard_share: float | None = None,
    root: Path | None = None,
) -> OperatingPoint:
    r"""Return the threshold for one goal with the most recall, and what happens at it.

    Parameters
    ----------
    matches
        Scored pairs: a file, or a `Matches`.
    split
        As in `ndec_bench.score`.
    max_alarms, min_precision, min_recall, score
        The goal, one of them; see `ndec_bench.deciding.point.Goal`. ``score`` is a threshold of your own.
    prior, hard_share
        Of the queries where the method will work, see there.
    root
        Data root, for known splits; None for the usual one.

    Raises
    ------
    UsageError
        If not one goal is given, it is out of reach, or the queries are too few to certify it.
    SubmissionError
        If the pairs do not fit the split.

    Examples
    --------
    Four hundred queries without a match; the list has scores of 20 of them:

    >>> from pathlib import Path
    >>> import numpy as np
    >>> import ndec_bench as nb
    >>> truth = "M1,R1\nM2,R2\n" + "".join(f"P{number},\n" for number in range(400))
    >>> written = Path("gt.csv").write_text("query_id,reference_id\n" + truth)
    >>> queries = ["M1", "M2", *(f"P{number}" for number in range(20))]
    >>> scores = np.array([0.9, 0.8, *(0.85 - 0.01 * number for number in range(20))])
    >>> pairs = nb.Matches(np.array(queries), np.array(["R1", "R2", *["R9"] * 20]), scores)
    >>> point = nb.operating_point(pairs, split="gt.csv", max_alarms=0.02)
    >>> point.recall.hits, point.alarms["without_match"].hits, round(point.alarm_rate_upper, 4)
    (1, 3, 0.0193)
    """
    given = {
        "max_alarms": max_alarms,
        "min_precision": min_precision,
        "min_recall": min_recall,
        "threshold": score,
    }
    for name, value in {**given, "prior": prior, "hard_share": hard_share}.items():
        if value is not None:
            finite("score" if name == "threshold" else name, value)
    return point.operating_point(_evidence(matches, split, root), Goal.only(given, prior, hard_share))


def alarm_curve(
    matches: str | PathLike[str] | Matches,
    score: float,
    *,
    split: Split | str | PathLike[str] | None = None,
    sizes: Sequence[int] = (),
    references: int | None = None,
    complete: bool = False,
    root: Path | None = None,
) -> pd.DataFrame:
    """Return the share of queries with an alarm at threshold ``score``, one row per group and number of references.

    Columns are the fields of `ndec_bench.deciding.alarms.Alarms`; ``sizes`` and ``references`` as in
    `ndec_bench.deciding.alarms.alarm_curve`, which says what is raised, and the others as in `operating_point`.
    """
    finite("score", score)
    return alarms.curve_frame(
        alarms.alarm_curve(_evidence(matches, split, root), score, sizes, references=references, complete=complete)
    )


def _evidence(
    matches: str | PathLike[str] | Matches, split: Split | str | PathLike[str] | None, root: Path | None
) -> Evidence:
    for name, value, kind in (("matches", matches, Matches), ("split", split, Split | None)):
        if not isinstance(value, kind | str | PathLike):
            raise UsageError(f"{name}: {type(value).__name__}", hint=f"give a file, or a {name.capitalize()}")
    where = "the list of pairs" if isinstance(matches, Matches) else str(matches)
    pairs = matches if isinstance(matches, Matches) else read_pairs(Path(matches))
    root = data_root(root)
    return evidence(
        pairs, split_from(split or recognise(pairs.query_ids.tolist(), root=root), root, where), where=where
    )
