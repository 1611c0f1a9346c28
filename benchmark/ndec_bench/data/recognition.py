"""What a user's folder holds: archives by their published names, unpacked images by their ids, whatever the layout.

Users keep DISC21 and NDEC in a dozen layouts. None is known here by name: what a folder holds is told by the ids of its
files (Q, R and T with digits). Where the ids leave it open, nothing is guessed; the folder is left out with a warning.
"""

from __future__ import annotations

import os
import re
from array import array
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.archives.safe import IMAGE_SUFFIXES
from ndec_bench.data.known import DISC21_FOLDER, KNOWN
from ndec_bench.data.own_splits import SUBSET_FILE, SUBSET_PREFIX
from ndec_bench.data.registry import RemoteFile, find, image_sets, remote_files
from ndec_bench.data.split import SPLIT_FILE
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from numpy.typing import NDArray

SetName = tuple[str, str]

PAIRS: SetName = ("ndec", "negative-pairs")
NDEC_QUERIES: SetName = ("ndec", "queries")
_DEV_QUERIES: SetName = ("disc21", "dev-queries")
_FINAL_QUERIES: SetName = ("disc21", "final-queries")
_OF_LETTER: Mapping[str, SetName] = {"R": ("disc21", "references"), "T": ("disc21", "training")}

FIRST_NDEC = 25_000
"""Number of NDEC's first query; smaller ones are DISC21 dev I's."""
FIRST_FINAL = 50_000
"""From here on ids mean hard negatives in NDEC, and other pictures in DISC21 final."""

_ID = re.compile(r"(?:(Q)([0-9]{5,18})|([RT])([0-9]{6}))")
_PAIR_FOLDER = re.compile(r"[0-9]{1,9}")
_PAIR_COUNT = 100_000
_NDEC_NAME = re.compile(r"ndec|query_images_h5", re.IGNORECASE)
_VALIDATION_NAME = re.compile(r"val|dev", re.IGNORECASE)


@dataclass(frozen=True)
class FolderContent:
    """What a user's folder holds.

    Attributes
    ----------
    archives
        Archives of the registry, with where they lie.
    folders
        Folders with unpacked images by image set; those inside another are named too.
    counts
        Images in those folders by image set; of negative pairs, pairs.
    warnings
        What is wrong or doubtful, one sentence each.
    ground_truths
        Published ground truths: place under a data root, with slashes, and where they lie.
    """

    archives: tuple[tuple[RemoteFile, Path], ...]
    folders: Mapping[SetName, tuple[Path, ...]]
    counts: Mapping[SetName, int]
    warnings: tuple[str, ...]
    ground_truths: tuple[tuple[str, Path], ...] = ()

    def only(self, files: AbstractSet[str], sets: AbstractSet[SetName]) -> FolderContent:
        """Return what belongs to these ``files`` (by their keys) and image ``sets``."""
        return replace(
            self,
            archives=tuple((file, path) for file, path in self.archives if file.key in files),
            folders={name: folders for name, folders in self.folders.items() if name in sets},
            ground_truths=tuple((place, path) for place, path in self.ground_truths if place in files),
        )

    def describe(self) -> list[str]:
        """Return one line per archive, ground truth and image set, for people."""
        lines = [f"{file.key} from {path}" for file, path in self.archives]
        lines += [f"{place} from {path}" for place, path in self.ground_truths]
        for name, folders in self.folders.items():
            more = f" and {len(folders) - 1} more" if len(folders) > 1 else ""
            what = "pairs" if name == PAIRS else "images"
            lines.append(f"{' '.join(name)}: {self.counts[name]:,} {what} in {folders[0]}{more}")
        return lines


