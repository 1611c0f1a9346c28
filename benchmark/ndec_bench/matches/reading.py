"""Reading lists of pairs, CSV or Parquet, and the checks that every list goes through."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.data.tables import TextFile, check_ids, first_repeat, read_table, read_text
from ndec_bench.errors import SubmissionError, os_errors
from ndec_bench.matches.record import COLUMNS, FEWER, READING, Matches
from ndec_bench.memory import check_memory
from ndec_bench.progress import silent

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pandas as pd

    from ndec_bench.progress import Progress

EXPECTED = f"expected {','.join(COLUMNS)}"
_PARQUET_MAGICS = (b"PAR1", b"PARE")


def read_pairs(path: Path, *, progress: Progress = silent) -> Matches:
    """Return the scored pairs of a CSV or Parquet file, told apart by content, in file order.

    Columns are ``query_id``, ``reference_id``, ``score``; in CSV under that header, in Parquet as strings and a
    floating-point or integer type. Further columns are passed over. Scores become float64. White space around ids is
    dropped.

    Parameters
    ----------
    path
        The file; its ending does not matter.
    progress
        Called as ``progress("reading pairs", done, total)`` in bytes (CSV) or rows (Parquet).

    Raises
    ------
    SubmissionError
        If the file is neither, is damaged or too large for this machine, a column is missing or of another type, a row
        has another number of fields than the header, a score is not a finite number, an id is empty or unprintable, or
        a pair appears twice. The message names the line (CSV, from 1) or the row (Parquet, from 0).
    """
    try:
        with os_errors(f"{path}: cannot be read", SubmissionError):
            with path.open("rb") as raw:
                start = raw.read(4)
            if start not in _PARQUET_MAGICS:
                return _read_csv(path, progress)
            from ndec_bench.matches.parquet import read_parquet

            file = TextFile(path, SubmissionError, EXPECTED, b"")
            return _checked(file, read_parquet(path, progress), "row {}".format)
    except MemoryError as error:
        raise SubmissionError(f"{path}: needs more memory than there is", hint=FEWER) from error


def _read_csv(path: Path, progress: Progress) -> Matches:
    size = path.stat().st_size
    progress(READING, 0, size)
    file = read_text(path, SubmissionError, EXPECTED)
    table = read_table(file)
    header = table.header()
    for name in COLUMNS:
        if name not in header:
            found = table.text(0) if header else "an empty file"
            file.refuse(f"header {found!r}, {EXPECTED}", hint="write that header line, or an HDF5 file of descriptors")
        if header.count(name) > 1:
            file.refuse(f"column {name} appears twice in the header", hint="keep one of them")
    rows = table.below(1)
    rows.check_widths(len(header))
    pairs = rows.frame({name: header.index(name) for name in COLUMNS}, numbers=["score"])
    matches = _checked(file, pairs, rows.place)
    progress(READING, size, size)
    return matches


def _checked(file: TextFile, pairs: pd.DataFrame, place: Callable[[int], str]) -> Matches:
    """Return ``pairs``, two columns of categories and one of float64, as `Matches`, in their order."""
    if pairs.empty:
        file.refuse("no pairs")
    queries, references, scores = pairs["query_id"], pairs["reference_id"], pairs["score"].to_numpy()
    for ids in (queries, references):
        check_ids(file, ids, place)
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        row = int(bad[0])
        file.refuse(
            f"{place(row)}: score is {scores[row]} ({queries[row]},{references[row]}), expected a finite number",
            hint="leave pairs without a score out",
        )
    if repeat := first_repeat(queries, references):
        row, first = repeat
        file.refuse(
            f"{place(row)} repeats {place(first)} ({queries[row]},{references[row]})", hint="give each pair one score"
        )
    names = [ids.cat.categories.tolist() for ids in (queries, references)]
    width = sum(max(map(len, some)) for some in names)
    check_memory(f"{file.path}:", len(pairs) * (4 * width + 8), hint=FEWER)
    arrays = [np.array(some)[ids.cat.codes] for some, ids in zip(names, (queries, references), strict=True)]
    return Matches.trusted(arrays[0], arrays[1], scores)
