import contextlib
import csv
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from ndec_bench.errors import DataError, SubmissionError
from ndec_bench.matches import Matches, read_pairs, write_pairs

HEADER = "query_id,reference_id,score\n"


def matches_of(rows: list[tuple[str, str, float]]) -> Matches:
    queries, references, scores = zip(*rows, strict=True)
    return Matches(np.array(queries), np.array(references), np.array(scores, dtype=np.float64))


def rows_of(matches: Matches) -> list[tuple[str, str, float]]:
    return list(zip(matches.query_ids.tolist(), matches.reference_ids.tolist(), matches.scores.tolist(), strict=True))


def random_matches(count: int, seed: int = 0) -> Matches:
    generator = np.random.default_rng(seed)
    keys = generator.permutation(np.unique(generator.integers(0, 49_252 * 10**6, size=2 * count)))[:count]
    queries = np.array([f"Q{25_000 + key // 10**6}" for key in keys.tolist()])
    references = np.array([f"R{key % 10**6:06d}" for key in keys.tolist()])
    # Scores of record: sums of squares of float32 differences, in float64, most of them close above the cut.
    scores = -0.9 + np.minimum(generator.exponential(0.03, size=count), 0.85)
    return Matches(queries, references, scores)


def test_the_order_of_record_is_score_then_query_then_reference() -> None:
    matches = matches_of([("Q2", "R1", 0.5), ("Q1", "R2", 0.5), ("Q1", "R1", 0.5), ("Q1", "R3", 0.9)])
    ordered = matches.sorted()
    assert rows_of(ordered) == [("Q1", "R3", 0.9), ("Q1", "R1", 0.5), ("Q1", "R2", 0.5), ("Q2", "R1", 0.5)]
    assert rows_of(matches.sorted(2)) == rows_of(ordered)[:2]
    assert len(matches.sorted(0)) == 0


# Ids that begin alike, of other scripts and beyond 16 bits, of up to 40 characters; few scores, so that ties abound.
ids = st.one_of(
    st.text("Q01", min_size=1, max_size=3),
    st.text(st.characters(categories=["L", "N", "S"]), min_size=1, max_size=9),
    st.text("Rz", min_size=1, max_size=40),
)
lists = st.lists(
    st.tuples(ids, ids, st.sampled_from([0.0, -0.0, -1.5, 2.0**-1074, 1e300])),
    min_size=1,
    max_size=40,
    unique_by=lambda row: row[:2],
)


@given(lists, st.integers(1, 45))
def test_the_order_is_that_of_python(rows: list[tuple[str, str, float]], limit: int) -> None:
    expected = sorted(rows, key=lambda row: (-row[2], row[0], row[1]))
    assert rows_of(matches_of(rows).sorted()) == expected
    assert rows_of(matches_of(rows).sorted(limit)) == expected[:limit]


def test_the_digest_is_that_of_the_documented_lines() -> None:
    matches = matches_of([("Q1", "R3", 0.1), ("Q1", "R1", -2.0)])
    text = "Q1\tR3\t0x1.999999999999ap-4\nQ1\tR1\t-0x1.0000000000000p+1\n"
    assert matches.sha256 == hashlib.sha256(text.encode()).hexdigest()


