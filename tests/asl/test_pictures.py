"""From a slot to pixels and scale: the same slot, the same bytes; how much of the original a copy is said to hold."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image

from ndec_baselines.asl import batches as pictures
from ndec_baselines.asl.batches import Batches, Sampler, Studio, content
from ndec_baselines.asl.config import Batch, Edits
from ndec_baselines.networks.torchvision_import import import_torchvision
from ndec_bench.data.images import FolderSource
from ndec_bench.edits import EDITS, Edited, EditStep

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_baselines.asl.training_set import TrainingSet
    from ndec_bench.edits.raster import Pixels

SIDE = 32
LEFT_HALF = EditStep("crop", 0.5, {"width": 500, "height": 1000, "left": 0, "top": 0})
MIRROR = EditStep("flip", 0.4, {"axis": "horizontal"})


def studio(found: TrainingSet, seed: int = 1, **edits: object) -> Studio:
    return Studio(found.source, found.originals, Edits.model_validate(edits), side=SIDE, seed=seed)


def test_an_original_is_untouched_and_whole(tiny_set: TrainingSet) -> None:
    made = studio(tiny_set).original("T000003")
    functional = import_torchvision().transforms.functional
    small = tiny_set.source.read("T000003").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    expected = functional.normalize(functional.to_tensor(small), [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    assert made.scale == 1.0
    assert made.pixels.dtype == torch.float32
    assert torch.allclose(made.pixels, expected, atol=1e-6)


def test_the_same_slot_gives_the_same_pixels_whatever_was_made_before(tiny_set: TrainingSet) -> None:
    first, second = studio(tiny_set), studio(tiny_set)
    for image_id in tiny_set.originals[::-1]:
        second.copy(image_id, 99, 1)
        second.original(image_id)
    for number in range(1, 5):
        one, other = first.copy("T000003", 7, number), second.copy("T000003", 7, number)
        assert torch.equal(one.pixels, other.pixels)
        assert one.scale == other.scale
    assert torch.equal(first.mild("T000003", "held out", 1).pixels, second.mild("T000003", "held out", 1).pixels)


def test_step_number_image_and_seed_make_other_copies(tiny_set: TrainingSet) -> None:
    made = studio(tiny_set)
    copies = [
        made.copy("T000003", 7, 1),
        made.copy("T000003", 8, 1),
        made.copy("T000003", 7, 2),
        made.copy("T000004", 7, 1),
        studio(tiny_set, seed=2).copy("T000003", 7, 1),
    ]
    assert len({copy.pixels.numpy().tobytes() for copy in copies}) == 5


def test_the_scale_is_what_the_edits_leave(tiny_set: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half is cut off by an edit of strength 0.5: the area is ½, the content ½ · (1 − 0.01 − 0.045) = 0.4725."""
    monkeypatch.setattr(pictures, "sample_chain", lambda *_, **__: (MIRROR, LEFT_HALF))
    for scale, expected in (("area", 0.5), ("content", 0.4725)):
        made = studio(tiny_set, scale=scale).copy("T000003", 0, 1)
        assert made.scale == pytest.approx(expected)
    mirrored = tiny_set.source.read("T000003").transpose(Image.Transpose.FLIP_LEFT_RIGHT).crop((0, 0, 36, 54))
    small = np.asarray(mirrored.resize((SIDE, SIDE), Image.Resampling.BILINEAR), dtype=np.float32) / 255
    found = made.pixels.numpy() * np.array([0.229, 0.224, 0.225]).reshape(3, 1, 1)
    found += np.array([0.485, 0.456, 0.406]).reshape(3, 1, 1)
    assert np.abs(found.transpose(1, 2, 0) - small).max() < 1e-5


