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

from ndec_baselines.asl.losses import NORM_FLOOR, NormRatioLoss

__all__ = ["NORM_FLOOR", "NormRatioLoss"]
