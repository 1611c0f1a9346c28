"""The norms of a submission, checked, with the asymmetric rule that looks at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.errors import SubmissionError
from ndec_bench.search import RATIO, PairRule, parse_rule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ndec_bench.descriptors import Submission


def pair_rule(submission: Submission, rows: NDArray[np.int64], asymmetric: str, where: str) -> PairRule | None:
    """Return the rule that a result tells of: that of ``asymmetric``, or ``ratio`` if this is ``none``.

    It has the norms of the queries in ``rows`` and of all references. None where the submission has no norms and no
    rule is asked for.

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
    query = _checked(f"{where}: query_norms", submission.query_norms, submission.queries.ids)
    reference = _checked(f"{where}: reference_norms", submission.reference_norms, submission.references.ids)
    if rule.smooth:
        # The swapped pair of the swap gap divides by the query's norm.
        _check_above_zero(f"{where}: query_norms", query, submission.queries.ids, asymmetric)
        _check_above_zero(f"{where}: reference_norms", reference, submission.references.ids, asymmetric)
    return PairRule(rule, query[rows], reference)


def _checked(what: str, norms: NDArray[np.float32], ids: Sequence[str]) -> NDArray[np.float32]:
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
    return single


def _check_above_zero(what: str, norms: NDArray[np.float32], ids: Sequence[str], asymmetric: str) -> None:
    zero = np.flatnonzero(norms == 0)
    if len(zero):
        at = int(zero[0])
        raise SubmissionError(
            f"{what} row {at} ({ids[at]}) is 0, expected a number above zero: --asymmetric {asymmetric} divides by "
            f"norms ({len(zero):,} such rows)",
            hint="take --asymmetric ratio, which only compares norms, or write norms above zero",
        )
