"""Splits that were put together here of single pictures, subsets of NDEC's references and ndec-val-1: their digests."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ndec_bench.data.ground_truth import sha256_of_lines
from ndec_bench.data.roots import SUBSET_FILE, SUBSET_PREFIX
from ndec_bench.data.split import SPLIT_FILE, read_split_info
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

VAL_NAME = "ndec-val-1"


@dataclass(frozen=True)
class Made:
    """One such split: how many pictures are in it, their digest (hex), and the digest when it was made."""

    folder: Path
    pictures: int
    sha256: str
    recorded: str


def picture_lines(files: Iterable[Path]) -> Iterator[str]:
    """Yield for each picture its id and the SHA-256 (hex) of the file. Raises DataError if one cannot be read."""
    for path in files:
        try:
            with path.open("rb") as file:
                yield f"{path.stem} {hashlib.file_digest(file, 'sha256').hexdigest()}"
        except OSError as error:
            raise DataError(
                f"{path}: cannot be read ({error.strerror or error})", hint="remove the split and make it again"
            ) from error


def made_folders(root: Path) -> tuple[Path, ...]:
    """Return the folders of all such splits under the data root that were finished, sorted."""
    subsets = (path.parent for path in root.glob(f"{SUBSET_PREFIX}*/{SUBSET_FILE}"))
    val = root / VAL_NAME
    return tuple(sorted([*subsets, *([val] if (val / SPLIT_FILE).is_file() else [])]))


def read_made(folder: Path) -> Made:
    """Return the split in ``folder`` as it is now and as it was made; every picture is read.

    Raises
    ------
    DataError
        If its description is damaged, or a file cannot be read.
    """
    files = [path for part in ("queries", "references") for path in _files(folder / "images" / part)]
    recorded = _recorded(folder)
    return Made(folder, len(files), sha256_of_lines(picture_lines(files)), recorded)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _recorded(folder: Path) -> str:
    if folder.name == VAL_NAME:
        found: object = read_split_info(folder).digests.get("pictures")
    else:
        try:
            content = json.loads((folder / SUBSET_FILE).read_bytes())
        except (OSError, ValueError, RecursionError):
            content = None
        found = content.get("pictures_sha256") if isinstance(content, dict) else None
    if not isinstance(found, str):
        raise DataError(f"{folder}: its description is damaged", hint="remove the folder and make it again")
    return found
