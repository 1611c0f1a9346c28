"""Runs of a baseline on a split, from the images to a scored submission, each stage from the files of the one before.

::

    OUT/descriptors/BASELINE/SIDE-KEY.h5     what it made of the queries, the references and, if needed, a background
    OUT/matching/BASELINE/                   of a matcher: its files on the way to pairs
    OUT/postprocessed/NAME/...               the descriptors after the steps, if there are any
    OUT/submissions/NAME/NAME.h5             both sides in one file, as anyone would submit it
    OUT/submissions/NAME/NAME.csv            of a matcher: its scored pairs
    OUT/submissions/NAME/submission.toml     who, how, from what
    OUT/results/PROTOCOL/NAME.json           the scored record
    OUT/site/index.html                      of `demo`: the leaderboard of those results

Descriptors are kept by recipe and images, which the key stands for, whatever the submission made of them is called.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from ndec_baselines.base import SplitImages, recipe
from ndec_baselines.describing.boxes import CroppedSource, read_boxes
from ndec_baselines.describing.extract import describe_images, describe_once, images_digest
from ndec_baselines.registry import card, load, load_matcher, registration
from ndec_baselines.submitting import command_of, published, submission_of
from ndec_bench import atomic
from ndec_bench.data.images import open_images
from ndec_bench.data.layouts import images_of
from ndec_bench.data.roots import data_root, find_split
from ndec_bench.data.split import Split
from ndec_bench.descriptors import sha256_of_file
from ndec_bench.descriptors.packing import DETECTIONS, pack
from ndec_bench.errors import DataError, UsageError
from ndec_bench.matches import write_pairs
from ndec_bench.postprocess import needs_background, parse_step, postprocess_sides
from ndec_bench.progress import silent
from ndec_bench.results.describing import Describing, joined, read_describing, speed, write_describing
from ndec_bench.results.record import write_result
from ndec_bench.resume import digest
from ndec_bench.scoring.score import Options, score_file
from ndec_bench.submissions import card as submission_card

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ndec_baselines.base import Baseline, ChooseBox, Matcher, ModelCard
    from ndec_baselines.describing.boxes import Box
    from ndec_bench.data.images import ImageSource
    from ndec_bench.progress import Progress
    from ndec_bench.results.describing import DescribeReport
    from ndec_bench.results.record import Result

    Tell = Callable[[str], None]

SIDES = ("queries", "references")
DEMO_BASELINES = ("thumbnail", "phash", "scattering")


@dataclass(frozen=True)
class RunOptions:
    """What a caller may choose of a run.

    Attributes
    ----------
    name
        Name of the submission; None for that of the baseline.
    steps
        Post-processing as `ndec_bench.postprocess` writes it, in place of the published one; None for the published.
    asymmetric
        Asymmetric rule of the scores, see `ndec_bench.search.rules`.
    check
        Whether there must be published numbers to compare with, see `ndec_baselines.submitting.against_published`.
    weights, weights_sha256
        File of trained weights, or folder of them, in place of downloaded ones; digest of weights of your own.
    device
        ``auto``, ``cpu`` or ``cuda``.
    precision
        ``float32``, ``float16`` or ``bfloat16``; None for float32, or that of the file where a sample of it is
        described again.
    workers
        Threads; None for one per core.
    keep_going
        Whether broken images are left out and listed.
    detections
        CSV of detected overlays that queries are cut to, where the system does that.
    """

    name: str | None = None
    steps: tuple[str, ...] | None = None
    asymmetric: str = "none"
    check: bool = False
    weights: Path | None = None
    weights_sha256: str | None = None
    device: str = "auto"
    precision: str | None = None
    workers: int | None = None
    keep_going: bool = False
    detections: Path | None = None


DEFAULTS = RunOptions()


@dataclass(frozen=True)
class Runner:
    """A loaded baseline with the choices of a run.

    Attributes
    ----------
    loaded
        The baseline; a `Matcher` where its track is ``matching``.
    name, steps
        As chosen, or those of the baseline.
    options
        The choices.
    choose_box, boxes, of_detections
        What cuts queries to detections, and what their descriptor file says of them; None and empty without.
    progress
        Called as ``progress(stage, done, total)``.
    tell
        Called with a sentence for people.
    """

    loaded: Baseline | Matcher
    name: str
    steps: tuple[str, ...]
    options: RunOptions
    progress: Progress
    tell: Tell
    choose_box: ChooseBox | None = None
    boxes: Mapping[str, Sequence[Box]] = field(default_factory=dict)
    of_detections: Mapping[str, str] = field(default_factory=dict)

    def cut(self, images: ImageSource) -> ImageSource:
        """Return ``images``, cut to detections if there are any."""
        return images if self.choose_box is None else CroppedSource(images, self.boxes, self.choose_box)

    @property
    def baseline(self) -> Baseline:
        """Return what was loaded as what describes images."""
        return cast("Baseline", self.loaded)


def quiet(_sentence: str) -> None:
    """Say nothing."""


def run(
    baseline: str,
    split: str | Split = "ndec",
    out: str | Path = "ndec-runs",
    *,
    root: str | Path | None = None,
    options: RunOptions = DEFAULTS,
    progress: Progress = silent,
    tell: Tell = quiet,
) -> Result:
    """Return the result of ``baseline`` on ``split``, with the files of every stage under ``out``.

    A descriptor file that is already there, made by the same recipe from the same images, is used again.

    Parameters
    ----------
    split
        A split, or its name under ``root``.
    root
        Data root; None for ``$NDEC_ROOT``, else the platform's data folder.
    progress, tell
        Called as ``progress(stage, done, total)``, and with sentences for people.

    Raises
    ------
    UsageError
        If the baseline is unknown, cannot run here, or options contradict each other.
    DataError
        If split, weights or images are missing or broken, or ``out`` cannot be written.
    SubmissionError
        If the descriptors cannot be scored.

    Examples
    --------
    With ``folder`` a data root that holds the split ``toy-1``:

    >>> import ndec_bench as nb
    >>> result = nb.run("thumbnail", "toy-1", out=folder / "out", root=folder)
    >>> round(result.parts["all"].micro_ap, 4)
    1.0
    >>> (folder / "out" / "submissions" / "thumbnail" / "submission.toml").is_file()
    True
    """
    baseline = card(baseline).name  # what is recorded, whichever way it was asked for
    target = split if isinstance(split, Split) else find_split(split, data_root(None if root is None else Path(root)))
    scoring = Options(asymmetric=options.asymmetric, all_protocols=options.check)
    options = replace(options, asymmetric=scoring.asymmetric)
    if options.check:
        published(baseline, target.name, options)
    command = command_of(baseline, split if isinstance(split, str) else split.name, options)
    return run_on(load_runner(baseline, options, progress, tell), target, Path(out), replace(scoring, command=command))


def describe(
    baseline: str,
    images: str | Path | ImageSource,
    out: str | Path,
    *,
    options: RunOptions = DEFAULTS,
    progress: Progress = silent,
    tell: Tell = quiet,
) -> DescribeReport:
    """Return what it took to describe ``images`` into the HDF5 file ``out``: ``vectors``, ``image_names``, the recipe.

    Of the options, those about scoring are not used. See `ndec_baselines.describing.extract.describe_images`, which
    takes further ones.

    Parameters
    ----------
    images
        Folder (searched recursively), zip, tar, or first piece of a split tar; or an image source.

    Raises
    ------
    UsageError, DataError, SubmissionError
        As `run`.

    Examples
    --------
    With ``folder`` as in `run`:

    >>> import ndec_bench as nb
    >>> report = nb.describe("thumbnail", folder / "toy-1" / "images" / "queries", folder / "queries.h5")
    >>> report.images, report.dimension, report.device
    (4, 256, 'cpu')
    """
    runner = load_runner(baseline, options, progress, tell, matching=False)
    source = open_images(Path(images), progress=progress) if isinstance(images, str | Path) else images
    return describe_images(
        runner.baseline,
        runner.cut(source),
        Path(out),
        workers=options.workers,
        keep_going=options.keep_going,
        attributes=runner.of_detections,
        progress=progress,
        tell=tell,
    )


def load_runner(
    baseline: str,
    options: RunOptions = DEFAULTS,
    progress: Progress = silent,
    tell: Tell = quiet,
    *,
    matching: bool = True,
) -> Runner:
    """Return ``baseline``, loaded, with the choices of a run; without ``matching``, one that describes images.

    Raises
    ------
    UsageError
        If the baseline is unknown, cannot run here, or options do not go with it.
    DataError
        If weights or detections are missing or broken.
    """
    about = card(baseline)
    steps = about.steps if options.steps is None else options.steps
    for text in steps:
        parse_step(text)  # a wrong step is reported before the work, not after it
    made = partial(Runner, name=options.name or about.name, steps=steps, options=options, progress=progress, tell=tell)
    if about.track == "matching" and matching:  # a matcher is given the detections themselves
        _refuse_for_matchers(about, options, steps)
        return made(load_matcher(baseline, options.weights, options.device, weights_sha256=options.weights_sha256))
    found: dict[str, Any] = {}
    if options.detections is not None:
        choose_box = registration(baseline).choose_box
        if choose_box is None:
            raise UsageError(f"baseline {baseline} does not cut queries to detections", hint="leave --detections out")
        boxes = read_boxes(options.detections)
        of_detections = {DETECTIONS: sha256_of_file(options.detections)}
        found = {"choose_box": choose_box, "boxes": boxes, "of_detections": of_detections}
    precision = options.precision or "float32"
    loaded = load(baseline, options.weights, options.device, weights_sha256=options.weights_sha256, precision=precision)
    return made(loaded, **found)


def run_on(runner: Runner, split: Split, out: Path, scoring: Options, *, checked: str | None = None) -> Result:
    """Return the result of `run`, scored as ``scoring`` says.

    ``checked`` says in the card who saw that the baseline gives it.
    """
    name = runner.name
    if not re.fullmatch(submission_card.NAME_PATTERN, name):
        raise UsageError(
            f"name {name[:80]!r} cannot name a folder of submissions",
            hint="use a-z, 0-9, dot, dash and underscore, at most 63, a letter or digit first",
        )
    if runner.loaded.card.track == "matching":
        made, took = _matched(runner, split, out, scoring.protocol.cap(len(split.query_ids)))
    else:
        made, took = _described(runner, split, out)
    write_describing(made, took)
    result = score_file(made, split, options=replace(scoring, name=name, describing=took), progress=runner.progress)
    verified = None
    if checked is not None:
        verified = submission_card.Verified(
            level="re-described", predictions_sha256=result.predictions_sha256, note=checked
        )
    submitted = submission_of(runner, split).model_copy(
        update={
            "descriptors": submission_card.Files(name=made.name, sha256=result.digests.submission),
            "verified": verified,
        }
    )
    atomic.write_text(made.with_name(submission_card.CARD_FILE), submission_card.write_card(submitted))
    write_result(out / "results" / result.protocol / f"{name}.json", result)
    return result


def describe_side(
    runner: Runner, images: ImageSource, folder: Path, *, side: str, split: Split
) -> tuple[Path, DescribeReport]:
    """Return the descriptor file of ``images`` in ``folder``, made unless it is there, and what describing took.

    ``side`` is ``queries``, ``references`` or ``background``; queries alone are cut to detections.
    """
    loaded, options = runner.baseline, runner.options
    attributes, images_key = image_attributes(split), images_digest(images)
    if side == "queries":
        images, attributes = runner.cut(images), {**attributes, **runner.of_detections}
    key = digest({**recipe(loaded), **attributes, "images": images_key})
    out = folder / f"{side}-{key[:12]}.h5"
    report = describe_once(
        loaded,
        images,
        out,
        attributes=attributes,
        stage=f"{runner.name}: describing {side}",
        workers=options.workers,
        keep_going=options.keep_going,
        progress=runner.progress,
        tell=runner.tell,
    )
    return out, report


def image_attributes(split: Split) -> dict[str, str]:
    """Return what a descriptor file says about the images of ``split``: the digest of their pixels, where known."""
    return {} if split.images_sha256 is None else {"images_sha256": split.images_sha256}


def _described(runner: Runner, split: Split, out: Path) -> tuple[Path, Describing]:
    """Return the packed descriptors, after the baseline's steps, and what describing took."""
    name, steps, progress = runner.name, runner.steps, runner.progress
    sides = (*SIDES, "background") if needs_background(steps) else SIDES
    # Missing images are an error before the first hour of work, not after it.
    images = {side: images_of(split, _part(split, side), progress=progress) for side in sides}
    folder = out / "descriptors" / runner.loaded.card.name
    described = {side: describe_side(runner, images[side], folder, side=side, split=split) for side in sides}
    files = {side: file for side, (file, _) in described.items()}
    ready = files
    if steps:
        ready = {side: out / "postprocessed" / name / f"{side}.h5" for side in SIDES}
        postprocess_sides(
            files["queries"],
            files["references"],
            steps,
            background=files.get("background"),
            out_query=ready["queries"],
            out_reference=ready["references"],
            progress=progress,
        )
    packed = out / "submissions" / name / f"{name}.h5"
    pack(ready["queries"], ready["references"], packed, split=split.name)
    return packed, joined([report for _, report in described.values()])


