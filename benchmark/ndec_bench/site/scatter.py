"""Geometry of the scatter charts of a board: µAP against what a method costs, and against µAP without hard negatives.

As in `ndec_bench.site.charts`, numbers become coordinates here; templates draw them.
"""

from __future__ import annotations

import math
import unicodedata
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import accumulate, pairwise, takewhile
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
LABEL_WIDTHS = (150.0, 95.0)
"""How wide a name may be; the second is tried where the first has no room, for names on the Pareto line alone."""
BOLD = 1.12
"""How much wider the names on the Pareto line are set."""
NAME_LENGTH = 60

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
    name: str
    said: str
    shown: str
    x: float
    y: float
    whisker: tuple[float, float] | None
    front: bool
    label: Label | None


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
        Rows that lack the value.
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


@dataclass(frozen=True)
class _Spot:
    """A row with its values and, later, its coordinates."""

    row: Row
    value: float
    x: float
    y: float
    whisker: tuple[float, float] | None


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
    spots = [_spot(row, value, kind, x_axis, y_axis) for row, value in drawn]
    front = _front(spots, kind)
    crowded = len(spots) >= CROWD
    line = _diagonal() if kind == "isc" else _stairs([spots[place] for place in sorted(front)])
    labels = _labels(spots, front, _line_boxes(line), crowded=crowded)
    points = [
        _point(spot, unit, _shown(spot.value, kind), place in front, labels.get(place), crowded)
        for place, spot in enumerate(spots)
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


def _spot(row: Row, value: float, kind: Kind, x_axis: _Axis, y_axis: _Axis) -> _Spot:
    part = row.result.parts["all"]
    x = _across(x_axis, value if kind == "isc" else math.log10(value))
    y = _down(y_axis, part.micro_ap)
    if kind == "isc":
        return _Spot(row, value, x, y, (_down(y_axis, value), y))
    ends = part.micro_ap_interval
    return _Spot(row, value, x, y, ends and (_down(y_axis, ends[1]), _down(y_axis, ends[0])))


# --- The Pareto line ---


def _front(spots: Sequence[_Spot], kind: Kind) -> set[int]:
    """Return the places of the spots that no other one dominates: as good in both, better in one."""

    def cost_and_loss(place: int) -> tuple[float, float]:
        value = spots[place].value
        return (-value if kind == "isc" else value), -spots[place].row.result.parts["all"].micro_ap

    front: set[int] = set()
    best: tuple[float, float] | None = None
    for place in sorted(range(len(spots)), key=cost_and_loss):
        cost, loss = cost_and_loss(place)
        if best is None or loss < best[1] or (cost, loss) == best:
            best = (cost, loss)
            front.add(place)
    return front


def _stairs(front: Sequence[_Spot]) -> list[tuple[float, float]]:
    """Return the corners of the line that says which µAP a budget buys, from its cheapest point to the right edge."""
    ordered = sorted({(spot.x, spot.y) for spot in front}, key=lambda corner: (corner[0], -corner[1]))
    corners = [ordered[0]]
    for x, y in ordered[1:]:
        corners += [(x, corners[-1][1]), (x, y)]
    corners.append((WIDTH - RIGHT, corners[-1][1]))
    return [corner for before, corner in pairwise([None, *corners]) if corner is not None and corner != before]


def _diagonal() -> list[tuple[float, float]]:
    return [(LEFT, HEIGHT - BOTTOM), (WIDTH - RIGHT, TOP)]


def _line_boxes(corners: Sequence[tuple[float, float]]) -> list[Box]:
    """Return boxes that cover a line, many small ones where it is slanted."""
    boxes: list[Box] = []
    for (x0, y0), (x1, y1) in pairwise(corners):
        pieces = 1 if x0 == x1 or y0 == y1 else 40
        xs = [x0 + (x1 - x0) * step / pieces for step in range(pieces + 1)]
        ys = [y0 + (y1 - y0) * step / pieces for step in range(pieces + 1)]
        boxes += [
            (min(a, b), min(c, d), max(a, b), max(c, d))
            for (a, b), (c, d) in zip(pairwise(xs), pairwise(ys), strict=True)
        ]
    return boxes


# --- Points and their labels ---


def _point(spot: _Spot, unit: str, shown: str, front: bool, label: Label | None, crowded: bool) -> Point:
    title = spot.row.title
    name = title if len(title) <= NAME_LENGTH else f"{title[: NAME_LENGTH - 1].rstrip()}…"
    score = text.score(spot.row.result.parts["all"].micro_ap)
    whisker = None if crowded and label is None else spot.whisker
    return Point(spot.row, name, f"{name}: µAP {score}, {shown} {unit}", shown, spot.x, spot.y, whisker, front, label)


def _shown(value: float, kind: Kind) -> str:
    if kind == "bytes":
        return text.count(int(value))
    return text.significant(value) if kind == "ms" else text.score(value)


def _labels(spots: Sequence[_Spot], front: set[int], line: Sequence[Box], *, crowded: bool) -> dict[int, Label]:
    """Return labels by place of their spot, the first ones to be placed first: the best, the Pareto line, by rank.

    A label never lies on a point or on another label, and where there is a choice not on a line. The same spots give
    the same labels.
    """
    order = sorted(range(len(spots)), key=lambda place: (place != 0 and place not in front, place))
    wanted = [place for place in order if place == 0 or place in front][:MOST_LABELS] if crowded else order
    dots = _Dots(spots)
    lines = [*line, *(_whisker_box(spots[place]) for place in wanted if spots[place].whisker)]
    names = [_short([spots[place].row.title for place in wanted], width) for width in LABEL_WIDTHS]
    placed: dict[int, Label] = {}
    taken: list[Box] = []
    for place, *shorter in zip(wanted, *names, strict=True):
        bold = place in front
        found = _best_label(spots[place], shorter if bold else shorter[:1], bold, dots, taken, lines)
        if found is not None:
            placed[place], box = found
            taken.append(box)
    return placed


def _best_label(
    spot: _Spot, names: Sequence[str], bold: bool, dots: _Dots, taken: Sequence[Box], lines: Sequence[Box]
) -> tuple[Label, Box] | None:
    """Return the label that crosses fewest lines and might be read as the name of fewest other dots, and its box.

    The first of ``names`` that has room anywhere is taken.
    """
    for name in names:
        free = [
            (2 * sum(_overlap(box, line) for line in lines) + dots.within(box, 2 * RADIUS + 2, spot), label, box)
            for label, box in _candidates(spot, name, BOLD if bold else 1.0)
            if _inside(box)
            and not any(_overlap(box, other) for other in taken)
            and not dots.within(box, RADIUS + 2, spot)
        ]
        if free:
            return min(free, key=lambda found: found[0])[1:]
    return None


def _candidates(spot: _Spot, name: str, weight: float) -> Iterator[tuple[Label, Box]]:
    """Yield a label on each side of ``spot``, preferred ones first, and the box it fills."""
    width = weight * _width(name)
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
        x, y = round(spot.x + dx, 1), round(spot.y + dy, 1)
        start = x - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        yield Label(x, y, anchor, name), (start, y - 0.8 * FONT, start + width, y + 0.25 * FONT)


class _Dots:
    """The dots of a chart, found by place without asking all of them."""

    def __init__(self, spots: Sequence[_Spot]) -> None:
        self._places = sorted({(spot.x, spot.y) for spot in spots})
        self._xs = [x for x, _ in self._places]

    def within(self, box: Box, margin: float, own: _Spot) -> int:
        """Return how many dots other than that of ``own`` lie in ``box`` or less than ``margin`` from it."""
        first, last = bisect_right(self._xs, box[0] - margin), bisect_left(self._xs, box[2] + margin)
        return sum(
            box[1] - margin < y < box[3] + margin and (x, y) != (own.x, own.y) for x, y in self._places[first:last]
        )


def _whisker_box(spot: _Spot) -> Box:
    ends = spot.whisker or (spot.y, spot.y)
    return spot.x, min(ends), spot.x, max(ends)


def _inside(box: Box) -> bool:
    return box[0] >= LEFT + 2 and box[1] >= 2 and box[2] <= WIDTH - 2 and box[3] <= HEIGHT - BOTTOM


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] + 1 and b[0] < a[2] + 1 and a[1] < b[3] and b[1] < a[3]


