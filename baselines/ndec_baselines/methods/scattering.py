"""``scattering``: a two-layer wavelet scattering descriptor. Convolutional, and nothing in it is learned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndec_baselines.base import Card, Preprocessing, Registration

if TYPE_CHECKING:
    import torch
    from PIL import Image

    from ndec_baselines.base import LocalWeights
    from ndec_baselines.networks.inference import TorchBaseline

SIDE = 64
MICRO_BATCH = 8

CARD = Card(
    name="scattering",
    version="1",
    title="Wavelet scattering",
    description=(
        "The grey image and two layers of Morlet wavelet moduli at 3 scales and 4 orientations, averaged over "
        "overlapping windows, in logarithms, made indifferent to mirroring. All filters are given by formulas: "
        "no weights, no training. It measures layout and texture; it does not recognise objects."
    ),
    dimension=660,
    metric="l2",
    preprocessing=Preprocessing(
        size=f"{SIDE} x {SIDE}, aspect ratio not kept",
        filter="Pillow BICUBIC (antialiased)",
        colour="RGB to L (Pillow, ITU-R 601)",
        normalisation="divided by 255",
    ),
    postprocessing=(
        "log(x + 0.005), centred per scale, mirror sums and differences, L2 per layer, weights 0.5, 1, 0.5, L2"
    ),
    input=f"{SIDE} x {SIDE} grey",
    code_licence="Apache-2.0",
    requires=("torch",),
    paper="https://arxiv.org/abs/1203.1513",
    selected_on=("other",),
    selection="training and background parts of ndec-mini-1 before its release, with edited copies made for it",
)


def preprocess(image: Image.Image) -> torch.Tensor:
    """Return the grey image as a (1, 64, 64) float32 tensor in [0, 1]."""
    import numpy as np
    import torch
    from PIL import Image as PillowImage

    grey = image.convert("L").resize((SIDE, SIDE), PillowImage.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(grey, dtype=np.float32) / np.float32(255))[None]


def _load(weights: LocalWeights | None, device: str) -> TorchBaseline:
    from ndec_baselines.networks.inference import TorchBaseline
    from ndec_baselines.networks.scattering_net import ScatteringNet

    return TorchBaseline(CARD, ScatteringNet(), preprocess, device=device, micro_batch=MICRO_BATCH)


BASELINE = Registration(CARD, _load)
