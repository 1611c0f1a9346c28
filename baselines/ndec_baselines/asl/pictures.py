"""From a slot of a batch to pixels and scale: originals as they are, copies edited on the fly."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from ndec_baselines.asl.training_set import read_original
from ndec_baselines.networks.pixels import normalised, square
from ndec_bench.edits import EDITS, apply_chain, as_pixels, sample_chain
from ndec_bench.randomness import Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_baselines.asl.batches import Sampler
    from ndec_baselines.asl.config import Edits
    from ndec_bench.data.images import ImageSource
    from ndec_bench.edits import EditStep
    from ndec_bench.edits.raster import Pixels

LONGEST = 512
"""Originals are scaled to this long side before they are edited; the edits work at 256."""

DONORS = 512
KEPT = 2048

MIRRORS = ("flip",)
LEAST_LOSS, MORE_LOSS = 0.01, 0.09


def content(remaining_area: float, chain: Sequence[EditStep]) -> float:
    """Return how much of the original a copy holds, in (0, 1]: its remaining area, less a little for every other edit.

    Blur, noise, another tone or a scaled-down picture take content away and no area. Each edit but a mirroring takes
    1 % at its weakest and 10 % at its strongest (this project's choice: `area` alone calls such copies equal to their
    original, and a tie teaches the loss nothing).
    """
    kept = remaining_area
    for step in chain:
        if step.kind not in MIRRORS:
            kept *= 1 - LEAST_LOSS - MORE_LOSS * step.strength
    return kept


@dataclass(frozen=True)
class Made:
    """Pixels as the network takes them, (3, s, s) float32, and the scale of the norm-ratio loss."""

    pixels: torch.Tensor
    scale: float


class Studio:
    """Makes the pictures of a run; the same slot of the same step always gives the same pixels.

    Parameters
    ----------
    source, originals
        Where images come from; some of ``originals`` serve the edits that need other pictures.
    side
        Of the square input.
    """

    def __init__(self, source: ImageSource, originals: Sequence[str], edits: Edits, *, side: int, seed: int) -> None:
        self.source, self.edits, self.side, self.seed = source, edits, side, seed
        chosen = Stream("asl donors", seed).sample(originals, min(DONORS, len(originals)))
        self._donors = _Donors(self, chosen)
        self._read = lru_cache(maxsize=KEPT)(self._pixels)

    def __getstate__(self) -> dict[str, Any]:
        # A started process gets no cache: caches cannot be pickled.
        return {name: value for name, value in self.__dict__.items() if name != "_read"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._read = lru_cache(maxsize=KEPT)(self._pixels)

    def original(self, image_id: str) -> Made:
        """Return the original, its scale 1."""
        return Made(self._tensor(self._read(image_id)), 1.0)

    def copy(self, image_id: str, *key: str | int) -> Made:
        """Return the copy of an original that ``key`` names."""
        stream = Stream("asl copy", self.seed, image_id, *key)
        edits = self.edits
        kinds = None if edits.kinds == "ndec-mini" else tuple(EDITS)
        chain = sample_chain(stream, edits.most, min_edits=edits.least, lowest_of=edits.lowest_of, kinds=kinds)
        return self._edited(image_id, chain)

    def mild(self, image_id: str, *key: str | int) -> Made:
        """Return a copy with one weak edit, as half the hard negatives of ``ndec-mini`` have one."""
        stream = Stream("asl mild", self.seed, image_id, *key)
        return self._edited(image_id, sample_chain(stream, 1, strength=(0.0, 0.3), donors=False))

    def _edited(self, image_id: str, chain: Sequence[EditStep]) -> Made:
        edited = apply_chain(self._read(image_id), chain, self._donors)
        area = edited.remaining_area
        return Made(self._tensor(edited.pixels), area if self.edits.scale == "area" else content(area, chain))

    def _pixels(self, image_id: str) -> Pixels:
        return as_pixels(read_original(self.source, image_id, LONGEST))

    def _tensor(self, pixels: Pixels) -> torch.Tensor:
        return normalised(square(Image.fromarray(pixels), self.side, Image.Resampling.BILINEAR))


class _Donors:
    """Pictures of the training set that edits take from, read when they are needed."""

    def __init__(self, studio: Studio, ids: Sequence[str]) -> None:
        self._studio, self._ids = studio, ids

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, index: int, /) -> Pixels:
        return self._studio._read(self._ids[index])


@dataclass(frozen=True)
class Tensors:
    """The share of a step's batch that one process computes, and what the losses need of all of it.

    Attributes
    ----------
    images
        (m, 3, s, s) float32: this process's.
    scales
        (m,) float64: this process's.
    classes, partners
        (n,) int64: of the whole batch.
    """

    images: torch.Tensor
    scales: torch.Tensor
    classes: torch.Tensor
    partners: torch.Tensor


class Batches(torch.utils.data.Dataset[Tensors]):
    """The batches of a run by step, for torch's loader: one item is one step's share of one process."""

    def __init__(self, sampler: Sampler, studio: Studio, *, rank: int, processes: int) -> None:
        self.sampler, self.studio = sampler, studio
        share = sampler.batch.size // processes
        self._rows = range(rank * share, (rank + 1) * share)

    def __getitem__(self, step: int) -> Tensors:
        """Return the share of ``step``."""
        batch = self.sampler(step)
        slots = [batch.slots[row] for row in self._rows]
        made = [
            self.studio.copy(slot.image_id, step, slot.number) if slot.number else self.studio.original(slot.image_id)
            for slot in slots
        ]
        return Tensors(
            torch.stack([one.pixels for one in made]),
            torch.tensor([one.scale for one in made], dtype=torch.float64),
            torch.from_numpy(batch.classes),
            torch.from_numpy(batch.partners),
        )
