import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest

from ndec_bench import __version__
from ndec_bench.results import provenance


def test_it_names_versions_machine_and_cost() -> None:
    record = provenance.collect(1.23456, "ndec-bench score x.h5", backend="blas", threads=2)
    assert (record.ndec_bench, record.seconds, record.command) == (__version__, 1.235, "ndec-bench score x.h5")
    assert {"faiss-cpu", "h5py", "numpy", "pillow", "pyarrow", "pydantic", "scipy"} <= record.libraries.keys()
    assert (record.seed, record.backend, record.threads) == ("ndec-poisson-1", "blas", 2)
    assert record.cpu
    assert record.peak_memory_bytes is None or record.peak_memory_bytes > 1 << 20


def forget() -> None:
    for remembered in (provenance._commit, provenance._versions, provenance._cpu):
        remembered.cache_clear()


def test_libraries_that_are_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name in ("pyarrow", "torch"):
            raise metadata.PackageNotFoundError(name)
        return "1.2.3"

    forget()
    with monkeypatch.context() as patched:
        patched.setattr(metadata, "version", version)
        libraries = provenance.collect(0.0).libraries
    forget()
    assert libraries["numpy"] == "1.2.3"
    assert not {"pyarrow", "torch"} & libraries.keys()


def test_no_program_is_started_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    first = provenance.collect(1.0)
    monkeypatch.setattr(subprocess, "run", refuse)
    assert provenance.collect(1.0).git_commit == first.git_commit


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
