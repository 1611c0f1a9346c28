"""The measures on the part held out: by pencil and paper, and the area under the curve by counting pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ndec_baselines.asl import held_out
from ndec_baselines.asl.batches import Picture, Studio
from ndec_baselines.asl.config import Edits
from ndec_baselines.asl.held_out import RULES, HeldOutPart, by_rule, direction_auc, measured
from ndec_baselines.asl.training_set import HeldOutPlan, held_out_plan
from ndec_baselines.networks.pixels import normalised

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ndec_baselines.asl.training_set import TrainingSet


# Direction.


def counted(query_norms: NDArray[np.float64], reference_norms: NDArray[np.float64]) -> float:
    """Return the chance that a true pair the right way round looks more so than one the wrong way round."""
    right = [(r - q) / (r + q) if r + q else 0.0 for q, r in zip(query_norms, reference_norms, strict=True)]
    total = 0.0
    for one in right:
        for other in (-value for value in right):
            total += 1.0 if one > other else 0.5 if one == other else 0.0
    return total / len(right) ** 2


@pytest.mark.parametrize("seed", range(20))
def test_the_area_under_the_curve_equals_a_count_of_all_pairs(seed: int) -> None:
    """Norms of few values, zeros among them, so that there are many ties."""
    generator = np.random.default_rng(seed)
    queries, references = generator.integers(0, 4, (2, 17)).astype(np.float64)
    assert direction_auc(queries, references) == pytest.approx(counted(queries, references), abs=1e-12)
    queries, references = generator.random((2, 23))
    assert direction_auc(queries, references) == pytest.approx(counted(queries, references), abs=1e-12)


@pytest.mark.parametrize(
    ("queries", "references", "expected"),
    [
        ([1, 2, 3], [2, 3, 4], 1.0),
        ([2, 3, 4], [1, 2, 3], 0.0),
        ([1, 5, 0], [1, 5, 0], 0.5),
        ([1, 3], [3, 1], 0.5),
        ([1, 1], [3, 1], 0.875),  # t = ½ and 0: ½ beats −½ and 0; 0 beats −½ and ties with 0
    ],
)
def test_directions_by_hand(queries: list[float], references: list[float], expected: float) -> None:
    assert direction_auc(np.array(queries, float), np.array(references, float)) == expected


# All measures.


def test_measures_of_a_plan_by_hand() -> None:
    """Two references, three copies, two look-alikes; scores are the queries' own numbers.

    Without the rule the ranking begins 0.9 T, 0.85 F, 0.8 T, 0.7 T: µAP = (1 + 2/3 + 3/4) / 3. The rule drops both
    pairs of the second copy, whose norm is 4, and those of A, whose norm is 2, with the third and with the first
    look-alike. What is left begins 0.9 T, 0.7 T, 0.6 F, and one true pair is gone: µAP = 2/3.
    """
    plan = HeldOutPlan(("A", "B"), (("A", 1), ("B", 1), ("B", 2)), (("x", 0), ("x", 1)))
    vectors = np.array([[1, 0], [0, 1], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.85, 0.0], [0.05, 0.6]])
    norms = np.array([2.0, 3.0, 1.0, 4.0, 2.5, 2.5, 1.5])
    found = measured(plan, vectors, norms)
    assert found.micro_ap == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert found.micro_ap_ratio == pytest.approx(2 / 3)
    assert found.kept == pytest.approx(2 / 3)
    assert found.kept_if_swapped == pytest.approx(1 / 3)
    # t = 1/3, −1/7, 1/11 against −1/3, 1/7, −1/11: 3 + 1 + 2 of nine.
    assert found.auc == pytest.approx(6 / 9)
    assert found.hard_kept == 0.5  # 2.5 > 2 is dropped, 1.5 < 3 is kept
    assert found.as_row() == {
        "held_micro_ap": found.micro_ap,
        "held_micro_ap_ratio": found.micro_ap_ratio,
        "held_kept": found.kept,
        "held_kept_if_swapped": found.kept_if_swapped,
        "held_auc": found.auc,
        "held_hard_kept": 0.5,
    }


def test_rules_tried_on_the_part_held_out_by_hand() -> None:
    """One copy of A, far from it (score 0.6) and right in its norms; one look-alike of B, near (0.8) and wrong in them.

    As squared distances −0.8 and −0.4: hinge takes 3 / 2 − 1 = 0.5 times its parameter from the wrong pair, so that a
    parameter of 1 brings it to −0.9, below the true one, and 0.5 to −0.65, above. Tilt moves the wrong pair by
    (3 − 2) / (3 + 2) = 0.2 and the true one by (1 − 2) / (1 + 2) = −⅓ times its parameter: 1 brings −0.6 and −0.467.
    """
    plan = HeldOutPlan(("A", "B"), (("A", 1),), (("x", 0),))
    vectors = np.array([[1.0, 0, 0], [0, 1, 0], [0.6, 0, 0.8], [0, 0.8, 0.6]])
    found = by_rule(plan, vectors, np.array([2.0, 2, 1, 3]))
    assert found["none"] == 0.5
    assert found["ratio"] == 1.0
    assert (found["hinge:0.5"], found["hinge:1.0"]) == (0.5, 1.0)
    assert (found["tilt:0.5"], found["tilt:1.0"]) == (0.5, 1.0)
    assert set(found) == set(RULES)


def test_rules_agree_with_the_measures() -> None:
    """On random vectors of unit length, where cosine and squared distance give one order."""
    generator = np.random.default_rng(0)
    plan = HeldOutPlan(tuple("ABCDEF"), tuple((i, n) for i in "ABCDEF" for n in (1, 2)), (("x", 0), ("y", 0)))
    vectors = generator.normal(size=(20, 5))
    vectors[6:18] = np.repeat(vectors[:6], 2, axis=0) + generator.normal(size=(12, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    norms = generator.random(20) + 1
    found, rules = measured(plan, vectors, norms), by_rule(plan, vectors, norms)
    assert rules["none"] == pytest.approx(found.micro_ap, abs=1e-12)
    assert rules["ratio"] == pytest.approx(found.micro_ap_ratio, abs=1e-12)
    assert 0 < found.micro_ap_ratio < 1


def test_equal_norms_are_kept_both_ways() -> None:
    plan = HeldOutPlan(("A", "B"), (("A", 1), ("B", 1)), ())
    vectors = np.array([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    found = measured(plan, vectors, np.ones(4))
    assert (found.kept, found.kept_if_swapped, found.auc) == (1.0, 1.0, 0.5)
    assert (found.micro_ap, found.micro_ap_ratio) == (1.0, 1.0)
    assert found.hard_kept is None


def test_a_rule_that_drops_everything_scores_nothing() -> None:
    plan = HeldOutPlan(("A", "B"), (("A", 1), ("B", 1)), (("x", 0),))
    vectors = np.array([[1.0, 0], [0, 1], [1, 0], [0, 1], [1, 0]])
    found = measured(plan, vectors, np.array([1.0, 1, 2, 2, 2]))
    assert (found.micro_ap_ratio, found.kept, found.kept_if_swapped, found.auc) == (0.0, 0.0, 1.0, 0.0)
    assert found.hard_kept == 0.0


def test_ten_pairs_of_a_query_are_listed_those_that_the_rule_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve references by falling score; the rule drops the two nearest, so that the ten after them are listed."""
    references = tuple(f"R{number:02}" for number in range(12))
    plan = HeldOutPlan(references, (("R11", 1),), ())
    vectors = np.vstack([np.eye(12), np.linspace(0.9, 0.1, 12)])
    norms = np.array([1.0, 1.0, *[3.0] * 10, 2.0])
    given: list[tuple[list[float], list[bool], int]] = []

    def told(scores: NDArray[np.float64], correct: NDArray[np.bool_], positives: int) -> float:
        given.append((scores.tolist(), correct.tolist(), positives))
        return 0.25 * len(given)

    monkeypatch.setattr(held_out, "micro_ap", told)
    found = measured(plan, vectors, norms)
    assert (found.micro_ap, found.micro_ap_ratio) == (0.25, 0.5)
    (free, free_truth, positives), (ruled, ruled_truth, _) = given
    assert positives == 1
    assert free == pytest.approx(np.linspace(0.9, 0.1, 12)[:10].tolist())
    assert ruled == pytest.approx(np.linspace(0.9, 0.1, 12)[2:].tolist())
    assert free_truth == [False] * 10
    assert ruled_truth == [False] * 9 + [True]


