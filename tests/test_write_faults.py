"""Commands that write under a full disk, signals, short memory and each other; tests/bench/write_faults.py has more."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="sets limits of Linux")
@pytest.mark.parametrize("command", ["postprocess", "submit new"])
def test_what_is_written_is_whole_and_nothing_else_is_left(command: str) -> None:
    script = Path(__file__).parent / "bench" / "write_faults.py"
    ran = subprocess.run([sys.executable, str(script), "1", command], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1].startswith(f"| {command} | ")
