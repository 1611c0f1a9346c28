"""``ndec-bench index``: what is lost where an index of compressed vectors is searched."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ndec_bench.cli import console, options


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(index)


def index(
    submission: Annotated[Path, typer.Argument(help="Submission file.", metavar="SUB.h5", show_default=False)],
    factory: Annotated[
        list[str],
        typer.Option(help='Index as faiss names it, for example "OPQ32_128,IVF256,PQ32"; several.', metavar="INDEX"),
    ],
    nprobe: Annotated[
        int | None, typer.Option(min=1, help="Cells searched per query.", metavar="N", show_default="1")
    ] = None,
    ground_truth: options.GroundTruthFile = None,
    hard_negatives: options.HardNegatives = None,
    queries: options.Queries = None,
    multi: options.Multi = False,
    split: Annotated[
        str | None, typer.Option(help="A known split; by default the file's own.", metavar="NAME", show_default=False)
    ] = None,
    root: options.Root = None,
    threads: options.Threads = None,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Score a submission as searched by indexes of faiss, next to the exact search.

    Example: ndec-bench index mine.h5 --split ndec-mini-1 --factory Flat --factory IVF64,SQ8 --nprobe 8
    """
    from ndec_bench.descriptors import read_submission
    from ndec_bench.scoring.indexes import score_indexes

    names = (split,) if split else ()
    (target,) = options.Target(ground_truth, hard_negatives, queries, (), names, root, multi).splits([submission])
    with console.progress() as progress, read_submission(submission, progress=progress) as content:
        scores = score_indexes(
            content, target, factory, nprobe=nprobe, threads=threads, where=str(submission), progress=progress
        )
    if json:
        console.out_json({"split": target.name, "nprobe": nprobe, "indexes": [asdict(one) for one in scores]})
        return
    heads = ("index", "bytes", "build s", "queries/s", "pairs", "µAP", "recall@P90")
    rows = [
        (
            one.factory,
            f"{one.bytes_per_reference:,.0f}",
            "" if one.build_seconds is None else f"{one.build_seconds:,.1f}",
            "" if one.queries_per_second is None else f"{one.queries_per_second:,.0f}",
            f"{one.list_recall:.4f}",
            f"{one.micro_ap:.4f}",
            "not reached" if one.recall_at_p90 is None else f"{one.recall_at_p90:.4f}",
        )
        for one in scores
    ]
    caption = "bytes: of the index, per reference; pairs: share of the exact list that is found"
    console.table(f"{submission.stem} on {target.name}, as indexes search it", heads, rows, caption=caption)
