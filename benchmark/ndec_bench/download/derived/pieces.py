"""Single pictures out of the archives of DISC21: from those that are here, else out of the remote zips by Range."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ndec_bench import atomic
from ndec_bench.archives.archive import read_members
from ndec_bench.archives.zip_index import index_zip
from ndec_bench.data import layouts
from ndec_bench.data.images import ArchiveSource
from ndec_bench.data.registry import pictures, remote_files
from ndec_bench.download.sources import from_first
from ndec_bench.errors import DataError, InterruptedRun, NetworkError
from ndec_bench.printable import escaped

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ndec_bench.data.registry import RemoteFile
    from ndec_bench.download.jobs import Run
    from ndec_bench.download.sources import Candidate

MEAN_BYTES = 167_000
"""Of one picture: 350 GB for 2,100,000 of them."""

DIRECTORY_BYTES = 4_500_000
"""Of the directory of one archive with 50,000 members, at 90 bytes each."""

_PER_SHARD = 50_000
_SUFFIX = ".jpg"


@dataclass
class Pictures:
    """Pictures taken into a folder by several threads: how many bytes came, and where from.

    Attributes
    ----------
    folder
        Holds one file per picture, named by its id.
    images
        How many are wanted.
    done, count
        Bytes and pictures that are there.
    sources
        Labels of the sources that served.
    notes
        Why others did not, and what is wrong with a picture.
    """

    run: Run
    stage: str
    folder: Path
    images: int
    done: int = 0
    count: int = 0
    sources: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, size: int) -> None:
        """Count a picture of ``size`` bytes, and report it."""
        with self._lock:
            self.done += size
            self.count += 1
            # The true sizes are known one by one: the rest is taken for as large as those so far.
            total = self.done * self.images // self.count
            done = self.done
        self.run.tell(self.stage, min(done, max(total - 1, 0)), total)

    def write(self, found: Iterable[tuple[str, bytes]]) -> None:
        """Write pictures by their ids, each compared with its published digest."""
        for each, content in found:
            if self.run.stop.is_set():
                raise InterruptedRun(
                    "stopped; pictures that are written are kept", hint="run the same command to go on"
                )
            expected = pictures().get(each)
            digest = hashlib.sha256(content).hexdigest() if expected else None
            if digest != expected:
                self.notes.append(
                    f"WARNING: picture {each} has SHA-256 {digest}, published is {expected}: not the files of DISC21?"
                )
            atomic.write_bytes(self.path(each), content)
            self.add(len(content))

    def path(self, each: str) -> Path:
        """Return where the picture of that id lies."""
        return self.folder / f"{each}{_SUFFIX}"


def take(run: Run, part: str, ids: Iterable[str], folder: Path, *, jobs: int, stage: str) -> Pictures:
    """Return the pictures ``ids`` of DISC21's ``part``, each verified and written to ``folder``.

    Pictures that are in ``folder`` already are not fetched again.

    Parameters
    ----------
    run
        The run they belong to; its progress counts bytes.
    part
        ``references`` or ``dev-queries``.
    ids
        Ids of that part.
    jobs
        Archives read at a time.
    stage
        What progress calls it.

    Raises
    ------
    DataError
        If a picture is missing in an archive, or a local archive is damaged. A picture with another digest than the
        published one is noted.
    NetworkError
        If no source of an archive serves.
    InterruptedRun
        If the run is stopped; pictures that are written are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = sorted(set(ids))
    taken = Pictures(run, stage, folder, len(wanted))
    here = {path.stem: path.stat().st_size for path in folder.glob(f"*{_SUFFIX}")}
    for each in wanted:
        if each in here:
            taken.add(here[each])
    missing = [each for each in wanted if each not in here]
    holding = layouts.find(run.root, "disc21", part)
    if holding is not None and holding.kind == "folder":
        held = layouts.open_set(run.root, "disc21", part)
        # A folder may hold some shards only, as Kaggle's copy does: the others come from where they are.
        here_too = set(held.ids).intersection(missing)
        taken.write((each, held.read_bytes(each)) for each in sorted(here_too))
        missing = [each for each in missing if each not in here_too]
        if here_too:
            taken.sources.add("local folder")
    _from_archives(taken, _by_shard(part, missing), jobs)
    run.tell(stage, taken.done, taken.done)
    return taken


