"""The steps by name, and the reading of a step as it is written."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import TYPE_CHECKING

from ndec_bench.errors import UsageError
from ndec_bench.postprocess.fusion import Concat, Mean
from ndec_bench.postprocess.linear import L2, Centre, Pca
from ndec_bench.postprocess.neighbours import ScoreNorm, Shift, Stretch, Subtract
from ndec_bench.postprocess.step import usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ndec_bench.postprocess.step import Step

STEPS: Mapping[str, type[Step]] = {
    step.name: step for step in (L2, Centre, Pca, ScoreNorm, Stretch, Subtract, Shift, Mean, Concat)
}
"""A new step is a frozen subclass of `Change` or `Fusion`, and one name here."""


def parse_step(text: str) -> Step:
    """Return the step that ``text`` says: ``NAME`` or ``NAME:key=value,key=value``; ``str`` of it writes it in full.

    Raises
    ------
    UsageError
        If the name, a key or a value is unknown, a key stands twice or one that is needed is missing. The message says
        what is known.
    """
    name, colon, rest = text.strip().partition(":")
    if name not in STEPS:
        raise UsageError(f"step {name[:80]!r} is unknown", hint=f"known: {', '.join(map(usage, STEPS.values()))}")
    kind = STEPS[name]
    kinds = kind.kinds()
    values: dict[str, object] = {}
    for part in rest.split(",") if colon else []:
        key, equals, value = part.partition("=")
        if not equals or key not in kinds:
            known = f"known: {', '.join(kinds)}" if kinds else "it has no parameters"
            raise UsageError(f"step {name}: {part[:80]!r} is no key=value of it; {known}", hint=_written(kind))
        if key in values:
            raise UsageError(f"step {name}: {key} stands twice", hint="give each parameter once")
        try:
            values[key] = kinds[key].parse(value)
        except ValueError:
            expected = kinds[key].words
            raise UsageError(
                f"step {name}: {key} is {value[:80]!r}, expected {expected}", hint=_written(kind)
            ) from None
    missing = [item.name for item in fields(kind) if item.default is MISSING and item.name not in values]
    if missing:
        raise UsageError(f"step {name} needs {', '.join(missing)}", hint=_written(kind))
    return kind(**values)


def parse_steps(steps: Iterable[Step | str]) -> tuple[Step, ...]:
    """Return ``steps`` with those that are text read by `parse_step`. Raises UsageError."""
    return tuple(parse_step(step) if isinstance(step, str) else step for step in steps)


def needs_background(steps: Iterable[Step | str]) -> bool:
    """Return whether one of ``steps`` is fitted on background images. Raises UsageError as `parse_step`."""
    return any("background" in step.fitted_on for step in parse_steps(steps))


def looks_at_queries(steps: Iterable[Step | str]) -> bool:
    """Return whether after ``steps`` the vector of a query depends on other queries; such results are not ranked.

    Raises UsageError as `parse_step`.
    """
    return any("query" in step.fitted_on for step in parse_steps(steps))


def _written(kind: type[Step]) -> str:
    return f"it is written {usage(kind)}"
