"""Steps applied to files: fitted once, in order, each on what the steps before it left.

After each step the vectors are what a file of them would hold, float32: two commands with a step each and one command
with both steps give the same vectors.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ndec_bench.atomic import check_writable
from ndec_bench.descriptors import Descriptors, Submission, form_of, write_descriptors, write_submission
from ndec_bench.descriptors.hdf5 import answer
from ndec_bench.descriptors.submission import INDEPENDENT_ATTRIBUTE
from ndec_bench.errors import SubmissionError, UsageError
from ndec_bench.postprocess.sequence import (
    after,
    check_going_on,
    in_sequence,
    needs_background,
    parse_steps,
    with_steps,
)
from ndec_bench.postprocess.sides import (
    Line,
    check_same_recipe,
    joint,
    open_background,
    open_input,
    open_vectors,
)
from ndec_bench.postprocess.workspace import Workspace
from ndec_bench.progress import silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from ndec_bench.postprocess.sequence import StepSequence
    from ndec_bench.postprocess.sides import Facts, InputFile
    from ndec_bench.postprocess.step import Side, Step
    from ndec_bench.progress import Progress
    from ndec_bench.protocol import Metric


@dataclass(frozen=True)
class OutputFile:
    """A file that was written, with its images by side."""

    path: Path
    images: Mapping[Side, int]


@dataclass(frozen=True)
class Report:
    """What was done.

    Attributes
    ----------
    files
        The files that were written.
    steps
        The steps in full, in order, each with what it found out.
    dimension, metric
        Of the vectors that were written.
    background_sha256
        Digest of the file with the background that steps were fitted on; None if none was.
    query_independent
        No query's vector depends on other queries.
    notes
        What a reader of the files should know.
    """

    files: tuple[OutputFile, ...]
    steps: tuple[tuple[str, Facts], ...]
    dimension: int
    metric: Metric
    background_sha256: str | None
    query_independent: bool
    notes: tuple[str, ...] = ()


def postprocess_file(
    path: Path,
    out: Path,
    steps: Sequence[Step | str],
    *,
    background: Path | None = None,
    side: Side | None = None,
    others: Sequence[Path] = (),
    unranked: bool = False,
    threads: int | None = None,
    backend: str = "auto",
    progress: Progress = silent,
) -> Report:
    """Return the report of ``steps`` applied to the file ``path``, written to ``out`` in the same form.

    Rows are sorted by id. Text attributes are kept; ``steps`` is added to, ``background_sha256`` names the background,
    ``metric`` becomes what the steps make it. Feature norms and ``invalid_ids`` are carried over; a ``threshold`` is
    not, for it was on the scale of other scores. The same input gives the same bytes, whatever ``threads``.

    Parameters
    ----------
    path
        A submission (both sides are changed, and the background in it) or a descriptor file.
    out
        The file to write; it may be ``path`` itself.
    steps
        At least one, in order, as written or as `parse_step` reads them.
    background
        Descriptors of background images after the steps that ``path`` has gone through, and after the fusion if there
        is one; None takes the background inside a submission.
    side
        What the images of a descriptor file are; needed where a step treats the sides differently. Images of
        ``background`` are changed as the background is, and steps are fitted on them where no ``background`` is given.
    others
        Further files of the same images, for a fusion step.
    unranked
        Allow steps that look at other queries; the attribute ``query_independent`` of ``out`` is then ``no``.
    threads
        Threads; None for all cores this process may use.
    backend
        Library of the neighbour search; no result depends on it.
    progress
        Called as ``progress(stage, done, total)`` in rows.

    Raises
    ------
    UsageError
        If steps do not fit together in this order, or what they need is missing.
    SubmissionError
        If a file cannot be read, files do not belong together, or a formula has no value for the vectors.
    DataError
        If ``out`` cannot be written.
    """
    sequence = in_sequence(parse_steps(steps), fusing=bool(others), unranked=unranked)
    _check_side(path, others, sequence, side)
    check_writable(out, regular=True)
    fitting = needs_background(sequence.steps)
    with ExitStack() as stack:
        files = [stack.enter_context(open_input(one, side or "images", progress)) for one in (path, *others)]
        first, attributes = files[0], joint(files)
        check_going_on(path, attributes)
        fit = None
        if background is not None and fitting:
            fit = stack.enter_context(open_background(background, progress))
            check_same_recipe(path, with_steps(attributes, sequence.up_to_fusion), fit)
            if "background" in first.sides and fit.sha256 == first.sha256:
                fit = None
        work = stack.enter_context(Workspace(out, threads=threads, backend=backend, progress=progress))
        line = Line(work, sequence, first.metric, keep=first.sides)
        # A side that only a further file has is missed in the first.
        for name in dict.fromkeys(name for file in files for name in file.sides):
            if sequence.fusion is None:
                line.add(name, first)
            else:
                line.add_fused(name, files, sequence.fusion)
        if fit is not None:
            line.add("fit", fit)
        line.run()
        fitted = (fit or first).sha256 if fitting else None
        texts = after(attributes, sequence.steps, metric=line.metric, fitted=fitted)
        invalid = sorted({identifier for file in files for identifier in file.invalid_ids})
        if first.form == "submission":
            _write_submission(out, line, texts, invalid, progress)
        else:
            (name,) = first.sides
            _write_side(out, line, name, texts, invalid, progress)
        if background is not None and not fitting:
            line.notes.append(f"{background} was not used: no step is fitted on the background")
        written = OutputFile(out, {name: len(source) for name, source in line.written().items()})
        return _report([written], line, fitted, texts, files)


def postprocess_sides(
    query: Path,
    reference: Path,
    steps: Sequence[Step | str],
    *,
    out_query: Path,
    out_reference: Path,
    background: Path | None = None,
    out_background: Path | None = None,
    unranked: bool = False,
    threads: int | None = None,
    backend: str = "auto",
    progress: Progress = silent,
) -> Report:
    """Return the report of ``steps`` applied to the descriptor files of both sides, fitted once.

    Parameters
    ----------
    query, reference
        Descriptor files of one recipe.
    steps
        At least one, in order, as for `postprocess_file`; no fusion.
    out_query, out_reference
        The files to write, see `postprocess_file`.
    background
        Descriptors of background images of the same recipe; needed where a step is fitted on them.
    out_background
        The background after the steps, if it is wanted; not after a step that leaves it no use (``score-norm``).
    unranked, threads, backend, progress
        As for `postprocess_file`.

    Raises
    ------
    UsageError, SubmissionError, DataError
        As `postprocess_file`.
    """
    sequence = in_sequence(parse_steps(steps), fusing=False, unranked=unranked)
    outs: dict[Side, Path] = {"query": out_query, "reference": out_reference}
    if out_background is not None:
        outs["background"] = out_background
        last = sequence.steps[-1]
        if background is None or last.final:
            reason = "there is none" if background is None else f"it has no use after step {last.name}"
            raise UsageError(f"{out_background}: no background to write, {reason}", hint="leave out_background out")
    for out in outs.values():
        check_writable(out, regular=True)
    fitting = needs_background(sequence.steps)
    with ExitStack() as stack:
        files: dict[Side, InputFile] = {
            "query": stack.enter_context(open_vectors(query, "query", progress)),
            "reference": stack.enter_context(open_vectors(reference, "reference", progress)),
        }
        if background is not None and (fitting or "background" in outs):
            files["background"] = stack.enter_context(open_background(background, progress))
        work = stack.enter_context(Workspace(out_query, threads=threads, backend=backend, progress=progress))
        line = Line(work, sequence, files["query"].metric, keep=outs)
        for name, file in files.items():
            check_going_on(file.path, file.attributes)
            check_same_recipe(query, files["query"].attributes, file)
            line.add(name, file)
        line.run()
        fitted = files["background"].sha256 if fitting else None
        written, texts = [], {}
        for name, out in outs.items():
            texts = after(files[name].attributes, sequence.steps, metric=line.metric, fitted=fitted)
            _write_side(out, line, name, texts, files[name].invalid_ids, progress)
            written.append(OutputFile(out, {name: len(line.written()[name])}))
        return _report(written, line, fitted, texts, files.values())


def _write_side(
    out: Path, line: Line, side: Side, texts: Mapping[str, str], invalid_ids: Sequence[str], progress: Progress
) -> None:
    norms = line.norms.get(side)
    write_descriptors(out, line.written()[side], texts, norms=norms, invalid_ids=invalid_ids, progress=progress)


def _write_submission(
    out: Path, line: Line, texts: Mapping[str, str], invalid_ids: Sequence[str], progress: Progress
) -> None:
    sides = line.written()
    queries = sides["query"]
    submission = Submission(
        queries=Descriptors(queries.ids, queries.read(0, len(queries))),
        references=sides["reference"],
        background=sides.get("background"),
        invalid_ids=tuple(invalid_ids),
        query_norms=line.norms.get("query"),
        reference_norms=line.norms.get("reference"),
    )
    write_submission(out, submission, texts, progress=progress)


def _report(
    written: Sequence[OutputFile],
    line: Line,
    fitted: str | None,
    texts: Mapping[str, str],
    files: Iterable[InputFile],
) -> Report:
    notes = list(line.notes)
    if any(file.threshold is not None for file in files):
        notes.append("the threshold is left out: it was on the scale of the scores before these steps")
    independent = answer(texts.get(INDEPENDENT_ATTRIBUTE, "yes")) is not False
    if not independent:
        notes.append("the vectors of queries depend on other queries: the result cannot be ranked")
    return Report(
        files=tuple(written),
        steps=tuple((str(step), facts) for step, facts in line.facts),
        dimension=next(iter(line.written().values())).dimension,
        metric=line.metric,
        background_sha256=fitted,
        query_independent=independent,
        notes=tuple(notes),
    )


def _check_side(path: Path, others: Sequence[Path], sequence: StepSequence, side: Side | None) -> None:
    """Raise UsageError if ``side`` does not fit the form of ``path``, SubmissionError if further files have another."""
    submission = form_of(path) == "submission"
    for other in others:
        if (form_of(other) == "submission") != submission:
            raise SubmissionError(
                f"{other} and {path} are not of one form", hint="fuse submissions, or descriptor files"
            )
    if submission:
        if side is not None:
            raise UsageError(f"{path} holds both sides, --side {side} says otherwise", hint="leave --side out")
        return
    asking = [step for step in sequence.steps if step.per_side or {"query", "reference"}.intersection(step.fitted_on)]
    if side is None and asking:
        raise UsageError(
            f"{path} holds one set of images, and step {asking[0].name} treats the sides differently",
            hint="say what they are: --side query, reference or background",
        )
    if side == "background" and sequence.steps[-1].final:
        raise UsageError(
            f"step {sequence.steps[-1].name} leaves the background without use",
            hint="change queries and references alone",
        )
