"""Time calls of the Evaluator and, in turn with them, the bare product of the same shapes, in one process.

Usage: python tests/bench/epoch.py --queries 10000 --references 25000 --dimension 256 --threads 2 --repetitions 5

Prints JSON: the seconds of all calls and of all products. The first call, which loads and plans, is not counted.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
from product import bare_product, fastest_way, library_name
from synthetic import Plan, Shape, hard_ids, query_ids, reference_ids, truth_lines

from ndec_bench import Evaluator
from ndec_bench.data.split import Split


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("queries", "references", "dimension", "threads", "repetitions"):
        parser.add_argument(f"--{name}", type=int, required=True)
    arguments = parser.parse_args()
    threads = arguments.threads
    plan = Plan(Shape(arguments.queries, arguments.references, arguments.dimension))
    r = np.concatenate(list(plan.blocks()))
    q, q_ids, r_ids = plan.queries, query_ids(plan.shape), reference_ids(plan.shape)
    evaluate = Evaluator(_split(plan), threads=threads)
    way = fastest_way(q, r, "numpy", threads)
    evaluate(q, r, q_ids, r_ids)
    calls, products = [], []
    for _ in range(arguments.repetitions):
        products.append(bare_product(q, r, way, "numpy", threads))
        started = time.perf_counter()
        evaluate(q, r, q_ids, r_ids)
        calls.append(time.perf_counter() - started)
    print(json.dumps({"calls": calls, "products": products, "library": library_name("numpy"), "way": str(way)}))


def _split(plan: Plan) -> Split:
    with tempfile.TemporaryDirectory() as folder:
        truth, hard = Path(folder) / "ground_truth.csv", Path(folder) / "hard_negatives.txt"
        truth.write_text("\n".join(truth_lines(plan)) + "\n", encoding="utf-8")
        hard.write_text("\n".join(hard_ids(plan)) + "\n", encoding="utf-8")
        return Split.from_ground_truth(truth, hard_negatives=hard)


if __name__ == "__main__":
    main()
