"""``ndec-bench match``: the exact search alone, without ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ndec_bench.cli import console, options


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(match)


def match(
    query: Annotated[
        list[Path], typer.Option(help="Descriptors of the queries; several files.", metavar="F...", show_default=False)
    ],
    reference: Annotated[
        list[Path],
        typer.Option(help="Descriptors of the references; several files.", metavar="F...", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option(help="List to write, as Parquet (as CSV if named so).", metavar="LIST", show_default=False),
    ],
    pairs: Annotated[
        int | None,
        typer.Option(min=1, help="The best N pairs of all.", metavar="N", show_default="10 per query"),
    ] = None,
    per_query: Annotated[
        int | None, typer.Option(min=1, help="The best K pairs of each query.", metavar="K", show_default=False)
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="All pairs with this score or a higher one.", metavar="T", show_default=False),
    ] = None,
    operating_point: Annotated[
        Path | None,
        typer.Option(
            help='The same, with the score that "threshold --out" wrote.', metavar="POINT.json", show_default=False
        ),
    ] = None,
    metric: Annotated[
        Literal["l2", "ip"] | None,
        typer.Option(help="Metric, for files that name none.", show_default="the files', else l2"),
    ] = None,
    threads: options.Threads = None,
    backend: options.Backend = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write the best pairs of queries and references, by exact search; nothing needs to be known of them.

    Example: ndec-bench match --query q.h5 --reference r.h5 --threshold -0.07 --out pairs.csv
    """
    from ndec_bench.atomic import check_writable
    from ndec_bench.matches import write_pairs
    from ndec_bench.scoring import matching

    check_writable(out)
    options.check_inputs_stay([out], [*query, *reference, *([operating_point] if operating_point else [])])
    with console.progress() as progress:
        found = matching.match(
            query,
            reference,
            pairs=pairs,
            per_query=per_query,
            threshold=threshold,
            operating_point=operating_point,
            metric=metric,
            threads=threads,
            backend=backend,
            progress=progress,
        )
    write_pairs(out, found)
    lowest = float(found.scores[-1]) if len(found) else None
    if json:
        content = {"file": str(out), "pairs": len(found), "lowest_score": lowest, "matches_sha256": found.sha256}
        console.out_json(content)
        return
    rows = {"file": str(out), "pairs": f"{len(found):,}"}
    if lowest is not None:
        rows["lowest score"] = f"{lowest:.6g}"
    console.summary(rows)
