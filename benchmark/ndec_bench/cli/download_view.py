"""How ``ndec-bench download`` shows its plan and its outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from ndec_bench.cli import console

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ndec_bench.download.cost import Plan, Planned
    from ndec_bench.download.jobs import Outcome
    from ndec_bench.download.order import Report
    from ndec_bench.errors import NdecBenchError


def show_plan(plan: Plan, rate: float, *, as_json: bool = False, to_stderr: bool = False) -> None:
    """Print ``plan`` with the time it takes at ``rate`` bytes per second: table and words, or JSON."""
    from ndec_bench.download.cost import plan_json

    if as_json:
        console.out_json(plan_json(plan, rate=rate))
        return
    rows = [_plan_row(group) for group in _groups(plan)]
    columns = ("part", "files", "size", "here", "source", "licence")
    console.table(f"Data root {plan.root}", columns, rows, left=2, to_stderr=to_stderr)
    for line in (*plan.notes, *_plan_lines(plan, rate)):
        console.paragraph(line, to_stderr=to_stderr)


def _groups(plan: Plan) -> list[list[Planned]]:
    """Return the files of the plan, those that differ in their number alone together."""
    groups: dict[tuple[str, ...], list[Planned]] = {}
    for planned in plan.all:
        stem = planned.file.name.rstrip("0123456789abc") if planned.file.unpack == "tar-chunk" else ""
        shard = planned.file.images is not None and planned.file.unpack == "zip"
        key = (planned.file.part, planned.file.dataset, stem if stem else "" if shard else planned.file.name)
        groups.setdefault(key, []).append(planned)
    return list(groups.values())


def _plan_row(group: list[Planned]) -> tuple[str, ...]:
    from ndec_bench.cli.transfers import size

    first, last = group[0].file, group[-1].file
    name = first.name if len(group) == 1 else f"{first.name} .. {last.name} ({len(group)})"
    total, done = sum(planned.file.bytes for planned in group), sum(planned.done for planned in group)
    about = "" if all(planned.file.bytes_exact for planned in group) else "~"
    held = next((planned.held for planned in group if planned.held), None)
    here = "unpacked" if held else "all" if all(p.state == "present" for p in group) else size(done) if done else "-"
    return first.part, name, f"{about}{size(total)}", here, first.sources[0].kind, first.licence


def _plan_lines(plan: Plan, rate: float) -> Iterator[str]:
    """Yield what is to be fetched, disk and time, and the terms, in words."""
    from ndec_bench.cli.transfers import duration, size
    from ndec_bench.download.sources import mirror_of, shown

    if not plan.missing:
        yield "Everything is here."
        return
    mirrors = {source.kind: mirror_of(source) for planned in plan.missing for source in planned.file.sources}
    for kind, mirror in sorted(mirrors.items()):
        if mirror is not None:
            yield f"In place of {kind}: {shown(mirror)}"
    about = "" if plan.bytes_exact else "about "
    yield (
        f"To fetch: {about}{size(plan.bytes_left)} of {size(plan.bytes_total)}"
        + (" (~ marks estimates: the publishers give no exact sizes)" if about else "")
        + f". Disk: {size(plan.disk_free)} free{'' if plan.fits else ', WHICH IS NOT ENOUGH'}."
    )
    yield f"Time: {about}{duration(plan.seconds(rate))} at {size(rate)}/s (--rate)."
    if any(planned.file.unpack != "none" for planned in plan.missing):
        yield "Nothing is unpacked: images are read out of the archives."
    for licence in plan.licences:
        accepted = " Accepted." if licence.key in plan.accepted else ""
        yield f"Licence {licence.key}: {licence.title}. {licence.summary} {licence.url}{accepted}"


def show_report(report: Report, *, as_json: bool) -> None:
    """Print ``report``: lines, or JSON. Raises typer.Exit with the documented code if a file failed."""
    if as_json:
        console.out_json(_report_json(report))
    else:
        for outcome in report.outcomes:
            _show_outcome(outcome)
        if report.truth is not None:
            console.paragraph(report.truth.note)
        if report.subset is not None:
            console.paragraph(report.subset.describe())
        if report.val is not None:
            console.paragraph(report.val.describe())
    if report.failed:
        raise typer.Exit(
            _failure(report).exit_code if as_json else console.report_error(_failure(report), as_json=False)
        )


def _show_outcome(outcome: Outcome) -> None:
    from ndec_bench.cli.transfers import size

    if outcome.state == "failed":
        console.note(f"{outcome.file.name}: FAILED: {outcome.error}")
        return
    for reason in outcome.notes:
        console.note(f"{outcome.file.name}: passed over: {reason}")
    if outcome.warning is not None:
        console.note(f"{outcome.file.name}: WARNING: {outcome.warning}")
    how = f"fetched from {outcome.source}" if outcome.state == "fetched" else f"was here (from {outcome.source})"
    console.out(f"{outcome.file.name}: {size(outcome.bytes)}, {how}: {outcome.path}")


def _failure(report: Report) -> NdecBenchError:
    """Return one error for all failed files, of the kind of the first."""
    from ndec_bench.errors import NetworkError

    first = report.failed[0].error or NetworkError("failed")
    if len(report.failed) == 1:
        return first
    names = ", ".join(outcome.file.name for outcome in report.failed[:5])
    more = f" and {len(report.failed) - 5} others" if len(report.failed) > 5 else ""
    return type(first)(
        f"{len(report.failed)} of {len(report.outcomes)} files failed: {names}{more}",
        hint="the others are in place; run the same command again to go on",
    )


def _report_json(report: Report) -> dict[str, object]:
    failed = None
    if report.failed:
        error = _failure(report)
        failed = {"kind": error.kind, "message": error.message, "hint": error.hint, "exit_code": error.exit_code}
    truth = report.truth
    return {
        "files": [_outcome_json(outcome) for outcome in report.outcomes],
        "ground_truth": None
        if truth is None
        else {"used": truth.used, "path": None if truth.path is None else str(truth.path), "note": truth.note},
        "subset": None if report.subset is None else report.subset.as_json(),
        "val": None if report.val is None else report.val.as_json(),
        **({"error": failed} if failed else {}),
    }


def _outcome_json(outcome: Outcome) -> dict[str, object]:
    return {
        "name": outcome.file.name,
        "dataset": outcome.file.dataset,
        "part": outcome.file.part,
        "state": outcome.state,
        "source": outcome.source,
        "bytes": outcome.bytes,
        "sha256": outcome.sha256,
        "path": str(outcome.path),
        "passed_over": list(outcome.notes),
        "warning": outcome.warning,
        "error": None if outcome.error is None else str(outcome.error),
    }
