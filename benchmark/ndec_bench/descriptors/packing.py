"""Submissions packed from the descriptor files of both sides."""

from __future__ import annotations

from contextlib import ExitStack
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.descriptors.files import open_descriptors
from ndec_bench.descriptors.hdf5 import read_attributes
from ndec_bench.descriptors.stored import IN_MEMORY, KEPT_BYTES, in_memory, joined, told
from ndec_bench.descriptors.submission import Submission, check_ids_apart, check_paths
from ndec_bench.descriptors.writing import write_submission
from ndec_bench.errors import SubmissionError
from ndec_bench.progress import silent
from ndec_bench.protocol import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ndec_bench.descriptors.files import DescriptorFile
    from ndec_bench.progress import Progress
    from ndec_bench.protocol import Metric

DETECTIONS = "detections_sha256"
_OF_THE_IMAGES = frozenset({"images_sha256", DETECTIONS})
"""Attributes of a descriptor file that name the images, not the recipe: those may differ between the sides."""


def pack(
    query: Path | Sequence[Path],
    reference: Path | Sequence[Path],
    out: Path,
    *,
    split: str,
    background: Path | Sequence[Path] = (),
    progress: Progress = silent,
) -> Submission:
    """Return the submission made of descriptor files, written to ``out`` with the recipe in its attributes.

    Each side is one file, or several that hold different images. References and background are read block by block,
    and stay in their files, which the submission keeps open. Images that any of the files lists in ``invalid_ids`` are
    listed in the submission's, norms become ``query_norms`` and ``reference_norms``. Of what names the images, only the
    digest of detections goes over (``detections_sha256``, for the references ``reference_detections_sha256``), for they
    decide about the descriptors.

    Raises
    ------
    SubmissionError
        If a file cannot be read, or the files were made by different recipes or have different dimensions, an image is
        in two files of a side or one file has a row of what another lists in ``invalid_ids``, or only some files of
        query and reference have norms.
    UsageError
        If a file is given twice for a side.
    """
    submission, recipe = open_sides(query, reference, background, split=split, progress=progress)
    try:
        write_submission(out, submission, recipe, progress=told(progress, len(submission.references)))
    except BaseException:
        submission.close()
        raise
    return submission


def open_sides(
    query: Path | Sequence[Path],
    reference: Path | Sequence[Path],
    background: Path | Sequence[Path] = (),
    *,
    split: str | None = None,
    metric: Metric = "l2",
    progress: Progress = silent,
) -> tuple[Submission, dict[str, str]]:
    """Return the submission that descriptor files make together, and the attributes that say how it was made.

    See `pack`, also for what is raised. The files stay open for the submission; ``metric`` is for files that name none.
    """
    given = {"query": query, "reference": reference, "background": background}
    paths = {
        side: [files] if isinstance(files, PathLike) else list(files)
        for side, files in given.items()
        if files or side != "background"
    }
    check_paths(paths)
    attributes = {path: read_attributes(path) for files in paths.values() for path in files}
    recipe = _common_recipe(attributes)
    named = recipe.pop("metric", metric)
    if named not in METRICS:
        raise SubmissionError(f"{paths['query'][0]}: attribute metric is {named[:40]!r}", hint='expected "l2" or "ip"')
    for side, files in paths.items():
        if detections := _detections(files, attributes):
            recipe[DETECTIONS if side == "query" else f"{side}_{DETECTIONS}"] = detections
    with ExitStack() as stack:
        opened = {side: [stack.enter_context(_opened(path, side, progress)) for path in paths[side]] for side in paths}
        _check_fit(paths, opened)
        vectors = {side: joined([file.vectors for file in files]) for side, files in opened.items()}
        every = [file for files in opened.values() for file in files]
        submission = Submission(
            queries=in_memory(vectors["query"]),
            references=vectors["reference"],
            background=vectors.get("background"),
            metric=named,
            split=split,
            invalid_ids=tuple(sorted(frozenset().union(*(file.invalid_ids for file in every)))),
            query_norms=_norms(opened["query"]),
            reference_norms=_norms(opened["reference"]),
        )
        stack.pop_all()  # all is well: the files stay open for the submission
    return submission, recipe


