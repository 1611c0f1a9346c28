"""``ndec-bench baselines`` and ``ndec-bench describe``: the methods there are, and their descriptors of images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ndec_bench.cli import console, options

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ndec_baselines import Listed, ModelCard
    from ndec_bench.data.images import ImageSource
    from ndec_bench.progress import Progress


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(baselines)
    app.command()(describe)


def baselines(
    every: Annotated[bool, typer.Option("--all", help="A row for each variant of a system.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the list as JSON, all variants.")] = False,
) -> None:
    """List the baselines, their weights and licences, published numbers, and which can run here."""
    import ndec_baselines

    rows = ndec_baselines.listed()
    if json:
        console.out_json([_as_json(row) for row in rows])
        return
    shown = _groups(rows, every=every)
    console.table(
        "Baselines",
        ["name", "input", "weights", "dim", "published µAP", "here"],
        [_as_cells(name, members) for name, members in shown.items()],
        left=3,
        caption=_caption(shown),
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
    root: options.Root = None,
    weights: options.Weights = None,
    weights_sha256: options.WeightsSha256 = None,
    detections: options.Detections = None,
    device: options.Device = "auto",
    precision: Annotated[
        str, typer.Option(help="float32, or float16 or bfloat16: mixed, faster, other descriptors; recorded.")
    ] = "float32",
    batch_size: Annotated[
        int | None,
        typer.Option(help="Images per unit of work; never changes a byte.", min=1, show_default="what fits the model"),
    ] = None,
    workers: options.Workers = None,
    shard: Annotated[str | None, typer.Option(help="Only part i of n, written i/n with i from 1 to n.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many ids.", min=1)] = None,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Leave broken images out and list them in invalid_ids.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Describe images with a baseline: one descriptor per image, into an HDF5 file.

    What is finished when a run stops or is killed stays in OUT.partial; the same command goes on from there.
    """
    import warnings

    from ndec_baselines.describing.extract import Shard, describe_images
    from ndec_baselines.running import RunOptions, load_runner

    # Pillow would only warn of an image that is refused anyway.
    warnings.filterwarnings("error", message=".*decompression bomb.*")
    shard_of = None if shard is None else Shard.parse(shard)
    opened, attributes = _images(images, split, part, root)
    options = RunOptions(
        weights=weights, weights_sha256=weights_sha256, device=device, precision=precision, detections=detections
    )
    runner = load_runner(name, options, tell=console.note, matching=False)
    with console.progress() as progress:
        report = describe_images(
            runner.baseline,
            runner.cut(opened(progress)),
            out,
            limit=limit,
            shard=shard_of,
            batch_size=batch_size,
            workers=workers,
            keep_going=keep_going,
            attributes={**attributes, **runner.of_detections},
            progress=progress,
            tell=console.note,
        )
    if json:
        console.out_json(report.model_dump(mode="json"))
        return
    speed = f"{report.milliseconds_per_image:.2f} ms per image, {report.images_per_second:,.1f} images per second"
    content = {
        "descriptors": str(out),
        "images": f"{report.images:,}",
        "dimension": f"{report.dimension} ({report.bytes_per_descriptor:,} bytes per image)",
        "speed": f"{speed}, on {report.device} with {report.workers} workers",
        "SHA-256": report.sha256,
    }
    if report.invalid_images:
        content["broken images"] = f"{report.invalid_images:,}, listed in invalid_ids"
    console.summary(content)


def _images(
    images: list[Path] | None, split: str | None, part: str | None, root: Path | None
) -> tuple[Callable[[Progress], ImageSource], dict[str, str]]:
    """Return what opens the images that are meant, and what the file says of them. Raises UsageError if unclear."""
    from ndec_bench.errors import UsageError

    if images and split is None and part is None:
        from ndec_bench.data.images import open_images

        paths = images
        return lambda progress: open_images(*paths, progress=progress), {}
    if split is None or part is None or images:
        raise UsageError(
            "which images to describe is not said" if not images else "--images and --split do not go together",
            hint="give --images SOURCE, or --split NAME --part queries",
        )
    from ndec_baselines.running import image_attributes
    from ndec_bench.data.layouts import images_of
    from ndec_bench.data.roots import data_root, find_split

    target, side = find_split(split, data_root(root)), part
    return lambda progress: images_of(target, side, progress=progress), image_attributes(target)


def _groups(rows: Sequence[Listed], *, every: bool) -> dict[str, list[Listed]]:
    """Return the rows of the table by name: the baseline that is shown, and after it its variants that are not."""
    from ndec_baselines.registry import ALIASES

    groups: dict[str, list[Listed]] = {}
    for row in rows:
        family = row.card.family if row.card is not None and (not every or row.card.hidden) else None
        groups.setdefault(family or row.name, []).append(row)
    return {
        name: sorted(members, key=lambda row: row.name != ALIASES.get(name, name))
        for name, members in sorted(groups.items())
    }


def _as_cells(name: str, members: Sequence[Listed]) -> list[str]:
    row = members[0]
    if len(members) > 1:
        name = f"{name} (+{len(members) - 1})"
    here = "yes" if row.available else "no"
    if row.card is None:
        return [name, "?", "?", "?", "?", here]
    card, weights = row.card, row.card.weights
    licence = "none"
    if weights is not None:
        count = len(weights.files)
        licence = f"{'1 file' if count == 1 else f'{count} files'}, {weights.licence}"
    mark = "*" if any(member.card is not None and member.card.never_run for member in members) else ""
    dimension = str(card.dimension) if card.track == "descriptor" else "pairs"
    # With blanks after the numbers, a narrow table wraps between them and not inside one.
    return [name, card.input.replace("/", ", "), licence, dimension, _published(card) + mark, here]


def _published(card: ModelCard) -> str:
    """Return the published µAP that says most, with its split: on NDEC, or on the hardest set there is one for."""
    found: dict[str, float] = {}
    for expected in sorted(card.expected, key=lambda one: one.steps is not None):  # of the whole system first
        if expected.metric == "micro_ap":
            found.setdefault(expected.split, expected.value)
    for split in ("ndec", "disc21-dev2", "disc21-final", "disc21-dev", "disc21-dev1"):
        if split in found:
            return f"{found[split]:.3f} {split.removeprefix('disc21-')}"
    return "none"


def _caption(shown: Mapping[str, Sequence[Listed]]) -> str:
    said = []
    if any(len(members) > 1 for members in shown.values()):
        said.append("(+N): variants, asked for as SYSTEM:VARIANT (sscd:disc-blur, d2lv:blur-cc-50-200); see --all.")
    cards = [row.card for members in shown.values() for row in members if row.card is not None]
    if marked := ", ".join(card.name for card in cards if card.never_run):
        said.append(f"* {marked}: never run with published weights.")
    missing = [members[0].missing for members in shown.values() if members[0].missing]
    if missing:
        more = f" ({len(missing) - 1} more; --json says why for each)" if len(missing) > 1 else ""
        said.append(f"Not here: {missing[0]}{more}")
    return "\n".join(said)


def _as_json(row: Listed) -> dict[str, Any]:
    from dataclasses import asdict

    card: dict[str, Any] = {"name": row.name, "dimension": None, "weights": None, "expected": []}
    if row.card is not None:
        card = asdict(row.card)
    return {**card, "available": row.available, "missing": row.missing or None}
