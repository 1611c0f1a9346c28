"""The networks of D2LV, and how many of them are run: all by default, fewer on a small machine.

Wang, Sun, Zhang, Yang, "D²LV: A Data-Driven and Local-Verification Approach for Image Copy Detection", 2021. Facts from
WangWenhao0716/ISC-Track1-Submission at 3484142c05, ``Test/``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ndec_baselines.cards import model_cards

if TYPE_CHECKING:
    from ndec_baselines.base import ModelCard
    from ndec_baselines.networks.isc_resnet import Backbone

BACKBONES: tuple[Backbone, ...] = ("50", "152", "ibn")
SIDES = (256, 200, 320)
BLUR_RADIUS = 5
CROPPED_REFERENCES = "baseline-cc"
"""The variant whose networks also compare whole queries with cropped references."""


@dataclass(frozen=True)
class Variant:
    """One way of training, three networks.

    Attributes
    ----------
    name
        As the published files are called, with a hyphen.
    least_side
        Shortest side, in pixels, of a query crop that counts (``combine.py`` L44-L78).
    """

    name: str
    least_side: int

    @property
    def grey(self) -> bool:
        """Return whether every image is turned to grey."""
        return self.name.endswith("-bw")

    @property
    def blur(self) -> bool:
        """Return whether references and background images are blurred. Queries never are."""
        return self.name.startswith("blur-")

    def file(self, backbone: Backbone) -> str:
        """Return the published name of the weights file, its folder included."""
        kind, _, colours = self.name.partition("-")
        return f"V5_{kind}_{colours.upper()}/{kind}_{colours}_{backbone}.pth.tar"


VARIANTS = {
    name: Variant(name, least_side)
    for name, least_side in {
        "baseline-cc": 200,
        "baseline-bw": 200,
        "blur-cc": 100,
        "blur-bw": 100,
        "color-cc": 100,
        "color-bw": 200,
        "dark-cc": 100,
        "face-cc": 100,
        "face-bw": 150,
        "opa-cc": 200,
        "u-cc": 200,
    }.items()
}


def name_of(variant: str, backbone: Backbone, side: int) -> str:
    """Return the name of a single network at one size as a baseline."""
    return f"d2lv-{variant}-{backbone}" + ("" if side == SIDES[0] else f"-{side}")


def network_card(variant: Variant, backbone: Backbone, side: int, *, blur: bool) -> ModelCard:
    """Return the card of one network at any size; ``blur`` for references and background of the blur variants."""
    card = model_cards()[name_of(variant.name, backbone, SIDES[0])]
    colour = card.preprocessing.colour
    if blur:
        colour = colour.replace("RGB", f"RGB, Gaussian blur of radius {BLUR_RADIUS} (Pillow) at full size", 1)
    size = f"{side} x {side}, aspect ratio not kept"
    return replace(
        card,
        name=name_of(variant.name, backbone, side),
        preprocessing=replace(card.preprocessing, size=size, colour=colour),
    )


@dataclass(frozen=True)
class Plan:
    """What is run. The default is the published system, without its detections and its list of faces.

    Attributes
    ----------
    variants
        Names of `VARIANTS`; each takes its three networks.
    sides
        Sizes of the networks' input for cropped queries.
    cropped_queries
        Whether queries are cut at all; without it the whole query alone is compared with whole references.
    proposals
        Whether selective search adds crops.
    cropped_references
        Whether the networks of ``baseline-cc`` also compare whole queries with cropped references, at 256.
    dimensions
        Components after PCA; with fewer background images than that, one less than there are.
    sample, seed
        Background images on which PCA is fitted, ``RandomState(seed).choice`` of all in the order of ids.
    pairs_per_list
        Pairs that each network's list holds.
    """

    variants: tuple[str, ...] = tuple(VARIANTS)
    sides: tuple[int, ...] = SIDES
    cropped_queries: bool = True
    proposals: bool = True
    cropped_references: bool = True
    dimensions: int = 1500
    sample: int = 20_000
    seed: int = 123
    pairs_per_list: int = 1_000_000
