"""Command and submission card of a run, and the published numbers it is compared with."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ndec_baselines.registry import card
from ndec_bench.errors import UsageError
from ndec_bench.postprocess import needs_background
from ndec_bench.results.differences import measured_in, verdict
from ndec_bench.submissions import card as submission_card

if TYPE_CHECKING:
    from ndec_baselines.base import Expected, ModelCard
    from ndec_baselines.running import Runner, RunOptions
    from ndec_bench.data.split import Split
    from ndec_bench.results.differences import Verdict
    from ndec_bench.results.record import Result


def command_of(baseline: str, split: str, options: RunOptions) -> str:
    """Return the command line that makes the same result; `ndec_baselines.again` reads it."""
    words = ["ndec-bench", "run", baseline, "--split", split]
    words += ["--name", options.name] if options.name else []
    for step in options.steps or ():
        words += ["--step", step]
    words += ["--no-steps"] if options.steps == () else []
    words += ["--asymmetric", options.asymmetric] if options.asymmetric != "none" else []
    words += ["--check"] if options.check else []
    return shlex.join(words)


def submission_of(runner: Runner, split: Split) -> submission_card.SubmissionCard:
    """Return what ``submission.toml`` says, but for the file and who checked it."""
    about, steps = runner.loaded.card, runner.steps
    after = f" Then, as ndec-bench postprocess does it: {', '.join(steps)}." if steps else ""
    declared = declarations_of(about)
    if about.background or needs_background(steps):
        background = "other" if split.folder is not None else "disc21-train"
        declared = declared.model_copy(update={"background": background})
    return submission_card.SubmissionCard(
        name=runner.name,
        split=split.name,
        track=about.track,
        authors=["The ndec-bench developers"],
        method=submission_card.Method(
            title=_title(about, steps, runner.options.asymmetric),
            description=f"{about.description}{after}",
            paper=about.paper,
            code_licence=about.code_licence,
            weights_licence=about.weights.licence if about.weights else None,
            commercial_use=about.weights.commercial_use if about.weights else "yes",
        ),
        declarations=declared,
    )


def _title(about: ModelCard, steps: tuple[str, ...], asymmetric: str) -> str:
    """Return the title of a row: two rows of one baseline with other steps or rules must not look the same."""
    after = "" if asymmetric == "none" else f", asymmetric {asymmetric}"
    if steps == about.steps:
        return about.title + after
    if not steps:
        return f"{about.title}, plain{after}"
    return f"{about.title} + {', '.join(step.partition(':')[0] for step in steps)}{after}"


def declarations_of(about: ModelCard) -> submission_card.Declarations:
    """Return what a baseline declares, before any steps."""
    weights = about.weights
    trained = f"Trained on: {weights.trained_on}." if weights else ""
    selected = f"Selected on: {about.selection}." if about.selection else ""
    return submission_card.Declarations(
        labels_used=list(weights.labels_used) if weights else ["none"],
        train_images=list(weights.train_images) if weights else ["none"],
        reference_images_in_training=weights.reference_images_in_training if weights else "none",
        ndec_pairs=weights.ndec_pairs if weights else "no",
        background="none",
        external_data=weights.external_data if weights else "no",
        query_independent=about.query_independent,
        selected_on=list(about.selected_on),
        details=f"{trained} {selected}".strip(),
    )


def published(baseline: str, split: str, options: RunOptions) -> list[Expected]:
    """Return the published numbers of ``baseline`` on ``split`` after the steps that are chosen.

    Raises
    ------
    UsageError
        If there are none.
    """
    about = card(baseline)
    if options.asymmetric != "none":
        raise UsageError(
            f"--asymmetric {options.asymmetric} and --check contradict each other: published numbers are without a "
            "rule",
            hint="give one of them",
        )
    steps, has_detections = about.steps if options.steps is None else options.steps, options.detections is not None
    found = [
        one
        for one in about.expected
        if (one.split, one.score_norm, one.detections) == (split, "none", has_detections)
        and steps == (about.steps if one.steps is None else one.steps)
    ]
    if not found:
        known = sorted({one.split for one in about.expected})
        cut = ", with detections" if any(one.detections for one in about.expected) and not has_detections else ""
        where = f"known on {', '.join(known)}, after their own steps{cut}" if known else "none is known anywhere"
        raise UsageError(
            f"--check: no published number of {about.name} on {split} after the steps {' '.join(steps) or 'none'}",
            hint=f"{where}; leave --check out",
        )
    return found


def against_published(
    baseline: str, result: Result, options: RunOptions
) -> list[tuple[Expected, float | None, Verdict]]:
    """Return each published number with the measured one (None: never reached) and how they compare.

    Raises UsageError as `published`.
    """
    pairs = [(one, measured_in(result, one.metric, one.protocol)) for one in published(baseline, result.split, options)]
    return [(one, found, verdict(one.value, found)) for one, found in pairs]
