"""Under which name a scored file goes into ``results/``, and whether its card allows it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ndec_bench.errors import SubmissionError, UsageError
from ndec_bench.submissions.card import CARD_FILE, NAME_PATTERN, read_card

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ndec_bench.submissions.card import SubmissionCard


def name_of(file: Path, sha256: str, submissions: Path, name: str | None = None) -> str:
    """Return the name of the result of ``file``: ``name``, else that of the card of this digest, else the file's stem.

    Cards are looked for beside the file and in ``submissions``.

    Raises
    ------
    UsageError
        If it cannot be a name, or the cards of two submissions have this digest.
    SubmissionError
        If the card of that name is of another file or cannot be read.
    """
    if name is None:
        owners = sorted({card.name for card in _cards(file, submissions) if _digest(card) == sha256})
        if len(owners) > 1:
            raise UsageError(f"{file} belongs to the cards {', '.join(owners)}", hint="choose one with --name")
        name = owners[0] if owners else file.stem
    if not re.fullmatch(NAME_PATTERN, name):
        raise UsageError(
            f"{name!r} cannot be the name of a submission",
            hint="give --name with a-z, 0-9, dot, dash and underscore, a letter or digit first",
        )
    path = submissions / name / CARD_FILE
    if path.is_file():
        said = _digest(read_card(path))
        if said is not None and said != sha256:
            raise SubmissionError(
                f"{path}: the card is of a file with SHA-256 {said}, {file} has {sha256}",
                hint="score the file of the card, or name this one in it (submit new --file FILE --force)",
            )
    return name


def _cards(file: Path, submissions: Path) -> Iterator[SubmissionCard]:
    for path in (file.parent / CARD_FILE, *sorted(submissions.glob(f"*/{CARD_FILE}"))):
        try:
            if path.is_file():
                yield read_card(path)
        except SubmissionError:  # "submit check" tells what is wrong with it; it may be anybody's
            continue


def _digest(card: SubmissionCard) -> str | None:
    return card.descriptors.sha256 if card.descriptors else None
