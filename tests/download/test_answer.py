"""What a source asks for in its headers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from ndec_bench.download.exchange import retry_after


@pytest.mark.parametrize(
    ("text", "expected"),
    [(None, None), ("0", 0.0), (" 17 ", 17.0), ("-3", None), ("9" * 5_000, None), ("soon", None), ("1.5", None)],
)
def test_retry_after_in_seconds(text: str | None, expected: float | None) -> None:
    assert retry_after(text) == expected


def test_retry_after_as_a_date() -> None:
    soon = retry_after(format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True))
    assert soon is not None
    assert 3_000 < soon <= 3_600
    assert retry_after("Tue, 14 Nov 2023 22:13:20 GMT") == 0.0
