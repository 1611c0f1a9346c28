"""The true (query, reference) pairs of a split, read from every form in which they are published.

CSV comes with or without a header, with all queries (an empty reference for none) or with the matches only. CopyNCE
(Apache-2.0) publishes a JSON object, query id to a list of references.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_HEADER = ("query_id", "reference_id")
_MAX_BYTES = 1 << 30
_MAX_JSON_BYTES = 1 << 28
_MAX_ID = 256
_LINES_PER_STEP = 1 << 14

# Where a pair was found ("row 2"), query id, reference id or nothing.
_Entry = tuple[str, str, str]


@dataclass(frozen=True)
class GroundTruth:
    """Labelled queries and the references they were copied from.

    Attributes
    ----------
    query_ids
        All labelled queries, sorted, those without a reference included.
    pairs
        True (query_id, reference_id) pairs, sorted.
    listed
        Whether a list of all labelled queries was given beside the pairs.
    """

    query_ids: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    listed: bool = field(default=False, compare=False)

    @property
    def matches_only(self) -> bool:
        """Return whether every labelled query has a reference and no list said that these are all queries.

        Such a file may have left out the queries without a match: scored as it is, the distractors would vanish.
        """
        return not self.listed and len({query for query, _ in self.pairs}) == len(self.query_ids)

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


def sha256_of_lines(lines: Iterable[str]) -> str:
    """Return the SHA-256 (hex) over the strings of the iterable ``lines``, each followed by LF, as UTF-8."""
    digest = hashlib.sha256()
    rest = iter(lines)
    while block := list(islice(rest, _LINES_PER_STEP)):
        digest.update("".join([f"{line}\n" for line in block]).encode())
    return digest.hexdigest()


def read_ground_truth(path: Path, *, multi: bool = False, queries: Path | None = None) -> GroundTruth:
    """Return the ground truth of a CSV or JSON file, told apart by content.

    CSV: one row per query with an empty or no reference for "no match", or matches only; the header
    ``query_id,reference_id`` is optional. JSON: an object, query id to list of references. UTF-8, with or without a
    byte order mark.

    Parameters
    ----------
    path
        The file.
    multi
        Accept several references for one query.
    queries
        All labelled queries, one id per line, for a file that holds matches only. Those without a row are labelled
        without a match.

    Raises
    ------
    DataError
        If a file cannot be read, a row has not one or two fields, an id is empty, overlong or unprintable, a pair or
        JSON key stands twice, a query has several references without ``multi``, or a query is not in ``queries``. The
        message names file and row.
    """
    truth = _collected(path, _entries(path), multi)
    return truth if queries is None else _completed(path, truth, queries)


def _collected(path: Path, entries: list[_Entry], multi: bool) -> GroundTruth:
    seen: dict[tuple[str, str], str] = {}
    first: dict[str, str] = {}
    for place, query, reference in entries:
        if (query, reference) in seen:
            raise DataError(
                f"{path}: {place} repeats {seen[query, reference]} ({query},{reference})",
                hint="remove the duplicate: it would count one match twice",
            )
        if query in first and not multi:
            second = "several references" if place == first[query] else f"a second row (first in {first[query]})"
            raise DataError(
                f"{path}: {place} gives {query} {second}",
                hint="one row per query is expected; allow several references with --multi",
            )
        seen[query, reference] = place
        first.setdefault(query, place)
    if not first:
        raise DataError(f"{path}: no query found", hint="expected lines query_id,reference_id")
    pairs = tuple(sorted(pair for pair in seen if pair[1]))
    return GroundTruth(query_ids=tuple(sorted(first)), pairs=pairs)


def _completed(path: Path, truth: GroundTruth, queries: Path) -> GroundTruth:
    listed = read_ids(queries)
    if not listed:
        raise DataError(f"{queries}: no query id", hint="list all labelled queries, one id per line")
    strange = sorted(set(truth.query_ids).difference(listed))
    if strange:
        raise DataError(
            f"{path}: {strange[0]} is not in {queries} ({len(strange):,} such queries)",
            hint="list all labelled queries, those with a match too",
        )
    return replace(truth, query_ids=tuple(sorted(listed)), listed=True)


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
        If the file cannot be read, or an id stands twice, is overlong or cannot be printed.
    """
    ids: dict[str, int] = {}
    for number, line in enumerate(_text(path).splitlines(), start=1):
        identifier = line.strip()
        if not identifier:
            continue
        if identifier in ids:
            raise DataError(f"{path}: line {number} repeats line {ids[identifier]} ({identifier[:80]})")
        _check_id(path, f"line {number}", identifier)
        ids[identifier] = number
    return tuple(ids)


