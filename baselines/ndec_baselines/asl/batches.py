"""Which images stand in the batch of a step: P groups of K, the untouched original first in each.

The sampler keeps no state: the batch of a step follows from seed and step alone, so a resumed run goes on with the
batch at which it stopped, whatever was computed before.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ndec_bench.errors import UsageError
from ndec_bench.randomness import Stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_baselines.asl.config import Batch
    from ndec_baselines.asl.training_set import TrainingSet

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
        (n,) int64: the class that looks like an image's own and stands in this batch as its pair; −1 for none.
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

    def __getstate__(self) -> dict[str, Any]:
        # A started process gets no cache: caches cannot be pickled.
        return {name: value for name, value in self.__dict__.items() if name != "_order"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._order = lru_cache(maxsize=ORDERS)(self._permuted)

    def __call__(self, step: int) -> StepBatch:
        """Return the batch of ``step``, counted from 0."""
        pairs = self._pairs(step)
        single = self._chosen("singles", len(self.singles), self.batch.originals - 2 * len(pairs), step)
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

    def _chosen(self, what: str, total: int, count: int, step: int) -> list[int]:
        return self._from(what, total, count, step)[:count]

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