def _matched(runner: Runner, split: Split, out: Path, cap: int) -> tuple[Path, Describing]:
    """Return the file of the pairs that a matcher scored, and what that took."""
    matcher, options, progress = cast("Matcher", runner.loaded), runner.options, runner.progress
    boxes = {} if options.detections is None else read_boxes(options.detections)
    queries, references = (images_of(split, side, progress=progress) for side in SIDES)
    try:
        background = images_of(split, _part(split, "background"), progress=progress)
    except DataError:
        background = None  # the matcher knows whether it can do without
    # Descriptors of other pictures under the same ids must not be taken for those of these.
    work = out / "matching" / matcher.card.name / (split.images_sha256 or split.sha256)[:16]
    fresh = not work.exists() or not any(work.iterdir())
    start = time.perf_counter()
    images = SplitImages(queries, references, background, boxes)
    matches = matcher.match(images, work, cap=cap, workers=options.workers, progress=progress)
    seconds, count = time.perf_counter() - start, len(queries.ids) + len(references.ids)
    pairs = out / "submissions" / runner.name / f"{runner.name}.csv"
    write_pairs(pairs, matches)
    took = Describing(baseline=f"{matcher.card.name} {matcher.card.version}", device=matcher.device, images=count)
    record = work / f"took-{(matcher.weights_sha256 or 'none')[:16]}"
    if not fresh:  # what an earlier run left was used again: only a run of all the work shows what it takes
        return pairs, read_describing(record) or took
    took = took.model_copy(update=speed(count, seconds))
    write_describing(record, took)
    return pairs, took


