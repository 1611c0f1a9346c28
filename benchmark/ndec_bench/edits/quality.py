"""Edits that lose detail: recompression, blur, noise, fewer pixels."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ndec_bench.edits.picture import EditKind, Picture, between
from ndec_bench.edits.raster import blurred, resized

if TYPE_CHECKING:
    from ndec_bench.edits.picture import Donors, EditStep, Value
    from ndec_bench.randomness import Stream


def _draw_jpeg(strength: int, stream: Stream) -> dict[str, Value]:
    return {"quality": between(70, 4, strength)}


def _jpeg(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    file = io.BytesIO()
    # 4:4:4 keeps the one step out in which decoders differ, the interpolation of chroma. What is left is the integer
    # DCT of the standard's reference code, the same in every libjpeg and libjpeg-turbo.
    Image.fromarray(picture.pixels).save(file, "JPEG", quality=step.number("quality"), subsampling=0)
    with Image.open(io.BytesIO(file.getvalue())) as decoded:
        return picture.with_pixels(np.asarray(decoded.convert("RGB")))


def _draw_blur(strength: int, stream: Stream) -> dict[str, Value]:
    return {"radius": between(1, 5, strength)}


def _blur(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    return picture.with_pixels(blurred(picture.pixels, step.number("radius")))


def _draw_noise(strength: int, stream: Stream) -> dict[str, Value]:
    return {
        "amplitude": between(10, 90, strength),
        "seed": stream.integer(0, 1 << 30),
        "grain": stream.choice(("grey", "colour")),
    }


def _noise(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    channels = 1 if step.word("grain") == "grey" else 3
    count = picture.height * picture.width * channels
    raw = step.stream().u64((count + 7) // 8).astype("<u8").view(np.uint8)[:count].astype(np.int32) - 128
    field = (raw * step.number("amplitude") >> 7).reshape(picture.height, picture.width, channels)
    return picture.with_pixels((picture.pixels + field).clip(0, 255).astype(np.uint8))


def _draw_pixelise(strength: int, stream: Stream) -> dict[str, Value]:
    return {"block": between(2, 7, strength)}


def _pixelise(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    block = step.number("block")
    wide, tall = max(1, picture.width // block), max(1, picture.height // block)
    small = resized(picture.pixels, wide, tall)
    rows = np.arange(picture.height) * tall // picture.height
    columns = np.arange(picture.width) * wide // picture.width
    return picture.with_pixels(small[rows[:, None], columns[None]])


def _draw_shrink(strength: int, stream: Stream) -> dict[str, Value]:
    return {"size": between(800, 220, strength)}


def _shrink(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    size = step.number("size")
    small = resized(picture.pixels, max(1, picture.width * size // 1000), max(1, picture.height * size // 1000))
    return picture.with_pixels(resized(small, picture.width, picture.height))


def _draw_scatter(strength: int, stream: Stream) -> dict[str, Value]:
    return {"reach": between(1, 9, strength), "seed": stream.integer(0, 1 << 30)}


def _scatter(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    reach, stream = step.number("reach"), step.stream()
    size = picture.height * picture.width
    down, right = (stream.integers(-reach, reach + 1, size).reshape(picture.height, picture.width) for _ in range(2))
    rows = (np.arange(picture.height)[:, None] + down).clip(0, picture.height - 1)
    columns = (np.arange(picture.width)[None] + right).clip(0, picture.width - 1)
    return picture.with_pixels(picture.pixels[rows, columns])


def _draw_sharpen(strength: int, stream: Stream) -> dict[str, Value]:
    return {"tenths": between(8, 50, strength)}


def _sharpen(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    before = picture.pixels.astype(np.int32)
    detail = before - blurred(picture.pixels, 1)
    return picture.with_pixels((before + detail * step.number("tenths") // 10).clip(0, 255).astype(np.uint8))


KINDS = (
    EditKind("jpeg", "quality", 8, _draw_jpeg, _jpeg, "JPEG at quality 70 to 4"),
    EditKind("blur", "quality", 4, _draw_blur, _blur, "two box means of 3 to 11 pixels"),
    EditKind("noise", "quality", 3, _draw_noise, _noise, "up to 10 to 90 levels, grey or coloured"),
    EditKind("pixelise", "quality", 3, _draw_pixelise, _pixelise, "blocks of 2 to 7 pixels"),
    EditKind("shrink", "quality", 3, _draw_shrink, _shrink, "to 80 % to 22 % of the size and back"),
    EditKind(
        "scatter", "quality", 3, _draw_scatter, _scatter, "pixels taken from up to 1 to 9 pixels away", in_mini=False
    ),
    EditKind("sharpen", "quality", 3, _draw_sharpen, _sharpen, "detail 1.8 to 6 times as strong", in_mini=False),
)
