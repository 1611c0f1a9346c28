"""Progress of long work, reported without printing: the command line decides what is shown."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called as ``progress(stage, done, total)`` while a stage runs.

    ``stage`` is a short verb phrase ("describing references"), ``done`` and ``total`` count the same unit
    (images, pairs, bytes). A stage is finished when ``done == total``. Callers may call as often as they like;
    whoever shows it decides how often to draw.
    """

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        """Take note that ``done`` of ``total`` units of ``stage`` are done."""


def silent(stage: str, done: int, total: int, /) -> None:
    """Return nothing and show nothing: the default for use from Python."""
