"""Every image of a source decoded once, in parallel, with a journal so that a stopped run goes on where it was."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from threading import Event
from typing import TYPE_CHECKING

from ndec_bench.archives.safe import is_image
from ndec_bench.data.ground_truth import sha256_of_lines
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ndec_bench.data.images import ImageSource
    from ndec_bench.data.layouts import Holding
    from ndec_bench.progress import Progress

JOURNAL = ".ndec-bench.verified.jsonl"
_BLOCK = 1_000


def decode_all(
    source: ImageSource, root: Path, name: str, holding: Holding | None, *, jobs: int | None, progress: Progress
) -> dict[str, str]:
    """Return the images of ``source`` that do not decode, id to reason; every other one does.

    Blocks of 1,000 images that were decoded before, from the same files, are not decoded again: the journal under
    ``root`` lists them. A kill costs at most the block at work.

    Parameters
    ----------
    source
        Images.
    root
        Where the journal lies.
    name
        Name of the set, in the journal and for progress.
    holding
        The files it is read from: other ones, or changed ones, are decoded anew.
    jobs
        Threads; None for one per core.

    Raises
    ------
    DataError
        If the journal cannot be written.
    """
    identity = _identity(name, holding, source)
    done = _journal(root / JOURNAL, identity)
    failures = {image: reason for block in done.values() for image, reason in block.items()}
    ids = source.ids
    starts = range(0, len(ids), _BLOCK)
    stage = f"decoding {name}"
    progress(stage, sum(min(_BLOCK, len(ids) - at) for at in starts if at in done), len(ids))
    threads = jobs or os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        count = sum(min(_BLOCK, len(ids) - at) for at in starts if at in done)
        for at in (at for at in starts if at not in done):
            block = ids[at : at + _BLOCK]
            broken = _decode(source, [block[first::threads] for first in range(threads)], pool)
            _append(root / JOURNAL, identity, at, broken)
            failures |= broken
            count += len(block)
            progress(stage, count, len(ids))
    return dict(sorted(failures.items()))


def _decode(source: ImageSource, shares: Sequence[Sequence[str]], pool: ThreadPoolExecutor) -> dict[str, str]:
    """Return the images that do not decode with their reasons. Each thread has its share."""
    stop = Event()
    # One task per thread and not per image: an interrupt inside "submit" can leave a lock of the pool closed for ever.
    tasks = [pool.submit(_decode_share, source, share, stop) for share in shares]
    try:
        return {image: reason for task in tasks for image, reason in task.result().items()}
    finally:
        stop.set()


def _decode_share(source: ImageSource, share: Sequence[str], stop: Event) -> dict[str, str]:
    broken = {}
    for image in share:
        if stop.is_set():
            break
        try:
            source.read(image)
        except DataError as error:
            broken[image] = error.message
    return broken


def _identity(name: str, holding: Holding | None, source: ImageSource) -> str:
    """Return a digest that changes with the files that hold the images, and with their ids."""
    files = (line for path in holding.paths for line in _states(path)) if holding is not None else ()
    return sha256_of_lines(map(ascii, chain([name], source.ids, files)))  # names need not be text


def _states(path: Path) -> Iterator[str]:
    """Yield the state of the archive ``path``, or that of every image under the folder ``path``."""
    if not path.is_dir():
        yield _state(str(path))
    # A folder's own time tells of files that come and go, not of one that is written anew.
    for parent, folders, names in os.walk(path):
        folders.sort()
        yield from (_state(os.path.join(parent, name)) for name in sorted(names) if is_image(name))  # noqa: PTH118


def _state(path: str) -> str:
    try:
        state = os.stat(path)  # noqa: PTH116 -- of a million files
    except OSError:
        return f"{path} gone"
    return f"{path} {state.st_size} {state.st_mtime_ns}"


def _journal(path: Path, identity: str) -> dict[int, dict[str, str]]:
    """Return the blocks of this identity that are done, by their start; a torn last line is passed over."""
    done: dict[int, dict[str, str]] = {}
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return done
    for line in lines:
        try:
            entry = json.loads(line)
            if entry["of"] == identity and isinstance(entry["at"], int):
                done[entry["at"]] = {str(image): str(reason) for image, reason in entry["broken"].items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue
    return done


def _append(path: Path, identity: str, at: int, broken: dict[str, str]) -> None:
    line = json.dumps({"of": identity, "at": at, "broken": broken}, sort_keys=True)
    try:
        with path.open("a", encoding="utf-8") as file:
            # A line feed first: after a kill the last line may be torn.
            file.write(f"\n{line}\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})", hint="check the data root") from error
