"""Images to a descriptor file: images → blocks → parts → file.

`ndec_baselines.describing.row_blocks` makes blocks of rows, `ndec_baselines.describing.finished_rows` keeps them in
parts on disk, and when no image is left the parts are written as one file, rows in the order of the ids. So a run that
was killed goes on where it stopped, and memory holds a few blocks however many images there are.

The descriptor file depends on the images and the baseline alone; speed, device and versions go into a report next to
it.
"""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import TYPE_CHECKING

from ndec_baselines.base import recipe
from ndec_baselines.describing.finished_rows import finished_rows
from ndec_baselines.describing.row_blocks import BATCH_SIZE, is_broken, row_blocks
from ndec_bench.atomic import check_writable, destination
from ndec_bench.data.images import left_out
from ndec_bench.descriptors import read_attributes, sha256_of_file, write_descriptors
from ndec_bench.descriptors.stored import told
from ndec_bench.errors import DataError, UsageError, os_errors
from ndec_bench.memory import usable_cores
from ndec_bench.progress import Progress, silent
from ndec_bench.results.describing import DescribeReport, read_report, sidecar, speed, write_describing

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from pathlib import Path

    from ndec_baselines.base import Baseline
    from ndec_baselines.describing.finished_rows import FinishedRows
    from ndec_baselines.describing.row_blocks import Block, Broken
    from ndec_bench.data.images import ImageSource

__all__ = [
    "DescribeReport",
    "Shard",
    "describe_images",
    "describe_once",
    "images_digest",
    "read_report",
    "sidecar",
]

_FLOAT_BYTES = 4
_BYTES_PER_ID = 64
_NAMED_BROKEN = 20
_DIGESTED = 10_000
"""Of more images, these many spread evenly stand for all: reading them takes less time than describing all again."""
_FINISHED = "finished.h5"
"""The whole file before it goes to its place. It is not listed as a part, so the next run removes what a kill left."""


