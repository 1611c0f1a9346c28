"""Building the leaderboard from many results.

The results of this repository are multiplied under new names. The table also says how many times as long a build
takes as reading the same files as plain JSON, so that runs on different machines compare.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from machine import describe

from ndec_bench.results.record import read_result, write_result
from ndec_bench.site import build
from ndec_bench.submissions.card import read_card, write_card

REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True)
class Folders:
    """Where results and cards are written."""

    results: Path
    submissions: Path

    def multiply(self, count: int) -> None:
        """Write ``count`` results with their cards."""
        known = [read_result(path) for path in sorted((REPOSITORY / "results").rglob("*.json"))]
        for number in range(count):
            result, name = known[number % len(known)], f"result-{number:05}"
            card = read_card(REPOSITORY / "submissions" / result.name / "submission.toml")
            write_result(self.results / f"{name}.json", result.model_copy(update={"name": name}))
            folder = self.submissions / name
            folder.mkdir(parents=True)
            own = card.model_copy(update={"name": name})
            (folder / "submission.toml").write_text(write_card(own), encoding="utf-8")


def main() -> None:
    """Print a table of builds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--results", type=int, default=1000, help="number of results")
    number = parser.parse_args().results
    print(describe())
    with tempfile.TemporaryDirectory() as temporary:
        folders = Folders(Path(temporary, "results"), Path(temporary, "submissions"))
        folders.multiply(number)
        start = time.perf_counter()
        for path in folders.results.glob("*.json"):
            json.loads(path.read_bytes())
        plain = time.perf_counter() - start
        print(f"{number:,} results, read as plain JSON in {plain:.2f} s\n")
        print("| build | seconds | × reading | pages |\n| --- | ---: | ---: | ---: |")
        for name in ("first", "again"):
            start = time.perf_counter()
            report = build(folders.results, Path(temporary, "site"), submissions=folders.submissions)
            seconds = time.perf_counter() - start
            print(f"| {name} | {seconds:.1f} | {seconds / plain:.1f} | {len(report.pages):,} |")


if __name__ == "__main__":
    main()
