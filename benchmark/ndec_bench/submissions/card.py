"""The card of a submission, ``submission.toml``: who made the descriptors, how, and from what.

Everything a person wrote is untrusted text: lengths are bounded, control characters refused, links limited to http(s).
"""

from __future__ import annotations

import re
import tomllib
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

import tomli_w
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ndec_bench.errors import SubmissionError, UsageError, os_errors
from ndec_bench.file_kind import refuse_others
from ndec_bench.printable import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CARD_FILE = "submission.toml"

Key = tuple[str | int, ...]
"""The place of a value in a file: names of tables and fields, numbers of items."""

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"
NAME_RULE = "a-z, 0-9, dot, dash and underscore, at most 63, a letter or digit first, no dot at the end"
_WINDOWS_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
_GENERATED = "runs-of-"

_STRING_OR_COMMENT = re.compile(
    r'"""(?:\\.|[^\\])*?"""|' r"'''.*?'''|" r'"(?:\\.|[^"\\\n])*"|' r"'[^'\n]*'|" r"#[^\n]*|[\"'][^\n]*", re.DOTALL
)
_LONG_KEY = re.compile(r"(?<![^\s.])(?:[^\s.]*[ \t]*\.[ \t]*){16}")
"""A key of 17 parts or more: reading one takes time and memory by the square of its parts."""


def _clean(text: str) -> str:
    if any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in text):
        raise ValueError("holds control characters; write one line of plain text")
    return text.strip()


def _link(text: str) -> str:
    if not re.match(r"https?://.", text):
        raise ValueError("is not an http(s) address")
    if not re.fullmatch(r"[!-~]+", text) or not set(text).isdisjoint("<>\"'\\`"):
        raise ValueError("is not an http(s) address: a sign in it must be percent-encoded")
    try:
        parts = urlsplit(text)
        sound = bool(parts.hostname) and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        raise ValueError("is not an http(s) address: its host or port cannot be one")
    if "@" in parts.netloc:
        raise ValueError("holds a user or password; a card is public, and so is its address")
    return text


def _day(text: str) -> str:
    date.fromisoformat(text)  # its ValueError says what is wrong
    return text


