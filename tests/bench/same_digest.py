"""Show one ``predictions_sha256`` whatever the threads, blocks, row order and library, and how a plain search fares.

Usage: python tests/bench/same_digest.py [--queries 2000] [--references 20000] [--markdown]

Three submissions that are hard on a search: references that stand there several times, uncentred positive features,
and bits with thousands of ties at the cut. All values come from integers by operations that IEEE 754 rounds in one way
only, so the digests of the search, unlike those of the plain ones, are to be the same on any machine. Ends with 1 if
the variants differ.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np
from threadpoolctl import threadpool_limits

from ndec_bench.descriptors import Descriptors
from ndec_bench.search import Wanted, search

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Lines = list[tuple[str, str, float]]

PER_QUERY = 10
SHOWN = 16


@dataclass(frozen=True)
class Made:
    """Two sides to search, and what is special about them."""

    queries: Descriptors
    references: Descriptors

    @property
    def cap(self) -> int:
        return PER_QUERY * len(self.queries)

    def shuffled(self) -> Made:
        """Return the same vectors and ids in other rows."""
        generator = np.random.default_rng(11)
        return Made(*(side.take(generator.permutation(len(side))) for side in (self.queries, self.references)))


@dataclass(frozen=True)
class Row:
    """One way to search: digest of its list, the pairs in it."""

    name: str
    digest: str
    pairs: frozenset[tuple[str, str]]


def planted_duplicates(queries: int, references: int) -> Made:
    """Unit vectors; every picture stands among the references about seven times, every third query is a copy."""
    generator = np.random.default_rng(1)
    base = _bells(generator, (max(2, references // 7), 256))
    r = base[generator.integers(0, len(base), references)]
    q = _bells(generator, (queries, 256))
    q[::3] += 2 * base[generator.integers(0, len(base), len(q[::3]))]
    return _made(_unit(q), _unit(r))


def positive_features(queries: int, references: int) -> Made:
    """Features around 3 with a spread near 0.05: norms of 34, distances below 1."""
    generator = np.random.default_rng(2)
    q, r = (3.0 + _bells(generator, (rows, 128)) * 2.0**-20 for rows in (queries, references))
    return _made(q, r)


def bits(queries: int, references: int) -> Made:
    """±1 in 64 dimensions: squared distances are multiples of four, and a few of them hold all pairs at the cut."""
    generator = np.random.default_rng(3)
    q, r = (2.0 * generator.integers(0, 2, (rows, 64)) - 1.0 for rows in (queries, references))
    return _made(q, r)


SUBMISSIONS: dict[str, Callable[[int, int], Made]] = {
    "planted duplicates": planted_duplicates,
    "positive features": positive_features,
    "±1 bits": bits,
}


def ours(made: Made, **choices: Any) -> Lines:  # noqa: ANN401
    """Return the list of record: ids and scores in its order."""
    found = search(made.queries, made.references, {"all": Wanted(made.cap)}, **choices)["all"]
    rows = zip(found.query_rows.tolist(), found.reference_rows.tolist(), found.scores.tolist(), strict=True)
    return [(made.queries.ids[q], made.references.ids[r], score) for q, r, score in rows]


def our_rows(made: Made) -> Iterator[Row]:
    """Yield the search of this package in six variants."""
    yield _row("1 thread", ours(made, threads=1))
    yield _row("2 threads", ours(made, threads=2))
    yield _row("other blocks", ours(made, threads=2, query_rows=701, reference_rows=333))
    yield _row("rows shuffled", ours(made.shuffled(), threads=2))
    yield _row("faiss", ours(made, threads=2, backend="faiss"))
    yield _row("torch", ours(made, threads=2, backend="torch"))


def plain_product(made: Made, batch: int, threads: int) -> Lines:
    """Return the best pairs by a float32 matrix product, ``batch`` queries at a time, sorted as the list of record.

    The norms turn the product into squared distances, as is common. Which of equal scores are taken is up to the
    library.
    """
    q, r = made.queries.vectors, made.references.vectors
    scores = np.empty((len(q), len(r)), dtype=np.float32)
    r_norms = np.einsum("ij,ij->i", r, r)
    with threadpool_limits(threads):
        for start in range(0, len(q), batch):
            some = q[start : start + batch]
            scores[start : start + batch] = (
                2 * (some @ r.T) - np.einsum("ij,ij->i", some, some)[:, None] - r_norms[None, :]
            )
    best = np.argpartition(scores, scores.size - made.cap, axis=None)[scores.size - made.cap :]
    query_rows, reference_rows = np.divmod(best, len(r))
    return _sorted(made, query_rows, reference_rows, scores.reshape(-1)[best])


def plain_faiss(made: Made, batch: int, threads: int) -> Lines:
    """Return the ten nearest of each query by ``faiss.IndexFlatL2``, ``batch`` queries at a time, sorted likewise."""
    q = made.queries.vectors
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        index = faiss.IndexFlatL2(q.shape[1])
        index.add(made.references.vectors)
        found = [index.search(q[start : start + batch], PER_QUERY) for start in range(0, len(q), batch)]
    finally:
        faiss.omp_set_num_threads(before)
    distances, columns = (np.concatenate(parts) for parts in zip(*found, strict=True))
    query_rows = np.repeat(np.arange(len(q)), PER_QUERY)
    return _sorted(made, query_rows, columns.reshape(-1), -distances.reshape(-1))


def plain_rows(made: Made, plain: Callable[[Made, int, int], Lines]) -> Iterator[Row]:
    """Yield a plain search in variants of the same kind."""
    everything = len(made.queries)
    yield _row("1 thread, all at once", plain(made, everything, 1))
    yield _row("2 threads, all at once", plain(made, everything, 2))
    yield _row("256 queries at a time", plain(made, 256, 2))
    yield _row("19 queries at a time", plain(made, 19, 2))
    yield _row("one query at a time", plain(made, 1, 2))
    yield _row("rows shuffled", plain(made.shuffled(), everything, 2))


def digest(lines: Lines) -> str:
    """Return ``predictions_sha256`` of the lines in their order."""
    text = "".join(f"{query}\t{reference}\t{score.hex()}\n" for query, reference, score in lines)
    return hashlib.sha256(text.encode()).hexdigest()


def tied_at_the_cut(made: Made) -> tuple[int, int]:
    """Return how many pairs have the score of the list's last one: in the list, and among as many pairs after it."""
    scores = search(made.queries, made.references, {"all": Wanted(2 * made.cap)})["all"].scores
    tied = scores == scores[made.cap - 1]
    return int(tied[: made.cap].sum()), int(tied[made.cap :].sum())


