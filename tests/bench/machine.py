"""The machine and the libraries in one line, without names of hosts or folders and without importing the libraries."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_LIBRARIES = ("ndec-bench", "numpy", "h5py", "faiss-cpu", "torch")


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
