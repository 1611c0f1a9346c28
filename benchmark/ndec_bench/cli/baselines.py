"""``ndec-bench baselines`` and ``ndec-bench describe``: the methods there are, and their descriptors of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ndec_bench.cli import console
from ndec_bench.cli.root import Root

if TYPE_CHECKING:
    from collections.abc import Callable

    from ndec_baselines import Listed
    from ndec_bench.data.images import ImageSource
    from ndec_bench.progress import Progress


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
    out: Annotated[Path, typer.Option(help="HDF5 file to write: vectors, image_names and the recipe.")],
    images: Annotated[
        list[Path] | None,
        typer.Option(help="Folder (searched recursively), zip, tar, or first piece of a split tar; may be repeated."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="In place of --images: the images of this split.", show_default=False)
    ] = None,
    part: Annotated[
        str | None, typer.Option(help="With --split: queries, references, background or train.", show_default=False)
    ] = None,
    root: Root = None,
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

    # Pillow would only warn of an image that is refused anyway.
    warnings.filterwarnings("error", message=".*decompression bomb.*")
    shard_of = None if shard is None else Shard.parse(shard)
    opened, attributes = _images(images, split, part, root)
    baseline = ndec_baselines.load(name, weights=weights, device=device)
    with console.progress() as progress:
        report = describe_images(
            baseline,
            opened(progress),
            out,
            limit=limit,
            shard=shard_of,
            batch_size=batch_size,
            workers=workers,
            attributes=attributes,
            progress=progress,
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


def _images(
    images: list[Path] | None, split: str | None, part: str | None, root: Path | None
) -> tuple[Callable[[Progress], ImageSource], dict[str, str]]:
    """Return what opens the images that are meant, and what the file says of them. Raises UsageError if unclear."""
    from ndec_bench.data.images import open_images
    from ndec_bench.data.roots import data_root, find_split
    from ndec_bench.data.split_images import images_of
    from ndec_bench.errors import UsageError
    from ndec_bench.pipeline import image_attributes

    if images and split is None and part is None:
        paths = images
        return lambda progress: open_images(*paths, progress=progress), {}
    if split is None or part is None or images:
        raise UsageError(
            "which images to describe is not said" if not images else "--images and --split do not go together",
            hint="give --images SOURCE, or --split NAME --part queries",
        )
    target, side = find_split(split, data_root(root)), part
    return lambda progress: images_of(target, side, progress=progress), image_attributes(target)


def _as_cells(row: Listed) -> list[str]:
    if row.card is None:
        return [row.name, "?", "?", "?", "no"]
    weights = "none" if row.card.weights is None else f"{row.card.weights.files[0].name}, {row.card.weights.licence}"
    return [row.name, str(row.card.dimension), row.card.input, weights, "yes" if row.available else "no"]


def _as_json(row: Listed) -> dict[str, Any]:
    from dataclasses import asdict

    card: dict[str, Any] = {"name": row.name, "dimension": None, "weights": None, "expected": []}
    if row.card is not None:
        card = asdict(row.card)
    return {**card, "available": row.available, "missing": row.missing or None}
