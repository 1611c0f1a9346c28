"""Small pictures as text that stands inside a page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

from ndec_bench.errors import DataError
from ndec_bench.progress import silent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ndec_bench.data.images import ImageSource
    from ndec_bench.gallery.sections import Side
    from ndec_bench.progress import Progress

_QUALITY = 82
# Base64 characters of a photograph at that quality per pixel of the square that holds it, measured on ndec-mini-1.
_CHARACTERS_PER_PIXEL = 0.25


@dataclass(frozen=True)
class Thumbnail:
    """A picture: a ``data:`` address of a JPEG, its width and height in pixels."""

    address: str
    width: int
    height: int


def thumbnail(image: Image.Image, size: int) -> Thumbnail:
    """Return ``image`` (RGB) with at most ``size`` pixels on its longer side; a larger one is scaled down in place."""
    image.thumbnail((size, size), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=_QUALITY, optimize=True)
    encoded = base64.b64encode(content.getvalue()).decode("ascii")
    return Thumbnail(f"data:image/jpeg;base64,{encoded}", image.width, image.height)


def read_thumbnails(
    sources: Mapping[Side, ImageSource], images: Sequence[tuple[Side, str]], size: int, *, progress: Progress = silent
) -> dict[tuple[Side, str], Thumbnail | None]:
    """Return the thumbnail of each image, read from the source of its side; None for an image that cannot be read.

    Images are read one at a time. ``progress`` is called as ``progress("reading images", done, total)``.
    """
    thumbnails: dict[tuple[Side, str], Thumbnail | None] = {}
    for done, (side, image_id) in enumerate(images, start=1):
        try:
            thumbnails[side, image_id] = thumbnail(sources[side].read(image_id), size)
        except DataError:
            thumbnails[side, image_id] = None
        progress("reading images", done, len(images))
    return thumbnails


def about_bytes(pictures: int, size: int) -> int:
    """Return about how many bytes a page with ``pictures`` pictures of ``size`` pixels has."""
    return int(pictures * size * size * _CHARACTERS_PER_PIXEL)
