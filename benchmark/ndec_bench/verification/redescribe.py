"""A sample of a submission's images described again: which images, and how far their vectors lie from the stored ones.

Describing is the caller's; this module knows no baseline.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from ndec_bench.descriptors import open_descriptors, sha256_of_file
from ndec_bench.errors import DataError, SubmissionError, UsageError
from ndec_bench.postprocess import needs_background, parse_steps, postprocess_sides
from ndec_bench.postprocess.sequence import BACKGROUND_ATTRIBUTE, STEPS_ATTRIBUTE
from ndec_bench.postprocess.step import SEPARATOR, Fusion
from ndec_bench.progress import silent
from ndec_bench.randomness import Stream

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from ndec_bench.descriptors import Submission, VectorSource
    from ndec_bench.progress import Progress

Side = Literal["queries", "references"]

LEAST_COSINE = 0.999
"""Float16 files and other machines stay above 0.9999; another model or another preprocessing does not reach this."""
LEAST_SAMPLE = 1000
"""Fewest images of a sample that goes on record, unless it is all: of files in which one query in a hundred was given
another vector, 500 queries miss one in 150."""
MOST_LENGTH = 0.01
"""Share by which the length of a vector, and a norm, may differ: a cosine does not see either."""


@dataclass(frozen=True)
class Sample:
    """Images drawn of both sides, sorted by id."""

    queries: tuple[str, ...]
    references: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.queries) + len(self.references)

    def of(self, side: Side) -> tuple[str, ...]:
        """Return the ids of one side."""
        return self.queries if side == "queries" else self.references


@dataclass(frozen=True)
class Agreement:
    """How far vectors described again lie from the stored ones.

    Attributes
    ----------
    images
        Images compared.
    lowest_cosine, lowest_id
        Least cosine, and whose.
    mean_cosine
        Mean over all images.
    length, length_id
        Largest difference of lengths as a share of the stored length, and whose.
    norm, norm_id
        The same of the norms next to the vectors; None where there are none.
    """

    images: int
    lowest_cosine: float
    lowest_id: str
    mean_cosine: float
    length: float
    length_id: str
    norm: float | None = None
    norm_id: str | None = None

    @property
    def passed(self) -> bool:
        """Return whether every vector, length and norm is near enough."""
        return self.lowest_cosine >= LEAST_COSINE and max(self.length, self.norm or 0.0) <= MOST_LENGTH


def drawn(submission: Submission, count: int, seed: int) -> Sample:
    """Return ``count`` images, as many queries as references; more of one side where the other has too few.

    Queries are few, and each counts for more than a reference does: in proportion, few of a sample would be queries.
    The images follow from the digest of the file, ``count`` and ``seed``. A seed that is chosen after the file was
    published keeps submitters from knowing them.

    Raises
    ------
    UsageError
        If ``count`` is below 2.
    """
    if count < 2:
        raise UsageError(f"a sample of {count} images", hint="expected at least 2, one of each side")
    queries, references = sorted(submission.queries.ids), sorted(submission.references.ids)
    if count >= len(queries) + len(references):
        return Sample(tuple(queries), tuple(references))
    share = min(max(count // 2, count - len(references)), len(queries))
    stream = Stream("reproduce", submission.sha256, count, seed)
    return Sample(
        tuple(sorted(stream.child("queries").sample(queries, share))),
        tuple(sorted(stream.child("references").sample(references, min(count - share, len(references))))),
    )


def steps_of(attributes: Mapping[str, str]) -> tuple[str, ...]:
    """Return the steps that a submission file says its vectors went through, as far as a sample can repeat them.

    Raises
    ------
    UsageError
        If a step is unknown, joins several files, or is fitted on queries or references, all of which it would need.
    """
    written = attributes.get(STEPS_ATTRIBUTE, "")
    steps = parse_steps(written.split(SEPARATOR) if written else ())
    for step in steps:
        fitted = {"query", "reference", "images"}.intersection(step.fitted_on)
        if fitted or isinstance(step, Fusion):
            reason = "is fitted on queries or references" if fitted else "joins several files"
            raise UsageError(f"step {step.name} {reason}: a sample cannot repeat it", hint="take --whole")
    return tuple(map(str, steps))


def check_background(attributes: Mapping[str, str], background: Path | None) -> None:
    """Check the descriptors that the steps of a submission file were fitted on.

    Raises
    ------
    UsageError
        If there are none and a step needs them.
    DataError
        If they are not those whose digest the file has.
    """
    steps = steps_of(attributes)
    if not needs_background(steps):
        return
    if background is None:
        raise UsageError(
            f"the steps {' '.join(steps)} need the descriptors of the background images",
            hint="give the file they were fitted on with --background, or take --whole",
        )
    expected = attributes.get(BACKGROUND_ATTRIBUTE, "").split(SEPARATOR)[0]
    found = sha256_of_file(background)
    if expected and found != expected:
        raise DataError(
            f"{background}: SHA-256, found {found}, expected {expected} of the submission file",
            hint="give the descriptors of the background before all steps",
        )


def stepped(
    described: Mapping[Side, Path],
    attributes: Mapping[str, str],
    *,
    background: Path | None,
    work: Path,
    progress: Progress = silent,
) -> dict[Side, Path]:
    """Return the descriptor files after the steps of a submission file, written under ``work``; as given without steps.

    Parameters
    ----------
    described
        Descriptor file of each side, before the steps.
    attributes
        Those of the submission file.
    background
        Descriptors that steps are fitted on, see `check_background`.
    work
        Folder.
    progress
        Called as ``progress(stage, done, total)`` in rows.

    Raises
    ------
    UsageError, SubmissionError, DataError
        As `ndec_bench.postprocess.postprocess_sides`.
    """
    steps = steps_of(attributes)
    if not steps:
        return dict(described)
    out: dict[Side, Path] = {side: work / f"{side}-after-steps.h5" for side in described}
    postprocess_sides(
        described["queries"],
        described["references"],
        steps,
        background=background if needs_background(steps) else None,
        out_query=out["queries"],
        out_reference=out["references"],
        progress=progress,
    )
    return out


def agreement(submission: Submission, described: Mapping[Side, Path]) -> Agreement:
    """Return how far the vectors in the descriptor files ``described`` lie from those of the same images as submitted.

    Raises
    ------
    SubmissionError
        If dimensions differ, an image was not submitted, or only one of the two has norms.
    """
    ids: list[str] = []
    cosines: list[float] = []
    lengths: list[float] = []
    norms: list[float] = []
    sides: dict[Side, tuple[VectorSource, NDArray[np.float32] | None]] = {
        "queries": (submission.queries, submission.query_norms),
        "references": (submission.references, submission.reference_norms),
    }
    for side, (source, stored_norms) in sides.items():
        with open_descriptors(described[side]) as file:
            if file.vectors.dimension != source.dimension:
                raise SubmissionError(
                    f"{described[side]}: {file.vectors.dimension} dimensions after the steps, {source.dimension} in "
                    "the submission",
                    hint="describe with the baseline, weights and steps that made the file",
                )
            places = {image_id: row for row, image_id in enumerate(source.ids)}
            rows = [places[image_id] for image_id in file.vectors.ids]
            ids += file.vectors.ids
            for place, row in enumerate(rows):
                again = file.vectors.read(place, place + 1)[0].astype(np.float64)
                before = source.read(row, row + 1)[0].astype(np.float64)
                size, stored = float(np.linalg.norm(again)), float(np.linalg.norm(before))
                cosines.append(min(max(float(again @ before) / (size * stored), -1.0), 1.0))
                lengths.append(abs(size - stored) / stored)
            if (file.norms is None) != (stored_norms is None):
                raise SubmissionError(
                    f"{described[side]}: {'no norms' if file.norms is None else 'norms'}, the submission has "
                    f"{'none' if stored_norms is None else 'some'}",
                    hint="describe with the baseline and weights that made the file",
                )
            if file.norms is not None and stored_norms is not None:
                norms += _relative(file.norms.astype(np.float64), stored_norms[rows].astype(np.float64))
    least, longest = int(np.argmin(cosines)), int(np.argmax(lengths))
    widest = int(np.argmax(norms)) if norms else None
    return Agreement(
        images=len(ids),
        lowest_cosine=cosines[least],
        lowest_id=ids[least],
        mean_cosine=float(np.mean(cosines)),
        length=lengths[longest],
        length_id=ids[longest],
        norm=None if widest is None else norms[widest],
        norm_id=None if widest is None else ids[widest],
    )


def _relative(again: NDArray[np.float64], before: NDArray[np.float64]) -> list[float]:
    scale = np.maximum(np.maximum(again, before), np.finfo(np.float64).tiny)
    shares: list[float] = (np.abs(again - before) / scale).tolist()
    return shares
