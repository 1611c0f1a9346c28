"""What is wrong, where, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_SHOWN = 600


@dataclass(frozen=True)
class Problem:
    """Something wrong with a card, a result, or both together.

    Attributes
    ----------
    path
        The file, as it was reached.
    line
        Line in it, from 1; None for the file as a whole.
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
            object.__setattr__(self, name, _printable(getattr(self, name)))
        if self.hint is not None:
            object.__setattr__(self, "hint", "\n".join(map(_printable, self.hint.splitlines())))

    def __str__(self) -> str:
        where = self.path if self.line is None else f"{self.path}:{self.line}"
        return ": ".join(part for part in (where, self.field, self.message) if part)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Return ``problems`` sorted by file, line and field, each once."""
    return sorted(set(problems), key=lambda one: (one.path, one.line or 0, one.field, one.message, one.hint or ""))


def _printable(text: str) -> str:
    shown = "".join(one if one.isprintable() else "\ufffd" for one in text)
    return shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}..."
