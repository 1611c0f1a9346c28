"""What the command line prints: results and JSON to stdout, progress, notes and errors to stderr."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from ndec_bench.printable import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ndec_bench.errors import NdecBenchError
    from ndec_bench.progress import Progress
    from ndec_bench.results.tables import Table


_LOG_WIDTH = 120


def out(text: str) -> None:
    """Print ``text`` to stdout as it is, but for signs that its encoding does not have."""
    try:
        sys.stdout.write(text + "\n")
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding) + "\n")


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
    """Print a table to stdout: the first ``left`` columns, words, to the left, the others, numbers, to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    view = Table(box=box.SIMPLE_HEAD)
    for place, column in enumerate(columns):
        # Words go on in the next line where the terminal is narrow; a name or a number that did would be another one.
        justify: Literal["left", "right"] = "left" if place < left else "right"
        view.add_column(column, justify=justify, overflow="fold", no_wrap=not 0 < place < left)
    for row in rows:
        view.add_row(*map(Text, row))
    # A pipe or a log has no width; a table must not be cut there.
    shown = sys.stderr if to_stderr else sys.stdout
    console = Console(file=shown, width=None if shown.isatty() else _LOG_WIDTH)
    # Title and caption are outside the table: inside they would wrap at its width.
    console.print(Text(title, style="bold"))
    console.print(view)
    if caption is not None:
        console.print(Text(caption))


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
