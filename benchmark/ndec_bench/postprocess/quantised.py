"""Steps that round vectors to what an index would store; they stay float32, so that scoring is exact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field
from threadpoolctl import threadpool_limits

from ndec_bench.errors import SubmissionError
from ndec_bench.postprocess.linear import mapped, sampled
from ndec_bench.postprocess.step import Change, Count, Fitted, Side
from ndec_bench.postprocess.workspace import blocks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ndec_bench.descriptors import VectorSource
    from ndec_bench.postprocess.workspace import Workspace

_LEVELS = 127
_CENTROIDS = 256
"""Of each part of a vector: as many as a byte can name."""
_FITTED_ON = 256 * _CENTROIDS
"""Images that centroids are fitted on at most: faiss takes as many of a larger number, drawn by itself."""

_On = Annotated[Literal["background", "references"], Field(description="background or references")]
_SIDES: Mapping[str, Side] = {"background": "background", "references": "reference"}


class Sign(Change):
    """+1 where a component is zero or above, −1 elsewhere: bits, of which the squared distance counts four each."""

    about: ClassVar[str] = "keep the sign of each component: +1 or -1"
    source: ClassVar[str] = "x >= 0 ? 1 : -1"

    name: Literal["sign"] = "sign"

    def fit(self, sides: Mapping[Side, VectorSource], work: Workspace) -> Fitted:
        """Return the step; there is nothing to fit."""
        return Fitted(mapped(self, work, lambda x: np.where(x >= 0.0, 1.0, -1.0)))


class Int8(Change):
    """Components rounded to whole multiples, from −127 to 127, of a scale.

    The scale is the largest magnitude among the images that the step is fitted on, divided by 127: of each dimension,
    or of all. What lies further out becomes ±127. Halves are rounded to the even number.

    Attributes
    ----------
    scale
        Whether each dimension has its own scale.
    on
        What the step is fitted on.
    """

    about: ClassVar[str] = "round to whole numbers from -127 to 127, times a scale"
    source: ClassVar[str] = "symmetric int8: s * clip(round(x / s), -127, 127)"

    name: Literal["int8"] = "int8"
    scale: Literal["dimension", "global"] = Field("dimension", description="dimension or global")
    on: _On = "background"

    @property
    def fitted_on(self) -> tuple[Side, ...]:
        """Return the side that ``on`` names."""
        return (_SIDES[self.on],)

    def fit(self, sides: Mapping[Side, VectorSource], work: Workspace) -> Fitted:
        """Return the step with the scales of the side that ``on`` names."""
        source = sides[self.fitted_on[0]]
        self.check_rows(source, 1, f"{self.on} images")
        largest, done = np.zeros(source.dimension), 0
        for block in blocks(source):
            np.maximum(largest, np.abs(block).max(axis=0), out=largest)
            done += len(block)
            work.progress("int8: largest values", done, len(source))
        if self.scale == "global":
            largest[:] = largest.max()
        scales = largest / _LEVELS

        def rounded(x: NDArray[np.float64]) -> NDArray[np.float64]:
            # A dimension that is zero in all images has no scale, and stays zero.
            whole: NDArray[np.float64] = np.divide(x, scales, out=np.zeros_like(x), where=scales > 0.0)
            return np.rint(whole).clip(-_LEVELS, _LEVELS) * scales

        return Fitted(mapped(self, work, rounded), {"fitted_on_images": len(source)})


class Pq(Change):
    """Product quantisation: each of ``bytes`` equal parts of a vector becomes the nearest of 256 centroids.

    Centroids are those of faiss (``ProductQuantizer``, k-means of 25 rounds with this seed, on one thread), fitted on
    at most 65,536 images: ``Stream("postprocess pq", seed).sample`` of all, in the order of their ids. The nearest
    centroid is found in float64; of equally near ones the first is taken.

    Attributes
    ----------
    bytes
        Bytes per vector, one for each part; the dimension is a multiple of it.
    seed
        Of the sample and of k-means.
    on
        What the step is fitted on.
    """

    about: ClassVar[str] = "product quantisation: a byte for each part of a vector, decoded again"
    source: ClassVar[str] = "faiss ProductQuantizer with 8 bits"

    name: Literal["pq"] = "pq"
    bytes: Count
    seed: int = Field(0, ge=0, lt=1 << 31, description="a whole number from 0 to 2147483647")
    on: _On = "background"

    @property
    def fitted_on(self) -> tuple[Side, ...]:
        """Return the side that ``on`` names."""
        return (_SIDES[self.on],)

    def fit(self, sides: Mapping[Side, VectorSource], work: Workspace) -> Fitted:
        """Return the step with centroids of the side that ``on`` names."""
        source = sides[self.fitted_on[0]]
        if source.dimension % self.bytes:
            raise SubmissionError(
                f"step pq: {source.dimension:,} dimensions cannot be cut into {self.bytes:,} equal parts",
                hint="give a number of bytes that divides the dimension, or change the dimension by pca",
            )
        self.check_rows(source, _CENTROIDS, f"{self.on} images to fit {_CENTROIDS} centroids")
        some = sampled(source, _FITTED_ON, "postprocess pq", self.seed, work)
        centroids = self._centroids(some, work)
        if some is not source:
            work.release(some)
        lengths = np.einsum("pcd,pcd->pc", centroids, centroids) / 2.0

        def decoded(x: NDArray[np.float64]) -> NDArray[np.float64]:
            parts = x.reshape(len(x), self.bytes, -1)
            for part, (candidates, half_lengths) in enumerate(zip(centroids, lengths, strict=True)):
                nearest = (half_lengths - parts[:, part] @ candidates.T).argmin(axis=1)
                parts[:, part] = candidates[nearest]
            return x

        return Fitted(mapped(self, work, decoded), {"fitted_on_images": len(some)})

    def _centroids(self, source: VectorSource, work: Workspace) -> NDArray[np.float64]:
        """Return (bytes, 256, dimension / bytes) float64 centroids."""
        import faiss

        quantiser = faiss.ProductQuantizer(source.dimension, self.bytes, 8)
        quantiser.cp.seed = self.seed
        quantiser.cp.min_points_per_centroid = 1  # fewer than usual are no reason for a message on stderr
        work.progress("pq: centroids", 0, len(source))
        with threadpool_limits(limits=1):
            quantiser.train(source.read(0, len(source)))
        work.progress("pq: centroids", len(source), len(source))
        centroids: NDArray[np.float64] = faiss.vector_to_array(quantiser.centroids).astype(np.float64)
        return centroids.reshape(self.bytes, _CENTROIDS, -1)
