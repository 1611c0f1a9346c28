"""What `score_speed.py` times in processes of their own, so that memory is that of one part alone. Each prints JSON.

Usage: python tests/bench/score_parts.py PART ... with PART one of

- product: a bare float32 matrix product of two sides, block by block, through one library: the floor of any exact
  search. Several sizes of blocks are tried on a small part, by threads of the library and by Python threads that call
  it with one thread each; the whole product is then timed with the fastest.
- faiss: the ten nearest references of each query of a submission by ``faiss.IndexFlatL2``, without a score.
- after: what a full score takes after the search: metrics, account, 1,000 replicates, protocol table, JSON. It depends
  on the number of queries and the cap, hardly on the number of references.
- evaluator: calls of the Evaluator and, in turn with them, the bare product of the same shapes.
"""

from __future__ import annotations

import argparse
import importlib
import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits
from timing import timed

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
        return timed(lambda: list(executor.map(share, range(workers), [workers] * workers))).seconds


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


def product(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the seconds of the whole product, and what made it."""
    generator = np.random.default_rng(0)
    q, r = (
        generator.standard_normal((rows, arguments.dimension), dtype=np.float32)
        for rows in (arguments.queries, arguments.references)
    )
    way = fastest_way(q, r, arguments.library, arguments.threads)
    seconds = bare_product(q, r, way, arguments.library, arguments.threads)
    flops = 2.0 * len(q) * len(r) * arguments.dimension
    library = library_name(arguments.library)
    return {"seconds": seconds, "gflops": flops / seconds / 1e9, "library": library, "way": str(way)}


def plain_faiss(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the seconds of the search."""
    import faiss
    import h5py

    faiss.omp_set_num_threads(arguments.threads)
    with h5py.File(arguments.submission, "r") as file:
        queries, references = file["query"][:], file["reference"][:]
    index = faiss.IndexFlatL2(references.shape[1])
    index.add(references)
    return {"search": timed(lambda: index.search(queries, 10)).seconds}


def after_search(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the seconds of the search and of what follows it."""
    from ndec_bench.data.split import Split
    from ndec_bench.results.record import result_json
    from ndec_bench.scoring import score as scoring

    searched = {}
    search = scoring.search  # type: ignore[attr-defined]

    def timed_search(*given: Any, **named: Any) -> Any:  # noqa: ANN401
        took = timed(lambda: search(*given, **named))
        searched.update(end=time.perf_counter(), seconds=took.seconds)
        return took.result

    scoring.search = timed_search  # type: ignore[attr-defined]
    split = Split.from_ground_truth(arguments.ground_truth, hard_negatives=arguments.hard_negatives)
    options = scoring.Options(all_protocols=True, threads=arguments.threads)
    text = result_json(scoring.score_file(arguments.submission, split, options=options))
    after = time.perf_counter() - searched["end"]
    return {"after": after, "search": searched["seconds"], "json_bytes": len(text)}


def evaluator(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the seconds of all calls and of all products; the first call, which loads and plans, is not counted."""
    from synthetic import Plan, Shape, query_ids, reference_ids, write_labels

    from ndec_bench import Evaluator
    from ndec_bench.data.split import Split

    threads = arguments.threads
    plan = Plan(Shape(arguments.queries, arguments.references, arguments.dimension))
    r = np.concatenate(list(plan.blocks()))
    q, q_ids, r_ids = plan.queries, query_ids(plan.shape), reference_ids(plan.shape)
    with tempfile.TemporaryDirectory() as folder:
        truth, hard = Path(folder) / "ground_truth.csv", Path(folder) / "hard_negatives.txt"
        write_labels(plan, truth, hard)
        evaluate = Evaluator(Split.from_ground_truth(truth, hard_negatives=hard), threads=threads)
    way = fastest_way(q, r, "numpy", threads)
    evaluate(q, r, q_ids, r_ids)
    calls, products = [], []
    for _ in range(arguments.repetitions):
        products.append(bare_product(q, r, way, "numpy", threads))
        calls.append(timed(lambda: evaluate(q, r, q_ids, r_ids)).seconds)
    return {"calls": calls, "products": products, "library": library_name("numpy"), "way": str(way)}


PARTS = {"product": product, "faiss": plain_faiss, "after": after_search, "evaluator": evaluator}


def main() -> None:
    """Time one part and print what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("part", choices=PARTS)
    for name in ("--submission", "--ground-truth", "--hard-negatives"):
        parser.add_argument(name, type=Path)
    for name in ("--queries", "--references", "--dimension", "--repetitions"):
        parser.add_argument(name, type=int)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--library", choices=("numpy", "torch"))
    arguments = parser.parse_args()
    print(json.dumps(PARTS[arguments.part](arguments)))


if __name__ == "__main__":
    main()
