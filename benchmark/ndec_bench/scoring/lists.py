"""Which lists a score needs, and the lists that a search or a file of pairs gives for them."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from ndec_bench.scoring.context import NOT_NORMALISED
from ndec_bench.search import NO_RULE, Wanted, search

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from ndec_bench.descriptors import Descriptors, VectorSource
    from ndec_bench.matches import Matches
    from ndec_bench.progress import Progress
    from ndec_bench.protocol import Metric, Normalisation, Protocol
    from ndec_bench.scoring.truth import PairList, TruthTable
    from ndec_bench.search import Found, PairRule


def biases(
    queries: Descriptors,
    background: VectorSource,
    normalisations: Iterable[Normalisation],
    *,
    backend: str,
    threads: int | None,
    progress: Progress,
) -> dict[str, NDArray[np.float64]]:
    """Return by name what each normalisation subtracts from the scores of each query, (queries,) float64.

    b(q) = factor / |ranks| · Σ ⟨q, t_j(q)⟩ over ``ranks`` j, t_j(q) the j-th nearest background image of q by inner
    product; neighbours are found exactly, added in order of rank. Source: see each `Normalisation`. With fewer
    background images than a rank asks for, the furthest one is taken.
    """
    rules = tuple(normalisations)
    depth = min(max(rule.depth for rule in rules), len(background))
    wanted = {"nearest": Wanted(depth, metric="ip", per_query=True)}
    found = search(
        queries, background, wanted, backend=backend, threads=threads, progress=progress, stage="searching background"
    )["nearest"]
    # The pooled list is in decreasing order, so a stable sort by query leaves each query's own in order.
    order = np.argsort(found.query_rows, kind="stable")
    nearest = found.scores[order].reshape(len(queries), depth)
    return {rule.name: rule.factor * _mean(nearest, rule.ranks) for rule in rules}


def _mean(nearest: NDArray[np.float64], ranks: tuple[int, ...]) -> NDArray[np.float64]:
    total = np.zeros(len(nearest))
    for rank in ranks:
        total += nearest[:, min(rank, nearest.shape[1] - 1)]
    return total / len(ranks)


class SearchPlan:
    """Collects the lists that several splits need from one search.

    Parameters
    ----------
    queries
        All queries to search, those of every split.
    metric
        Of the submission; normalised lists use the inner product.
    offsets
        Score normalisation to (queries,) float64, from `biases`.
    """

    def __init__(self, queries: Descriptors, metric: Metric, offsets: Mapping[str, NDArray[np.float64]]) -> None:
        self.queries, self.metric = queries, metric
        self.normalisations = (NOT_NORMALISED, *offsets)
        self.wanted: dict[str, Wanted] = {}
        self._offsets = offsets
        self._codes: dict[TruthTable, NDArray[np.int64]] = {}

    def add(
        self,
        truth: TruthTable,
        part: str,
        rules: Protocol,
        score_norm: str = NOT_NORMALISED,
        rule: PairRule | None = None,
    ) -> None:
        """Ask for the list of ``part`` under ``rules``; ``rule`` is the asymmetric one, None for none."""
        self.wanted[list_name(truth, part, rules, score_norm, rule)] = Wanted(
            cap=rules.pairs_per_query if rules.per_query else rules.cap(len(truth.split.parts[part])),
            metric=self.metric if score_norm == NOT_NORMALISED else "ip",
            per_query=rules.per_query,
            members=self.members(truth, "all" if rules.per_query else part),
            bias=self._offsets.get(score_norm),
            rule=_in_search(rule),
        )

    def codes(self, truth: TruthTable) -> NDArray[np.int64]:
        """Return (queries,) the position of each query among those of the split, -1 where it has no such query."""
        if truth not in self._codes:
            self._codes[truth] = truth.query_codes(self.queries.ids)
        return self._codes[truth]

    def members(self, truth: TruthTable, part: str) -> NDArray[np.bool_]:
        """Return (queries,) bool: which queries belong to ``part`` of the split."""
        codes = self.codes(truth)
        return (codes >= 0) & truth.members(part)[codes]


def _in_search(rule: PairRule | None) -> PairRule | None:
    """Return the rule if the search must know it; one that acts on the finished list needs the list without a rule."""
    return None if rule is None or rule.rule.after_list else rule


def list_name(truth: TruthTable, part: str, rules: Protocol, score_norm: str, rule: PairRule | None = None) -> str:
    """Return the name of a list in a `SearchPlan`; lists of equal content have equal names."""
    # A query's own nearest references are the same whatever part it is counted in.
    scope = "all" if rules.per_query else part
    acting = _in_search(rule)
    ruled = NO_RULE if acting is None else str(acting.rule)
    return f"{truth.split.sha256} {scope} {rules.candidates(len(truth.split.parts[part]))} {score_norm} {ruled}"


class SearchedLists:
    """The lists of one split out of a finished search.

    Parameters
    ----------
    found, plan
        What was found of what was asked for.
    truth
        The split whose lists they are, and what is true of their pairs.
    references
        What was searched.
    rule
        The asymmetric rule of these lists, None for no such rule; the plan asked for them with the same.
    """

    def __init__(
        self,
        found: Mapping[str, Found],
        plan: SearchPlan,
        truth: TruthTable,
        references: VectorSource,
        rule: PairRule | None = None,
    ) -> None:
        self._found, self._plan, self._truth, self._rule = found, plan, truth, rule
        self._query_codes = plan.codes(truth)
        self._references = references
        self._reference_codes = truth.reference_codes(references.ids)

    def under(self, rule: PairRule | None) -> SearchedLists:
        """Return the lists of the same search under another rule."""
        other = copy(self)
        other._rule = rule
        return other

    def rows(self, part: str, rules: Protocol) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the query row and the reference row of each pair in the list of ``part``, as `pairs` has them."""
        found, keep = self._list(part, rules, NOT_NORMALISED)
        return found.query_rows[keep], found.reference_rows[keep]

    def true_rows(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return code, query row and reference row of every true pair of which both sides were searched, found or not.

        The code is the position of the query among the split's queries.
        """
        codes, references = self._truth.true_codes
        query_rows = _rows_of(self._query_codes, len(self._truth.kinds))[codes]
        reference_rows = _rows_of(self._reference_codes, int(references.max(initial=-1)) + 1)[references]
        there = (query_rows >= 0) & (reference_rows >= 0)
        return codes[there], query_rows[there], reference_rows[there]

    def pairs(self, part: str, rules: Protocol, score_norm: str = NOT_NORMALISED) -> PairList:
        """Return the list of ``part`` under ``rules``."""
        found, keep = self._list(part, rules, score_norm)
        queries, references = found.query_rows[keep], found.reference_rows[keep]
        return self._truth.pairs(self._query_codes[queries], self._reference_codes[references], found.scores[keep])

    def matches(self, part: str, rules: Protocol) -> Matches:
        """Return the list of ``part`` as submitted, with its ids."""
        from ndec_bench.matches import Matches

        found, keep = self._list(part, rules, NOT_NORMALISED)
        return Matches.trusted(
            np.array(self._plan.queries.ids)[found.query_rows[keep]],
            np.array(self._references.ids)[found.reference_rows[keep]],
            found.scores[keep],
        )

    def complete(self, part: str, rules: Protocol) -> bool:
        """Return True: the search saw every pair."""
        return True

    def _list(self, part: str, rules: Protocol, score_norm: str) -> tuple[Found, NDArray[np.bool_] | slice]:
        found = self._found[list_name(self._truth, part, rules, score_norm, self._rule)]
        keep = None
        if rules.per_query and part != "all":
            keep = self._plan.members(self._truth, part)[found.query_rows]
        if self._rule is not None and self._rule.rule.after_list:
            kept = self._rule.keeps(found.query_rows, found.reference_rows)
            keep = kept if keep is None else keep & kept
        return found, slice(None) if keep is None else keep


def _rows_of(codes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return (count,) the row that has each code from 0, -1 where none has; ``codes`` (rows,) are -1 for no code."""
    rows = np.full(count, -1, dtype=np.int64)
    known = np.flatnonzero(codes >= 0)
    rows[codes[known]] = known
    return rows


class GivenLists:
    """The lists of one split out of scored pairs that somebody else chose.

    Parameters
    ----------
    matches
        Pairs of labelled queries, in any order.
    truth
        What they are scored against.
    rules
        Of the score; a file with at least as many pairs as its list may hold counts as full: the pairs it leaves out
        may belong into the list of a part.
    """

    def __init__(self, matches: Matches, truth: TruthTable, rules: Protocol) -> None:
        self._matches, self._truth = matches.sorted(), truth
        self._query_codes = truth.query_codes(self._matches.query_ids)
        self._reference_codes = truth.reference_codes(self._matches.reference_ids)
        self.full = len(matches) >= rules.cap(len(truth.kinds))

    def pairs(self, part: str, rules: Protocol, score_norm: str = NOT_NORMALISED) -> PairList:
        """Return the list of ``part`` under ``rules``."""
        rows = self._rows(part, rules)
        return self._truth.pairs(self._query_codes[rows], self._reference_codes[rows], self._matches.scores[rows])

    def matches(self, part: str, rules: Protocol) -> Matches:
        """Return the same list with its ids."""
        return self._matches.take(self._rows(part, rules))

    def complete(self, part: str, rules: Protocol) -> bool:
        """Return False where the file was full, so that pairs may be missing from that list."""
        if not self.full:
            return True
        rows, queries = self._rows(part, rules), int(self._truth.members(part).sum())
        if rules.per_query:
            return len(rows) == rules.pairs_per_query * queries
        return len(rows) >= rules.cap(queries)

    def _rows(self, part: str, rules: Protocol) -> NDArray[np.int64]:
        members = self._truth.members(part)
        rows = np.flatnonzero(members[self._query_codes])
        if not rules.per_query:
            return rows[: rules.cap(int(members.sum()))]
        codes = self._query_codes[rows]
        order = np.argsort(codes, kind="stable")
        grouped = codes[order]
        first = np.searchsorted(grouped, grouped)
        kept = order[np.arange(len(order)) - first < rules.pairs_per_query]
        return rows[np.sort(kept)]


Lists: TypeAlias = SearchedLists | GivenLists
"""The lists of one split, by part, rules and normalisation; each part as if it stood alone."""
