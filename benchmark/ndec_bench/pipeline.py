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

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

from ndec_bench import atomic, mini
from ndec_bench.data.split import Split
from ndec_bench.data.split_images import images_of
from ndec_bench.descriptors import Submission, open_descriptors, read_attributes, write_submission
from ndec_bench.descriptors.stored import KEPT_BYTES, told
from ndec_bench.descriptors.submission import IN_MEMORY, in_memory
from ndec_bench.errors import DataError, SubmissionError
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
    from ndec_bench.protocol import Metric

SIDES = ("queries", "references")
DETECTIONS = "detections_sha256"
OF_THE_IMAGES = frozenset({"images_sha256", DETECTIONS})
"""Attributes of a descriptor file that name the images, not the recipe: those may differ between the sides."""


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


def pack(
    query: Path,
    reference: Path,
    out: Path,
    *,
    split: str,
    background: Path | None = None,
    progress: Progress = silent,
) -> Submission:
    """Return the submission made of descriptor files, written to ``out`` with the recipe in its attributes.

    References and background are read block by block, and stay in their files, which the submission keeps open. Images
    that any of the files lists in ``invalid_ids`` are listed in the submission's, norms become ``query_norms`` and
    ``reference_norms``. Of what names the images, only the digest of detections goes over (``detections_sha256``, for
    the references ``reference_detections_sha256``), for they decide about the descriptors.

    Raises
    ------
    SubmissionError
        If a file cannot be read, or the files were made by different recipes or have different dimensions, or only one
        of query and reference has norms.
    """
    paths = {"query": query, "reference": reference, **({"background": background} if background else {})}
    attributes = {side: read_attributes(path) for side, path in paths.items()}
    recipes = {side: _recipe(texts) for side, texts in attributes.items()}
    for side, recipe in recipes.items():
        _check_same_recipe(paths["query"], recipes["query"], paths[side], recipe)
    metric = _metric(query, recipes["query"])
    recipe = {key: value for key, value in recipes["query"].items() if key != "metric"}
    for side, texts in attributes.items():
        if DETECTIONS in texts:
            recipe[DETECTIONS if side == "query" else f"{side}_{DETECTIONS}"] = texts[DETECTIONS]
    with ExitStack() as stack:
        files = {
            side: stack.enter_context(
                open_descriptors(
                    path, keep=IN_MEMORY if side == "query" else KEPT_BYTES, progress=progress, stage=f"checking {side}"
                )
            )
            for side, path in paths.items()
        }
        for side, file in files.items():
            _check_same_dimension(query, files["query"].vectors.dimension, paths[side], file.vectors.dimension)
        _check_norms(query, files["query"].norms, reference, files["reference"].norms)
        submission = Submission(
            queries=in_memory(files["query"].vectors),
            references=files["reference"].vectors,
            background=files["background"].vectors if background else None,
            metric=metric,
            split=split,
            invalid_ids=tuple(sorted(frozenset().union(*(file.invalid_ids for file in files.values())))),
            query_norms=files["query"].norms,
            reference_norms=files["reference"].norms,
        )
        write_submission(out, submission, recipe, progress=told(progress, len(submission.references)))
        stack.pop_all()  # all is well: the files stay open for the submission
    return submission


def _recipe(attributes: Mapping[str, str]) -> dict[str, str]:
    """Return those attributes of a descriptor file that tell how, not from which images, it was made."""
    return {key: value for key, value in attributes.items() if key not in OF_THE_IMAGES}


def _check_same_recipe(first: Path, expected: Mapping[str, str], other: Path, found: Mapping[str, str]) -> None:
    for key in sorted(expected.keys() | found.keys()):
        if expected.get(key) != found.get(key):
            hint = "describe all sides with the same baseline, weights and settings"
            if key in ("background_sha256", "steps"):
                hint = 'give all sides the same steps and background, see "ndec-bench postprocess"'
            raise SubmissionError(
                f"{other}: {key} is {found.get(key)!r}, but {expected.get(key)!r} in {first}", hint=hint
            )


def _check_same_dimension(query: Path, expected: int, other: Path, found: int) -> None:
    if found != expected:
        raise SubmissionError(
            f"{other}: {found} dimensions, but {expected} in {query}", hint="describe all sides with the same model"
        )


def _check_norms(query: Path, of_queries: object, reference: Path, of_references: object) -> None:
    if (of_queries is None) != (of_references is None):
        has, lacks = (reference, query) if of_queries is None else (query, reference)
        raise SubmissionError(
            f"{lacks}: no dataset 'norms', but {has} has one", hint="describe both sides with the same baseline"
        )


def _metric(path: Path, recipe: Mapping[str, str]) -> Metric:
    metric = recipe.get("metric", "l2")
    if metric == "l2":
        return "l2"
    if metric == "ip":
        return "ip"
    raise SubmissionError(f"{path}: attribute metric is {metric[:40]!r}", hint='expected "l2" or "ip"')
