"""Seeded random weights for whole networks, with statistics that keep signals alive through many layers."""

from __future__ import annotations

from typing import TypeVar

import torch

Network = TypeVar("Network", bound=torch.nn.Module)


def randomised(network: Network, seed: int) -> Network:
    """Return ``network`` with every parameter and buffer drawn anew from ``seed``, whatever its own initialisation.

    Matrices and filters are normal with variance 2 / fan-in, so that activations neither vanish nor explode; scales
    and running variances lie between 0.75 and 1.25, everything else is small. Integer buffers stay.
    """
    generator = torch.Generator().manual_seed(seed)
    state = network.state_dict()
    for name, value in state.items():
        if not value.is_floating_point():
            continue
        if value.dim() > 1:
            fan_in = value[0].numel()
            value.copy_(torch.randn(value.shape, generator=generator) * (2 / fan_in) ** 0.5)
        elif name.endswith(("running_var", "weight", "gain", "gamma")):
            value.copy_(0.75 + 0.5 * torch.rand(value.shape, generator=generator))
        else:
            value.copy_(0.1 * torch.randn(value.shape, generator=generator))
    network.load_state_dict(state)
    return network.eval()
