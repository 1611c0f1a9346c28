"""``ndec-bench submit``: a card, its checks, and the scored file to a public place."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ndec_bench.cli import console

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

    from ndec_bench.submissions.check import Report
    from ndec_bench.submissions.check.standing import Change
    from ndec_bench.submissions.draft import Draft

_FAILED = 3


def register(app: typer.Typer) -> None:
    """Add the group of commands to ``app``."""
    group = typer.Typer(
        no_args_is_help=True,
        rich_markup_mode=None,
        help="Write the card of a submission, check what a pull request holds, upload the descriptors.",
    )
    for command in (new, check, upload):
        group.command()(command)
    app.add_typer(group, name="submit")


def _option(help_text: str, metavar: str | None = None) -> Any:  # noqa: ANN401 -- what typer.Option returns
    return typer.Option(help=help_text, metavar=metavar, show_default=False)


def new(
    name: Annotated[
        str,
        typer.Argument(help="Short name: a-z, 0-9, dot, dash, underscore. Folder and page address.", metavar="NAME"),
    ],
    split: Annotated[str | None, _option("Split that was described, for example ndec.", "SPLIT")] = None,
    track: Annotated[
        str | None, _option("Track (default: the file's, else descriptor).", "descriptor|matching")
    ] = None,
    author: Annotated[list[str] | None, _option("An author or a team; may be given several times.", "TEXT")] = None,
    title: Annotated[str | None, _option("Name of the method as the table shows it.", "TEXT")] = None,
    description: Annotated[
        str | None, _option("One paragraph: how an image becomes a descriptor, or a pair a score.", "TEXT")
    ] = None,
    paper: Annotated[str | None, _option("Address of the paper.", "URL")] = None,
    code: Annotated[str | None, _option("Address of the code.", "URL")] = None,
    code_licence: Annotated[str | None, _option("SPDX name of the code's licence.", "TEXT")] = None,
    weights_licence: Annotated[str | None, _option("SPDX name of the weights' licence.", "TEXT")] = None,
    commercial_use: Annotated[
        str | None, _option("May code and weights be used commercially.", "yes|no|unclear")
    ] = None,
    labels_used: Annotated[
        list[str] | None,
        _option(
            "Ground truth used for training; may be given several times.", "none|dev1|dev2|final|ndec|hand|unknown"
        ),
    ] = None,
    train_images: Annotated[
        list[str] | None,
        _option(
            "Images the weights were trained on; may be given several times.",
            "none|disc21-train|ndec-train|ndec-queries|imagenet|other|unknown",
        ),
    ] = None,
    reference_images_in_training: Annotated[
        str | None, _option("Reference images of DISC21 in training.", "none|plain|augmented|unknown")
    ] = None,
    ndec_pairs: Annotated[str | None, _option("NDEC's 100,000 training pairs were used.", "no|yes|unknown")] = None,
    background: Annotated[
        str | None,
        _option("Images that normalise or whiten the descriptors of others.", "none|disc21-train|other|unknown"),
    ] = None,
    external_data: Annotated[
        str | None, _option("Data from outside DISC21 and NDEC was used.", "no|yes|unknown")
    ] = None,
    query_independent: Annotated[
        str | None, _option("Every score holds for its query and reference alone.", "no|yes|unknown")
    ] = None,
    selected_on: Annotated[
        list[str] | None,
        _option(
            "Data on which weights, settings or post-processing were selected; may be given several times.",
            "none|train|dev1|dev2|final|ndec|other|unknown",
        ),
    ] = None,
    details: Annotated[str | None, _option("What the choices above cannot say.", "TEXT")] = None,
    threshold: Annotated[float | None, _option("Your own operating threshold, on the scale of the score.")] = None,
    url: Annotated[str | None, _option("Public address of the descriptors or pairs.", "URL")] = None,
    file: Annotated[
        Path | None, _option("The scored file: its name, SHA-256, track and split go into the card.", "FILE")
    ] = None,
    sha256: Annotated[str | None, _option("SHA-256 of the file, in place of --file.", "HEX")] = None,
    file_name: Annotated[str | None, _option("Name of the file, with --sha256.", "TEXT")] = None,
    runs_of: Annotated[str | None, _option("Shared by submissions that differ by their seed alone.", "TEXT")] = None,
    seed: Annotated[int | None, _option("Seed of this run.", "N")] = None,
    date: Annotated[str | None, _option("Day of submission (default: today).", "YYYY-MM-DD")] = None,
    submissions: Annotated[Path, typer.Option(help="Folder of submissions.", metavar="DIR")] = Path("submissions"),
    force: Annotated[bool, typer.Option("--force", help="Replace a card that is there.")] = False,
    no_input: Annotated[bool, typer.Option("--no-input", help="Ask nothing, even on a terminal.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write submissions/NAME/submission.toml: who made the descriptors or pairs, how, and from what.

    On a terminal it asks for what is required, the method, and each declaration that is not given. What nobody
    declares is unknown, and what is unknown does not rank.
    """
    options = locals()
    from ndec_bench import atomic
    from ndec_bench.submissions.card import write_card
    from ndec_bench.submissions.draft import FIELDS, Draft, card_to_replace
    from ndec_bench.submissions.policy import undeclared

    path, before = card_to_replace(name, submissions, force=force)
    given = {flag: options[flag.removeprefix("--").replace("-", "_")] for flag in FIELDS}
    draft = Draft(name, given, before)
    if file is not None:
        _take_file(draft, file)
    if sys.stdin.isatty() and not no_input:
        _ask_for_missing(draft)
    card = draft.card()
    atomic.write_text(path, write_card(card))
    unknown = undeclared(card)
    if unknown:
        flags = ", ".join(f"--{declared.replace('_', '-')}" for declared in unknown)
        console.note(f"unknown, and what is unknown does not rank: {flags}")
    if json:
        console.out_json({"card": str(path), "undeclared": unknown})
        return
    scored = file or "FILE"
    console.out(
        f"card written to {path}\n"
        "next:\n"
        f"  ndec-bench score {scored} --record --name {name}\n"
        f"  ndec-bench submit upload {scored} --to hf:USER/REPO --card {path}\n"
        f"  ndec-bench submit check {name}\n"
        "then open a pull request with these two text files"
    )


