"""``ndec-bench mini``: the embedded benchmark and the same builder on anyone's pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ndec_bench.cli import console

COST = {"small": "about 120 MB and 15 seconds on two cores", "full": "about 0.8 GB and 90 seconds on two cores"}


def register(app: typer.Typer) -> None:
    """Add the command group to ``app``."""
    group = typer.Typer(
        name="mini", help="Build ndec-mini, the embedded benchmark.", no_args_is_help=True, rich_markup_mode=None
    )
    group.callback()(_group)
    group.command()(build)
    app.add_typer(group)


def _group() -> None:
    """Build ndec-mini, the embedded benchmark."""


def build(
    out: Annotated[Path, typer.Option(help="Folder to build into.")],
    size: Annotated[
        Literal["small", "full"], typer.Option(help="full: ndec-mini-1; small: the subset the demo takes.")
    ] = "full",
    photos: Annotated[
        Path | None, typer.Option(help="Your own photo folder instead; a sub-folder is a group of look-alikes.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another number: other roles and edits, another name.", min=0)] = 0,
    jobs: Annotated[int, typer.Option(help="Processes that draw pictures.", min=1)] = 2,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Build ndec-mini, or a benchmark from your own pictures.

    Pictures, ground truth, hard negatives and recorded edits go into one folder. A stopped build goes on when the
    same command is given again. With --photos, no file name enters that folder; OUT.private_names.csv next to it
    says which file became which picture: do not share it.
    """
    from ndec_bench import mini

    if photos is None:
        console.note(f"this takes {COST[size]}; pictures go to {out}")
    with console.progress() as progress:
        report = mini.build(out, size=size, photos=photos, seed=seed, jobs=jobs, progress=progress)
    for file, reason in report.skipped:
        console.note(f"left out: {file}: {reason}")
    if json:
        console.out_json(report.as_json())
        return
    rows = [[name, f"{count:,}"] for name, count in sorted(report.counts.items()) if ":" not in name]
    console.table(f"{report.name} in {report.folder}", ["pictures", "number"], rows)
    checked = "equal to the published pictures" if report.verified else "recorded, nothing to compare with"
    console.summary(
        {
            "pixels SHA-256": f"{report.digest} ({checked})",
            "state": "was there already, checked" if report.reused else f"built in {report.seconds:.0f} s",
        }
    )
