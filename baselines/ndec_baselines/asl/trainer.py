"""Training: steps, losses, checks on the part held out; an interrupted run goes on as if it had not been."""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ndec_baselines.asl import run_files
from ndec_baselines.asl.batches import Batches, Sampler, Studio
from ndec_baselines.asl.distributed import gradients
from ndec_baselines.asl.held_out import HeldOut, HeldOutPart, by_rule
from ndec_baselines.asl.losses import Classifier, NormRatioLoss, distances, look_alike_loss, triplet_loss
from ndec_baselines.asl.network import AslNetwork, Describer, export, load_initial
from ndec_baselines.asl.sub_batches import collect, settle, with_sub_batches
from ndec_baselines.asl.training_set import held_out_plan
from ndec_bench.errors import DataError, InterruptedRun, UsageError
from ndec_bench.progress import silent
from ndec_bench.randomness import key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ndec_baselines.asl.batches import Tensors
    from ndec_baselines.asl.config import Config, Schedule
    from ndec_baselines.asl.distributed import Processes
    from ndec_baselines.asl.training_set import TrainingSet
    from ndec_bench.progress import Progress

    Features = tuple[torch.Tensor, torch.Tensor]

STAGE = "training steps"


@dataclass(frozen=True)
class TrainingResult:
    """What a run left.

    Attributes
    ----------
    model
        The file of the network that was best on the part held out; the last one, where nothing is held out.
    steps, best_step
        Steps taken, and the one the file is from.
    held_out
        What it reached there; None where nothing is held out.
    rules
        µAP there by asymmetric rule; empty where nothing is held out.
    seconds
        Wall clock of this call.
    """

    model: Path
    steps: int
    best_step: int
    held_out: HeldOut | None
    rules: Mapping[str, float]
    seconds: float


