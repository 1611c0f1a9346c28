"""Geometry of the charts: numbers to coordinates. Templates draw them as SVG whose look is in the style sheet."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ndec_bench.results.record import Curve, HardNegativeAccount, PartScore

WIDTH, HEIGHT = 440, 300
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 10, 42
SCALES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
LEVELS = tuple(step / 20 for step in range(1, 21))


@dataclass(frozen=True)
class Tick:
    """A gridline with its label."""

    position: float
    label: str


@dataclass(frozen=True)
class Line:
    """One curve: the ``d`` of its path and its operating point (x, y), if it has one."""

    part: str
    path: str
    point: tuple[float, float] | None


@dataclass(frozen=True)
class CurveChart:
    """A precision-recall chart in a box of ``width`` × ``height`` units, origin at the top left."""

    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    target: float
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class CurveRow:
    """The first stored point of each curve at or above a recall, None beyond its end."""

    level: float
    points: list[tuple[float, float] | None]


def curve_chart(parts: dict[str, PartScore], *, target: float = 0.9) -> CurveChart:
    """Return the chart of the precision-recall curves of ``parts``; recall to the right, precision upwards, 0 to 1.

    ``target`` is the precision of the operating point.
    """
    ticks = [step / 5 for step in range(6)]
    return CurveChart(
        lines=[_line(name, part, target) for name, part in parts.items()],
        x_ticks=[Tick(x_of(value), f"{value:.1f}") for value in ticks],
        y_ticks=[Tick(y_of(value), f"{value:.1f}") for value in ticks],
        target=y_of(target),
    )


def curve_rows(curves: Sequence[Curve]) -> list[CurveRow]:
    """Return the table of the chart: at recalls 0.05, 0.10 .. 1, each curve's (precision, threshold)."""
    rows = [CurveRow(level, [_point_at(curve, level) for curve in curves]) for level in LEVELS]
    return [row for row in rows if any(point is not None for point in row.points)]


def x_of(recall: float) -> float:
    """Return the horizontal coordinate of ``recall``, one decimal."""
    return round(LEFT + recall * (WIDTH - LEFT - RIGHT), 1)


def y_of(precision: float) -> float:
    """Return the vertical coordinate of ``precision``, one decimal."""
    return round(TOP + (1 - precision) * (HEIGHT - TOP - BOTTOM), 1)


def share_scale(account: HardNegativeAccount) -> float:
    """Return where the bars of an account end: the least of 1, 2, 5, 10, 20, 50, 100 % that holds every share."""
    shares = [
        share
        for at in (account.at_p90_isc, account.at_p90_all)
        if at is not None
        for share in (at.hard_negatives_hit, at.plain_distractors_hit, at.without_match_hit)
    ]
    largest = max((share.interval[1] for share in shares if share.interval is not None), default=1.0)
    return next(end for end in SCALES if largest <= end or end == SCALES[-1])


def bar(value: float) -> float:
    """Return the length of ``value`` (0..1, cut to that) in a bar of 100 units, two decimals."""
    return round(100 * min(max(value, 0.0), 1.0), 2)


def _line(name: str, part: PartScore, target: float) -> Line:
    coordinates = ((x_of(r), y_of(p)) for r, p in zip(part.pr_curve.recall, part.pr_curve.precision, strict=True))
    point = None if part.recall_at_p90 is None else (x_of(part.recall_at_p90), y_of(target))
    return Line(name, _path(coordinates), point)


def _path(coordinates: Iterable[tuple[float, float]]) -> str:
    # Stored curves are finer than a tenth of a unit; points that fall together or lie on a straight run are left out.
    kept: list[tuple[float, float]] = []
    for x, y in coordinates:
        if kept and kept[-1] == (x, y):
            continue
        while len(kept) > 1 and _straight(kept[-2], kept[-1], (x, y)):
            kept.pop()
        kept.append((x, y))
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in kept) if kept else ""


def _straight(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (a[0] == b[0] == c[0] and (b[1] - a[1]) * (c[1] - b[1]) > 0) or (
        a[1] == b[1] == c[1] and (b[0] - a[0]) * (c[0] - b[0]) > 0
    )


def _point_at(curve: Curve, level: float) -> tuple[float, float] | None:
    place = bisect_left(curve.recall, level)
    if place == len(curve.recall):
        return None
    return curve.precision[place], curve.threshold[place]
