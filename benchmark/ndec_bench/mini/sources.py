"""Sources of pictures: drawn scenes, regions of packaged photographs, a user's photographs."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ndec_bench.data.images import as_rgb
from ndec_bench.edits.raster import resized
from ndec_bench.errors import DataError
from ndec_bench.mini.scenes import Scene, drawn

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ndec_bench.edits.raster import Pixels

LONG_SIDE = 224
# Below the size from which Pillow warns of a decompression bomb.
MOST_PIXELS = 89_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")


@dataclass(frozen=True)
class Region:
    """One cell of a grid laid over a photograph; 1 x 1 is the whole. Cells of a grid do not touch.

    Attributes
    ----------
    path
        The file.
    key
        What may be written about it: package and file for packaged photographs, a number for private ones.
    columns, rows, column, row
        The grid and the cell.
    """

    path: Path
    key: str
    columns: int = 1
    rows: int = 1
    column: int = 0
    row: int = 0

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return left, top, right, bottom of the cell in a photograph of that size, a 64th of a cell apart."""
        wide, tall = width // self.columns, height // self.rows
        gap_x, gap_y = (wide // 128 * (self.columns > 1), tall // 128 * (self.rows > 1))
        left, top = self.column * wide + gap_x, self.row * tall + gap_y
        return left, top, (self.column + 1) * wide - gap_x, (self.row + 1) * tall - gap_y


Source = Scene | Region


def read_photo(path: Path, *, small: bool = False) -> Pixels:
    """Return the pixels (height, width, 3), uint8, of an image file, upright by its EXIF tag, transparency on white.

    ``small`` lets the JPEG decoder halve its output while that stays well above what the benchmark needs.

    Raises
    ------
    DataError
        If the file is not a picture, is truncated, or has more than 89 million pixels.
    """
    try:
        # Pillow warns of odd metadata, which says nothing to the user: what counts is whether the pixels can be read.
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Image.DecompressionBombError
            if small:
                image.draft("RGB", (4 * LONG_SIDE, 4 * LONG_SIDE))
            upright = ImageOps.exif_transpose(image)
            if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
                above = upright.convert("RGBA")
                upright = Image.alpha_composite(Image.new("RGBA", above.size, (255, 255, 255, 255)), above)
            return np.asarray(as_rgb(upright))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{path.name}: more than {MOST_PIXELS // 10**6} million pixels") from error
    except UnidentifiedImageError as error:
        raise DataError(f"{path.name}: no picture of a known format") from error
    except (OSError, ValueError, SyntaxError, MemoryError, EOFError) as error:
        raise DataError(f"{path.name}: not a readable picture ({type(error).__name__}: {error})") from error


def fitted(pixels: Pixels) -> Pixels:
    """Return the picture with a long side of 224 pixels, aspect kept within 1 : 4."""
    height, width = pixels.shape[:2]
    long = max(height, width)
    wide, tall = (max(LONG_SIDE // 4, side * LONG_SIDE // long) for side in (width, height))
    return resized(np.ascontiguousarray(pixels), wide, tall)


@lru_cache(maxsize=1)
def _photo(path: Path, *, small: bool) -> Pixels:
    # The cells of a photograph follow one another.
    return read_photo(path, small=small)


@lru_cache(maxsize=1)
def picture(source: Source) -> Pixels:
    """Return the pixels (height, width, 3), uint8, of ``source``, to be read only. Raises DataError as `read_photo`."""
    if isinstance(source, Scene):
        return drawn(source)
    photo = _photo(source.path, small=source.key.startswith("photo "))
    left, top, right, bottom = source.box(photo.shape[1], photo.shape[0])
    return fitted(photo[top:bottom, left:right])


class Donors:
    """The other pictures that edits need, drawn or read when first asked for."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._ready: dict[int, Pixels] = {}

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, index: int) -> Pixels:
        if index not in self._ready:
            self._ready[index] = picture(self._sources[index])
        return self._ready[index]
