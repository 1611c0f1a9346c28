"""Damaged files for every reader: ``python tests/fuzz.py`` mutates valid ones and reports what no reader may do.

A reader returns, or raises NdecBenchError. Anything else is a fault: another exception, a crash, no end within half a
minute, more memory than is allowed. Each reader works in a process of its own, so that nothing ends the run. What
fails is kept in ``build/fuzz`` with what happened; files there are tried first by the next run.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent / "servers"))

import numpy as np
from small_archives import jpeg, tar_of, zip_of

from ndec_bench.errors import NdecBenchError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

REPOSITORY = Path(__file__).parents[1]
KEPT = REPOSITORY / "build" / "fuzz"
SECONDS_PER_CASE = 30
MEMORY = 8 << 30
NUMBERS = (0, 1, 2, 3, 7, 8, 15, 16, 127, 128, 255, 256, 32_767, 65_535, 1 << 20, (1 << 31) - 1, 1 << 32, (1 << 63) - 1)
WORDS = (
    *(b"", b"nan", b"-0", b"1e999", b"1e-400", b"9" * 5_000, b"null", b"true", b"[]", b"{}", b'"', b"''", b","),
    *(b"\n", b"\r", b"\0", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", "\u202e".encode(), "Q\u0130".encode(), b"["),
    *(b"[" * 3_000, b"a" * 70_000, b"=", b"#", b"\\u0000", b"\\ud800", b"https://[", b"%00", b"0000-00-00"),
)


class Reader(NamedTuple):
    """What is read, valid files of its kind, and how a file of that name is read."""

    suffix: str
    seeds: Callable[[], Iterable[bytes]]
    read: Callable[[Path], object]
    text: bool = False


def _hdf5_layouts() -> Iterable[bytes]:
    import h5py

    rows = np.arange(24, dtype="f4").reshape(6, 4) + 1
    for options, vlen, libver in (
        ({}, False, "earliest"),
        ({}, True, "earliest"),
        ({}, True, "latest"),
        ({"chunks": (2, 3)}, False, "earliest"),
        ({"chunks": (2, 3), "compression": "gzip"}, True, "earliest"),
        ({"chunks": (3, 4), "compression": "gzip", "shuffle": True, "maxshape": (None, 4)}, False, "latest"),
        ({"chunks": (2, 4), "compression": "lzf", "shuffle": True}, True, "v110"),
        ({"chunks": (6, 4), "compression": "lzf"}, False, "latest"),
    ):
        content = io.BytesIO()
        with h5py.File(content, "w", libver=libver) as file:
            for side, letter in (("query", "Q"), ("reference", "R")):
                file.create_dataset(side, data=rows, **options)
                ids = [f"{letter}{row:03d}" for row in range(6)]
                one = {key: value[:1] if isinstance(value, tuple) else value for key, value in options.items()}
                file.create_dataset(f"{side}_ids", data=ids if vlen else np.array(ids, "S"), **one)
                file.create_dataset(f"{side}_norms", data=rows[:, 0], **one)
            file["invalid_ids"] = ["Q900"]
            file.attrs["split"], file.attrs["metric"], file.attrs["threshold"] = "toy", "l2", -0.5
            file.attrs["note"] = np.array([b"a", b"b"])
        yield content.getvalue()


def _read_hdf5(path: Path) -> object:
    from ndec_bench.descriptors import form_of, read_attributes, read_submission

    form_of(path), read_attributes(path)
    with read_submission(path, keep=0) as submission:
        return submission.references.read(0, 1 << 20), submission.query_norms


def _pairs() -> Iterable[bytes]:
    yield b"query_id,reference_id,score\n" + b"".join(b"Q%d,R%d,%d.5\n" % (n, n, n) for n in range(9))
    yield b'query_id,reference_id,score,note\r\n"Q,1", R1 ,-1e-3,x\r\nQ2,"R""2",0.25,\r\n'


def _parquet() -> Iterable[bytes]:
    import pyarrow as pa
    from pyarrow import parquet

    ids = [f"Q{row}" for row in range(50)]
    for options in ({"compression": "none", "use_dictionary": False}, {}, {"compression": "gzip"}, {"version": "1.0"}):
        content = io.BytesIO()
        scores = pa.array(np.arange(50) / 7)
        parquet.write_table(pa.table({"query_id": ids, "reference_id": ids, "score": scores}), content, **options)
        yield content.getvalue()


def _read_pairs(path: Path) -> object:
    from ndec_bench.matches import read_pairs

    return read_pairs(path)


def _truths() -> Iterable[bytes]:
    yield b"query_id,reference_id\nQ1,R1\nQ2,\nQ3,R2\n"
    yield b'{"Q1": ["R1", "R2"], "Q2": [], "Q3": ["R3"]}'
    yield b"Q1,R1\nQ2,\n"


def _read_truth(path: Path) -> object:
    from ndec_bench.data.ground_truth import read_ground_truth

    return read_ground_truth(path, multi=True)


def _read_ids(path: Path) -> object:
    from ndec_bench.data.ground_truth import read_ids

    return read_ids(path)


def _results() -> Iterable[bytes]:
    for path in sorted((REPOSITORY / "results").rglob("*.json"))[:3]:
        content = json.loads(path.read_bytes())
        _shorten(content)
        yield json.dumps(content).encode()


def _shorten(value: dict[str, Any] | list[Any]) -> None:
    """Cut long lists, so that a mutation meets a field and not the ten-thousandth number."""
    for each in value.values() if isinstance(value, dict) else value:
        if isinstance(each, list) and len(each) > 50 and not isinstance(each[0], (dict, list)):
            del each[50:]
        elif isinstance(each, (dict, list)):
            _shorten(each)


def _read_result(path: Path) -> object:
    from ndec_bench.results.record import read_result, result_json

    return result_json(read_result(path))


def _cards() -> Iterable[bytes]:
    return [path.read_bytes() for path in sorted((REPOSITORY / "submissions").glob("*/submission.toml"))[:4]]


def _read_card(path: Path) -> object:
    from ndec_bench.submissions.card import read_card

    return read_card(path)


def _members() -> list[tuple[str, bytes]]:
    return [("images/", b""), *((f"images/R{number:06d}.jpg", jpeg(number)) for number in range(4))]


def _read_archive(path: Path) -> object:
    from ndec_bench.archives.archive import Archive

    with Archive([path]) as archive:
        return [archive.read(row) for row in range(len(archive.members))]


def _checkpoints() -> Iterable[bytes]:
    import torch

    state = {"layer.weight": torch.arange(12.0).reshape(3, 4), "layer.bias": torch.zeros(3, dtype=torch.float16)}
    for content, zipped in ((state, True), ({"state": state, "epoch": 3}, True), (state, False)):
        file = io.BytesIO()
        torch.save(content, file, _use_new_zipfile_serialization=zipped)
        yield file.getvalue()


def _read_checkpoint(path: Path) -> object:
    from ndec_baselines.networks.checkpoints import read_checkpoint, state_dict_in

    content = read_checkpoint(path)
    state = state_dict_in(path, content, "state") if isinstance(content, dict) and "state" in content else content
    return repr(state)


def _links() -> Iterable[bytes]:
    yield b"refs_50k_0.zip https://dl.example.org/m1/v/t6/An9vk.zip?oh=1&oe=6900AAAA\n"
    yield b'<a href="https://dl.example.org/refs_50k_1.zip?a=1&amp;oe=6900AAAA">refs_50k_1.zip</a>\n# note\n'


def _read_links(path: Path) -> object:
    from ndec_bench.download.links import read_links

    return read_links(path).by_name


READERS = {
    "descriptors (HDF5)": Reader(".h5", _hdf5_layouts, _read_hdf5),
    "pairs (CSV)": Reader(".csv", _pairs, _read_pairs, text=True),
    "pairs (Parquet)": Reader(".parquet", _parquet, _read_pairs),
    "ground truth (CSV, JSON)": Reader(".csv", _truths, _read_truth, text=True),
    "lists of ids": Reader(".txt", lambda: [b"Q1\nQ2\n\nQ3\n", b"Q1\r\nQ2\r\n"], _read_ids, text=True),
    "results (JSON)": Reader(".json", _results, _read_result, text=True),
    "submission.toml": Reader(".toml", _cards, _read_card, text=True),
    "zip": Reader(".zip", lambda: [zip_of(_members()), zip_of(_members(), deflated=True)], _read_archive),
    "tar": Reader(".tar", lambda: [tar_of(_members())], _read_archive),
    "checkpoints": Reader(".pt", _checkpoints, _read_checkpoint),
    "links": Reader(".txt", _links, _read_links, text=True),
}


@cache
def seeds(reader: str) -> tuple[bytes, ...]:
    """Return the valid files of that reader."""
    return tuple(READERS[reader].seeds())


def mutated(reader: str, chance: random.Random) -> bytes:
    """Return a valid file with a few things wrong in it."""
    content = bytearray(chance.choice(seeds(reader)))
    changes = (*_BINARY, *_TEXT * 3) if READERS[reader].text else _BINARY
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        chance.choice(changes)(content, chance)
    return bytes(content)


def _flip(content: bytearray, chance: random.Random) -> None:
    if content:
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def _number(content: bytearray, chance: random.Random) -> None:
    """Write a number of 1 to 8 bytes, of any order, where fields of binary formats would have one."""
    width = chance.choice((1, 2, 4, 8))
    at = chance.randrange(len(content) + 1)
    number = (chance.choice(NUMBERS) * chance.choice((1, 1, -1))) % (1 << 8 * width)
    content[at : at + width] = number.to_bytes(width, chance.choice(("little", "big")))


def _cut(content: bytearray, chance: random.Random) -> None:
    del content[chance.randrange(len(content) + 1) :]


def _without(content: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(content) + 1)
    del content[at : at + chance.choice((1, 2, 8, 64, 512))]


def _copied(content: bytearray, chance: random.Random) -> None:
    """Copy a piece over another place, or between two."""
    start, at, size = (chance.randrange(len(content) + 1) for _ in range(3))
    piece = content[start : start + min(size, 4096)]
    content[at : at + chance.choice((0, len(piece)))] = piece


def _noise(content: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(content) + 1)
    content[at : at + 16] = chance.randbytes(chance.choice((1, 4, 16)))


def _word(content: bytearray, chance: random.Random) -> None:
    """Put a word that parsers stumble over in place of one that is there, or next to it."""
    ends = [0, *(at for at, byte in enumerate(content) if byte in b' ,:"=\n[]{}'), len(content)]
    at = chance.randrange(len(ends) - 1)
    start, stop = ends[at], ends[at + 1]
    content[min(start + 1, stop) : chance.choice((stop, min(start + 1, stop)))] = chance.choice(WORDS)


_BINARY = (_flip, _number, _number, _number, _cut, _without, _copied, _noise)
_TEXT = (_word, _copied)


def fault_of(reader: str, path: Path) -> str | None:
    """Read ``path``; return the traceback of what should not have been raised, None if all is well."""
    try:
        READERS[reader].read(path)
    except NdecBenchError as error:
        if "\n" in str(error) or not str(error).isprintable():
            return f"message: {str(error)!r}"
    except Exception:
        return traceback.format_exc()
    return None


def work(reader: str) -> None:
    """Read the files named on stdin; answer each with what was wrong, or null, and the memory in use at most."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        fault = fault_of(reader, Path(line.rstrip("\n")))
        print(json.dumps([fault, peak()]), flush=True)


