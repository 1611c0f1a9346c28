"""``ndec-bench baselines`` and ``ndec-bench describe``: the methods there are, and their descriptors of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ndec_bench.cli import console

if TYPE_CHECKING:
    from ndec_baselines import Listed


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(baselines)
    app.command()(describe)


def baselines(json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False) -> None:
    """List the baselines, their weights and licences, and which can run here."""
    import ndec_baselines

    rows = ndec_baselines.listed()
    if json:
        console.out_json([_as_json(row) for row in rows])
        return
    console.table(
        "Baselines",
        ["name", "dim", "input", "weights", "runs here"],
        [_as_cells(row) for row in rows],
        left=5,
        caption="\n".join(row.missing for row in rows if row.missing) or None,
    )


def describe(
    name: Annotated[str, typer.Argument(help='Name of a baseline; "ndec-bench baselines" lists them.')],
    images: Annotated[list[Path], typer.Option(help="Folder of images, searched recursively; may be repeated.")],
    out: Annotated[Path, typer.Option(help="HDF5 file to write: vectors, image_names and the recipe.")],
    weights: Annotated[Path | None, typer.Option(help="File of trained weights, where the baseline needs one.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    batch_size: Annotated[int, typer.Option(help="Images per unit of work; never changes a byte.", min=1)] = 16,
    workers: Annotated[int | None, typer.Option(help="Threads.", min=1, show_default="one per core")] = None,
    shard: Annotated[str | None, typer.Option(help="Only part i of n, written i/n with i from 1 to n.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many ids.", min=1)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Describe images with a baseline: one descriptor per image, into an HDF5 file."""
    import warnings

    import ndec_baselines
    from ndec_baselines.extract import Shard, describe_images
    from ndec_bench.data.images import open_images

    # Pillow would only warn of an image that is refused anyway.
    warnings.filterwarnings("error", message=".*decompression bomb.*")
    part = None if shard is None else Shard.parse(shard)
    baseline = ndec_baselines.load(name, weights=weights, device=device)
    source = open_images(*images)
    with console.progress() as progress:
        report = describe_images(
            baseline, source, out, limit=limit, shard=part, batch_size=batch_size, workers=workers, progress=progress
        )
    if json:
        console.out_json(report.model_dump(mode="json"))
        return
    console.summary(
        {
            "descriptors": str(out),
            "images": f"{report.images:,}",
            "dimension": f"{report.dimension} ({report.bytes_per_descriptor:,} bytes per image)",
            "speed": f"{report.milliseconds_per_image:.2f} ms per image on {report.device}, {report.workers} workers",
            "SHA-256": report.sha256,
        }
    )


def _as_cells(row: Listed) -> list[str]:
    if row.card is None:
        return [row.name, "?", "?", "?", "no"]
    weights = "none" if row.card.weights is None else f"{row.card.weights.file}, {row.card.weights.licence}"
    return [row.name, str(row.card.dimension), row.card.input, weights, "yes" if row.available else "no"]


def _as_json(row: Listed) -> dict[str, Any]:
    from dataclasses import asdict

    card: dict[str, Any] = {"name": row.name, "dimension": None, "weights": None, "expected": []}
    if row.card is not None:
        card = asdict(row.card)
    return {**card, "available": row.available, "missing": row.missing or None}
