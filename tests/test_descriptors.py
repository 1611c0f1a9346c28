"""Reading what strangers write: what is accepted, and one clear refusal for each kind of bad file."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from ndec_bench.descriptors import (
    Descriptors,
    Submission,
    Survey,
    VectorSource,
    form_of,
    read_attributes,
    read_background,
    read_descriptors,
    read_query_ids,
    read_submission,
    read_submission_parts,
    sha256_of_file,
    write_descriptors,
    write_submission,
)
from ndec_bench.errors import SubmissionError, UsageError

QUERY = np.array([[1, 0], [0, 1]], dtype=np.float32)
REFERENCE = np.array([[1, 0], [0, 2], [3, 3]], dtype=np.float32)
Change = Callable[[h5py.File], None]


def submission_file(tmp_path: Path, change: Change | None = None) -> Path:
    path = tmp_path / "submission.h5"
    with h5py.File(path, "w") as file:
        file["query"], file["reference"] = QUERY, REFERENCE
        file["query_ids"], file["reference_ids"] = ["Q1", "Q2"], ["R1", "R2", "R3"]
        if change is not None:
            change(file)
    return path


def replace(name: str, data: object) -> Change:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = data

    return change


def rows_of(source: VectorSource) -> list[list[float]]:
    return source.read(0, len(source)).tolist()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("ids", [["Q1", "Q2"], np.array([b"Q1", b"Q2"]), np.array(["Q1", "Q2"], dtype=object)])
def test_two_lines_of_h5py_are_enough(tmp_path: Path, dtype: str, ids: object) -> None:
    path = submission_file(tmp_path, replace("query_ids", ids))
    with h5py.File(path, "r+") as file:
        replace("query", QUERY.astype(dtype))(file)
        replace("reference", REFERENCE.astype(dtype))(file)
    submission = read_submission(path)
    assert submission.queries.ids == ("Q1", "Q2")
    assert submission.queries.vectors.dtype == np.float32
    assert submission.queries.vectors.tolist() == QUERY.tolist()
    assert submission.stored_dtype == dtype
    assert (submission.metric, submission.split) == ("l2", None)
    assert submission.sha256 == sha256_of_file(path)


def test_attributes_name_split_and_metric(tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        file.attrs["split"], file.attrs["metric"] = "ndec", np.bytes_(b"ip")

    path = submission_file(tmp_path, change)
    submission = read_submission(path)
    assert (submission.metric, submission.split) == ("ip", "ndec")
    assert read_attributes(path) == {"metric": "ip", "split": "ndec"}


def test_an_attribute_that_is_no_utf8_can_still_be_shown(tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        file.attrs.create("split", b"nd\xffec", dtype=h5py.string_dtype())

    path = submission_file(tmp_path, change)
    assert read_submission(path).split == read_attributes(path)["split"] == "nd\ufffdec"


def test_invalid_images_are_present_without_a_row(tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        replace("query", np.array([[0, 0], [0, 1]], dtype=np.float32))(file)
        file["invalid_ids"] = ["Q1"]

    submission = read_submission(submission_file(tmp_path, change))
    assert submission.queries.ids == ("Q2",)
    assert submission.invalid_ids == ("Q1",)


def external(file: h5py.File) -> None:
    del file["query"]
    file["query"] = h5py.ExternalLink("other.h5", "/query")


def soft(file: h5py.File) -> None:
    del file["query"]
    file["query"] = h5py.SoftLink("/reference")


def virtual(file: h5py.File) -> None:
    del file["query"]
    layout = h5py.VirtualLayout(shape=(2, 2), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "query", shape=(2, 2))
    file.create_virtual_dataset("query", layout)


def outside(file: h5py.File) -> None:
    del file["query"]
    file.create_dataset("query", (2, 2), "f4", external=[("/etc/hostname", 0, 16)])


def outside_ids(file: h5py.File) -> None:
    del file["query_ids"]
    file.create_dataset("query_ids", (2,), "S4", external=[("/etc/hostname", 0, 8)])


def huge(file: h5py.File) -> None:
    del file["query"]
    file.create_dataset("query", (10**12, 256), "f4", chunks=(1, 256))


def wide(file: h5py.File) -> None:
    del file["query"]
    file.create_dataset("query", (2, 70_000), "f4", chunks=(1, 1_000))


def claims(side: str, rows: int, dimensions: int, fill: float = 1.0) -> Change:
    """Rows that are claimed, not stored: a few kilobytes of file."""

    def change(file: h5py.File) -> None:
        other = "query" if side == "reference" else "reference"
        del file[side], file[f"{side}_ids"], file[other]
        file.create_dataset(side, (rows, dimensions), "f4", chunks=(1, dimensions), fillvalue=fill)
        file[f"{side}_ids"] = np.char.add(b"I", np.arange(rows).astype("S8"))
        file[other] = np.eye(len(file[f"{other}_ids"]), dimensions, dtype="f4")

    return change


def wide_chunk(file: h5py.File) -> None:
    del file["query"]
    file.create_dataset("query", (2, 2), "f4", maxshape=(None, None), chunks=(30_000, 30_000))


def group(file: h5py.File) -> None:
    del file["query"]
    file.create_group("query")


def type_of(dtype: object, shape: tuple[int, ...] = (2, 2)) -> Change:
    def change(file: h5py.File) -> None:
        del file["query"]
        file.create_dataset("query", shape, dtype)

    return change


def region(file: h5py.File) -> None:
    del file["query"]
    data = file.create_dataset("query", (2, 2), h5py.regionref_dtype)
    data[0, 0] = file["reference"].regionref[:1]


def no_space(file: h5py.File) -> None:
    del file["query"]
    file["query"] = h5py.Empty("f4")


def many_ids(file: h5py.File) -> None:
    del file["query_ids"]
    file.create_dataset("query_ids", (10**12,), "S8", chunks=(1024,))


def other_row_of_norms(name: str, values: list[float] | np.ndarray, other: str | None = None) -> Change:
    def change(file: h5py.File) -> None:
        file["query_norms"], file["reference_norms"] = np.ones(2, "f4"), np.ones(3, "f4")
        del file[name]
        file[name] = np.asarray(values)
        if other is not None:
            del file[other]

    return change


def attribute(name: str, value: object) -> Change:
    return lambda file: file.attrs.__setitem__(name, value)


def both(query: np.ndarray) -> Change:
    """``query`` and the reference in its type."""

    def change(file: h5py.File) -> None:
        replace("query", query)(file)
        replace("reference", REFERENCE.astype(query.dtype))(file)

    return change


def with_background(vectors: np.ndarray, ids: list[str]) -> Change:
    def change(file: h5py.File) -> None:
        file["background"], file["background_ids"] = vectors, ids

    return change


def all_invalid(file: h5py.File) -> None:
    file["invalid_ids"] = ["Q1", "Q2"]


BAD: list[tuple[Change, str]] = [
    (lambda f: f.__delitem__("query"), r"no dataset 'query'; found 'query_ids', 'reference', 'reference_ids'"),
    (lambda f: f.__delitem__("query_ids"), r"no dataset 'query_ids'; found 'query', 'reference', 'reference_ids'"),
    (both(np.array([[1, np.nan], [0, 1]])), r"query: row 0 \(Q1\) holds nan, expected finite"),
    (both(np.array([[1, 0], [0, -np.inf]])), r"query: row 1 \(Q2\) holds -inf"),
    (both(np.array([[1, 0], [0, np.inf]], "f4")), r"query: row 1 \(Q2\) holds inf"),
    (both(np.array([0x7F800001, 0, 0, 0x3F800000], "u4").view("f4").reshape(2, 2)), r"query: row 0 \(Q1\) holds nan"),
    (both(np.array([[1, 0], [0, np.nan]], "f2")), r"query: row 1 \(Q2\) holds nan"),
    (both(np.array([[1e39, 0], [0, 1]])), r"cast to float32: row 0 \(Q1\) holds inf"),
    (both(np.array([[1e39, 0], [0, 1]], ">f8")), r"row 0 \(Q1\) holds inf"),
    (replace("query", QUERY.astype("f2")), r"query holds float16, reference float32, expected one type on both sides"),
    (replace("query", QUERY.astype("int32")), r"query holds int32, expected float16, float32 or float64"),
    (replace("query", QUERY.astype("c8")), r"query holds complex64, expected float16"),
    (replace("query", QUERY.astype("longdouble")), r"query holds float128, expected float16"),
    (replace("query", QUERY.astype(bool)), r"query holds bool, expected float16"),
    (replace("query", np.array([[b"a", b"b"], [b"c", b"d"]])), r"query holds \|S1"),
    (type_of(h5py.string_dtype()), r"query holds strings of varying length, expected float16"),
    (type_of(h5py.vlen_dtype(np.float32)), r"query holds lists of varying length, expected float16"),
    (type_of(h5py.ref_dtype), r"query holds references to other objects, expected float16"),
    (type_of([("a", "f4"), ("b", "f4")]), r"query holds .*'a'.*'b'.*, expected float16"),
    (type_of(np.dtype(("f4", (3,)))), r"query holds .*, expected float16"),
    (region, r"query holds references to other objects"),
    (no_space, r"query has shape None, expected \(images, dimensions\)"),
    (replace("query", QUERY[0]), r"query has shape \(2,\), expected \(images, dimensions\)"),
    (replace("query", QUERY[:0]), r"query has shape \(0, 2\)"),
    (replace("query", QUERY[None]), r"query has shape \(1, 2, 2\)"),
    (replace("query", np.ones((2, 3), "f4") * [[1], [2]]), r"query holds float64, reference|query has 3 dimensions"),
    (replace("query", np.ones((2, 3), "f4")), r"query has 3 dimensions, reference 2; describe all sides"),
    (
        with_background(np.ones((2, 3), "f4"), ["B1", "B2"]),
        r"query has 2 dimensions, reference 2, background 3; describe",
    ),
    (with_background(np.ones((2, 2), "f4"), ["B1"]), r"background has 2 rows but background_ids has 1 ids"),
    (with_background(np.ones((2, 2), "f4"), ["B1", "B2"]), r"background: all 2 descriptors are equal"),
    (lambda f: f.__setitem__("background", QUERY), r"no dataset 'background_ids'"),
    (replace("query", np.zeros((2, 2), "f4")), r"query: row 0 \(Q1\) is all zeros.*invalid_ids"),
    (replace("reference", REFERENCE * [[1], [0], [1]]), r"row 1|query holds float32, reference float64"),
    (replace("reference", REFERENCE * np.array([[1], [0], [1]], "f4")), r"reference: row 1 \(R2\) is all zeros"),
    (replace("query", np.ones((2, 2), "f4")), r"query: all 2 descriptors are equal"),
    (replace("query_ids", ["Q1"]), r"query has 2 rows but query_ids has 1 ids"),
    (replace("reference_ids", ["R1", "R2", "R3", "R4"]), r"reference has 3 rows but reference_ids has 4 ids"),
    (many_ids, r"query_ids holds \|S8 of shape \(1000000000000,\), expected a list of strings"),
    (replace("query_ids", ["Q1", "Q1"]), r"query: id Q1 stands in row 0 and in row 1"),
    (replace("query_ids", [1, 2]), r"query_ids holds int64 of shape \(2,\), expected a list of strings"),
    (replace("query_ids", np.array([[b"Q1", b"Q2"]])), r"query_ids holds \|S2 of shape \(1, 2\), expected a list"),
    (replace("query_ids", np.array([b"Q" * 300, b"Q2"])), r"query_ids holds ids of 300 bytes, at most 256"),
    (replace("query_ids", ["Q1", "Q" * 300]), r"query_ids row 1 is 'Q{40}', no usable id"),
    (replace("query_ids", ["Q1", ""]), r"query_ids row 1 is '', no usable id"),
    (replace("query_ids", ["Q1", "Q\u202e2"]), r"query_ids row 1 is .*no usable id"),
    (
        replace("query_ids", np.array([b"Q1", b"\xff\xff"])),
        r"query_ids cannot be read: row 1 is b'\\xff\\xff', no UTF-8",
    ),
    (outside_ids, r"'query_ids' is stored in other files, which are never opened"),
    (all_invalid, r"query: all 2 images are listed in invalid_ids"),
    (attribute("metric", "cosine"), r"attribute metric is 'cosine'; expected \"l2\" or \"ip\""),
    (attribute("split", 7), r"attribute split is no text"),
    (attribute("split", ["a", "b"]), r"attribute split is no text"),
    (attribute("split", h5py.Empty("S1")), r"attribute split is no text"),
    (attribute("threshold", "0.5"), r"attribute threshold is '0\.5', expected a finite number"),
    (attribute("threshold", np.nan), r"attribute threshold is 'nan', expected a finite number"),
    (attribute("threshold", True), r"attribute threshold is 'True', expected a finite number"),
    (attribute("threshold", [0.5, 0.6]), r"attribute threshold is .*, expected a finite number"),
    (
        other_row_of_norms("query_norms", [1.0, 1.0], "reference_norms"),
        r"query_norms without reference_norms; write one norm per row for both sides",
    ),
    (other_row_of_norms("query_norms", [1.0, 1.0], "query_norms"), r"reference_norms without query_norms"),
    (other_row_of_norms("query_norms", [1.0]), r"query_norms has shape \(1,\), but query has 2 rows"),
    (other_row_of_norms("reference_norms", [[1.0] * 3]), r"reference_norms has shape \(1, 3\), but reference has 3"),
    (other_row_of_norms("query_norms", np.array([1, 2])), r"query_norms holds int64, expected float16"),
    (other_row_of_norms("query_norms", [1.0, np.nan]), r"query_norms row 1 \(Q2\) is nan, expected a finite number"),
    (other_row_of_norms("query_norms", [-1.0, 1.0]), r"query_norms row 0 \(Q1\) is -1\.0, expected .* zero or above"),
    (other_row_of_norms("reference_norms", [1.0, 1.0, 1e39]), r"reference_norms row 2 \(R3\) is 1e\+39, expected"),
    (external, r"'query' is a link to somewhere else, which is never followed"),
    (soft, r"'query' is a link to somewhere else"),
    (virtual, r"'query' is stored in other files, which are never opened"),
    (outside, r"'query' is stored in other files"),
    (huge, r"query has shape \(1000000000000, 256\)"),
    (wide, r"query has shape \(2, 70000\), expected .* at most 50,000,000 images and 65,536 dimensions"),
    (claims("query", 100_000, 4_096, 0.0), r"query: row 0 \(I0\) is all zeros"),
    (
        claims("reference", 100_000, 65_536),
        r"reference has shape \(100000, 65536\), 24\.4 GiB, but the file holds 0 bytes of it",
    ),
    (group, r"'query' is a group, expected a dataset"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_each_bad_file_gets_one_clear_refusal(tmp_path: Path, change: Change, message: str) -> None:
    path = submission_file(tmp_path, change)
    with pytest.raises(SubmissionError, match=message) as caught:
        read_submission(path)
    assert str(path) in caught.value.message
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html><title>Quota exceeded</title>", "an HTML page saved under this name"),
        (b"PK\x03\x04 not hdf5", "not an HDF5 file, or damaged"),
    ],
)
def test_files_that_are_no_hdf5(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(content)
    with pytest.raises(SubmissionError, match=message):
        read_submission(path)


def test_a_small_file_that_claims_terabytes_is_refused_before_reading(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # A machine of 16 GiB; the dataset claims 122.
        patch.setattr("os.sysconf", lambda name: 4096 if name == "SC_PAGE_SIZE" else 1 << 22)
        with pytest.raises(SubmissionError, match=r"query needs 122\.1 GiB of memory, this machine has 16\.0 GiB"):
            read_submission(submission_file(tmp_path, claims("query", 500_000, 65_536)))


def test_one_chunk_may_not_take_the_machine(tmp_path: Path) -> None:
    path = submission_file(tmp_path, wide_chunk)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.sysconf", lambda name: 4096 if name == "SC_PAGE_SIZE" else 1 << 18)
        message = r"query, one chunk of it, needs 3\.4 GiB of memory, this machine has 1\.0 GiB"
        with pytest.raises(SubmissionError, match=message):
            read_submission(path)


def test_an_external_link_to_a_good_file_is_not_opened_either(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    other = submission_file(tmp_path / "there")

    def change(file: h5py.File) -> None:
        for name in ("query", "query_ids", "invalid_ids", "background"):
            if name in file:
                del file[name]
        file["query"] = h5py.ExternalLink(str(other), "/query")
        file["query_ids"] = h5py.ExternalLink(str(other), "/query_ids")

    with pytest.raises(SubmissionError, match="'query' is a link to somewhere else"):
        read_submission(submission_file(tmp_path, change))
    assert form_of(tmp_path / "submission.h5") == "submission"


def test_an_unknown_filter_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(file: h5py.File) -> None:
        del file["query"]
        file.create_dataset("query", data=QUERY, chunks=(1, 2), compression="lzf")

    path = submission_file(tmp_path, change)
    assert read_submission(path).queries.vectors.tolist() == QUERY.tolist()
    monkeypatch.setattr("h5py.h5z.filter_avail", lambda _: False)
    with pytest.raises(SubmissionError, match=r"'query' is compressed with HDF5 filter 32000, which is not at hand"):
        read_submission(path)


def test_truncated_and_absent_files(tmp_path: Path) -> None:
    path = submission_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(SubmissionError, match="truncated"):
        read_submission(path)
    with pytest.raises(SubmissionError, match="cannot be read"):
        read_submission(tmp_path / "absent.h5")


def test_same_content_same_bytes_in_any_row_order(tmp_path: Path) -> None:
    there, back = tmp_path / "a.h5", tmp_path / "b.h5"
    write_descriptors(there, Descriptors(("Q1", "Q2"), QUERY), {"recipe": "x", "a": "y"})
    write_descriptors(back, Descriptors(("Q2", "Q1"), QUERY[::-1].copy()), {"a": "y", "recipe": "x"})
    assert there.read_bytes() == back.read_bytes()
    assert read_descriptors(there).ids == ("Q1", "Q2")
    with pytest.raises(SubmissionError, match="no dataset 'query'"):
        read_submission(there)


def test_a_written_submission_reads_back(tmp_path: Path) -> None:
    submission = Submission(
        queries=Descriptors(("Q2", "Q1"), QUERY),
        references=Descriptors(("R1", "R2", "R3"), REFERENCE),
        background=Descriptors(("B1", "B2"), QUERY),
        metric="ip",
        split="toy-1",
        invalid_ids=("Q3",),
        query_norms=np.array([2, 1], "f4"),
        reference_norms=np.array([3, 4, 5], "f4"),
        threshold=-0.25,
    )
    write_submission(tmp_path / "s.h5", submission, {"recipe": "by hand"})
    with read_submission(tmp_path / "s.h5") as back:
        assert back.queries.ids == ("Q1", "Q2")
        assert back.queries.vectors.tolist() == QUERY[::-1].tolist()
        assert rows_of(back.references) == REFERENCE.tolist()
        assert back.background is not None
        assert rows_of(back.background) == QUERY.tolist()
        assert (back.metric, back.split, back.invalid_ids, back.threshold) == ("ip", "toy-1", ("Q3",), -0.25)
        assert back.query_norms is not None
        assert back.reference_norms is not None
        assert (back.query_norms.tolist(), back.query_norms.dtype) == ([1, 2], np.float32)
        assert back.reference_norms.tolist() == [3, 4, 5]


# ------------------------------------------------------------------------------------------------- block by block

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
        file["query"], file["query_ids"] = QUERY.repeat(8, axis=1).astype(dtype), ["Q1", "Q2"]
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


def test_norms_follow_the_rows_that_are_kept(tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        file["query_norms"], file["reference_norms"] = np.array([0.0, 2.0]), np.array([3, np.nan, 5], "f2")
        file["invalid_ids"] = ["R2"]

    submission = read_submission(submission_file(tmp_path, change))
    assert submission.query_norms is not None
    assert submission.reference_norms is not None
    assert submission.query_norms.tolist() == [0, 2]
    assert (submission.reference_norms.tolist(), submission.reference_norms.dtype) == ([3, 5], np.float32)


def test_each_chunk_is_unpacked_once_in_a_pass(tmp_path: Path) -> None:
    expected = big_file(tmp_path, "float32", {"chunks": (2000, 2), "compression": "gzip"})
    with read_submission(tmp_path / "big.h5", keep=0) as submission:
        source = submission.references
        reads = []
        with pytest.MonkeyPatch.context() as patch:
            get = h5py.Dataset.__getitem__
            patch.setattr(h5py.Dataset, "__getitem__", lambda self, at, **kw: reads.append(at) or get(self, at, **kw))
            found = np.concatenate([source.read(start, start + 500) for start in range(0, 9001, 500)])
    assert np.array_equal(found, expected)
    # Pages of 6,000 rows, three rows of chunks.
    assert len(reads) == 2


@pytest.mark.parametrize("keep", [0, 1 << 30])
def test_a_damaged_chunk_is_refused(tmp_path: Path, keep: int) -> None:
    big_file(tmp_path, "float32", {"chunks": (1000, 16), "fletcher32": True})
    path = tmp_path / "big.h5"
    with h5py.File(path, "r") as file:
        where = file["reference"].id.get_chunk_info_by_coord((8000, 0)).byte_offset
    content = bytearray(path.read_bytes())
    content[where + 100] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(
        SubmissionError, match=r"big.h5: reference cannot be read \(.*filter returned failure.*the file is damaged"
    ):
        read_submission(path, keep=keep)


def test_a_file_damaged_while_it_is_open_is_refused_on_reading(tmp_path: Path) -> None:
    path = submission_file(tmp_path)
    with h5py.File(path, "r+") as file:
        del file["reference"], file["reference_ids"], file["query"]
        file["query"] = QUERY.repeat(40, axis=1)
        # Larger than HDF5's own cache.
        data = np.random.default_rng(1).normal(size=(40_000, 80)).astype("f4")
        file.create_dataset("reference", data=data, chunks=(5_000, 80), fletcher32=True)
        file["reference_ids"] = [f"R{row}" for row in range(40_000)]
    with h5py.File(path, "r") as file:
        where = file["reference"].id.get_chunk_info_by_coord((0, 0)).byte_offset
    with read_submission(path, keep=0) as submission:
        with path.open("r+b") as raw:
            raw.seek(where)
            raw.write(b"\0" * 64)
        with pytest.raises(SubmissionError, match=r"submission.h5: reference cannot be read \("):
            submission.references.read(0, 10)


def test_a_file_that_the_program_has_open_is_named_as_such(tmp_path: Path) -> None:
    path = submission_file(tmp_path)
    message = r"submission.h5: open elsewhere in this program; close it there first"
    with h5py.File(path, "r+"), pytest.raises(SubmissionError, match=message):
        read_submission(path)


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


def test_blocks_cannot_be_written_to(tmp_path: Path) -> None:
    source = read_submission(submission_file(tmp_path)).references
    with pytest.raises(ValueError, match="read-only"):
        source.read(0, 1)[0, 0] = 1


# ------------------------------------------------------------------------------------------------- the isc2021 form


def vectors_file(
    path: Path, ids: list[str], vectors: np.ndarray, attributes: dict[str, object] | None = None, **more: object
) -> Path:
    with h5py.File(path, "w") as file:
        file["vectors"], file["image_names"] = vectors, ids
        for name, value in more.items():
            file[name] = value
        for name, value in (attributes or {}).items():
            file.attrs[name] = value
    return path


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Path]:
    """Two query files, three reference files, a background."""
    return {
        "q1": vectors_file(tmp_path / "q1.h5", ["Q1.jpg", "Q2"], QUERY, {"split": "disc21-dev2", "metric": "ip"}),
        "q2": vectors_file(tmp_path / "q2.h5", ["Q3.png"], QUERY[:1], {"split": "disc21-final"}),
        "r1": vectors_file(tmp_path / "r1.h5", ["R1.jpeg", "R2.JPG"], REFERENCE[:2]),
        "r2": vectors_file(tmp_path / "r2.h5", ["R3"], REFERENCE[2:], {"metric": "ip", "threshold": 0.5}),
        "r3": vectors_file(
            tmp_path / "r3.h5", ["x/R4.jpg", "R5"], np.array([[0, 0], [5, 5]], "f4"), invalid_ids=["R6"]
        ),
        "b": vectors_file(tmp_path / "b.h5", ["B1.jpg", "B2"], QUERY),
    }


@pytest.mark.parametrize("keep", [0, 1 << 30])
def test_several_files_per_side_are_one_submission(tmp_path: Path, parts: dict[str, Path], keep: int) -> None:
    with h5py.File(parts["r3"], "r+") as file:
        replace("invalid_ids", ["x/R4.jpg"])(file)
    seen: list[object] = []
    submission = read_submission_parts(
        [parts["q1"], parts["q2"]],
        [parts["r1"], parts["r2"], parts["r3"]],
        [parts["b"]],
        keep=keep,
        progress=lambda *told: seen.append(told),
    )
    with submission:
        assert submission.queries.ids == ("Q1", "Q2", "Q3")
        assert submission.queries.vectors.tolist() == [[1, 0], [0, 1], [1, 0]]
        # Only .jpg, .jpeg and .png go; R2.JPG keeps its name, and so would a folder.
        assert submission.references.ids == ("R1", "R2.JPG", "R3", "R5")
        expected = np.array([[1, 0], [0, 2], [3, 3], [5, 5]], dtype=np.float32)
        for start in range(5):
            for stop in range(start, 6):
                block = submission.references.read(start, stop)
                assert block.shape == (max(0, min(stop, 4) - start), 2)
                assert np.array_equal(block, expected[start:stop])
        same_survey(submission.references.survey, Descriptors(submission.references.ids, expected).survey)
        assert submission.background is not None
        assert submission.background.ids == ("B1", "B2")
        assert (submission.metric, submission.split, submission.threshold) == ("ip", None, 0.5)
        assert submission.invalid_ids == ("x/R4",)
        sides = [("background", "b"), ("query", "q1"), ("query", "q2")]
        sides += [("reference", "r1"), ("reference", "r2"), ("reference", "r3")]
        lines = sorted(f"{side}\t{hashlib.sha256(parts[name].read_bytes()).hexdigest()}\n" for side, name in sides)
        assert submission.sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert seen == []


def test_progress_over_several_files_counts_all_rows(tmp_path: Path, parts: dict[str, Path]) -> None:
    for number in range(2):
        names = [f"R{number}{row}" for row in range(3000)]
        vectors_file(tmp_path / f"m{number}.h5", names, np.arange(1, 6001, dtype="f4").reshape(-1, 2))
    seen = []
    files = [tmp_path / "m0.h5", tmp_path / "m1.h5"]
    read_submission_parts([parts["q1"]], files, progress=lambda *told: seen.append(told))
    assert seen == [("checking references", 3000, 6000), ("checking references", 6000, 6000)]


def test_one_split_is_kept_if_no_other_is_named(parts: dict[str, Path]) -> None:
    submission = read_submission_parts([parts["q1"]], [parts["r1"]])
    assert (submission.split, submission.metric, submission.background) == ("disc21-dev2", "ip", None)
    assert submission.queries.ids == ("Q1", "Q2")


PARTS: list[tuple[dict[str, object], str]] = [
    ({"ids": ["R3", "R1"]}, r"new.h5: id R1 stands in .*r1.h5 too \(1 such ids\)"),
    ({"ids": ["R8.jpg", "R8.png"]}, r"new.h5: vectors: id R8 stands in row 0 and in row 1"),
    ({"vectors": np.ones((2, 3), "f4")}, r"new.h5: vectors has 3 dimensions, .*q1.h5 has 2"),
    ({"vectors": QUERY.astype("f2")}, r"new.h5: vectors holds float16, .*q1.h5 holds float32"),
    ({"attributes": {"metric": "l2"}}, r"new.h5: attribute metric is 'l2', but 'ip' in .*q1.h5"),
    ({"attributes": {"metric": "cos"}}, r"new.h5: attribute metric is 'cos'"),
    ({"ids": ["R8"]}, r"new.h5: vectors has 2 rows but image_names has 1 ids"),
    ({"vectors": np.zeros((2, 2), "f4")}, r"new.h5: vectors: row 0 \(R8\) is all zeros"),
]


@pytest.mark.parametrize(("change", "message"), PARTS)
def test_files_that_do_not_belong_together(
    tmp_path: Path, parts: dict[str, Path], change: dict[str, object], message: str
) -> None:
    new = vectors_file(tmp_path / "new.h5", **({"ids": ["R8", "R9"], "vectors": QUERY} | change))
    with pytest.raises(SubmissionError, match=message):
        read_submission_parts([parts["q1"]], [parts["r1"], new])


def test_a_side_without_files_or_with_one_twice(parts: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="no reference file; give at least one, --reference FILE"):
        read_submission_parts([parts["q1"]], [])
    with pytest.raises(UsageError, match=r"r1.h5 stands twice among the reference files"):
        read_submission_parts([parts["q1"]], [parts["r1"], parts["r2"], parts["r1"]])
    with pytest.raises(SubmissionError, match=r"submission.h5: no dataset 'vectors', 'image_names'; found"):
        read_submission_parts([submission_file(parts["q1"].parent)], [parts["r1"]])


def test_background_is_read_from_both_forms(tmp_path: Path, parts: dict[str, Path]) -> None:
    assert read_background(parts["b"]).ids == ("B1", "B2")
    path = submission_file(tmp_path, with_background(QUERY, ["B7.jpg", "B8"]))
    assert read_background(path).ids == ("B7.jpg", "B8")
    assert rows_of(read_background(path)) == QUERY.tolist()
    with pytest.raises(SubmissionError, match=r"no dataset 'vectors', 'image_names'; found .*expected vectors"):
        read_background(submission_file(tmp_path))


def test_the_form_is_told_by_content(tmp_path: Path, parts: dict[str, Path]) -> None:
    assert form_of(parts["b"]) == "vectors"
    assert form_of(submission_file(tmp_path)) == "submission"
    (tmp_path / "pairs.h5").write_text("query_id,reference_id,score\n")
    assert form_of(tmp_path / "pairs.h5") == "other"
    with h5py.File(tmp_path / "none.h5", "w") as file:
        file["x"] = 1
    assert form_of(tmp_path / "none.h5") == "other"
    with pytest.raises(SubmissionError, match="cannot be read"):
        form_of(tmp_path / "absent.h5")


def test_query_ids_alone(tmp_path: Path, parts: dict[str, Path]) -> None:
    assert read_query_ids(submission_file(tmp_path)) == ("Q1", "Q2")
    assert read_query_ids(parts["q1"]) == ("Q1", "Q2")
    with h5py.File(tmp_path / "none.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(SubmissionError, match="no dataset 'image_names'; found 'x'; expected query_ids"):
        read_query_ids(tmp_path / "none.h5")


def test_a_file_of_one_side_says_how_to_go_on(parts: dict[str, Path]) -> None:
    with pytest.raises(SubmissionError, match=r"no dataset 'query'.*give it as --query or --reference, or pack"):
        read_submission(parts["q1"])


def test_records_check_themselves() -> None:
    with pytest.raises(SubmissionError, match="2 rows but 1 ids"):
        Descriptors(("Q1",), QUERY)
