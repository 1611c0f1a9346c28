"""Long work cut into parts that outlive the process which made them.

::

    FOLDER/
      manifest.json   the recipe; of each finished part its name, the digest of its inputs, and its SHA-256
      part-NAME       a finished part
      lock            held while a process is at work

The process may be killed at any moment, and the machine may lose its power. A part counts once the manifest lists it
and its file has that digest; everything else in our names is removed at the next start. The manifest says all there
is to know: whoever knows the names of the parts can check whether work is complete, and move or join the parts.

The *recipe* holds every choice that decides about the content, as text by name. Parts of the same recipe are taken up.
Parts of another one are never mixed in and never thrown away: the work is refused, and the refusal says what differs.
Where each recipe shall have parts of its own, side by side, `keyed` gives each a folder.

Example::

    with parts_in(out.with_name(out.name + ".partial"), {"method": "lengths", "ids_sha256": digest(ids)}) as parts:
        for start in range(0, len(ids), 100):
            name = f"{start:06d}.json"
            if not parts.has(name):
                with parts.adding(name) as path:
                    path.write_text(json.dumps([len(read(each)) for each in ids[start : start + 100]]))
        write(out, [parts.path(name) for name in parts])
        parts.discard()
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from filelock import FileLock, Timeout

from ndec_bench import atomic
from ndec_bench.errors import DataError, UsageError, os_errors, reason
from ndec_bench.progress import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ndec_bench.progress import Progress

Unit = TypeVar("Unit")
Outcome = TypeVar("Outcome")

MANIFEST, LOCK, PREFIX = "manifest.json", "lock", "part-"
FORMAT = "ndec-parts-1"
_TRIES = 10


class Part(NamedTuple):
    """What the manifest says about a part.

    Attributes
    ----------
    inputs
        Digest of what it was made from; empty where the recipe says it all.
    sha256
        SHA-256 (hex) of its file.
    """

    inputs: str
    sha256: str


class Parts:
    """The finished parts of some work; made by `parts_in`. Iteration gives their names, sorted.

    Attributes
    ----------
    folder
        Where they lie.
    recipe
        What decides about their content.
    note
        What became of an earlier run where not all of it could be used, for people; else empty.
    """

    def __init__(self, folder: Path, recipe: Mapping[str, str]) -> None:
        self.folder, self.recipe, self.note = folder, {"format": FORMAT, **recipe}, ""
        self._finished: dict[str, Part] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._finished))

    def __len__(self) -> int:
        return len(self._finished)

    def has(self, name: str, inputs: str = "") -> bool:
        """Return whether that part is finished and was made from these inputs."""
        return name in self._finished and self._finished[name].inputs == inputs

    def inputs(self, name: str) -> str:
        """Return the digest of the inputs of a finished part."""
        return self._finished[name].inputs

    def path(self, name: str) -> Path:
        """Return where the file of a part lies."""
        return self.folder / f"{PREFIX}{name}"

    @contextmanager
    def adding(self, name: str, inputs: str = "", *, size: int = 0) -> Iterator[Path]:
        """Yield a path to write the part to; it is finished when the block succeeds, in place of one of that name.

        ``size`` is as for `atomic.replacing`. Raises DataError if the disk is full or fails.
        """
        with atomic.replacing(self.path(name), size=size) as temporary:
            yield temporary
            part = Part(inputs, _sha256(temporary))
        self._record({**self._finished, name: part})

    def drop(self, *names: str) -> None:
        """Forget these parts and remove their files. Raises DataError if the disk fails."""
        self._record({name: part for name, part in self._finished.items() if name not in names})
        with os_errors(f"{self.folder}: cannot be written"):
            for name in names:
                self.path(name).unlink(missing_ok=True)

    def discard(self) -> None:
        """Drop all parts: what they were for is in its place."""
        self.drop(*self._finished)

    def take_up(self, progress: Progress = silent) -> None:
        """Take up the sound parts of an earlier run, remove its left-overs. Raises UsageError for another recipe."""
        manifest = self.folder / MANIFEST
        recipe, recorded = _read(manifest)
        if recorded:
            check_same(
                f"{self.folder} holds {len(recorded):,} finished parts of another run",
                recipe,
                self.recipe,
                hint="run the former command again, or remove that folder to begin again",
            )
        elif not recipe and manifest.exists():
            self.note = f"{self.folder} holds nothing that could be used: beginning again"
        sound = {}
        for count, (name, part) in enumerate(recorded.items(), start=1):
            with suppress(OSError):
                if _sha256(self.path(name)) == part.sha256:
                    sound[name] = part
            progress("checking finished parts", count, len(recorded))
        if len(sound) < len(recorded):
            lost = len(recorded) - len(sound)
            self.note = f"{lost:,} of {len(recorded):,} finished parts in {self.folder} are damaged: made again"
        if (recipe, recorded) == (self.recipe, sound):
            self._finished = sound
        else:
            self._record(sound)
        kept = set(map(self.path, sound))
        with os_errors(f"{self.folder}: cannot be written"):
            for found in (*self.folder.glob(".*.part"), *self.folder.glob(f"{PREFIX}*")):
                if found not in kept:
                    found.unlink(missing_ok=True)

    def _record(self, finished: dict[str, Part]) -> None:
        content = {"recipe": self.recipe, "parts": {name: finished[name]._asdict() for name in sorted(finished)}}
        atomic.write_text(self.folder / MANIFEST, json.dumps(content, indent=1) + "\n")
        self._finished = finished


@contextmanager
def parts_in(folder: Path, recipe: Mapping[str, str], *, progress: Progress = silent) -> Iterator[Parts]:
    """Yield the parts that earlier runs of the same recipe finished in ``folder``, ready for more.

    Whoever enters is alone there. A folder without finished parts is begun again, and removed at the end if there are
    still none; other people's files in it stay.

    Parameters
    ----------
    recipe
        What decides about the content, by name.
    progress
        Called as ``progress("checking finished parts", done, total)``.

    Raises
    ------
    UsageError
        If finished parts of another recipe are there.
    DataError
        If another process is at work there, or the folder cannot be written.
    """
    with _alone(folder):
        parts = Parts(folder, recipe)
        parts.take_up(progress)
        try:
            yield parts
        finally:
            if not parts:
                for name in (MANIFEST, LOCK):
                    with suppress(OSError):
                        (folder / name).unlink()
                with suppress(OSError):
                    folder.rmdir()


def keyed(parent: Path, recipe: Mapping[str, str]) -> Path:
    """Return the folder under ``parent`` for work of this recipe: another recipe has another one."""
    return parent / digest(dict(recipe))[:16]


def digest(value: object) -> str:
    """Return the SHA-256 (hex) of ``value`` as JSON: text, numbers, lists, and dicts in any order."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def check_same(what: str, found: Mapping[str, Any], wanted: Mapping[str, Any], *, hint: str) -> None:
    """Raise UsageError unless both recipes are the same; the message opens with ``what`` and names a difference."""
    differing = [key for key in sorted(found.keys() | wanted.keys()) if found.get(key) != wanted.get(key)]
    if differing:
        key = min(differing, key=lambda key: key.endswith("sha256"))  # a digest says least
        was, now = (_short(recipe.get(key)) for recipe in (found, wanted))
        raise UsageError(f"{what}: {key.replace('_', ' ')} was {was}, now it is {now}", hint=hint)


