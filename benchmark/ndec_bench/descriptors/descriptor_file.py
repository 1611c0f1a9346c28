"""Descriptor files: one set of images as a baseline describes them, read from one HDF5 file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from ndec_bench.descriptors.hdf5 import has, open_file, read_ids, require, vectors_dataset
from ndec_bench.descriptors.stored import KEPT_BYTES, StoredVectors, read_norms, told
from ndec_bench.descriptors.submission import IN_MEMORY, in_memory
from ndec_bench.progress import silent

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from ndec_bench.descriptors.vectors import Descriptors
    from ndec_bench.progress import Progress


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
        If the file is no HDF5 file, lacks a dataset, or holds anything `check_descriptors` refuses.
    """
    file = open_file(path)
    try:
        hint = 'expected vectors and image_names, as "ndec-bench describe" writes them'
        require(path, file, ("vectors", "image_names"), hint)
        dataset = vectors_dataset(path, file, "vectors")
        ids = read_ids(path, file, "image_names", rows_of=dataset)
        invalid = frozenset(read_ids(path, file, "invalid_ids")) if has(file, "invalid_ids") else frozenset[str]()
        shown = told(progress, len(ids))
        vectors = StoredVectors(
            f"{path}: vectors", dataset, ids, invalid=invalid, keep=keep, progress=shown, stage=stage
        )
        norms = read_norms(path, file, "norms", "vectors", vectors) if has(file, "norms") else None
    except BaseException:
        file.close()
        raise
    return DescriptorFile(vectors, invalid, norms)


def read_descriptors(path: Path) -> Descriptors:
    """Return the descriptors in the HDF5 file ``path``, as `open_descriptors` reads them, in memory."""
    with open_descriptors(path, keep=IN_MEMORY) as file:
        return in_memory(file.vectors)
