"""``ndec-bench submit check``: what is wrong with cards and results, and what a pull request changes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ndec_bench.cli import console

if TYPE_CHECKING:
    from ndec_bench.submissions.check import Report
    from ndec_bench.submissions.check.standing import Change

_FAILED = 3


def check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Submissions to check (default: all).", metavar="[NAME]...")
    ] = None,
    results: Annotated[Path, typer.Option(help="Folder of results.", metavar="DIR")] = Path("results"),
    submissions: Annotated[Path, typer.Option(help="Folder of submissions.", metavar="DIR")] = Path("submissions"),
    base: Annotated[
        Path | None,
        typer.Option(
            help="Checkout of the branch that the change goes to: tells new, changed and removed rows apart.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    maintainer: Annotated[
        bool, typer.Option("--maintainer", help="The change is a maintainer's, who may write [verified].")
    ] = False,
    markdown: Annotated[
        str | None,
        typer.Option(help="Write a summary for a comment; - for stdout.", metavar="FILE|-", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print problems and changed rows as JSON.")] = False,
) -> None:
    """Check cards and results against the schema, each other, and what was there before.

    Every problem of every file is one line, with file and line. Exit code 3 if one is an error.
    """
    from ndec_bench import atomic
    from ndec_bench.errors import UsageError
    from ndec_bench.submissions.check import check as check_all
    from ndec_bench.submissions.check import markdown as as_markdown

    if markdown == "-" and json:
        raise UsageError("--markdown - and --json both print to stdout", hint="give --markdown a file")
    with console.progress() as progress:
        report = check_all(results, submissions, names or (), base=base, maintainer=maintainer, progress=progress)
    if markdown == "-":
        console.out(as_markdown(report).rstrip("\n"))
    elif markdown is not None:
        atomic.write_text(Path(markdown), as_markdown(report))
    if json:
        _print_json(report)
    elif markdown != "-":
        _show(report)
    if not report.ok:
        raise typer.Exit(_FAILED)


def _print_json(report: Report) -> None:
    from dataclasses import asdict

    from ndec_bench.submissions.check import change_content

    console.out_json(
        {
            "ok": report.ok,
            "submissions": report.submissions,
            "results": report.results,
            "problems": [asdict(problem) for problem in report.problems],
            "changes": None if report.changes is None else [change_content(change) for change in report.changes],
        }
    )


def _show(report: Report) -> None:
    for problem in report.problems:
        hint = (problem.hint or "").splitlines()
        warning = "warning: " if problem.level == "warning" else ""
        console.out(f"{warning}{problem}" + (f"; {hint[0]}" if len(hint) == 1 else ""))
        if len(hint) > 1:
            console.out("\n".join(f"    {line}" for line in hint))
    for change in report.changes or ():
        console.out(f"{change.row.kind}: {change.row.name}{_place(change)}")
    errors, warnings = len(report.errors), len(report.warnings)
    console.out(
        f"checked {_number(report.submissions, 'card')} and {_number(report.results, 'result')}: "
        + (f"{_number(errors, 'error')}, {_number(warnings, 'warning')}" if errors or warnings else "no problems")
    )


def _place(change: Change) -> str:
    if change.place is None:
        return f", not ranked ({', '.join(change.unranked)})" if change.unranked else ""
    waits = " once verified" if change.waits else ""
    return f", rank {change.place.rank} of {change.place.among}{waits}"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
