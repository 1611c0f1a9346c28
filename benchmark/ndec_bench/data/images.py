"""Image sources: named images that are read one at a time, in RGB.

A source has sorted ``ids``, ``read(id)`` and ``read_bytes(id)``; whoever describes images needs nothing else. It is a
folder, or a zip or tar archive that is read in place. Images come from strangers: only the listed formats are decoded,
headers are checked against a pixel limit before any pixel is, and whatever a decoder raises becomes a DataError that
names the file.
"""

from __future__ import annotations

import io
import operator
import os
from bisect import bisect_left
from collections import Counter
from itertools import chain, islice, pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from PIL import Image

from ndec_bench.archives import safe
from ndec_bench.archives.archive import Archive, pieces
from ndec_bench.errors import DataError, os_errors
from ndec_bench.printable import escaped, wrong_ids, wrong_with_id
from ndec_bench.progress import Progress, silent

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

SUFFIXES = safe.IMAGE_SUFFIXES
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
MAX_PIXELS = 80_000_000
"""Larger images are refused; below the size at which Pillow itself warns of decompression bombs (89 megapixels)."""

IdRule = Literal["stem", "folder/stem"]
"""What an image is called: its file name without the suffix (``T613143``), or its folder's name and that
(``00001/T613143``), where the same file name is in several folders, as in NDEC's negative pairs."""


class ImageSource(Protocol):
    """Named images, read at random. Both methods may be called from several threads at once."""

    @property
    def ids(self) -> Sequence[str]:
        """Return all image ids, sorted, each once."""

    def read(self, image_id: str) -> Image.Image:
        """Return the image of that id, decoded, in mode RGB. Raises DataError naming the file if it is unusable."""

    def read_bytes(self, image_id: str) -> bytes:
        """Return the image file of that id as it is stored. Raises DataError naming the file if it is unusable."""


class FolderSource:
    """The images under a folder, searched recursively; ``id_rule`` says what they are called.

    Files and folders whose name begins with a dot are passed over. Folders behind symbolic links are entered, each
    folder once.

    Attributes
    ----------
    ids
        Image ids, sorted.
    left_out
        Files without an image suffix (`SUFFIXES`, in any case), counted by suffix.

    Raises
    ------
    DataError
        If the folder is missing, holds no image or cannot be read, a name makes no id, or two images share an id.
    """

    def __init__(self, folder: Path, *, id_rule: IdRule = "stem") -> None:
        self._folder = folder
        files = files_under(folder)
        names = list(filter(safe.is_image, files))
        self.left_out = _left_out(files, len(names))
        self.ids, order = _named(str(folder), names, id_rule)
        self._names = [names[row] for row in order]

    def read(self, image_id: str) -> Image.Image:
        """Return the image of that id as `read_image` decodes it. Raises DataError also for an unknown id."""
        return read_image(self._path(image_id))

    def read_bytes(self, image_id: str) -> bytes:
        """Return the file of that id. Raises DataError if it is unknown, missing, or larger than archives may hold."""
        path = self._path(image_id)
        with os_errors(f"{path}: cannot be read", hint="check the disk"), path.open("rb") as file:
            content = file.read(safe.MAX_BYTES + 1)
        if len(content) > safe.MAX_BYTES:
            raise DataError(f"{path}: more than {safe.MAX_BYTES:,} bytes", hint="scale the image down")
        return content

    def _path(self, image_id: str) -> Path:
        return self._folder / self._names[_position(self.ids, image_id)]


