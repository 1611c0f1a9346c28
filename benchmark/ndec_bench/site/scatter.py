"""Geometry of the scatter charts of a board: µAP against what a method costs, and against µAP without hard negatives.

As in `ndec_bench.site.charts`, numbers become coordinates here; templates draw them.
"""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from ndec_bench.site import text
from ndec_bench.site.boards import kind_of
from ndec_bench.site.charts import Tick

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ndec_bench.submissions.ranking import Board, Row

# On a screen of 360 px the box is 328 px wide: the text of 12 units is then 11 px high.
WIDTH, HEIGHT = 352, 300
LEFT, RIGHT, TOP, BOTTOM = 38, 10, 26, 40
FONT = 12
RADIUS = 4
CROWD = 40
"""From this many points on, only those on the Pareto line and the best are labelled and have whiskers."""
MOST_LABELS = 24
NAME_LENGTH = 60
LABEL_LENGTH = 20
"""Letters of a name next to its point; those of Chinese, Japanese and Korean count twice."""

_STEPS = (100, 50, 20, 10, 5)  # 0.01, 0.02, 0.05, 0.1, 0.2
_MOST_STEPS = 6
_MOST_TICKS = 7
_SMALLEST, _LARGEST = 1e-6, 1e15  # beyond, a cost is a slip of the pen and would flatten the chart for all others

Kind = Literal["bytes", "ms", "isc"]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Label:
    """A name next to its point: where its text starts, is centred or ends, by ``anchor``."""

    x: float
    y: float
    anchor: Literal["start", "middle", "end"]
    text: str


@dataclass(frozen=True)
class Point:
    """One row of the board in one chart.

    Attributes
    ----------
    row
        The row.
    value
        Its value on the horizontal axis.
    name
        Its title, cut to `NAME_LENGTH` characters.
    said
        What the point tells to those who do not see it.
    shown
        Its value on the horizontal axis as the table prints it.
    x, y
        Coordinates.
    whisker
        From and to which y its whisker goes: the ends of the interval of µAP, or the diagonal and the point.
    front
        Whether no other row is at least as good in both and better in one.
    label
        The name next to the point; None where there is no room.
    """

    row: Row
    value: float
    name: str
    said: str
    shown: str
    x: float
    y: float
    whisker: tuple[float, float] | None
    front: bool = False
    label: Label | None = None


