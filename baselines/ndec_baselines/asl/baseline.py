"""``asl`` and ``asl-small``: descriptors and norms by a network that ``ndec-bench train asl`` trained."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from PIL import Image

from ndec_baselines.asl.network import Describer, read_export
from ndec_baselines.cards import registrations
from ndec_baselines.networks.inference import TorchBaseline
from ndec_baselines.networks.pixels import stretched
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from ndec_baselines.asl.config import Network
    from ndec_baselines.base import LocalWeights, ModelCard

MICRO_BATCH = 2
BACKBONES = {"asl": ("50", "152", "ibn"), "asl-small": ("mobilenetv2",)}


def load(card: ModelCard, weights: LocalWeights, device: str) -> TorchBaseline:
    """Return the trained network on ``device``; its card says what the settings of its training say.

    Raises
    ------
    DataError
        If the file is not an export, or has a backbone of the other baseline.
    """
    network = read_export(weights.only)
    settings = network.settings
    if settings.backbone not in BACKBONES[card.name]:
        other = next(name for name, backbones in BACKBONES.items() if settings.backbone in backbones)
        raise DataError(f"{weights.only}: a network with backbone {settings.backbone}", hint=f"load it as {other}")
    facts = replace(
        _as_trained(card, settings),
        dimension=network.widths[settings.descriptor],
        parameters=sum(parameter.numel() for parameter in network.parameters()),
    )
    prepare = partial(stretched, side=settings.side, resample=Image.Resampling.BILINEAR)
    return TorchBaseline(facts, Describer(network), prepare, device=device, micro_batch=MICRO_BATCH, weights=weights)


def _as_trained(card: ModelCard, settings: Network) -> ModelCard:
    size = f"{settings.side} x {settings.side}"
    return replace(
        card,
        preprocessing=replace(card.preprocessing, size=f"{size}, aspect ratio not kept"),
        postprocessing=f"{settings.descriptor} features, L2; norms of the {settings.norm} features",
        input=f"{size} RGB",
    )


BASELINES = registrations("asl", load)
