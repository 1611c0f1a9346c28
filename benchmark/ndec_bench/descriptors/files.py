"""One set of images in an HDF5 file, and descriptor files, which hold nothing else."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Self

from ndec_bench.data.ids import without_suffix
from ndec_bench.descriptors.hdf5 import (
    has,
    is_hdf5,
    open_file,
    read_ids,
    read_norms,
    require,
    vectors_dataset,
)
from ndec_bench.descriptors.stored import IN_MEMORY, KEPT_BYTES, StoredVectors, in_memory, told
from ndec_bench.progress import silent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import h5py
    import numpy as np
    from numpy.typing import NDArray

    from ndec_bench.descriptors.vectors import Descriptors, VectorSource
    from ndec_bench.progress import Progress


@dataclass(frozen=True)
class ImageSet:
    """One set of images in an open HDF5 file: its ids were read, its vectors were not.

    Attributes
    ----------
    file
        The file.
    dataset
        (n, d) vectors: ``vectors``, or in a submission file ``query``, ``reference`` or ``background``.
    ids
        n image ids.
    invalid
        Images of the file that could not be decoded.
    """

    file: h5py.File
    dataset: h5py.Dataset
    ids: tuple[str, ...]
    invalid: frozenset[str]

    @property
    def path(self) -> str:
        """Return the path of the file."""
        return str(self.file.filename)

    @property
    def name(self) -> str:
        """Return the name of the dataset."""
        return str(self.dataset.name).lstrip("/")

    @property
    def norms_name(self) -> str:
        """Return the name of the dataset of norms."""
        return _names(self.name)[1]

    @property
    def has_norms(self) -> bool:
        """Return whether the file has norms for these images."""
        return has(self.file, self.norms_name)

    def vectors(self, *, keep: int, progress: Progress, stage: str) -> StoredVectors:
        """Return the vectors, checked; see `StoredVectors`."""
        return StoredVectors(self.dataset, self.ids, invalid=self.invalid, keep=keep, progress=progress, stage=stage)

    def norms(self, vectors: StoredVectors) -> NDArray[np.float32]:
        """Return the norms of the rows that ``vectors`` has, (n,) float32. Raises SubmissionError."""
        return read_norms(self.file, self.norms_name, self.dataset, vectors.rows, vectors.ids)


@contextmanager
def kept_open(path: Path) -> Iterator[h5py.File]:
    """Open the HDF5 file at ``path``; it is closed if the block fails, and stays open otherwise."""
    file = open_file(path)
    try:
        yield file
    except BaseException:
        file.close()
        raise


def image_set(file: h5py.File, name: str, *, invalid: frozenset[str] | None = None) -> ImageSet:
    """Return the images in the dataset ``name`` of ``file``; ``invalid`` saves reading ``invalid_ids`` again.

    Raises
    ------
    SubmissionError
        If vectors or ids are missing or unusable.
    """
    dataset = vectors_dataset(file, name)
    ids = read_ids(file, _names(name)[0], rows_of=dataset)
    return ImageSet(file, dataset, ids, invalid_ids(file) if invalid is None else invalid)


def invalid_ids(file: h5py.File) -> frozenset[str]:
    """Return the ids in the dataset ``invalid_ids``; none without it. Raises SubmissionError."""
    return frozenset(read_ids(file, "invalid_ids")) if has(file, "invalid_ids") else frozenset()


@dataclass(frozen=True)
class DescriptorFile:
    """What a descriptor file holds; it stays open until `close` or the end of a ``with`` block.

    Attributes
    ----------
    vectors
        Vectors with their ids, checked, read block by block; without rows of ``invalid_ids``.
    invalid_ids
        Images that could not be decoded.
    norms
        (n,) float32, one norm per row of ``vectors``; None if the file has none.
    """

    vectors: StoredVectors
    invalid_ids: frozenset[str] = frozenset()
    norms: NDArray[np.float32] | None = None

    def close(self) -> None:
        """Close the file."""
        self.vectors.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_descriptors(
    path: Path, *, keep: int = KEPT_BYTES, progress: Progress = silent, stage: str = "checking vectors"
) -> DescriptorFile:
    """Return the descriptor file ``path``, open: ``vectors`` (n, d), ``image_names`` (n,), and what else it may hold.

    Parameters
    ----------
    path
        The file. ``invalid_ids`` (strings) and ``norms`` (n,) are optional.
    keep
        Vectors of at most so many bytes, as float32, are kept in memory.
    progress, stage
        ``progress(stage, done, total)`` is called in rows while many vectors are checked.

    Raises
    ------
    SubmissionError
        If the file is not HDF5, has no such dataset, or holds anything `check_descriptors` refuses.
    """
    with kept_open(path) as file:
        hint = 'expected vectors and image_names, as "ndec-bench describe" writes them'
        require(file, ("vectors", "image_names"), hint)
        images = image_set(file, "vectors")
        vectors = images.vectors(keep=keep, progress=told(progress, len(images.ids)), stage=stage)
        return DescriptorFile(vectors, images.invalid, images.norms(vectors) if images.has_norms else None)


def read_descriptors(path: Path) -> Descriptors:
    """Return the descriptors in the HDF5 file ``path``, as `open_descriptors` reads them, in memory."""
    with open_descriptors(path, keep=IN_MEMORY) as file:
        return in_memory(file.vectors)


def read_background(path: Path, *, progress: Progress = silent) -> VectorSource:
    """Return the background descriptors in the HDF5 file ``path``.

    It holds ``vectors`` and ``image_names``, or ``background`` and ``background_ids``. Of names in ``image_names`` the
    suffix of a picture is taken off.

    Raises
    ------
    SubmissionError
        As `read_submission`.
    """
    with kept_open(path) as file:
        name = "background" if has(file, "background") else "vectors"
        expected = "expected vectors and image_names, or background and background_ids"
        require(file, (name, _names(name)[0]), expected)
        images = without_suffixes(image_set(file, name, invalid=frozenset()))
        return images.vectors(keep=KEPT_BYTES, progress=told(progress, len(images.ids)), stage="checking background")


def read_query_ids(path: Path) -> tuple[str, ...]:
    """Return the query ids of a submission, or the image names of a descriptor file without suffix, in row order.

    Raises
    ------
    SubmissionError
        If the file is neither, or the ids are unusable.
    """
    with open_file(path) as file:
        if has(file, "query_ids"):
            return read_ids(file, "query_ids")
        require(file, ("image_names",), "expected query_ids, or image_names")
        return tuple(map(without_suffix, read_ids(file, "image_names")))


def form_of(path: Path) -> Literal["submission", "vectors", "other"]:
    """Return which HDF5 form the file at ``path`` has, by the names of its datasets.

    ``submission`` has ``query`` or ``reference``, ``vectors`` (the form of isc2021) has ``vectors``; ``other`` is any
    other file, HDF5 or not.

    Raises
    ------
    SubmissionError
        If the file cannot be read, or is HDF5 but truncated.
    """
    if not is_hdf5(path):
        return "other"
    with open_file(path) as file:
        if has(file, "query") or has(file, "reference"):
            return "submission"
        return "vectors" if has(file, "vectors") else "other"


def without_suffixes(images: ImageSet) -> ImageSet:
    """Return ``images`` with the suffix of a picture taken off the ids in ``image_names``; other ids stay."""
    if images.name != "vectors":
        return images
    ids, invalid = tuple(map(without_suffix, images.ids)), frozenset(map(without_suffix, images.invalid))
    return replace(images, ids=ids, invalid=invalid)


def _names(name: str) -> tuple[str, str]:
    """Return the datasets of ids and of norms that belong to the vectors in ``name``."""
    return ("image_names", "norms") if name == "vectors" else (f"{name}_ids", f"{name}_norms")
