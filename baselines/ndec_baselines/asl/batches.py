"""The batch of a step: P groups of K images, the untouched original first in each, and their pixels, edited on the fly.

Nothing keeps a state: the batch of a step, and every pixel of it, follow from seed and step alone, so a resumed run
goes on with the batch at which it stopped, whatever was computed before.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from ndec_baselines.asl.training_set import read_original
from ndec_baselines.networks.pixels import stretched
from ndec_bench.edits import EDITS, apply_chain, as_pixels, sample_chain
from ndec_bench.errors import UsageError
from ndec_bench.randomness import Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ndec_baselines.asl.config import Batch, Edits
    from ndec_baselines.asl.training_set import TrainingSet
    from ndec_bench.data.images import ImageSource
    from ndec_bench.edits import EditStep
    from ndec_bench.edits.raster import Pixels

ORDERS = 4
"""Permutations that are kept: of singles and of pairs, this round's and the last one's."""


@dataclass(frozen=True)
class Slot:
    """One image of a batch: the original itself (``number`` 0) or its copy with that number of this step."""

    image_id: str
    number: int


@dataclass(frozen=True)
class StepBatch:
    """The batch of one step.

    Attributes
    ----------
    slots
        Images, the K of a group side by side.
    classes
        (n,) int64: place of the original among all originals; also the group.
    partners
        (n,) int64: the class that looks like an image's own and is in this batch as its pair; −1 for none.
    """

    slots: tuple[Slot, ...]
    classes: NDArray[np.int64]
    partners: NDArray[np.int64]


class Sampler:
    """Batches by step.

    Each batch has ``pairs`` pairs of look-alikes and otherwise originals of no pair (of all originals, where pairs are
    not used). Both are drawn by permutations of their own, one per round; what is left at the
    end of a round is dropped.

    Raises
    ------
    UsageError
        If there are fewer originals or pairs than one batch needs.
    """

    def __init__(self, found: TrainingSet, batch: Batch, seed: int) -> None:
        self.found, self.batch, self.seed = found, batch, seed
        self.classes = {image_id: place for place, image_id in enumerate(found.originals)}
        self.pairs = found.pairs if batch.pairs else ()
        paired = {image_id for pair in self.pairs for image_id in pair}
        self.singles = tuple(i for i in found.originals if i not in paired)
        single = batch.originals - 2 * batch.pairs
        for wanted, there, what in ((batch.pairs, self.pairs, "pairs"), (single, self.singles, "originals of no pair")):
            if len(there) < wanted:
                raise UsageError(
                    f"a batch needs {wanted} {what}, the training set has {len(there)}",
                    hint="lower batch.originals or batch.pairs, or train on more images",
                )
        self._order = lru_cache(maxsize=ORDERS)(self._permuted)

    def __reduce__(self) -> tuple[Any, ...]:
        # A started process makes its own: caches cannot be pickled.
        return Sampler, (self.found, self.batch, self.seed)

    def __call__(self, step: int) -> StepBatch:
        """Return the batch of ``step``, counted from 0."""
        pairs = self._pairs(step)
        count = self.batch.originals - 2 * len(pairs)
        single = self._from("singles", len(self.singles), count, step)[:count]
        originals = [i for pair in pairs for i in pair] + [self.singles[place] for place in single]
        partner = {**dict(pairs), **{second: first for first, second in pairs}}
        images = self.batch.images
        classes = np.array([self.classes[i] for i in originals], dtype=np.int64)
        partners = np.array([self.classes[partner[i]] if i in partner else -1 for i in originals], dtype=np.int64)
        return StepBatch(
            tuple(Slot(i, number) for i in originals for number in range(images)),
            np.repeat(classes, images),
            np.repeat(partners, images),
        )

    def _pairs(self, step: int) -> list[tuple[str, str]]:
        """Return the pairs of a step; of two that share an image the later gives way to a later one of the round."""
        if not self.batch.pairs:
            return []
        taken: list[tuple[str, str]] = []
        used: set[str] = set()
        for place in self._from("pairs", len(self.pairs), self.batch.pairs, step):
            pair = self.pairs[place]
            if used.isdisjoint(pair):
                taken.append(pair)
                used.update(pair)
            if len(taken) == self.batch.pairs:
                return taken
        raise UsageError(
            f"{self.batch.pairs} pairs without a common image were not found among {len(self.pairs)}",
            hint="lower batch.pairs",
        )

    def _from(self, what: str, total: int, count: int, step: int) -> list[int]:
        """Return a round's order, turned so that it begins with the step's own ``count``."""
        if not count:
            return []
        per_round = total // count
        order = self._order(what, total, step // per_round)
        start = step % per_round * count
        return order[start:] + order[:start]

    def _permuted(self, what: str, total: int, turn: int) -> list[int]:
        return Stream("asl order", self.seed, what, turn).shuffled(range(total))


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
class Picture:
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
        self._originals = originals
        self._donors = _Donors(self, Stream("asl donors", seed).sample(originals, min(DONORS, len(originals))))
        self._read = lru_cache(maxsize=KEPT)(self._pixels)

    def __reduce__(self) -> tuple[Any, ...]:
        # A started process makes its own: caches cannot be pickled.
        return partial(Studio, side=self.side, seed=self.seed), (self.source, self._originals, self.edits)

    def original(self, image_id: str) -> Picture:
        """Return the original, its scale 1."""
        return Picture(self._tensor(self._read(image_id)), 1.0)

    def copy(self, image_id: str, *key: str | int) -> Picture:
        """Return the copy of an original that ``key`` names."""
        stream = Stream("asl copy", self.seed, image_id, *key)
        edits = self.edits
        kinds = None if edits.kinds == "ndec-mini" else tuple(EDITS)
        chain = sample_chain(stream, edits.most, min_edits=edits.least, lowest_of=edits.lowest_of, kinds=kinds)
        return self._edited(image_id, chain)

    def mild(self, image_id: str, *key: str | int) -> Picture:
        """Return a copy with one weak edit, as half the hard negatives of ``ndec-mini`` have one."""
        stream = Stream("asl mild", self.seed, image_id, *key)
        return self._edited(image_id, sample_chain(stream, 1, strength=(0.0, 0.3), donors=False))

    def _edited(self, image_id: str, chain: Sequence[EditStep]) -> Picture:
        edited = apply_chain(self._read(image_id), chain, self._donors)
        area = edited.remaining_area
        return Picture(self._tensor(edited.pixels), area if self.edits.scale == "area" else content(area, chain))

    def _pixels(self, image_id: str) -> Pixels:
        return as_pixels(read_original(self.source, image_id, LONGEST))

    def _tensor(self, pixels: Pixels) -> torch.Tensor:
        return stretched(Image.fromarray(pixels), self.side, Image.Resampling.BILINEAR)


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
