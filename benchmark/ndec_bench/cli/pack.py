"""``ndec-bench pack``: descriptor files of both sides to one submission file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ndec_bench.cli import console


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(pack)


def pack(
    query: Annotated[list[Path], typer.Option(help="Descriptors of the queries; several files.")],
    reference: Annotated[list[Path], typer.Option(help="Descriptors of the references; several files.")],
    split: Annotated[str, typer.Option(help="Split they are of, for example ndec.")],
    out: Annotated[Path, typer.Option(help="Submission file to write.")],
    background: Annotated[
        list[Path] | None, typer.Option(help="Descriptors of background images; several files.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was packed as JSON.")] = False,
) -> None:
    """Pack descriptor files of both sides into one submission.

    What describing took (FILE.h5.json next to each) goes along, as OUT.json.
    """
    from ndec_bench.descriptors import packing, sha256_of_file
    from ndec_bench.results.describing import forget, joined, read_report, write_describing

    took = {path: read_report(path) for path in (*query, *reference)}
    with (
        console.progress() as progress,
        packing.pack(query, reference, out, split=split, background=background or (), progress=progress) as submission,
    ):
        content = {
            "file": str(out),
            "sha256": sha256_of_file(out),
            "split": split,
            "queries": len(submission.queries),
            "references": len(submission.references),
            "background": len(submission.background) if submission.background else 0,
            "dimensions": submission.references.dimension,
            "invalid": len(submission.invalid_ids),
        }
    known = [report for report in took.values() if report is not None]
    if len(known) == len(took):
        write_describing(out, joined(known))
    else:
        unknown = ", ".join(str(path) for path, report in took.items() if report is None)
        console.note(f"what describing took is not recorded: there is no record of it next to {unknown}")
        forget(out)
    if json:
        console.out_json(content)
    else:
        console.summary(
            {name: f"{value:,}" if isinstance(value, int) else str(value) for name, value in content.items()}
        )
