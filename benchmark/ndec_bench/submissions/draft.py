"""A card in the making: what options, the scored file and answers have said so far."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from ndec_bench.errors import SubmissionError, UsageError
from ndec_bench.submissions.card import (
    CARD_FILE,
    Declarations,
    Method,
    SubmissionCard,
    check_name,
    read_card,
    violations,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pydantic.fields import FieldInfo

Field = tuple[str, ...]

_IN_TABLES: Mapping[str, tuple[str, ...]] = {
    "": ("split", "track", "date", "runs_of", "seed", "threshold"),
    "method": tuple(Method.model_fields),
    "declarations": tuple(Declarations.model_fields),
    "descriptors": ("sha256", "url"),
}

FIELDS: Mapping[str, Field] = {
    "--author": ("authors",),
    "--file-name": ("descriptors", "name"),
    **{
        f"--{name.replace('_', '-')}": (table, name) if table else (name,)
        for table, names in _IN_TABLES.items()
        for name in names
    },
}
"""Where each option of ``ndec-bench submit new`` goes in the card; messages name the option in place of the field."""

REQUIRED = ("--split", "--author", "--title")

_NOT_ASKED = ("title", "description", "details")


class Draft:
    """The content of a card that is being written.

    Parameters
    ----------
    name
        Name of the submission.
    given
        Values by option; those that are None or empty were not given.
    before
        The card that is replaced, if there is one: why its row changed, and what the maintainers checked, are kept.
    """

    def __init__(self, name: str, given: Mapping[str, object], before: SubmissionCard | None = None) -> None:
        self.content: dict[str, Any] = {"name": name}
        for flag, value in {"--date": date.today().isoformat(), **given}.items():
            if value not in (None, []):
                self.put(FIELDS[flag], value)
        if before is not None:
            self.content |= before.model_dump(include={"changes", "verified"}, exclude_none=True)

    def has(self, field: Field) -> bool:
        """Return whether ``field`` has a value."""
        found: Any = self.content
        for key in field:
            if not isinstance(found, dict) or key not in found:
                return False
            found = found[key]
        return True

    def put(self, field: Field, value: object) -> None:
        """Give ``field`` the ``value``."""
        content = self.content
        for table in field[:-1]:
            content = content.setdefault(table, {})
        content[field[-1]] = value

    def take_file(self, file: Path, sha256: str, facts: Mapping[str, str]) -> None:
        """Take the name and digest of the scored ``file``, and the ``facts`` it tells, by option.

        Raises
        ------
        UsageError
            If an option said something else.
        """
        if self.has(FIELDS["--sha256"]) or self.has(FIELDS["--file-name"]):
            raise UsageError("--file and --sha256/--file-name exclude each other", hint="give one of them")
        for flag, value in facts.items():
            *tables, name = FIELDS[flag]
            table = self.content.get(tables[0], {}) if tables else self.content
            if table.get(name, value) != value:
                raise UsageError(f"{flag} {table[name]}, but {file} says {value}", hint=f"leave {flag} out")
            self.put(FIELDS[flag], value)
        self.put(FIELDS["--file-name"], file.name)
        self.put(FIELDS["--sha256"], sha256)

    def card(self) -> SubmissionCard:
        """Return the card. Raises UsageError with the options that are missing or have a value that cannot be."""
        missing = [flag for flag in REQUIRED if not self.has(FIELDS[flag])]
        hint = "give them as options"
        if "descriptors" in self.content:
            of_file = [flag for flag in ("--sha256", "--file-name") if not self.has(FIELDS[flag])]
            missing += of_file
            hint = "give --file, or both" if of_file else hint
        if missing:
            raise UsageError(f"missing: {', '.join(missing)}", hint=hint)
        try:
            return SubmissionCard.model_validate(self.content)
        except ValidationError as error:
            broken = dict.fromkeys(f"{_flag(key)}: {message}" for key, message in violations(error))
            raise UsageError("; ".join(broken), hint='see "ndec-bench submit new --help"') from error


def card_to_replace(name: str, submissions: Path, *, force: bool) -> tuple[Path, SubmissionCard | None]:
    """Return where the card of ``name`` goes, and the card that is there, if it can be read.

    Raises
    ------
    UsageError
        If it cannot be a name, or a card is there and ``force`` is not set.
    """
    check_name(name)
    path = submissions / name / CARD_FILE
    if not path.exists():
        return path, None
    if not force:
        raise UsageError(f"{path} exists", hint="edit it, or replace it with --force")
    try:
        return path, read_card(path)
    except SubmissionError:
        return path, None


def asked() -> Iterator[tuple[Field, FieldInfo]]:
    """Yield the fields that a terminal is asked for: what is required, the track, the method, each declaration."""
    top = SubmissionCard.model_fields
    yield from ((("split",), top["split"]), (("authors",), top["authors"]))
    yield ("method", "title"), Method.model_fields["title"]
    yield ("track",), top["track"]
    yield from ((("method", name), info) for name, info in Method.model_fields.items() if name not in _NOT_ASKED)
    yield from (
        (("declarations", name), info) for name, info in Declarations.model_fields.items() if name not in _NOT_ASKED
    )


def choices(field: FieldInfo) -> tuple[str, ...]:
    """Return the values that a field admits, of a list those of its items; none where it admits any."""
    arguments = get_args(get_args(field.annotation)[0] if is_list(field) else field.annotation)
    return arguments if all(isinstance(one, str) for one in arguments) else ()


def is_list(field: FieldInfo) -> bool:
    """Return whether a field has several values."""
    return get_origin(field.annotation) is list


def fitting(field: FieldInfo, text: str) -> object:
    """Return ``text`` as the value of a field, values of a list parted by commas. Raises pydantic's ValidationError."""
    value = [one.strip() for one in text.split(",")] if is_list(field) else text
    adapter: TypeAdapter[object] = TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]
    return adapter.validate_python(value)


def _flag(key: tuple[str | int, ...]) -> str:
    names = tuple(part for part in key if isinstance(part, str))
    return next((flag for flag, field in FIELDS.items() if names[: len(field)] == field), ".".join(names))
