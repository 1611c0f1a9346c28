"""The list of pairs behind a result, checked to be that one."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.errors import DataError
from ndec_bench.matches import Matches, read_pairs
from ndec_bench.progress import silent
from ndec_bench.protocol import get_protocol
from ndec_bench.scoring.inputs import is_descriptors
from ndec_bench.scoring.score import Options, score_file
from ndec_bench.scoring.truth import TruthTable
from ndec_bench.search import NO_RULE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_bench.data.split import Split
    from ndec_bench.progress import Progress
    from ndec_bench.results.record import Result


NO_PAIRS = Matches(np.zeros(0, "U1"), np.zeros(0, "U1"), np.zeros(0))


@dataclass(frozen=True)
class ResultList:
    """A result and its list of pairs.

    Attributes
    ----------
    result
        The result.
    matches
        The list of part ``all``, in the order of record.
    codes
        (pairs,) int64 position of each pair's query among the split's queries.
    correct
        (pairs,) bool.
    """

    result: Result
    matches: Matches
    codes: NDArray[np.int64]
    correct: NDArray[np.bool_]

    @classmethod
    def of(cls, result: Result, matches: Matches, truth: TruthTable) -> ResultList:
        """Return ``result`` with its list ``matches``, in any order, judged by ``truth``."""
        ordered = matches.sorted()
        codes = truth.query_codes(ordered.query_ids)
        pairs = truth.pairs(codes, truth.reference_codes(ordered.reference_ids), ordered.scores)
        return cls(result, ordered, codes, pairs.correct)

    @property
    def threshold(self) -> float | None:
        """Return the threshold of recall@P90; None where that precision is never reached."""
        return self.result.parts["all"].threshold_at_p90

    @property
    def isc_threshold(self) -> float | None:
        """Return the threshold tuned without hard negatives; None where there is none."""
        account = self.result.hard_negatives
        return None if account is None or account.at_p90_isc is None else account.at_p90_isc.threshold

    @cached_property
    def best_wrong(self) -> NDArray[np.int64]:
        """Return the place in the list of the best wrong pair of each query that has one, ascending."""
        wrong = np.flatnonzero(~self.correct)
        return np.sort(wrong[np.unique(self.codes[wrong], return_index=True)[1]])

    @cached_property
    def best_wrong_of(self) -> dict[int, int]:
        """Return the same by the code of the query."""
        return dict(zip(self.codes[self.best_wrong].tolist(), self.best_wrong.tolist(), strict=True))

    @cached_property
    def true_places(self) -> dict[tuple[str, str], int]:
        """Return the place in the list of each true pair that is in it, by query id and reference id."""
        rows = np.flatnonzero(self.correct)
        found = self.matches.take(rows)
        pairs = zip(found.query_ids.tolist(), found.reference_ids.tolist(), strict=True)
        return dict(zip(pairs, rows.tolist(), strict=True))

    def misses(self, pair: tuple[str, str]) -> bool:
        """Return whether a true pair is below the threshold of recall@P90, or not in the list."""
        place = self.true_places.get(pair)
        return place is None or (self.threshold is not None and self.matches.scores[place] < self.threshold)


def check_split(result: Result, split: Split, where: str) -> None:
    """Raise DataError, which calls the result ``where``, unless ``split`` is what ``result`` was scored against."""
    if "all" not in result.parts:
        raise DataError(f"{where}: a result without the part all", hint="score again")
    found = split.truth.sha256
    if result.digests.ground_truth != found:
        raise DataError(
            f"{where}: scored on {result.split} with ground truth {result.digests.ground_truth[:12]}, "
            f"{split.name} here has {found[:12]}",
            hint="give the split or the ground truth that the result was scored against",
        )
    if result.parts["all"].queries != len(split.query_ids):
        raise DataError(
            f"{where}: scored with {result.parts['all'].queries:,} labelled queries, here are {len(split.query_ids):,}",
            hint="give the same --queries as to score",
        )
    account = result.hard_negatives
    if account is not None and account.queries != len(split.hard_negatives or ()):
        raise DataError(
            f"{where}: scored with {account.queries:,} hard negatives, here are {len(split.hard_negatives or ()):,}",
            hint="give the same --hard-negatives as to score",
        )


def read_list(
    path: Path, result: Result, split: Split, truth: TruthTable | None = None, *, progress: Progress = silent
) -> ResultList:
    """Return ``result`` with its list of part ``all``, found again from a submission or a list of pairs.

    Parameters
    ----------
    path
        What ``result`` was scored from, or what ``score --save-matches`` left; told apart by content.
    split, truth
        What it was scored against; ``truth`` spares building the table of ``split``.
    progress
        Called while reading and, for descriptors, of the search.

    Raises
    ------
    DataError
        If its list has another digest than ``result`` records.
    SubmissionError
        If it cannot be scored against ``split``.
    """
    # A saved list is already that of the rule.
    rule = result.asymmetric if is_descriptors(path) else NO_RULE
    with tempfile.TemporaryDirectory(prefix="ndec-bench-") as folder:
        saved = Path(folder, "list.csv")
        options = Options(protocol=get_protocol(result.protocol), replicates=0, asymmetric=rule, save_matches=saved)
        again = score_file(path, split, options=options, progress=progress)
        if again.predictions_sha256 != result.predictions_sha256:
            raise DataError(
                f"{path}: its list of pairs has SHA-256 {again.predictions_sha256[:12]}, "
                f"that of result {result.name} has {result.predictions_sha256[:12]}",
                hint="give what the result was scored from, or what score --save-matches left, in the order of results",
            )
        matches = read_pairs(saved) if again.parts["all"].predictions else NO_PAIRS
    return ResultList.of(result, matches, truth or TruthTable(split))
