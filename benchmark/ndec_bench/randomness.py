"""Random numbers that are the same on every machine and in every library version.

The samplers of Python and numpy may change between versions, so everything that decides about pixels, splits or
bootstrap weights draws from this counter-based stream: number ``i`` of a stream is ``mix(key + (i + 1) * G)`` with
the finaliser of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014) and
``G = 0x9E3779B97F4A7C15``; all arithmetic is modulo 2**64.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

T = TypeVar("T")

_GAMMA = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def key_of(*parts: str | int) -> int:
    """Return the 64-bit key of a stream: the first 8 bytes (big endian) of SHA-256 over ``parts`` joined by ``|``."""
    text = "|".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big")


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return SplitMix64's finaliser of each uint64 value; same shape; arithmetic modulo 2**64."""
    z = values.copy()
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


class Stream:
    """A stream of random numbers named by its parts, for example ``Stream("mini", 1, "Q00017")``.

    The same parts give the same numbers, whatever else was drawn before. `child` derives an independent stream.
    """

    def __init__(self, *parts: str | int) -> None:
        self._parts = parts
        self._key = key_of(*parts)
        self._drawn = 0

    def child(self, *parts: str | int) -> Stream:
        """Return the stream named by this stream's parts followed by ``parts``; draws here do not change it."""
        return Stream(*self._parts, *parts)

    def u64(self, count: int) -> NDArray[np.uint64]:
        """Return the next ``count`` numbers, uint64, uniform over all values."""
        start = (self._key + (self._drawn + 1) * _GAMMA) & _MASK
        self._drawn += count
        steps = np.arange(count, dtype=np.uint64) * np.uint64(_GAMMA)
        return mix(steps + np.uint64(start))

    def integers(self, low: int, high: int, count: int) -> NDArray[np.int64]:
        """Return ``count`` integers in ``low`` (inclusive) to ``high`` (exclusive), int64.

        The upper 32 bits are scaled by multiplication, so the range must be below 2**31; the bias is below 2**-31.

        Raises
        ------
        ValueError
            If the range is empty or too wide.
        """
        if not 0 < high - low < 2**31:
            raise ValueError(f"range {low}..{high} is empty or wider than 2**31")
        scaled = (self.u64(count) >> np.uint64(32)) * np.uint64(high - low)
        return (scaled >> np.uint64(32)).astype(np.int64) + low

    def integer(self, low: int, high: int) -> int:
        """Return one integer in ``low`` (inclusive) to ``high`` (exclusive). Raises ValueError as `integers`."""
        if not 0 < high - low < 2**31:
            raise ValueError(f"range {low}..{high} is empty or wider than 2**31")
        return ((self._next() >> 32) * (high - low) >> 32) + low

    def _next(self) -> int:
        # The same number as ``u64(1)[0]``, in whole Python numbers: ten times faster for a single draw.
        self._drawn += 1
        z = (self._key + self._drawn * _GAMMA) & _MASK
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & _MASK
        return z ^ z >> 31

    def units(self, count: int) -> NDArray[np.float64]:
        """Return ``count`` numbers in [0, 1), float64, each a multiple of 2**-53."""
        return (self.u64(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def unit(self) -> float:
        """Return one number in [0, 1), a multiple of 2**-53."""
        return (self._next() >> 11) * 2.0**-53

    def choice(self, items: Sequence[T]) -> T:
        """Return one of ``items``, each with the same chance. Raises ValueError if there is none."""
        return items[self.integer(0, len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return ``items`` in random order (sorted by one random number each; ties, if ever, by position)."""
        return [items[i] for i in np.argsort(self.u64(len(items)), kind="stable")]

    def sample(self, items: Sequence[T], count: int) -> list[T]:
        """Return ``count`` different ``items`` in random order. Raises ValueError if there are fewer."""
        if count > len(items):
            raise ValueError(f"{count} asked for, {len(items)} there")
        return self.shuffled(items)[:count]
