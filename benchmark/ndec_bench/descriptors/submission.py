"""Submissions: both sides of a split as a method describes them, in one HDF5 file or in several per side."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np

from ndec_bench.data.ids import in_two_forms
from ndec_bench.descriptors.files import ImageSet, image_set, invalid_ids, kept_open, without_suffixes
from ndec_bench.descriptors.hdf5 import (
    has,
    metric_attribute,
    number_attribute,
    open_file,
    require,
    sha256_of_file,
    text_attribute,
    where_is,
    yes_or_no_attribute,
)
from ndec_bench.descriptors.stored import IN_MEMORY, KEPT_BYTES, StoredVectors, close_all, in_memory, joined, told
from ndec_bench.errors import SubmissionError, UsageError, os_errors
from ndec_bench.progress import silent
from ndec_bench.protocol import METRICS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import h5py
    from numpy.typing import NDArray

    from ndec_bench.descriptors.vectors import Descriptors, VectorSource
    from ndec_bench.progress import Progress
    from ndec_bench.protocol import Metric

T = TypeVar("T")

INDEPENDENT_ATTRIBUTE = "query_independent"
"""Attribute of a file; ``no`` where vectors of queries depend on other queries."""

_HASH_BLOCK = 1 << 20


@dataclass(frozen=True)
class Submission:
    """Both sides of a split as a method describes them.

    References and background may stay in their file, which is open until `close`, the end of a ``with`` block, or the
    end of the object.

    Attributes
    ----------
    queries
        Descriptors in memory.
    references
        Vectors of the same dimension.
    background
        Vectors of images outside queries and references, if there are any.
    metric
        ``l2`` (score is the negated squared distance) or ``ip`` (inner product).
    split
        Name of the split the file says it is for, if it says so.
    stored_dtype
        Floating-point type of the vectors in the file, before the one cast to float32.
    invalid_ids
        Images that could not be decoded, sorted: present, without predictions.
    sha256
        SHA-256 (hex) of the file; of several files, over the sorted lines ``side TAB sha256-of-file LF``, with the
        sides ``query``, ``reference`` and ``background``; empty where there is no file.
    query_norms, reference_norms
        (n,) float32, one non-negative number per row of ``queries`` and of ``references``, for asymmetric rules; both
        or neither.
    threshold
        The authors' own operating threshold, on the scale of the score, if declared.
    query_independent
        False where the file says that a query's vector depends on other queries; its result is never ranked.
    """

    queries: Descriptors
    references: VectorSource
    background: VectorSource | None = None
    metric: Metric = "l2"
    split: str | None = None
    stored_dtype: str = "float32"
    invalid_ids: tuple[str, ...] = ()
    sha256: str = ""
    query_norms: NDArray[np.float32] | None = None
    reference_norms: NDArray[np.float32] | None = None
    threshold: float | None = None
    query_independent: bool = True

    def __post_init__(self) -> None:
        """Raise SubmissionError if the metric is not one of `ndec_bench.protocol.METRICS`."""
        if self.metric not in METRICS:
            raise SubmissionError(f"metric {self.metric!r} is not known", hint=f"give one of {', '.join(METRICS)}")

    def close(self) -> None:
        """Close the files that the vectors are read from."""
        close_all([self.references, self.background])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_submission(path: Path, *, progress: Progress = silent, keep: int = KEPT_BYTES) -> Submission:
    """Return the submission in the HDF5 file ``path``; all vectors are checked, and cast to float32 when read.

    The file holds ``query`` (nq, d), ``reference`` (nr, d) of float16, float32 or float64, both of one type,
    ``query_ids`` (nq,), ``reference_ids`` (nr,) of strings or bytes; optionally ``background`` with
    ``background_ids``, ``invalid_ids``, ``query_norms`` (nq,) with ``reference_norms`` (nr,), and the attributes
    ``split``, ``metric`` (``l2`` or ``ip``), ``threshold`` and ``query_independent``. Row order is free and kept; rows
    of ``invalid_ids`` are left out.

    Parameters
    ----------
    path
        The file.
    progress
        Called as ``progress("checking references", done, total)`` in rows, and so for the other sides; not for a few
        thousand rows, which take no time.
    keep
        References or background of at most so many bytes, as float32, are kept in memory.

    Raises
    ------
    SubmissionError
        If the file is not HDF5, has no such dataset, or holds anything `check_descriptors` refuses.
    """
    with kept_open(path) as file, _digest_meanwhile(path) as digest:
        hint = "expected query, reference, query_ids, reference_ids"
        if has(file, "vectors") and not has(file, "query"):
            hint = "this file holds one set of images: give it as --query or --reference, or pack both sides"
        require(file, ("query", "reference", "query_ids", "reference_ids"), hint)
        invalid = invalid_ids(file)
        names = ["query", "reference", *(["background"] if has(file, "background") else [])]
        sides = {name: [image_set(file, name, invalid=invalid)] for name in names}
        return _assembled(sides, digest, progress, keep)


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
    image names the suffix of a picture is taken off, as isc2021's reader does with two of them. Files that name a
    metric or a threshold name the same; where files are for different splits, the submission names none.
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
        If a file is not what `read_submission` would accept, an id is in two files of a side, some files of
        queries and references have norms and others none, or files differ in dimension, type, metric or threshold. The
        message names both files.
    UsageError
        If a side has no file or a file appears twice on one side.
    """
    paths = {"query": queries, "reference": references, "background": backgrounds}
    check_paths(paths)
    with ExitStack() as stack:
        sides: dict[str, list[ImageSet]] = {side: [] for side in paths}
        for side, files in paths.items():
            for path in files:
                file = stack.enter_context(kept_open(path))
                require(file, ("vectors", "image_names"), "expected vectors and image_names, as isc2021 has them")
                sides[side].append(without_suffixes(image_set(file, "vectors")))
            check_ids_apart([(images.path, images.ids) for images in sides[side]])
        return _assembled(sides, lambda: _digest(paths), progress, keep)


