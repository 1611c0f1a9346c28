"""The true (query, reference) pairs of a split, read from every form in which they are published.

CSV comes with or without a header, with all queries (an empty reference for none) or with the matches only. CopyNCE
(Apache-2.0) publishes a JSON object, query id to a list of references.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

from ndec_bench.data.ids import bare, in_two_forms, note_of, other_forms
from ndec_bench.data.tables import check_ids, first_repeat, read_table, read_text
from ndec_bench.errors import DataError
from ndec_bench.printable import one_line, wrong_with_id

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from ndec_bench.data.tables import TextFile, TextTable

NO_MATCH = frozenset(
    {"", "-", "-1", "-1.0", "<na>", "n/a", "na", "n.a.", "nan", "-nan", "nat", "none", "nil", "null", "\\n"}
    | {"#n/a", "#n/a n/a", "#na", "-1.#ind", "1.#ind", "-1.#qnan", "1.#qnan", "[]", "['']", '[""]'}
)
"""What the column of references holds for a query that copies nothing, in any case: programs write such words for a
missing value. One that is the id of a reference is that reference."""

_HEADER = ("query_id", "reference_id")
_HEADER_WORDS = re.compile(
    r"(?:query|q|reference|ref|r|db|image|img|file|copy|original|source|target)[ _-]?"
    r"(?:ids?|images?|imgs?|names?|files?|filenames?|paths?)?|ids?|filenames?|paths?",
    re.IGNORECASE,
)
_HEADER_OF_IDS = re.compile(
    r"#.*|(?:[a-z]+[ _-])?ids?|quer(?:y|ies)|(?:query|image|img|file)[ _-]?(?:names?|files?|paths?)|images?|filenames?",
    re.IGNORECASE,
)
_OFTEN = 10
"""Matched rows from which on one reference of more than half of them is reported."""
_SHAPE_ROWS = 1000
_FIELD_END = re.compile(r'[",;\t]')
_RUNS = {"0": re.compile(r"\d+"), "A": re.compile("[A-Z]+"), "a": re.compile(r"[^\W\d_A-Z]+")}
_MAX_BYTES = 1 << 30
_MAX_JSON_BYTES = 1 << 28
_LINES_PER_STEP = 1 << 14


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
        Whether a list of all labelled queries was given with the pairs.
    notes
        What a reader of a result should know of the files, in sentences.
    empty_words
        Words of `NO_MATCH` that were read as no reference, with the number of rows; empty fields do not count.
    """

    query_ids: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    listed: bool = field(default=False, compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)
    empty_words: Mapping[str, int] = field(default_factory=dict, compare=False)

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


def read_ground_truth(
    path: Path, *, multi: bool = False, queries: Path | None = None, references: Collection[str] = ()
) -> GroundTruth:
    """Return the ground truth of a CSV or JSON file, told apart by content.

    CSV: one row per query with an empty or no reference for "no match", or matches only; the header
    ``query_id,reference_id`` is optional. JSON: an object, query id to list of references. UTF-8, with or without a
    byte order mark. Words for a missing value (`NO_MATCH`) are no reference.

    Parameters
    ----------
    path
        The file.
    multi
        Accept several references for one query.
    queries
        All labelled queries, one id per line, for a file that holds matches only. Those without a row are labelled
        without a match.
    references
        Ids of references that are ids although they look like a word for a missing value.

    Raises
    ------
    DataError
        If a file cannot be read, its first row looks like another header, a row does not have one or two fields, an id
        is empty, overlong or unprintable, a pair or JSON key appears twice, a query has several references without
        ``multi``, one image is there in two forms, no query has a reference, or a
        query is not in ``queries``. The message names file and line.
    """
    file = read_text(path, DataError, "expected lines query_id,reference_id", largest=_MAX_BYTES)
    if file.content.lstrip()[:1] in {b"{", b"["}:
        file = replace(file, expected='expected an object of lists: {"Q00001": ["R000001"], "Q00002": []}')
        entries, place = _json_entries(file)
    else:
        entries, place = _csv_entries(file)
    words = _empty_words(entries, references)
    truth = replace(_truth(file, entries, place, multi), empty_words=words)
    if not truth.pairs:
        first = file.content.lstrip().partition(b"\n")[0][:80].decode(errors="ignore").strip()
        file.refuse(f"no query has a reference (line 1 is {first!r})")
    return truth if queries is None else _completed(path, truth, queries)


