"""``ndec-bench score`` and ``ndec-bench validate``: the numbers of submissions, and the checks before them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ndec_bench.cli import console, options
from ndec_bench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_bench.data.split import Split
    from ndec_bench.results.record import Result
    from ndec_bench.verification.validate import Validation


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(score)
    app.command()(validate)


def score(
    files: options.Files = None,
    query: options.Query = None,
    reference: options.Reference = None,
    ground_truth: options.GroundTruthFile = None,
    hard_negatives: options.HardNegatives = None,
    queries: options.Queries = None,
    part: options.Parts = None,
    multi: options.Multi = False,
    split: options.Splits = None,
    root: options.Root = None,
    background: options.Background = None,
    protocol: Annotated[
        str, typer.Option(help="Rules of scoring; all adds the protocol table.", metavar="NAME|all")
    ] = "ndec-1",
    asymmetric: options.Asymmetric = "none",
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
    threads: options.Threads = None,
    backend: options.Backend = "auto",
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

    from ndec_bench.protocol import NDEC_1, get_protocol
    from ndec_bench.scoring.score import DEFAULTS, Options, score_files

    options.check_forms(files, query, reference)
    target = options.Target(ground_truth, hard_negatives, queries, tuple(part or ()), tuple(split or ()), root, multi)
    inputs = [*(files or []), *(query or []), *(reference or []), *(background or []), *target.files]
    several = len(files or ()) > 1 or len(target.names) > 1
    _check_outputs(out, save_matches, inputs, several=several)
    if out is not None:
        _check_names(files or [], name)
    if threshold is not None and not math.isfinite(threshold):
        raise UsageError(f"--threshold {threshold}", hint="give a finite number on the scale of your scores")
    chosen = Options(
        name=name,
        protocol=NDEC_1 if protocol == "all" else get_protocol(protocol),
        all_protocols=protocol == "all",
        replicates=DEFAULTS.replicates if bootstrap else 0,
        precisions=tuple(precision or ()),
        threshold=threshold,
        asymmetric=asymmetric,
        backend=backend,
        threads=threads,
        save_matches=save_matches,
    )
    places: list[Path] = []
    if record:
        if out is not None:
            raise UsageError("--record and --out exclude each other", hint="--record writes into --results")
        if not files or len(target.names) > 1:
            raise UsageError("--record takes files and one split", hint="pack both sides, score split by split")
        if not bootstrap:
            raise UsageError("--record keeps intervals", hint="leave --no-bootstrap out")
        places = _places(files, name, results_folder / chosen.protocol.name, submissions)
        options.check_inputs_stay(places, inputs)
    if files and len(background or ()) > 1:
        raise UsageError("FILE takes one file of --background", hint="join the files, or give --query and --reference")
    results: list[Result] = []
    for number, submission in enumerate([[file] for file in files or ()] or [query or []]):
        splits = target.splits(submission)
        with console.progress() as progress:
            results += score_files(
                submission,
                splits,
                references=reference or (),
                backgrounds=background or (),
                options=replace(chosen, name=places[number].stem) if record else chosen,
                progress=progress,
            )
    if out is not None:
        _write(results, out, several=several)
    for result, place in zip(results, places, strict=False):
        _record(result, place)
    _show(results, out, as_json=json, several=several)
    for place in places:
        (console.note if json else console.out)(f"result recorded in {place}")


def validate(
    files: options.Files = None,
    query: options.Query = None,
    reference: options.Reference = None,
    background: options.Background = None,
    ground_truth: options.GroundTruthFile = None,
    hard_negatives: options.HardNegatives = None,
    queries: options.Queries = None,
    part: options.Parts = None,
    multi: options.Multi = False,
    split: options.Splits = None,
    root: options.Root = None,
    audit: Annotated[
        Path | None,
        typer.Option(
            help="Look for signs of copying this submission, repeated rows, and labels in norms.",
            metavar="OTHER.h5",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Check submissions as score does, without the search.

    Where no split is named and none is recognised, or its ground truth is not available, the file alone is checked, and
    a note says so.
    """
    from dataclasses import asdict

    from ndec_bench.verification.validate import validate_files

    options.check_forms(files, query, reference)
    target = options.Target(ground_truth, hard_negatives, queries, tuple(part or ()), tuple(split or ()), root, multi)
    found = []
    with console.progress() as progress:
        for submission in [[file] for file in files or ()] or [query or []]:
            splits, notes = _splits(target, submission)
            found.append(
                validate_files(
                    submission,
                    splits,
                    references=reference or (),
                    backgrounds=background or (),
                    other=audit,
                    progress=progress,
                )
            )
            found[-1].notes += notes
    if json:
        console.out_json({"files": [asdict(one) for one in found]})
        return
    for one in found:
        _show_validation(one)


