"""A training run on the training images of a split, as ``ndec-bench train asl`` does it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ndec_baselines.asl.distributed import joined
from ndec_baselines.asl.trainer import train
from ndec_baselines.asl.training_set import built_set, ndec_set
from ndec_baselines.methods import mobilenetv2
from ndec_baselines.networks.inference import choose_device
from ndec_baselines.weights import local_weights
from ndec_bench.data.layouts import images_of, open_set
from ndec_bench.data.roots import data_root, find_split
from ndec_bench.download.derived.val import excluded_folders, excluded_images
from ndec_bench.errors import UsageError
from ndec_bench.progress import silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from ndec_baselines.asl.config import Config
    from ndec_baselines.asl.trainer import TrainingResult
    from ndec_baselines.asl.training_set import TrainingSet
    from ndec_bench.data.split import Split
    from ndec_bench.progress import Progress


@dataclass(frozen=True)
class TrainOptions:
    """Where a run computes, and what it begins with.

    Attributes
    ----------
    root
        Data root; None for ``$NDEC_ROOT``, else the platform's data folder.
    initial
        File of first weights, in place of ``network.initial``.
    device
        ``auto``, ``cpu`` or ``cuda``.
    workers
        Processes that make pictures; 0 for none.
    threads
        Threads of the CPU that compute; None for torch's own choice.
    """

    root: Path | None = None
    initial: Path | None = None
    device: str = "auto"
    workers: int = 0
    threads: int | None = None


DEFAULTS = TrainOptions()


def train_on_split(
    config: Config,
    out: Path,
    options: TrainOptions = DEFAULTS,
    *,
    progress: Progress = silent,
    tell: Callable[[str], None] = lambda _: None,
) -> TrainingResult | None:
    """Return what a run on the split of ``config`` left in ``out``; None in all but the first process of ``torchrun``.

    A run that was stopped there goes on. ``tell`` is called with a sentence for people.

    Raises
    ------
    UsageError, DataError, InterruptedRun
        As `ndec_baselines.asl.trainer.train`; MissingDataError if the split is not there.
    """
    place, root = choose_device(options.device), data_root(options.root)
    with joined(place) as processes:
        progress = progress if processes.first else silent
        found = training_set(find_split(config.data.split, root), config, root, progress)
        initial = _initial(config, options.initial)
        if processes.first:
            out.mkdir(parents=True, exist_ok=True)
            tell(_cost(config, found, processes.count, place))
        processes.wait()
        trained = train(
            config,
            found,
            out,
            initial=initial,
            processes=processes,
            device=f"cuda:{processes.local_rank}" if place == "cuda" else "cpu",
            workers=options.workers,
            threads=options.threads,
            progress=progress,
        )
    return trained if processes.first else None


def training_set(split: Split, config: Config, root: Path, progress: Progress = silent) -> TrainingSet:
    """Return the training images of ``split`` with their look-alikes; nothing that ``ndec-val-1`` uses is among them.

    Raises DataError if images are missing.
    """
    images = images_of(split, "train", progress=progress)
    every = config.data.every
    if split.folder is not None:
        return built_set(images, split.folder, every=every)
    pairs = open_set(root, "ndec", "negative-pairs", progress=progress) if config.data.look_alikes else None
    return ndec_set(images, pairs, every=every, left_out_folders=excluded_folders(root), left_out=excluded_images(root))


def _initial(config: Config, given: Path | None) -> Path | None:
    """Return the file of first weights; None to begin at random. Raises DataError if a packaged one is missing."""
    if given is not None:
        return given
    if config.network.initial == "none":
        return None
    if config.network.initial != "imagenet":
        return Path(config.network.initial)
    if config.network.backbone != "mobilenetv2":
        raise UsageError(
            f"network.initial = imagenet: no such file is known for backbone {config.network.backbone}",
            hint="give a file of weights, see docs/asl.md",
        )
    weights = local_weights(mobilenetv2.CARD)
    return None if weights is None else weights.only


def _cost(config: Config, found: TrainingSet, processes: int, device: str) -> str:
    schedule, batch = config.schedule, config.batch
    several = f" in {processes} processes" if processes > 1 else ""
    return (
        f"training {config.network.backbone}, {config.network.side} pixels, on {len(found.originals):,} originals "
        f"and {len(found.pairs):,} pairs of look-alikes (a share of {config.data.held_out:g} is held out): "
        f"{schedule.steps:,} steps of {batch.size} images on {device}{several}, state kept every "
        f"{schedule.validate_every:,} steps"
    )
