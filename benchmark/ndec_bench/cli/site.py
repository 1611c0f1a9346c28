"""``ndec-bench site``: results to a static leaderboard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ndec_bench.cli import console


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
    """Build the leaderboard, a folder of static pages."""
    from ndec_bench.site import build
    from ndec_bench.submissions.entries import cards_next_to

    cards = submissions or cards_next_to(results)
    with console.progress() as progress:
        report = build(results, out, submissions=cards, private=private, url=url, progress=progress)
    if json:
        console.out_json({"index": str(report.index), "results": report.results, "pages": report.pages})
    else:
        console.out(str(report.index))
