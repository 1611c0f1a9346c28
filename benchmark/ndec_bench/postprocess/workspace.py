"""Where steps work: fixed blocks in float64 on a pool of threads, results in float32.

Blocks are cut by the dimension alone and BLAS runs with one thread in each, so that the number of threads changes the
time and not one bit. A result of more than `Workspace.kept` bytes lies in a temporary file next to the output.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np
import scipy.linalg  # noqa: F401 -- its BLAS must be there before it is held to one thread
from threadpoolctl import threadpool_limits

from ndec_bench.descriptors.vectors import survey
from ndec_bench.errors import DataError, UsageError, reason
from ndec_bench.memory import usable_cores
from ndec_bench.progress import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from ndec_bench.descriptors import Survey, VectorSource
    from ndec_bench.progress import Progress

T = TypeVar("T")

KEPT_BYTES = 256 << 20
_VALUES_PER_BLOCK = 1 << 22
_MOST_ROWS = 4096
_FEWEST_ROWS = 16


class Rows:
    """A VectorSource over one array, in memory or mapped from a file.

    Parameters
    ----------
    where
        Opens each message.
    ids
        n image ids.
    vectors
        (n, d) float32.

    Raises
    ------
    SubmissionError
        If the vectors are not what `ndec_bench.descriptors.check_descriptors` accepts.
    """

    def __init__(self, where: str, ids: tuple[str, ...], vectors: NDArray[np.float32]) -> None:
        self.ids = ids
        self.vectors = vectors
        self._survey = survey(where, ids, vectors.shape, self.read)

    @property
    def dimension(self) -> int:
        """Return the number of components of each vector."""
        return int(self.vectors.shape[1])

    @property
    def survey(self) -> Survey:
        """Return the survey of all rows."""
        return self._survey

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return rows ``start`` to ``stop`` (not included) as (rows, d) float32."""
        return np.asarray(self.vectors[start:stop])

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the vectors at ``rows``, any shape, as (*rows.shape, d) float32."""
        return np.asarray(self.vectors[rows])


class Workspace:
    """A pool of threads, a folder for what is too large for memory, and a place to tell progress.

    Use it in a ``with`` block: inside, BLAS is held to one thread; at its end the folder is removed.

    Parameters
    ----------
    beside
        Temporary files lie in the folder of this path.
    threads
        Threads; None for all cores this process may use.
    backend
        Library of the neighbour search; no result depends on it.
    progress
        Called in rows, see `progress`.
    kept
        Arrays of at most so many bytes are kept in memory.
    """

    def __init__(
        self,
        beside: Path,
        *,
        threads: int | None = None,
        backend: str = "auto",
        progress: Progress = silent,
        kept: int = KEPT_BYTES,
    ) -> None:
        if threads is not None and threads < 1:
            raise UsageError(f"{threads} threads", hint="give one or more, or none for all cores")
        self.threads = threads or usable_cores()
        self.backend = backend
        self.stage = ""
        self._progress = progress
        self._beside, self._kept = beside, kept
        self._stack = ExitStack()
        self._folder: str | None = None

    def __enter__(self) -> Self:
        self._stack.enter_context(threadpool_limits(limits=1, user_api="blas"))
        self.executor = ThreadPoolExecutor(self.threads, thread_name_prefix="postprocess")
        self._stack.callback(self.executor.shutdown, wait=True, cancel_futures=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def progress(self, stage: str, done: int, total: int, /) -> None:
        """Tell that ``done`` of ``total`` rows are done; `stage`, the place in the line, opens the name."""
        self._progress(self.stage + stage, done, total)

    def room(self, rows: int, dimension: int) -> NDArray[np.float32]:
        """Return an uninitialised (rows, dimension) float32 array. Raises DataError if there is no room on the disk."""
        if rows * dimension * 4 <= self._kept:
            return np.empty((rows, dimension), dtype=np.float32)
        try:
            if self._folder is None:
                self._beside.parent.mkdir(parents=True, exist_ok=True)
                self._folder = self._stack.enter_context(
                    tempfile.TemporaryDirectory(
                        prefix=f".{self._beside.name[:100]}.",
                        suffix=".part",
                        dir=self._beside.parent,
                        ignore_cleanup_errors=True,
                    )
                )
            handle, name = tempfile.mkstemp(dir=self._folder)
            try:
                _reserve(handle, rows * dimension * 4)
            finally:
                os.close(handle)
        except OSError as error:
            raise DataError(
                f"{self._beside.parent}: no room for intermediate results ({reason(error)})",
                hint=f"free {rows * dimension * 4:,} bytes, or write to another disk",
            ) from error
        return np.memmap(name, dtype=np.float32, mode="r+", shape=(rows, dimension))

    def release(self, source: VectorSource) -> None:
        """Give back the disk that ``source`` takes, if it lies in a file of this workspace; it is not read again."""
        vectors = source.vectors if isinstance(source, Rows) else None
        if isinstance(vectors, np.memmap) and vectors.filename is not None:
            # Where a file that is in use cannot be taken away, it goes with the folder.
            with suppress(PermissionError):
                Path(vectors.filename).unlink(missing_ok=True)

    def mapped(
        self,
        where: str,
        source: VectorSource,
        dimension: int,
        change: Callable[[NDArray[np.float64]], NDArray[np.float64]],
        stage: str,
    ) -> Rows:
        """Return the rows of ``source`` changed block by block, stored as float32.

        ``change`` takes (rows, d) float64, its own to write to, and returns (rows, dimension) float64. It runs in
        several threads.
        """
        vectors = self.room(len(source), dimension)
        step = block_rows(max(source.dimension, dimension))

        def one(block: NDArray[np.float32], start: int) -> int:
            changed = change(block.astype(np.float64))
            with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is refused by the survey
                vectors[start : start + len(block)] = changed
            return start + len(block)

        def jobs() -> Iterator[Callable[[], int]]:
            for start in range(0, len(source), step):
                yield partial(one, source.read(start, min(start + step, len(source))), start)

        for done in self.in_order(jobs()):
            self.progress(stage, done, len(source))
        return Rows(where, source.ids, vectors)

    def in_order(self, jobs: Iterable[Callable[[], T]]) -> Iterator[T]:
        """Yield the results of ``jobs`` in order; a few are under way at a time."""
        running: deque[Future[T]] = deque()
        for job in jobs:
            running.append(self.executor.submit(job))
            if len(running) > self.threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()

    def rows(self, source: VectorSource) -> Rows:
        """Return ``source`` with all its vectors in one array, as they are."""
        if isinstance(source, Rows):
            return source
        return self.gathered("vectors", source, np.arange(len(source)))

    def gathered(self, where: str, source: VectorSource, rows: NDArray[np.int64]) -> Rows:
        """Return the vectors of ``source`` at ``rows``, each at most once, in that order."""
        vectors = self.room(len(rows), source.dimension)
        order = np.argsort(rows, kind="stable")
        wanted = rows[order]
        step = block_rows(source.dimension)
        for start in range(0, len(source), step):
            low, high = np.searchsorted(wanted, (start, start + step))
            if low < high:
                vectors[order[low:high]] = source.read(start, min(start + step, len(source)))[wanted[low:high] - start]
        return Rows(where, tuple(source.ids[row] for row in rows.tolist()), vectors)


def id_order(ids: Sequence[str]) -> NDArray[np.int64] | None:
    """Return the rows in the order of their ids, by code point; None where they are in it."""
    if all(first < second for first, second in pairwise(ids)):
        return None
    return np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)


def block_rows(width: int) -> int:
    """Return how many rows of ``width`` numbers make one block: a rule of the width alone."""
    return min(_MOST_ROWS, max(_FEWEST_ROWS, _VALUES_PER_BLOCK // width))


def blocks(source: VectorSource) -> Iterator[NDArray[np.float64]]:
    """Yield the vectors of ``source`` in blocks of `block_rows`, (rows, d) float64."""
    step = block_rows(source.dimension)
    for start in range(0, len(source), step):
        yield source.read(start, min(start + step, len(source))).astype(np.float64)


def _reserve(handle: int, size: int) -> None:
    # A full disk is reported here, not by a signal in the middle of the work; not every system can.
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
    else:
        os.truncate(handle, size)
