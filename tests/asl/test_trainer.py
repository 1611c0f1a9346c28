"""Training in small: a step beside plain torch, interruption, early stop, precision, frozen and recomputed layers."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch

from ndec_baselines.asl import held_out
from ndec_baselines.asl import trainer as trainer_module
from ndec_baselines.asl.batches import Batches, Tensors
from ndec_baselines.asl.config import Config, Schedule
from ndec_baselines.asl.distributed import Processes
from ndec_baselines.asl.network import AslNetwork
from ndec_baselines.asl.run_files import COLUMNS, Log, norms_by_scale, save
from ndec_baselines.asl.trainer import Trainer, TrainingResult, channels_last, rate_factor, train
from ndec_baselines.networks import isc_resnet
from ndec_baselines.networks.checkpoints import read_checkpoint
from ndec_bench.errors import DataError, InterruptedRun, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from ndec_baselines.asl.training_set import TrainingSet

    Settings = Callable[..., Config]
    State = dict[str, torch.Tensor]

pytestmark = pytest.mark.usefixtures("narrow")

CPU = torch.device("cpu")
LAST = trainer_module.STAGE
CONSTANT = {"warm_up": 0.0, "flat": 1.0}


def read_log(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "log.csv").read_text().splitlines()))


@dataclass
class Runs:
    """Trains on the tiny set into folders of its own."""

    found: TrainingSet
    folder: Path

    def __call__(
        self,
        name: str,
        config: Config,
        micro_ap: Callable[..., float] = held_out.micro_ap,
        **others: Any,  # noqa: ANN401
    ) -> TrainingResult:
        out = self.folder / name
        out.mkdir(exist_ok=True)
        arguments = {"initial": None, "processes": Processes(), "device": CPU} | others
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(held_out, "micro_ap", micro_ap)
            return train(config, self.found, out, **arguments)

    def trainer(self, config: Config, **others: Any) -> Trainer:  # noqa: ANN401
        arguments = {"initial": None, "processes": Processes(), "device": CPU} | others
        return Trainer(config, self.found, self.folder, **arguments)

    def state(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = read_checkpoint(self.folder / name / "state.pt")
        return found

    def model(self, name: str) -> State:
        found: State = read_checkpoint(self.folder / name / "model.pt")["state"]
        return found

    def log(self, name: str) -> list[dict[str, str]]:
        return read_log(self.folder / name)


@pytest.fixture
def runs(tiny_set: TrainingSet, tmp_path: Path) -> Runs:
    return Runs(tiny_set, tmp_path)


def first_batch(trainer: Trainer, step: int = 0) -> Tensors:
    return Batches(trainer.sampler, trainer.studio, rank=0, processes=1)[step]


def same(one: object, other: object) -> bool:
    """Return whether two nests of containers, tensors and plain values are equal to the bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and len(one) == len(other) and all(map(same, one, other))
    return one == other


# One step.


def losses_by_loops(
    pooled: torch.Tensor, projected: torch.Tensor, logits: torch.Tensor, tensors: Tensors
) -> dict[str, torch.Tensor]:
    """Return the four losses, written out image by image."""
    classes, partners, scales = tensors.classes.tolist(), tensors.partners.tolist(), tensors.scales.tolist()
    n = len(classes)
    smoothed, triplets, alike = [], [], []
    for i in range(n):
        chances = torch.log_softmax(logits[i], dim=0)
        smoothed.append(-0.9 * chances[classes[i]] - 0.1 * chances.mean())
        apart = [torch.linalg.vector_norm(pooled[i] - pooled[j] + (1e-6 if i == j else 0)) for j in range(n)]
        farthest = torch.stack([apart[j] for j in range(n) if classes[j] == classes[i]]).max()
        nearest = torch.stack([apart[j] for j in range(n) if classes[j] != classes[i]]).min()
        triplets.append(torch.log1p(torch.exp(farthest - nearest)))
        named = [apart[j] for j in range(n) if classes[j] == partners[i]]
        if named:
            alike.append(torch.log1p(torch.exp(farthest - torch.stack(named).min())))
    groups = []
    for name in dict.fromkeys(classes):
        members = [i for i in range(n) if classes[i] == name]
        pairs = [(i, j) for i in members for j in members if scales[i] > scales[j]]
        terms = [torch.exp(1 - projected[i].norm() / projected[j].norm()) for i, j in pairs]
        groups.append(torch.stack(terms).mean() if terms else torch.zeros(()))
    return {
        "classification": torch.stack(smoothed).mean(),
        "triplet": torch.stack(triplets).mean(),
        "norm_ratio": torch.stack(groups).mean(),
        "look_alikes": torch.stack(alike).mean(),
    }


