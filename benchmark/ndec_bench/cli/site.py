"""``ndec-bench site`` and ``serve``: results to a static leaderboard, and that leaderboard on this machine."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from ndec_bench.cli import console
from ndec_bench.errors import SubmissionError
from ndec_bench.printable import one_line


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(site)
    app.command()(serve)


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


def serve(
    folder: Annotated[
        Path, typer.Argument(help="Folder of a site, or any with an index.html.", metavar="DIR", show_default=False)
    ],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 for any that is free.", metavar="N")] = 8000,
    open_browser: Annotated[bool, typer.Option("--open", help="Open the first page in a browser.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", help="Log every answer to stderr.")] = False,
) -> None:
    """Serve a built site to this machine alone, until Ctrl-C.

    Prints the address before the first answer. Ctrl-C or SIGTERM is the normal end: exit code 0.
    """
    from ndec_bench.site.serving import FolderServer

    with FolderServer(folder, port, log=console.note if verbose else None) as server, suppress(KeyboardInterrupt):
        console.out(server.address)
        sys.stdout.flush()
        console.note(f"serving {folder} to this machine alone; Ctrl-C ends it")
        if open_browser:
            _open(server.address)
        server.serve_forever()


def _open(address: str) -> None:
    import threading
    import webbrowser

    # A browser in the terminal returns when it is closed; until then it must be served.
    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
