"""The cards and results of a repository as they were found, with what is wrong with each file by itself."""

from __future__ import annotations

import json
import re
import stat
import tomllib
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from pydantic import ValidationError

from ndec_bench.errors import DataError
from ndec_bench.protocol import PROTOCOLS
from ndec_bench.results.record import Result
from ndec_bench.submissions.card import CARD_FILE, NAME_PATTERN, SubmissionCard, card_content, sentences_of
from ndec_bench.submissions.check.lines import JsonLines, TomlLines, line_of_toml_error
from ndec_bench.submissions.check.problem import Problem
from ndec_bench.submissions.check.schema import dotted, violations

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ndec_bench.progress import Progress
    from ndec_bench.submissions.check.schema import Key

MOST_PER_FILE = 200
"""Problems of one file that are told; a file made to have many would keep a check busy for long."""

MOST_CARD_BYTES = 64_000
MOST_RESULT_BYTES = 1_000_000
"""A result has some 75 kB, with the protocol card some 100 kB; parts of one's own add 15 to 30 kB each."""

OUTSIDE = "descriptors, pairs and images stay outside the repository: put them where others can fetch them"
_README = "README.md"
_NO_NAME = "no name of a submission: take a-z, 0-9, dot, dash and underscore, at most 63, a letter or digit first"


@dataclass(frozen=True)
class CardFile:
    """A card that keeps to the schema.

    Attributes
    ----------
    name
        Name of its folder.
    path, text
        The file.
    card
        The card.
    """

    name: str
    path: Path
    text: str
    card: SubmissionCard

    @cached_property
    def lines(self) -> TomlLines:
        """Return where its values stand."""
        return TomlLines(self.text)

    def problem(self, key: Key, message: str, hint: str | None = None, *, warning: bool = False) -> Problem:
        """Return a problem with the value of ``key``."""
        line = self.lines[key]
        return Problem(str(self.path), line, dotted(key), message, hint, "warning" if warning else "error")


@dataclass(frozen=True)
class ResultFile:
    """A result that keeps to the schema.

    Attributes
    ----------
    name, protocol
        Names of the file and its folder.
    path, text
        The file.
    result
        The result.
    """

    name: str
    protocol: str
    path: Path
    text: str
    result: Result

    @cached_property
    def lines(self) -> JsonLines:
        """Return where its values stand."""
        return JsonLines(self.text)

    def problem(self, key: Key, message: str, hint: str | None = None, *, warning: bool = False) -> Problem:
        """Return a problem with the value of ``key``."""
        line = self.lines[key]
        return Problem(str(self.path), line, dotted(key), message, hint, "warning" if warning else "error")


@dataclass(frozen=True)
class Repository:
    """The cards and results below two folders.

    Attributes
    ----------
    results, submissions
        The folders.
    cards
        Cards that keep to the schema, by the name of their folder.
    scored
        Results that keep to the schema, by (protocol, name).
    broken
        What is wrong with single files, by the name of the submission; of other files the name is empty.
    folders
        Names of all submissions that have a folder, whatever is in it.
    files
        (protocol, name) of all results, readable or not.
    """

    results: Path
    submissions: Path
    cards: dict[str, CardFile] = field(default_factory=dict)
    scored: dict[tuple[str, str], ResultFile] = field(default_factory=dict)
    broken: list[tuple[str, Problem]] = field(default_factory=list)
    folders: set[str] = field(default_factory=set)
    files: set[tuple[str, str]] = field(default_factory=set)

    @property
    def names(self) -> set[str]:
        """Return the names of all submissions."""
        return self.folders | {name for _, name in self.files}

    def results_of(self, name: str) -> list[ResultFile]:
        """Return the results of the submission ``name``, by protocol."""
        return [found for (_, owner), found in sorted(self.scored.items()) if owner == name]


def read_repository(results: Path, submissions: Path, progress: Progress) -> Repository:
    """Return everything in ``results/PROTOCOL/NAME.json`` and ``submissions/NAME/submission.toml``.

    Raises
    ------
    DataError
        If one of the folders is missing.
    """
    for folder, what in ((results, "results"), (submissions, "submissions")):
        if not folder.is_dir():
            raise DataError(
                f"{folder}: no folder of {what}",
                hint=f"name it with --{what}, or start in a checkout of the repository",
            )
    found = Repository(results, submissions)
    for folder in (results, submissions):
        if folder.is_symlink():
            found.broken.append(("", _stray(folder, "is a link", "put the folder itself")))
    for path in _entries(submissions):
        _read_submission(path, found)
    files = [
        path
        for folder in _entries(results)
        for path in (sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else [folder])
    ]
    for done, path in enumerate(files, start=1):
        _read_result(path, found)
        progress("reading results", done, len(files))
    return found


def _entries(folder: Path) -> list[Path]:
    """Return what lies in ``folder`` beside its small README.md."""
    return sorted(path for path in folder.iterdir() if path.name != _README or _refused(path, MOST_CARD_BYTES)[0])


