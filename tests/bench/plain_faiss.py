"""Load a submission and search the ten nearest references of each query with ``faiss.IndexFlatL2``, without a score.

Usage: python tests/bench/plain_faiss.py SUBMISSION.h5 --threads 2
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import faiss
import h5py


def main() -> None:
    """Search and print the seconds of the search."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("submission", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    faiss.omp_set_num_threads(arguments.threads)
    with h5py.File(arguments.submission, "r") as file:
        queries, references = file["query"][:], file["reference"][:]
    index = faiss.IndexFlatL2(references.shape[1])
    index.add(references)
    started = time.perf_counter()
    index.search(queries, 10)
    print(json.dumps({"search": time.perf_counter() - started}))


if __name__ == "__main__":
    main()
