"""Batch normalisation over parts of fixed size, so that the number of processes does not change a training step.

The published runs normalise each GPU's 32 images by themselves. Here the global batch is cut into sub-batches of one
size, whoever computes them: a step on one process with four sub-batches is the step on two with two each. Running
statistics are the mean over all sub-batches of a step, and move once per step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable


class SubBatchNorm(nn.Module):
    """A batch normalisation of torch with the same names in the state dict, whose running statistics wait for `settle`.

    Parameters
    ----------
    norm
        The layer it takes the place of; its parameters are used, not copied.
    """

    running_mean: torch.Tensor
    running_var: torch.Tensor
    num_batches_tracked: torch.Tensor

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight, norm.bias
        self.eps, self.momentum = norm.eps, norm.momentum or 0.0
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(norm, name))
        self.collects = False
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return normalised values (n, c) or (n, c, h, w): by their own statistics in training, else by the running."""
        if not self.training:
            return nn.functional.batch_norm(
                values, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
            )
        # With a momentum of 1 the kernel leaves this call's mean and unbiased variance in what it is given.
        mean, variance = torch.zeros_like(self.running_mean), torch.ones_like(self.running_var)
        result = nn.functional.batch_norm(values, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
        if self.collects:
            self.seen.append((mean, variance))
        return result


def with_sub_batches(network: nn.Module) -> list[SubBatchNorm]:
    """Return the layers that took the place of all batch normalisations in ``network``, in order."""
    made = []
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
                layer = SubBatchNorm(child)
                parent.add_module(name, layer)
                made.append(layer)
    return made


def collect(layers: list[SubBatchNorm], on: bool) -> None:
    """Let the layers keep the statistics of what they see, or stop: a recomputed forward pass must not count twice."""
    for layer in layers:
        layer.collects = on


def settle(
    layers: list[SubBatchNorm],
    parts: int,
    summed: Callable[[torch.Tensor], torch.Tensor],
    dtype: torch.dtype = torch.float64,
) -> None:
    """Move the running statistics towards the mean over the ``parts`` sub-batches of a step, and forget those.

    ``summed`` adds a tensor up over all processes; with one process it returns what it is given. In float64 sums do not
    depend on their order.
    """
    moved = [layer for layer in layers if layer.training]
    if not moved:
        return
    sums = [torch.stack([torch.stack(pair) for pair in layer.seen]).to(dtype).sum(dim=0) for layer in moved]
    means = summed(torch.cat(sums, dim=1)) / parts
    start = 0
    for layer in moved:
        width = len(layer.running_mean)
        mean, variance = means[:, start : start + width].to(layer.running_mean.dtype)
        layer.running_mean.lerp_(mean, layer.momentum)
        layer.running_var.lerp_(variance, layer.momentum)
        layer.num_batches_tracked += 1
        layer.seen.clear()
        start += width
