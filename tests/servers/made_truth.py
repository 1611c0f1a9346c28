"""Ground truths of NDEC and DISC21 with made-up pairs and true ids and counts, and records that expect them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING

from ndec_bench.data.ground_truth import GroundTruth, write_ground_truth
from ndec_bench.data.known import KNOWN

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ndec_bench.data.known import KnownSplit

ISC = tuple(f"Q{number}" for number in range(25_000, 50_000))
HARD = tuple(f"Q{number}" for number in range(50_000, 74_252))
PAIRS = tuple((ISC[3 * n], f"R{7 * n:06d}") for n in range(5_009))
"""True pairs of NDEC, which are those of DISC21 dev II."""
OTHERS = tuple((f"Q{n:05d}", f"R{500_000 + n:06d}") for n in range(4_991))
"""True pairs of DISC21 dev I."""
FINAL = tuple((f"Q{50_000 + n}", f"R{600_000 + n:06d}") for n in range(10_000))
"""True pairs of DISC21 final."""
NDEC = GroundTruth(ISC + HARD, PAIRS, listed=True)
DEV = GroundTruth(tuple(f"Q{n:05d}" for n in range(50_000)), tuple(sorted(PAIRS + OTHERS)), listed=True)


_written = cache(write_ground_truth)


def digest(pairs: Iterable[tuple[str, str]]) -> str:
    """Return the SHA-256 of pairs as it is published: of lines ``query,reference``."""
    return sha256("".join(f"{query},{reference}\n" for query, reference in pairs).encode()).hexdigest()


def records() -> dict[str, KnownSplit]:
    """Return the records of known splits, with the digests of these pairs in place of the published ones."""
    sums = {"ndec": PAIRS, "disc21-dev2": PAIRS, "disc21-dev": DEV.pairs, "disc21-dev1": OTHERS, "disc21-final": FINAL}
    return {name: replace(each, pairs_sha256=digest(sums.get(name, ()))) for name, each in KNOWN.items()}


def put(root: Path, name: str, content: bytes | str | GroundTruth = b"x") -> Path:
    """Write a file under ``root``; return its path."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = _written(content) if isinstance(content, GroundTruth) else content
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path
