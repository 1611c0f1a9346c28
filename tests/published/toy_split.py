"""A data root with a split of eleven flat pictures, for what goes from images to scores in one command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path

COLOURS = {
    # Q00000 and Q00001 are darkened copies; Q00002 looks like R000002 and is copy of nothing.
    "queries": [(190, 10, 10), (10, 190, 10), (10, 20, 190)],
    "references": [(200, 10, 10), (10, 200, 10), (10, 90, 200), (120, 120, 120)],
    "background": [(0, 0, 0), (90, 60, 30), (30, 90, 60), (60, 30, 90)],
}
LETTERS = {"queries": ("Q", 5), "references": ("R", 6), "background": ("B", 6)}


def make_toy_split(root: Path) -> Path:
    """Return ``root``, a data root in which the split ``toy-1`` has been made."""
    folder = root / "toy-1"
    for side, colours in COLOURS.items():
        (folder / "images" / side).mkdir(parents=True)
        letter, digits = LETTERS[side]
        for number, colour in enumerate(colours):
            Image.new("RGB", (8, 8), colour).save(folder / "images" / side / f"{letter}{number:0{digits}d}.png")
    (folder / "split.json").write_text(json.dumps({"name": "toy-1", "digest": "a" * 64}))
    (folder / "ground_truth.csv").write_text("query_id,reference_id\nQ00000,R000000\nQ00001,R000001\nQ00002,\n")
    (folder / "hard_negatives.txt").write_text("Q00002\n")
    (folder / "references.txt").write_text("".join(f"R{i:06d}\n" for i in range(4)))
    return root
