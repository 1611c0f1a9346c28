import hashlib
from pathlib import Path

import numpy as np
import pytest

from ndec_bench.errors import SubmissionError
from ndec_bench.matches import Matches, read_pairs


def test_the_order_of_record_is_score_then_query_then_reference() -> None:
    matches = Matches(
        np.array(["Q2", "Q1", "Q1", "Q1"]), np.array(["R1", "R2", "R1", "R3"]), np.array([0.5, 0.5, 0.5, 0.9])
    )
    ordered = matches.sorted()
    assert list(zip(ordered.query_ids.tolist(), ordered.reference_ids.tolist(), strict=True)) == [
        ("Q1", "R3"),
        ("Q1", "R1"),
        ("Q1", "R2"),
        ("Q2", "R1"),
    ]
    assert len(matches.sorted(2)) == 2


def test_the_digest_is_that_of_the_documented_lines() -> None:
    matches = Matches(np.array(["Q1", "Q1"]), np.array(["R3", "R1"]), np.array([0.1, -2.0]))
    text = "Q1\tR3\t0x1.999999999999ap-4\nQ1\tR1\t-0x1.0000000000000p+1\n"
    assert matches.sha256 == hashlib.sha256(text.encode()).hexdigest()


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "pairs.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_may_stand_in_any_order_and_others_are_passed_over(tmp_path: Path) -> None:
    matches = read_pairs(written(tmp_path, "score,remark,reference_id,query_id\n0.25,x,R1,Q1\n1e-3,,R2,Q1\n"))
    assert matches.query_ids.tolist() == ["Q1", "Q1"]
    assert matches.reference_ids.tolist() == ["R1", "R2"]
    assert matches.scores.tolist() == [0.25, 0.001]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "header 'an empty file', expected query_id,reference_id,score"),
        ("query,ref,score\nQ1,R1,1\n", "header 'query,ref,score', expected"),
        ("query_id,reference_id,score\n", "no pairs"),
        ("query_id,reference_id,score\nQ1,R1,nan\n", r"line 2: score is nan \(Q1,R1\)"),
        ("query_id,reference_id,score\nQ1,R1,inf\n", "line 2: score is inf"),
        ("query_id,reference_id,score\nQ1,R1,high\n", "line 2: score 'high' is no number"),
        ("query_id,reference_id,score\nQ1,R1\n", "line 2: score '' is no number"),
        ("query_id,reference_id,score\n,R1,1\n", "line 2 lacks an id"),
        ("query_id,reference_id,score\nQ1,R1,1\nQ1,R2,1\nQ1,R1,2\n", r"line 4 repeats line 2 \(Q1,R1\)"),
    ],
)
def test_bad_pairs_are_refused_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SubmissionError, match=message):
        read_pairs(written(tmp_path, text))


def test_binary_and_absent_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(b"\xff\xfequery_id")
    with pytest.raises(SubmissionError, match="no CSV text"):
        read_pairs(path)
    with pytest.raises(SubmissionError, match="cannot be read"):
        read_pairs(tmp_path / "absent.csv")
