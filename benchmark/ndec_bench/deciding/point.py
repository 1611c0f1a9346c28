"""The operating point: a threshold chosen for a goal, and what happens at it.

Queries are the unit. With matched queries of which a share r has a true alert and a share w any alert, and queries
without a match of which a share a is alarmed, precision where a share P of all queries is matched is::

    P · r / (P · w + (1 − P) · a)  =  1 / (w / r + (1 − P) / P · a / r)

Bounds are for this set of references and for independent queries like these; see `ndec_bench.deciding.bounds`. A
threshold for ``max_alarms`` is an order statistic of the unmatched queries and one for ``min_recall`` of the matched
ones: what was asked for, and the queries that had no part in the choice, have the bounds of single shares. All other
figures, and all of ``min_precision``, have bounds that hold at all thresholds at once. The
lower bound of the precision at a prior puts bounds of r, w − r and a into the formula, which together hold at 95 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from ndec_bench.deciding.bounds import (
    LEVEL,
    most_hits,
    queries_needed,
    upper_bound,
    upper_bound_anywhere,
)
from ndec_bench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from ndec_bench.deciding.evidence import Evidence

WITHOUT_MATCH, PLAIN, HARD = "without_match", "plain_distractor", "hard_negative"
_SPLITS = (0.25, 0.5, 0.75)
"""How a budget of alarms may be split between hard and plain queries; all of them are bounded at once."""


@dataclass(frozen=True)
class Goal:
    """What a threshold has to reach.

    Attributes
    ----------
    kind
        ``max_alarms``: the upper bound of the share of unmatched queries with an alarm is at most ``value``.
        ``min_precision``: precision is at least ``value``: at ``prior`` if that is given, else of pairs.
        ``min_recall``: the share of matched queries with a true alert is at least ``value``.
        ``threshold``: the threshold is ``value``, a score.
    value
        In (0, 1), or a score.
    prior
        Share of queries with a match where the method will work; None if unknown.
    hard_share
        Share of hard negatives among the unmatched queries where the method will work; None for that of the split.
    """

    kind: Literal["max_alarms", "min_precision", "min_recall", "threshold"]
    value: float
    prior: float | None = None
    hard_share: float | None = None

    @classmethod
    def only(cls, given: Mapping[str, float | None], prior: float | None, hard_share: float | None) -> Goal:
        """Return the goal of the one value in ``given``, by kind, that is not None.

        Raises
        ------
        UsageError
            If not one is given, or a share is not between 0 and 1.
        """
        asked = {kind: value for kind, value in given.items() if value is not None}
        if len(asked) != 1:
            names = " and ".join(_option(kind) for kind in asked or given)
            said = f"{names} exclude each other" if asked else "no goal is given"
            raise UsageError(
                said,
                hint="give one of --max-alarms, --min-precision, --min-recall and --at; the other figures are shown",
            )
        ((kind, value),) = asked.items()
        if not np.isfinite(value):
            raise UsageError(f"{_option(kind)} {value}", hint="give a finite number")
        shares = {kind: value, "prior": prior, "hard_share": hard_share}
        for name, share in shares.items():
            whole = name == "hard_share" and share in (0.0, 1.0)
            if name != "threshold" and share is not None and not (0.0 < share < 1.0 or whole):
                raise UsageError(f"{_option(name)} {share:g}", hint="give a share between 0 and 1")
        return cls(kind, value, prior, hard_share)  # type: ignore[arg-type]

    def __str__(self) -> str:
        """Return the options that ask for it."""
        text = f"{_option(self.kind)} {self.value:g}"
        for option, value in (("--prior", self.prior), ("--hard-share", self.hard_share)):
            text += "" if value is None else f" {option} {value:g}"
        return text

    @property
    def mixture(self) -> dict[str, float]:
        """Return the share of each group among the unmatched queries; groups that have none are left out."""
        if self.hard_share is None:
            return {WITHOUT_MATCH: 1.0}
        shares = {PLAIN: 1.0 - self.hard_share, HARD: self.hard_share}
        return {name: share for name, share in shares.items() if share}


@dataclass(frozen=True)
class Rate:
    """A share of queries: ``rate`` is null for no queries; ``lower`` and ``upper`` are one-sided bounds at 95 %."""

    hits: int
    queries: int
    rate: float | None
    lower: float
    upper: float


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and what happens at it.

    Attributes
    ----------
    goal
        What was asked for.
    score
        The threshold: a pair with this score or a higher one is an alert.
    recall, alerted
        Of matched queries: those with a true alert, and with any.
    alarms
        Of queries without a match, by group: those with an alarm.
    alarm_rate, alarm_rate_upper
        Share of the unmatched queries with an alarm, mixed as ``hard_share`` asks, and its one-sided bound at 95 %.
    precision_of_pairs, recall_of_pairs
        As in a result; None for no pairs.
    precision_at_prior, precision_at_prior_lower
        None without a prior, or without any alert; the lower bound is one-sided at 95 %.
    """

    goal: Goal
    score: float
    recall: Rate
    alerted: Rate
    alarms: dict[str, Rate]
    alarm_rate: float | None
    alarm_rate_upper: float
    precision_of_pairs: float | None
    recall_of_pairs: float
    precision_at_prior: float | None = None
    precision_at_prior_lower: float | None = None


