"""Keypoints of many images on disk, in parts (`ndec_bench.resume`) of a few thousand images each."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ndec_baselines.describing.extract import images_digest
from ndec_baselines.esvitp.sift import VALUES, Keypoints, keypoints
from ndec_bench.data.images import SelectedSource
from ndec_bench.progress import Progress, silent
from ndec_bench.resume import digest, keyed, parts_in

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ndec_bench.data.images import ImageSource

PART_IMAGES = 4096
VERSIONS = ("earliest", "v110")
OVERHEAD = 1 << 16  # bytes that HDF5 takes at most for the structure of a part


@dataclass(frozen=True)
class KeypointFiles:
    """The keypoints of a set of images, read when they are asked for.

    Attributes
    ----------
    ids
        Image ids, sorted.
    counts
        (images,) int64 keypoints of each.
    parts
        The files, each of ``PART_IMAGES`` images, the last of fewer.
    """

    ids: tuple[str, ...]
    counts: NDArray[np.int64]
    parts: tuple[Path, ...]

    def of(self, image: int) -> Keypoints:
        """Return the keypoints of the image at that place in ``ids``."""
        part = image // PART_IMAGES
        first = part * PART_IMAGES
        start = int(self.counts[first:image].sum())
        stop = start + int(self.counts[image])
        with h5py.File(self.parts[part], "r") as file:
            return Keypoints(file["positions"][start:stop], file["descriptors"][start:stop])

    def descriptors(self, first: int, last: int) -> NDArray[np.uint8]:
        """Return the descriptors (n, 128) uint8 of the images from ``first`` to before ``last``, in their order."""
        rows = [np.zeros((0, VALUES), np.uint8)]
        for part in range(first // PART_IMAGES, -(-last // PART_IMAGES)):
            low = part * PART_IMAGES
            high = min(low + PART_IMAGES, last)
            start = int(self.counts[low : max(first, low)].sum())
            stop = int(self.counts[low:high].sum())
            with h5py.File(self.parts[part], "r") as file:
                rows.append(file["descriptors"][start:stop])
        return np.concatenate(rows)


def find_keypoints(
    source: ImageSource,
    folder: Path,
    recipe: Mapping[str, str],
    *,
    workers: int,
    progress: Progress = silent,
    stage: str = "finding keypoints",
) -> KeypointFiles:
    """Return the keypoints of the images of ``source``, found now or by an earlier run of the same recipe.

    A part is taken up if its images (`images_digest`) have the same files as then.

    Parameters
    ----------
    folder
        Where each recipe has a folder of parts.
    recipe
        What decides about the keypoints, by name; the ids are added.
    workers
        Threads.
    progress, stage
        Called as ``progress(stage, done, total)`` in images.

    Raises
    ------
    DataError
        If an image is broken (named in the message) or a file cannot be written.
    """
    ids = tuple(source.ids)
    recipe = {**recipe, "ids_sha256": digest(ids), "images_per_part": str(PART_IMAGES)}
    counts: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    progress(stage, 0, len(ids))
    with (
        parts_in(keyed(folder, recipe), recipe, progress=progress) as parts,
        ThreadPoolExecutor(workers, thread_name_prefix="keypoints") as pool,
        _one_thread_each(),
    ):
        for start in range(0, len(ids), PART_IMAGES):
            some = ids[start : start + PART_IMAGES]
            name = f"{start // PART_IMAGES:05d}.h5"
            inputs = images_digest(SelectedSource(source, some))
            if not parts.has(name, inputs):
                found = []
                for image in pool.map(lambda image_id: keypoints(source.read(image_id)), some):
                    found.append(image)
                    progress(stage, start + len(found), len(ids))
                columns = _columns(some, found)
                size = OVERHEAD + sum(column.nbytes for column in columns.values())
                with parts.adding(name, inputs, size=size) as path, h5py.File(path, "w", libver=VERSIONS) as file:
                    for column, values in columns.items():
                        file[column] = values
            with h5py.File(parts.path(name), "r") as file:
                counts.append(file["counts"][:])
            progress(stage, start + len(some), len(ids))
        return KeypointFiles(ids, np.concatenate(counts), tuple(map(parts.path, parts)))


def _columns(ids: Sequence[str], found: Sequence[Keypoints]) -> dict[str, NDArray[Any]]:
    """Return what a part holds, by the name of the data set."""
    return {
        "counts": np.array([len(image) for image in found], dtype=np.int64),
        "positions": np.concatenate([image.positions for image in found]),
        "descriptors": np.concatenate([image.descriptors for image in found]),
        "image_names": np.array([image_id.encode() for image_id in ids]),
    }


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Let OpenCV compute in the calling thread: the images are what runs side by side."""
    import cv2

    module: Any = cv2
    before = module.getNumThreads()
    module.setNumThreads(1)
    try:
        yield
    finally:
        module.setNumThreads(before)
