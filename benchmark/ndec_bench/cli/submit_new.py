"""``ndec-bench submit new``: writes the card of a submission, from options and, on a terminal, from answers."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from ndec_bench.cli import console

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic.fields import FieldInfo

Content = dict[str, Any]
Track = Literal["descriptor", "matching"]

# Where each option goes in the card; messages name the option in place of the field.
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "--split": ("split",),
    "--track": ("track",),
    "--author": ("authors",),
    "--date": ("date",),
    "--runs-of": ("runs_of",),
    "--seed": ("seed",),
    "--title": ("method", "title"),
    "--description": ("method", "description"),
    "--paper": ("method", "paper"),
    "--code": ("method", "code"),
    "--code-licence": ("method", "code_licence"),
    "--weights-licence": ("method", "weights_licence"),
    "--commercial-use": ("method", "commercial_use"),
    "--labels-used": ("declarations", "labels_used"),
    "--train-images": ("declarations", "train_images"),
    "--reference-images-in-training": ("declarations", "reference_images_in_training"),
    "--ndec-pairs": ("declarations", "ndec_pairs"),
    "--background": ("declarations", "background"),
    "--external-data": ("declarations", "external_data"),
    "--query-independent": ("declarations", "query_independent"),
    "--selected-on": ("declarations", "selected_on"),
    "--details": ("declarations", "details"),
    "--file-name": ("descriptors", "name"),
    "--sha256": ("descriptors", "sha256"),
    "--url": ("descriptors", "url"),
    "--threshold": ("threshold",),
}
_REQUIRED = ("--split", "--author", "--title")


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
    title: Annotated[str | None, _option("Name of the method as it stands in the table.", "TEXT")] = None,
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
    from ndec_bench import atomic
    from ndec_bench.submissions.card import write_card
    from ndec_bench.submissions.policy import undeclared

    path = _target(name, submissions, force=force)
    content = _given(
        {
            "--split": split,
            "--track": track,
            "--author": author,
            "--title": title,
            "--description": description,
            "--paper": paper,
            "--code": code,
            "--code-licence": code_licence,
            "--weights-licence": weights_licence,
            "--commercial-use": commercial_use,
            "--labels-used": labels_used,
            "--train-images": train_images,
            "--reference-images-in-training": reference_images_in_training,
            "--ndec-pairs": ndec_pairs,
            "--background": background,
            "--external-data": external_data,
            "--query-independent": query_independent,
            "--selected-on": selected_on,
            "--details": details,
            "--threshold": threshold,
            "--url": url,
            "--sha256": sha256,
            "--file-name": file_name,
            "--runs-of": runs_of,
            "--seed": seed,
            "--date": date or _today(),
        }
    )
    content["name"] = name
    content |= _kept(path)
    if file is not None:
        _take_file(content, file)
    if sys.stdin.isatty() and not no_input:
        _ask_for_missing(content)
    card = _card(content)
    atomic.write_text(path, write_card(card))
    unknown = undeclared(card)
    if unknown:
        flags = ", ".join(f"--{declared.replace('_', '-')}" for declared in unknown)
        console.note(f"unknown, and what is unknown does not rank: {flags}")
    if json:
        console.out_json({"card": str(path), "undeclared": unknown})
        return
    console.out(f"card written to {path}")
    _show_next_steps(name, file, path)


def _target(name: str, submissions: Path, *, force: bool) -> Path:
    from ndec_bench.errors import UsageError
    from ndec_bench.submissions.card import CARD_FILE, NAME_PATTERN

    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(
            f"{name!r} cannot be a name",
            hint="take a-z, 0-9, dot, dash and underscore, at most 63, a letter or digit first",
        )
    path = submissions / name / CARD_FILE
    if path.exists() and not force:
        raise UsageError(f"{path} is there", hint="edit it, or replace it with --force")
    return path


def _kept(path: Path) -> Content:
    """Return what a card that is replaced hands on: why its row changed before, and what the maintainers checked."""
    from ndec_bench.errors import SubmissionError
    from ndec_bench.submissions.card import read_card

    try:
        before = read_card(path) if path.exists() else None
    except SubmissionError:
        return {}
    return {} if before is None else before.model_dump(include={"changes", "verified"}, exclude_none=True)


def _today() -> str:
    from datetime import date

    return date.today().isoformat()


def _given(options: Mapping[str, object]) -> Content:
    """Return the card's content from the options that were given."""
    content: Content = {}
    for flag, value in options.items():
        if value not in (None, []):
            _put(content, _FIELDS[flag], value)
    return content


