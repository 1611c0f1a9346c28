"""``ndec-bench mini`` and ``demo``: the embedded benchmark, and from nothing to a ranked page with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ndec_bench.cli import console

if TYPE_CHECKING:
    from ndec_baselines.running import DemoReport
    from ndec_bench.results.record import Result

COST = {"small": "about 120 MB and 15 seconds on two cores", "full": "about 0.8 GB and 90 seconds on two cores"}
COST_OF_DEMO = {
    "small": "about 120 MB and a minute on two cores",
    "full": "about 900 MB and six minutes on two cores",
}
WARNING = "A smoke test of the line, never evidence about NDEC."


def register(app: typer.Typer) -> None:
    """Add the command and the command group to ``app``."""
    app.command()(demo)
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


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything the demo makes.")] = Path("ndec-demo"),
    size: Annotated[
        Literal["small", "full"], typer.Option(help="small: about 1,000 references; full: ndec-mini-1.")
    ] = "small",
    jobs: Annotated[int, typer.Option(help="Processes that draw pictures.", min=1)] = 2,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """From nothing to a ranked page: the whole line in small.

    Builds the embedded benchmark, describes it with three baselines, scores them, writes the leaderboard.
    """
    from ndec_baselines import running

    console.note(f"the demo takes {COST_OF_DEMO[size]}; it writes to {out}")
    with console.progress() as progress:
        report = running.demo(out, size=size, jobs=jobs, progress=progress, tell=console.note)
    if json:
        console.out_json(_content(report))
    else:
        _show(report)


def _content(report: DemoReport) -> dict[str, object]:
    results = [{"name": r.name, "micro_ap": r.parts["all"].micro_ap, "signature": r.signature} for r in report.results]
    return {"site": str(report.index), "results": results}


def _show(report: DemoReport) -> None:
    columns = ["method", "µAP", "95 % interval", "recall @P90", "without hard neg.", "hard neg. hit", "ms/ image"]
    rows = [_row(result) for result in report.results]
    console.table(f"{report.results[0].split}, protocol {report.results[0].protocol}", columns, rows, caption=WARNING)
    console.note(f'"ndec-bench serve {report.index.parent}" shows it in a browser')
    console.out(str(report.index))


def _row(result: Result) -> list[str]:
    everything, isc, account = result.parts["all"], result.parts["isc"], result.hard_negatives
    interval = everything.micro_ap_interval or (0.0, 1.0)
    hit = account.at_p90_isc.hard_negatives_hit.rate if account and account.at_p90_isc else None
    took = result.describing.milliseconds_per_image if result.describing else None
    return [
        result.name,
        f"{everything.micro_ap:.3f}",
        f"{interval[0]:.3f}–{interval[1]:.3f}",
        "not reached" if everything.recall_at_p90 is None else f"{everything.recall_at_p90:.3f}",
        f"{isc.micro_ap:.3f}",
        "unknown" if hit is None else f"{100 * hit:.1f} %",
        "unknown" if took is None else f"{took:.1f}",
    ]
