"""A submission file with vectors of float16: half the bytes, and another file with a digest of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import numpy as np

from ndec_bench.atomic import replacing
from ndec_bench.descriptors.hdf5 import (
    check_claim,
    has,
    open_file,
    read_ids,
    reading,
    stored_dataset,
    vectors_dataset,
)
from ndec_bench.descriptors.vectors import ROWS_PER_READ
from ndec_bench.errors import SubmissionError
from ndec_bench.progress import silent

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_bench.progress import Progress

_SIDES = ("query", "reference", "background")
_OTHERS = ("query_ids", "reference_ids", "background_ids", "query_norms", "reference_norms", "invalid_ids")


def write_half(source: Path, target: Path, *, progress: Progress = silent) -> None:
    """Write the submission file ``source`` with float16 vectors to ``target``; everything else in it stays the same.

    The same file gives the same bytes. ``progress`` is called as ``progress("writing reference", done, total)`` in
    rows, and so for the other sides.

    Raises
    ------
    SubmissionError
        If ``source`` is no submission file, has float16 vectors already, or holds a row that float16 cannot: a value
        beyond 65,504, or nothing but values that become 0.
    DataError
        If ``target`` cannot be written.
    """
    with open_file(source) as file:
        sides = [name for name in _SIDES if name != "background" or has(file, name)]
        vectors = {name: vectors_dataset(source, file, name) for name in sides}
        if all(side.dtype.itemsize == 2 for side in vectors.values()):
            raise SubmissionError(f"{source}: its vectors are float16 already", hint="leave --float16 out")
        with replacing(target) as temporary, h5py.File(temporary, "w", libver=("earliest", "v110")) as made:
            for name, side in vectors.items():
                check_claim(f"{source}: {name}", side)
                ids = read_ids(source, file, f"{name}_ids", rows_of=side)
                _write_side(made, name, side, ids, source, progress)
            for name in _OTHERS:
                if has(file, name):
                    kept = stored_dataset(source, file, name)
                    made.create_dataset(name, data=kept[()], dtype=kept.dtype, track_times=False)
            for name in sorted(file.attrs):
                made.attrs[name] = file.attrs[name]


def _write_side(
    made: h5py.File, name: str, side: h5py.Dataset, ids: tuple[str, ...], source: Path, progress: Progress
) -> None:
    half = made.create_dataset(name, shape=side.shape, dtype=np.float16, track_times=False)
    for start in range(0, len(side), ROWS_PER_READ):
        with reading(f"{source}: {name}"):
            block = side[start : start + ROWS_PER_READ]
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
