"""The crops of D2LV, cut when they are asked for: of a query nine fixed ones and those found in it, of a reference 19.

Sources, in WangWenhao0716/ISC-Track1-Submission at 3484142c05, ``Test/augmentation/``: ``query/center.py``,
``query/rotate.py``, ``query/selective_search_nms.py``, ``query/yolov5/generate.py``, ``reference/dividing.py``. The id
of a crop is that of its image and a number: ``Q00001_4``. Every crop, the whole image too, is written as JPEG of
quality 100 and read again.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ndec_baselines.describing.boxes import LETTERBOX, Box, cut, jpeg, letterbox_pad
from ndec_bench.data.images import decode_image
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ndec_bench.data.images import ImageSource

    Corners = tuple[int, int, int, int]
    Size = tuple[int, int]

WHOLE_CROP = 0
TURNS = {1: Image.Transpose.ROTATE_90, 2: Image.Transpose.ROTATE_180, 3: Image.Transpose.ROTATE_270}
FIRST_PROPOSAL = 10
FIRST_DETECTION = 1000
MOST_DETECTIONS = 1000
OVERLAY = 0
REFERENCE_CROPS = 19
_KEPT_IMAGES = 32


@dataclass(frozen=True)
class QueryImage:
    """What is known of a query before it is cut: (width, height), and the boxes of selective search, first to last."""

    size: Size
    proposals: tuple[Corners, ...] = ()


def centre_boxes(size: Size) -> tuple[Corners, ...]:
    """Return the boxes of a query's crops 4 to 8: the central half, then four thirds around the centre, row by row.

    Source: center.py L31-L51; the order of operations decides how they round.
    """
    width, height = size
    columns, rows = ((int(n * 1 / 6), int(n * 3 / 6), int(n * 5 / 6)) for n in size)
    half = (int(width * 0.25), int(height * 0.25), int(width * 0.75), int(height * 0.75))
    return (half, *_cells(columns, rows))


def reference_boxes(size: Size) -> tuple[Corners, ...]:
    """Return the boxes of a reference's crops 0 to 18.

    The whole; two by two cells; the central half; three by three cells; the four thirds around the centre. Cells are
    counted row by row. Source: dividing.py L33-L86.
    """
    width, height = size
    half, *thirds = centre_boxes(size)
    two = _cells((0, width // 2, width), (0, height // 2, height))
    columns, rows = ((0, int(n * 1 / 3), int(n * 2 / 3), n) for n in size)
    return ((0, 0, width, height), *two, half, *_cells(columns, rows), *thirds)


def detected(size: Size, box: Box) -> tuple[Size, Corners]:
    """Return the size an image of ``size`` is scaled to, and what is cut out of it, for a detected overlay.

    The published script scales the long side to 640 (bicubic, truncated) and cuts by the box as the detector saw it,
    margin included (`ndec_baselines.describing.boxes.letterbox_pad`): generate.py L9-L30. Corners are rounded as Pillow
    does.
    """
    gain = LETTERBOX / max(size)
    right, down = letterbox_pad(size)
    corners = (box.left + right, box.top + down, box.right + right, box.bottom + down)
    left, top, last, bottom = (round(corner * gain) for corner in corners)
    # A very long image would lose its short side; Pillow cannot scale to nothing.
    return (max(1, int(gain * size[0])), max(1, int(gain * size[1]))), (left, top, last, bottom)


class QueryCrops:
    """All crops of all queries, as an image source.

    Numbers: 0 the whole, 1 to 3 turned by 90, 180 and 270 degrees anticlockwise, 4 to 8 `centre_boxes`, from 10
    `QueryImage.proposals`, from 1000 overlays among the detections, by their place in the detector's list. A crop
    without a pixel (of an image of less than six pixels) is left out.

    Parameters
    ----------
    queries
        What is known of every image of ``source``.
    detections
        What the user's detector found, by id, in its order; kinds other than 0 are counted but not cut.
    whole_only
        Whether crop 0 is all there is.

    Attributes
    ----------
    ids
        All crops' ids, sorted.
    rows, numbers
        (crops,) int64 and int16, in the order of ``ids``: place of the query among the source's ids, crop number.
    sizes
        (crops, 2) int64: width and height of the crops.
    """

    def __init__(
        self,
        source: ImageSource,
        queries: Mapping[str, QueryImage],
        detections: Mapping[str, Sequence[Box]],
        *,
        whole_only: bool = False,
    ) -> None:
        self._images = _Recent(source)
        self._queries, self._detections = queries, detections
        crops = []
        for row, image_id in enumerate(source.ids):
            found = {WHOLE_CROP: queries[image_id].size} if whole_only else self._sizes_of(image_id)
            crops += [(f"{image_id}_{number}", row, number, size) for number, size in found.items() if min(size) > 0]
        crops.sort()
        self.ids: Sequence[str] = tuple(crop for crop, *_ in crops)
        self.rows: NDArray[np.int64] = np.array([row for _, row, _, _ in crops], dtype=np.int64)
        self.numbers: NDArray[np.int16] = np.array([number for _, _, number, _ in crops], dtype=np.int16)
        self.sizes: NDArray[np.int64] = np.array([size for *_, size in crops], dtype=np.int64).reshape(-1, 2)

    @property
    def sha256(self) -> str:
        """Return the digest over what is cut where: size, proposals and overlays of each query."""
        digest = hashlib.sha256("\n".join(self.ids).encode())
        for image_id in sorted(self._queries):
            known = self._queries[image_id]
            digest.update(f"{image_id} {known.size} {known.proposals} {self._overlays(image_id)}\n".encode())
        return digest.hexdigest()

    def read(self, crop_id: str) -> Image.Image:
        """Return the crop of that id, in RGB, after its JPEG. Raises DataError naming it."""
        return decode_image(self.read_bytes(crop_id), crop_id)

    def read_bytes(self, crop_id: str) -> bytes:
        """Return the JPEG file of the crop of that id. Raises DataError naming it."""
        image_id, number = parted(crop_id)
        return jpeg(self._cut(self._images.read(image_id), image_id, number))

    def _cut(self, image: Image.Image, image_id: str, number: int) -> Image.Image:
        name = f"{image_id}_{number}"
        if number == WHOLE_CROP:
            return image
        if number in TURNS:
            return image.transpose(TURNS[number])
        if number >= FIRST_DETECTION:
            size, corners = detected(image.size, self._overlays(image_id)[number])
            return cut(image.resize(size, Image.Resampling.BICUBIC), corners, name)
        if number >= FIRST_PROPOSAL:
            return cut(image, self._queries[image_id].proposals[number - FIRST_PROPOSAL], name)
        return cut(image, centre_boxes(image.size)[number - 4], name)

    def _overlays(self, image_id: str) -> dict[int, Box]:
        found = self._detections.get(image_id, ())[:MOST_DETECTIONS]
        return {FIRST_DETECTION + place: box for place, box in enumerate(found) if box.kind == OVERLAY}

    def _sizes_of(self, image_id: str) -> dict[int, Size]:
        known = self._queries[image_id]
        width, height = known.size
        sizes = {WHOLE_CROP: known.size, 1: (height, width), 2: known.size, 3: (height, width)}
        sizes |= {4 + place: _extent(box) for place, box in enumerate(centre_boxes(known.size))}
        room = FIRST_DETECTION - FIRST_PROPOSAL
        sizes |= {FIRST_PROPOSAL + place: _extent(box) for place, box in enumerate(known.proposals[:room])}
        found = self._overlays(image_id).items()
        return sizes | {number: _extent(detected(known.size, box)[1]) for number, box in found}


class ReferenceCrops:
    """One crop of every reference, by its number in `reference_boxes`, as an image source.

    Sizes are not known beforehand: a crop without a pixel (of an image of less than six pixels) shows the whole image.

    Attributes
    ----------
    ids
        The crops' ids, sorted.
    rows
        (references,) int64, in the order of ``ids``: place of the reference among the source's ids.
    """

    def __init__(self, source: ImageSource, number: int) -> None:
        self._source, self._number = source, number
        crops = sorted((f"{image_id}_{number}", row) for row, image_id in enumerate(source.ids))
        self.ids: Sequence[str] = tuple(crop for crop, _ in crops)
        self.rows: NDArray[np.int64] = np.array([row for _, row in crops], dtype=np.int64)

    def read(self, crop_id: str) -> Image.Image:
        """Return the crop of that id, in RGB, after its JPEG. Raises DataError naming it."""
        return decode_image(self.read_bytes(crop_id), crop_id)

    def read_bytes(self, crop_id: str) -> bytes:
        """Return the JPEG file of the crop of that id. Raises DataError naming it."""
        image = self._source.read(parted(crop_id)[0])
        box = reference_boxes(image.size)[self._number]
        return jpeg(image if min(_extent(box)) < 1 else cut(image, box, crop_id))


def parted(crop_id: str) -> tuple[str, int]:
    """Return image id and crop number of a crop's id. Raises DataError if it has none."""
    image_id, _, number = crop_id.rpartition("_")
    if not image_id or not number.isdecimal():
        raise DataError(f"{crop_id!r} is not the id of a crop", hint="expected IMAGE_NUMBER, such as Q00001_4")
    return image_id, int(number)


class _Recent:
    """Reads images of a source; the last few stay decoded, as crops of one image are asked for one after the other."""

    def __init__(self, source: ImageSource) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Image.Image] = OrderedDict()

    def read(self, image_id: str) -> Image.Image:
        with self._lock:
            if image_id in self._kept:
                self._kept.move_to_end(image_id)
                return self._kept[image_id]
        image = self._source.read(image_id)
        with self._lock:
            self._kept[image_id] = image
            while len(self._kept) > _KEPT_IMAGES:
                self._kept.popitem(last=False)
        return image


def _cells(columns: Sequence[int], rows: Sequence[int]) -> tuple[Corners, ...]:
    """Return the boxes between neighbouring cuts, row by row."""
    return tuple(
        (columns[x], rows[y], columns[x + 1], rows[y + 1])
        for y in range(len(rows) - 1)
        for x in range(len(columns) - 1)
    )


def _extent(box: Corners) -> Size:
    left, top, right, bottom = box
    return right - left, bottom - top