def _short(names: Sequence[str], width: float) -> list[str]:
    """Return ``names``, none wider than ``width``: cut at the end, or in the middle where two would become one."""
    cut = [_cut(name, width) for name in names]
    return [
        short if cut.count(short) == 1 else _cut_in_the_middle(name, width)
        for name, short in zip(names, cut, strict=True)
    ]


def _cut(name: str, width: float) -> str:
    """Return ``name`` no wider than ``width``, cut behind a word if one ends in its second half."""
    if _width(name) <= width:
        return name
    kept = _head(name, width - _width("…"))
    whole = kept.rpartition(" ")[0]
    return f"{(whole if 2 * len(whole) > len(kept) else kept).rstrip(' ,;:+-(')}…"


def _cut_in_the_middle(name: str, width: float) -> str:
    if _width(name) <= width:
        return name
    half = (width - _width("…")) / 2
    return f"{_head(name, half).rstrip()}…{_head(name[::-1], half)[::-1].lstrip()}"


def _head(name: str, width: float) -> str:
    """Return as much of the beginning of ``name`` as ``width`` holds."""
    ends = accumulate(FONT * _advance(sign) for sign in name)
    return name[: sum(1 for _ in takewhile(lambda end: end <= width, ends))]


def _width(name: str) -> float:
    """Return about how wide ``name`` is set, in one of the wider typefaces: what readers have differs."""
    return FONT * sum(map(_advance, name))


def _advance(sign: str) -> float:
    if unicodedata.combining(sign):
        return 0.0
    if unicodedata.east_asian_width(sign) in "WF":
        return 1.05
    if sign in "iljtfrI.,:;'|!()[] ":
        return 0.38
    if sign in "mwMW@%—…":
        return 0.97
    return 0.72 if sign.isupper() else 0.62
