"""Images to blocks of descriptors: decoding, preprocessing and the model side by side, in the order of the ids.

The unit of work is a batch of consecutive images. On the CPU one worker thread does all of a batch, from decoding to
the descriptor, with one arithmetic thread: Pillow, numpy and torch release the interpreter lock for their work, and
no core waits for a slower stage. With the model on an accelerator the workers decode ahead of it, and the calling
thread gives it one batch after the other. Few batches are under way at a time, so memory is bounded either way.

JPEG files are decoded whole. libjpeg's scaled decoding ("draft") averages other pixels than the resampling filter of
the published preprocessing does, so its descriptors would not be equal; it is not used.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ndec_bench.errors import DataError, MissingDataError, SubmissionError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from numpy.typing import NDArray

    from ndec_baselines.base import Baseline, Described
    from ndec_bench.data.images import ImageSource

Unit = TypeVar("Unit")
Outcome = TypeVar("Outcome")

BATCH_SIZE = 16
_AHEAD = 2


@dataclass(frozen=True)
class Broken:
    """An image that cannot be used, and why."""

    image_id: str
    reason: str


@dataclass(frozen=True)
class Block:
    """The descriptors of a run of consecutive images.

    Attributes
    ----------
    ids
        Those images that were described.
    vectors
        (len(ids), d) float32, C order, finite, no row all zeros.
    norms
        (len(ids),) float32, or None.
    broken
        Those that could not be.
    """

    ids: tuple[str, ...]
    vectors: NDArray[np.float32]
    norms: NDArray[np.float32] | None
    broken: tuple[Broken, ...] = ()

    @property
    def images(self) -> int:
        """Return how many images the block is of, described or broken."""
        return len(self.ids) + len(self.broken)


def row_blocks(
    baseline: Baseline, source: ImageSource, ids: Sequence[str], *, batch_size: int, workers: int, keep_going: bool
) -> Generator[Block]:
    """Yield the descriptors of ``ids`` in blocks of ``batch_size`` images, in order, computed by ``workers`` threads.

    With ``keep_going`` blocks list the broken images (`is_broken`); otherwise the first one ends the work.

    Raises
    ------
    DataError
        If an image cannot be read; the message names it.
    SubmissionError
        If the baseline does not give one finite float32 vector of its dimension per image, not all zeros.
    """
    on_cpu = baseline.device == "cpu"

    def prepare(chosen: Sequence[str]) -> tuple[tuple[str, ...], Any, tuple[Broken, ...]]:
        described, inputs, broken = [], [], []
        for image_id in chosen:
            try:
                image = source.read(image_id)
            except DataError as error:
                if not (keep_going and is_broken(error)):
                    raise
                broken.append(Broken(image_id, error.message))
                continue
            inputs.append(baseline.preprocess(image))
            described.append(image_id)
        done = baseline.describe(inputs) if on_cpu and inputs else inputs
        return tuple(described), done, tuple(broken)

    units = [ids[i : i + batch_size] for i in range(0, len(ids), batch_size)]
    with closing(in_order(prepare, units, workers)) as results:
        for described, done, broken in results:
            if described:
                yield _block(baseline, described, done if on_cpu else baseline.describe(done), broken)
            else:
                yield Block((), np.empty((0, baseline.card.dimension), dtype=np.float32), None, broken)


def is_broken(error: DataError) -> bool:
    """Return whether ``error`` tells of a bad image: undecodable, cut short, too large.

    A file that is gone, a disk that fails and memory that runs out say nothing about the image, and what they hit
    would be another set of images in every run.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError | MissingDataError):
            return False
        # Pillow's own complaints are OSErrors too, without a number from the system.
        if isinstance(cause, OSError) and cause.errno is not None:
            return False
        cause = cause.__cause__
    return True


def in_order(work: Callable[[Unit], Outcome], units: Sequence[Unit], workers: int) -> Generator[Outcome]:
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


def _block(baseline: Baseline, ids: tuple[str, ...], described: Described, broken: tuple[Broken, ...]) -> Block:
    """Return the block, checked: hours of work must not end in an error that its first rows could have told."""
    name, expected = baseline.card.name, (len(ids), baseline.card.dimension)
    vectors, norms = described.vectors, described.norms
    if vectors.shape != expected or vectors.dtype != np.float32:
        raise SubmissionError(
            f"baseline {name} gives {vectors.dtype} of shape {vectors.shape}, expected float32 of shape {expected}",
            hint="report it to whoever made the baseline",
        )
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    _check_each(ids, np.isfinite(squares), f"its descriptor by baseline {name} is not finite")
    _check_each(ids, squares > 0, f"its descriptor by baseline {name} is all zeros, which would tie with everything")
    if norms is not None:
        if norms.shape != expected[:1] or norms.dtype != np.float32:
            raise SubmissionError(
                f"baseline {name} gives norms of {norms.dtype} of shape {norms.shape}, expected float32, one per image",
                hint="report it to whoever made the baseline",
            )
        _check_each(ids, np.isfinite(norms) & (norms >= 0), f"its norm by baseline {name} is negative or not finite")
    return Block(ids, np.ascontiguousarray(vectors), norms, broken)


def _check_each(ids: tuple[str, ...], good: NDArray[np.bool_], complaint: str) -> None:
    if not good.all():
        raise SubmissionError(
            f"image {ids[int(np.flatnonzero(~good)[0])]}: {complaint}",
            hint="report it to whoever made the baseline; half precision may overflow: leave --precision out",
        )
