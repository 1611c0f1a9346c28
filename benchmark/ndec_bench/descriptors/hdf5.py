"""Safe reading of HDF5 files that come from strangers: what is stored in the file itself, and no more than it claims.

Only datasets stored inside the file are read: no soft or external links, no external storage, no virtual datasets, no
object references, nothing pickled. Types and shapes are checked before anything is read, and a claim of more memory
than there is, or of far more than the file holds, is refused. Another process reads each file first: `trial`.
"""

from __future__ import annotations

import hashlib
import math
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

os.environ.setdefault("HDF5_PLUGIN_PRELOAD", "::")  # no code is loaded because a file names a filter

import h5py
import numpy as np

from ndec_bench.descriptors.chunks import check_layout, read_rows
from ndec_bench.descriptors.trial import MEMORY_LIMITED, check_readable
from ndec_bench.errors import SubmissionError, os_errors
from ndec_bench.file_kind import refuse_others
from ndec_bench.printable import MAX_ID, one_line, wrong_ids, wrong_with_id

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ndec_bench.protocol import Metric

MAX_DIMENSION = 65_536
MAX_ROWS = 50_000_000
MAX_ATTRIBUTE_BYTES = 65_536
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_IDS_PER_READ = 65_536
_FEWEST_IDS_PER_READ = 64
_TEXT_MEMORY = 1 << 31
# Real descriptors hardly compress; a file of hundreds of gigabytes in a few kilobytes is a trap.
LARGER = "check the file, or score on a larger machine"
_TRUSTED_BYTES = 1 << 31
_TRUSTED_TEXT = 1 << 24
_MAX_RATIO = 256


def open_file(path: Path) -> h5py.File:
    """Return the HDF5 file at ``path``, open for reading.

    Raises
    ------
    SubmissionError
        If it cannot be read, is truncated or of another kind, or its reading did not end well in another process.
    """
    if not is_hdf5(path):
        refuse_others(path, "descriptors (HDF5) or pairs (CSV, Parquet)", error=SubmissionError)
    check_readable(path)
    try:
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        if "locking" in str(error) or "already open" in str(error):
            raise SubmissionError(f"{path}: open elsewhere in this program", hint="close it there first") from error
        reason = "truncated" if "truncated" in str(error) else "not an HDF5 file, or damaged"
        raise SubmissionError(
            f"{path}: {reason}", hint="expected HDF5 with query, reference, query_ids, reference_ids"
        ) from error


def is_hdf5(path: Path) -> bool:
    """Return whether ``path`` begins as an HDF5 file. Raises SubmissionError if it cannot be read."""
    with os_errors(f"{path}: cannot be read", SubmissionError), path.open("rb") as file:
        size, start = os.fstat(file.fileno()).st_size, 0
        while start < size:
            file.seek(start)
            if file.read(len(_SIGNATURE)) == _SIGNATURE:
                return True
            start = max(512, 2 * start)  # a block of the user's own may precede it
    return False