def _entries(path: Path) -> list[_Entry]:
    text = _text(path)
    start = text.lstrip()[:1]
    if start == "<":
        raise DataError(
            f"{path}: looks like an HTML page, not a CSV file",
            hint="the download gave a web page instead of the file: fetch it again",
        )
    return _json_entries(path, text) if start in {"{", "["} else _csv_entries(path, text)


def _csv_entries(path: Path, text: str) -> list[_Entry]:
    try:
        rows = [(n, row) for n, row in enumerate(csv.reader(io.StringIO(text)), start=1) if any(map(str.strip, row))]
    except csv.Error as error:
        raise DataError(f"{path}: no CSV file ({error})", hint="expected lines query_id,reference_id") from error
    if rows and tuple(cell.strip().lower() for cell in rows[0][1]) == _HEADER:
        rows = rows[1:]
    elif rows and rows[0][1][0].strip().lower().startswith("query"):
        raise DataError(
            f"{path}: row {rows[0][0]} looks like a header with other names ({','.join(rows[0][1])[:80]!r})",
            hint="name the columns query_id,reference_id or leave the header out",
        )
    if rows and len(rows[0][1]) == 1 and ";" in rows[0][1][0]:
        raise DataError(
            f"{path}: row {rows[0][0]} is parted by a semicolon ({rows[0][1][0][:80]!r})",
            hint="expected commas: query_id,reference_id",
        )
    return [_entry(path, f"row {number}", [cell.strip() for cell in row]) for number, row in rows]


def _entry(path: Path, place: str, fields: list[str]) -> _Entry:
    if len(fields) not in (1, 2) or not fields[0]:
        raise DataError(
            f"{path}: {place} has {len(fields)} fields ({','.join(fields)[:80]!r})",
            hint="expected query_id,reference_id with an empty reference for no match",
        )
    query, reference = (fields[0], fields[1] if len(fields) > 1 else "")
    _check_id(path, place, query)
    _check_id(path, place, reference)
    return place, query, reference


def _check_id(path: Path, place: str, identifier: str) -> None:
    if len(identifier) > _MAX_ID:
        raise DataError(f"{path}: {place} has an id longer than {_MAX_ID} characters", hint="expected ids of images")
    if not identifier.isprintable():
        raise DataError(
            f"{path}: {place} has an id with characters that cannot be printed ({identifier!r})",
            hint="expected ids of images",
        )


class _RepeatedKeyError(ValueError):
    """A key that stands twice in one JSON object."""


def _json_entries(path: Path, text: str) -> list[_Entry]:
    hint = 'expected an object of lists: {"Q00001": ["R000001"], "Q00002": []}'
    if len(text) > _MAX_JSON_BYTES:
        raise DataError(f"{path}: more JSON than any ground truth has ({len(text):,} characters)", hint=hint)
    try:
        content = json.loads(text, object_pairs_hook=_without_repeats)
    except _RepeatedKeyError as error:
        raise DataError(f"{path}: key {error} stands twice", hint="give each query one list of references") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: no JSON ({str(error)[:120]})", hint=hint) from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a JSON list", hint=hint)
    entries: list[_Entry] = []
    for query, references in content.items():
        place = f"key {query[:80]!r}"
        if not isinstance(references, list) or not all(isinstance(item, str) for item in references):
            raise DataError(f"{path}: {place} holds no list of ids", hint=hint)
        if any(not item.strip() for item in references):
            raise DataError(f"{path}: {place} lists an empty id", hint="write [] for no match")
        entries += [_entry(path, place, [query.strip(), item.strip()]) for item in references or [""]]
    return entries


def _without_repeats(items: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(items)
    if len(content) != len(items):
        key, _ = Counter(key for key, _ in items).most_common(1)[0]
        raise _RepeatedKeyError(repr(key[:80]))
    return content


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
