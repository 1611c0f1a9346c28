"""What is to be known of all queries before they are cut: their size, and the parts that selective search finds.

Selective search takes a second or so for each picture and holds the interpreter, so it runs in processes of its own.
What is finished stays in JSON files of some hundred queries each.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from ndec_baselines.d2lv.crops import QueryImage
from ndec_bench import atomic
from ndec_bench.errors import DataError
from ndec_bench.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ndec_bench.data.images import ImageSource

    Found = dict[str, QueryImage]

CHUNK = 200
RULE = "1"
"""Raised whenever the same query would get other proposals."""
_DIGESTED = 16


def survey_queries(
    source: ImageSource, work: Path, *, proposals: bool, workers: int = 1, progress: Progress = silent
) -> dict[str, QueryImage]:
    """Return size and, if asked for, proposals of every image of ``source``, by id.

    Files go into the folder ``work``; those that are there, of the same rule, images and scikit-image, are used again.

    Raises
    ------
    DataError
        If an image is broken (named in the message), a file cannot be written, or a process ended early.
    """
    recipe = {"rule": RULE, "images_sha256": digest_of(source), "proposals": proposals}
    if proposals:
        recipe["scikit-image"] = version("scikit-image")
    chunks = [source.ids[start : start + CHUNK] for start in range(0, len(source.ids), CHUNK)]
    files = [work / f"{number:05d}.json" for number in range(len(chunks))]
    read = {number: _read(file, recipe, chunks[number]) for number, file in enumerate(files)}
    found = {number: part for number, part in read.items() if part is not None}
    left = [number for number in range(len(chunks)) if number not in found]
    done = sum(map(len, found.values()))
    progress("looking at queries", done, len(source.ids))
    try:
        for number, part in _surveyed(source, chunks, left, proposals, workers):
            _write(files[number], recipe, part)
            found[number] = part
            done += len(part)
            progress("looking at queries", done, len(source.ids))
    except BrokenProcessPool as error:
        raise DataError(
            "a worker process ended early (out of memory, or a script without a __main__ guard)",
            hint="run again, with one worker it needs none",
        ) from error
    return {image_id: known for number in sorted(found) for image_id, known in found[number].items()}


def digest_of(source: ImageSource) -> str:
    """Return the SHA-256 (hex) over all ids, and the stored bytes of 16 images spread evenly over them.

    It tells sets of images apart without reading terabytes.
    """
    digest = hashlib.sha256("\n".join(source.ids).encode())
    count = len(source.ids)
    for row in sorted({part * count // _DIGESTED for part in range(_DIGESTED)}):
        digest.update(hashlib.sha256(source.read_bytes(source.ids[row])).digest())
    return digest.hexdigest()


def _surveyed(
    source: ImageSource, chunks: Sequence[Sequence[str]], left: Sequence[int], proposals: bool, workers: int
) -> Iterator[tuple[int, Found]]:
    if workers <= 1 or len(left) < 2 or not proposals:
        for number in left:
            yield number, _look_at(source, chunks[number], proposals)
        return
    # Spawned, not forked: forking a process with running threads can hang, and Windows cannot fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(left)), context)
    try:
        jobs = {number: pool.submit(_look_at, source, chunks[number], proposals) for number in left}
        for number, job in jobs.items():
            yield number, job.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _look_at(source: ImageSource, ids: Sequence[str], proposals: bool) -> Found:
    found = {}
    for image_id in ids:
        image = source.read(image_id)
        boxes: tuple[tuple[int, int, int, int], ...] = ()
        if proposals:
            from ndec_baselines.d2lv.proposals import proposals as searched

            boxes = tuple(searched(np.asarray(image)))
        found[image_id] = QueryImage(image.size, boxes)
    return found


def _read(file: Path, recipe: dict[str, Any], ids: Sequence[str]) -> Found | None:
    try:
        stored = json.loads(file.read_bytes())
        if stored["recipe"] != recipe or list(stored["queries"]) != list(ids):
            return None
        return {
            image_id: QueryImage((int(size[0]), int(size[1])), tuple(_corners(box) for box in boxes))
            for image_id, (size, boxes) in stored["queries"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None  # missing or not ours: it is made again


def _corners(box: Sequence[Any]) -> tuple[int, int, int, int]:
    left, top, right, bottom = map(int, box)
    return left, top, right, bottom


def _write(file: Path, recipe: dict[str, Any], part: Found) -> None:
    queries = {image_id: [known.size, known.proposals] for image_id, known in part.items()}
    atomic.write_text(file, json.dumps({"recipe": recipe, "queries": queries}, separators=(",", ":")) + "\n")
