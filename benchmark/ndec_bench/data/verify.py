"""Whether the data under a root is what it must be: digests, counts, ids, known pictures, and every image decoded."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from ndec_bench.data import known, layouts
from ndec_bench.data.decoding import decode_all
from ndec_bench.data.images import place_of
from ndec_bench.data.own_splits import own_folders, read_own_split
from ndec_bench.data.registry import PARTS, image_sets, pictures, remote_files, shards
from ndec_bench.data.trust import FileRecord, read_trust, record, sha256_of, void
from ndec_bench.errors import DataError, InterruptedRun, MissingDataError, UsageError
from ndec_bench.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from PIL import Image

    from ndec_bench.data.images import ImageSource
    from ndec_bench.data.registry import ImageSet, RemoteFile

CheckState = Literal["ok", "warning", "failed", "skipped"]

_NDEC = ("ndec", "queries")
_PAIRS = ("ndec", "negative-pairs")
_REFERENCES = ("disc21", "references")
_DEV_QUERIES = ("disc21", "dev-queries")
_FINAL_QUERIES = ("disc21", "final-queries")
_PER_SHARD = 50_000
_PAIR_FOLDERS = 100_000
_COMPARED = 20
_SMALL = (32, 32)
_SAME = 4.0
"""Mean difference of 8-bit pixels, scaled to 32 x 32, up to which two files show the same picture encoded twice."""
_SAMPLE = 50
_TRAINING = re.compile(r"T[0-9]{6}")


class Check(BaseModel):
    """One thing that was looked at: what was found, what was expected, and the next step where they differ."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    state: CheckState
    found: str
    expected: str = ""
    hint: str | None = None

    @classmethod
    def of(cls, name: str, ok: bool, found: str, expected: str, hint: str) -> Check:
        """Return a check that is ok or has failed; the hint is for one that has failed."""
        return cls(name=name, state="ok" if ok else "failed", found=found, expected=expected, hint=None if ok else hint)

    @classmethod
    def refused(cls, name: str, error: DataError, expected: str) -> Check:
        """Return the check of data that cannot be read: failed, or skipped where there are none."""
        missing = isinstance(error, MissingDataError)
        found = "not there" if missing else error.message
        return cls(name=name, state="skipped" if missing else "failed", found=found, expected=expected, hint=error.hint)


class Verification(BaseModel):
    """All checks, in the order in which they were made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    root: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Return whether no check failed."""
        return all(check.state != "failed" for check in self.checks)

    @property
    def empty(self) -> bool:
        """Return whether there was nothing to check."""
        return all(check.state == "skipped" for check in self.checks)


@dataclass(frozen=True)
class Cost:
    """What a verification reads: images, bytes, and about how long at the rate of a sample; None if unknown."""

    images: int
    bytes: int
    seconds: float | None


def verify(
    root: Path, *, parts: Sequence[str] = (), images: bool = True, jobs: int | None = None, progress: Progress = silent
) -> Verification:
    """Return what was checked of the data under ``root``. What is not there is reported as skipped.

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
    UsageError
        If a part is unknown.
    DataError
        If the trust file is damaged or cannot be written.
    InterruptedRun
        If the user interrupts; what was decoded is kept.
    """
    check_parts(parts)
    try:
        return Verification(root=str(root), checks=tuple(_checks(root, parts, images, jobs, progress)))
    except KeyboardInterrupt:
        raise InterruptedRun("stopped; what was decoded is kept", hint="the same command goes on from there") from None


def check_parts(parts: Sequence[str]) -> None:
    """Raise UsageError if one of ``parts`` is unknown."""
    names = sorted({part for every in PARTS.values() for part in every})
    for part in parts:
        if part not in names:
            raise UsageError(f"no part is called {part[:80]!r}", hint=f"known: {', '.join(names)}")


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
        except DataError:  # the check itself reports it
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
        wanted = not parts or file.part in parts or ("ground-truth" in parts and file.ground_truth is not None)
        if wanted and file.path(root).is_file():
            yield _file(file, root, progress)
    if not parts or "ground-truth" in parts:
        for split in known.KNOWN:
            yield _truth(split, root)
    opened: dict[tuple[str, str], ImageSource] = {}
    for expected in image_sets().values():
        if not parts or expected.part in parts:
            yield from _set(expected, root, opened, progress)
    for name in opened:
        if name != _PAIRS:
            yield from _known_pictures(name, opened)
    yield from _collision(opened)
    if not parts:
        for folder in own_folders(root):
            yield _own_split(folder)
    if images:
        for name, source in opened.items():
            yield _decoded(name, source, root, jobs, progress)


