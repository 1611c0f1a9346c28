"""The fault table of docs/reliability.md is what its script prints."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_table_is_what_the_script_prints() -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "bench" / "faults.py")], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert ran.stdout.strip() in page
