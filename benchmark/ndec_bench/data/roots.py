"""Where splits lie on disk, and which of them a name or a submission means."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from platformdirs import user_data_path

from ndec_bench.data import known
from ndec_bench.data.own_splits import SUBSET_FILE, SUBSET_PREFIX
from ndec_bench.data.split import SPLIT_FILE, Split
from ndec_bench.errors import MissingDataError

ROOT_VARIABLE = "NDEC_ROOT"


def data_root(given: Path | None = None) -> Path:
    """Return the data root: ``given``, else ``$NDEC_ROOT``, else the platform's folder for user data."""
    if given is not None:
        return given
    variable = os.environ.get(ROOT_VARIABLE)
    return Path(variable) if variable else user_data_path("ndec-bench", appauthor=False)


def find_split(name: str, root: Path) -> Split:
    """Return the split called ``name``: a known one with its ground truth under ``root``, or a split folder.

    A split folder is the root itself, or its folder of that name. The names of known splits are theirs alone: a
    folder that claims one is not asked. A subset of NDEC's references is NDEC with fewer reference images: whatever
    is scored on it is partial.

    Raises
    ------
    MissingDataError, DataError
        If it is in neither place, or not what is published; the message says how to make or get it.
    """
    if name in known.KNOWN:
        return known.load(name, root)
    if name.startswith(SUBSET_PREFIX) and (root / name / SUBSET_FILE).is_file():
        return _subset(root / name)
    for folder in (root, root / name):
        if (folder / SPLIT_FILE).is_file():
            split = Split.from_folder(folder)
            if split.name == name:
                return split
    raise MissingDataError(f"split {name!r} is not under {root}", hint=_how_to_get(name, root))


def _subset(folder: Path) -> Split:
    split = known.load("ndec", folder.parent)
    return replace(split, image_sets={**split.image_sets, "references": folder / "images" / "references"})


def _how_to_get(name: str, root: Path) -> str:
    if name == "ndec-mini-1":
        return f'make it with "ndec-bench mini build --out {root / name}"'
    if name == "ndec-mini-1-small":
        return f'make it with "ndec-bench mini build --size small --out {root / name}"'
    if name == "ndec-val-1":
        return 'make it with "ndec-bench download ndec-val"'
    return f"name its folder with --root or ${ROOT_VARIABLE}, or, to score and validate, give --ground-truth GT.csv"
