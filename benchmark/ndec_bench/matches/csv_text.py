"""Scored pairs as CSV: ``query_id,reference_id,score`` with that header.

A sound file goes through pyarrow's parser where pyarrow is installed. Whatever that refuses, and whatever fails a
check, is read again line by line, slowly, so that the message can name the line; without pyarrow every file is read so,
with the same result.
"""

from __future__ import annotations

import csv
from array import array
from io import TextIOWrapper
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.errors import SubmissionError
from ndec_bench.matches.coded import FEWER, Coded, Ids, checked
from ndec_bench.matches.pairs import COLUMNS, Matches
from ndec_bench.memory import check_memory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TextIO

    from ndec_bench.progress import Progress

STAGE = "reading pairs"
_ROWS_PER_STEP = 1 << 16


def read_csv(path: Path, progress: Progress) -> Matches:
    """Return the pairs of a CSV file in file order; further columns are passed over.

    Raises
    ------
    OSError
        If the file cannot be read.
    SubmissionError
        If the header is another, a score is no number, or a check of `ndec_bench.matches.coded.checked` fails.
    """
    size = path.stat().st_size
    check_memory(f"{path}:", size, hint=FEWER)
    progress(STAGE, 0, size)
    found = _quickly(path, size, progress)
    if found is None:
        found = _line_by_line(path, lambda at: progress(STAGE, min(at, size), size))
    progress(STAGE, size, size)
    return found


def write_csv(path: Path, matches: Matches) -> None:
    """Write ``matches`` in their order; scores are written so that they read back to the same float64."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        rows = (matches.query_ids.tolist(), matches.reference_ids.tolist(), map(repr, matches.scores.tolist()))
        writer.writerows(zip(*rows, strict=True))


def _quickly(path: Path, size: int, progress: Progress) -> Matches | None:
    """Return the pairs as pyarrow reads them; None where it is not installed, refuses the file, or a check fails."""
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        return None
    from ndec_bench.matches import quick_csv

    try:
        with path.open("rb") as file:
            return checked(path, quick_csv.parsed(file, size, progress, STAGE), lambda row: f"row {row}")
    except (SubmissionError, ValueError, LookupError, csv.Error):
        return None


def _line_by_line(path: Path, progress: Callable[[int], None]) -> Matches:
    """Return the pairs as Python reads them; ``progress`` is called with the bytes read."""
    lines = array("q")
    try:
        with path.open("rb") as raw, TextIOWrapper(raw, encoding="utf-8-sig", newline="") as file:
            coded = _rows(path, file, lines, lambda: progress(raw.tell()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise SubmissionError(f"{path}: no CSV text ({error})", hint=f"expected {','.join(COLUMNS)}") from error
    return checked(path, coded, lambda row: f"line {lines[row]}")


def _rows(path: Path, file: TextIO, lines: array[int], progress: Callable[[], None]) -> Coded:
    """Return the rows of ``file``, and append to ``lines`` the line of each."""
    reader = csv.reader(file)
    header = next((row for row in reader if row), None)
    at = _columns(path, header)
    names: tuple[dict[str, int], dict[str, int]] = ({}, {})
    codes = (array("q"), array("q"))
    scores = array("d")
    for row in reader:
        if not row:
            continue
        query, reference, text = (row[i].strip() if i < len(row) else "" for i in at)
        try:
            scores.append(float(text))
        except ValueError as error:
            raise SubmissionError(
                f"{path}: line {reader.line_num}: score {text[:40]!r} is no number ({query[:40]},{reference[:40]})",
                hint="write scores as decimal numbers",
            ) from error
        for name, known, column in zip((query, reference), names, codes, strict=True):
            column.append(known.setdefault(name, len(known)))
        lines.append(reader.line_num)
        if not len(lines) % _ROWS_PER_STEP:
            progress()
    ids = [Ids.of(list(known), np.array(column, dtype=np.int64)) for known, column in zip(names, codes, strict=True)]
    return Coded(ids[0], ids[1], np.array(scores, dtype=np.float64))


def _columns(path: Path, header: list[str] | None) -> list[int]:
    """Return where the three columns stand."""
    if header is None or not set(COLUMNS) <= set(header):
        found = "an empty file" if header is None else ",".join(header)[:80]
        raise SubmissionError(
            f"{path}: header {found!r}, expected {','.join(COLUMNS)}",
            hint="write that header line, or an HDF5 file of descriptors",
        )
    for name in COLUMNS:
        if header.count(name) > 1:
            raise SubmissionError(f"{path}: column {name} stands twice in the header", hint="keep one of them")
    return [header.index(name) for name in COLUMNS]
