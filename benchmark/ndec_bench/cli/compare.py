"""``ndec-bench compare``: which of several results is better, and how sure that is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ndec_bench.cli import console


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
    from dataclasses import asdict

    from ndec_bench.errors import DataError
    from ndec_bench.results import comparison
    from ndec_bench.results.record import read_result
    from ndec_bench.results.tables import comparison_tables

    paths = results or []
    for number, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:number]]:
            raise DataError(f"{path}: given twice", hint="give each result once")
    found = comparison.compare([(str(path), read_result(path)) for path in paths], part=part, measure=measure)
    if json:
        console.out_json(asdict(found))
    else:
        console.show(comparison_tables(found))
