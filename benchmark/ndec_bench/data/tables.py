"""Tables of text that strangers wrote: CSV files and lists of ids, read so that no value shifts into another column.

Rows and their fields are counted first, by numpy on the bytes: a row with a field too many, a quote in the middle of a
field or a byte that is not text is refused with its line. Only then are the columns parsed, into pandas data frames.
pandas would parse them with the same result; Arrow's parser takes a third of the time on a million rows.
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ndec_bench.errors import NdecBenchError, os_errors
from ndec_bench.file_kind import refuse_others
from ndec_bench.memory import check_memory
from ndec_bench.printable import wrong_ids, wrong_with_id

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

LONGEST_ROW = 1 << 17
_BOM = b"\xef\xbb\xbf"
_LF, _COMMA, _QUOTE = b'\n,"'  # as numbers
_SHOWN = 80
_FEWER_ROWS = "leave rows out, or take a machine with more memory"


@dataclass(frozen=True)
class TextFile:
    """The content of a file, checked to be text.

    Attributes
    ----------
    path, kind, expected
        Where it lies, the error that is raised about it, and what it should hold: the hint of every error.
    content
        UTF-8 without byte order mark and without NUL.
    """

    path: Path
    kind: type[NdecBenchError]
    expected: str
    content: bytes

    def refuse(self, problem: str, *, hint: str | None = None) -> NoReturn:
        """Raise the file's error: ``FILE: problem``."""
        raise self.kind(f"{self.path}: {problem}", hint=hint or self.expected)


@dataclass(frozen=True)
class TextTable:
    """The rows of a CSV file, counted and measured but not parsed. Blank lines are not rows.

    Attributes
    ----------
    file
        Where it comes from.
    content
        The rows, each ended by LF.
    starts, ends
        (n,) places in ``content`` of the first byte of each row and of the LF behind it.
    lines
        (n,) line of the file on which each row begins, from 1.
    widths
        (n,) number of fields of each row.
    """

    file: TextFile
    content: bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    lines: NDArray[np.int64]
    widths: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ends)

    def below(self, row: int) -> TextTable:
        """Return the table from ``row`` on, such as that below a header."""
        return replace(
            self, starts=self.starts[row:], ends=self.ends[row:], lines=self.lines[row:], widths=self.widths[row:]
        )

    def place(self, row: int) -> str:
        """Return where ``row`` begins, such as ``line 2``."""
        return f"line {self.lines[row]}"

    def text(self, row: int) -> str:
        """Return the beginning of ``row`` as it is written, for a message."""
        start = int(self.starts[row])
        return self.content[start : min(int(self.ends[row]), start + _SHOWN)].decode(errors="ignore")

    def header(self) -> list[str]:
        """Return the fields of the first row, without the white space around them; none of an empty table."""
        if not len(self):
            return []
        text = self.content[self.starts[0] : self.ends[0]].decode()
        return [field.strip() for field in next(csv.reader([text]))]

    def check_widths(self, *allowed: int) -> None:
        """Raise the file's error unless each row has one of the ``allowed`` numbers of fields."""
        wrong = np.flatnonzero(~np.isin(self.widths, allowed))
        if len(wrong):
            row = int(wrong[0])
            found = "1 field" if self.widths[row] == 1 else f"{self.widths[row]} fields"
            counts = " or ".join(map(str, allowed))
            self.file.refuse(f"{self.place(row)} has {found}, expected {counts} ({self.text(row)!r})")

    def frame(self, columns: Mapping[str, int], *, numbers: Collection[str] = ()) -> pd.DataFrame:
        """Return columns of the table, parsed.

        Parameters
        ----------
        columns
            Name to place in the row. Fields that a shorter row does not have are empty.
        numbers
            Names of columns of numbers, which become float64, exactly the number that is written. The others become
            categories of text without white space around it, each different text once.

        Raises
        ------
        NdecBenchError
            The file's error, if a text in a column of numbers is not a number.
        """
        import pandas as pd
        import pyarrow as pa

        text, number = pa.dictionary(pa.int32(), pa.string()), pa.float64()
        types = {name: number if name in numbers else text for name in columns}
        try:
            parsed = self._parsed(columns, types)
        except pa.ArrowInvalid:  # Python reads some numbers that Arrow does not, and can say which text is not one
            parsed = self._parsed(columns, dict.fromkeys(columns, text))
        found: dict[str, Any] = {}
        for name, column in zip(columns, parsed.columns, strict=True):
            if pa.types.is_floating(column.type):
                found[name] = column.to_numpy()
            else:
                texts = categories(column)
                found[name] = self._numbers(name, texts) if name in numbers else texts
        return pd.DataFrame(found)

    def _parsed(self, columns: Mapping[str, int], types: Mapping[str, Any]) -> Any:  # noqa: ANN401 -- pyarrow has no types
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        if not len(self):
            return pa.table({name: pa.array([], type=kind) for name, kind in types.items()})
        widest = max(int(self.widths.max()), 1 + max(columns.values()))
        return arrow_csv.read_csv(
            pa.py_buffer(self._padded(widest)),
            read_options=arrow_csv.ReadOptions(column_names=[str(at) for at in range(widest)]),
            parse_options=arrow_csv.ParseOptions(newlines_in_values=b'"' in self.content),
            convert_options=arrow_csv.ConvertOptions(
                column_types={str(columns[name]): kind for name, kind in types.items()},
                include_columns=[str(at) for at in columns.values()],
                null_values=[],
                strings_can_be_null=False,
            ),
        )

    def _padded(self, widest: int) -> bytes:
        """Return the rows as text, all with as many fields as the widest."""
        start, missing = int(self.starts[0]), widest - self.widths
        if not missing.any():
            return self.content[start:]
        rest = np.frombuffer(self.content, dtype=np.uint8)[start:]
        padded: bytes = np.insert(rest, np.repeat(self.ends - start, missing), _COMMA).tobytes()
        return padded

    def _numbers(self, name: str, texts: pd.Categorical) -> NDArray[np.float64]:
        values = np.full(len(texts.categories), np.nan)
        for at, text in enumerate(texts.categories):
            try:
                values[at] = float(text)
            except ValueError:
                row = int(np.flatnonzero(texts.codes == at)[0])
                self.file.refuse(f"{self.place(row)}: {name} {text[:40]!r} is not a number ({self.text(row)!r})")
        return values.take(texts.codes)


