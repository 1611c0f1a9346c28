"""Vectors with ids, in memory or read block by block, and the one survey that every source goes through.

The survey reads each vector once. It refuses what cannot be searched, and keeps what an exact search needs to know:
norms, the sum, the largest value, and whether all values are small multiples of one power of two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ndec_bench.errors import SubmissionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

ROWS_PER_READ = 4096
_GRID_SAMPLE = 64
GRID_BITS = 12


@dataclass(frozen=True)
class Survey:
    """What one reading of all vectors of a source tells.

    Attributes
    ----------
    squared_norms
        (n,) float64 squared Euclidean norms of the float32 vectors.
    total
        (d,) float64 sum of the vectors.
    largest
        Largest absolute value.
    grid
        Exponent g such that every value is a multiple of 2**g of at most 2**12 steps; None for anything finer. Such
        values multiply and add without rounding.
    """

    squared_norms: NDArray[np.float64]
    total: NDArray[np.float64]
    largest: float
    grid: int | None


class VectorSource(Protocol):
    """Vectors that can be read block by block, any number of times."""

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the n image ids, each once, in row order."""

    @property
    def dimension(self) -> int:
        """Return the number of components of each vector."""

    @property
    def survey(self) -> Survey:
        """Return the survey of all rows; it was made, and the vectors checked, when the source was opened."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return rows ``start`` to ``stop`` (not included) as (rows, d) float32 in C order; not to be written to."""


@dataclass(frozen=True)
class Descriptors:
    """One vector per image, with its id, in memory.

    Attributes
    ----------
    ids
        n image ids, each once.
    vectors
        (n, d) float32, C order, finite.
    survey
        Made from the vectors.
    """

    ids: tuple[str, ...]
    vectors: NDArray[np.float32]
    survey: Survey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check that ids and rows belong together and make usable descriptors. Raises SubmissionError."""
        object.__setattr__(self, "survey", check_descriptors("descriptors", self.ids, self.vectors))

    @property
    def dimension(self) -> int:
        """Return the number of components of each vector."""
        return int(self.vectors.shape[1])

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return rows ``start`` to ``stop`` (not included) as (rows, d) float32."""
        return self.vectors[start:stop]

    def take(self, rows: NDArray[Any]) -> Descriptors:
        """Return the descriptors at ``rows`` (indices), in that order."""
        return Descriptors(tuple(self.ids[row] for row in rows.tolist()), self.vectors[rows])


def check_descriptors(
    where: str, ids: Sequence[str], vectors: NDArray[Any], *, invalid: frozenset[str] = frozenset()
) -> Survey:
    """Return the survey of ``vectors`` (n, d) with ids ``ids``; ``where`` opens each message.

    Raises
    ------
    SubmissionError
        If the shape is not (n, d) with n ids, at least one row and one component; the vectors are not floating-point
        numbers; an id is not text or appears twice; a value is not
        finite; a row outside ``invalid`` is all zeros (one zero query ties with everything and can fill the global
        list); or all rows are equal.
    """
    check_shape(where, ids, vectors.shape)
    wrong = next((row for row, identifier in enumerate(ids) if not isinstance(identifier, str)), None)
    if wrong is not None:
        raise SubmissionError(f"{where}: the id of row {wrong} is {ids[wrong]!r}, not text", hint="give ids as str")
    if vectors.dtype.kind != "f":
        raise SubmissionError(
            f"{where}: {vectors.dtype}, expected floating-point numbers", hint="cast the vectors to float32"
        )
    check_unique(where, ids)
    return survey(where, ids, vectors.shape, lambda start, stop: vectors[start:stop], invalid=invalid)


