"""Pairs of ``negative_pair`` for ``ndec-val-1``: the first folders of chunk aa, whose beginning is fetched."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ndec_bench import atomic
from ndec_bench.archives import safe
from ndec_bench.archives.archive import Archive, pieces
from ndec_bench.archives.joined import JoinedFile
from ndec_bench.archives.tar_index import index_tar
from ndec_bench.data.registry import RemoteFile, remote_files
from ndec_bench.download.sources import from_first
from ndec_bench.errors import DataError, os_errors
from ndec_bench.printable import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ndec_bench.archives.members import Members
    from ndec_bench.download.jobs import Run
    from ndec_bench.download.range_reader import RangeReader
    from ndec_bench.download.sources import Candidate

TRAINING_ID = re.compile(r"T[0-9]{6}")
PAIR_BYTES = 1_209_000  # 120.9 GB for 100,000 pairs
_STEP = 1 << 28
_FOLDER = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class Pair:
    """One folder of ``negative_pair``: its name, and the file names of the training image and the look-alike."""

    folder: str
    training_file: str
    look_alike: str

    @property
    def query(self) -> str:
        """Return the id of the query: that of the look-alike."""
        return f"N{self.folder}"

    @property
    def training(self) -> str:
        """Return the id of the training image."""
        return PurePosixPath(self.training_file).stem

    @property
    def query_name(self) -> str:
        """Return the file name of the query in the split."""
        return f"{self.query}{PurePosixPath(self.look_alike).suffix.lower()}"

    @property
    def training_name(self) -> str:
        """Return the file name of the training image in the split."""
        return f"{self.training}{PurePosixPath(self.training_file).suffix.lower()}"


def take_pairs(run: Run, work: Path, folders: int) -> tuple[list[Pair], tuple[str, ...]]:
    """Return the first pairs, so many ``folders``, with their images under ``work``; and the folders passed over."""
    chunk = first_chunk().path(run.root)
    stage = pairs_stage(folders)
    paths = pieces(chunk) if chunk.is_file() else (_fetched_prefix(run, work, folders, stage),)
    with Archive(paths, partial=True) as archive:
        found, passed_over = _pairs_in(archive.file.name, _in_order(archive.members), folders)
        if len(found) < folders:
            raise _too_few(paths[0].name, len(found), folders)
        rows = {name: row for row, name in enumerate(archive.members.names)}
        for pair, training, look_alike in found:
            for side, name, source in (
                ("references", pair.training_name, training),
                ("queries", pair.query_name, look_alike),
            ):
                target = work / "images" / side / name
                content = archive.read(rows[source])
                # One that is there may be of another version of the chunk, which gave its folder another picture.
                if not target.is_file() or target.read_bytes() != content:
                    atomic.write_bytes(target, content)
    size = paths[0].stat().st_size
    run.tell(stage, size, size)
    return [pair for pair, _, _ in found], passed_over


def _in_order(members: Members) -> Iterator[str]:
    return (members.names[row] for row in members.in_stream_order())


_Found = tuple[Pair, str, str]


def _pairs_in(archive: str, names: Iterator[str], folders: int) -> tuple[list[_Found], tuple[str, ...]]:
    """Return pairs with the names of both members, and the folders passed over.

    A folder is complete when the next begins: the last one of a tar that is cut short may be missing an image.
    """
    found: list[_Found] = []
    passed_over: list[str] = []
    done: set[str] = set()
    for folder, members in _folders(names):
        if folder in done:
            raise DataError(f"{archive}: folder {escaped(folder)} appears twice", hint="fetch it again")
        done.add(folder)
        pair = _pair(folder, members)
        if pair is None:
            passed_over.append(folder)
        else:
            found.append(pair)
        if len(found) == folders:
            break
    return found, tuple(passed_over)


def _folders(names: Iterator[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield folder name and members of each run of members in one folder, but for the last, which may go on."""
    current: str | None = None
    members: list[str] = []
    for name in filter(safe.is_image, names):  # what else lies about, between the folders too, makes no folder
        folder = PurePosixPath(name).parent.name
        if folder != current:
            if current is not None:
                yield current, members
            current, members = folder, []
        members.append(name)


def _pair(folder: str, members: Sequence[str]) -> _Found | None:
    training = [name for name in members if TRAINING_ID.fullmatch(PurePosixPath(name).stem)]
    if len(members) != 2 or len(training) != 1 or not _FOLDER.fullmatch(folder):
        return None
    (look_alike,) = (name for name in members if name != training[0])
    return Pair(folder, PurePosixPath(training[0]).name, PurePosixPath(look_alike).name), training[0], look_alike


def _fetched_prefix(run: Run, work: Path, folders: int, stage: str) -> Path:
    """Return the beginning of the remote chunk aa, long enough for so many folders; grown step by step."""
    path = prefix_of(work)
    work.mkdir(parents=True, exist_ok=True)

    def grow(candidate: Candidate) -> None:
        reader = candidate.reader(run.stop)
        _drop_unless_usable(path, json.dumps({"size": reader.size, "etag": reader.etag}, sort_keys=True), folders)
        _grow(run, reader, path, folders, stage)

    from_first(first_chunk(), grow, policy=run.policy, links=run.links)
    return path


def _drop_unless_usable(path: Path, state: str, folders: int) -> None:
    """Remove the beginning that an earlier run left of another file, or damaged, as a power cut may leave it."""
    facts = path.with_suffix(".json")
    if not facts.is_file() or facts.read_text(encoding="utf-8") != state:
        path.unlink(missing_ok=True)
        atomic.write_text(facts, state)
    try:
        if path.is_file():
            _enough(path, folders)
    except DataError:
        path.unlink()


def _grow(run: Run, reader: RangeReader, path: Path, folders: int, stage: str) -> None:
    expected = folders * PAIR_BYTES
    while True:
        at = path.stat().st_size if path.is_file() else 0
        if at and _enough(path, folders):
            return
        if at >= reader.size:
            raise _too_few(reader.name, 0, folders)
        with os_errors(f"{path}: writing failed", hint="free disk space and run again"), path.open("ab") as file:
            for piece in reader.stream(at, _STEP):
                file.write(piece)
                at += len(piece)
                run.tell(stage, at, max(expected, at + 1))


def _enough(path: Path, folders: int) -> bool:
    with JoinedFile([path]) as joined:
        members = index_tar(joined)
        return len(_pairs_in(joined.name, _in_order(members), folders)[0]) >= folders


def _too_few(name: str, found: int, folders: int) -> DataError:
    return DataError(f"{name}: {found:,} folders with a pair, {folders:,} needed", hint="fetch the archive again")


def drop_prefix(folder: Path) -> None:
    """Remove the beginning of the chunk that was fetched into ``folder``."""
    for path in folder.glob(f"{prefix_of(folder).stem}*"):
        path.unlink()


def first_chunk() -> RemoteFile:
    """Return the file of the registry that begins the archive of pairs."""
    return next(file for file in remote_files() if file.name == "negative_pair.tar.aa")


def pairs_stage(folders: int) -> str:
    """Return what progress and plans call the pairs."""
    return f"first {folders:,} pairs of negative_pair.tar.aa"


def prefix_of(work: Path) -> Path:
    """Return where the beginning of the chunk grows."""
    return work / "negative_pair.begin.tar"
