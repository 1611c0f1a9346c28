"""The truth of a split as arrays, and lists of scored pairs with what is true of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.metrics import bootstrap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ndec_bench.data.split import Split

MATCHED, PLAIN, HARD = 0, 1, 2
"""Kinds of queries: with a true reference, plain distractors, hard negatives."""


@dataclass(frozen=True)
class PairList:
    """The list of one part as arrays.

    Attributes
    ----------
    codes
        (n,) int64 position of each pair's query among the split's queries.
    scores
        (n,) float64.
    correct
        (n,) bool.
    """

    codes: NDArray[np.int64]
    scores: NDArray[np.float64]
    correct: NDArray[np.bool_]


class TruthTable:
    """The truth of a split as arrays, in the order of its queries.

    Attributes
    ----------
    positives
        (queries,) int64 number of true pairs of each query.
    kinds
        (queries,) int64 MATCHED, PLAIN or HARD.
    """

    def __init__(self, split: Split) -> None:
        self.split = split
        self._position = {query: code for code, query in enumerate(split.query_ids)}
        true_references = sorted({reference for _, reference in split.truth.pairs})
        self._reference = {reference: code for code, reference in enumerate(true_references)}
        queries = np.array([self._position[query] for query, _ in split.truth.pairs], dtype=np.int64)
        references = np.array([self._reference[reference] for _, reference in split.truth.pairs], dtype=np.int64)
        self._true_keys = np.sort(queries * max(len(true_references), 1) + references)
        self.positives = np.bincount(queries, minlength=len(split.query_ids)).astype(np.int64)
        self.kinds = np.where(self.positives > 0, MATCHED, PLAIN)
        for query in split.hard_negatives or ():
            self.kinds[self._position[query]] = HARD
        self._members: dict[str, NDArray[np.bool_]] = {}

    @cached_property
    def keys(self) -> NDArray[np.uint64]:
        """Return (queries,) uint64 keys of the bootstrap stream."""
        return bootstrap.query_keys(self.split.query_ids)

    @property
    def true_codes(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return query code and reference code of each true pair, sorted by both; see `query_codes`."""
        queries, references = np.divmod(self._true_keys, max(len(self._reference), 1))
        return queries, references

    def query_codes(self, ids: Sequence[str] | NDArray[np.str_]) -> NDArray[np.int64]:
        """Return (n,) the position of each id among the split's queries, -1 for any other."""
        return _codes(ids, self._position)

    def reference_codes(self, ids: Sequence[str] | NDArray[np.str_]) -> NDArray[np.int64]:
        """Return (n,) the position of each id among the true references (sorted, each once), -1 for any other."""
        return _codes(ids, self._reference)

    def pairs(
        self, query_codes: NDArray[np.int64], reference_codes: NDArray[np.int64], scores: NDArray[np.float64]
    ) -> PairList:
        """Return scored pairs, given by their codes, with the truth of each.

        ``query_codes`` (n,) from `query_codes`, none below 0; ``reference_codes`` (n,) from `reference_codes`;
        ``scores`` (n,) float64. A query may have several true references.
        """
        correct = np.zeros(len(scores), dtype=bool)
        # Few pairs name a true reference at all: only these are looked up.
        some = np.flatnonzero(reference_codes >= 0)
        if len(some) and len(self._true_keys):
            keys = query_codes[some] * len(self._reference) + reference_codes[some]
            at = np.minimum(np.searchsorted(self._true_keys, keys), len(self._true_keys) - 1)
            correct[some] = self._true_keys[at] == keys
        return PairList(query_codes, scores, correct)

    def members(self, part: str) -> NDArray[np.bool_]:
        """Return (queries,) bool: does the query belong to ``part``."""
        if part not in self._members:
            ids = self.split.parts[part]
            self._members[part] = np.fromiter(
                (query in ids for query in self.split.query_ids), dtype=bool, count=len(self.split.query_ids)
            )
        return self._members[part]

    def positives_in(self, part: str) -> int:
        """Return the number of true pairs of the queries of ``part``."""
        return int(self.positives[self.members(part)].sum())

    def non_matching(self, searched: int, unsearched: frozenset[str]) -> NDArray[np.int64]:
        """Return (queries,) int64 how many of ``searched`` references each query is no copy of.

        ``unsearched`` are true references that are not among them.
        """
        queries, references = self.true_codes
        there = ~np.isin(references, self.reference_codes(sorted(unsearched)))
        return searched - np.bincount(queries[there], minlength=len(self.positives)).astype(np.int64)

    def copies_by_edit(self, part: str) -> dict[str, set[int]]:
        """Return the codes of the copies in ``part`` by kind of edit; empty where the split does not know the edits."""
        copies: dict[str, set[int]] = {}
        wanted = self.members(part) & (self.positives > 0)
        for query, kinds in (self.split.edits or {}).items():
            code = self._position.get(query)
            if code is not None and wanted[code]:
                for kind in kinds:
                    copies.setdefault(kind, set()).add(code)
        return dict(sorted(copies.items()))


def _codes(ids: Sequence[str] | NDArray[np.str_], known: Mapping[str, int]) -> NDArray[np.int64]:
    names = ids.tolist() if isinstance(ids, np.ndarray) else ids
    return np.fromiter(map(known.get, names, repeat(-1)), dtype=np.int64, count=len(names))
