"""The files that steps read and write, and the sides of a split on their way through the steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from ndec_bench.data.ids import check_apart
from ndec_bench.descriptors import (
    form_of,
    open_descriptors,
    read_attributes,
    read_background,
    read_submission,
    sha256_of_file,
)
from ndec_bench.descriptors.hdf5 import metric_attribute, number_attribute, open_file
from ndec_bench.descriptors.stored import close_all
from ndec_bench.errors import SubmissionError, UsageError
from ndec_bench.postprocess.sequence import STEPS_ATTRIBUTE, needs_background
from ndec_bench.postprocess.step import PLURAL, Side
from ndec_bench.postprocess.workspace import id_order

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from ndec_bench.descriptors import VectorSource
    from ndec_bench.postprocess.sequence import StepSequence
    from ndec_bench.postprocess.step import Fusion, Step
    from ndec_bench.postprocess.workspace import Workspace
    from ndec_bench.progress import Progress
    from ndec_bench.protocol import Metric

    Facts = Mapping[str, int | float]

Stream = Side | Literal["fit"]
"""``fit`` is a background that lies in a file of its own: steps are fitted on it, and it is not written."""


# What tells of the images rather than of the recipe may differ between files that belong together.
_OF_THE_IMAGES = frozenset({"images_sha256", "split"})
_JOINT = " + "


@dataclass(frozen=True)
class InputFile:
    """A file of either form, its vectors still in it; open until the end of a ``with`` block.

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
    form: Literal["submission", "vectors"]
    sha256: str
    sides: Mapping[Side, VectorSource]
    norms: Mapping[Side, NDArray[np.float32]]
    attributes: Mapping[str, str]
    metric: Metric
    invalid_ids: tuple[str, ...] = ()
    threshold: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        close_all(list(self.sides.values()))


def open_input(path: Path, side: Side, progress: Progress) -> InputFile:
    """Return the file at ``path``; if it holds one set of images these are taken for ``side``.

    Raises
    ------
    SubmissionError
        If it has neither form, or holds what `ndec_bench.descriptors` refuses.
    """
    if form_of(path) == "vectors":
        return open_vectors(path, side, progress)
    content = read_submission(path, progress=progress)
    sides: dict[Side, VectorSource] = {"query": content.queries, "reference": content.references}
    if content.background is not None:
        sides["background"] = content.background
    norms: dict[Side, NDArray[np.float32]] = {}
    if content.query_norms is not None and content.reference_norms is not None:
        norms = {"query": content.query_norms, "reference": content.reference_norms}
    return _described(path, "submission", sides, norms, content.invalid_ids, content.sha256)


def open_background(path: Path, progress: Progress) -> InputFile:
    """Return the background in the file at ``path``: that of a submission, or of a descriptor file its images.

    Raises SubmissionError, as `open_input`.
    """
    if form_of(path) == "vectors":
        return open_vectors(path, "background", progress)
    return _described(path, "submission", {"background": read_background(path, progress=progress)}, {})


def open_vectors(path: Path, side: Side, progress: Progress) -> InputFile:
    """Return the descriptor file at ``path``, whose images are those of ``side``. Raises SubmissionError."""
    file = open_descriptors(path, progress=progress, stage=f"checking {PLURAL[side]}")
    norms: Mapping[Side, NDArray[np.float32]] = {} if file.norms is None else {side: file.norms}
    return _described(path, "vectors", {side: file.vectors}, norms, tuple(sorted(file.invalid_ids)))


def _described(
    path: Path,
    form: Literal["submission", "vectors"],
    sides: Mapping[Side, VectorSource],
    norms: Mapping[Side, NDArray[np.float32]],
    invalid_ids: tuple[str, ...] = (),
    sha256: str = "",
) -> InputFile:
    try:
        with open_file(path) as file:
            metric, threshold = metric_attribute(file) or "l2", number_attribute(file, "threshold")
        digest = sha256 or sha256_of_file(path)
        return InputFile(path, form, digest, sides, norms, read_attributes(path), metric, invalid_ids, threshold)
    except BaseException:
        close_all(list(sides.values()))
        raise