def _empty_words(entries: pd.DataFrame, references: Collection[str]) -> dict[str, int]:
    """Return the words for a missing value among the references, with their rows; in ``entries`` they become empty."""
    column = entries["reference_id"].astype(object)
    words = {
        name
        for name in column.unique()
        if name and name not in references and not NO_MATCH.isdisjoint((name.lower(), bare(name).lower()))
    }
    missing = column.isin(words)
    entries["reference_id"] = column.mask(missing, "")
    return {str(word): int(rows) for word, rows in column[missing].value_counts().sort_index().items()}


def _truth(file: TextFile, entries: pd.DataFrame, place: Callable[[int], str], multi: bool) -> GroundTruth:
    """Return the ground truth of ``entries``, query and reference by row; the reference may be empty."""
    if entries.empty:
        file.refuse("no query found")
    queries, references = (entries[name].astype(object) for name in _HEADER)
    if repeat := first_repeat(queries, references):
        row, first = repeat
        file.refuse(
            f"{place(row)} repeats {place(first)} ({queries[row]},{references[row]})",
            hint="remove the duplicate: it would count one match twice",
        )
    if not multi and (repeat := first_repeat(queries)):
        row, first = repeat
        second = f"a second row (first in {place(first)})" if place(first) != place(row) else "several references"
        file.refuse(
            f"{place(row)} gives {queries[row]} {second}",
            hint="one row per query is expected; allow several references with --multi",
        )
    matched = references != ""
    for column in (queries, references[matched]):
        if same := in_two_forms(column.unique()):
            file.refuse(f"{same[0]} and {same[1]} are one image in two forms", hint="write each image in one form")
    pairs = tuple(sorted(zip(queries[matched], references[matched], strict=True)))
    return GroundTruth(query_ids=tuple(sorted(queries.unique())), pairs=pairs, notes=_often(pairs))