# Pictures.


class MeanColour(nn.Module):
    """Stands in for a describer: the mean normalised colour, and its first value as the norm."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        means = images.mean(dim=(2, 3))
        return means, means[:, 0]


def test_pictures_are_described_in_the_plans_order(tiny_set: TrainingSet) -> None:
    """50 of them, more than are described at once; kept in eight bits, so within a half of 1/47 each."""
    plan = held_out_plan(tiny_set, copies=2)
    studio = Studio(tiny_set.source, tiny_set.originals, Edits(), side=32, seed=1)
    told: list[tuple[str, int, int]] = []
    part = HeldOutPart(plan, studio, lambda *stage: told.append(stage))
    expected = [studio.original(i) for i in plan.references]
    expected += [studio.copy(i, "held out", number) for i, number in plan.copies]
    expected += [studio.mild(i, "held out", 1) if number else studio.original(i) for i, number in plan.hard]
    assert len(expected) == 14 + 28 + 8
    vectors, norms = part.described(MeanColour(), torch.device("cpu"))
    means = torch.stack([made.pixels.mean(dim=(1, 2)) for made in expected]).numpy()
    assert vectors.shape == (50, 3)
    assert np.abs(vectors - means).max() < 0.5 / 47
    assert np.array_equal(norms, vectors[:, 0])
    assert told[-1] == ("pictures held out", 50, 50)


def test_no_normalised_pixel_is_cut_off_by_eight_bits(tiny_set: TrainingSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Black and white are the smallest and largest values, −2.118 to 2.640."""
    studio = Studio(tiny_set.source, tiny_set.originals, Edits(), side=32, seed=1)
    flat = {name: normalised(Image.new("RGB", (32, 32), name)) for name in ("black", "white")}
    monkeypatch.setattr(studio, "original", lambda image_id: Picture(flat[image_id], 1.0))
    part = HeldOutPart(HeldOutPlan(("black", "white"), (), ()), studio, lambda *_: None)
    vectors, _ = part.described(MeanColour(), torch.device("cpu"))
    for row, name in zip(vectors, ("black", "white"), strict=True):
        assert np.abs(row - flat[name][:, 0, 0].numpy()).max() < 0.5 / 47 + 1e-6
