"""The losses of ASL: the norm ratio, and the baseline's classification, triplets and look-alikes.

Norm ratio: within a group of images of one original, more content must mean a larger feature norm. Sources of the
others, read for facts: the first commits of WangWenhao0716/ISC-Track1-Submission and ISC-Track2-Submission,
``Training/dg/trainers*.py`` and ``loss/triplet.py``: 10 · cross-entropy with label smoothing 0.1 on the 8192 numbers,
1 · batch-hard triplet with soft margin on the pooled 2048. How ASL's 100,000 hard-negative pairs enter training is
nowhere stated; `look_alike_loss` is this project's answer.
"""

from __future__ import annotations

import torch
from torch import nn

NORM_FLOOR = 1e-6
"""Smaller norms count as this one; no gradient flows into a norm below it."""

DRAWS = 5


class NormRatioLoss(nn.Module):
    """The mean over groups of the mean over ordered pairs with unequal scale of exp(1 − ‖larger‖ / ‖smaller‖).

    For a group G with pairs P = {(i, j) : i, j ∈ G, scale_i > scale_j} its term is
    (1 / |P|) Σ exp(1 − max(‖f_i‖, ε) / max(‖f_j‖, ε)), and 0 where P is empty; the loss is the mean over all groups,
    those without a pair included. Equal norms give 1 per pair, a ratio of 2 gives 0.368, of ½ gives 1.649; there is no
    margin, and the loss does not change when all features are multiplied by one number.

    Source: WangWenhao0716/ASL ``train.py``, which takes one pair per group, drawn; that form is ``sampled=True``: two
    places of the group are drawn independently (with replacement), again while their scales are equal, at most five
    times in all. A group that ends with equal scales gives the constant 1, as there, where both places are then one
    and the same in a group of unequal scales. Groups there have four images each; here any number.

    Parameters
    ----------
    sampled
        Whether to draw one pair per group, as published, in place of the mean over all.
    generator
        Where the draws come from, a generator of the CPU; torch's default one if None. Only for ``sampled``.
    floor
        ε, the smallest norm.

    Raises
    ------
    ValueError
        If a generator is given without ``sampled``, or the floor is not positive.
    """

    def __init__(
        self, *, sampled: bool = False, generator: torch.Generator | None = None, floor: float = NORM_FLOOR
    ) -> None:
        super().__init__()
        if generator is not None and not sampled:
            raise ValueError("a generator was given, but nothing is drawn unless sampled=True")
        if not floor > 0:
            raise ValueError(f"floor {floor}; expected a positive number")
        self.sampled = sampled
        self.generator = generator
        self.floor = floor

    def forward(self, features: torch.Tensor, scales: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """Return the loss, a scalar; float32 whatever the features' precision, float64 for float64.

        Parameters
        ----------
        features
            (n, d) floating point. Not divided by their norms.
        scales
            (n,) floating point: how much of the original an image holds, larger is more. Equal scales make no pair.
        groups
            (n,) whole numbers: which images come from one original; in any order.

        Raises
        ------
        ValueError
            If the shapes do not fit, a scale is not finite, or groups are not whole numbers.
        """
        _check(features, scales, groups)
        # Half precision has no room for a sum of squares of 8192 numbers: outside of autocast, in float32 at least.
        with torch.autocast(features.device.type, enabled=False):
            wide = features if features.dtype == torch.float64 else features.float()
            if not len(wide):
                return wide.sum()
            norms = torch.linalg.vector_norm(wide, dim=1).clamp(min=self.floor)
            names, codes = torch.unique(groups, return_inverse=True)
            if self.sampled:
                return self._one_pair_each(norms, scales, codes, len(names))
            return _all_pairs(norms, scales, codes, len(names))

    def _one_pair_each(
        self, norms: torch.Tensor, scales: torch.Tensor, codes: torch.Tensor, groups: int
    ) -> torch.Tensor:
        order = torch.argsort(codes, stable=True).cpu()
        counts = torch.bincount(codes, minlength=groups).cpu()
        starts = torch.cumsum(counts, 0) - counts
        amounts = scales.detach().cpu()
        first, second = torch.empty(groups, dtype=torch.int64), torch.empty(groups, dtype=torch.int64)
        for group, (start, count) in enumerate(zip(starts.tolist(), counts.tolist(), strict=True)):
            members = order[start : start + count]
            for _ in range(DRAWS):
                draw = torch.randint(count, (2,), generator=self.generator)
                one, other = members[draw[0]], members[draw[1]]
                if amounts[one] != amounts[other]:
                    break
            else:
                other = one
            first[group], second[group] = (one, other) if amounts[one] >= amounts[other] else (other, one)
        ratios = norms[first.to(norms.device)] / norms[second.to(norms.device)]
        return torch.exp(1 - ratios).mean()


def _all_pairs(norms: torch.Tensor, scales: torch.Tensor, codes: torch.Tensor, groups: int) -> torch.Tensor:
    larger = (codes[:, None] == codes[None, :]) & (scales[:, None] > scales[None, :])
    rows, columns = torch.nonzero(larger, as_tuple=True)
    terms = torch.exp(1 - norms[rows] / norms[columns])
    of_group = codes[rows]
    pairs = torch.bincount(of_group, minlength=groups).clamp(min=1).to(terms.dtype)
    return (terms / pairs[of_group]).sum() / groups


def _check(features: torch.Tensor, scales: torch.Tensor, groups: torch.Tensor) -> None:
    if features.ndim != 2 or not features.is_floating_point():
        raise ValueError(f"features of shape {tuple(features.shape)}, {features.dtype}; expected (n, d) floating point")
    n = len(features)
    if scales.shape != (n,) or groups.shape != (n,):
        raise ValueError(
            f"scales {tuple(scales.shape)} and groups {tuple(groups.shape)} for {n} features; expected ({n},) each"
        )
    if groups.is_floating_point() or groups.is_complex():
        raise ValueError(f"groups of type {groups.dtype}; expected whole numbers")
    if not bool(torch.isfinite(scales).all()):
        raise ValueError(f"scale {scales[~torch.isfinite(scales)][0].item()}; expected finite numbers")


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