class Trainer:
    """A run. `train` does it all; the parts are here for tests and for other loops.

    Parameters
    ----------
    config, found
        Settings, and images with their pairs; a part is held out of the latter.
    out
        Folder of log, state and trained network.
    initial
        File of first weights; None to begin at random.
    processes, device
        Which process this is, and where it computes.
    workers
        Processes that make pictures; 0 makes them here.
    """

    def __init__(
        self,
        config: Config,
        found: TrainingSet,
        out: Path,
        *,
        initial: Path | None,
        processes: Processes,
        device: torch.device,
        workers: int = 0,
        progress: Progress = silent,
    ) -> None:
        if config.batch.sub_batches % processes.count:
            raise UsageError(
                f"{config.batch.sub_batches} sub-batches do not spread evenly over {processes.count} processes",
                hint="change batch.sub_batch, or start another number of processes",
            )
        self.config, self.out, self.processes, self.device = config, out, processes, device
        self.workers, self.progress = workers, progress
        if not config.data.look_alikes:
            found = found.without_look_alikes() if not config.data.held_out else found
        training, held = found.parted(config.data.held_out, config.seed)
        self.training = training if config.data.look_alikes else training.without_look_alikes()
        self.studio = Studio(
            found.source, self.training.originals, config.edits, side=config.network.side, seed=config.seed
        )
        self.held = (
            HeldOutPart(held_out_plan(held), self.studio, progress)
            if config.data.held_out and processes.first
            else None
        )
        self.sampler = Sampler(self.training, config.batch, config.seed)
        torch.manual_seed(_key(config.seed, "weights"))
        self.network = AslNetwork(config.network, checkpointing=config.schedule.checkpointing)
        widths = self.network.widths
        self.classifier = Classifier(widths["projected"], len(self.training.originals)).to(device)
        self.first_weights = "none" if initial is None else load_initial(self.network, initial)
        self.norms = with_sub_batches(self.network)
        self.exact = config.batch.sums == "float64"
        self._cuts: list[tuple[Features, Features]] = []
        self.network.to(device)
        channels_last(self.network)
        schedule = config.schedule
        self.optimiser = torch.optim.Adam(
            [
                {"params": list(self.network.trunk()), "factor": 1.0},
                {"params": [*self.network.heads(), *self.classifier.parameters()], "factor": schedule.head_factor},
            ],
            lr=schedule.learning_rate,
        )
        self.scaler = torch.amp.GradScaler(device.type, enabled=schedule.precision == "float16")
        self.log = run_files.Log()
        self.step = self.kept_step = 0
        self.best: dict[str, Any] | None = None
        self.best_step, self.best_score, self.worse = 0, -1.0, 0

    def run(self) -> None:
        """Take all steps that are left, unless the part held out says to stop; keep state as it goes."""
        schedule = self.config.schedule
        batches = Batches(self.sampler, self.studio, rank=self.processes.rank, processes=self.processes.count)
        loader = torch.utils.data.DataLoader(
            batches,
            batch_size=None,
            sampler=range(self.step, schedule.steps),
            num_workers=self.workers,
            prefetch_factor=2 if self.workers else None,
            pin_memory=self.device.type == "cuda",
        )
        self.progress(STAGE, self.step, schedule.steps)
        for tensors in loader:
            if self.stopped:
                break
            measured = self.take_step(tensors)
            logs = self.step % schedule.log_every == 0 or self.step == schedule.steps
            validates = self.step % schedule.validate_every == 0 or self.step == schedule.steps
            # Asked for before a state is kept too: it raises if the loss is not a number any more.
            values = measured() if logs or validates else {}
            if logs:
                self.log.add(self.step, values)
            if validates:
                self.validate()
                self.save()
            self.progress(STAGE, self.step, schedule.steps)

    @property
    def stopped(self) -> bool:
        """Return whether the part held out has not got better for ``patience`` validations."""
        return self.worse >= self.config.schedule.patience

    def take_step(self, tensors: Tensors) -> Callable[[], dict[str, float | None]]:
        """Take one step; return what gives the values of the log, which are worked out only if they are wanted."""
        rate = self._set_rate()
        pooled, projected, scales = self._features(tensors)
        classes, partners = tensors.classes.to(self.device), tensors.partners.to(self.device)
        parts = self._losses(pooled, projected, scales, classes, partners)
        weights = self.config.losses
        total = (
            weights.classification * parts["classification"]
            + weights.triplet * parts["triplet"]
            + weights.norm_ratio * parts["norm_ratio"]
            + weights.look_alikes * parts["look_alikes"]
        )
        self.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(self.scaler.scale(total))
        # Through its own rows each process has its share of the network's gradient, of the classifier's the whole.
        if self.exact:
            self._add_sub_batches()
        else:
            self.processes.add_up(gradients([*self.network.trunk(), *self.network.heads()]))
        self.processes.take_first(gradients(self.classifier.parameters()))
        self.scaler.step(self.optimiser)
        self.scaler.update()
        settle(
            self.norms,
            self.config.batch.sub_batches,
            self.processes.summed,
            torch.float64 if self.exact else torch.float32,
        )
        self.step += 1
        measured = (pooled if self.config.network.norm == "pooled" else projected).detach()

        def logged() -> dict[str, float | None]:
            loss = float(total.detach())
            if not math.isfinite(loss) and not self.scaler.is_enabled():
                raise DataError(
                    f"the loss is {loss} at step {self.step}",
                    hint="lower schedule.learning_rate",
                )
            norms = torch.linalg.vector_norm(measured.float(), dim=1).cpu()
            return {
                "learning_rate": rate,
                "loss": loss,
                **{name: float(value.detach()) for name, value in parts.items()},
                **run_files.norms_by_scale(norms, scales.cpu()),
            }

        return logged

    def validate(self) -> None:
        """Measure on the part held out and keep the network if it is the best so far."""
        score = 0.0
        if self.held is not None:
            self.network.eval()
            found = self.held.measured(Describer(self.network), self.device)
            self.log.add(self.step, found.as_row())
            score = found.micro_ap
        score = self.processes.from_first(score)
        if not self.config.data.held_out or score > self.best_score:
            self.best_score, self.best_step, self.worse = score, self.step, 0
            self.best = export(self.network, trained=f"step {self.step}, settings {self.config.sha256}")
        else:
            self.worse += 1

    def rules(self) -> dict[str, float]:
        """Return µAP on the part held out by asymmetric rule, of the network that is kept."""
        if self.held is None or self.best is None:
            return {}
        self.network.body.load_state_dict(self.best["state"])
        vectors, norms = self.held.described(Describer(self.network.eval()), self.device)
        return by_rule(self.held.plan, vectors, norms)

    def save(self) -> None:
        """Write log and state; only the first process does."""
        if self.processes.first:
            self.log.write(self.out / run_files.LOG_FILE)
            run_files.save(self.out / run_files.STATE_FILE, self.state())
        self.kept_step = self.step
        self.processes.wait()

    def state(self) -> dict[str, Any]:
        """Return all that a resumed run needs; sampler, edits and stripes follow from seed and step alone."""
        return {
            "format": run_files.STATE_FORMAT,
            "config_sha256": self.config.sha256,
            "images_sha256": self.training.sha256,
            "step": self.step,
            "network": self.network.body.state_dict(),
            "classifier": self.classifier.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "log": self.log.rows,
            "best": self.best,
            "best_step": self.best_step,
            "best_score": self.best_score,
            "worse": self.worse,
        }

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned.

        Raises
        ------
        UsageError
            If it was trained on other images.
        DataError
            If it does not fit.
        """
        if state.get("images_sha256") != self.training.sha256:
            raise UsageError(
                f"{self.out / run_files.STATE_FILE}: left by a run on other images or pairs",
                hint="give another folder with --out, or the same --root",
            )
        try:
            self.network.body.load_state_dict(state["network"])
            self.classifier.load_state_dict(state["classifier"])
            self.optimiser.load_state_dict(state["optimiser"])
            if self.scaler.is_enabled():
                self.scaler.load_state_dict(state["scaler"])
            self.log.rows = [dict(row) for row in state["log"]]
            self.best, self.best_step = state["best"], int(state["best_step"])
            self.best_score, self.worse, self.step = float(state["best_score"]), int(state["worse"]), int(state["step"])
            self.kept_step = self.step
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise DataError(
                f"{self.out / run_files.STATE_FILE}: does not fit the run ({type(error).__name__})",
                hint="remove it to begin again, or train on the same images",
            ) from error

    def _features(self, tensors: Tensors) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return pooled and projected features and scales of the whole batch, computed by sub-batches."""
        self.network.train()
        size = self.config.batch.sub_batch
        first = self.processes.rank * (len(tensors.images) // size)
        pooled, projected = [], []
        self._cuts.clear()
        collect(self.norms, True)
        for place, part in enumerate(torch.split(tensors.images, size)):
            images = part.to(self.device, non_blocking=True, memory_format=torch.channels_last)
            # WaveBlock draws from torch's generator: by step and sub-batch, so that no state has to be kept.
            torch.manual_seed(_key(self.config.seed, "stripes", self.step, first + place))
            with self._autocast():
                outputs = self.network(images)
            features = outputs["pooled"].float(), outputs["projected"].float()
            if self.exact:
                ends = tuple(each.detach().requires_grad_() for each in features)
                self._cuts.append((features, ends))
                features = ends
            pooled.append(features[0])
            projected.append(features[1])
        collect(self.norms, False)
        scales = tensors.scales.to(self.device)
        shared = self.processes.shared
        return shared(torch.cat(pooled)), shared(torch.cat(projected)), shared(scales)

    def _add_sub_batches(self) -> None:
        """Take the gradients of the features on into the network, one sub-batch after another, and add those up.

        In float64 the sum of float32 gradients is the same in any order, so that it does not show which process had
        which. In float32 it would: where a gradient is zero but for rounding, as that of a bias before a batch
        normalisation, Adam makes a full step of the rounding.
        """
        parameters = [*self.network.trunk(), *self.network.heads()]
        sums = [torch.zeros_like(parameter, dtype=torch.float64) for parameter in parameters]
        for features, ends in self._cuts:
            wanted = [torch.zeros_like(end) if end.grad is None else end.grad for end in ends]
            torch.autograd.backward(features, wanted)
            for parameter, total in zip(parameters, sums, strict=True):
                if parameter.grad is not None:
                    total.add_(parameter.grad)
                    parameter.grad = None
        self._cuts.clear()
        self.processes.add_up(sums)
        for parameter, total in zip(parameters, sums, strict=True):
            parameter.grad = total.to(parameter.dtype)

    def _losses(
        self,
        pooled: torch.Tensor,
        projected: torch.Tensor,
        scales: torch.Tensor,
        classes: torch.Tensor,
        partners: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        weights = self.config.losses
        none = projected.sum() * 0
        between = distances(pooled)
        generator = torch.Generator().manual_seed(_key(self.config.seed, "norm ratio", self.step))
        norm_ratio = NormRatioLoss(sampled=weights.sampled, generator=generator if weights.sampled else None)
        measured = pooled if self.config.network.norm == "pooled" else projected
        # A loss without weight is logged all the same: the baseline's norms are part of the comparison.
        return {
            "classification": nn.functional.cross_entropy(
                self.classifier(projected), classes, label_smoothing=weights.smoothing
            )
            if weights.classification
            else none,
            "triplet": triplet_loss(between, classes) if weights.triplet else none,
            "norm_ratio": norm_ratio(measured, scales, classes),
            "look_alikes": look_alike_loss(between, classes, partners) if weights.look_alikes else none,
        }

    def _autocast(self) -> AbstractContextManager[object]:
        precision = self.config.schedule.precision
        if precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=getattr(torch, precision))

    def _set_rate(self) -> float:
        rate = self.config.schedule.learning_rate * rate_factor(self.step, self.config.schedule)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        return rate


def rate_factor(step: int, schedule: Schedule) -> float:
    """Return the learning rate of ``step`` (from 0) over the full one: up from 1 %, flat, then half a cosine to 0.

    Published, by epochs e of 25: 0.01 + 0.99 · e / 5 below 5, 1 below 10, then ½ (1 + cos(π (e − 10) / 15)).
    """
    done = step / schedule.steps
    if done < schedule.warm_up:
        return 0.01 + 0.99 * done / schedule.warm_up
    falling = 1 - schedule.warm_up - schedule.flat
    if done < schedule.warm_up + schedule.flat or falling <= 0:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (done - schedule.warm_up - schedule.flat) / falling))


