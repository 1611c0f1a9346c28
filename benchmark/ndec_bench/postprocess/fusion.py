"""Steps that make one vector of several: the same images at several scales, in several crops, by several models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ndec_bench.errors import SubmissionError
from ndec_bench.postprocess.step import Fusion
from ndec_bench.postprocess.workspace import Rows, block_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ndec_bench.descriptors import VectorSource
    from ndec_bench.postprocess.workspace import Workspace


@dataclass(frozen=True)
class Mean(Fusion):
    """The plain mean of the vectors of an image, not scaled to length 1 afterwards."""

    name: ClassVar[str] = "mean"
    about: ClassVar[str] = "mean of the vectors that several files hold for an image"
    source: ClassVar[str] = "BoT, WangWenhao0716/ISC-Track2-Submission Test/multi_scale.py, with l2 before and after"

    def fuse(self, where: str, sources: Sequence[VectorSource], work: Workspace) -> VectorSource:
        """Return the means. Raises SubmissionError if the sources differ in dimension."""
        for number, source in enumerate(sources):
            if source.dimension != sources[0].dimension:
                raise SubmissionError(
                    f"{where}: {sources[0].dimension:,} dimensions in the first file, {source.dimension:,} in file "
                    f"{number + 1}; a mean needs as many in all",
                    hint="put concat in the place of mean",
                )

        def summed(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
            total = parts[0].astype(np.float64)
            for part in parts[1:]:
                total += part
            return total / len(parts)

        vectors = work.room(len(sources[0]), sources[0].dimension)
        step = block_rows(sources[0].dimension)
        for start in range(0, len(vectors), step):
            stop = min(start + step, len(vectors))
            vectors[start:stop] = summed([source.read(start, stop) for source in sources])
            work.progress(f"{self.name}: {where}", stop, len(vectors))
        return Rows(f"{where} after {self}", sources[0].ids, vectors)


@dataclass(frozen=True)
class Concat(Fusion):
    """The vectors of an image one after the other, in the order of the files, unchanged."""

    name: ClassVar[str] = "concat"
    about: ClassVar[str] = "the vectors that several files hold for an image, one after the other"
    source: ClassVar[str] = "EfNet, socom20/facebook-image-similarity-challenge-2021 submissions_v9.ipynb, cell 51"

    def fuse(self, where: str, sources: Sequence[VectorSource], work: Workspace) -> VectorSource:
        """Return the vectors put together."""
        bounds = np.cumsum([0, *(source.dimension for source in sources)]).tolist()
        vectors = work.room(len(sources[0]), bounds[-1])
        step = block_rows(bounds[-1])
        for start in range(0, len(vectors), step):
            stop = min(start + step, len(vectors))
            for source, low, high in zip(sources, bounds, bounds[1:], strict=False):
                vectors[start:stop, low:high] = source.read(start, stop)
            work.progress(f"{self.name}: {where}", stop, len(vectors))
        return Rows(f"{where} after {self}", sources[0].ids, vectors)
