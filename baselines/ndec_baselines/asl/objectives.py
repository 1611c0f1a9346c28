"""The baseline's losses beside the norm ratio: classification of originals, soft-margin triplets, look-alikes.

Sources, read for facts: the first commits of WangWenhao0716/ISC-Track1-Submission and ISC-Track2-Submission,
``Training/dg/trainers*.py`` and ``loss/triplet.py``: 10 · cross-entropy with label smoothing 0.1 on the 8192 numbers,
1 · batch-hard triplet with soft margin on the pooled 2048. How ASL's 100,000 hard-negative pairs enter training is
nowhere stated; `look_alike_loss` is this project's answer.
"""

from __future__ import annotations

import torch
from torch import nn

LARGE = 1e9


class Classifier(nn.Module):
    """One weight vector per original, no bias, nothing normalised; drawn from N(0, 0.001²), as published."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, width).normal_(std=0.001))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes) of features (n, width)."""
        return nn.functional.linear(features, self.weight)


def distances(features: torch.Tensor) -> torch.Tensor:
    """Return (n, n) Euclidean distances of features (n, d), float32; never 0, so that the root has a gradient."""
    wide = features.float()
    squares = (wide * wide).sum(dim=1)
    squared = squares[:, None] + squares[None, :] - 2 * wide @ wide.T
    return squared.clamp(min=1e-12).sqrt()


def triplet_loss(between: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
    """Return the mean over images of log(1 + exp(farthest of its group − nearest of another)), a scalar.

    Hermans, Beyer, Leibe, "In Defense of the Triplet Loss for Person Re-Identification", 2017: batch-hard, soft margin.
    ``between`` (n, n) are distances, ``groups`` (n,) tells originals apart. With one group alone the loss is 0.
    """
    same = groups[:, None] == groups[None, :]
    farthest = _farthest(between, same)
    nearest = between.masked_fill(same, LARGE).amin(dim=1)
    return nn.functional.softplus(farthest - nearest).mean()


def look_alike_loss(between: torch.Tensor, groups: torch.Tensor, partners: torch.Tensor) -> torch.Tensor:
    """Return the mean over images with a look-alike of log(1 + exp(farthest of its group − nearest look-alike)).

    The triplet loss with the negatives that the data names: ``partners`` (n,) is the group that looks like an image's
    own, −1 where there is none. 0 if no image has its look-alike in the batch.
    """
    opposed = partners[:, None] == groups[None, :]
    rows = opposed.any(dim=1)
    if not bool(rows.any()):
        return between.sum() * 0
    farthest = _farthest(between, groups[:, None] == groups[None, :])
    nearest = between.masked_fill(~opposed, LARGE).amin(dim=1)
    return nn.functional.softplus(farthest - nearest)[rows].mean()


def _farthest(between: torch.Tensor, same: torch.Tensor) -> torch.Tensor:
    return between.masked_fill(~same, -LARGE).amax(dim=1)
