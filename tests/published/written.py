"""Weights in published form, written once for all tests of a process."""

from __future__ import annotations

import atexit
import importlib
import shutil
import tempfile
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import ndec_baselines
from ndec_baselines.registry import BASELINES
from ndec_bench.descriptors import sha256_of_file

if TYPE_CHECKING:
    from ndec_baselines.base import Baseline


@cache
def weights_of(name: str) -> Path:
    """Return the folder that holds random weights of baseline ``name`` under their published names."""
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    importlib.import_module(f"{system_of(name)}_published").write(name, folder)
    return folder


@lru_cache(maxsize=2)
def loaded(name: str) -> Baseline:
    """Return baseline ``name`` with the weights of `weights_of`."""
    weights = ndec_baselines.card(name).weights
    if weights is None:
        return ndec_baselines.load(name)
    folder = weights_of(name)
    if len(weights.files) > 1:
        return ndec_baselines.load(name, weights=folder)
    path = folder / weights.files[0].name
    return ndec_baselines.load(name, weights=path, weights_sha256=sha256_of_file(path))


def system_of(name: str) -> str:
    """Return the system that baseline ``name`` is a variant of."""
    return max((system for system in BASELINES if name == system or name.startswith(f"{system}-")), key=len)
