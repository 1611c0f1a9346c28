"""Install what must be compiled into the environment of the tests: pdqhash, which has no wheels.

Without a compiler its tests are skipped, so that a first look at ndec-bench needs none; where CI is set it must be
there.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

PACKAGE = "pdqhash"


def main() -> int:
    """Return 0 if the package is there, or may be missing."""
    if importlib.util.find_spec(PACKAGE) is not None:
        return 0
    constraints = Path(__file__).parents[1] / "constraints.txt"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--constraint", str(constraints), PACKAGE]
    if subprocess.run(command, check=False).returncode == 0:
        return 0
    needed = "a C++ compiler and Python's headers (Debian: apt install g++ python3-dev)"
    if os.environ.get("CI"):
        print(f"{PACKAGE} could not be installed; it needs {needed}", file=sys.stderr)
        return 1
    print(f"{PACKAGE} could not be installed: its tests are skipped. It needs {needed}.", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
