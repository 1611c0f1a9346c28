"""Keypoints of many images on disk, in files of a few thousand images each, so that work that stops can go on."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from ndec_baselines.esvitp.sift import VALUES, Keypoints, keypoints
from ndec_bench import atomic
from ndec_bench.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ndec_bench.data.images import ImageSource

PART_IMAGES = 4096
_SUFFIX = ".keypoints.h5"


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

    Files are taken over if they hold the same ids, the same recipe, and the digest of the first and the last image.

    Parameters
    ----------
    folder
        Where the files lie.
    recipe
        Text that must agree.
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
    counts: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    paths = []
    progress(stage, 0, len(ids))
    with ThreadPoolExecutor(workers, thread_name_prefix="keypoints") as pool, _one_thread_each():
        for start in range(0, len(ids), PART_IMAGES):
            some = ids[start : start + PART_IMAGES]
            path = folder / f"{start // PART_IMAGES:05d}{_SUFFIX}"
            wanted = {**recipe, "images": images_digest(source, some)}
            known = _known_counts(path, some, wanted)
            if known is None:
                found = []
                for image in pool.map(lambda image_id: keypoints(source.read(image_id)), some):
                    found.append(image)
                    progress(stage, start + len(found), len(ids))
                known = _write(path, some, found, wanted)
            counts.append(known)
            paths.append(path)
            progress(stage, start + len(some), len(ids))
    return KeypointFiles(ids, np.concatenate(counts), tuple(paths))


def images_digest(source: ImageSource, ids: Sequence[str]) -> str:
    """Return a SHA-256 (hex) over the ids and the files of the first and the last of them."""
    digest = hashlib.sha256("\n".join(ids).encode())
    for image_id in (ids[0], ids[-1]):
        digest.update(source.read_bytes(image_id))
    return digest.hexdigest()


def _known_counts(path: Path, ids: Sequence[str], wanted: Mapping[str, str]) -> NDArray[np.int64] | None:
    """Return the counts in a file of an earlier run; None if it is missing, damaged or of another recipe."""
    try:
        with h5py.File(path, "r") as file:
            if {name: file.attrs[name] for name in file.attrs} != dict(wanted):
                return None
            counts: NDArray[np.int64] = file["counts"][:]
            total = int(counts.sum())
            whole = len(counts) == len(ids) and file["positions"].shape == (total, 2)
            return counts if whole and file["descriptors"].shape == (total, VALUES) else None
    except (OSError, KeyError, ValueError, TypeError):
        return None


def _write(path: Path, ids: Sequence[str], found: Sequence[Keypoints], wanted: Mapping[str, str]) -> NDArray[np.int64]:
    counts = np.array([len(image) for image in found], dtype=np.int64)
    with atomic.replacing(path) as temporary, h5py.File(temporary, "w", libver=("earliest", "v110")) as file:
        file["counts"] = counts
        file["positions"] = np.concatenate([image.positions for image in found])
        file["descriptors"] = np.concatenate([image.descriptors for image in found])
        file["image_names"] = np.array([image_id.encode() for image_id in ids])
        for name in sorted(wanted):
            file.attrs[name] = wanted[name]
    return counts


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