def spread(
    work: Callable[[Unit], Outcome],
    units: Sequence[Unit],
    jobs: int,
    *,
    prepare: Callable[..., None] | None = None,
    given: tuple[Any, ...] = (),
) -> Iterator[tuple[Unit, Outcome]]:
    """Yield each unit with ``work(unit)`` as they are done, in up to ``jobs`` processes; alone they come in order.

    Each process calls ``prepare(*given)`` first. ``work`` and ``prepare`` are functions of a module, not nested ones.

    Raises
    ------
    DataError
        If a process ends early.
    """
    if jobs <= 1 or len(units) < 2:
        if prepare is not None:
            prepare(*given)
        for unit in units:
            yield unit, work(unit)
        return
    # Spawned, not forked: forking a process with running threads can hang, and Windows cannot fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(jobs, len(units)), context, _start, (prepare, given))
    try:
        tasks = {pool.submit(work, unit): unit for unit in units}
        for task in as_completed(tasks):
            yield tasks[task], task.result()
    except BrokenProcessPool as error:
        raise DataError(
            "a worker process ended early (out of memory, or a script without a __main__ guard)",
            hint="run again; with one job it needs no worker process",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start(prepare: Callable[..., None] | None, given: tuple[Any, ...]) -> None:
    # Ctrl-C reaches every process of the terminal; the parent alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if prepare is not None:
        prepare(*given)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        for tries_left in reversed(range(_TRIES)):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
                break
            except FileNotFoundError:  # whoever was just ready removed the folder in between
                if not tries_left:
                    raise
    except Timeout as error:
        raise DataError(
            f"{folder}: another process is at work there", hint="wait for it, stop it, or write to another place"
        ) from error
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be written ({reason(error)})", hint="choose another folder or free its disk"
        ) from error
    try:
        yield
    finally:
        lock.release()
        with suppress(OSError):  # Windows removes the lock, and with it the last of a discarded folder, only now
            folder.rmdir()


def _read(manifest: Path) -> tuple[dict[str, str], dict[str, Part]]:
    """Return recipe and parts; both are empty where the file is missing or cannot be read."""
    try:
        found = json.loads(manifest.read_bytes())
        return dict(found["recipe"]), {name: Part(**part) for name, part in found["parts"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}, {}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(value: object) -> str:
    if value is None:
        return "not given"
    text = str(value)
    return repr(text if len(text) <= 60 else f"{text[:57]}...")
