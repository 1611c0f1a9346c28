"""Files fetched at the same time: each from the first source that has it, verified, recorded, moved to its place.

A run can be killed at any moment. What was received stays in ``NAME.part`` next to its place and the next run goes on
from there; a file that has its final name is whole and verified.
"""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from filelock import FileLock, Timeout

from ndec_bench.data.trust import FileRecord, read_trust, record, sha256_of
from ndec_bench.download.content import check_content
from ndec_bench.download.cost import Plan, Planned, disk_free, measured, part_of
from ndec_bench.download.exchange import DEFAULT_POLICY, Policy
from ndec_bench.download.part import discard, sidecar
from ndec_bench.download.sources import Candidate, from_first
from ndec_bench.errors import DataError, InterruptedRun, NdecBenchError, NetworkError, os_errors
from ndec_bench.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ndec_bench.data.registry import RemoteFile
    from ndec_bench.download.links import Links
    from ndec_bench.download.ranges import Fetched

LOCK_FILE = ".ndec-bench.running"
READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}
DISK_FLOOR = 1 << 28
"""A run stops when fewer bytes than these are free: a full disk takes other programs down with it."""
_LOOK_AT_DISK = 1 << 26


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes
    ----------
    file, path
        The file and its place.
    state
        ``fetched`` now, ``present`` before, or ``failed``.
    source
        Which source it came from; None if it failed.
    sha256, bytes
        Digest (hex) and size; None and 0 if it failed.
    notes
        Why other sources did not serve, one sentence each.
    error
        What made it fail.
    warning
        What is doubtful about it: too few images.
    """

    file: RemoteFile
    path: Path
    state: Literal["fetched", "present", "failed"]
    source: str | None = None
    sha256: str | None = None
    bytes: int = 0
    notes: tuple[str, ...] = ()
    error: NdecBenchError | None = None
    warning: str | None = None


@dataclass
class Run:
    """What all files of one download share.

    Attributes
    ----------
    root
        Data root.
    links
        Signed links of the user, if any.
    policy
        How long to try.
    progress
        Called with the bytes of each file, the file's name as stage; from several threads, one at a time.
    stop
        Set to end the run: every file stops where it is.
    """

    root: Path
    links: Links | None = None
    policy: Policy = DEFAULT_POLICY
    progress: Progress = silent
    stop: threading.Event = field(default_factory=threading.Event)
    _telling: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _looked: Counter[str] = field(default_factory=Counter, repr=False)

    def tell(self, stage: str, done: int, total: int) -> None:
        """Pass progress on, and look at the disk now and then. Raises DataError when it is nearly full."""
        with self._telling:
            self.progress(stage, done, total)
        if done - self._looked[stage] >= _LOOK_AT_DISK:
            self._looked[stage] = done
            _check_floor(self.root)


@contextmanager
def locked(root: Path, *, writes: bool = True) -> Iterator[None]:
    """Hold the data root against a second run; the lock goes with the process, however it ends.

    Without ``writes`` a root that cannot be written to is not held: nobody else writes there either.

    Raises
    ------
    DataError
        If another run holds it, or the root cannot be made or written to.
    """
    lock = FileLock(root / LOCK_FILE, timeout=0)
    with os_errors(f"{root}: cannot be written", hint="choose another folder with --root"):
        try:
            root.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise DataError(
                f"{root}: another download is at work there", hint="wait for it, or stop it and run this again"
            ) from error
        except OSError as error:
            if writes or error.errno not in READ_ONLY:
                raise
    try:
        yield
    finally:
        lock.release()


def download(plan: Plan, run: Run, *, jobs: int = 4) -> tuple[Outcome, ...]:
    """Return what became of each file of ``plan``, in its order, after up to ``jobs`` at a time were fetched.

    A file at its place is read once if it is not on record, and its digest recorded. A file that fails does not stop
    the others. The caller holds the lock (`locked`).

    Raises
    ------
    DataError
        If the disk is too small or fills up; the files begun are kept.
    InterruptedRun
        If ``run.stop`` is set or the user interrupts; the files begun are kept.
    """
    _check_space(plan, run)
    outcomes: dict[str, Outcome] = {}
    work = {planned.path: planned for planned in plan.files if planned.held is None}
    with ThreadPoolExecutor(max_workers=max(jobs, 1), thread_name_prefix="download") as pool:
        tasks = {pool.submit(_one, planned, run): planned for planned in work.values()}
        try:
            _gather(tasks, outcomes, run)
        except BaseException:
            run.stop.set()
            for task in tasks:
                task.cancel()
            raise
    return tuple(outcomes[str(planned.path)] for planned in work.values())


def failures(outcomes: tuple[Outcome, ...], *, truth: bool) -> tuple[Outcome, ...]:
    """Return the outcomes that make a run fail.

    A file marked optional may fail, and so may one of the two from which NDEC's ground truth can be had, if it was had
    from the other (``truth``).
    """
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    truths = [outcome for outcome in outcomes if outcome.file.ground_truth in {"ndec", "disc21-dev"}]
    spare = truth and len(truths) == 2
    return tuple(o for o in failed if not o.file.optional and not (spare and o in truths))


def _check_space(plan: Plan, run: Run) -> None:
    """Raise DataError if the files do not fit, by true sizes where estimates do not.

    These come from one source and say nothing about the file of another: no file is held against them.
    """
    if not plan.fits and not plan.bytes_exact:
        plan = measured(plan, links=run.links, policy=run.policy, stop=run.stop)
    if not plan.fits:
        about = "" if plan.bytes_exact else "about "
        raise DataError(
            f"{plan.root}: {about}{plan.bytes_left:,} bytes are to be fetched and 1 GiB to be left, "
            f"{plan.disk_free:,} are free",
            hint="choose another disk with --root, or name only the parts you need",
        )


def _gather(tasks: dict[Future[Outcome], Planned], outcomes: dict[str, Outcome], run: Run) -> None:
    waiting = set(tasks)
    while waiting:
        # A wait without an end would keep Ctrl-C from the main thread on Windows.
        done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
        for task in done:
            # One that stopped tells how far it came; the run as a whole has one message, below.
            with suppress(InterruptedRun):
                outcomes[str(tasks[task].path)] = task.result()
        if run.stop.is_set():
            raise InterruptedRun("download stopped; what was received is kept", hint="run the same command to go on")


def _one(planned: Planned, run: Run) -> Outcome:
    try:
        return _present(planned, run) if planned.state == "present" else _fetched(planned, run)
    except (NetworkError, _UnfitError) as error:
        return Outcome(planned.file, planned.path, "failed", error=error)


class _UnfitError(DataError):
    """A file whose content is refused: it fails alone, where a full disk ends the run."""


def _present(planned: Planned, run: Run) -> Outcome:
    """Return the outcome of a file at its place: taken as recorded, or read and compared if time or size differ."""
    known = read_trust(run.root).files.get(_key(planned.file))
    if known is not None and known.describes(planned.path):
        return Outcome(planned.file, planned.path, "present", known.source, known.sha256, known.bytes)
    digest = sha256_of(planned.path, run.tell, f"{planned.file.name}: reading", run.stop)
    size = planned.path.stat().st_size
    try:
        doubt = _check(planned, planned.path, size, digest, known, run)
    except _UnfitError:
        if known is None and planned.path.is_symlink():
            planned.path.unlink()  # what was linked and never taken must not keep the right file out
        raise
    source = known.source if known else "local"
    notes: tuple[str, ...] = ()
    try:
        _record(planned, run.root, size, digest, source, known.etag if known else None)
    except DataError as error:  # on a disk that is only read; the file is read again next time
        if getattr(error.__cause__, "errno", None) not in READ_ONLY:
            raise
        notes = (f"its digest is not recorded: {error.message}",)
    return Outcome(planned.file, planned.path, "present", source, digest, size, notes, warning=doubt)


def _fetched(planned: Planned, run: Run) -> Outcome:
    file, part = planned.file, part_of(planned.path)
    known = read_trust(run.root).files.get(_key(file))
    planned.path.parent.mkdir(parents=True, exist_ok=True)

    def advance(done: int, total: int | None) -> None:
        run.tell(file.name, done, max(total or file.bytes, done))

    def verified(candidate: Candidate) -> tuple[Fetched, str | None]:
        fetched = candidate.fetch(part, advance, run.stop)
        return fetched, _check(planned, part, fetched.bytes, fetched.sha256, known, run)

    (fetched, doubt), candidate, reasons = from_first(
        file, verified, policy=run.policy, links=run.links, passed_over=(NetworkError, _UnfitError)
    )
    move_to_place(part, planned.path)
    source = candidate.label
    _record(planned, run.root, fetched.bytes, fetched.sha256, source, fetched.etag)
    notes = (*reasons, *fetched.notes)
    return Outcome(file, planned.path, "fetched", source, fetched.sha256, fetched.bytes, notes, warning=doubt)


def _check(planned: Planned, path: Path, size: int, digest: str, known: FileRecord | None, run: Run) -> str | None:
    """Return what is doubtful about the file ``path``. Raises _UnfitError if it is not what registry or record say."""
    file = planned.file
    again = "fetch it again" if path != planned.path else f"remove {path} and run again: it is fetched then"
    if file.sha256 is not None and digest != file.sha256:
        raise _unfit(path, f"{file.name}: SHA-256 {digest}, published {file.sha256}", again)
    if file.bytes_exact and size != file.bytes:
        raise _unfit(path, f"{file.name}: {size:,} bytes, published {file.bytes:,}", again)
    if known is not None and digest != known.sha256:
        right = "see docs/data.md; to take the new file as the right one, remove its entry from ndec-bench.lock.json"
        found = f"{file.name}: SHA-256 {digest}, but {known.sha256} when first verified ({known.source})"
        raise _unfit(path, found, right if path != planned.path else f"{again}; {right}")

    def read(stage: str, done: int, total: int) -> None:
        if run.stop.is_set():
            raise InterruptedRun(f"{file.name}: stopped while it was checked", hint="run again to go on")
        run.tell(stage, done, total)

    try:
        return check_content(file, path, read=read if file.sha256 is None and known is None else None)
    except DataError as error:
        # The unfinished file will be gone when this is read.
        hint = error.hint if path != planned.path else again
        raise _unfit(path, error.message.replace(str(path), file.name), hint) from error


def _unfit(path: Path, message: str, hint: str | None) -> _UnfitError:
    # A part that is not what it should be must not be gone on with; a file at its place is the user's.
    if path.name.endswith(".part"):
        discard(path)
    return _UnfitError(message, hint=hint)


def move_to_place(part: Path, path: Path) -> None:
    """Give the whole and verified file ``part`` its name, on the disk itself. Raises DataError."""
    with os_errors(f"{path}: cannot be moved to its place", hint="check the folder"):
        part.replace(path)
        sidecar(part).unlink(missing_ok=True)
        if os.name != "nt":  # where folders cannot be opened
            handle = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _record(planned: Planned, root: Path, size: int, digest: str, source: str, etag: str | None) -> None:
    changed = planned.path.stat().st_mtime_ns
    entry = FileRecord(bytes=size, sha256=digest, source=source, etag=etag, mtime_ns=changed)
    record(root, _key(planned.file), entry)


def _key(file: RemoteFile) -> str:
    return f"{file.dataset}/{file.name}"


def _check_floor(root: Path) -> None:
    free = disk_free(root)
    if free < DISK_FLOOR:
        raise DataError(
            f"{root}: the disk is nearly full ({free:,} bytes free); what was received is kept",
            hint="free space and run the same command to go on",
        )