def read_text(path: Path, kind: type[NdecBenchError], expected: str, *, largest: int | None = None) -> TextFile:
    """Return the content of ``path``.

    Parameters
    ----------
    path
        The file.
    kind
        The error to raise.
    expected
        What the file should hold, the hint of its errors.
    largest
        Size in bytes beyond which the file is refused; None for the memory of this machine.

    Raises
    ------
    NdecBenchError
        As ``kind``, if the file cannot be read, is too large, of another kind, not UTF-8 or has a NUL byte.
    """
    with os_errors(f"{path}: cannot be read", kind):
        size = path.stat().st_size
        if largest is not None and size > largest:
            raise kind(f"{path}: larger than {largest / 2**30:g} GiB, which no such list is", hint="check the path")
        check_memory(f"{path}:", size, kind=kind, hint=_FEWER_ROWS)
        refuse_others(path, "a table of text", "empty", error=kind)
        content = path.read_bytes().removeprefix(_BOM)
    file = TextFile(path, kind, expected, content)
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        file.refuse(f"{_line_at(content, error.start)}: not UTF-8 text (byte {error.start:,})")
    if (nul := content.find(b"\0")) >= 0:
        file.refuse(f"{_line_at(content, nul)}: has a NUL byte, which no text has")
    return file


def read_table(file: TextFile, *, blank: bytes = b"") -> TextTable:
    """Return the rows of the CSV text ``file``. Lines end with LF, CR LF or CR.

    Empty lines are passed over, and those of nothing but characters in ``blank``.

    Raises
    ------
    NdecBenchError
        The file's error, if a row is longer than `LONGEST_ROW`, a quote is in the middle of a field or never closed,
        or the table would not fit into memory.
    """
    content = _with_lf(file.content)
    if blank:
        content = re.sub(rb"(?m)^[%s]+$" % re.escape(blank), b"", content)
    newlines = content.count(b"\n")
    # Places are 8 bytes, eight for each row and two for each field; the rest is some copies of the content.
    needed = 4 * len(content) + 64 * newlines + 16 * content.count(b",")
    check_memory(f"{file.path}:", needed, kind=file.kind, hint=_FEWER_ROWS)
    signs = np.frombuffer(content, dtype=np.uint8)
    separators = np.flatnonzero((signs == _LF) | (signs == _COMMA))
    if b'"' in content:
        _check_quotes(file, content, signs)
        quoted = np.logical_xor.accumulate(signs == _QUOTE)
        separators = separators[~quoted[separators]]
    last = np.flatnonzero(signs[separators] == _LF)
    ends, widths = separators[last], np.diff(last, prepend=-1)
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    lines = np.arange(1, len(ends) + 1)
    if len(ends) < newlines:  # some are in quotes
        lines = np.searchsorted(np.flatnonzero(signs == _LF), starts) + 1
    long = np.flatnonzero(ends - starts > LONGEST_ROW)
    if len(long):
        file.refuse(f"line {lines[long[0]]} is longer than {LONGEST_ROW:,} bytes")
    return _without_blank_rows(TextTable(file, content, starts, ends, lines, widths))


