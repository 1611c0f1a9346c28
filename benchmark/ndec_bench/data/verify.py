"""Whether the data under a root is what it must be: digests, counts, ids, known pictures, and every image decoded."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from ndec_bench.data import known, layouts
from ndec_bench.data.decoding import decode_all
from ndec_bench.data.made import made_folders, read_made
from ndec_bench.data.registry import image_sets, pictures, remote_files
from ndec_bench.data.trust import Trusted, read_trust, record, sha256_of
from ndec_bench.errors import DataError, InterruptedRun, MissingDataError
from ndec_bench.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from PIL import Image

    from ndec_bench.data.images import ImageSource
    from ndec_bench.data.registry import ImageSet, RemoteFile

CheckState = Literal["ok", "warning", "failed", "skipped"]

_NDEC = ("ndec", "queries")
_PAIRS = ("ndec", "negative-pairs")
_REFERENCES = ("disc21", "references")
_PER_SHARD = 50_000
_PAIR_FOLDERS = 100_000
_COMPARED = 20
_SMALL = (32, 32)
_SAME = 4.0
"""Mean difference of 8-bit pixels, scaled to 32 x 32, up to which two files show the same picture encoded twice."""
_SAMPLE = 50
_TRAINING = re.compile(r"T[0-9]{6}")


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Check(_Record):
    """One thing that was looked at: what was found, what was expected, and the next step where they differ."""

    name: str
    state: CheckState
    found: str
    expected: str = ""
    hint: str | None = None


class Verification(_Record):
    """All checks, in the order in which they were made."""

    root: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Return whether no check failed."""
        return all(check.state != "failed" for check in self.checks)


@dataclass(frozen=True)
class Cost:
    """What a verification reads: images, bytes, and about how long at the rate of a sample; None if unknown."""

    images: int
    bytes: int
    seconds: float | None


def verify(
    root: Path, *, parts: Sequence[str] = (), images: bool = True, jobs: int | None = None, progress: Progress = silent
) -> Verification:
    """Return what was checked of the data under ``root``. What is not there is told as skipped.

    Parameters
    ----------
    root
        Data root.
    parts
        Parts to check (``queries``, ``references``, ...); all by default.
    images
        Whether every image is decoded. That takes hours for all of DISC21; it goes on where it was stopped.
    jobs
        Threads that decode; by default one per core.
    progress
        Told of files read, in bytes, and of images decoded.

    Raises
    ------
    DataError
        If the trust file is damaged or cannot be written.
    InterruptedRun
        If the user interrupts; what was decoded is kept.
    """
    try:
        return Verification(root=str(root), checks=tuple(_checks(root, parts, images, jobs, progress)))
    except KeyboardInterrupt:
        raise InterruptedRun("stopped; what was decoded is kept", hint="the same command goes on from there") from None


