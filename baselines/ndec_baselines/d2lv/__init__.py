"""``d2lv`` and its parts: the winner of the ISC2021 matching track, and each of its networks as a descriptor.

`cards` holds the facts, `crops` and `proposals` what is cut out of images, `merging` the arithmetic that makes one
score of many, `matcher` the whole line. torch is imported by what loads a network alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndec_baselines.base import Registration
from ndec_baselines.d2lv.cards import CROPPED_REFERENCES, SIDES, SINGLES, SYSTEMS, single_card
from ndec_baselines.d2lv.plan import Plan
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from ndec_baselines.base import Loader, LocalWeights
    from ndec_baselines.d2lv.matcher import D2LV
    from ndec_baselines.networks.inference import TorchBaseline

PLANS = {
    "d2lv": Plan(),
    "d2lv-baseline-cc": Plan(variants=(CROPPED_REFERENCES,), sides=SIDES[:1]),
}
"""What each registered system runs."""


def _single(name: str) -> Registration:
    variant, backbone, side = SINGLES[name]
    card = single_card(variant, backbone, side)

    def load(weights: LocalWeights | None, device: str) -> TorchBaseline:
        from ndec_baselines.d2lv.network import preprocess, torch_baseline
        from ndec_baselines.networks.isc_resnet import read_network

        if weights is None:
            raise DataError(f"baseline {name} needs its weights", hint="give them with --weights FILE")
        return torch_baseline(
            card,
            read_network(weights.only, backbone),
            lambda image: preprocess(image, side, grey=variant.grey),
            device=device,
            weights_sha256=weights.sha256,
        )

    return Registration(card, load)


def _system(name: str) -> Registration:
    def loader() -> Loader:
        def load(weights: LocalWeights | None, device: str) -> D2LV:
            from ndec_baselines.d2lv.matcher import D2LV

            if weights is None:
                raise DataError(f"baseline {name} needs its weights", hint="give them with --weights FOLDER")
            return D2LV(SYSTEMS[name], weights, PLANS[name], device)

        return load

    return Registration(SYSTEMS[name], loader())


BASELINES = {**{name: _single(name) for name in SINGLES}, **{name: _system(name) for name in SYSTEMS}}
