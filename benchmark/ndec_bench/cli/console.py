"""What the command line prints: results and JSON to stdout, progress, notes and errors to stderr."""

from __future__ import annotations

import codecs
import io
import json
import os
import shutil
import sys
import textwrap
import time
import unicodedata
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ndec_bench.errors import DataError, reason
from ndec_bench.printable import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.table import Table as RichTable

    from ndec_bench.errors import NdecBenchError
    from ndec_bench.progress import Progress
    from ndec_bench.results.tables import Table


_LOG_WIDTH = 120
_GAP = 2
_WORD = 12
"""Columns that the longest word gets at least; longer ones are broken."""


class _Outlet(io.FileIO):
    """Standard output or error: a failure to write is kept and ends no command, whose files are worth more.

    A reader that left, such as ``head``, is no failure.
    """

    failure: OSError | None = None

    def write(self, content: Any, /) -> int:  # noqa: ANN401 -- any buffer
        try:
            written: int | None = super().write(content)
        except BrokenPipeError:
            written = None
        except OSError as error:
            self.failure, written = error, None
        return memoryview(content).nbytes if written is None else written


@contextmanager
def standard_streams() -> Iterator[None]:
    """Let stdout and stderr take any text, wherever they lead, while the block runs.

    Signs that their encoding does not have are spelled with ASCII, and what was closed leads nowhere. Raises DataError
    at the end if stdout could not be written, as on a full disk.
    """
    outlets = [_open(name) for name in ("stdout", "stderr")]
    yield
    sys.stdout.flush()
    if (failure := outlets[0].failure) is not None:
        raise DataError(f"standard output: cannot be written ({reason(failure)})", hint="send it to another place")


def _open(name: str) -> _Outlet:
    stream = getattr(sys, name)
    # A closed descriptor would be given to the next file that is opened, and get what a library prints.
    descriptor = os.open(os.devnull, os.O_WRONLY) if stream is None else stream.fileno()
    outlet = _Outlet(descriptor, "w", closefd=False)
    buffer = getattr(stream, "buffer", None)
    if stream is None or isinstance(getattr(buffer, "raw", buffer), io.FileIO):  # not a console of Windows
        wrapped = io.TextIOWrapper(
            io.BufferedWriter(outlet),
            encoding="utf-8" if stream is None else stream.encoding,
            errors=_SPELLED,
            line_buffering=name == "stderr" or isinstance(buffer, io.FileIO) or os.isatty(descriptor),
        )
        setattr(sys, name, wrapped)
    return outlet


_SPELLED = "ndec-bench-spelled"
_IN_ASCII = str.maketrans({"µ": "u", "–": "-", "—": "-", "−": "-", "×": "x", "’": "'"})


def _spelled(error: UnicodeError) -> tuple[str, int]:
    """Return text in ASCII for what an encoding does not have, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    signs = unicodedata.normalize("NFKD", error.object[error.start : error.end].translate(_IN_ASCII))
    return signs.encode("ascii", "ignore").decode() or "?", error.end


codecs.register_error(_SPELLED, _spelled)


def out(text: str) -> None:
    """Print ``text`` to stdout."""
    sys.stdout.write(text + "\n")


def out_json(content: object) -> None:
    """Print ``content`` to stdout as JSON."""
    is_unicode = (sys.stdout.encoding or "utf-8").lower().replace("-", "").startswith("utf")
    out(json.dumps(content, indent=2, ensure_ascii=not is_unicode, allow_nan=False))


def note(text: str) -> None:
    """Print a note to stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def paragraph(text: str, *, to_stderr: bool = False) -> None:
    """Print words to stdout, on a terminal broken between words; commands and addresses stay whole."""
    stream = sys.stderr if to_stderr else sys.stdout
    if stream.isatty():
        width = shutil.get_terminal_size().columns
        text = "\n".join(
            textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False) for line in text.splitlines()
        )
    stream.write(text + "\n")
    stream.flush()


def table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: int = 1,
    caption: str | None = None,
    to_stderr: bool = False,
) -> None:
    """Print a table to stdout: the first ``left`` columns, words, to the left, the others, numbers, to the right.

    On a narrow terminal words go on in the next line, and columns of numbers in a further table. A number is never cut.
    """
    from rich.console import Console
    from rich.text import Text

    # A pipe or a log has no width; a table must not be cut there.
    shown = sys.stderr if to_stderr else sys.stdout
    console = Console(file=shown, width=None if shown.isatty() else _LOG_WIDTH)
    # Title and caption are outside the table: inside they would wrap at its width.
    console.print(Text(title, style="bold"))
    cells = [columns, *rows]
    for number, places in enumerate(_groups(cells, left, console.width)):
        part = [[row[place] for place in places] for row in cells]
        console.print(_view(part, 1 if number else left, console.width))
    if caption is not None:
        console.print(Text(caption))


