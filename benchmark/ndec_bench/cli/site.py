"""``ndec-bench site``: results to a static leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ndec_bench.cli import console
from ndec_bench.errors import SubmissionError
from ndec_bench.printable import one_line


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(site)


def site(
    out: Annotated[Path, typer.Option(help="Folder for the site.")],
    results: Annotated[Path, typer.Option(help="Folder of result JSON files.")] = Path("results"),
    submissions: Annotated[
        Path | None, typer.Option(help="Folder of NAME/submission.toml files (default: next to the results).")
    ] = None,
    private: Annotated[
        bool,
        typer.Option("--private", help="Rank also what nobody verified or declared, for a site of your own results."),
    ] = False,
    url: Annotated[
        str | None, typer.Option(help="Address of the site, for the links of its feed.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was built as JSON.")] = False,
) -> None:
    """Build the leaderboard, a folder of static pages.

    A result or card that cannot be shown is left out and named; the site is whole without it, and the exit code is 3.
    """
    from ndec_bench.site import build
    from ndec_bench.submissions.entries import cards_next_to

    cards = submissions or cards_next_to(results)
    with console.progress() as progress:
        report = build(results, out, submissions=cards, private=private, url=url, progress=progress)
    for why in report.left_out:
        console.note(f"left out: {one_line(why)}")
    if json:
        content = {"index": str(report.index), "results": report.results, "pages": report.pages}
        console.out_json({**content, "left_out": report.left_out})
    else:
        console.out(str(report.index))
    if report.left_out:
        raise typer.Exit(SubmissionError.exit_code)
