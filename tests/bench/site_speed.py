"""Building the leaderboard from many results.

The results of this repository are multiplied under new names. The table also says how many times as long a build
takes as reading the same files as plain JSON, so that runs on different machines compare.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path

from timing import describe, timed

from ndec_bench.results.record import read_result, write_result
from ndec_bench.site import build
from ndec_bench.submissions.card import read_card, write_card

REPOSITORY = Path(__file__).parents[2]


def multiply(results: Path, submissions: Path, count: int) -> None:
    """Write ``count`` results with their cards."""
    known = [read_result(path) for path in sorted((REPOSITORY / "results").rglob("*.json"))]
    for number in range(count):
        result, name = known[number % len(known)], f"result-{number:05}"
        card = read_card(REPOSITORY / "submissions" / result.name / "submission.toml")
        write_result(results / f"{name}.json", result.model_copy(update={"name": name}))
        folder = submissions / name
        folder.mkdir(parents=True)
        (folder / "submission.toml").write_text(write_card(card.model_copy(update={"name": name})), encoding="utf-8")


def main() -> None:
    """Print a table of builds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--results", type=int, default=1000, help="number of results")
    number = parser.parse_args().results
    print(describe())
    with tempfile.TemporaryDirectory() as temporary:
        results, submissions, site = (Path(temporary, name) for name in ("results", "submissions", "site"))
        multiply(results, submissions, number)
        plain = timed(lambda: [json.loads(path.read_bytes()) for path in results.glob("*.json")]).seconds
        print(f"{number:,} results, read as plain JSON in {plain:.2f} s\n")
        print("| build | seconds | × reading | pages |\n| --- | ---: | ---: | ---: |")
        for name in ("first", "again"):
            took = timed(partial(build, results, site, submissions=submissions))
            pages = len(took.result.pages)
            print(f"| {name} | {took.seconds:.1f} | {took.seconds / plain:.1f} | {pages:,} |")


if __name__ == "__main__":
    main()
