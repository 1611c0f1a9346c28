"""Print how long ``ndec-bench --help`` takes, best of five; end with 1 where it misses its target."""

from __future__ import annotations

import shutil
import sys

from timing import run

TARGET_SECONDS = 0.4
RUNS = 5


def main() -> int:
    """Return 0 if the best of five runs is under the target."""
    command = shutil.which("ndec-bench")
    if command is None:
        sys.exit('ndec-bench is not installed here; run "tox -e bench"')
    runs = [run([command, "--help"]) for _ in range(RUNS)]
    if any(done.code for done in runs):
        sys.exit(runs[-1].complaint)
    best = min(done.seconds for done in runs)
    print(f"ndec-bench --help: {best:.3f} s, best of {RUNS} (target: under {TARGET_SECONDS} s)")
    return int(best >= TARGET_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
