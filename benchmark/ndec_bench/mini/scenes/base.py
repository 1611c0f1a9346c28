"""Scenes by family, part and number, and the random choices that a look-alike draws again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from ndec_bench.randomness import Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

Family = Literal["landscape", "still", "leaves", "facade", "meadow", "page"]
Change = Literal["none", "objects", "camera", "time", "visit", "palette"]

FAMILIES: tuple[Family, ...] = ("landscape", "still", "leaves", "facade", "meadow", "page")

# Which streams of random numbers a look-alike draws again; all others it shares with its original. ``noise`` is the
# sensor noise. What is drawn again is drawn from a stream of its own, so no texture or object repeats by accident.
CHANGED: dict[Change, frozenset[str]] = {
    "none": frozenset(),
    "objects": frozenset({"objects", "texture", "sky", "noise"}),
    "camera": frozenset({"camera", "sky", "noise"}),
    "time": frozenset({"camera", "light", "texture", "sky", "look", "noise"}),
    "visit": frozenset({"camera", "light", "objects", "texture", "sky", "look", "noise"}),
    "palette": frozenset({"layout", "objects", "texture", "camera", "sky", "noise"}),
}

# Width and height; the long side is 224.
SHAPES = ((224, 168), (224, 150), (224, 126), (224, 168), (200, 200), (168, 224), (150, 224))

# Horizontal camera travel in pixels, at the nearest depth.
TRAVEL = 128


@dataclass(frozen=True)
class Scene:
    """A procedural scene: the same value gives the same pixels.

    Attributes
    ----------
    family
        Which generator draws it.
    part
        Namespace of the number: ``test``, ``train``, ``background`` or ``donor``. Parts share no random number.
    number
        Number within part and family.
    change, turn
        ``none`` for an original. A look-alike shares the original's streams but those of `CHANGED`, which it draws
        for its ``turn``.
    """

    family: Family
    part: str
    number: int
    change: Change = "none"
    turn: int = 0

    def stream(self, purpose: str) -> Stream:
        """Return the stream of random numbers for one ``purpose`` (layout, light, objects, ...)."""
        if purpose in CHANGED[self.change]:
            return Stream(*self._name(), purpose, self.change, self.turn)
        return Stream(*self._name(), purpose)

    def _name(self) -> tuple[str, str, str, int]:
        return ("ndec-mini scene 1", self.part, self.family, self.number)

    def shape(self) -> tuple[int, int]:
        """Return width and height in pixels."""
        return self.stream("frame").choice(SHAPES)

    def chosen(self, purpose: str, items: Sequence[T]) -> T:
        """Return one of ``items`` for ``purpose``; a look-alike that draws it again never gets its original's."""
        original = Stream(*self._name(), purpose).integer(0, len(items))
        if purpose not in CHANGED[self.change]:
            return items[original]
        step = Stream(*self._name(), purpose, self.change, self.turn).integer(1, len(items))
        return items[(original + step) % len(items)]

    def travel(self) -> int:
        """Return the camera's place in 0..`TRAVEL`: a moved camera is 2/5 to 3/5 of the way round from it."""
        first = Stream(*self._name(), "camera").integer(0, TRAVEL + 1)
        if "camera" not in CHANGED[self.change]:
            return first
        return (first + self.stream("camera").integer(TRAVEL * 2 // 5, TRAVEL * 3 // 5 + 1)) % (TRAVEL + 1)
