"""Decisions: operating points of one list with what is needed to use them, as records, JSON and tables."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ndec_bench.deciding.alarms import alarm_curve
from ndec_bench.deciding.evidence import evidence
from ndec_bench.deciding.floods import floods
from ndec_bench.deciding.point import WITHOUT_MATCH, Goal, operating_point
from ndec_bench.deciding.unit import unit_of
from ndec_bench.descriptors import read_attributes, sha256_of_file
from ndec_bench.descriptors.packing import recipe_of
from ndec_bench.errors import UsageError
from ndec_bench.results.record import Signature

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_bench.data.split import Split
    from ndec_bench.deciding.alarms import Alarms
    from ndec_bench.deciding.floods import Flood
    from ndec_bench.deciding.point import OperatingPoint
    from ndec_bench.deciding.unit import Unit
    from ndec_bench.matches import Matches
    from ndec_bench.results.record import Result

_USEFUL = (
    *(Goal("min_recall", recall) for recall in (0.5, 0.7, 0.9)),
    *(Goal("max_alarms", budget) for budget in (0.1, 0.01, 0.001)),
)


@dataclass(frozen=True)
class Decision:
    """Operating points of one list on one split.

    Attributes
    ----------
    split, ground_truth_sha256, matches_sha256
        What they were chosen on.
    name, baseline, metric, dimensions
        Of the result that came with the list; None without one, or where it does not say.
    recipe
        Attributes of the submission file that say how it was made; None where it was not given.
    unit
        In which thresholds are shown.
    references
        How many were searched; None if unknown.
    points
        One for the goal that was asked for; otherwise the useful ones that the data can certify.
    out_of_reach
        By goal, why there is no point.
    curve, floods
        At the point that was asked for; empty otherwise.
    notes
        What a reader should know, in sentences.
    """

    split: str
    ground_truth_sha256: str
    matches_sha256: str
    name: str | None
    baseline: str | None
    metric: str | None
    dimensions: int | None
    recipe: dict[str, str] | None
    unit: Unit
    references: int | None
    points: list[OperatingPoint]
    out_of_reach: dict[str, str]
    curve: list[Alarms]
    floods: list[Flood]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return the decision as JSON values; each point has its ``threshold`` in the unit and its ``rule``."""
        content = {"schema_version": 1, **asdict(self), "unit": self.unit.name}
        content["points"] = [
            {**asdict(point), "threshold": self.unit.of(point.score), "rule": self.unit.rule(point.score)}
            for point in self.points
        ]
        return content


def decide(
    matches: Matches,
    split: Split,
    goal: Goal | None = None,
    *,
    result: Result | None = None,
    submission: Path | None = None,
    references: int | None = None,
    complete: bool = False,
    where: str = "pairs",
) -> Decision:
    """Return the operating point for ``goal``, or without one useful points: recalls and budgets of alarms.

    Parameters
    ----------
    matches, split
        Scored pairs and the truth about them.
    goal
        What the threshold has to reach.
    result
        The result of the same list; it names the metric.
    submission
        The file that was scored; its recipe is recorded.
    references
        How many were searched, for a split that does not know.
    complete
        As in `ndec_bench.deciding.alarms.alarm_curve`.
    where
        What messages call the list.

    Raises
    ------
    SubmissionError
        If pairs do not fit the split.
    UsageError
        If the goal is out of reach, ``result`` is of another split, or ``submission`` is not what it scored.
    """
    if result is not None and result.digests.ground_truth != split.truth.sha256:
        raise UsageError(
            f"the result {result.name} is of split {result.split}, the list is compared with {split.name}: their "
            "ground truths differ",
            hint="give the result of this list",
        )
    recipe = None if submission is None else _recipe(submission, result)
    seen = evidence(matches, split, where=where)
    known = seen.references if result is None else result.references
    if references is not None and known not in (None, references):
        raise UsageError(f"{references:,} references, but {known:,} were searched", hint="leave --references out")
    known = references if known is None else known
    digest = matches.sorted().sha256
    points, out_of_reach = [], {}
    for one in [goal] if goal is not None else _USEFUL:
        try:
            points.append(operating_point(seen, one))
        except UsageError as error:
            if goal is not None:
                raise
            out_of_reach[str(one)] = str(error)
    curve: list[Alarms] = []
    worst: list[Flood] = []
    notes = list(seen.notes)
    if result is not None and result.predictions_sha256 != digest:
        notes.append(f"the list is not that of the result {result.name}: its pairs have another digest")
    if goal is not None:
        score = points[0].score
        worst = floods(seen, score)
        try:
            # Bounds of a single threshold hold where these alarms had no part in its choice.
            chosen = goal.kind in ("max_alarms", "min_precision")
            curve = alarm_curve(seen, score, references=known, complete=complete, chosen=chosen)
        except UsageError as error:
            notes.append(f"no alarms against the number of references: {error.message}")
    if seen.groups[WITHOUT_MATCH].sum() == 0:
        notes.append("every query has a match: alarms of queries without one are unknown")
    describing = None if result is None else result.describing
    return Decision(
        split=split.name,
        ground_truth_sha256=split.truth.sha256,
        matches_sha256=digest,
        name=None if result is None else result.name,
        baseline=None if describing is None else describing.baseline,
        metric=None if result is None else result.metric,
        dimensions=None if result is None else result.dimensions,
        recipe=recipe,
        unit=unit_of(None if result is None else _plain_metric(result), seen.scores),
        references=known,
        points=points,
        out_of_reach=out_of_reach,
        curve=curve,
        floods=worst,
        notes=notes,
    )


def _recipe(submission: Path, result: Result | None) -> dict[str, str]:
    """Return the recipe in the file that ``result`` scored. Raises UsageError if it is another."""
    if result is None or result.digests.submission != sha256_of_file(submission):
        raise UsageError(
            f"{submission} is not the file of the result" if result else "--submission needs the result of that file",
            hint="give the RESULT.json and the file that it scored",
        )
    return recipe_of(read_attributes(submission))


def _plain_metric(result: Result) -> str | None:
    """Return the metric of ``result``; None where a rule or a normalisation moves scores away from it."""
    moved = result.asymmetric.startswith(("hinge", "tilt")) or Signature.parse(result.signature).score_norm != "none"
    return None if moved else result.metric


def text_of(decision: Decision) -> str:
    """Return ``decision`` as the text of a JSON file."""
    return json.dumps(decision.to_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