def test_a_step_is_that_of_plain_torch_with_losses_written_out(runs: Runs, settings: Settings) -> None:
    """One sub-batch of all eight images, so that torch's own normalisation does the same."""
    config = settings(
        batch={"sub_batch": 8},
        losses={"classification": 7.0, "triplet": 2.0, "norm_ratio": 3.0, "look_alikes": 5.0},
        schedule={"warm_up": 0.0, "learning_rate": 1e-3, "head_factor": 3.0},
    )
    trainer = runs.trainer(config)
    tensors = first_batch(trainer)
    assert len(set(tensors.partners.tolist())) == 3  # one pair of look-alikes, and others without
    plain = AslNetwork(config.network)
    plain.load_state_dict(trainer.network.state_dict())
    before = {name: value.clone() for name, value in trainer.network.state_dict().items()}
    matrix = trainer.classifier.weight.detach().clone().requires_grad_()

    logged = trainer.take_step(tensors)()

    # Pixels in the trainer's layout: a network without training, whose images are all alike to it, blows rounding up.
    channels_last(plain)
    outputs = plain.train()(tensors.images.contiguous(memory_format=torch.channels_last))
    parts = losses_by_loops(outputs["pooled"], outputs["projected"], outputs["projected"] @ matrix.T, tensors)
    total = sum(getattr(config.losses, name) * value for name, value in parts.items())
    torch.autograd.backward(total)
    for name, value in parts.items():
        assert logged[name] == pytest.approx(float(value.detach()), rel=1e-3)
    assert logged["loss"] == pytest.approx(float(total.detach()), rel=1e-3)
    assert logged["learning_rate"] == 1e-3
    assert trainer.classifier.weight.grad is not None
    assert matrix.grad is not None
    assert torch.allclose(trainer.classifier.weight.grad, matrix.grad, atol=1e-6)
    expected, compared = dict(plain.named_parameters()), []
    for name, value in trainer.network.named_parameters():
        gradient = expected[name].grad
        assert (value.grad is None) == (gradient is None)
        if value.grad is None or gradient is None:
            continue
        largest = float(gradient.abs().max())
        if largest > 1e-3:  # smaller ones are zero in truth, of what a normalisation follows: rounding
            assert float((value.grad - gradient).abs().max()) < 2e-3 * largest
            compared.append(name)
        # The first step of Adam: the sign, nearly, times the rate; three times the rate in the projector.
        rate = 3e-3 if "projector" in name else 1e-3
        moved = rate * value.grad / (value.grad.abs() + 1e-8)
        assert torch.allclose(value.detach(), before[name] - moved, atol=1e-6)
    assert len(compared) > 100
    after = trainer.network.state_dict()
    for name, value in plain.state_dict().items():
        if "running" in name or "tracked" in name:
            assert torch.allclose(after[name].double(), value.double(), rtol=1e-4, atol=1e-5)


def test_running_statistics_are_the_mean_over_the_sub_batches_of_a_step(runs: Runs, settings: Settings) -> None:
    """Torch's own normalisation over each half by itself moves by the same share; the mean of both is expected."""
    trainer = runs.trainer(settings(batch={"sub_batch": 4}))
    tensors = first_batch(trainer)
    halves = []
    for part in torch.split(tensors.images, 4):
        plain = AslNetwork(trainer.config.network).train()
        plain.load_state_dict(trainer.network.state_dict())
        channels_last(plain)
        with torch.no_grad():
            plain(part.contiguous(memory_format=torch.channels_last))
        halves.append(plain.body.state_dict())
    trainer.take_step(tensors)
    compared = 0
    for name, value in trainer.network.body.state_dict().items():
        if "running" in name:
            expected = (halves[0][name] + halves[1][name]) / 2
            assert torch.allclose(value, expected, rtol=1e-4, atol=1e-6), name
            compared += not torch.equal(halves[0][name], halves[1][name])
    assert compared > 100


