"""``d2lv`` and its parts: the winner of the ISC2021 matching track, and each of its networks as a descriptor.

`plan` names the networks, `crops` and `proposals` say what is cut out of images, `merging` makes one score of many,
`matcher` is the whole line. It has never been run with the published weights.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ndec_baselines.cards import registrations
from ndec_baselines.d2lv.matcher import D2LV
from ndec_baselines.d2lv.network import MICRO_BATCH, preprocess
from ndec_baselines.d2lv.plan import BACKBONES, CROPPED_REFERENCES, SIDES, VARIANTS, Plan, name_of
from ndec_baselines.networks.inference import TorchBaseline
from ndec_baselines.networks.isc_resnet import read_network

if TYPE_CHECKING:
    from ndec_baselines.base import LocalWeights, ModelCard

PLANS = {
    "d2lv": Plan(),
    "d2lv-baseline-cc": Plan(variants=(CROPPED_REFERENCES,), sides=SIDES[:1]),
}
"""What each registered system runs."""

NETWORKS = {
    name_of(variant.name, backbone, side): (variant, backbone, side)
    for variant in VARIANTS.values()
    for backbone in BACKBONES
    for side in SIDES
}


def load(card: ModelCard, weights: LocalWeights, device: str) -> D2LV | TorchBaseline:
    """Return a whole system, or one network, on ``device``."""
    if card.name in PLANS:
        return D2LV(card, weights, PLANS[card.name], device)
    variant, backbone, side = NETWORKS[card.name]
    prepare = partial(preprocess, side=side, grey=variant.grey)
    network = read_network(weights.only, backbone)
    return TorchBaseline(card, network, prepare, device=device, micro_batch=MICRO_BATCH, weights=weights)


BASELINES = registrations("d2lv", load)