def test_the_digest_of_a_long_list_is_that_of_all_its_lines() -> None:
    matches = random_matches(70_000)
    lines = [f"{query}\t{reference}\t{score.hex()}\n" for query, reference, score in rows_of(matches)]
    assert matches.sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "pairs.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "score,remark,reference_id,query_id\n0.25,x,R1,Q1\n1e-3,,R2,Q1\n",
        "\ufeffquery_id,reference_id,score\r\nQ1,R1,.25\r\n\r\nQ1,R2,0.001\r\n",
        HEADER + '"Q1","R1",0.25\n Q1 , R2\t, +0.001 \n',
        HEADER + "Q1,R1,0.2_5\nQ1,R2,0.001",
        'score,remark,reference_id,query_id\n0.25,"two\nlines, and",R1,Q1\n0.001,"a ""quote""",R2,"Q1"\n',
    ],
)
def test_every_sound_form_reads_the_same(tmp_path: Path, text: str) -> None:
    assert rows_of(read_pairs(written(tmp_path, text))) == [("Q1", "R1", 0.25), ("Q1", "R2", 0.001)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "header 'an empty file', expected query_id,reference_id,score"),
        ("query,ref,score\nQ1,R1,1\n", "header 'query,ref,score', expected"),
        (json.dumps({"Q1": ["R1"]}), "a quote in the middle of a field; expected query_id,reference_id,score"),
        ("score,score,query_id,reference_id\n1,2,Q1,R1\n", "column score appears twice"),
        (HEADER, "no pairs"),
        (HEADER + "Q1,R1,nan\n", r"line 2: score is nan \(Q1,R1\)"),
        (HEADER + "Q1,R1,inf\n", "line 2: score is inf"),
        (HEADER + "Q1,R1,-1e999\n", "line 2: score is -inf"),
        (HEADER + "Q1,R1,high\n", r"line 2: score 'high' is not a number \('Q1,R1,high'\)"),
        (HEADER + "Q1,R1,1\nQ1,R2,\n", "line 3: score '' is not a number"),
        (HEADER + "Q1,R1\n", r"line 2 has 2 fields, expected 3 \('Q1,R1'\)"),
        (HEADER + "Q1,R1,1\nQ1,R2,-0,6486\n", "line 3 has 4 fields, expected 3"),
        (HEADER + "Q1,R1,1\n   \n", "line 3 has 1 field, expected 3"),
        (HEADER + ",R1,1\n", "line 2: query_id '' is empty"),
        (HEADER + "Q1,R1,1\nQ2, ,1\n", "line 3: reference_id '' is empty"),
        (HEADER + "Q1,R1,1\nQ1,R2,1\nQ1,R1,2\n", r"line 4 repeats line 2 \(Q1,R1\)"),
        (HEADER + '"Q1","R1",1\n\n"Q1",R2,1\n"Q1"," R1",2\n', r"line 5 repeats line 2 \(Q1,R1\)"),
        (HEADER + "Q1,R1,1\nQ1,R1\x01,1\n", "line 3: reference_id 'R1.x01' has characters that cannot be printed"),
        (HEADER + "Q1,R1,1\nQ1\u2028,R1\x00,1\n", "line 3: has a NUL byte"),
        (HEADER + '"Q\n1",R1,1\nQ1,R2,high', "line 4: score 'high' is not a number"),
        (HEADER + 'Q1,R1,1\nQ1,"R1"2,1', "line 3: a quote in the middle of a field"),
        (HEADER + 'Q1,R1,1\nQ"1,R2,1\nQ"2,R2,1', "line 3: a quote in the middle of a field"),
        (HEADER + 'Q1,R1,1\n"Q1,R2,1\n', "line 3: a quote that is never closed"),
        (HEADER + f"Q1,{'R' * 257},1\n", "line 2: reference_id 'R{40}' is longer than 256 characters"),
        (HEADER + f"Q1,R1,1\nQ2,{'R' * 200_000},1\n", "line 3 is longer than 131,072 bytes"),
        ("  <!DOCTYPE html><html>", "a web page, expected a table of text"),
    ],
)
def test_bad_pairs_are_refused_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SubmissionError, match=message):
        read_pairs(written(tmp_path, text))


cells = st.text('Q1R" .5e+_na\\', max_size=4) | st.sampled_from(["Q1", '"Q1"', '"Q\n,1"', '"Q""1"', "1", "1.5"])
texts = st.lists(st.lists(cells, min_size=1, max_size=4).map(",".join), max_size=4).map("\n".join)


@given(texts, st.sampled_from(["\n", "\r\n", "\r"]))
def test_what_is_read_is_what_pythons_csv_reads(
    tmp_path_factory: pytest.TempPathFactory, text: str, line_end: str
) -> None:
    path = written(tmp_path_factory.mktemp("pairs"), (HEADER + text).replace("\n", line_end))
    with contextlib.suppress(SubmissionError):
        rows = [row for row in csv.reader(path.read_text().splitlines(keepends=True)) if row][1:]
        assert rows_of(read_pairs(path)) == [(q.strip(), r.strip(), float(score)) for q, r, score in rows]


