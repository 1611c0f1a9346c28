"""Image ids in another form than a split has them, such as file names.

Exact ids come first. What is left is compared without folder, without the suffix of a picture and in any case, so that
``refs/R000001.JPG`` means ``R000001``.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from typing import TYPE_CHECKING

from ndec_bench.archives.safe import IMAGE_SUFFIXES
from ndec_bench.errors import NdecBenchError, SubmissionError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

_FOLDER = re.compile(r".*[/\\](?=.)", re.DOTALL)


def without_suffix(name: str) -> str:
    """Return ``name`` without the suffix of a picture, in any case, if it has one."""
    stem, _, suffix = name.rpartition(".")
    return stem if stem and not stem.endswith(("/", "\\")) and f".{suffix.lower()}" in IMAGE_SUFFIXES else name


def bare(identifier: str) -> str:
    """Return ``identifier`` without folder and without the suffix of a picture."""
    return without_suffix(_FOLDER.sub("", identifier))


def other_forms(
    ids: Iterable[str], known: Collection[str], where: str, side: str, *, kind: type[NdecBenchError] = SubmissionError
) -> dict[str, str]:
    """Return those of ``ids`` that are in another form than in ``known``, each with the id that it means there.

    Where some of ``ids`` are exact, the folders of the others count: ``b/1.jpg`` is then not ``a/1.jpg``. Ids that mean
    none of ``known`` are left out.

    Parameters
    ----------
    ids, known
        The ids of a file, and those of the split.
    where, side
        What opens a message, and what the ids are, such as ``query``.
    kind
        The error to raise.

    Raises
    ------
    NdecBenchError
        If two of ``ids`` mean one of ``known``, one may mean two, or none means any.
    """
    given = frozenset(ids)
    foreign = given.difference(known)
    if not foreign:
        return {}
    exact = given.intersection(known)
    meanings, compare = _by_compared(known), _comparison(foreign)
    forms: dict[str, str] = {}
    taken = {identifier: identifier for identifier in exact}
    for identifier in sorted(one for one in foreign if compare(one) in meanings):
        meant = meanings[compare(identifier)]
        if exact:
            meant = [one for one in meant if not _apart(identifier, one)]
        if len(meant) > 1:
            raise kind(
                f"{where}: id {identifier} may mean {meant[0]} or {meant[1]}",
                hint="write the ids as the split has them",
            )
        for one in meant:
            if one in taken:
                raise kind(f"{where}: ids {taken[one]} and {identifier} both mean {one}", hint="give each image once")
            forms[identifier], taken[one] = one, identifier
    if known and not taken:
        raise kind(
            f"{where}: none of its {len(given):,} {side} ids is known: it has {min(given)}, expected are ids such as "
            f"{min(known)}",
            hint="write the ids of the split; folder, suffix of a picture and upper case do not matter",
        )
    return forms


def note_of(side: str, forms: Mapping[str, str]) -> str:
    """Return the sentence that reports ``forms``, not empty; ``side`` is a word such as ``query``."""
    identifier, meant = min(forms.items())
    return (
        f"{len(forms):,} {side} ids are written otherwise than in the split and were matched without folder, suffix "
        f"and case ({identifier} is {meant})"
    )


def check_apart(where: str, background: Collection[str], others: str, ids: Collection[str]) -> None:
    """Raise SubmissionError if an image of ``background`` is one of ``ids``, in any form; ``others`` says whose."""
    meanings = _by_compared(background)
    compare = _comparison(ids)
    common = {one for identifier in ids for one in meanings.get(compare(identifier), ()) if not _apart(identifier, one)}
    if common:
        raise SubmissionError(
            f"{where}: background image {min(common)} is among {others} too ({len(common):,} such ids)",
            hint="take images outside queries and references; give --side background to change the background images "
            "themselves",
        )


def _by_compared(ids: Collection[str]) -> dict[str, list[str]]:
    compare, found = _comparison(ids), defaultdict(list)
    for identifier in ids:
        found[compare(identifier)].append(identifier)
    return found


def _comparison(ids: Collection[str]) -> Callable[[str], str]:
    """Return what makes ``ids`` comparable: of a million ids without folder and suffix, in a tenth of the time."""
    signs = "".join(ids)
    return str.lower if signs.isascii() and not any(sign in signs for sign in "./\\") else _compared


def _compared(identifier: str) -> str:
    return unicodedata.normalize("NFC", bare(identifier)).casefold()


def _apart(identifier: str, other: str) -> bool:
    """Return whether both ids name a folder, and not the same."""
    folders = {found[0].replace("\\", "/").lower() for one in (identifier, other) if (found := _FOLDER.match(one))}
    return len(folders) == 2