def _part(split: Split, side: str) -> str:
    # Of NDEC and DISC21 the training images are the background, as everybody uses them.
    return "train" if side == "background" and split.folder is None else side


def _refuse_for_matchers(about: ModelCard, options: RunOptions, steps: tuple[str, ...]) -> None:
    if steps:
        raise UsageError(f"{about.name} scores pairs: there are no descriptors for steps", hint="leave --step out")
    if options.precision not in (None, "float32") or options.keep_going:
        raise UsageError(
            f"{about.name} scores pairs: --precision and --keep-going are for descriptors", hint="leave them out"
        )
    if options.asymmetric != "none":
        raise UsageError(
            f"--asymmetric {options.asymmetric}: {about.name} scores pairs, which have no norms",
            hint="leave --asymmetric out",
        )


@dataclass(frozen=True)
class DemoReport:
    """What the demo left: the site's first page, and the results, best first."""

    index: Path
    results: tuple[Result, ...]


def demo(
    out: Path,
    *,
    size: Literal["small", "full"] = "small",
    jobs: int = 2,
    progress: Progress = silent,
    tell: Tell = quiet,
) -> DemoReport:
    """Return the report of three baselines on the embedded benchmark: built, described, scored, shown under ``out``.

    Raises
    ------
    DataError
        If the benchmark cannot be built or ``out`` cannot be written.
    """
    from ndec_bench import mini, site

    name = "ndec-mini-1" if size == "full" else "ndec-mini-1-small"
    runners = [load_runner(baseline, RunOptions(device="cpu"), progress, tell) for baseline in DEMO_BASELINES]
    mini.build(out / name, size=size, jobs=jobs, progress=progress)
    split = Split.from_folder(out / name)
    scoring = Options(command=f"ndec-bench demo --size {size}")
    checked = "made and scored by ndec-bench demo"  # it has just run the baseline on all of the images itself
    results = [run_on(runner, split, out, scoring, checked=checked) for runner in runners]
    shown = site.build(out / "results", out / "site", submissions=out / "submissions", progress=progress)
    for why in shown.left_out:
        tell(f"left out: {why}")
    return DemoReport(shown.index, tuple(sorted(results, key=lambda r: (-r.parts["all"].micro_ap, r.name))))
