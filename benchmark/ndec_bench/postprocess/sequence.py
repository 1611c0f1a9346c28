"""Steps in order: read from text, checked to fit together, and what files say of the steps they went through."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, get_args

from pydantic import Field, TypeAdapter

from ndec_bench.descriptors.submission import INDEPENDENT_ATTRIBUTE
from ndec_bench.errors import SubmissionError, UsageError
from ndec_bench.postprocess.linear import L2, Centre, Concat, Mean, Pca
from ndec_bench.postprocess.neighbours import ScoreNorm, Shift, Stretch, Subtract
from ndec_bench.postprocess.quantised import Int8, Pq, Sign
from ndec_bench.postprocess.step import SEPARATOR, Change, Fusion, usage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from ndec_bench.postprocess.step import Step
    from ndec_bench.protocol import Metric

AnyStep = L2 | Centre | Pca | ScoreNorm | Stretch | Subtract | Shift | Sign | Int8 | Pq | Mean | Concat
"""A new step is a subclass of `Change` or `Fusion`, and one name here."""
STEPS: Mapping[str, type[Step]] = {kind.model_fields["name"].default: kind for kind in get_args(AnyStep)}
_STEP: TypeAdapter[AnyStep] = TypeAdapter(Annotated[AnyStep, Field(discriminator="name")])

STEPS_ATTRIBUTE = "steps"
BACKGROUND_ATTRIBUTE = "background_sha256"
_WHOLE = re.compile(r"[0-9]{1,18}")
_NUMBER = re.compile(r"(?=\.?[0-9])[0-9]*\.?[0-9]*(e[+-]?[0-9]+)?")


def parse_step(text: str) -> Step:
    """Return the step that ``text`` says: ``NAME`` or ``NAME:key=value,key=value``; ``str`` of it writes it in full.

    Raises
    ------
    UsageError
        If the name, a key or a value is unknown, a key appears twice or one that is needed is missing. The message says
        what is known.
    """
    name, colon, rest = text.strip().partition(":")
    if name not in STEPS:
        raise UsageError(f"step {name[:80]!r} is unknown", hint=f"known: {', '.join(map(usage, STEPS.values()))}")
    values: dict[str, object] = {}
    for part in rest.split(",") if colon else []:
        key, equals, value = part.partition("=")
        if not equals or key == "name":
            raise UsageError(f"step {name}: {part[:80]!r} is not key=value", hint=f"it is written {usage(STEPS[name])}")
        if key in values:
            raise UsageError(f"step {name}: {key[:80]!r} appears twice", hint="give each parameter once")
        values[key] = _value(value)
    return _STEP.validate_python({"name": name, **values})


def _value(text: str) -> object:
    """Return the value that ``text`` stands for, itself where it is neither a number nor yes or no."""
    if text in ("yes", "no"):
        return text == "yes"
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


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


@dataclass(frozen=True)
class StepSequence:
    """Steps in order, those on each file before a fusion apart from those on what it made.

    Attributes
    ----------
    before
        Steps on each of the files that are fused; none without a fusion.
    fusion
        The fusion, if there is one.
    after
        All other steps.
    """

    before: tuple[Change, ...]
    fusion: Fusion | None
    after: tuple[Change, ...]

    @property
    def up_to_fusion(self) -> tuple[Step, ...]:
        """Return the steps up to the fusion, itself included; none without one."""
        return () if self.fusion is None else (*self.before, self.fusion)

    @property
    def steps(self) -> tuple[Step, ...]:
        """Return all steps in order."""
        return (*self.up_to_fusion, *self.after)


def in_sequence(steps: Sequence[Step], *, fusing: bool, unranked: bool) -> StepSequence:
    """Return ``steps`` as they are applied.

    Parameters
    ----------
    steps
        In order.
    fusing
        Further files of the same images are given.
    unranked
        Steps may look at other queries.

    Raises
    ------
    UsageError
        If there is none; one that must be last is not; a fusion has no further files, appears twice, or follows a step
        that would be fitted on each file; or a step looks at other queries and may not.
    """
    if not steps:
        raise UsageError("no step", hint=f"known: {', '.join(STEPS)}")
    for step in steps[:-1]:
        if step.final:
            raise UsageError(
                f"step {step.name} must be last", hint="put it last: what follows would change what it has set"
            )
    if looks_at_queries(steps) and not unranked:
        names = ", ".join(str(step) for step in steps if looks_at_queries([step]))
        raise UsageError(
            f"{names}: the vector of a query would depend on other queries, which the ranked track does not allow",
            hint="fit on the background, or give --unranked for results outside the ranking",
        )
    fusions = [(place, step) for place, step in enumerate(steps) if isinstance(step, Fusion)]
    if fusing and not fusions:
        raise UsageError("further files, and no step that fuses them", hint="add --step mean or --step concat")
    if not fusions:
        return StepSequence((), None, tuple(step for step in steps if isinstance(step, Change)))
    place, fusion = fusions[0]
    if not fusing:
        raise UsageError(f"step {fusion.name} has nothing to fuse", hint="give the further files, --with FILE")
    if len(fusions) > 1:
        raise UsageError(
            f"step {fusions[1][1].name} after {fusion.name}: there is one set of further files",
            hint="fuse once, or in a command of its own",
        )
    for step in steps[:place]:
        if step.fitted_on or step.per_side:
            raise UsageError(
                f"step {step.name} comes before {fusion.name} and would be fitted on each file",
                hint="apply it to each file in a command of its own, then fuse",
            )
    before = tuple(step for step in steps[:place] if isinstance(step, Change))
    return StepSequence(before, fusion, tuple(step for step in steps[place:] if isinstance(step, Change)))


def check_going_on(path: Path, attributes: Mapping[str, str]) -> None:
    """Raise SubmissionError if the file ``path`` has gone through a step after which none may follow."""
    name = attributes.get(STEPS_ATTRIBUTE, "").rpartition(SEPARATOR)[2].partition(":")[0]
    if name in STEPS and STEPS[name].final:
        raise SubmissionError(
            f"{path}: its steps end in {name}, after which no step may follow", hint="go on from the file before it"
        )


def with_steps(attributes: Mapping[str, str], steps: Sequence[Step]) -> dict[str, str]:
    """Return ``attributes`` with ``steps`` added to those that it has."""
    before = attributes.get(STEPS_ATTRIBUTE)
    texts = SEPARATOR.join([*([before] if before else []), *map(str, steps)])
    return {**attributes, STEPS_ATTRIBUTE: texts} if texts else dict(attributes)


def after(
    attributes: Mapping[str, str], steps: Sequence[Step], *, metric: Metric, fitted: str | None
) -> dict[str, str]:
    """Return the attributes to write after ``steps``.

    ``fitted`` is the digest of the file whose background steps were fitted on, None if none was; the digests of
    several commands are joined by ``" | "``, each once.
    """
    texts = {**with_steps(attributes, steps), "metric": metric}
    if fitted is not None:
        known = attributes.get(BACKGROUND_ATTRIBUTE, "").split(SEPARATOR)
        texts[BACKGROUND_ATTRIBUTE] = SEPARATOR.join(dict.fromkeys([*filter(None, known), fitted]))
    if looks_at_queries(steps):
        texts[INDEPENDENT_ATTRIBUTE] = "no"
    return texts
