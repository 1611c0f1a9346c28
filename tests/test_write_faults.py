"""A command that writes, under a full disk, signals, short memory and a second one; see docs/reliability.md."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="sets limits of Linux")
def test_what_is_written_is_whole_and_nothing_else_is_left() -> None:
    script = Path(__file__).parent / "bench" / "write_faults.py"
    command = [sys.executable, str(script), "1", "postprocess"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1].startswith("| postprocess | ")