def test_scores_are_the_float64_that_is_written(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    numbers = generator.integers(0, 1 << 64, size=20_000, dtype=np.uint64).view(np.float64)
    texts = [repr(number) for number in numbers[np.isfinite(numbers)].tolist()]
    # Halfway between two floats, beyond 17 digits, at both ends of the range.
    texts += ["9007199254740993", "0.1000000000000000055511151231257827", "1" + "0" * 400 + "e-400", "0." + "3" * 900]
    texts += ["2.2250738585072011e-308", "2.4703282292062328e-324", "1.7976931348623158e308", "5e-324", "-0"]
    path = written(tmp_path, HEADER + "".join(f"Q1,R{row},{text}\n" for row, text in enumerate(texts)))
    assert read_pairs(path).scores.view(np.uint64).tolist() == np.array([*map(float, texts)]).view(np.uint64).tolist()


def test_binary_and_absent_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_bytes(b"query_id\xff\xfe")
    with pytest.raises(SubmissionError, match="line 1: not UTF-8 text"):
        read_pairs(path)
    with pytest.raises(SubmissionError, match="cannot be read"):
        read_pairs(tmp_path / "absent.csv")
    with pytest.raises(SubmissionError, match="cannot be read"):
        read_pairs(tmp_path)


def test_the_later_line_of_the_first_repeat_is_named(tmp_path: Path) -> None:
    rows = [f"Q{i % 50},R{i},0.5" for i in range(20_000)]
    rows[12_345], rows[17_000] = rows[7], rows[3]
    with pytest.raises(SubmissionError, match=r"line 12347 repeats line 9 \(Q7,R7\)"):
        read_pairs(written(tmp_path, HEADER + "\n".join(rows)))


@pytest.mark.parametrize("name", ["pairs.csv", "pairs.parquet"])
def test_progress_ends_when_all_is_read(tmp_path: Path, name: str) -> None:
    seen: list[tuple[str, int, int]] = []
    write_pairs(tmp_path / name, random_matches(2_000))
    read_pairs(tmp_path / name, progress=lambda *step: seen.append(step))
    assert seen[0][1] == 0
    assert {stage for stage, _, _ in seen} == {"reading pairs"}
    assert seen[-1][1] == seen[-1][2] > 0


@given(rows=lists)
@pytest.mark.parametrize("name", ["pairs.csv", "pairs.parquet"])
def test_what_is_written_reads_back_to_the_bit(
    tmp_path_factory: pytest.TempPathFactory, name: str, rows: list[tuple[str, str, float]]
) -> None:
    path = tmp_path_factory.mktemp("pairs") / name
    matches = matches_of(rows)
    write_pairs(path, matches)
    assert read_pairs(path).sorted().sha256 == matches.sorted().sha256


def test_csv_keeps_the_order_and_parquet_the_bytes(tmp_path: Path) -> None:
    matches = random_matches(3_000)
    write_pairs(tmp_path / "pairs.CSV", matches)
    assert rows_of(read_pairs(tmp_path / "pairs.CSV")) == rows_of(matches)
    write_pairs(tmp_path / "a", matches)
    write_pairs(tmp_path / "b", matches.sorted())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a").read_bytes()[:4] == b"PAR1"


@pytest.mark.slow
def test_the_list_of_ndec_takes_less_than_five_megabytes(tmp_path: Path) -> None:
    matches = random_matches(492_520)
    write_pairs(tmp_path / "pairs.parquet", matches)
    assert (tmp_path / "pairs.parquet").stat().st_size < 4_700_000


def test_a_list_that_cannot_be_written_is_bad_data(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        write_pairs(tmp_path / "file" / "pairs.parquet", random_matches(2))


def table(path: Path, **columns: object) -> Path:
    parquet.write_table(pa.table(columns), path)
    return path


FORMS: list[Callable[[], dict[str, pa.Array]]] = [
    lambda: {"query_id": pa.array(["Q1", "Q2"]), "reference_id": pa.array(["R2", "R1"]), "score": pa.array([1.0, 2.0])},
    lambda: {
        "score": pa.array([1, 2]),
        "image": pa.array([b"x", b"y"]),
        "nested": pa.array([[1], []]),
        "reference_id": pa.array(["R2", " R1 "], type=pa.large_string()),
        "query_id": pa.array(["Q1", "Q2"]).dictionary_encode(),
    },
    lambda: {
        "query_id": pa.DictionaryArray.from_arrays([1, 2], pa.array(["unused", "Q1", "Q2"])),
        "reference_id": pa.array(["R2", "R1"]),
        "score": pa.array([1, 2], type=pa.float32()),
    },
]


@pytest.mark.parametrize("form", FORMS)
def test_parquet_is_told_by_its_content(tmp_path: Path, form: Callable[[], dict[str, pa.Array]]) -> None:
    matches = read_pairs(table(tmp_path / "pairs.csv", **form()))
    assert rows_of(matches) == [("Q1", "R2", 1.0), ("Q2", "R1", 2.0)]
    assert (matches.query_ids.dtype.kind, matches.scores.dtype) == ("U", np.float64)


def test_parquet_of_many_row_groups_reads_as_one(tmp_path: Path) -> None:
    matches = random_matches(5_000)
    columns = {"query_id": matches.query_ids.tolist(), "reference_id": matches.reference_ids.tolist()}
    parquet.write_table(pa.table({**columns, "score": matches.scores}), tmp_path / "p", row_group_size=700)
    assert rows_of(read_pairs(tmp_path / "p")) == rows_of(matches)


GOOD = {"query_id": ["Q1", "Q2", "Q1"], "reference_id": ["R1", "R1", "R2"], "score": [1.0, 2.0, 3.0]}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"score": None}, "columns 'query_id, reference_id', expected query_id, reference_id, score"),
        ({"score": ["1", "2", "3"]}, r"column score holds string \(BYTE_ARRAY, STRING\)"),
        ({"score": pa.array([1, 2, 3], type=pa.timestamp("s"))}, "column score holds timestamp"),
        ({"score": pa.array([1, 2, 3], type=pa.decimal128(5))}, "column score holds decimal"),
        ({"score": [True, False, True]}, "column score holds bool"),
        ({"score": [[1.0], [2.0], [3.0]]}, "columns '.*', expected"),
        ({"score": [1.0, None, 3.0]}, "row 1 has no score"),
        ({"score": [1.0, 2.0, float("nan")]}, r"row 2: score is nan \(Q1,R2\)"),
        ({"score": [1, 2**53 + 1, 3]}, r"row 1: score 9007199254740993 is not a float64"),
        ({"query_id": [1, 2, 3]}, r"column query_id holds int64 \(INT64, NONE\)"),
        ({"query_id": [b"Q1", b"Q2", b"Q3"]}, r"column query_id holds binary \(BYTE_ARRAY, NONE\)"),
        ({"query_id": ["Q1", None, "Q3"]}, "row 1 has no query_id"),
        ({"reference_id": ["R1", "", "R3"]}, "row 1: reference_id '' is empty"),
        ({"reference_id": ["R1", "R\n2", "R3"]}, "row 1: reference_id 'R.*n2'"),
        ({"reference_id": ["R1", "R1", " R1"]}, r"row 2 repeats row 0 \(Q1,R1\)"),
    ],
)
def test_bad_parquet_is_refused_with_its_row(tmp_path: Path, changed: dict[str, object], message: str) -> None:
    columns = {name: values for name, values in (GOOD | changed).items() if values is not None}
    with pytest.raises(SubmissionError, match=message):
        read_pairs(table(tmp_path / "p", **columns))


