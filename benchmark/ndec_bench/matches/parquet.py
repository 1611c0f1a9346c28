"""Scored pairs as Parquet: columns ``query_id`` and ``reference_id`` (text) and ``score`` (a number).

Files come from strangers: the schema and the counts of the footer are checked before a value is read, columns other
than the three are never read, and extension types, which a program may register with Arrow, are refused.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from ndec_bench.data.tables import categories
from ndec_bench.errors import SubmissionError
from ndec_bench.matches.record import COLUMNS, FEWER, READING
from ndec_bench.memory import check_memory
from ndec_bench.printable import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import BinaryIO

    from ndec_bench.progress import Progress

_ROWS_PER_BATCH = 1 << 19
# Pairs that differ take bits: many more rows than bytes are one row, repeated.
_TRUSTED_ROWS, _MOST_ROWS_PER_BYTE = 1 << 20, 8
_ROWS_OF_TEXT_PER_BATCH = 1 << 16
# Two codes and a score, and as much again for finding repeats.
_BYTES_PER_ROW = 48
_LARGEST_EXACT = 1 << 53
_NUMBERS = ("DOUBLE", "FLOAT", "INT32", "INT64")


def read_parquet(path: Path, progress: Progress) -> pd.DataFrame:
    """Return the pairs of a Parquet file in file order: ids as categories, scores as float64.

    Raises
    ------
    SubmissionError
        If it is damaged, encrypted, has no such column, has a column of another type or with nulls, or would not fit
        into memory. Rows are counted from 0.
    """
    with path.open("rb") as file, _as_submission_error(path):
        source = _open(file)
        _check_columns(path, source)
        _check_claim(path, source.metadata.num_rows, path.stat().st_size)
        table = _as_codes_or_text(path, file, progress)
        columns: dict[str, Any] = {name: categories(table.column(name)) for name in COLUMNS[:2]}
        columns["score"] = table.column("score").to_numpy().astype(np.float64, copy=False)
        return pd.DataFrame(columns)


def _check_claim(path: Path, rows: int, size: int) -> None:
    """Raise SubmissionError if so many rows cannot be in memory, or cannot differ in a file of that size."""
    check_memory(f"{path}:", rows * _BYTES_PER_ROW, hint=FEWER)
    if rows > _TRUSTED_ROWS and rows > _MOST_ROWS_PER_BYTE * size:
        raise SubmissionError(
            f"{path}: {rows:,} pairs in {size:,} bytes, which cannot differ", hint="write each pair once"
        )


@contextmanager
def _as_submission_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, LookupError, OverflowError) as error:
        raise SubmissionError(
            f"{path}: not a readable Parquet file ({one_line(str(error), 200)})",
            hint="the file is damaged or encrypted: write it again",
        ) from error


def _open(file: BinaryIO, **options: object) -> Any:  # noqa: ANN401 -- pyarrow has no types
    return parquet.ParquetFile(
        file,
        thrift_string_size_limit=1 << 24,
        thrift_container_size_limit=1 << 20,
        page_checksum_verification=True,
        **options,
    )


def _check_columns(path: Path, source: Any) -> None:  # noqa: ANN401
    schema, arrow = source.schema, source.schema_arrow
    columns = [schema.column(i) for i in range(len(schema))]
    for name in COLUMNS:
        found = [column for column in columns if column.path == name]
        if len(found) != 1 or found[0].max_repetition_level:
            names = ", ".join(column.path for column in columns)[:80]
            raise SubmissionError(
                f"{path}: columns {names!r}, expected {', '.join(COLUMNS)}, one value per row",
                hint="write a flat table with these three columns",
            )
        kind, logical = found[0].physical_type, found[0].logical_type.type
        field = arrow.field(name).type
        if name == "score":
            good = kind in _NUMBERS and logical in ("NONE", "INT") and _is_number(field)
        else:
            good = kind == "BYTE_ARRAY" and logical == "STRING" and _is_text(field)
        if not good:
            raise SubmissionError(
                f"{path}: column {name} holds {field} ({kind}, {logical})",
                hint="ids are strings (UTF-8), scores are float64, float32 or integers",
            )


def _is_number(kind: Any) -> bool:  # noqa: ANN401
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def _is_text(kind: Any) -> bool:  # noqa: ANN401
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _as_codes_or_text(path: Path, file: BinaryIO, progress: Progress) -> Any:  # noqa: ANN401
    """Return the three columns, ids read as codes where their encoding allows it.

    As codes, a long id that a small file repeats a million times stays one. pyarrow cannot do so for every encoding,
    and asking the footer for the encodings ends the process if the footer is damaged: so it is tried.
    """
    try:
        return _table(path, _open(file, read_dictionary=list(COLUMNS[:2])), _ROWS_PER_BATCH, progress)
    except (pa.ArrowException, OSError):
        return _table(path, _open(file), _ROWS_OF_TEXT_PER_BATCH, progress)


def _table(path: Path, source: Any, rows_per_batch: int, progress: Progress) -> Any:  # noqa: ANN401
    """Return the three columns, read in batches, so that a lie in the footer about the rows is met early."""
    total = source.metadata.num_rows
    batches, rows = [], 0
    progress(READING, 0, total)
    for batch in source.iter_batches(batch_size=rows_per_batch, columns=list(COLUMNS)):
        batch.validate(full=True)  # a damaged file can hold codes beyond its dictionary, or bytes that are no text
        _check_values(path, batch, rows)
        rows += len(batch)
        if rows > total:
            break
        batches.append(_compact(batch))
        progress(READING, rows, total)
    if rows != total:
        raise SubmissionError(
            f"{path}: the footer says {total:,} rows, the columns hold {rows:,}",
            hint="the file is damaged: write it again",
        )
    return pa.Table.from_batches(batches, schema=batches[0].schema if batches else _EMPTY)


def _compact(batch: Any) -> Any:  # noqa: ANN401
    """Return ``batch`` with ids as codes: each text is held once, and views into large pages are let go."""
    ids = [batch.column(name) for name in COLUMNS[:2]]
    coded = [column if pa.types.is_dictionary(column.type) else column.dictionary_encode() for column in ids]
    return pa.RecordBatch.from_arrays([*coded, batch.column("score")], names=list(COLUMNS))


_TEXT = pa.dictionary(pa.int32(), pa.string())
_EMPTY = pa.schema([("query_id", _TEXT), ("reference_id", _TEXT), ("score", pa.float64())])


def _check_values(path: Path, batch: Any, start: int) -> None:  # noqa: ANN401
    for name in COLUMNS:
        column = batch.column(name)
        if column.null_count:
            row = start + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
            raise SubmissionError(f"{path}: row {row} has no {name}", hint="leave pairs without a score out")
    scores = batch.column("score")
    if pa.types.is_integer(scores.type):
        wide = scores.to_numpy(zero_copy_only=False)
        bad = np.flatnonzero((wide > _LARGEST_EXACT) | (wide < -_LARGEST_EXACT))
        if len(bad):
            raise SubmissionError(
                f"{path}: row {start + int(bad[0])}: score {wide[bad[0]]} is not a float64",
                hint="give scores of at most 2**53, or floats",
            )
