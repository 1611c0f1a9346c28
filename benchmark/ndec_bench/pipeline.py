"""The whole line: images described, packed, scored, recorded and shown, each step from the files of the last.

::

    OUT/descriptors/NAME/{queries,references}.h5   what the method made of each image, background.h5 where it needs one
    OUT/postprocessed/NAME/...                     the same after its steps, if it has any
    OUT/submissions/NAME/NAME.h5                   both sides in one file, as anyone would submit it
    OUT/submissions/NAME/NAME.csv                  of a matcher: its scored pairs, from files in OUT/matching/NAME/
    OUT/submissions/NAME/submission.toml           who, how, from what
    OUT/results/PROTOCOL/NAME.json                 the scored record
    OUT/site/index.html                            the leaderboard of those results

Methods come in as values (`Method`), so that this module knows no baseline.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

from ndec_bench import atomic, mini
from ndec_bench.data.split import Split
from ndec_bench.data.split_images import images_of
from ndec_bench.descriptors.packing import pack
from ndec_bench.errors import DataError
from ndec_bench.matches.files import write_pairs
from ndec_bench.postprocess import needs_background, postprocess_sides
from ndec_bench.progress import silent
from ndec_bench.results.describing import Describing, joined, write_describing
from ndec_bench.results.record import Result, write_result
from ndec_bench.scoring.score import DEFAULTS, Options, score_file
from ndec_bench.site import build as build_site
from ndec_bench.submissions.card import CARD_FILE, Files, SubmissionCard, Verified, write_card

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ndec_bench.data.images import ImageSource
    from ndec_bench.matches import Matches
    from ndec_bench.progress import Progress

SIDES = ("queries", "references")


class Describe(Protocol):
    """Describes images into a descriptor file and tells what it took."""

    def __call__(
        self, images: ImageSource, out: Path, *, side: str, attributes: Mapping[str, str], progress: Progress
    ) -> Describing:
        """Write ``out`` with the method's recipe and ``attributes``, unless it is there; return what it took.

        ``side`` is ``queries``, ``references`` or ``background``.
        """


class Match(Protocol):
    """Scores pairs of images and tells what it took."""

    def __call__(
        self,
        queries: ImageSource,
        references: ImageSource,
        background: ImageSource | None,
        work: Path,
        *,
        cap: int,
        progress: Progress,
    ) -> tuple[Matches, Describing]:
        """Return at most ``cap`` pairs; files that a later run can use again go into ``work``."""


@dataclass(frozen=True)
class Method:
    """A method as the line needs it: it describes images, or it scores pairs of them.

    Attributes
    ----------
    card
        What ``submission.toml`` will say; ``split`` and ``descriptors`` are filled in here.
    describe
        Makes the descriptors; None for a matcher.
    steps
        Post-processing of the descriptors, see `ndec_bench.postprocess`.
    match
        Makes the pairs; None for descriptors.
    background
        Whether ``match`` takes the background images of the split.
    """

    card: SubmissionCard
    describe: Describe | None = None
    steps: tuple[str, ...] = ()
    match: Match | None = None
    background: bool = False


def run(
    method: Method,
    split: Split,
    out: Path,
    *,
    options: Options = DEFAULTS,
    progress: Progress = silent,
) -> Result:
    """Return the result of ``method`` on ``split``, with every step's files under ``out``.

    A descriptor file that is already there, made by the same recipe from the same images, is used again.

    Raises
    ------
    DataError
        If images are missing or broken, or ``out`` cannot be written.
    SubmissionError
        If the descriptors cannot be scored.
    """
    return _run(method, split, out, options, progress)


def _run(
    method: Method, split: Split, out: Path, options: Options, progress: Progress, *, checked: str | None = None
) -> Result:
    """Return the result of `run`; ``checked`` says in the card who saw that the method gives it."""
    name = method.card.name
    make = _described if method.match is None else _matched
    made, took = make(method, split, out, options.protocol.cap(len(split.query_ids)), progress)
    write_describing(made, took)
    result = score_file(made, split, options=replace(options, name=name, describing=took), progress=progress)
    scored = Files(name=made.name, sha256=result.digests.submission)
    declared = method.card.declarations.model_copy(update={"background": _background_used(method, split)})
    verified = None
    if checked is not None:
        verified = Verified(level="re-described", predictions_sha256=result.predictions_sha256, note=checked)
    card = method.card.model_copy(
        update={"split": split.name, "descriptors": scored, "declarations": declared, "verified": verified}
    )
    atomic.write_text(made.with_name(CARD_FILE), write_card(card))
    write_result(out / "results" / result.protocol / f"{name}.json", result)
    return result


def _described(method: Method, split: Split, out: Path, cap: int, progress: Progress) -> tuple[Path, Describing]:
    """Return the packed descriptors, after the method's steps, and what describing took. ``cap`` is for matchers."""
    if method.describe is None:
        raise ValueError(f"method {method.card.name} neither describes nor matches")
    name = method.card.name
    sides = (*SIDES, "background") if needs_background(method.steps) else SIDES
    files = {side: out / "descriptors" / name / f"{side}.h5" for side in sides}
    # Missing images are an error before the first hour of work, not after it.
    images = {side: images_of(split, _part(split, side), progress=progress) for side in sides}
    took = [
        method.describe(images[side], file, side=side, attributes=image_attributes(split), progress=progress)
        for side, file in files.items()
    ]
    ready = {side: files[side] for side in SIDES}
    if method.steps:
        ready = {side: out / "postprocessed" / name / f"{side}.h5" for side in SIDES}
        postprocess_sides(
            files["queries"],
            files["references"],
            method.steps,
            background=files.get("background"),
            out_query=ready["queries"],
            out_reference=ready["references"],
            progress=progress,
        )
    packed = out / "submissions" / name / f"{name}.h5"
    pack(ready["queries"], ready["references"], packed, split=split.name)
    return packed, joined(took)


