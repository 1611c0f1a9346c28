"""Write a submission of NDEC's shape from seeded random vectors, with ground truth and hard negatives, once.

Usage: python tests/bench/synthetic.py FOLDER --queries 49252 --references 100000 --dimension 256 [--parted]

Prints the paths as JSON. References are random unit vectors in float32, written block by block. Of the queries, as in
NDEC's proportions, some are copies (a reference plus noise), some hard negatives (less of a reference, more noise), the
others plain distractors (noise).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from ndec_bench.atomic import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

# NDEC: labelled queries, copies among them, hard negatives among them.
QUERIES, COPIES, HARD_NEGATIVES = 49_252, 5_009, 24_252
SEED = 2023
ROWS = 16_384
# Length of the noise on a reference of length 1, from the mildest to the strongest edit.
COPY_NOISE, HARD_NOISE = (0.5, 3.0), (1.2, 4.0)


@dataclass(frozen=True)
class Shape:
    """How much to make."""

    queries: int
    references: int
    dimension: int

    @property
    def copies(self) -> int:
        return self.queries * COPIES // QUERIES

    @property
    def hard_negatives(self) -> int:
        return self.queries * HARD_NEGATIVES // QUERIES


class Plan:
    """Which query comes from which reference; the queries take shape while the references are made.

    Attributes
    ----------
    sources
        (queries,) row of the reference behind each query; -1 for plain distractors.
    queries
        (queries, d) float32.
    """

    def __init__(self, shape: Shape) -> None:
        generator = np.random.default_rng([SEED, 1])
        self.shape = shape
        order = generator.permutation(shape.queries)
        self.copies = np.sort(order[: shape.copies])
        self.hard = np.sort(order[shape.copies : shape.copies + shape.hard_negatives])
        self.sources = np.full(shape.queries, -1)
        self._noise = np.zeros(shape.queries)
        for rows, noise in ((self.copies, COPY_NOISE), (self.hard, HARD_NOISE)):
            self.sources[rows] = generator.integers(0, shape.references, len(rows))
            self._noise[rows] = generator.uniform(*noise, len(rows))
        self.queries = _unit(generator.standard_normal((shape.queries, shape.dimension), dtype=np.float32))

    def blocks(self) -> Iterator[NDArray[np.float32]]:
        """Yield the references in blocks and mix them into their queries."""
        for start in range(0, self.shape.references, ROWS):
            generator = np.random.default_rng([SEED, 2, start])
            rows = min(ROWS, self.shape.references - start)
            block = _unit(generator.standard_normal((rows, self.shape.dimension), dtype=np.float32))
            mine = np.flatnonzero((self.sources >= start) & (self.sources < start + rows))
            noise = self._noise[mine, None].astype(np.float32)
            self.queries[mine] = _unit(block[self.sources[mine] - start] + noise * self.queries[mine])
            yield block


def write(folder: Path, shape: Shape, *, parted: bool = False) -> dict[str, str]:
    """Return the paths of the files of ``shape`` in ``folder``, made unless they are there.

    ``parted`` writes queries and references as two files of ``vectors`` and ``image_names`` instead of one submission.
    """
    folder = folder / f"{shape.queries}x{shape.references}x{shape.dimension}"
    folder.mkdir(parents=True, exist_ok=True)
    names = {"query": "queries.h5", "reference": "references.h5"} if parted else {"submission": "submission.h5"}
    paths = {name: folder / file for name, file in names.items()}
    paths |= {"ground_truth": folder / "ground_truth.csv", "hard_negatives": folder / "hard_negatives.txt"}
    if not all(path.is_file() for path in paths.values()):
        plan = Plan(shape)
        write_labels(plan, paths["ground_truth"], paths["hard_negatives"])
        _write_vectors(paths, plan)
    return {name: str(path) for name, path in paths.items()}


def query_ids(shape: Shape) -> list[str]:
    """Return the ids of the queries, in row order."""
    return [f"Q{25_000 + row}" for row in range(shape.queries)]


def reference_ids(shape: Shape) -> list[str]:
    """Return the ids of the references, in row order."""
    return [f"R{row:06d}" for row in range(shape.references)]


def write_labels(plan: Plan, truth: Path, hard_negatives: Path) -> None:
    """Write the ground truth, with a header, and the list of hard negatives."""
    queries, references = query_ids(plan.shape), reference_ids(plan.shape)
    true = dict(zip(plan.copies.tolist(), plan.sources[plan.copies].tolist(), strict=True))
    lines = (f"{query},{references[true[row]] if row in true else ''}" for row, query in enumerate(queries))
    truth.write_text("\n".join(["query_id,reference_id", *lines]) + "\n", encoding="utf-8")
    hard_negatives.write_text("\n".join(queries[row] for row in plan.hard.tolist()) + "\n", encoding="utf-8")


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    vectors /= np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    return vectors


def _write_vectors(paths: dict[str, Path], plan: Plan) -> None:
    shape = plan.shape
    sides = {"query": (query_ids(shape), shape.queries), "reference": (reference_ids(shape), shape.references)}
    if "submission" in paths:
        with replacing(paths["submission"]) as temporary, h5py.File(temporary, "w") as file:
            for name, (ids, rows) in sides.items():
                file.create_dataset(f"{name}_ids", data=[one.encode() for one in ids])
                file.create_dataset(name, (rows, shape.dimension), dtype="f4")
            _fill(file["query"], file["reference"], plan)
        return
    with (
        replacing(paths["query"]) as first,
        replacing(paths["reference"]) as second,
        h5py.File(first, "w") as queries,
        h5py.File(second, "w") as references,
    ):
        for file, (ids, rows) in zip((queries, references), sides.values(), strict=True):
            file.create_dataset("image_names", data=[one.encode() for one in ids])
            file.create_dataset("vectors", (rows, shape.dimension), dtype="f4")
        _fill(queries["vectors"], references["vectors"], plan)


def _fill(queries: h5py.Dataset, references: h5py.Dataset, plan: Plan) -> None:
    start = 0
    for block in plan.blocks():
        references[start : start + len(block)] = block
        start += len(block)
    queries[:] = plan.queries


def main() -> None:
    """Write the files and print their paths."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    for name in ("queries", "references", "dimension"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--parted", action="store_true")
    arguments = parser.parse_args()
    shape = Shape(arguments.queries, arguments.references, arguments.dimension)
    print(json.dumps(write(arguments.folder, shape, parted=arguments.parted)))


if __name__ == "__main__":
    main()
