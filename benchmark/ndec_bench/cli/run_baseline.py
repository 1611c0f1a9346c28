"""``ndec-bench run``: a baseline through the whole line, from images to a scored submission."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ndec_bench.cli import console, options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_baselines.base import Expected
    from ndec_bench.results.differences import Verdict
    from ndec_bench.results.record import Result


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(run)


def run(
    baseline: Annotated[str, typer.Argument(help='Its name, see "ndec-bench baselines".', show_default=False)],
    split: Annotated[str, typer.Option(help="Name of the split to describe and score.")] = "ndec",
    out: Annotated[Path, typer.Option(help="Folder for descriptors, submission and result.")] = Path("ndec-runs"),
    root: options.Root = None,
    name: Annotated[str | None, typer.Option(help="Name of the submission (default: the baseline's).")] = None,
    weights: options.Weights = None,
    weights_sha256: options.WeightsSha256 = None,
    step: Annotated[
        list[str] | None,
        typer.Option(help="Post-processing in place of the published one; may be repeated.", show_default=False),
    ] = None,
    no_steps: Annotated[bool, typer.Option("--no-steps", help="Leave the published post-processing out.")] = False,
    detections: options.Detections = None,
    device: options.Device = "auto",
    precision: Annotated[str, typer.Option(help="float32, float16 or bfloat16.")] = "float32",
    workers: options.Workers = None,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Leave broken images out and name them.")] = False,
    asymmetric: options.Asymmetric = "none",
    check: Annotated[bool, typer.Option("--check", help="Compare with the published number.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Take a baseline through the whole line: describe, post-process, pack, score."""
    from ndec_baselines import running, submitting
    from ndec_bench.results.record import result_json
    from ndec_bench.results.tables import result_tables

    chosen = running.RunOptions(
        name=name,
        steps=chosen_steps(step, no_steps=no_steps),
        asymmetric=asymmetric,
        check=check,
        weights=weights,
        weights_sha256=weights_sha256,
        device=device,
        precision=precision,
        workers=workers,
        keep_going=keep_going,
        detections=detections,
    )
    with console.progress() as progress:
        result = running.run(baseline, split, out, root=root, options=chosen, progress=progress, tell=console.note)
    if json:
        console.out(result_json(result).rstrip("\n"))
    else:
        console.show(result_tables(result))
        console.out(f"result written to {out / 'results' / result.protocol / result.name}.json")
    if check:
        _compare(result, submitting.against_published(baseline, result, chosen))


def chosen_steps(step: list[str] | None, *, no_steps: bool) -> tuple[str, ...] | None:
    """Return the post-processing that is asked for; None for the published one. Raises UsageError."""
    from ndec_bench.errors import UsageError

    if step and no_steps:
        raise UsageError("--step and --no-steps contradict each other", hint="give one of them")
    return () if no_steps else tuple(step) if step else None


def _compare(result: Result, compared: Sequence[tuple[Expected, float | None, Verdict]]) -> None:
    """Print a row per published number: both figures and OK, close or FAIL. Raises SubmissionError if one fails."""
    from ndec_bench.errors import SubmissionError
    from ndec_bench.results.differences import CLOSE, SAME

    rows, failed = [], []
    for one, found, said in compared:
        shown = "not reached" if found is None else f"{found:.5f}"
        rows.append([one.metric, one.protocol, said, f"{one.value:.5f}", shown, one.source])
        if said == "FAIL":
            failed.append(f"{one.metric} under {one.protocol} is {shown}, published {one.value:.5f}")
    console.table(
        f"{result.name} on {result.split} against published numbers",
        ["measure", "protocol", "verdict", "published", "measured", "source"],
        rows,
        left=3,
        caption=f"OK: within {SAME}; close: within {CLOSE}",
        to_stderr=True,
    )
    if failed:
        raise SubmissionError(
            f"{result.name} does not reproduce: {'; '.join(failed)}",
            hint="check weights, images and versions; the result was written all the same",
        )