Line = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(_clean)]
Text = Annotated[str, Field(max_length=4000), AfterValidator(_clean)]
Link = Annotated[str, Field(max_length=500), AfterValidator(_link)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$"), AfterValidator(_day)]
Name = Annotated[str, Field(pattern=NAME_PATTERN)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Method(_Record):
    """What the method is and where to read about it."""

    title: Line = Field(description="Name of the method as the table shows it")
    description: Text = Field(
        default="", description="One paragraph: how an image becomes a descriptor or a pair a score"
    )
    paper: Link | None = Field(default=None, description="Address of the paper")
    code: Link | None = Field(default=None, description="Address of the code")
    code_licence: Line | None = Field(default=None, description="SPDX name of the code's licence")
    weights_licence: Line | None = Field(
        default=None, description="SPDX name of the weights' licence; none without weights"
    )
    commercial_use: Literal["yes", "no", "unclear"] = Field(
        default="unclear", description="May code and weights be used commercially"
    )


Labels = Literal["none", "dev1", "dev2", "final", "ndec", "hand", "unknown"]
TrainImages = Literal["none", "disc21-train", "ndec-train", "ndec-queries", "imagenet", "other", "unknown"]
References = Literal["none", "plain", "augmented", "unknown"]
Background = Literal["none", "disc21-train", "other", "unknown"]
Selection = Literal["none", "train", "dev1", "dev2", "final", "ndec", "other", "unknown"]
Answer = Literal["no", "yes", "unknown"]


def _answer(value: object) -> object:
    return ("yes" if value else "no") if isinstance(value, bool) else value


def _several(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _no_contradiction(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        raise ValueError("names a value twice")
    if len(values) > 1 and not {"none", "unknown"}.isdisjoint(values):
        raise ValueError("has none or unknown with other values")
    return values


YesNo = Annotated[Answer, BeforeValidator(_answer)]
_Choices = (BeforeValidator(_several), AfterValidator(_no_contradiction))


class Declarations(_Record):
    """What the method has seen. Each is a column and a filter of the leaderboard; what is left out is unknown.

    Lists may be given as one string, answers as true or false. A sentence in place of ``train_images`` or
    ``selected_on``, as cards had it before there were choices, is kept in ``details``; the declaration is unknown.
    """

    labels_used: Annotated[list[Labels], Field(min_length=1), *_Choices] = Field(
        default=["unknown"], description="Ground truth used for training; hand: labels of test images made by hand"
    )
    train_images: Annotated[list[TrainImages], Field(min_length=1), *_Choices] = Field(
        default=["unknown"], description="Images the weights were trained on"
    )
    reference_images_in_training: References = Field(
        default="unknown", description="Reference images of DISC21 in training, as they are or augmented"
    )
    ndec_pairs: YesNo = Field(default="unknown", description="NDEC's 100,000 training pairs were used")
    background: Background = Field(
        default="unknown", description="Images whose descriptors normalise or whiten those of queries and references"
    )
    external_data: YesNo = Field(default="unknown", description="Data from outside DISC21 and NDEC was used")
    query_independent: YesNo = Field(
        default="unknown", description="Every score holds for its query and reference alone"
    )
    selected_on: Annotated[list[Selection], Field(min_length=1), *_Choices] = Field(
        default=["unknown"], description="Data on which weights, settings or post-processing were selected or tuned"
    )
    details: Text = Field(default="", description="What the choices above cannot say")

    @model_validator(mode="before")
    @classmethod
    def _sentences_to_details(cls, given: object) -> object:
        sentences = sentences_of(given)
        if not sentences or not isinstance(given, dict):
            return given
        said = [given["details"]] if given.get("details") else []
        said += [f"{name}: {text}" for name, text in sentences.items()]
        unknown = dict.fromkeys(sentences, "unknown")
        return {**given, **unknown, "details": "; ".join(map(str, said))}


def sentences_of(declarations: object) -> dict[str, str]:
    """Return what ``declarations``, as read from a file, says in words where choices are asked for."""
    if not isinstance(declarations, dict):
        return {}
    choices = {"train_images": get_args(TrainImages), "selected_on": get_args(Selection)}
    found = {name: declarations.get(name) for name in choices}
    return {name: text for name, text in found.items() if isinstance(text, str) and text not in choices[name]}


class Files(_Record):
    """The descriptors or pairs that were scored; they stay outside the repository."""

    name: Line = Field(description="File name")
    sha256: Sha256 = Field(description="SHA-256 of the file")
    url: Link | None = Field(default=None, description="Public address of the file")


class Verified(_Record):
    """What the maintainers checked. They write it, with ``ndec-bench reproduce NAME --record``.

    It holds for one list of pairs: when the result has another, it is void.
    """

    level: Literal["re-described", "re-scored"]
    predictions_sha256: Sha256 = Field(description="Digest of the list of pairs that the check gave")
    date: Day | None = Field(default=None, description="Day of the check, YYYY-MM-DD")
    images: Annotated[int, Field(ge=1)] | None = Field(default=None, description="Images described again")
    lowest_cosine: Annotated[float, Field(ge=-1.0, le=1.0)] | None = Field(
        default=None, description="Least cosine between a vector described again and the one submitted"
    )
    note: Text = ""


class Change(_Record):
    """Why a row changed, and what it said before."""

    date: Day
    reason: Line
    old_micro_ap: Annotated[float, Field(ge=0.0, le=1.0)]
    old_predictions_sha256: Sha256


class SubmissionCard(_Record):
    """The content of ``submission.toml``."""

    schema_version: Literal[1] = 1
    name: Name = Field(description="Short name; the folder's name and part of the page's address")
    split: Line = Field(description="Split that was described, for example ndec")
    track: Literal["descriptor", "matching"] = Field(default="descriptor", description="What was scored")
    authors: list[Line] = Field(min_length=1, max_length=100, description="Authors or a team")
    date: Day | None = Field(default=None, description="Day of submission, YYYY-MM-DD")
    runs_of: Line | None = Field(
        default=None,
        description="Shared by submissions that differ by their seed alone: they are one row, under this name",
    )
    seed: Annotated[int, Field(ge=0)] | None = Field(default=None, description="Seed of this run")
    method: Method
    declarations: Declarations = Declarations()
    descriptors: Files | None = None
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = Field(
        default=None, description="The authors' own operating threshold, on the score's scale"
    )
    verified: Verified | None = Field(default=None, description="What the maintainers checked; not for submitters")
    changes: list[Change] = Field(default_factory=list, max_length=100, description="What the row said before, and why")


def card_content(text: str) -> dict[str, Any]:
    """Return the tables of ``text``, a card in TOML, before the schema. Raises ValueError, in words, if it is none."""
    if _LONG_KEY.search(_STRING_OR_COMMENT.sub("s", text)):
        raise ValueError("a key of more than 16 parts")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deep") from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:  # of int(), in words for programmers
        raise ValueError("a number without end") from None


def read_card(path: Path) -> SubmissionCard:
    """Return the card in the TOML file ``path``.

    Raises
    ------
    SubmissionError
        If the file is missing, not TOML, or breaks the schema; every broken field is named.
    """
    example = "compare with an existing submission.toml"
    with os_errors(f"{path}: cannot be read", SubmissionError, hint="check the path"):
        if path.stat().st_size > 1 << 20:
            raise SubmissionError(f"{path}: larger than 1 MiB", hint="a card is a page of text")
        refuse_others(path, "a card in TOML", "empty", error=SubmissionError)
        content = path.read_bytes()
    try:
        return SubmissionCard.model_validate(card_content(content.decode("utf-8-sig")))
    except ValidationError as error:
        problems = "; ".join(f"{dotted(key)}: {message}" for key, message in violations(error)[:10])
        raise SubmissionError(f"{path}: {problems}", hint=example) from error
    except ValueError as error:  # of the text, its encoding among them
        raise SubmissionError(f"{path}: not TOML ({error})", hint=example) from error


def violations(error: ValidationError) -> list[tuple[Key, str]]:
    """Return (key, message) of everything that breaks a schema, in the order of the schema."""
    words = {"Field required": "is missing", "Extra inputs are not permitted": "is not a field of this version"}
    return [
        (tuple(one["loc"]), words.get(one["msg"], one["msg"].removeprefix("Value error, ")))
        for one in error.errors(include_url=False, include_input=False)
    ]


def dotted(key: Key) -> str:
    """Return ``key`` as people write it, for example ``method.paper`` or ``authors.0``."""
    return one_line(".".join(map(str, key)))


def write_card(card: SubmissionCard) -> str:
    """Return ``card`` as TOML text: fields in the order of the schema, those without a value left out."""
    content = card.model_dump(exclude_none=True)
    if not card.changes:
        del content["changes"]
    return tomli_w.dumps(content)


def with_table(text: str, card: SubmissionCard, table: Literal["descriptors", "verified"]) -> str:
    """Return ``text``, a card in TOML, with its ``table`` as in ``card``, from which it differs in nothing else.

    Comments, order and spelling of all other lines stay. Where the table is not written under a header of its own,
    the whole card is written again.
    """
    written = tomli_w.dumps({table: card.model_dump(exclude_none=True)[table]}).splitlines()
    lines = text.rstrip().splitlines()
    header = re.compile(rf"\s*\[\s*{table}\s*\]\s*(#.*)?")
    start = next((place for place, line in enumerate(lines) if header.fullmatch(line)), None)
    if start is None:
        edited = [*lines, "", *written]
    else:
        edited = [*lines[:start], *written, *lines[_end_of_table(lines, start) :]]
    new = "\n".join(edited) + "\n"
    try:
        kept = SubmissionCard.model_validate(card_content(new)) == card
    except ValueError:
        kept = False
    return new if kept else write_card(card)


def _end_of_table(lines: Sequence[str], start: int) -> int:
    """Return the line after the table at ``start``; empty lines and comments before the next header are not in it."""
    end = next((place for place in range(start + 1, len(lines)) if lines[place].lstrip().startswith("[")), len(lines))
    while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
        end -= 1
    return end


def name_of(file: Path, sha256: str, submissions: Path, name: str | None = None) -> str:
    """Return the name of the result of ``file``: ``name``, else that of the card of this digest, else the file's stem.

    Cards are looked for next to the file and in ``submissions``.

    Raises
    ------
    UsageError
        If it cannot be a name, or the cards of two submissions have this digest.
    SubmissionError
        If the card of that name is of another file or cannot be read.
    """
    if name is None:
        owners = sorted({card.name for card in _cards_near(file, submissions) if _digest(card) == sha256})
        if len(owners) > 1:
            raise UsageError(f"{file} belongs to the cards {', '.join(owners)}", hint="choose one with --name")
        name = owners[0] if owners else file.stem
    check_name(name, "give --name with")
    path = submissions / name / CARD_FILE
    said = _digest(read_card(path)) if path.is_file() else None
    if said is not None and said != sha256:
        raise SubmissionError(
            f"{path}: the card is of a file with SHA-256 {said}, {file} has {sha256}",
            hint="score the file of the card, or name this one in it (submit new --file FILE --force)",
        )
    return name


def check_name(name: str, advice: str = "take") -> None:
    """Raise UsageError if ``name`` cannot be the name of a submission."""
    found = wrong_with_name(name)
    if found is not None:
        raise UsageError(f"{name!r} cannot be the name of a submission: {found}", hint=f"{advice} {NAME_RULE}")


def wrong_with_name(name: str) -> str | None:
    """Return what keeps ``name`` from being that of a submission: its folder, its files, part of addresses."""
    if not re.fullmatch(NAME_PATTERN, name):
        return "other signs, too long or empty"
    if name.endswith(".") or name.partition(".")[0] in _WINDOWS_DEVICES:
        return "Windows cannot make a folder of that name"
    if name.startswith(_GENERATED):
        return f"names that begin with {_GENERATED!r} belong to generated pages"
    return None


def _cards_near(file: Path, submissions: Path) -> Iterator[SubmissionCard]:
    for path in (file.parent / CARD_FILE, *sorted(submissions.glob(f"*/{CARD_FILE}"))):
        try:
            if path.is_file():
                yield read_card(path)
        except SubmissionError:  # "submit check" tells what is wrong with it; it may be anybody's
            continue


def _digest(card: SubmissionCard) -> str | None:
    return card.descriptors.sha256 if card.descriptors else None
