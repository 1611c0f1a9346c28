"""Splits put together here of single pictures, subsets of NDEC's references and ndec-val-1: ids and digests."""

from __future__ import annotations

import hashlib
import heapq
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ndec_bench.data.ground_truth import sha256_of_lines
from ndec_bench.data.split import SPLIT_FILE, read_split_info
from ndec_bench.errors import DataError, os_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

VAL_NAME = "ndec-val-1"
SUBSET_PREFIX = "ndec-subset-"
SUBSET_FILE = "subset.json"
"""In the folder of a part of NDEC's references (``ndec-bench download ndec --subset``); it is written last."""


@dataclass(frozen=True)
class OwnSplit:
    """One such split: how many pictures are in it, their digest (hex), and the digest when it was made."""

    folder: Path
    pictures: int
    sha256: str
    recorded: str


def chosen(ids: Iterable[str], count: int, key: str) -> tuple[str, ...]:
    """Return the ``count`` ids with the smallest SHA-256 of ``"KEY ID"``, sorted; all of them if there are fewer.

    The choice is the same on every machine, for every version of every library, in whatever order the ids come. A
    larger count holds the smaller one whole.

    Parameters
    ----------
    ids
        Ids to choose from.
    count
        How many.
    key
        Name of the choice, with its seed if it has one.
    """
    ranked = ((hashlib.sha256(f"{key} {each}".encode()).digest(), each) for each in ids)
    return tuple(sorted(each for _, each in heapq.nsmallest(count, ranked)))


def picture_lines(files: Iterable[Path]) -> Iterator[str]:
    """Yield for each picture its id and the SHA-256 (hex) of the file. Raises DataError if one cannot be read."""
    for path in files:
        with os_errors(f"{path}: cannot be read", hint="remove the split and make it again"), path.open("rb") as file:
            yield f"{path.stem} {hashlib.file_digest(file, 'sha256').hexdigest()}"


def subset_folders(root: Path) -> list[Path]:
    """Return the folders of the subsets under the data root that were finished."""
    return [path.parent for path in root.glob(f"{SUBSET_PREFIX}*/{SUBSET_FILE}")]


def own_folders(root: Path) -> list[Path]:
    """Return the folders of all such splits under the data root that were finished, sorted."""
    val = root / VAL_NAME
    return sorted([*subset_folders(root), *([val] if (val / SPLIT_FILE).is_file() else [])])


def read_own_split(folder: Path) -> OwnSplit:
    """Return the split in ``folder`` as it is now and as it was made; every picture is read.

    Raises
    ------
    DataError
        If its description is damaged, or a file cannot be read.
    """
    folders = [folder / "images" / part for part in ("queries", "references")]
    files = [path for each in folders if each.is_dir() for path in sorted(each.iterdir())]
    recorded = _recorded(folder)
    return OwnSplit(folder, len(files), sha256_of_lines(picture_lines(files)), recorded)


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
