"""Where images lie: archives under the data root, unpacked folders, or folders a user has elsewhere, taken in place.

Users keep DISC21 and NDEC in a dozen layouts. No layout is known here by name: what a folder holds is told by the ids
of its files (Q, R and T with digits), and archives by their published names.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ndec_bench import atomic
from ndec_bench.archives.safe import IMAGE_SUFFIXES
from ndec_bench.data.images import JoinedSource, SelectedSource, open_images
from ndec_bench.data.registry import RemoteFile, image_sets, remote_files
from ndec_bench.data.registry import find as find_file
from ndec_bench.errors import DataError, MissingDataError
from ndec_bench.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ndec_bench.data.images import ImageSource
    from ndec_bench.data.registry import ImageSet

SOURCES_FILE = "ndec-bench.sources.json"
"""Beside the data: the folders elsewhere that were taken in place, by image set."""

_PAIRS = ("ndec", "negative-pairs")
_ID = re.compile(r"([QRT])([0-9]{5,18})")
_PAIR_FOLDER = re.compile(r"[0-9]{4,6}")

SetName = tuple[str, str]


@dataclass(frozen=True)
class Holding:
    """The images of one set as they lie on disk.

    Attributes
    ----------
    dataset, part
        The image set.
    kind
        ``archives`` under the data root, or ``folder`` for unpacked images, wherever they are.
    paths
        Archives in the order of their shards, or folders.
    missing
        Names of the shards that are not there.
    """

    dataset: str
    part: str
    kind: Literal["archives", "folder"]
    paths: tuple[Path, ...]
    missing: tuple[str, ...] = ()


def find(root: Path, dataset: str, part: str) -> Holding | None:
    """Return where the images of a set are under ``root``; None if they are not. No file is opened but the record.

    Folders that were taken in place come first, then an unpacked folder (`ImageSet.folder`), then archives.

    Raises
    ------
    DataError
        If the record of folders is damaged.
    """
    taken = _read_sources(root).get(f"{dataset}/{part}", [])
    if taken:
        return Holding(dataset, part, "folder", tuple(map(Path, taken)))
    folder = root / image_sets()[dataset, part].folder
    if folder.is_dir():
        return Holding(dataset, part, "folder", (folder,))
    shards = [file for file in remote_files() if (file.dataset, file.part) == (dataset, part)]
    present = [file.path(root) for file in shards if file.path(root).is_file()]
    if not present:
        return None
    missing = tuple(file.name for file in shards if not file.path(root).is_file())
    return Holding(dataset, part, "archives", tuple(present), missing)


def open_set(root: Path, dataset: str, part: str, *, progress: Progress = silent) -> ImageSource:
    """Return the images of a set, and no others that lie beside them.

    Ids are those of the set (`ImageSet.id`, and its range of numbers); of negative pairs they are ``FOLDER/NAME``.
    Shards that are missing are passed over.

    Raises
    ------
    DataError
        If an archive or folder is unusable, holds no image of the set, or is DISC21's where NDEC's is wanted.
        MissingDataError if nothing is there.
    """
    holding = find(root, dataset, part)
    if holding is None:
        raise MissingDataError(
            f"the images of {dataset} {part} are not under {root}",
            hint=f'get them with "ndec-bench download {dataset} {part}", or take them in place with --from DIR',
        )
    for path in holding.paths:
        if not path.exists():
            raise MissingDataError(
                f"{path}: gone; it was taken in place for {dataset} {part}",
                hint=f"put it back, or remove it from {root / SOURCES_FILE}",
            )
    if (dataset, part) == _PAIRS:
        return open_images(holding.paths[0], id_rule="folder/stem", progress=progress)
    source = _joined(holding.paths, progress)
    return _selected(source, image_sets()[dataset, part], holding)


def _joined(paths: Sequence[Path], progress: Progress) -> ImageSource:
    sources = [open_images(path, progress=progress) for path in paths]
    return sources[0] if len(sources) == 1 else JoinedSource(sources)


def _selected(source: ImageSource, images: ImageSet, holding: Holding) -> ImageSource:
    numbers = None if images.first is None else range(images.first, images.first + images.images)
    where = ", ".join(map(str, holding.paths[:3]))
    try:
        chosen = SelectedSource.matching(source, re.compile(images.id or ".*"), numbers)
    except DataError as error:
        raise DataError(f"{where}: no {images.dataset} {images.part}: {error.message}", hint=error.hint) from error
    if (images.dataset, images.part) == ("ndec", "queries") and int(chosen.ids[0][1:]) < _FIRST_NDEC:
        # DISC21 final has other pictures under the ids of NDEC's hard negatives: the two are never mixed.
        raise DataError(
            f"{where}: holds {chosen.ids[0]}, which is DISC21's; NDEC's queries begin at Q{_FIRST_NDEC}",
            hint="give the folder query_images_h5 of NDEC alone",
        )
    return chosen


_FIRST_NDEC = 25_000
_DEV, _FINAL = range(50_000), range(50_000, 100_000)


@dataclass
class _Seen:
    """Ids of one kind in one folder: how many, the smallest and largest number, and a few of each range."""

    count: int = 0
    ranges: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, number: int) -> None:
        self.count += 1
        name = kind
        if kind == "Q":
            name = "dev I" if number < _FIRST_NDEC else "dev II" if number in _DEV else "later"
        self.ranges[name] = self.ranges.get(name, 0) + 1


@dataclass(frozen=True)
class Recognised:
    """What a user's folder holds.

    Attributes
    ----------
    archives
        Archives and ground truths by the registry, with where they lie.
    folders
        Folders with unpacked images by image set.
    counts
        Images in those folders by image set.
    warnings
        What is wrong or doubtful, one sentence each.
    """

    archives: tuple[tuple[RemoteFile, Path], ...]
    folders: dict[SetName, tuple[Path, ...]]
    counts: dict[SetName, int]
    warnings: tuple[str, ...]

    def describe(self) -> list[str]:
        """Return one line per archive and image set, for people."""
        lines = [f"{file.dataset}/{file.name} from {path}" for file, path in self.archives]
        for (dataset, part), folders in self.folders.items():
            more = f" and {len(folders) - 1} more folders" if len(folders) > 1 else ""
            lines.append(f"{dataset} {part}: {self.counts[dataset, part]:,} images in {folders[0]}{more}")
        return lines


def recognise(folder: Path) -> Recognised:
    """Return what lies under ``folder``, in any layout; names are read, no image is opened.

    Raises
    ------
    DataError
        If it is no folder, or holds nothing of NDEC or DISC21.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no folder", hint="give the folder that holds the archives or images")
    look = _Look()
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        look.visit(Path(parent), sorted(names))
    found = look.result(folder)
    if not found.archives and not found.folders:
        reasons = f" ({'; '.join(found.warnings)})" if found.warnings else ""
        raise DataError(
            f"{folder}: nothing of NDEC or DISC21 was recognised{reasons}",
            hint="expected archives under their published names, or images named Q…, R… or T… with digits",
        )
    return found


