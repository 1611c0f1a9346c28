"""Reading what strangers write: what is accepted, and one clear refusal for each kind of bad file."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from ndec_bench.descriptors import (
    Descriptors,
    Submission,
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


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("ids", [["Q1", "Q2"], np.array([b"Q1", b"Q2"]), np.array(["Q1", "Q2"], dtype=object)])
def test_two_lines_of_h5py_are_enough(tmp_path: Path, dtype: str, ids: object) -> None:
    path = submission_file(tmp_path, replace("query_ids", ids))
    with h5py.File(path, "r+") as file:
        replace("query", QUERY.astype(dtype))(file)
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


def huge(file: h5py.File) -> None:
    del file["query"]
    file.create_dataset("query", (10**12, 256), "f4", chunks=(1, 256))


def zeros(file: h5py.File) -> None:
    del file["query"], file["query_ids"]
    file.create_dataset("query", (100_000, 4_096), "f4", chunks=(64, 4_096))
    file["query_ids"] = np.char.add(b"Q", np.arange(100_000).astype("S8"))


def group(file: h5py.File) -> None:
    del file["query"]
    file.create_group("query")


BAD: list[tuple[Change, str]] = [
    (lambda f: f.__delitem__("query"), r"no dataset 'query'; found 'query_ids', 'reference', 'reference_ids'"),
    (replace("query", np.array([[1, np.nan], [0, 1]])), r"query: row 0 \(Q1\) holds nan, expected finite"),
    (replace("query", np.array([[1, 0], [0, -np.inf]])), r"query: row 1 \(Q2\) holds -inf"),
    (replace("query", np.array([[1e39, 0], [0, 1]])), r"cast to float32: row 0 \(Q1\) holds inf"),
    (replace("query", QUERY.astype("int32")), r"query holds int32, expected float16, float32 or float64"),
    (replace("query", np.array([[b"a", b"b"], [b"c", b"d"]])), r"query holds \|S1"),
    (replace("query", QUERY[0]), r"query has shape \(2,\), expected \(images, dimensions\)"),
    (replace("query", QUERY[:0]), r"query has shape \(0, 2\)"),
    (replace("query", np.ones((2, 3), "f4") * [[1], [2]]), r"query has 3 dimensions, reference 2"),
    (replace("query", np.zeros((2, 2), "f4")), r"row 0 \(Q1\) is all zeros.*invalid_ids"),
    (replace("query", np.ones((2, 2), "f4")), r"all 2 descriptors are equal"),
    (replace("query_ids", ["Q1"]), r"query has 2 rows but query_ids has 1 ids"),
    (replace("query_ids", ["Q1", "Q1"]), r"id Q1 stands in row 0 and in row 1"),
    (replace("query_ids", [1, 2]), r"query_ids holds int64 of shape \(2,\), expected a list of strings"),
    (replace("query_ids", ["Q1", ""]), r"query_ids row 1 is '', no usable id"),
    (replace("query_ids", ["Q1", "Q\u202e2"]), r"query_ids row 1 is .*no usable id"),
    (replace("query_ids", np.array([b"Q1", b"\xff\xff"])), r"query_ids cannot be read"),
    (lambda f: f.attrs.__setitem__("metric", "cosine"), r"attribute metric is 'cosine'; expected \"l2\" or \"ip\""),
    (lambda f: f.attrs.__setitem__("split", 7), r"attribute split is no text"),
    (external, r"'query' is a link to somewhere else, which is never followed"),
    (soft, r"'query' is a link to somewhere else"),
    (virtual, r"'query' is stored in other files, which are never opened"),
    (outside, r"'query' is stored in other files"),
    (huge, r"query has shape \(1000000000000, 256\)"),
    (zeros, r"query: row 0 \(Q0\) is all zeros"),
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
    def change(file: h5py.File) -> None:
        del file["query"], file["query_ids"]
        file.create_dataset("query", (500_000, 65_536), "f4", chunks=(1, 65_536), fillvalue=1.0)
        file.create_dataset("query_ids", data=np.char.add(b"Q", np.arange(500_000).astype("S8")))

    with pytest.MonkeyPatch.context() as patch:
        # A machine of 16 GiB; the dataset claims 122.
        patch.setattr("os.sysconf", lambda name: 4096 if name == "SC_PAGE_SIZE" else 1 << 22)
        with pytest.raises(SubmissionError, match=r"query needs 122\.1 GiB of memory, this machine has 16\.0 GiB"):
            read_submission(submission_file(tmp_path, change))


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
        queries=Descriptors(("Q1", "Q2"), QUERY),
        references=Descriptors(("R1", "R2", "R3"), REFERENCE),
        background=Descriptors(("B1", "B2"), QUERY),
        metric="ip",
        split="toy-1",
        invalid_ids=("Q3",),
    )
    write_submission(tmp_path / "s.h5", submission, {"recipe": "by hand"})
    back = read_submission(tmp_path / "s.h5")
    assert back.references.vectors.tolist() == REFERENCE.tolist()
    assert back.background is not None
    assert (back.metric, back.split, back.invalid_ids) == ("ip", "toy-1", ("Q3",))


def test_records_check_themselves() -> None:
    with pytest.raises(SubmissionError, match="2 rows but 1 ids"):
        Descriptors(("Q1",), QUERY)
