"""The norm-ratio loss: within a group of images of one original, more content must mean a larger feature norm."""

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