def test_settings_reach_the_edits(tiny_set: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lengths as set; the lowest of four uniform strengths is 0.2 in the mean; the kinds of ndec-mini, or all."""
    chains: list[tuple[EditStep, ...]] = []
    real = pictures.apply_chain

    def apply_chain(image: Pixels, chain: tuple[EditStep, ...], donors: object) -> Edited:
        chains.append(chain)
        return real(image, (), donors)

    monkeypatch.setattr(pictures, "apply_chain", apply_chain)
    in_mini = {name for name, kind in EDITS.items() if kind.in_mini}
    for kinds, expected in (("ndec-mini", in_mini), ("all", set(EDITS))):
        chains.clear()
        made = studio(tiny_set, least=2, most=3, lowest_of=4, kinds=kinds)
        for number in range(250):
            made.copy("T000003", 0, number)
        assert {len(chain) for chain in chains} == {2, 3}
        strengths = [step.strength for chain in chains for step in chain]
        assert sum(strengths) / len(strengths) == pytest.approx(0.2, abs=0.03)
        assert {step.kind for chain in chains for step in chain} == expected


@pytest.mark.parametrize("kind", sorted(EDITS))
def test_every_edit_but_a_mirroring_takes_content_away(kind: str) -> None:
    weak, strong = (content(0.8, [EditStep(kind, strength)]) for strength in (0.0, 1.0))
    if kind == "flip":
        assert (weak, strong) == (0.8, 0.8)
        return
    assert (weak, strong) == (pytest.approx(0.8 * 0.99), pytest.approx(0.8 * 0.9))
    assert content(1.0, [EditStep(kind, 0.0)]) < 1
    assert content(1.0, [EditStep(kind, 0.3), EditStep(kind, 0.2)]) == pytest.approx((1 - 0.037) * (1 - 0.028))


def test_a_mild_copy_is_near_its_original(tiny_set: TrainingSet) -> None:
    made = studio(tiny_set, scale="content")
    scales = [made.mild(i, "held out", 1).scale for i in tiny_set.originals]
    assert 0.6 < min(scales) < max(scales) <= 1
    assert not torch.equal(made.mild("T000003", 1).pixels, made.original("T000003").pixels)


def test_large_originals_are_read_at_512_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (1600, 800)).save(tmp_path / "T000001.png")
    made = Studio(FolderSource(tmp_path), ["T000001"], Edits(), side=SIDE, seed=1)
    seen: list[tuple[int, ...]] = []
    real = pictures.apply_chain
    monkeypatch.setattr(pictures, "apply_chain", lambda image, *rest: (seen.append(image.shape), real(image, *rest))[1])
    made.copy("T000001", 0, 1)
    assert seen == [(256, 512, 3)]


def test_other_pictures_are_originals_told_apart_by_their_number(
    tiny_set: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blended with one of two originals: each of them has its turn, and nothing else shines through."""

    def blended(numbers: tuple[int, ...], ids: list[str]) -> list[bytes]:
        made = Studio(tiny_set.source, ids, Edits(), side=SIDE, seed=1)
        found = []
        for number in numbers:
            step = EditStep("blend", 0.7, {"donor": number, "alpha": 100})
            monkeypatch.setattr(pictures, "sample_chain", lambda *_, step=step, **__: (step,))
            found.append(made.copy("T000003", 0, 1).pixels.numpy().tobytes())
        return found

    (seventh,), (eighth,) = blended((0,), ["T000007"]), blended((0,), ["T000008"])
    assert seventh != eighth
    either = blended((0, 1, 2), ["T000007", "T000008"])
    assert set(either) == {seventh, eighth}
    assert either[0] == either[2]


# Batches of tensors.


def test_two_processes_share_a_batch_between_them(tiny_set: TrainingSet) -> None:
    sampler = Sampler(tiny_set, Batch(originals=4, images=3, pairs=1, sub_batch=6), seed=1)
    made = studio(tiny_set, scale="content")
    whole = Batches(sampler, made, rank=0, processes=1)[5]
    halves = [Batches(sampler, made, rank=rank, processes=2)[5] for rank in (0, 1)]
    assert whole.images.shape == (12, 3, SIDE, SIDE)
    assert whole.images.dtype == torch.float32
    assert torch.equal(torch.cat([half.images for half in halves]), whole.images)
    assert torch.equal(torch.cat([half.scales for half in halves]), whole.scales)
    for half in halves:
        assert torch.equal(half.classes, whole.classes)
        assert torch.equal(half.partners, whole.partners)


def test_batches_travel_to_started_processes(tiny_set: TrainingSet) -> None:
    """Where processes are started anew, not forked, torch's loader pickles what makes the pictures."""
    sampler = Sampler(tiny_set, Batch(originals=4, images=3, pairs=1, sub_batch=6), seed=1)
    batches = Batches(sampler, studio(tiny_set, scale="content"), rank=0, processes=1)
    expected = batches[5]
    travelled = pickle.loads(pickle.dumps(batches))[5]  # noqa: S301 -- our own bytes
    assert torch.equal(travelled.images, expected.images)
    assert torch.equal(travelled.classes, expected.classes)


def test_a_batch_holds_what_its_slots_say(tiny_set: TrainingSet) -> None:
    sampler = Sampler(tiny_set, Batch(originals=4, images=3, pairs=1, sub_batch=6), seed=1)
    made = studio(tiny_set, scale="content")
    tensors, batch = Batches(sampler, made, rank=0, processes=1)[5], sampler(5)
    assert tensors.scales[::3].tolist() == [1.0] * 4
    assert all(0 < scale <= 1 for place, scale in enumerate(tensors.scales.tolist()) if place % 3)
    assert min(tensors.scales.tolist()) < 0.9
    assert tensors.classes.tolist() == batch.classes.tolist()
    for row in (0, 3, 6, 9):
        assert torch.equal(tensors.images[row], made.original(batch.slots[row].image_id).pixels)
        assert not torch.equal(tensors.images[row + 1], tensors.images[row + 2])


def test_making_a_batch_leaves_torchs_threads_alone(tiny_set: TrainingSet) -> None:
    """Where no worker makes the pictures, the process that trains does, with the threads it was given."""
    torch.set_num_threads(2)
    sampler = Sampler(tiny_set, Batch(originals=4, images=2, pairs=1, sub_batch=4), seed=1)
    Batches(sampler, studio(tiny_set), rank=0, processes=1)[0]
    assert torch.get_num_threads() == 2