class ArchiveSource:
    """The images in a zip, a tar, or the raw pieces of a tar, at any depth, read in place; ``id_rule`` names them.

    The files that a `FolderSource` passes over are passed over. Nothing is unpacked and no lock is held; a pickled
    source opens the files again.

    Parameters
    ----------
    paths
        The archive, or its pieces in order.
    partial
        Whether a tar may be cut short at its end; then the images that are whole are there.
    progress
        Called while the index is built, in bytes; that is once per archive, see `ndec_bench.archives.index`.

    Raises
    ------
    DataError
        If the archive is damaged or refused (`ndec_bench.archives.safe`), holds no image, or two images share an id.
    """

    def __init__(
        self, paths: Sequence[Path], *, id_rule: IdRule = "stem", partial: bool = False, progress: Progress = silent
    ) -> None:
        self._archive = Archive(paths, partial=partial, progress=progress)
        names = self._archive.members.names
        rows = self._archive.members.images()
        self.left_out = _left_out(names, len(rows))
        self.ids, order = _named(self._archive.file.name, [names[row] for row in rows], id_rule)
        self._rows = [rows[place] for place in order]

    def read(self, image_id: str) -> Image.Image:
        """Return the image of that id, decoded as by `read_image`. Raises DataError naming archive and member."""
        row = self._row(image_id)
        return decode_image(self._archive.read(row), self._archive.label(row))

    def read_bytes(self, image_id: str) -> bytes:
        """Return the image file of that id, unpacked. Raises DataError naming archive and member."""
        return self._archive.read(self._row(image_id))

    def in_stream_order(self) -> Sequence[str]:
        """Return all image ids in the order in which the images lie in the archive."""
        offsets = self._archive.members.offsets[self._rows].tolist()
        return [image_id for _, image_id in sorted(zip(offsets, self.ids, strict=True))]

    def close(self) -> None:
        """Close the archive; what is no longer used is closed anyway."""
        self._archive.close()

    def _row(self, image_id: str) -> int:
        return self._rows[_position(self.ids, image_id)]


class JoinedSource:
    """Several sources as one. Raises DataError if an id is in two of them."""

    def __init__(self, sources: Sequence[ImageSource]) -> None:
        self._sources = tuple(sources)
        self.ids = tuple(sorted(chain.from_iterable(source.ids for source in sources)))
        if not all(map(operator.lt, self.ids, islice(self.ids, 1, None))):  # of millions, so no loop in Python
            twice = next(first for first, second in pairwise(self.ids) if first == second)
            raise DataError(f"image {twice} is in two sources", hint="give each image once")

    @property
    def left_out(self) -> Counter[str]:
        """Return the files that are no images by their names, counted by suffix."""
        return sum((Counter(getattr(source, "left_out", {})) for source in self._sources), Counter())

    def read(self, image_id: str) -> Image.Image:
        """Return the image of that id from the source that has it. Raises DataError as that source does."""
        return self._source(image_id).read(image_id)

    def read_bytes(self, image_id: str) -> bytes:
        """Return the image file of that id from the source that has it. Raises DataError as that source does."""
        return self._source(image_id).read_bytes(image_id)

    def _source(self, image_id: str) -> ImageSource:
        for source in self._sources:
            if place_of(source.ids, image_id) is not None:
                return source
        raise DataError(f"image {image_id!r} is in none of the sources", hint="take an id from their list")


class SelectedSource:
    """The images ``ids`` of a source, and no others.

    Raises
    ------
    DataError
        If the source lacks one of them.
    """

    def __init__(self, source: ImageSource, ids: Iterable[str]) -> None:
        wanted = set(ids)
        missing = sorted(wanted.difference(source.ids))
        if missing:
            more = f" and {len(missing) - 3:,} more" if len(missing) > 3 else ""
            raise DataError(
                f"{len(missing):,} of {len(wanted):,} images are missing: {', '.join(missing[:3])}{more}",
                hint="add the folder or archive that holds them",
            )
        self._source = source
        self.ids = tuple(sorted(wanted))

    @classmethod
    def matching(cls, source: ImageSource, pattern: re.Pattern[str], numbers: range | None = None) -> SelectedSource:
        """Return the images whose whole id matches ``pattern`` and, if given, whose number is in ``numbers``.

        The number of an id are the digits at its end: 25000 in Q25000. It tells two sets in one folder apart.

        Raises
        ------
        DataError
            If there is no such image.
        """
        ids = [i for i in source.ids if pattern.fullmatch(i) and (numbers is None or _number(i) in numbers)]
        if not ids:
            between = "" if numbers is None else f" with a number from {numbers.start} to {numbers.stop - 1}"
            example = f", for example {source.ids[0]}" if source.ids else ""
            raise DataError(
                f"none of {len(source.ids):,} images is called {pattern.pattern}{between}",
                hint=f"give the folder or archive of that set, not one of other images{example}",
            )
        return cls(source, ids)

    def read(self, image_id: str) -> Image.Image:
        """Return the image of that id from the source. Raises DataError also for an id that is not selected."""
        _position(self.ids, image_id)
        return self._source.read(image_id)

    def read_bytes(self, image_id: str) -> bytes:
        """Return the image file of that id from the source. Raises DataError also for an id that is not selected."""
        _position(self.ids, image_id)
        return self._source.read_bytes(image_id)


