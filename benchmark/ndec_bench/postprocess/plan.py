"""Which steps may stand together, and in what order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ndec_bench.errors import UsageError
from ndec_bench.postprocess.registry import STEPS, looks_at_queries
from ndec_bench.postprocess.step import Change, Fusion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_bench.postprocess.step import Step


@dataclass(frozen=True)
class Plan:
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


def planned(steps: Sequence[Step], *, fusing: bool, unranked: bool) -> Plan:
    """Return the plan of ``steps``.

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
        If there is none; one that must be last is not; a fusion stands without further files, twice, or behind a step
        that would be fitted on each file; or a step looks at other queries and may not.
    """
    if not steps:
        raise UsageError("no step", hint=f"known: {', '.join(STEPS)}")
    for step in steps[:-1]:
        if step.final:
            raise UsageError(
                f"step {step.name} stands before others", hint="put it last: what follows would change what it has set"
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
        return Plan((), None, tuple(step for step in steps if isinstance(step, Change)))
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
                f"step {step.name} stands before {fusion.name} and would be fitted on each file",
                hint="apply it to each file in a command of its own, then fuse",
            )
    before = tuple(step for step in steps[:place] if isinstance(step, Change))
    return Plan(before, fusion, tuple(step for step in steps[place:] if isinstance(step, Change)))
