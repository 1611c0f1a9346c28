"""The leaderboard as a pandas table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndec_bench.progress import silent
from ndec_bench.results.frames import NUMBER, SCORES, TEXT, WHOLE, YES_OR_NO, bounds, frame, scores
from ndec_bench.submissions.entries import cards_next_to, read_entries
from ndec_bench.submissions.ranking import boards, fitting

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from ndec_bench.results.record import Result
    from ndec_bench.submissions.entries import Entry
    from ndec_bench.submissions.policy import Level
    from ndec_bench.submissions.ranking import Board, Row

RESULT_COLUMNS = {
    "name": TEXT,
    "title": TEXT,
    "split": TEXT,
    "track": TEXT,
    "protocol": TEXT,
    "ranked": YES_OR_NO,
    "rank": WHOLE,
    "rank_best": WHOLE,
    "rank_worst": WHOLE,
    "tie_group": WHOLE,
    "level": TEXT,
    "not_ranked_because": TEXT,
    "row": TEXT,
    "runs_of": TEXT,
    "seed": WHOLE,
    **SCORES,
    "micro_ap_isc": NUMBER,
    "recall_at_p90_isc": NUMBER,
    "hard_negative_cost": NUMBER,
    "hard_negatives_hit": NUMBER,
    "hard_negatives_hit_low": NUMBER,
    "hard_negatives_hit_high": NUMBER,
    "precision_at_frozen_threshold": NUMBER,
    "dimensions": WHOLE,
    "bytes_per_reference": WHOLE,
    "milliseconds_per_image": NUMBER,
    "code_licence": TEXT,
    "weights_licence": TEXT,
    "commercial_use": TEXT,
    "date": TEXT,
    "paper": TEXT,
    "code": TEXT,
    "labels_used": TEXT,
    "train_images": TEXT,
    "reference_images_in_training": TEXT,
    "ndec_pairs": TEXT,
    "background": TEXT,
    "external_data": TEXT,
    "query_independent": TEXT,
    "selected_on": TEXT,
    "partial": YES_OR_NO,
    "truncated": YES_OR_NO,
    "split_sha256": TEXT,
    "predictions_sha256": TEXT,
    "signature": TEXT,
}
"""Columns of `results_frame` with their dtypes; docs/leaderboard.md explains them."""

ROW_COLUMNS = {
    name: dtype for name, dtype in RESULT_COLUMNS.items() if name not in ("row", "seed", "predictions_sha256")
} | {"runs": WHOLE, "micro_ap_deviation": NUMBER}
"""Columns of `leaderboard` with their dtypes."""


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
    found = boards(fitting(read_entries(folder, cards, silent, private=private)))
    return rows_frame([board for board in found if split in (None, board.split)])


def rows_frame(found: Sequence[Board]) -> pd.DataFrame:
    """Return one row per row of the tables ``found``, the ranked ones of each first, with `ROW_COLUMNS`."""
    rows = (row for board in found for row in (*board.rows, *board.unranked))
    return frame((_record(row) for row in rows), ROW_COLUMNS)


def results_frame(found: Sequence[Board]) -> pd.DataFrame:
    """Return one row per result of the tables ``found``, runs of one method each by itself, with `RESULT_COLUMNS`."""
    return frame((_record(row, entry) for row, entry in _runs(found)), RESULT_COLUMNS)


def standings(found: Sequence[Board]) -> list[dict[str, Any]]:
    """Return the place of every result of the tables ``found``, by name, as JSON values."""
    places = (
        {"name": entry.result.name, "protocol": entry.result.protocol, **_place(row, entry.level)}
        for row, entry in _runs(found)
    )
    return sorted(places, key=lambda place: (str(place["name"]), str(place["protocol"])))


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
        **scores(result.parts["all"]),
        "micro_ap_isc": isc and isc.micro_ap,
        "recall_at_p90_isc": isc and isc.recall_at_p90,
        "hard_negative_cost": account and account.cost,
        "hard_negatives_hit": hit and hit.rate,
        **bounds("hard_negatives_hit", hit.interval if hit else None),
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
