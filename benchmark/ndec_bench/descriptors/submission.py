"""Submissions: both sides of a split as a method describes them, read from one HDF5 file."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self

from ndec_bench.descriptors.hdf5 import (
    has,
    is_hdf5,
    metric_attribute,
    number_attribute,
    open_file,
    read_ids,
    require,
    text_attribute,
    vectors_dataset,
)
from ndec_bench.descriptors.stored import KEPT_BYTES, StoredVectors, close_all, read_norms, told
from ndec_bench.descriptors.vectors import Descriptors
from ndec_bench.errors import SubmissionError
from ndec_bench.progress import silent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import h5py
    import numpy as np
    from numpy.typing import NDArray

    from ndec_bench.descriptors.vectors import VectorSource
    from ndec_bench.progress import Progress
    from ndec_bench.protocol import Metric

INDEPENDENT_ATTRIBUTE = "query_independent"
"""Attribute of a file; ``no`` where vectors of queries depend on other queries."""

SUFFIXES = (".jpg", ".jpeg", ".png")
_NEEDED = ("query", "reference", "query_ids", "reference_ids")
_HASH_BLOCK = 1 << 20
# No side that must lie in memory is too large to be kept; the machine's memory is checked by itself.
IN_MEMORY = 1 << 62


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
        If the file is no HDF5 file, lacks a dataset, or holds anything `check_descriptors` refuses.
    """
    file = open_file(path)
    try:
        with FileDigest(path) as digest:
            submission = _read(path, file, digest, progress, keep)
    except BaseException:
        file.close()
        raise
    return submission


def read_background(path: Path, *, progress: Progress = silent) -> VectorSource:
    """Return the background descriptors in the HDF5 file ``path``.

    It holds ``vectors`` and ``image_names``, or ``background`` and ``background_ids``. Of names in ``image_names`` a
    suffix ``.jpg``, ``.jpeg`` or ``.png`` is taken off.

    Raises
    ------
    SubmissionError
        As `read_submission`.
    """
    file = open_file(path)
    try:
        names = ("background", "background_ids") if has(file, "background") else ("vectors", "image_names")
        require(path, file, names, "expected vectors and image_names, or background and background_ids")
        ids, dataset = ids_and_vectors(path, file, *names)
        where = f"{path}: {names[0]}"
        return StoredVectors(where, dataset, ids, progress=told(progress, len(ids)), stage="checking background")
    except BaseException:
        file.close()
        raise


def read_query_ids(path: Path) -> tuple[str, ...]:
    """Return the query ids of a submission, or the image names of a descriptor file, in row order.

    Of image names a suffix ``.jpg``, ``.jpeg`` or ``.png`` is taken off.

    Raises
    ------
    SubmissionError
        If the file is neither, or the ids are unusable.
    """
    with open_file(path) as file:
        if has(file, "query_ids"):
            return read_ids(path, file, "query_ids")
        require(path, file, ("image_names",), "expected query_ids, or image_names")
        return tuple(map(without_suffix, read_ids(path, file, "image_names")))


def form_of(path: Path) -> Literal["submission", "vectors", "other"]:
    """Return which HDF5 form the file at ``path`` has, told by the names of its datasets.

    ``submission`` has ``query`` or ``reference``, ``vectors`` (the form of isc2021) has ``vectors``; ``other`` is any
    other file, HDF5 or not.

    Raises
    ------
    SubmissionError
        If the file cannot be read, or is HDF5 but truncated.
    """
    if not is_hdf5(path):
        return "other"
    with open_file(path) as file:
        if has(file, "query") or has(file, "reference"):
            return "submission"
        return "vectors" if has(file, "vectors") else "other"


def in_memory(source: VectorSource) -> Descriptors:
    """Return all vectors of ``source`` as descriptors."""
    return Descriptors(source.ids, source.read(0, len(source)))


def without_suffix(name: str) -> str:
    """Return ``name`` without the suffix .jpg, .jpeg or .png, if it has one (isc2021 ``isc/io.py`` takes off two)."""
    for suffix in SUFFIXES:
        if name.endswith(suffix) and len(name) > len(suffix):
            return name.removesuffix(suffix)
    return name


