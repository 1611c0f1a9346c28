"""``ndec-bench train``: training a baseline here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ndec_bench.cli import console
from ndec_bench.cli.options import Root

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ndec_baselines.asl.config import Config
    from ndec_baselines.asl.trainer import Trained
    from ndec_baselines.asl.training_set import TrainingSet
    from ndec_bench.data.split import Split
    from ndec_bench.progress import Progress

group = typer.Typer(no_args_is_help=True, help="Train a baseline; so far ASL.")


def register(app: typer.Typer) -> None:
    """Add the group of commands to ``app``."""
    app.add_typer(group, name="train")


@group.callback()
def _group() -> None:
    """Train a baseline; so far ASL."""


@group.command()
def asl(
    config: Annotated[
        Path, typer.Option(help="TOML file of settings; docs/asl.md explains them.", metavar="FILE", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option(help="Folder for log, state and trained network; a run stopped there goes on.", metavar="DIR"),
    ],
    root: Root = None,
    seed: Annotated[int | None, typer.Option(help="In place of the file's seed.", min=0)] = None,
    initial: Annotated[
        Path | None,
        typer.Option(help="First weights, in place of network.initial.", metavar="FILE", show_default=False),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    workers: Annotated[
        int, typer.Option(help="Processes that make pictures beside the training; 0 for none.", min=0, max=128)
    ] = 0,
    threads: Annotated[
        int | None,
        typer.Option(
            help="Threads of the CPU that compute. Only runs with the same number end with the same bytes.",
            min=1,
            show_default="torch's own choice",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was reached as JSON.")] = False,
) -> None:
    """Train ASL, the method of NDEC's authors, on the training images of a split.

    Losses: classification, triplets, look-alikes pushed apart, and the norm ratio. On several GPUs: torchrun
    --nproc-per-node 4 --no-python ndec-bench train asl --config FILE --out DIR
    """
    from ndec_baselines.asl.config import read_config
    from ndec_baselines.asl.distributed import joined
    from ndec_baselines.asl.trainer import train
    from ndec_baselines.networks.inference import choose_device
    from ndec_bench.data.roots import data_root, find_split
    from ndec_bench.progress import silent

    settings = read_config(config, seed=seed)
    place = choose_device(device)
    with joined(place) as processes, console.progress() as shown:
        progress = shown if processes.first else silent
        split = find_split(settings.data.split, data_root(root))
        found = _training_set(split, settings, data_root(root), progress)
        first = _initial(settings, initial)
        if processes.first:
            out.mkdir(parents=True, exist_ok=True)
            console.note(_cost(settings, found, processes.count, place))
        processes.wait()
        trained = train(
            settings,
            found,
            out,
            measure=_measure,
            initial=first,
            processes=processes,
            device=f"cuda:{processes.local_rank}" if place == "cuda" else "cpu",
            workers=workers,
            threads=threads,
            progress=progress,
        )
    if processes.first:
        _show(trained, settings, as_json=json)


def _measure(scores: NDArray[np.float64], correct: NDArray[np.bool_], positives: int) -> tuple[float, float | None]:
    """Return µAP and the recall at 90 % precision."""
    from ndec_bench.metrics import average_precision as metrics

    ranking = metrics.rank(scores, correct, positives)
    point = metrics.recall_at_precision(ranking, 0.9)
    return metrics.micro_ap(ranking), None if point is None else point.recall


def _training_set(split: Split, settings: Config, root: Path, progress: Progress) -> TrainingSet:
    from ndec_baselines.asl.training_set import built_set, ndec_set
    from ndec_bench.data.layouts import images_of, open_set
    from ndec_bench.download.derived.val import excluded_folders, excluded_images

    images = images_of(split, "train", progress=progress)
    every = settings.data.every
    if split.folder is not None:
        return built_set(images, split.folder, every=every)
    pairs = open_set(root, "ndec", "negative-pairs", progress=progress) if settings.data.look_alikes else None
    return ndec_set(images, pairs, every=every, left_out_folders=excluded_folders(root), left_out=excluded_images(root))


def _initial(settings: Config, given: Path | None) -> Path | None:
    """Return the file of first weights; None to begin at random. Raises DataError if a packaged one is missing."""
    if given is not None:
        return given
    if settings.network.initial == "none":
        return None
    if settings.network.initial == "imagenet":
        from ndec_baselines.methods import mobilenetv2
        from ndec_baselines.weights import local_weights
        from ndec_bench.errors import UsageError

        if settings.network.backbone != "mobilenetv2":
            raise UsageError(
                f"network.initial = imagenet: no such file is known for backbone {settings.network.backbone}",
                hint="give a file of weights, see docs/asl.md",
            )
        weights = local_weights(mobilenetv2.CARD)
        return None if weights is None else weights.only
    return Path(settings.network.initial)


def _cost(settings: Config, found: TrainingSet, processes: int, device: str) -> str:
    schedule, batch = settings.schedule, settings.batch
    several = f" in {processes} processes" if processes > 1 else ""
    return (
        f"training {settings.network.backbone}, {settings.network.side} pixels, on {len(found.originals):,} originals "
        f"and {len(found.pairs):,} pairs of look-alikes (a share of {settings.data.held_out:g} is held out): "
        f"{schedule.steps:,} steps of {batch.size} images on {device}{several}, state kept every "
        f"{schedule.validate_every:,} steps"
    )


def _show(trained: Trained, settings: Config, *, as_json: bool) -> None:
    import hashlib
    from dataclasses import asdict

    digest = hashlib.sha256(trained.model.read_bytes()).hexdigest()
    held = None if trained.held_out is None else asdict(trained.held_out)
    if as_json:
        console.out_json(
            {
                "model": str(trained.model),
                "sha256": digest,
                "settings_sha256": settings.sha256,
                "steps": trained.steps,
                "best_step": trained.best_step,
                "held_out": held,
                "rules": dict(trained.rules),
            }
        )
        return
    rows = {"network": str(trained.model), "sha256": digest, "settings": settings.sha256}
    rows["steps"] = f"{trained.steps:,}, the best of them {trained.best_step:,}"
    names = {
        "micro_ap": "held out: µAP",
        "micro_ap_ratio": "  with the ratio rule",
        "kept": "  true pairs kept",
        "kept_if_swapped": "  kept if swapped",
        "auc": "  AUC of direction",
        "hard_kept": "  hard negatives kept",
    }
    rows |= {names[name]: f"{value:.4f}" for name, value in (held or {}).items() if value is not None}
    if trained.rules:
        best = max(trained.rules, key=lambda rule: trained.rules[rule])
        rows["  best rule"] = f"{best}, {trained.rules[best]:.4f}"
    rows["took"] = f"{trained.seconds:,.0f} s"
    console.summary(rows)
    name = "asl-small" if settings.network.backbone == "mobilenetv2" else "asl"
    console.note(f"next: ndec-bench run {name} --split SPLIT --weights {trained.model}")
