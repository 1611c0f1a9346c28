"""Provenance of results: versions, machine, commit, memory."""

from __future__ import annotations

import platform
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

from ndec_bench import __version__
from ndec_bench.metrics.bootstrap import STREAM
from ndec_bench.results.record import Provenance

_LIBRARIES = ("faiss-cpu", "h5py", "numpy", "pillow", "pyarrow", "pydantic", "scipy", "torch")


def collect(
    seconds: float, command: str | None = None, *, backend: str | None = None, threads: int | None = None
) -> Provenance:
    """Return the provenance of a result that took ``seconds`` (wall time) to compute here and now.

    ``backend`` and ``threads`` are those of the search, None where there was none or it chose for itself. Versions,
    machine and commit are looked up once per process, so that scoring every epoch starts no further program.
    """
    return Provenance(
        ndec_bench=__version__,
        git_commit=_commit(),
        python=platform.python_version(),
        libraries=_versions(),
        seed=STREAM,
        backend=backend,
        threads=threads,
        platform=f"{platform.system()} {platform.machine()}",
        cpu=_cpu(),
        seconds=round(seconds, 3),
        peak_memory_bytes=_peak_memory(),
        command=command,
    )


@cache
def _versions() -> dict[str, str]:
    versions = {}
    for name in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):  # pyarrow and torch are not needed to score
            versions[name] = metadata.version(name)
    return versions


@cache
def _commit() -> str | None:
    return commit_of(Path(__file__).resolve().parents[1])


def commit_of(folder: Path) -> str | None:
    """Return the commit of the checkout this package runs from, ``-dirty`` if it was changed; None if installed."""
    try:
        top = _git(folder, "rev-parse", "--show-toplevel")
        # An installed copy may lie inside somebody else's checkout (a virtual environment): only ours counts.
        if folder != Path(top) / "benchmark" / "ndec_bench":
            return None
        commit = _git(folder, "rev-parse", "HEAD")
        dirty = _git(folder, "status", "--porcelain", "--untracked-files=no", ":/benchmark", ":/baselines")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("-dirty" if dirty else "")


def _git(folder: Path, *arguments: str) -> str:
    # Without optional locks, "git status" never gets in the way of another git command in the same checkout.
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()  # noqa: S603


@cache
def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def _peak_memory() -> int | None:
    try:
        import resource
    except ImportError:  # no such module on Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
