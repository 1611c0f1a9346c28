"""A descriptor and a matcher small enough for pencil and paper, registered by tests under the names below."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ndec_baselines.base import Described, Expected, ModelCard, Preprocessing, Registration
from ndec_bench.matches import Matches

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from ndec_baselines.base import Batch, LocalWeights, SplitImages
    from ndec_bench.progress import Progress

CARD = ModelCard(
    name="toy-mean",
    version="1",
    title="Mean colour",
    description="The mean red, green and blue of the image, plus one.",
    dimension=3,
    metric="l2",
    preprocessing=Preprocessing(size="whole image", filter="mean", colour="RGB", normalisation="none"),
    postprocessing="plus 1",
    input="any RGB",
    code_licence="Apache-2.0",
    steps=("centre",),
    expected=(
        Expected("toy-1", "micro_ap", 1.0, "worked out by hand"),
        Expected("toy-1", "recall_at_1", 1.0, "worked out by hand", protocol="isc2021"),
        Expected("toy-1", "micro_ap", 0.5, "a number that is wrong on purpose", steps=("l2",)),
        Expected("toy-1", "micro_ap", 0.995, "a number that is nearly right", steps=()),
        Expected("toy-1", "micro_ap", 0.1, "of queries that are cut to detections", steps=(), detections=True),
    ),
)


class MeanColour:
    """Describes an image by its mean colour; its norm is the brightness."""

    device = "cpu"
    weights_sha256 = None

    def __init__(self, card: ModelCard) -> None:
        self.card = card

    def preprocess(self, image: Image.Image) -> np.ndarray:
        return np.asarray(image, dtype=np.float32).mean(axis=(0, 1))

    def describe(self, batch: Batch) -> Described:
        vectors = np.stack([np.asarray(one) for one in batch]) + np.float32(1)
        return Described(vectors, vectors.sum(axis=1))


class MeanPairs:
    """Scores a pair by minus the sum of absolute differences of the mean colours."""

    device = "cpu"
    weights_sha256 = None

    def __init__(self, card: ModelCard) -> None:
        self.card = card

    def match(
        self, images: SplitImages, work: Path, *, cap: int, workers: int | None = None, progress: Progress
    ) -> Matches:
        means = {
            image_id: np.asarray(source.read(image_id), dtype=np.float64).mean(axis=(0, 1))
            for source in (images.queries, images.references)
            for image_id in source.ids
        }
        pairs = [(q, r) for q in images.queries.ids for r in images.references.ids]
        scores = np.array([-np.abs(means[q] - means[r]).sum() for q, r in pairs])
        matches = Matches(np.array([q for q, _ in pairs]), np.array([r for _, r in pairs]), scores)
        return matches.sorted().take(np.arange(min(cap, len(pairs))))


def _describing(weights: LocalWeights | None, device: str) -> MeanColour:
    return MeanColour(CARD)


_PAIRS = replace(CARD, name="toy-pairs", dimension=0, steps=(), expected=(), track="matching")


def _matching(weights: LocalWeights | None, device: str) -> MeanPairs:
    return MeanPairs(_PAIRS)


BASELINES = {"toy-mean": Registration(CARD, _describing), "toy-pairs": Registration(_PAIRS, _matching)}