def _file(file: RemoteFile, root: Path, progress: Progress) -> Check:
    path = file.path(root)
    recorded = read_trust(root).files.get(file.key)
    expected = file.sha256 or (recorded.sha256 if recorded else None)
    try:
        digest = sha256_of(path, progress, f"reading {file.name}")
    except DataError as error:
        return Check.refused(file.key, error, expected or "")
    first = "recorded now, at first sight"
    if expected is None:
        stat = path.stat()
        seen = FileRecord(bytes=stat.st_size, sha256=digest, source="local", mtime_ns=stat.st_mtime_ns)
        try:
            record(root, file.key, seen)
        except DataError:
            first = "not recorded: the data root cannot be written"
    hint = f"remove {path} and fetch it again" if file.sha256 else "see docs/data.md, Trust"
    right = expected in (None, digest)
    return Check.of(file.key, right, f"SHA-256 {digest}", expected or first, hint)


def _truth(name: str, root: Path) -> Check:
    title = f"ground truth of {name}"
    split = known.KNOWN[name]
    expected = f"{split.queries:,} queries, {split.positives:,} pairs, SHA-256 {split.pairs_sha256}"
    try:
        loaded = known.load(name, root)
    except DataError as error:
        return Check.refused(title, error, expected)
    truth = loaded.truth
    found = f"{len(truth.query_ids):,} queries, {len(truth.pairs):,} pairs, SHA-256 {truth.sha256}"
    return Check(name=title, state="ok", found=f"{found} ({loaded.source})", expected=expected)


def _set(
    expected: ImageSet, root: Path, opened: dict[tuple[str, str], ImageSource], progress: Progress
) -> Iterator[Check]:
    name = expected.dataset, expected.part
    title = f"{' '.join(name)}: images"
    try:
        source = opened[name] = layouts.open_set(root, *name, progress=progress)
    except DataError as error:
        yield Check.refused(title, error, f"{expected.images:,}")
        return
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
    counts, expected = (isc, len(source.ids) - isc), (len(split.numbers), split.hard_negatives)
    yield Check.of(
        "ndec queries: ISC queries + hard negatives",
        counts == expected,
        f"{sum(counts):,} = {counts[0]:,} + {counts[1]:,}",
        f"{sum(expected):,} = {expected[0]:,} + {expected[1]:,}",
        "the archive is not NDEC's, not whole, or mixed with DISC21's: fetch it again",
    )
    title, same = "ndec queries: ids", "those of the ground truth"
    try:
        truth = known.load("ndec", root).truth
    except DataError:
        yield Check(name=title, state="skipped", found="no ground truth to compare with")
        return
    differ = sorted(set(truth.query_ids).symmetric_difference(source.ids))
    found = f"{len(differ):,} differ: {', '.join(differ[:5])}" if differ else same
    yield Check.of(title, not differ, found, same, "archive or ground truth is not NDEC's: fetch both again")


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
    found = f"{len(folders):,}"
    if strange:
        found += f", {len(strange):,} without one training image and one other: {', '.join(strange[:5])}"
    return Check.of(
        "ndec negative-pairs: folders",
        not strange and len(folders) == _PAIR_FOLDERS,
        found,
        f"{_PAIR_FOLDERS:,} with one training image and one other each",
        "fetch the three pieces again",
    )


