"""Images of a source decoded once, in parallel, in parts (`ndec_bench.resume`): a stopped run goes on where it was."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from threading import Event
from typing import TYPE_CHECKING

from ndec_bench.archives.safe import is_image
from ndec_bench.data.ground_truth import sha256_of_lines
from ndec_bench.data.images import files_under
from ndec_bench.errors import DataError
from ndec_bench.resume import keyed, parts_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ndec_bench.data.images import ImageSource
    from ndec_bench.data.layouts import Holding
    from ndec_bench.progress import Progress

FOLDER = ".ndec-bench.verified"
_BLOCK = 1_000


def decode_all(
    source: ImageSource, root: Path, name: str, holding: Holding | None, *, jobs: int | None, progress: Progress
) -> dict[str, str]:
    """Return the images of ``source`` that do not decode, id to reason; every other one does.

    Blocks of 1,000 images that were decoded before, from the same files, are not decoded again. A kill costs at most
    the block at work.

    Parameters
    ----------
    source
        Images.
    root
        Under which it is kept what was decoded, in `FOLDER`.
    name
        Name of the set, for progress.
    holding
        The files it is read from: other ones, or changed ones, are decoded again.
    jobs
        Threads; None for one per core.

    Raises
    ------
    DataError
        If the folder cannot be written, or another process decodes the same set there.
    """
    recipe = {"set": name, "images_and_files_sha256": _identity(holding, source)}
    ids, stage, threads = source.ids, f"decoding {name}", jobs or os.cpu_count() or 1
    with parts_in(keyed(root / FOLDER, recipe), recipe) as parts, ThreadPoolExecutor(threads) as pool:
        blocks = {f"{at:08d}.json": ids[at : at + _BLOCK] for at in range(0, len(ids), _BLOCK)}
        count = sum(len(block) for part, block in blocks.items() if parts.has(part))
        progress(stage, count, len(ids))
        for part, block in blocks.items():
            if parts.has(part):
                continue
            broken = _decode(source, [block[first::threads] for first in range(threads)], pool)
            with parts.adding(part) as path:
                path.write_text(json.dumps(broken, sort_keys=True), encoding="utf-8")
            count += len(block)
            progress(stage, count, len(ids))
        failures = chain.from_iterable(json.loads(parts.path(part).read_bytes()).items() for part in parts)
        return dict(sorted(failures))


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


def _identity(holding: Holding | None, source: ImageSource) -> str:
    """Return a digest that changes with the files that hold the images, and with their ids."""
    files = (line for path in holding.paths for line in _states(path)) if holding is not None else ()
    return sha256_of_lines(map(ascii, chain(source.ids, files)))  # names need not be text


def _states(path: Path) -> Iterator[str]:
    """Yield the state of the archive ``path``, or that of every image under the folder ``path``."""
    if not path.is_dir():
        yield _state(str(path))
        return
    # A folder's own time tells of files that come and go, not of one that is written again.
    yield from (_state(f"{path}/{name}") for name in files_under(path) if is_image(name))


def _state(path: str) -> str:
    try:
        state = os.stat(path)  # noqa: PTH116 -- of a million files
    except OSError:
        return f"{path} gone"
    return f"{path} {state.st_size} {state.st_mtime_ns}"
