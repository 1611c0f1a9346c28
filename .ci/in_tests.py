"""Run a command in tox's environment "tests", which is installed or brought up to date first.

Usage: python .ci/in_tests.py COMMAND [ARGUMENT ...]

Types, layers, demo and bench need the same packages as the tests, torch among them. tox 4 builds a shared env_dir anew
for each environment name, so these environments stay empty and hand their command to the one that is full.
"""

import os
import subprocess
import sys
from pathlib import Path

OLDEST, NEWEST = (3, 11), (3, 13)


def main(command: list[str]) -> int:
    """Return the exit code of ``command``."""
    check_python()
    tox = [os.environ["TOX_PYTHON"], "-m", "tox"]  # set by toxfile.py
    if subprocess.run([*tox, "run", "--notest", "-e", "tests"], check=False).returncode:
        sys.exit(
            "The packages could not be installed; the reason stands above. The first run downloads them: check the "
            "network, or name a mirror in PIP_INDEX_URL, and run it again. Later runs need no network."
        )
    tests = Path(os.environ.get("TOX_WORK_DIR", ".tox")) / "tests"
    scripts = tests / ("Scripts" if os.name == "nt" else "bin")
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": str(tests)}
    try:
        return subprocess.run([str(scripts / command[0]), *command[1:]], env=environment, check=False).returncode
    except KeyboardInterrupt:  # the command has the signal as well and has said what there is to say
        return 130


def check_python() -> None:
    """End with one clear line if this Python is not one that ndec-bench supports."""
    found = sys.version_info[:2]
    if not OLDEST <= found <= NEWEST:
        sys.exit(
            f"Python {found[0]}.{found[1]} found (in {sys.base_prefix}), but ndec-bench needs Python 3.11, 3.12 or "
            "3.13. Install one of them, make sure that it is on the PATH, and run tox again."
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