@dataclass(frozen=True)
class Shard:
    """Part ``index`` of ``count``, counted from 1: a run of consecutive ids; the parts in order are all ids."""

    index: int
    count: int

    def __post_init__(self) -> None:
        """Raise UsageError unless 1 <= index <= count."""
        if not 1 <= self.index <= self.count:
            raise UsageError(f"shard {self.index}/{self.count}", hint="expected i/n with i from 1 to n, e.g. 2/4")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard written as ``i/n``. Raises UsageError."""
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if match is None:
            raise UsageError(f"shard {text!r}", hint="expected i/n with i from 1 to n, e.g. 2/4")
        return cls(int(match[1]), int(match[2]))

    def of(self, ids: Sequence[str]) -> Sequence[str]:
        """Return the ids of this shard; sizes of shards differ by at most one."""
        return ids[len(ids) * (self.index - 1) // self.count : len(ids) * self.index // self.count]


def describe_images(
    baseline: Baseline,
    source: ImageSource,
    out: Path,
    *,
    limit: int | None = None,
    shard: Shard | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    keep_going: bool = False,
    attributes: Mapping[str, str] | None = None,
    progress: Progress = silent,
    stage: str = "describing images",
    tell: Callable[[str], None] = lambda _: None,
) -> DescribeReport:
    """Return what it took to describe ``source`` into the descriptor file ``out`` (and ``out`` + ``.json``).

    Rows are sorted by image id; the attributes hold the recipe (`ndec_baselines.base.recipe`). On the CPU the bytes
    depend neither on ``batch_size`` nor on ``workers``, and a row not on ``limit`` or ``shard``. ``out`` appears whole
    or not at all. What is finished before the run fails, is interrupted or killed stays in ``out`` + ``.partial``; the
    same call goes on from there and ends with the same bytes. Rows of another recipe, other images, another device or
    other versions of the libraries are not taken up: the call is refused until that folder is removed.

    Parameters
    ----------
    limit
        Describe the first so many ids only.
    shard
        Describe this part of them only.
    batch_size
        Images per unit of work; None for the baseline's own, at least 16.
    workers
        Threads; None for one per usable core.
    keep_going
        Whether broken images (undecodable, cut short, too large) are left out and listed in the dataset
        ``invalid_ids``. Otherwise the first one ends the run.
    attributes
        Text that the descriptor file shall carry besides the recipe, for example the digest of the images.
    progress, stage
        Called as ``progress(stage, done, total)`` in images.
    tell
        Called with a sentence for people: what is about to be done, which images are broken.

    Raises
    ------
    UsageError
        If a number is out of range, no image is left to describe, or finished rows of another run are there.
    DataError
        If an image is broken (named in the message), or all are; another process describes into ``out``; it cannot be
        written or the disk is too small.
    SubmissionError
        If a descriptor is not finite, all zero, or all are equal.
    """
    if passed_over := left_out(source):
        tell(passed_over)
    ids = _selected(source.ids, limit, shard)
    workers = usable_cores() if workers is None else workers
    batch_size = _own_batch_size(baseline) if batch_size is None else batch_size
    if batch_size < 1 or workers < 1:
        raise UsageError(f"batch size {batch_size}, workers {workers}", hint="both are at least 1")
    # Hours of describing must not end in an error that could have been known at the start.
    check_writable(out, regular=True)
    texts = {**(attributes or {}), **recipe(baseline)}
    choices = {**texts, **_versions(baseline), "device": baseline.device, "machine": platform.machine()}
    shown = told(progress, len(ids))
    with finished_rows(out, choices, source, ids, baseline.card.dimension, progress=shown) as rows:
        rows.drop_repaired(partial(_still_broken, source, rows, keep_going))
        _check_disk(out, rows)
        tell(_plan(baseline, rows, workers))
        if rows.parts.note:
            tell(rows.parts.note)
        if rows.images:
            tell(f"going on after {rows.images:,} of {len(ids):,} images, found in {rows.parts.folder}")
        make = partial(row_blocks, baseline, source, batch_size=batch_size, workers=workers, keep_going=keep_going)
        _describe(rows, make, lambda done: progress(stage, done, len(ids)), tell)
        finished = _written(rows, texts, shown)
        report = _report(baseline, rows, out.name, sha256_of_file(finished), workers=workers, batch_size=batch_size)
        write_describing(finished, report)
        with os_errors(f"{out}: cannot be written", hint="run the same command again"):
            shutil.move(finished, destination(out))  # a link may lead to another disk
            sidecar(finished).replace(sidecar(out))
        rows.parts.discard()
    if report.invalid_images:
        tell(f"{report.invalid_images:,} broken images are left out; {out} lists them in invalid_ids")
    return report


def describe_once(
    baseline: Baseline,
    source: ImageSource,
    out: Path,
    *,
    attributes: Mapping[str, str],
    workers: int | None = None,
    keep_going: bool = False,
    progress: Progress = silent,
    stage: str = "describing images",
    tell: Callable[[str], None] = lambda _: None,
) -> DescribeReport:
    """Return what it took to describe ``source`` into ``out``, now or earlier: a file of the same recipe is kept.

    ``attributes``, or the name of ``out``, must tell these images from others (`images_digest`). A file that lacks
    broken images is kept with ``keep_going`` alone. Other parameters and errors are those of `describe_images`.
    """
    report = read_report(out) if out.is_file() else None
    complete = report is not None and (keep_going or not report.invalid_images)
    if report is not None and complete and read_attributes(out) == {**attributes, **recipe(baseline)}:
        tell(f"{out}: descriptors of the same recipe and images, used again")
        return report
    return describe_images(
        baseline,
        source,
        out,
        workers=workers,
        keep_going=keep_going,
        attributes=attributes,
        progress=progress,
        stage=stage,
        tell=tell,
    )


def images_digest(source: ImageSource) -> str:
    """Return the SHA-256 (hex) over all ids, and the stored bytes of all images; of many, of 10,000 spread evenly.

    It tells sets of images apart without reading terabytes. An image that cannot be read counts as such.
    """
    digest = hashlib.sha256("\n".join(source.ids).encode())
    count = len(source.ids)
    for row in sorted({part * count // _DIGESTED for part in range(_DIGESTED)}):
        try:
            content = source.read_bytes(source.ids[row])
        except DataError:
            content = b""
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def _selected(ids: Sequence[str], limit: int | None, shard: Shard | None) -> Sequence[str]:
    if limit is not None and limit < 1:
        raise UsageError(f"limit {limit}", hint="expected at least 1")
    chosen = ids if limit is None else ids[:limit]
    chosen = chosen if shard is None else shard.of(chosen)
    if not chosen:
        raise UsageError(f"shard {shard.index if shard else 1}: no image left of {len(ids):,}", hint="use fewer shards")
    return chosen


def _own_batch_size(baseline: Baseline) -> int:
    """Return the smallest multiple of the baseline's micro-batch that is `BATCH_SIZE` or more: none is half empty."""
    micro_batch = int(getattr(baseline, "micro_batch", 1))
    return -(-BATCH_SIZE // micro_batch) * micro_batch


def _versions(baseline: Baseline) -> dict[str, str]:
    """Return the versions of the libraries that decide about the bits of a row."""
    deciding = {"numpy", "pillow", *baseline.card.requires}
    return {f"version_of_{name}": text for name, text in libraries(baseline).items() if name in deciding}


def libraries(baseline: Baseline) -> dict[str, str]:
    """Return the versions of Python and of the packages that a descriptor of ``baseline`` goes through, by name."""
    names = ("h5py", "ndec-bench", "numpy", "pillow", *baseline.card.requires)
    return dict(sorted({"python": platform.python_version(), **{name: _version(name) for name in names}}.items()))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        # Cards name what is imported, such as cv2; what is installed may have another name. Looking it up is slow.
        installed = packages_distributions().get(name)
        return version(installed[0]) if installed else "unknown"


def _still_broken(source: ImageSource, rows: FinishedRows, keep_going: bool, image_id: str) -> bool:
    """Return whether the image is still broken. Raises DataError if it is, unless ``keep_going``."""
    try:
        source.read(image_id)
    except DataError as error:
        if not (keep_going and is_broken(error)):
            raise _with_remedy(error, rows) from error
        return True
    return False


def _check_disk(out: Path, rows: FinishedRows) -> None:
    count, row = len(rows.ids), rows.dimension * _FLOAT_BYTES
    # Each row lies on disk twice at the end: as it was finished, and in the file.
    needed = (2 * count - rows.rows) * row + count * _BYTES_PER_ID
    free = shutil.disk_usage(out.parent).free
    if needed > free:
        raise DataError(
            f"{out}: describing needs {_in_words(needed)} more of that disk, {_in_words(free)} are free",
            hint="free disk space, write to another disk, or describe in shards",
        )


def _plan(baseline: Baseline, rows: FinishedRows, workers: int) -> str:
    precision = getattr(baseline, "precision", "float32")
    how = baseline.device if precision == "float32" else f"{baseline.device} in {precision}"
    size = len(rows.ids) * rows.dimension * _FLOAT_BYTES
    return (
        f"describing {len(rows.ids):,} images with {baseline.card.name} on {how}, {workers} workers: "
        f"{_in_words(size)} of descriptors, {_in_words(2 * size)} of disk until they are finished"
    )


def _describe(
    rows: FinishedRows,
    make: Callable[[Sequence[str]], Generator[Block]],
    done: Callable[[int], None],
    tell: Callable[[str], None],
) -> None:
    """Describe the images that are missing in ``rows``."""
    count, broken = rows.images, len(rows.broken)
    done(count)
    try:
        for start, stop in rows.gaps():
            rows.begin_at(start)
            with closing(make(rows.ids[start:stop])) as blocks:
                for block in blocks:
                    rows.append(block)
                    for one in block.broken:
                        broken += 1
                        _tell_broken(one, broken, tell)
                    count += block.images
                    done(count)
            rows.commit()
    except DataError as error:
        rows.commit()
        raise _with_remedy(error, rows) from error


def _written(rows: FinishedRows, texts: Mapping[str, str], progress: Progress) -> Path:
    """Return where the descriptor file is, written from the rows block by block; not yet under its name."""
    broken = rows.broken
    if not rows.rows:
        rows.parts.discard()
        raise DataError(
            f"all {len(rows.ids):,} images are broken, the first: {broken[0].reason}", hint="check the images"
        )
    finished = rows.parts.path(_FINISHED)
    vectors = rows.vectors(progress)
    invalid_ids = [one.image_id for one in broken]
    write_descriptors(finished, vectors, texts, norms=rows.norms(), invalid_ids=invalid_ids, progress=progress)
    return finished


def _report(
    baseline: Baseline, rows: FinishedRows, name: str, sha256: str, *, workers: int, batch_size: int
) -> DescribeReport:
    seconds, count = max(rows.seconds, 1e-6), rows.rows
    return DescribeReport(
        file=name,
        sha256=sha256,
        baseline=baseline.card.name,
        version=baseline.card.version,
        weights_sha256=baseline.weights_sha256,
        device=baseline.device,
        precision=getattr(baseline, "precision", "float32"),
        images=count,
        invalid_images=len(rows.broken),
        dimension=rows.dimension,
        bytes_per_descriptor=_FLOAT_BYTES * rows.dimension,
        **speed(count, seconds, (6, 6, 3)),
        runs=rows.runs,
        workers=workers,
        batch_size=batch_size,
        libraries=libraries(baseline),
        platform=platform.platform(),
    )


def _tell_broken(one: Broken, number: int, tell: Callable[[str], None]) -> None:
    if number <= _NAMED_BROKEN:
        tell(f"left out: image {one.image_id}: {one.reason}")
    elif number == _NAMED_BROKEN + 1:
        tell("more broken images are counted, and listed in the file, but no longer named here")


def _with_remedy(error: DataError, rows: FinishedRows) -> DataError:
    hint = error.hint or ""
    if is_broken(error):
        hint = ", or ".join(filter(None, (hint, "leave broken images out with --keep-going")))
    if rows.images:
        kept = f"the {rows.images:,} images that are finished are kept in {rows.parts.folder}"
        hint = "; ".join(filter(None, (hint, kept)))
    return type(error)(error.message, hint=hint or None)


def _in_words(size: int) -> str:
    for unit, name in ((10**9, "GB"), (10**6, "MB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size / 1000:,.1f} kB"
