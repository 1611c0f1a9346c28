"""What one list of pairs says of a split, query by query: all that a decision is made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.errors import SubmissionError
from ndec_bench.protocol import NDEC_1
from ndec_bench.scoring.fit import fit_matches
from ndec_bench.scoring.truth import HARD, MATCHED, PLAIN, TruthTable

_LEAST, _MANY = 10, 0.05

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_bench.data.split import Split
    from ndec_bench.matches import Matches


@dataclass(frozen=True)
class Evidence:
    """One list on one split, in the order of record.

    Attributes
    ----------
    truth
        The split as arrays.
    references
        Number of references that were searched; None if unknown.
    codes, scores, correct, reference_ids
        (n,) the query (its position in the split), score, truth and reference of each pair; scores do not increase.
    best, best_true
        (queries,) float64 the highest score of each query, and of its true pairs; −inf for none.
    per_query
        Whether the list keeps a fixed number of pairs of each query, so that a query may have further pairs above any
        score.
    full
        Whether the list is as long as a list of the protocol may be, so that pairs below its lowest score were cut.
    notes
        What a reader should know of the list, in sentences.
    """

    truth: TruthTable
    references: int | None
    codes: NDArray[np.int64]
    scores: NDArray[np.float64]
    correct: NDArray[np.bool_]
    reference_ids: NDArray[np.str_]
    best: NDArray[np.float64]
    best_true: NDArray[np.float64]
    per_query: bool
    full: bool
    notes: tuple[str, ...] = ()

    @property
    def lowest(self) -> float:
        """Return the lowest score of the list: below it nothing is known. inf for an empty list."""
        return float(self.scores[-1]) if len(self.scores) else np.inf

    @property
    def matched(self) -> NDArray[np.bool_]:
        """Return (queries,) which queries have a true reference."""
        matched: NDArray[np.bool_] = self.truth.kinds == MATCHED
        return matched

    @property
    def groups(self) -> dict[str, NDArray[np.bool_]]:
        """Return the queries without a match, all, plain and hard, as (queries,) bool; hard ones if they are known."""
        kinds = self.truth.kinds
        groups = {"without_match": kinds != MATCHED}
        if self.truth.split.hard_negatives is not None:
            groups |= {"plain_distractor": kinds == PLAIN, "hard_negative": kinds == HARD}
        return groups


def evidence(matches: Matches, split: Split, *, where: str = "pairs") -> Evidence:
    """Return what ``matches`` say of ``split``.

    Raises
    ------
    SubmissionError
        If a pair names a query or reference outside the split; the message begins with ``where``. If no query has a
        true reference.
    """
    matches, fit = fit_matches(matches, split, where)
    listed = matches.take(fit.labelled).sorted()
    truth = TruthTable(split)
    if not truth.positives.any():
        raise SubmissionError(
            f"{where}: no query of split {split.name} has a true reference, so nothing can be missed",
            hint="choose a split with copies",
        )
    codes = truth.query_codes(listed.query_ids)
    pairs = truth.pairs(codes, truth.reference_codes(listed.reference_ids), listed.scores)
    queries = len(truth.kinds)
    best, best_true = np.full(queries, -np.inf), np.full(queries, -np.inf)
    np.maximum.at(best, codes, listed.scores)
    np.maximum.at(best_true, codes[pairs.correct], listed.scores[pairs.correct])
    return Evidence(
        truth=truth,
        references=None if split.reference_ids is None else len(split.reference_ids),
        codes=codes,
        scores=listed.scores,
        correct=pairs.correct,
        reference_ids=listed.reference_ids,
        best=best,
        best_true=best_true,
        per_query=_per_query(codes, queries),
        full=len(listed) >= NDEC_1.cap(queries),
        notes=tuple(fit.notes),
    )


def _per_query(codes: NDArray[np.int64], queries: int) -> bool:
    """Return whether many queries have one number of pairs, the largest: the list may hold the nearest of each."""
    counts = np.bincount(codes, minlength=queries)
    listed = counts[counts > 0]
    most = (listed == listed.max(initial=0)).sum()
    return bool(listed.max(initial=0) > 1 and most >= _LEAST and most > _MANY * len(listed))