def test_parquet_with_a_column_twice_or_without_rows_is_refused(tmp_path: Path) -> None:
    columns = [pa.array(["Q1"]), pa.array(["R1"]), pa.array([1.0]), pa.array([2.0])]
    names = ["query_id", "reference_id", "score", "score"]
    parquet.write_table(pa.Table.from_arrays(columns, names=names), tmp_path / "p")
    with pytest.raises(SubmissionError, match="columns 'query_id, reference_id, score, score', expected"):
        read_pairs(tmp_path / "p")
    empty = {name: pa.array(values).slice(0, 0) for name, values in GOOD.items()}
    with pytest.raises(SubmissionError, match="no pairs"):
        read_pairs(table(tmp_path / "e", **empty))


class Renamed(pa.ExtensionType):
    """A type of somebody's own, kept in the file's Arrow schema."""

    def __init__(self) -> None:
        super().__init__(pa.string(), "tests.renamed")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pa.DataType, serialized: bytes) -> "Renamed":
        return cls()


def test_extension_types_are_refused_or_read_as_text(tmp_path: Path) -> None:
    odd = pa.ExtensionArray.from_storage(Renamed(), pa.array(GOOD["query_id"]))
    path = table(tmp_path / "p", **{**GOOD, "query_id": odd})
    assert read_pairs(path).query_ids.tolist() == GOOD["query_id"]  # nobody has registered the type
    pa.register_extension_type(Renamed())
    try:
        with pytest.raises(SubmissionError, match="column query_id holds extension"):
            read_pairs(path)
    finally:
        pa.unregister_extension_type("tests.renamed")


