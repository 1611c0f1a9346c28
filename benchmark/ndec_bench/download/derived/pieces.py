"""Single pictures out of the archives of DISC21: from those that are here, else out of the remote zips by Range."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from ndec_bench import atomic
from ndec_bench.archives import safe
from ndec_bench.data import layouts
from ndec_bench.data.images import ArchiveSource
from ndec_bench.data.registry import pictures, remote_files
from ndec_bench.download.remote_zip import open_remote_zip
from ndec_bench.download.session import new_session
from ndec_bench.download.sources import candidates
from ndec_bench.errors import DataError, InterruptedRun, NetworkError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import requests

    from ndec_bench.data.images import ImageSource
    from ndec_bench.data.registry import RemoteFile
    from ndec_bench.download.jobs import Run
    from ndec_bench.download.remote_zip import RemoteMember
    from ndec_bench.download.sources import Candidate

MEAN_BYTES = 167_000
"""Of one picture: 350 GB for 2,100,000 of them."""

DIRECTORY_BYTES = 4_500_000
"""Of the directory of one archive with 50,000 members, at 90 bytes each."""

_PER_SHARD = 50_000
_SUFFIX = ".jpg"


@dataclass
class Taken:
    """Pictures in a folder, and where they came from.

    Attributes
    ----------
    folder
        Holds one file per picture, named by its id.
    sources
        Labels of the sources that served, sorted.
    notes
        Why others did not.
    """

    folder: Path
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def take(run: Run, part: str, ids: Iterable[str], folder: Path, *, jobs: int, stage: str) -> Taken:
    """Return what was taken: the pictures ``ids`` of DISC21's ``part``, each verified and written to ``folder``.

    Pictures that are in ``folder`` already are not fetched again.

    Parameters
    ----------
    run
        The run they belong to; its progress is told bytes.
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
        If an archive lacks a picture or is damaged. A picture with another digest than the published one is noted.
    NetworkError
        If no source of an archive serves.
    InterruptedRun
        If the run is stopped; pictures that are written are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = sorted(set(ids))
    tally = _Tally(run, stage, len(wanted))
    here = {path.stem: path.stat().st_size for path in folder.glob(f"*{_SUFFIX}")}
    for each in wanted:
        if each in here:
            tally.add(here[each])
    missing = [each for each in wanted if each not in here]
    held = _held(run, part)
    if held is not None:
        # A folder may hold some shards only, as Kaggle's copy does: the others come from where they are.
        here_too = set(held.ids).intersection(missing)
        _write_all(((each, held.read_bytes(each)) for each in sorted(here_too)), folder, tally)
        missing = [each for each in missing if each not in here_too]
        if here_too:
            tally.used("local folder")
    _from_archives(run, _by_shard(part, missing), folder, tally, jobs)
    tally.finish()
    return Taken(folder, tuple(sorted(tally.sources)), tuple(tally.notes))


def all_here(root: Path, part: str) -> Path | None:
    """Return the first archive of DISC21's ``part`` if all are under ``root``, so that nothing is fetched; else None.

    Of unpacked images only their list tells whether they are complete, and no plan reads it.
    """
    holding = layouts.find(root, "disc21", part)
    whole = holding is not None and holding.kind == "archives" and not holding.missing
    return holding.paths[0] if holding is not None and whole else None


@dataclass
class _Tally:
    """Counts what came, over all archives."""

    run: Run
    stage: str
    images: int
    done: int = 0
    count: int = 0
    sources: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, size: int) -> None:
        with self._lock:
            self.done += size
            self.count += 1
            # The true sizes are known one by one: the rest is taken for as large as those so far.
            total = self.done * self.images // self.count
            done = self.done
        self.run.tell(self.stage, min(done, max(total - 1, 0)), total)

    def used(self, label: str) -> None:
        with self._lock:
            self.sources.add(label)

    def note(self, text: str) -> None:
        with self._lock:
            self.notes.append(text)

    def finish(self) -> None:
        self.run.tell(self.stage, self.done, self.done)


def _held(run: Run, part: str) -> ImageSource | None:
    holding = layouts.find(run.root, "disc21", part)
    return layouts.open_set(run.root, "disc21", part) if holding is not None and holding.kind == "folder" else None


