"""Transfers on the screen: bytes, rate and time left, per file and in total; bars in a terminal, lines in a log."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ndec_bench.cli import console

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.progress import Progress as Bars
    from rich.progress import Task

    from ndec_bench.progress import Progress

_UNITS = ("B", "kB", "MB", "GB", "TB")


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
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(
        *columns,
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
        get_time=time.monotonic,
    ) as bars:
        yield _Transfers(bars, sizes)


class _Transfers:
    """The bars of all files and of their sum.

    Without a terminal they only count, and a line comes every ten seconds and when a file is done.
    """

    EVERY = 10.0

    def __init__(self, bars: Bars, sizes: Mapping[str, int]) -> None:
        self._bars = bars
        self._totals = dict(sizes)
        self._tasks: dict[str, Task] = {}
        self._whole = self._task("in all", sum(sizes.values()))
        self._told = time.monotonic()

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        task = self._tasks.get(stage)
        if task is None:
            task = self._tasks[stage] = self._task(stage, total)
            # What lay there from an earlier run is done, and no part of the rate.
            task.completed = done
            self._whole.completed += done
        whole_total = (self._whole.total or 0) + total - self._totals.get(stage, 0)
        self._totals[stage] = total
        self._bars.update(self._whole.id, total=whole_total, advance=done - task.completed)
        self._bars.update(task.id, total=total, completed=done)
        if done >= total and task.visible:
            self._bars.update(task.id, visible=False)
            self._say(f"{stage}: {size(total)} done")
        elif self._bars.disable and done < total and time.monotonic() - self._told >= self.EVERY:
            self._told = time.monotonic()
            self._say(self._line())

    def _task(self, name: str, total: int) -> Task:
        added = self._bars.add_task(name, total=total)
        return next(task for task in self._bars.tasks if task.id == added)

    def _line(self) -> str:
        whole = self._whole
        text = f"in all {size(whole.completed)} of {size(whole.total or 0)}"
        if whole.speed and whole.time_remaining:
            text += f", {size(whole.speed)}/s, {duration(whole.time_remaining)} left"
        active = [
            f"{task.description} {task.percentage:.0f} %"
            for task in self._tasks.values()
            if 0 < task.completed < (task.total or 0)
        ]
        return f"{text}: {', '.join(active)}"

    def _say(self, line: str) -> None:
        if self._bars.disable:
            console.note(line)
        else:
            self._bars.console.print(line, highlight=False, markup=False)
