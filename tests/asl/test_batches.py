"""Which images stand in a batch: groups, look-alikes in pairs, rounds, and that a step depends on nothing before it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ndec_baselines.asl.batches import Sampler, StepBatch
from ndec_baselines.asl.config import Batch
from ndec_baselines.asl.training_set import TrainingSet
from ndec_bench.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image


class NoPictures:
    """Names without pictures: a sampler reads none."""

    def __init__(self, ids: tuple[str, ...]) -> None:
        self.ids = ids

    def read(self, image_id: str) -> Image.Image:
        raise AssertionError(image_id)

    def read_bytes(self, image_id: str) -> bytes:
        raise AssertionError(image_id)


def named(count: int, pairs: tuple[tuple[str, str], ...] = ()) -> TrainingSet:
    """Return a set of originals A00, A01, ... and whatever else ``pairs`` name."""
    ids = tuple(sorted({f"A{number:02}" for number in range(count)}.union(*pairs)))
    return TrainingSet(NoPictures(ids), ids, pairs)


DISJOINT = tuple((f"L{number}", f"M{number}") for number in range(5))
BATCH = Batch(originals=7, images=3, pairs=2, sub_batch=3)


def equal(one: StepBatch, other: StepBatch) -> bool:
    return (
        one.slots == other.slots
        and np.array_equal(one.classes, other.classes)
        and np.array_equal(one.partners, other.partners)
    )


def groups_of(batch: StepBatch, size: int) -> list[str]:
    """Return the originals of a batch after checking that its groups are whole."""
    names = []
    for start in range(0, len(batch.slots), size):
        group = batch.slots[start : start + size]
        assert [slot.number for slot in group] == list(range(size))
        assert len({slot.image_id for slot in group}) == 1
        assert len(set(batch.classes[start : start + size])) == len(set(batch.partners[start : start + size])) == 1
        names.append(group[0].image_id)
    return names


@pytest.mark.parametrize("step", [0, 1, 2, 3, 17, 1_000_000])
def test_a_batch_is_groups_side_by_side_with_the_original_first(step: int) -> None:
    found = named(11, DISJOINT)
    batch = Sampler(found, BATCH, seed=1)(step)
    assert (len(batch.slots), batch.classes.shape, batch.partners.shape) == (21, (21,), (21,))
    assert batch.classes.dtype == batch.partners.dtype == np.int64
    names = groups_of(batch, 3)
    assert len(set(names)) == 7
    assert [found.originals[number] for number in batch.classes] == [slot.image_id for slot in batch.slots]


@pytest.mark.parametrize("step", range(4))
def test_pairs_stand_together_and_point_at_each_other(step: int) -> None:
    found = named(11, DISJOINT)
    batch = Sampler(found, BATCH, seed=1)(step)
    names = set(groups_of(batch, 3))
    whole = [pair for pair in DISJOINT if names.issuperset(pair)]
    assert len(whole) == 2
    other = {**dict(whole), **{second: first for first, second in whole}}
    for slot, partner in zip(batch.slots, batch.partners, strict=True):
        expected = other.get(slot.image_id)
        assert (None if partner < 0 else found.originals[partner]) == expected
    assert {name for name in names if name not in other} == {name for name in names if name.startswith("A")}


def test_a_step_does_not_depend_on_what_was_asked_before() -> None:
    found = named(11, DISJOINT)
    run = Sampler(found, BATCH, seed=4)
    in_order = [run(step) for step in range(12)]
    assert equal(Sampler(found, BATCH, seed=4)(7), in_order[7])
    backwards = Sampler(found, BATCH, seed=4)
    for step in (500, 11, 9, 7, 2, 7):
        assert step == 500 or equal(backwards(step), in_order[step])
        backwards(step + 1000)
    assert sum(equal(in_order[7], other) for other in in_order) == 1


def test_another_seed_is_another_order() -> None:
    found = named(11, DISJOINT)
    assert not equal(Sampler(found, BATCH, seed=1)(0), Sampler(found, BATCH, seed=2)(0))


def test_every_original_comes_once_a_round_but_for_the_rest() -> None:
    """20 originals by 6: three steps a round, two are left over and come in another round."""
    found = named(20)
    sampler = Sampler(found, Batch(originals=6, images=2, pairs=0, sub_batch=4), seed=3)
    rounds = [Counter(name for step in range(3 * turn, 3 * turn + 3) for name in groups_of(sampler(step), 2))
              for turn in range(12)]  # fmt: skip
    for turn in rounds:
        assert len(turn) == 18
        assert set(turn.values()) == {1}
    assert set().union(*rounds) == set(found.originals)
    assert len({frozenset(set(found.originals).difference(turn)) for turn in rounds}) > 3
    firsts = [groups_of(sampler(3 * turn), 2) for turn in range(3)]
    assert firsts[0] != firsts[1] != firsts[2]


def test_pairs_and_singles_have_rounds_of_their_own() -> None:
    """Five pairs by two: rounds of two steps. Eleven others by three: rounds of three."""
    sampler = Sampler(named(11, DISJOINT), BATCH, seed=1)
    for turn in range(4):
        names = [name for step in (2 * turn, 2 * turn + 1) for name in groups_of(sampler(step), 3)]
        assert sorted(Counter(name for name in names if name[0] in "LM").values()) == [1] * 8
        names = [name for step in range(3 * turn, 3 * turn + 3) for name in groups_of(sampler(step), 3)]
        assert sorted(Counter(name for name in names if name[0] == "A").values()) == [1] * 9


def test_look_alikes_that_are_not_paired_are_originals_like_others() -> None:
    found = named(4, DISJOINT)
    sampler = Sampler(found, Batch(originals=7, images=2, pairs=0, sub_batch=2), seed=1)
    assert set(groups_of(sampler(0), 2) + groups_of(sampler(1), 2)) == set(found.originals)
    assert set(sampler(0).partners) == {-1}


def test_pairs_with_a_common_image_never_meet_in_a_batch() -> None:
    """One original has three look-alikes, one image is original here and look-alike there: a class only once."""
    pairs = (("L0", "M0"), ("L0", "M1"), ("L0", "M2"), ("L1", "L0"), ("L2", "M3"), ("L3", "M4"), ("L3", "M5"))
    found = named(3, pairs)
    sampler = Sampler(found, Batch(originals=5, images=2, pairs=2, sub_batch=2), seed=0)
    seen: Counter[tuple[str, str]] = Counter()
    for step in range(90):
        batch = sampler(step)
        names = groups_of(batch, 2)
        assert len(set(names)) == 5
        there = [(names[place], names[place + 1]) for place in (0, 2)]
        assert set(there) <= set(pairs)
        for first, second in there:
            assert batch.partners[2 * names.index(first)] == found.originals.index(second)
            assert batch.partners[2 * names.index(second)] == found.originals.index(first)
        seen.update(there)
    assert set(seen) == set(pairs)


@pytest.mark.parametrize(
    ("found", "batch", "message"),
    [
        (named(6, DISJOINT), {"originals": 9, "pairs": 1}, "needs 7 originals of no pair, the training set has 6"),
        (named(0, DISJOINT), {"originals": 3, "pairs": 1}, "needs 1 originals of no pair, the training set has 0"),
        (named(30, DISJOINT), {"originals": 12, "pairs": 6}, "needs 6 pairs, the training set has 5"),
        (named(30), {"originals": 4, "pairs": 1}, "needs 1 pairs, the training set has 0"),
    ],
)
def test_a_batch_larger_than_the_set_is_refused(found: TrainingSet, batch: dict[str, int], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Sampler(found, Batch(images=2, sub_batch=2, **batch), seed=1)


def test_pairs_that_all_share_an_image_cannot_stand_in_one_batch() -> None:
    sampler = Sampler(named(3, (("L0", "M0"), ("L0", "M1"))), Batch(originals=4, images=2, pairs=2, sub_batch=2), 1)
    with pytest.raises(UsageError, match="2 pairs without a common image were not found among 2"):
        sampler(0)
