"""``ndec-bench compare``: which of several results is better, and how sure that is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ndec_bench.cli import console

if TYPE_CHECKING:
    from ndec_bench.metrics.compare import Comparison, Entry, Pair, Standing
    from ndec_bench.results.record import Result

MEASURES = {"micro_ap": "µAP", "recall_at_p90": "recall@P90"}
_STANDING_WIDTH = 28
_PAIR_WIDTH = 16


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(compare)


def compare(
    results: Annotated[
        list[Path] | None,
        typer.Argument(help="Two or more results of one split.", metavar="RESULT.json...", show_default=False),
    ] = None,
    part: Annotated[str, typer.Option(help="Part of the split.", metavar="NAME")] = "all",
    measure: Annotated[Literal["micro_ap", "recall_at_p90"], typer.Option(help="What to compare.")] = "micro_ap",
    json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON, with all pairs.")] = False,
) -> None:
    """Compare results of one split: paired differences with intervals and p-values, and tie groups.

    Two results are compared as given, the first minus the second. Three and more are put in the order of their
    scores. No predictions are needed: results store the bootstrap replicates that are paired here.
    """
    from ndec_bench.metrics.compare import compare as compare_results

    comparison = compare_results(_read(results or []), part=part, measure=measure)
    if json:
        console.out_json(_content(comparison))
    else:
        _show(comparison)


def _read(paths: list[Path]) -> list[tuple[str, Result]]:
    from ndec_bench.errors import DataError
    from ndec_bench.results.record import read_result

    seen: dict[Path, Path] = {}
    for path in paths:
        same = seen.setdefault(path.resolve(), path)
        if same is not path:
            raise DataError(f"{path}: given twice", hint="give each result once")
    return [(str(path), read_result(path)) for path in paths]


def _content(comparison: Comparison) -> dict[str, Any]:
    return {
        "split": comparison.split,
        "split_sha256": comparison.split_sha256,
        "protocol": comparison.protocol,
        "part": comparison.part,
        "measure": comparison.measure,
        "replicates": comparison.replicates,
        "stream": comparison.stream,
        "results": [
            {
                "name": entry.label,
                "file": entry.place,
                "score": _score(entry, comparison),
                "interval": _own_interval(entry, comparison),
                "rank": standing.rank,
                "best": standing.best,
                "worst": standing.worst,
                "group": standing.group,
            }
            for entry, standing in zip(comparison.entries, comparison.standings, strict=True)
        ],
        "pairs": [
            {
                "a": pair.a,
                "b": pair.b,
                "difference": pair.paired.difference,
                "interval": pair.paired.interval,
                "p_value": pair.paired.p_value,
                "p_holm": pair.p_holm,
                "significant": pair.paired.significant,
            }
            for pair in comparison.pairs
        ],
        "notes": list(comparison.notes),
    }


def _show(comparison: Comparison) -> None:
    measure = MEASURES[comparison.measure]
    several = len(comparison.entries) > 2
    console.table(
        f"{measure} on {_printable(comparison.split)}, part {_printable(comparison.part)}, "
        f"protocol {_printable(comparison.protocol)}",
        ["", "result", measure, "95 % interval", "rank", "rank interval", "tie group"],
        [
            _standing_row(number, entry, standing, comparison)
            for number, (entry, standing) in enumerate(zip(comparison.entries, comparison.standings, strict=True), 1)
        ],
        left=2,
    )
    numbers = {entry.label: number for number, entry in enumerate(comparison.entries, 1)}
    columns = ["a - b", "a", "b", "difference", "95 % interval", "p"]
    console.table(
        "Paired differences: each from the best, and neighbours" if several else "Paired difference",
        [*columns, "p Holm"] if several else columns,
        [_pair_row(pair, numbers, several=several) for pair in _shown(comparison, numbers)],
        left=3,
    )
    _show_reading(comparison, several=several)


def _show_reading(comparison: Comparison, *, several: bool) -> None:
    console.out(
        f"{comparison.replicates:,} replicates of stream {_printable(comparison.stream)}, resampling queries; the same "
        "queries in all results.\n* the interval leaves out 0."
    )
    if several:
        console.out(
            f"p Holm is adjusted for all {len(comparison.pairs):,} pairs; p, intervals, rank intervals and tie groups "
            "are not."
        )
    for note in comparison.notes:
        console.out(f"note: {_printable(note)}")


def _shown(comparison: Comparison, numbers: dict[str, int]) -> list[Pair]:
    """Return the pairs for a terminal: with the best result, then neighbours."""
    best = [pair for pair in comparison.pairs if numbers[pair.a] == 1]
    return best + [pair for pair in comparison.pairs if numbers[pair.b] - numbers[pair.a] == 1 < numbers[pair.a]]


def _standing_row(number: int, entry: Entry, standing: Standing, comparison: Comparison) -> list[str]:
    interval = _own_interval(entry, comparison)
    return [
        str(number),
        _short(entry.label, _STANDING_WIDTH),
        f"{_score(entry, comparison):.4f}",
        "" if interval is None else _range(interval, "–", ".4f"),
        str(standing.rank),
        f"{standing.best}–{standing.worst}",
        str(standing.group),
    ]


def _pair_row(pair: Pair, numbers: dict[str, int], *, several: bool) -> list[str]:
    found = pair.paired
    row = [
        f"{numbers[pair.a]} - {numbers[pair.b]}",
        _short(pair.a, _PAIR_WIDTH),
        _short(pair.b, _PAIR_WIDTH),
        f"{found.difference:+.4f}" + ("*" if found.significant else " "),
        _range(found.interval, " to ", "+.4f"),
        f"{found.p_value:.4f}",
    ]
    return [*row, f"{pair.p_holm:.4f}"] if several else row


def _score(entry: Entry, comparison: Comparison) -> float:
    score = entry.result.parts[comparison.part]
    return score.micro_ap if comparison.measure == "micro_ap" else score.recall_at_p90 or 0.0


def _own_interval(entry: Entry, comparison: Comparison) -> tuple[float, float] | None:
    score = entry.result.parts[comparison.part]
    return score.micro_ap_interval if comparison.measure == "micro_ap" else score.recall_at_p90_interval


def _range(interval: tuple[float, float], between: str, form: str) -> str:
    return f"{interval[0]:{form}}{between}{interval[1]:{form}}"


def _short(text: str, width: int) -> str:
    # Names that are long often differ at their end.
    shown, tail = _printable(text), width // 3
    return shown if len(shown) <= width else f"{shown[: width - tail - 1]}…{shown[-tail:]}"


def _printable(text: str) -> str:
    """Return a stranger's text without what would move a terminal's cursor."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
