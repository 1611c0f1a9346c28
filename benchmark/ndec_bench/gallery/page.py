"""The page as one HTML file that asks for nothing and runs nothing, with its pictures inside."""

from __future__ import annotations

import base64
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup
from PIL import Image

from ndec_bench import __version__
from ndec_bench.atomic import write_bytes
from ndec_bench.errors import DataError, UsageError
from ndec_bench.gallery.rows import Gallery, Rows, sections_of
from ndec_bench.printable import without_overrides
from ndec_bench.progress import silent
from ndec_bench.search import NO_RULE
from ndec_bench.site import text
from ndec_bench.submissions.entries import MARKER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ndec_bench.data.images import ImageSource
    from ndec_bench.data.split import Split
    from ndec_bench.gallery.lists import ResultList
    from ndec_bench.gallery.rows import Side
    from ndec_bench.progress import Progress
    from ndec_bench.scoring.truth import TruthTable

_TEMPLATES = Path(__file__).parent / "templates"
_QUALITY = 82
# Base64 characters of a photograph at that quality per pixel of the square that holds it, measured on ndec-mini-1.
_CHARACTERS_PER_PIXEL = 0.25

COUNT, MOST_ROWS = 24, 200
"""Rows of a section: by default, and at most."""
SIZE, LEAST_SIZE, MOST_SIZE = 192, 32, 400
"""Pixels of the longer side of a picture: by default, at least and at most. They bound the page."""


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


@dataclass(frozen=True)
class GalleryReport:
    """What was written.

    Attributes
    ----------
    page
        The file.
    bytes
        Its size.
    images
        Number of different images on it.
    unreadable
        Side and id of those that could not be read, sorted; a box with the id is in their place.
    """

    page: Path
    bytes: int
    images: int
    unreadable: tuple[tuple[Side, str], ...]


def check_private(out: Path) -> None:
    """Raise UsageError if the file ``out`` would lie in a built site: that is published, and the page must not be."""
    for folder in (parent := out.parent.resolve(), *parent.parents):
        if (folder / MARKER).exists():
            raise UsageError(
                f"{out}: lies in the site {folder}, and a gallery is never published", hint="write it to another folder"
            )


def plan_gallery(results: Sequence[ResultList], split: Split, truth: TruthTable, *, count: int = COUNT) -> Gallery:
    """Return what the page of the first of ``results`` shows; reads no image.

    Parameters
    ----------
    results
        The result that the page is about, then others; with others there are sections of what most get wrong.
    split, truth
        What all of them were scored against.
    count
        Rows of a section, at most `MOST_ROWS`.

    Raises
    ------
    UsageError
        If ``count`` is out of bounds, or two results have the same list, which would count twice.
    """
    _check_bounds("count", count, 1, MOST_ROWS)
    by_list: dict[str, str] = {}
    for listed in results:
        name, digest = listed.result.name, listed.result.predictions_sha256
        if digest in by_list:
            raise UsageError(f"results {by_list[digest]} and {name} have the same list", hint="give each result once")
        by_list[digest] = name
    sections = sections_of(Rows(split, truth, results[0]), results, count)
    return Gallery([listed.result for listed in results], split, sections)


def about_size(gallery: Gallery, size: int = SIZE) -> int:
    """Return about how many bytes the page will have. Raises UsageError if ``size`` is out of bounds."""
    _check_bounds("size", size, LEAST_SIZE, MOST_SIZE)
    return int(gallery.pictures * size * size * _CHARACTERS_PER_PIXEL)


def write_gallery(
    gallery: Gallery, sources: Mapping[Side, ImageSource], out: Path, *, size: int = SIZE, progress: Progress = silent
) -> GalleryReport:
    """Return a report of the page written to ``out``, whole or not at all.

    Parameters
    ----------
    gallery
        What to show.
    sources
        The images of both sides; only those on the page are read.
    out
        The file.
    size
        Longer side of a picture in pixels, from `LEAST_SIZE` to `MOST_SIZE`; smaller images are not enlarged.
    progress
        Called as images are read.

    Raises
    ------
    UsageError
        If ``out`` would lie in a built site, or ``size`` is out of bounds.
    DataError
        If ``out`` cannot be written.
    """
    check_private(out)
    _check_bounds("size", size, LEAST_SIZE, MOST_SIZE)
    images = gallery.images()
    thumbnails: dict[tuple[Side, str], Thumbnail | None] = {}
    for done, (side, image_id) in enumerate(images, start=1):
        try:
            thumbnails[side, image_id] = thumbnail(sources[side].read(image_id), size)
        except DataError:
            thumbnails[side, image_id] = None
        progress("reading images", done, len(images))
    content = _html(gallery, thumbnails).encode("utf-8")
    write_bytes(out, content)
    unreadable = tuple(image for image in images if thumbnails[image] is None)
    return GalleryReport(out, len(content), len(images), unreadable)


def _check_bounds(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise UsageError(f"{name} is {value}", hint=f"choose from {least} to {most}")


def _html(gallery: Gallery, thumbnails: Mapping[tuple[Side, str], Thumbnail | None]) -> str:
    # The policy admits this one style by its digest, and pictures by their data: whatever else is in the page is inert.
    style = (_TEMPLATES / "gallery.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    rule = gallery.results[0].asymmetric
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(count=text.count, score=text.score, threshold=text.threshold, plain=without_overrides)
    return environment.get_template("gallery.html.j2").render(
        gallery=gallery,
        first=gallery.results[0],
        thumbnails=thumbnails,
        style=Markup(style),  # noqa: S704 -- our own file
        policy=f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'",
        rule=None if rule == NO_RULE else rule,
        version=__version__,
    )
