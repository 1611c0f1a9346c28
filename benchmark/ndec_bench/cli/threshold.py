"""``ndec-bench threshold``: the threshold to use, and what it costs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from ndec_bench.cli import console, options
from ndec_bench.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(threshold)


def threshold(
    result: Annotated[
        Path | None,
        typer.Argument(help="Its result: names split and metric.", metavar="RESULT.json", show_default=False),
    ] = None,
    matches: Annotated[
        Path | None,
        typer.Option(help='Scored pairs, as "score --save-matches" writes them.', metavar="LIST", show_default=False),
    ] = None,
    submission: Annotated[
        Path | None,
        typer.Option(
            help="The file that RESULT.json scored, to record its recipe.", metavar="SUB.h5", show_default=False
        ),
    ] = None,
    max_alarms: Annotated[
        float | None,
        typer.Option(help="Most alarms per query without a match.", metavar="A", show_default=False),
    ] = None,
    min_precision: Annotated[
        float | None,
        typer.Option(help="Least precision: of pairs, or with --prior of queries.", metavar="P", show_default=False),
    ] = None,
    min_recall: Annotated[
        float | None,
        typer.Option(help="Least share of copies that raise a true alert.", metavar="R", show_default=False),
    ] = None,
    at: Annotated[
        float | None, typer.Option(help="A threshold of your own, as a score.", metavar="SCORE", show_default=False)
    ] = None,
    prior: Annotated[
        float | None,
        typer.Option(help="Share of queries with a match where you work.", metavar="P", show_default=False),
    ] = None,
    hard_share: Annotated[
        float | None,
        typer.Option(help="Share of hard negatives among the others where you work.", metavar="H", show_default=False),
    ] = None,
    queries_per_day: Annotated[
        float | None,
        typer.Option(help="Queries per day, to count alarms per day.", metavar="M", show_default=False),
    ] = None,
    references: Annotated[
        int | None,
        typer.Option(min=1, help="References searched, if the split does not know.", metavar="N", show_default=False),
    ] = None,
    complete: Annotated[
        bool, typer.Option("--complete", help="The list has all pairs above the threshold, though it looks cut.")
    ] = False,
    ground_truth: options.GroundTruthFile = None,
    hard_negatives: options.HardNegatives = None,
    queries: options.Queries = None,
    multi: options.Multi = False,
    split: options.Splits = None,
    root: options.Root = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw alarms against the number of references.", metavar="FILE.svg", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Write the operating point as JSON.", metavar="POINT.json", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Choose a threshold: for a budget of alarms, a precision or a recall, with bounds that hold for the choice.

    Without a goal, a table of useful points. Alarms are told for plain and hard queries, and against the number of
    references.

    Example: ndec-bench threshold --matches pairs.parquet --split ndec-mini --max-alarms 0.01
    """
    from ndec_bench.atomic import check_writable, write_text
    from ndec_bench.deciding.decision import decide, text_of
    from ndec_bench.deciding.point import Goal
    from ndec_bench.deciding.tables import decision_tables
    from ndec_bench.matches import read_pairs
    from ndec_bench.results.record import read_result
    from ndec_bench.site.alarm_plot import alarm_plot

    if matches is None:
        raise UsageError("--matches is missing", hint='"ndec-bench score FILE --save-matches LIST" writes such a list')
    given = {"max_alarms": max_alarms, "min_precision": min_precision, "min_recall": min_recall, "threshold": at}
    asked = [*given.values(), prior, hard_share]
    goal = None if all(value is None for value in asked) else Goal.only(given, prior, hard_share)
    if goal is None and not (plot is None and out is None and queries_per_day is None):
        raise UsageError(
            "--out, --plot and --queries-per-day need a goal", hint="give --max-alarms, --min-recall or another"
        )
    if queries_per_day is not None and not 0.0 < queries_per_day < math.inf:
        raise UsageError(f"--queries-per-day {queries_per_day}", hint="give a number above 0")
    outputs = [path for path in (plot, out) if path is not None]
    for path in outputs:
        check_writable(path)
    read = (matches, result, submission, ground_truth, hard_negatives, queries)
    options.check_inputs_stay(outputs, [path for path in read if path is not None])
    scored = None if result is None else read_result(result)
    names = tuple(split or ()) or ((scored.split,) if scored is not None and ground_truth is None else ())
    target = options.Target(ground_truth, hard_negatives, queries, (), names, root, multi)
    if len(target.names) > 1:
        raise UsageError("several splits are given", hint="choose a threshold on one of them")
    with console.progress() as progress:
        pairs = read_pairs(matches, progress=progress)
    against = target.splits([matches])[0]
    decision = decide(
        pairs,
        against,
        goal,
        result=scored,
        submission=submission,
        references=references,
        complete=complete,
        where=str(matches),
    )
    if out is not None:
        write_text(out, text_of(decision))
    if plot is not None and not decision.curve:
        raise UsageError(f"--plot: {decision.notes[-1]}", hint="leave --plot out, or mend that")
    if plot is not None:
        write_text(plot, alarm_plot(decision))
    if json:
        console.out_json(decision.to_json())
        return
    console.show(decision_tables(decision, queries_per_day))
    for path in outputs:
        console.out(f"written to {path}")
