"""Timing for the scripts of this folder: calls, commands in processes of their own, the machine, tables.

Only the standard library is imported here: a child starts as a copy of its parent, so a large parent would count as the
child's peak memory.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

T = TypeVar("T")
_LIBRARIES = ("ndec-bench", "numpy", "h5py", "faiss-cpu", "torch")
_BYTES_PER_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Run:
    """One finished run of a command.

    Attributes
    ----------
    seconds
        Wall clock, from before the process starts until it has ended.
    peak
        Largest resident size in bytes.
    code
        Exit code.
    out, error
        What it printed.
    """

    seconds: float
    peak: int
    code: int
    out: str
    error: str

    @property
    def facts(self) -> dict[str, Any]:
        """Return the JSON object that the command printed; an empty one if it failed or printed something else."""
        try:
            found = json.loads(self.out) if self.code == 0 else {}
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def complaint(self) -> str:
        """Return the last line on standard error, shortened."""
        lines = self.error.strip().splitlines() or [f"exit code {self.code}"]
        return lines[-1][:120]


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Run:
    """Return the finished run of ``command``; ``environment`` is added to that of this process."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as error:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=error, env=os.environ | dict(environment or {}))
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)  # or Popen would wait for it once more
        texts = []
        for file in (out, error):
            file.seek(0)
            texts.append(file.read().decode("utf-8", errors="replace"))
    return Run(seconds, usage.ru_maxrss * _BYTES_PER_RSS_UNIT, process.returncode, *texts)


class Took(NamedTuple):
    """Seconds by the clock, and of the processor in all threads; what the call returned."""

    seconds: float
    cpu: float
    result: Any


def timed(work: Callable[[], object]) -> Took:
    """Return how long ``work()`` takes."""
    begin, cpu = time.perf_counter(), time.process_time()
    result = work()
    return Took(time.perf_counter() - begin, time.process_time() - cpu, result)


def rotated(items: Sequence[T], turn: int) -> list[T]:
    """Return ``items`` with another one first in each turn, so that no one always comes first."""
    at = turn % len(items)
    return [*items[at:], *items[:at]]


def share(work: Callable[[T], object], units: Sequence[T], threads: int) -> None:
    """Call ``work`` for each of ``units`` in ``threads`` threads; each takes every n-th."""

    def part(start: int) -> None:
        for unit in units[start::threads]:
            work(unit)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(part, range(threads)))


def describe() -> str:
    """Return cores, processor, memory, system and versions."""
    found = []
    for name in _LIBRARIES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    facts = _cpu_facts()
    wide = " with AVX-512" if "avx512f" in facts.get("flags", "").split() else ""
    processor = facts.get("model name", platform.machine() or "unknown processor")
    return (
        f"{cores()} cores of {processor}{wide}, {_memory()}{platform.system()}; "
        f"Python {platform.python_version()}, {', '.join(found)}"
    )


def cores() -> int:
    """Return the number of cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def _cpu_facts() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n", 1)[0].splitlines()
    except OSError:  # no such file outside Linux
        return {}
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on every system
        return ""
    return f"{size / 2**30:.0f} GiB, "


def tell(text: str) -> None:
    """Print progress to standard error."""
    print(text, file=sys.stderr, flush=True)


def show(title: str, lines: Sequence[Sequence[str]], *, left: Collection[int] = (0,)) -> None:
    """Print a table: columns ``left`` (negative: from the end) begin at their left, numbers end at their right."""
    print(title)
    columns = len(lines[0])
    widths = [max(len(cells[at]) for cells in lines) for at in range(columns)]
    for cells in lines:
        texts = [
            cell.ljust(width) if {at, at - columns} & set(left) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        print(f"  {'  '.join(texts)}".rstrip())
