"""Results as pandas tables: the leaderboard as the site shows it, and the parts of a result."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest

from ndec_bench.errors import DataError
from ndec_bench.progress import silent
from ndec_bench.results.frames import PART_COLUMNS
from ndec_bench.results.record import read_result
from ndec_bench.site.exports import data_files, results_csv
from ndec_bench.submissions.entries import read_entries
from ndec_bench.submissions.leaderboard import RESULT_COLUMNS, ROW_COLUMNS, leaderboard, results_frame
from ndec_bench.submissions.ranking import boards

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def board() -> pd.DataFrame:
    return leaderboard(ROOT / "results")


def test_rows_are_those_of_the_site(board: pd.DataFrame) -> None:
    found = boards(read_entries(ROOT / "results", ROOT / "submissions", silent))
    rows = [row for table in found for row in (*table.rows, *table.unranked)]
    assert list(board["name"]) == [row.slug for row in rows]
    assert list(board["title"]) == [row.title for row in rows]
    assert list(board["micro_ap"]) == [row.result.parts["all"].micro_ap for row in rows]
    assert list(board["rank"].fillna(0)) == [row.standing.rank if row.standing else 0 for row in rows]
    assert list(board["runs"]) == [len(row.entries) for row in rows]
    assert board["ranked"].sum() == sum(len(table.rows) for table in found)
    assert list(board["not_ranked_because"] == "") == list(board["ranked"])
    assert board.loc[board["runs"] > 1, "micro_ap_deviation"].notna().all()
    assert board.loc[board["runs"] == 1, "micro_ap_deviation"].isna().all()


def test_columns_have_their_types(board: pd.DataFrame) -> None:
    assert board.dtypes.astype(str).to_dict() == ROW_COLUMNS
    assert leaderboard(ROOT / "results", split="none of them").dtypes.astype(str).to_dict() == ROW_COLUMNS


def test_a_split_and_a_private_board(board: pd.DataFrame) -> None:
    part = leaderboard(str(ROOT / "results"), split="ndec-mini-1", submissions=ROOT / "submissions")
    assert part.equals(board[board["split"] == "ndec-mini-1"].reset_index(drop=True))
    assert leaderboard(ROOT / "results", private=True)["ranked"].sum() >= board["ranked"].sum()
    with pytest.raises(DataError, match="no folder of results"):
        leaderboard(ROOT / "nowhere")


def test_parquet_and_csv_hold_the_same_results() -> None:
    entries = read_entries(ROOT / "results", ROOT / "submissions", silent)
    frame = results_frame(boards(entries))
    content = dict(data_files([], entries, None))["data/v1/results.parquet"]
    assert isinstance(content, bytes)
    assert list(pd.read_parquet(io.BytesIO(content)).columns) == list(frame.columns) == list(RESULT_COLUMNS)
    read = pd.read_parquet(io.BytesIO(frame.to_parquet(index=False)))
    assert read.equals(frame)
    again = pd.read_csv(io.StringIO(results_csv(frame)))
    assert list(again["name"]) == list(frame["name"])
    assert again["micro_ap"].tolist() == frame["micro_ap"].tolist()
    assert again["ranked"].tolist() == frame["ranked"].tolist()


def test_a_result_has_a_row_for_each_part() -> None:
    result = read_result(ROOT / "results/ndec-1/mini-phash.json")
    frame = result.to_frame()
    assert frame.dtypes.astype(str).to_dict() == PART_COLUMNS
    assert list(frame["part"]) == list(result.parts) == ["all", "isc"]
    for row, score in zip(frame.to_dict("records"), result.parts.values(), strict=True):
        assert (row["queries"], row["micro_ap"], row["complete"]) == (score.queries, score.micro_ap, score.complete)
        assert (row["micro_ap_low"], row["micro_ap_high"]) == score.micro_ap_interval
