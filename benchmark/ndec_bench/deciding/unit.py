"""Scores in the unit in which a method is used: distances, products, or bits that differ."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BITS = 4.0
"""Squared distance of two vectors of plus and minus one, per bit that differs."""
_DIGITS = 8


@dataclass(frozen=True)
class Unit:
    """How scores are shown: ``score * factor``; alerts are at or below the threshold where the factor is negative."""

    name: Literal["score", "inner product", "squared distance", "Hamming distance"]
    factor: float = 1.0

    def of(self, score: float) -> float:
        """Return ``score`` in this unit."""
        return score * self.factor + 0.0

    def rule(self, score: float) -> str:
        """Return which pairs are alerts at threshold ``score``, rounded so that no further pair becomes one."""
        value = self.of(score)
        if self.name == "Hamming distance":
            bits = math.floor(value)
            bits -= bits / self.factor < score  # a threshold between two distances, or above all scores
            return f"{self.name} at most {bits}" if bits >= 0 else "no pair: the threshold is above every score"
        if self.name == "squared distance" and score > 0.0:
            return "no pair: the threshold is above every score"
        return f"{self.name} {'at most' if self.factor < 0 else 'at least'} {_rounded(value, up=self.factor > 0)}"


SCORE = Unit("score")


def unit_of(metric: str | None, scores: NDArray[np.float64]) -> Unit:
    """Return the unit of ``scores`` (n,) by the ``metric`` of a result; None for unknown.

    Negated squared distances that are all multiples of four are those of vectors of plus and minus one.
    """
    if metric == "l2":
        bits = len(scores) > 0 and bool((np.mod(scores, _BITS) == 0).all())
        return Unit("Hamming distance", -1.0 / _BITS) if bits else Unit("squared distance", -1.0)
    return Unit("inner product") if metric == "ip" else SCORE


def _rounded(value: float, *, up: bool) -> str:
    """Return ``value`` to eight digits, rounded up or down."""
    if not value:
        return "0"
    text = f"{value:.{_DIGITS}g}"
    if (up and float(text) < value) or (not up and float(text) > value):
        step = 10.0 ** (math.floor(math.log10(abs(value))) - _DIGITS + 1)
        text = f"{float(text) + (step if up else -step):.{_DIGITS}g}"
    return text
