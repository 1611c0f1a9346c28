import shutil
import subprocess
from pathlib import Path

import pytest

from ndec_bench import __version__, provenance


def test_it_names_versions_machine_and_cost() -> None:
    record = provenance.collect(1.23456, "ndec-bench score x.h5")
    assert (record.ndec_bench, record.seconds, record.command) == (__version__, 1.235, "ndec-bench score x.h5")
    assert {"h5py", "numpy", "pydantic", "scipy"} <= record.libraries.keys()
    assert record.cpu
    assert record.peak_memory_bytes is None or record.peak_memory_bytes > 1 << 20


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_that_of_our_own_checkout_and_says_when_it_was_changed(tmp_path: Path) -> None:
    package = tmp_path / "benchmark" / "ndec_bench"
    package.mkdir(parents=True)
    (tmp_path / "baselines").mkdir()
    (tmp_path / "baselines" / "x.py").write_text("")
    (package / "__init__.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert provenance.commit_of(package) == commit
    (package / "__init__.py").write_text("changed = True")
    assert provenance.commit_of(package) == f"{commit}-dirty"
    # Installed into a virtual environment inside somebody's checkout: their commit says nothing about us.
    installed = tmp_path / ".venv" / "ndec_bench"
    installed.mkdir(parents=True)
    assert provenance.commit_of(installed) is None
    assert provenance.commit_of(tmp_path.parent) is None
