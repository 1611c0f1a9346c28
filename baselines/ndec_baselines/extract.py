"""Images to a descriptor file: decoding, preprocessing and the model side by side, rows in the order of the ids.

The unit of work is a batch of consecutive images. On the CPU one worker thread does all of a batch, from decoding to
the descriptor, with one arithmetic thread: Pillow, numpy and torch release the interpreter lock for their work, and
no core waits for a slower stage. With the model on an accelerator the workers decode ahead of it.

The descriptor file depends on the images and the baseline alone; speed, device and versions are written beside it.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ndec_baselines.base import recipe
from ndec_bench import atomic
from ndec_bench.descriptors import Descriptors, sha256_of_file, write_descriptors
from ndec_bench.errors import DataError, UsageError
from ndec_bench.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ndec_baselines.base import Baseline
    from ndec_bench.data.images import ImageSource

Unit = TypeVar("Unit")
Outcome = TypeVar("Outcome")

BATCH_SIZE = 16
_AHEAD = 2


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


class DescribeReport(BaseModel):
    """What describing took: the JSON beside a descriptor file (``FILE.h5.json``). Never part of compared bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = 1
    file: str = Field(description="Name of the descriptor file")
    sha256: str = Field(description="SHA-256 (hex) of the descriptor file")
    baseline: str
    version: str
    weights_sha256: str | None
    device: str
    images: int
    dimension: int
    bytes_per_descriptor: int
    seconds: float = Field(description="From the first image opened to the last descriptor")
    milliseconds_per_image: float
    images_per_second: float
    workers: int
    batch_size: int
    libraries: dict[str, str]
    platform: str


def describe_images(
    baseline: Baseline,
    source: ImageSource,
    out: Path,
    *,
    limit: int | None = None,
    shard: Shard | None = None,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    attributes: Mapping[str, str] | None = None,
    progress: Progress = silent,
    stage: str = "describing images",
) -> DescribeReport:
    """Return what it took to describe ``source`` into the descriptor file ``out`` (and ``out`` + ``.json``).

    Rows are sorted by image id; the attributes hold the recipe (`ndec_baselines.base.recipe`). On the CPU the bytes
    depend neither on ``batch_size`` nor on ``workers``, and a row not on ``limit`` or ``shard``. Nothing is written
    when the run fails or is interrupted.

    Parameters
    ----------
    limit
        Describe the first so many ids only.
    shard
        Describe this part of them only.
    batch_size
        Images per unit of work.
    workers
        Threads; None for one per usable core.
    attributes
        Text that the descriptor file shall carry besides the recipe, for example the digest of the images.
    progress, stage
        Called as ``progress(stage, done, total)`` in images.

    Raises
    ------
    UsageError
        If a number is out of range or no image is left to describe.
    DataError
        If an image is broken (named in the message) or ``out`` cannot be written.
    SubmissionError
        If a descriptor is not finite, all zero, or all are equal.
    """
    ids = _selected(source.ids, limit, shard)
    workers = usable_cores() if workers is None else workers
    if batch_size < 1 or workers < 1:
        raise UsageError(f"batch size {batch_size}, workers {workers}", hint="both are at least 1")
    # Hours of describing must not end in an error that could have been known at the start.
    atomic.check_writable(out)
    start = time.perf_counter()
    vectors = _describe(baseline, source, ids, batch_size, workers, lambda done: progress(stage, done, len(ids)))
    seconds = time.perf_counter() - start
    write_descriptors(out, Descriptors(tuple(ids), vectors), {**(attributes or {}), **recipe(baseline)})
    report = DescribeReport(
        file=out.name,
        sha256=sha256_of_file(out),
        baseline=baseline.card.name,
        version=baseline.card.version,
        weights_sha256=baseline.weights_sha256,
        device=baseline.device,
        images=len(ids),
        dimension=vectors.shape[1],
        bytes_per_descriptor=vectors.itemsize * vectors.shape[1],
        seconds=round(seconds, 6),
        milliseconds_per_image=round(1000 * seconds / len(ids), 6),
        images_per_second=round(len(ids) / seconds, 3),
        workers=workers,
        batch_size=batch_size,
        libraries=_libraries(baseline),
        platform=platform.platform(),
    )
    atomic.write_text(sidecar(out), report.model_dump_json(indent=2) + "\n")
    return report


def sidecar(out: Path) -> Path:
    """Return where the report of the descriptor file ``out`` lies: the same name followed by ``.json``."""
    return out.with_name(out.name + ".json")


def read_report(out: Path) -> DescribeReport | None:
    """Return the report beside the descriptor file ``out``; None if there is none of this very file.

    Raises
    ------
    DataError
        If it cannot be read or is no such report.
    """
    path = sidecar(out)
    try:
        report = DescribeReport.model_validate_json(path.read_bytes())
        return report if report.sha256 == sha256_of_file(out) else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: no report of describing ({reason})", hint="remove it or describe again") from error


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _selected(ids: Sequence[str], limit: int | None, shard: Shard | None) -> Sequence[str]:
    if limit is not None and limit < 1:
        raise UsageError(f"limit {limit}", hint="expected at least 1")
    chosen = ids if limit is None else ids[:limit]
    chosen = chosen if shard is None else shard.of(chosen)
    if not chosen:
        raise UsageError(f"shard {shard.index if shard else 1}: no image left of {len(ids):,}", hint="use fewer shards")
    return chosen


def _describe(
    baseline: Baseline,
    source: ImageSource,
    ids: Sequence[str],
    batch_size: int,
    workers: int,
    done: Callable[[int], None],
) -> NDArray[np.float32]:
    vectors = np.empty((len(ids), baseline.card.dimension), dtype=np.float32)
    row = 0
    done(0)
    for block in _blocks(baseline, source, ids, batch_size, workers):
        vectors[row : row + len(block)] = block
        row += len(block)
        done(row)
    return vectors


def _blocks(
    baseline: Baseline, source: ImageSource, ids: Sequence[str], batch_size: int, workers: int
) -> Iterator[NDArray[np.float32]]:
    def prepare(chosen: Sequence[str]) -> Any:  # noqa: ANN401 -- vectors on the CPU, else inputs of the model
        batch = [baseline.preprocess(source.read(image_id)) for image_id in chosen]
        return baseline.describe(batch).vectors if baseline.device == "cpu" else batch

    for result in _in_order(prepare, [ids[i : i + batch_size] for i in range(0, len(ids), batch_size)], workers):
        yield result if baseline.device == "cpu" else baseline.describe(result).vectors


def _in_order(work: Callable[[Unit], Outcome], units: Sequence[Unit], workers: int) -> Iterator[Outcome]:
    """Yield ``work(unit)`` for each unit, in order, computed in threads, few units ahead of the reader."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="describe")
    waiting: deque[Future[Outcome]] = deque()
    try:
        for unit in units:
            waiting.append(pool.submit(work, unit))
            if len(waiting) >= _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _libraries(baseline: Baseline) -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in ("h5py", "ndec-bench", "numpy", "pillow", *baseline.card.requires):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "unknown"
    return dict(sorted(versions.items()))
