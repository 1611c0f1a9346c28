"""ASL: the norm of a feature tells which of two images is the copy. Loss, networks, sampler and trainer.

Method: Wang, Sun, Yang, "A Benchmark and Asymmetrical-Similarity Learning for Practical Image Copy Detection", AAAI
2023, arXiv 2205.12358. Public are two code fragments (github.com/WangWenhao0716/ASL, MIT), read for facts; what they
leave open, and what was chosen here, is in ``docs/asl.md``.

>>> import torch
>>> from ndec_baselines.asl import NormRatioLoss
>>> features = torch.tensor([[3.0, 4.0], [0.0, 2.5]])
>>> scales, groups = torch.tensor([1.0, 0.5]), torch.tensor([7, 7])
>>> round(float(NormRatioLoss()(features, scales, groups)), 4)  # exp(1 - 5 / 2.5)
0.3679
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ndec_baselines.asl.norm_ratio import NORM_FLOOR, NormRatioLoss

__all__ = ["NORM_FLOOR", "NormRatioLoss"]


def __getattr__(name: str) -> object:
    # Loaded on first use: the list of baselines reads the cards of this package without torch.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("ndec_baselines.asl.norm_ratio"), name)
