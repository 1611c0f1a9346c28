"""Building a split folder: plan, pictures, duplicate check, digests, one final move."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL
from pydantic import BaseModel, ConfigDict

from ndec_bench.data.split import (
    EDITS_FILE,
    GROUND_TRUTH_FILE,
    HARD_NEGATIVES_FILE,
    REFERENCES_FILE,
    SPLIT_FILE,
    SplitInfo,
    read_split_info,
)
from ndec_bench.errors import DataError, UsageError, os_errors
from ndec_bench.mini.dedup import duplicate_report
from ndec_bench.mini.items import table
from ndec_bench.mini.making import PARTS, make_all
from ndec_bench.mini.own_photos import own_plan, write_private_names
from ndec_bench.mini.packaged import NAMES, Size, packaged_plan
from ndec_bench.mini.scenes import Scene
from ndec_bench.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ndec_bench.mini.items import Item, Plan
    from ndec_bench.mini.making import PictureRecord
    from ndec_bench.mini.own_photos import Register

VERSION = 1
MARK = "ndec-mini"
LOOK_ALIKES_FILE = "look_alikes.csv"
TRAINING_PAIRS_FILE = "training_pairs.csv"
PIXELS_FILE = "pixels.csv"
FILES_FILE = "files.csv"
GROUPS = ("photos", "scenes", "edits", "truth")


class BuildReport(BaseModel):
    """What a build made.

    Attributes
    ----------
    name
        Name of the split.
    folder
        Where it lies.
    reused
        True where a finished build of the same plan was found, checked and left as it is.
    counts
        Pictures per folder and role.
    digest
        SHA-256 (hex) over the decoded pixels of all pictures, as in ``split.json``.
    verified
        True where the digests were compared with those in the package, which exist for the packaged benchmark.
    skipped
        For a user's photographs: file and reason of each that was left out. Private: never written into the split.
    seconds
        Wall time. Not part of any file.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    folder: Path
    reused: bool
    counts: dict[str, int]
    digest: str
    verified: bool
    skipped: tuple[tuple[str, str], ...] = ()
    seconds: float = 0.0

    def as_json(self) -> dict[str, object]:
        """Return the report as JSON values, without the names of skipped files."""
        return {**self.model_dump(mode="json"), "skipped": len(self.skipped)}


def build(
    out: Path,
    *,
    size: Size = "full",
    photos: Path | None = None,
    seed: int = 0,
    jobs: int = 2,
    progress: Progress = silent,
) -> BuildReport:
    """Return the report of building a split into the folder ``out``.

    Without ``photos`` it is ``ndec-mini-1`` (``size`` full) or ``ndec-mini-1-small``, and the digest of its pixels
    is compared with the one in the package. With ``photos`` it is made from the pictures of that folder; a sub-folder
    is a group of look-alikes. Work goes on in ``out`` + ``.partial`` and is moved at the end, so a build that was
    stopped continues, and ``out`` is complete or not there. A finished build of the same plan is checked and kept.

    Parameters
    ----------
    out
        Folder to make.
    size
        Without ``photos``: which of the two.
    photos
        Folder of a user's own photographs.
    seed
        Another number gives other scenes, edits and roles, under another name.
    jobs
        Processes. From 2 on they are spawned: a script that calls this needs a ``__main__`` guard.
    progress
        Called as pictures are finished.

    Raises
    ------
    UsageError
        If ``size`` or ``jobs`` is out of range.
    DataError
        If ``out`` holds something else, pictures are missing or unreadable, or the pixels differ from the package's
        digest.
    InterruptedRun
        If the user stops it.
    """
    started = time.monotonic()
    if size not in NAMES or jobs < 1:
        raise UsageError(f"size {size!r} and {jobs} jobs", hint="size is small or full, jobs at least 1")
    register: Register | None = None
    if photos is None:
        plan = packaged_plan(size, seed)
    else:
        plan, register = own_plan(photos, out, seed, progress)
    finished = _finished(out, plan)
    if register is not None:
        write_private_names(out, register)
    return BuildReport(
        name=plan.name,
        folder=out,
        reused=finished is not None,
        counts=_counts(plan.items),
        digest=finished or _built(out, plan, jobs, progress),
        verified=bool(plan.expected),
        skipped=() if register is None else register.skipped,
        seconds=round(time.monotonic() - started, 3),
    )


