"""``ndec-bench download``: the data of NDEC and DISC21, and weights of baselines."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ndec_bench.cli import console
from ndec_bench.cli.download_view import show_plan, show_report
from ndec_bench.cli.options import Root

if TYPE_CHECKING:
    from ndec_bench.download.cost import Plan
    from ndec_bench.download.exchange import Policy
    from ndec_bench.download.links import Links
    from ndec_bench.download.order import Order, Report

DEFAULT_RATE = 25.0


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(download)


def download(
    dataset: Annotated[str, typer.Argument(help="ndec, disc21, ndec-val or weights.", metavar="DATASET")],
    parts: Annotated[
        list[str] | None,
        typer.Argument(
            help="Parts, all by default. ndec: ground-truth, queries, references, negative-pairs, training. disc21: "
            "ground-truth, dev-queries, final-queries, references, training. weights: names of weights.",
            metavar="[PART]...",
            show_default=False,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show files, sizes, licences, disk and time; fetch nothing.")
    ] = False,
    root: Root = None,
    jobs: Annotated[int, typer.Option(help="Files fetched at a time.", min=1, max=64)] = 4,
    retries: Annotated[
        int, typer.Option(help="Tries in a row without a new byte after which a source is given up.", min=1, max=10**6)
    ] = 8,
    keep_trying: Annotated[
        bool,
        typer.Option("--keep-trying", help="Never give up a source that does not answer: ask every minute or so."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Accept the licences that are shown, and start.")] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Use no network: check what is there, say what is missing.")
    ] = False,
    links: Annotated[
        Path | None,
        typer.Option(
            help="Text file with the signed links of Meta's page, copied after its licence was accepted.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    origin: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Take archives or unpacked images that are already in this folder, in any common layout, in place.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    subset: Annotated[
        str | None,
        typer.Option(
            help="Of ndec: instead of all references the matched ones and N others, out of the remote archives.",
            metavar="matched+N",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the subset.", min=0)] = 0,
    rate: Annotated[float, typer.Option(help="Rate in MB/s for the time that is shown.", min=0.001)] = DEFAULT_RATE,
    json: Annotated[bool, typer.Option("--json", help="Print the plan or the outcome as JSON.")] = False,
) -> None:
    """Fetch data once: resumed, verified, laid out under one root.

    A run that was stopped, cut or killed goes on where it was when the same command is run again. A file that has its
    final name is whole and verified; nothing is unpacked, baselines read images out of the archives.
    """
    from ndec_bench.data.roots import data_root
    from ndec_bench.download.exchange import DEFAULT_POLICY, patient
    from ndec_bench.download.links import read_links
    from ndec_bench.download.order import order
    from ndec_bench.errors import InterruptedRun, UsageError

    if not math.isfinite(rate):
        raise UsageError(f"--rate {rate} is not a rate", hint="give MB/s: --rate 25")
    if seed and subset is None:
        raise UsageError("--seed belongs to --subset", hint="ndec-bench download ndec --subset matched+20000 --seed 1")
    where = data_root(root)
    wanted = order(dataset, parts or [], subset=subset, seed=seed)
    signed = None if links is None else read_links(links)
    if origin is not None:
        _adopt(origin, where, wanted if parts else None, dry_run=dry_run)
    plan = wanted.plan(where)
    if dry_run:
        show_plan(plan, rate * 1e6, as_json=json)
        return
    if offline:
        for note in plan.notes:
            console.note(f"warning: {note}")
        _refuse_missing(plan)
    elif plan.missing:
        show_plan(plan, rate * 1e6, to_stderr=True)
        _consent(plan, yes=yes)
    try:
        policy = replace(DEFAULT_POLICY, attempts=retries)
        report = _carry_out(wanted, plan, signed, patient(policy) if keep_trying else policy, jobs)
    except KeyboardInterrupt:
        raise InterruptedRun(
            "download stopped; what was received is kept", hint="run the same command to go on"
        ) from None
    show_report(report, as_json=json)


def _adopt(origin: Path, root: Path, wanted: Order | None, *, dry_run: bool) -> None:
    """Take what lies under ``origin`` and is ``wanted`` into the data root, in place, and say what was found."""
    from ndec_bench.data import layouts

    found = layouts.recognise(origin)
    if wanted is not None:
        found = found.only({file.key for file in wanted.files}, {(file.dataset, file.part) for file in wanted.files})
    for warning in found.warnings:
        console.note(f"warning: {warning}")
    if dry_run:
        for line in found.describe():
            console.note(f"would take: {line}")
        return
    for adopted in layouts.adopt(found, root):
        console.note(f"taken: {adopted.describe()}")


def _refuse_missing(plan: Plan) -> None:
    from ndec_bench.errors import MissingDataError

    missing = [planned.file.name for planned in plan.missing if not planned.file.optional]
    if missing:
        names = ", ".join(missing[:5]) + (f" and {len(missing) - 5} others" if len(missing) > 5 else "")
        raise MissingDataError(
            f"not under {plan.root}: {names}", hint="run without --offline, or take them from a folder with --from DIR"
        )


def _carry_out(wanted: Order, plan: Plan, links: Links | None, policy: Policy, jobs: int) -> Report:
    from ndec_bench.cli.transfers import transfers
    from ndec_bench.data.trust import accept
    from ndec_bench.download.jobs import Run, locked
    from ndec_bench.download.links import identified
    from ndec_bench.download.order import carry_out

    if links is not None and links.unnamed and plan.missing:
        console.note(f"asking what {len(links.unnamed)} links without names lead to")
        links, errors = identified(links, policy=policy)
        for error in errors:
            console.note(f"passed over: {error}")
    with locked(plan.root, writes=bool(plan.missing)):
        if plan.missing:
            accept(plan.root, tuple(licence.key for licence in plan.to_accept))
        with transfers({planned.file.name: planned.file.bytes for planned in plan.missing}) as progress:
            return carry_out(wanted, plan, Run(plan.root, links=links, policy=policy, progress=progress), jobs=jobs)


def _consent(plan: Plan, *, yes: bool) -> None:
    """Ask for the licences that are not accepted yet. Raises UsageError without an answer, InterruptedRun on a no."""
    from ndec_bench.errors import InterruptedRun, UsageError

    if not plan.to_accept:
        return
    names = " and ".join(licence.title for licence in plan.to_accept)
    if yes:
        console.note(f"accepted with --yes: {names}")
        return
    if not sys.stdin.isatty():
        raise UsageError(f"not accepted: {names}", hint="read them, then run again with --yes")
    sys.stderr.write(f"Do you accept {names}? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise InterruptedRun("not accepted; nothing was fetched")