def _put(content: Content, field: tuple[str, ...], value: object) -> None:
    for table in field[:-1]:
        content = content.setdefault(table, {})
    content[field[-1]] = value


def _has(content: Content, field: tuple[str, ...]) -> bool:
    found: Any = content
    for key in field:
        if not isinstance(found, dict) or key not in found:
            return False
        found = found[key]
    return True


def _take_file(content: Content, file: Path) -> None:
    """Put what ``file`` tells into ``content``: name, SHA-256, track, split, and whether queries see each other."""
    from ndec_bench.data.roots import data_root
    from ndec_bench.descriptors import form_of, read_attributes, sha256_of_file
    from ndec_bench.descriptors.submission import INDEPENDENT_ATTRIBUTE
    from ndec_bench.errors import SubmissionError, UsageError
    from ndec_bench.scoring.score import is_descriptors, split_of

    if "sha256" in content.get("descriptors", {}) or "name" in content.get("descriptors", {}):
        raise UsageError("--file and --sha256/--file-name exclude each other", hint="give one of them")
    described = is_descriptors(file)
    if described and form_of(file) == "vectors":
        raise SubmissionError(f"{file}: descriptors of one side", hint='join both sides with "ndec-bench pack"')
    found: dict[str, str] = {"--track": "descriptor" if described else "matching"}
    attributes = read_attributes(file) if described else {}
    # Ids alone are a guess, which gives way to what was said.
    split = attributes.get("split") or (None if _has(content, ("split",)) else split_of([file], data_root(None)))
    if split is not None:
        found["--split"] = split
    if attributes.get(INDEPENDENT_ATTRIBUTE) == "no":
        found["--query-independent"] = "no"
    for flag, value in found.items():
        if not _has(content, _FIELDS[flag]):
            _put(content, _FIELDS[flag], value)
        elif _value(content, _FIELDS[flag]) != value:
            raise UsageError(
                f"{flag} {_value(content, _FIELDS[flag])}, but {file} says {value}", hint=f"leave {flag} out"
            )
    _put(content, _FIELDS["--file-name"], file.name)
    _put(content, _FIELDS["--sha256"], sha256_of_file(file))


def _value(content: Content, field: tuple[str, ...]) -> object:
    for key in field[:-1]:
        content = content[key]
    return content[field[-1]]


def _card(content: Content) -> Any:  # noqa: ANN401 -- a SubmissionCard, whose import is slow
    from pydantic import ValidationError

    from ndec_bench.errors import UsageError
    from ndec_bench.submissions.card import SubmissionCard
    from ndec_bench.submissions.check.schema import violations

    missing = [flag for flag in _REQUIRED if not _has(content, _FIELDS[flag])]
    if "descriptors" in content:
        missing += [flag for flag in ("--sha256", "--file-name") if not _has(content, _FIELDS[flag])]
    if missing:
        hint = "give --file, or both" if "--sha256" in missing or "--file-name" in missing else "give them as options"
        raise UsageError(f"missing: {', '.join(missing)}", hint=hint)
    try:
        return SubmissionCard.model_validate(content)
    except ValidationError as error:
        broken = dict.fromkeys(f"{_flag(key)}: {message}" for key, message in violations(error))
        raise UsageError("; ".join(broken), hint='see "ndec-bench submit new --help"') from error


def _flag(key: tuple[str | int, ...]) -> str:
    names = tuple(part for part in key if isinstance(part, str))
    return next((flag for flag, field in _FIELDS.items() if names[: len(field)] == field), ".".join(names))


