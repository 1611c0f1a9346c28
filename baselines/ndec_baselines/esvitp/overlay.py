"""The detected overlay that replaces a query, as EsViTp chooses it.

``select_max`` and ``pred_rect`` in ``preprocess/preprocessing_global.py`` and ``preprocessing_local.py`` of
sun-xl/ISC2021. The published system has two detectors, one per branch, with thresholds of their own; a user's
detections serve both here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_baselines.describing.boxes import Box

    Corners = tuple[float, float, float, float]

GLOBAL_SCORE = 0.55
LOCAL_SCORE = 0.5
LARGEST_SHARE = 0.85
LONGEST_SHAPE = 4.0


def global_box(size: tuple[int, int], boxes: Sequence[Box]) -> Corners | None:
    """Return the box that the global branch describes in place of the image: `best_box` above a score of 0.55."""
    return best_box(size, boxes, GLOBAL_SCORE)


def local_box(size: tuple[int, int], boxes: Sequence[Box]) -> Corners | None:
    """Return the box whose keypoints the local branch adds: `best_box` above a score of 0.5."""
    return best_box(size, boxes, LOCAL_SCORE)


def best_box(size: tuple[int, int], boxes: Sequence[Box], above: float) -> Corners | None:
    """Return (left, top, right, bottom) of the box with the highest score, whole pixels, or None.

    Boxes are cut to the image, as the detector does. Those with a score of at most ``above``, with more than 0.85 of
    the area, or higher than four times their width or the reverse are passed over; height and width are shares of the
    image's, not pixels. Of equal scores the first stays. Corners are truncated to whole pixels; a box of which nothing
    is left so is passed over (the published program fails on it).

    Parameters
    ----------
    size
        (width, height) of the stored image.
    """
    chosen: Corners | None = None
    highest = above
    for box in boxes:
        left, right = (min(max(corner / size[0], 0.0), 1.0) for corner in (box.left, box.right))
        top, bottom = (min(max(corner / size[1], 0.0), 1.0) for corner in (box.top, box.bottom))
        width, height = right - left, bottom - top
        if box.score <= highest or width * height > LARGEST_SHARE:
            continue
        if height > LONGEST_SHAPE * width or width > LONGEST_SHAPE * height:
            continue
        corners = tuple(
            float(int(min(max(corner, 0.0), side)))
            for corner, side in zip((box.left, box.top, box.right, box.bottom), size * 2, strict=True)
        )
        if corners[0] < corners[2] and corners[1] < corners[3]:
            highest = box.score
            chosen = (corners[0], corners[1], corners[2], corners[3])
    return chosen