def all_here(root: Path, part: str) -> Path | None:
    """Return the first archive of DISC21's ``part`` if all are under ``root``, so that nothing is fetched; else None.

    Of unpacked images only their list tells whether they are complete, and no plan reads it.
    """
    holding = layouts.find(root, "disc21", part)
    whole = holding is not None and holding.kind == "archives" and not holding.missing
    return holding.paths[0] if holding is not None and whole else None


def _by_shard(part: str, ids: Sequence[str]) -> dict[RemoteFile, list[str]]:
    """Return the archives of ``part`` that hold ``ids``, each with its own: 50,000 to an archive, by number."""
    shards = [file for file in remote_files() if (file.dataset, file.part) == ("disc21", part)]
    found: dict[RemoteFile, list[str]] = {}
    for each in ids:
        found.setdefault(shards[int(each[1:]) // _PER_SHARD % len(shards)], []).append(each)
    return found


def _from_archives(taken: Pictures, shards: Mapping[RemoteFile, Sequence[str]], jobs: int) -> None:
    with ThreadPoolExecutor(max_workers=max(jobs, 1), thread_name_prefix="pieces") as pool:
        tasks = [pool.submit(_from_archive, taken, file, ids) for file, ids in shards.items()]
        try:
            for task in tasks:
                task.result()
        except BaseException:
            taken.run.stop.set()
            for task in tasks:
                task.cancel()
            raise


def _from_archive(taken: Pictures, file: RemoteFile, ids: Sequence[str]) -> None:
    run, path = taken.run, file.path(taken.run.root)
    if path.is_file():
        source = ArchiveSource([path])
        try:
            _refuse_hole(file, ids, source.ids)
            taken.write((each, source.read_bytes(each)) for each in ids)
        finally:
            source.close()
        taken.sources.add("local archive")
        return

    def write(candidate: Candidate) -> None:
        left = [each for each in ids if not taken.path(each).is_file()]
        taken.write(_remote(file, candidate, left, run))

    _, candidate, reasons = from_first(file, write, policy=run.policy, links=run.links)
    taken.sources.add(candidate.label)
    taken.notes += [f"{file.name}: {reason}" for reason in reasons]


def _remote(file: RemoteFile, candidate: Candidate, ids: Sequence[str], run: Run) -> Iterator[tuple[str, bytes]]:
    """Yield pictures of a remote zip by their ids."""
    reader = candidate.reader(run.stop)
    with _next_source():
        members = index_zip(reader)
    rows: dict[str, int] = {}
    for row in members.images():
        twice = rows.setdefault(PurePosixPath(members.names[row]).stem, row)
        if twice != row:
            raise DataError(
                f"{file.name}: {escaped(members.names[twice])} and {escaped(members.names[row])} have the same id",
                hint="the archive is not the published one: report it",
            )
    _refuse_hole(file, ids, rows)
    with _next_source():
        for row, content in read_members(reader, members, [rows[each] for each in ids]):
            yield PurePosixPath(members.names[row]).stem, content


@contextmanager
def _next_source() -> Iterator[None]:
    """Turn the error of a zip that cannot be read into one after which the next source is asked."""
    try:
        yield
    except DataError as error:
        raise NetworkError(error.message, hint="use another source, or download the whole archive") from error


def _refuse_hole(file: RemoteFile, ids: Iterable[str], there: Iterable[str]) -> None:
    missing = sorted(set(ids).difference(there))
    if missing:
        raise DataError(
            f"{file.name}: picture {missing[0]} is not in it", hint="the archive is not the published one: report it"
        )