def test_damaged_parquet_is_one_error(tmp_path: Path) -> None:
    path = tmp_path / "p"
    write_pairs(path, random_matches(2_000))
    content = path.read_bytes()
    generator = np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(content[: generator.integers(4, len(content) + 1)])
        if generator.random() < 0.7:
            damaged = bytearray(content)
        for place in generator.integers(4, len(damaged), size=3) if len(damaged) > 4 else []:
            damaged[place] ^= int(generator.integers(1, 256))
        path.write_bytes(damaged)
        with pytest.raises(SubmissionError):  # page checksums tell of every changed value
            read_pairs(path)
    for _ in range(300):  # of the footer, some changes mean nothing
        damaged = bytearray(content)
        for place in generator.integers(len(content) - 600, len(content), size=2):
            damaged[place] = int(generator.integers(0, 256))
        path.write_bytes(damaged)
        with contextlib.suppress(SubmissionError):
            assert len(read_pairs(path)) == 2_000
    path.write_bytes(b"PARE" + content[4:-4] + b"PARE")
    with pytest.raises(SubmissionError, match="not a readable Parquet file"):
        read_pairs(path)


def test_rows_that_cannot_fit_into_memory_are_refused_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "p"
    rows = 30_000_000
    ones = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, dtype=np.int8)), pa.array(["Q1"]))
    parquet.write_table(
        pa.table({"query_id": ones, "reference_id": ones, "score": pa.array(np.zeros(rows, dtype=np.float32))}),
        path,
        compression="zstd",
    )
    assert path.stat().st_size < 400_000
    with pytest.raises(SubmissionError, match=r"GiB of memory, this machine has 1\.0 GiB"):
        small_machine(path)


def small_machine(path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 262_144}.__getitem__)
        read_pairs(path)


def test_ids_that_cannot_fit_into_memory_are_refused(tmp_path: Path) -> None:
    # One long id makes every row of a fixed-width array as long.
    rows = [f"Q1,R{i},0" for i in range(600_000)] + [f"{'Q' * 250},{'R' * 250},0"]
    with pytest.raises(SubmissionError, match="GiB of memory, this machine has"):
        small_machine(written(tmp_path, HEADER + "\n".join(rows)))


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Q1", "Q00002", "é", "Q\x00x", "a b"]) | st.text("QR019_-", min_size=1, max_size=9),
            st.sampled_from(["R1", "R000002"]),
            st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, -0.0, 5e-324, -2.2e-308, 1.0]),
        ),
        min_size=1,
        max_size=20,
    )
)
def test_the_digest_is_that_of_the_lines_one_by_one(pairs: list[tuple[str, str, float]]) -> None:
    queries, references, scores = (np.array(column) for column in zip(*pairs, strict=True))
    lines = "".join(f"{q}\t{r}\t{float(s).hex()}\n" for q, r, s in zip(queries, references, scores, strict=True))
    found = Matches.trusted(queries, references, scores.astype(np.float64)).sha256
    assert found == hashlib.sha256(lines.encode()).hexdigest()


def test_pandas_and_pyarrow_are_imported_on_use() -> None:
    quiet = "import sys, ndec_baselines.running; assert not {'pandas', 'pyarrow'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", quiet], check=True)
