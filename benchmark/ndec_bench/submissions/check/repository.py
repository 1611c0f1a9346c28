"""The cards and results of a repository as they were found, with what is wrong with each file by itself."""

from __future__ import annotations

import json
import math
import re
import stat
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from ndec_bench.errors import DataError, reason
from ndec_bench.printable import one_line
from ndec_bench.protocol import PROTOCOLS
from ndec_bench.results.record import Result
from ndec_bench.submissions.card import (
    CARD_FILE,
    NAME_RULE,
    SubmissionCard,
    card_content,
    dotted,
    sentences_of,
    violations,
    wrong_with_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from ndec_bench.progress import Progress
    from ndec_bench.submissions.card import Key

MOST_PER_FILE = 200
"""Problems of one file that are reported; a file made to have many would keep a check busy for long."""

MOST_CARD_BYTES = 64_000
MOST_RESULT_BYTES = 1_000_000
"""A result has some 75 kB, with the protocol table some 100 kB; parts of one's own add 15 to 30 kB each."""

# Each line of a card is the end of one more document to read; beyond this only the file is named.
MOST_TOML_LINES = 300

MOST_DEPTH = 16
"""Deepest value that is looked at; cards and results have less, and keys as long as a file would fill the memory."""

OUTSIDE = "descriptors, pairs and images stay outside the repository: put them where others can fetch them"
_README = "README.md"
_MOST_SHOWN = 600


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one file.

    Attributes
    ----------
    path
        The file or folder.
    line
        Line in a file that people write, from 1; None where there is none.
    field
        The field, dotted; empty for the file as a whole.
    message
        What was found and what was expected.
    hint
        The next step; several lines where it is text to put into a file.
    level
        An error keeps a pull request from being merged, a warning does not.
    """

    path: str
    line: int | None
    field: str
    message: str
    hint: str | None = None
    level: Literal["error", "warning"] = "error"

    def __post_init__(self) -> None:
        # Names of files and fields are whatever somebody chose; on a terminal they must stay text on one line.
        for name in ("path", "field", "message"):
            object.__setattr__(self, name, one_line(getattr(self, name), _MOST_SHOWN))
        if self.hint is not None:
            lines = (one_line(line, _MOST_SHOWN) for line in self.hint.splitlines())
            object.__setattr__(self, "hint", "\n".join(lines))

    def __str__(self) -> str:
        where = self.path if self.line is None else f"{self.path}:{self.line}"
        return ": ".join(part for part in (where, self.field, self.message) if part)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Return ``problems`` sorted by file, line and field, each once."""
    return sorted(set(problems), key=lambda one: (one.path, one.line or 0, one.field, one.message, one.hint or ""))


class TomlLines:
    """Lines on which the values of ``text``, a TOML document, start; from 1.

    The first n lines are a document themselves wherever no statement is cut, so a statement ends with the first n for
    which they are one that holds its key, and starts after the greatest n before.
    """

    def __init__(self, text: str) -> None:
        self._lines: dict[Key, int] = {}
        lines = text.splitlines(keepends=True)
        before = 0
        for count in range(1, len(lines) + 1 if len(lines) <= MOST_TOML_LINES else 1):
            try:
                content = tomllib.loads("".join(lines[:count]))
            except (ValueError, RecursionError):  # a statement that is cut
                continue
            for key, _ in _values(content):
                self._lines.setdefault(key, before + 1)
            before = count

    def __getitem__(self, key: Key) -> int:
        """Return the line of ``key``, or of the innermost table around it that is there; 1 for the document."""
        while key and key not in self._lines:
            key = key[:-1]
        return self._lines.get(key, 1)


@dataclass(frozen=True)
class CardFile:
    """A card that keeps to the schema: the name of its folder, the file, its text, and the card."""

    name: str
    path: Path
    text: str
    card: SubmissionCard

    @cached_property
    def lines(self) -> TomlLines:
        """Return the lines of its values."""
        return TomlLines(self.text)

    def problem(self, key: Key, message: str, hint: str | None = None, *, warning: bool = False) -> Problem:
        """Return a problem with the value of ``key``."""
        line = self.lines[key]
        return Problem(str(self.path), line, dotted(key), message, hint, "warning" if warning else "error")


@dataclass(frozen=True)
class ResultFile:
    """A result that keeps to the schema: the names of the file and its folder, the file, its text, and the result."""

    name: str
    protocol: str
    path: Path
    text: str
    result: Result

    def problem(self, key: Key, message: str, hint: str | None = None, *, warning: bool = False) -> Problem:
        """Return a problem with the value of ``key``."""
        return Problem(str(self.path), None, dotted(key), message, hint, "warning" if warning else "error")


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

    def refuse(self, name: str, path: Path, message: str, hint: str | None = None) -> None:
        """Put down what is wrong with the file or folder ``path`` as a whole."""
        self.broken.append((name, Problem(str(path), None, "", message, hint)))


def read_repository(results: Path, submissions: Path, progress: Progress) -> Repository:
    """Return everything in ``results/PROTOCOL/NAME.json`` and ``submissions/NAME/submission.toml``.

    Raises
    ------
    DataError
        If one of the folders is missing.
    """
    found = Repository(results, submissions)
    for folder, what in ((results, "results"), (submissions, "submissions")):
        if not folder.is_dir():
            raise DataError(
                f"{folder}: not a folder of {what}",
                hint=f"name it with --{what}, or start in a checkout of the repository",
            )
        if folder.is_symlink():
            found.refuse("", folder, "is a link", "put the folder itself")
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
    """Return what lies in ``folder`` except its small README.md."""
    return sorted(path for path in folder.iterdir() if path.name != _README or _refused(path, MOST_CARD_BYTES)[0])


def _read_submission(folder: Path, found: Repository) -> None:
    name = folder.name
    if not folder.is_dir() or folder.is_symlink():
        found.refuse("", folder, f"only folders with a {CARD_FILE} belong here", OUTSIDE)
        return
    if wrong := wrong_with_name(name):
        found.refuse("", folder, f"cannot be the name of a submission: {wrong}", f"take {NAME_RULE}")
        return
    found.folders.add(name)
    card = folder / CARD_FILE
    for path in sorted(folder.iterdir()):
        if path != card:
            found.refuse(name, path, f"only {CARD_FILE} belongs here", OUTSIDE)
    text = _text(card, name, MOST_CARD_BYTES, found)
    if text is not None:
        found.broken.extend((name, problem) for problem in _card_problems(card, text, found))


def _card_problems(path: Path, text: str, found: Repository) -> Iterator[Problem]:
    try:
        content = card_content(text)
        card = SubmissionCard.model_validate(content)
    except ValidationError as error:  # it is a ValueError too
        yield from _listed(path, violations(error), TomlLines(text))
    except ValueError as error:
        line = _line_of(error, text) if isinstance(error, tomllib.TOMLDecodeError) else None
        yield Problem(str(path), line, "", f"not TOML ({error})")
    else:
        file = found.cards[path.parent.name] = CardFile(path.parent.name, path, text, card)
        for name in sentences_of(content.get("declarations")):
            yield file.problem(("declarations", name), "is none of the choices", "choose; say the rest in the details")


def _line_of(error: tomllib.TOMLDecodeError, text: str) -> int:
    """Return the line that ``error`` names; the last one for an error at the end of the document."""
    named = re.search(r"at line (\d+)", str(error))
    return int(named[1]) if named else max(1, len(text.splitlines()))


def _read_result(path: Path, found: Repository) -> None:
    name, protocol = path.stem, path.parent.name
    if path.parent == found.results or path.suffix != ".json" or protocol not in PROTOCOLS or path.is_dir():
        known = ", ".join(sorted(PROTOCOLS))
        found.refuse("", path, f"only PROTOCOL/NAME.json belongs here, with PROTOCOL one of {known}", OUTSIDE)
        return
    if wrong := wrong_with_name(name):
        found.refuse("", path, f"cannot be the name of a submission: {wrong}", f"take {NAME_RULE}")
        return
    found.files.add((protocol, name))
    text = _text(path, name, MOST_RESULT_BYTES, found)
    if text is None:
        return
    problems = list(_result_problems(path, text))
    found.broken.extend((name, problem) for problem in problems)
    if not problems:
        try:
            result = Result.model_validate_json(text, strict=True)
        except ValidationError as error:
            found.broken.extend((name, problem) for problem in _listed(path, violations(error)))
        else:
            found.scored[protocol, name] = ResultFile(name, protocol, path, text, result)


def _result_problems(path: Path, text: str) -> Iterator[Problem]:
    """Yield what readers of JSON pass over or take otherwise: names that appear twice, numbers that are none."""
    repeated: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        counts = Counter(name for name, _ in pairs)
        repeated.extend(name for name, count in counts.items() if count > 1)
        return dict(pairs)

    def problem(key: Key, message: str) -> Problem:
        return Problem(str(path), None, dotted(key), message, "score again")

    try:
        content = json.loads(text, object_pairs_hook=once)
    except json.JSONDecodeError as error:
        yield problem((), f"not JSON ({error})")
        return
    except (RecursionError, ValueError) as error:  # nested without end, a number without end
        yield problem((), f"not JSON that can be read ({type(error).__name__})")
        return
    yield from (problem((name,), "appears twice") for name in repeated[:MOST_PER_FILE])
    listed = 0
    for key, value in _values(content):
        if len(key) > MOST_DEPTH:
            yield problem((), "nested too deep")
            return
        if listed < MOST_PER_FILE and not _is_usable(value):
            listed += 1
            yield problem(key, "not a finite number")


def _is_usable(value: object) -> bool:
    """Return False for numbers that nothing can be computed with: NaN, infinite, or whole and above 2**53."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) <= 1 << 53


def _values(content: object) -> Iterator[tuple[Key, object]]:
    """Yield key and value of everything inside ``content`` down to one level below `MOST_DEPTH`, without recursion."""
    waiting: list[tuple[Key, object]] = [((), content)]
    while waiting:
        key, at = waiting.pop()
        items = at.items() if isinstance(at, dict) else enumerate(at) if isinstance(at, list) else ()
        for name, value in items:
            inside = (*key, name)
            yield inside, value
            if len(inside) <= MOST_DEPTH:
                waiting.append((inside, value))


def _listed(path: Path, found: Sequence[tuple[Key, str]], lines: TomlLines | None = None) -> Iterator[Problem]:
    for key, message in found[:MOST_PER_FILE]:
        yield Problem(str(path), lines[key] if lines else None, dotted(key), message)
    if len(found) > MOST_PER_FILE:
        yield Problem(str(path), None, "", f"{len(found) - MOST_PER_FILE:,} more problems")


def _text(path: Path, name: str, most: int, found: Repository) -> str | None:
    """Return the text of the file ``path``; where it cannot be read, put down why and return None."""
    hint = None
    try:
        message, hint = _refused(path, most)
        if message is None:
            return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        message, hint = "is missing", 'write it with "ndec-bench submit new"'
    except OSError as error:
        message = f"cannot be read ({reason(error)})"
    except UnicodeDecodeError:
        message = "not UTF-8 text"
    found.refuse(name, path, message, hint)
    return None


def _refused(path: Path, most: int) -> tuple[str | None, str | None]:
    if path.is_symlink():
        return "is a link", "put the file itself"
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        return "is not a regular file", None
    if found.st_size > most:
        return f"has {found.st_size:,} bytes, at most {most:,} are taken", OUTSIDE
    return None, None
