"""Chains of edits: drawing them, applying them, and what comes out."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ndec_bench.edits import colour, context, geometry, overlay, quality
from ndec_bench.edits.geometry import scaled
from ndec_bench.edits.picture import LONGEST, SHORTEST, WHOLE, EditStep, Picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_bench.edits.picture import Donors, EditKind
    from ndec_bench.edits.raster import Mask, Pixels
    from ndec_bench.randomness import Stream

STAGES = ("geometry", "colour", "overlay", "context", "quality")

# In the order of `STAGES`, so that a chain sorted by this order reads as a person would work.
EDITS: dict[str, EditKind] = {
    kind.name: kind for module in (geometry, colour, overlay, context, quality) for kind in module.KINDS
}


@dataclass(frozen=True)
class Edited:
    """An edited picture with its record.

    Attributes
    ----------
    pixels
        (height, width, 3), uint8, RGB; long side at most 256.
    steps
        The chain that made it, in order.
    remaining_area
        Share of the original's area still to be seen, in (0, 1], a multiple of a millionth: *scale* in the terms of
        the norm-ratio loss. Scaling down keeps it; cropping, turning out of the canvas and covering reduce it.
    mask
        (height, width), uint8: 255 where a pixel shows the original.
    """

    pixels: Pixels
    steps: tuple[EditStep, ...]
    remaining_area: float
    mask: Mask

    @property
    def image(self) -> Image.Image:
        """Return the picture as a Pillow image."""
        return Image.fromarray(self.pixels)


def as_pixels(image: Image.Image | Pixels) -> Pixels:
    """Return ``image`` as (height, width, 3), uint8, RGB; transparency falls away.

    Raises
    ------
    ValueError
        If an array is not of that shape and type, or a side is 0.
    """
    pixels = np.asarray(image.convert("RGB")) if isinstance(image, Image.Image) else image
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8 or 0 in pixels.shape:
        raise ValueError(f"picture of shape {pixels.shape} and type {pixels.dtype}; (height, width, 3) uint8 expected")
    return pixels


def sample_chain(
    stream: Stream,
    max_edits: int = 4,
    *,
    min_edits: int = 1,
    kinds: Sequence[str] | None = None,
    strength: tuple[float, float] = (0.0, 1.0),
    lowest_of: int = 1,
    donors: bool = True,
) -> tuple[EditStep, ...]:
    """Return a chain of ``min_edits`` to ``max_edits`` different edits, in the order of the stages.

    Each number of edits has the same chance; kinds are drawn by weight, at most two of a stage and one of the stages
    ``context`` and ``colour`` (so a chain may be shorter where no kind is left). A chain depends on the stream and the
    arguments alone.

    Parameters
    ----------
    stream
        Where the random numbers come from.
    min_edits, max_edits
        Shortest and longest chain, at least 1.
    kinds
        Names to choose from; those of ``ndec-mini`` where None.
    strength
        Lowest and highest strength, within 0 to 1.
    lowest_of
        A strength is the lowest of so many uniform draws: 1 is uniform, 2 favours mild edits.
    donors
        False leaves out the kinds that need other pictures.

    Raises
    ------
    ValueError
        If the lengths are out of order or below 1, a kind is unknown, or none is left.
    """
    names = [name for name, kind in EDITS.items() if kind.in_mini] if kinds is None else list(kinds)
    unknown = sorted(set(names) - set(EDITS))
    if unknown:
        raise ValueError(f"unknown edits {unknown}; known: {', '.join(EDITS)}")
    if not 1 <= min_edits <= max_edits:
        raise ValueError(f"{min_edits} to {max_edits} edits; 1 <= min_edits <= max_edits expected")
    left = [EDITS[name] for name in EDITS if name in names and (donors or not EDITS[name].donors)]
    if not left:
        raise ValueError("no kind of edit is left to draw from")
    chosen: list[EditKind] = []
    for _ in range(stream.integer(min_edits, max_edits + 1)):
        if not left:
            break
        chosen.append(_weighted(stream, left))
        left = [kind for kind in left if kind not in chosen and _room_for(kind, chosen)]
    order = list(EDITS)
    chosen.sort(key=lambda kind: order.index(kind.name))
    low, high = (round(1000 * s) for s in strength)
    strengths = [int(stream.integers(low, high + 1, lowest_of).min()) for _ in chosen]
    return tuple(_drawn(kind, value, stream) for kind, value in zip(chosen, strengths, strict=True))


def _weighted(stream: Stream, kinds: list[EditKind]) -> EditKind:
    borders = list(accumulate(kind.weight for kind in kinds))
    draw = stream.integer(0, borders[-1])
    return next(kind for kind, border in zip(kinds, borders, strict=True) if draw < border)


def _room_for(kind: EditKind, chosen: list[EditKind]) -> bool:
    same = sum(other.stage == kind.stage for other in chosen)
    return same < (1 if kind.stage in ("context", "colour") else 2)


def _drawn(kind: EditKind, strength: int, stream: Stream) -> EditStep:
    return EditStep(kind.name, strength / 1000, dict(sorted(kind.draw(strength, stream).items())))


def apply_chain(image: Image.Image | Pixels, chain: Sequence[EditStep], donors: Donors = ()) -> Edited:
    """Return ``image`` after the edits of ``chain``, applied in order; the same input gives the same pixels.

    Parameters
    ----------
    image
        A Pillow image, or (height, width, 3) uint8 RGB.
    chain
        Steps as `sample_chain` draws them or a record holds them.
    donors
        Other pictures to paste on, blend with and fill collages with, (height, width, 3) uint8; a step names one by a
        number taken modulo their count, so the record reproduces pixels with the same donors in the same order.

    Raises
    ------
    ValueError
        If a step is of an unknown kind, lacks a parameter, or needs donors and there are none.
    """
    picture = Picture.original(as_pixels(image))
    for step in chain:
        kind = EDITS.get(step.kind)
        if kind is None:
            raise ValueError(f"unknown edit {step.kind!r}; known: {', '.join(EDITS)}")
        if kind.donors and not donors:
            raise ValueError(f"edit {step.kind} needs other pictures, none were given")
        picture = within_limits(kind.apply(picture, step, donors))
    return Edited(picture.pixels, tuple(chain), picture.share / WHOLE, picture.mask)


def within_limits(picture: Picture) -> Picture:
    """Return ``picture`` scaled to a long side of at most 256 and, if cut small, a short one of at least 32."""
    long, short = max(picture.width, picture.height), min(picture.width, picture.height)
    if long > LONGEST:
        wide, tall = (max(1, side * LONGEST // long) for side in (picture.width, picture.height))
        return scaled(picture, wide, tall)
    if short < SHORTEST:
        wide, tall = (min(LONGEST, max(1, side * SHORTEST // short)) for side in (picture.width, picture.height))
        return scaled(picture, wide, tall)
    return picture