def _check_outputs(out: Path | None, save_matches: Path | None, inputs: list[Path], *, several: bool) -> None:
    from ndec_bench.atomic import check_writable

    if several and save_matches is not None:
        raise UsageError("--save-matches takes one result", hint="score the submissions one by one")
    outputs = [path for path in (out, save_matches) if path is not None]
    for path in outputs:
        if path is save_matches or not several:
            check_writable(path)
    if several and out is not None and out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file, but there are several results", hint="give a folder")
    options.check_inputs_stay(outputs, inputs)


def _check_names(files: list[Path], name: str | None) -> None:
    seen: dict[str, Path] = {}
    for file in files:
        called = name or file.stem
        if called in seen:
            raise UsageError(
                f"{seen[called]} and {file} would both be the result {called}",
                hint="results are named by their files: rename one, or score them one by one with --name",
            )
        seen[called] = file


def _places(files: list[Path], name: str | None, folder: Path, submissions: Path) -> list[Path]:
    """Return where the result of each file is recorded."""
    from ndec_bench.atomic import check_writable
    from ndec_bench.descriptors import sha256_of_file
    from ndec_bench.scoring.score import is_descriptors
    from ndec_bench.submissions.card import name_of

    places: list[Path] = []
    for file in files:
        is_descriptors(file)  # it says what is wrong with a file that cannot be read
        place = folder / f"{name_of(file, sha256_of_file(file), submissions, name)}.json"
        if place in places:
            raise UsageError(f"{file} would be the second result {place}", hint="score one by one, with --name")
        check_writable(place)
        places.append(place)
    return places


def _record(result: Result, place: Path) -> None:
    """Write ``result``, and say what a row that changes needs."""
    from ndec_bench.errors import DataError
    from ndec_bench.results.record import read_result, write_result

    before = None
    if place.exists():
        try:
            before = read_result(place)
        except DataError:
            console.note(f"{place}: replaced, it was not a result of this version")
    write_result(place, result)
    if before is not None and before.predictions_sha256 != result.predictions_sha256:
        old, new = (one.parts["all"].micro_ap if "all" in one.parts else math.nan for one in (before, result))
        console.note(
            f"{place}: µAP was {old:.6f} and is {new:.6f}; a row that changes needs an entry [[changes]] in its "
            'card, which "ndec-bench submit check --base DIR" spells out'
        )


def _write(results: list[Result], out: Path, *, several: bool) -> None:
    from collections import Counter

    from ndec_bench.results.record import write_result

    if several:
        out.mkdir(parents=True, exist_ok=True)
    names = Counter(result.name for result in results)
    for result in results:
        name = result.name if names[result.name] == 1 else f"{result.name}-{result.split}"
        write_result(out / f"{name}.json" if several else out, result)


def _show(results: list[Result], out: Path | None, *, as_json: bool, several: bool) -> None:
    from ndec_bench.results.record import result_json
    from ndec_bench.results.tables import result_tables

    if as_json:
        texts = [result_json(result).rstrip("\n") for result in results]
        console.out("[\n" + ",\n".join(texts) + "\n]" if several else texts[0])
        return
    for result in results:
        console.show(result_tables(result))
    if out is not None:
        console.out(f"result written to {out}")


def _splits(target: options.Target, files: Sequence[Path]) -> tuple[list[Split], list[str]]:
    """Return what to check against; without any, if none was asked for, a note that says why."""
    from ndec_bench.errors import MissingDataError

    try:
        return target.splits(files), []
    except (MissingDataError, UsageError) as error:
        if target != options.Target(root=target.root):
            raise
        return [], [f"not checked against a split: {error}"]


def _show_validation(checked: Validation) -> None:
    from ndec_bench.printable import one_line

    facts = checked.facts
    if checked.track == "matching":
        what = f"{facts['pairs']:,} pairs of {facts['queries']:,} queries and {facts['references']:,} references"
    else:
        what = (
            f"{facts['queries']:,} queries × {facts['references']:,} references, {facts['dimensions']} dimensions, "
            f"{facts['dtype']}, {facts['metric']}"
        )
        if facts["background"]:
            what += f", {facts['background']:,} background images"
    against = f"valid for {', '.join(checked.splits)}" if checked.splits else "valid, checked against no split"
    named = facts.get("split")
    what += f", split {one_line(named)}" if named else ""
    console.out(f"{checked.file}: {checked.track} track, {what}: {against}")
    for note in checked.notes:
        console.out(f"  note: {one_line(note)}")
    for finding in (checked.audit or {}).get("findings", ()):
        console.out(f"  audit {finding['severity']}: {finding['sentence']}")
