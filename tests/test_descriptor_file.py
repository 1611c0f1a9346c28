"""Descriptor files: broken images, norms, and the order of the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from ndec_bench.descriptors import Descriptors, open_descriptors, read_attributes, read_descriptors, write_descriptors
from ndec_bench.errors import SubmissionError

if TYPE_CHECKING:
    from pathlib import Path

VECTORS = np.array([[1, 2], [0, 0], [3, 4], [5, 6]], dtype=np.float32)
IDS = ("d", "b", "a", "c")


def stranger(path: Path, **datasets: object) -> Path:
    """A file as a stranger may write it: the row of the broken image ``b`` is there, all zeros."""
    with h5py.File(path, "w") as file:
        for name, content in {"vectors": VECTORS, "image_names": list(IDS), "invalid_ids": ["b"], **datasets}.items():
            if content is not None:
                file[name] = content
    return path


@pytest.mark.parametrize("keep", [0, 1 << 20])
def test_rows_of_broken_images_are_left_out_with_their_norms(tmp_path: Path, keep: int) -> None:
    with open_descriptors(stranger(tmp_path / "a.h5", norms=[1.0, np.nan, 3.0, 4.0]), keep=keep) as file:
        assert file.vectors.ids == ("d", "a", "c")
        assert file.vectors.read(0, 3).tolist() == [[1, 2], [3, 4], [5, 6]]
        assert file.invalid_ids == {"b"}
        assert file.norms is not None
        assert file.norms.dtype == np.float32
        assert file.norms.tolist() == [1, 3, 4]
    descriptors = read_descriptors(tmp_path / "a.h5")
    assert descriptors.ids == ("d", "a", "c")


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({"invalid_ids": None}, r"row 1 \(b\) is all zeros; list images that could not be decoded"),
        ({"invalid_ids": [1, 2]}, "invalid_ids holds"),
        ({"norms": [1.0, 2.0, 3.0]}, r"norms has shape \(3,\), but vectors has 4 rows"),
        ({"norms": [1.0, 2.0, -3.0, 4.0]}, r"norms row 2 \(a\) is -3\.0, expected a finite number"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, datasets: dict[str, object], message: str) -> None:
    path = stranger(tmp_path / "a.h5", **datasets)
    for read in (open_descriptors, read_descriptors):
        with pytest.raises(SubmissionError, match=message):
            read(path)


def test_everything_is_written_in_the_order_of_the_ids(tmp_path: Path) -> None:
    rows = np.array([0, 2, 3])
    descriptors = Descriptors(("d", "a", "c"), VECTORS[rows])
    norms = np.array([1, 3, 4], dtype=np.float32)
    calls: list[tuple[str, int, int]] = []
    write_descriptors(
        tmp_path / "a.h5",
        descriptors,
        {"baseline": "x"},
        norms=norms,
        invalid_ids=["z", "b", "z"],
        progress=lambda *call: calls.append(call),
    )
    assert calls == [("writing vectors", 3, 3)]
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["image_names"][:].tolist() == [b"a", b"c", b"d"]
        assert file["vectors"][:].tolist() == [[3, 4], [5, 6], [1, 2]]
        assert file["norms"][:].tolist() == [3, 4, 1]
        assert file["invalid_ids"][:].tolist() == [b"b", b"z"]
    assert read_attributes(tmp_path / "a.h5") == {"baseline": "x"}
    # The same content in another order gives the same bytes, also read from a file.
    with open_descriptors(tmp_path / "a.h5", keep=0) as file:
        write_descriptors(
            tmp_path / "b.h5", file.vectors, {"baseline": "x"}, norms=file.norms, invalid_ids=file.invalid_ids
        )
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