def channels_last(network: nn.Module) -> None:
    """Lay the convolutions' weights out by pixels: half again as fast on CPUs, and what GPUs want in half precision."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def train(
    config: Config,
    found: TrainingSet,
    out: Path,
    *,
    initial: Path | None,
    processes: Processes,
    device: str | torch.device,
    workers: int = 0,
    threads: int | None = None,
    progress: Progress = silent,
) -> TrainingResult:
    """Return what a run left in ``out``; a run that was interrupted there goes on, a finished one is not repeated.

    Parameters are those of `Trainer`; ``device`` may be a name, and ``threads`` of the CPU compute (None: torch's own
    choice). Only runs with equal threads end with equal bytes.

    Raises
    ------
    UsageError
        If settings, images and processes do not fit each other, or ``out`` holds a run with other settings.
    DataError
        If an image or the state cannot be read, or the loss is not a number any more.
    InterruptedRun
        If it is stopped; the state of the last validation is kept.
    """
    begun = time.monotonic()
    if threads is not None:
        torch.set_num_threads(threads)
    state = run_files.read_state(out, config.sha256)
    trainer = Trainer(
        config,
        found,
        out,
        initial=initial,
        processes=processes,
        device=torch.device(device),
        workers=workers,
        progress=progress,
    )
    if state is not None:
        trainer.resume(state)
    try:
        trainer.run()
    except KeyboardInterrupt:
        raise InterruptedRun(
            f"stopped at step {trainer.step:,} of {config.schedule.steps:,}; kept is step {trainer.kept_step:,}",
            hint="the same command goes on from there",
        ) from None
    if trainer.best is None:
        raise DataError(f"{out}: no network was kept", hint="remove the folder and train again")
    if processes.first:
        run_files.save(out / run_files.MODEL_FILE, trainer.best)
    processes.wait()
    return TrainingResult(
        out / run_files.MODEL_FILE,
        trainer.step,
        trainer.best_step,
        held_out_of(trainer.log.rows, trainer.best_step),
        trainer.rules(),
        time.monotonic() - begun,
    )


def held_out_of(rows: Iterable[Mapping[str, str]], step: int) -> HeldOut | None:
    """Return what the log says of the part held out at ``step``; None if nothing."""
    for row in rows:
        if row["step"] == str(step) and row.get("held_micro_ap"):
            hard = row.get("held_hard_kept")
            names = ("micro_ap", "micro_ap_ratio", "kept", "kept_if_swapped", "auc")
            return HeldOut(**{n: float(row[f"held_{n}"]) for n in names}, hard_kept=float(hard) if hard else None)
    return None


def _key(seed: int, *parts: str | int) -> int:
    return key_of("asl", seed, *parts) >> 1
