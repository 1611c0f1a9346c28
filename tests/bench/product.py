"""Time a bare float32 matrix product of two sides, block by block, through one library: the floor of any exact search.

Usage: python tests/bench/product.py numpy|torch --queries 49252 --references 100000 --dimension 256 --threads 2

Several sizes of blocks are tried on a small part, by threads of the library and by Python threads that call it with one
thread each; the whole product is then timed with the fastest. Prints JSON.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

BLOCKS = ((2048, 2048), (4096, 2048), (4096, 4096), (16_384, 2048))
TRIED_ROWS = 16_384


@dataclass(frozen=True)
class Way:
    """One way to cut the product: rows of a block, and who runs the threads."""

    query_rows: int
    reference_rows: int
    python_threads: bool

    def __str__(self) -> str:
        return f"{self.query_rows}×{self.reference_rows}, {'Python' if self.python_threads else 'library'} threads"


def bare_product(q: Floats, r: Floats, way: Way, library: str, threads: int) -> float:
    """Return the seconds that all blocks of the product take; each product is written over the last."""
    multiply = _multiplier(library)
    rooms = [np.ones((way.query_rows, way.reference_rows), dtype=np.float32) for _ in range(threads)]
    blocks = [
        (low, start) for start in range(0, len(r), way.reference_rows) for low in range(0, len(q), way.query_rows)
    ]

    def share(of: int, among: int) -> None:
        for low, start in blocks[of::among]:
            some, block = q[low : low + way.query_rows], r[start : start + way.reference_rows]
            multiply(some, block, rooms[of].reshape(-1)[: len(some) * len(block)].reshape(len(some), len(block)))

    workers, each = (threads, 1) if way.python_threads else (1, threads)
    prepare = importlib.import_module("torch").set_num_threads if library == "torch" else _nothing
    # torch's number of threads holds for the thread that sets it, that of NumPy's BLAS for the process.
    with (
        threadpool_limits(each, user_api="blas"),
        ThreadPoolExecutor(workers, initializer=prepare, initargs=(each,)) as executor,
    ):
        started = time.perf_counter()
        for job in [executor.submit(share, worker, workers) for worker in range(workers)]:
            job.result()
        return time.perf_counter() - started


def fastest_way(q: Floats, r: Floats, library: str, threads: int) -> Way:
    """Return the way that is fastest on a part of the queries and references, best of two."""
    ways = [Way(*rows, python) for rows in BLOCKS for python in (False, True)]
    some, few = q[:TRIED_ROWS], r[: TRIED_ROWS // 4]
    return min(ways, key=lambda way: min(bare_product(some, few, way, library, threads) for _ in range(2)))


def library_name(library: str) -> str:
    """Return the library with its version and, for NumPy, the BLAS behind it with its kernels."""
    name = f"{library} {importlib.import_module(library).__version__}"
    if library == "torch":
        return name
    for pool in threadpool_info():
        if pool["user_api"] == "blas" and "numpy" in pool["filepath"]:
            return f"{name}, {pool['internal_api']} {pool['version']} ({pool.get('architecture', 'unknown kernels')})"
    return name


def _nothing(threads: int) -> None:
    pass


def _multiplier(library: str) -> Callable[[Floats, Floats, Floats], Any]:
    if library == "numpy":
        return lambda some, block, out: np.matmul(some, block.T, out=out)
    torch = importlib.import_module("torch")
    wrap = torch.from_numpy
    return lambda some, block, out: torch.mm(wrap(some), wrap(block).T, out=wrap(out))


def main() -> None:
    """Time the product and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("library", choices=("numpy", "torch"))
    for name in ("queries", "references", "dimension", "threads"):
        parser.add_argument(f"--{name}", type=int, required=True)
    arguments = parser.parse_args()
    generator = np.random.default_rng(0)
    q, r = (
        generator.standard_normal((rows, arguments.dimension), dtype=np.float32)
        for rows in (arguments.queries, arguments.references)
    )
    way = fastest_way(q, r, arguments.library, arguments.threads)
    seconds = bare_product(q, r, way, arguments.library, arguments.threads)
    flops = 2.0 * len(q) * len(r) * arguments.dimension
    print(
        json.dumps(
            {
                "seconds": seconds,
                "gflops": flops / seconds / 1e9,
                "library": library_name(arguments.library),
                "way": str(way),
            }
        )
    )


if __name__ == "__main__":
    main()
