"""Submissions packed from the descriptor files of both sides."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, cast

from ndec_bench.descriptors.files import open_descriptors
from ndec_bench.descriptors.hdf5 import read_attributes
from ndec_bench.descriptors.stored import IN_MEMORY, KEPT_BYTES, in_memory, told
from ndec_bench.descriptors.submission import Submission
from ndec_bench.descriptors.writing import write_submission
from ndec_bench.errors import SubmissionError
from ndec_bench.progress import silent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ndec_bench.descriptors.files import DescriptorFile
    from ndec_bench.progress import Progress
    from ndec_bench.protocol import Metric

DETECTIONS = "detections_sha256"
_OF_THE_IMAGES = frozenset({"images_sha256", DETECTIONS})
"""Attributes of a descriptor file that name the images, not the recipe: those may differ between the sides."""


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
    recipe = _common_recipe({paths[side]: texts for side, texts in attributes.items()})
    metric = recipe.pop("metric", "l2")
    if metric not in ("l2", "ip"):
        raise SubmissionError(f"{query}: attribute metric is {metric[:40]!r}", hint='expected "l2" or "ip"')
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
        _check_fit(paths, files)
        submission = Submission(
            queries=in_memory(files["query"].vectors),
            references=files["reference"].vectors,
            background=files["background"].vectors if background else None,
            metric=cast("Metric", metric),
            split=split,
            invalid_ids=tuple(sorted(frozenset().union(*(file.invalid_ids for file in files.values())))),
            query_norms=files["query"].norms,
            reference_norms=files["reference"].norms,
        )
        write_submission(out, submission, recipe, progress=told(progress, len(submission.references)))
        stack.pop_all()  # all is well: the files stay open for the submission
    return submission


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


def _check_fit(paths: Mapping[str, Path], files: Mapping[str, DescriptorFile]) -> None:
    """Raise SubmissionError unless all files have the same dimension, and both sides norms or none."""
    query, reference = files["query"], files["reference"]
    for side, file in files.items():
        if file.vectors.dimension != query.vectors.dimension:
            raise SubmissionError(
                f"{paths[side]}: {file.vectors.dimension} dimensions, but {query.vectors.dimension} in "
                f"{paths['query']}",
                hint="describe all sides with the same model",
            )
    if (query.norms is None) != (reference.norms is None):
        has, lacks = ("reference", "query") if query.norms is None else ("query", "reference")
        raise SubmissionError(
            f"{paths[lacks]}: no dataset 'norms', but {paths[has]} has one",
            hint="describe both sides with the same baseline",
        )