def _ask_for_missing(content: Content) -> None:
    """Ask on the terminal for what is not in ``content`` yet: what is required, the method, each declaration."""
    from pydantic import TypeAdapter

    from ndec_bench.submissions.card import Declarations, Line, Method, SubmissionCard

    def line(text: str) -> object:
        return TypeAdapter(Line).validate_python(text)

    def lines(text: str) -> object:
        return [line(one.strip()) for one in text.split(",")]

    def track(text: str) -> object:
        return TypeAdapter(Track).validate_python(text)

    required: tuple[tuple[str, str, Callable[[str], object]], ...] = (
        ("--split", _meaning(SubmissionCard.model_fields["split"]), line),
        ("--author", "Authors or a team; several separated by commas", lines),
        ("--title", _meaning(Method.model_fields["title"]), line),
    )
    for flag, meaning, read in required:
        if not _has(content, _FIELDS[flag]):
            _put(content, _FIELDS[flag], _ask(_FIELDS[flag][-1], meaning, read))
    if not _has(content, _FIELDS["--track"]):
        meaning = f"What was scored: {', '.join(get_args(Track))}"
        _put(content, _FIELDS["--track"], _ask("track", meaning, track, default="descriptor"))
    _ask_for_method(content)
    for name, field in Declarations.model_fields.items():
        if name == "details" or _has(content, ("declarations", name)):
            continue
        several = isinstance(field.get_default(), list)
        meaning = f"{_meaning(field)}\n  {', '.join(_choices(field))}" + ("; several by commas" if several else "")

        def declared(text: str, name: str = name, several: bool = several) -> object:
            value = [one.strip() for one in text.split(",")] if several else text
            return getattr(Declarations.model_validate({name: value}), name)

        _put(content, ("declarations", name), _ask(name, meaning, declared, default="unknown"))


def _ask_for_method(content: Content) -> None:
    """Ask for what a reader of the table looks for: paper, code, licences; an empty answer leaves it out."""
    from ndec_bench.submissions.card import Method

    for name in ("paper", "code", "code_licence", "weights_licence", "commercial_use"):
        if _has(content, ("method", name)):
            continue
        field = Method.model_fields[name]

        def answer(text: str, name: str = name) -> object:
            return getattr(Method.model_validate({"title": "-", name: text}), name) if text else None

        if name == "commercial_use":
            meaning = f"{_meaning(field)}: {', '.join(_choices(field))}"
            value = _ask(name, meaning, answer, default=str(field.default))
        else:
            value = _ask(name, f"{_meaning(field)}; Enter for none", answer)
        if value is not None:
            _put(content, ("method", name), value)


def _ask(name: str, meaning: str, read: Callable[[str], object], *, default: str = "") -> object:
    """Return the first answer that ``read`` takes, ``default`` for an empty one; InterruptedRun at the end of input."""
    from pydantic import ValidationError

    from ndec_bench.errors import InterruptedRun
    from ndec_bench.submissions.check.schema import violations

    console.note(f"{name}: {meaning}")
    while True:
        sys.stderr.write(f"  [{default}] " if default else "  ")
        sys.stderr.flush()
        answer = sys.stdin.readline()
        if not answer:
            raise InterruptedRun("stopped; no card was written")
        try:
            return read(answer.strip() or default)
        except ValidationError as error:
            console.note(f"  {violations(error)[0][1]}")


def _meaning(field: FieldInfo) -> str:
    return field.description or ""


def _choices(field: FieldInfo) -> tuple[str, ...]:
    """Return the values that a field admits, of a list those of its items."""
    arguments = get_args(field.annotation)
    return arguments if all(isinstance(one, str) for one in arguments) else get_args(arguments[0])


def _show_next_steps(name: str, file: Path | None, path: Path) -> None:
    scored = file or "FILE"
    console.out(
        "next:\n"
        f"  ndec-bench score {scored} --record --name {name}\n"
        f"  ndec-bench submit upload {scored} --to hf:USER/REPO --card {path}\n"
        f"  ndec-bench submit check {name}\n"
        "then open a pull request with these two text files"
    )