def _by_shard(part: str, ids: Sequence[str]) -> dict[RemoteFile, list[str]]:
    """Return the archives of ``part`` that hold ``ids``, each with its own: 50,000 to an archive, by number."""
    shards = [file for file in remote_files() if (file.dataset, file.part) == ("disc21", part)]
    found: dict[RemoteFile, list[str]] = {}
    for each in ids:
        found.setdefault(shards[int(each[1:]) // _PER_SHARD % len(shards)], []).append(each)
    return found


def _from_archives(
    run: Run, shards: Mapping[RemoteFile, Sequence[str]], folder: Path, tally: _Tally, jobs: int
) -> None:
    with ThreadPoolExecutor(max_workers=max(jobs, 1), thread_name_prefix="pieces") as pool:
        tasks = [pool.submit(_from_archive, run, file, ids, folder, tally) for file, ids in shards.items()]
        try:
            for task in tasks:
                task.result()
        except BaseException:
            run.stop.set()
            for task in tasks:
                task.cancel()
            raise


def _from_archive(run: Run, file: RemoteFile, ids: Sequence[str], folder: Path, tally: _Tally) -> None:
    path = file.path(run.root)
    if path.is_file():
        source = ArchiveSource([path])
        try:
            holes = sorted(set(ids).difference(source.ids))
            if holes:
                raise _hole(file, holes[0])
            _write_all(((each, source.read_bytes(each)) for each in ids), folder, tally)
        finally:
            source.close()
        tally.used("local archive")
        return
    reasons: list[str] = []
    with new_session() as session:
        for candidate in candidates(file, session=session, policy=run.policy, links=run.links):
            left = [each for each in ids if not (folder / f"{each}{_SUFFIX}").is_file()]
            try:
                _write_all(_remote(run, file, candidate, session, left), folder, tally)
            except NetworkError as error:
                reasons.append(f"{candidate.label}: {error.message}")
                continue
            tally.used(candidate.label)
            for reason in reasons:
                tally.note(f"{file.name}: {reason}")
            return
    raise NetworkError(
        f"{file.name}: no source gives single pictures of it ({'; '.join(reasons) or 'none is known'})",
        hint='run again, or fetch whole archives with "ndec-bench download"',
    )


def _remote(
    run: Run, file: RemoteFile, candidate: Candidate, session: requests.Session, ids: Sequence[str]
) -> Iterator[tuple[str, bytes]]:
    if candidate.resolve is None:
        raise NetworkError(f"{file.name}: {candidate.label} gives whole files only")
    archive = open_remote_zip(candidate.resolve, session=session, policy=run.policy, stop=run.stop, name=file.name)
    members: dict[str, RemoteMember] = {}
    for member in filter(_is_picture, archive.members):
        twice = members.setdefault(PurePosixPath(member.name).stem, member)
        if twice is not member:
            raise DataError(
                f"{file.name}: {twice.name[:200]!r} and {member.name[:200]!r} have the same id",
                hint="the archive is not the published one: report it",
            )
    wanted: list[RemoteMember] = []
    for each in ids:
        if each not in members:
            raise _hole(file, each)
        wanted.append(members[each])
    for member, content in archive.read_members(wanted):
        yield PurePosixPath(member.name).stem, content


def _is_picture(member: RemoteMember) -> bool:
    return bool(safe.is_image(member.name))


def _check_stop(run: Run) -> None:
    if run.stop.is_set():
        raise InterruptedRun("stopped; pictures that are written are kept", hint="run the same command to go on")


def _write_all(found: Iterable[tuple[str, bytes]], folder: Path, tally: _Tally) -> None:
    for each, content in found:
        _check_stop(tally.run)
        expected = pictures().get(each)
        digest = hashlib.sha256(content).hexdigest() if expected else None
        if digest != expected:
            tally.note(
                f"WARNING: picture {each} has SHA-256 {digest}, published is {expected}: not the files of DISC21?"
            )
        atomic.write_bytes(folder / f"{each}{_SUFFIX}", content)
        tally.add(len(content))


def _hole(file: RemoteFile, each: str) -> DataError:
    return DataError(
        f"{file.name}: picture {each} is not in it", hint="the archive is not the published one: report it"
    )
