"""What of NDEC and DISC21 is under a data root, and what can be done with it. Nothing is read but names and records."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field

from ndec_bench.data import known, layouts
from ndec_bench.data.own_splits import subset_folders
from ndec_bench.data.registry import image_sets, remote_files, shards
from ndec_bench.data.split import SPLIT_FILE
from ndec_bench.data.trust import read_trust
from ndec_bench.errors import DataError, MissingDataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from ndec_bench.data.registry import ImageSet, RemoteFile
    from ndec_bench.data.trust import FileRecord

FileState = Literal["verified", "present", "changed", "partial", "missing"]
SetState = Literal["complete", "partial", "missing"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileStatus(_Record):
    """One file of the registry.

    ``verified``: as it was when its digest was recorded, by size and time of change. ``present``: not read since it
    came or was last written. ``changed``: of another size than recorded.
    """

    name: str
    dataset: str
    part: str
    state: FileState
    path: str
    bytes: int = Field(description="Bytes on disk, of an unfinished download too")
    bytes_expected: int
    bytes_exact: bool = Field(description="Whether bytes_expected is no estimate")
    sha256: str | None = Field(description="Digest on record")
    source: str | None = Field(description="Where it came from")
    licence: str


class SetStatus(_Record):
    """One image set: archives or folders. A folder counts as complete here; ``data verify`` counts its images."""

    dataset: str
    part: str
    state: SetState
    kind: Literal["archives", "folder"] | None
    places: tuple[str, ...]
    archives: int = Field(description="Archives that are there")
    archives_expected: int
    missing: tuple[str, ...] = Field(description="Archives that are not there")
    gone: tuple[str, ...] = Field(description="Folders that were taken in place and are no longer there")
    images_expected: int


class TruthStatus(_Record):
    """The ground truth of one known split: whether it can be scored, and from which file."""

    split: str
    available: bool
    source: str | None
    note: str | None


class Status(_Record):
    """Everything under one data root."""

    root: str
    disk_free: int
    files: tuple[FileStatus, ...]
    image_sets: tuple[SetStatus, ...]
    ground_truths: tuple[TruthStatus, ...]
    splits: tuple[str, ...] = Field(description="Split folders and subsets under the root")
    ready: tuple[str, ...] = Field(description="What can be done now")
    next: str | None = Field(description="The command that comes next")


def status(root: Path) -> Status:
    """Return what is under ``root``. Quick: no file is hashed and no image opened.

    Raises
    ------
    DataError
        If the trust file or the record of folders is damaged.
    """
    trust = read_trust(root)
    files = tuple(_file(file, root, trust.files.get(file.key)) for file in remote_files())
    sets = tuple(_set(root, images) for images in image_sets().values())
    truths = tuple(_truth(name, root) for name in known.KNOWN)
    subsets = {folder.name for folder in subset_folders(root)}
    place = next(folder for folder in (root.absolute(), *root.absolute().parents) if folder.exists())
    state = {(found.dataset, found.part): found.state for found in sets}
    scored = [truth.split for truth in truths if truth.available]
    return Status(
        root=str(root),
        disk_free=shutil.disk_usage(place).free,
        files=files,
        image_sets=sets,
        ground_truths=truths,
        splits=tuple(sorted({path.parent.name for path in root.glob(f"*/{SPLIT_FILE}")} | subsets)),
        ready=(*(f"score submissions for {name}" for name in scored), *_ready(state)),
        next=_next(state, scored),
    )


def _file(file: RemoteFile, root: Path, record: FileRecord | None) -> FileStatus:
    path = file.path(root)
    part = path.with_name(f"{path.name}.part")
    state: FileState = "missing"
    size = 0
    if path.is_file():
        size = path.stat().st_size
        state = "present"
        if record is not None and (size != record.bytes or record.describes(path)):
            state = "changed" if size != record.bytes else "verified"
    elif part.is_file():
        state, size = "partial", part.stat().st_size
    return FileStatus(
        name=file.name,
        dataset=file.dataset,
        part=file.part,
        state=state,
        path=str(path),
        bytes=size,
        bytes_expected=file.bytes if record is None else record.bytes,
        bytes_exact=file.bytes_exact or record is not None,
        sha256=record.sha256 if record else file.sha256,
        source=record.source if record else None,
        licence=file.licence,
    )


def _set(root: Path, images: ImageSet) -> SetStatus:
    name = images.dataset, images.part
    expected = [file.name for file in shards(*name)]
    holding = layouts.find(root, *name) or layouts.Holding(*name, "folder", (), tuple(expected))
    state: SetState = "partial" if holding.missing or holding.gone else "complete"
    return SetStatus(
        dataset=images.dataset,
        part=images.part,
        state=state if len(holding.gone) < len(holding.paths) else "missing",
        kind=holding.kind if holding.paths else None,
        places=tuple(map(str, holding.paths)),
        archives=len(holding.paths) if holding.kind == "archives" else 0,
        archives_expected=len(expected),
        missing=holding.missing,
        gone=tuple(map(str, holding.gone)),
        images_expected=images.images,
    )


def _truth(name: str, root: Path) -> TruthStatus:
    try:
        source = known.load(name, root).source
    except MissingDataError:
        return TruthStatus(split=name, available=False, source=None, note=_waiting(name, root))
    except DataError as error:
        return TruthStatus(split=name, available=False, source=None, note=str(error))
    derived = source is not None and source.endswith(known.DERIVED_FILE)
    note = "derived from DISC21 dev; the published file is not here" if derived else None
    return TruthStatus(split=name, available=True, source=source, note=note)


def _waiting(name: str, root: Path) -> str | None:
    """Return what NDEC's ground truth waits for, where that of DISC21 dev is here; None for all else."""
    if name != "ndec":
        return None
    try:
        known.load("disc21-dev2", root)
    except DataError:
        return None
    holding = layouts.find(root, *known.KNOWN[name].images)
    if holding is not None and not holding.gone:
        return 'can be derived from DISC21 dev and the query images: run "ndec-bench download ndec ground-truth"'
    return (
        "can be derived from DISC21 dev once the query archive is here, which lists the hard negatives; until then "
        "split disc21-dev2 works"
    )


def _ready(state: Mapping[tuple[str, str], SetState]) -> Iterator[str]:
    references = state["disc21", "references"]
    for name, split in known.KNOWN.items():
        if state[split.images] == "complete" and references != "missing":
            yield f"describe {name}{'' if references == 'complete' else ', partial: references are missing'}"
    if state["ndec", "negative-pairs"] == "complete":
        yield "train with NDEC's hard-negative pairs"


def _next(state: Mapping[tuple[str, str], SetState], scored: Sequence[str]) -> str | None:
    """Return the command that brings a score on NDEC nearer."""
    missing = [] if "ndec" in scored else ["ground-truth"]
    missing += [] if state["ndec", "queries"] == "complete" else ["queries"]
    missing += [] if state["disc21", "references"] == "complete" else ["references"]
    return f"ndec-bench download ndec {' '.join(missing)}" if missing else "ndec-bench data verify"
