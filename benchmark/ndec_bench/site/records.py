"""Results as data: the flat list of recorded fields, and the files under ``data/v1/``."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from ndec_bench.results.record import result_schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ndec_bench.results.record import Result, Share
    from ndec_bench.site.boards import SplitTables
    from ndec_bench.submissions.entries import Entry

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
    "level",
    "not_ranked_because",
    "row",
    "runs_of",
    "seed",
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
    "precision_at_frozen_threshold",
    "dimensions",
    "bytes_per_reference",
    "milliseconds_per_image",
    "code_licence",
    "weights_licence",
    "commercial_use",
    "date",
    "paper",
    "code",
    "labels_used",
    "train_images",
    "reference_images_in_training",
    "ndec_pairs",
    "background",
    "external_data",
    "query_independent",
    "selected_on",
    "partial",
    "truncated",
    "split_sha256",
    "predictions_sha256",
    "signature",
)


def recorded_text(result: Result) -> str:
    """Return every recorded field of ``result`` as a line ``dotted.name: value``; long lists as their length.

    One text and no table: a result has some four hundred fields, and a thousand pages of them take their time.
    """
    return "".join(f"{name}: {value}\n" for name, value in fields(result.model_dump(mode="json")))


def fields(record: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted name, value as one line of text) of every field of a record; long lists as their length."""
    for key, value in record.items():
        name = f"{above}{key}"
        if isinstance(value, dict) and value:
            yield from fields(value, f"{name}.")
        elif isinstance(value, list) and len(value) > LONG_LIST:
            yield name, f"{len(value):,} values, in the JSON file"
        elif isinstance(value, str) and value.isprintable():
            yield name, value
        elif type(value) in (int, float):
            yield name, repr(value)  # as in JSON, at a fifth of its price
        else:
            yield name, json.dumps(value, ensure_ascii=False)


def results_json(tables: Sequence[SplitTables]) -> str:
    """Return ``data/v1/results.json``: every result, its card and its place, each list sorted by name.

    Results follow ``schema.json``. The replicates are left out; they are in ``data/v1/results/<name>.json``. Under
    ``rows`` stand the rows of several seeds, with their mean and spread. One record per line.
    """
    entries = sorted((entry for table in tables for board in table.boards for entry in board.entries), key=_name)
    lists = {
        "results": [_without_replicates(entry.result) for entry in entries],
        "standings": sorted(_standings(tables), key=lambda standing: str(standing["name"])),
        "submissions": [entry.card.model_dump(mode="json") for entry in entries if entry.card],
        "rows": sorted(_rows_of_runs(tables), key=lambda row: str(row["row"])),
    }
    # The C encoder takes no indent, and a thousand results are 30 MB.
    texts = [f'"{name}": [{_lines_of(records)}]' for name, records in lists.items()]
    return f'{{"schema_version": {DATA_VERSION},\n' + ",\n".join(texts) + "}\n"


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
                row = {**_scores(entry.result), **_card(entry), **places[entry.result.name]}
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


def _lines_of(records: Sequence[dict[str, Any]]) -> str:
    return ",".join("\n" + json.dumps(record, ensure_ascii=False, allow_nan=False) for record in records)


def _standings(tables: Sequence[SplitTables]) -> list[dict[str, Any]]:
    boards = [board for table in tables for board in table.boards]
    return [
        {
            "name": entry.result.name,
            "ranked": row.standing is not None,
            "rank": row.standing and row.standing.rank,
            "rank_best": row.standing and row.standing.best,
            "rank_worst": row.standing and row.standing.worst,
            "tie_group": row.standing and row.standing.group,
            "row": row.slug,
            "level": entry.level,
            "not_ranked_because": entry.reasons,
        }
        for board in boards
        for row in (*board.rows, *board.unranked)
        for entry in row.entries
    ]


def _rows_of_runs(tables: Sequence[SplitTables]) -> list[dict[str, Any]]:
    return [
        {
            "row": row.slug,
            "title": row.title,
            "runs": [entry.result.name for entry in row.entries],
            "micro_ap": row.result.parts["all"].micro_ap,
            "micro_ap_interval": row.result.parts["all"].micro_ap_interval,
            "recall_at_p90": row.result.parts["all"].recall_at_p90,
            "micro_ap_deviation": row.spread.deviation,
            "micro_ap_range": [row.spread.low, row.spread.high],
        }
        for table in tables
        for board in table.boards
        for row in board.rows
        if row.spread is not None
    ]


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


def _card(entry: Entry) -> dict[str, object]:
    card = entry.card
    method = card.method if card else None
    return {
        "title": entry.title,
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


def _bounds(name: str, interval: tuple[float, float] | None) -> dict[str, object]:
    low, high = interval or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}


def _share(name: str, share: Share | None) -> dict[str, object]:
    return {name: share.rate if share else None, **_bounds(name, share.interval if share else None)}


def _cell(value: object) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        value = "; ".join(value)
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t")):
        return f"'{value}"
    return value
