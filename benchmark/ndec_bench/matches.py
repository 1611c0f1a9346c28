"""Matches: scored (query, reference) pairs in one list, and the CSV they are exchanged in."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ndec_bench.atomic import replacing
from ndec_bench.errors import SubmissionError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

COLUMNS = ("query_id", "reference_id", "score")


@dataclass(frozen=True)
class Matches:
    """Scored pairs as parallel arrays; higher scores are more alike.

    Attributes
    ----------
    query_ids, reference_ids
        (n,) arrays of str (numpy unicode).
    scores
        (n,) float64, finite.
    """

    query_ids: NDArray[np.str_]
    reference_ids: NDArray[np.str_]
    scores: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.scores)

    def sorted(self, limit: int | None = None) -> Matches:
        """Return the first ``limit`` pairs in the order of record: score descending, query id, reference id.

        The order knows nothing of the truth; ids compare by code point.
        """
        order = np.lexsort((self.reference_ids, self.query_ids, -self.scores))[:limit]
        return self.take(order)

    def take(self, rows: NDArray[Any]) -> Matches:
        """Return the pairs at ``rows`` (indices or a boolean mask), in that order."""
        return Matches(self.query_ids[rows], self.reference_ids[rows], self.scores[rows])

    @property
    def sha256(self) -> str:
        """Return the SHA-256 (hex) over ``query_id TAB reference_id TAB float.hex(score) LF`` in the present order."""
        digest = hashlib.sha256()
        for query, reference, score in zip(self.query_ids, self.reference_ids, self.scores.tolist(), strict=True):
            digest.update(f"{query}\t{reference}\t{score.hex()}\n".encode())
        return digest.hexdigest()


def read_pairs(path: Path) -> Matches:
    """Return the scored pairs of a CSV file with the columns ``query_id,reference_id,score``, in file order.

    The header is required; further columns are passed over. Scores are read as float64.

    Raises
    ------
    SubmissionError
        If the file is no such CSV, a score is no finite number, an id is empty or a pair stands twice. The message
        names the line.
    """
    queries: list[str] = []
    references: list[str] = []
    scores: list[float] = []
    first: dict[tuple[str, str], int] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            _check_header(path, reader.fieldnames)
            for row in reader:
                query, reference, score = _parse(path, reader.line_num, row)
                if (query, reference) in first:
                    raise SubmissionError(
                        f"{path}: line {reader.line_num} repeats line {first[query, reference]} ({query},{reference})",
                        hint="give each pair one score",
                    )
                first[query, reference] = reader.line_num
                queries.append(query)
                references.append(reference)
                scores.append(score)
    except OSError as error:
        raise SubmissionError(
            f"{path}: cannot be read ({error.strerror or error})", hint="check the path and its permissions"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise SubmissionError(f"{path}: no CSV text ({error})", hint=f"expected {','.join(COLUMNS)}") from error
    if not scores:
        raise SubmissionError(f"{path}: no pairs", hint=f"expected lines {','.join(COLUMNS)} under the header")
    return Matches(np.array(queries), np.array(references), np.array(scores, dtype=np.float64))


def write_pairs(path: Path, matches: Matches) -> None:
    """Write ``matches`` as the CSV that `read_pairs` reads, in their order; scores read back to the same float64.

    Raises
    ------
    DataError
        If the file cannot be written.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        rows = (matches.query_ids.tolist(), matches.reference_ids.tolist(), map(repr, matches.scores.tolist()))
        writer.writerows(zip(*rows, strict=True))


def _check_header(path: Path, names: object) -> None:
    if not isinstance(names, list) or not set(COLUMNS) <= set(names):
        found = ",".join(map(str, names))[:80] if isinstance(names, list) else "an empty file"
        raise SubmissionError(
            f"{path}: header {found!r}, expected {','.join(COLUMNS)}",
            hint="write that header line, or an HDF5 file of descriptors",
        )


def _parse(path: Path, line: int, row: dict[str, str]) -> tuple[str, str, float]:
    query, reference, text = ((row[name] or "").strip() for name in COLUMNS)
    if not query or not reference:
        raise SubmissionError(f"{path}: line {line} lacks an id", hint=f"expected {','.join(COLUMNS)}")
    try:
        score = float(text)
    except ValueError as error:
        raise SubmissionError(f"{path}: line {line}: score {text[:40]!r} is no number ({query},{reference})") from error
    if not np.isfinite(score):
        raise SubmissionError(
            f"{path}: line {line}: score is {score} ({query},{reference}), expected a finite number",
            hint="leave pairs without a score out",
        )
    return query, reference, score
