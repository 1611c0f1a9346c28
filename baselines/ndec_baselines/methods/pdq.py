"""``pdq`` and ``pdq-8``: the PDQ hash of 256 bits, as the pdqhash package computes it from the full-size image.

``pdq`` describes an image by its hash. ``pdq-8`` compares each reference with a query in its eight orientations
(turned by quarters, mirrored or not), whose hashes PDQ derives from one transform, and keeps the best.

The library is given every pixel. It filters and shrinks to 64 x 64 by itself; an image that was resized before has
other bits. pdqhash holds Python's interpreter lock while it filters, so more workers than two gain little: several
processes do (``--shard``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ndec_baselines.base import Described, check_cpu
from ndec_baselines.cards import model_cards, registrations
from ndec_baselines.describing.extract import describe_once, images_digest
from ndec_bench.descriptors import Descriptors, read_descriptors
from ndec_bench.matches import Matches
from ndec_bench.progress import Progress, silent
from ndec_bench.search import Wanted, search

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

    from ndec_baselines.base import Batch, ModelCard, SplitImages
    from ndec_bench.data.images import ImageSource
    from ndec_bench.search import Found

BITS = 256
ORIENTATIONS = (
    "as it is",
    "turned by 90 degrees",
    "turned by 180 degrees",
    "turned by 270 degrees",
    "mirrored top to bottom",
    "mirrored left to right",
    "mirrored at the falling diagonal",
    "mirrored at the rising diagonal",
)
"""Those of ``pdqhash.compute_dihedral``, in its order; turns are counter-clockwise."""

CARD, CARD_8 = model_cards()["pdq"], model_cards()["pdq-8"]


class Pdq:
    """The loaded baseline ``pdq``; see `CARD`."""

    card = CARD
    device = "cpu"
    weights_sha256 = None

    def preprocess(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return the (256,) uint8 bits, 0 or 1, in the order of ``pdqhash.compute``.

        The hash is made here, image by image, so that a batch need not hold full-size images. An image with a side
        under 5 pixels has 256 zeros, by the library's rule.
        """
        import pdqhash

        bits, _ = pdqhash.compute(_pixels(image))
        return np.asarray(bits, dtype=np.uint8)

    def describe(self, batch: Batch) -> Described:
        """Return the bits of a batch (n, 256) as rows of plus and minus one."""
        return Described(_signs(batch))


class PdqOrientations:
    """The hashes of an image in its eight orientations, side by side: the descriptor file behind ``pdq-8``.

    PDQ takes the hashes of the turned and mirrored image from the frequencies of the image as it is, by changing
    signs and exchanging axes. They differ in a few bits from the hashes of an image that is turned or mirrored
    first, because the library's filter and choice of pixels are not symmetric; at the falling diagonal they are equal.
    """

    card = replace(CARD_8, dimension=len(ORIENTATIONS) * BITS, track="descriptor")
    device = "cpu"
    weights_sha256 = None

    def preprocess(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return (2048,) uint8 bits: 256 for each of `ORIENTATIONS`."""
        import pdqhash

        hashes, _ = pdqhash.compute_dihedral(_pixels(image))
        return np.concatenate(hashes).astype(np.uint8)

    def describe(self, batch: Batch) -> Described:
        """Return the bits of a batch (n, 2048) as rows of plus and minus one."""
        return Described(_signs(batch))


class PdqMatcher:
    """The loaded system ``pdq-8``; see `CARD_8` and `ndec_baselines.base.Matcher`."""

    card = CARD_8
    device = "cpu"
    weights_sha256 = None

    def match(
        self, images: SplitImages, work: Path, *, cap: int, workers: int | None = None, progress: Progress = silent
    ) -> Matches:
        """Return the ``cap`` best pairs of all, in the order of record: score descending, query id, reference id.

        A score is -4 times the least Hamming distance over the orientations of the query. Each orientation is
        searched for its ``cap`` best pairs; of a pair in several lists the greatest score stays, and the union is cut.

        This is exact. Let S be the greatest of the scores s_o of a pair, and p a pair among the first ``cap`` by S,
        with S(p) = s_o(p). Were p not among the first ``cap`` by s_o, then ``cap`` pairs p' would come before it
        there: s_o(p') > s_o(p), or equal with lesser ids. As S(p') >= s_o(p'), all of them would come before p by S
        too, against the assumption. So p is in list o, and no list has a greater score for it. A pair p' that is
        not among the first ``cap`` by S has in the union at most S(p'), so it stays behind all of those.

        The queries' hashes take 8 KiB each in memory, the references' 1 KiB.
        """
        queries = _described(PdqOrientations(), images.queries, work / "query.h5", workers, progress, "queries")
        references = _described(Pdq(), images.references, work / "reference.h5", workers, progress, "references")
        found = []
        for index in range(len(ORIENTATIONS)):
            columns = np.ascontiguousarray(queries.vectors[:, index * BITS : (index + 1) * BITS])
            lists = search(
                Descriptors(queries.ids, columns),
                references,
                {"all": Wanted(cap)},
                threads=workers,
                progress=progress,
                stage=f"searching orientation {index + 1} of {len(ORIENTATIONS)}",
            )
            found.append(lists["all"])
        return _best(found, queries.ids, references.ids).sorted(cap)


def _best(found: Sequence[Found], query_ids: Sequence[str], reference_ids: Sequence[str]) -> Matches:
    """Return each pair of the lists once, with its greatest score, in the order of rows."""
    keys = np.concatenate([some.query_rows * len(reference_ids) + some.reference_rows for some in found])
    scores = np.concatenate([some.scores for some in found])
    order = np.lexsort((-scores, keys))
    keys, scores = keys[order], scores[order]
    first = np.ones(len(keys), dtype=bool)
    first[1:] = keys[1:] != keys[:-1]
    rows, columns = np.divmod(keys[first], len(reference_ids))
    return Matches(np.array(query_ids)[rows], np.array(reference_ids)[columns], scores[first])


def _described(
    baseline: Pdq | PdqOrientations,
    source: ImageSource,
    out: Path,
    workers: int | None,
    progress: Progress,
    side: str,
) -> Descriptors:
    """Return the hashes of a side from the file ``out``, which is written unless it holds them already."""
    attributes = {"images_sha256": images_digest(source)}
    stage = f"describing {side}"
    describe_once(baseline, source, out, attributes=attributes, workers=workers, progress=progress, stage=stage)
    return read_descriptors(out)


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(image.convert("RGB"))


def _signs(batch: Any) -> NDArray[np.float32]:  # noqa: ANN401 -- bits as an array or a list of arrays
    return np.where(np.asarray(batch, dtype=np.uint8) > 0, np.float32(1), np.float32(-1))


def load(card: ModelCard, weights: None, device: str) -> Pdq | PdqMatcher:
    """Return the baseline or the matcher, which run on the CPU only. Raises UsageError for another ``device``."""
    check_cpu(card.name, device)
    return PdqMatcher() if card.track == "matching" else Pdq()


BASELINES = registrations("pdq", load)
