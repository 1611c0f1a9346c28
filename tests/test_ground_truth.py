from pathlib import Path

import pytest

from ndec_bench.data.ground_truth import GroundTruth, read_ground_truth, read_ids, write_ground_truth
from ndec_bench.errors import DataError


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "truth.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "query_id,reference_id\nQ2,\nQ1,R1\n",
        "Q1,R1\nQ2,\n",
        "Q1,R1\nQ2\n",
        "\ufeffquery_id,reference_id\r\nQ1,R1\r\n\r\nQ2,\r\n",
        ' "Q1" ,R1\nQ2,\n'.replace(" ", ""),
        "\n , \nquery_id,reference_id\nQ1, R1\n\n Q2 ,\n",
        '{"Q2": [], "Q1": ["R1"]}',
        '\ufeff\n {"Q1": [" R1 "], "Q2 ": []}\n',
    ],
)
def test_dialects_read_the_same(tmp_path: Path, text: str) -> None:
    assert read_ground_truth(written(tmp_path, text)) == GroundTruth(("Q1", "Q2"), (("Q1", "R1"),))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("query_id,reference_id\nQ1,R1\nQ1,R1\n", r"line 3 repeats line 2 \(Q1,R1\)"),
        ("Q1,R1\nQ1,R2\n", r"line 2 gives Q1 a second row \(first in line 1\).*--multi"),
        ("Q1,R1,0.5\n", r"line 1 has 3 fields, expected 1 or 2 \('Q1,R1,0.5'\); expected lines query_id,reference_id"),
        (",R1\n", "line 1: query_id '' is empty"),
        ("Q1;R1\nQ2;\n", "line 1 has its fields separated by semicolons .*expected commas"),
        ("query,ref\nQ1,R1\n", "line 1 looks like a header with other names"),
        ("query_id,reference_id\n", "no query found"),
        ("", "no query found"),
        ("<!DOCTYPE html><html>", "a web page, expected a table of text"),
        (b"Q1,R\xff\n", "line 1: not UTF-8 text"),
        (b"Q1,R1\r\nQ2,R\x00\n", "line 2: has a NUL byte"),
        ('Q1,R1\nQ2, "R2"\n', "line 2: a quote in the middle of a field"),
        ('Q1,R1\n"Q2,R2\n', "line 2: a quote that is never closed"),
        ("Q1," + "R" * 200_000, "line 1 is longer than 131,072 bytes"),
        ("Q" * 300 + ",R1\n", "longer than 256"),
        ("Q1,R\t1\n", r"line 1: reference_id 'R.t1' has characters that cannot be printed"),
        ("qid,rid\nQ1,R1\nQ2,\n", r"line 1 looks like a header with other names \('qid,rid'\); begin the file with"),
        ("image,source\nQ1,R1\nQ2,\n", "line 1 looks like a header"),
        ("id\nQ1\nQ2\n", "line 1 looks like a header"),
        ("alpha,beta\nQ1,R1\nQ2,\n", "line 1 looks like a header"),
        ("# dev set\nquery_id,reference_id\nQ1,R1\n", "line 1 looks like a header"),
        ("sep=,\nquery_id,reference_id\nQ1,R1\n", "line 2 is a header, but not the first line"),
        ("Q1,R1\nquery_id,reference_id\nQ2,R2\n", "line 2 is a header, but not the first line"),
        ("Q1,nan\nQ1,NA\n", "line 2 repeats line 1"),
        ("\nquery_id,ref\nQ1,R1\n", "line 2 looks like a header with other names"),
        ("0,1\nQ1,R1\nQ2,\n", "line 1 looks like a header"),
        ("img1,img2\nQ1,R1\nQ2,\n", "line 1 looks like a header"),
        ("q0,r0\nQ1,R1\nQ2,\n", "line 1 looks like a header"),
        ("Ground truth v2\nQ1,R1\nQ2,\n", "line 1 looks like a header"),
        ("// v2\nQ1,R1\nQ2,\n", "line 1 looks like a header"),
        ("Q1,R1\nQ2,R1.jpg\n", r"R1 and R1\.jpg are one image in two forms"),
        ("Q1.jpg,R1\nq1/Q1.jpg,\n", r"Q1\.jpg and q1/Q1\.jpg are one image in two forms"),
        ("Q1 R1\nQ2 R2\n", r"no query has a reference \(line 1 is 'Q1 R1'\)"),
        ('{"Q1": ["R1"], "Q2": [], "Q1": []}', "key 'Q1' appears twice"),
        ('{"Q1": ["R1"], " Q1": []}', "key ' Q1' gives Q1 a second row"),
        ('{"Q1": ["R1", "R2"]}', "key 'Q1' gives Q1 several references; .*--multi"),
        ('{"Q1": ["R1", "R1"]}', r"key 'Q1' repeats key 'Q1' \(Q1,R1\)"),
        ('{"Q1": "R1"}', "key 'Q1' does not hold a list of ids; expected an object of lists"),
        ('{"Q1": [1]}', "key 'Q1' does not hold a list of ids"),
        ('{"Q1": null}', "key 'Q1' does not hold a list of ids"),
        ('{"Q1": [""]}', "key 'Q1': id '' is empty; expected an object of lists"),
        ('{"": []}', "key '': id '' is empty"),
        ('["Q1", "Q2"]', "holds a JSON list"),
        ('{"Q1": ["R1"]', "not JSON"),
        ("{" + '"a":{' * 200_000, "not JSON"),
        ('{"Q1": ' + "9" * 10_000 + "}", "not JSON|hold a list of ids"),
        ('{"Q\\ud800": []}', "has characters that cannot be printed"),
        ("{}", "no query found"),
    ],
)
def test_bad_files_are_named_with_their_row(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_ground_truth(written(tmp_path, text))


@pytest.mark.parametrize(
    "word",
    [
        "nan",
        "NaN",
        "NA",
        "N/A",
        "None",
        "NULL",
        "null",
        "<NA>",
        "-",
        "-1",
        "#N/A",
        "NaT",
        "-nan",
        "-1.0",
        "nil",
        "[]",
        "['']",
        "nan.jpg",
        "refs/nan.png",
    ],
)
@pytest.mark.parametrize("text", ["Q1,R1\nQ2,{0}\nQ3,{0}\n", '{{"Q1": ["R1"], "Q2": ["{0}"], "Q3": ["{0}"]}}'])
def test_a_missing_value_is_no_reference(tmp_path: Path, word: str, text: str) -> None:
    path = written(tmp_path, text.format(word))
    truth = read_ground_truth(path)
    assert truth == GroundTruth(("Q1", "Q2", "Q3"), (("Q1", "R1"),))
    assert truth.empty_words == {word: 2}
    kept = read_ground_truth(path, references={word, "R1"})  # an image of that name
    assert (len(kept.pairs), kept.empty_words) == (3, {})


def test_a_reference_of_most_rows_is_reported(tmp_path: Path) -> None:
    rows = [f"Q{at},{'false' if at > 4 else f'R{at}'}\n" for at in range(12)]
    (note,) = read_ground_truth(written(tmp_path, "".join(rows))).notes
    assert note.startswith("'false' is the reference of 7 of 12 matched rows of the ground truth")
    assert not read_ground_truth(written(tmp_path, "".join(rows[:9]))).notes


@pytest.mark.parametrize(
    "text",
    ["cat,dog\nbird,fish\n", "Q1,R1\nQ2,\n", "aa1,R1\nbb,\n", "abc,R1\n", "a/1.jpg,R1\nb/1.jpg,\n", "A1,R1\na1,\n"],
)
def test_first_rows_with_ids_of_any_form_are_data(tmp_path: Path, text: str) -> None:
    assert len(read_ground_truth(written(tmp_path, text)).query_ids) == text.count("\n")


def test_several_references_are_accepted_on_request(tmp_path: Path) -> None:
    truth = read_ground_truth(written(tmp_path, "Q1,R2\nQ1,R1\n"), multi=True)
    assert truth.pairs == (("Q1", "R1"), ("Q1", "R2"))


def test_several_references_in_json_are_accepted_on_request(tmp_path: Path) -> None:
    truth = read_ground_truth(written(tmp_path, '{"Q1": ["R2", "R1"], "Q2": []}'), multi=True)
    assert truth == GroundTruth(("Q1", "Q2"), (("Q1", "R1"), ("Q1", "R2")))


def test_matches_alone_are_told_from_a_list_of_all_queries(tmp_path: Path) -> None:
    path, queries = written(tmp_path, "Q2,R2\nQ1,R1\n"), tmp_path / "queries.txt"
    assert read_ground_truth(path).matches_only
    queries.write_text("Q3\nQ1\n\nQ2\n")
    listed = read_ground_truth(path, queries=queries)
    assert listed == GroundTruth(("Q1", "Q2", "Q3"), (("Q1", "R1"), ("Q2", "R2")))
    assert not listed.matches_only
    queries.write_text("Q1\nQ2\n")
    assert not read_ground_truth(path, queries=queries).matches_only  # the list says that these are all
    assert not read_ground_truth(written(tmp_path, "Q1,R1\nQ2,\n")).matches_only


@pytest.mark.parametrize(
    ("queries", "message"),
    [
        ("Q1\n", r"truth.csv: Q2 is not in .*queries.txt \(1 such queries\)"),
        ("\n", "queries.txt: no query id"),
        ("Q1\nQ2\nQ1\n", "line 3 repeats line 1"),
        ("Q1\nQ\x012\n", "line 2: id .*has characters that cannot be printed"),
    ],
)
def test_a_list_of_queries_must_hold_all_of_the_truth(tmp_path: Path, queries: str, message: str) -> None:
    (tmp_path / "queries.txt").write_text(queries)
    with pytest.raises(DataError, match=message):
        read_ground_truth(written(tmp_path, "Q1,R1\nQ2,\n"), queries=tmp_path / "queries.txt")


def test_digest_is_that_of_the_sorted_pair_lines() -> None:
    truth = GroundTruth(("Q1", "Q2", "Q3"), (("Q1", "R9"), ("Q3", "R2")))
    # printf 'Q1,R9\nQ3,R2\n' | sha256sum
    assert truth.sha256 == "e6b9e6c9b2fd0a30ce1562f1e9ba174ba4d66687533a4b5413ac3a03e707ab8e"


def test_writing_and_reading_keeps_everything(tmp_path: Path) -> None:
    truth = GroundTruth(("Q1", "Q2", "Q3"), (("Q1", "R9"), ("Q3", "R2")))
    text = write_ground_truth(truth)
    assert text == "query_id,reference_id\nQ1,R9\nQ2,\nQ3,R2\n"
    assert read_ground_truth(written(tmp_path, text)) == truth


def test_id_lists_refuse_repeats(tmp_path: Path) -> None:
    path = written(tmp_path, "Q1\n\n Q2 \n")
    assert read_ids(path) == ("Q1", "Q2")
    path.write_text("Q1\nQ2\nQ1\n")
    with pytest.raises(DataError, match=r"line 3 repeats line 1 \(Q1\)"):
        read_ids(path)
    path.write_text("original\nkids\nquery_7\n")
    assert len(read_ids(path)) == 3
    for header in ("query_id", "image_name", "queries", "# all of them"):
        path.write_text(f"{header}\nQ1\nQ2\n")
        with pytest.raises(DataError, match=rf"line 1 looks like a header \('{header}'\); remove that line"):
            read_ids(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_ids(tmp_path / "absent.txt")
