"""A file on a host that serves ranges, what a killed download leaves of it, and what it must be at the end."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.download.exchange import Policy
from ndec_bench.download.part import sidecar

if TYPE_CHECKING:
    from pathlib import Path

    from static_host import StaticHost

    from ndec_bench.download.ranges import Fetched

POLICY = Policy(
    attempts=4,
    first_wait=0.001,
    longest_wait=0.002,
    longest_retry_after=5,
    piece=1 << 16,
)
HASTY = replace(POLICY, read_timeout=1.0)
CONTENT = np.random.default_rng(4).bytes(600_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
NAME = "/images.zip"
MIB = 1 << 20


def leave(host: StaticHost, part: Path, count: int, **facts: object) -> None:
    """Leave what a run that was killed after ``count`` bytes of NAME leaves."""
    part.write_bytes(CONTENT[:count])
    known = {"version": 1, "etag": host.etag(NAME), "last_modified": None, "size": len(CONTENT), **facts}
    sidecar(part).write_text(json.dumps(known))


def check(fetched: Fetched, part: Path, content: bytes = CONTENT) -> None:
    assert part.read_bytes() == content
    assert (fetched.bytes, fetched.sha256) == (len(content), hashlib.sha256(content).hexdigest())
