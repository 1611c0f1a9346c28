"""The true (query, reference) pairs of a split, read from the CSV that the organisers publish."""

from __future__ import annotations

import csv
import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

_HEADER = ("query_id", "reference_id")
_MAX_BYTES = 1 << 30
_MAX_ID = 256


@dataclass(frozen=True)
class GroundTruth:
    """Labelled queries and the references they were copied from.

    Attributes
    ----------
    query_ids
        All labelled queries, sorted, those without a reference included.
    pairs
        True (query_id, reference_id) pairs, sorted.
    """

    query_ids: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of the pairs alone: sorted lines ``query_id,reference_id`` with LF (hex).

        Queries without a reference do not enter, so the digest is the same for every published dialect of a file.
        """
        return sha256_of_lines(f"{query},{reference}" for query, reference in self.pairs)

    @property
    def queries_sha256(self) -> str:
        """Return the SHA-256 of the sorted labelled query ids, one per line with LF (hex)."""
        return sha256_of_lines(self.query_ids)


def sha256_of_lines(lines: object) -> str:
    """Return the SHA-256 (hex) over the strings of the iterable ``lines``, each followed by LF, as UTF-8."""
    digest = hashlib.sha256()
    for line in lines:  # type: ignore[attr-defined]
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()


def read_ground_truth(path: Path, *, multi: bool = False) -> GroundTruth:
    """Return the ground truth of a CSV file: one row per query, an empty reference for "no match".

    The header ``query_id,reference_id`` is optional. UTF-8, with or without a byte order mark.

    Parameters
    ----------
    path
        The CSV file.
    multi
        Accept several rows with different references for one query.

    Raises
    ------
    DataError
        If the file cannot be read, a row has not one or two fields, an id is empty, a pair stands twice, or a query
        has several references without ``multi``. The message names file and row.
    """
    rows = _rows(path)
    seen: dict[tuple[str, str], int] = {}
    first_row: dict[str, int] = {}
    for number, row in rows:
        query, reference = _fields(path, number, row)
        if (query, reference) in seen:
            raise DataError(
                f"{path}: row {number} repeats row {seen[query, reference]} ({query},{reference})",
                hint="remove the duplicate: it would count one match twice",
            )
        if query in first_row and not multi:
            raise DataError(
                f"{path}: row {number} gives {query} a second row (first in row {first_row[query]})",
                hint="one row per query is expected; allow several references with --multi",
            )
        seen[query, reference] = number
        first_row.setdefault(query, number)
    if not first_row:
        raise DataError(f"{path}: no query found", hint="expected lines query_id,reference_id")
    pairs = tuple(sorted(pair for pair in seen if pair[1]))
    return GroundTruth(query_ids=tuple(sorted(first_row)), pairs=pairs)


def write_ground_truth(truth: GroundTruth) -> str:
    """Return the CSV text of ``truth``: header, one row per query and pair, sorted by id, LF line ends."""
    references: dict[str, list[str]] = {query: [] for query in truth.query_ids}
    for query, reference in truth.pairs:
        references[query].append(reference)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_HEADER)
    writer.writerows((query, reference) for query in truth.query_ids for reference in references[query] or [""])
    return out.getvalue()


def read_ids(path: Path) -> tuple[str, ...]:
    """Return the ids of a text file with one id per line, in file order; empty lines are passed over.

    Raises
    ------
    DataError
        If the file cannot be read or an id stands twice.
    """
    ids: dict[str, int] = {}
    for number, line in enumerate(_text(path).splitlines(), start=1):
        identifier = line.strip()
        if not identifier:
            continue
        if identifier in ids:
            raise DataError(f"{path}: line {number} repeats line {ids[identifier]} ({identifier})")
        ids[identifier] = number
    return tuple(ids)


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    text = _text(path)
    if text.lstrip()[:1] == "<":
        raise DataError(
            f"{path}: looks like an HTML page, not a CSV file",
            hint="the download gave a web page instead of the file: fetch it again",
        )
    try:
        rows = [(n, row) for n, row in enumerate(csv.reader(io.StringIO(text)), start=1) if row]
    except csv.Error as error:
        raise DataError(f"{path}: no CSV file ({error})", hint="expected lines query_id,reference_id") from error
    if rows and tuple(cell.strip().lower() for cell in rows[0][1]) == _HEADER:
        rows = rows[1:]
    return rows


def _fields(path: Path, number: int, row: list[str]) -> tuple[str, str]:
    fields = [cell.strip() for cell in row]
    if len(fields) not in (1, 2) or not fields[0]:
        raise DataError(
            f"{path}: row {number} has {len(fields)} fields ({','.join(fields)[:80]!r})",
            hint="expected query_id,reference_id with an empty reference for no match",
        )
    query, reference = (fields[0], fields[1] if len(fields) > 1 else "")
    if query.lower().startswith("query") and number == 1:
        raise DataError(
            f"{path}: row 1 looks like a header with other names ({','.join(fields)[:80]!r})",
            hint="name the columns query_id,reference_id or leave the header out",
        )
    if max(len(query), len(reference)) > _MAX_ID:
        raise DataError(f"{path}: row {number} has an id longer than {_MAX_ID} characters")
    return query, reference


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DataError(f"{path}: larger than 1 GiB, which no list of ids is", hint="check the path")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror or error})", hint="check the path and its permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text (byte {error.start})", hint="expected a CSV file") from error
