"""Numbers and names as the site prints them. Rounding happens here and nowhere earlier."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

from ndec_bench.printable import without_overrides

if TYPE_CHECKING:
    from collections.abc import Callable

NBSP = "\u00a0"
MINUS = "\u2212"


def score(value: float, digits: int = 3) -> str:
    """Return ``value`` with ``digits`` decimals and a true minus sign."""
    return f"{value:.{digits}f}".replace("-", MINUS)


def signed(value: float, digits: int = 3) -> str:
    """Return ``value`` with its sign and ``digits`` decimals; no sign where it rounds to zero."""
    text = f"{value:+.{digits}f}"
    return score(0.0, digits) if float(text) == 0 else text.replace("-", MINUS)


def percent(value: float, digits: int = 1) -> str:
    """Return a share as a percentage."""
    return f"{100 * value:.{digits}f}{NBSP}%"


def count(value: int) -> str:
    """Return a whole number with commas between thousands."""
    return f"{value:,}"


def significant(value: float) -> str:
    """Return ``value`` with about three significant digits, never in powers of ten between 0.001 and a million."""
    size = abs(value)
    if size and not 1e-3 <= size < 1e6:
        return f"{value:.3g}".replace("-", MINUS)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{digits}f}".replace("-", MINUS)


def short(value: float | None) -> str:
    """Return ``value`` with up to ten significant digits, for sorting; nothing for None."""
    return "" if value is None else f"{value:.10g}"


def threshold(value: float) -> str:
    """Return a threshold with six significant digits."""
    return f"{value:.6g}".replace("-", MINUS)


def p_value(value: float) -> str:
    """Return a p-value with three decimals, below 0.001 with four."""
    return f"{value:.4f}" if value < 1e-3 else f"{value:.3f}"


def interval(bounds: tuple[float, float], digits: int = 3) -> str:
    """Return ``low–high`` of an interval without negative bounds."""
    return f"{score(bounds[0], digits)}–{score(bounds[1], digits)}"


def percent_interval(bounds: tuple[float, float], digits: int = 1) -> str:
    """Return ``low–high %`` of an interval of shares."""
    return f"{100 * bounds[0]:.{digits}f}–{percent(bounds[1], digits)}"


def signed_interval(bounds: tuple[float, float], digits: int = 3) -> str:
    """Return ``low to high`` of an interval that may cross zero."""
    return f"{signed(bounds[0], digits)} to {signed(bounds[1], digits)}"


def letters(number: int) -> str:
    """Return 1 as A, 26 as Z, 27 as AA: how tie groups are called."""
    name = ""
    while number > 0:
        number, rest = divmod(number - 1, 26)
        name = string.ascii_uppercase[rest] + name
    return name


def short_digest(digest: str) -> str:
    """Return the first twelve characters of a digest."""
    return digest[:12]


FILTERS: dict[str, Callable[..., str]] = {
    "score": score,
    "signed": signed,
    "percent": percent,
    "count": count,
    "significant": significant,
    "short": short,
    "threshold": threshold,
    "p_value": p_value,
    "interval": interval,
    "percent_interval": percent_interval,
    "signed_interval": signed_interval,
    "letters": letters,
    "plain": without_overrides,
    "short_digest": short_digest,
}