def sha256_of_file(path: Path) -> str:
    """Return the SHA-256 (hex) of the bytes of ``path``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def has(file: h5py.File, name: str) -> bool:
    """Return whether ``file`` has a member ``name``; a link counts, and is not followed. Raises SubmissionError."""
    with reading(f"{file.filename}: {name!r}"):
        return bool(file.id.links.exists(name.encode()))


def require(file: h5py.File, names: tuple[str, ...], hint: str) -> None:
    """Raise SubmissionError if one of ``names`` is missing in ``file``."""
    missing = [name for name in names if not has(file, name)]
    if missing:
        raise SubmissionError(
            f"{file.filename}: no dataset {', '.join(map(repr, missing))}; found {_names(file)}",
            hint=hint,
        )


def where_is(dataset: h5py.Dataset) -> str:
    """Return ``FILE: DATASET``, which opens each message about a dataset."""
    return f"{dataset.file.filename}: {dataset.name.lstrip('/')}"


def stored_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Return the dataset ``name`` if its bytes lie in this very file and can be decoded here.

    Raises
    ------
    SubmissionError
        If there is none, or it is a link, a group, virtual, external, packed with an unknown filter, or its chunks are
        far larger than the file.
    """
    require(file, (name,), f"write {name}")
    where = f"{file.filename}: {name!r}"
    with reading(where):
        # The type of the link itself: the file that it may lead to is not opened.
        if file.id.links.get_info(name.encode()).type != h5py.h5l.TYPE_HARD:
            raise SubmissionError(
                f"{where} is a link to somewhere else, which is never followed", hint="copy the data into the file"
            )
        item = file[name]
        if not isinstance(item, h5py.Dataset):
            raise SubmissionError(f"{where} is a group, expected a dataset", hint="write an array")
        if item.is_virtual or item.external:
            raise SubmissionError(
                f"{where} is stored in other files, which are never opened", hint="copy the data into the file"
            )
        check_layout(item, where)
    return item


def vectors_dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """Return the dataset ``name`` if it holds vectors: (images, dimensions) of float16, float32 or float64.

    Nothing but its description is read. Raises SubmissionError, also for absurd shapes and claims.
    """
    dataset = stored_dataset(file, name)
    _check_floats(dataset, hint="write the vectors as float32")
    if dataset.ndim != 2 or not (1 <= dataset.shape[1] <= MAX_DIMENSION and 1 <= dataset.shape[0] <= MAX_ROWS):
        raise SubmissionError(
            f"{where_is(dataset)} has shape {dataset.shape}, expected (images, dimensions), "
            f"at most {MAX_ROWS:,} images and {MAX_DIMENSION:,} dimensions, at least one of each",
            hint="write one row per image",
        )
    return dataset


