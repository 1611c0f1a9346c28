"""Where images lie: archives under the data root, unpacked folders, or folders a user has elsewhere, taken in place."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ndec_bench import atomic
from ndec_bench.data.images import JoinedSource, SelectedSource, open_images
from ndec_bench.data.recognition import FIRST_NDEC, NDEC_QUERIES, PAIRS, Recognised, is_ndec, recognise
from ndec_bench.data.registry import image_sets, remote_files
from ndec_bench.errors import DataError, MissingDataError
from ndec_bench.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ndec_bench.data.images import ImageSource
    from ndec_bench.data.registry import ImageSet

__all__ = ["SOURCES_FILE", "Adopted", "Holding", "Recognised", "adopt", "find", "open_set", "recognise"]

SOURCES_FILE = "ndec-bench.sources.json"
"""Beside the data: the folders elsewhere that were taken in place, by image set."""

_VERSION = 1
_PAIR_ID = re.compile(r"[0-9]{1,9}/[^/]+")
_QUERY_ID = re.compile(r"Q[0-9]{5,18}")  # more digits are no number of 64 bits
_FINAL = ("disc21", "final-queries")


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
    (`ImageSet.folder`), then the archives that are there.

    Raises
    ------
    DataError
        If the record of folders is damaged.
    """
    shards = [file for file in remote_files() if (file.dataset, file.part) == (dataset, part)]
    present = tuple(file.path(root) for file in shards if file.path(root).is_file())
    taken = _read_sources(root).get(f"{dataset}/{part}", [])
    folder = root / image_sets()[dataset, part].folder
    if len(present) < len(shards):
        if taken:
            return Holding(dataset, part, "folder", tuple(map(Path, taken)))
        if folder.is_dir():
            return Holding(dataset, part, "folder", (folder,))
    if not present:
        return None
    return Holding(
        dataset, part, "archives", present, tuple(file.name for file in shards if file.path(root) not in present)
    )


def open_set(root: Path, dataset: str, part: str, *, progress: Progress = silent) -> ImageSource:
    """Return the images of a set, and no others that lie beside them.

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
            hint=f"put it back, or remove it from {root / SOURCES_FILE}",
        )
    if (dataset, part) == PAIRS:
        return _pairs(holding, progress)
    return _selected(_joined(holding.paths, progress), image_sets()[dataset, part], holding)


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
    # DISC21 final has other pictures under the ids of NDEC's hard negatives: the two are never mixed.
    if (images.dataset, images.part) == NDEC_QUERIES:
        _refuse_disc21(chosen.ids, images, where)
    elif (images.dataset, images.part) == _FINAL:
        _refuse_ndec(source.ids, where)
    return chosen


def _refuse_disc21(ids: Sequence[str], images: ImageSet, where: str) -> None:
    strange = next((each for each in ids if int(each[1:]) < FIRST_NDEC), None)
    if strange is not None:
        raise DataError(
            f"{where}: holds {strange}, which is DISC21's; NDEC's queries begin at Q{FIRST_NDEC}",
            hint="give the folder query_images_h5 of NDEC alone",
        )
    if len(ids) > images.images:
        raise DataError(
            f"{where}: {len(ids):,} queries, NDEC has {images.images:,}; DISC21 has more from Q{FIRST_NDEC} on",
            hint="give the folder query_images_h5 of NDEC alone",
        )


def _refuse_ndec(ids: Sequence[str], where: str) -> None:
    if is_ndec(np.array([int(each[1:]) for each in ids if _QUERY_ID.fullmatch(each)], dtype=np.int64)):
        raise DataError(
            f"{where}: by its ids NDEC's queries, which are other pictures than those of DISC21 final",
            hint="give the final queries of DISC21 alone",
        )


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
    """Return what was taken into the data root ``root``: files as links, folders by record. Nothing is copied.

    Raises
    ------
    DataError
        If another file already stands in the place of one, and then nothing is taken; or if ``root`` cannot be
        written.
    """
    files = [(f"{file.dataset}/{file.name}", path) for file, path in found.archives]
    files += found.ground_truths
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
            done.append(Adopted(name, own, "in place"))
            continue
        sets[name] = [str(place) for place in places]
        done.append(Adopted(name, folders[0], "recorded"))
    if sets != before:
        content = {"version": _VERSION, "sets": sets}
        atomic.write_text(root / SOURCES_FILE, json.dumps(content, indent=2, sort_keys=True) + "\n")
    return tuple(done)


def _outermost(folders: Iterable[Path]) -> list[Path]:
    """Return ``folders`` sorted, without those inside another: a folder is read with all that is under it."""
    every = set(folders)
    return sorted(folder for folder in every if every.isdisjoint(folder.parents))


def _check_free(target: Path, path: Path) -> None:
    """Raise DataError if something else than the file ``path`` stands at ``target``."""
    if not os.path.lexists(target):
        return
    if not target.exists():
        raise DataError(f"{target}: a link to a file that is gone", hint="remove the link, or put the file back")
    if not target.samefile(path):
        raise DataError(
            f"{target}: is there already and is another file than {path}",
            hint="move one of them away; nothing is overwritten",
        )


def _link(place: str, path: Path, root: Path) -> Adopted:
    target = root / place
    if target.exists():
        return Adopted(place, path, "in place")
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
    return Adopted(place, path, "linked")


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
