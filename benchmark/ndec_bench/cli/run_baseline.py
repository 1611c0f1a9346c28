"""``ndec-bench run``: a baseline through the whole line, from images to a scored submission."""

from __future__ import annotations

import re
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ndec_bench.cli import console
from ndec_bench.cli.root import Root
from ndec_bench.cli.rule import Asymmetric

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ndec_baselines.base import Card, ChooseBox, Expected
    from ndec_baselines.describing.boxes import Box
    from ndec_bench.data.images import ImageSource
    from ndec_bench.matches import Matches
    from ndec_bench.pipeline import Describe, Match, Method
    from ndec_bench.progress import Progress
    from ndec_bench.results.describing import Describing
    from ndec_bench.results.record import Result
    from ndec_bench.submissions.card import Declarations, SubmissionCard


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(run)


def run(
    baseline: Annotated[str, typer.Argument(help='Its name, see "ndec-bench baselines".', show_default=False)],
    split: Annotated[str, typer.Option(help="Name of the split to describe and score.")] = "ndec",
    out: Annotated[Path, typer.Option(help="Folder for descriptors, submission and result.")] = Path("ndec-runs"),
    root: Root = None,
    name: Annotated[str | None, typer.Option(help="Name of the submission (default: the baseline's).")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="File of trained weights, or folder of them.", show_default=False)
    ] = None,
    weights_sha256: Annotated[
        str | None, typer.Option(help="Digest of weights of your own, in place of the published one.")
    ] = None,
    step: Annotated[
        list[str] | None,
        typer.Option(help="Post-processing in place of the published one; may be repeated.", show_default=False),
    ] = None,
    no_steps: Annotated[bool, typer.Option("--no-steps", help="Leave the published post-processing out.")] = False,
    detections: Annotated[
        Path | None, typer.Option(help="CSV of detected overlays that queries are cut to, where the system does that.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[str, typer.Option(help="float32, float16 or bfloat16.")] = "float32",
    workers: Annotated[int | None, typer.Option(help="Threads.", min=1, show_default="one per core")] = None,
    keep_going: Annotated[bool, typer.Option("--keep-going", help="Leave broken images out and name them.")] = False,
    asymmetric: Asymmetric = "none",
    check: Annotated[bool, typer.Option("--check", help="Compare with the published number.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Take a baseline through the whole line: describe, post-process, pack, score."""
    import ndec_baselines
    from ndec_bench import pipeline
    from ndec_bench.cli.showing import show_result
    from ndec_bench.data.roots import data_root, find_split
    from ndec_bench.results.record import result_json
    from ndec_bench.scoring.score import Options

    card = ndec_baselines.card(baseline)
    target = find_split(split, data_root(root))
    steps = _steps(card, step, no_steps)
    expected = published_for(card, target.name, steps, detections=detections is not None) if check else []
    rule = _rule(card, asymmetric, check=check)
    method = method_of(
        baseline,
        target.name,
        name=name,
        steps=steps,
        asymmetric=rule,
        how=How(weights, weights_sha256, device, precision, workers, keep_going, detections),
    )
    command = _command(baseline, split, name, step, no_steps, rule, check)
    options = Options(command=command, asymmetric=rule, card=bool(expected))
    with console.progress() as progress:
        result = pipeline.run(method, target, out, options=options, progress=progress)
    if json:
        console.out(result_json(result).rstrip("\n"))
    else:
        show_result(result)
        console.out(f"result written to {out / 'results' / result.protocol / result.name}.json")
    if check:
        compare_with_published(expected, result)


@dataclass(frozen=True)
class How:
    """The choices of a run beside what is run: weights and their digest, device, precision, threads, policy, boxes."""

    weights: Path | None = None
    weights_sha256: str | None = None
    device: str = "auto"
    precision: str = "float32"
    workers: int | None = None
    keep_going: bool = False
    detections: Path | None = None


def published_for(card: Card, split: str, steps: tuple[str, ...], *, detections: bool) -> list[Expected]:
    """Return the published numbers of a baseline on ``split`` after ``steps``, with or without ``detections``.

    Raises UsageError if there are none.
    """
    from ndec_bench.errors import UsageError

    found = [
        expected
        for expected in card.expected
        if expected.split == split
        and expected.score_norm == "none"
        and expected.detections is detections
        and steps == (card.steps if expected.steps is None else expected.steps)
    ]
    if not found:
        known = sorted({expected.split for expected in card.expected})
        cut = ", with detections" if any(one.detections for one in card.expected) and not detections else ""
        where = f"known on {', '.join(known)}, after their own steps{cut}" if known else "none is known anywhere"
        raise UsageError(
            f"--check: no published number of {card.name} on {split} after the steps {' '.join(steps) or 'none'}",
            hint=f"{where}; leave --check out",
        )
    return found


def compare_with_published(expected: Sequence[Expected], result: Result) -> None:
    """Print a row per published number: both figures and OK, close or FAIL. Raises SubmissionError if one fails."""
    from ndec_bench.errors import SubmissionError
    from ndec_bench.results.differences import CLOSE, SAME, measured_in, verdict

    rows, failed = [], []
    for one in expected:
        found = measured_in(result, one.metric, one.protocol)
        said = verdict(one.value, found)
        shown = "not reached" if found is None else f"{found:.5f}"
        rows.append([one.metric, one.protocol, said, f"{one.value:.5f}", shown, one.source])
        if said == "FAIL":
            failed.append(f"{one.metric} under {one.protocol} is {shown}, published {one.value:.5f}")
    console.table(
        f"{result.name} on {result.split} against published numbers",
        ["measure", "protocol", "verdict", "published", "measured", "source"],
        rows,
        left=3,
        caption=f"OK: within {SAME}; close: within {CLOSE}",
        to_stderr=True,
    )
    if failed:
        raise SubmissionError(
            f"{result.name} does not reproduce: {'; '.join(failed)}",
            hint="check weights, images and versions; the result was written all the same",
        )


def method_of(
    baseline: str,
    split: str,
    *,
    name: str | None = None,
    steps: tuple[str, ...] | None = None,
    asymmetric: str = "none",
    how: How | None = None,
) -> Method:
    """Return the baseline called ``baseline`` as the line takes it, loaded; ``steps`` None for the published ones.

    ``asymmetric`` is the rule that it will be scored by, for its title.

    Raises UsageError and DataError.
    """
    import ndec_baselines
    from ndec_bench.errors import UsageError
    from ndec_bench.pipeline import Method
    from ndec_bench.postprocess import parse_step
    from ndec_bench.submissions.card import NAME_PATTERN

    if not re.fullmatch(NAME_PATTERN, name or baseline):
        raise UsageError(
            f"name {(name or baseline)[:80]!r} cannot name a folder of submissions",
            hint="use a-z, 0-9, dot, dash and underscore, at most 63, a letter or digit first",
        )
    how = how or How()
    card = ndec_baselines.card(baseline)
    chosen = card.steps if steps is None else steps
    submission = _card(card, name or baseline, split, chosen, asymmetric)
    for text in chosen:
        parse_step(text)  # a wrong step is told before the work, not after it
    if card.track == "matching":
        _refuse_for_matchers(card, how, chosen)
        return Method(card=submission, match=_match(baseline, how), background=card.background)
    return Method(card=submission, describe=describer(baseline, name or baseline, how), steps=chosen)


def describer(baseline: str, name: str, how: How) -> Describe:
    """Return what describes images with ``baseline``, loaded; ``name`` is told with the progress.

    Raises UsageError and DataError.
    """
    import ndec_baselines
    from ndec_baselines.base import recipe
    from ndec_baselines.describing import extract
    from ndec_bench.descriptors import read_attributes

    loaded = ndec_baselines.load(
        baseline, weights=how.weights, device=how.device, weights_sha256=how.weights_sha256, precision=how.precision
    )

    cut = None if how.detections is None else _cut_to(baseline, how.detections)

    def describe(
        images: ImageSource, out: Path, *, side: str, attributes: Mapping[str, str], progress: Progress
    ) -> Describing:
        if cut is not None and side == "queries":
            images, attributes = cut(images), {**attributes, "detections_sha256": cut.sha256}
        report = extract.read_report(out) if attributes and out.is_file() else None
        if report is not None and report.invalid_images and not how.keep_going:
            report = None
        if report is None or read_attributes(out) != {**recipe(loaded), **attributes}:
            report = extract.describe_images(
                loaded,
                images,
                out,
                attributes=attributes,
                stage=f"{name}: describing {side}",
                workers=how.workers,
                keep_going=how.keep_going,
                progress=progress,
                tell=console.note,
            )
        return report

    return describe


@dataclass(frozen=True)
class _Cut:
    """Cuts queries to what the user's detector found, as the system does."""

    boxes: Mapping[str, tuple[Box, ...]]
    choose: ChooseBox
    sha256: str

    def __call__(self, images: ImageSource) -> ImageSource:
        from ndec_baselines.describing.boxes import CroppedSource

        return CroppedSource(images, self.boxes, self.choose)


def _cut_to(baseline: str, detections: Path) -> _Cut:
    from ndec_baselines.describing.boxes import read_boxes
    from ndec_baselines.registry import registration
    from ndec_bench.descriptors import sha256_of_file
    from ndec_bench.errors import UsageError

    choose = registration(baseline).choose_box
    if choose is None:
        raise UsageError(f"baseline {baseline} does not cut queries to detections", hint="leave --detections out")
    return _Cut(read_boxes(detections), choose, sha256_of_file(detections))


def _match(baseline: str, how: How) -> Match:
    import ndec_baselines
    from ndec_baselines import SplitImages
    from ndec_baselines.describing.boxes import read_boxes
    from ndec_bench.results.describing import Describing, read_describing, speed, write_describing

    detections = {} if how.detections is None else read_boxes(how.detections)
    loaded = ndec_baselines.load_matcher(
        baseline, weights=how.weights, device=how.device, weights_sha256=how.weights_sha256
    )

    def match(
        queries: ImageSource,
        references: ImageSource,
        background: ImageSource | None,
        work: Path,
        *,
        cap: int,
        progress: Progress,
    ) -> tuple[Matches, Describing]:
        fresh = not work.exists() or not any(work.iterdir())
        start = time.perf_counter()
        images = SplitImages(queries, references, background, detections)
        matches = loaded.match(images, work, cap=cap, workers=how.workers, progress=progress)
        seconds, count = time.perf_counter() - start, len(queries.ids) + len(references.ids)
        took = Describing(baseline=f"{loaded.card.name} {loaded.card.version}", device=loaded.device, images=count)
        record = work / f"took-{(loaded.weights_sha256 or 'none')[:16]}"
        if not fresh:  # what an earlier run left was used again: only a run of all the work tells what it takes
            return matches, read_describing(record) or took
        took = took.model_copy(update=speed(count, seconds))
        write_describing(record, took)
        return matches, took

    return match


def _steps(card: Card, given: list[str] | None, no_steps: bool) -> tuple[str, ...]:
    from ndec_bench.errors import UsageError

    if given and no_steps:
        raise UsageError("--step and --no-steps contradict each other", hint="give one of them")
    if no_steps:
        return ()
    return tuple(given) if given else card.steps


def _rule(card: Card, asymmetric: str, *, check: bool) -> str:
    """Return the canonical text of the asymmetric rule. Raises UsageError where it cannot act, before any work."""
    from ndec_bench.errors import UsageError
    from ndec_bench.search import NO_RULE, parse_rule

    rule = parse_rule(asymmetric)
    if rule is None:
        return NO_RULE
    if card.track == "matching":
        raise UsageError(
            f"--asymmetric {rule}: {card.name} scores pairs, which have no norms", hint="leave --asymmetric out"
        )
    if check:
        raise UsageError(
            f"--asymmetric {rule} and --check contradict each other: published numbers are without a rule",
            hint="give one of them",
        )
    return str(rule)


def _command(
    baseline: str, split: str, name: str | None, step: list[str] | None, no_steps: bool, rule: str, check: bool
) -> str:
    words = ["ndec-bench", "run", baseline, "--split", split]
    words += ["--name", name] if name else []
    for one in step or []:
        words += ["--step", one]
    words += ["--no-steps"] if no_steps else []
    words += ["--asymmetric", rule] if rule != "none" else []
    words += ["--check"] if check else []
    return shlex.join(words)


def _refuse_for_matchers(card: Card, how: How, steps: tuple[str, ...]) -> None:
    from ndec_bench.errors import UsageError

    if steps:
        raise UsageError(f"{card.name} scores pairs: there are no descriptors for steps", hint="leave --step out")
    if how.precision != "float32" or how.keep_going:
        raise UsageError(
            f"{card.name} scores pairs: --precision and --keep-going are for descriptors", hint="leave them out"
        )


def _title(card: Card, steps: tuple[str, ...], asymmetric: str) -> str:
    """Return the title of a row: two rows of one baseline with other steps or rules must not look the same."""
    after = "" if asymmetric == "none" else f", asymmetric {asymmetric}"
    if steps == card.steps:
        return card.title + after
    if not steps:
        return f"{card.title}, plain{after}"
    return f"{card.title} + {', '.join(step.partition(':')[0] for step in steps)}{after}"


def _card(card: Card, name: str, split: str, steps: tuple[str, ...], asymmetric: str) -> SubmissionCard:
    from ndec_bench.submissions.card import Method, SubmissionCard

    after = f" Then, as ndec-bench postprocess does it: {', '.join(steps)}." if steps else ""
    weights = card.weights
    return SubmissionCard(
        name=name,
        split=split,
        track=card.track,
        authors=["The ndec-bench developers"],
        method=Method(
            title=_title(card, steps, asymmetric),
            description=f"{card.description}{after}",
            paper=card.paper,
            code_licence=card.code_licence,
            weights_licence=weights.licence if weights else None,
            commercial_use=weights.commercial_use if weights else "yes",
        ),
        declarations=declarations_of(card),
    )


def declarations_of(card: Card) -> Declarations:
    """Return what a baseline declares; ``background`` becomes what the steps use."""
    from ndec_bench.submissions.card import Declarations

    weights = card.weights
    trained = f"Trained on: {weights.trained_on}." if weights else ""
    selected = f"Selected on: {card.selection}." if card.selection else ""
    return Declarations(
        labels_used=list(weights.labels_used) if weights else ["none"],
        train_images=list(weights.train_images) if weights else ["none"],
        reference_images_in_training=weights.reference_images_in_training if weights else "none",
        ndec_pairs=weights.ndec_pairs if weights else "no",
        background="none",
        external_data=weights.external_data if weights else "no",
        query_independent=card.query_independent,
        selected_on=list(card.selected_on),
        details=f"{trained} {selected}".strip(),
    )
