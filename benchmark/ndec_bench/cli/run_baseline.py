"""``ndec-bench run``: a baseline through the whole line, from images to a scored submission."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ndec_bench.cli import console
from ndec_bench.cli.root import Root

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ndec_baselines.base import Card
    from ndec_baselines.extract import DescribeReport
    from ndec_bench.data.images import ImageSource
    from ndec_bench.pipeline import Method
    from ndec_bench.progress import Progress
    from ndec_bench.report import Describing
    from ndec_bench.submission import SubmissionCard


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(run)


def run(
    baseline: Annotated[str, typer.Argument(help='Its name, see "ndec-bench baselines".', show_default=False)],
    split: Annotated[str, typer.Option(help="Name of the split to describe and score.")],
    out: Annotated[Path, typer.Option(help="Folder for descriptors, submission and result.")],
    root: Root = None,
    name: Annotated[str | None, typer.Option(help="Name of the submission (default: the baseline's).")] = None,
    weights: Annotated[Path | None, typer.Option(help="File of trained weights.", show_default=False)] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Take a baseline through the whole line: describe, pack, score."""
    from ndec_bench import pipeline
    from ndec_bench.cli.showing import show_result
    from ndec_bench.data.roots import data_root, find_split
    from ndec_bench.report import result_json
    from ndec_bench.scoring import Options

    target = find_split(split, data_root(root))
    method = method_of(baseline, target.name, name=name, weights=weights, device=device)
    command = f"ndec-bench run {baseline} --split {split}" + (f" --name {name}" if name else "")
    with console.progress() as progress:
        result = pipeline.run(method, target, out, options=Options(command=command), progress=progress)
    if json:
        console.out(result_json(result).rstrip("\n"))
    else:
        show_result(result)
        console.out(f"result written to {out / 'results' / result.protocol / result.name}.json")


def method_of(
    baseline: str, split: str, *, name: str | None = None, weights: Path | None = None, device: str = "auto"
) -> Method:
    """Return the baseline called ``baseline`` as the line takes it, loaded. Raises UsageError and DataError."""
    import ndec_baselines
    from ndec_baselines import extract
    from ndec_baselines.base import recipe
    from ndec_bench.descriptors import read_attributes
    from ndec_bench.errors import UsageError
    from ndec_bench.pipeline import Method
    from ndec_bench.submission import NAME_PATTERN

    if not re.fullmatch(NAME_PATTERN, name or baseline):
        raise UsageError(
            f"name {(name or baseline)[:80]!r} cannot name a folder of submissions",
            hint="use a-z, 0-9, dot, dash and underscore, at most 63, a letter or digit first",
        )
    loaded = ndec_baselines.load(baseline, weights=weights, device=device)

    def describe(
        images: ImageSource, out: Path, *, attributes: Mapping[str, str], stage: str, progress: Progress
    ) -> Describing:
        report = extract.read_report(out) if attributes and out.is_file() else None
        if report is None or read_attributes(out) != {**recipe(loaded), **attributes}:
            report = extract.describe_images(loaded, images, out, attributes=attributes, stage=stage, progress=progress)
        return _describing(report)

    return Method(card=_card(loaded.card, name or baseline, split), describe=describe)


def _describing(report: DescribeReport) -> Describing:
    from ndec_bench.report import Describing

    return Describing(
        baseline=f"{report.baseline} {report.version}",
        device=report.device,
        images=report.images,
        seconds=report.seconds,
    )


def _card(card: Card, name: str, split: str) -> SubmissionCard:
    from ndec_bench.submission import Declarations, Method, SubmissionCard

    weights = card.weights
    return SubmissionCard(
        name=name,
        split=split,
        authors=["The ndec-bench developers"],
        method=Method(
            title=card.title,
            description=card.description,
            paper=card.paper,
            code_licence=card.code_licence,
            weights_licence=weights.licence if weights else None,
            commercial_use=weights.commercial_use if weights else "yes",
        ),
        declarations=Declarations(
            train_images=weights.trained_on if weights else "none",
            external_data=weights is not None,
            selected_on=card.selected_on,
        ),
    )