def check_same_recipe(path: Path, attributes: Mapping[str, str], other: InputFile) -> None:
    """Raise SubmissionError if ``other`` was made by another model, or has gone through other steps, than ``path``.

    What only one of the files says is passed over, ``steps`` excepted.
    """
    found = other.attributes
    keys = (attributes.keys() & found.keys()) - _OF_THE_IMAGES - {"metric"}
    for key in sorted({*keys, STEPS_ATTRIBUTE}):
        if attributes.get(key, "") != found.get(key, ""):
            hint = "describe all images with the same baseline, weights and settings"
            if key == STEPS_ATTRIBUTE:
                hint = "take its images through the same steps first; those of a background with --side background"
            raise SubmissionError(
                f"{other.path}: {key} is {found.get(key, '')!r}, expected {attributes.get(key, '')!r} as for {path}",
                hint=hint,
            )


def joint(files: Sequence[InputFile]) -> dict[str, str]:
    """Return the attributes of files of the same images: where they differ, one after the other, joined by ``" + "``.

    Raises
    ------
    SubmissionError
        If the files say that they hold other images, have gone through other steps or have another metric.
    """
    attributes: dict[str, str] = {}
    for key in sorted({key for file in files for key in file.attributes}):
        # A file without the attribute metric means l2.
        said = [(file.path, file.metric if key == "metric" else file.attributes.get(key, "")) for file in files]
        if key not in _OF_THE_IMAGES | {"metric", STEPS_ATTRIBUTE}:
            texts = [value or "none" for _, value in said]
            attributes[key] = texts[0] if len(set(texts)) == 1 else _JOINT.join(texts)
            continue
        # A file that says nothing of its images may hold the same ones; of steps it says that there were none.
        telling = said if key == STEPS_ATTRIBUTE else [one for one in said if one[1]] or said
        for path, value in telling:
            if value != telling[0][1]:
                raise SubmissionError(
                    f"{path}: {key} is {value!r}, but {telling[0][1]!r} in {telling[0][0]}",
                    hint="fuse files of the same images that have gone through the same steps",
                )
        attributes[key] = telling[0][1]
    return attributes


