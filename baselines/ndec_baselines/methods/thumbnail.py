"""``thumbnail``: the image as 16 x 16 grey values. The floor that every other method has to beat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ndec_baselines.base import Described, check_cpu
from ndec_baselines.cards import model_cards, registrations

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_baselines.base import Batch, ModelCard

SIDE = 16

CARD = model_cards()["thumbnail"]


class Thumbnail:
    """The loaded baseline; see `CARD`. Integer averages and exact sums: the same bytes on every machine."""

    card = CARD
    device = "cpu"
    weights_sha256 = None

    def preprocess(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return (16, 16) uint8 area averages of the grey image."""
        return np.asarray(_averaged(image.convert("L")))

    def describe(self, batch: Batch) -> Described:
        """Return the descriptors of a batch (n, 16, 16).

        A constant is added after centring: it is orthogonal to every centred vector, keeps the noise of nearly flat
        images from being blown up, and gives a flat image a descriptor (all others at distance about 1.41) in place
        of a zero vector.
        """
        grey = np.asarray(batch, dtype=np.float64).reshape(len(batch), SIDE * SIDE)
        values = grey - grey.mean(axis=1, keepdims=True) + 1.0
        norms = np.sqrt((values * values).sum(axis=1, keepdims=True))
        return Described(np.ascontiguousarray(values / norms, dtype=np.float32))


def _averaged(grey: Image.Image) -> Image.Image:
    """Return ``grey`` as Pillow resizes it to 16 x 16 with the filter BOX.

    Pillow averages along rows, rounds, then along columns; since Pillow 13 the other way round where the height shrinks
    by more than twice the pixels of the width. Where the cells of a row are 2^k pixels wide, as in an image 1,024 wide,
    ``reduce`` rounds as ``resize`` does, (sum + 2^(k-1)) / 2^k rounded down, in half the time.
    """
    cell, rest = divmod(grey.width, SIDE)
    if not rest and cell.bit_count() == 1 and grey.height - SIDE <= 2 * (grey.width - SIDE):
        grey = grey.reduce((cell, 1))
    return grey.resize((SIDE, SIDE), Image.Resampling.BOX)


def load(card: ModelCard, weights: None, device: str) -> Thumbnail:
    """Return the baseline, which runs on the CPU only. Raises UsageError for another ``device``."""
    check_cpu(card.name, device)
    return Thumbnail()


BASELINES = registrations("thumbnail", load)