@dataclass(frozen=True)
class ScatterChart:
    """One chart in a box of ``width`` × ``height`` units, origin at the top left.

    Attributes
    ----------
    kind
        What is on the horizontal axis: bytes per reference, milliseconds per image, or µAP of the part ``isc``.
    title, x_label, note
        What it shows, what the horizontal axis counts, and how to read it.
    points
        By x; those of the Pareto line last, so that they are drawn above the others.
    table
        The points of the table: all by x, of a crowd those of the Pareto line.
    crowded
        Whether there are at least `CROWD` points.
    missing
        Rows without the value.
    line
        The ``d`` of the Pareto line, or of the diagonal.
    """

    kind: Kind
    title: str
    x_label: str
    note: str
    points: tuple[Point, ...]
    table: tuple[Point, ...]
    crowded: bool
    missing: tuple[Row, ...]
    line: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class _Axis:
    """A range of values, or of their logarithms, and the ticks inside it."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    def share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)


def scatter_charts(board: Board) -> list[ScatterChart]:
    """Return the charts of the ranked rows of ``board``, those with fewer than two points left out.

    They are µAP against bytes per reference, against milliseconds per image, and, where hard negatives are known,
    against µAP without them.
    """
    kinds: tuple[Kind, ...] = ("bytes", "ms", "isc")
    charts = (_chart(board, kind) for kind in kinds)
    return [chart for chart in charts if chart is not None]


def _chart(board: Board, kind: Kind) -> ScatterChart | None:
    values = [(row, _value(row, kind)) for row in board.rows]
    drawn = [(row, value) for row, value in values if value is not None]
    if len(drawn) < 2:
        return None
    title, x_label, unit, note = _words(board, kind)
    x_axis, y_axis = _axes(drawn, kind)
    points = _with_front([_point(row, value, kind, unit, x_axis, y_axis) for row, value in drawn], kind)
    crowded = len(points) >= CROWD
    line = _diagonal() if kind == "isc" else _stairs([point for point in points if point.front])
    labels = _labels(points, crowded=crowded)
    points = [
        replace(point, label=labels.get(place), whisker=None if crowded and place not in labels else point.whisker)
        for place, point in enumerate(points)
    ]
    by_x = sorted(points, key=lambda point: (point.x, point.y))
    return ScatterChart(
        kind=kind,
        title=title,
        x_label=x_label,
        note=note,
        points=tuple(sorted(by_x, key=lambda point: point.front)),
        table=tuple(point for point in by_x if point.front or not crowded),
        crowded=crowded,
        missing=tuple(row for row, value in values if value is None),
        line="M" + "L".join(f"{x:g} {y:g}" for x, y in line),
        x_ticks=tuple(Tick(_across(x_axis, at), label) for at, label in x_axis.ticks),
        y_ticks=tuple(Tick(_down(y_axis, at), label) for at, label in y_axis.ticks),
    )


def _value(row: Row, kind: Kind) -> float | None:
    if kind == "isc":
        part = row.result.parts.get("isc")
        return part.micro_ap if part else None
    cost: float | None = row.result.bytes_per_reference
    if kind == "ms":
        cost = row.result.describing.milliseconds_per_image if row.result.describing else None
    return cost if cost is not None and _SMALLEST <= cost <= _LARGEST else None


def _words(board: Board, kind: Kind) -> tuple[str, str, str, str]:
    """Return title, label of the horizontal axis, its unit in a sentence, and how to read the chart."""
    if kind == "bytes":
        return "µAP against size", "bytes per reference", "bytes", "Up and to the left is better."
    if kind == "ms":
        note = "As each submission measured it: hardware differs."
        return "µAP against time", "ms per image", "ms", note
    without = "without hard negatives" if kind_of(board.split) == "mini" else "of the ISC part"
    note = "On the diagonal they would take nothing."
    return "What hard negatives take", f"µAP {without}", without, note


# --- Scales ---


def _axes(drawn: Sequence[tuple[Row, float]], kind: Kind) -> tuple[_Axis, _Axis]:
    scores = [row.result.parts["all"].micro_ap for row, _ in drawn]
    if kind == "isc":  # one scale for both, so that the diagonal is one
        both = _linear([*scores, *(value for _, value in drawn)])
        return both, both
    intervals = [row.result.parts["all"].micro_ap_interval or () for row, _ in drawn]
    return _logarithmic([value for _, value in drawn]), _linear([*scores, *(b for pair in intervals for b in pair)])


def _linear(values: Sequence[float]) -> _Axis:
    """Return the axis from tick to tick around ``values``, all shares."""
    for per_unit in _STEPS:
        # What floating point adds to a round value is not worth a tick.
        first, last = math.floor(min(values) * per_unit + 1e-9), math.ceil(max(values) * per_unit - 1e-9)
        if last - first <= _MOST_STEPS:
            break
    while last - first < 2:
        first, last = (first - 1, last) if first > 0 else (first, last + 1)
    digits = 1 if per_unit in (5, 10) else 2
    ticks = tuple((step / per_unit, f"{step / per_unit:.{digits}f}") for step in range(first, last + 1))
    return _Axis(first / per_unit, last / per_unit, ticks)


def _logarithmic(values: Sequence[float]) -> _Axis:
    """Return the axis of the decimal logarithms of ``values`` with some room, ticks at 1, 2 and 5, or at 1 alone."""
    low, high = math.log10(min(values)) - 0.12, math.log10(max(values)) + 0.12
    room = max(0.0, 0.9 - (high - low)) / 2
    low, high = low - room, high + room
    decades = range(math.floor(low), math.ceil(high) + 1)
    for digits, every in (((1, 2, 5), 1), ((1,), 1), ((1,), 2), ((1,), 3)):
        found = [(power + math.log10(digit), digit, power) for power in decades[::every] for digit in digits]
        ticks = [(at, _round_number(digit, power)) for at, digit, power in found if low <= at <= high]
        if len(ticks) <= _MOST_TICKS:
            break
    return _Axis(low, high, tuple(ticks))


def _round_number(digit: int, power: int) -> str:
    """Return ``digit`` × 10^``power`` in few characters."""
    for unit, from_power in (("G", 9), ("M", 6), ("k", 4)):
        if power >= from_power:
            return f"{digit * 10 ** (power - (3 if unit == 'k' else from_power)):,}{unit}"
    return f"{digit * 10**power:,}" if power >= 0 else f"{digit / 10**-power:.{-power}f}"


def _across(axis: _Axis, value: float) -> float:
    return round(LEFT + axis.share(value) * (WIDTH - LEFT - RIGHT), 1)


def _down(axis: _Axis, value: float) -> float:
    return round(TOP + (1 - axis.share(value)) * (HEIGHT - TOP - BOTTOM), 1)


def _point(row: Row, value: float, kind: Kind, unit: str, x_axis: _Axis, y_axis: _Axis) -> Point:
    part, name = row.result.parts["all"], row.title
    if len(name) > NAME_LENGTH:
        name = f"{name[: NAME_LENGTH - 1].rstrip()}…"
    x, y = _across(x_axis, value if kind == "isc" else math.log10(value)), _down(y_axis, part.micro_ap)
    shown = (
        text.count(int(value)) if kind == "bytes" else text.significant(value) if kind == "ms" else text.score(value)
    )
    ends = part.micro_ap_interval
    if kind == "isc":
        whisker: tuple[float, float] | None = (_down(y_axis, value), y)
    else:
        whisker = ends and (_down(y_axis, ends[1]), _down(y_axis, ends[0]))
    said = f"{name}: µAP {text.score(part.micro_ap)}, {shown} {unit}"
    return Point(row, value, name, said, shown, x, y, whisker)


# --- The Pareto line ---


def _with_front(points: Sequence[Point], kind: Kind) -> list[Point]:
    """Return ``points``, those marked that no other one dominates: as good in both, better in one."""

    def cost_and_loss(point: Point) -> tuple[float, float]:
        return (-point.value if kind == "isc" else point.value), -point.row.result.parts["all"].micro_ap

    front: set[tuple[float, float]] = set()
    least = math.inf
    for cost, loss in sorted(map(cost_and_loss, points)):
        if loss < least:
            least = loss
            front.add((cost, loss))
    return [replace(point, front=cost_and_loss(point) in front) for point in points]


def _stairs(front: Sequence[Point]) -> list[tuple[float, float]]:
    """Return the corners of the line that says which µAP a budget buys, from its cheapest point to the right edge."""
    ordered = sorted({(point.x, point.y) for point in front}, key=lambda corner: (corner[0], -corner[1]))
    corners = [ordered[0]]
    for x, y in ordered[1:]:
        corners += [(x, corners[-1][1]), (x, y)]
    corners.append((WIDTH - RIGHT, corners[-1][1]))
    return [corner for before, corner in pairwise([None, *corners]) if corner is not None and corner != before]


def _diagonal() -> list[tuple[float, float]]:
    return [(LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, TOP)]


# --- Labels ---


def _labels(points: Sequence[Point], *, crowded: bool) -> dict[int, Label]:
    """Return labels by place of their point, the first ones to be placed first: the best, the Pareto line, by rank.

    A label never lies on a point or on another label; it may cross a line, which stays readable under it.
    """
    order = sorted(range(len(points)), key=lambda place: (place != 0 and not points[place].front, place))
    if crowded:
        order = [place for place in order if place == 0 or points[place].front][:MOST_LABELS]
    dots = sorted({(point.x, point.y) for point in points})
    placed: dict[int, Label] = {}
    taken: list[Box] = []
    for place, name in zip(order, _short([points[place].row.title for place in order]), strict=True):
        x, y = points[place].x, points[place].y
        others = [dot for dot in dots if dot != (x, y) and abs(dot[1] - y) < 3 * FONT]  # no label reaches further
        free = [
            (_dots_in(box, 2 * RADIUS + 2, others), label, box)
            for label, box in _candidates(x, y, name)
            if _inside(box)
            and not any(_overlap(box, other) for other in taken)
            and not _dots_in(box, RADIUS + 2, others)
        ]
        if free:
            _, placed[place], box = min(free, key=lambda found: found[0])
            taken.append(box)
    return placed


def _candidates(x: float, y: float, name: str) -> Iterator[tuple[Label, Box]]:
    """Yield a label on each side of a point, preferred ones first, and the box it fills."""
    width = 0.68 * FONT * _letters(name)  # about, in one of the wider typefaces: what readers have differs
    sides: tuple[tuple[float, float, Literal["start", "middle", "end"]], ...] = (
        (8, 4, "start"),
        (-8, 4, "end"),
        (0, -9, "middle"),
        (0, 17, "middle"),
        (5, -7, "start"),
        (5, 15, "start"),
        (-5, -7, "end"),
        (-5, 15, "end"),
    )
    for dx, dy, anchor in sides:
        at, base = round(x + dx, 1), round(y + dy, 1)
        start = at - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        yield Label(at, base, anchor, name), (start, base - 0.8 * FONT, start + width, base + 0.25 * FONT)


def _dots_in(box: Box, margin: float, dots: Sequence[tuple[float, float]]) -> int:
    """Return how many ``dots`` lie in ``box`` or less than ``margin`` from it."""
    left, top, right, bottom = box[0] - margin, box[1] - margin, box[2] + margin, box[3] + margin
    return sum(left < x < right and top < y < bottom for x, y in dots)


def _inside(box: Box) -> bool:
    return box[0] >= LEFT + 2 and box[1] >= 2 and box[2] <= WIDTH - 2 and box[3] <= HEIGHT - BOTTOM


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] + 1 and b[0] < a[2] + 1 and a[1] < b[3] and b[1] < a[3]


def _short(names: Sequence[str]) -> list[str]:
    """Return ``names`` cut at their end, or in the middle where two would become one."""
    cut = [_head(name, LABEL_LENGTH) for name in names]
    half = LABEL_LENGTH // 2
    return [
        short
        if short == name or cut.count(short) == 1
        else f"{_head(name, half)}{_head(name[::-1], half)[-2::-1].lstrip()}"
        for name, short in zip(names, cut, strict=True)
    ]


def _head(name: str, most: int) -> str:
    """Return ``name``, with an ellipsis for what is beyond ``most`` letters."""
    if _letters(name) <= most:
        return name
    end = next(end for end in range(len(name), -1, -1) if _letters(name[:end]) < most)
    return f"{name[:end].rstrip()}…"


def _letters(name: str) -> int:
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in name
    )