def _counted(title: str, expected: ImageSet, source: ImageSource, root: Path) -> Check:
    """Return the count of a set whose numbers run without a gap, with what is missing by shards of 50,000."""
    present = {int(each[1:]) for each in source.ids}
    first = expected.first or 0
    missing = [number for number in range(first, first + expected.images) if number not in present]
    if not missing:
        return Check(name=title, state="ok", found=f"{len(present):,}", expected=f"{expected.images:,}")
    by_shard = Counter(number // _PER_SHARD for number in missing)
    named = ", ".join(f"{count:,} of shard {shard}" for shard, count in islice(by_shard.items(), 5))
    ceiling = _ceiling(source, root) if (expected.dataset, expected.part) == _REFERENCES else ""
    others = " and others" if len(by_shard) > 5 else ""
    return Check(
        name=title,
        state="warning",
        found=f"{len(present):,}; missing {len(missing):,}: {named}{others}{ceiling}",
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


def _known_pictures(name: tuple[str, str], opened: Mapping[tuple[str, str], ImageSource]) -> Iterator[Check]:
    """Yield whether the pictures of a set with a published digest are those, if there are any."""
    source, title = opened[name], f"{' '.join(name)}: known pictures"
    there = [each for each in pictures() if place_of(source.ids, each) is not None]
    if not there:
        return
    try:
        differ = [each for each in there if hashlib.sha256(source.read_bytes(each)).hexdigest() != pictures()[each]]
        if differ and name == _NDEC:
            yield _re_encoded(title, differ, source, opened.get(_DEV_QUERIES))
            return
    except DataError as error:
        yield Check.refused(title, error, "as published")
        return
    same = f"{len(there)} as published"
    found = f"{len(differ)} of {len(there)} differ: {', '.join(differ[:5])}" if differ else same
    yield Check.of(title, not differ, found, "as published" if differ else same, "these are not the files of DISC21")


def _re_encoded(title: str, differ: Sequence[str], source: ImageSource, original: ImageSource | None) -> Check:
    """Return whether NDEC's files with other bytes than DISC21's show the same pictures."""
    both = [each for each in differ if original is not None and place_of(original.ids, each) is not None]
    if original is None or not both:
        return Check(
            name=title,
            state="warning",
            found=f"{len(differ)} have other bytes than in DISC21: encoded again, or other pictures",
            expected="as published",
            hint='"ndec-bench download disc21 dev-queries" makes a comparison of the pixels possible',
        )
    others = [each for each in both if _difference(source.read(each), original.read(each)) > _SAME]
    found = f"other pictures: {', '.join(others[:5])}" if others else "encoded again, the same pictures"
    return Check.of(title, not others, found, "the pictures of DISC21", "the archive is not NDEC's")


def _difference(first: Image.Image, second: Image.Image) -> float:
    pixels = [np.asarray(image.resize(_SMALL), dtype=np.int16) for image in (first, second)]
    return float(np.abs(pixels[0] - pixels[1]).mean())


def _own_split(folder: Path) -> Check:
    title, hint = f"{folder.name}: pictures", f'remove {folder} and make it again with "ndec-bench download"'
    try:
        split = read_own_split(folder)
    except DataError as error:
        return Check(name=title, state="failed", found=error.message, hint=hint)
    found = f"{split.pictures:,}, SHA-256 {split.sha256}"
    return Check.of(title, split.sha256 == split.recorded, found, split.recorded, hint)


def _collision(opened: Mapping[tuple[str, str], ImageSource]) -> Iterator[Check]:
    """Yield whether NDEC's queries from Q50000 on are other pictures than DISC21 final's of the same ids."""
    ndec, final = opened.get(_NDEC), opened.get(_FINAL_QUERIES)
    if ndec is None or final is None:
        return
    shared = sorted(set(ndec.ids).intersection(final.ids))
    title, expected = "ndec queries: apart from DISC21 final", "other pictures under the same ids"
    sample = shared[:: max(1, len(shared) // _COMPARED)][:_COMPARED]
    try:
        same = [each for each in sample if ndec.read_bytes(each) == final.read_bytes(each)]
    except DataError as error:
        yield Check.refused(title, error, expected)
        return
    found = f"{len(sample)} with the same id are other files"
    if same:
        found = f"{len(same)} of {len(sample)} with the same id are the same file: {', '.join(same[:5])}"
    hint = "DISC21 final queries are in the place of NDEC's hard negatives: fetch NDEC's archive again"
    yield Check.of(title, not same, found, expected, hint)


def _decoded(name: tuple[str, str], source: ImageSource, root: Path, jobs: int | None, progress: Progress) -> Check:
    with ExitStack() as stack:
        # What was decoded is kept next to the data, unless these lie on a disk that is only read.
        kept = root if os.access(root, os.W_OK) else Path(stack.enter_context(TemporaryDirectory()))
        failures = decode_all(source, kept, "/".join(name), layouts.find(root, *name), jobs=jobs, progress=progress)
    found, hint = f"{len(source.ids):,}", "fetch the archive again, or report the images"
    if failures:
        if voided := _void(name, failures, root):
            hint += f"; removed the recorded digest of {', '.join(voided)}, so that another copy may take its place"
        first = next(iter(failures.values()))
        found = f"{len(failures):,} of {found} do not: {', '.join(islice(failures, 20))} ({first})"
    return Check.of(f"{' '.join(name)}: decoded", not failures, found, "every image decodes", hint)


def _void(name: tuple[str, str], broken: Iterable[str], root: Path) -> list[str]:
    """Remove the records of archives with images that do not decode, and return their keys.

    Such a record would keep the right copy out. One of a published digest is kept: it names the right copy.
    """
    files, images = shards(*name), image_sets()[name]
    if images.first is None:
        return []
    damaged = {files[(int(each[1:]) - images.first) * len(files) // images.images] for each in broken}
    recorded = read_trust(root).files
    keys = sorted(file.key for file in damaged if file.sha256 is None and file.key in recorded)
    try:
        for key in keys:
            void(root, key)
    except DataError:  # of a data root that cannot be written to
        return []
    return keys
