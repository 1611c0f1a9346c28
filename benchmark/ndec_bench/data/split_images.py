"""The images of a split, wherever they lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ndec_bench.data.images import SelectedSource, open_images
from ndec_bench.data.layouts import open_set
from ndec_bench.errors import DataError
from ndec_bench.progress import Progress, silent

if TYPE_CHECKING:
    from ndec_bench.data.images import ImageSource
    from ndec_bench.data.split import Split

PARTS = ("queries", "references", "background", "train")
"""Names of the folders under ``images`` of a split that was built."""


def images_of(split: Split, part: str, *, progress: Progress = silent) -> ImageSource:
    """Return the images of ``part`` (queries, references, background or train), read where they lie.

    These are the folders of a split that was built, or the archives or folders of a known split under its data root.
    Of a known split's queries only those of the split are in it, and all must be. ``progress`` is told of archives
    that are read for the first time.

    Raises
    ------
    DataError
        If the split has no such images, or some of its queries are missing. MissingDataError if none are there.
    """
    if split.folder is not None and part in PARTS:
        return open_images(_folder(split.folder, part), progress=progress)
    place = split.image_sets.get(part)
    if split.images_root is None or place is None:
        raise DataError(f"split {split.name}: no images of {part!r} are known", hint="give --images FOLDER")
    source = (
        open_images(place, progress=progress)
        if isinstance(place, Path)
        else open_set(split.images_root, *place, progress=progress)
    )
    return SelectedSource(source, split.query_ids) if part == "queries" else source


def _folder(split_folder: Path, part: str) -> Path:
    folder = split_folder / "images" / part
    if not folder.is_dir():
        raise DataError(f"{folder}: missing", hint='build the split again, e.g. "ndec-bench mini build"')
    return folder
