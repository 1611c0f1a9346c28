"""Bounds on shares that hold for finite samples, also where the threshold was chosen on the same queries.

Let s_(k) be the k-th highest of the scores of n queries from one population. The share of the population above s_(k) is
distributed as Beta(k, n − k + 1), or lies below that where scores can tie (Wilks, Annals of Mathematical Statistics 12,
1941). With k fixed before the scores are seen, the quantiles of that distribution bound the share although the
threshold comes from the same scores; with k − 1 hits they are those of Clopper and Pearson (Biometrika 26, 1934).
Where a threshold was chosen in another way, bounds must hold at all thresholds at once.
"""

from __future__ import annotations

import math

LEVEL = 0.95
_GROWTH = 1.5


def upper_bound(hits: int, queries: int, *, level: float = LEVEL) -> float:
    """Return the one-sided upper bound of a share of which ``hits`` of ``queries`` were found: Beta(hits + 1, ...)."""
    from scipy.special import betaincinv

    return 1.0 if hits >= queries else float(betaincinv(hits + 1, queries - hits, level))


def lower_bound(hits: int, queries: int, *, level: float = LEVEL) -> float:
    """Return the one-sided lower bound of a share of which ``hits`` of ``queries`` were found."""
    return 1.0 - upper_bound(queries - hits, queries, level=level)


def most_hits(queries: int, budget: float, *, level: float = LEVEL) -> int | None:
    """Return the most hits among ``queries`` whose `upper_bound` is at most ``budget``; None if not even 0 is."""
    low, high = -1, queries
    while low < high:
        middle = (low + high + 1) // 2
        if upper_bound(middle, queries, level=level) <= budget:
            low = middle
        else:
            high = middle - 1
    return None if low < 0 else low


def queries_needed(budget: float, *, level: float = LEVEL) -> int:
    """Return how many queries without a hit bound a share by ``budget``: least n, (1 − budget)^n ≤ 1 − level."""
    return math.ceil(math.log1p(-level) / math.log1p(-budget)) if budget < 1.0 else 1


def upper_bound_anywhere(hits: int, queries: int, *, level: float = LEVEL) -> float:
    """Return an upper bound of the share above a threshold that was chosen in any way on the same ``queries``.

    `upper_bound` for numbers of hits that are fixed beforehand and grow by half, all of them at once (Bonferroni): the
    bound is that of the first number that is not below ``hits``. The inequality of Dvoretzky, Kiefer and Wolfowitz
    with the constant of Massart (Annals of Probability 18, 1990) takes its place where it is closer; the level is
    shared between the two.
    """
    if not queries:
        return 1.0
    half = (1.0 - level) / 2.0
    marks = [0]
    while marks[-1] < queries:
        marks.append(max(marks[-1] + 1, math.floor(marks[-1] * _GROWTH)))
    mark = next(mark for mark in marks if mark >= hits)
    by_marks = upper_bound(mark, queries, level=1.0 - half / len(marks))
    return min(by_marks, hits / queries + math.sqrt(-math.log(half) / (2 * queries)), 1.0)
