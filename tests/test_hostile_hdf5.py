"""HDF5 files of a few kilobytes that make the library loop, crash or take the memory: one message, and no harm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from ndec_bench.descriptors import read_submission, trial
from ndec_bench.descriptors.chunks import read_rows
from ndec_bench.errors import SubmissionError

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = np.arange(24, dtype="f4").reshape(6, 4) + 1
LIMIT = 60


def write(path: Path, *, vlen: bool = False, count: int = 6, **layout: object) -> Path:
    with h5py.File(path, "w") as file:
        for side in ("query", "reference"):
            file.create_dataset(side, data=np.resize(ROWS, (count, 4)), **layout)
            ids = [f"{side[0].upper()}{row}" for row in range(count)]
            file[f"{side}_ids"] = ids if vlen else np.array(ids, "S")
    return path


def patched(path: Path, mark: bytes, offset: int, content: bytes) -> Path:
    whole = bytearray(path.read_bytes())
    at = whole.index(mark) + offset
    whole[at : at + len(content)] = content
    path.write_bytes(whole)
    return path


def looping_ids(path: Path) -> Path:
    # The first object of the heap is free space of no size: the library never leaves it.
    return patched(write(path, vlen=True), b"GCOL", 16, bytes(16))


def looping_attribute(path: Path) -> Path:
    with h5py.File(write(path), "r+") as file:
        file.attrs["metric"] = "l2"
    return patched(path, b"GCOL", 16, bytes(16))


def one_string_many_times(path: Path) -> Path:
    """65,536 ids that are the same megabyte of the file."""
    with h5py.File(write(path, count=1 << 16, vlen=True), "r+") as file:
        del file["query_ids"]
        file["query_ids"] = ["Q" * (1 << 20)] + ["b"] * ((1 << 16) - 1)
        at = file["query_ids"].id.get_offset()
    whole = bytearray(path.read_bytes())
    whole[at : at + (1 << 20)] = whole[at : at + 16] * (1 << 16)
    path.write_bytes(whole)
    return path


def size_of_a_checksummed_chunk(path: Path) -> Path:
    return patched(write(path, chunks=(3, 4), fletcher32=True), b"TREE\x01", 24, bytes(4))


def size_of_a_plain_chunk(path: Path) -> Path:
    return patched(write(path, chunks=(3, 4)), b"TREE\x01", 24, (4).to_bytes(4, "little"))


def packed(content: bytes) -> Callable[[Path], Path]:
    """A gzip chunk of 8 MB that unpacks to something else: the library reads what lies behind it in memory."""

    def make(path: Path) -> Path:
        write(path)
        with h5py.File(path, "r+") as file:
            for name in ("query", "reference", "query_ids", "reference_ids"):
                del file[name]
            file["query_ids"] = file["reference_ids"] = np.array([f"Q{row}" for row in range(24)], "S")
            chunk = (24, 1 << 16)
            made = file.create_dataset("reference", shape=chunk, dtype="f4", chunks=chunk, compression="gzip")
            made.id.write_direct_chunk((0, 0), zlib.compress(content))
            file["query"] = np.random.default_rng(1).random(chunk, dtype="f4")
        return path

    return make


def large_chunk(path: Path) -> Path:
    """A chunk of 1 GiB in 1 MB."""
    with h5py.File(write(path), "r+") as file:
        del file["query"]
        chunk = (1 << 26, 4)
        made = file.create_dataset("query", shape=(6, 4), maxshape=chunk, dtype="f4", chunks=chunk, compression="gzip")
        made.id.write_direct_chunk((0, 0), zlib.compress(bytes(1 << 30), 1))
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (looping_ids, "the HDF5 library does not finish reading it; the file is damaged: write or fetch it again"),
        (looping_attribute, "the HDF5 library does not finish reading it; the file is damaged"),
        pytest.param(
            one_string_many_times,
            "query_ids (needs more memory than there is|cannot be read)|does not finish",
            marks=pytest.mark.skipif(not trial.MEMORY_LIMITED, reason="the system has no limit of memory"),
        ),
        (size_of_a_checksummed_chunk, r"'query' is written with HDF5 filter 3 \(fletcher32\)"),
        (size_of_a_plain_chunk, r"query cannot be read \(a chunk of 4 bytes, expected 48 unpacked\)"),
        (packed(b"\1" * 100), r"reference cannot be read \(a chunk unpacks to other than 6,291,456 bytes\)"),
        (packed(bytes(9_000_000)), r"reference cannot be read \(a chunk unpacks to other than 6,291,456 bytes\)"),
        (large_chunk, r"'query' has chunks of 1\.0 GiB, but the file holds 4,\d+,\d+ bytes of it"),
    ],
)
def test_a_hostile_file_is_refused_with_one_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Path], message: str
) -> None:
    monkeypatch.setattr(trial, "_CPU_SECONDS", 0)  # one second is left
    path = make(tmp_path / "hostile.h5")
    for _ in range(2):  # the second time from a new process, or an old one
        with pytest.raises(SubmissionError, match=message) as caught:
            read_submission(path)
        assert str(path) in caught.value.message
    read_submission(write(tmp_path / "good.h5", vlen=True))


def test_one_process_reads_all_files_and_is_replaced_when_it_dies(tmp_path: Path) -> None:
    def process() -> int:
        reader = trial._readers[os.getpid()]._process
        assert reader is not None
        return reader.pid

    read_submission(write(tmp_path / "a.h5"))
    first = process()
    read_submission(write(tmp_path / "b.h5"))
    assert process() == first
    os.kill(first, signal.SIGKILL)
    read_submission(write(tmp_path / "c.h5"))
    assert process() != first


@pytest.mark.skipif(sys.platform != "linux", reason="finds the process in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_while_the_library_loops(tmp_path: Path, number: signal.Signals) -> None:
    path = looping_ids(tmp_path / "hostile.h5")
    (tmp_path / "gt.csv").write_text("Q0,R0\nQ1,\n")
    command = f"from ndec_bench.descriptors import trial; trial._CPU_SECONDS = {LIMIT}; trial._WALL_SECONDS = {LIMIT}"
    command += "; from ndec_bench.cli import main; main()"
    run = subprocess.Popen(
        [sys.executable, "-c", command, "validate", str(path), "--ground-truth", str(tmp_path / "gt.csv")],
        stderr=subprocess.PIPE,
        text=True,
    )
    spent, reader = 0.0, 0
    while spent < 1:  # until the other process is at work on the file
        time.sleep(0.05)
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        if children:
            reader = int(children[0])
            fields = Path(f"/proc/{reader}/stat").read_text().rpartition(")")[2].split()
            spent = int(fields[11]) / os.sysconf("SC_CLK_TCK")
    run.send_signal(number)
    _, message = run.communicate(timeout=LIMIT)
    assert (run.returncode, "stopped; nothing half-written was left" in message) == (6, True)
    with pytest.raises(ProcessLookupError):
        os.kill(reader, 0)


@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("dtype", ["<f2", ">f4", "f8", "S5"])
def test_every_layout_is_read_as_the_library_reads_it(
    tmp_path: Path, compression: str | None, shuffle: bool, dtype: str
) -> None:
    data = np.arange(70).reshape(10, 7).astype(dtype)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for number, chunks in enumerate([(3, 2), (1, 7), (16, 16)]):
            layout = {"chunks": chunks, "maxshape": (None, None), "compression": compression, "shuffle": shuffle}
            file.create_dataset(f"whole-{number}", data=data, **layout)
            file.create_dataset(f"part-{number}", shape=(10, 7), dtype=dtype, fillvalue=data[1, 1], **layout)[
                4:6, 3:5
            ] = 9
    with h5py.File(tmp_path / "x.h5") as file:
        for dataset in file.values():
            for start, stop in ((0, 10), (2, 5), (9, 99), (4, 4)):
                assert np.array_equal(read_rows(dataset, start, stop), dataset[start:stop])
