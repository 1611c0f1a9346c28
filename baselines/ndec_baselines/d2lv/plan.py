"""How much of D2LV is run: the whole by default, less on a small machine."""

from __future__ import annotations

from dataclasses import dataclass

from ndec_baselines.d2lv.cards import CROPPED_REFERENCES, SIDES, VARIANTS
from ndec_bench.errors import UsageError


@dataclass(frozen=True)
class Plan:
    """What is run. The default is the published system, without its detections and its list of faces.

    Attributes
    ----------
    variants
        Names of `cards.VARIANTS`; each takes its three networks.
    sides
        Sizes of the networks' input for cropped queries.
    cropped_queries
        Whether queries are cut at all; without it the whole query alone is compared with whole references.
    proposals
        Whether selective search adds crops.
    cropped_references
        Whether the networks of ``baseline-cc`` also compare whole queries with cropped references, at 256.
    faces
        References that do not count when they are cropped: those with faces (the published list is face_del.npy).
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
    faces: frozenset[str] = frozenset()
    dimensions: int = 1500
    sample: int = 20_000
    seed: int = 123
    pairs_per_list: int = 1_000_000

    def __post_init__(self) -> None:
        """Raise UsageError if a name or number is out of range."""
        unknown = [name for name in self.variants if name not in VARIANTS]
        if unknown or not self.variants or len(set(self.variants)) < len(self.variants):
            shown = ", ".join(self.variants) or "none"
            raise UsageError(f"variants {shown}", hint=f"expected some of {', '.join(VARIANTS)}, each once")
        if not self.sides or len(set(self.sides)) < len(self.sides) or min(self.sides) < 1:
            raise UsageError(f"sides {self.sides}", hint=f"expected some of {SIDES}, each once")
        if self.cropped_references and CROPPED_REFERENCES not in self.variants:
            raise UsageError(
                f"cropped references are compared by the networks of {CROPPED_REFERENCES}, which is not in the plan",
                hint=f"add {CROPPED_REFERENCES}, or leave cropped references out",
            )
        if self.faces and not self.cropped_references:
            raise UsageError("a list of faces without cropped references", hint="it is for these alone")
        if min(self.dimensions, self.pairs_per_list) < 1 or self.sample < 3 or not 0 <= self.seed < 1 << 32:
            raise UsageError(
                f"dimensions {self.dimensions}, sample {self.sample}, seed {self.seed}, pairs {self.pairs_per_list}",
                hint="expected at least 1, 3, 0 and 1",
            )
