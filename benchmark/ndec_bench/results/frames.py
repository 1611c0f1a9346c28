"""Results as pandas tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pandas as pd

    from ndec_bench.results.record import PartScore, Result

TEXT, WHOLE, NUMBER, YES_OR_NO = "string", "Int64", "float64", "boolean"

SCORES = {
    "micro_ap": NUMBER,
    "micro_ap_low": NUMBER,
    "micro_ap_high": NUMBER,
    "recall_at_p90": NUMBER,
    "recall_at_p90_low": NUMBER,
    "recall_at_p90_high": NUMBER,
    "threshold_at_p90": NUMBER,
    "recall_at_1": NUMBER,
    "recall_at_10": NUMBER,
}
"""Columns of `scores` with their dtypes."""

PART_COLUMNS = {
    "part": TEXT,
    "queries": WHOLE,
    "positives": WHOLE,
    "predictions": WHOLE,
    "cap": WHOLE,
    **SCORES,
    "complete": YES_OR_NO,
}
"""Columns of `parts` with their dtypes."""


def parts(result: Result) -> pd.DataFrame:
    """Return the scores of ``result``, one row per part in its order, with `PART_COLUMNS`."""
    rows = (
        {**score.model_dump(include=set(PART_COLUMNS)), **scores(score), "part": name}
        for name, score in result.parts.items()
    )
    return frame(rows, PART_COLUMNS)


def frame(records: Iterable[dict[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    """Return a table of ``records`` with ``columns``, their dtypes by name."""
    import pandas as pd

    return pd.DataFrame(list(records), columns=list(columns)).astype(dict(columns))


def scores(score: PartScore) -> dict[str, Any]:
    """Return the scores of a part with their intervals, by column."""
    return {
        **{name: getattr(score, name, None) for name in SCORES},
        **bounds("micro_ap", score.micro_ap_interval),
        **bounds("recall_at_p90", score.recall_at_p90_interval),
    }


def bounds(name: str, interval: tuple[float, float] | None) -> dict[str, float | None]:
    """Return the ends of an interval as columns ``NAME_low`` and ``NAME_high``; None where there is none."""
    low, high = interval or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}
