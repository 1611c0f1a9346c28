"""Writing descriptors to HDF5: rows sorted by id, the same bytes for the same content, however large it is."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import h5py
import numpy as np

from ndec_bench.atomic import check_writable, replacing
from ndec_bench.descriptors.chunks import read_rows
from ndec_bench.descriptors.hdf5 import (
    check_claim,
    has,
    open_file,
    read_ids,
    reading,
    stored_dataset,
    vectors_dataset,
)
from ndec_bench.descriptors.vectors import ROWS_PER_READ, Descriptors
from ndec_bench.errors import SubmissionError
from ndec_bench.printable import one_line
from ndec_bench.progress import silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ndec_bench.descriptors.submission import Submission
    from ndec_bench.descriptors.vectors import VectorSource
    from ndec_bench.progress import Progress

# What HDF5 writes for itself, with room for a few more attributes.
_OVERHEAD = 1 << 16
_SIDES = ("query", "reference", "background")
_OTHERS = ("query_ids", "reference_ids", "background_ids", "query_norms", "reference_norms", "invalid_ids")


def write_descriptors(
    path: Path,
    descriptors: VectorSource,
    attributes: Mapping[str, str],
    *,
    norms: NDArray[np.float32] | None = None,
    invalid_ids: Iterable[str] = (),
    progress: Progress = silent,
) -> None:
    """Write a descriptor file: rows sorted by id, attributes sorted by name, the same bytes for the same content.

    The vectors are read and written block by block, in the order they lie in; a few blocks are in memory.

    Parameters
    ----------
    path
        The file; it appears whole or not at all.
    descriptors
        Vectors with their ids.
    attributes
        Texts, by name: the recipe.
    norms
        (n,) float32, one per row of ``descriptors``.
    invalid_ids
        Images that could not be decoded, which have no row.
    progress
        Called as ``progress("writing vectors", done, total)`` in rows.

    Raises
    ------
    DataError
        If the file cannot be written.
    """
    invalid = sorted(set(invalid_ids))
    with _new_file(path, _most_bytes([descriptors], invalid, attributes)) as file:
        _write_side(file, "vectors", "image_names", descriptors, progress)
        if norms is not None:
            file.create_dataset("norms", data=norms[_order(descriptors)], track_times=False)
        _write_invalid(file, invalid)
        for name in sorted(attributes):
            file.attrs[name] = attributes[name]


def write_submission(
    path: Path, submission: Submission, attributes: Mapping[str, str] | None = None, *, progress: Progress = silent
) -> None:
    """Write a submission file: rows sorted by id, the same bytes for the same content.

    ``attributes`` are added to ``split``, ``metric`` and ``threshold``; ``progress`` is called as by
    `write_descriptors`, for each side. Raises DataError if the file cannot be written.
    """
    texts = {"metric": submission.metric, **(attributes or {})}
    if submission.split:
        texts["split"] = submission.split
    sides = {
        "query": (submission.queries, submission.query_norms),
        "reference": (submission.references, submission.reference_norms),
        "background": (submission.background, None),
    }
    invalid = sorted(set(submission.invalid_ids))
    present = [side for side, _ in sides.values() if side is not None]
    with _new_file(path, _most_bytes(present, invalid, texts)) as file:
        for name, (side, norms) in sides.items():
            if side is not None:
                _write_side(file, name, f"{name}_ids", side, progress)
                if norms is not None:
                    file.create_dataset(f"{name}_norms", data=norms[_order(side)], track_times=False)
        _write_invalid(file, invalid)
        for name in sorted(texts):
            file.attrs[name] = texts[name]
        if submission.threshold is not None:
            file.attrs["threshold"] = submission.threshold


def write_half(source: Path, target: Path, *, progress: Progress = silent) -> None:
    """Write the submission file ``source`` with float16 vectors to ``target``; everything else in it stays the same.

    The same file gives the same bytes. ``progress`` is called as ``progress("writing reference", done, total)`` in
    rows, and so for the other sides.

    Raises
    ------
    SubmissionError
        If ``source`` is not a submission file, has float16 vectors already, or holds a row that float16 cannot: a value
        beyond 65,504, or nothing but values that become 0.
    DataError
        If ``target`` cannot be written.
    """
    with open_file(source) as file:
        sides = [name for name in _SIDES if name != "background" or has(file, name)]
        vectors = {name: vectors_dataset(file, name) for name in sides}
        if all(side.dtype.itemsize == 2 for side in vectors.values()):
            raise SubmissionError(f"{source}: its vectors are float16 already", hint="leave --float16 out")
        with _new_file(target, source.stat().st_size) as made:
            for name, side in vectors.items():
                check_claim(side)
                ids = read_ids(file, f"{name}_ids", rows_of=side)
                _write_half_side(made, name, side, ids, source, progress)
            for name in _OTHERS:
                if has(file, name):
                    kept = stored_dataset(file, name)
                    made.create_dataset(name, data=kept[()], dtype=kept.dtype, track_times=False)
            for name in sorted(name for name in file.attrs if isinstance(name, str)):
                made.attrs[name] = file.attrs[name]


def _write_half_side(
    made: h5py.File, name: str, side: h5py.Dataset, ids: tuple[str, ...], source: Path, progress: Progress
) -> None:
    half = made.create_dataset(name, shape=side.shape, dtype=np.float16, track_times=False)
    for start in range(0, len(side), ROWS_PER_READ):
        with reading(f"{source}: {name}"):
            block = read_rows(side, start, start + ROWS_PER_READ)
        with np.errstate(over="ignore", under="ignore"):
            rows = block.astype(np.float16)
        # What was not finite before belongs to an image that could not be decoded, or is refused when it is scored.
        beyond = (np.isinf(rows) & np.isfinite(block)).any(axis=1)
        gone = ~rows.any(axis=1) & block.any(axis=1)
        for bad, why in ((beyond, "a value beyond 65,504"), (gone, "nothing but values that become 0")):
            if bad.any():
                row = start + int(np.flatnonzero(bad)[0])
                raise SubmissionError(
                    f"{source}: {name} row {row} ({ids[row]}) does not fit float16: {why}",
                    hint="upload the file as it is, without --float16, or scale the vectors",
                )
        half[start : start + len(rows)] = rows
        progress(f"writing {name}", start + len(rows), len(side))


@contextmanager
def _new_file(path: Path, size: int) -> Iterator[h5py.File]:
    """Yield an HDF5 file that appears at ``path`` when the block succeeds, with no time of writing in it.

    ``size`` is what it will take at most: where a disk fills up while HDF5 closes a file, the process may crash.
    """
    check_writable(path, regular=True)
    with replacing(path, size=size) as temporary:
        file = h5py.File(temporary, "w", libver=("earliest", "v110"))
        try:
            yield file
        finally:
            try:
                file.close()
            except RuntimeError as error:
                raise OSError(f"HDF5 cannot close it: {one_line(str(error), 200)}") from error


def _most_bytes(sides: Iterable[VectorSource], invalid: Sequence[str], texts: Mapping[str, str]) -> int:
    """Return how large a file of this content can become."""
    size = _OVERHEAD + sum(len(text.encode()) for item in texts.items() for text in item)
    for ids, row in [(side.ids, 4 * side.dimension + 4) for side in sides] + [(invalid, 0)]:
        # Ids are stored at the length of the longest.
        size += len(ids) * (row + max((len(each.encode()) for each in ids), default=0))
    return size


def _order(side: VectorSource) -> NDArray[np.intp]:
    return np.argsort(np.array(side.ids))


def _write_side(file: h5py.File, vectors_name: str, ids_name: str, side: VectorSource, progress: Progress) -> None:
    order = _order(side)
    # track_times=False (h5py's default for datasets) keeps the clock out of the bytes.
    shape = (len(side), side.dimension)
    vectors = file.create_dataset(vectors_name, shape=shape, dtype=np.float32, track_times=False)
    done = 0
    for place, rows in _in_memory(side, order) if isinstance(side, Descriptors) else _as_they_lie(side, order):
        vectors[place : place + len(rows)] = rows
        done += len(rows)
        if done % ROWS_PER_READ == 0 or done == len(side):
            progress(f"writing {vectors_name}", done, len(side))
    ids = np.array([side.ids[i].encode("utf-8") for i in order])
    file.create_dataset(ids_name, data=ids, track_times=False)


def _in_memory(side: Descriptors, order: NDArray[np.intp]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    for start in range(0, len(order), ROWS_PER_READ):
        yield start, side.vectors[order[start : start + ROWS_PER_READ]]


def _as_they_lie(side: VectorSource, order: NDArray[np.intp]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield runs of neighbouring rows and the place of their first; a sorted file gives its blocks as they are.

    Rows are read in the order of the file, for those of a compressed one come in pages.
    """
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    for start in range(0, len(order), ROWS_PER_READ):
        block = np.ascontiguousarray(side.read(start, start + ROWS_PER_READ))
        here = places[start : start + len(block)]
        starts = [0, *(np.flatnonzero(np.diff(here) != 1) + 1).tolist()]
        for first, last in zip(starts, [*starts[1:], len(here)], strict=True):
            yield int(here[first]), block[first:last]


def _write_invalid(file: h5py.File, invalid: Sequence[str]) -> None:
    if invalid:
        file.create_dataset("invalid_ids", data=np.array([i.encode("utf-8") for i in invalid]), track_times=False)