def _take_file(draft: Draft, file: Path) -> None:
    from ndec_bench.data.roots import data_root
    from ndec_bench.descriptors import form_of, read_attributes, sha256_of_file
    from ndec_bench.descriptors.submission import is_query_independent
    from ndec_bench.errors import SubmissionError
    from ndec_bench.scoring.score import is_descriptors, split_of

    described = is_descriptors(file)
    if described and form_of(file) == "vectors":
        raise SubmissionError(f"{file}: descriptors of one side", hint='join both sides with "ndec-bench pack"')
    facts = {"--track": "descriptor" if described else "matching"}
    attributes = read_attributes(file) if described else {}
    # Ids alone are a guess, which gives way to what was said.
    split = attributes.get("split") or (None if draft.has(("split",)) else split_of([file], data_root(None)))
    if split is not None:
        facts["--split"] = split
    if described and not is_query_independent(file):
        facts["--query-independent"] = "no"
    draft.take_file(file, sha256_of_file(file), facts)


def _ask_for_missing(draft: Draft) -> None:
    """Ask on the terminal for what is not in ``draft`` yet: what is required, the method, each declaration."""
    from ndec_bench.submissions.draft import asked

    for field, info in asked():
        if not draft.has(field):
            value = _answer(field[-1], info)
            if value is not None:
                draft.put(field, value)


def _answer(name: str, info: FieldInfo) -> object:
    """Return the first answer that fits a field; for an empty one its default. InterruptedRun at the end of input."""
    from pydantic import ValidationError

    from ndec_bench.errors import InterruptedRun
    from ndec_bench.submissions.card import violations
    from ndec_bench.submissions.draft import choices, fitting, is_list

    several = "; several separated by commas" if is_list(info) else ""
    console.note(f"{name}: {info.description}{several}{'' if info.is_required() else '; Enter for the default'}")
    if choices(info):
        console.note(f"  {', '.join(choices(info))}")
    default = None if info.is_required() else info.get_default()
    shown = default[0] if isinstance(default, list) else default
    while True:
        sys.stderr.write(f"  [{shown or 'none'}] " if not info.is_required() else "  ")
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            raise InterruptedRun("stopped; no card was written")
        if not line.strip() and not info.is_required():
            return default
        try:
            return fitting(info, line.strip())
        except ValidationError as error:
            console.note(f"  {violations(error)[0][1]}")


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
        bool, typer.Option("--maintainer", help="The change is a maintainer's, who may edit rows and write [verified].")
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
    from dataclasses import asdict

    from ndec_bench import atomic
    from ndec_bench.errors import UsageError
    from ndec_bench.submissions.check import change_content
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
        console.out_json(
            {
                "ok": report.ok,
                "submissions": report.submissions,
                "results": report.results,
                "problems": [asdict(problem) for problem in report.problems],
                "changes": None if report.changes is None else [change_content(change) for change in report.changes],
            }
        )
    elif markdown != "-":
        _show(report)
    if not report.ok:
        raise typer.Exit(_FAILED)