def test_every_weight_of_a_loss_matters_and_zero_leaves_it_out(runs: Runs, settings: Settings) -> None:
    """The norm ratio is logged without a weight too: the baseline's norms are part of the comparison."""
    all_on = {"classification": 1.0, "triplet": 1.0, "norm_ratio": 1.0, "look_alikes": 1.0}
    base = runs.trainer(settings(losses=all_on))
    tensors = first_batch(base)
    values = base.take_step(tensors)()
    for name in all_on:
        other = runs.trainer(settings(losses=all_on | {name: 0.0}))
        without = other.take_step(tensors)()
        assert without["loss"] == pytest.approx(values["loss"] - values[name], rel=1e-4)
        assert without[name] == (values[name] if name == "norm_ratio" else 0.0)
        assert not same(other.network.state_dict(), base.network.state_dict())


@pytest.mark.parametrize("norm", ["pooled", "projected"])
def test_the_norm_is_that_of_the_chosen_tensor(runs: Runs, settings: Settings, norm: str) -> None:
    """The loss of norms alone: measured on the pooled features it leaves the projector without gradient."""
    only = {"classification": 0.0, "triplet": 0.0, "look_alikes": 0.0, "norm_ratio": 1.0}
    trainer = runs.trainer(settings(losses=only, network={"norm": norm}))
    tensors = first_batch(trainer)
    outputs = trainer._features(tensors)
    expected = outputs[0 if norm == "pooled" else 1].detach().norm(dim=1)[::2].mean()  # the originals
    logged = trainer.take_step(tensors)()
    assert logged["norm_original"] == pytest.approx(float(expected), rel=1e-5)
    weight = trainer.network.body.get_submodule("projector_feat_bn.0.3").weight
    assert bool(weight.grad.any()) == (norm == "projected")


def test_drawn_pairs_are_drawn_anew_at_every_step_and_alike_in_every_run(runs: Runs, settings: Settings) -> None:
    """Of one batch, so that nothing but the draws may differ."""
    config = settings(losses={"sampled": True}, batch={"images": 4, "sub_batch": 8})
    found = []
    for _ in range(2):
        trainer = runs.trainer(config)
        tensors = first_batch(trainer)
        pooled, projected, scales = (values.detach() for values in trainer._features(tensors))
        drawn = []
        for trainer.step in range(6):
            losses = trainer._losses(pooled, projected, scales, tensors.classes, tensors.partners)
            drawn.append(float(losses["norm_ratio"].detach()))
        found.append(drawn)
    assert found[0] == found[1]
    assert len(set(found[0])) == 6


# Learning rate.


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(0, 3.5e-6), (1, 7.28e-5), (5, 3.5e-4), (9, 3.5e-4), (10, 3.5e-4), (15, 2.625e-4), (24, 3.824e-6)],
)
def test_the_learning_rate_is_the_published_one(epoch: int, rate: float) -> None:
    assert 3.5e-4 * rate_factor(epoch, Schedule(steps=25)) == pytest.approx(rate, rel=1e-3)
    assert 3.5e-4 * rate_factor(epoch * 8_000, Schedule(steps=200_000)) == pytest.approx(rate, rel=1e-3)


def test_the_learning_rate_without_warm_up_or_fall() -> None:
    assert [rate_factor(step, Schedule(steps=4, warm_up=0, flat=1)) for step in range(4)] == [1.0] * 4
    falling = [rate_factor(step, Schedule(steps=4, warm_up=0, flat=0)) for step in range(4)]
    assert falling == pytest.approx([1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2])
    rising = [rate_factor(step, Schedule(steps=4, warm_up=1, flat=0)) for step in range(4)]
    assert rising == pytest.approx([0.01, 0.2575, 0.505, 0.7525])


# Runs that stop and go on.


def stop_at(step: int) -> Callable[[str, int, int], None]:
    def progress(stage: str, done: int, total: int) -> None:
        if (stage, done) == (LAST, step):
            raise KeyboardInterrupt

    return progress


