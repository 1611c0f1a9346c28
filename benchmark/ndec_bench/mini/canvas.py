"""Drawing with whole numbers: fractal noise, shaded bodies and a canvas to paint them on, back to front."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.edits.raster import UNIT_BITS, clipped, cosine, sine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_bench.randomness import Stream

    Field = NDArray[np.int16]
    Colour = tuple[int, int, int]

# Alpha runs from 0 to 128, so that (255 * 128) still fits int16, which numpy adds fastest.
OPAQUE = 128
LAMP = (-60, -80, 80)


# Kinds of surface in `material`.
SURFACES = ("cloud", "cloud", "rough", "along", "across", "veins", "blotch", "grain", "weave", "pits", "bands")


def random_field(stream: Stream, height: int, width: int, amplitude: int) -> Field:
    """Return white noise (height, width), int16, from -amplitude to amplitude (amplitude at most 255)."""
    count = height * width
    words = stream.u64((count + 7) // 8).astype("<u8")
    values = words.view(np.uint8)[:count].astype(np.int16) - 128
    noise: Field = ((values * amplitude) >> 7).reshape(height, width)
    return noise


def fractal(stream: Stream, height: int, width: int, *, levels: int = 5, gain: int = 9) -> Field:
    """Return noise with a spectrum like that of natural textures: int16, mean 0, mostly within -200..200.

    A random grid is doubled ``levels`` times by linear interpolation; each time noise of ``gain``/16 of the last
    amplitude is added. Gain 8 gives an amplitude spectrum near 1/f, 11 a rough surface, 5 a smooth one.
    """
    sizes = [(-(-height >> k) + 2, -(-width >> k) + 2) for k in range(levels, -1, -1)]
    amplitude = 120
    field = random_field(stream, *sizes[0], amplitude)
    for rows, columns in sizes[1:]:
        field = _doubled(_doubled(field).T).T[:rows, :columns]
        amplitude = (amplitude * gain) >> 4
        if amplitude:
            field = field + random_field(stream, rows, columns, amplitude)
    return np.ascontiguousarray(field[:height, :width])


def _doubled(values: Field) -> Field:
    """Return linear interpolation along the first axis, two for each step."""
    first, second = values[:-1], values[1:]
    out = np.empty((2 * len(first), *values.shape[1:]), np.int16)
    out[0::2] = (3 * first + second) >> 2
    out[1::2] = (first + 3 * second) >> 2
    return out


def material(stream: Stream, height: int, width: int, kind: str = "") -> Field:
    """Return the texture of a surface, int16, mostly within -200..200; its kind is drawn where none is given.

    Photographs differ in texture more than in anything else, and so must scenes.
    """
    kind = kind or stream.choice(SURFACES)
    if kind in ("cloud", "rough", "grain"):
        kinds = {"cloud": (6, stream.integer(5, 10)), "rough": (5, stream.integer(10, 14)), "grain": (2, 15)}
        levels, gain = kinds[kind]
        return fractal(stream, height, width, levels=levels, gain=gain)
    if kind in ("along", "across"):
        return _fibres(stream, height, width, kind)
    field = fractal(stream, height, width, levels=stream.integer(3, 6), gain=stream.integer(7, 11))
    if kind in ("weave", "bands"):
        return _woven(stream, field, kind)
    if kind == "pits":
        return np.where(field > stream.integer(30, 90), -190, 30 + (field >> 2)).astype(np.int16)
    shaped = 140 - 3 * abs(field) if kind == "veins" else (field >> 6) * 110
    return shaped.clip(-220, 220).astype(np.int16)


def _fibres(stream: Stream, height: int, width: int, kind: str) -> Field:
    times = stream.choice((4, 6, 10))
    if kind == "along":
        return fractal(stream, height, width // times + 1, levels=4, gain=13).repeat(times, axis=1)[:, :width]
    return fractal(stream, height // times + 1, width, levels=4, gain=13).repeat(times, axis=0)[:height]


def _woven(stream: Stream, field: Field, kind: str) -> Field:
    rows, columns = np.ogrid[: field.shape[0], : field.shape[1]]
    pitch = stream.integer(3, 9)
    if kind == "weave":
        woven: Field = ((rows // pitch + columns // pitch) % 2 * 80 - 40 + (field >> 1)).astype(np.int16)
        return woven
    bands = (rows * stream.integer(0, 3) + columns * stream.integer(0, 3) + (field >> 4)) // pitch % 2
    banded: Field = (bands * 110 - 55 + (field >> 1)).astype(np.int16)
    return banded


def fractal_line(stream: Stream, length: int, *, levels: int = 6, gain: int = 8) -> Field:
    """Return fractal noise along a line (length,), int16; a mountain ridge, a shore."""
    size = -(-length >> levels) + 2
    amplitude = 120
    line = random_field(stream, 1, size, amplitude)[0]
    for k in range(levels - 1, -1, -1):
        line = _doubled(line)[: -(-length >> k) + 2]
        amplitude = (amplitude * gain) >> 4
        line = line + random_field(stream, 1, len(line), max(amplitude, 1))[0]
    ridge: Field = line[:length]
    return ridge


@lru_cache(maxsize=2)
def _roots() -> NDArray[np.int16]:
    # isqrt is exact on integers.
    return np.array([math.isqrt(v << 6) for v in range(257)], dtype=np.int16)


@lru_cache(maxsize=4096)
def body(rx: int, ry: int, degrees: int = 0) -> tuple[Field, Field, Field, Field]:
    """Return alpha (0..128) and the normal x, y, z (-128..128) of an ellipsoid with half axes ``rx``, ``ry``.

    The fields are (2 r + 3, 2 r + 3) with r = max(rx, ry) when turned, else (2 ry + 3, 2 rx + 3). The edge is soft
    over about one pixel. Cached: bodies of one size share it, so callers must not write to the fields.
    """
    reach_x, reach_y = (rx, ry) if degrees % 180 == 0 else (max(rx, ry),) * 2
    y, x = np.mgrid[-reach_y - 1 : reach_y + 2, -reach_x - 1 : reach_x + 2].astype(np.int32)
    u, v = x << UNIT_BITS, y << UNIT_BITS
    if degrees % 180:
        c, s = cosine(degrees), sine(degrees)
        u, v = x * c + y * s, y * c - x * s
    nx, ny = u // max(rx, 1) >> (UNIT_BITS - 7), v // max(ry, 1) >> (UNIT_BITS - 7)
    nx, ny = np.clip(nx, -400, 400), np.clip(ny, -400, 400)
    square = (nx * nx + ny * ny) >> 6
    alpha = np.clip((256 + 256 // max(min(rx, ry), 1) - square) * min(rx, ry) // 4, 0, OPAQUE)
    nz = _roots()[np.clip(256 - square, 0, 256)]
    if degrees % 180:
        nx, ny = (nx * c - ny * s) >> UNIT_BITS, (nx * s + ny * c) >> UNIT_BITS
    fields = [a.astype(np.int16) for a in (alpha, np.clip(nx, -128, 128), np.clip(ny, -128, 128), nz)]
    for field in fields:
        field.setflags(write=False)
    return fields[0], fields[1], fields[2], fields[3]


def tiled(field: Field, height: int, width: int) -> Field:
    """Return the first (height, width) of ``field``, repeated where it is smaller."""
    missing = [(0, max(0, side - have)) for side, have in zip((height, width), field.shape, strict=True)]
    return (np.pad(field, missing, mode="wrap") if any(map(any, missing)) else field)[:height, :width]


def gradient(first: Colour, last: Colour, steps: int) -> Field:
    """Return the colours (steps, 3), int16, from ``first`` to ``last``."""
    t = np.arange(steps, dtype=np.int32)[:, None]
    a, b = np.array(first, np.int32), np.array(last, np.int32)
    return ((a * (steps - 1 - t) + b * t) // max(steps - 1, 1)).astype(np.int16)


def mixed(first: Colour, last: Colour, share: int) -> Colour:
    """Return the colour ``share``/128 of the way from ``first`` to ``last``."""
    a, b, c = ((x * (OPAQUE - share) + y * share) >> 7 for x, y in zip(first, last, strict=True))
    return a, b, c


def varied(stream: Stream, colour: Colour, by: int) -> Colour:
    """Return ``colour`` moved by up to ``by`` in brightness and a third of it in each channel, within 0..255."""
    light = stream.integer(-by, by + 1)
    third = by // 3
    r, g, b = (min(255, max(0, c + light + stream.integer(-third, third + 1))) for c in colour)
    return r, g, b


class Canvas:
    """A picture (height, width, 3) in int16 that bodies are painted on, back to front."""

    def __init__(self, height: int, width: int) -> None:
        self.pixels = np.zeros((height, width, 3), np.int16)

    @property
    def height(self) -> int:
        """Return the height in pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Return the width in pixels."""
        return int(self.pixels.shape[1])

    def paint(self, x: int, y: int, alpha: Field, colour: Field | Colour) -> None:
        """Cover the canvas from column ``x``, row ``y`` on with ``colour`` (0..255) to ``alpha`` (0..128); clips."""
        found = clipped(self.pixels.shape, x, y, alpha.shape[1], alpha.shape[0])
        if found is None:
            return
        place, cut = found
        over = np.asarray(colour, np.int16)
        part = self.pixels[place]
        part += (((over[cut] if over.ndim > 1 else over) - part) * alpha[cut][..., None]) >> 7

    def rectangle(self, x: int, y: int, width: int, height: int, colour: Field | Colour) -> None:
        """Cover a rectangle with ``colour``: one colour, or a field (height, width, 3); clips."""
        found = clipped(self.pixels.shape, x, y, width, height)
        if found is not None:
            place, cut = found
            over = np.asarray(colour, np.int16)
            self.pixels[place] = over[cut] if over.ndim > 1 else over

    def ball(
        self,
        x: int,
        y: int,
        rx: int,
        ry: int,
        colour: Colour,
        light: tuple[int, int, int] = LAMP,
        texture: Field | None = None,
        *,
        grain: int = 40,
        gloss: int = 0,
        degrees: int = 0,
        flat: int = 0,
    ) -> None:
        """Paint a shaded ellipsoid around (x, y).

        ``light`` points to the lamp (each -128..128), ``texture`` is a field at least as large as the body, applied
        with weight ``grain``/256, ``gloss`` 0..255 is the highlight, ``flat`` 0..128 takes shading away.
        """
        if rx < 1 or ry < 1:
            return
        alpha, nx, ny, nz = body(rx, ry, degrees)
        height, width = alpha.shape
        glow = ((nx.astype(np.int32) * light[0] + ny * light[1] + nz * light[2]) >> 7).clip(-40, 150)
        shade = 58 + ((glow * (OPAQUE - flat)) >> 7) + ((70 * flat) >> 7)
        if texture is not None:
            shade = shade + ((tiled(texture, height, width).astype(np.int32) * grain) >> 8)
        shade = shade.clip(12, 250)
        out = (shade[..., None] * np.asarray(colour, np.int32)) >> 7
        if gloss:
            spot = (glow - 96).clip(0, 40)
            out = out + ((spot * spot * gloss) >> 11)[..., None]
        self.paint(x - width // 2, y - height // 2, alpha, out.clip(0, 255).astype(np.int16))

    def shadow(self, x: int, y: int, rx: int, ry: int, strength: int = 70) -> None:
        """Darken an ellipse around (x, y), strongest in its middle, to ``strength``/128."""
        if rx < 1 or ry < 1:
            return
        alpha, _, _, nz = body(rx, ry)
        soft = ((alpha.astype(np.int32) * nz * strength) >> 14).astype(np.int16)
        height, width = soft.shape
        self.paint(x - width // 2, y - height // 2, soft, (8, 8, 12))

    def finished(self, look: Stream, noise: Stream) -> NDArray[np.uint8]:
        """Return the picture as uint8 as a camera of one ``look`` sees it: contrast, exposure, colour, focus, noise."""
        contrast, exposure = look.integer(48, 88), look.integer(-26, 27)
        tint = [look.integer(-12, 13) for _ in range(3)]
        focus, amplitude = look.integer(0, 8), look.choice((2, 3, 5, 8, 12))
        some = self.pixels[::4, ::4]
        middle = int(some.sum(dtype=np.int64)) // some.size
        shift = np.array([((middle + 118) >> 1) + exposure + t for t in tint], np.int16)
        # 64 is unchanged contrast: 255 * 88 still fits int16.
        values = ((self.pixels - np.int16(middle)) * np.int16(contrast) >> 6) + shift
        if focus == 0:
            values[1:-1] = (2 * values[1:-1] + values[:-2] + values[2:] + 2) >> 2
        grain = random_field(noise, self.height, self.width, amplitude)
        return (values + grain[..., None]).clip(0, 255).astype(np.uint8)
