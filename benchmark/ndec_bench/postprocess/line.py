"""The sides of a split on their way through the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ndec_bench.descriptors.files import without_suffix
from ndec_bench.errors import SubmissionError, UsageError
from ndec_bench.postprocess.registry import needs_background
from ndec_bench.postprocess.step import PLURAL
from ndec_bench.postprocess.workspace import id_order

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from ndec_bench.descriptors import VectorSource
    from ndec_bench.postprocess.files import Opened
    from ndec_bench.postprocess.plan import Plan
    from ndec_bench.postprocess.step import Change, Fitted, Side, Step
    from ndec_bench.postprocess.workspace import Workspace
    from ndec_bench.protocol import Metric

    # "fit" is a background that lies in a file of its own: steps are fitted on it, and it is not written.
    Stream = Side | Literal["fit"]
    Facts = Mapping[str, int | float]


class Line:
    """All sides as they are after the steps so far; each step is fitted once and changes every side.

    Parameters
    ----------
    work
        Where steps work.
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
        What each step of `run` found out.
    notes
        What a reader of the result should know.
    """

    def __init__(self, work: Workspace, metric: Metric, *, keep: Collection[Side]) -> None:
        self.metric = metric
        self.norms: dict[Side, NDArray[np.float32]] = {}
        self.facts: list[tuple[Step, Facts]] = []
        self.notes: list[str] = []
        self._work, self._keep = work, tuple(keep)
        self._streams: dict[Stream, VectorSource] = {}
        self._where: dict[Stream, Path] = {}

    def add(self, stream: Stream, file: Opened) -> None:
        """Add a side out of ``file``; its rows are put in the order of ids."""
        side = _side_of(stream)
        self._streams[stream], norms = self._in_order(file, side)
        self._where[stream] = file.path
        if norms is not None:
            self.norms[side] = norms

    def add_fused(self, side: Side, files: Sequence[Opened], plan: Plan) -> None:
        """Add a side out of several ``files`` of the same images, after the steps of ``plan`` up to its fusion.

        Raises
        ------
        SubmissionError
            If the files do not hold the same sides and images.
        """
        if plan.fusion is None:
            raise ValueError("files to fuse, and no fusion")
        for file in files:
            if side not in file.sides:
                raise SubmissionError(
                    f"{file.path}: no {PLURAL[side]}, which {next(f.path for f in files if side in f.sides)} has",
                    hint="give files with the same sides, or take the background out of all",
                )
        sources = [self._in_order(file, side)[0] for file in files]
        for file, source in zip(files, sources, strict=True):
            _check_same_ids(files[0].path, sources[0].ids, file.path, source.ids)
        for step in plan.before:
            fitted = step.fit({}, self._work)
            sources = [self._changed(fitted, side, source) for source in sources]
        self._streams[side] = plan.fusion.fuse(side, sources, self._work)
        self._where[side] = files[0].path
        for source in sources:
            self._work.release(source)
        if any(side in file.norms for file in files):
            self.notes.append(f"the norms of the {PLURAL[side]} are left out: each file has its own")

    def check(self, steps: Sequence[Step]) -> None:
        """Check that all that ``steps`` are fitted on is there and of one dimension, the background apart.

        Raises
        ------
        UsageError
            If a step is fitted on a side that is not there.
        SubmissionError
            If sides differ in dimension, or a background image is a query or a reference too.
        """
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

    def run(self, steps: Sequence[Change]) -> None:
        """Take all sides through ``steps``, each fitted on what those before it left."""
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

    def _in_order(self, file: Opened, side: Side) -> tuple[VectorSource, NDArray[np.float32] | None]:
        source, norms = file.sides[side], file.norms.get(side)
        order = id_order(source.ids)
        if order is None:
            return source, norms
        return self._work.gathered(f"{file.path}: {side}", source, order), None if norms is None else norms[order]

    def _changed(self, fitted: Fitted, side: Side, source: VectorSource) -> VectorSource:
        changed = fitted.change(side, source)
        if changed is not source:
            self._work.release(source)
        return changed

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
        ids = frozenset(map(without_suffix, self._streams[stream].ids))
        for other, source in self._streams.items():
            common = () if _side_of(other) == "background" else ids.intersection(map(without_suffix, source.ids))
            if common:
                raise SubmissionError(
                    f"{self._where[stream]}: background image {min(common)} is among the {PLURAL[_side_of(other)]} of "
                    f"{self._where[other]} too ({len(common):,} such ids)",
                    hint="take images outside queries and references; give --side background to change the "
                    "background images themselves",
                )

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
        f"{here}: no row of image {identifier}, which {there} has ({len(lacking | more):,} images stand in one of the "
        "two files only)",
        hint="fuse files of the same images",
    )
