"""Trial reading of HDF5 files, in a process that may hang or crash in place of this one.

A few changed bytes make the HDF5 library loop for ever, deaf to Ctrl-C, or end the process. So a second Python reads
all that is read of a stranger's file, its vectors aside, before this one does; it has limits of time and memory. It
is started with the first file, serves all files of this process, and is replaced when it dies.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ndec_bench.errors import DataError, SubmissionError, os_errors

if TYPE_CHECKING:
    from pathlib import Path

MEMORY_LIMITED = sys.platform == "linux"
"""Whether the memory of the trial reading is limited: what it reads in one go, this process can."""

# A file of a million ids takes about a second of processor time.
_CPU_SECONDS, _BYTES_PER_CPU_SECOND = 2, 20_000_000
_WALL_SECONDS, _BYTES_PER_WALL_SECOND = 15, 5_000_000
_START_SECONDS = 120
_SETTINGS = {"HDF5_PLUGIN_PRELOAD": "::", "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
_HINT = "the file is damaged: write or fetch it again"


def check_readable(path: Path) -> None:
    """Raise SubmissionError unless structure, attributes, ids and norms of the HDF5 file ``path`` can be read.

    A file that passed is not read again until it changes.
    """
    with os_errors(f"{path}: cannot be read", SubmissionError):
        found = path.stat()
    _check(path.absolute(), (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))


@lru_cache(maxsize=4096)
def _check(path: Path, facts: tuple[int, ...]) -> None:
    size = facts[2]
    reader = _readers.setdefault(os.getpid(), _Reader())
    request = {"path": str(path), "cpu_seconds": _CPU_SECONDS + size // _BYTES_PER_CPU_SECOND}
    outcome = reader.outcome(request, _WALL_SECONDS + size / _BYTES_PER_WALL_SECOND)
    if isinstance(outcome, str):
        raise SubmissionError(f"{path}: {outcome}", hint=_HINT)
    if outcome:
        raise SubmissionError(outcome["message"], hint=outcome["hint"])


class _Reader:
    """The process that reads files first."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def outcome(self, request: dict[str, Any], seconds: float) -> dict[str, str] | str | None:
        """Return what the process found wrong with the file, or how it ended; None if all is well."""
        with self._lock:
            used = self._process is not None
            outcome = self._answer(request, seconds)
            # An earlier file may have done the damage: a crash counts from a new process.
            return self._answer(request, seconds) if used and outcome == _CRASH else outcome

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _answer(self, request: dict[str, Any], seconds: float) -> dict[str, str] | str | None:
        try:
            process = self._process or self._started()
            line, late = _exchange(process, json.dumps(request) + "\n", seconds)
            if line:
                answer: dict[str, str] | None = json.loads(line)
                return answer
            code = process.wait()
        except BaseException:
            self.stop()  # an answer that is still to come belongs to no later question
            raise
        self.stop()
        return _HANG if late or code == -_SIGXCPU else _CRASH

    def _started(self) -> subprocess.Popen[str]:
        """Return a new process, ready for questions."""
        # The same modules as here, none from the folder that the user is in.
        found = os.pathsep.join(place for place in sys.path if place)
        command = [sys.executable, "-P", "-m", "ndec_bench.descriptors.first_reader"]
        with os_errors("no second Python can be started to look at HDF5 files", hint="allow one more process"):
            self._process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="ascii",
                env={**os.environ, **_SETTINGS, "PYTHONPATH": found},
                start_new_session=True,  # Ctrl-C is for this process, which then ends the other
            )
        ready, _ = _exchange(self._process, "", _START_SECONDS)
        if not ready:
            self.stop()
            raise DataError(
                f"the Python that looks at HDF5 files did not start ({sys.executable})",
                hint='try "python -m ndec_bench.descriptors.first_reader", which says "ready"',
            )
        return self._process


def _exchange(process: subprocess.Popen[str], question: str, seconds: float) -> tuple[str, bool]:
    """Return the line that ``process`` answers, empty if it died, and whether it was ended for taking too long."""
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        if process.stdin is None or process.stdout is None:
            raise ValueError("a process without pipes")
        process.stdin.write(question)
        process.stdin.flush()
        return process.stdout.readline(), late.is_set()
    except BrokenPipeError:
        return "", late.is_set()
    finally:
        timer.cancel()


_HANG = "the HDF5 library does not finish reading it"
_CRASH = "the HDF5 library crashes on it"
_SIGXCPU = 24
# By process, for a fork has no claim on the reader of its parent.
_readers: dict[int, _Reader] = {}


@atexit.register
def _stop() -> None:
    if reader := _readers.get(os.getpid()):
        reader.stop()
