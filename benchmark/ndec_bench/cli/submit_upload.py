"""``ndec-bench submit upload``: the scored file to a public place, and its address into the card."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ndec_bench.cli import console

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ndec_bench.submissions.card import SubmissionCard


def upload(
    file: Annotated[Path, typer.Argument(help="The scored file.", metavar="FILE")],
    to: Annotated[
        str, typer.Option(help="A data set on the Hugging Face Hub; made if need be.", metavar="hf:USER/REPO")
    ],
    path: Annotated[
        str | None, typer.Option(help="Path in the data set (default: the file's name).", show_default=False)
    ] = None,
    float16: Annotated[
        bool, typer.Option("--float16", help="Convert the vectors to float16 first, into NAME-float16.h5 beside FILE.")
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
    from ndec_bench.submissions.upload import repository_of
    from ndec_bench.submissions.upload import upload as send

    repository = repository_of(to)
    before = None if card is None else _card(card, file, float16=float16)
    if float16:
        file = _halved(file, before.name if before else "NAME")
    _check_file(file)
    console.note(f"uploading {file}, {size(file.stat().st_size)}, to the data set {repository}")
    with _bars_on_a_terminal():
        uploaded = send(file, repository, place=path, private=private)
    if card is not None and before is not None:
        _write_card(card, before, file, uploaded.url, uploaded.sha256)
    if json:
        console.out_json({**asdict(uploaded), "card": None if card is None else str(card)})
        return
    console.out(f"url     {uploaded.url}\nsha256  {uploaded.sha256}")
    if card is not None:
        console.out(f"card    {card}")
    if private:
        console.note("a private file can be checked by nobody else: its row stays reported")


def _check_file(file: Path) -> None:
    from ndec_bench.errors import SubmissionError

    if not file.is_file():
        raise SubmissionError(f"{file}: no file", hint="check the path")


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


def _card(card: Path, file: Path, *, float16: bool) -> SubmissionCard:
    """Return the card, which must be that of ``file`` unless the file is about to be another."""
    from ndec_bench.descriptors import sha256_of_file
    from ndec_bench.errors import SubmissionError
    from ndec_bench.submissions.card import read_card

    found = read_card(card)
    _check_file(file)
    if found.descriptors is not None and not float16:
        digest = sha256_of_file(file)
        if digest != found.descriptors.sha256:
            raise SubmissionError(
                f"{card}: the card is of a file with SHA-256 {found.descriptors.sha256}, {file} has {digest}",
                hint="upload the file of the card, or name this one in it first",
            )
    return found


def _write_card(card: Path, before: SubmissionCard, file: Path, url: str, sha256: str) -> None:
    from ndec_bench import atomic
    from ndec_bench.submissions.card import Files
    from ndec_bench.submissions.card_edit import with_table

    after = before.model_copy(update={"descriptors": Files(name=file.name, sha256=sha256, url=url)})
    atomic.write_text(card, with_table(card.read_text(encoding="utf-8"), after, "descriptors"))


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