def cost(root: Path, *, parts: Sequence[str] = ()) -> Cost:
    """Return what `verify` would read under ``root``, its time by the rate of up to 50 images.

    Raises
    ------
    DataError
        If the record of folders is damaged.
    """
    total, size, seconds = 0, 0, 0.0
    for name, expected in image_sets().items():
        holding = layouts.find(root, *name)
        if holding is None or (parts and expected.part not in parts):
            continue
        try:
            source = layouts.open_set(root, *name)
        except DataError:  # told by the check itself
            continue
        total += len(source.ids)
        size += sum(path.stat().st_size for path in holding.paths if path.is_file())
        sample = source.ids[:: max(1, len(source.ids) // _SAMPLE)][:_SAMPLE]
        begun = time.perf_counter()
        for each in sample:
            try:
                source.read(each)
            except DataError:
                continue
        seconds += (time.perf_counter() - begun) / max(len(sample), 1) * len(source.ids)
    return Cost(total, size, seconds or None)


def _checks(root: Path, parts: Sequence[str], images: bool, jobs: int | None, progress: Progress) -> Iterator[Check]:
    for file in remote_files():
        yield from _file(file, root, parts, progress)
    if not parts or "ground-truth" in parts:
        for split in known.KNOWN:
            yield _truth(split, root)
    opened: dict[tuple[str, str], ImageSource] = {}
    for name, expected in image_sets().items():
        if not parts or expected.part in parts:
            yield from _set(name, root, opened, progress)
    yield from _known_pictures(opened)
    yield from _collision(opened)
    if not parts:
        for folder in made_folders(root):
            yield _made(folder)
    if images:
        for name, source in opened.items():
            yield _decoded(name, source, root, jobs, progress)


def _file(file: RemoteFile, root: Path, parts: Sequence[str], progress: Progress) -> Iterator[Check]:
    path = file.path(root)
    wanted = file.part in parts or ("ground-truth" in parts and file.ground_truth is not None)
    if not path.is_file() or (parts and not wanted):
        return
    name = f"{file.dataset}/{file.name}"
    trusted = read_trust(root).files.get(name)
    expected = file.sha256 or (trusted.sha256 if trusted else None)
    try:
        digest = sha256_of(path, progress, f"reading {file.name}")
    except DataError as error:
        yield Check(name=name, state="failed", found=error.message, expected=expected or "", hint=error.hint)
        return
    if expected is None:
        stat = path.stat()
        record(root, name, Trusted(bytes=stat.st_size, sha256=digest, source="local", mtime_ns=stat.st_mtime_ns))
        yield Check(name=name, state="ok", found=f"SHA-256 {digest}", expected="recorded now, at first sight")
    elif digest == expected:
        yield Check(name=name, state="ok", found=f"SHA-256 {digest}", expected=expected)
    else:
        hint = f"remove {path} and fetch it again" if file.sha256 else "see docs/data.md, Trust"
        yield Check(name=name, state="failed", found=f"SHA-256 {digest}", expected=expected, hint=hint)


def _truth(name: str, root: Path) -> Check:
    title = f"ground truth of {name}"
    split = known.KNOWN[name]
    expected = f"{split.queries:,} queries, {split.positives:,} pairs, SHA-256 {split.pairs_sha256}"
    try:
        loaded = known.load(name, root)
    except MissingDataError as error:
        return Check(name=title, state="skipped", found="not there", expected=expected, hint=error.hint)
    except DataError as error:
        return Check(name=title, state="failed", found=error.message, expected=expected, hint=error.hint)
    truth = loaded.truth
    found = f"{len(truth.query_ids):,} queries, {len(truth.pairs):,} pairs, SHA-256 {truth.sha256}"
    return Check(name=title, state="ok", found=f"{found} ({loaded.source})", expected=expected)


def _set(
    name: tuple[str, str], root: Path, opened: dict[tuple[str, str], ImageSource], progress: Progress
) -> Iterator[Check]:
    title = f"{' '.join(name)}: images"
    expected = image_sets()[name]
    try:
        source = layouts.open_set(root, *name, progress=progress)
    except MissingDataError as error:
        yield Check(name=title, state="skipped", found="not there", expected=f"{expected.images:,}", hint=error.hint)
        return
    except DataError as error:
        yield Check(name=title, state="failed", found=error.message, expected=f"{expected.images:,}", hint=error.hint)
        return
    opened[name] = source
    if name == _NDEC:
        yield from _ndec_queries(source, root)
    elif name == _PAIRS:
        yield _pairs(source)
    else:
        yield _counted(title, expected, source, root)


def _ndec_queries(source: ImageSource, root: Path) -> Iterator[Check]:
    """Yield the counts of NDEC's two kinds of queries, and whether they are those of the ground truth."""
    split = known.KNOWN["ndec"]
    isc = sum(known.is_isc(each) for each in source.ids)
    hard = len(source.ids) - isc
    expected = f"{len(split.numbers) + split.hard_negatives:,} = {len(split.numbers):,} + {split.hard_negatives:,}"
    right = (isc, hard) == (len(split.numbers), split.hard_negatives)
    yield Check(
        name="ndec queries: ISC queries + hard negatives",
        state="ok" if right else "failed",
        found=f"{len(source.ids):,} = {isc:,} + {hard:,}",
        expected=expected,
        hint=None if right else "the archive is not NDEC's, not whole, or mixed with DISC21's: fetch it again",
    )
    try:
        truth = known.load("ndec", root).truth
    except DataError:
        yield Check(name="ndec queries: ids", state="skipped", found="no ground truth to compare with")
        return
    differ = sorted(set(truth.query_ids).symmetric_difference(source.ids))
    yield Check(
        name="ndec queries: ids",
        state="failed" if differ else "ok",
        found=f"{len(differ):,} differ: {', '.join(differ[:5])}" if differ else "those of the ground truth",
        expected="those of the ground truth",
        hint="archive or ground truth is not NDEC's: fetch both again" if differ else None,
    )


def _pairs(source: ImageSource) -> Check:
    folders: dict[str, list[str]] = {}
    for each in source.ids:
        folder, _, stem = each.rpartition("/")
        folders.setdefault(folder, []).append(stem)
    strange = [
        folder
        for folder, stems in sorted(folders.items())
        if len(stems) != 2 or sum(bool(_TRAINING.fullmatch(stem)) for stem in stems) != 1
    ]
    right = not strange and len(folders) == _PAIR_FOLDERS
    return Check(
        name="ndec negative-pairs: folders",
        state="ok" if right else "failed",
        found=f"{len(folders):,}"
        + (f", {len(strange):,} without one training image and one other: {', '.join(strange[:5])}" if strange else ""),
        expected=f"{_PAIR_FOLDERS:,} with one training image and one other each",
        hint=None if right else "fetch the three pieces again",
    )


def _counted(title: str, expected: ImageSet, source: ImageSource, root: Path) -> Check:
    """Return the count of a set whose numbers run without a gap, with what is missing by shards of 50,000."""
    present = {int(each[1:]) for each in source.ids}
    first = expected.first or 0
    missing = [number for number in range(first, first + expected.images) if number not in present]
    if not missing:
        return Check(name=title, state="ok", found=f"{len(present):,}", expected=f"{expected.images:,}")
    shards: dict[int, int] = {}
    for number in missing:
        shards[number // _PER_SHARD] = shards.get(number // _PER_SHARD, 0) + 1
    named = ", ".join(f"{count:,} of shard {shard}" for shard, count in islice(shards.items(), 5))
    ceiling = _ceiling(source, root) if (expected.dataset, expected.part) == _REFERENCES else ""
    return Check(
        name=title,
        state="warning",
        found=f"{len(present):,}; missing {len(missing):,}: {named}{' and others' if len(shards) > 5 else ''}{ceiling}",
        expected=f"{expected.images:,}",
        hint=f'"ndec-bench download {expected.dataset} {expected.part}"; until then results are partial',
    )


def _ceiling(source: ImageSource, root: Path) -> str:
    try:
        pairs = known.load("disc21-dev2", root).truth.pairs
    except DataError:
        return ""
    present = frozenset(source.ids)
    matched = sum(reference in present for _, reference in pairs)
    reach = f"recall on NDEC can reach {matched / len(pairs):.4f}"
    return f"; {matched:,} of {len(pairs):,} matched references are there: {reach}"


def _known_pictures(opened: dict[tuple[str, str], ImageSource]) -> Iterator[Check]:
    """Yield for each set whether its pictures with a published digest are those."""
    for name, source in opened.items():
        if name == _PAIRS:
            continue
        there = [each for each in pictures() if _has(source, each)]
        if not there:
            continue
        title = f"{' '.join(name)}: known pictures"
        try:
            yield _as_published(title, there, name, opened)
        except DataError as error:
            yield Check(name=title, state="failed", found=error.message, expected="as published", hint=error.hint)


def _as_published(
    title: str, there: Sequence[str], name: tuple[str, str], opened: Mapping[tuple[str, str], ImageSource]
) -> Check:
    source = opened[name]
    differ = [each for each in there if hashlib.sha256(source.read_bytes(each)).hexdigest() != pictures()[each]]
    if not differ:
        return Check(name=title, state="ok", found=f"{len(there)} as published", expected=f"{len(there)} as published")
    if name == _NDEC:
        return _re_encoded(title, differ, source, opened.get(("disc21", "dev-queries")))
    return Check(
        name=title,
        state="failed",
        found=f"{len(differ)} of {len(there)} differ: {', '.join(differ[:5])}",
        expected="as published",
        hint="these are not the files of DISC21",
    )


def _re_encoded(title: str, differ: Sequence[str], source: ImageSource, original: ImageSource | None) -> Check:
    """Return whether NDEC's files with other bytes than DISC21's show the same pictures."""
    both = [each for each in differ if original is not None and _has(original, each)]
    if original is None or not both:
        return Check(
            name=title,
            state="warning",
            found=f"{len(differ)} have other bytes than in DISC21: encoded again, or other pictures",
            expected="as published",
            hint='"ndec-bench download disc21 dev-queries" makes a comparison of the pixels possible',
        )
    others = [each for each in both if _difference(source.read(each), original.read(each)) > _SAME]
    return Check(
        name=title,
        state="failed" if others else "ok",
        found=f"other pictures: {', '.join(others[:5])}" if others else "encoded again, the same pictures",
        expected="the pictures of DISC21",
        hint="the archive is not NDEC's" if others else None,
    )


def _difference(first: Image.Image, second: Image.Image) -> float:
    pixels = [np.asarray(image.resize(_SMALL), dtype=np.int16) for image in (first, second)]
    return float(np.abs(pixels[0] - pixels[1]).mean())


def _made(folder: Path) -> Check:
    title = f"{folder.name}: pictures"
    hint = f'remove {folder} and make it again with "ndec-bench download"'
    try:
        made = read_made(folder)
    except DataError as error:
        return Check(name=title, state="failed", found=error.message, hint=error.hint)
    same = made.sha256 == made.recorded
    found = f"{made.pictures:,}, SHA-256 {made.sha256}"
    return Check(
        name=title, state="ok" if same else "failed", found=found, expected=made.recorded, hint=None if same else hint
    )


def _collision(opened: dict[tuple[str, str], ImageSource]) -> Iterator[Check]:
    """Yield whether NDEC's queries from Q50000 on are other pictures than DISC21 final's of the same ids."""
    ndec, final = opened.get(_NDEC), opened.get(("disc21", "final-queries"))
    if ndec is None or final is None:
        return
    shared = sorted(set(ndec.ids).intersection(final.ids))
    title, expected = "ndec queries: apart from DISC21 final", "other pictures under the same ids"
    sample = shared[:: max(1, len(shared) // _COMPARED)][:_COMPARED]
    try:
        same = [each for each in sample if ndec.read_bytes(each) == final.read_bytes(each)]
    except DataError as error:
        yield Check(name=title, state="failed", found=error.message, expected=expected, hint=error.hint)
        return
    yield Check(
        name=title,
        state="failed" if same else "ok",
        found=f"{len(same)} of {len(sample)} with the same id are the same file: {', '.join(same[:5])}"
        if same
        else f"{len(sample)} with the same id are other files",
        expected=expected,
        hint="DISC21 final queries stand in the place of NDEC's hard negatives: fetch NDEC's archive again"
        if same
        else None,
    )


def _decoded(name: tuple[str, str], source: ImageSource, root: Path, jobs: int | None, progress: Progress) -> Check:
    title = " ".join(name)
    holding = layouts.find(root, *name)
    failures = decode_all(source, root, f"{name[0]}/{name[1]}", holding, jobs=jobs, progress=progress)
    first = next(iter(failures.values()), "")
    return Check(
        name=f"{title}: decoded",
        state="failed" if failures else "ok",
        found=f"{len(failures):,} of {len(source.ids):,} do not: {', '.join(islice(failures, 20))} ({first})"
        if failures
        else f"{len(source.ids):,}",
        expected="every image decodes",
        hint="fetch the archive again, or report the images" if failures else None,
    )


def _has(source: ImageSource, each: str) -> bool:
    from bisect import bisect_left

    ids = source.ids
    at = bisect_left(ids, each)
    return at < len(ids) and ids[at] == each