def recognise(folder: Path) -> FolderContent:
    """Return what lies under ``folder``, in any layout; names are read, no image is opened.

    Links to folders are followed, each folder is looked at once. Splits and subsets that this program made are passed
    over: their images are not whole sets.

    Raises
    ------
    DataError
        If it is not a folder, or holds nothing of NDEC or DISC21.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: is not a folder", hint="give the folder that holds the archives or images")
    look = _Look(folder)
    look.walk()
    found = look.result()
    if not found.archives and not found.folders and not found.ground_truths:
        reasons = f" ({'; '.join(found.warnings)})" if found.warnings else ""
        raise DataError(
            f"{folder}: nothing of NDEC or DISC21 was recognised{reasons}",
            hint="expected archives under their published names, or images named Q…, R… or T… with digits",
        )
    return found


class _Look:
    """One walk through a user's folder."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.archives: dict[str, tuple[RemoteFile, Path]] = {}
        self.truths: dict[str, Path] = {}
        self.seen: dict[Path, dict[str, array[int]]] = {}  # numbers of the ids in each folder, by letter
        self.pairs: dict[Path, int] = {}
        self.unnamed: dict[Path, int] = {}
        self.warnings: list[str] = []

    def walk(self) -> None:
        # A link to a folder above would lead over the whole disk, back to here.
        visited = {_identity(folder) for folder in self.base.resolve().parents}
        for parent, folders, names in os.walk(self.base, onerror=self._unreadable, followlinks=True):
            identity = _identity(Path(parent))
            if identity in visited or _own(Path(parent).name, names):
                folders.clear()
                continue
            visited.add(identity)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            self._visit(Path(parent), sorted(name for name in names if not name.startswith(".")))

    def _unreadable(self, error: OSError) -> None:
        self.warnings.append(f"{error.filename}: cannot be read ({error.strerror}), passed over")

    def _visit(self, parent: Path, names: list[str]) -> None:
        numbers: dict[str, array[int]] = {}
        images = 0
        for name in names:
            stem, suffix = os.path.splitext(name)  # noqa: PTH122 -- a million names
            if suffix.lower() not in IMAGE_SUFFIXES:
                if suffix.lower() in _suffixes():
                    self._file(parent / name)
                continue
            images += 1
            match = _ID.fullmatch(stem)
            if match:
                numbers.setdefault(match[1] or match[3], array("q")).append(int(match[2] or match[4]))
        if images == 2 and len(numbers.get("T", ())) == 1 and _PAIR_FOLDER.fullmatch(parent.name):
            self.pairs[parent.parent] = self.pairs.get(parent.parent, 0) + 1
        elif numbers:
            self.seen[parent] = numbers
        elif images and _ID.fullmatch(parent.name):
            self.unnamed[parent.parent] = self.unnamed.get(parent.parent, 0) + images

    def _file(self, path: Path) -> None:
        file = find(path.name)
        if file is not None and file.dataset != "weights" and file.unpack != "none":
            self._once(self.archives.setdefault(file.name, (file, path))[1], path, file.name)
            return
        place = file.key if file is not None and file.ground_truth else _truth_place(path.name)
        if place is not None:
            self._once(self.truths.setdefault(place, path), path, place)

    def _once(self, taken: Path, path: Path, name: str) -> None:
        if taken != path and not _same(taken, path):
            self.warnings.append(f"{path}: a second {name}; {taken} is taken")

    def result(self) -> FolderContent:
        found: dict[SetName, list[tuple[Path, NDArray[np.int64]]]] = {}
        for path, numbers in self.seen.items():
            for name, own in self._sets_of(path, {letter: np.array(every) for letter, every in numbers.items()}):
                found.setdefault(name, []).append((path, own))
        folders: dict[SetName, tuple[Path, ...]] = {}
        counts: dict[SetName, int] = {}
        for name in image_sets():
            kept = self._without_doubles(name, found.get(name, []))
            if name == PAIRS:
                kept = self.pairs
            if kept:
                folders[name], counts[name] = tuple(kept), sum(kept.values())
        for path, count in self.unnamed.items():
            self.warnings.append(
                f"{path}: images without ids ({count:,}); file names must be the ids, not the names of their folders"
            )
        self._warn_of_counts(counts)
        truths = tuple(self.truths.items())
        return FolderContent(tuple(self.archives.values()), folders, counts, tuple(self.warnings), truths)

    def _sets_of(
        self, path: Path, numbers: dict[str, NDArray[np.int64]]
    ) -> Iterator[tuple[SetName, NDArray[np.int64]]]:
        """Yield the image sets that the ids in one folder belong to, each with its numbers."""
        if path.name == "negative_pair":
            what = "queries, not pairs, in spite of its name" if "Q" in numbers else "images outside folders of pairs"
            self.warnings.append(f"{path}: {what}; left out: a pair is negative_pair/00001/T613143.jpg and one other")
            return
        if path.parent in self.pairs and _PAIR_FOLDER.fullmatch(path.name):
            self.warnings.append(f"{path}: left out: no pair of one training image and one other")
            return
        for letter, own in numbers.items():
            if letter == "Q":
                yield from self._query_sets(path, own)
            else:
                yield _OF_LETTER[letter], own

    def _query_sets(self, path: Path, own: NDArray[np.int64]) -> Iterator[tuple[SetName, NDArray[np.int64]]]:
        dev, later = own[own < FIRST_FINAL], own[own >= FIRST_FINAL]
        if is_ndec(own):
            yield NDEC_QUERIES, own
            return
        inside = path.relative_to(self.base).parts
        name = next((part for part in reversed(inside) if not part.isdigit()), self.base.name)
        if _NDEC_NAME.search(name) and not (own < FIRST_NDEC).any():
            self.warnings.append(
                f"{path}: left out: by its name NDEC's, but without ids on both sides of Q{FIRST_FINAL} it may as well "
                "be DISC21's, which has other pictures under the same ids"
            )
            return
        if len(dev):
            yield _DEV_QUERIES, dev
        if len(later):
            yield _FINAL_QUERIES, later
            if len(dev):
                self.warnings.append(
                    f"{path}: both query sets of DISC21 in one folder; each is read from it by its ids"
                )
            elif _VALIDATION_NAME.search(path.name):
                self.warnings.append(f"{path}: final queries (Q{FIRST_FINAL} and on), in spite of its name")

    def _without_doubles(self, name: SetName, found: list[tuple[Path, NDArray[np.int64]]]) -> dict[Path, int]:
        """Return the folders to take with their counts; of two that share ids, the one with more images."""
        claimed = np.empty(0, dtype=np.int64)
        kept: dict[Path, int] = {}
        for path, own in sorted(found, key=lambda each: -len(each[1])):
            shared = int(np.isin(own, claimed).sum())
            if shared:
                lost = f", and with it {len(own) - shared:,} that are nowhere else" if shared < len(own) else ""
                self.warnings.append(
                    f"{path}: left out: {shared:,} ids of {' '.join(name)} are in other folders too{lost}"
                )
                continue
            claimed = np.concatenate([claimed, own])
            kept[path] = len(own)
        return dict(sorted(kept.items()))

    def _warn_of_counts(self, counts: Mapping[SetName, int]) -> None:
        for name, count in sorted(counts.items()):
            expected = _PAIR_COUNT if name == PAIRS else image_sets()[name].images
            if count < expected:
                partial = "; results on them would be partial" if name == _OF_LETTER["R"] else ""
                self.warnings.append(f"{' '.join(name)}: {count:,} of {expected:,} here{partial}")
            elif count > expected:
                self.warnings.append(f"{' '.join(name)}: {count:,}, more than the {expected:,} there are: some twice?")