@contextmanager
def _digest_meanwhile(path: Path) -> Iterator[Callable[[], str]]:
    """Yield what returns the SHA-256 of ``path``, taken in a thread during the block and given up at its end."""
    stopped = threading.Event()

    def run() -> str:
        digest = hashlib.sha256()
        with os_errors(f"{path}: cannot be read", SubmissionError, hint="fetch it again"), path.open("rb") as file:
            while not stopped.is_set() and (block := file.read(_HASH_BLOCK)):
                digest.update(block)
        return digest.hexdigest()

    with ThreadPoolExecutor(1, "sha256") as pool:
        future = pool.submit(run)
        try:
            yield future.result
        finally:
            stopped.set()


def _assembled(
    sides: Mapping[str, Sequence[ImageSet]], sha256: Callable[[], str], progress: Progress, keep: int
) -> Submission:
    """Return the submission that the ``sides``, each in one file or in several, make together."""
    sets = [images for side in sides.values() for images in side]
    files = {images.path: images.file for images in sets}.values()
    _check_same(sets)
    metric: Metric | None = _agreed("metric", files, metric_attribute)
    threshold = _agreed("threshold", files, lambda file: number_attribute(file, "threshold"))
    splits = {text_attribute(file, "split") for file in files} - {None}
    with_norms = _have_norms([*sides["query"], *sides["reference"]])
    queries = _vectors(sides["query"], "checking queries", progress, IN_MEMORY)
    references = _vectors(sides["reference"], "checking references", progress, keep)
    background = _vectors(sides.get("background", ()), "checking background", progress, keep)
    return Submission(
        queries=in_memory(joined(queries)),
        references=joined(references),
        background=joined(background) if background else None,
        metric=metric or "l2",
        split=splits.pop() if len(splits) == 1 else None,
        stored_dtype=sets[0].dataset.dtype.name,
        invalid_ids=tuple(sorted(frozenset().union(*(images.invalid for images in sets)))),
        sha256=sha256(),
        query_norms=_norms(sides["query"], queries) if with_norms else None,
        reference_norms=_norms(sides["reference"], references) if with_norms else None,
        threshold=threshold,
        query_independent=all(yes_or_no_attribute(file, INDEPENDENT_ATTRIBUTE) is not False for file in files),
    )


def is_query_independent(path: Path) -> bool:
    """Return False where the file says that vectors of queries depend on other queries. Raises SubmissionError."""
    with open_file(path) as file:
        return yes_or_no_attribute(file, INDEPENDENT_ATTRIBUTE) is not False


