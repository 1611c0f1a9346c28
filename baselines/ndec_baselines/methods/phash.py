"""``phash``: the perceptual hash of 256 bits, as the imagehash package computes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ndec_baselines.base import Described, check_cpu
from ndec_baselines.cards import model_cards, registrations

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_baselines.base import Batch, ModelCard

HASH_SIDE = 16
SIDE = 4 * HASH_SIDE  # imagehash.phash: highfreq_factor 4

CARD = model_cards()["phash"]


class PHash:
    """The loaded baseline; see `CARD`."""

    card = CARD
    device = "cpu"
    weights_sha256 = None

    def preprocess(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return the (64, 64) uint8 grey image that imagehash would make itself."""
        return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS))

    def describe(self, batch: Batch) -> Described:
        """Return the hashes of a batch (n, 64, 64) uint8 as rows of plus and minus one."""
        import imagehash

        # An image that already has the size is left as it is, so the bits are those of phash on the full image.
        bits = [imagehash.phash(Image.fromarray(grey), hash_size=HASH_SIDE).hash.ravel() for grey in np.asarray(batch)]
        return Described(np.where(np.stack(bits), np.float32(1), np.float32(-1)))


def load(card: ModelCard, weights: None, device: str) -> PHash:
    """Return the baseline, which runs on the CPU only. Raises UsageError for another ``device``."""
    check_cpu(card.name, device)
    return PHash()


BASELINES = registrations("phash", load)
