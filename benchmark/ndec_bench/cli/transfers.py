"""How transfers are shown: bytes, rate and time left, per file and in total; bars in a terminal, lines in a log."""

from __future__ import annotations

import sys
import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ndec_bench.cli import console

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ndec_bench.progress import Progress

_UNITS = ("B", "kB", "MB", "GB", "TB")
_WINDOW = 30.0
"""Seconds over which the rate is averaged: long enough for a steady figure, short enough to show a change."""


def size(count: float) -> str:
    """Return ``count`` bytes in decimal units, as disks and web pages give them: ``42.9 GB``."""
    unit = 0
    while count >= 999.5 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.0f} {_UNITS[unit]}" if unit == 0 or count >= 99.95 else f"{count:.1f} {_UNITS[unit]}"


def duration(seconds: float) -> str:
    """Return ``seconds`` in words for people: ``35 s``, ``12 min``, ``3 h 20 min``, ``2 days 4 h``."""
    minutes = round(seconds / 60)
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} days {hours} h"


@contextmanager
def transfers(sizes: Mapping[str, int]) -> Iterator[Progress]:
    """Yield a callback for the bytes of files, in a terminal as bars and elsewhere as lines, both on stderr.

    ``sizes`` gives the files that are to come and their bytes, which the total counts from the start.
    """
    meters = _Meters({name: _Meter(total) for name, total in sizes.items()})
    if sys.stderr.isatty():
        with _bars(meters) as draw:
            yield draw
    else:
        yield _Lines(meters)


@dataclass
class _Meter:
    """Bytes done and expected, and the rate of the last `_WINDOW` seconds."""

    total: int
    done: int = 0
    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def note(self, done: int, total: int) -> None:
        self.done, self.total = done, total
        self._seen.append((time.monotonic(), done))
        while len(self._seen) > 2 and self._seen[-1][0] - self._seen[0][0] > _WINDOW:
            self._seen.popleft()

    def skip(self, count: int) -> None:
        """Leave ``count`` bytes that lay there from an earlier run out of the rate."""
        self._seen = deque((when, done + count) for when, done in self._seen)

    @property
    def rate(self) -> float:
        if len(self._seen) < 2 or self._seen[-1][0] <= self._seen[0][0]:
            return 0.0
        (begun, first), (now, last) = self._seen[0], self._seen[-1]
        return max(last - first, 0) / (now - begun)

    def __str__(self) -> str:
        text = f"{size(self.done)} of {size(self.total)}"
        if self.rate > 0 and self.done < self.total:
            text += f", {size(self.rate)}/s, {duration((self.total - self.done) / self.rate)} left"
        return text


class _Meters:
    """The meters of all files, and one for their sum."""

    def __init__(self, files: dict[str, _Meter]) -> None:
        self.files = files
        self.whole = _Meter(sum(meter.total for meter in files.values()))
        self._begun: set[str] = set()

    def note(self, stage: str, done: int, total: int) -> _Meter:
        meter = self.files.setdefault(stage, _Meter(total))
        if stage not in self._begun:
            self._begun.add(stage)
            self.whole.skip(done)
        self.whole.note(self.whole.done + done - meter.done, self.whole.total + total - meter.total)
        meter.note(done, total)
        return meter


class _Lines:
    """One line every ten seconds, and one when a file is done: readable in a log."""

    EVERY = 10.0

    def __init__(self, meters: _Meters) -> None:
        self._meters = meters
        self._last = time.monotonic()
        self._finished: set[str] = set()

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        self._meters.note(stage, done, total)
        if done >= total:
            if stage not in self._finished:
                self._finished.add(stage)
                console.note(f"{stage}: {size(total)} done")
        elif time.monotonic() - self._last >= self.EVERY:
            self._last = time.monotonic()
            files = self._meters.files.items()
            active = [f"{name} {m.done * 100 // m.total} %" for name, m in files if 0 < m.done < m.total]
            console.note(f"in all {self._meters.whole}: {', '.join(active)}")


@contextmanager
def _bars(meters: _Meters) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.fields[state]}"))
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        whole = bars.add_task("in all", total=meters.whole.total, state="")
        tasks: dict[str, Any] = {}

        def draw(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total, state="")
            meter = meters.note(stage, done, total)
            bars.update(whole, completed=meters.whole.done, total=meters.whole.total, state=str(meters.whole))
            if tasks[stage] is None:
                return
            bars.update(tasks[stage], completed=done, total=total, state=str(meter))
            if done >= total:
                bars.remove_task(tasks[stage])
                tasks[stage] = None
                bars.console.print(f"{stage}: {size(total)} done", highlight=False, markup=False)

        yield draw
