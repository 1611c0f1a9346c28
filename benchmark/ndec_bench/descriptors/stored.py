"""Vectors that stay in their HDF5 file and are read block by block, from one file or several."""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from ndec_bench.descriptors.chunks import read_rows
from ndec_bench.descriptors.hdf5 import LARGER, check_claim, reading, where_is
from ndec_bench.descriptors.vectors import GRID_BITS, ROWS_PER_READ, Descriptors, Survey, check_unique, survey
from ndec_bench.errors import SubmissionError
from ndec_bench.memory import check_memory
from ndec_bench.progress import silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    import h5py
    from numpy.typing import NDArray

    from ndec_bench.descriptors.vectors import VectorSource
    from ndec_bench.progress import Progress

KEPT_BYTES = 64 << 20
# No side that must lie in memory is too large to be kept; the machine's memory is checked by itself.
IN_MEMORY = 1 << 62
_PAGE_BYTES = 1 << 31
_FLOAT32_BYTES = 4


class StoredVectors:
    """The vectors of one HDF5 dataset: surveyed once when opened, then read block by block.

    Sources of at most ``keep`` bytes stay in memory after the survey; larger ones are read from the file, which must
    stay open. Rows of images in ``invalid`` are left out, also from ``ids`` and ``survey``.

    Parameters
    ----------
    dataset
        (n, d) float16, float32 or float64, as `hdf5.vectors_dataset` returns it.
    ids
        n image ids.
    invalid
        Images that could not be decoded; their rows may be all zeros.
    keep
        Largest size in bytes, as float32, that is kept in memory.
    progress, stage
        ``progress(stage, done, total)`` is called in rows while the vectors are checked.

    Raises
    ------
    SubmissionError
        If the vectors are not what `check_descriptors` accepts, or a block cannot be read.
    """

    def __init__(
        self,
        dataset: h5py.Dataset,
        ids: tuple[str, ...],
        *,
        invalid: frozenset[str] = frozenset(),
        keep: int = KEPT_BYTES,
        progress: Progress = silent,
        stage: str = "checking vectors",
    ) -> None:
        where = where_is(dataset)
        check_unique(where, ids)
        self._where, self._shape = where, (int(dataset.shape[0]), int(dataset.shape[1]))
        self._pages: _Pages | None = _Pages(dataset)
        self._kept: NDArray[np.float32] | None = None
        self._rows: NDArray[np.int64] | None = None
        self.ids, self.dimension = ids, self._shape[1]
        size = self._shape[0] * self._shape[1] * _FLOAT32_BYTES
        if size <= keep:
            check_memory(where, size, hint=LARGER)
        check_claim(dataset)
        if size <= keep:
            with reading(where):
                self._kept = np.empty(self._shape, dtype=np.float32)
        self.survey = self._surveyed(invalid, progress, stage)
        if self._kept is not None:
            self._pages = None
        if not invalid.isdisjoint(ids):
            self._leave_out(invalid)

    @property
    def rows(self) -> NDArray[np.int64]:
        """Return the row in the dataset of each vector, (n,) int64; increasing."""
        return np.arange(self._shape[0]) if self._rows is None else self._rows

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return rows ``start`` to ``stop`` (not included) as (rows, d) float32. Raises SubmissionError."""
        start, stop, _ = slice(start, stop).indices(len(self))
        if self._kept is not None:
            block = self._kept[start:stop]
            block.flags.writeable = False
            return block
        if self._rows is None or start >= stop:
            return _float32(self._raw(start, max(start, stop)))
        return self._gathered(self._rows[start:stop])

    def close(self) -> None:
        """Let go of the file and of what is in memory. Nothing can be read any more."""
        if self._pages is not None:
            self._pages.dataset.file.close()
        self._pages, self._kept = None, None

    def _raw(self, start: int, stop: int) -> NDArray[Any]:
        if self._pages is None:
            raise ValueError(f"{self._where}: read after close()")
        return self._pages.read(start, stop)

    def _surveyed(self, invalid: frozenset[str], progress: Progress, stage: str) -> Survey:
        def read(start: int, stop: int) -> NDArray[Any]:
            block = self._raw(start, stop)
            if self._kept is not None:
                self._kept[start:stop] = _float32(block)
            progress(stage, stop, self._shape[0])
            return block

        return survey(self._where, self.ids, self._shape, read, invalid=invalid)

    def _gathered(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        block = np.empty((len(rows), self.dimension), dtype=np.float32)
        done = 0
        # In steps, for there may be any number of invalid rows in between.
        for start in range(int(rows[0]), int(rows[-1]) + 1, ROWS_PER_READ):
            stop = min(start + ROWS_PER_READ, self._shape[0])
            here = rows[(rows >= start) & (rows < stop)] - start
            if len(here):
                block[done : done + len(here)] = _float32(self._raw(start, stop)[here])
                done += len(here)
        return block

    def _leave_out(self, invalid: frozenset[str]) -> None:
        rows = np.array([row for row, identifier in enumerate(self.ids) if identifier not in invalid], dtype=np.int64)
        if not len(rows):
            raise SubmissionError(
                f"{self._where}: all {len(self.ids):,} images are listed in invalid_ids",
                hint="nothing is left to compare: list only those that could not be decoded",
            )
        ids = self.ids
        self.ids, self._rows = tuple(ids[row] for row in rows.tolist()), rows
        if self._kept is not None:
            self._kept = self._kept[rows]
        where = f"{self._where} without invalid_ids"
        self.survey = survey(where, self.ids, (len(rows), self.dimension), self.read)


class Joined:
    """Several sources of one dimension, one after the other, as one source.

    Parameters
    ----------
    sources
        At least one. The caller checks that no id is in two of them.
    """

    def __init__(self, sources: Sequence[VectorSource]) -> None:
        self._sources = tuple(sources)
        self.dimension = sources[0].dimension
        self._starts = [0, *accumulate(len(source) for source in sources)]
        self.ids = tuple(identifier for source in sources for identifier in source.ids)
        self.survey = _sum_of([source.survey for source in sources])

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return rows ``start`` to ``stop`` (not included) as (rows, d) float32. Raises SubmissionError."""
        start, stop, _ = slice(start, stop).indices(len(self))
        blocks = []
        at = max(0, bisect_right(self._starts, start) - 1)
        while start < stop:
            first, end = self._starts[at], min(stop, self._starts[at + 1])
            blocks.append(self._sources[at].read(start - first, end - first))
            start, at = end, at + 1
        if len(blocks) == 1:
            return blocks[0]
        return np.concatenate(blocks) if blocks else np.empty((0, self.dimension), dtype=np.float32)

    def close(self) -> None:
        """Close the sources that are files."""
        close_all(self._sources)


