"""Weights in published form, written once for all tests of a process."""

from __future__ import annotations

import atexit
import importlib
import shutil
import tempfile
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

import ndec_baselines
from ndec_baselines.registry import BASELINES
from ndec_bench.descriptors import sha256_of_file

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def changed(name: str, path: Path, changes: Mapping[str, tuple[int, ...] | None]) -> None:
    """Write the weights of ``name`` to ``path`` with other tensors: of zeros in that shape, or taken out (None).

    All numbers of large tensors are one, so that the file is small: names and shapes are what is compared.
    """
    content = importlib.import_module(f"{system_of(name)}_published").content(name)
    key = next((key for key in ("state_dict", "model_state", "model") if key in content), None)
    state = dict(content if key is None else content[key])
    state |= {entry: torch.zeros(shape) for entry, shape in changes.items() if shape is not None}
    state = {
        entry: value if value.dim() < 2 else torch.zeros(1).expand(value.shape)
        for entry, value in state.items()
        if changes.get(entry, ()) is not None
    }
    torch.save(state if key is None else {**content, key: state}, path)
