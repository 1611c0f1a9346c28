"""Pairs as they come out of a file, ids as codes into lists of names, and the checks that every file goes through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.errors import SubmissionError
from ndec_bench.matches.pairs import COLUMNS, Matches
from ndec_bench.memory import check_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

MAX_ID = 256
FEWER = "keep the best pairs only: ten per labelled query make the list"


@dataclass(frozen=True)
class Ids:
    """Ids of n rows.

    Attributes
    ----------
    names
        The different ids, stripped of white space; some may not occur.
    codes
        (n,) places in ``names``.
    """

    names: list[str]
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, names: Sequence[str | None], codes: NDArray[np.integer]) -> Ids:
        """Return the ids ``names[codes]``, each name once and without white space around it; None is no name."""
        stripped = [(name or "").strip() for name in names]
        places: dict[str, int] = {}
        for name in stripped:
            places.setdefault(name, len(places))
        wide = codes.astype(np.int64, copy=False)
        if len(places) == len(stripped):
            return cls(stripped, wide)
        return cls(list(places), np.array([places[name] for name in stripped], dtype=np.int64)[wide])

    def array(self) -> NDArray[np.str_]:
        """Return (n,) numpy unicode."""
        return np.array(self.names)[self.codes]

    def rows(self, wanted: Callable[[str], bool]) -> NDArray[np.int64]:
        """Return the rows whose id fulfils ``wanted``."""
        chosen = np.array([wanted(name) for name in self.names], dtype=bool)
        return np.flatnonzero(chosen[self.codes]) if chosen.any() else np.zeros(0, dtype=np.int64)


@dataclass(frozen=True)
class Coded:
    """Pairs of a file in file order: ids of both sides and (n,) float64 scores."""

    queries: Ids
    references: Ids
    scores: NDArray[np.float64]

    def pair(self, row: int) -> str:
        """Return ``query_id,reference_id`` of ``row``."""
        return f"{self.queries.names[self.queries.codes[row]]},{self.references.names[self.references.codes[row]]}"


def checked(path: Path, coded: Coded, place: Callable[[int], str]) -> Matches:
    """Return the pairs as `Matches`, in file order; ``place(row)`` says where a row stands, such as ``line 2``.

    Raises
    ------
    SubmissionError
        If there is no pair, an id is empty, overlong or not printable, a score is not finite, a pair stands twice,
        or the ids would not fit into memory.
    """
    if not len(coded.scores):
        raise SubmissionError(f"{path}: no pairs", hint=f"expected lines {','.join(COLUMNS)} under the header")
    for ids in (coded.queries, coded.references):
        _check_ids(path, ids, place)
    _check_scores(path, coded, place)
    _check_repeats(path, coded, place)
    width = sum(max(map(len, ids.names)) for ids in (coded.queries, coded.references))
    check_memory(f"{path}:", len(coded.scores) * (4 * width + 8), hint=FEWER)
    return Matches(coded.queries.array(), coded.references.array(), coded.scores)


def _check_ids(path: Path, ids: Ids, place: Callable[[int], str]) -> None:
    absent = ids.rows(lambda name: not name)
    if len(absent):
        raise SubmissionError(f"{path}: {place(int(absent[0]))} lacks an id", hint=f"expected {','.join(COLUMNS)}")
    bad = ids.rows(lambda name: len(name) > MAX_ID or not name.isprintable())
    if len(bad):
        row = int(bad[0])
        raise SubmissionError(
            f"{path}: {place(row)}: id {ids.names[ids.codes[row]][:40]!r} is longer than {MAX_ID} characters "
            "or holds characters that cannot be printed",
            hint="write the plain image ids, e.g. Q25000",
        )


def _check_scores(path: Path, coded: Coded, place: Callable[[int], str]) -> None:
    bad = np.flatnonzero(~np.isfinite(coded.scores))
    if len(bad):
        row = int(bad[0])
        raise SubmissionError(
            f"{path}: {place(row)}: score is {coded.scores[row]} ({coded.pair(row)}), expected a finite number",
            hint="leave pairs without a score out",
        )


def _check_repeats(path: Path, coded: Coded, place: Callable[[int], str]) -> None:
    keys = coded.queries.codes * len(coded.references.names) + coded.references.codes
    ordered = np.sort(keys)
    if not (ordered[1:] == ordered[:-1]).any():
        return
    order = np.argsort(keys, kind="stable")
    repeats = order[1:][keys[order[1:]] == keys[order[:-1]]]
    row = int(repeats.min())
    first = int(np.flatnonzero(keys == keys[row])[0])
    raise SubmissionError(
        f"{path}: {place(row)} repeats {place(first)} ({coded.pair(row)})", hint="give each pair one score"
    )
