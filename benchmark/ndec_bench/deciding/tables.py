"""Decisions as tables of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndec_bench.deciding.point import HARD, PLAIN, WITHOUT_MATCH
from ndec_bench.printable import one_line
from ndec_bench.results.tables import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ndec_bench.deciding.decision import Decision
    from ndec_bench.deciding.point import OperatingPoint, Rate

_GROUPS = {WITHOUT_MATCH: "queries without a match", PLAIN: "  plain distractors", HARD: "  hard negatives"}


def decision_tables(decision: Decision, queries_per_day: float | None = None) -> Iterator[Table | str]:
    """Yield tables and lines: one point whole with alarms and floods, or useful points next to each other."""
    if len(decision.points) == 1 and decision.floods:
        yield from _whole(decision, decision.points[0], queries_per_day)
    else:
        yield from _useful(decision)
    for note in decision.notes:
        yield f"note: {one_line(note)}"


def _whole(decision: Decision, point: OperatingPoint, queries_per_day: float | None) -> Iterator[Table | str]:
    yield f"{point.goal}: alert where {decision.unit.rule(point.score)} (score {point.score!r})"
    rows = [
        ["copies with a true alert", *_cells(point.recall)],
        ["copies with any alert", *_cells(point.alerted)],
        *([_GROUPS[name], *_cells(rate)] for name, rate in point.alarms.items()),
    ]
    yield Table(
        f"At this threshold, on {one_line(decision.split)}",
        ["", "alerted", "of", "rate", "at least", "at most"],
        rows,
        caption="at least, at most: one-sided bounds, each at 95 %, for these references",
    )
    yield f"Pairs: precision {_number(point.precision_of_pairs)}, recall {point.recall_of_pairs:.4f}"
    goal = point.goal
    if goal.hard_share is not None:
        yield (
            f"Alarms where {goal.hard_share:.1%} of the queries without a match are hard negatives: "
            f"{_number(point.alarm_rate)}, at most {point.alarm_rate_upper:.4f}"
        )
    if goal.prior is not None:
        yield (
            f"Precision where {goal.prior:.3g} of the queries have a match: {_number(point.precision_at_prior)}, "
            f"at least {_number(point.precision_at_prior_lower)}"
        )
    if queries_per_day is not None:
        share = 1.0 - (goal.prior or 0.0)
        yield (
            f"Alarms per day of {queries_per_day:,.0f} queries: {_per_day(point.alarm_rate, queries_per_day * share)}, "
            f"at most {_per_day(point.alarm_rate_upper, queries_per_day * share)}"
        )
    if decision.curve:
        yield _curve(decision)
    yield Table(
        "References with the most alerts, and what leaving them out changes",
        ["worst", "share of alerts", "alarms", "without", "recall", "without"],
        [
            [
                f"{one.worst:,}",
                _number(one.share),
                _number(one.alarms_before),
                _number(one.alarms_after),
                f"{one.recall_before:.4f}",
                f"{one.recall_after:.4f}",
            ]
            for one in decision.floods
        ],
        left=0,
        caption="chosen on one half of the queries, measured on the other",
    )


def _useful(decision: Decision) -> Iterator[Table | str]:
    yield Table(
        f"Useful thresholds of {one_line(decision.name or 'this list')} on {one_line(decision.split)}",
        ["goal", decision.unit.name, "recall", "at least", "alarms", "at most"],
        [
            [
                str(point.goal),
                decision.unit.rule(point.score).removeprefix(decision.unit.name).strip(),
                f"{point.recall.rate or 0.0:.4f}",
                f"{point.recall.lower:.4f}",
                _number(point.alarm_rate),
                f"{point.alarm_rate_upper:.4f}",
            ]
            for point in decision.points
        ],
        left=2,
        caption="recall: of copies, with a true alert; alarms: of queries without a match;\none-sided bounds at 95 %",
    )
    for goal, why in decision.out_of_reach.items():
        yield f"{goal} is out of reach: {one_line(why)}"


def _curve(decision: Decision) -> Table:
    by_size: dict[int, dict[str, str]] = {}
    for one in decision.curve:
        rate = f"{one.lower:.4f} to {one.upper:.4f} *" if one.rate is None else f"{one.rate:.4f}"
        by_size.setdefault(one.references, {})[one.group] = rate
    groups = list(dict.fromkeys(one.group for one in decision.curve))
    return Table(
        "Share of queries with an alarm, against the number of references",
        ["references", *(_GROUPS[group].strip() for group in groups)],
        [[f"{size:,}", *(cells.get(group, "") for group in groups)] for size, cells in by_size.items()],
        left=0,
        caption="* extrapolated: bounds for references from the same population",
    )


def _cells(rate: Rate) -> list[str]:
    return [
        f"{rate.hits:,}",
        f"{rate.queries:,}",
        _number(rate.rate),
        f"{rate.lower:.4f}",
        f"{rate.upper:.4f}",
    ]


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"


def _per_day(rate: float | None, queries: float) -> str:
    return "unknown" if rate is None else f"{rate * queries:,.1f}"