def ids_and_vectors(
    path: Path, file: h5py.File, vectors_name: str, ids_name: str
) -> tuple[tuple[str, ...], h5py.Dataset]:
    """Return ids and vectors of one side; a picture's suffix is taken off ids in ``image_names``."""
    dataset = vectors_dataset(path, file, vectors_name)
    ids = read_ids(path, file, ids_name, rows_of=dataset)
    return (tuple(map(without_suffix, ids)) if ids_name == "image_names" else ids), dataset


class FileDigest:
    """SHA-256 of a file, taken in a thread of its own while the file is checked; stopped when the check fails."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        self._stopped = threading.Event()
        self._error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="sha256", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def hexdigest(self) -> str:
        """Return the digest when it is ready. Raises SubmissionError if the file cannot be read."""
        self._thread.join()
        if self._error is not None:
            raise SubmissionError(
                f"{self._path}: cannot be read ({self._error.strerror or self._error})", hint="fetch it again"
            ) from self._error
        return self._digest.hexdigest()

    def _run(self) -> None:
        try:
            with self._path.open("rb") as file:
                while not self._stopped.is_set() and (block := file.read(_HASH_BLOCK)):
                    self._digest.update(block)
        except OSError as error:
            self._error = error


def _read(path: Path, file: h5py.File, digest: FileDigest, progress: Progress, keep: int) -> Submission:
    hint = "expected query, reference, query_ids, reference_ids"
    if has(file, "vectors") and not has(file, "query"):
        hint = "this file holds one set of images: give it as --query or --reference, or pack both sides"
    require(path, file, _NEEDED, hint)
    names = ["query", "reference", *(["background"] if has(file, "background") else [])]
    datasets = {name: vectors_dataset(path, file, name) for name in names}
    _check_same(path, datasets)
    metric, split = metric_attribute(path, file), text_attribute(path, file, "split")
    threshold = number_attribute(path, file, "threshold")
    invalid = frozenset(read_ids(path, file, "invalid_ids")) if has(file, "invalid_ids") else frozenset[str]()
    sides = {}
    for name, stage in zip(names, ("queries", "references", "background"), strict=False):
        sides[name] = StoredVectors(
            f"{path}: {name}",
            datasets[name],
            read_ids(path, file, f"{name}_ids", rows_of=datasets[name]),
            invalid=invalid,
            keep=IN_MEMORY if name == "query" else keep,
            progress=told(progress, datasets[name].shape[0]),
            stage=f"checking {stage}",
        )
    query_norms, reference_norms = _norms(path, file, datasets, sides)
    return Submission(
        queries=in_memory(sides["query"]),
        references=sides["reference"],
        background=sides.get("background"),
        metric=metric or "l2",
        split=split,
        stored_dtype=datasets["reference"].dtype.name,
        invalid_ids=tuple(sorted(invalid)),
        sha256=digest.hexdigest(),
        query_norms=query_norms,
        reference_norms=reference_norms,
        threshold=threshold,
        query_independent=text_attribute(path, file, INDEPENDENT_ATTRIBUTE) != "no",
    )


def _check_same(path: Path, datasets: Mapping[str, h5py.Dataset]) -> None:
    dimensions = {name: dataset.shape[1] for name, dataset in datasets.items()}
    if len(set(dimensions.values())) > 1:
        others = "".join(f", {name} {found}" for name, found in dimensions.items() if name != "query")
        raise SubmissionError(
            f"{path}: query has {dimensions['query']} dimensions{others}",
            hint="describe all sides with the same model",
        )
    query, reference = datasets["query"].dtype.name, datasets["reference"].dtype.name
    if query != reference:
        raise SubmissionError(
            f"{path}: query holds {query}, reference {reference}, expected one type on both sides",
            hint="write both as float32",
        )


def _norms(
    path: Path, file: h5py.File, datasets: Mapping[str, h5py.Dataset], sides: Mapping[str, StoredVectors]
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None]:
    there = [name for name in ("query_norms", "reference_norms") if has(file, name)]
    if not there:
        return None, None
    if len(there) == 1:
        absent = "reference_norms" if there == ["query_norms"] else "query_norms"
        raise SubmissionError(
            f"{path}: {there[0]} without {absent}", hint="write one norm per row for both sides, or for neither"
        )
    query, reference = (read_norms(path, file, f"{side}_norms", side, sides[side]) for side in ("query", "reference"))
    return query, reference