class _Look:
    """One walk through a user's folder."""

    def __init__(self) -> None:
        self.archives: dict[str, tuple[RemoteFile, Path]] = {}
        self.seen: dict[Path, dict[str, _Seen]] = {}
        self.pairs: dict[Path, int] = {}
        self.warnings: list[str] = []

    def visit(self, parent: Path, names: list[str]) -> None:
        kinds: dict[str, _Seen] = {}
        others = 0
        for name in names:
            if name.startswith("."):
                continue
            stem, suffix = os.path.splitext(name)  # noqa: PTH122 -- a million names
            if suffix.lower() in IMAGE_SUFFIXES:
                match = _ID.fullmatch(stem)
                if match:
                    kinds.setdefault(match[1], _Seen()).add(match[1], int(match[2]))
                else:
                    others += 1
            else:
                self._archive(parent / name)
        if "T" in kinds and kinds["T"].count == 1 and others and _PAIR_FOLDER.fullmatch(parent.name):
            self.pairs[parent.parent] = self.pairs.get(parent.parent, 0) + 1
            return
        if kinds:
            self.seen[parent] = kinds
        elif others and parent.parent.name.startswith("queries"):
            self.warnings.append(f"{parent}: images without ids ({others:,}); file names must be the ids")

    def result(self, folder: Path) -> Recognised:
        folders: dict[SetName, list[Path]] = {}
        counts: dict[SetName, int] = {}

        def take(name: SetName, path: Path, count: int) -> None:
            folders.setdefault(name, []).append(path)
            counts[name] = counts.get(name, 0) + count

        for path, kinds in self.seen.items():
            for kind, seen in kinds.items():
                for name, count in self._sets_of(path, kind, seen):
                    take(name, path, count)
        for path, count in self.pairs.items():
            take(_PAIRS, path, count)
        self._warn_of_counts(counts)
        kept = tuple((file, path) for file, path in self.archives.values())
        return Recognised(kept, {name: tuple(paths) for name, paths in folders.items()}, counts, tuple(self.warnings))

    def _archive(self, path: Path) -> None:
        file = find_file(path.name)
        if file is None or file.dataset == "weights":
            return
        other = self.archives.setdefault(file.name, (file, path))[1]
        if other != path and not other.samefile(path):
            self.warnings.append(f"{path}: a second {file.name}; {other} is taken")

    def _sets_of(self, path: Path, kind: str, seen: _Seen) -> Iterator[tuple[SetName, int]]:
        """Yield the image sets that the ids of one kind in one folder belong to, with their number."""
        if kind == "R":
            yield ("disc21", "references"), seen.count
        elif kind == "T":
            yield ("disc21", "training"), seen.count
        else:
            yield from self._query_sets(path, seen)

    def _query_sets(self, path: Path, seen: _Seen) -> Iterator[tuple[SetName, int]]:
        first, second, later = (seen.ranges.get(name, 0) for name in ("dev I", "dev II", "later"))
        if not first and second and later:
            yield ("ndec", "queries"), second + later
            return
        if path.name == "negative_pair":
            self.warnings.append(f"{path}: queries, not pairs, in spite of its name; left out")
            return
        if first or second:
            yield ("disc21", "dev-queries"), first + second
        if later:
            yield ("disc21", "final-queries"), later
            if first or second:
                self.warnings.append(
                    f"{path}: both query sets of DISC21 in one folder; each is read from it by its ids"
                )
            elif "val" in path.name:
                self.warnings.append(f"{path}: final queries (Q50000 and on), in spite of its name")

    def _warn_of_counts(self, counts: dict[SetName, int]) -> None:
        for name, count in sorted(counts.items()):
            expected = 100_000 if name == _PAIRS else image_sets()[name].images
            if count < expected:
                partial = "; results on them would be partial" if name[1] == "references" else ""
                self.warnings.append(f"{' '.join(name)}: {count:,} of {expected:,} here{partial}")
            elif count > expected:
                self.warnings.append(f"{' '.join(name)}: {count:,}, more than the {expected:,} there are: some twice?")