def peak() -> int:
    """Return the KiB of memory that this process took at most."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


class Worker:
    """A process that reads files, started again when it dies."""

    def __init__(self, reader: str) -> None:
        self.reader, self.memory = reader, 0
        self.process = self._started()

    def _started(self) -> subprocess.Popen[str]:
        command = [sys.executable, __file__, "--worker", self.reader]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def fault(self, path: Path) -> str | None:
        """Return what went wrong with ``path``, None if nothing did."""
        process = self.process
        late = threading.Timer(SECONDS_PER_CASE, process.kill)
        late.start()
        print(path, file=process.stdin, flush=True)
        answer = process.stdout.readline()
        late.cancel()
        if answer:
            fault, self.memory = json.loads(answer)
            return fault
        code = process.wait()
        self.process = self._started()
        return "no end" if code == -9 else f"ended by signal {-code}"

    def close(self) -> None:
        """End the process."""
        self.process.communicate()


def run(reader: str, seconds: float, seed: str, folder: Path) -> tuple[int, Counter[str], int]:
    """Return how many files were tried, the faults by kind, and KiB of memory at most."""
    worker, faults, tried = Worker(reader), Counter[str](), 0
    suffix, chance = READERS[reader].suffix, random.Random(f"{seed} {reader}")  # noqa: S311
    prefix = "".join(letter for letter in reader.lower().replace(" ", "-") if letter.isalnum() or letter == "-")
    known = [path.read_bytes() for path in sorted(KEPT.glob(f"{prefix}-*{suffix}"))]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        content = known.pop() if known else mutated(reader, chance)
        path = folder / f"{tried % 100:02d}{suffix}"
        path.write_bytes(content)
        fault = worker.fault(path)
        tried += 1
        if fault is not None:
            kind = fault.strip().splitlines()[-1][:100]
            faults[kind] += 1
            if faults[kind] <= 3:
                KEPT.mkdir(parents=True, exist_ok=True)
                kept = KEPT / f"{prefix}-{hashlib.sha256(content).hexdigest()[:12]}{suffix}"
                kept.write_bytes(content)
                kept.with_name(f"{kept.name}.fault").write_text(fault)
    worker.close()
    return tried, faults, worker.memory


def main() -> int:
    """Try all readers in turn and print a table; return 1 if there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, help="in all; 10 unless given")
    parser.add_argument("--reader", choices=READERS, action="append", help="one of them; all unless given")
    parser.add_argument("--seed", default="", help="other files than in the last run")
    parser.add_argument("--worker", choices=READERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options.worker)
        return 0
    readers = options.reader or list(READERS)
    found = 0
    print("| Reader | Files tried | Faults | Memory at most |\n| --- | ---: | ---: | ---: |", flush=True)
    for reader in readers:
        with tempfile.TemporaryDirectory() as folder:
            tried, faults, memory = run(reader, options.minutes * 60 / len(readers), options.seed, Path(folder))
        found += faults.total()
        print(f"| {reader} | {tried:,} | {faults.total():,} | {memory // 1024:,} MiB |", flush=True)
        for kind, count in faults.most_common():
            print(f"    {count} x {kind}", file=sys.stderr, flush=True)
    if found:
        print(f"kept in {KEPT}", file=sys.stderr)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