def open_images(
    first: Path, *more: Path, id_rule: IdRule = "stem", partial: bool = False, progress: Progress = silent
) -> ImageSource:
    """Return the images under ``first`` and ``more`` as one source.

    Each is a folder, a zip, a tar, or the first piece of a split one (``.aa``), whose other pieces lie next to it;
    they may be named too. The content of a file says what it is.

    Parameters
    ----------
    id_rule, partial, progress
        As `ArchiveSource` takes them.

    Raises
    ------
    DataError
        If a path is none of these, holds no image, or two images share an id.
    """
    sources: list[ImageSource] = []
    opened: set[Path] = set()
    for path in (first, *more):
        if path.is_file():
            if path in opened:  # a later piece of an archive that is open
                continue
            parts = pieces(path)
            opened.update(parts[1:])
            sources.append(ArchiveSource(parts, id_rule=id_rule, partial=partial, progress=progress))
        elif path.is_dir():
            sources.append(FolderSource(path, id_rule=id_rule))
        else:
            found = "neither a file nor a folder" if path.exists() else "missing"
            raise DataError(
                f"{path}: {found}, expected a folder of images or a zip or tar archive",
                hint="give the folder or archive that holds the images",
            )
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
    return _decoded(path, str(path))


def decode_image(content: bytes, name: str) -> Image.Image:
    """Return the image in ``content``, as `read_image` does. Raises DataError, which calls it ``name``."""
    return _decoded(io.BytesIO(content), name)


def _decoded(file: Path | io.BytesIO, name: str) -> Image.Image:
    try:
        with Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise DataError(
                    f"{name}: {width} x {height} pixels, at most {MAX_PIXELS:,} are accepted",
                    hint="scale the image down",
                )
            return as_rgb(image)
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{name}: more than {MAX_PIXELS:,} pixels ({error})", hint="scale the image down") from error
    except FileNotFoundError as error:
        if isinstance(file, Path) and file.is_symlink():  # as broken as a file that does not decode
            raise DataError(f"{name}: a link to a file that is not there", hint="put the file back") from None
        raise DataError(f"{name}: missing", hint="the folder changed while it was read; start again") from error
    except Exception as error:
        # Decoders of hostile files raise anything: OSError, SyntaxError, ValueError, struct.error, MemoryError.
        what = str(error) or type(error).__name__
        raise DataError(f"{name}: no readable image ({what})", hint="replace or remove the file") from error


def as_rgb(image: Image.Image) -> Image.Image:
    """Return ``image`` in mode RGB. Greys of more than 8 bits are scaled by their range, where Pillow would clip them.

    The range is the first of 0 to 255, 1,023, 4,095 and 65,535 (of fractions, also 0 to 1) that holds all values, else
    that from the smallest to the largest one. What is not a number is black.
    """
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    return image.convert("RGB")


def _eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    scaled = np.nan_to_num(values.astype(np.float32), nan=0, posinf=0, neginf=0)
    low, high = float(scaled.min()), float(scaled.max())
    ranges = (1.0, 255.0, 1023.0, 4095.0, 65535.0)[values.dtype.kind != "f" :]
    top = next((each for each in ranges if low >= 0 and high <= each), 0.0)
    if not top:
        scaled, top = scaled - np.float32(low), high - low or 1.0
    return np.asarray(np.rint(scaled * np.float32(255 / top)), dtype=np.uint8)


