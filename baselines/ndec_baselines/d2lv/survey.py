"""Facts about queries before they are cut: their size, and the parts that selective search finds.

Selective search takes a second or so for each picture and holds the interpreter, so it runs in processes of its own.
What is finished stays in JSON files of some hundred queries each (`ndec_bench.resume`).
"""

from __future__ import annotations

import json
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from ndec_baselines.d2lv.crops import QueryImage
from ndec_baselines.describing.extract import images_digest
from ndec_bench.progress import Progress, silent
from ndec_bench.resume import keyed, parts_in, spread

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ndec_bench.data.images import ImageSource

CHUNK = 200
RULE = "1"
"""Raised whenever the same query would get other proposals."""
STAGE = "looking at queries"


def survey_queries(
    source: ImageSource, work: Path, *, proposals: bool, workers: int = 1, progress: Progress = silent
) -> dict[str, QueryImage]:
    """Return size and, if asked for, proposals of every image of ``source``, by id.

    What an earlier run of the same rule, images and scikit-image finished in the folder ``work`` is used again.

    Raises
    ------
    DataError
        If an image is broken (named in the message), a file cannot be written, or a process ended early.
    """
    recipe = {"rule": RULE, "images_sha256": images_digest(source), "proposals": str(proposals), "chunk": str(CHUNK)}
    if proposals:
        recipe["scikit-image"] = version("scikit-image")
    chunks = {
        f"{number:05d}.json": source.ids[start : start + CHUNK]
        for number, start in enumerate(range(0, len(source.ids), CHUNK))
    }
    with parts_in(keyed(work, recipe), recipe) as parts:
        left = [(name, ids) for name, ids in chunks.items() if not parts.has(name)]
        done = sum(len(ids) for name, ids in chunks.items() if parts.has(name))
        progress(STAGE, done, len(source.ids))
        for (name, ids), found in spread(partial(_look_at, source, proposals), left, workers if proposals else 1):
            with parts.adding(name) as path:
                path.write_text(json.dumps(found, separators=(",", ":")), encoding="utf-8")
            done += len(ids)
            progress(STAGE, done, len(source.ids))
        return {
            image_id: QueryImage(
                (width, height), tuple((left, top, right, bottom) for left, top, right, bottom in boxes)
            )
            for name in parts
            for image_id, ((width, height), boxes) in json.loads(parts.path(name).read_bytes()).items()
        }


def _look_at(
    source: ImageSource, proposals: bool, chunk: tuple[str, Sequence[str]]
) -> dict[str, tuple[tuple[int, int], list[tuple[int, int, int, int]]]]:
    """Return size and proposals of the images of a chunk (its name, its ids), by id."""
    found = {}
    for image_id in chunk[1]:
        image = source.read(image_id)
        boxes: list[tuple[int, int, int, int]] = []
        if proposals:
            from ndec_baselines.d2lv.proposals import proposals as searched

            boxes = list(searched(np.asarray(image)))
        found[image_id] = image.size, boxes
    return found
