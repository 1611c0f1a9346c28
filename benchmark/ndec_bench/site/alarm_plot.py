"""The chart of alarms against the number of references, as an SVG file of its own."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import jinja2

from ndec_bench.site.charts import BOTTOM, HEIGHT, RIGHT, TOP, WIDTH, Tick, y_of

if TYPE_CHECKING:
    from ndec_bench.deciding.alarms import Alarms
    from ndec_bench.deciding.decision import Decision

_NAMES = {
    "without_match": "queries without a match",
    "plain_distractor": "plain distractors",
    "hard_negative": "hard negatives",
}
_DECADES = 4
_LEFT = 60


def alarm_plot(decision: Decision) -> str:
    """Return the chart of ``decision.curve`` as SVG: both axes by powers of ten, bounds of extrapolated rates as areas.

    Rates below a ten-thousandth are drawn at the bottom.
    """
    sizes = sorted({one.references for one in decision.curve})
    low, high = (math.log10(sizes[0]), math.log10(sizes[-1])) if sizes else (0.0, 1.0)

    def x_of(references: int) -> float:
        return round(_LEFT + (math.log10(references) - low) / max(high - low, 1e-9) * (WIDTH - _LEFT - RIGHT), 1)

    def point(references: int, rate: float) -> str:
        height = 1.0 + math.log10(max(rate, 10.0**-_DECADES)) / _DECADES
        return f"{x_of(references):g} {y_of(height):g}"

    def line(alarms: list[Alarms]) -> str:
        return "M" + "L".join(point(one.references, one.rate) for one in alarms if one.rate is not None)

    def area(alarms: list[Alarms]) -> str:
        there = [point(one.references, one.upper) for one in alarms]
        back = [point(one.references, one.lower) for one in reversed(alarms)]
        return "M" + "L".join(there + back) + "Z"

    groups = {name: [one for one in decision.curve if one.group == name] for name in _NAMES}
    series = [
        {"name": _NAMES[name], "kind": name, "line": line(alarms), "area": area(alarms)}
        for name, alarms in groups.items()
        if alarms
    ]
    decades = range(math.ceil(low), math.floor(high) + 1)
    return (
        _environment()
        .get_template("alarms.svg.j2")
        .render(
            rule=decision.unit.rule(decision.points[0].score),
            split=decision.split,
            series=series,
            measured=None if decision.references is None or not sizes else x_of(min(decision.references, sizes[-1])),
            x_ticks=[Tick(x_of(10**power), f"{10**power:,}") for power in decades],
            y_ticks=[Tick(y_of(step / _DECADES), f"{10.0 ** (step - _DECADES):g}") for step in range(_DECADES + 1)],
            width=WIDTH,
            height=HEIGHT,
            left=_LEFT,
            right=WIDTH - RIGHT,
            top=TOP,
            bottom=HEIGHT - BOTTOM,
        )
    )


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("ndec_bench.site"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
