"""Checks of a submission against a split: queries, references and vector norms are those that scoring needs."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ndec_bench.data.ids import note_of, other_forms
from ndec_bench.errors import DataError, SubmissionError
from ndec_bench.matches import Matches
from ndec_bench.search import RATIO, PairRule, parse_rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from ndec_bench.data.split import Split
    from ndec_bench.descriptors import Submission, VectorSource
    from ndec_bench.search import Rule

T = TypeVar("T", bound="VectorSource")

_SHOWN = 3
_MOST_RUNS = 100


@dataclass(frozen=True, eq=False)
class Fit:
    """What is left of a submission for one split.

    Attributes
    ----------
    labelled
        (n,) bool over the submission's queries, or over its pairs: is the query labelled in the split.
    missing
        Number of references that are missing; for a split that does not know its references, of true ones.
    recall_ceiling
        Share of the true pairs whose reference is there.
    notes
        What a reader should know, in sentences.
    missing_runs
        Which they are, neighbours in the split as ``first to last``; of many runs the first 100.
    mapped_ids
        How many ids of each side were in another form than in the split; sides without any are left out.
    """

    labelled: NDArray[np.bool_]
    missing: int
    recall_ceiling: float
    notes: list[str]
    missing_runs: tuple[str, ...] = ()
    mapped_ids: Mapping[str, int] = field(default_factory=dict)


def fit_descriptors(submission: Submission, splits: Sequence[Split], where: str) -> tuple[Submission, list[Fit]]:
    """Return ``submission`` with the ids of ``splits``, which share its references, and how it fits each of them.

    Raises
    ------
    SubmissionError
        If a labelled query has no row, an id does not belong to the split, no id of a side does, two ids mean one
        image, or the file is for another split. The message begins with ``where``.
    DataError
        If the ground truth lists matches only and the submission has further queries.
    """
    _check_named_split(where, submission, splits)
    submission, forms = _with_ids_of(splits, submission, where)
    queries = submission.queries.ids
    known = [frozenset(split.query_ids) for split in splits]
    everywhere = frozenset().union(*known)
    foreign = [query for query in queries if query not in everywhere]
    references = frozenset(submission.references.ids)
    broken = frozenset(submission.invalid_ids)
    fits = []
    for split, labelled in zip(splits, known, strict=True):
        notes = [*split.notes, *(note_of(side, of_side) for side, of_side in forms.items())]
        notes += _check_unlabelled(where, foreign, split)
        notes += _check_absent(where, submission, split)
        notes += _check_reference_ids(where, references, split)
        _check_invalid_ids(where, submission, everywhere, split)
        if unreadable := broken.intersection(split.reference_ids or ()):
            notes.append(f"{len(unreadable):,} references are listed in invalid_ids and have no predictions")
        present = references | broken
        missing, runs = _missing(present, split)
        ceiling = _recall_ceiling(present, split)
        if missing:
            named = ", ".join(runs[:_SHOWN]) + (" and others" if len(runs) > _SHOWN else "")
            notes.append(
                f"partial: {missing:,} references are missing ({named}); recall can reach {ceiling:.4f}; it never "
                "ranks. Figures on hard negatives would be invalid, for look-alikes are missing too: they are left out"
            )
        mask = np.fromiter((query in labelled for query in queries), dtype=bool, count=len(queries))
        fits.append(Fit(mask, missing, ceiling, notes, tuple(runs[:_MOST_RUNS]), _counts(forms)))
    return submission, fits


def fit_matches(matches: Matches, split: Split, where: str) -> tuple[Matches, Fit]:
    """Return scored pairs with the ids of ``split``, and how they fit it; errors as `fit_descriptors`."""
    known = frozenset(split.query_ids)
    names, inverse = np.unique(matches.query_ids, return_inverse=True)
    references, of_row = np.unique(matches.reference_ids, return_inverse=True)
    forms = {}
    for side, ids, of_split in (("query", names, known), ("reference", references, _references(split))):
        if found := other_forms(ids.tolist(), of_split, where, side):
            forms[side] = found
    if forms:
        names = np.array(_renamed(names.tolist(), forms.get("query", {})))
        references = np.array(_renamed(references.tolist(), forms.get("reference", {})))
        matches = Matches.trusted(names[inverse], references[of_row], matches.scores)
    labelled = np.fromiter((query in known for query in names.tolist()), dtype=bool, count=len(names))
    notes = [*split.notes, *(note_of(side, of_side) for side, of_side in forms.items())]
    notes += _check_unlabelled(where, names[~labelled].tolist(), split)
    notes += _check_reference_ids(where, frozenset(references.tolist()), split)
    return matches, Fit(labelled[inverse], 0, 1.0, notes, mapped_ids=_counts(forms))


def pair_rule(submission: Submission, rows: NDArray[np.int64], asymmetric: str, where: str) -> PairRule | None:
    """Return the asymmetric rule of a result: that of ``asymmetric``, or ``ratio`` if this is ``none``.

    It has the vector norms of the queries in ``rows`` and of all references. None where the submission has no norms
    and no rule is asked for.

    Raises
    ------
    SubmissionError
        If a rule is asked for and there are no norms, if there is not one finite norm, zero or above, per row, or if a
        norm is zero under a smooth rule. The message begins with ``where``.
    """
    asked = parse_rule(asymmetric)
    if submission.query_norms is None or submission.reference_norms is None:
        if asked is None:
            return None
        raise SubmissionError(
            f"{where}: --asymmetric {asked} needs the datasets query_norms and reference_norms",
            hint="write one norm per row of query and of reference, or leave --asymmetric out",
        )
    rule = asked or RATIO
    query = _checked_norms(f"{where}: query_norms", submission.query_norms, submission.queries.ids, rule)
    reference = _checked_norms(f"{where}: reference_norms", submission.reference_norms, submission.references.ids, rule)
    return PairRule(rule, query[rows], reference)


def _with_ids_of(
    splits: Sequence[Split], submission: Submission, where: str
) -> tuple[Submission, dict[str, dict[str, str]]]:
    """Return ``submission`` with the ids of ``splits``, and what they replace, by side. Raises SubmissionError."""
    sides: dict[str, tuple[VectorSource, frozenset[str]]] = {
        "query": (submission.queries, frozenset().union(*(split.query_ids for split in splits))),
        "reference": (submission.references, frozenset().union(*map(_references, splits))),
    }
    forms = {}
    for side, (source, known) in sides.items():
        # An image that could not be decoded has no row, but an id that must not be that of a row in another form.
        if found := other_forms([*source.ids, *submission.invalid_ids], known, where, side):
            forms[side] = found
    if forms:
        invalid = {one for of_side in forms.values() for one in _renamed(submission.invalid_ids, of_side)}
        replaced = {one for of_side in forms.values() for one in of_side}
        submission = replace(
            submission,
            queries=_with_ids(submission.queries, forms.get("query", {})),
            references=_with_ids(submission.references, forms.get("reference", {})),
            invalid_ids=tuple(sorted(invalid - replaced)),
        )
    return submission, forms


def _with_ids(source: T, forms: Mapping[str, str]) -> T:
    """Return the same vectors under other ids; they were surveyed and need not be read again."""
    if not forms:
        return source
    renamed = copy(source)
    object.__setattr__(renamed, "ids", tuple(_renamed(source.ids, forms)))
    return renamed


def _renamed(ids: Iterable[str], forms: Mapping[str, str]) -> list[str]:
    return [forms.get(identifier, identifier) for identifier in ids]


def _references(split: Split) -> frozenset[str]:
    """Return all references of ``split``, or those that it knows: the true ones."""
    return frozenset(split.reference_ids or (reference for _, reference in split.truth.pairs))


def _counts(forms: Mapping[str, Mapping[str, str]]) -> dict[str, int]:
    plural = {"query": "queries", "reference": "references"}
    return {plural[side]: len(of_side) for side, of_side in forms.items()}


def _check_named_split(where: str, submission: Submission, splits: Sequence[Split]) -> None:
    # A user's own ground truth may well be that of the split the file names.
    names = {split.name for split in splits}
    if any(split.reference_ids is None for split in splits) or submission.split in (None, *names):
        return
    raise SubmissionError(
        f"{where}: says it is for split {submission.split!r}, scored against {', '.join(sorted(names))!r}",
        hint="choose the matching split, or correct the file's attribute split",
    )


def _check_unlabelled(where: str, foreign: Iterable[str], split: Split) -> list[str]:
    names = sorted(set(foreign))
    if not names:
        return []
    if split.reference_ids is not None:
        raise SubmissionError(
            f"{where}: {len(names):,} query ids are not in split {split.name}, first {names[0]}",
            hint=f"its queries look like {split.query_ids[0]}",
        )
    if split.truth.matches_only:
        raise DataError(
            f"the ground truth lists matches only: {len(names):,} queries of {where} are not in it, first {names[0]}; "
            "dropping them would drop the queries without a match",
            hint="give --queries IDS.txt with the ids of all labelled queries",
        )
    return [f"{len(names):,} queries that the ground truth does not label were dropped, first {names[0]}"]


def _check_absent(where: str, submission: Submission, split: Split) -> list[str]:
    invalid = frozenset(submission.invalid_ids)
    present = frozenset(submission.queries.ids)
    absent = [query for query in split.query_ids if query not in present and query not in invalid]
    if absent:
        raise SubmissionError(
            f"{where}: {len(absent):,} of {len(split.query_ids):,} labelled queries have no row, first {absent[0]}",
            hint="describe every query; list images that could not be decoded in the dataset invalid_ids",
        )
    broken = sum(query in invalid for query in split.query_ids)
    return [f"{broken:,} labelled queries are listed in invalid_ids and have no predictions"] if broken else []


def _check_reference_ids(where: str, ids: frozenset[str], split: Split) -> list[str]:
    """Return what to note of words that the ground truth holds for no match.

    Raises SubmissionError for references outside a split that knows its references, DataError for one that is called
    like such a word.
    """
    words = split.truth.empty_words
    notes = [f"{rows:,} rows of the ground truth have {word!r} as reference: no match" for word, rows in words.items()]
    if split.reference_ids is None:
        if unclear := ids.intersection(words):
            raise DataError(
                f"the ground truth has {min(unclear)!r} as reference, which stands for no match, but {where} has a "
                "reference of that name",
                hint="leave the field empty where there is no match, and rename that reference",
            )
        return notes
    foreign = ids.difference(split.reference_ids)
    if foreign:
        raise SubmissionError(
            f"{where}: {len(foreign):,} reference ids are not in split {split.name}, first {min(foreign)}",
            hint=f"its references look like {split.reference_ids[0]}",
        )
    return notes


def _check_invalid_ids(where: str, submission: Submission, queries: frozenset[str], split: Split) -> None:
    # Broken background images are in the same list, and no split knows their ids.
    if split.reference_ids is None or not submission.invalid_ids or submission.background is not None:
        return
    foreign = set(submission.invalid_ids).difference(queries, split.reference_ids)
    if foreign:
        raise SubmissionError(
            f"{where}: invalid_ids names {min(foreign)}, not in split {split.name} ({len(foreign):,} such ids)",
            hint="list queries and references of the split only",
        )


def _missing(present: frozenset[str], split: Split) -> tuple[int, list[str]]:
    """Return how many references are missing and which, runs of neighbours as ``first to last``."""
    known = split.reference_ids or sorted({reference for _, reference in split.truth.pairs})
    missing, runs = 0, []
    for absent, group in groupby(known, key=lambda reference: reference not in present):
        if absent:
            run = list(group)
            missing += len(run)
            runs.append(run[0] if len(run) == 1 else f"{run[0]} to {run[-1]}")
    return missing, runs


def _recall_ceiling(present: frozenset[str], split: Split) -> float:
    pairs = split.truth.pairs
    return sum(reference in present for _, reference in pairs) / len(pairs) if pairs else 1.0


def _checked_norms(what: str, norms: NDArray[np.float32], ids: Sequence[str], rule: Rule) -> NDArray[np.float32]:
    # Files were checked when they were read; arrays in memory come here as they are.
    if norms.shape != (len(ids),):
        raise SubmissionError(f"{what} has shape {norms.shape}, expected ({len(ids)},)", hint="give one norm per row")
    with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is refused
        single: NDArray[np.float32] = norms.astype(np.float32)
    bad = np.flatnonzero(~(np.isfinite(single) & (single >= 0)))
    if len(bad):
        at = int(bad[0])
        raise SubmissionError(
            f"{what} row {at} ({ids[at]}) is {norms[at]}, expected a finite number, zero or above, in the range of "
            f"float32 ({len(bad):,} such rows)",
            hint="write the length of the vector that the asymmetric rule compares",
        )
    zero = np.flatnonzero(single == 0)
    # Of queries too: the swapped pair of the swap gap divides by the query's norm.
    if rule.smooth and len(zero):
        at = int(zero[0])
        raise SubmissionError(
            f"{what} row {at} ({ids[at]}) is 0, expected a number above zero: --asymmetric {rule} divides by "
            f"norms ({len(zero):,} such rows)",
            hint="take --asymmetric ratio, which only compares norms, or write norms above zero",
        )
    return single
