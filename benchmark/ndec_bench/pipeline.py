"""The whole line: images described, packed, scored, recorded and shown, each step from the files of the last.

::

    OUT/descriptors/NAME/{queries,references}.h5   what the method made of each image
    OUT/submissions/NAME/NAME.h5                   both sides in one file, as anyone would submit it
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
from ndec_bench.descriptors import Submission, read_attributes, read_descriptors, write_submission
from ndec_bench.errors import SubmissionError
from ndec_bench.progress import silent
from ndec_bench.report import Describing, Result, write_describing, write_result
from ndec_bench.scoring import DEFAULTS, Options, score_file
from ndec_bench.site import build as build_site
from ndec_bench.submission import CARD_FILE, Files, SubmissionCard, write_card

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ndec_bench.data.images import ImageSource
    from ndec_bench.progress import Progress
    from ndec_bench.protocol import Metric

SIDES = ("queries", "references")
OF_THE_IMAGES = frozenset({"images_sha256"})
"""Attributes of a descriptor file that name the images, not the recipe."""


class Describe(Protocol):
    """Describes images into a descriptor file and tells what it took."""

    def __call__(
        self, images: ImageSource, out: Path, *, attributes: Mapping[str, str], stage: str, progress: Progress
    ) -> Describing:
        """Write ``out`` with the method's recipe and ``attributes``, unless it is there; return what it took."""


@dataclass(frozen=True)
class Method:
    """A method as the line needs it.

    Attributes
    ----------
    card
        What ``submission.toml`` will say; ``split`` and ``descriptors`` are filled in here.
    describe
        Makes the descriptors.
    """

    card: SubmissionCard
    describe: Describe


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
    name = method.card.name
    files = {side: out / "descriptors" / name / f"{side}.h5" for side in SIDES}
    took = [
        method.describe(
            images_of(split, side, progress=progress),
            file,
            attributes=image_attributes(split),
            stage=f"{name}: describing {side}",
            progress=progress,
        )
        for side, file in files.items()
    ]
    packed = out / "submissions" / name / f"{name}.h5"
    pack(files["queries"], files["references"], packed, split=split.name)
    write_describing(packed, joined(took))
    options = replace(options, name=name, describing=joined(took))
    result = score_file(packed, split, options=options, progress=progress)
    scored = Files(name=packed.name, sha256=result.digests.submission)
    card = method.card.model_copy(update={"split": split.name, "descriptors": scored})
    atomic.write_text(packed.with_name(CARD_FILE), write_card(card))
    write_result(out / "results" / result.protocol / f"{name}.json", result)
    return result


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
    results = [run(method, split, out, options=Options(command=command), progress=progress) for method in methods]
    site = build_site(out / "results", out / "site", submissions=out / "submissions", progress=progress)
    return DemoReport(site.index, tuple(sorted(results, key=lambda r: (-r.parts["all"].micro_ap, r.name))))


def image_attributes(split: Split) -> dict[str, str]:
    """Return what a descriptor file says about the images of ``split``: the digest of their pixels, where known."""
    return {} if split.images_sha256 is None else {"images_sha256": split.images_sha256}


def pack(query: Path, reference: Path, out: Path, *, split: str, background: Path | None = None) -> Submission:
    """Return the submission made of descriptor files, written to ``out`` with the recipe in its attributes.

    Raises
    ------
    SubmissionError
        If a file cannot be read, or the files were made by different recipes or have different dimensions.
    """
    paths = {"query": query, "reference": reference, **({"background": background} if background else {})}
    recipes = {side: _recipe(path) for side, path in paths.items()}
    for side, recipe in recipes.items():
        _check_same_recipe(paths["query"], recipes["query"], paths[side], recipe)
    submission = Submission(
        queries=read_descriptors(query),
        references=read_descriptors(reference),
        background=None if background is None else read_descriptors(background),
        metric=_metric(query, recipes["query"]),
        split=split,
    )
    _check_same_dimension(paths["query"], paths["reference"], submission)
    recipe = {key: value for key, value in recipes["query"].items() if key != "metric"}
    write_submission(out, submission, recipe)
    return submission


def joined(parts: Sequence[Describing]) -> Describing:
    """Return what describing several sets of images took together; device and baseline are those of the first."""
    images = sum(part.images or 0 for part in parts)
    seconds = sum(part.seconds or 0.0 for part in parts)
    timed = images > 0 and seconds > 0
    return Describing(
        baseline=parts[0].baseline,
        device=parts[0].device,
        images=images,
        seconds=round(seconds, 3),
        milliseconds_per_image=round(1000 * seconds / images, 3) if timed else None,
        images_per_second=round(images / seconds, 1) if timed else None,
    )


def _recipe(path: Path) -> dict[str, str]:
    """Return the attributes of a descriptor file that tell how, not from which images, it was made."""
    return {key: value for key, value in read_attributes(path).items() if key not in OF_THE_IMAGES}


def _check_same_recipe(first: Path, expected: Mapping[str, str], other: Path, found: Mapping[str, str]) -> None:
    for key in sorted(expected.keys() | found.keys()):
        if expected.get(key) != found.get(key):
            raise SubmissionError(
                f"{other}: {key} is {found.get(key)!r}, but {expected.get(key)!r} in {first}",
                hint="describe all sides with the same baseline, weights and settings",
            )


def _check_same_dimension(query: Path, reference: Path, submission: Submission) -> None:
    if submission.queries.dimension != submission.references.dimension:
        raise SubmissionError(
            f"{reference}: {submission.references.dimension} dimensions, but {submission.queries.dimension} in {query}",
            hint="describe all sides with the same model",
        )


def _metric(path: Path, recipe: Mapping[str, str]) -> Metric:
    metric = recipe.get("metric", "l2")
    if metric == "l2":
        return "l2"
    if metric == "ip":
        return "ip"
    raise SubmissionError(f"{path}: attribute metric is {metric[:40]!r}", hint='expected "l2" or "ip"')
