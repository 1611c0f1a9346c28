"""Seeded random weights for whole networks, with statistics that keep signals alive through many layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

Network = TypeVar("Network", bound=torch.nn.Module)

LARGE = 1 << 20
SHIFT = 97


def drawn(shapes: Mapping[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """Return random values for the entries of a state dict, which may be on the device ``meta``.

    Matrices and filters are normal with variance 2 / fan-in, so that activations neither vanish nor explode; scales
    and running variances lie between 0.75 and 1.25, everything else is small. Integers are zero. The rows of a large
    matrix are windows of one row of numbers, so that it is drawn, written and read in no time.
    """
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, value in shapes.items():
        if not value.is_floating_point():
            found[name] = torch.zeros(value.shape, dtype=value.dtype)
        elif value.dim() > 1:
            fan_in = value[0].numel()
            if value.numel() > LARGE:
                row = torch.randn((len(value) - 1) * SHIFT + fan_in, generator=generator) * (2 / fan_in) ** 0.5
                strides = torch.empty(value.shape, device="meta").stride()
                found[name] = row.as_strided(value.shape, (SHIFT, *strides[1:]))
            else:
                found[name] = torch.randn(value.shape, generator=generator) * (2 / fan_in) ** 0.5
        elif name.endswith(("running_var", "weight", "gain", "gamma")):
            found[name] = 0.75 + 0.5 * torch.rand(value.shape, generator=generator)
        else:
            found[name] = 0.1 * torch.randn(value.shape, generator=generator)
    return found


def filled(network: Network, seed: int) -> Network:
    """Return ``network`` itself with the values of `drawn` for its state dict, in evaluation."""
    network.load_state_dict(drawn(network.state_dict(), seed))
    return network.eval()
