"""Submissions in parts, the form of isc2021: several files of vectors per side, a background in one of its own."""

import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from ndec_bench.descriptors import (
    Descriptors,
    Submission,
    form_of,
    read_background,
    read_query_ids,
    read_submission,
    read_submission_parts,
    write_submission,
)
from ndec_bench.descriptors.packing import pack
from ndec_bench.errors import SubmissionError, UsageError

QUERY = np.array([[1, 0], [0, 1]], dtype=np.float32)
REFERENCE = np.array([[1, 0], [0, 2], [3, 3]], dtype=np.float32)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A submission in one file, without background."""
    path = tmp_path / "submission.h5"
    write_submission(path, Submission(Descriptors(("Q1", "Q2"), QUERY), Descriptors(("R1", "R2", "R3"), REFERENCE)), {})
    return path


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
        del file["invalid_ids"]
        file["invalid_ids"] = ["x/R4.jpg"]
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
        # The suffix of a picture goes, in any case; a folder would stay.
        assert submission.references.ids == ("R1", "R2", "R3", "R5")
        expected = np.array([[1, 0], [0, 2], [3, 3], [5, 5]], dtype=np.float32)
        for start in range(5):
            for stop in range(start, 6):
                block = submission.references.read(start, stop)
                assert block.shape == (max(0, min(stop, 4) - start), 2)
                assert np.array_equal(block, expected[start:stop])
        survey, other = submission.references.survey, Descriptors(submission.references.ids, expected).survey
        assert survey.squared_norms.tolist() == other.squared_norms.tolist()
        assert survey.total.tolist() == other.total.tolist()
        assert (survey.largest, survey.grid) == (other.largest, other.grid)
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
    ({"ids": ["R3", "R1"]}, r"new.h5: id R1 is in .*r1.h5 too \(1 such ids\)"),
    ({"ids": ["R8.jpg", "R8.png"]}, r"new.h5: vectors: id R8 is in row 0 and in row 1"),
    ({"vectors": np.ones((2, 3), "f4")}, r"q1.h5: vectors has 2 dimensions, .*new.h5: vectors 3"),
    ({"vectors": QUERY.astype("f2")}, r"q1.h5: vectors holds float32, .*new.h5: vectors float16"),
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


def test_a_side_without_files_or_with_one_twice(parts: dict[str, Path], whole: Path) -> None:
    with pytest.raises(UsageError, match="no reference file; give at least one, --reference FILE"):
        read_submission_parts([parts["q1"]], [])
    with pytest.raises(UsageError, match=r"r1.h5 appears twice among the reference files"):
        read_submission_parts([parts["q1"]], [parts["r1"], parts["r2"], parts["r1"]])
    with pytest.raises(SubmissionError, match=r"submission.h5: no dataset 'vectors', 'image_names'; found"):
        read_submission_parts([whole], [parts["r1"]])


def test_background_is_read_from_both_forms(tmp_path: Path, parts: dict[str, Path], whole: Path) -> None:
    assert read_background(parts["b"]).ids == ("B1", "B2")
    background = Descriptors(("B7.jpg", "B8"), QUERY)
    path = tmp_path / "with.h5"
    write_submission(path, Submission(read_submission(whole).queries, background, background), {})
    found = read_background(path)
    assert found.ids == ("B7.jpg", "B8")
    assert found.read(0, 2).tolist() == QUERY.tolist()
    with pytest.raises(SubmissionError, match=r"no dataset 'vectors', 'image_names'; found .*expected vectors"):
        read_background(whole)


def test_the_form_is_told_by_content(tmp_path: Path, parts: dict[str, Path], whole: Path) -> None:
    assert form_of(parts["b"]) == "vectors"
    assert form_of(whole) == "submission"
    (tmp_path / "pairs.h5").write_text("query_id,reference_id,score\n")
    assert form_of(tmp_path / "pairs.h5") == "other"
    with h5py.File(tmp_path / "none.h5", "w") as file:
        file["x"] = 1
    assert form_of(tmp_path / "none.h5") == "other"
    with pytest.raises(SubmissionError, match="cannot be read"):
        form_of(tmp_path / "absent.h5")


def test_query_ids_alone(tmp_path: Path, parts: dict[str, Path], whole: Path) -> None:
    assert read_query_ids(whole) == ("Q1", "Q2")
    assert read_query_ids(parts["q1"]) == ("Q1", "Q2")
    with h5py.File(tmp_path / "none.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(SubmissionError, match="no dataset 'image_names'; found 'x'; expected query_ids"):
        read_query_ids(tmp_path / "none.h5")


def test_a_file_of_one_side_says_how_to_go_on(parts: dict[str, Path]) -> None:
    with pytest.raises(SubmissionError, match=r"no dataset 'query'.*give it as --query or --reference, or pack"):
        read_submission(parts["q1"])


def test_norms_of_the_files_of_a_side_are_joined_without_those_of_broken_images(parts: dict[str, Path]) -> None:
    for name, norms in {"q1": [1, 2], "q2": [3], "r1": [4, 5], "r2": [6], "r3": [7, 8]}.items():
        with h5py.File(parts[name], "a") as file:
            file["norms"] = np.array(norms, dtype=np.float32)
            if name == "r3":
                file["invalid_ids"][...] = "x/R4"
    with read_submission_parts([parts["q1"], parts["q2"]], [parts["r1"], parts["r2"], parts["r3"]]) as submission:
        assert submission.query_norms is not None
        assert submission.reference_norms is not None
        assert submission.query_norms.tolist() == [1, 2, 3]
        assert submission.references.ids == ("R1", "R2", "R3", "R5")
        assert submission.reference_norms.tolist() == [4, 5, 6, 8]


def test_packing_takes_several_files_of_a_side(tmp_path: Path) -> None:
    rows, norms = np.eye(5, dtype=np.float32), np.arange(5, dtype=np.float32)
    ids, queries = ["R3", "R1", "R5", "R2", "R4"], vectors_file(tmp_path / "q.h5", ["Q1", "Q2"], QUERY @ rows[:2])
    with h5py.File(queries, "a") as file:
        file["norms"] = norms[:2]
    whole = vectors_file(tmp_path / "r.h5", ids, rows, norms=norms, invalid_ids=["R9"])
    shards = [
        vectors_file(tmp_path / "r1.h5", ids[:2], rows[:2], norms=norms[:2]),
        vectors_file(tmp_path / "r2.h5", ids[2:], rows[2:], norms=norms[2:], invalid_ids=["R9"]),
    ]
    pack(queries, whole, tmp_path / "one.h5", split="x").close()
    pack([queries], shards, tmp_path / "many.h5", split="x").close()
    assert (tmp_path / "one.h5").read_bytes() == (tmp_path / "many.h5").read_bytes()
    with pytest.raises(UsageError, match=r"r1\.h5 appears twice among the reference files"):
        pack(queries, [shards[0], shards[0]], tmp_path / "s.h5", split="x")
    with pytest.raises(SubmissionError, match=r"r1\.h5: id R1 is in .*r\.h5 too \(2 such ids\)"):
        pack(queries, [whole, shards[0]], tmp_path / "s.h5", split="x")
    again = vectors_file(tmp_path / "again.h5", ["refs/R1.jpg"], rows[:1], norms=norms[:1])
    with pytest.raises(SubmissionError, match=r"again\.h5: id refs/R1\.jpg is the image R1 of .*r1\.h5"):
        pack(queries, [*shards, again], tmp_path / "s.h5", split="x")
    broken = vectors_file(tmp_path / "broken.h5", ["Q3"], rows[:1], norms=norms[:1], invalid_ids=["R1"])
    with pytest.raises(SubmissionError, match=r"broken\.h5: R1 of its invalid_ids is a row of .*r\.h5 \(1 such ids\)"):
        pack([queries, broken], whole, tmp_path / "s.h5", split="x")


def test_norms_in_some_files_only_are_refused(parts: dict[str, Path]) -> None:
    with h5py.File(parts["q1"], "a") as file:
        file["norms"] = np.ones(2, dtype=np.float32)
    with pytest.raises(SubmissionError, match=r"r2.h5: no norms, but .*q1.h5 has norms"):
        read_submission_parts([parts["q1"]], [parts["r2"]])


def test_a_file_whose_queries_see_each_other_says_so(parts: dict[str, Path], whole: Path) -> None:
    with read_submission_parts([parts["q1"]], [parts["r2"]]) as submission:
        assert submission.query_independent
    for path in (parts["q1"], whole):
        with h5py.File(path, "a") as file:
            file.attrs["query_independent"] = "no"
    with read_submission_parts([parts["q1"]], [parts["r2"]]) as submission:
        assert not submission.query_independent
    with read_submission(whole) as submission:
        assert not submission.query_independent
