"""Image sources: named images that are read one at a time, in RGB.

A source has sorted ``ids`` and ``read(id)``; whoever describes images needs nothing else. Images come from strangers:
only the listed formats are decoded, headers are checked against a pixel limit before any pixel is, and whatever a
decoder raises becomes a DataError that names the file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from PIL import Image

from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
MAX_PIXELS = 80_000_000
"""Larger images are refused; below the size at which Pillow itself warns of decompression bombs (89 megapixels)."""


class ImageSource(Protocol):
    """Named images, read at random. ``read`` may be called from several threads at once."""

    @property
    def ids(self) -> Sequence[str]:
        """Return all image ids, sorted, each once."""

    def read(self, image_id: str) -> Image.Image:
        """Return the image of that id, decoded, in mode RGB. Raises DataError naming the file if it is unusable."""


class FolderSource:
    """The images under a folder, searched recursively; the id of an image is its file name without the suffix.

    Files and folders whose name begins with a dot are passed over, as are files without an image suffix (`SUFFIXES`,
    in any case). Folders behind symbolic links are not entered.

    Raises
    ------
    DataError
        If the folder is missing, holds no image, or two images share an id.
    """

    def __init__(self, folder: Path) -> None:
        self._paths = _index(folder)
        self._ids = tuple(sorted(self._paths))

    @property
    def ids(self) -> Sequence[str]:
        """Return all image ids, sorted by code point."""
        return self._ids

    def read(self, image_id: str) -> Image.Image:
        """Return the image of that id as `read_image` decodes it. Raises DataError also for an unknown id."""
        if image_id not in self._paths:
            raise DataError(f"image {image_id!r} is not in this source", hint="take an id from its list")
        return read_image(self._paths[image_id])


class JoinedSource:
    """Several sources as one. Raises DataError if an id stands in two of them."""

    def __init__(self, sources: Sequence[ImageSource]) -> None:
        self._owner: dict[str, ImageSource] = {}
        for source in sources:
            for image_id in source.ids:
                if image_id in self._owner:
                    raise DataError(f"image {image_id} stands in two sources", hint="give each image once")
                self._owner[image_id] = source
        self._ids = tuple(sorted(self._owner))

    @property
    def ids(self) -> Sequence[str]:
        """Return all image ids, sorted by code point."""
        return self._ids

    def read(self, image_id: str) -> Image.Image:
        """Return the image of that id from the source that has it. Raises DataError as that source does."""
        if image_id not in self._owner:
            raise DataError(f"image {image_id!r} is in none of the sources", hint="take an id from their list")
        return self._owner[image_id].read(image_id)


def open_images(first: Path, *more: Path) -> ImageSource:
    """Return the images under ``first`` and ``more`` as one source.

    Raises
    ------
    DataError
        If a path is no folder, holds no image, or two images share an id.
    """
    sources = [_open_one(path) for path in (first, *more)]
    return sources[0] if len(sources) == 1 else JoinedSource(sources)


def read_image(path: Path) -> Image.Image:
    """Return the image in the file ``path``, fully decoded, converted to RGB by Pillow, first frame only.

    The pixels are taken as stored: the EXIF orientation is not applied, as in the published descriptors for DISC21
    (isc2021, SSCD), which convert to RGB and nothing else. Transparency is dropped, not composited.

    Raises
    ------
    DataError
        If the file is missing, no image of the accepted formats, truncated, or larger than `MAX_PIXELS` pixels.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            _check_size(path, image.size)
            return image.convert("RGB")
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path}: more than {MAX_PIXELS:,} pixels ({error})", hint="scale the image down") from error
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing", hint="the folder changed while it was read; start again") from error
    except Exception as error:
        # Decoders of hostile files raise anything: OSError, SyntaxError, ValueError, struct.error, MemoryError.
        reason = str(error) or type(error).__name__
        raise DataError(f"{path}: no readable image ({reason})", hint="replace or remove the file") from error


def _open_one(path: Path) -> ImageSource:
    if not path.is_dir():
        found = "a file" if path.exists() else "missing"
        raise DataError(f"{path}: {found}, expected a folder of images", hint="give the folder that holds the images")
    return FolderSource(path)


def _index(folder: Path) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for path in _image_files(folder):
        if path.stem in paths:
            raise DataError(
                f"{folder}: two images have the id {path.stem}: {paths[path.stem].relative_to(folder)} and "
                f"{path.relative_to(folder)}",
                hint="ids are file names without suffix; rename or remove one",
            )
        paths[path.stem] = path
    if not paths:
        raise DataError(
            f"{folder}: no images found", hint=f"expected files ending in {', '.join(sorted(SUFFIXES))}, at any depth"
        )
    return paths


def _image_files(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:  # noqa: PTH122
                yield Path(parent, name)


def _check_size(path: Path, size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{path}: {width} x {height} pixels, at most {MAX_PIXELS:,} are accepted", hint="scale the image down"
        )
