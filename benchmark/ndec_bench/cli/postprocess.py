"""``ndec-bench postprocess``: named steps on descriptors, fitted on background images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ndec_bench.cli import console, options

if TYPE_CHECKING:
    from ndec_bench.postprocess import Report


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(postprocess)


def postprocess(
    source: Annotated[Path, typer.Argument(metavar="IN.h5", help="Submission or descriptor file.", show_default=False)],
    out: Annotated[Path, typer.Argument(metavar="OUT.h5", help="File to write, in the same form.", show_default=False)],
    step: Annotated[
        list[str], typer.Option(help="Step NAME or NAME:key=value,...; once for each, in order.", metavar="STEP")
    ],
    background: Annotated[
        Path | None,
        typer.Option(
            help="Descriptors of background images (default: those inside a submission).",
            metavar="B.h5",
            show_default=False,
        ),
    ] = None,
    side: Annotated[
        Literal["query", "reference", "background"] | None,
        typer.Option(help="What the images of a descriptor file are.", show_default=False),
    ] = None,
    others: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            help="Further file of the same images, for mean and concat.",
            metavar="FILE.h5",
            show_default=False,
        ),
    ] = None,
    unranked: Annotated[
        bool, typer.Option("--unranked", help="Allow steps that look at other queries; the file says so.")
    ] = False,
    threads: options.Threads = None,
    backend: options.Backend = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")] = False,
) -> None:
    """Apply steps: l2, centre, pca, score-norm, stretch, subtract, shift, sign, int8, pq, mean, concat."""
    from ndec_bench.postprocess import parse_step, postprocess_file
    from ndec_bench.results.describing import carry, read_describing, read_report

    steps = [parse_step(text) for text in step]
    took = [read_describing(path) or read_report(path) for path in (source, *(others or ()))]  # OUT may be one of them
    with console.progress() as progress:
        report = postprocess_file(
            source,
            out,
            steps,
            background=background,
            side=side,
            others=others or (),
            unranked=unranked,
            threads=threads,
            backend=backend,
            progress=progress,
        )
    carry(took, out, report.dimension)
    _show(report, as_json=json)


def _show(report: Report, *, as_json: bool) -> None:
    from ndec_bench.descriptors import sha256_of_file
    from ndec_bench.postprocess.step import PLURAL

    (written,) = report.files
    content: dict[str, Any] = {
        "file": str(written.path),
        "sha256": sha256_of_file(written.path),
        "steps": [{"step": step, **facts} for step, facts in report.steps],
        "images": dict(written.images),
        "dimensions": report.dimension,
        "metric": report.metric,
        "background_sha256": report.background_sha256,
        "query_independent": report.query_independent,
        "notes": list(report.notes),
    }
    if as_json:
        console.out_json(content)
        return
    rows = {"file": content["file"], "sha256": content["sha256"]}
    for number, (step, facts) in enumerate(report.steps, start=1):
        found = "".join(f", {name.replace('_', ' ')} {value:,}" for name, value in facts.items())
        rows[f"step {number}"] = step + found
    rows |= {PLURAL[side]: f"{count:,}" for side, count in written.images.items()}
    rows |= {"dimensions": f"{report.dimension:,}", "metric": report.metric}
    if report.background_sha256 is not None:
        rows["background"] = f"sha256 {report.background_sha256}"
    console.summary(rows)
    for note in report.notes:
        console.out(f"note: {note}")
