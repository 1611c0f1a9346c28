"""Pictures under edit, which know how much of their original still shows; steps and kinds of edits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ndec_bench.randomness import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ndec_bench.edits.raster import Mask, Pixels

    Value = int | str
    Draw = Callable[[int, Stream], Value]
    """Strength in thousandths and a stream to the value of a parameter."""

# Remaining area is counted in millionths, in whole numbers.
WHOLE = 1_000_000
LONGEST, SHORTEST = 256, 32


class Donors(Protocol):
    """Pictures that edits may take from: anything with a length and items, such as a list."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Pixels: ...


@dataclass(frozen=True)
class Picture:
    """A picture under edit.

    Attributes
    ----------
    pixels
        (height, width, 3), uint8, RGB.
    mask
        (height, width), uint8: 255 where a pixel shows the original, 0 where something else.
    share
        Millionths of the original's area that still show, at least 1.
    """

    pixels: Pixels
    mask: Mask
    share: int = WHOLE

    @classmethod
    def original(cls, pixels: Pixels) -> Picture:
        """Return an untouched picture."""
        return cls(pixels, np.full(pixels.shape[:2], 255, np.uint8))

    @property
    def height(self) -> int:
        """Return the height in pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Return the width in pixels."""
        return int(self.pixels.shape[1])

    def with_pixels(self, pixels: Pixels) -> Picture:
        """Return the picture with other colours in the same places."""
        return replace(self, pixels=pixels)

    def moved(self, pixels: Pixels, mask: Mask, survives: Mask) -> Picture:
        """Return the picture in another geometry.

        ``survives`` (old height, old width) is nonzero where an old pixel is still seen. The share falls by the part
        of the pixels showing the original that do not survive.
        """
        before = int(np.count_nonzero(self.mask))
        after = int(np.count_nonzero(self.mask & survives))
        share = self.share * after // before if before else 0
        return Picture(pixels, mask, max(1, share))

    def framed(self, pixels: Pixels, mask: Mask) -> Picture:
        """Return the picture set into something larger: all of it is still seen, perhaps smaller."""
        return Picture(pixels, mask, self.share)

    def covered(self, pixels: Pixels, cover: Mask) -> Picture:
        """Return the picture with ``pixels`` where ``cover`` (height, width) is nonzero hides what was there."""
        hidden = np.where(cover > 0, 0, 255).astype(np.uint8)
        return self.moved(pixels, self.mask & hidden, hidden)


@dataclass(frozen=True)
class EditStep:
    """One edit with everything that decides its pixels; equal steps make equal pixels.

    Attributes
    ----------
    kind
        Name in `EDITS`.
    strength
        0 (hardly seen) to 1 (the strongest of its kind), in thousandths.
    parameters
        Whole numbers and words, by name; ``seed`` names the stream of random details.
    """

    kind: str
    strength: float
    parameters: Mapping[str, Value] = field(default_factory=dict)

    def stream(self) -> Stream:
        """Return the stream of the step's random details."""
        return Stream("ndec edit 1", self.kind, self.parameters.get("seed", 0))

    def number(self, name: str) -> int:
        """Return the whole number called ``name``. Raises ValueError if there is none."""
        value = self.parameters.get(name)
        if not isinstance(value, int):
            raise ValueError(f"edit {self.kind}: parameter {name!r} is {value!r}, a whole number was expected")
        return value

    def word(self, name: str) -> str:
        """Return the word called ``name``. Raises ValueError if there is none."""
        value = self.parameters.get(name)
        if not isinstance(value, str):
            raise ValueError(f"edit {self.kind}: parameter {name!r} is {value!r}, a word was expected")
        return value

    def as_json(self) -> dict[str, object]:
        """Return the step as JSON values: kind, strength, parameters in sorted order."""
        return {"kind": self.kind, "strength": self.strength, "parameters": dict(sorted(self.parameters.items()))}

    @classmethod
    def from_json(cls, content: Mapping[str, object]) -> EditStep:
        """Return the step that `as_json` wrote. Raises ValueError if a field is missing or of another type."""
        kind, strength, parameters = (content.get(k) for k in ("kind", "strength", "parameters"))
        if not isinstance(kind, str) or not isinstance(strength, int | float) or not isinstance(parameters, dict):
            raise ValueError(f"not an edit step: {content!r}")
        return cls(kind, float(strength), parameters)


@dataclass(frozen=True)
class EditKind:
    """A kind of edit: how its parameters follow from a strength, and how it is applied.

    Attributes
    ----------
    name
        Name, as in `EditStep.kind`.
    stage
        Place in a chain, as a person would work: ``geometry``, ``colour``, ``overlay``, ``context``, ``quality``.
    weight
        How often it is drawn, relative to the others.
    draw
        Strength in thousandths and a stream to parameters.
    apply
        Picture, step and donors to picture.
    donors
        Whether it needs other pictures.
    effect
        One line for the documentation: what strength 0 and 1 mean.
    in_mini
        Whether ``ndec-mini`` is made with it; its set is frozen, kinds that came later are for training.
    """

    name: str
    stage: str
    weight: int
    draw: Callable[[int, Stream], dict[str, Value]]
    apply: Callable[[Picture, EditStep, Donors], Picture]
    effect: str
    donors: bool = False
    in_mini: bool = True


def between(low: int, high: int, strength: int) -> int:
    """Return the whole number ``strength``/1000 of the way from ``low`` to ``high``."""
    return low + (high - low) * strength // 1000


def drawing(**parameters: Draw) -> Callable[[int, Stream], dict[str, Value]]:
    """Return what draws each of ``parameters`` by its own rule, in their order."""
    return lambda strength, stream: {name: draw(strength, stream) for name, draw in parameters.items()}


def span(low: int, high: int) -> Draw:
    """Return the rule of a parameter that goes from ``low`` to ``high`` with the strength."""
    return lambda strength, stream: between(low, high, strength)


def below(limit: int) -> Draw:
    """Return the rule of a parameter from 0 to ``limit`` - 1, at random."""
    return lambda strength, stream: stream.integer(0, limit)


def one_of(*values: Value | Draw) -> Draw:
    """Return the rule of a parameter that is one of ``values``, or follows one of these rules, at random."""

    def draw(strength: int, stream: Stream) -> Value:
        chosen = stream.choice(values)
        return chosen(strength, stream) if callable(chosen) else chosen

    return draw


SEED, DONOR, PLACE = below(1 << 30), below(1 << 20), below(1001)
"""Rules of the parameters ``seed``, ``donor``, and of a position in thousandths of the room there is."""
