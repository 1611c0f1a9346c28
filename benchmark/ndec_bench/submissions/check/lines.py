"""Where a value stands in a file: the line of a key, for messages. Lines count from 1."""

from __future__ import annotations

import json
import math
import re
import tomllib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ndec_bench.submissions.check.schema import Key

# Each line of a card is the end of one more document to read; beyond this only the file is named.
MOST_TOML_LINES = 300

MOST_DEPTH = 16
"""Deepest value whose line is kept; cards and results have less, and keys as long as a file would fill the memory."""

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


class TomlLines:
    """Lines on which the values of ``text``, a TOML document, start.

    The first n lines are a document themselves wherever no statement is cut, so a statement ends with the first n for
    which they are one that holds its key, and starts behind the greatest n before.
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
            for key in _keys(content):
                self._lines.setdefault(key, before + 1)
            before = count

    def __getitem__(self, key: Key) -> int:
        """Return the line of ``key``, or of the innermost table around it that is there; 1 for the document."""
        return _innermost(self._lines, key)


def line_of_toml_error(text: str, error: tomllib.TOMLDecodeError) -> int:
    """Return the line that ``error`` names; the last one where it stands at the end of the document."""
    named = re.search(r"at line (\d+)", str(error))
    return int(named[1]) if named else max(1, len(text.splitlines()))


class JsonLines:
    """Lines of the values in ``text``, a JSON document that was read before, and what readers pass over in it.

    Attributes
    ----------
    twice
        Keys that stand twice in one object.
    no_number
        Keys of numbers that nothing can be computed with: NaN, infinite, or whole and above 2**53.
    too_deep
        Whether values lie deeper than `MOST_DEPTH`; those behind the first were not looked at.
    """

    def __init__(self, text: str) -> None:
        self.twice: list[tuple[Key, int]] = []
        self.no_number: list[tuple[Key, int]] = []
        self._lines: dict[Key, int] = {}
        self.too_deep = False
        for key, line, piece in _values(text):
            if len(key) > MOST_DEPTH:
                self.too_deep = True
                return
            if key in self._lines:
                self.twice.append((key, line))
            self._lines.setdefault(key, line)
            if piece[0] not in '"{[tfn' and not _is_number(piece):
                self.no_number.append((key, line))

    def __getitem__(self, key: Key) -> int:
        """Return the line of ``key``, or of the innermost value around it that is there."""
        return _innermost(self._lines, key)


def _innermost(lines: Mapping[Key, int], key: Key) -> int:
    while key and key not in lines:
        key = key[:-1]
    return lines.get(key, 1)


def _keys(content: object) -> Iterator[Key]:
    """Yield the key of every value inside ``content``, without recursion."""
    waiting: list[tuple[Key, object]] = [((), content)]
    while waiting:
        key, at = waiting.pop()
        items = at.items() if isinstance(at, dict) else enumerate(at) if isinstance(at, list) else ()
        for name, value in items:
            yield (*key, name)
            if len(key) + 1 < MOST_DEPTH:
                waiting.append(((*key, name), value))


def _is_number(text: str) -> bool:
    return abs(int(text)) <= 1 << 53 if text.lstrip("-").isdigit() else math.isfinite(float(text))


def _values(text: str) -> Iterator[tuple[Key, int, str]]:
    """Yield key, line and first token of every value of a well-formed document, without recursion."""
    path: list[str | int] = []
    kinds: list[str] = []  # of the objects and arrays around the value
    is_name = False
    line, seen = 1, 0
    for found in _TOKEN.finditer(text):
        piece = found[0]
        line += text.count("\n", seen, found.start())
        seen = found.start()
        if piece in "}]":
            kinds.pop()
            path.pop()
        elif piece == ",":
            is_name = kinds[-1] == "{"
            if not is_name:
                path[-1] = int(path[-1]) + 1
        elif piece == ":":
            is_name = False
        elif is_name:
            path[-1] = json.loads(piece)
        else:
            yield tuple(path), line, piece
            if piece in "{[":
                kinds.append(piece)
                path.append("" if piece == "{" else 0)
                is_name = piece == "{"