def check_claim(dataset: h5py.Dataset, *, trusted: int = _TRUSTED_BYTES) -> None:
    """Raise SubmissionError if ``dataset`` claims more than ``trusted`` bytes and far more than the file holds."""
    where = where_is(dataset)
    with reading(where):
        claimed, stored = dataset.size * dataset.dtype.itemsize, dataset.id.get_storage_size()
    if claimed > trusted and claimed > _MAX_RATIO * stored:
        raise SubmissionError(
            f"{where} has shape {dataset.shape}, {claimed / 2**30:,.1f} GiB, but the file holds {stored:,} bytes of it",
            hint="write the descriptors, not their shape alone",
        )


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Turn what goes wrong while ``where`` ("FILE: DATASET") is opened or read into a SubmissionError."""
    try:
        yield
    except MemoryError as error:
        raise SubmissionError(f"{where} needs more memory than there is", hint="score on a larger machine") from error
    # h5py reports an object header that does not make sense as a missing key, among others.
    except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise SubmissionError(
            f"{where} cannot be read ({one_line(str(error), 200)})", hint="the file is damaged: write or fetch it again"
        ) from error


def read_ids(file: h5py.File, name: str, *, rows_of: h5py.Dataset | None = None) -> tuple[str, ...]:
    """Return the strings in the dataset ``name``, (n,) strings or bytes, in row order.

    Raises
    ------
    SubmissionError
        If it is not a list of UTF-8 strings, has another length than ``rows_of``, or holds an id that is empty,
        overlong or unprintable.
    """
    dataset = stored_dataset(file, name)
    where = where_is(dataset)
    with reading(where):
        dtype = dataset.dtype
    kind = h5py.check_string_dtype(dtype)
    if kind is None or dataset.ndim != 1 or dataset.shape[0] > MAX_ROWS:
        raise SubmissionError(
            f"{where} holds {_in_words(dtype)} of shape {dataset.shape}, expected a list of strings",
            hint="write the image ids as strings, e.g. Q25000",
        )
    if rows_of is not None and dataset.shape != rows_of.shape[:1]:
        raise SubmissionError(
            f"{where_is(rows_of)} has {rows_of.shape[0]:,} rows but {name} has {dataset.shape[0]:,} ids",
            hint="write one id per row, in the same order",
        )
    if kind.length is not None and kind.length > MAX_ID:
        raise SubmissionError(
            f"{where} holds ids of {kind.length} bytes, at most {MAX_ID} are accepted", hint="write ids such as Q25000"
        )
    ids: list[str] = []
    for block in string_blocks(dataset):
        ids += _decoded(where, block, len(ids))
    return tuple(ids)


def string_blocks(dataset: h5py.Dataset) -> Iterator[list[bytes]]:
    """Yield the strings of ``dataset``, (n,), in their order. Raises SubmissionError if they cannot be read."""
    check_claim(dataset, trusted=_TRUSTED_TEXT)
    step = _IDS_PER_READ
    if dataset.dtype.kind == "O" and not MEMORY_LIMITED:
        # Many strings of varying length may point to one that fills the file: what one read can take is bounded.
        step = min(step, max(_FEWEST_IDS_PER_READ, _TEXT_MEMORY // Path(dataset.file.filename).stat().st_size))
    for start in range(0, dataset.shape[0], step):
        with reading(where_is(dataset)):
            block: list[bytes] = read_rows(dataset, start, start + step).tolist()
        yield block


def read_norms(
    file: h5py.File, name: str, vectors: h5py.Dataset, rows: NDArray[np.int64], ids: Sequence[str]
) -> NDArray[np.float32]:
    """Return the norms in the dataset ``name`` for those ``rows`` of ``vectors`` that hold the images ``ids``.

    Raises
    ------
    SubmissionError
        If there is not one finite number, zero or above, per row of ``vectors``.
    """
    dataset = stored_dataset(file, name)
    where = where_is(dataset)
    _check_floats(dataset, hint="write one floating-point number per row")
    if dataset.shape != vectors.shape[:1]:
        raise SubmissionError(
            f"{where} has shape {dataset.shape}, but {vectors.name.lstrip('/')} has {vectors.shape[0]:,} rows",
            hint="write one number per row, in the same order",
        )
    with reading(where):
        stored = read_rows(dataset, 0, len(dataset))[rows]
    with np.errstate(over="ignore", invalid="ignore"):  # what becomes infinite is refused
        norms: NDArray[np.float32] = stored.astype(np.float32)
    bad = np.flatnonzero(~(np.isfinite(norms) & (norms >= 0)))
    if len(bad):
        at = int(bad[0])
        raise SubmissionError(
            f"{where} row {rows[at]} ({ids[at]}) is {stored[at]}, expected a finite number, "
            f"zero or above, in the range of float32 ({len(bad):,} such rows)",
            hint="write the length of the vector that the asymmetric rule compares",
        )
    return norms


def text_attribute(file: h5py.File, name: str, *, strict: bool = True) -> str | None:
    """Return the text attribute ``name``; None if there is none or, unless ``strict``, if it is not text."""
    value = _attribute(file, name)
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if value is None or isinstance(value, str):
        return value
    if strict:
        raise SubmissionError(f"{file.filename}: attribute {name} is not text", hint=f"write {name} as a string")
    return None


def yes_or_no_attribute(file: h5py.File, name: str) -> bool | None:
    """Return the attribute ``name`` as text, bool or number says it, see `answer`; None if there is none.

    Raises SubmissionError for anything else: a misread "no" would let rank what must not.
    """
    value = _attribute(file, name)
    if value is None:
        return None
    text = value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
    found = answer(text)
    if found is None:
        raise SubmissionError(
            f"{file.filename}: attribute {name} is {text[:40]!r}, expected yes or no", hint="write one of the two"
        )
    return found


def answer(text: str) -> bool | None:
    """Return True for yes, true and 1, False for no, false and 0, in any case; None for anything else."""
    known = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    return known.get(text.strip().lower().removesuffix(".0"))


def number_attribute(file: h5py.File, name: str) -> float | None:
    """Return the numeric attribute ``name``, None if there is none. Raises SubmissionError if it is not finite."""
    value = _attribute(file, name)
    if value is None:
        return None
    number = isinstance(value, (np.integer, np.floating)) and math.isfinite(value)
    if not number:
        raise SubmissionError(
            f"{file.filename}: attribute {name} is {str(value)[:40]!r}, expected a finite number",
            hint=f"write {name} as one number, on the scale of the score",
        )
    return float(value)


def metric_attribute(file: h5py.File) -> Metric | None:
    """Return the attribute ``metric``, ``l2`` or ``ip``; None if there is none. Raises SubmissionError for others."""
    metric = text_attribute(file, "metric")
    if metric not in (None, "l2", "ip"):
        raise SubmissionError(
            f"{file.filename}: attribute metric is {str(metric)[:40]!r}", hint='expected "l2" or "ip"'
        )
    return cast("Metric | None", metric)


def read_attributes(path: Path) -> dict[str, str]:
    """Return the text attributes of a descriptor or submission file, by name (others are left out)."""
    with open_file(path) as file:
        with reading(f"{path}: the list of its attributes"):
            names = sorted(name for name in file.attrs if isinstance(name, str))  # bytes are not UTF-8
        return {n: v for n in names if (v := text_attribute(file, n, strict=False)) is not None}


def _names(file: h5py.File) -> str:
    with reading(f"{file.filename}: the list of its datasets"):
        names = sorted(name if isinstance(name, str) else name.decode(errors="replace") for name in file)
    return ", ".join(repr(name[:40]) for name in names[:8]) + (", ..." if len(names) > 8 else "") or "nothing"


def _check_floats(dataset: h5py.Dataset, *, hint: str) -> None:
    where = where_is(dataset)
    with reading(where):  # HDF5 knows types that NumPy has not
        dtype = dataset.dtype
    if dtype.kind != "f" or dtype.itemsize not in (2, 4, 8):
        raise SubmissionError(f"{where} holds {_in_words(dtype)}, expected float16, float32 or float64", hint=hint)


def _in_words(dtype: np.dtype[Any]) -> str:
    if h5py.check_ref_dtype(dtype) is not None:
        return "references to other objects"
    if dtype.kind == "O":
        text = h5py.check_string_dtype(dtype) is not None
        return "strings of varying length" if text else "lists of varying length"
    return str(dtype)[:80]


def _decoded(where: str, block: list[bytes], start: int) -> list[str]:
    try:
        ids = [value.decode("utf-8") for value in block]
    except UnicodeDecodeError as error:
        row = start + block.index(error.object)
        raise SubmissionError(
            f"{where} cannot be read: row {row} is {error.object[:40]!r}, not UTF-8", hint="write UTF-8 strings"
        ) from error
    if wrong := wrong_ids(ids):
        at = wrong[0]
        raise SubmissionError(
            f"{where} row {start + at}, {ids[at][:40]!r}, {wrong_with_id(ids[at])}", hint="write ids such as Q25000"
        )
    return ids


def _attribute(file: h5py.File, name: str) -> Any:  # noqa: ANN401 -- what HDF5 holds
    with reading(f"{file.filename}: attribute {name}"):
        if not h5py.h5a.exists(file.id, name.encode()):
            return None
        described = file.attrs.get_id(name)
        if described.shape != () or described.get_storage_size() > MAX_ATTRIBUTE_BYTES:
            return ()
        try:
            value = file.attrs[name]
        except TypeError:  # a type that NumPy has not
            return ()
    if not isinstance(value, str):
        return value
    # h5py keeps bytes that are not UTF-8 as surrogates, which nothing can print.
    text = value.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="replace")
    return text if len(text) <= MAX_ATTRIBUTE_BYTES else ()