def is_ndec(numbers: NDArray[np.int64]) -> bool:
    """Return whether queries with these numbers in one place are NDEC's and not DISC21's.

    NDEC has none below Q25000, and at most 24,252 from Q50000 on next to its ISC queries. No id alone can tell.
    """
    later = int((numbers >= FIRST_FINAL).sum())
    return bool((numbers >= FIRST_NDEC).all()) and later < len(numbers) and 0 < later <= KNOWN["ndec"].hard_negatives


def _own(folder: str, names: list[str]) -> bool:
    """Return whether a folder is a split or subset that was made here, be it unfinished."""
    return folder.startswith((SUBSET_PREFIX, "ndec-val-")) or SPLIT_FILE in names or SUBSET_FILE in names


@cache
def _suffixes() -> frozenset[str]:
    """Return how names of archives and ground truths end: few of a million other files are looked at closer."""
    published = [name for file in remote_files() for name in (file.name, *file.aliases)]
    every = (*published, *(name for known in KNOWN.values() for name in known.files))
    return frozenset(Path(name).suffix.lower() for name in every)


def _identity(folder: Path) -> tuple[int, int]:
    state = folder.stat()
    return state.st_dev, state.st_ino


def _truth_place(name: str) -> str | None:
    """Return where under a data root a published ground truth that nobody serves any more is looked for."""
    return f"{DISC21_FOLDER}/{name}" if any(name in known.files for known in KNOWN.values()) else None


def _same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return False
