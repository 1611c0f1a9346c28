"""Data of the page "compare": the figures of every row, its replicates as a script, and tables of the best rows.

Any two rows of a table can be compared in a browser, from disk as well, because the replicates of each row are a
classic script of their own; static/compare.js loads those it needs and computes what `ndec_bench.results.comparison`
does.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ndec_bench.printable import without_overrides
from ndec_bench.results.comparison import paired
from ndec_bench.site.boards import KINDS
from ndec_bench.site.charts import curve_chart, curve_rows
from ndec_bench.site.text import letters

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_bench.metrics.compare import Paired
    from ndec_bench.results.record import PartScore
    from ndec_bench.site.boards import SplitTables
    from ndec_bench.submissions.ranking import Board, Row

PARTS = ("all", "isc")
BEST = 8
_DECIMALS = 8


@dataclass(frozen=True)
class Matrix:
    """The best rows of a table in pairs.

    Attributes
    ----------
    title
        Name of the table, as `board_title`.
    rows
        Up to `BEST` ranked rows whose replicates can be paired, best first.
    cells
        ``cells[i][j]`` is µAP of row i minus µAP of row j on all queries; None where j <= i.
    """

    title: str
    rows: tuple[Row, ...]
    cells: tuple[tuple[Paired | None, ...], ...]


def board_title(table: SplitTables, board: Board) -> str:
    """Return the name of a table, which none of the other tables of its split has."""
    name = f"{without_overrides(board.title)}, {board.track} track"
    if len({other.protocol for other in table.boards}) > 1:
        name += f", protocol {without_overrides(board.protocol)}"
    return f"{name}, edition {board.edition[:8]}" if table.editions > 1 else name


def matrices(tables: Sequence[SplitTables]) -> list[Matrix]:
    """Return the best rows of every table in pairs, NDEC first; tables with fewer than two are left out."""
    found = []
    for table, board in _boards(tables):
        rows = tuple(row for row in board.rows if row.standing and row.standing.best)[:BEST]
        cells = tuple(
            tuple(paired(row.result, other.result) if j > i else None for j, other in enumerate(rows))
            for i, row in enumerate(rows)
        )
        if len(rows) > 1:
            found.append(Matrix(board_title(table, board), rows, cells))
    return found


def compare_rows(tables: Sequence[SplitTables]) -> list[dict[str, Any]]:
    """Return the figures of every row as JSON values, table by table, NDEC and ranked rows first.

    ``why`` says why a row cannot be compared; null where it can.
    """
    return [
        _figures(row, board.key, board_title(table, board))
        for table, board in _boards(tables)
        for row in (*board.rows, *board.unranked)
    ]


def replicates_js(row: Row) -> str:
    """Return the script ``data/v1/replicates/<slug>.js``, which hands a row's replicates and curve to compare.js.

    Numbers are as stored, means of several runs rounded to 8 decimals. The curve is that of all queries, in the
    coordinates of `ndec_bench.site.charts`, with its precision at recalls 0.05, 0.10 .. 1.
    """
    digits = _DECIMALS if len(row.entries) > 1 else None
    parts = {name: _replicates(row.result.parts[name], digits) for name in PARTS if name in row.result.parts}
    everything = row.result.parts["all"]
    chart = curve_chart({"all": everything})
    table = curve_rows([everything.pr_curve])
    curve = {
        "path": chart.lines[0].path,
        "point": chart.lines[0].point,
        "target": chart.target,
        "box": [chart.width, chart.height, chart.left, chart.right, chart.top, chart.bottom],
        "table": [[line.level, point[0]] for line in table for point in line.points if point],
    }
    content = json.dumps({"parts": parts, "curve": curve}, allow_nan=False, separators=(",", ":"))
    return f"ndecBench.replicates({json.dumps(row.slug)}, {content});\n"


def _boards(tables: Sequence[SplitTables]) -> list[tuple[SplitTables, Board]]:
    ordered = sorted(tables, key=lambda table: KINDS.index(table.kind))
    return [(table, board) for table in ordered for board in table.boards]


def _replicates(part: PartScore, digits: int | None) -> dict[str, Any] | None:
    if part.replicates is None or not part.replicates.micro_ap:
        return None
    content = part.replicates.model_dump(mode="json")
    if digits is not None:
        for measure in ("micro_ap", "recall_at_p90"):
            content[measure] = [round(value, digits) for value in content[measure]]
    return content


def _figures(row: Row, board: str, title: str) -> dict[str, Any]:
    result, standing = row.result, row.standing
    account = None if result.partial else result.hard_negatives
    group = standing.group if standing else None
    return {
        "id": row.slug,
        "name": result.name,
        "title": without_overrides(row.title) or row.slug,
        "board": board,
        "board_title": title,
        "page": row.page,
        "rank": standing and standing.rank,
        "best": standing and standing.best,
        "worst": standing and standing.worst,
        "group": group and letters(group),
        "level": row.level,
        "runs": len(row.entries),
        "dimensions": result.dimensions,
        "cost": account and account.cost,
        "parts": {name: _scores(result.parts[name]) for name in PARTS if name in result.parts},
        "why": "references are missing, so its numbers compare with no others" if result.partial else None,
    }


def _scores(part: PartScore) -> dict[str, Any]:
    return part.model_dump(
        mode="json", include={"micro_ap", "micro_ap_interval", "recall_at_p90", "recall_at_p90_interval", "complete"}
    )
