"""``ndec-bench reproduce``: a row of the leaderboard made again, and compared with what is recorded."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ndec_bench.cli import console, options
from ndec_bench.cli.run_baseline import chosen_steps
from ndec_bench.printable import one_line

if TYPE_CHECKING:
    from ndec_baselines.again import DescribedSample, Reproduction
    from ndec_bench.results.differences import Comparison
    from ndec_bench.results.record import Result

_MOST_DIFFERENCES = 20
_SHOWN = ("micro_ap", "recall_at_p90", "recall_at_1")


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(reproduce)


def reproduce(
    name: Annotated[str, typer.Argument(help="Name of the submission.", show_default=False)],
    protocol: Annotated[
        str | None, typer.Option(help="The result under this protocol alone (default: all there are).")
    ] = None,
    results: Annotated[Path, typer.Option(help="Folder of the records.")] = Path("results"),
    submissions: Annotated[Path, typer.Option(help="Folder of the cards.")] = Path("submissions"),
    root: options.Root = None,
    file: Annotated[
        Path | None, typer.Option(help="The submission file, in place of the card's address.", show_default=False)
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(help="Also describe N images again, half of them queries.", min=2, metavar="N"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="With --sample: draws the images (default: a new one, which is printed).",
            min=0,
            metavar="N",
            show_default=False,
        ),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="In place of a file: run the baseline on the whole split again.")
    ] = False,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Data root with the images (default: --root).",
            metavar="ROOT",
            parser=options.folder,
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="With --whole: folder for what is made (default: removed in the end).", show_default=False),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="The baseline to describe with (default: the one on record).")
    ] = None,
    step: Annotated[
        list[str] | None,
        typer.Option(
            help="With --whole: post-processing in place of that on record; may be repeated.", show_default=False
        ),
    ] = None,
    no_steps: Annotated[bool, typer.Option("--no-steps", help="With --whole: no post-processing.")] = False,
    weights: options.Weights = None,
    weights_sha256: options.WeightsSha256 = None,
    background: Annotated[
        Path | None,
        typer.Option(
            help="With --sample: descriptors of the background that steps were fitted on.", show_default=False
        ),
    ] = None,
    detections: options.Detections = None,
    device: options.Device = "auto",
    precision: Annotated[
        str | None, typer.Option(help="float32, float16 or bfloat16 (default: that of the file, else float32).")
    ] = None,
    workers: options.Workers = None,
    threads: options.Threads = None,
    backend: options.Backend = "auto",
    public_hosts: Annotated[
        bool, typer.Option("--public-hosts", help="Fetch from the public network alone, whatever the card says.")
    ] = False,
    record: Annotated[
        bool, typer.Option("--record", help="If all is OK, write the table [verified] of the card.")
    ] = False,
    date: Annotated[
        datetime | None,
        typer.Option(
            help="With --record: day of the check (default: today).",
            formats=["%Y-%m-%d"],
            metavar="YYYY-MM-DD",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Score a submission again with the recorded choices, and say OK, close or FAIL (exit code 3).

    With --record, the exit code is 3 too if nothing could be recorded.
    The file is fetched from the card's address, or given with --file. --sample describes some of the images again and
    compares the vectors; --whole needs no file and describes all of them.
    """
    from ndec_baselines import again
    from ndec_baselines.running import RunOptions
    from ndec_bench.errors import SubmissionError

    chosen = again.ReproduceOptions(
        protocol=protocol,
        results=results,
        submissions=submissions,
        root=root,
        images=images,
        file=file,
        sample=sample,
        seed=seed,
        whole=whole,
        out=out,
        baseline=baseline,
        background=background,
        run=RunOptions(
            steps=chosen_steps(step, no_steps=no_steps),
            weights=weights,
            weights_sha256=weights_sha256,
            device=device,
            precision=precision,
            workers=workers,
            detections=detections,
        ),
        threads=threads,
        backend=backend,
        public_hosts=public_hosts,
        record=record,
        day=None if date is None else date.date(),
    )
    with console.progress() as progress:
        found = again.reproduce(name, chosen, progress=progress, tell=console.note)
    if json:
        console.out_json(_content(found))
    else:
        _show(found)
    failed, lost = found.verdict == "FAIL", record and found.verified is None
    if json and (failed or lost):  # the verdict is printed; a second JSON object would spoil the first
        raise typer.Exit(SubmissionError.exit_code)
    if failed:
        raise SubmissionError(
            f"{name} does not reproduce", hint="check weights, images and versions against the record's provenance"
        )
    if lost:
        raise SubmissionError(
            f"{name}: nothing was recorded, since it is {found.verdict}, and only OK is", hint="score it again"
        )