def test_an_interrupted_run_ends_with_the_same_bytes(runs: Runs, settings: Settings) -> None:
    """Stopped after step 5, when the state of step 3 is kept; steps 4 and 5 are taken again."""
    config = settings()
    whole = runs("whole", config)
    with pytest.raises(InterruptedRun, match="stopped at step 5 of 6; kept is step 3") as stopped:
        runs("parts", config, progress=stop_at(5))
    assert stopped.value.exit_code == 6
    assert not (runs.folder / "parts" / "model.pt").exists()
    at_three = runs.state("parts")
    assert at_three["step"] == 3
    told: list[tuple[str, int, int]] = []
    resumed = runs("parts", config, progress=lambda *stage: told.append(stage))
    assert [done for stage, done, _ in told if stage == LAST] == [3, 4, 5, 6]
    assert same(runs.state("parts"), runs.state("whole"))
    assert same(runs.model("parts"), runs.model("whole"))
    for name in ("log.csv", "model.pt"):
        assert (runs.folder / "parts" / name).read_bytes() == (runs.folder / "whole" / name).read_bytes()
    assert (resumed.steps, resumed.best_step, resumed.held_out) == (whole.steps, whole.best_step, whole.held_out)
    assert not same(at_three["network"], runs.state("whole")["network"])
    assert [row["step"] for row in runs.log("whole")] == ["1", "2", "3", "4", "5", "6"]


def test_a_network_kept_before_an_interruption_is_written_with_the_same_bytes(runs: Runs, settings: Settings) -> None:
    """The best one is that of step 2; after the interruption it comes out of the state."""
    config = settings(schedule={"steps": 3, "validate_every": 1})
    assert runs("whole", config, micro_ap=falling([0.1, 0.9, 0.5])).best_step == 2
    with pytest.raises(InterruptedRun):
        runs("parts", config, micro_ap=falling([0.1, 0.9]), progress=stop_at(2))
    assert runs("parts", config, micro_ap=falling([0.5])).best_step == 2
    for name in ("log.csv", "model.pt"):
        assert (runs.folder / "parts" / name).read_bytes() == (runs.folder / "whole" / name).read_bytes()


def test_a_run_stopped_before_its_first_state_begins_anew(runs: Runs, settings: Settings) -> None:
    config = settings(schedule={"steps": 3})
    with pytest.raises(InterruptedRun, match="stopped at step 2 of 3; kept is step 0"):
        runs("parts", config, progress=stop_at(2))
    runs("parts", config)
    runs("whole", config)
    assert same(runs.state("parts"), runs.state("whole"))


def test_an_interruption_by_a_validation_keeps_the_step_before(runs: Runs, settings: Settings) -> None:
    config = settings(schedule={"validate_every": 2})
    calls: list[int] = []

    def interrupted(scores: NDArray[np.float64], correct: NDArray[np.bool_], positives: int) -> float:
        calls.append(1)
        if len(calls) == 4:  # two of each validation
            raise KeyboardInterrupt
        return 0.5

    with pytest.raises(InterruptedRun, match="stopped at step 4 of 6; kept is step 2"):
        runs("parts", config, micro_ap=interrupted)
    runs("parts", config)
    assert runs.state("parts")["step"] == 6


def test_a_finished_run_is_not_repeated(runs: Runs, settings: Settings) -> None:
    config = settings(schedule={"steps": 3})
    first = runs("run", config)
    state, model = runs.state("run"), runs.model("run")
    told: list[tuple[str, int, int]] = []
    again = runs("run", config, progress=lambda *stage: told.append(stage))
    assert [stage for stage in told if stage[0] == LAST] == [(LAST, 3, 3)]
    assert (again.steps, again.best_step, again.held_out, again.rules) == (3, 3, first.held_out, first.rules)
    assert same(runs.state("run"), state)
    assert same(runs.model("run"), model)


def test_state_of_other_settings_is_refused(runs: Runs, settings: Settings) -> None:
    runs("run", settings(schedule={"steps": 3}))
    for other in (settings(seed=2, schedule={"steps": 3}), settings(schedule={"steps": 4})):
        with pytest.raises(UsageError, match=r"state\.pt: left by a run with other settings"):
            runs("run", other)