def joined(sources: Sequence[VectorSource]) -> VectorSource:
    """Return ``sources``, at least one, as one source."""
    return sources[0] if len(sources) == 1 else Joined(sources)


def in_memory(source: VectorSource) -> Descriptors:
    """Return all vectors of ``source`` as descriptors."""
    return Descriptors(source.ids, source.read(0, len(source)))


def close_all(sources: Sequence[VectorSource | None]) -> None:
    """Close those of ``sources`` that can be closed."""
    for source in sources:
        if isinstance(source, StoredVectors | Joined):
            source.close()


def told(progress: Progress, rows: int) -> Progress:
    """Return ``progress`` for sources of so many rows that checking them takes a while, otherwise a silent one."""
    return progress if rows > ROWS_PER_READ else silent


class _Pages:
    """Blocks of a dataset, as stored. Of one in chunks whole chunks are read, so that a pass unpacks each once."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self.dataset, self._where = dataset, where_is(dataset)
        self._rows = 0 if dataset.chunks is None else _page_rows(dataset)
        self._last: tuple[int, NDArray[Any]] | None = None

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Return rows ``start`` to ``stop`` (not included). Raises SubmissionError if the file is damaged."""
        if not self.dataset:
            raise ValueError(f"{self._where}: read after its file was closed")
        if not self._rows or start == stop:
            return self._stored(start, stop)
        parts = []
        for number in range(start // self._rows, -(-stop // self._rows)):
            first = number * self._rows
            parts.append(self._page(number)[max(start - first, 0) : stop - first])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _page(self, number: int) -> NDArray[Any]:
        last = self._last
        if last is None or last[0] != number:
            self._last = None  # two pages are never held
            last = self._last = (number, self._stored(number * self._rows, (number + 1) * self._rows))
        return last[1]

    def _stored(self, start: int, stop: int) -> NDArray[Any]:
        with reading(self._where):
            return read_rows(self.dataset, start, stop)


def _page_rows(dataset: h5py.Dataset) -> int:
    chunk = min(int(dataset.chunks[0]), int(dataset.shape[0]))
    rows = chunk * -(-ROWS_PER_READ // chunk)
    return min(rows, max(1, _PAGE_BYTES // (int(dataset.shape[1]) * int(dataset.dtype.itemsize))))


def _float32(block: NDArray[Any]) -> NDArray[np.float32]:
    # What does not fit is infinite here and refused by the survey, as is what is no number.
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ascontiguousarray(block, dtype=np.float32)


def _sum_of(surveys: Sequence[Survey]) -> Survey:
    largest = max(survey.largest for survey in surveys)
    grids = [survey.grid for survey in surveys if survey.grid is not None]
    grid = min(grids) if len(grids) == len(surveys) else None
    return Survey(
        squared_norms=np.concatenate([survey.squared_norms for survey in surveys]),
        total=np.sum([survey.total for survey in surveys], axis=0),
        largest=largest,
        grid=None if grid is None or largest > 2.0 ** (grid + GRID_BITS) else grid,
    )
