"""Image ids in another form than a split has them, such as file names.

Exact ids come first. What is left is compared without the suffix of a picture, in any case, and without the folders
that only one of both has, so that ``refs/R000001.JPG`` means ``R000001``.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from typing import TYPE_CHECKING

from ndec_bench.archives.safe import IMAGE_SUFFIXES
from ndec_bench.errors import NdecBenchError, SubmissionError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

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

    Folders count where both have one: ``b/1.jpg`` is not ``a/1.jpg``, but ``data/a/1.jpg`` is. Ids that mean none of
    ``known`` are left out.

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
    meanings, tails = _meanings(known), _comparison(foreign)
    forms: dict[str, str] = {}
    taken = {identifier: identifier for identifier in exact}
    for identifier in sorted(foreign):
        meant = meanings(tails(identifier))
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
    meanings, tails = _meanings(background), _comparison(ids)
    common = {one for identifier in ids for one in meanings(tails(identifier))}
    if common:
        raise SubmissionError(
            f"{where}: background image {min(common)} is among {others} too ({len(common):,} such ids)",
            hint="take images outside queries and references; give --side background to change the background images "
            "themselves",
        )


def in_two_forms(ids: Iterable[str]) -> tuple[str, str] | None:
    """Return two of ``ids`` that are one image: one has a folder or a suffix that the other lacks. None without any."""
    names = sorted(frozenset(ids))
    if not any(sign in "".join(names) for sign in "./\\"):
        return None
    tails = _comparison(names)
    whole: dict[str, str] = {}
    for name in names:
        other = whole.setdefault(tails(name)[0], name)
        if (without_suffix(name) == name) != (without_suffix(other) == other):
            return other, name
    for name in names:
        for tail in tails(name)[1:]:
            if tail in whole:
                return whole[tail], name
    return None


def _meanings(known: Collection[str]) -> Callable[[Sequence[str]], list[str]]:
    """Return what finds in ``known`` the ids of an image, given its tails: one path is then a tail of the other."""
    tails = _comparison(known)
    whole, inner = defaultdict(list), defaultdict(list)
    for identifier in sorted(known):
        path, *rest = tails(identifier)
        whole[path].append(identifier)
        for tail in rest:
            inner[tail].append(identifier)
    return lambda given: [one for tail in given for one in whole.get(tail, ())] + inner.get(given[0], [])


def _comparison(ids: Collection[str]) -> Callable[[str], list[str]]:
    """Return what makes ``ids`` comparable: of a million ids without folder and suffix, in a tenth of the time."""
    signs = "".join(ids)
    plain = signs.isascii() and not any(sign in signs for sign in "./\\")
    return (lambda identifier: [identifier.lower()]) if plain else _tails


def _tails(identifier: str) -> list[str]:
    """Return the path of ``identifier`` without suffix and case, then what is left without its first folders."""
    path = unicodedata.normalize("NFC", without_suffix(identifier)).casefold().replace("\\", "/")
    if "/" not in path:
        return [path]
    folders = [part for part in path.split("/") if part not in ("", ".")] or [path]
    return ["/".join(folders[at:]) for at in range(len(folders))]
