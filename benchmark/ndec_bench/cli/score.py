"""``ndec-bench score``: the numbers of a submission."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ndec_bench.cli import console, targets
from ndec_bench.cli.root import Root
from ndec_bench.cli.rule import Asymmetric

if TYPE_CHECKING:
    from ndec_bench.data.split import Split
    from ndec_bench.results.record import Result
    from ndec_bench.scoring.score import Options


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(score)


def score(
    files: targets.Files = None,
    query: targets.Query = None,
    reference: targets.Reference = None,
    ground_truth: targets.GroundTruthFile = None,
    hard_negatives: targets.HardNegatives = None,
    queries: targets.Queries = None,
    part: targets.Parts = None,
    multi: targets.Multi = False,
    split: targets.Splits = None,
    root: Root = None,
    background: targets.Background = None,
    protocol: Annotated[
        str, typer.Option(help="Rules of scoring; all adds the protocol card.", metavar="NAME|all")
    ] = "ndec-1",
    asymmetric: Asymmetric = "none",
    precision: Annotated[
        list[float] | None,
        typer.Option(
            min=0.0, max=1.0, help="Report the highest recall at this precision too.", metavar="P", show_default=False
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(help="Your own operating threshold (default: the file's attribute).", show_default=False),
    ] = None,
    bootstrap: Annotated[bool, typer.Option(help="Intervals from 1,000 replicates over queries.")] = True,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads of the search (default: all cores).", metavar="N", show_default=False),
    ] = None,
    backend: Annotated[
        Literal["auto", "blas", "faiss", "torch"],
        typer.Option(help="Library of the fast pass; no result depends on it."),
    ] = "auto",
    name: Annotated[
        str | None, typer.Option(help="Name of the result (default: the file's).", show_default=False)
    ] = None,
    save_matches: Annotated[
        Path | None,
        typer.Option(
            help="Write the scored list of pairs, as Parquet (as CSV if named so).", metavar="FILE", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the result as JSON; a folder for several results.", metavar="RESULT.json", show_default=False
        ),
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Write the result to RESULTS/PROTOCOL/NAME.json, for the leaderboard.")
    ] = False,
    results_folder: Annotated[
        Path, typer.Option("--results", help="Folder of results, for --record.", metavar="RESULTS")
    ] = Path("results"),
    submissions: Annotated[
        Path, typer.Option(help="Folder of submissions, whose cards name what --record writes.", metavar="DIR")
    ] = Path("submissions"),
    json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON; a list if there are several.")
    ] = False,
) -> None:
    """Score submissions: µAP, recall@P90, what the hard negatives cost, with intervals and the signature.

    FILE is one HDF5 file of descriptors or one list of scored pairs, recognised by its content; each further FILE is
    a submission of its own. The isc2021 form is given as --query F... --reference F... instead.
    """
    from dataclasses import replace

    from ndec_bench.errors import UsageError
    from ndec_bench.metrics.bootstrap import REPLICATES
    from ndec_bench.protocol import NDEC_1, get_protocol
    from ndec_bench.scoring.score import Options

    targets.check_forms(files, query, reference)
    target = targets.Target(ground_truth, hard_negatives, queries, tuple(part or ()), tuple(split or ()), root, multi)
    given = [*(files or []), *(query or [])]
    several = len(files or ()) > 1 or len(target.names) > 1
    _check_outputs(out, save_matches, several=several)
    _check_inputs_stay((out, save_matches), [*given, *(reference or []), *(background or []), *target.files])
    if out is not None:
        _check_names(files or [], name)
    if threshold is not None and not math.isfinite(threshold):
        raise UsageError(f"--threshold {threshold}", hint="give a finite number on the scale of your scores")
    options = Options(
        name=name,
        protocol=NDEC_1 if protocol == "all" else get_protocol(protocol),
        card=protocol == "all",
        replicates=REPLICATES if bootstrap else 0,
        precisions=tuple(precision or ()),
        threshold=threshold,
        asymmetric=asymmetric,
        backend=backend,
        threads=threads,
        save_matches=save_matches,
    )
    places: dict[Path, Path] = {}
    if record:
        if out is not None:
            raise UsageError("--record and --out exclude each other", hint="--record writes into --results")
        if not files or len(target.names) > 1:
            raise UsageError("--record takes files and one split", hint="pack both sides, score split by split")
        if not bootstrap:
            raise UsageError("--record keeps intervals", hint="leave --no-bootstrap out")
        places = _places(files, name, results_folder / options.protocol.name, submissions)
        _check_inputs_stay(tuple(places.values()), [*given, *(background or []), *target.files])
    if files and len(background or ()) > 1:
        raise UsageError("FILE takes one file of --background", hint="join the files, or give --query and --reference")
    if query:
        results = _score_parts(query, reference or [], background or [], target.splits(given), options)
    else:
        results = [
            result
            for file in files or ()
            for result in _score_file(
                file,
                background or [],
                target.splits([file]),
                replace(options, name=places[file].stem) if record else options,
            )
        ]
    _write(results, out, several=several)
    _show(results, out, as_json=json, several=several)
    if record:
        _record(results, list(places.values()), as_json=json)


def _check_outputs(out: Path | None, save_matches: Path | None, *, several: bool) -> None:
    from ndec_bench.atomic import check_writable
    from ndec_bench.errors import UsageError

    if several and save_matches is not None:
        raise UsageError("--save-matches takes one result", hint="score the submissions one by one")
    for path in (None if several else out, save_matches):
        if path is not None:
            check_writable(path)
    if several and out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file, but there are several results", hint="give a folder")


def _check_inputs_stay(outputs: tuple[Path | None, ...], inputs: list[Path]) -> None:
    from ndec_bench.errors import UsageError

    for path in outputs:
        if path is not None and path.exists() and any(one.exists() and path.samefile(one) for one in inputs):
            raise UsageError(f"{path} is an input of this command", hint="write to another file")


def _check_names(files: list[Path], name: str | None) -> None:
    from ndec_bench.errors import UsageError

    seen: dict[str, Path] = {}
    for file in files:
        called = name or file.stem
        if called in seen:
            raise UsageError(
                f"{seen[called]} and {file} would both be the result {called}",
                hint="results are named by their files: rename one, or score them one by one with --name",
            )
        seen[called] = file


def _places(files: list[Path], name: str | None, folder: Path, submissions: Path) -> dict[Path, Path]:
    """Return where the result of each file is recorded."""
    from ndec_bench.atomic import check_writable
    from ndec_bench.descriptors import sha256_of_file
    from ndec_bench.errors import UsageError
    from ndec_bench.scoring.score import is_descriptors
    from ndec_bench.submissions.check.recording import name_of

    places: dict[Path, Path] = {}
    for file in files:
        is_descriptors(file)  # it says what is wrong with a file that cannot be read
        place = folder / f"{name_of(file, sha256_of_file(file), submissions, name)}.json"
        if place in places.values():
            raise UsageError(f"{file} would be the second result {place}", hint="score one by one, with --name")
        check_writable(place)
        places[file] = place
    return places


def _record(results: list[Result], places: list[Path], *, as_json: bool) -> None:
    """Write ``results``, and say what a row that changes needs."""
    from ndec_bench.errors import DataError
    from ndec_bench.results.record import read_result, write_result

    for result, place in zip(results, places, strict=True):
        try:
            before = read_result(place) if place.exists() else None
        except DataError:
            console.note(f"{place}: replaced, it was no result of this version")
            before = None
        write_result(place, result)
        if before is not None and before.predictions_sha256 != result.predictions_sha256:
            old, new = (one.parts["all"].micro_ap if "all" in one.parts else math.nan for one in (before, result))
            console.note(
                f"{place}: µAP was {old:.6f} and is {new:.6f}; a row that changes needs an entry [[changes]] in its "
                'card, which "ndec-bench submit check --base DIR" spells out'
            )
        (console.note if as_json else console.out)(f"result recorded in {place}")


def _score_file(file: Path, background: list[Path], splits: list[Split], options: Options) -> list[Result]:
    from dataclasses import replace

    from ndec_bench.descriptors import read_background
    from ndec_bench.results.describing import read_describing
    from ndec_bench.scoring.score import score_file_on

    options = replace(options, describing=read_describing(file))
    with console.progress() as progress:
        if background:
            options = replace(options, background=read_background(background[0], progress=progress))
        return score_file_on(file, splits, options=options, progress=progress)


def _score_parts(
    query: list[Path], reference: list[Path], background: list[Path], splits: list[Split], options: Options
) -> list[Result]:
    from dataclasses import replace

    from ndec_bench.descriptors import read_submission_parts
    from ndec_bench.scoring.score import score_splits

    options = replace(options, name=options.name or query[0].stem)
    with (
        console.progress() as progress,
        read_submission_parts(query, reference, background, progress=progress) as submission,
    ):
        return score_splits(submission, splits, options=options, progress=progress, where=str(query[0]))


def _write(results: list[Result], out: Path | None, *, several: bool) -> None:
    from ndec_bench.results.record import write_result

    if out is None:
        return
    if several:
        out.mkdir(parents=True, exist_ok=True)
    for result in results:
        write_result(_place(result, results, out) if several else out, result)


def _place(result: Result, results: list[Result], out: Path) -> Path:
    alone = sum(other.name == result.name for other in results) == 1
    return out / (f"{result.name}.json" if alone else f"{result.name}-{result.split}.json")


def _show(results: list[Result], out: Path | None, *, as_json: bool, several: bool) -> None:
    from ndec_bench.cli.showing import show_result
    from ndec_bench.results.record import result_json

    if as_json:
        texts = [result_json(result).rstrip("\n") for result in results]
        console.out("[\n" + ",\n".join(texts) + "\n]" if several else texts[0])
        return
    for result in results:
        show_result(result)
    if out is not None:
        console.out(f"result written to {out}")