def main() -> int:
    """Return 0 if the search gives one digest per submission."""
    arguments = _arguments()
    made = {name: make(arguments.queries, arguments.references) for name, make in SUBMISSIONS.items()}
    show = _show_markdown if arguments.markdown else _show
    print(f"{arguments.queries:,} queries × {arguments.references:,} references, {PER_QUERY} × queries pairs in a list")
    for name, one in made.items():
        inside, outside = tied_at_the_cut(one)
        print(
            f"{name}: pairs with the score of the list's last one: {inside:,} in it, {outside:,} among those after it"
        )
    table = {name: _told(name, our_rows(one)) for name, one in made.items()}
    show("ndec-bench", table)
    agree = {name: len({row.digest for row in rows}) == 1 for name, rows in table.items()}
    for title, plain in (
        ("plain float32 product and argpartition (pairs that the first variant lacks)", plain_product),
        ("plain faiss.IndexFlatL2, 10 per query (pairs that the first variant lacks)", plain_faiss),
    ):
        show(title, {name: _told(name, plain_rows(one, plain)) for name, one in made.items()}, lacking=True)
    for name, same in agree.items():
        print(f"{name}: {'one predictions_sha256 in all variants' if same else 'THE VARIANTS DIFFER'}")
    print("all agree" if all(agree.values()) else "NOT all agree")
    return int(not all(agree.values()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--references", type=int, default=20_000)
    parser.add_argument("--markdown", action="store_true", help="print the tables in Markdown")
    return parser.parse_args()


def _bells(generator: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return whole numbers of a bell-shaped distribution around 0, standard deviation near 37,837."""
    return generator.integers(-32_768, 32_768, (4, *shape)).sum(axis=0).astype(np.float64)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    # The sum of squares of whole numbers is exact, root and quotient are rounded in one way only.
    whole = vectors.astype(np.int64)
    norms: NDArray[np.float64] = np.sqrt((whole * whole).sum(axis=1).astype(np.float64))
    return vectors / norms[:, None]


def _made(q: NDArray[np.float64], r: NDArray[np.float64]) -> Made:
    return Made(
        Descriptors(tuple(f"Q{row:05d}" for row in range(len(q))), q.astype(np.float32)),
        Descriptors(tuple(f"R{row:06d}" for row in range(len(r))), r.astype(np.float32)),
    )


def _sorted(
    made: Made, query_rows: NDArray[np.int64], reference_rows: NDArray[np.int64], scores: NDArray[np.float32]
) -> Lines:
    rows = zip(query_rows.tolist(), reference_rows.tolist(), scores.tolist(), strict=True)
    lines = [(made.queries.ids[q], made.references.ids[r], score) for q, r, score in rows]
    return sorted(lines, key=lambda line: (-line[2], line[0], line[1]))


def _row(name: str, lines: Lines) -> Row:
    return Row(name, digest(lines), frozenset((query, reference) for query, reference, _ in lines))


def _told(name: str, rows: Iterator[Row]) -> list[Row]:
    made = []
    for row in rows:
        print(f"  {name}: {row.name}", file=sys.stderr)
        made.append(row)
    return made


def _cells(table: dict[str, list[Row]], *, lacking: bool) -> list[list[str]]:
    lines = []
    for rows in zip(*table.values(), strict=True):
        cells = [row.digest[:SHOWN] for row in rows]
        if lacking:
            firsts = (column[0] for column in table.values())
            cells = [
                f"{cell} ({len(row.pairs - first.pairs):,})"
                for cell, row, first in zip(cells, rows, firsts, strict=True)
            ]
        lines.append([rows[0].name, *cells])
    return lines


def _show(title: str, table: dict[str, list[Row]], *, lacking: bool = False) -> None:
    print(f"\n{title}")
    for cells in [["", *table], *_cells(table, lacking=lacking)]:
        print("  " + f"{cells[0]:<24}" + "".join(f"{cell:<28}" for cell in cells[1:]).rstrip())


def _show_markdown(title: str, table: dict[str, list[Row]], *, lacking: bool = False) -> None:
    print(f"\n| {title} | " + " | ".join(table) + " |")
    print("| --- |" + " --- |" * len(table))
    for name, *cells in _cells(table, lacking=lacking):
        texts = (f"`{digest}` {rest}".rstrip() for digest, _, rest in (cell.partition(" ") for cell in cells))
        print(f"| {name} | " + " | ".join(texts) + " |")


if __name__ == "__main__":
    sys.exit(main())