def test_damaged_and_foreign_state_is_refused(runs: Runs, settings: Settings, tmp_path: Path) -> None:
    config = settings(schedule={"steps": 3})
    runs("run", config)
    path = tmp_path / "run" / "state.pt"
    state, whole = runs.state("run"), path.read_bytes()

    def put(content: object) -> None:
        path.unlink()  # what was read is still mapped
        path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)

    put(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"state\.pt: a damaged or cut file"):
        runs("run", config)
    for content in ({"state": {}}, [1, 2], state | {"format": "other"}):
        put(content)
        with pytest.raises(DataError, match=r"state\.pt: no state of a training run"):
            runs("run", config)
    del state["optimiser"]
    put(state)
    with pytest.raises(DataError, match=r"state\.pt: does not fit the run \(KeyError\)"):
        runs("run", config)


def test_state_of_other_images_is_refused(runs: Runs, settings: Settings, tiny_set: TrainingSet) -> None:
    config = settings(schedule={"steps": 3}, data={"held_out": 0.0})
    runs("run", config)
    pairs = tiny_set.pairs
    for found in (
        type(tiny_set)(tiny_set.source, tiny_set.originals[:-2], pairs),
        # As many of each: nothing but the names tells.
        type(tiny_set)(tiny_set.source, tiny_set.originals, tuple((second, first) for first, second in pairs)),
    ):
        runs.found = found
        with pytest.raises(UsageError, match=r"state\.pt: left by a run on other images or pairs"):
            runs("run", config)


# Choosing by the part held out.


def falling(scores: list[float]) -> Callable[..., float]:
    """Return a µAP that gives ``scores`` at the validations; each measures without and with the rule."""
    given = iter([score for score in scores for _ in range(2)])

    def measure(values: NDArray[np.float64], correct: NDArray[np.bool_], positives: int) -> float:
        return next(given, 0.0)

    return measure


@pytest.mark.parametrize(
    ("scores", "steps", "best"),
    [
        pytest.param([0.3, 0.5, 0.5, 0.4, 0.9], 4, 2, id="two without a better one"),
        pytest.param([0.3, 0.2, 0.4, 0.1, 0.5, 0.1], 6, 5, id="a better one in between"),
    ],
)
def test_training_stops_when_nothing_gets_better(
    runs: Runs, settings: Settings, scores: list[float], steps: int, best: int
) -> None:
    config = settings(schedule={"steps": 6, "validate_every": 1, "patience": 2})
    found = runs("stopped", config, micro_ap=falling(scores))
    assert (found.steps, found.best_step) == (steps, best)
    assert found.held_out is not None
    assert found.held_out.micro_ap == scores[best - 1]
    assert [row["held_micro_ap"] for row in runs.log("stopped")] == [str(score) for score in scores[:steps]]
    # What is kept is the network of the best step: that of a run which was interrupted there.
    with pytest.raises(InterruptedRun):
        runs("parts", config, micro_ap=falling(scores[:best]), progress=stop_at(best))
    assert same(runs.model("stopped"), runs.state("parts")["network"])
    assert not same(runs.model("stopped"), runs.state("stopped")["network"])
    again = runs("stopped", config)
    assert (again.steps, again.best_step) == (steps, best)


def test_without_a_part_held_out_the_last_network_is_kept(runs: Runs, settings: Settings) -> None:
    found = runs("run", settings(data={"held_out": 0.0}, schedule={"steps": 4, "validate_every": 1, "patience": 1}))
    assert (found.steps, found.best_step, found.held_out, found.rules) == (4, 4, None, {})
    assert same(runs.model("run"), runs.state("run")["network"])
    assert {row["held_auc"] for row in runs.log("run")} == {""}


def test_what_is_told_of_the_part_held_out_is_what_the_kept_network_reaches(runs: Runs, settings: Settings) -> None:
    found = runs("run", settings())
    assert found.held_out is not None
    assert found.rules["none"] == pytest.approx(found.held_out.micro_ap, abs=1e-5)
    assert found.rules["ratio"] == pytest.approx(found.held_out.micro_ap_ratio, abs=1e-5)
    assert 0 < found.held_out.micro_ap <= 1


