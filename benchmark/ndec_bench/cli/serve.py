"""``ndec-bench serve``: a built site on this machine."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from ndec_bench.cli import console


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(serve)


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
