"""Results as data: the flat list of recorded fields, and the files under ``data/v1/``."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from ndec_bench.report import result_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ndec_bench.report import Result, Share
    from ndec_bench.site.boards import SplitTables
    from ndec_bench.site.entries import Entry

DATA_VERSION = 1
LONG_LIST = 8

COLUMNS = (
    "name",
    "title",
    "split",
    "track",
    "protocol",
    "ranked",
    "rank",
    "rank_best",
    "rank_worst",
    "tie_group",
    "micro_ap",
    "micro_ap_low",
    "micro_ap_high",
    "recall_at_p90",
    "recall_at_p90_low",
    "recall_at_p90_high",
    "threshold_at_p90",
    "recall_at_1",
    "recall_at_10",
    "micro_ap_isc",
    "recall_at_p90_isc",
    "hard_negative_cost",
    "hard_negatives_hit",
    "hard_negatives_hit_low",
    "hard_negatives_hit_high",
    "dimensions",
    "bytes_per_reference",
    "milliseconds_per_image",
    "code_licence",
    "weights_licence",
    "commercial_use",
    "date",
    "paper",
    "code",
    "partial",
    "truncated",
    "query_independent",
    "split_sha256",
    "predictions_sha256",
    "signature",
)


def fields(record: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted name, value as text) of every field of a record; long lists of numbers as their length."""
    for key, value in record.items():
        name = f"{above}{key}"
        if isinstance(value, dict) and value:
            yield from fields(value, f"{name}.")
        elif isinstance(value, list) and len(value) > LONG_LIST:
            yield name, f"{len(value):,} values, in the JSON file"
        else:
            yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def results_json(tables: Sequence[SplitTables]) -> str:
    """Return ``data/v1/results.json``: every result, its card and its place, each list sorted by name.

    Results follow ``schema.json``. The replicates are left out; they are in ``data/v1/results/<name>.json``.
    """
    entries = sorted((entry for table in tables for board in table.boards for entry in board.entries), key=_name)
    content = {
        "schema_version": DATA_VERSION,
        "results": [_without_replicates(entry.result) for entry in entries],
        "standings": sorted(_standings(tables), key=lambda standing: str(standing["name"])),
        "submissions": [entry.card.model_dump(mode="json") for entry in entries if entry.card],
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def results_csv(tables: Sequence[SplitTables]) -> str:
    """Return ``data/v1/results.csv``: one line per result, sorted by split, track, protocol and rank.

    Numbers are unrounded; an empty cell is a value that is not known or not reached. Text that a spreadsheet would
    take for a formula starts with an apostrophe.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    places = {standing["name"]: standing for standing in _standings(tables)}
    for table in tables:
        for board in table.boards:
            for entry in board.entries:
                independent = {"query_independent": entry.independent}
                row = {**_scores(entry.result), **independent, **_card(entry), **places[entry.result.name]}
                writer.writerow({key: _cell(row[key]) for key in COLUMNS})
    return buffer.getvalue()


def schema_json() -> str:
    """Return ``data/v1/schema.json``, the JSON Schema of a result."""
    return json.dumps(result_schema(), ensure_ascii=False, indent=1) + "\n"


def _name(entry: Entry) -> str:
    return entry.result.name


def _without_replicates(result: Result) -> dict[str, Any]:
    content = result.model_dump(mode="json")
    for part in content["parts"].values():
        part["replicates"] = None
    return content


def _standings(tables: Sequence[SplitTables]) -> list[dict[str, Any]]:
    boards = [board for table in tables for board in table.boards]
    ranked = [
        {
            "name": row.entry.result.name,
            "ranked": True,
            "rank": row.standing.rank,
            "rank_best": row.standing.best,
            "rank_worst": row.standing.worst,
            "tie_group": row.standing.group,
        }
        for board in boards
        for row in board.rows
    ]
    empty = {"ranked": False, "rank": None, "rank_best": None, "rank_worst": None, "tie_group": None}
    return ranked + [{"name": entry.result.name, **empty} for board in boards for entry in board.apart]


def _scores(result: Result) -> dict[str, object]:
    everything, isc, account = result.parts["all"], result.parts.get("isc"), result.hard_negatives
    hit = account.at_p90_isc.hard_negatives_hit if account and account.at_p90_isc else None
    return {
        "split": result.split,
        "track": result.track,
        "protocol": result.protocol,
        "micro_ap": everything.micro_ap,
        **_bounds("micro_ap", everything.micro_ap_interval),
        "recall_at_p90": everything.recall_at_p90,
        **_bounds("recall_at_p90", everything.recall_at_p90_interval),
        "threshold_at_p90": everything.threshold_at_p90,
        "recall_at_1": everything.recall_at_1,
        "recall_at_10": everything.recall_at_10,
        "micro_ap_isc": isc and isc.micro_ap,
        "recall_at_p90_isc": isc and isc.recall_at_p90,
        "hard_negative_cost": account and account.cost,
        **_share("hard_negatives_hit", hit),
        "dimensions": result.dimensions,
        "bytes_per_reference": result.bytes_per_reference,
        "milliseconds_per_image": result.describing and result.describing.milliseconds_per_image,
        "partial": result.partial,
        "truncated": result.truncated,
        "split_sha256": result.digests.split,
        "predictions_sha256": result.predictions_sha256,
        "signature": result.signature,
    }


def _card(entry: Entry) -> dict[str, object]:
    if entry.card is None:
        keys = ("code_licence", "weights_licence", "commercial_use", "date", "paper", "code")
        return {"title": entry.title, **dict.fromkeys(keys)}
    method = entry.card.method
    return {
        "title": entry.title,
        "code_licence": method.code_licence,
        "weights_licence": method.weights_licence,
        "commercial_use": method.commercial_use,
        "date": entry.card.date,
        "paper": method.paper,
        "code": method.code,
    }


def _bounds(name: str, interval: tuple[float, float] | None) -> dict[str, object]:
    low, high = interval or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}


def _share(name: str, share: Share | None) -> dict[str, object]:
    return {name: share.rate if share else None, **_bounds(name, share.interval if share else None)}


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t")):
        return f"'{value}"
    return value
