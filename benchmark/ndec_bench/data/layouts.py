"""Where images lie: archives under the data root, unpacked folders, or folders a user has elsewhere, taken in place."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ValidationError

from ndec_bench import atomic
from ndec_bench.data.images import SelectedSource, open_images
from ndec_bench.data.recognition import FIRST_NDEC, NDEC_QUERIES, PAIRS, FolderContent, is_ndec, recognise
from ndec_bench.data.registry import image_sets, shards
from ndec_bench.errors import DataError, MissingDataError, UsageError, os_errors
from ndec_bench.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ndec_bench.data.images import ImageSource
    from ndec_bench.data.registry import ImageSet
    from ndec_bench.data.split import Split

__all__ = [
    "SOURCES_FILE",
    "FolderContent",
    "Holding",
    "Placement",
    "adopt",
    "find",
    "forget",
    "images_of",
    "open_set",
    "recognise",
]

SOURCES_FILE = "ndec-bench.sources.json"
"""Next to the data: the folders elsewhere that were taken in place, by image set."""

_PAIR_ID = re.compile(r"[0-9]{1,9}/[^/]+")
_QUERY_ID = re.compile(r"Q[0-9]{5,18}")  # more digits do not fit into 64 bits
_FINAL = ("disc21", "final-queries")
_BUILT_PARTS = ("queries", "references", "background", "train")


class _FolderRecord(BaseModel):
    version: int = 1
    sets: dict[str, list[str]]


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

    @property
    def gone(self) -> tuple[Path, ...]:
        """Return the folders that were taken in place and are no longer there."""
        return tuple(path for path in self.paths if not path.exists())


def find(root: Path, dataset: str, part: str) -> Holding | None:
    """Return where the images of a set are under ``root``; None if they are not. No file is opened but the record.

    Archives come first if none is missing, then folders that were taken in place, then an unpacked folder
    (`ImageSet.folder`), then the archives that are there. These come before folders of which one is gone.

    Raises
    ------
    DataError
        If the record of folders is damaged.
    """
    files = shards(dataset, part)
    present = tuple(file.path(root) for file in files if file.path(root).is_file())
    taken = _read_sources(root).get(f"{dataset}/{part}", [])
    folder = root / image_sets()[dataset, part].folder
    if len(present) < len(files):
        if taken and not (present and any(not Path(each).exists() for each in taken)):
            return Holding(dataset, part, "folder", tuple(map(Path, taken)))
        if folder.is_dir():
            return Holding(dataset, part, "folder", (folder,))
    if not present:
        return None
    missing = tuple(file.name for file in files if file.path(root) not in present)
    return Holding(dataset, part, "archives", present, missing)


def open_set(root: Path, dataset: str, part: str, *, progress: Progress = silent) -> ImageSource:
    """Return the images of a set, and no others that lie next to them.

    Ids are those of the set (`ImageSet.id`, and its range of numbers); of negative pairs they are ``FOLDER/NAME``.
    Shards that are missing are passed over.

    Raises
    ------
    DataError
        If an archive or folder is unusable, holds no image of the set, or is DISC21's where NDEC's is wanted, or NDEC's
        where DISC21 final's is. MissingDataError if nothing is there.
    """
    holding = find(root, dataset, part)
    if holding is None:
        raise MissingDataError(
            f"the images of {dataset} {part} are not under {root}",
            hint=f'get them with "ndec-bench download {dataset} {part}", or take them in place with --from DIR',
        )
    for path in holding.gone:
        raise MissingDataError(
            f"{path}: gone; it was taken in place for {dataset} {part}",
            hint=f'put it back, mount its disk, or leave it out with "ndec-bench data forget {dataset}/{part}"',
        )
    if (dataset, part) == PAIRS:
        return _pairs(holding, progress)
    return _selected(open_images(*holding.paths, progress=progress), image_sets()[dataset, part], holding)


def images_of(split: Split, part: str, *, progress: Progress = silent) -> ImageSource:
    """Return the images of ``part`` (queries, references, background or train), read where they lie.

    These are the folders of a split that was built, or the archives or folders of a known split under its data root.
    Of a known split's queries only those of the split are in it, and all must be. ``progress`` is told of archives
    that are read for the first time.

    Raises
    ------
    DataError
        If the split has no such images, or some of its queries are missing. MissingDataError if none are there.
    """
    if split.folder is not None and part in _BUILT_PARTS:
        folder = split.folder / "images" / part
        if not folder.is_dir():
            raise DataError(f"{folder}: missing", hint='build the split again, e.g. "ndec-bench mini build"')
        return open_images(folder, progress=progress)
    place = split.image_sets.get(part)
    if split.images_root is None or place is None:
        raise DataError(f"split {split.name}: no images of {part!r} are known", hint="give --images FOLDER")
    if isinstance(place, Path):
        source = open_images(place, progress=progress)
    else:
        source = open_set(split.images_root, *place, progress=progress)
    return SelectedSource(source, split.query_ids) if part == "queries" else source


def _pairs(holding: Holding, progress: Progress) -> ImageSource:
    if holding.kind == "folder":
        source = open_images(*holding.paths, id_rule="folder/stem", progress=progress)
    else:
        first = holding.missing[0] if holding.missing else ""
        if first and first < holding.paths[0].name:
            raise DataError(
                f"{holding.paths[0].with_name(first)}: missing, but {holding.paths[0].name} is there",
                hint='the pieces are one tar: get all with "ndec-bench download ndec negative-pairs"',
            )
        source = open_images(holding.paths[0], id_rule="folder/stem", progress=progress)
    return SelectedSource.matching(source, _PAIR_ID)


def _selected(source: ImageSource, images: ImageSet, holding: Holding) -> ImageSource:
    numbers = None if images.first is None else range(images.first, images.first + images.images)
    where = ", ".join(map(str, holding.paths[:3]))
    try:
        chosen = SelectedSource.matching(source, re.compile(images.id or ".*"), numbers)
    except DataError as error:
        raise DataError(f"{where}: no {images.dataset} {images.part}: {error.message}", hint=error.hint) from error
    # DISC21 final has other pictures under the ids of NDEC's hard negatives: the two are never mixed.
    wrong, hint = "", "give the folder query_images_h5 of NDEC alone"
    if (images.dataset, images.part) == NDEC_QUERIES:
        strange = next((each for each in chosen.ids if int(each[1:]) < FIRST_NDEC), None)
        if strange is not None:
            wrong = f"holds {strange}, which is DISC21's; NDEC's queries begin at Q{FIRST_NDEC}"
        elif len(chosen.ids) > images.images:
            counts = f"{len(chosen.ids):,} queries, NDEC has {images.images:,}"
            wrong = f"{counts}; DISC21 has more from Q{FIRST_NDEC} on"
    elif (images.dataset, images.part) == _FINAL:
        own = np.array([int(each[1:]) for each in source.ids if _QUERY_ID.fullmatch(each)], dtype=np.int64)
        if is_ndec(own):
            wrong = "by its ids NDEC's queries, which are other pictures than those of DISC21 final"
            hint = "give the final queries of DISC21 alone"
    if wrong:
        raise DataError(f"{where}: {wrong}", hint=hint)
    return chosen


@dataclass(frozen=True)
class Placement:
    """One thing that was taken in place: what, and where it lies."""

    name: str
    place: Path
    how: Literal["linked", "recorded", "in place"]

    def describe(self) -> str:
        """Return one line for people."""
        return f"{self.name}: {self.how}, {self.place}"


def adopt(found: FolderContent, root: Path) -> tuple[Placement, ...]:
    """Return what was taken into the data root ``root``: files as links, folders by record. Nothing is copied.

    Raises
    ------
    DataError
        If another file is in the place of one, and then nothing is taken; or if ``root`` cannot be
        written.
    """
    files = [*((file.key, path) for file, path in found.archives), *found.ground_truths]
    for place, path in files:
        _check_free(root / place, path)
    done = [_link(place, path, root) for place, path in files]
    before = _read_sources(root)
    sets = dict(before)
    for (dataset, part), folders in sorted(found.folders.items()):
        name, own = f"{dataset}/{part}", root / image_sets()[dataset, part].folder
        places = _outermost(folder.resolve() for folder in folders)
        if own.is_dir() and all(place == own.resolve() or own.resolve() in place.parents for place in places):
            sets.pop(name, None)  # what was taken before would come first
            done.append(Placement(name, own, "in place"))
            continue
        sets[name] = [str(place) for place in places]
        done.append(Placement(name, folders[0], "recorded"))
    if sets != before:
        _write_sources(root, sets)
    return tuple(done)


def forget(root: Path, name: str) -> tuple[Path, ...]:
    """Return the folders that were taken in place for the image set ``name``; the record of them is removed.

    ``name`` is data set and part, ``disc21/references``. Raises UsageError if none was taken for it.
    """
    sets = _read_sources(root)
    if name not in sets:
        known = ", ".join(sorted(sets)) or "nothing"
        raise UsageError(f"no folder was taken in place for {name[:80]!r}", hint=f"taken under {root}: {known}")
    folders = tuple(map(Path, sets.pop(name)))
    _write_sources(root, sets)
    return folders


def _outermost(folders: Iterable[Path]) -> list[Path]:
    """Return ``folders`` sorted, without those inside another: a folder is read with all that is under it."""
    every = set(folders)
    return sorted(folder for folder in every if every.isdisjoint(folder.parents))


def _check_free(target: Path, path: Path) -> None:
    """Raise DataError if something else than the file ``path`` is at ``target``."""
    if not os.path.lexists(target):
        return
    if not target.exists():
        raise DataError(f"{target}: a link to a file that is gone", hint="remove the link, or put the file back")
    if not target.samefile(path):
        raise DataError(
            f"{target}: is there already and is another file than {path}",
            hint="move one of them away; nothing is overwritten",
        )


def _link(place: str, path: Path, root: Path) -> Placement:
    target = root / place
    if target.exists():
        return Placement(place, path, "in place")
    hint = "move the file there, or set the data root to a folder on the same disk"
    with os_errors(f"{target}: cannot be linked to {path}", hint=hint):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.symlink_to(path.resolve())
        except OSError:  # Windows without the right to make links: a hard link needs none
            os.link(path, target)
    return Placement(place, path, "linked")


def _read_sources(root: Path) -> dict[str, list[str]]:
    path = root / SOURCES_FILE
    try:
        return _FolderRecord.model_validate_json(path.read_bytes()).sets
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        raise DataError(f"{path}: damaged", hint="remove it and take the folders again with --from DIR") from error


def _write_sources(root: Path, sets: dict[str, list[str]]) -> None:
    content = _FolderRecord(sets=sets).model_dump()
    atomic.write_text(root / SOURCES_FILE, json.dumps(content, indent=2, sort_keys=True) + "\n")
