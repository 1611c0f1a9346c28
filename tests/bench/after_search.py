"""Time what a full score takes after the search: metrics, account, 1,000 replicates, protocol table, JSON.

Usage: python tests/bench/after_search.py SUBMISSION.h5 GT.csv HARD.txt --threads 2

Prints JSON. What comes after depends on the number of queries and the cap, hardly on the number of references.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from ndec_bench.data.split import Split
from ndec_bench.results.record import result_json
from ndec_bench.scoring import score as scoring


def main() -> None:
    """Score once and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("submission", "ground_truth", "hard_negatives"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    searched = {}
    search = scoring.search  # type: ignore[attr-defined]

    def timed_search(*given: Any, **named: Any) -> Any:  # noqa: ANN401
        started = time.perf_counter()
        found = search(*given, **named)
        searched["end"] = time.perf_counter()
        searched["seconds"] = searched["end"] - started
        return found

    scoring.search = timed_search  # type: ignore[attr-defined]
    split = Split.from_ground_truth(arguments.ground_truth, hard_negatives=arguments.hard_negatives)
    result = scoring.score_file(
        arguments.submission, split, options=scoring.Options(all_protocols=True, threads=arguments.threads)
    )
    text = result_json(result)
    after = time.perf_counter() - searched["end"]
    print(json.dumps({"after": after, "search": searched["seconds"], "json_bytes": len(text)}))


if __name__ == "__main__":
    main()
