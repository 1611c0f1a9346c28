"""How transfers are shown: sizes and times in words, rates without what was there before, lines for logs."""

from __future__ import annotations

import pytest

from ndec_bench.cli import transfers as shown
from ndec_bench.cli.transfers import duration, size, transfers


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_499, "999 kB"),
        (999_501, "1.0 MB"),
        (42_949_672_960, "42.9 GB"),
        (120_999_345_920, "121 GB"),
        (468_319_775_920, "468 GB"),
        (5e15, "5000 TB"),
    ],
)
def test_sizes_are_decimal(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (99, "99 s"), (100, "2 min"), (3599, "1 h 0 min"), (18_733, "5 h 12 min"), (200_000, "2 days 7 h")],
)
def test_durations_are_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(shown, "time", found)
    return found


def test_a_log_gets_a_line_every_ten_seconds_and_one_per_file(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with transfers({"a.zip": 1_000_000_000, "b.zip": 3_000_000_000}) as progress:
        progress("a.zip", 400_000_000, 1_000_000_000)  # there from an earlier run
        for done in (420_000_000, 460_000_000):
            clock.now += 4
            progress("a.zip", done, 1_000_000_000)
        clock.now += 4
        progress("a.zip", 500_000_000, 1_000_000_000)
        clock.now += 1
        progress("b.zip", 1_000_000, 3_000_000_000)
        clock.now += 9
        progress("a.zip", 1_000_000_000, 1_000_000_000)
        progress("a.zip", 1_000_000_000, 1_000_000_000)
        progress("b.zip", 400_000_000, 3_000_000_000)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "in all 500 MB of 4.0 GB, 10.0 MB/s, 6 min left: a.zip 50 %",
        "a.zip: 1.0 GB done",
        "in all 1.4 GB of 4.0 GB, 54.4 MB/s, 48 s left: b.zip 13 %",
    ]


def test_a_size_that_turns_out_otherwise_moves_the_total(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with transfers({"a": 1000, "b": 1000}) as progress:
        progress("a", 0, 500)
        clock.now += 2
        progress("a", 50, 500)
        clock.now += 8
        progress("a", 250, 500)
    assert "in all 250 B of 1.5 kB, 25 B/s" in capsys.readouterr().err
