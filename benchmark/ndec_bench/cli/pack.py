"""``ndec-bench pack``: descriptor files of both sides to one submission file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ndec_bench.cli import console

if TYPE_CHECKING:
    from ndec_bench.results.record import Describing


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
    """Pack descriptor files of both sides into one submission.

    What describing took (FILE.h5.json next to each) goes along, as OUT.json.
    """
    from ndec_bench import pipeline
    from ndec_bench.cli.took import describing_of, report_of
    from ndec_bench.descriptors import sha256_of_file

    reports = [report_of(path) for path in (query, reference)]
    took = [None if report is None else describing_of(report) for report in reports]
    with (
        console.progress() as progress,
        pipeline.pack(query, reference, out, split=split, background=background, progress=progress) as submission,
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
    _record(out, [query, reference], took)
    if json:
        console.out_json(content)
    else:
        console.summary(
            {name: f"{value:,}" if isinstance(value, int) else str(value) for name, value in content.items()}
        )


def _record(out: Path, paths: list[Path], took: list[Describing | None]) -> None:
    """Write what describing both sides took next to the submission; where a part of it is unknown, nothing."""
    from ndec_baselines.describing.extract import sidecar
    from ndec_bench import pipeline
    from ndec_bench.results.record import read_describing, write_describing

    known = [one for one in took if one is not None]
    if len(known) == len(took):
        write_describing(out, pipeline.joined(known))
        return
    unknown = ", ".join(str(path) for path, one in zip(paths, took, strict=True) if one is None)
    console.note(f"what describing took is not recorded: there is no record of it next to {unknown}")
    if read_describing(out) is not None:  # of an earlier submission under this name
        sidecar(out).unlink(missing_ok=True)