def _named(where: str, names: Sequence[str], id_rule: IdRule) -> tuple[tuple[str, ...], list[int]]:
    """Return the ids of the image files ``names``, sorted, and for each the place of its name."""
    starts = [name.rfind("/") + 1 for name in names]
    if id_rule == "folder/stem":
        starts = [name.rfind("/", 0, max(0, start - 1)) + 1 for name, start in zip(names, starts, strict=True)]
    ids = [name[start : name.rfind(".")] for name, start in zip(names, starts, strict=True)]
    if wrong := wrong_ids(ids):
        raise DataError(
            f"{where}: {escaped(names[wrong[0]])} makes no image id ({len(wrong):,} such files): "
            f"it {wrong_with_id(ids[wrong[0]])}",
            hint="rename the file",
        )
    order = sorted(range(len(ids)), key=ids.__getitem__)
    for first, second in pairwise(order):
        if ids[first] == ids[second]:
            raise DataError(
                f"{where}: two images have the id {ids[first]}: {names[first]} and {names[second]}",
                hint="ids are file names without suffix; rename or remove one",
            )
    if not ids:
        raise DataError(
            f"{where}: no images found", hint=f"expected files ending in {', '.join(sorted(SUFFIXES))}, at any depth"
        )
    return tuple(ids[place] for place in order), order


def _position(ids: Sequence[str], image_id: str) -> int:
    position = place_of(ids, image_id)
    if position is None:
        raise DataError(f"image {image_id!r} is not in this source", hint="take an id from its list")
    return position


def place_of(ids: Sequence[str], image_id: str) -> int | None:
    """Return the place of ``image_id`` in the sorted ``ids``; None if it is not there."""
    position = bisect_left(ids, image_id)
    return position if position < len(ids) and ids[position] == image_id else None


def _number(image_id: str) -> int | None:
    digits = image_id[len(image_id.rstrip("0123456789")) :]
    return int(digits) if 0 < len(digits) < 20 else None


def files_under(folder: Path) -> list[str]:
    """Return the paths of the files under ``folder``, relative to it, with slashes.

    Files and folders whose name begins with a dot are passed over. Links to folders are followed, each folder is
    entered once. What is neither a file nor a link is passed over.

    Raises
    ------
    DataError
        If a folder cannot be read.
    """
    found, waiting, entered = [], [""], set()
    while waiting:
        inside = waiting.pop()
        with os_errors(f"{folder / inside}: cannot be read"):
            state = (folder / inside).stat()
            if (state.st_dev, state.st_ino) in entered:
                continue
            entered.add((state.st_dev, state.st_ino))
            with os.scandir(folder / inside) as entries:
                shown = sorted((entry for entry in entries if entry.name[0] != "."), key=lambda entry: entry.name)
        waiting += [f"{inside}{entry.name}/" for entry in reversed(shown) if _is_folder(entry)]
        found += [f"{inside}{entry.name}" for entry in shown if _is_file(entry)]
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder that is closed
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Return whether the entry is a file or a link to one, be it a link to nothing: reading that one reports it."""
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))  # noqa: PTH110
    except OSError:
        return True


def _left_out(names: Sequence[str], images: int) -> Counter[str]:
    """Return how many of ``names``, of which ``images`` are images, have which suffix; hidden ones do not count."""
    if images == len(names):
        return Counter()
    others = (name for name in names if not safe.is_image(name) and not f"/{name}".count("/."))
    return Counter(PurePosixPath(name).suffix.lower() for name in others)


def left_out(source: ImageSource) -> str:
    """Return a sentence about the files that a source passes over for their suffix; empty if there are none."""
    found = Counter(getattr(source, "left_out", {}))
    most = found.most_common(5)
    shown = [f"{count:,} {suffix or 'without a suffix'}" for suffix, count in most]
    if others := found.total() - sum(count for _, count in most):
        shown.append(f"{others:,} others")
    return f"files left out, no images by their names: {', '.join(shown)}" if shown else ""
