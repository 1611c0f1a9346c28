"""The wheel is the same bytes whenever, wherever and by whomever it is built, so that a release can be checked."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def built(source: Path, out: Path, umask: int) -> Path:
    environ = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)]
    subprocess.run(command, cwd=source, env=environ, umask=umask, check=True, capture_output=True)
    (wheel,) = out.glob("*.whl")
    return wheel


def test_two_builds_give_the_same_bytes_and_hold_the_package_alone(tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for name in ("benchmark", "baselines"):
        shutil.copytree(ROOT / name, copy / name, copy_function=shutil.copyfile)  # modes and times of today
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copyfile(ROOT / name, copy / name)
    wheels = [built(ROOT, tmp_path / "one", 0o022), built(copy, tmp_path / "two", 0o077)]
    assert len({(wheel.name, hashlib.sha256(wheel.read_bytes()).hexdigest()) for wheel in wheels}) == 1
    with zipfile.ZipFile(wheels[0]) as wheel:
        tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"ndec_bench", "ndec_baselines"}


def test_every_version_with_hashes_is_the_pinned_one_and_none_is_torch() -> None:
    pins, hashed = ((ROOT / name).read_text() for name in ("constraints.txt", "constraints-hashes.txt"))
    entries = re.split(r"\n(?=\S)", hashed.partition("\n#    tox -e pin\n")[2])
    assert all("--hash=sha256:" in entry for entry in entries)
    versions = {entry.split()[0] for entry in entries}
    assert len(versions) > 40
    assert versions <= {line.split()[0] for line in pins.splitlines()}
    assert not [version for version in versions if version.startswith(("torch", "nvidia", "cuda"))]