def survey(
    where: str,
    ids: Sequence[str],
    shape: tuple[int, ...],
    read: Callable[[int, int], NDArray[Any]],
    *,
    invalid: frozenset[str] = frozenset(),
) -> Survey:
    """Return the survey of the (n, d) rows that ``read(start, stop)`` gives as floating-point blocks.

    Raises
    ------
    SubmissionError
        If a value is not finite, also after the cast to float32; a row outside ``invalid`` is all zeros; or all rows
        are equal. The message opens with ``where`` and names row and id.
    """
    squared_norms = np.zeros(shape[0])
    total = np.zeros(shape[1])
    largest = 0.0
    first: NDArray[np.float32] | None = None
    equal = True
    grid: int | None = None
    for start in range(0, shape[0], ROWS_PER_READ):
        stop = min(start + ROWS_PER_READ, shape[0])
        block = _as_float32(where, ids, read(start, stop), start)
        with np.errstate(invalid="ignore"):  # a signalling NaN, refused below
            wide = block.astype(np.float64)
        squared_norms[start:stop] = np.einsum("ij,ij->i", wide, wide)
        _check_rows(where, ids, block, squared_norms[start:stop], start, invalid)
        total += wide.sum(axis=0)
        if first is None:
            first = block[:1].copy()
            grid = _grid_of(block[:_GRID_SAMPLE])
        largest = max(largest, float(block.max()), -float(block.min()))
        equal = equal and bool((block[-1] == first).all()) and bool((block == first).all())
        if grid is not None and not _on_grid(block, grid):
            grid = None
    if shape[0] > 1 and equal:
        raise SubmissionError(
            f"{where}: all {shape[0]:,} descriptors are equal",
            hint="the images are copies of one picture, or the model's output does not depend on the image",
        )
    if grid is not None and largest > 2.0 ** (grid + GRID_BITS):
        grid = None
    return Survey(squared_norms, total, largest, grid)


def check_shape(where: str, ids: Sequence[str], shape: tuple[int, ...]) -> None:
    """Raise SubmissionError unless ``shape`` is (images, dimensions), at least one of each, with one id per image."""
    if len(shape) != 2 or min(shape) < 1:
        raise SubmissionError(
            f"{where}: shape {shape}, expected (images, dimensions) with at least one of each",
            hint="write one row per image",
        )
    if len(ids) != shape[0]:
        raise SubmissionError(
            f"{where}: {shape[0]:,} rows but {len(ids):,} ids",
            hint="write one id per row, in the same order",
        )


def check_unique(where: str, ids: Sequence[str]) -> None:
    """Raise SubmissionError if an id appears twice; the message names both rows."""
    first: dict[str, int] = {}
    if len(set(ids)) == len(ids):
        return
    for row, identifier in enumerate(ids):
        if identifier in first:
            raise SubmissionError(
                f"{where}: id {identifier} is in row {first[identifier]} and in row {row}",
                hint="write each image once",
            )
        first[identifier] = row


def _as_float32(where: str, ids: Sequence[str], block: NDArray[Any], start: int) -> NDArray[np.float32]:
    if block.dtype == np.float32:
        return block
    if block.dtype == np.float64:
        _check_finite(where, ids, block, start)
    with np.errstate(over="ignore", invalid="ignore"):
        cast: NDArray[np.float32] = block.astype(np.float32)
    if block.dtype == np.float64:
        _check_finite(f"{where}, cast to float32", ids, cast, start)
    return cast


def _check_rows(
    where: str,
    ids: Sequence[str],
    block: NDArray[np.float32],
    squared_norms: NDArray[np.float64],
    start: int,
    invalid: frozenset[str],
) -> None:
    # In float64 the square of a float32 neither overflows nor vanishes: the norm tells of every bad or all-zero row.
    if not np.isfinite(squared_norms).all():
        _check_finite(where, ids, block, start)
    for row in np.flatnonzero(squared_norms == 0.0):
        identifier = ids[start + int(row)]
        if identifier not in invalid:
            raise SubmissionError(
                f"{where}: row {start + int(row)} ({identifier}) is all zeros",
                hint="list images that could not be decoded in the dataset invalid_ids",
            )


def _check_finite(where: str, ids: Sequence[str], block: NDArray[Any], start: int) -> None:
    bad = ~np.isfinite(block).all(axis=1)
    if bad.any():
        row = start + int(np.flatnonzero(bad)[0])
        value = block[row - start][~np.isfinite(block[row - start])][0]
        raise SubmissionError(
            f"{where}: row {row} ({ids[row]}) holds {value}, expected finite numbers"
            f" ({int(bad.sum()):,} such rows in this block)",
            hint="look for a division by a zero norm or an overflow in half precision",
        )


def _grid_of(block: NDArray[np.float32]) -> int | None:
    """Return the exponent of the coarsest power of two that divides all values of ``block``; None if too fine."""
    values = block[block != 0].astype(np.float64)
    if not len(values):
        return None
    mantissas, exponents = np.frexp(values)
    whole = np.abs(mantissas * 2.0**24).astype(np.int64)
    lowest = whole & -whole
    steps = exponents - 24 + np.log2(lowest).astype(np.int64)
    grid = int(steps.min())
    return grid if float(np.abs(values).max()) <= 2.0 ** (grid + GRID_BITS) else None


def _on_grid(block: NDArray[np.float32], grid: int) -> bool:
    steps = block.astype(np.float64) * 2.0**-grid
    return bool((steps == np.rint(steps)).all())