class Line:
    """All sides as they are after the steps so far; each step is fitted once and changes every side.

    Parameters
    ----------
    work
        Where steps work.
    sequence
        The steps.
    metric
        Of the vectors as they come in.
    keep
        Sides to write in the end; others are changed only where a later step needs them.

    Attributes
    ----------
    metric
        Of the vectors as they are.
    norms
        Feature norms by side, in the order of rows.
    facts
        Each step with what it found out.
    notes
        What a reader of the result should know.
    """

    def __init__(self, work: Workspace, sequence: StepSequence, metric: Metric, *, keep: Collection[Side]) -> None:
        self.metric = metric
        self.norms: dict[Side, NDArray[np.float32]] = {}
        self.facts: list[tuple[Step, Facts]] = [(step, {}) for step in sequence.up_to_fusion]
        self.notes: list[str] = []
        self._work, self._sequence, self._keep = work, sequence, tuple(keep)
        self._streams: dict[Stream, VectorSource] = {}
        self._where: dict[Stream, Path] = {}

    def add(self, stream: Stream, file: InputFile) -> None:
        """Add a side out of ``file``; its rows are put in the order of ids."""
        side = _side_of(stream)
        self._streams[stream], norms = self._in_order(file, side)
        self._where[stream] = file.path
        if norms is not None:
            self.norms[side] = norms

    def add_fused(self, side: Side, files: Sequence[InputFile], fusion: Fusion) -> None:
        """Add a side out of several ``files`` of the same images, after the steps up to their fusion.

        Raises
        ------
        SubmissionError
            If the files do not hold the same sides and images.
        """
        for file in files:
            if side not in file.sides:
                raise SubmissionError(
                    f"{file.path}: no {PLURAL[side]}, which {next(f.path for f in files if side in f.sides)} has",
                    hint="give files with the same sides, or take the background out of all",
                )
        sources = [self._in_order(file, side)[0] for file in files]
        for file, source in zip(files, sources, strict=True):
            _check_same_ids(files[0].path, sources[0].ids, file.path, source.ids)
        for step in self._sequence.before:
            change = step.fit({}, self._work).change
            for place, source in enumerate(sources):
                sources[place] = change(side, source)
                if sources[place] is not source:
                    self._work.release(source)
        self._streams[side] = fusion.fuse(side, sources, self._work)
        self._where[side] = files[0].path
        for source in sources:
            self._work.release(source)
        if any(side in file.norms for file in files):
            self.notes.append(f"the norms of the {PLURAL[side]} are left out: each file has its own")

    def run(self) -> None:
        """Take all sides through the steps after the fusion, each fitted on what those before it left.

        Raises
        ------
        UsageError
            If a step is fitted on a side that is not there.
        SubmissionError
            If sides differ in dimension, or a background image is a query or a reference too; or as the steps raise it.
        """
        steps = self._sequence.after
        self._check(steps)
        for number, step in enumerate(steps, start=1):
            self._work.stage = f"step {number} of {len(steps)}, "
            fitted = step.fit({side: self._streams[self._stream_of(side)] for side in step.fitted_on}, self._work)
            wanted = [stream for stream in self._streams if self._is_wanted(stream, step, steps[number:])]
            before = self._streams
            self._streams = {stream: fitted.change(_side_of(stream), before[stream]) for stream in wanted}
            for stream, source in before.items():
                if self._streams.get(stream) is not source:
                    self._work.release(source)
            for source in fitted.scratch:
                self._work.release(source)
            self.metric = step.metric or self.metric
            self.facts.append((step, fitted.facts))
            if step.final and "background" in self._keep:
                self.notes.append(f"the background is left out: it has no use after step {step.name}")
        self._work.stage = ""

    def written(self) -> dict[Side, VectorSource]:
        """Return the sides to write."""
        return {side: self._streams[side] for side in self._keep if side in self._streams}

    def _in_order(self, file: InputFile, side: Side) -> tuple[VectorSource, NDArray[np.float32] | None]:
        source, norms = file.sides[side], file.norms.get(side)
        order = id_order(source.ids)
        if order is None:
            return source, norms
        return self._work.gathered(f"{file.path}: {side}", source, order), None if norms is None else norms[order]

    def _check(self, steps: Sequence[Step]) -> None:
        """Check that all that ``steps`` are fitted on is there and of one dimension, the background apart."""
        for step in steps:
            for side in step.fitted_on:
                self._check_there(step, side)
        first = next(iter(self._streams))
        for stream, source in self._streams.items():
            if source.dimension != self._streams[first].dimension:
                raise SubmissionError(
                    f"{self._where[stream]}: {source.dimension:,} dimensions, but "
                    f"{self._streams[first].dimension:,} in {self._where[first]}",
                    hint="describe all images with the same model",
                )
        self._check_apart()

    def _check_there(self, step: Step, side: Side) -> None:
        if self._stream_of(side) in self._streams:
            return
        if side == "background":
            raise UsageError(
                f"step {step.name} is fitted on background images, and there are none",
                hint="give descriptors of images outside queries and references, --background FILE",
            )
        raise UsageError(
            f"step {step} is fitted on the {PLURAL[side]}, which are not there",
            hint="give a submission file with both sides, or fit on the background",
        )

    def _check_apart(self) -> None:
        stream = self._stream_of("background")
        if stream not in self._streams:
            return
        for other, source in self._streams.items():
            if _side_of(other) != "background":
                others = f"the {PLURAL[_side_of(other)]} of {self._where[other]}"
                check_apart(str(self._where[stream]), self._streams[stream].ids, others, source.ids)

    def _stream_of(self, side: Side) -> Stream:
        return "fit" if side == "background" and "fit" in self._streams else side

    def _is_wanted(self, stream: Stream, step: Step, later: Sequence[Step]) -> bool:
        if _side_of(stream) == "background" and step.final:
            return False
        return stream in self._keep or (stream == self._stream_of("background") and needs_background(later))


def _side_of(stream: Stream) -> Side:
    return "background" if stream == "fit" else stream


def _check_same_ids(first: Path, expected: tuple[str, ...], path: Path, found: tuple[str, ...]) -> None:
    if expected == found:
        return
    lacking, more = set(expected) - set(found), set(found) - set(expected)
    here, there, identifier = (path, first, min(lacking)) if lacking else (first, path, min(more))
    raise SubmissionError(
        f"{here}: no row of image {identifier}, which {there} has ({len(lacking | more):,} images are in one of the "
        "two files only)",
        hint="fuse files of the same images",
    )
