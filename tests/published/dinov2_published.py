"""``dinov2-*``: seeded random weights as a plain state dict with the official names and shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from pathlib import Path

FILES = {"dinov2-s": ("dinov2_vits14_pretrain.pth", 384), "dinov2-b": ("dinov2_vitb14_pretrain.pth", 768)}
DEPTH = 12
POSITIONS = 1 + 37 * 37


def shapes(dimension: int) -> dict[str, tuple[int, ...]]:
    """Return name to shape of every tensor (facebookresearch/dinov2 models/vision_transformer.py, 12 plain blocks)."""
    found: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, dimension),
        "pos_embed": (1, POSITIONS, dimension),
        "mask_token": (1, dimension),
        "patch_embed.proj.weight": (dimension, 3, 14, 14),
        "patch_embed.proj.bias": (dimension,),
    }
    for block in range(DEPTH):
        of_block: dict[str, tuple[int, ...]] = {
            "norm1.weight": (dimension,),
            "norm1.bias": (dimension,),
            "attn.qkv.weight": (3 * dimension, dimension),
            "attn.qkv.bias": (3 * dimension,),
            "attn.proj.weight": (dimension, dimension),
            "attn.proj.bias": (dimension,),
            "ls1.gamma": (dimension,),
            "norm2.weight": (dimension,),
            "norm2.bias": (dimension,),
            "mlp.fc1.weight": (4 * dimension, dimension),
            "mlp.fc1.bias": (4 * dimension,),
            "mlp.fc2.weight": (dimension, 4 * dimension),
            "mlp.fc2.bias": (dimension,),
            "ls2.gamma": (dimension,),
        }
        found |= {f"blocks.{block}.{name}": shape for name, shape in of_block.items()}
    return found | {"norm.weight": (dimension,), "norm.bias": (dimension,)}


def content(name: str) -> dict[str, torch.Tensor]:
    """Return the tensors that `write` saves for baseline ``name``; tokens and positions are as large as patches are."""
    generator = torch.Generator().manual_seed(0)
    drawn = {}
    for key, shape in shapes(FILES[name][1]).items():
        values = torch.randn(shape, generator=generator)
        if key.endswith(("norm1.weight", "norm2.weight", "norm.weight", "gamma")):
            values = 1 + 0.1 * values
        elif key.endswith("weight"):
            values = values * (1 / values[0].numel()) ** 0.5
        elif key.endswith("bias"):
            values = 0.1 * values
        drawn[key] = values
    return drawn


def write(name: str, folder: Path) -> None:
    """Write the files that the card of baseline ``name`` lists into ``folder``."""
    torch.save(content(name), folder / FILES[name][0])