@dataclass(frozen=True)
class Adopted:
    """One thing that was taken in place: what, and where it lies."""

    name: str
    place: Path
    how: Literal["linked", "recorded", "in place"]

    def describe(self) -> str:
        """Return one line for people."""
        return f"{self.name}: {self.how}, {self.place}"


def adopt(found: Recognised, root: Path) -> tuple[Adopted, ...]:
    """Return what was taken into the data root ``root``: archives as links, folders by record. Nothing is copied.

    Raises
    ------
    DataError
        If another file already stands in the place of one, or ``root`` cannot be written.
    """
    done = [_link(file, path, root) for file, path in found.archives]
    sets = _read_sources(root)
    for (dataset, part), folders in sorted(found.folders.items()):
        name, own = f"{dataset}/{part}", root / image_sets()[dataset, part].folder
        places = _outermost(folder.resolve() for folder in folders)
        if own.is_dir() and places == [str(own.resolve())]:
            done.append(Adopted(name, own, "in place"))
            continue
        sets[name] = places
        done.append(Adopted(name, folders[0], "recorded"))
    if found.folders:
        content = {"version": 1, "sets": sets}
        atomic.write_text(root / SOURCES_FILE, json.dumps(content, indent=2, sort_keys=True) + "\n")
    return tuple(done)


def _outermost(folders: Iterable[Path]) -> list[str]:
    """Return ``folders`` sorted, without those inside another: a folder is read with all that is under it."""
    every = set(folders)
    return sorted(str(folder) for folder in every if every.isdisjoint(folder.parents))


def _link(file: RemoteFile, path: Path, root: Path) -> Adopted:
    target = file.path(root)
    name = f"{file.dataset}/{file.name}"
    if os.path.lexists(target):
        if target.exists() and target.samefile(path):
            return Adopted(name, path, "in place")
        raise DataError(
            f"{target}: is there already and is another file than {path}",
            hint="move one of them away; nothing is overwritten",
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.symlink_to(path.resolve())
        except OSError:  # Windows without the right to make links: a hard link needs none
            os.link(path, target)
    except OSError as error:
        raise DataError(
            f"{target}: cannot be linked to {path} ({error.strerror or error})",
            hint="move the file there, or set the data root to a folder on the same disk",
        ) from error
    return Adopted(name, path, "linked")


def _read_sources(root: Path) -> dict[str, list[str]]:
    path = root / SOURCES_FILE
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path) from error
    sets = content.get("sets") if isinstance(content, dict) else None
    if not isinstance(sets, dict):
        raise _damaged(path)
    for places in sets.values():
        if not isinstance(places, list) or not all(isinstance(place, str) for place in places):
            raise _damaged(path)
    return sets


def _damaged(path: Path) -> DataError:
    return DataError(f"{path}: damaged", hint="remove it and take the folders again with --from DIR")