def test_the_part_held_out_is_not_trained_on(runs: Runs, settings: Settings, tiny_set: TrainingSet) -> None:
    trainer = runs.trainer(settings())
    assert trainer.held is not None
    held = set(trainer.held.plan.references) | {look_alike for look_alike, _ in trainer.held.plan.hard}
    batches = [trainer.sampler(step) for step in range(40)]
    seen = {slot.image_id for batch in batches for slot in batch.slots}
    assert held
    assert seen.isdisjoint(held)
    assert seen | held == set(tiny_set.originals)
    assert trainer.classifier.weight.shape[0] == len(seen)


def test_without_look_alikes_neither_images_nor_loss_are_there(runs: Runs, settings: Settings) -> None:
    """The part held out keeps its look-alikes all the same, so that both kinds of run are measured alike."""
    plain = settings(data={"look_alikes": False}, batch={"pairs": 0}, schedule={"steps": 3})
    trainer = runs.trainer(plain)
    look_alikes = {second for _, second in runs.found.pairs}
    assert look_alikes.isdisjoint(trainer.training.originals)
    assert trainer.held is not None
    assert trainer.held.plan == runs.trainer(settings()).held.plan
    assert trainer.held.plan.hard
    runs("run", plain)
    assert {row["look_alikes"] for row in runs.log("run")} == {"0"}


# Precision, memory, frozen layers.


def test_bfloat16_computes_features_in_half_precision(runs: Runs, settings: Settings) -> None:
    losses = {}
    for precision in ("float32", "bfloat16"):
        runs(precision, settings(schedule={"precision": precision, "steps": 3}))
        losses[precision] = [float(row["loss"]) for row in runs.log(precision)]
        assert all(map(math.isfinite, losses[precision]))
    # The first step begins with the same weights: near, but not the same.
    assert losses["bfloat16"][0] == pytest.approx(losses["float32"][0], rel=0.05)
    assert losses["bfloat16"][0] != losses["float32"][0]
    assert all(value.dtype != torch.bfloat16 for value in runs.model("bfloat16").values())


def test_a_loss_that_is_no_number_is_told(runs: Runs, settings: Settings) -> None:
    trainer = runs.trainer(settings())
    trainer.classifier.weight.data.fill_(math.nan)
    with pytest.raises(DataError, match="the loss is nan at step 1"):
        trainer.take_step(first_batch(trainer))()


