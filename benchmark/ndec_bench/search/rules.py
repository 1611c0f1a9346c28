"""Asymmetric rules: what the norms of the two images of a pair do to its score.

An edited copy is expected to carry less than its original, so its norm should not be above that of the original (Wang
et al., AAAI 2023). With nq the norm of the query and nr that of the reference, both float32:

    ratio              a pair with nq > nr is dropped before the cap; the next pair takes its place
    ratio-after-list   the list is made without a rule, then pairs with nq > nr are dropped from it; it is not refilled
    hinge:L            s' = s − L · max(0, nq / nr − 1)
    tilt:L             s' = s − L · ((nq − nr) / (nq + nr))

``ratio-after-list`` is what ``test.py`` of WangWenhao0716/ASL does. The smooth rules, hinge and tilt, act on the score
of record before the cap. They are +, −, × and / of float64 numbers in the order written above, and nothing else, so
their values are the same on every machine.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Penalty = Callable[[float, NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]

NO_RULE = "none"
GRAMMAR = "none, ratio, ratio-after-list, hinge:L or tilt:L, with a decimal L above 0 such as tilt:0.5"
# The largest ratio of two float32 norms is below 1e84: no penalty overflows.
MAX_STRENGTH = 1e100
_DECIMAL = re.compile(r"(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def _hinge(strength: float, query: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    return strength * np.maximum(0.0, query / reference - 1.0)


def _tilt(strength: float, query: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.float64]:
    return strength * ((query - reference) / (query + reference))


_DROPPING = ("ratio", "ratio-after-list")
_SMOOTH: dict[str, Penalty] = {"hinge": _hinge, "tilt": _tilt}


@dataclass(frozen=True)
class Rule:
    """An asymmetric rule; ``str`` gives its canonical text, which `parse_rule` reads back.

    Attributes
    ----------
    name
        ``ratio``, ``ratio-after-list``, ``hinge`` or ``tilt``.
    strength
        L of a smooth rule; None for the others.
    """

    name: str
    strength: float | None = None

    def __str__(self) -> str:
        # repr gives the shortest decimal that reads back as the same number.
        return self.name if self.strength is None else f"{self.name}:{self.strength!r}"

    @property
    def smooth(self) -> bool:
        """Return whether the rule moves scores; otherwise it drops pairs."""
        return self.strength is not None

    @property
    def after_list(self) -> bool:
        """Return whether the rule acts on the finished list; otherwise it acts before the cap."""
        return self.name == "ratio-after-list"

    def penalty(self, query: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return (n,) float64: what a smooth rule subtracts from the score of each pair, given the norms of its sides.

        The penalty does not rise with the reference's norm, but for the rounding of its last bits. Norms must be above
        0.
        """
        if self.strength is None:
            raise ValueError(f"{self} subtracts nothing from scores")
        return _SMOOTH[self.name](self.strength, query.astype(np.float64), reference.astype(np.float64))


RATIO = Rule("ratio")


def parse_rule(text: str) -> Rule | None:
    """Return the rule called ``text``; None for ``none``.

    Raises
    ------
    UsageError
        If the text does not follow the grammar.
    """
    if text == NO_RULE:
        return None
    name, colon, strength = text.partition(":")
    if name in _DROPPING and not colon:
        return Rule(name)
    if name in _DROPPING:
        raise UsageError(f"asymmetric rule {text[:40]!r}: {name} takes no parameter", hint=f"expected {GRAMMAR}")
    if name not in _SMOOTH:
        raise UsageError(f"asymmetric rule {text[:40]!r} is unknown", hint=f"expected {GRAMMAR}")
    value = float(strength) if _DECIMAL.fullmatch(strength) else math.nan
    if not 0.0 < value <= MAX_STRENGTH:
        raise UsageError(
            f"asymmetric rule {text[:40]!r}: {strength[:40]!r} is not a decimal above 0 and up to {MAX_STRENGTH:g}",
            hint=f"expected {GRAMMAR}",
        )
    return Rule(name, value)


@dataclass(frozen=True, eq=False)
class PairRule:
    """A rule with the norms that it looks at.

    Attributes
    ----------
    rule
        The rule.
    query_norms, reference_norms
        (queries,) and (references,) float32, finite, not below 0, in row order; above 0 for a smooth rule.
    """

    rule: Rule
    query_norms: NDArray[np.float32]
    reference_norms: NDArray[np.float32]

    def keeps(self, query_rows: NDArray[np.int64], reference_rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return (n,) bool: is the query's norm not above the reference's."""
        kept: NDArray[np.bool_] = self.query_norms[query_rows] <= self.reference_norms[reference_rows]
        return kept

    def penalties(self, query_rows: NDArray[np.int64], reference_rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return (n,) float64: what a smooth rule subtracts from the scores of the pairs."""
        return self.rule.penalty(self.query_norms[query_rows], self.reference_norms[reference_rows])

    def may_keep(self, queries: slice, references: slice) -> NDArray[np.bool_]:
        """Return a bool for each of ``queries``: does it keep any pair with ``references``, a block of rows."""
        kept: NDArray[np.bool_] = self.query_norms[queries] <= self.reference_norms[references].max()
        return kept

    def least_penalties(self, queries: slice, references: slice) -> NDArray[np.float64]:
        """Return for each of ``queries`` the least penalty of its pairs with ``references``, a block of rows.

        Float64; within 2⁻⁵⁰ of its own size, for the last bits of a penalty may rise where the reference's norm does.
        """
        return self.rule.penalty(self.query_norms[queries], self.reference_norms[references].max(keepdims=True))

    def of_references(self, rows: NDArray[np.int64]) -> PairRule:
        """Return the same rule for some rows of the references."""
        return replace(self, reference_norms=self.reference_norms[rows])