def _show(made: Reproduction) -> None:
    """Print tables of recorded and new scores, how a sample agrees, and the verdict."""
    for before, now, comparison in zip(made.recorded, made.found, made.comparisons, strict=True):
        console.table(
            f"{before.name} on {before.split}, protocol {before.protocol}: {comparison.verdict}",
            ["", "recorded", "now", "difference"],
            [*_rows(before, now), *_other_rows(comparison)],
            caption=_caption(comparison),
        )
    if made.sample is not None:
        console.summary(_of_sample(made.sample))
    console.out(made.verdict)


def _of_sample(sample: DescribedSample) -> dict[str, str]:
    found = sample.agreement
    rows = {
        "described again": f"{found.images:,} images with {sample.baseline}, seed {sample.seed}",
        "lowest cosine": f"{found.lowest_cosine:.6f} ({found.lowest_id})",
        "mean cosine": f"{found.mean_cosine:.6f}",
        "length apart": f"{100 * found.length:.3f} % at most ({found.length_id})",
    }
    if found.norm is not None:
        rows["norm apart"] = f"{100 * found.norm:.3f} % at most ({found.norm_id})"
    return {**rows, "verdict": "OK" if found.passed else "FAIL"}


def _rows(before: Result, now: Result) -> list[list[str]]:
    rows = [["list of pairs", before.predictions_sha256[:12], now.predictions_sha256[:12], ""]]
    for part in before.parts:
        if part in now.parts:
            for measure in _SHOWN:
                first, second = (getattr(one.parts[part], measure) for one in (before, now))
                apart = "" if None in (first, second) else f"{second - first:+.6f}"
                rows.append([f"parts.{part}.{measure}", _number(first), _number(second), apart])
    return rows


def _other_rows(comparison: Comparison) -> list[list[str]]:
    """Return rows of differing values that `_rows` does not show."""
    shown = tuple(f".{measure}" for measure in _SHOWN)
    others = [
        one
        for one in comparison.differences
        if not (one.field.startswith("parts.") and one.field.count(".") == 2 and one.field.endswith(shown))
    ]
    return [[_value(one.field), _value(one.recorded), _value(one.found), ""] for one in others[:_MOST_DIFFERENCES]]


def _caption(comparison: Comparison) -> str:
    from ndec_bench.results.differences import RESCORED

    if comparison.verdict == "OK":
        return "the same list of pairs and the same scores"
    same = "the same list of pairs" if comparison.same_list else "another list of pairs"
    return f"{same}, {len(comparison.differences):,} values differ; close: µAP and recall@P90 within {RESCORED}"


def _number(value: float | None) -> str:
    return "not reached" if value is None else f"{value:.6f}"


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6f}"
    return "none" if value is None else one_line(str(value), 80)


def _content(made: Reproduction) -> dict[str, Any]:
    from dataclasses import asdict

    results = [
        {"protocol": one.protocol, **asdict(comparison)}
        for one, comparison in zip(made.recorded, made.comparisons, strict=True)
    ]
    sample = None
    if made.sample is not None:
        sample = {
            "baseline": made.sample.baseline,
            "seed": made.sample.seed,
            "passed": made.sample.agreement.passed,
            **asdict(made.sample.agreement),
        }
    return {
        "name": made.name,
        "verdict": made.verdict,
        "results": results,
        "sample": sample,
        "verified": None if made.verified is None else made.verified.model_dump(mode="json"),
    }