def _often(pairs: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Return a note if most of ``pairs`` have one reference, which may then be a word for no match."""
    ((reference, rows),) = Counter(reference for _, reference in pairs).most_common(1) or [("", 0)]
    if len(pairs) < _OFTEN or 2 * rows <= len(pairs):
        return ()
    return (
        f"{reference!r} is the reference of {rows:,} of {len(pairs):,} matched rows of the ground truth: if it stands "
        "for no match, leave the field empty",
    )


def _completed(path: Path, truth: GroundTruth, queries: Path) -> GroundTruth:
    listed = read_ids(queries)
    if not listed:
        raise DataError(f"{queries}: no query id", hint="list all labelled queries, one id per line")
    forms = other_forms(listed, truth.query_ids, str(queries), "query", kind=DataError)
    notes = (*truth.notes, f"{queries}: {note_of('query', forms)}") if forms else truth.notes
    listed = tuple(forms.get(query, query) for query in listed)
    strange = sorted(set(truth.query_ids).difference(listed))
    if strange:
        raise DataError(
            f"{path}: {strange[0]} is not in {queries} ({len(strange):,} such queries)",
            hint="list all labelled queries, those with a match too",
        )
    return replace(truth, query_ids=tuple(sorted(listed)), listed=True, notes=notes)


def write_ground_truth(truth: GroundTruth) -> str:
    """Return the CSV text of ``truth``: header, one row per query and pair, sorted by id, LF line ends."""
    import pandas as pd

    unmatched = set(truth.query_ids).difference(query for query, _ in truth.pairs)
    rows = sorted([*truth.pairs, *((query, "") for query in unmatched)])
    return pd.DataFrame(rows, columns=_HEADER, dtype=object).to_csv(index=False, lineterminator="\n")


def read_ids(path: Path) -> tuple[str, ...]:
    """Return the ids of a text file with one id per line, in file order; empty lines are passed over.

    Raises
    ------
    DataError
        If the file cannot be read, begins with a header, or an id appears twice, is overlong or cannot be printed.
    """
    file = read_text(path, DataError, "expected one id per line", largest=_MAX_BYTES)
    table = read_table(file, blank=b" \t")
    table.check_widths(1)
    if any(map(_HEADER_OF_IDS.fullmatch, table.header())):
        file.refuse(f"{table.place(0)} looks like a header ({table.text(0)!r})", hint="remove that line")
    ids = table.frame({"id": 0})["id"]
    check_ids(file, ids, table.place)
    if repeat := first_repeat(ids):
        row, first = repeat
        file.refuse(f"{table.place(row)} repeats {table.place(first)} ({ids[row]})", hint="list each id once")
    return tuple(ids)


def _csv_entries(file: TextFile) -> tuple[pd.DataFrame, Callable[[int], str]]:
    table = read_table(file, blank=b" \t,")
    rows = table.below(_rows_of_header(table))
    if len(rows) and rows.widths[0] == 1 and ";" in rows.text(0):
        file.refuse(
            f"{rows.place(0)} has its fields separated by semicolons ({rows.text(0)!r})",
            hint="expected commas: query_id,reference_id",
        )
    rows.check_widths(1, 2)
    entries = rows.frame({"query_id": 0, "reference_id": 1})
    headers = (entries["query_id"].astype(object) == _HEADER[0]).to_numpy()
    if headers.any():
        file.refuse(
            f"{rows.place(int(headers.argmax()))} is a header, but not the first line",
            hint="remove what comes before it; a second header goes",
        )
    check_ids(file, entries["query_id"], rows.place)
    check_ids(file, entries["reference_id"], rows.place, empty=True)
    return entries, rows.place


def _rows_of_header(table: TextTable) -> int:
    """Return how many rows are a header: one or none. Raises DataError for a header with other names."""
    header = table.header()
    if tuple(name.lower() for name in header) == _HEADER:
        return 1
    if header and (
        header[0].startswith("#")
        or all(name and _HEADER_WORDS.fullmatch(name) for name in header)
        or header[0].lower().startswith("query")
        or _unlike_the_rest(table)
    ):
        table.file.refuse(
            f"{table.place(0)} looks like a header with other names ({table.text(0)!r})",
            hint="begin the file with the line query_id,reference_id",
        )
    return 0


def _unlike_the_rest(table: TextTable) -> bool:
    """Return whether the first query is the only one without a digit, or of another shape than all others have."""
    first, *rest = (_shape(table.text(row)) for row in range(min(len(table), _SHAPE_ROWS)))
    no_digit = bool(rest) and "0" not in first and all("0" in shape for shape in rest)
    return no_digit or (len(rest) > 1 and len(set(rest)) == 1 and first != rest[0])


def _shape(row: str) -> str:
    """Return the first field of ``row`` with A, a and 0 for each run of capitals, other letters and digits."""
    shape = _FIELD_END.split(row.strip(' "'), maxsplit=1)[0]
    for sign, run in _RUNS.items():
        shape = run.sub(sign, shape)
    return shape


def _json_entries(file: TextFile) -> tuple[pd.DataFrame, Callable[[int], str]]:
    import pandas as pd

    rows = [
        (f"key {query[:80]!r}", query.strip(), reference.strip())
        for query, references in _json_object(file).items()
        for reference in references or [""]
    ]
    entries = pd.DataFrame(rows, columns=["place", *_HEADER], dtype=object)
    return entries, lambda row: str(entries["place"][row])


class _RepeatedKeyError(ValueError):
    """A key that appears twice in one JSON object."""


def _json_object(file: TextFile) -> dict[str, list[str]]:
    if len(file.content) > _MAX_JSON_BYTES:
        file.refuse(f"more JSON than any ground truth has ({len(file.content):,} bytes)")
    try:
        content = json.loads(file.content, object_pairs_hook=_without_repeats)
    except _RepeatedKeyError as error:
        file.refuse(f"key {error} appears twice", hint="give each query one list of references")
    except (ValueError, RecursionError) as error:
        file.refuse(f"not JSON ({one_line(str(error), 120)})")
    if not isinstance(content, dict):
        file.refuse("holds a JSON list")
    for query, references in content.items():
        if not isinstance(references, list) or not all(isinstance(item, str) for item in references):
            file.refuse(f"key {query[:80]!r} does not hold a list of ids")
        for name in (query, *references):
            if wrong := wrong_with_id(name.strip()):
                file.refuse(f"key {query[:80]!r}: id {name[:40]!r} {wrong}")
    return content


def _without_repeats(items: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(items)
    if len(content) != len(items):
        key, _ = Counter(key for key, _ in items).most_common(1)[0]
        raise _RepeatedKeyError(repr(key[:80]))
    return content
