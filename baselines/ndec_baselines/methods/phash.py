"""``phash``: the perceptual hash of 256 bits, as the imagehash package computes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from ndec_baselines.base import Card, Described, Preprocessing, Registration
from ndec_baselines.methods.thumbnail import check_cpu

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_baselines.base import Batch, LocalWeights

HASH_SIDE = 16
SIDE = 4 * HASH_SIDE  # imagehash.phash: highfreq_factor 4

CARD = Card(
    name="phash",
    version="1",
    title="pHash 256 bit",
    description=(
        "The signs of 16 x 16 low DCT frequencies of a 64 x 64 grey image against their median (imagehash.phash, "
        "hash_size 16), as plus and minus one: the negated squared distance is minus four times the Hamming distance."
    ),
    dimension=HASH_SIDE * HASH_SIDE,
    metric="l2",
    preprocessing=Preprocessing(
        size=f"{SIDE} x {SIDE}, aspect ratio not kept",
        filter="Pillow LANCZOS",
        colour="RGB to L (Pillow, ITU-R 601)",
        normalisation="uint8",
    ),
    postprocessing="bits to +1 and -1",
    input=f"{SIDE} x {SIDE} grey",
    code_licence="BSD-2-Clause",
    requires=("imagehash",),
    paper="https://www.phash.org/docs/pubs/thesis_zauner.pdf",
    selected_on=("none",),
)


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


def _load(weights: LocalWeights | None, device: str) -> PHash:
    check_cpu(CARD.name, device)
    return PHash()


BASELINE = Registration(CARD, _load)
