"""Descriptors: one float32 vector per image with its id, in memory and in HDF5.

Two HDF5 forms are read and written here. A *descriptor file* (``vectors``, ``image_names``; the form of isc2021) holds
one set of images. A *submission file* (``query``, ``reference``, ``query_ids``, ``reference_ids``; the form of the
DrivenData competition) holds both sides of a split.

Files come from strangers. Only datasets stored inside the file are read: no soft or external links, no external
storage, no virtual datasets, no object references, nothing pickled.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ndec_bench.atomic import replacing
from ndec_bench.errors import SubmissionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ndec_bench.protocol import Metric

MAX_DIMENSION = 65_536
MAX_ROWS = 50_000_000
MAX_ID_BYTES = 256
_ROWS_PER_READ = 65_536


@dataclass(frozen=True)
class Descriptors:
    """One vector per image, with its id.

    Attributes
    ----------
    ids
        n image ids, each once.
    vectors
        (n, d) float32, C order, finite.
    """

    ids: tuple[str, ...]
    vectors: NDArray[np.float32]

    def __post_init__(self) -> None:
        """Check that ids and rows belong together. Raises SubmissionError."""
        check_descriptors("descriptors", self.ids, self.vectors)

    @property
    def dimension(self) -> int:
        """Return the number of components of each vector."""
        return int(self.vectors.shape[1])

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Submission:
    """Both sides of a split as a method describes them.

    Attributes
    ----------
    queries, references
        Descriptors of equal dimension.
    background
        Descriptors of images outside queries and references, if the file has them.
    metric
        ``l2`` (score is the negated squared distance) or ``ip`` (inner product).
    split
        Name of the split the file says it is for, if it says so.
    stored_dtype
        Floating-point type of the vectors in the file, before the one cast to float32.
    invalid_ids
        Images that could not be decoded: present, without predictions.
    sha256
        SHA-256 (hex) of the file; of the arrays where there is no file.
    """

    queries: Descriptors
    references: Descriptors
    background: Descriptors | None = None
    metric: Metric = "l2"
    split: str | None = None
    stored_dtype: str = "float32"
    invalid_ids: tuple[str, ...] = ()
    sha256: str = ""


def check_descriptors(
    where: str, ids: Sequence[str], vectors: NDArray[Any], *, invalid: frozenset[str] = frozenset()
) -> None:
    """Raise SubmissionError unless ``ids`` and ``vectors`` make usable descriptors; ``where`` opens each message.

    Checked: shape (n, d) with n ids, at least one row and one component, each id once, finite values, no all-zero
    row outside ``invalid`` (one zero query ties with everything and can fill the global list), not all rows equal.
    """
    if vectors.ndim != 2 or min(vectors.shape) < 1:
        raise SubmissionError(
            f"{where}: shape {vectors.shape}, expected (images, dimensions) with at least one of each",
            hint="write one row per image",
        )
    if len(ids) != len(vectors):
        raise SubmissionError(
            f"{where}: {len(vectors):,} rows but {len(ids):,} ids",
            hint="write one id per row, in the same order",
        )
    _check_unique(where, ids)
    for start in range(0, len(vectors), _ROWS_PER_READ):
        block = vectors[start : start + _ROWS_PER_READ]
        _check_finite(where, ids, block, start)
        _check_zero_rows(where, ids, block, start, invalid)
    if len(vectors) > 1 and bool((vectors == vectors[0]).all()):
        raise SubmissionError(
            f"{where}: all {len(vectors):,} descriptors are equal",
            hint="the model's output does not depend on the image",
        )


def read_submission(path: Path) -> Submission:
    """Return the submission in the HDF5 file ``path``, vectors cast to float32 once.

    The file holds ``query`` (nq, d), ``reference`` (nr, d) of float16, float32 or float64, ``query_ids`` (nq,),
    ``reference_ids`` (nr,) of strings or bytes; optionally ``background`` with ``background_ids``, ``invalid_ids``,
    and the attributes ``split`` and ``metric`` (``l2`` or ``ip``). Row order is free.

    Raises
    ------
    SubmissionError
        If the file is no HDF5 file, lacks a dataset, or holds anything `check_descriptors` refuses.
    """
    with _open(path) as file:
        missing = [n for n in ("query", "reference", "query_ids", "reference_ids") if n not in file]
        if missing:
            raise SubmissionError(
                f"{path}: no dataset {', '.join(map(repr, missing))}; found {_names(file)}",
                hint="expected query, reference, query_ids, reference_ids",
            )
        invalid = _read_ids(path, file, "invalid_ids") if "invalid_ids" in file else ()
        background = None
        if "background" in file:
            background = _read_side(path, file, "background", "background_ids", frozenset(invalid))
        submission = Submission(
            queries=_read_side(path, file, "query", "query_ids", frozenset(invalid)),
            references=_read_side(path, file, "reference", "reference_ids", frozenset(invalid)),
            background=background,
            metric=_metric(path, file),
            split=_text_attribute(path, file, "split"),
            stored_dtype=str(file["query"].dtype),
            invalid_ids=tuple(sorted(invalid)),
            sha256=sha256_of_file(path),
        )
    _check_dimensions(path, submission)
    return submission


def read_descriptors(path: Path) -> Descriptors:
    """Return the descriptors in the HDF5 file ``path`` (``vectors`` (n, d), ``image_names`` (n,)).

    Raises
    ------
    SubmissionError
        If the file is no HDF5 file, lacks a dataset, or holds anything `check_descriptors` refuses.
    """
    with _open(path) as file:
        missing = [n for n in ("vectors", "image_names") if n not in file]
        if missing:
            raise SubmissionError(
                f"{path}: no dataset {', '.join(map(repr, missing))}; found {_names(file)}",
                hint='expected vectors and image_names, as "ndec-bench describe" writes them',
            )
        return _read_side(path, file, "vectors", "image_names", frozenset())


def read_attributes(path: Path) -> dict[str, str]:
    """Return the text attributes of a descriptor or submission file, by name (others are left out)."""
    with _open(path) as file:
        return {n: v for n in sorted(file.attrs) if (v := _text_attribute(path, file, n, strict=False)) is not None}


def write_descriptors(path: Path, descriptors: Descriptors, attributes: Mapping[str, str]) -> None:
    """Write a descriptor file: rows sorted by id, attributes sorted by name, the same bytes for the same content."""
    order = np.argsort(np.array(descriptors.ids))
    with replacing(path) as temporary, h5py.File(temporary, "w", libver=("earliest", "v110")) as file:
        _write_side(file, "vectors", "image_names", descriptors, order)
        for name in sorted(attributes):
            file.attrs[name] = attributes[name]


def write_submission(path: Path, submission: Submission, attributes: Mapping[str, str] | None = None) -> None:
    """Write a submission file: rows sorted by id, the same bytes for the same content.

    ``attributes`` are added to ``split`` and ``metric``.
    """
    texts = {"metric": submission.metric, **(attributes or {})}
    if submission.split:
        texts["split"] = submission.split
    sides = {
        "query": submission.queries,
        "reference": submission.references,
        "background": submission.background,
    }
    with replacing(path) as temporary, h5py.File(temporary, "w", libver=("earliest", "v110")) as file:
        for name, side in sides.items():
            if side is not None:
                _write_side(file, name, f"{name}_ids", side, np.argsort(np.array(side.ids)))
        if submission.invalid_ids:
            file.create_dataset("invalid_ids", data=np.array([i.encode() for i in sorted(submission.invalid_ids)]))
        for name in sorted(texts):
            file.attrs[name] = texts[name]


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 (hex) of the bytes of ``path``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_side(file: h5py.File, vectors_name: str, ids_name: str, side: Descriptors, order: NDArray[np.intp]) -> None:
    # track_times=False (h5py's default for datasets) keeps the clock out of the bytes.
    file.create_dataset(vectors_name, data=np.ascontiguousarray(side.vectors[order]), track_times=False)
    ids = np.array([side.ids[i].encode("utf-8") for i in order])
    file.create_dataset(ids_name, data=ids, track_times=False)


def _open(path: Path) -> h5py.File:
    try:
        with path.open("rb") as raw:
            head = raw.read(512)
    except OSError as error:
        raise SubmissionError(
            f"{path}: cannot be read ({error.strerror or error})", hint="check the path and its permissions"
        ) from error
    if not head:
        raise SubmissionError(f"{path}: empty file", hint="write or fetch it again")
    if head.lstrip()[:1] == b"<":
        raise SubmissionError(
            f"{path}: an HTML page saved under this name, not an HDF5 file",
            hint="the download gave a web page instead of the file: fetch it again",
        )
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        reason = "truncated" if "truncated" in str(error) else "not an HDF5 file, or damaged"
        raise SubmissionError(
            f"{path}: {reason}", hint="expected HDF5 with query, reference, query_ids, reference_ids"
        ) from error


def _names(file: h5py.File) -> str:
    names = sorted(file.keys())
    return ", ".join(repr(name[:40]) for name in names[:8]) + (", ..." if len(names) > 8 else "") or "nothing"


def _dataset(path: Path, file: h5py.File, name: str) -> h5py.Dataset:
    """Return the dataset ``name`` if its bytes lie in this very file. Raises SubmissionError."""
    if name not in file:
        raise SubmissionError(f"{path}: no dataset {name!r}; found {_names(file)}", hint=f"write {name}")
    link = file.get(name, getlink=True)
    if not isinstance(link, h5py.HardLink):
        raise SubmissionError(
            f"{path}: {name!r} is a link to somewhere else, which is never followed",
            hint="copy the data into the file",
        )
    item = file[name]
    if not isinstance(item, h5py.Dataset):
        raise SubmissionError(f"{path}: {name!r} is a group, expected a dataset", hint="write an array")
    if item.is_virtual or item.external:
        raise SubmissionError(
            f"{path}: {name!r} is stored in other files, which are never opened",
            hint="copy the data into the file",
        )
    return item


def _read_side(path: Path, file: h5py.File, vectors_name: str, ids_name: str, invalid: frozenset[str]) -> Descriptors:
    dataset = _dataset(path, file, vectors_name)
    where = f"{path}: {vectors_name}"
    if dataset.dtype.kind != "f" or dataset.dtype.itemsize not in (2, 4, 8):
        raise SubmissionError(
            f"{where} holds {dataset.dtype}, expected float16, float32 or float64",
            hint="write the vectors as float32",
        )
    if dataset.ndim != 2 or not (1 <= dataset.shape[1] <= MAX_DIMENSION and 1 <= dataset.shape[0] <= MAX_ROWS):
        raise SubmissionError(
            f"{where} has shape {dataset.shape}, expected (images, dimensions), "
            f"at most {MAX_ROWS:,} images and {MAX_DIMENSION:,} dimensions, at least one of each",
            hint="write one row per image",
        )
    ids = _read_ids(path, file, ids_name)
    if len(ids) != dataset.shape[0]:
        raise SubmissionError(
            f"{where} has {dataset.shape[0]:,} rows but {ids_name} has {len(ids):,} ids",
            hint="write one id per row, in the same order",
        )
    _check_memory(where, dataset.size * np.dtype(np.float32).itemsize)
    vectors = _read_vectors(path, dataset, where, ids, invalid)
    keep = [row for row, identifier in enumerate(ids) if identifier not in invalid]
    if len(keep) != len(ids):
        ids, vectors = tuple(ids[row] for row in keep), vectors[keep]
    check_descriptors(where, ids, vectors)
    return Descriptors(ids, vectors)


def _check_memory(where: str, needed: int) -> None:
    # A few kilobytes of HDF5 can claim terabytes of repeated values; the machine must not be driven into swapping.
    try:
        installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # no such figure on this system
        return
    if needed > installed:
        raise SubmissionError(
            f"{where} needs {needed / 2**30:,.1f} GiB of memory, this machine has {installed / 2**30:,.1f} GiB",
            hint="check the file, or score on a larger machine",
        )


def _read_vectors(
    path: Path, dataset: h5py.Dataset, where: str, ids: Sequence[str], invalid: frozenset[str]
) -> NDArray[np.float32]:
    try:
        vectors = np.empty(dataset.shape, dtype=np.float32)
        for start in range(0, dataset.shape[0], _ROWS_PER_READ):
            block = dataset[start : start + _ROWS_PER_READ]
            _check_finite(where, ids, block, start)
            _check_zero_rows(where, ids, block, start, invalid)
            with np.errstate(over="ignore"):
                vectors[start : start + len(block)] = block
            _check_finite(f"{where}, cast to float32", ids, vectors[start : start + len(block)], start)
    except MemoryError as error:
        gib = dataset.size * 4 / 2**30
        raise SubmissionError(f"{where} needs {gib:.1f} GiB of memory", hint="score on a larger machine") from error
    except OSError as error:
        raise SubmissionError(
            f"{path}: {where.rsplit(' ', 1)[-1]} cannot be read ({error})",
            hint="the file is damaged: write or fetch it again",
        ) from error
    return vectors


def _read_ids(path: Path, file: h5py.File, name: str) -> tuple[str, ...]:
    dataset = _dataset(path, file, name)
    kind = h5py.check_string_dtype(dataset.dtype)
    if kind is None or dataset.ndim != 1:
        raise SubmissionError(
            f"{path}: {name} holds {dataset.dtype} of shape {dataset.shape}, expected a list of strings",
            hint="write the image ids as strings, e.g. Q25000",
        )
    if kind.length is not None and kind.length > MAX_ID_BYTES:
        raise SubmissionError(f"{path}: {name} holds ids of {kind.length} bytes, at most {MAX_ID_BYTES} are accepted")
    try:
        ids = tuple(value.decode("utf-8") for value in dataset[:])
    except (OSError, UnicodeDecodeError, AttributeError) as error:
        raise SubmissionError(f"{path}: {name} cannot be read ({error})", hint="write UTF-8 strings") from error
    for row, identifier in enumerate(ids):
        if not identifier or len(identifier) > MAX_ID_BYTES or not identifier.isprintable():
            raise SubmissionError(
                f"{path}: {name} row {row} is {identifier[:40]!r}, no usable id",
                hint="write ids such as Q25000",
            )
    return ids


def _check_unique(where: str, ids: Sequence[str]) -> None:
    first: dict[str, int] = {}
    if len(set(ids)) == len(ids):
        return
    for row, identifier in enumerate(ids):
        if identifier in first:
            raise SubmissionError(
                f"{where}: id {identifier} stands in row {first[identifier]} and in row {row}",
                hint="write each image once",
            )
        first[identifier] = row


def _check_finite(where: str, ids: Sequence[str], block: NDArray[Any], start: int) -> None:
    bad = ~np.isfinite(block).all(axis=1)
    if bad.any():
        row = start + int(np.flatnonzero(bad)[0])
        value = block[row - start][~np.isfinite(block[row - start])][0]
        raise SubmissionError(
            f"{where}: row {row} ({ids[row]}) holds {value}, expected finite numbers"
            f" ({int(bad.sum()):,} such rows in this block)",
            hint="look for a division by a zero norm or an overflow in half precision",
        )


def _check_zero_rows(where: str, ids: Sequence[str], block: NDArray[Any], start: int, invalid: frozenset[str]) -> None:
    for row in np.flatnonzero(~block.any(axis=1)):
        identifier = ids[start + int(row)]
        if identifier not in invalid:
            raise SubmissionError(
                f"{where}: row {start + int(row)} ({identifier}) is all zeros",
                hint="list images that could not be decoded in the dataset invalid_ids",
            )


def _check_dimensions(path: Path, submission: Submission) -> None:
    sides = (submission.queries, submission.references, submission.background)
    dimensions = {side.dimension for side in sides if side is not None}
    if len(dimensions) > 1:
        raise SubmissionError(
            f"{path}: query has {submission.queries.dimension} dimensions, reference {submission.references.dimension}"
            + (f", background {submission.background.dimension}" if submission.background else ""),
            hint="describe all sides with the same model",
        )


def _metric(path: Path, file: h5py.File) -> Metric:
    metric = _text_attribute(path, file, "metric") or "l2"
    if metric == "ip":
        return "ip"
    if metric == "l2":
        return "l2"
    raise SubmissionError(f"{path}: attribute metric is {metric[:40]!r}", hint='expected "l2" or "ip"')


def _text_attribute(path: Path, file: h5py.File, name: str, *, strict: bool = True) -> str | None:
    if name not in file.attrs:
        return None
    value = file.attrs[name]
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if isinstance(value, str) and len(value) <= 65_536:
        return value
    if strict:
        raise SubmissionError(f"{path}: attribute {name} is no text", hint=f"write {name} as a string")
    return None
