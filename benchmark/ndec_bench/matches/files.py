"""Lists of pairs in files: read by content, written by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndec_bench.atomic import replacing
from ndec_bench.errors import SubmissionError, UsageError
from ndec_bench.matches.csv_text import read_csv, write_csv
from ndec_bench.progress import silent

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_bench.matches.pairs import Matches
    from ndec_bench.progress import Progress

PARQUET_MAGICS = (b"PAR1", b"PARE")
_SNIFFED = 512


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
        If the file is neither, is damaged or too large for this machine, a column is missing or of another type, a
        score is no finite number, an id is empty or unprintable, or a pair stands twice. The message names the line
        (CSV, from 1) or the row (Parquet, from 0).
    UsageError
        If the file is Parquet and pyarrow is not installed. CSV is read without it.
    """
    try:
        with path.open("rb") as file:
            start = file.read(_SNIFFED)
        if start[:4] in PARQUET_MAGICS:
            _require_pyarrow(path)
            from ndec_bench.matches.parquet import read_parquet

            return read_parquet(path, progress)
        if start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"<":
            raise SubmissionError(
                f"{path}: looks like a web page, not a list of pairs",
                hint="the download gave a page instead of the file: fetch it again",
            )
        return read_csv(path, progress)
    except MemoryError as error:
        raise SubmissionError(
            f"{path}: needs more memory than there is", hint="keep the best pairs only: ten per labelled query"
        ) from error
    except OSError as error:
        raise SubmissionError(
            f"{path}: cannot be read ({error.strerror or error})", hint="check the path and its permissions"
        ) from error


def write_pairs(path: Path, matches: Matches) -> None:
    """Write ``matches`` as CSV if the name ends in ``.csv``, else as compact Parquet; `read_pairs` reads both.

    Scores read back to the same float64, so that the list scores again to the same digest. CSV keeps the order of the
    pairs; Parquet is sorted by reference and query, which makes it small, and the same pairs give the same bytes.

    Raises
    ------
    UsageError
        As `check_form`.
    DataError
        If the file cannot be written.
    """
    check_form(path)
    with replacing(path) as temporary:
        if _is_csv(path):
            write_csv(temporary, matches)
        else:
            from ndec_bench.matches.parquet import write_parquet

            write_parquet(temporary, matches)


def check_form(path: Path) -> None:
    """Raise UsageError if a file of that name would be Parquet and pyarrow is not installed: before long work."""
    if not _is_csv(path):
        _require_pyarrow(path)


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv"


def _require_pyarrow(path: Path) -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"{path}: Parquet needs pyarrow, not installed here",
            hint='pip install ".[parquet]" in a clone of ndec-bench, or take a CSV file',
        ) from error
