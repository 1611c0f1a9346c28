"""Detected overlays: boxes that the user brings as a CSV, and images cut to them.

Some systems look for pasted-in pictures first and describe the cut-out instead of the query. Their detectors are other
people's programs under other licences, so ndec-bench takes what they found: one line per box, in pixels of the stored
image, in the detector's order, which some systems rely on (`Registration.choose_box`).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ndec_bench.data.ids import note_of, other_forms
from ndec_bench.data.images import MAX_PIXELS, decode_image
from ndec_bench.data.tables import check_ids, read_table, read_text
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from PIL import Image

    from ndec_bench.data.images import ImageSource
    from ndec_bench.data.tables import TextTable

    Corners = tuple[float, float, float, float]

COLUMNS = ("image_id", "left", "top", "right", "bottom", "score")
OPTIONAL = ("kind",)
MAX_BOXES = 50_000_000
MAX_COORDINATE = 1e6
LETTERBOX = 640
LETTERBOX_STEP = 32
_MAX_KIND = 1_000_000
_SHOWN = 60


@dataclass(frozen=True)
class Box:
    """One detection.

    Attributes
    ----------
    left, top, right, bottom
        Corners in pixels of the stored image; ``left < right`` and ``top < bottom``. They may reach outside.
    score
        The detector's confidence.
    kind
        The detector's class, by number.
    """

    left: float
    top: float
    right: float
    bottom: float
    score: float
    kind: int = 0

    @property
    def corners(self) -> Corners:
        """Return (left, top, right, bottom)."""
        return self.left, self.top, self.right, self.bottom


def read_boxes(path: Path) -> dict[str, tuple[Box, ...]]:
    """Return the boxes of each image in a CSV with the header ``image_id,left,top,right,bottom,score[,kind]``.

    The boxes of an image keep the order of their lines, which may lie apart. Without ``kind`` every box
    is of kind 0. A header alone is a detector that found nothing.

    Raises
    ------
    DataError
        If the file cannot be read, is not such a CSV, or a line is not one box; the line is named.
    """
    file = read_text(path, DataError, f"expected {','.join(COLUMNS)}")
    table = read_table(file)
    names = table.header()
    if names not in ([*COLUMNS], [*COLUMNS, *OPTIONAL]):
        shown = table.text(0) if names else "nothing"
        file.refuse(f"the first line is {shown!r}, expected {','.join(COLUMNS)} and perhaps {','.join(OPTIONAL)}")
    if len(table) - 1 > MAX_BOXES:
        file.refuse(f"more than {MAX_BOXES:,} boxes", hint="leave the weak detections out")
    rows = table.below(1)
    rows.check_widths(len(names))
    boxes = rows.frame({name: at for at, name in enumerate(names)}, numbers=COLUMNS[1:])
    check_ids(file, boxes["image_id"], rows.place)
    _check_numbers(rows, boxes)
    kinds = _kinds(rows, boxes["kind"]) if "kind" in names else [0] * len(boxes)
    found: dict[str, list[Box]] = {}
    columns = [boxes[name].tolist() for name in COLUMNS]
    for image_id, left, top, right, bottom, score, kind in zip(*columns, kinds, strict=True):
        found.setdefault(image_id, []).append(Box(left, top, right, bottom, score, kind))
    return {image_id: tuple(of_image) for image_id, of_image in found.items()}


def of_images(
    boxes: Mapping[str, Sequence[Box]], ids: Sequence[str], where: str, tell: Callable[[str], None]
) -> dict[str, Sequence[Box]]:
    """Return ``boxes`` under the ``ids`` of the images, see `ndec_bench.data.ids`; ``tell`` reports what was mapped.

    Raises DataError if the boxes are of none of the images; ``where`` opens the message.
    """
    forms = other_forms(boxes, ids, where, "detection", kind=DataError)
    if forms:
        tell(f"{where}: {note_of('detection', forms)}")
    return {forms.get(image_id, image_id): found for image_id, found in boxes.items()}


class CroppedSource:
    """The images of ``source``, some of them cut to a box and written as JPEG again, as `jpeg` does.

    Parameters
    ----------
    boxes
        Detections by image id, as `read_boxes` returns them; ids that are not in the source are passed over.
    choose
        Maps (width, height) of a stored image and its detections to the box that replaces it, or to None to keep it.
        Images without a detection are kept.
    """

    def __init__(
        self,
        source: ImageSource,
        boxes: Mapping[str, Sequence[Box]],
        choose: Callable[[tuple[int, int], Sequence[Box]], Corners | None],
    ) -> None:
        self._source, self._boxes, self._choose = source, boxes, choose

    @property
    def ids(self) -> Sequence[str]:
        """Return the image ids of the source."""
        return self._source.ids

    def read(self, image_id: str) -> Image.Image:
        """Return the chosen cut-out of that image, else the image. Raises DataError as the source does, or `cut`."""
        if not self._boxes.get(image_id):
            return self._source.read(image_id)
        image = self._source.read(image_id)
        corners = self._chosen(image_id, image)
        return image if corners is None else decode_image(jpeg(cut(image, corners, image_id)), image_id)

    def read_bytes(self, image_id: str) -> bytes:
        """Return the JPEG file of the chosen cut-out, else the file as it is stored. Raises DataError as `read`."""
        if self._boxes.get(image_id):
            image = self._source.read(image_id)
            corners = self._chosen(image_id, image)
            if corners is not None:
                return jpeg(cut(image, corners, image_id))
        return self._source.read_bytes(image_id)

    def _chosen(self, image_id: str, image: Image.Image) -> Corners | None:
        return self._choose(image.size, self._boxes[image_id])


def cut(image: Image.Image, corners: Corners, name: str) -> Image.Image:
    """Return what lies between ``corners`` (left, top, right, bottom), rounded to whole pixels, halves to even.

    This is Pillow's ``crop``: what lies outside the image is black.

    Raises
    ------
    DataError
        If nothing is left, or more than `MAX_PIXELS`; the message names the image by ``name``.
    """
    left, top, right, bottom = (round(corner) for corner in corners)
    width, height = right - left, bottom - top
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise DataError(
            f"{name}: a box of {width} x {height} pixels, expected at least 1 x 1 and at most {MAX_PIXELS:,} pixels",
            hint="give boxes in pixels of the stored image",
        )
    return image.crop((left, top, right, bottom))


def letterbox_pad(size: tuple[int, int]) -> tuple[float, float]:
    """Return the left and upper margin, in pixels of an image of (width, height) ``size``, that its detector saw.

    The detector of BoT and D2LV (YOLOv5 at 640) scales the long side to 640, pads the short one to a multiple of 32,
    half on each side, and finds boxes in that picture. Both systems cut by these boxes without taking the margin off
    (``Test/yolov5/{detect,generate}.py`` of ISC-Track2-Submission, the same in ISC-Track1-Submission), so their
    cut-outs lie too far right or down by so much: by up to 15.5 of 640 pixels.
    """
    gain = LETTERBOX / max(size)
    width, height = (-(-round(side * gain) // LETTERBOX_STEP) * LETTERBOX_STEP / gain - side for side in size)
    return width / 2, height / 2


def jpeg(image: Image.Image) -> bytes:
    """Return the image as a JPEG file of quality 100 with Pillow's default chroma subsampling.

    The published systems write every cut-out to disk like this and read it again, so the model sees its losses.
    """
    file = io.BytesIO()
    image.save(file, "JPEG", quality=100)
    return file.getvalue()


def _check_numbers(rows: TextTable, boxes: pd.DataFrame) -> None:
    for name in COLUMNS[1:]:
        wrong = np.flatnonzero(~(boxes[name].abs() <= MAX_COORDINATE))  # NaN compares false
        if len(wrong):
            row = int(wrong[0])
            rows.file.refuse(
                f"{rows.place(row)}: {name} is {boxes[name][row]}",
                hint=f"expected a number of size at most {MAX_COORDINATE:,.0f}",
            )
    left, top, right, bottom = (boxes[name] for name in COLUMNS[1:5])
    empty = np.flatnonzero((left >= right) | (top >= bottom))
    if len(empty):
        row = int(empty[0])
        corners = ", ".join(f"{side[row]:g}" for side in (left, top, right, bottom))
        rows.file.refuse(
            f"{rows.place(row)}: box ({corners}) is empty",
            hint="expected left < right and top < bottom, in pixels",
        )


def _kinds(rows: TextTable, texts: pd.Series[str]) -> list[int]:
    for text in texts.cat.categories:
        # isdecimal alone takes digits of other scripts; int() refuses overlong ones with a ValueError of its own.
        if not (text.isascii() and text.isdecimal() and len(text) < 8 and int(text) <= _MAX_KIND):
            row = int(np.flatnonzero(texts == text)[0])
            rows.file.refuse(
                f"{rows.place(row)}: kind is {text[:_SHOWN]!r}", hint="expected the number of the detector's class"
            )
    return texts.astype(int).tolist()
