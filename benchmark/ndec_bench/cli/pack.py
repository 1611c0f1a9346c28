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
    query: Annotated[Path, typer.Option(help="Descriptors of the queries.")],
    reference: Annotated[Path, typer.Option(help="Descriptors of the references.")],
    split: Annotated[str, typer.Option(help="Split they are of, for example ndec.")],
    out: Annotated[Path, typer.Option(help="Submission file to write.")],
    background: Annotated[
        Path | None, typer.Option(help="Descriptors of background images.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was packed as JSON.")] = False,
) -> None:
    """Pack descriptor files of both sides into one submission."""
    from ndec_bench import pipeline
    from ndec_bench.descriptors import sha256_of_file

    submission = pipeline.pack(query, reference, out, split=split, background=background)
    content = {
        "file": str(out),
        "sha256": sha256_of_file(out),
        "split": split,
        "queries": len(submission.queries),
        "references": len(submission.references),
        "background": len(submission.background) if submission.background else 0,
        "dimensions": submission.references.dimension,
    }
    if json:
        console.out_json(content)
    else:
        console.summary(
            {name: f"{value:,}" if isinstance(value, int) else str(value) for name, value in content.items()}
        )
