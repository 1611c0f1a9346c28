"""Print how long ``ndec-bench --help`` takes, best of five; end with 1 where it misses its target."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time

TARGET_SECONDS = 0.4
RUNS = 5


def main() -> int:
    """Return 0 if the best of five runs is under the target."""
    command = shutil.which("ndec-bench")
    if command is None:
        sys.exit('ndec-bench is not installed here; run "tox -e bench"')
    best = min(seconds_of([command, "--help"]) for _ in range(RUNS))
    print(f"ndec-bench --help: {best:.3f} s, best of {RUNS} (target: under {TARGET_SECONDS} s)")
    return int(best >= TARGET_SECONDS)


def seconds_of(command: list[str]) -> float:
    """Return the wall-clock seconds that ``command`` takes."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