def _check_same(sets: Sequence[ImageSet]) -> None:
    first = sets[0]
    for images in sets[1:]:
        start, where = where_is(first.dataset), where_is(images.dataset)
        if images.path == first.path:
            where = images.name
        dimensions = [one.dataset.shape[1] for one in (first, images)]
        if dimensions[0] != dimensions[1]:
            raise SubmissionError(
                f"{start} has {dimensions[0]} dimensions, {where} {dimensions[1]}",
                hint="describe all images with the same model",
            )
        types = [one.dataset.dtype.name for one in (first, images)]
        if types[0] != types[1] and images.name != "background":
            raise SubmissionError(
                f"{start} holds {types[0]}, {where} {types[1]}, expected one type", hint="write all as float32"
            )


def _have_norms(sets: Sequence[ImageSet]) -> bool:
    """Return whether all of ``sets`` have norms. Raises SubmissionError if only some have."""
    having = [images for images in sets if images.has_norms]
    without = [images for images in sets if not images.has_norms]
    if having and without:
        raise SubmissionError(
            f"{without[0].path}: no {without[0].norms_name}, but {having[0].path} has {having[0].norms_name}",
            hint="write one norm per row for both sides, or for neither",
        )
    return not without


def _agreed(name: str, files: Iterable[h5py.File], attribute: Callable[[h5py.File], T | None]) -> T | None:
    """Return the one value of the attribute in those files that have it. Raises SubmissionError if there are two."""
    found = [(file.filename, value) for file in files if (value := attribute(file)) is not None]
    for path, value in found:
        if value != found[0][1]:
            raise SubmissionError(
                f"{path}: attribute {name} is {value!r}, but {found[0][1]!r} in {found[0][0]}",
                hint="describe all files in the same way",
            )
    return found[0][1] if found else None


def _vectors(sets: Sequence[ImageSet], stage: str, progress: Progress, keep: int) -> list[StoredVectors]:
    """Return the vectors of one side, checked; ``progress`` counts the rows of all its files."""
    size = sum(images.dataset.size for images in sets) * 4
    total, done = sum(len(images.ids) for images in sets), 0
    shown = told(progress, total)
    sources = []
    for images in sets:

        def tell(stage: str, rows: int, _: int, /, before: int = done) -> None:
            shown(stage, before + rows, total)

        sources.append(images.vectors(keep=keep if size <= keep else 0, progress=tell, stage=stage))
        done += len(images.ids)
    return sources


def _norms(sets: Sequence[ImageSet], sources: Sequence[StoredVectors]) -> NDArray[np.float32]:
    return np.concatenate([images.norms(vectors) for images, vectors in zip(sets, sources, strict=True)])


def check_paths(paths: Mapping[str, Sequence[Path]]) -> None:
    """Raise UsageError unless there are queries and references, and no file is given twice for a side."""
    for side in ("query", "reference"):
        if not paths[side]:
            raise UsageError(f"no {side} file", hint=f"give at least one, --{side} FILE")
    for side, files in paths.items():
        twice = [path for number, path in enumerate(files) if path in files[:number]]
        if twice:
            raise UsageError(f"{twice[0]} appears twice among the {side} files", hint="give each file once")


def check_ids_apart(files: Sequence[tuple[str, Sequence[str]]]) -> None:
    """Raise SubmissionError if an image is in two of ``files``, each a path and its ids."""
    where: dict[str, str] = {}
    for path, ids in files if len(files) > 1 else ():
        common = where.keys() & ids
        if common:
            raise SubmissionError(
                f"{path}: id {min(common)} is in {where[min(common)]} too ({len(common):,} such ids)",
                hint="each image belongs in one file",
            )
        where |= dict.fromkeys(ids, path)
    if same := in_two_forms(where):
        one, other = same
        raise SubmissionError(
            f"{where[other]}: id {other} is the image {one} of {where[one]}", hint="each image belongs in one file"
        )


def _digest(paths: Mapping[str, Sequence[Path]]) -> str:
    lines = sorted(f"{side}\t{sha256_of_file(path)}\n" for side, files in paths.items() for path in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