def _finished(out: Path, plan: Plan) -> str | None:
    """Return the digest of a finished build of ``plan`` in ``out``; None where there is nothing yet."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        info = read_split_info(out)
    except DataError:
        info = None
    if info is None or info.built_by != MARK or info.digest is None:
        raise DataError(
            f"{out}: holds something that is not a built split; nothing was changed", hint="choose another --out"
        )
    if info.plan != plan.sha256():
        raise DataError(
            f"{out}: holds {info.name!r} of another plan, {plan.name!r} was asked for; nothing was changed",
            hint="choose another --out, or remove that folder",
        )
    _compare(plan, info.digests)
    damaged = _damaged(out, info.digest)
    if damaged:
        raise DataError(f"{out}: {damaged}", hint="remove that folder and build again")
    return info.digest


def _damaged(out: Path, digest: str) -> str:
    """Return what is wrong with a finished build, by the digest of ``pixels.csv`` and all file sizes; else nothing."""
    try:
        pixels = (out / PIXELS_FILE).read_bytes()
        with (out / FILES_FILE).open(encoding="utf-8", newline="") as file:
            sizes = {row["path"]: int(row["bytes"]) for row in csv.DictReader(file)}
    except (OSError, ValueError, KeyError) as error:
        return f"incomplete ({error})"
    if hashlib.sha256(pixels).hexdigest() != digest:
        return f"{PIXELS_FILE} was changed"
    for path, size in sizes.items():
        found = (out / path).stat().st_size if (out / path).is_file() else None
        if found != size:
            return f"{path} has {found} bytes, {size} expected" if found is not None else f"{path} is missing"
    return ""


def _built(out: Path, plan: Plan, jobs: int, progress: Progress) -> str:
    partial = out.with_name(out.name + ".partial")
    _start(partial, plan)
    made = make_all(plan, partial, jobs, progress)
    progress("checking for duplicates", 0, 1)
    report = duplicate_report(plan.items, made, plan.ids)
    contents = _texts(plan, made)
    digests = _group_digests(plan, made, contents)
    _compare(plan, digests)
    digest = hashlib.sha256(contents[PIXELS_FILE].encode()).hexdigest()
    info = SplitInfo(
        name=plan.name,
        version=VERSION,
        built_by=MARK,
        plan=plan.sha256(),
        digest=digest,
        digests=digests,
        counts=_counts(plan.items),
        provenance=plan.provenance,
        dedup=report,
    )
    files = sorted((m.path, m.size, m.file) for m in made.values())
    contents[FILES_FILE] = table(("path", "bytes", "sha256"), files)
    contents[SPLIT_FILE] = info.model_dump_json(indent=1) + "\n"
    for name, content in contents.items():  # split.json last
        (partial / name).write_text(content, encoding="utf-8", newline="")
    progress("checking for duplicates", 1, 1)
    shutil.rmtree(partial / PARTS)
    (partial / "plan.txt").unlink()
    if out.is_dir():
        out.rmdir()  # empty: `_finished` saw to it
    partial.replace(out)
    return digest


def _start(partial: Path, plan: Plan) -> None:
    """Make ``partial`` ready: continue work on the same plan, clear away that on another."""
    mark = partial / "plan.txt"
    if partial.exists() and (not mark.is_file() or mark.read_text(encoding="utf-8") != plan.sha256()):
        if any(partial.iterdir()) and not mark.is_file():
            raise DataError(
                f"{partial}: exists and is not an unfinished build", hint="move it away or choose another --out"
            )
        shutil.rmtree(partial)
    with os_errors(f"{partial}: cannot be written", hint="choose another --out"):
        partial.mkdir(parents=True, exist_ok=True)
        mark.write_text(plan.sha256(), encoding="utf-8")


def _compare(plan: Plan, digests: dict[str, str]) -> None:
    different = [group for group in GROUPS if group in plan.expected and plan.expected[group] != digests.get(group)]
    if different:
        found = ", ".join(f"{group} {digests.get(group, 'none')[:16]}" for group in different)
        expected = ", ".join(plan.expected[group][:16] for group in different)
        raise DataError(
            f"{plan.name}: pixels differ in {found} (expected {expected});"
            f" Pillow {PIL.__version__}, numpy {np.__version__}",
            hint="these are not the published pictures: install the versions of constraints.txt and build again",
        )


def _texts(plan: Plan, made: dict[str, PictureRecord]) -> dict[str, str]:
    """Return file name to content of everything but ``split.json`` and ``files.csv``."""
    ids, items = plan.ids, plan.items
    queries = [item for item in items if item.folder == "queries"]
    truth = sorted((ids[q.key], ids[q.partner] if q.role == "copy" else "") for q in queries)
    alike = sorted((ids[i.key], ids[i.partner], i.why) for i in items if i.role in ("hard", "look-alike"))
    pairs = sorted((ids[i.key], ids[i.partner], i.why) for i in items if i.role == "train look-alike")
    pixels = sorted((m.path, m.width, m.height, m.pixels) for m in made.values())
    return {
        GROUND_TRUTH_FILE: table(("query_id", "reference_id"), truth),
        HARD_NEGATIVES_FILE: _lines(ids[q.key] for q in queries if q.role == "hard"),
        REFERENCES_FILE: _lines(ids[i.key] for i in items if i.folder == "references"),
        EDITS_FILE: table(
            ("query_id", "step", "kind", "strength", "remaining_area", "reference_id", "parameters"),
            sorted(row for query in queries for row in _edit_rows(plan, query, made[query.key])),
        ),
        LOOK_ALIKES_FILE: table(("image_id", "reference_id", "why"), alike),
        TRAINING_PAIRS_FILE: table(("image_id", "look_alike_of", "why"), pairs),
        PIXELS_FILE: table(("path", "width", "height", "sha256"), pixels),
    }


def _edit_rows(plan: Plan, query: Item, made: PictureRecord) -> list[tuple[object, ...]]:
    reference = plan.ids[query.partner] if query.role == "copy" else ""
    return [
        (plan.ids[query.key], n, step.kind, step.strength, f"{made.remaining:.6f}", reference,
         json.dumps(dict(step.parameters), sort_keys=True))
        for n, step in enumerate(query.chain, start=1)
    ]  # fmt: skip


def _group_digests(plan: Plan, made: dict[str, PictureRecord], contents: dict[str, str]) -> dict[str, str]:
    """Return one SHA-256 (hex) per group: decoded pixels of photographs, scenes, edited pictures; the truth files."""
    rows: dict[str, list[str]] = {"photos": [], "scenes": [], "edits": []}
    for item in plan.items:
        group = "edits" if item.chain else "scenes" if isinstance(item.source, Scene) else "photos"
        rows[group].append(f"{made[item.key].path} {made[item.key].pixels}")
    digests = {group: hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest() for group, found in rows.items()}
    truth = "".join(contents[name] for name in sorted(contents) if name != PIXELS_FILE)
    return {**digests, "truth": hashlib.sha256(truth.encode()).hexdigest()}


def _counts(items: Sequence[Item]) -> dict[str, int]:
    """Return how many pictures there are of each folder and of each role, by name."""
    names = (name for item in items for name in (item.folder, f"{item.folder}: {item.role}"))
    return dict(sorted(Counter[str](names).items()))


def _lines(ids: Iterable[str]) -> str:
    """Return sorted ids, one per line."""
    return "".join(f"{identifier}\n" for identifier in sorted(ids))
