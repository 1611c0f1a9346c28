"""Results as pandas tables."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndec_bench.progress import silent
from ndec_bench.submissions.entries import cards_next_to, read_entries
from ndec_bench.submissions.ranking import boards, check_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import pandas as pd

    from ndec_bench.results.record import PartScore, Result
    from ndec_bench.submissions.entries import Entry
    from ndec_bench.submissions.policy import Level
    from ndec_bench.submissions.ranking import Board, Row

_TEXT, _WHOLE, _NUMBER, _YES_OR_NO = "string", "Int64", "float64", "boolean"

_SCORES = {
    "micro_ap": _NUMBER,
    "micro_ap_low": _NUMBER,
    "micro_ap_high": _NUMBER,
    "recall_at_p90": _NUMBER,
    "recall_at_p90_low": _NUMBER,
    "recall_at_p90_high": _NUMBER,
    "threshold_at_p90": _NUMBER,
    "recall_at_1": _NUMBER,
    "recall_at_10": _NUMBER,
}
RESULT_COLUMNS = {
    "name": _TEXT,
    "title": _TEXT,
    "split": _TEXT,
    "track": _TEXT,
    "protocol": _TEXT,
    "ranked": _YES_OR_NO,
    "rank": _WHOLE,
    "rank_best": _WHOLE,
    "rank_worst": _WHOLE,
    "tie_group": _WHOLE,
    "level": _TEXT,
    "not_ranked_because": _TEXT,
    "row": _TEXT,
    "runs_of": _TEXT,
    "seed": _WHOLE,
    **_SCORES,
    "micro_ap_isc": _NUMBER,
    "recall_at_p90_isc": _NUMBER,
    "hard_negative_cost": _NUMBER,
    "hard_negatives_hit": _NUMBER,
    "hard_negatives_hit_low": _NUMBER,
    "hard_negatives_hit_high": _NUMBER,
    "precision_at_frozen_threshold": _NUMBER,
    "dimensions": _WHOLE,
    "bytes_per_reference": _WHOLE,
    "milliseconds_per_image": _NUMBER,
    "code_licence": _TEXT,
    "weights_licence": _TEXT,
    "commercial_use": _TEXT,
    "date": _TEXT,
    "paper": _TEXT,
    "code": _TEXT,
    "labels_used": _TEXT,
    "train_images": _TEXT,
    "reference_images_in_training": _TEXT,
    "ndec_pairs": _TEXT,
    "background": _TEXT,
    "external_data": _TEXT,
    "query_independent": _TEXT,
    "selected_on": _TEXT,
    "partial": _YES_OR_NO,
    "truncated": _YES_OR_NO,
    "split_sha256": _TEXT,
    "predictions_sha256": _TEXT,
    "signature": _TEXT,
}
"""Columns of `results_frame` with their dtypes; docs/leaderboard.md explains them."""

ROW_COLUMNS = {
    name: dtype for name, dtype in RESULT_COLUMNS.items() if name not in ("row", "seed", "predictions_sha256")
} | {"runs": _WHOLE, "micro_ap_deviation": _NUMBER}
"""Columns of `leaderboard` with their dtypes."""

PART_COLUMNS = {
    "part": _TEXT,
    "queries": _WHOLE,
    "positives": _WHOLE,
    "predictions": _WHOLE,
    "cap": _WHOLE,
    **_SCORES,
    "complete": _YES_OR_NO,
}
"""Columns of `parts` with their dtypes."""


def leaderboard(
    results: str | Path = "results",
    *,
    split: str | None = None,
    submissions: str | Path | None = None,
    private: bool = False,
) -> pd.DataFrame:
    """Return the rows of the leaderboard as the site shows them, the ranked ones of each table first.

    Runs of one method that differ by their seed alone are one row, with the mean of their scores.

    Parameters
    ----------
    results
        Folder of ``**/*.json``.
    split
        Name of a split; all without it.
    submissions
        Folder of ``NAME/submission.toml``; the folder ``submissions`` next to the results without it.
    private
        Rank also what nobody verified or declared.

    Returns
    -------
    pandas.DataFrame
        One row per row of a table, with `ROW_COLUMNS`, sorted by split, track, protocol and rank. Numbers are
        unrounded; what is not known or not reached is missing.

    Raises
    ------
    DataError
        If a folder is missing, a file is not a result, or runs of one method differ in more than their seed.
    SubmissionError
        If a card breaks its schema.

    Examples
    --------
    >>> board = leaderboard("results", split="ndec-mini-1")
    >>> board[["title", "rank", "micro_ap"]].head(2).round(3)
                           title  rank  micro_ap
    0  ASL small (a) baseline losses     1     0.570
    1       ASL small (b) look-alikes     2     0.552
    """
    folder = Path(results)
    cards = cards_next_to(folder) if submissions is None else Path(submissions)
    found = boards(read_entries(folder, cards, silent, private=private))
    check_rows(found)
    return rows_frame([board for board in found if split in (None, board.split)])


def rows_frame(found: Sequence[Board]) -> pd.DataFrame:
    """Return one row per row of the tables ``found``, the ranked ones of each first, with `ROW_COLUMNS`."""
    rows = (row for board in found for row in (*board.rows, *board.unranked))
    return _frame((_record(row) for row in rows), ROW_COLUMNS)


def results_frame(found: Sequence[Board]) -> pd.DataFrame:
    """Return one row per result of the tables ``found``, runs of one method each by itself, with `RESULT_COLUMNS`."""
    return _frame((_record(row, entry) for row, entry in _runs(found)), RESULT_COLUMNS)


def standings(found: Sequence[Board]) -> list[dict[str, Any]]:
    """Return the place of every result of the tables ``found``, by name, as JSON values."""
    places = ({"name": entry.result.name, **_place(row, entry.level)} for row, entry in _runs(found))
    return sorted(places, key=lambda place: str(place["name"]))


def parts(result: Result) -> pd.DataFrame:
    """Return the scores of ``result``, one row per part in its order, with `PART_COLUMNS`."""
    rows = (
        {**score.model_dump(include=set(PART_COLUMNS)), **_scores(score), "part": name}
        for name, score in result.parts.items()
    )
    return _frame(rows, PART_COLUMNS)


def _frame(records: Iterable[dict[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(records), columns=list(columns)).astype(dict(columns))


def _runs(found: Sequence[Board]) -> list[tuple[Row, Entry]]:
    rows = (row for board in found for row in (*board.rows, *board.unranked))
    return [(row, entry) for row in rows for entry in row.entries]


def _record(row: Row, entry: Entry | None = None) -> dict[str, Any]:
    """Return all columns of a run of ``row``; of the row as a whole without ``entry``."""
    result = entry.result if entry else row.result
    place = _place(row, entry.level if entry else row.level)
    return {
        **_result(result),
        **_card(entry or row.entry),
        **place,
        "not_ranked_because": "; ".join(place["not_ranked_because"]),
        "name": result.name,
        "title": entry.title if entry else row.title,
        "runs": len(row.entries),
        "micro_ap_deviation": row.spread and row.spread.deviation,
    }


def _place(row: Row, level: Level) -> dict[str, Any]:
    standing = row.standing
    return {
        "ranked": standing is not None,
        "rank": standing and standing.rank,
        "rank_best": standing and standing.best,
        "rank_worst": standing and standing.worst,
        "tie_group": standing and standing.group,
        "row": row.slug,
        "level": level,
        "not_ranked_because": row.reasons,
    }


def _result(result: Result) -> dict[str, Any]:
    isc, account = result.parts.get("isc"), result.hard_negatives
    hit = account.at_p90_isc.hard_negatives_hit if account and account.at_p90_isc else None
    return {
        "split": result.split,
        "track": result.track,
        "protocol": result.protocol,
        **_scores(result.parts["all"]),
        "micro_ap_isc": isc and isc.micro_ap,
        "recall_at_p90_isc": isc and isc.recall_at_p90,
        "hard_negative_cost": account and account.cost,
        "hard_negatives_hit": hit and hit.rate,
        **_bounds("hard_negatives_hit", hit.interval if hit else None),
        "precision_at_frozen_threshold": account and account.transfer.precision,
        "dimensions": result.dimensions,
        "bytes_per_reference": result.bytes_per_reference,
        "milliseconds_per_image": result.describing and result.describing.milliseconds_per_image,
        "partial": result.partial,
        "truncated": result.truncated,
        "split_sha256": result.digests.split,
        "predictions_sha256": result.predictions_sha256,
        "signature": result.signature,
    }


def _scores(score: PartScore) -> dict[str, Any]:
    return {
        **{name: getattr(score, name, None) for name in _SCORES},
        **_bounds("micro_ap", score.micro_ap_interval),
        **_bounds("recall_at_p90", score.recall_at_p90_interval),
    }


def _bounds(name: str, interval: tuple[float, float] | None) -> dict[str, float | None]:
    low, high = interval or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}


def _card(entry: Entry) -> dict[str, Any]:
    card = entry.card
    method = card.method if card else None
    return {
        "runs_of": entry.family,
        "seed": card and card.seed,
        "code_licence": method and method.code_licence,
        "weights_licence": method and method.weights_licence,
        "commercial_use": method and method.commercial_use,
        "date": card and card.date,
        "paper": method and method.paper,
        "code": method and method.code,
        **{name: " ".join(values) for name, values in entry.declared.items()},
    }