def recipe_of(attributes: Mapping[str, str]) -> dict[str, str]:
    """Return those ``attributes`` of a file that say how its descriptors were made, not of which images."""
    return {
        key: text
        for key, text in attributes.items()
        if key not in ("images_sha256", "metric", "split") and not key.endswith(DETECTIONS)
    }


def _opened(path: Path, side: str, progress: Progress) -> DescriptorFile:
    keep = IN_MEMORY if side == "query" else KEPT_BYTES
    return open_descriptors(path, keep=keep, progress=progress, stage=f"checking {side}")


def _norms(files: Sequence[DescriptorFile]) -> NDArray[np.float32] | None:
    norms = [file.norms for file in files if file.norms is not None]
    return np.concatenate(norms) if norms else None


def _detections(files: Sequence[Path], attributes: Mapping[Path, Mapping[str, str]]) -> str | None:
    """Return the digest of the detections that the files of one side were made with. Raises SubmissionError if two."""
    found = {path: attributes[path].get(DETECTIONS) for path in files}
    for path, digest in found.items():
        if digest != found[files[0]]:
            raise SubmissionError(
                f"{path}: {DETECTIONS} is {digest!r}, but {found[files[0]]!r} in {files[0]}",
                hint="describe all images of a side with the same detections",
            )
    return found[files[0]]


def _common_recipe(attributes: Mapping[Path, Mapping[str, str]]) -> dict[str, str]:
    """Return those attributes that say how, not from which images, files were made. Raises unless all say the same."""
    recipes = {
        path: {key: text for key, text in texts.items() if key not in _OF_THE_IMAGES}
        for path, texts in attributes.items()
    }
    (first, expected), *others = recipes.items()
    for other, found in others:
        for key in sorted(expected.keys() | found.keys()):
            if expected.get(key) != found.get(key):
                hint = "describe all sides with the same baseline, weights and settings"
                if key in ("background_sha256", "steps"):
                    hint = 'give all sides the same steps and background, see "ndec-bench postprocess"'
                raise SubmissionError(
                    f"{other}: {key} is {found.get(key)!r}, but {expected.get(key)!r} in {first}", hint=hint
                )
    return expected


def _check_fit(paths: Mapping[str, Sequence[Path]], opened: Mapping[str, Sequence[DescriptorFile]]) -> None:
    """Raise SubmissionError unless all have one dimension, both sides norms or none, and no image is given twice."""
    files = {path: file for side in paths for path, file in zip(paths[side], opened[side], strict=True)}
    first = paths["query"][0]
    for path, file in files.items():
        if file.vectors.dimension != files[first].vectors.dimension:
            raise SubmissionError(
                f"{path}: {file.vectors.dimension} dimensions, but {files[first].vectors.dimension} in {first}",
                hint="describe all sides with the same model",
            )
    with_norms = [path for path in (*paths["query"], *paths["reference"]) if files[path].norms is not None]
    without = [path for path in (*paths["query"], *paths["reference"]) if files[path].norms is None]
    if with_norms and without:
        raise SubmissionError(
            f"{without[0]}: no dataset 'norms', but {with_norms[0]} has one",
            hint="describe both sides with the same baseline",
        )
    for side in paths.values():
        check_ids_apart([(str(path), files[path].vectors.ids) for path in side])
    for path, file in files.items():
        for other, rows in files.items() if file.invalid_ids else ():
            if common := file.invalid_ids & frozenset(rows.vectors.ids):
                raise SubmissionError(
                    f"{path}: {min(common)} of its invalid_ids is a row of {other} ({len(common):,} such ids)",
                    hint="give the images of both sides different ids: such a row would have no predictions",
                )
