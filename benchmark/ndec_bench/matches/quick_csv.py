"""CSV of pairs through pyarrow's parser, which is faster than Python's; imported where pyarrow is installed."""

from __future__ import annotations

import csv
import mmap
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import csv as arrow_csv

from ndec_bench.matches.arrow import coded_of
from ndec_bench.matches.pairs import COLUMNS

if TYPE_CHECKING:
    from typing import BinaryIO

    from ndec_bench.matches.coded import Coded
    from ndec_bench.progress import Progress

_LONGEST_HEADER = 1 << 16


def parsed(file: BinaryIO, size: int, progress: Progress, stage: str) -> Coded:
    """Return the pairs as pyarrow parses them; ``size`` is that of the file in bytes.

    Raises
    ------
    ValueError, LookupError, csv.Error
        Where pyarrow refuses the file or would be lenient: the text may still be sound.
    """
    header = next(csv.reader([file.readline(_LONGEST_HEADER).decode("utf-8-sig")]), [])
    if any(header.count(name) != 1 for name in COLUMNS):
        raise ValueError
    file.seek(0)
    ids = pa.dictionary(pa.int32(), pa.string())
    try:
        reader = arrow_csv.open_csv(
            file,
            parse_options=arrow_csv.ParseOptions(newlines_in_values=_holds_quotes(file)),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict(zip(COLUMNS, (ids, ids, pa.float64()), strict=True)),
                include_columns=list(COLUMNS),
                null_values=[],
                strings_can_be_null=False,
            ),
        )
        batches = []
        for batch in reader:
            batches.append(batch)
            progress(stage, min(file.tell(), size), size)
        return coded_of(pa.Table.from_batches(batches, schema=reader.schema))
    except pa.ArrowException as error:
        raise ValueError(str(error)) from error


def _holds_quotes(file: BinaryIO) -> bool:
    # Only quoted fields can hold line ends, and looking for the ends of such lines costs time.
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b'"') >= 0
