"""``ndec-bench mini``: the embedded benchmark and the same builder on anyone's pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ndec_bench.cli import console


def register(app: typer.Typer) -> None:
    """Add the command group to ``app``."""
    group = typer.Typer(
        name="mini",
        help="Build ndec-mini, the embedded benchmark.",
        no_args_is_help=True,
        rich_markup_mode=None,
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
        Path | None,
        typer.Option(help="Your own photo folder instead; a sub-folder is a group of look-alikes."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of a benchmark from your own photos.", min=0)] = 0,
    jobs: Annotated[int, typer.Option(help="Processes that draw pictures.", min=1)] = 2,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Build the embedded benchmark: pictures, ground truth, hard negatives, recorded edits."""
    from dataclasses import asdict, is_dataclass

    from ndec_bench import mini

    with console.progress() as progress:
        report = mini.build(out, size=size, photos=photos, seed=seed, jobs=jobs, progress=progress)
    content = asdict(report) if is_dataclass(report) else report.model_dump(mode="json")
    if json:
        console.out_json({key: str(value) if isinstance(value, Path) else value for key, value in content.items()})
    else:
        console.summary({key: str(value) for key, value in content.items()})