def _matched(method: Method, split: Split, out: Path, cap: int, progress: Progress) -> tuple[Path, Describing]:
    """Return the file of the pairs that a matcher scored, and what that took."""
    if method.match is None:
        raise ValueError(f"method {method.card.name} neither describes nor matches")
    name = method.card.name
    queries, references = (images_of(split, side, progress=progress) for side in SIDES)
    try:
        background = images_of(split, _part(split, "background"), progress=progress)
    except DataError:
        background = None  # the matcher knows whether it can do without
    # Descriptors of other pictures under the same ids must not be taken for those of these.
    work = out / "matching" / name / (split.images_sha256 or split.sha256)[:16]
    matches, took = method.match(queries, references, background, work, cap=cap, progress=progress)
    pairs = out / "submissions" / name / f"{name}.csv"
    write_pairs(pairs, matches)
    return pairs, took


def _part(split: Split, side: str) -> str:
    # Of NDEC and DISC21 the training images are the background, as everybody uses them.
    return "train" if side == "background" and split.folder is None else side


def _background_used(method: Method, split: Split) -> str:
    declared = method.card.declarations.background
    if declared not in ("none", "unknown") or not (method.background or needs_background(method.steps)):
        return declared
    return "other" if split.folder is not None else "disc21-train"


@dataclass(frozen=True)
class DemoReport:
    """What the demo left: the site's first page, and the results, best first."""

    index: Path
    results: tuple[Result, ...]


def demo(
    methods: Sequence[Method],
    out: Path,
    *,
    size: Literal["small", "full"] = "small",
    jobs: int = 2,
    command: str | None = None,
    progress: Progress = silent,
) -> DemoReport:
    """Return the report of the whole line on the embedded benchmark: built, described, scored and shown under ``out``.

    Raises
    ------
    DataError
        If the benchmark cannot be built or ``out`` cannot be written.
    """
    name = "ndec-mini-1" if size == "full" else "ndec-mini-1-small"
    mini.build(out / name, size=size, jobs=jobs, progress=progress)
    split = Split.from_folder(out / name)
    options = Options(command=command)
    checked = "made and scored by ndec-bench demo"  # it has just run the method on all of the images itself
    results = [_run(method, split, out, options, progress, checked=checked) for method in methods]
    site = build_site(out / "results", out / "site", submissions=out / "submissions", progress=progress)
    return DemoReport(site.index, tuple(sorted(results, key=lambda r: (-r.parts["all"].micro_ap, r.name))))


def image_attributes(split: Split) -> dict[str, str]:
    """Return what a descriptor file says about the images of ``split``: the digest of their pixels, where known."""
    return {} if split.images_sha256 is None else {"images_sha256": split.images_sha256}
