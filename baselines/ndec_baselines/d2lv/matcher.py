"""The whole line of D2LV: crops, descriptors of each network, a list of each, one score per pair.

::

    WORK/queries/                size and proposals of the queries (`survey`)
    WORK/descriptors/NETWORK/    descriptors of one network at a time, taken away when its lists are made
    WORK/lists/                  the best pairs of each network, as parts (`ndec_bench.resume`)

A list that is there, made by the same recipe from the same images, is used again, and describing goes on where it was
stopped. Descriptors are reduced to 1,500 components before they are written, so 8,192 are in memory for the sample of
PCA alone. Queries are searched `QUERIES_PER_SEARCH` at a time, cropped references described and searched one kind of
crop at a time. For DISC21 (1,000,000 references and background images each, some 1,400,000 query crops, 6,000 bytes a
descriptor) that is up to about 45 GB of disk, the three networks of ``baseline-cc`` sharing it for a while, and memory
for 20,000 x 8,192 numbers, a search, and the merged lists: at most 34 million rows of 20 bytes for each size.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from torch import nn

from ndec_baselines.d2lv import merging
from ndec_baselines.d2lv.crops import REFERENCE_CROPS, QueryCrops, ReferenceCrops
from ndec_baselines.d2lv.network import MICRO_BATCH, Whitening, preprocess, whitening
from ndec_baselines.d2lv.plan import (
    BACKBONES,
    CROPPED_REFERENCES,
    SIDES,
    VARIANTS,
    Plan,
    Variant,
    name_of,
    network_card,
)
from ndec_baselines.d2lv.survey import survey_queries
from ndec_baselines.describing.extract import describe_once, images_digest
from ndec_baselines.networks.inference import TorchBaseline, choose_device
from ndec_baselines.networks.isc_resnet import read_network
from ndec_bench.data.images import SelectedSource
from ndec_bench.descriptors import Descriptors, open_descriptors
from ndec_bench.errors import DataError, UsageError
from ndec_bench.matches import Matches
from ndec_bench.memory import usable_cores
from ndec_bench.postprocess.workspace import Workspace
from ndec_bench.progress import silent
from ndec_bench.protocol import Normalisation
from ndec_bench.resume import keyed, parts_in
from ndec_bench.scoring.lists import biases
from ndec_bench.search import Wanted, search

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ndec_baselines.base import LocalWeights, ModelCard, SplitImages
    from ndec_baselines.d2lv.merging import Rows
    from ndec_baselines.networks.isc_resnet import Backbone
    from ndec_bench.data.images import ImageSource
    from ndec_bench.descriptors import VectorSource
    from ndec_bench.progress import Progress
    from ndec_bench.resume import Parts

    Best = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]

QUERIES_PER_SEARCH = 50_000
RULE = Normalisation("d2lv", factor=2.0, ranks=tuple(range(10)), source="score_normalization.py L68-L107")
CROPPED_REFERENCE_SIDE = SIDES[0]
TWO, ALL_THREE = 2, 3
_COLUMNS = ("queries", "query_crops", "references", "reference_crops", "scores")


class D2LV:
    """The system as a matcher; see `ndec_baselines.base.Matcher`.

    Parameters
    ----------
    card
        What it says about itself.
    weights
        The files of the plan's variants, under their published names.
    plan
        What is run.
    device
        auto, cpu or cuda.
    """

    def __init__(self, card: ModelCard, weights: LocalWeights, plan: Plan, device: str) -> None:
        self.card, self.plan, self.weights = card, plan, weights
        self.device = choose_device(device)
        self.weights_sha256 = weights.sha256

    def match(
        self, images: SplitImages, work: Path, *, cap: int, workers: int | None = None, progress: Progress = silent
    ) -> Matches:
        """Return the best ``cap`` pairs, each scored by its own query and reference alone.

        Raises
        ------
        UsageError
            If there are more than `merging.MAX_IMAGES` images on a side.
        DataError
            If the split has no background images or fewer than three, an image is broken, ``work`` cannot be written,
            or another process is at work there.
        """
        run = _Run(self, images, work, workers or usable_cores(), progress)
        with parts_in(keyed(work / "lists", run.recipe), run.recipe, progress=progress) as lists:
            rows = merging.final(run.rows_by_size(lists))
        shutil.rmtree(work / "descriptors", ignore_errors=True)  # left where a run was stopped just behind its list
        query_ids, reference_ids = np.array(images.queries.ids), np.array(images.references.ids)
        return Matches(query_ids[rows.queries], reference_ids[rows.references], rows.scores).sorted(cap)


@dataclass(frozen=True)
class _Network:
    """One of the 33 networks at one size."""

    variant: Variant
    backbone: Backbone
    side: int

    @property
    def name(self) -> str:
        return name_of(self.variant.name, self.backbone, self.side)


class _Run:
    """One call of `D2LV.match`: what all networks share."""

    def __init__(self, system: D2LV, images: SplitImages, work: Path, workers: int, progress: Progress) -> None:
        background = images.background
        if background is None or len(background.ids) < 3:
            raise DataError(
                f"{system.card.name} needs background images, for PCA and to normalise scores",
                hint="give a split with background images, as many as you can",
            )
        if max(len(images.queries.ids), len(images.references.ids)) > merging.MAX_IMAGES:
            raise UsageError(f"more than {merging.MAX_IMAGES:,} images on a side", hint="give them in parts")
        plan = system.plan
        self.system, self.plan, self.images, self.background = system, plan, images, background
        self.work, self.workers, self.progress = work, workers, progress
        proposals = plan.cropped_queries and plan.proposals
        known = survey_queries(
            images.queries, work / "queries", proposals=proposals, workers=workers, progress=progress
        )
        self.crops = QueryCrops(images.queries, known, images.detections, whole_only=not plan.cropped_queries)
        self.crops_sha256 = self.crops.sha256
        self.background_sha256 = images_digest(background)
        self.recipe = {
            "system_version": system.card.version,
            "weights_sha256": system.weights_sha256,
            "pairs": str(plan.pairs_per_list),
            "pca": f"{plan.dimensions} of {plan.sample}, seed {plan.seed}",
            "device": system.device,
            "queries_sha256": images_digest(images.queries),
            "references_sha256": images_digest(images.references),
            "background_sha256": self.background_sha256,
        }

    def rows_by_size(self, lists: Parts) -> list[Rows]:
        """Return the merged rows of each size of the plan; the ``lists`` that are missing are made."""
        cropped = self._of_cropped_references(lists) if self.plan.cropped_references else None
        return [
            merging.of_one_size([self._of_cropped_queries(lists, name, side) for name in self.plan.variants], cropped)
            for side in self.plan.sides
        ]

    def _of_cropped_queries(self, lists: Parts, name: str, side: int) -> Rows:
        variant, crops = VARIANTS[name], self.crops
        small = crops.sizes.min(axis=1) < variant.least_side
        keys = merging.crop_keys(crops.rows[small], crops.numbers[small])
        found = [self._cropped_queries(lists, _Network(variant, backbone, side)) for backbone in BACKBONES]
        return merging.without_small(merging.agreed(found, TWO), keys)

    def _of_cropped_references(self, lists: Parts) -> Rows:
        variant = VARIANTS[CROPPED_REFERENCES]
        networks = [_Network(variant, backbone, CROPPED_REFERENCE_SIDE) for backbone in BACKBONES]
        found = [self._cropped_references(lists, network) for network in networks]
        return merging.of_whole_images(merging.agreed(found, ALL_THREE))

    def _cropped_queries(self, lists: Parts, network: _Network) -> Rows:
        """Return the best pairs of crops of queries and whole references by one network."""
        part = _queries_part(network)
        if not lists.has(part, self.crops_sha256):
            describing = _Describing(self, network)
            _write_rows(lists, part, describing.cropped_queries(), self.crops_sha256)
            # Lists are small, descriptors are not: at full size they fill a disk in a few networks.
            shutil.rmtree(describing.folder, ignore_errors=True)
        return _read_rows(lists, part)

    def _cropped_references(self, lists: Parts, network: _Network) -> Rows:
        """Return the best pairs of whole queries and crops of references by one network.

        One kind of crop comes after the other; the list of each kind is a part of its own until all are made.
        """
        part = f"{network.name}-cropped-references.npz"
        if not lists.has(part):
            kinds = [f"{network.name}-reference-crops-{number}.npz" for number in range(REFERENCE_CROPS)]
            describing = _Describing(self, network)
            for number, kind in enumerate(kinds):
                if not lists.has(kind):
                    _write_rows(lists, kind, describing.cropped_reference(number))
            rows = merging.joined([_read_rows(lists, kind) for kind in kinds])
            keys = (rows.reference_crops, rows.references, rows.query_crops, rows.queries, -rows.scores)
            _write_rows(lists, part, rows.take(np.lexsort(keys)[: self.plan.pairs_per_list]))
            lists.drop(*kinds)
            needed_again = network.side in self.plan.sides and not lists.has(_queries_part(network), self.crops_sha256)
            if not needed_again:
                shutil.rmtree(describing.folder, ignore_errors=True)
        return _read_rows(lists, part)


class _Describing:
    """One network at one size: its whitening, its descriptors in ``folder``, the best pairs of these."""

    def __init__(self, run: _Run, network: _Network) -> None:
        self.folder = run.work / "descriptors" / network.name
        self._run, self._network = run, network
        variant, backbone = network.variant, network.backbone
        self._model = read_network(run.system.weights.paths[variant.file(backbone)], backbone)
        self._whitening = self._fitted()
        self._nearby = self._described("background", run.background, blur=variant.blur)

    def cropped_queries(self) -> Rows:
        """Return the best pairs of crops of queries and whole references."""
        crops = self._run.crops
        references = self._described("references", self._run.images.references, blur=self._network.variant.blur)
        found = self._best(self._described("query-crops", crops, blur=False), references)
        return _rows(crops.rows[found[0]], crops.numbers[found[0]], found[1], merging.WHOLE, found[2])

    def cropped_reference(self, number: int) -> Rows:
        """Return the best pairs of whole queries and that kind of crop of references, whose descriptors are removed."""
        crops = ReferenceCrops(self._run.images.references, number)
        queries = self._described("queries", self._run.images.queries, blur=False)
        file = self._described(f"reference-crops-{number}", crops, blur=self._network.variant.blur)
        found = self._best(queries, file)
        file.unlink()
        return _rows(found[0], merging.WHOLE, crops.rows[found[1]], number, found[2])

    def _fitted(self) -> Whitening:
        """Return the whitening, fitted on a sample of the background as references are described."""
        run, background = self._run, self._run.background
        count, plan = len(background.ids), run.plan
        chosen: Sequence[str] = background.ids
        if count > plan.sample:
            # The generator that the published script draws with: same background, same sample (extract_features.py).
            rows = np.random.RandomState(plan.seed).choice(count, plan.sample, replace=False)
            chosen = [background.ids[row] for row in rows.tolist()]
        sample = self._described("sample", SelectedSource(background, chosen), blur=self._network.variant.blur)
        with open_descriptors(sample) as opened, Workspace(sample, threads=run.workers, progress=run.progress) as work:
            return Whitening(*whitening(opened.vectors, plan.dimensions, work))

    def _baseline(self, *, blur: bool, whitened: bool) -> TorchBaseline:
        variant, side, system = self._network.variant, self._network.side, self._run.system
        card = network_card(variant, self._network.backbone, side, blur=blur)
        model: nn.Module = self._model
        if whitened:
            dimension = self._whitening.matrix.shape[1]
            after = f"{card.postprocessing}; PCA-whitening to {dimension} on background images, L2"
            card = replace(card, dimension=dimension, metric="ip", postprocessing=after)
            model = nn.Sequential(self._model, self._whitening)
        prepare = partial(preprocess, side=side, grey=variant.grey, blur=blur)
        return TorchBaseline(
            card, model, prepare, device=system.device, micro_batch=MICRO_BATCH, weights=system.weights
        )

    def _described(self, name: str, source: ImageSource, *, blur: bool) -> Path:
        """Return the descriptor file of ``source``, made unless it is there; ``sample`` alone is not whitened."""
        run, file = self._run, self.folder / f"{name}.h5"
        attributes = {"images_sha256": images_digest(source)}
        if name != "sample":
            attributes["background_sample"] = f"{run.plan.sample} of seed {run.plan.seed}"
            attributes["background_sha256"] = run.background_sha256
        if source is run.crops:
            attributes["crops_sha256"] = run.crops_sha256
        describe_once(
            self._baseline(blur=blur, whitened=name != "sample"),
            source,
            file,
            attributes=attributes,
            workers=run.workers,
            progress=run.progress,
            stage=f"{self._network.name}: {name}",
        )
        return file

    def _best(self, queries: Path, references: Path) -> Best:
        """Return the best pairs of the rows of two descriptor files, score normalised, as `Found` orders them."""
        run = self._run
        cap, threads, progress = run.plan.pairs_per_list, run.workers, run.progress
        best: Best = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        with (
            open_descriptors(queries) as asked,
            open_descriptors(references) as known,
            open_descriptors(self._nearby) as nearby,
        ):
            for start, block in _blocks(asked.vectors):
                bias = biases(block, nearby.vectors, [RULE], backend="auto", threads=threads, progress=progress)
                wanted = {"best": Wanted(cap, metric="ip", bias=bias[RULE.name])}
                stage = f"{self._network.name}: searching"
                found = search(block, known.vectors, wanted, threads=threads, progress=progress, stage=stage)["best"]
                best = _best_of(best, (found.query_rows + start, found.reference_rows, found.scores), cap)
        return best


def _blocks(source: VectorSource) -> Iterator[tuple[int, Descriptors]]:
    """Yield the vectors in blocks of nearly equal size, at most `QUERIES_PER_SEARCH`, each with its first row."""
    parts = -(-len(source) // QUERIES_PER_SEARCH)
    bounds = [part * len(source) // parts for part in range(parts + 1)]
    for start, stop in pairwise(bounds):
        yield start, Descriptors(source.ids[start:stop], source.read(start, stop))


def _best_of(first: Best, second: Best, cap: int) -> Best:
    queries, references, scores = (np.concatenate(pair) for pair in zip(first, second, strict=True))
    order = np.lexsort((references, queries, -scores))[:cap]
    return queries[order], references[order], scores[order]


def _rows(
    queries: NDArray[np.int64],
    query_crops: NDArray[np.int16] | int,
    references: NDArray[np.int64],
    reference_crops: int,
    scores: NDArray[np.float64],
) -> Rows:
    count = len(scores)
    return merging.Rows(
        queries.astype(np.int32),
        np.broadcast_to(np.asarray(query_crops, dtype=np.int16), count).copy(),
        references.astype(np.int32),
        np.full(count, reference_crops, dtype=np.int16),
        scores,
    )


def _queries_part(network: _Network) -> str:
    return f"{network.name}-cropped-queries.npz"


def _read_rows(lists: Parts, part: str) -> Rows:
    with np.load(lists.path(part), allow_pickle=False) as stored:
        return merging.Rows(*(stored[column] for column in _COLUMNS))


def _write_rows(lists: Parts, part: str, rows: Rows, inputs: str = "") -> None:
    with lists.adding(part, inputs) as path, path.open("wb") as opened:
        np.savez(opened, **{column: getattr(rows, column) for column in _COLUMNS})
