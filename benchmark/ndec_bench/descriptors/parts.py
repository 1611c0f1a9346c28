"""Submissions in the form of isc2021: several HDF5 files per side, each with ``vectors`` and ``image_names``."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ndec_bench.descriptors.hdf5 import (
    has,
    metric_attribute,
    number_attribute,
    open_file,
    read_ids,
    require,
    sha256_of_file,
    text_attribute,
)
from ndec_bench.descriptors.stored import KEPT_BYTES, Joined, StoredVectors, read_norms, told
from ndec_bench.descriptors.submission import (
    IN_MEMORY,
    INDEPENDENT_ATTRIBUTE,
    Submission,
    ids_and_vectors,
    in_memory,
    without_suffix,
)
from ndec_bench.errors import SubmissionError, UsageError
from ndec_bench.progress import silent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import h5py
    from numpy.typing import NDArray

    from ndec_bench.descriptors.vectors import VectorSource
    from ndec_bench.progress import Progress
    from ndec_bench.protocol import Metric

T = TypeVar("T")


@dataclass(frozen=True)
class _Part:
    """One file, opened, described but its vectors not read."""

    path: Path
    ids: tuple[str, ...]
    vectors: h5py.Dataset
    invalid: frozenset[str]
    metric: Metric | None
    split: str | None
    threshold: float | None
    file: h5py.File
    independent: bool


def read_submission_parts(
    queries: Sequence[Path],
    references: Sequence[Path],
    backgrounds: Sequence[Path] = (),
    *,
    progress: Progress = silent,
    keep: int = KEPT_BYTES,
) -> Submission:
    """Return the submission that the HDF5 files of each side make together.

    Each file holds ``vectors`` (n, d) and ``image_names`` (n,); optionally ``norms`` (n,), ``invalid_ids`` and the
    attributes ``metric``, ``split``, ``threshold`` and ``query_independent``. Rows are in the order of the files. Of
    image names a suffix ``.jpg``, ``.jpeg`` or ``.png`` is taken off, as isc2021's reader does with two of them;
    nothing else is repaired. Files that name a metric or a threshold name the same; where files are for different
    splits, the submission names none.
    ``sha256`` is that over the sorted lines ``side TAB sha256-of-file LF`` (sides ``query``, ``reference``,
    ``background``).

    Parameters
    ----------
    queries, references, backgrounds
        The files of each side; at least one query file and one reference file.
    progress
        As for `read_submission`.
    keep
        References, or background, of at most so many bytes together are kept in memory.

    Raises
    ------
    SubmissionError
        If a file is not what `read_submission` would accept, an id stands in two files of a side, some files of
        queries and references have norms and others none, or files differ in dimension, type, metric or threshold. The
        message names both files.
    UsageError
        If a side has no file or a file stands twice on one side.
    """
    paths = {"query": queries, "reference": references, "background": backgrounds}
    _check_paths(paths)
    with ExitStack() as stack:
        sides = {side: [_opened(path, stack) for path in files] for side, files in paths.items()}
        parts = [part for files in sides.values() for part in files]
        _check_same(parts)
        for files in sides.values():
            _check_apart(files)
        metric: Metric | None = _agreed("metric", [(part.path, part.metric) for part in parts])
        splits = {part.split for part in parts if part.split is not None}
        _check_norms([*sides["query"], *sides["reference"]])
        queried = _sources(sides["query"], "checking queries", progress, IN_MEMORY)
        compared = _sources(sides["reference"], "checking references", progress, keep)
        submission = Submission(
            queries=in_memory(_joined(queried)),
            references=_joined(compared),
            background=(
                _joined(_sources(sides["background"], "checking background", progress, keep)) if backgrounds else None
            ),
            metric=metric or "l2",
            split=splits.pop() if len(splits) == 1 else None,
            stored_dtype=parts[0].vectors.dtype.name,
            invalid_ids=tuple(sorted(frozenset().union(*(part.invalid for part in parts)))),
            sha256=_digest(paths),
            query_norms=_norms(sides["query"], queried),
            reference_norms=_norms(sides["reference"], compared),
            threshold=_agreed("threshold", [(part.path, part.threshold) for part in parts]),
            query_independent=all(part.independent for part in parts),
        )
        # All is well: the files stay open for the submission.
        stack.pop_all()
    return submission


def _check_paths(paths: Mapping[str, Sequence[Path]]) -> None:
    for side in ("query", "reference"):
        if not paths[side]:
            raise UsageError(f"no {side} file", hint=f"give at least one, --{side} FILE")
    for side, files in paths.items():
        twice = [path for number, path in enumerate(files) if path in files[:number]]
        if twice:
            raise UsageError(f"{twice[0]} stands twice among the {side} files", hint="give each file once")


def _opened(path: Path, stack: ExitStack) -> _Part:
    file = stack.enter_context(open_file(path))
    require(path, file, ("vectors", "image_names"), "expected vectors and image_names, as isc2021 has them")
    ids, dataset = ids_and_vectors(path, file, "vectors", "image_names")
    invalid = read_ids(path, file, "invalid_ids") if has(file, "invalid_ids") else ()
    return _Part(
        path=path,
        ids=ids,
        vectors=dataset,
        invalid=frozenset(map(without_suffix, invalid)),
        metric=metric_attribute(path, file),
        split=text_attribute(path, file, "split"),
        threshold=number_attribute(path, file, "threshold"),
        file=file,
        independent=text_attribute(path, file, INDEPENDENT_ATTRIBUTE) != "no",
    )


def _check_norms(parts: Sequence[_Part]) -> None:
    """Raise SubmissionError if some files have norms and others none."""
    with_norms = [part for part in parts if has(part.file, "norms")]
    without = [part for part in parts if not has(part.file, "norms")]
    if with_norms and without:
        raise SubmissionError(
            f"{without[0].path}: no norms, but {with_norms[0].path} has them",
            hint="write norms into the files of both sides, or into none",
        )


def _norms(parts: Sequence[_Part], sources: Sequence[StoredVectors]) -> NDArray[np.float32] | None:
    if not all(has(part.file, "norms") for part in parts):
        return None
    pairs = zip(parts, sources, strict=True)
    return np.concatenate([read_norms(part.path, part.file, "norms", "vectors", source) for part, source in pairs])


def _check_same(parts: Sequence[_Part]) -> None:
    first = parts[0]
    for part in parts[1:]:
        if part.vectors.shape[1] != first.vectors.shape[1]:
            raise SubmissionError(
                f"{part.path}: vectors has {part.vectors.shape[1]} dimensions, {first.path} has "
                f"{first.vectors.shape[1]}",
                hint="describe all files with the same model",
            )
        if part.vectors.dtype.name != first.vectors.dtype.name:
            raise SubmissionError(
                f"{part.path}: vectors holds {part.vectors.dtype.name}, {first.path} holds {first.vectors.dtype.name}",
                hint="write all files as float32",
            )


def _check_apart(parts: Sequence[_Part]) -> None:
    for number, part in enumerate(parts):
        ids = frozenset(part.ids)
        for earlier in parts[:number]:
            common = ids.intersection(earlier.ids)
            if common:
                raise SubmissionError(
                    f"{part.path}: id {min(common)} stands in {earlier.path} too ({len(common):,} such ids)",
                    hint="each image belongs in one file",
                )


def _agreed(name: str, values: Sequence[tuple[Path, T | None]]) -> T | None:
    """Return the one value that the files which have any name. Raises SubmissionError if there are two."""
    first: tuple[Path, T] | None = None
    for path, value in values:
        if value is None:
            continue
        if first is not None and value != first[1]:
            raise SubmissionError(
                f"{path}: attribute {name} is {value!r}, but {first[1]!r} in {first[0]}",
                hint="describe all files in the same way",
            )
        first = first or (path, value)
    return None if first is None else first[1]


def _sources(parts: Sequence[_Part], stage: str, progress: Progress, keep: int) -> list[StoredVectors]:
    size = sum(part.vectors.size for part in parts) * 4
    total, done = sum(len(part.ids) for part in parts), 0
    shown = told(progress, total)
    sources = []
    for part in parts:
        before = done

        def tell(stage: str, rows: int, _: int, /, before: int = before) -> None:
            shown(stage, before + rows, total)

        sources.append(
            StoredVectors(
                f"{part.path}: vectors",
                part.vectors,
                part.ids,
                invalid=part.invalid,
                keep=keep if size <= keep else 0,
                progress=tell,
                stage=stage,
            )
        )
        done += len(part.ids)
    return sources


def _joined(sources: Sequence[StoredVectors]) -> VectorSource:
    return sources[0] if len(sources) == 1 else Joined(sources)


def _digest(paths: Mapping[str, Sequence[Path]]) -> str:
    lines = sorted(f"{side}\t{sha256_of_file(path)}\n" for side, files in paths.items() for path in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