def _read_submission(folder: Path, found: Repository) -> None:
    name = folder.name
    if not folder.is_dir() or folder.is_symlink():
        found.broken.append(("", _stray(folder, f"only folders with a {CARD_FILE} belong here", OUTSIDE)))
        return
    if not re.fullmatch(NAME_PATTERN, name):
        found.broken.append(("", _stray(folder, _NO_NAME)))
        return
    found.folders.add(name)
    card = folder / CARD_FILE
    for path in sorted(folder.iterdir()):
        if path != card:
            found.broken.append((name, _stray(path, f"only {CARD_FILE} belongs here", OUTSIDE)))
    problems, text = _text(card, MOST_CARD_BYTES)
    if text is not None:
        problems = list(_card_problems(card, text, found))
    found.broken.extend((name, problem) for problem in problems)


def _card_problems(path: Path, text: str, found: Repository) -> Iterator[Problem]:
    try:
        content = card_content(text)
        card = SubmissionCard.model_validate(content)
    except tomllib.TOMLDecodeError as error:
        yield Problem(str(path), line_of_toml_error(text, error), "", f"no TOML ({error})")
    except ValidationError as error:  # it is a ValueError too
        yield from _listed(path, TomlLines(text), violations(error))
    except ValueError as error:
        yield Problem(str(path), None, "", f"no TOML ({error})")
    else:
        file = found.cards[path.parent.name] = CardFile(path.parent.name, path, text, card)
        for name in sentences_of(content.get("declarations")):
            yield file.problem(("declarations", name), "is none of the choices", "choose; say the rest in the details")


def _read_result(path: Path, found: Repository) -> None:
    name = path.stem
    inside = path.parent != found.results
    if not inside or path.suffix != ".json" or path.parent.name not in PROTOCOLS or path.is_dir():
        known = ", ".join(sorted(PROTOCOLS))
        message = f"only PROTOCOL/NAME.json belongs here, with PROTOCOL one of {known}"
        found.broken.append(("", _stray(path, message, OUTSIDE)))
        return
    if not re.fullmatch(NAME_PATTERN, name):
        found.broken.append(("", _stray(path, _NO_NAME)))
        return
    found.files.add((path.parent.name, name))
    problems, text = _text(path, MOST_RESULT_BYTES)
    if text is not None:
        problems = list(_result_problems(path, text, found))
    found.broken.extend((name, problem) for problem in problems)


def _result_problems(path: Path, text: str, found: Repository) -> Iterator[Problem]:
    where = str(path)
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        yield Problem(where, error.lineno, "", f"no JSON ({error.msg})", "score again")
        return
    except (RecursionError, ValueError) as error:  # nested without end, a number without end
        yield Problem(where, None, "", f"no JSON that can be read ({type(error).__name__})", "score again")
        return
    lines = JsonLines(text)
    if lines.too_deep:
        yield Problem(where, None, "", "nested too deep", "score again")
        return
    for found_there, message in ((lines.twice, "stands twice"), (lines.no_number, "no finite number")):
        yield from (
            Problem(where, line, dotted(key), message, "score again") for key, line in found_there[:MOST_PER_FILE]
        )
    if lines.twice or lines.no_number:
        return
    try:
        result = Result.model_validate_json(text)
    except ValidationError as error:
        yield from _listed(path, lines, violations(error))
    else:
        found.scored[path.parent.name, path.stem] = ResultFile(path.stem, path.parent.name, path, text, result)


def _listed(path: Path, lines: JsonLines | TomlLines, found: list[tuple[Key, str]]) -> Iterator[Problem]:
    for key, message in found[:MOST_PER_FILE]:
        yield Problem(str(path), lines[key], dotted(key), message)
    if len(found) > MOST_PER_FILE:
        yield Problem(str(path), None, "", f"{len(found) - MOST_PER_FILE:,} more problems")


def _text(path: Path, most: int) -> tuple[list[Problem], str | None]:
    """Return what keeps the text file ``path`` from being read, or its text."""
    hint = None
    try:
        message, hint = _refused(path, most)
        if message is None:
            return [], path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        message, hint = "is missing", 'write it with "ndec-bench submit new"'
    except OSError as error:
        message = f"cannot be read ({error.strerror or error})"
    except UnicodeDecodeError:
        message = "no UTF-8 text"
    return [Problem(str(path), None, "", message, hint)], None


def _refused(path: Path, most: int) -> tuple[str | None, str | None]:
    if path.is_symlink():
        return "is a link", "put the file itself"
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        return "is no regular file", None
    if found.st_size > most:
        return f"has {found.st_size:,} bytes, at most {most:,} are taken", OUTSIDE
    return None, None


def _stray(path: Path, message: str, hint: str | None = None) -> Problem:
    return Problem(str(path), None, "", message, hint)
