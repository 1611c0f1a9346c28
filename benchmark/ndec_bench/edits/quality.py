"""Edits that lose detail: recompression, blur, noise, fewer pixels."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ndec_bench.edits.picture import SEED, EditKind, Picture, drawing, one_of, span
from ndec_bench.edits.raster import blurred, resized

if TYPE_CHECKING:
    from ndec_bench.edits.picture import Donors, EditStep


def _jpeg(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    file = io.BytesIO()
    # 4:4:4 keeps the one step out in which decoders differ, the interpolation of chroma. What is left is the integer
    # DCT of the standard's reference code, the same in every libjpeg and libjpeg-turbo.
    Image.fromarray(picture.pixels).save(file, "JPEG", quality=step.number("quality"), subsampling=0)
    with Image.open(io.BytesIO(file.getvalue())) as decoded:
        return picture.with_pixels(np.asarray(decoded.convert("RGB")))


def _blur(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    return picture.with_pixels(blurred(picture.pixels, step.number("radius")))


def _noise(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    channels = 1 if step.word("grain") == "grey" else 3
    count = picture.height * picture.width * channels
    raw = step.stream().u64((count + 7) // 8).astype("<u8").view(np.uint8)[:count].astype(np.int32) - 128
    field = (raw * step.number("amplitude") >> 7).reshape(picture.height, picture.width, channels)
    return picture.with_pixels((picture.pixels + field).clip(0, 255).astype(np.uint8))


def _pixelise(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    block = step.number("block")
    wide, tall = max(1, picture.width // block), max(1, picture.height // block)
    small = resized(picture.pixels, wide, tall)
    rows = np.arange(picture.height) * tall // picture.height
    columns = np.arange(picture.width) * wide // picture.width
    return picture.with_pixels(small[rows[:, None], columns[None]])


def _shrink(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    size = step.number("size")
    small = resized(picture.pixels, max(1, picture.width * size // 1000), max(1, picture.height * size // 1000))
    return picture.with_pixels(resized(small, picture.width, picture.height))


def _scatter(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    reach, stream = step.number("reach"), step.stream()
    size = picture.height * picture.width
    down, right = (stream.integers(-reach, reach + 1, size).reshape(picture.height, picture.width) for _ in range(2))
    rows = (np.arange(picture.height)[:, None] + down).clip(0, picture.height - 1)
    columns = (np.arange(picture.width)[None] + right).clip(0, picture.width - 1)
    return picture.with_pixels(picture.pixels[rows, columns])


def _sharpen(picture: Picture, step: EditStep, donors: Donors) -> Picture:
    before = picture.pixels.astype(np.int32)
    detail = before - blurred(picture.pixels, 1)
    return picture.with_pixels((before + detail * step.number("tenths") // 10).clip(0, 255).astype(np.uint8))


KINDS = (
    EditKind("jpeg", "quality", 8, drawing(quality=span(70, 4)), _jpeg, "JPEG at quality 70 to 4"),
    EditKind("blur", "quality", 4, drawing(radius=span(1, 5)), _blur, "two box means of 3 to 11 pixels"),
    EditKind("noise", "quality", 3, drawing(amplitude=span(10, 90), seed=SEED, grain=one_of("grey", "colour")), _noise,
             "up to 10 to 90 levels, grey or coloured"),
    EditKind("pixelise", "quality", 3, drawing(block=span(2, 7)), _pixelise, "blocks of 2 to 7 pixels"),
    EditKind("shrink", "quality", 3, drawing(size=span(800, 220)), _shrink, "to 80 % to 22 % of the size and back"),
    EditKind("scatter", "quality", 3, drawing(reach=span(1, 9), seed=SEED), _scatter,
             "pixels taken from up to 1 to 9 pixels away", in_mini=False),
    EditKind("sharpen", "quality", 3, drawing(tenths=span(8, 50)), _sharpen, "detail 1.8 to 6 times as strong",
             in_mini=False),
)  # fmt: skip
