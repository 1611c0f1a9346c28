"""Writing descriptors to HDF5: rows sorted by id, the same bytes for the same content."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import numpy as np

from ndec_bench.atomic import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from ndec_bench.descriptors.submission import Submission
    from ndec_bench.descriptors.vectors import Descriptors, VectorSource


def write_descriptors(path: Path, descriptors: Descriptors, attributes: Mapping[str, str]) -> None:
    """Write a descriptor file: rows sorted by id, attributes sorted by name, the same bytes for the same content."""
    with replacing(path) as temporary, h5py.File(temporary, "w", libver=("earliest", "v110")) as file:
        _write_side(file, "vectors", "image_names", descriptors, _order(descriptors))
        for name in sorted(attributes):
            file.attrs[name] = attributes[name]


def write_submission(path: Path, submission: Submission, attributes: Mapping[str, str] | None = None) -> None:
    """Write a submission file: rows sorted by id, the same bytes for the same content.

    ``attributes`` are added to ``split``, ``metric`` and ``threshold``.
    """
    texts = {"metric": submission.metric, **(attributes or {})}
    if submission.split:
        texts["split"] = submission.split
    sides = {
        "query": (submission.queries, submission.query_norms),
        "reference": (submission.references, submission.reference_norms),
        "background": (submission.background, None),
    }
    with replacing(path) as temporary, h5py.File(temporary, "w", libver=("earliest", "v110")) as file:
        for name, (side, norms) in sides.items():
            if side is not None:
                order = _order(side)
                _write_side(file, name, f"{name}_ids", side, order)
                if norms is not None:
                    file.create_dataset(f"{name}_norms", data=norms[order], track_times=False)
        if submission.invalid_ids:
            file.create_dataset("invalid_ids", data=np.array([i.encode() for i in sorted(submission.invalid_ids)]))
        for name in sorted(texts):
            file.attrs[name] = texts[name]
        if submission.threshold is not None:
            file.attrs["threshold"] = submission.threshold


def _order(side: VectorSource) -> NDArray[np.intp]:
    return np.argsort(np.array(side.ids))


def _write_side(file: h5py.File, vectors_name: str, ids_name: str, side: VectorSource, order: NDArray[np.intp]) -> None:
    vectors = side.read(0, len(side))[order]
    # track_times=False (h5py's default for datasets) keeps the clock out of the bytes.
    file.create_dataset(vectors_name, data=np.ascontiguousarray(vectors), track_times=False)
    ids = np.array([side.ids[i].encode("utf-8") for i in order])
    file.create_dataset(ids_name, data=ids, track_times=False)