def categories(column: Any) -> pd.Categorical:  # noqa: ANN401
    """Return a dictionary-encoded Arrow column of text as categories, stripped, each different text once.

    A text that a small file repeats a million times is held once.
    """
    import pandas as pd
    import pyarrow as pa
    from pyarrow import compute as pc

    whole = column.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):  # an empty column keeps its form
        whole = whole.chunk(0) if whole.num_chunks else pa.array([], type=column.type)
    stripped = pc.utf8_trim_whitespace(whole.dictionary.fill_null(""))
    names = pd.Index(stripped.to_numpy(zero_copy_only=False), dtype=object)
    codes = whole.indices.to_numpy(zero_copy_only=False)
    if not names.is_unique:
        places, names = pd.factorize(names)
        codes = places[codes]
    return pd.Categorical.from_codes(codes, names)


def check_ids(file: TextFile, ids: pd.Series[Any], place: Callable[[int], str], *, empty: bool = False) -> None:
    """Raise the file's error unless all ``ids``, a column of categories, are ids; ``empty`` allows empty ones."""
    names, codes = ids.cat.categories.tolist(), ids.cat.codes.to_numpy()
    wrong = [at for at in wrong_ids(names) if names[at] or not empty]
    rows = np.flatnonzero(np.isin(codes, wrong)) if wrong else wrong  # a dictionary may hold texts that no row has
    if len(rows):
        name = names[codes[rows[0]]]
        file.refuse(f"{place(int(rows[0]))}: {ids.name} {name[:40]!r} {wrong_with_id(name)}")


def first_repeat(*columns: pd.Series[Any]) -> tuple[int, int] | None:
    """Return the first row that has the same values as an earlier one, and that one; None if all rows differ."""
    import pandas as pd

    repeated = pd.concat(columns, axis=1).duplicated().to_numpy()
    if not repeated.any():
        return None
    row = int(repeated.argmax())
    same = np.logical_and.reduce([(column == column[row]).to_numpy() for column in columns])
    return row, int(same.argmax())


def _with_lf(content: bytes) -> bytes:
    """Return ``content`` with LF at the end of each line, also of the last."""
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return content if not content or content.endswith(b"\n") else content + b"\n"


def _without_blank_rows(table: TextTable) -> TextTable:
    filled = table.ends > table.starts
    if filled.all():
        return table
    lengths = table.ends - table.starts + 1
    content = np.frombuffer(table.content, dtype=np.uint8)[np.repeat(filled, lengths)].tobytes()
    ends = np.cumsum(lengths[filled]) - 1
    return TextTable(table.file, content, ends + 1 - lengths[filled], ends, table.lines[filled], table.widths[filled])


def _check_quotes(file: TextFile, content: bytes, signs: NDArray[np.uint8]) -> None:
    """Raise the file's error unless quotes open and close whole fields, as RFC 4180 has it."""
    quotes = np.flatnonzero(signs == _QUOTE)
    opening, closing = quotes[::2], quotes[1::2]
    edges = np.array([_LF, _COMMA, _QUOTE], dtype=np.uint8)
    # The content ends with LF, which is also what stands before its first byte: place -1.
    wrong = [
        *opening[~np.isin(signs[opening - 1], edges)][:1],
        *closing[~np.isin(signs[closing + 1], edges)][:1],
    ]
    if wrong:
        file.refuse(f"{_line_at(content, int(min(wrong)))}: a quote in the middle of a field")
    if len(quotes) % 2:
        file.refuse(f"{_line_at(content, int(opening[-1]))}: a quote that is never closed")


def _line_at(content: bytes, at: int) -> str:
    return f"line {_with_lf(content[: at + 1]).count(_LF)}"
