"""Descriptors read block by block from big files: the same rows whatever the layout, and damage is noticed."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from ndec_bench.descriptors import Descriptors, Survey, read_submission, sha256_of_file
from ndec_bench.descriptors.chunks import read_rows
from ndec_bench.errors import SubmissionError

LAYOUTS: list[dict[str, object]] = [
    {},
    {"chunks": (7, 5)},
    {"chunks": (1000, 3), "compression": "gzip"},
    {"chunks": (4096, 16)},
    {"chunks": (5000, 16), "compression": "lzf", "shuffle": True},
    {"chunks": (9001, 16), "maxshape": (None, 16)},
]


def big_file(tmp_path: Path, dtype: str, layout: dict[str, object], invalid: list[str] | None = None) -> np.ndarray:
    vectors = np.random.default_rng(3).normal(size=(9001, 16)).astype(dtype)
    with h5py.File(tmp_path / "big.h5", "w") as file:
        file["query"], file["query_ids"] = np.eye(2).repeat(8, axis=1).astype(dtype), ["Q1", "Q2"]
        file.create_dataset("reference", data=vectors, **layout)
        file["reference_ids"] = [f"R{row}" for row in range(9001)]
        if invalid is not None:
            file["invalid_ids"] = invalid
    return vectors.astype(np.float32)


def same_survey(one: Survey, other: Survey) -> None:
    assert one.squared_norms.tolist() == other.squared_norms.tolist()
    np.testing.assert_allclose(one.total, other.total, rtol=1e-12, atol=1e-9)
    assert (one.largest, one.grid) == (other.largest, other.grid)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_streaming_equals_memory(tmp_path: Path, dtype: str, layout: dict[str, object]) -> None:
    expected = big_file(tmp_path, dtype, layout)
    seen = []
    kept = read_submission(tmp_path / "big.h5", progress=lambda *told: seen.append(told))
    streamed = read_submission(tmp_path / "big.h5", keep=0)
    assert [told for told in seen if told[0] == "checking references"] == [
        ("checking references", done, 9001) for done in (4096, 8192, 9001)
    ]
    same_survey(kept.references.survey, streamed.references.survey)
    same_survey(streamed.references.survey, Descriptors(kept.references.ids, expected).survey)
    for start, stop in [(0, 9001), (5, 6), (0, 0), (9001, 9001), (4090, 8200), (8999, 9999), (1, 4097), (0, 3)]:
        for source in (kept.references, streamed.references):
            block = source.read(start, stop)
            assert block.dtype == np.float32
            assert block.dtype.isnative
            assert block.flags.c_contiguous
            assert np.array_equal(block, expected[start:stop])
    assert kept.sha256 == streamed.sha256 == sha256_of_file(tmp_path / "big.h5")
    assert kept.stored_dtype == np.dtype(dtype).name


@pytest.mark.parametrize("keep", [0, 1 << 30])
@pytest.mark.parametrize("layout", LAYOUTS[:3])
def test_rows_of_invalid_images_are_left_out(tmp_path: Path, keep: int, layout: dict[str, object]) -> None:
    out = {0, 5, 4095, 4096, 9000, *range(5000, 8999)}
    vectors = big_file(tmp_path, "float32", layout, [f"R{row}" for row in out])
    with h5py.File(tmp_path / "big.h5", "r+") as file:
        file["reference"][5] = 0
    rows = [row for row in range(9001) if row not in out]
    submission = read_submission(tmp_path / "big.h5", keep=keep)
    references = submission.references
    assert references.ids == tuple(f"R{row}" for row in rows)
    assert len(references) == len(rows)
    for start, stop in [(0, len(rows)), (0, 5), (4090, 4100), (len(rows) - 3, len(rows)), (7, 7)]:
        assert np.array_equal(references.read(start, stop), vectors[rows[start:stop]])
    same_survey(references.survey, Descriptors(references.ids, vectors[rows]).survey)
    assert len(submission.invalid_ids) == len(out)


def test_each_chunk_is_unpacked_once_in_a_pass(tmp_path: Path) -> None:
    expected = big_file(tmp_path, "float32", {"chunks": (2000, 2), "compression": "gzip"})
    with read_submission(tmp_path / "big.h5", keep=0) as submission:
        source = submission.references
        reads = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "ndec_bench.descriptors.stored.read_rows", lambda *rows: reads.append(rows) or read_rows(*rows)
            )
            found = np.concatenate([source.read(start, start + 500) for start in range(0, 9001, 500)])
    assert np.array_equal(found, expected)
    # Pages of 6,000 rows, three rows of chunks.
    assert len(reads) == 2


@pytest.mark.parametrize("keep", [0, 1 << 30])
def test_a_damaged_chunk_is_refused(tmp_path: Path, keep: int) -> None:
    big_file(tmp_path, "float32", {"chunks": (1000, 16), "compression": "gzip"})
    path = tmp_path / "big.h5"
    with h5py.File(path, "r") as file:
        where = file["reference"].id.get_chunk_info_by_coord((8000, 0)).byte_offset
    content = bytearray(path.read_bytes())
    content[where + 100] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(
        SubmissionError, match=r"big.h5: reference cannot be read \(gzip: Error -3.*the file is damaged"
    ):
        read_submission(path, keep=keep)


def test_nothing_is_read_after_close(tmp_path: Path) -> None:
    big_file(tmp_path, "float32", {})
    for keep in (0, 1 << 30):
        with read_submission(tmp_path / "big.h5", keep=keep) as submission:
            assert submission.references.read(0, 1).shape == (1, 16)
        with pytest.raises(ValueError, match="read after close"):
            submission.references.read(0, 1)
        submission.close()
    streamed = read_submission(tmp_path / "big.h5", keep=0)
    streamed.close()
    with h5py.File(tmp_path / "big.h5", "r+"):
        pass
