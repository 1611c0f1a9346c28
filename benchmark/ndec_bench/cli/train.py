"""``ndec-bench train``: training a baseline here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ndec_bench.cli import console
from ndec_bench.cli.options import Root

if TYPE_CHECKING:
    from ndec_baselines.asl.config import Config
    from ndec_baselines.asl.trainer import TrainingResult

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
        int, typer.Option(help="Processes that make pictures during the training; 0 for none.", min=0, max=128)
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
    from ndec_baselines.asl.training import TrainOptions, train_on_split

    settings = read_config(config, seed=seed)
    options = TrainOptions(root=root, initial=initial, device=device, workers=workers, threads=threads)
    with console.progress() as progress:
        trained = train_on_split(settings, out, options, progress=progress, tell=console.note)
    if trained is not None:
        _show(trained, settings, as_json=json)


def _show(trained: TrainingResult, settings: Config, *, as_json: bool) -> None:
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
