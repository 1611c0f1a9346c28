"""``ndec-bench gallery``: a local page of the image pairs that a result gets wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ndec_bench.cli import console, options
from ndec_bench.cli.options import Root

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ndec_bench.data.images import ImageSource
    from ndec_bench.data.split import Split
    from ndec_bench.gallery import Gallery, GalleryReport
    from ndec_bench.gallery.rows import Side
    from ndec_bench.progress import Progress
    from ndec_bench.results.record import Result


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(gallery)


def gallery(
    results: Annotated[
        list[Path],
        typer.Argument(help="Results; the page is about the first.", metavar="RESULT.json...", show_default=False),
    ],
    matches: Annotated[
        list[Path] | None,
        typer.Option(
            help="What score --save-matches left, one file per result, in their order.",
            metavar="PAIRS",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        list[Path] | None,
        typer.Option(
            help="In place of --matches: the submissions, which are searched again.",
            metavar="SUBMISSION",
            show_default=False,
        ),
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            help="Data root with the split and its images; with --root or --ground-truth, folders or archives of "
            "images.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="The split; by default the result's own.", metavar="NAME", show_default=False)
    ] = None,
    root: Root = None,
    ground_truth: options.GroundTruthFile = None,
    hard_negatives: options.HardNegatives = None,
    queries: options.Queries = None,
    multi: options.Multi = False,
    out: Annotated[Path, typer.Option(help="The page.", metavar="PAGE.html")] = Path("gallery.html"),
    count: Annotated[int, typer.Option(min=1, max=200, help="Rows of a section.", metavar="N")] = 24,
    size: Annotated[
        int, typer.Option(min=32, max=400, help="Longer side of a picture in pixels.", metavar="PIXELS")
    ] = 192,
    json: Annotated[bool, typer.Option("--json", help="Print ids, ranks and scores of all rows as JSON.")] = False,
) -> None:
    """Write a local page of image pairs: worst false positives, hard negatives hit, missed copies, with pictures.

    With several results it also shows what most of them get wrong. The page is for this machine alone: the images of
    DISC21 and NDEC must not be published.
    """
    from ndec_bench.atomic import check_writable
    from ndec_bench.gallery import about_size, check_private, plan_gallery, read_list, write_gallery
    from ndec_bench.results.record import read_result
    from ndec_bench.scoring.truth import TruthTable

    lists = _lists(results, matches, file)
    own = options.Target(ground_truth, hard_negatives, queries, (), (split,) if split else (), root, multi)
    check_private(out)
    check_writable(out)
    options.check_inputs_stay([out], [*results, *lists, *(images or []), *own.files])
    read = [read_result(path) for path in results]
    target = _split(own, images or [], read, results)
    truth = TruthTable(target)
    with console.progress() as progress:
        # Before the search, so that images that are not there are said at once.
        sources = _sources(target, own, images or [], progress)
        listed = [
            read_list(path, result, target, truth, progress=_named(progress, path))
            for path, result in zip(lists, read, strict=True)
        ]
        plan = plan_gallery(listed, target, truth, count=count)
        about = about_size(plan, size) / 1e6
        console.note(f"{len(plan.images()):,} images are read; the page will have about {about:,.1f} MB")
        report = write_gallery(plan, sources, out, size=size, progress=progress)
    _show(plan, report, as_json=json)


def _named(progress: Progress, path: Path) -> Progress:
    """Return ``progress`` with the name of a file behind that of each stage."""

    def tell(stage: str, done: int, total: int, /) -> None:
        progress(f"{stage}, {path.name}", done, total)

    return tell


def _lists(results: list[Path], matches: list[Path] | None, file: list[Path] | None) -> list[Path]:
    from ndec_bench.errors import UsageError

    if bool(matches) == bool(file):
        raise UsageError(
            "the lists of pairs are not given" if not matches else "--matches and --file exclude each other",
            hint="give --matches PAIRS, which score --save-matches writes, or --file SUBMISSION, once for each result",
        )
    lists = matches or file or []
    if len(lists) != len(results):
        option = "--matches" if matches else "--file"
        raise UsageError(
            f"{len(results)} results, but {option} is given {len(lists)} times",
            hint=f"give {option} once for each result, in their order",
        )
    return lists


def _split(own: options.Target, images: list[Path], results: Sequence[Result], files: list[Path]) -> Split:
    """Return the split of all ``results``: as given, else the one they name, which lies where the images do."""
    from dataclasses import replace

    from ndec_bench.gallery import check_split

    if own.ground_truth is None:
        own = replace(own, names=own.names or (results[0].split,), root=own.root or _image_root(images))
    split = own.splits([])[0]
    for result, file in zip(results, files, strict=True):
        check_split(result, split, str(file))
    return split


def _image_root(images: list[Path]) -> Path | None:
    from ndec_bench.errors import UsageError

    if len(images) > 1 or (images and images[0].is_file()):
        raise UsageError(
            "--images names images, but nothing says where the split is",
            hint="give --root DIR or --ground-truth GT.csv with it, or the data root alone as --images DIR",
        )
    return images[0] if images else None


def _sources(split: Split, own: options.Target, images: list[Path], progress: Progress) -> Mapping[Side, ImageSource]:
    from ndec_bench.data.images import open_images
    from ndec_bench.data.layouts import images_of

    if images and (own.root is not None or own.ground_truth is not None):
        both = open_images(*images, progress=progress)
        return {"queries": both, "references": both}
    return {
        "queries": images_of(split, "queries", progress=progress),
        "references": images_of(split, "references", progress=progress),
    }


def _show(plan: Gallery, report: GalleryReport, *, as_json: bool) -> None:
    from dataclasses import asdict

    if report.unreadable:
        named = ", ".join(image_id for _, image_id in report.unreadable[:3])
        more = " and others" if len(report.unreadable) > 3 else ""
        console.note(f"{len(report.unreadable):,} of {report.images:,} images could not be read ({named}{more})")
    console.note(f"{report.bytes / 1e6:,.1f} MB, for this machine alone: not to be published")
    if not as_json:
        console.out(str(report.page))
        return
    console.out_json(
        {
            "page": str(report.page),
            "bytes": report.bytes,
            "images": report.images,
            "unreadable": [{"side": side, "id": image_id} for side, image_id in report.unreadable],
            "sections": [asdict(section) for section in plan.sections],
        }
    )
