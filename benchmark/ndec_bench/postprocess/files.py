"""The files that steps read and write: one view of both forms, a submission and a file of one set of images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from ndec_bench.descriptors import (
    Descriptors,
    Submission,
    form_of,
    open_descriptors,
    read_attributes,
    read_background,
    read_submission,
    sha256_of_file,
    write_submission,
)
from ndec_bench.descriptors.hdf5 import metric_attribute, number_attribute, open_file
from ndec_bench.descriptors.stored import close_all
from ndec_bench.postprocess.step import PLURAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from ndec_bench.descriptors import VectorSource
    from ndec_bench.postprocess.step import Side
    from ndec_bench.progress import Progress
    from ndec_bench.protocol import Metric

Form = Literal["submission", "vectors"]


@dataclass(frozen=True)
class Opened:
    """A file of either form, its vectors still in it; open until `close` or the end of a ``with`` block.

    Attributes
    ----------
    path, form, sha256
        The file, ``submission`` or ``vectors`` (one set of images), and its digest.
    sides
        Its vectors; a file of one set holds that one side.
    norms
        (n,) float32 feature norms of a side, where the file has them.
    attributes
        Text attributes, by name.
    metric
        ``l2`` or ``ip``.
    invalid_ids
        Images that could not be decoded, sorted; their rows are left out of ``sides``.
    threshold
        The authors' own, if declared.
    """

    path: Path
    form: Form
    sha256: str
    sides: Mapping[Side, VectorSource]
    norms: Mapping[Side, NDArray[np.float32]]
    attributes: Mapping[str, str]
    metric: Metric
    invalid_ids: tuple[str, ...] = ()
    threshold: float | None = None

    def close(self) -> None:
        """Close the file."""
        close_all(list(self.sides.values()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def opened(path: Path, side: Side, progress: Progress) -> Opened:
    """Return the file at ``path``; if it holds one set of images these are taken for ``side``.

    Raises
    ------
    SubmissionError
        If it has neither form, or holds what `ndec_bench.descriptors` refuses.
    """
    return _submission(path, progress) if form_of(path) == "submission" else opened_vectors(path, side, progress)


def opened_background(path: Path, progress: Progress) -> Opened:
    """Return the background in the file at ``path``: that of a submission, or of a descriptor file its images.

    Raises SubmissionError, as `opened`.
    """
    if form_of(path) == "vectors":
        return opened_vectors(path, "background", progress)
    source = read_background(path, progress=progress)
    return _described(path, "submission", {"background": source}, {})


def opened_vectors(path: Path, side: Side, progress: Progress) -> Opened:
    """Return the descriptor file at ``path``, whose images are those of ``side``. Raises SubmissionError."""
    file = open_descriptors(path, progress=progress, stage=f"checking {PLURAL[side]}")
    norms: Mapping[Side, NDArray[np.float32]] = {} if file.norms is None else {side: file.norms}
    return _described(path, "vectors", {side: file.vectors}, norms, tuple(sorted(file.invalid_ids)))


def _described(
    path: Path,
    form: Form,
    sides: Mapping[Side, VectorSource],
    norms: Mapping[Side, NDArray[np.float32]],
    invalid_ids: tuple[str, ...] = (),
) -> Opened:
    try:
        with open_file(path) as file:
            metric, threshold = metric_attribute(file) or "l2", number_attribute(file, "threshold")
        return Opened(
            path, form, sha256_of_file(path), sides, norms, read_attributes(path), metric, invalid_ids, threshold
        )
    except BaseException:
        close_all(list(sides.values()))
        raise


def _submission(path: Path, progress: Progress) -> Opened:
    content = read_submission(path, progress=progress)
    sides: dict[Side, VectorSource] = {"query": content.queries, "reference": content.references}
    if content.background is not None:
        sides["background"] = content.background
    norms: dict[Side, NDArray[np.float32]] = {}
    if content.query_norms is not None and content.reference_norms is not None:
        norms = {"query": content.query_norms, "reference": content.reference_norms}
    return Opened(
        path=path,
        form="submission",
        sha256=content.sha256,
        sides=sides,
        norms=norms,
        attributes=read_attributes(path),
        metric=content.metric,
        invalid_ids=content.invalid_ids,
        threshold=content.threshold,
    )


def write_sides(
    path: Path,
    sides: Mapping[Side, VectorSource],
    attributes: Mapping[str, str],
    *,
    norms: Mapping[Side, NDArray[np.float32]],
    invalid_ids: Sequence[str],
    progress: Progress,
) -> None:
    """Write a submission file; ``attributes`` hold its metric. Raises DataError."""
    queries = sides["query"]
    submission = Submission(
        queries=Descriptors(queries.ids, queries.read(0, len(queries))),
        references=sides["reference"],
        background=sides.get("background"),
        invalid_ids=tuple(invalid_ids),
        query_norms=norms.get("query"),
        reference_norms=norms.get("reference"),
    )
    write_submission(path, submission, attributes, progress=progress)
