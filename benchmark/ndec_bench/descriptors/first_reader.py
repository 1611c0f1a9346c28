"""The process that `ndec_bench.descriptors.trial` starts: it reads HDF5 files and says what the library could not read.

It makes the calls that the later reading makes. What is readable but wrong is left to that reading.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import h5py

from ndec_bench.descriptors.chunks import check_chunks, read_rows
from ndec_bench.descriptors.hdf5 import MAX_ROWS, reading, stored_dataset, string_blocks, where_is
from ndec_bench.errors import SubmissionError

if sys.platform != "win32":  # there, the limit of wall-clock time remains
    import resource

_MEMORY = 3 << 30
_VECTORS = ("vectors", "query", "reference", "background")
_IDS = ("image_names", "query_ids", "reference_ids", "background_ids", "invalid_ids")
_NORMS = ("norms", "query_norms", "reference_norms")
_ROWS = 1 << 20


def main() -> None:
    """Answer each line of stdin, ``{"path", "cpu_seconds"}`` in JSON, by ``{"message", "hint"}`` or null."""
    _limit_memory()
    _answer("ready")
    for line in sys.stdin:
        request = json.loads(line)
        _limit_time(request["cpu_seconds"])
        try:
            _read_through(Path(request["path"]))
        except SubmissionError as error:
            _answer({"message": error.message, "hint": error.hint})
        else:
            _answer(None)


def _answer(content: Any) -> None:  # noqa: ANN401 -- JSON
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def _read_through(path: Path) -> None:
    """Raise SubmissionError if something in the file at ``path`` cannot be read."""
    try:
        file = h5py.File(path, "r", locking=False)
    except OSError:
        return  # the later reading has words for it
    with file:
        with reading(f"{path}: the list of its datasets"):
            names = list(file)
        for name in {*_VECTORS, *_IDS, *_NORMS}.intersection(names):
            _read(file, name)
        with reading(f"{path}: the list of its attributes"):
            attributes = [name for name in file.attrs if isinstance(name, str)]
        for name in attributes:
            _read_attribute(file, name)


def _read(file: h5py.File, name: str) -> None:
    try:
        dataset = stored_dataset(file, name)
    except SubmissionError as error:
        if error.__cause__ is not None:  # the library gave up
            raise
        return
    with reading(where_is(dataset)):
        check_chunks(dataset)
        if name in _VECTORS or dataset.ndim != 1 or dataset.shape[0] > MAX_ROWS:
            return
        if h5py.check_string_dtype(dataset.dtype) is not None:
            for _ in string_blocks(dataset):
                pass
        elif name in _NORMS:
            for start in range(0, dataset.shape[0], _ROWS):
                read_rows(dataset, start, start + _ROWS)


def _read_attribute(file: h5py.File, name: str) -> None:
    with reading(f"{file.filename}: attribute {name}"):
        try:
            file.attrs[name]
        except TypeError:  # a type that NumPy has not
            return


def _limit_memory() -> None:
    """Allow so much memory on top of what Python and the library take; where the system says how much that is."""
    statm = Path("/proc/self/statm")
    if sys.platform != "win32" and statm.exists():
        taken = int(statm.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        most = taken + _MEMORY if hard == resource.RLIM_INFINITY else min(hard, taken + _MEMORY)
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def _limit_time(seconds: int) -> None:
    """Let the system end this process after so many more seconds of processor time, whatever it is doing."""
    if sys.platform != "win32":
        spent = resource.getrusage(resource.RUSAGE_SELF)
        most = int(spent.ru_utime + spent.ru_stime) + 1 + seconds
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (most if hard == resource.RLIM_INFINITY else min(hard, most), hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


if __name__ == "__main__":
    main()
