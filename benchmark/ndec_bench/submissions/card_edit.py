"""A card on disk with one of its tables written anew; what people wrote around it stays as they wrote it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import tomli_w
from pydantic import ValidationError

from ndec_bench.submissions.card import SubmissionCard, card_content, write_card

if TYPE_CHECKING:
    from collections.abc import Sequence

Table = Literal["descriptors", "verified"]


def with_table(text: str, card: SubmissionCard, table: Table) -> str:
    """Return ``text``, a card in TOML, with its ``table`` as in ``card``, from which it differs in nothing else.

    Comments, order and spelling of all other lines stay. Where the table is not written under a header of its own,
    the whole card is written anew.
    """
    written = tomli_w.dumps({table: card.model_dump(exclude_none=True)[table]}).splitlines()
    lines = text.splitlines()
    start = next((place for place, line in enumerate(lines) if _is_header(line, table)), None)
    if start is None:
        edited = [*_without_empty_end(lines), "", *written]
    else:
        edited = [*lines[:start], *written, *lines[_end(lines, start) :]]
    new = "\n".join(edited) + "\n"
    return new if _holds(new, card) else write_card(card)


def _is_header(line: str, table: Table) -> bool:
    return re.fullmatch(rf"\s*\[\s*{table}\s*\]\s*(#.*)?", line) is not None


def _end(lines: Sequence[str], start: int) -> int:
    """Return the line behind the table at ``start``; empty lines and comments before the next header are not in it."""
    end = next((place for place in range(start + 1, len(lines)) if lines[place].lstrip().startswith("[")), len(lines))
    while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
        end -= 1
    return end


def _without_empty_end(lines: Sequence[str]) -> Sequence[str]:
    end = len(lines)
    while end and not lines[end - 1].strip():
        end -= 1
    return lines[:end]


def _holds(text: str, card: SubmissionCard) -> bool:
    try:
        return SubmissionCard.model_validate(card_content(text)) == card
    except (ValueError, ValidationError):
        return False
