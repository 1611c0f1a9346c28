"""The fast pass: float32 products of all queries with a block of references, and which of them reach a threshold.

Three libraries can do it. They round differently, and the candidates they give differ at the margin; what is kept in
the end does not, see `ndec_bench.search.frame`.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from ndec_bench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

BACKENDS = ("auto", "blas", "faiss", "torch")
_FAISS_ROWS = 256
# 8 MiB: products that are still in the cache are looked through at twice the speed.
_PRODUCTS_PER_STEP = 1 << 21

Hits = tuple["NDArray[np.int64]", "NDArray[np.int64]", "NDArray[np.float32]"]


class Backend(Protocol):
    """A library that multiplies. Each call runs in one thread of the caller's; calls may run side by side."""

    name: str

    def block(self, references: NDArray[np.float32]) -> Any:  # noqa: ANN401 -- each library has a form of its own
        """Return prepared references (n, width) in the form that `hits` takes, once per block."""

    def hits(self, queries: NDArray[np.float32], block: Any, thresholds: NDArray[np.float32]) -> Hits:  # noqa: ANN401
        """Return query row, reference row and product of every pair whose product reaches its query's threshold."""


def resolved(name: str) -> str:
    """Return the backend that ``name`` stands for: ``blas`` for ``auto``, any other itself.

    NumPy's own product needs no further library and was the fastest of the three where it was measured
    (docs/performance.md).
    """
    return "blas" if name == "auto" else name


@contextmanager
def backend(name: str) -> Iterator[Backend]:
    """Yield the backend called ``name``, its library held to one thread per call and to full float32 precision.

    Raises
    ------
    UsageError
        If there is none of that name or its library is not installed.
    """
    name = resolved(name)
    if name == "blas":
        with threadpool_limits(limits=1, user_api="blas"):
            yield _Blas()
    elif name == "torch":
        with _torch() as torch:
            yield _Torch(torch)
    elif name == "faiss":
        yield _Faiss(_imported("faiss", "pip install faiss-cpu"))
    else:
        raise UsageError(f"backend {name!r} is unknown", hint=f"known: {', '.join(BACKENDS)}")


class _Room(threading.local):
    """What one thread keeps between blocks: fresh arrays for each block would spend their time in page faults.

    Attributes
    ----------
    products, reached
        Flat float32 and bool arrays, grown as needed.
    crowded
        Most rows of the last block had a hit.
    """

    def __init__(self) -> None:
        self.products = np.empty(0, dtype=np.float32)
        self.reached = np.empty(0, dtype=bool)
        self.crowded = True

    def of(self, rows: int, columns: int) -> NDArray[np.float32]:
        """Return an uninitialised (rows, columns) float32 array."""
        if self.products.size < rows * columns:
            self.products = np.empty(rows * columns, dtype=np.float32)
            self.reached = np.empty(rows * columns, dtype=bool)
        return self.products[: rows * columns].reshape(rows, columns)

    def hits(self, products: NDArray[np.float32], thresholds: NDArray[np.float32]) -> Hits:
        """Return query row, column and value of each product that reaches its row's threshold."""
        if self.crowded:
            rows, columns, values = self._reaching(products, thresholds)
        else:
            # Once the threshold has risen most rows have no hit: a row's largest value is the cheapest question.
            some = np.flatnonzero(products.max(axis=1) >= thresholds)
            rows, columns, values = self._reaching(products[some], thresholds[some])
            rows = some[rows]
        self.crowded = 8 * len(values) > len(products)
        return rows, columns, values

    def _reaching(self, products: NDArray[np.float32], thresholds: NDArray[np.float32]) -> Hits:
        reached = self.reached[: products.size].reshape(products.shape)
        np.greater_equal(products, thresholds[:, None], out=reached)
        flat = np.flatnonzero(reached)
        rows, columns = np.divmod(flat, products.shape[1])
        return rows, columns, products.reshape(-1)[flat]


class _Blas:
    name = "blas"

    def __init__(self) -> None:
        self._room = _Room()

    def block(self, references: NDArray[np.float32]) -> NDArray[np.float32]:
        return references

    def hits(self, queries: NDArray[np.float32], block: NDArray[np.float32], thresholds: NDArray[np.float32]) -> Hits:
        rows = max(1, _PRODUCTS_PER_STEP // len(block))
        found = []
        for start in range(0, len(queries), rows):
            part = slice(start, start + rows)
            products = self._room.of(len(queries[part]), len(block))
            self._multiply(queries[part], block, products)
            at, columns, values = self._room.hits(products, thresholds[part])
            found.append((at + start, columns, values))
        return _joined(found)

    def _multiply(
        self, queries: NDArray[np.float32], block: NDArray[np.float32], products: NDArray[np.float32]
    ) -> None:
        np.matmul(queries, block.T, out=products)


class _Torch(_Blas):
    name = "torch"

    def __init__(self, torch: Any) -> None:  # noqa: ANN401 -- torch is optional and not imported for types
        super().__init__()
        self._torch = torch

    def _multiply(
        self, queries: NDArray[np.float32], block: NDArray[np.float32], products: NDArray[np.float32]
    ) -> None:
        wrap = self._torch.from_numpy
        with self._torch.inference_mode():
            self._torch.mm(wrap(queries), wrap(block).T, out=wrap(products))


class _Faiss:
    name = "faiss"

    def __init__(self, faiss: Any) -> None:  # noqa: ANN401
        self._faiss = faiss

    def block(self, references: NDArray[np.float32]) -> Any:  # noqa: ANN401
        index = self._faiss.IndexFlatIP(references.shape[1])
        index.add(references)
        return index

    def hits(self, queries: NDArray[np.float32], block: Any, thresholds: NDArray[np.float32]) -> Hits:  # noqa: ANN401
        self._faiss.omp_set_num_threads(1)  # holds for the calling thread
        # A range search has one radius for all queries: queries with like thresholds go together.
        order = np.argsort(thresholds, kind="stable")
        order = order[: np.searchsorted(thresholds[order], np.inf)]
        found = [
            self._group(queries, block, thresholds, order[start : start + _FAISS_ROWS])
            for start in range(0, len(order), _FAISS_ROWS)
        ]
        return _joined(found)

    def _group(
        self,
        queries: NDArray[np.float32],
        index: Any,  # noqa: ANN401
        thresholds: NDArray[np.float32],
        rows: NDArray[np.int64],
    ) -> Hits:
        lowest = np.finfo(np.float32).min
        # Results lie strictly above the radius.
        radius = np.nextafter(max(thresholds[rows[0]], np.nextafter(lowest, np.float32(0))), lowest)
        limits, products, columns = index.range_search(queries[rows], float(radius))
        found = np.repeat(rows, np.diff(limits.astype(np.int64)))
        keep = products >= thresholds[found]
        return found[keep], columns[keep].astype(np.int64), products[keep]


def _joined(found: Sequence[Hits]) -> Hits:
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    rows, columns, products = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return rows, columns, products


def _imported(name: str, install: str) -> Any:  # noqa: ANN401
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f"backend {name} is not installed", hint=f'"{install}", or take --backend blas') from error


@contextmanager
def _torch() -> Iterator[Any]:
    torch = _imported("torch", "pip install torch")
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")  # no TF32 and no bfloat16 in place of float32
    try:
        yield torch
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
