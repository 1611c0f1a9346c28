"""Memory and processors of this machine."""

from __future__ import annotations

import os

from ndec_bench.errors import NdecBenchError, SubmissionError


def check_memory(where: str, needed: int, *, hint: str, kind: type[NdecBenchError] = SubmissionError) -> None:
    """Raise ``kind`` with ``hint`` if ``needed`` bytes are more than this machine's memory.

    A few kilobytes of HDF5 or Parquet can claim terabytes of repeated values; the machine must not be driven into
    swapping. Where the system does not say how much it has, nothing is refused.
    """
    try:
        installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return
    if needed > installed:
        raise kind(
            f"{where} needs {needed / 2**30:,.1f} GiB of memory, this machine has {installed / 2**30:,.1f} GiB",
            hint=hint,
        )


def usable_cores() -> int:
    """Return the number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # not every system knows
