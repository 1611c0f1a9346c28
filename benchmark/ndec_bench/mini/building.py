"""Building a split folder: plan, pictures, duplicate check, digests, one final move."""

from __future__ import annotations

import csv
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL
from pydantic import BaseModel, ConfigDict

from ndec_bench.data.split import SplitInfo, read_split_info
from ndec_bench.errors import DataError, UsageError
from ndec_bench.mini.dedup import duplicate_report
from ndec_bench.mini.making import PARTS, make_all
from ndec_bench.mini.own_photos import own_plan, write_private_names
from ndec_bench.mini.packaged import NAMES, Size, packaged_plan
from ndec_bench.mini.writing import (
    FILES_FILE,
    GROUPS,
    PIXELS_FILE,
    counts,
    group_digests,
    pixels_digest,
    texts,
    write_texts,
)
from ndec_bench.progress import Progress, silent

if TYPE_CHECKING:
    from ndec_bench.mini.own_photos import Register
    from ndec_bench.mini.plan import Plan

VERSION = 1
MARK = "ndec-mini"


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
    plan, register = _planned(out, size, photos, seed, progress)
    finished = _finished(out, plan)
    if register is not None:
        write_private_names(out, register)
    if finished is None:
        finished = _built(out, plan, jobs, progress)
    digest, reused = finished
    skipped = () if register is None else register.skipped
    seconds = round(time.monotonic() - started, 3)
    return BuildReport(
        name=plan.name,
        folder=out,
        reused=reused,
        counts=counts(plan.items),
        digest=digest,
        verified=bool(plan.expected),
        skipped=skipped,
        seconds=seconds,
    )


def _planned(out: Path, size: Size, photos: Path | None, seed: int, progress: Progress) -> tuple[Plan, Register | None]:
    return (packaged_plan(size, seed), None) if photos is None else own_plan(photos, out, seed, progress)


def _finished(out: Path, plan: Plan) -> tuple[str, bool] | None:
    """Return the digest of a finished build of ``plan`` in ``out``; None where there is nothing yet."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    info = _info_of(out)
    if info is None or info.built_by != MARK or info.digest is None:
        raise DataError(
            f"{out}: holds something that is no built split; nothing was changed", hint="choose another --out"
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
    return info.digest, True


def _info_of(out: Path) -> SplitInfo | None:
    try:
        return read_split_info(out)
    except DataError:
        return None


def _damaged(out: Path, digest: str) -> str:
    """Return what is wrong with a finished build, by the digest of ``pixels.csv`` and all file sizes; else ''."""
    try:
        contents = {PIXELS_FILE: (out / PIXELS_FILE).read_text(encoding="utf-8")}
        with (out / FILES_FILE).open(encoding="utf-8", newline="") as file:
            sizes = {row["path"]: int(row["bytes"]) for row in csv.DictReader(file)}
    except (OSError, ValueError, KeyError) as error:
        return f"incomplete ({error})"
    if pixels_digest(contents) != digest:
        return f"{PIXELS_FILE} was changed"
    for path, size in sizes.items():
        found = (out / path).stat().st_size if (out / path).is_file() else None
        if found != size:
            return f"{path} has {found} bytes, {size} expected" if found is not None else f"{path} is missing"
    return ""


def _built(out: Path, plan: Plan, jobs: int, progress: Progress) -> tuple[str, bool]:
    partial = out.with_name(out.name + ".partial")
    _start(partial, plan)
    made = make_all(plan, partial, jobs, progress)
    progress("checking for duplicates", 0, 1)
    report = duplicate_report(plan.items, made, plan.ids)
    contents = texts(plan, made)
    digests = group_digests(plan, made, contents)
    _compare(plan, digests)
    digest = pixels_digest(contents)
    info = SplitInfo(
        name=plan.name,
        version=VERSION,
        built_by=MARK,
        plan=plan.sha256(),
        digest=digest,
        digests=digests,
        counts=counts(plan.items),
        provenance=plan.provenance,
        dedup=report,
    )
    write_texts(partial, contents, info, made)
    progress("checking for duplicates", 1, 1)
    shutil.rmtree(partial / PARTS)
    (partial / "plan.txt").unlink()
    if out.is_dir():
        out.rmdir()  # empty: `_finished` saw to it
    partial.replace(out)
    return digest, False


def _start(partial: Path, plan: Plan) -> None:
    """Make ``partial`` ready: continue work on the same plan, clear away that on another."""
    mark = partial / "plan.txt"
    if partial.exists() and (not mark.is_file() or mark.read_text(encoding="utf-8") != plan.sha256()):
        if any(partial.iterdir()) and not mark.is_file():
            raise DataError(
                f"{partial}: exists and is no unfinished build", hint="move it away or choose another --out"
            )
        shutil.rmtree(partial)
    try:
        partial.mkdir(parents=True, exist_ok=True)
        mark.write_text(plan.sha256(), encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"{partial}: cannot be written ({error.strerror or error})", hint="choose another --out"
        ) from error


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
