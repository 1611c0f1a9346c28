"""Methods that turn images into descriptors, each loaded on first use.

>>> import ndec_baselines
>>> baseline = ndec_baselines.load("thumbnail")
>>> baseline.card.dimension
256
"""

from __future__ import annotations

from ndec_baselines.base import (
    Baseline,
    Card,
    Described,
    Expected,
    LocalWeights,
    Matcher,
    ModelCard,
    Preprocessing,
    Registration,
    SplitImages,
    Weights,
    WeightsFile,
)
from ndec_baselines.registry import BASELINES, Listed, card, listed, load, load_matcher, names

__all__ = [
    "BASELINES",
    "Baseline",
    "Card",
    "Described",
    "Expected",
    "Listed",
    "LocalWeights",
    "Matcher",
    "ModelCard",
    "Preprocessing",
    "Registration",
    "SplitImages",
    "Weights",
    "WeightsFile",
    "card",
    "listed",
    "load",
    "load_matcher",
    "names",
]