def operating_point(evidence: Evidence, goal: Goal) -> OperatingPoint:
    """Return the threshold for ``goal`` with the most recall, and what happens at it.

    Raises
    ------
    UsageError
        If no threshold reaches the goal, there are too few queries to certify it, or the list ends above the threshold.
    """
    if missing := goal.mixture.keys() - evidence.groups.keys():
        raise UsageError(
            f"{goal}: the split does not know which queries are hard negatives ({', '.join(sorted(missing))})",
            hint="give --hard-negatives, or leave --hard-share out",
        )
    counts = _Counts(evidence, goal)
    counts.check()
    return counts.point()


def at_prior(prior: float, recall: float, alerted: float, alarms: float) -> float | None:
    """Return precision where a share ``prior`` of the queries has a match, see the module; None without any alert."""
    alerts = prior * alerted + (1.0 - prior) * alarms
    return prior * recall / alerts if alerts > 0.0 else None


class _Counts:
    """What the choice and the bounds need of one list: the scores of queries and pairs, falling."""

    def __init__(self, evidence: Evidence, goal: Goal) -> None:
        self._evidence, self._goal = evidence, goal
        matched = evidence.matched
        self._found, self._alerted = _falling(evidence.best_true[matched]), _falling(evidence.best[matched])
        self._matched = int(matched.sum())
        self._unmatched = {name: _falling(evidence.best[group]) for name, group in evidence.groups.items()}
        self._sizes = {name: int(group.sum()) for name, group in evidence.groups.items()}

    def check(self) -> None:
        """Raise UsageError if the list is empty, or the goal asks for alarms of queries that are not there."""
        if not len(self._evidence.scores):
            raise UsageError("the list has no pair of a labelled query", hint="check the list")
        empty = [name for name in self._goal.mixture if not self._sizes[name]]
        if empty and (self._goal.kind == "max_alarms" or self._goal.prior is not None):
            raise UsageError(
                f"the split has no query of the kind {empty[0]}: {self._goal} cannot be judged",
                hint="choose a split with queries without a match",
            )

    def point(self) -> OperatingPoint:
        """Return the point for the goal."""
        goal, evidence = self._goal, self._evidence
        score = goal.value
        if goal.kind != "threshold":
            score = {
                "max_alarms": self._below_budget,
                "min_recall": self._at_recall,
                "min_precision": self._at_precision,
            }[goal.kind]()
        if score < evidence.lowest or (evidence.full and score <= evidence.lowest):
            raise UsageError(
                f"the threshold {score:.6g} is not above the lowest score of the list, {evidence.lowest:.6g}: pairs of "
                "that score or below may be missing",
                hint="make a longer list, or ask for fewer alarms",
            )
        found, alerted = _count(self._found, score), _count(self._alerted, score)
        recall = self._matched_rate(found, score, needed=self._needed if goal.kind == "min_recall" else None)
        any_alert = self._matched_rate(alerted, score)
        alarms = {name: self._alarms(name, score) for name in self._unmatched}
        rate, upper = self._alarm_rate(alarms, score, LEVEL)
        above = evidence.scores >= score
        true = int(evidence.correct[above].sum())
        precision = lower = None
        if goal.prior is not None and rate is not None:
            precision = at_prior(goal.prior, recall.rate or 0.0, any_alert.rate or 0.0, rate)
            lower = self._precision_lower(goal.prior, found, alerted, alarms, score)
        return OperatingPoint(
            goal=goal,
            score=score,
            recall=recall,
            alerted=any_alert,
            alarms=alarms,
            alarm_rate=rate,
            alarm_rate_upper=upper,
            precision_of_pairs=true / int(above.sum()) if above.any() else None,
            recall_of_pairs=true / int(evidence.truth.positives.sum()),
            precision_at_prior=precision,
            precision_at_prior_lower=None if precision is None else lower,
        )

    def _below_budget(self) -> float:
        """Return the lowest threshold whose bound of the alarm rate is within the budget."""
        thresholds = [self._above(option) for option in self._options]
        score = min(thresholds)
        if self._evidence.full and score <= self._evidence.lowest:
            raise UsageError(
                f"the list ends at {self._evidence.lowest:.6g}, above the threshold for {self._goal}",
                hint="make a longer list, or ask for fewer alarms",
            )
        return score

    @cached_property
    def _options(self) -> list[dict[str, int]]:
        """Return the numbers of alarms by group that keep the budget; fixed before any score is seen.

        A budget for two groups may be split in several ways. All of them are bounded at once, so the one with the
        lowest threshold may be taken.
        """
        mixture, budget = self._goal.mixture, self._goal.value
        splits = (
            [{PLAIN: 1.0 - hard, HARD: hard} for hard in _SPLITS] if len(mixture) > 1 else [dict.fromkeys(mixture, 1.0)]
        )
        level = self._level_of_each(LEVEL)
        options = []
        for split in splits:
            most = {
                name: most_hits(self._sizes[name], min(share * budget / mixture[name], 1.0), level=level)
                for name, share in split.items()
            }
            known = {name: hits for name, hits in most.items() if hits is not None}
            if len(known) == len(most):
                options.append(known)
        if not options:
            raise self._too_few()
        return options

    def _level_of_each(self, level: float) -> float:
        groups = len(self._goal.mixture)
        return 1.0 - (1.0 - level) / (groups * len(_SPLITS) if groups > 1 else 1)

    def _too_few(self) -> UsageError:
        mixture, budget = self._goal.mixture, self._goal.value
        level = self._level_of_each(LEVEL)
        shares = {name: min(budget / len(mixture) / weight, 1.0) for name, weight in mixture.items()}
        needed = {name: queries_needed(share, level=level) for name, share in shares.items()}
        short = min(mixture, key=lambda name: self._sizes[name] / needed[name])
        kind = {WITHOUT_MATCH: "queries without a match", PLAIN: "plain distractors", HARD: "hard negatives"}[short]
        least = upper_bound(0, self._sizes[short], level=level)
        return UsageError(
            f"{self._sizes[short]:,} {kind} cannot promise {self._goal}: without a single alarm the bound of their "
            f"share would be {least:.3g}, {shares[short]:.3g} is asked for",
            hint=f"it takes at least {needed[short]:,} of them",
        )

    def _above(self, option: dict[str, int]) -> float:
        """Return the lowest threshold that leaves each group no more alarms than ``option``: ties are alarms too.

        It depends on the scores of these groups alone, and where they end within the list, on nothing else.
        """
        last = max(
            float(self._unmatched[name][hits]) if hits < len(self._unmatched[name]) else -np.inf
            for name, hits in option.items()
        )
        return float(np.nextafter(last, np.inf)) if np.isfinite(last) else self._evidence.lowest

    @property
    def _needed(self) -> int:
        """Return how many matched queries the recall asks for."""
        return max(int(np.ceil(self._goal.value * self._matched - 1e-9)), 1)

    def _at_recall(self) -> float:
        needed = self._needed
        if needed > len(self._found):
            raise UsageError(
                f"{len(self._found):,} of {self._matched:,} matched queries have a true pair in the list, "
                f"fewer than {self._goal} asks for",
                hint="make a longer list, or ask for less recall",
            )
        return float(self._found[needed - 1])

    def _at_precision(self) -> float:
        """Return the lowest true pair's score, above which precision is as asked."""
        evidence, goal = self._evidence, self._goal
        scores = np.unique(evidence.scores[evidence.correct])[::-1]
        if goal.prior is None:
            true, pairs = (
                _counts(_falling(listed), scores) for listed in (evidence.scores[evidence.correct], evidence.scores)
            )
            good = true >= goal.value * pairs
        else:
            found, alerted = (_counts(listed, scores) / self._matched for listed in (self._found, self._alerted))
            alarms = sum(
                weight * _counts(self._unmatched[name], scores) / self._sizes[name]
                for name, weight in goal.mixture.items()
            )
            good = goal.prior * found >= goal.value * (goal.prior * alerted + (1.0 - goal.prior) * alarms)
        if not good.any():
            raise UsageError(f"no threshold of this list reaches {goal}", hint="ask for less")
        return float(scores[np.flatnonzero(good)[-1]])

    def _matched_rate(self, hits: int, score: float, *, needed: int | None = None) -> Rate:
        """Return the rate of matched queries; ``needed`` of them were asked for before the scores were seen."""
        queries, bound = self._matched, self._matched_bound(score)
        lower = 1.0 - bound(queries - hits, queries)
        if needed is not None:
            lower = 1.0 - upper_bound(queries - needed, queries)
        return Rate(hits, queries, hits / queries if queries else None, lower, bound(hits, queries))

    def _alarms(self, name: str, score: float) -> Rate:
        hits, queries = _count(self._unmatched[name], score), self._sizes[name]
        bound = self._alarm_bound
        upper = bound(hits, queries)
        if self._goal.kind == "max_alarms" and list(self._options[0]) == [name]:
            upper = upper_bound(self._options[0][name], queries)
        return Rate(hits, queries, hits / queries if queries else None, 1.0 - bound(queries - hits, queries), upper)

    @property
    def _alarm_bound(self) -> Callable[..., float]:
        """Return the bound for queries without a match: that of single shares where they had no part in the choice."""
        return upper_bound if self._goal.kind in ("min_recall", "threshold") else upper_bound_anywhere

    def _matched_bound(self, score: float) -> Callable[..., float]:
        """Return the bound for matched queries; a threshold for alarms does not depend on them within the list."""
        kind = self._goal.kind
        apart = kind == "threshold" or (kind == "max_alarms" and score > self._evidence.lowest)
        return upper_bound if apart else upper_bound_anywhere

    def _alarm_rate(self, alarms: dict[str, Rate], score: float, level: float) -> tuple[float | None, float]:
        """Return the alarm rate of the mixture and its upper bound."""
        mixture = self._goal.mixture
        rates = {name: alarms[name].rate for name in mixture}
        known = [mixture[name] * rate for name, rate in rates.items() if rate is not None]
        rate = sum(known) if len(known) == len(mixture) else None
        if self._goal.kind == "max_alarms":
            hits = [option for option in self._options if self._above(option) <= score]
            each = self._level_of_each(level)
        else:
            hits = [{name: alarms[name].hits for name in mixture}]
            each = 1.0 - (1.0 - level) / len(mixture)
        bound = upper_bound if self._goal.kind == "max_alarms" else self._alarm_bound
        bounds = (
            sum(weight * bound(option[name], self._sizes[name], level=each) for name, weight in mixture.items())
            for option in hits
        )
        return rate, min(1.0, *bounds)

    def _precision_lower(
        self, prior: float, found: int, alerted: int, alarms: dict[str, Rate], score: float
    ) -> float | None:
        """Return the lower bound of precision: half of the error for alarms, a quarter each for r and w − r, or w."""
        error, queries, bound = 1.0 - LEVEL, self._matched, self._matched_bound(score)
        level = 1.0 - error / 4
        if self._goal.kind == "min_recall":
            recall = 1.0 - upper_bound(queries - self._needed, queries, level=level)
        else:
            recall = 1.0 - bound(queries - found, queries, level=level)
        if bound is upper_bound:
            any_alert = recall + upper_bound(alerted - found, queries, level=level)
        else:  # w − r may fall and rise with the threshold, w does not
            any_alert = max(recall, bound(alerted, queries, level=level))
        _, alarm_rate = self._alarm_rate(alarms, score, 1.0 - error / 2)
        return at_prior(prior, recall, any_alert, alarm_rate)


def _option(name: str) -> str:
    return "--at" if name == "threshold" else "--" + name.replace("_", "-")


def _falling(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return -np.sort(-scores[np.isfinite(scores)])


def _counts(falling: NDArray[np.float64], thresholds: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.searchsorted(-falling, -thresholds, side="right")


def _count(falling: NDArray[np.float64], threshold: float) -> int:
    return int(np.searchsorted(-falling, -threshold, side="right"))
