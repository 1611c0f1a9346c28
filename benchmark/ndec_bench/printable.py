"""Text from outside, made fit for a terminal, a message or a page."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_ID = 256
"""Characters of the longest image id that is read."""

# Embeddings, overrides and isolates of the bidirectional algorithm: an isolate of ours ends at one of theirs.
_BIDI_CONTROLS = re.compile("[\u202a-\u202e\u2066-\u2069]")
# More marks on one letter than a language has are drawn over the lines above and below.
_MARK = "[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]"
_PILES = re.compile(f"({_MARK}{{4}}){_MARK}+")
# Letters and symbols in name that fonts leave blank: Hangul fillers, the empty Braille cell.
_BLANKS = frozenset("\u115f\u1160\u2800\u3164\uffa0")


def one_line(text: str, most: int | None = None) -> str:
    """Return ``text`` on one line: what does not print becomes a space, runs of spaces one; cut after ``most``.

    A stranger's text then cannot move a terminal's cursor, hide a line or fill the screen.
    """
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return plain if most is None or len(plain) <= most else f"{plain[: most - 1]}…"


def escaped(text: str, most: int = 120) -> str:
    """Return ``text`` in double quotes, what does not print written as escapes, cut after ``most`` characters.

    For names of files and of archive members, where every character counts.
    """
    shown = text if len(text) <= most else f"{text[: most - 3]}..."
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in shown) + '"'


def wrong_with_id(identifier: str, most: int = MAX_ID) -> str | None:
    """Return what keeps ``identifier`` from being an image id, in words that follow "is" or "has"; None if nothing."""
    if not identifier:
        return "is empty"
    if len(identifier) > most:
        return f"is longer than {most} characters"
    if identifier != identifier.strip():
        return "has white space at its ends"  # which the readers of tables drop
    # Spaces of every width are letters of a file name: macOS writes some before "AM".
    if not all(sign.isprintable() or unicodedata.category(sign) == "Zs" for sign in identifier):
        return "has characters that cannot be printed"
    return None


def wrong_ids(ids: Sequence[str], most: int = MAX_ID) -> list[int]:
    """Return the places of those ``ids`` that are not image ids, fast where all of them are."""
    text = "".join(ids)
    if all(ids) and text.isprintable() and " " not in text and max(map(len, ids), default=0) <= most:
        return []
    return [at for at, identifier in enumerate(ids) if wrong_with_id(identifier, most)]


def without_overrides(text: str) -> str:
    """Return ``text`` without characters that reorder what stands around them, or pile up over it."""
    return _PILES.sub(r"\1", _BIDI_CONTROLS.sub("", text))


def readable(text: str) -> str:
    """Return ``text`` without overrides; nothing if what is left shows no sign, so that a link needs another name."""
    plain = without_overrides(text)
    return plain if any(unicodedata.category(sign)[0] in "LNPS" for sign in plain if sign not in _BLANKS) else ""