def _show(report: Report) -> None:
    from ndec_bench.printable import one_line
    from ndec_bench.submissions.check import edits, number, verdict

    for problem in report.problems:
        hint = (problem.hint or "").splitlines()
        warning = "warning: " if problem.level == "warning" else ""
        console.out(f"{warning}{problem}" + (f"; {hint[0]}" if len(hint) == 1 else ""))
        if len(hint) > 1:
            console.out("\n".join(f"    {line}" for line in hint))
    for change in report.changes or ():
        console.out(f"{change.row.kind}: {change.row.name}{_place(change)}")
        for edit in edits(change.row):
            before, now = one_line(edit.before, 60), one_line(edit.now, 60)
            console.out(f"    {edit.file} {one_line(edit.field, 60)}: was {before or 'empty'}, is {now or 'empty'}")
    cards, results = number(report.submissions, "card"), number(report.results, "result")
    console.out(f"checked {cards} and {results}: {verdict(report)}")


def _place(change: Change) -> str:
    if change.place is None:
        return f", not ranked ({', '.join(change.unranked)})" if change.unranked else ""
    waits = " once verified" if change.waits else ""
    return f", rank {change.place.rank} of {change.place.among}{waits}"


def upload(
    file: Annotated[Path, typer.Argument(help="The scored file.", metavar="FILE")],
    to: Annotated[
        str, typer.Option(help="A data set on the Hugging Face Hub; made if need be.", metavar="hf:USER/REPO")
    ],
    path: Annotated[
        str | None, typer.Option(help="Path in the data set (default: the file's name).", show_default=False)
    ] = None,
    float16: Annotated[
        bool, typer.Option("--float16", help="Convert the vectors to float16 first, into NAME-float16.h5 next to FILE.")
    ] = False,
    private: Annotated[
        bool, typer.Option("--private", help="Make a new data set private: nobody can check it.")
    ] = False,
    card: Annotated[
        Path | None,
        typer.Option(
            help="Write name, SHA-256 and address into this card.", metavar="submission.toml", show_default=False
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print address, SHA-256 and bytes as JSON.")] = False,
) -> None:
    """Upload descriptors or pairs, so that others can score them again; needs HF_TOKEN or a stored token.

    Prints the address, pinned to the commit, and the SHA-256.
    """
    from dataclasses import asdict

    from ndec_bench.cli.transfers import size
    from ndec_bench.submissions.upload import card_for, check_file, repository_of, write_address
    from ndec_bench.submissions.upload import upload as send

    repository = repository_of(to)
    before = None if card is None else card_for(file, card, other_file=float16)
    if float16:
        file = _halved(file, before.name if before else "NAME")
    check_file(file)
    console.note(f"uploading {file}, {size(file.stat().st_size)}, to the data set {repository}")
    with _bars_on_a_terminal():
        uploaded = send(file, repository, place=path, private=private)
    if card is not None and before is not None:
        write_address(card, before, file, uploaded)
    if json:
        console.out_json({**asdict(uploaded), "card": None if card is None else str(card)})
        return
    console.out(f"url     {uploaded.url}\nsha256  {uploaded.sha256}")
    if card is not None:
        console.out(f"card    {card}")
    if private:
        console.note("a private file can be checked by nobody else: its row stays reported")


def _halved(file: Path, name: str) -> Path:
    from ndec_bench.descriptors import form_of, write_half
    from ndec_bench.errors import UsageError

    if form_of(file) != "submission":
        raise UsageError(f"{file}: --float16 takes an HDF5 submission", hint="leave --float16 out")
    half = file.with_name(f"{file.stem}-float16{file.suffix}")
    with console.progress() as progress:
        write_half(file, half, progress=progress)
    console.note(
        f"{half} is another file with another digest, and perhaps another score: record its result with "
        f'"ndec-bench score {half} --record --name {name}"'
    )
    return half


@contextmanager
def _bars_on_a_terminal() -> Iterator[None]:
    """Let the hub's library draw its bars where somebody sees them, not into a log."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if sys.stderr.isatty() or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
