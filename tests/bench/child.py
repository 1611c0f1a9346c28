"""Run a command in a process of its own: wall-clock seconds, peak memory, what it printed.

Only the standard library is imported here and in the script that uses it: a child starts as a copy of its parent, so a
large parent would count as the child's peak memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
