"""The matching track of EsViTp: candidates from a global descriptor and from keypoints, scored by keypoints.

Up to three lists of pairs, at most one pair per query in each: the nearest reference by the global descriptor (of the
cut-out, where an overlay was accepted), the reference that the keypoints of the query recall, and the one that those of
the cut-out recall. Every pair is scored by the match count of the image that brought it in; a pair in several lists
has the sum (``match_score/merge_score.py`` and README of sun-xl/ISC2021).
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits

from ndec_baselines.describing.boxes import CroppedSource
from ndec_baselines.describing.extract import describe_once, images_digest
from ndec_baselines.esvitp.overlay import global_box, local_box
from ndec_baselines.esvitp.pairs import pair_score
from ndec_baselines.esvitp.recall import recalled
from ndec_baselines.esvitp.store import KeypointFiles, find_keypoints
from ndec_bench.data.images import SelectedSource
from ndec_bench.descriptors import read_descriptors
from ndec_bench.matches import Matches
from ndec_bench.memory import usable_cores
from ndec_bench.progress import Progress, silent
from ndec_bench.search import Wanted, search

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from ndec_baselines.base import ModelCard, SplitImages
    from ndec_baselines.describing.boxes import Box
    from ndec_baselines.networks.inference import TorchBaseline
    from ndec_bench.data.images import ImageSource

    Choice = Callable[[tuple[int, int], Sequence[Box]], tuple[float, float, float, float] | None]
    Pairs = list[tuple[int, int]]


class KeypointMatcher:
    """Scores pairs by keypoints; see `ndec_baselines.base.Matcher`.

    Parameters
    ----------
    describer
        The global descriptor, for its list of candidates; None to go by keypoints alone.
    """

    def __init__(self, card: ModelCard, describer: TorchBaseline | None = None) -> None:
        self.card = card
        self._describer = describer

    @property
    def device(self) -> str:
        """Return where the global descriptor runs; keypoints are found on the CPU."""
        return "cpu" if self._describer is None else self._describer.device

    @property
    def weights_sha256(self) -> str | None:
        """Return the SHA-256 (hex) of the weights of the global descriptor; None without."""
        return None if self._describer is None else self._describer.weights_sha256

    def match(
        self, images: SplitImages, work: Path, *, cap: int, workers: int | None = None, progress: Progress = silent
    ) -> Matches:
        """Return the scored pairs of all lists, at most ``cap``; scores are whole numbers from 0.

        Keypoints and descriptors go into ``work`` and are used again when the recipe and the images are the same.

        Raises
        ------
        DataError
            If an image is broken or ``work`` cannot be written.
        """
        workers = workers or usable_cores()
        cut = _Cut(images.queries, images.detections, workers)

        def find(source: ImageSource, side: str, more: Mapping[str, str]) -> KeypointFiles:
            return find_keypoints(
                source,
                work / f"keypoints-{side}",
                {"baseline": self.card.name, "baseline_version": self.card.version, **more},
                workers=workers,
                progress=progress,
                stage=f"finding keypoints in {side}",
            )

        references = find(images.references, "references", {})
        queries = find(images.queries, "queries", {})
        lists: list[tuple[KeypointFiles, Pairs]] = [
            (queries, recalled(queries, references, workers=workers, progress=progress))
        ]
        cuts = None
        if cut.local:
            cuts = find(cut.source(cut.local, local_box), "cut-outs", {"boxes": cut.digest})
            pairs = recalled(cuts, references, workers=workers, progress=progress, stage="matching cut-outs")
            lists.append((cuts, pairs))
        if self._describer is not None:
            nearest = self._nearest(self._describer, images, cut, work, workers, progress)
            kept = [(query, reference) for query, reference in nearest if queries.ids[query] not in cut.whole]
            lists.append((queries, kept))
            if cuts is not None:
                # A cut-out of the global branch is one of the local branch, whose threshold is lower.
                place = {image_id: row for row, image_id in enumerate(cuts.ids)}
                replaced = [(place[queries.ids[q]], r) for q, r in nearest if queries.ids[q] in cut.whole]
                lists.append((cuts, replaced))
        return merged(lists, references, workers=workers, progress=progress).sorted(cap)

    def _nearest(
        self, describer: TorchBaseline, images: SplitImages, cut: _Cut, work: Path, workers: int, progress: Progress
    ) -> Pairs:
        """Return the nearest reference of every query by the global descriptor, as places in the lists of ids."""
        sides = {
            "queries": (cut.source(images.queries.ids, global_box), {"boxes": cut.digest}),
            "references": (images.references, {}),
        }
        for side, (source, more) in sides.items():
            describe_once(
                describer,
                source,
                work / f"{side}.h5",
                attributes={**more, "images": images_digest(source)},
                workers=workers,
                progress=progress,
                stage=f"describing {side}",
            )
        found = search(
            read_descriptors(work / "queries.h5"),
            read_descriptors(work / "references.h5"),
            {"nearest": Wanted(1, per_query=True)},
            threads=workers,
            progress=progress,
        )["nearest"]
        order = np.argsort(found.query_rows, kind="stable")
        return list(zip(found.query_rows[order].tolist(), found.reference_rows[order].tolist(), strict=True))


class _Cut:
    """The queries that the user's detections cut.

    Attributes
    ----------
    local, whole
        Ids of the queries with a box for the local branch, and of those whose box replaces them in the global one.
    """

    def __init__(self, queries: ImageSource, detections: Mapping[str, Sequence[Box]], workers: int) -> None:
        self._queries, self._detections = queries, detections
        ids = [image_id for image_id in queries.ids if detections.get(image_id)]
        with ThreadPoolExecutor(workers, thread_name_prefix="sizes") as pool:
            sizes = dict(zip(ids, pool.map(lambda image_id: queries.read(image_id).size, ids), strict=True))
        self.local = [i for i in ids if local_box(sizes[i], detections[i]) is not None]
        self.whole = {i for i in ids if global_box(sizes[i], detections[i]) is not None}
        boxes = "\n".join(f"{image_id} {box}" for image_id in ids for box in detections[image_id])
        self.digest = hashlib.sha256(boxes.encode()).hexdigest()

    def source(self, ids: Iterable[str], choose: Choice) -> ImageSource:
        """Return the queries ``ids``, cut to the box that ``choose`` takes, where it takes one."""
        return CroppedSource(SelectedSource(self._queries, ids), self._detections, choose)


def merged(
    lists: Iterable[tuple[KeypointFiles, Pairs]],
    references: KeypointFiles,
    *,
    workers: int,
    progress: Progress = silent,
    stage: str = "scoring pairs",
) -> Matches:
    """Return every pair of the ``lists`` with the sum of its scores in them.

    Parameters
    ----------
    lists
        Keypoints of queries, or of cut-outs under their ids, and pairs of places in them and in ``references``.
    """
    jobs = [(files, query, reference) for files, pairs in lists for query, reference in pairs]
    sums: dict[tuple[str, str], int] = defaultdict(int)
    progress(stage, 0, max(len(jobs), 1))
    with ThreadPoolExecutor(workers, thread_name_prefix="pairs") as pool, threadpool_limits(1, "blas"):
        scores = pool.map(lambda job: pair_score(references.of(job[2]), job[0].of(job[1])), jobs)
        for done, ((files, query, reference), score) in enumerate(zip(jobs, scores, strict=True), start=1):
            sums[files.ids[query], references.ids[reference]] += score
            progress(stage, done, len(jobs))
    progress(stage, max(len(jobs), 1), max(len(jobs), 1))
    keys = sorted(sums)
    return Matches(
        np.array([query for query, _ in keys], dtype=np.str_),
        np.array([reference for _, reference in keys], dtype=np.str_),
        np.array([sums[key] for key in keys], dtype=np.float64),
    )