def _groups(cells: Sequence[Sequence[str]], left: int, width: int) -> list[list[int]]:
    """Return the columns of each table: all, or as many numbers at a time as fit next to the first column."""
    least = _least_widths(cells, left, width)
    groups = [list(range(left))]
    for place in range(left, len(least)):
        wanted = [*groups[-1], place]
        if sum(least[each] for each in wanted) + _GAP * len(groups[-1]) > width and len(groups[-1]) > 1:
            groups.append([0])
        groups[-1].append(place)
    return groups


def _view(cells: Sequence[Sequence[str]], left: int, width: int) -> RichTable:
    """Return a table of ``cells``, the first row its head, with frame and air where the width allows it."""
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    longest = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    roomy = sum(longest) + 3 * len(longest) + 1 <= width
    least = _least_widths(cells, left, width)
    tight = not roomy and sum(least) + 3 * len(least) + 1 > width
    view = Table(box=box.SIMPLE_HEAD, collapse_padding=tight, pad_edge=not tight, show_edge=not tight)
    for place, name in enumerate(cells[0]):
        # A name or a number that goes on in the next line would be another one.
        fixed = None if roomy or 0 < place < left else least[place]
        view.add_column(name, justify="left" if place < left else "right", overflow="fold", width=fixed)
    for row in cells[1:]:
        view.add_row(*map(Text, row))
    return view


def _least_widths(cells: Sequence[Sequence[str]], left: int, width: int) -> list[int]:
    """Return how narrow each column may become: a name or number stays whole, heads and words may be broken."""
    from rich.cells import cell_len

    least = []
    for place, (head, *values) in enumerate(zip(*cells, strict=True)):
        if 0 < place < left:
            words = [word for cell in (head, *values) for word in cell.split()]
            least.append(min(_WORD, max(map(cell_len, words), default=0)))
        else:
            least.append(max(map(cell_len, (*head.split(), *values)), default=0))
    # Where even a name and a number do not fit, the number stays whole.
    least[0] = min(least[0], max(_WORD, width - max(least[left:], default=0) - _GAP))
    return least


def show(content: Iterable[Table | str]) -> None:
    """Print tables and lines to stdout."""
    for one in content:
        if isinstance(one, str):
            out(one)
        else:
            table(one.title, one.columns, one.rows, left=one.left, caption=one.caption)


def report_error(error: NdecBenchError, *, as_json: bool) -> int:
    """Print ``error`` (one line on stderr; with ``as_json`` a JSON object on stdout) and return its exit code."""
    if as_json:
        body = {
            "kind": error.kind,
            "message": error.message,
            "hint": error.hint,
            "exit_code": error.exit_code,
        }
        out_json({"error": body})
    else:
        note(f"ndec-bench: {error.kind}: {one_line(str(error))}")
    return error.exit_code


@contextmanager
def progress() -> Iterator[Progress]:
    """Yield a callback that draws one bar per stage on stderr; plain lines where stderr is not a terminal."""
    if sys.stderr.isatty():
        with _bars() as draw:
            yield draw
    else:
        yield _Lines()


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=False) as bars:
        tasks: dict[str, Any] = {}

        def draw(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield draw


class _Lines:
    """A line when a stage is done, and one every ten seconds before, with the time left: readable in a log."""

    EVERY = 10.0

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._started: dict[str, tuple[float, int]] = {}
        self._finished: set[str] = set()

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        from ndec_bench.cli.transfers import duration

        now = time.monotonic()
        begun, first = self._started.setdefault(stage, (now, done))
        over = done >= total and stage not in self._finished
        if over or (done < total and now - self._last >= self.EVERY):
            left = ""
            if first < done < total:
                left = f", {duration((now - begun) / (done - first) * (total - done))} left"
            note(f"{stage}: {done:,} of {total:,}{left}")
            self._last = now
        if done >= total:
            self._finished.add(stage)


def summary(pairs: Mapping[str, str]) -> None:
    """Print names and values to stdout, one pair per line, values aligned."""
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        out(f"{name:<{width}}  {value}")
