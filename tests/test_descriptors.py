"""Reading what strangers write: what is accepted, and one clear refusal for each kind of bad file."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from ndec_bench.descriptors import (
    Descriptors,
    Submission,
    VectorSource,
    form_of,
    read_attributes,
    read_descriptors,
    read_submission,
    sha256_of_file,
    write_descriptors,
    write_submission,
)
from ndec_bench.errors import SubmissionError

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
    path = submission_file(tmp_path, attribute("metric", np.bytes_(b"ip")))
    with h5py.File(path, "r+") as file:
        file.attrs.create("split", b"nd\xffec", dtype=h5py.string_dtype())  # not UTF-8, and yet to be shown
        h5py.h5a.create(file.id, b"\xff", h5py.h5t.C_S1, h5py.h5s.create(h5py.h5s.SCALAR))
    submission = read_submission(path)
    assert (submission.metric, submission.split) == ("ip", "nd\ufffdec")
    assert read_attributes(path) == {"metric": "ip", "split": "nd\ufffdec"}


def test_invalid_images_are_present_without_a_row(tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        replace("query", np.array([[0, 0], [0, 1]], dtype=np.float32))(file)
        file["invalid_ids"] = ["Q1"]

    submission = read_submission(submission_file(tmp_path, change))
    assert submission.queries.ids == ("Q2",)
    assert submission.invalid_ids == ("Q1",)


def created(name: str, *arguments: object, **options: object) -> Change:
    """A dataset that h5py makes with these arguments, in place of ``name``."""

    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, *arguments, **options)

    return change


def virtual(file: h5py.File) -> None:
    del file["query"]
    layout = h5py.VirtualLayout(shape=(2, 2), dtype="f4")
    layout[:] = h5py.VirtualSource("other.h5", "query", shape=(2, 2))
    file.create_virtual_dataset("query", layout)


def claims(side: str, rows: int, dimensions: int, fill: float = 1.0) -> Change:
    """Rows that are claimed, not stored: a few kilobytes of file."""

    def change(file: h5py.File) -> None:
        other = "query" if side == "reference" else "reference"
        del file[side], file[f"{side}_ids"], file[other]
        file.create_dataset(side, (rows, dimensions), "f4", chunks=(1, dimensions), fillvalue=fill)
        file[f"{side}_ids"] = np.char.add(b"I", np.arange(rows).astype("S8"))
        file[other] = np.eye(len(file[f"{other}_ids"]), dimensions, dtype="f4")

    return change


def group(file: h5py.File) -> None:
    del file["query"]
    file.create_group("query")


def region(file: h5py.File) -> None:
    del file["query"]
    data = file.create_dataset("query", (2, 2), h5py.regionref_dtype)
    data[0, 0] = file["reference"].regionref[:1]


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
    (replace("query", QUERY.astype("f2")), r"query holds float16, reference float32, expected one type"),
    (replace("query", QUERY.astype("int32")), r"query holds int32, expected float16, float32 or float64"),
    (replace("query", QUERY.astype("c8")), r"query holds complex64, expected float16"),
    (replace("query", QUERY.astype("longdouble")), r"query holds float128, expected float16"),
    (replace("query", QUERY.astype(bool)), r"query holds bool, expected float16"),
    (replace("query", np.array([[b"a", b"b"], [b"c", b"d"]])), r"query holds \|S1"),
    (created("query", (2, 2), h5py.string_dtype()), r"query holds strings of varying length, expected float16"),
    (created("query", (2, 2), h5py.vlen_dtype(np.float32)), r"query holds lists of varying length, expected float16"),
    (created("query", (2, 2), h5py.ref_dtype), r"query holds references to other objects, expected float16"),
    (created("query", (2, 2), [("a", "f4"), ("b", "f4")]), r"query holds .*'a'.*'b'.*, expected float16"),
    (created("query", (2, 2), np.dtype(("f4", (3,)))), r"query holds .*, expected float16"),
    (region, r"query holds references to other objects"),
    (replace("query", h5py.Empty("f4")), r"query has shape None, expected \(images, dimensions\)"),
    (replace("query", QUERY[0]), r"query has shape \(2,\), expected \(images, dimensions\)"),
    (replace("query", QUERY[:0]), r"query has shape \(0, 2\)"),
    (replace("query", QUERY[None]), r"query has shape \(1, 2, 2\)"),
    (replace("query", np.ones((2, 3), "f4") * [[1], [2]]), r"query holds float64, reference|query has 3 dimensions"),
    (replace("query", np.ones((2, 3), "f4")), r"query has 3 dimensions, reference 2; describe all images"),
    (
        with_background(np.ones((2, 3), "f4"), ["B1", "B2"]),
        r"query has 2 dimensions, background 3; describe",
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
    (
        created("query_ids", (10**12,), "S8", chunks=(1024,)),
        r"query_ids holds \|S8 of shape \(1000000000000,\), expected a list of strings",
    ),
    (replace("query_ids", ["Q1", "Q1"]), r"query: id Q1 is in row 0 and in row 1"),
    (replace("query_ids", [1, 2]), r"query_ids holds int64 of shape \(2,\), expected a list of strings"),
    (replace("query_ids", np.array([[b"Q1", b"Q2"]])), r"query_ids holds \|S2 of shape \(1, 2\), expected a list"),
    (replace("query_ids", np.array([b"Q" * 300, b"Q2"])), r"query_ids holds ids of 300 bytes, at most 256"),
    (replace("query_ids", ["Q1", "Q" * 300]), r"query_ids row 1, 'Q{40}', is longer than 256 characters"),
    (replace("query_ids", ["Q1", ""]), r"query_ids row 1, '', is empty"),
    (replace("query_ids", ["Q1", "Q\u202e2"]), r"query_ids row 1, .*, has characters that cannot be printed"),
    (
        replace("query_ids", np.array([b"Q1", b"\xff\xff"])),
        r"query_ids cannot be read: row 1 is b'\\xff\\xff', not UTF-8",
    ),
    (
        created("query_ids", (2,), "S4", external=[("/etc/hostname", 0, 8)]),
        r"'query_ids' is stored in other files, which are never opened",
    ),
    (lambda f: f.__setitem__("invalid_ids", ["Q1", "Q2"]), r"query: all 2 images are listed in invalid_ids"),
    (attribute("metric", "cosine"), r"attribute metric is 'cosine'; expected \"l2\" or \"ip\""),
    (attribute("split", 7), r"attribute split is not text"),
    (attribute("split", ["a", "b"]), r"attribute split is not text"),
    (attribute("split", h5py.Empty("S1")), r"attribute split is not text"),
    (attribute("threshold", "0.5"), r"attribute threshold is '0\.5', expected a finite number"),
    (attribute("threshold", np.nan), r"attribute threshold is 'nan', expected a finite number"),
    (attribute("threshold", True), r"attribute threshold is 'True', expected a finite number"),
    (attribute("threshold", [0.5, 0.6]), r"attribute threshold is .*, expected a finite number"),
    (
        other_row_of_norms("query_norms", [1.0, 1.0], "reference_norms"),
        r"no reference_norms, but .*submission.h5 has query_norms; write one norm per row for both sides",
    ),
    (other_row_of_norms("query_norms", [1.0, 1.0], "query_norms"), r"no query_norms, but .* has reference_norms"),
    (other_row_of_norms("query_norms", [1.0]), r"query_norms has shape \(1,\), but query has 2 rows"),
    (other_row_of_norms("reference_norms", [[1.0] * 3]), r"reference_norms has shape \(1, 3\), but reference has 3"),
    (other_row_of_norms("query_norms", np.array([1, 2])), r"query_norms holds int64, expected float16"),
    (other_row_of_norms("query_norms", [1.0, np.nan]), r"query_norms row 1 \(Q2\) is nan, expected a finite number"),
    (other_row_of_norms("query_norms", [-1.0, 1.0]), r"query_norms row 0 \(Q1\) is -1\.0, expected .* zero or above"),
    (other_row_of_norms("reference_norms", [1.0, 1.0, 1e39]), r"reference_norms row 2 \(R3\) is 1e\+39, expected"),
    (
        replace("query", h5py.ExternalLink("other.h5", "/query")),
        r"'query' is a link to somewhere else, which is never followed",
    ),
    (replace("query", h5py.SoftLink("/reference")), r"'query' is a link to somewhere else"),
    (virtual, r"'query' is stored in other files, which are never opened"),
    (created("query", (2, 2), "f4", external=[("/etc/hostname", 0, 16)]), r"'query' is stored in other files"),
    (created("query", (10**12, 256), "f4", chunks=(1, 256)), r"query has shape \(1000000000000, 256\)"),
    (
        created("query", (2, 70_000), "f4", chunks=(1, 1_000)),
        r"query has shape \(2, 70000\), expected .* at most 50,000,000 images and 65,536 dimensions",
    ),
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
        (b"", "empty, expected descriptors"),
        (b"<!DOCTYPE html><title>Quota exceeded</title>", "a web page, expected descriptors"),
        (b"\x00\x01 not hdf5", "not an HDF5 file, or damaged"),
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


@pytest.mark.parametrize("compression", [None, "gzip", "lzf"])
def test_one_chunk_may_not_take_the_machine(tmp_path: Path, compression: str | None) -> None:
    layout = {"maxshape": (None, None), "chunks": (30_000, 30_000), "compression": compression}
    path = submission_file(tmp_path, created("query", (2, 2), "f4", **layout))
    with pytest.raises(SubmissionError, match=r"'query' has chunks of 3\.4 GiB, but the file holds 0 bytes of it"):
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


@pytest.mark.parametrize(
    ("layout", "named"),
    [({"fletcher32": True}, r"3 \(fletcher32\)"), ({"scaleoffset": 3}, r"6 \(scaleoffset\)")],
)
def test_other_filters_than_gzip_shuffle_and_lzf_are_refused(
    tmp_path: Path, layout: dict[str, object], named: str
) -> None:
    path = submission_file(tmp_path, created("query", data=QUERY, chunks=(1, 2), **layout))
    with pytest.raises(SubmissionError, match=rf"'query' is written with HDF5 filter {named}; .*h5repack -f NONE OLD"):
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


def test_a_file_damaged_while_it_is_open_is_refused_on_reading(tmp_path: Path) -> None:
    path = submission_file(tmp_path)
    with h5py.File(path, "r+") as file:
        del file["reference"], file["reference_ids"], file["query"]
        file["query"] = QUERY.repeat(40, axis=1)
        # Larger than HDF5's own cache.
        data = np.random.default_rng(1).normal(size=(40_000, 80)).astype("f4")
        file.create_dataset("reference", data=data, chunks=(5_000, 80), compression="gzip")
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


def test_blocks_cannot_be_written_to(tmp_path: Path) -> None:
    source = read_submission(submission_file(tmp_path)).references
    with pytest.raises(ValueError, match="read-only"):
        source.read(0, 1)[0, 0] = 1


def test_records_check_themselves() -> None:
    with pytest.raises(SubmissionError, match="2 rows but 1 ids"):
        Descriptors(("Q1",), QUERY)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((value, False) for value in ("no", "No", " FALSE ", "0", b"no", 0, False)),
        *((value, True) for value in ("yes", "True", "1", 1, True)),
    ],
)
def test_queries_that_depend_on_others_are_told_in_any_spelling(tmp_path: Path, value: object, expected: bool) -> None:
    path = submission_file(tmp_path)
    with h5py.File(path, "a") as file:
        file.attrs["query_independent"] = value
    with read_submission(path) as submission:
        assert submission.query_independent is expected


@pytest.mark.parametrize("value", ["maybe", "", 2, [0, 1]])
def test_an_answer_that_is_neither_yes_nor_no_is_refused(tmp_path: Path, value: object) -> None:
    path = submission_file(tmp_path)
    with h5py.File(path, "a") as file:
        file.attrs["query_independent"] = value
    with pytest.raises(SubmissionError, match="attribute query_independent is"), read_submission(path):
        pass
