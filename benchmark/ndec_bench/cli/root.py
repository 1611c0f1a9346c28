"""The option that names the data root, the same for every command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ndec_bench.errors import UsageError


def folder(text: str) -> Path:
    """Return the folder that ``--root`` names. Raises UsageError for an empty name.

    An empty name is what a shell makes of a variable that is not set; as a path it is the current folder, into which
    nobody wants half a terabyte by accident.
    """
    if not text.strip():
        raise UsageError("--root is empty", hint="name a folder; the current one is --root .")
    return Path(text)


Root = Annotated[
    Path | None,
    typer.Option(
        help="Data root; by default $NDEC_ROOT, else the platform's data folder.",
        metavar="DIR",
        parser=folder,
        show_default=False,
    ),
]
