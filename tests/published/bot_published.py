"""``bot`` and its sizes: seeded random weights in the published form, the classifiers of 256 numbers left in.

The export took the four classifiers of the 8192 numbers out and forgot the others, which are written here with 40
classes in place of 25,000. The learned power of GeM is not 3, and must not matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from random_weights import drawn

from ndec_baselines.networks.isc_resnet import IscResNet

if TYPE_CHECKING:
    from pathlib import Path


def content(name: str = "bot") -> dict[str, torch.Tensor]:
    """Return the published state dict."""
    with torch.device("meta"):
        network = IscResNet("50", reduced=True)
    found = drawn(network.state_dict(), seed=0)
    found["base.10.p"] = torch.tensor([2.7])
    return found | {f"classifier_{number}_1.weight": torch.zeros(40, 256) for number in range(4)}


def write(name: str, folder: Path) -> None:
    """Write the files that the card of baseline ``name`` lists into ``folder``."""
    torch.save(content(), folder / "baseline_matrix_baro_c24.pth.tar")
