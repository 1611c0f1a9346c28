"""``ndec-bench submit``: the card of a submission, the check of a pull request, and a place for the descriptors."""

from __future__ import annotations

import typer

from ndec_bench.cli.submit_check import check
from ndec_bench.cli.submit_new import new
from ndec_bench.cli.submit_upload import upload


def register(app: typer.Typer) -> None:
    """Add the group of commands to ``app``."""
    group = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        help="Write the card of a submission, check what a pull request holds, upload the descriptors.",
    )
    group.command()(new)
    group.command()(check)
    group.command()(upload)
    app.add_typer(group, name="submit")
