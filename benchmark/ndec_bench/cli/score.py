"""``ndec-bench score``: the numbers of a submission."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ndec_bench.cli import console

if TYPE_CHECKING:
    from ndec_bench.data.split import Split
    from ndec_bench.report import HardNegativeAccount, PartScore, Result


MEASURES = (
    "µAP",
    "  95 % interval",
    "recall@P90",
    "  95 % interval",
    "threshold at P90",
    "recall@1",
    "recall@10",
    "queries",
    "copies",
)


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(score)


def score(
    submission: Annotated[
        Path, typer.Argument(help="HDF5 of descriptors, or CSV of scored pairs.", show_default=False)
    ],
    ground_truth: Annotated[
        Path | None, typer.Option(help="Your own ground truth, CSV query_id,reference_id.", show_default=False)
    ] = None,
    hard_negatives: Annotated[
        Path | None, typer.Option(help="Ids of its hard negatives, one per line.", show_default=False)
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Name of a known split; by default the one the file names.", show_default=False)
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="Where splits lie (default: $NDEC_ROOT or the user's data folder).")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the result (default: the file's).")] = None,
    protocol: Annotated[str, typer.Option(help="Rules of scoring.")] = "ndec-1",
    multi: Annotated[bool, typer.Option("--multi", help="Queries may have several references.")] = False,
    bootstrap: Annotated[bool, typer.Option(help="Intervals from 1,000 replicates over queries.")] = True,
    save_matches: Annotated[
        Path | None, typer.Option(help="Write the scored list of pairs as CSV.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the result as JSON.", show_default=False)] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Score a submission.

    Prints µAP, recall@P90, what the hard negatives cost, intervals and the signature.
    """
    from ndec_bench.atomic import check_writable
    from ndec_bench.bootstrap import REPLICATES
    from ndec_bench.protocol import get_protocol
    from ndec_bench.report import read_describing, result_json, write_result
    from ndec_bench.scoring import Options, score_file

    for path in (out, save_matches):
        if path is not None:
            check_writable(path)
    target = _split(submission, ground_truth, hard_negatives, split, root, multi)
    options = Options(
        name=name,
        protocol=get_protocol(protocol),
        replicates=REPLICATES if bootstrap else 0,
        save_matches=save_matches,
        describing=read_describing(submission),
    )
    with console.progress() as progress:
        result = score_file(submission, target, options=options, progress=progress)
    if out is not None:
        write_result(out, result)
    if json:
        console.out(result_json(result).rstrip("\n"))
        return
    show_result(result)
    if out is not None:
        console.out(f"result written to {out}")


def _split(
    submission: Path,
    ground_truth: Path | None,
    hard_negatives: Path | None,
    split: str | None,
    root: Path | None,
    multi: bool,
) -> Split:
    from ndec_bench.data.roots import data_root, find_split
    from ndec_bench.data.split import Split
    from ndec_bench.errors import UsageError

    if ground_truth is not None:
        if split is not None or root is not None:
            raise UsageError("--ground-truth and --split/--root exclude each other", hint="give one of them")
        return Split.from_ground_truth(ground_truth, hard_negatives=hard_negatives, multi=multi)
    if hard_negatives is not None:
        raise UsageError("--hard-negatives goes with --ground-truth", hint="a known split has its own")
    return find_split(split or _named_in(submission), data_root(root))


def _named_in(submission: Path) -> str:
    from ndec_bench.errors import UsageError
    from ndec_bench.scoring import split_named_in

    name = split_named_in(submission)
    if name is None:
        raise UsageError(
            f"{submission} does not say which split it is for",
            hint="give --split NAME, or --ground-truth GT.csv, or write the attribute split",
        )
    return name


def show_result(result: Result) -> None:
    """Print a result as tables: a row per part, the hard negatives, then signature and notes."""
    rows = zip(MEASURES, *(_part_column(part) for part in result.parts.values()), strict=True)
    title = f"{result.name} on {result.split}, {result.track} track"
    console.table(title, ["", *result.parts], list(rows))
    if result.hard_negatives is not None:
        console.summary(_account_lines(result.hard_negatives))
    for note in result.notes:
        console.out(f"note: {note}")
    console.out(result.signature)
    console.out(f"predictions sha256 {result.predictions_sha256}")


def _part_column(part: PartScore) -> list[str]:
    return [
        f"{part.micro_ap:.4f}",
        _interval(part.micro_ap_interval),
        _number(part.recall_at_p90),
        _interval(part.recall_at_p90_interval),
        "none" if part.threshold_at_p90 is None else f"{part.threshold_at_p90:.6g}",
        f"{part.recall_at_1:.4f}",
        f"{part.recall_at_10:.4f}",
        f"{part.queries:,}",
        f"{part.positives:,}",
    ]


def _interval(interval: tuple[float, float] | None) -> str:
    return "not computed" if interval is None else f"{interval[0]:.4f}–{interval[1]:.4f}"


def _account_lines(account: HardNegativeAccount) -> dict[str, str]:
    lines = {"cost of the hard negatives": _signed(account.cost)}
    at = account.at_p90_isc
    if at is None:
        return {**lines, "hard negatives hit": "unknown: without them, precision 0.90 is never reached"}
    return {
        **lines,
        "hard negatives hit": f"{at.hard_negatives_hit.hits:,} of {account.queries:,}, threshold tuned without them",
        "precision at that threshold": _number(at.precision),
    }


def _number(value: float | None) -> str:
    return "not reached" if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "unknown (no plain distractors)" if value is None else f"{value:+.4f} µAP"
