"""``ndec-bench data``: what data is there, whether it is right, and its description for others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ndec_bench.cli import console
from ndec_bench.cli.options import Root

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_bench.data.status import FileStatus, SetStatus, Status
    from ndec_bench.data.verify import Verification

Json = Annotated[bool, typer.Option("--json", help="Print as JSON.")]

_MARKS = {"ok": "ok", "warning": "WARNING", "failed": "FAILED", "skipped": "-"}
_NAMED = 6
"""Names listed before the rest is counted."""


def register(app: typer.Typer) -> None:
    """Add the group of commands to ``app``."""
    group = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, help="What data is there, whether it is right, its description."
    )
    group.command()(status)
    group.command()(verify)
    group.command()(card)
    group.command()(forget)
    app.add_typer(group, name="data")


def status(root: Root = None, json: Json = False) -> None:
    """Show what is there, where, and what can be done next. Nothing is read but names and records."""
    from ndec_bench.data.roots import data_root
    from ndec_bench.data.status import status as status_of

    found = status_of(data_root(root))
    if json:
        console.out_json(found.model_dump(mode="json"))
    else:
        _show_status(found)


def verify(
    root: Root = None,
    part: Annotated[
        list[str] | None,
        typer.Option(help="Only this part, e.g. queries or references; may be given several times.", metavar="PART"),
    ] = None,
    no_images: Annotated[bool, typer.Option("--no-images", help="Do not decode every image.")] = False,
    jobs: Annotated[int | None, typer.Option(help="Threads that decode.", min=1, show_default="one per core")] = None,
    json: Json = False,
) -> None:
    """Check digests, counts, ids, pairs and known pictures, and decode every image.

    It can be stopped; images that were decoded are not decoded again. Exit code 4 if a check fails.
    """
    from ndec_bench.data.roots import data_root
    from ndec_bench.data.verify import check_parts
    from ndec_bench.data.verify import verify as verify_all
    from ndec_bench.errors import MissingDataError

    where, parts = data_root(root), tuple(part or ())
    check_parts(parts)
    if not no_images:
        _say_cost(where, parts)
    with console.progress() as progress:
        found = verify_all(where, parts=parts, images=not no_images, jobs=jobs, progress=progress)
    if found.empty:
        raise MissingDataError(
            f"{where}: nothing to verify is there",
            hint='name the data root with --root, or see "ndec-bench data status"',
        )
    if json:
        console.out_json({"ok": found.ok, **found.model_dump(mode="json")})
    else:
        _show_checks(found)
    if not found.ok:
        raise typer.Exit(4)


def card(
    root: Root = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write; by default it is printed.", metavar="FILE", show_default=False)
    ] = None,
) -> None:
    """Describe the data as laid out, in the Croissant format (JSON-LD) of MLCommons."""
    import json

    from ndec_bench import atomic
    from ndec_bench.data.croissant import croissant
    from ndec_bench.data.roots import data_root

    text = json.dumps(croissant(data_root(root)), indent=2, ensure_ascii=False)
    if out is None:
        console.out_json_text(text)
    else:
        atomic.write_text(out, text + "\n")
        console.out(str(out))


def forget(
    name: Annotated[str, typer.Argument(help="Data set and part, e.g. disc21/references.", metavar="SET")],
    root: Root = None,
) -> None:
    """Leave out folders of images that "download --from" took in place. They stay where they are."""
    from ndec_bench.data.layouts import forget as forget_set
    from ndec_bench.data.roots import data_root

    for folder in forget_set(data_root(root), name):
        console.out(f"left out: {folder}")


def _say_cost(root: Path, parts: tuple[str, ...]) -> None:
    from ndec_bench.cli.transfers import duration, size
    from ndec_bench.data.verify import cost
    from ndec_bench.errors import DataError

    try:
        found = cost(root, parts=parts)
    except DataError:  # the check itself reports it
        return
    if found.images:
        time = f", at most about {duration(found.seconds)} to decode on one core" if found.seconds else ""
        console.note(f"to read: {found.images:,} images, {size(found.bytes)} of archives{time}")


def _show_status(found: Status) -> None:
    from ndec_bench.cli.transfers import size

    console.table(
        f"Data root {found.root} ({size(found.disk_free)} free)",
        ("files", "state", "here", "expected", "from"),
        [_file_row(group) for group in _groups(found.files)],
        left=2,
    )
    console.table(
        "Images", ("set", "state", "where", "images"), [_set_row(images) for images in found.image_sets], left=3
    )
    # Outside the table, where paths are broken in the middle.
    for images in found.image_sets:
        for path in images.gone:
            console.paragraph(f"GONE: {path}, which was taken in place for {images.dataset} {images.part}")
    rows = [
        (truth.split, "yes" if truth.available else "no", truth.note or truth.source or "")
        for truth in found.ground_truths
    ]
    console.table("Ground truths", ("split", "here", "from"), rows, left=3)
    if found.splits:
        console.paragraph(f"Splits here: {', '.join(found.splits)}")
    console.paragraph(f"Ready: {'; '.join(found.ready) or 'nothing yet'}")
    console.out(f"Next: {found.next}")


def _groups(files: tuple[FileStatus, ...]) -> list[list[FileStatus]]:
    """Return the files, the shards of one part together; weights only where something of them is there."""
    groups: dict[tuple[str, str], list[FileStatus]] = {}
    for file in files:
        if file.dataset != "weights" or file.state != "missing":
            groups.setdefault((file.dataset, file.part), []).append(file)
    return list(groups.values())


def _file_row(group: list[FileStatus]) -> tuple[str, ...]:
    from ndec_bench.cli.transfers import size

    here, expected = sum(file.bytes for file in group), sum(file.bytes_expected for file in group)
    about = "" if all(file.bytes_exact for file in group) else "~"
    sources = sorted({file.source for file in group if file.source})
    name, states = _group_name(group), _group_state(group)
    return name, states, size(here) if here else "-", f"{about}{size(expected)}", ", ".join(sources) or "-"


def _group_name(group: list[FileStatus]) -> str:
    """Return ``references_0..19.zip`` for shards, ``negative_pair.tar.aa..ac`` for pieces, else the name."""
    first = group[0].name
    if len(group) == 1:
        return first
    shard, last = _shard(group[0]), _shard(group[-1])
    head, _, tail = first.rpartition(shard)
    return f"{head}{shard}..{last}{tail}"


def _group_state(group: list[FileStatus]) -> str:
    """Return the state all files share, or how many are in each, those that are not well with their numbers."""
    states: dict[str, list[str]] = {}
    for file in group:
        states.setdefault(file.state, []).append(_shard(file))
    if len(states) == 1:
        return group[0].state
    well = [f"{len(states[state])} of {len(group)} {state}" for state in ("verified", "present") if state in states]
    poor = [f"{state} {_listed(states[state])}" for state in ("changed", "partial", "missing") if state in states]
    return ", ".join(well + poor)


def _shard(file: FileStatus) -> str:
    """Return what tells a shard from others: its number, or the letters of a piece."""
    head, _, suffix = file.name.rpartition(".")
    return head.rpartition("_")[2] if suffix == "zip" else suffix


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} others" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _set_row(images: SetStatus) -> tuple[str, ...]:
    if images.kind == "folder":
        where = images.places[0] + (f" and {len(images.places) - 1} more" if len(images.places) > 1 else "")
    elif images.archives:
        where = f"{images.archives} of {images.archives_expected} archives"
    else:
        where = "-"
    return f"{images.dataset} {images.part}", images.state, where, f"{images.images_expected:,}"


def _show_checks(found: Verification) -> None:
    # A file that is right is one of many: only their number is of interest, and --json lists them.
    files = [check for check in found.checks if check.state == "ok" and "/" in check.name]
    rows = [(_MARKS["ok"], "files", f"{len(files)} as published or as first recorded")] if files else []
    rows += [
        (_MARKS[check.state], check.name, check.found)
        for check in found.checks
        if check.state != "skipped" and check not in files
    ]
    console.table(f"Data root {found.root}", ("", "check", "found"), rows, left=3)
    for check in found.checks:
        if check.state in {"failed", "warning"}:
            hint = f"; {check.hint}" if check.hint else ""
            console.paragraph(f"{_MARKS[check.state]} {check.name}: {check.found}; expected {check.expected}{hint}")
    skipped = [check.name for check in found.checks if check.state == "skipped"]
    if skipped:
        console.paragraph(f"Not there: {', '.join(skipped)}")
    console.out("Everything that is there is right." if found.ok else "Some of it is WRONG, see above.")