def test_a_state_whose_loss_is_no_number_is_not_kept(
    runs: Runs, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at the part held out between two rows of the log."""
    monkeypatch.setattr(trainer_module, "triplet_loss", lambda between, classes: between.sum() * math.nan)
    with pytest.raises(DataError, match="the loss is nan at step 2"):
        runs("run", settings(schedule={"steps": 8, "validate_every": 2, "log_every": 4}))
    assert not list((runs.folder / "run").iterdir())


def test_features_computed_again_train_the_same_network(runs: Runs, settings: Settings) -> None:
    for checkpointing in (False, True):
        runs(f"{checkpointing}", settings(schedule={"steps": 3, "checkpointing": checkpointing}))
    assert same(runs.model("True"), runs.model("False"))
    assert runs.log("True") == runs.log("False")


@pytest.mark.parametrize("checkpointing", [False, True])
def test_frozen_blocks_stay_as_they_are_statistics_included(
    runs: Runs, settings: Settings, checkpointing: bool
) -> None:
    config = settings(network={"frozen": 3}, schedule={"warm_up": 0.0, "checkpointing": checkpointing})
    trainer = runs.trainer(config)
    before = {name: value.clone() for name, value in trainer.network.body.state_dict().items()}
    for step in range(2):
        trainer.take_step(first_batch(trainer, step))
    moved = {name for name, value in trainer.network.body.state_dict().items() if not torch.equal(value, before[name])}
    assert not any(name.startswith(("base.0.", "base.1.", "base.2.")) for name in moved)
    assert {"base.3.conv.0.0.weight", "base.3.conv.0.1.running_mean", "base.18.1.weight"} <= moved


def test_more_frozen_blocks_than_there_are_is_refused(runs: Runs, settings: Settings) -> None:
    with pytest.raises(UsageError, match=r"network\.frozen = 20: mobilenetv2 has 19 blocks"):
        runs.trainer(settings(network={"frozen": 20}))


# Norms.


def test_mean_norms_by_scale_by_hand() -> None:
    """Bins to 0.25, 0.5, 0.75, 0.9 and below 1; scale 1 by itself."""
    norms = torch.tensor([1.0, 2, 4, 8, 16, 32, 64])
    scales = torch.tensor([0.1, 0.25, 0.26, 0.91, 0.999, 1.0, 1.0], dtype=torch.float64)
    assert norms_by_scale(norms, scales) == {
        "norm_to_0.25": 1.5,
        "norm_to_0.5": 4.0,
        "norm_to_0.75": None,
        "norm_to_0.9": None,
        "norm_to_1": 12.0,
        "norm_original": 48.0,
    }
    assert set(norms_by_scale(norms, scales)) == {column for column in COLUMNS if column.startswith("norm_")} - {
        "norm_ratio"
    }


def test_values_of_one_step_join_in_one_row(tmp_path: Path) -> None:
    log = Log()
    log.add(3, {"loss": 1 / 3, "norm_to_0.25": None})
    log.add(3, {"held_auc": 0.5})
    log.add(6, {"held_auc": 1e-7})
    log.write(tmp_path / "log.csv")
    first, second = read_log(tmp_path)
    assert (first["step"], first["loss"], first["norm_to_0.25"], first["held_auc"]) == ("3", "0.333333", "", "0.5")
    assert (second["step"], second["loss"], second["held_auc"]) == ("6", "", "1e-07")


def test_the_norm_ratio_loss_gives_copies_smaller_norms(runs: Runs, settings: Settings) -> None:
    """The same run without and with it: mean norm of originals over that of copies, by bins, in the last six steps."""
    ratios, losses = [], []
    for weight in (0.0, 50.0):
        config = settings(
            losses={"norm_ratio": weight},
            batch={"originals": 6, "images": 4, "sub_batch": 24},
            schedule={"steps": 20, "validate_every": 20, "learning_rate": 1e-3, "head_factor": 10.0} | CONSTANT,
        )
        runs(f"{weight}", config)
        rows = runs.log(f"{weight}")[-6:]
        losses.append(sum(float(row["norm_ratio"]) for row in rows) / 6)
        copies = [[float(row[name]) for name in row if name.startswith("norm_to_") and row[name]] for row in rows]
        ratios.append(
            sum(float(row["norm_original"]) * len(of) / sum(of) for row, of in zip(rows, copies, strict=True)) / 6
        )
    assert losses[1] < losses[0] - 0.1
    assert ratios[1] > ratios[0] + 0.1
    assert ratios[1] > 1.1


# Several processes, seen from one of them.


@dataclass(frozen=True)
class Alone(Processes):
    """One of several processes that hears nothing of the others."""

    def shared(self, rows: torch.Tensor) -> torch.Tensor:
        return rows


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Settings of a ResNet-50 whose projector is narrow."""
    monkeypatch.setattr(isc_resnet, "HIDDEN", 16)
    monkeypatch.setattr(isc_resnet, "PROJECTED", 8)
    return {"backbone": "50", "hidden": 16, "projected": 8}


def test_the_second_of_two_processes_computes_the_second_half(
    runs: Runs, settings: Settings, narrow: dict[str, Any]
) -> None:
    """By sub-batch, stripes of WaveBlock included; ResNet-50 has them."""
    config = settings(network=narrow, data={"held_out": 0.0}, batch={"sub_batch": 2})
    found = []
    for processes in (Processes(), Alone(rank=1, count=2)):
        trainer = runs.trainer(config, processes=processes)
        batches = Batches(trainer.sampler, trainer.studio, rank=processes.rank, processes=processes.count)
        with torch.no_grad():
            found.append(trainer._features(batches[0])[0])
    whole, half = found
    assert (len(whole), len(half)) == (8, 4)
    assert torch.equal(whole[4:], half)
    with torch.no_grad():
        assert torch.equal(trainer._features(batches[0])[0], half)
        trainer.step = 1  # the same images at another step: other stripes
        assert not torch.equal(trainer._features(batches[0])[0], half)


def test_sub_batches_that_do_not_spread_are_refused(runs: Runs, settings: Settings) -> None:
    with pytest.raises(UsageError, match="2 sub-batches do not spread evenly over 3 processes"):
        runs.trainer(settings(), processes=Processes(rank=0, count=3))


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(DataError, match=r"model.pt: writing failed"):
            save(tmp_path / "model.pt", {"weights": torch.zeros(100, 1000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
