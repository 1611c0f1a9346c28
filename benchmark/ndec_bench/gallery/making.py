"""From results and their lists to a page on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ndec_bench.atomic import write_bytes
from ndec_bench.errors import UsageError
from ndec_bench.gallery.consensus import sections_of_all
from ndec_bench.gallery.page import render
from ndec_bench.gallery.sections import Gallery
from ndec_bench.gallery.selection import Rows, sections_of
from ndec_bench.gallery.thumbnails import about_bytes, read_thumbnails
from ndec_bench.progress import silent
from ndec_bench.submissions.entries import MARKER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ndec_bench.data.images import ImageSource
    from ndec_bench.data.split import Split
    from ndec_bench.gallery.lists import Listed
    from ndec_bench.gallery.sections import Side
    from ndec_bench.progress import Progress
    from ndec_bench.scoring.parts import TruthTable

COUNT, MOST_ROWS = 24, 200
"""Rows of a section: by default, and at most."""
SIZE, LEAST_SIZE, MOST_SIZE = 192, 32, 400
"""Pixels of the longer side of a picture: by default, at least and at most. They bound the page."""


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
        Side and id of those that could not be read, sorted; a box with the id stands in their place.
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
                f"{out}: lies in the site {folder}, and a gallery is never published",
                hint="write it to another folder",
            )


def plan_gallery(results: Sequence[Listed], split: Split, truth: TruthTable, *, count: int = COUNT) -> Gallery:
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
    rows = Rows(split, truth, results[0])
    sections = sections_of(rows, count)
    if len(results) > 1:
        sections += sections_of_all(rows, results, count)
    return Gallery([listed.result for listed in results], split, sections)


def about_size(gallery: Gallery, size: int = SIZE) -> int:
    """Return about how many bytes the page will have. Raises UsageError if ``size`` is out of bounds."""
    _check_bounds("size", size, LEAST_SIZE, MOST_SIZE)
    return about_bytes(gallery.pictures, size)


def write_gallery(
    gallery: Gallery,
    sources: Mapping[Side, ImageSource],
    out: Path,
    *,
    size: int = SIZE,
    progress: Progress = silent,
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
        Told of images read.

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
    thumbnails = read_thumbnails(sources, images, size, progress=progress)
    content = render(gallery, thumbnails).encode("utf-8")
    write_bytes(out, content)
    unreadable = tuple(image for image in images if thumbnails[image] is None)
    return GalleryReport(out, len(content), len(images), unreadable)


def _check_bounds(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise UsageError(f"{name} is {value}", hint=f"choose from {least} to {most}")
