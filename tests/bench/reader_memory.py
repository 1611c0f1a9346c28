"""Print how much memory each reader takes at most, per byte of a file made to need much: the table of docs/security.md.

``python tests/bench/reader_memory.py`` writes files of a few megabytes that are as wasteful as their format lets them
be, reads each in a process of its own, and compares its peak with that of the same reader on a small file.
"""

from __future__ import annotations

import io
import json
import resource
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1]))

import h5py
import numpy as np

import fuzz
from ndec_bench.errors import NdecBenchError

if TYPE_CHECKING:
    from collections.abc import Callable

MEMORY = 16 << 30


def gzipped_vectors(rows: int = 120_000, width: int = 256) -> bytes:
    """Equal rows of float16, which become float32; claims of less than 64 MiB are believed."""
    vectors = np.ones((rows, width), "f2")
    file = io.BytesIO()
    with h5py.File(file, "w") as made:
        for side in ("query", "reference"):
            made.create_dataset(side, data=vectors, chunks=(4096, width), compression="gzip", compression_opts=9)
            ids = np.char.add("I", np.arange(rows).astype("U")).astype("S")
            made.create_dataset(f"{side}_ids", data=ids, compression="gzip")
    return file.getvalue()


def ids_of_one_text(rows: int = 5_000_000) -> bytes:
    """Ids of two bytes that were never written, with a value that stands in for them."""
    file = io.BytesIO()
    with h5py.File(file, "w") as made:
        for side in ("query", "reference"):
            made[side] = np.ones((rows, 1), "f2")
            made.create_dataset(f"{side}_ids", shape=(rows,), dtype="S2", fillvalue=b"ab", chunks=(4096,))
    return file.getvalue()


def pairs(rows: int = 2_000_000) -> bytes:
    """Short rows."""
    return b"query_id,reference_id,score\n" + b"".join(b"%x,%x,1\n" % (row, row) for row in range(rows))


def one_pair(rows: int = 1 << 20) -> bytes:
    """One pair, which Parquet writes once; so many rows are believed."""
    import pyarrow as pa
    from pyarrow import parquet

    file = io.BytesIO()
    ids = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, "i4")), ["Q"])
    scores = pa.array(np.zeros(rows))
    parquet.write_table(pa.table({"query_id": ids, "reference_id": ids, "score": scores}), file)
    return file.getvalue()


def truth(rows: int = 1_000_000) -> bytes:
    """Queries without a reference."""
    return b"".join(b"%x,\n" % row for row in range(rows))


def truth_json(rows: int = 1_000_000) -> bytes:
    """The same as an object."""
    return json.dumps({f"{row:x}": [] for row in range(rows)}, separators=(",", ":")).encode()


def ids(rows: int = 1_000_000) -> bytes:
    """One id a line."""
    return b"".join(b"%x\n" % row for row in range(rows))


def result(size: int = 1_000_000) -> bytes:
    """A list as long as the check of a pull request allows."""
    content = json.loads(fuzz.seeds("results (JSON)")[0])
    content["parts"]["all"]["replicates"]["micro_ap"] = [0] * (size // 2)
    return json.dumps(content, separators=(",", ":")).encode()


def card(size: int = 64_000) -> bytes:
    """A card of nothing but short fields."""
    return b"".join(b"a%x=1\n" % number for number in range(size // 7))


def members(count: int = 100_000) -> bytes:
    """Empty members with short names."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        for number in range(count):
            made.writestr(f"{number:x}.png", b"")
    return file.getvalue()


def one_member(size: int = 250 << 20) -> bytes:
    """A member as large as is accepted."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as made:
        made.writestr("0.png", np.random.default_rng(1).bytes(size // 150) + bytes(size - size // 150))
    return file.getvalue()


def blocks(count: int = 10_000) -> bytes:
    """Empty files in a tar."""
    return fuzz.tar_of([(f"{number:x}.png", b"") for number in range(count)])


def links(count: int = 100_000) -> bytes:
    """Links to other things."""
    return b"".join(b"https://a/%x\n" % number for number in range(count))


CASES: list[tuple[str, str, Callable[[], bytes]]] = [
    ("descriptors, gzip", "descriptors (HDF5)", gzipped_vectors),
    ("descriptors, ids never written", "descriptors (HDF5)", ids_of_one_text),
    ("pairs, CSV", "pairs (CSV)", pairs),
    ("pairs, Parquet, one pair many times", "pairs (Parquet)", one_pair),
    ("ground truth, CSV", "ground truth (CSV, JSON)", truth),
    ("ground truth, JSON", "ground truth (CSV, JSON)", truth_json),
    ("list of ids", "lists of ids", ids),
    ("result", "results (JSON)", result),
    ("submission.toml", "submission.toml", card),
    ("zip, empty members", "zip", members),
    ("zip, one member", "zip", one_member),
    ("tar", "tar", blocks),
    ("links", "links", links),
]


def peak(reader: str, *paths: Path) -> int:
    """Return the peak of a new process that reads ``paths``, in bytes."""
    command = [sys.executable, __file__, reader, *map(str, paths)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) * 1024


def child(reader: str, paths: list[str]) -> None:
    """Read ``paths`` and print the peak of this process in KiB."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for path in paths:
        try:
            fuzz.READERS[reader].read(Path(path))
        except (NdecBenchError, MemoryError) as error:
            print(error, file=sys.stderr)
    print(fuzz.peak())


def main() -> None:
    """Print the table."""
    print("| File | Size | Memory | Per byte of file |\n| --- | ---: | ---: | ---: |", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        small, large = (Path(folder) / name for name in ("small", "large"))
        for title, reader, make in CASES:
            small.write_bytes(fuzz.seeds(reader)[0])
            large.write_bytes(make())
            size, taken = large.stat().st_size, peak(reader, small, large) - peak(reader, small)
            print(f"| {title} | {size / 1e6:,.1f} MB | {taken / 1e6:,.0f} MB | {taken / size:,.1f} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child(sys.argv[1], sys.argv[2:])
    else:
        main()
