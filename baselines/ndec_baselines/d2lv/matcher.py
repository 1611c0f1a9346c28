"""The whole line of D2LV: crops, descriptors of each network, a list of each, one score per pair.

::

    WORK/queries/                size and proposals of the queries (`survey`)
    WORK/descriptors/NETWORK/    descriptors of one network at a time, taken away when its lists are made
    WORK/lists/NETWORK-....npz   the best pairs of each network

A list that is there, made by the same recipe from the same images, is used again, and describing goes on where it was
stopped. Descriptors are reduced to 1,500 components before they are written, so 8,192 are in memory for the sample of
PCA alone. Queries are searched `QUERIES_PER_SEARCH` at a time, cropped references described and searched one kind of
crop at a time. For DISC21 (1,000,000 references and background images each, some 1,400,000 query crops, 6,000 bytes a
descriptor) that is up to about 45 GB of disk, the three networks of ``baseline-cc`` sharing it for a while, and memory
for 20,000 x 8,192 numbers, a search, and the merged lists: at most 34 million rows of 20 bytes for each size.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
from torch import nn

from ndec_baselines.base import recipe
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
from ndec_baselines.d2lv.survey import digest_of, survey_queries
from ndec_baselines.describing.extract import describe_images, usable_cores
from ndec_baselines.networks.inference import TorchBaseline, choose_device
from ndec_baselines.networks.isc_resnet import read_network
from ndec_bench import atomic
from ndec_bench.data.images import SelectedSource
from ndec_bench.descriptors import Descriptors, open_descriptors, read_attributes
from ndec_bench.errors import DataError, SubmissionError, UsageError
from ndec_bench.matches import Matches
from ndec_bench.postprocess.workspace import Workspace
from ndec_bench.progress import silent
from ndec_bench.protocol import Normalisation
from ndec_bench.scoring.lists import biases
from ndec_bench.search import Wanted, search

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from ndec_baselines.base import LocalWeights, ModelCard, SplitImages
    from ndec_baselines.d2lv.merging import Rows
    from ndec_baselines.networks.isc_resnet import Backbone, IscResNet
    from ndec_bench.data.images import ImageSource
    from ndec_bench.descriptors import VectorSource
    from ndec_bench.progress import Progress

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
        needed = [VARIANTS[variant].file(backbone) for variant in plan.variants for backbone in BACKBONES]
        missing = [name for name in needed if name not in weights.paths]
        if missing:
            raise DataError(
                f"{card.name}: {len(missing)} of {len(needed)} weights files are missing, the first is {missing[0]}",
                hint="give the folder that holds them",
            )
        self.card, self.plan = card, plan
        self.device = choose_device(device)
        self.weights_sha256 = weights.sha256
        self.weights = weights

    def match(
        self, images: SplitImages, work: Path, *, cap: int, workers: int | None = None, progress: Progress = silent
    ) -> Matches:
        """Return the best ``cap`` pairs, each scored by its own query and reference alone.

        Raises
        ------
        UsageError
            If there are more than `merging.MAX_IMAGES` images on a side.
        DataError
            If the split has no background images or fewer than three, an image is broken, or ``work`` cannot be
            written.
        """
        sizes = _Run(self, images, work, workers or usable_cores(), progress).rows_by_size()
        shutil.rmtree(work / "descriptors", ignore_errors=True)  # left where a run was stopped just behind its list
        rows = merging.final(sizes)
        query_ids, reference_ids = np.array(images.queries.ids), np.array(images.references.ids)
        return Matches(query_ids[rows.queries], reference_ids[rows.references], rows.scores).sorted(cap)

    def path_of(self, variant: Variant, backbone: Backbone) -> Path:
        """Return the file with the weights of one network."""
        return self.weights.paths[variant.file(backbone)]


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
    def __init__(self, system: D2LV, images: SplitImages, work: Path, workers: int, progress: Progress) -> None:
        background = images.background
        if background is None or len(background.ids) < 3:
            raise DataError(
                f"{system.card.name} needs background images, for PCA and to normalise scores",
                hint="give a split with background images, as many as you can",
            )
        if max(len(images.queries.ids), len(images.references.ids)) > merging.MAX_IMAGES:
            raise UsageError(f"more than {merging.MAX_IMAGES:,} images on a side", hint="give them in parts")
        self._system, self._plan = system, system.plan
        self._images, self._background = images, background
        self._work, self._workers, self._progress = work, workers, progress
        plan = self._plan
        known = survey_queries(
            images.queries,
            work / "queries",
            proposals=plan.cropped_queries and plan.proposals,
            workers=workers,
            progress=progress,
        )
        self._crops = QueryCrops(images.queries, known, images.detections, whole_only=not plan.cropped_queries)
        self._from = {
            "queries": digest_of(images.queries),
            "references": digest_of(images.references),
            "background": digest_of(background),
        }

    def rows_by_size(self) -> list[Rows]:
        """Return the merged rows of each size of the plan."""
        cropped_references = self._cropped_references() if self._plan.cropped_references else None
        return [
            merging.of_one_size([self._cropped_queries(name, side) for name in self._plan.variants], cropped_references)
            for side in self._plan.sides
        ]

    def _cropped_queries(self, name: str, side: int) -> Rows:
        variant, crops = VARIANTS[name], self._crops
        small = crops.sizes.min(axis=1) < variant.least_side
        keys = merging.crop_keys(crops.rows[small], crops.numbers[small])
        return merging.without_small(merging.agreed(self._lists(variant, side, "queries"), TWO), keys)

    def _cropped_references(self) -> Rows:
        lists = self._lists(VARIANTS[CROPPED_REFERENCES], CROPPED_REFERENCE_SIDE, "references")
        faces = np.array([image_id in self._plan.faces for image_id in self._images.references.ids], dtype=bool)
        return merging.of_whole_images(merging.agreed(lists, ALL_THREE), faces)

    def _lists(self, variant: Variant, side: int, cropped: str) -> list[Rows]:
        return [self._list(_Network(variant, backbone, side), cropped) for backbone in BACKBONES]

    def _list(self, network: _Network, cropped: str) -> Rows:
        """Return the list of one network with that side ``cropped``, from its file if it is there."""
        file = self._work / "lists" / f"{network.name}-cropped-{cropped}.npz"
        made_by = self._recipe(network, cropped)
        rows = _read_list(file, made_by)
        if rows is None:
            with self._describing(network) as describing:
                if cropped == "queries":
                    rows = describing.cropped_queries(self._crops)
                else:
                    rows = describing.cropped_references(made_by)
            _write_list(file, made_by, rows)
            # Lists are small, descriptors are not: at full size they fill a disk in a few networks.
            if not self._is_needed_again(network, cropped):
                shutil.rmtree(describing.folder, ignore_errors=True)
        return rows

    def _is_needed_again(self, network: _Network, cropped: str) -> bool:
        """Return whether the other list of this network is still to be made from the same descriptors."""
        return (
            cropped == "references"
            and network.side in self._plan.sides
            and _read_list(
                self._work / "lists" / f"{network.name}-cropped-queries.npz", self._recipe(network, "queries")
            )
            is None
        )

    def _describing(self, network: _Network) -> _Describing:
        return _Describing(
            self._system, self._plan, network, self._images, self._background, self._work, self._workers, self._progress
        )

    def _recipe(self, network: _Network, cropped: str) -> dict[str, object]:
        texts: dict[str, object] = {
            "system_version": self._system.card.version,
            "network": network.name,
            "weights_sha256": self._system.weights_sha256,
            "cropped": cropped,
            "pairs": self._plan.pairs_per_list,
            "pca": [self._plan.dimensions, self._plan.sample, self._plan.seed],
            "device": self._system.device,
            **self._from,
        }
        return texts | ({"crops": self._crops.sha256} if cropped == "queries" else {})


class _Describing:
    """One network at one size: its whitening, its descriptors in ``folder``, its lists."""

    def __init__(
        self,
        system: D2LV,
        plan: Plan,
        network: _Network,
        images: SplitImages,
        background: ImageSource,
        work: Path,
        workers: int,
        progress: Progress,
    ) -> None:
        self.folder = work / "descriptors" / network.name
        self._system, self._plan, self._network = system, plan, network
        self._images, self._background = images, background
        self._workers, self._progress = workers, progress

    def __enter__(self) -> _Describing:
        self._model: IscResNet = read_network(
            self._system.path_of(self._network.variant, self._network.backbone), self._network.backbone
        )
        self._whitening = self._fitted()
        blur = self._network.variant.blur
        self._nearby = self._described("background", self._background, blur=blur)
        return self

    def __exit__(self, *_: object) -> None:
        del self._model, self._whitening

    def cropped_queries(self, crops: QueryCrops) -> Rows:
        """Return the best pairs of crops of queries and whole references."""
        references = self._described("references", self._images.references, blur=self._network.variant.blur)
        queries = self._described("query-crops", crops, blur=False)
        found = self._best(queries, references)
        return _rows(crops.rows[found[0]], crops.numbers[found[0]], found[1], merging.WHOLE, found[2])

    def cropped_references(self, made_by: Mapping[str, object]) -> Rows:
        """Return the best pairs of whole queries and crops of references, one kind of crop after the other.

        The list of each kind stays in a file until all are made; ``made_by`` is the recipe of the whole list.
        """
        parts = [self._one_crop(number, {**made_by, "crop": number}) for number in range(REFERENCE_CROPS)]
        rows = merging.joined(parts)
        keys = (rows.reference_crops, rows.references, rows.query_crops, rows.queries, -rows.scores)
        return rows.take(np.lexsort(keys)[: self._plan.pairs_per_list])

    def _one_crop(self, number: int, made_by: Mapping[str, object]) -> Rows:
        name = f"reference-crops-{number}"
        listed = self.folder / f"{name}.npz"
        rows = _read_list(listed, made_by)
        if rows is None:
            crops = ReferenceCrops(self._images.references, number)
            queries = self._described("queries", self._images.queries, blur=False)
            file = self._described(name, crops, blur=self._network.variant.blur)
            found = self._best(queries, file)
            rows = _rows(found[0], merging.WHOLE, crops.rows[found[1]], number, found[2])
            _write_list(listed, made_by, rows)
            file.unlink()
        return rows

    def _fitted(self) -> Whitening:
        """Return the whitening, fitted on a sample of the background as references are described."""
        count, plan = len(self._background.ids), self._plan
        if count <= plan.sample:
            chosen = list(self._background.ids)
        else:
            # The generator that the published script draws with: same background, same sample (extract_features.py).
            rows = np.random.RandomState(plan.seed).choice(count, plan.sample, replace=False)
            chosen = [self._background.ids[row] for row in rows.tolist()]
        sample = self._described("sample", SelectedSource(self._background, chosen), blur=self._network.variant.blur)
        with (
            open_descriptors(sample) as opened,
            Workspace(sample, threads=self._workers, progress=self._progress) as work,
        ):
            return Whitening(*whitening(opened.vectors, plan.dimensions, work))

    def _baseline(self, *, blur: bool, whitened: bool) -> TorchBaseline:
        variant, side = self._network.variant, self._network.side
        card = network_card(variant, self._network.backbone, side, blur=blur)
        model: nn.Module = self._model
        if whitened:
            dimension = self._whitening.matrix.shape[1]
            after = f"{card.postprocessing}; PCA-whitening to {dimension} on background images, L2"
            card = replace(card, dimension=dimension, metric="ip", postprocessing=after)
            model = nn.Sequential(self._model, self._whitening)
        prepare = partial(preprocess, side=side, grey=variant.grey, blur=blur)
        device, weights = self._system.device, self._system.weights
        return TorchBaseline(card, model, prepare, device=device, micro_batch=MICRO_BATCH, weights=weights)

    def _described(self, name: str, source: ImageSource, *, blur: bool) -> Path:
        """Return the descriptor file of ``source``, made unless it is there; ``sample`` alone is not whitened."""
        file = self.folder / f"{name}.h5"
        baseline = self._baseline(blur=blur, whitened=name != "sample")
        attributes = {"images_sha256": digest_of(source)}
        if name != "sample":
            attributes["background_sample"] = f"{self._plan.sample} of seed {self._plan.seed}"
            attributes["background_sha256"] = digest_of(self._background)
        if isinstance(source, QueryCrops):
            attributes["crops_sha256"] = source.sha256
        if not _is_made(file, {**attributes, **recipe(baseline)}):
            describe_images(
                baseline,
                source,
                file,
                workers=self._workers,
                attributes=attributes,
                progress=self._progress,
                stage=f"{self._network.name}: {name}",
            )
        return file

    def _best(self, queries: Path, references: Path) -> Best:
        """Return the best pairs of the rows of two descriptor files, score normalised, as `Found` orders them."""
        cap = self._plan.pairs_per_list
        best: Best = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        with (
            open_descriptors(queries) as asked,
            open_descriptors(references) as known,
            open_descriptors(self._nearby) as nearby,
        ):
            for start, block in _blocks(asked.vectors):
                bias = biases(
                    block, nearby.vectors, [RULE], backend="auto", threads=self._workers, progress=self._progress
                )[RULE.name]
                wanted = {"best": Wanted(cap, metric="ip", bias=bias)}
                stage = f"{self._network.name}: searching"
                found = search(
                    block, known.vectors, wanted, threads=self._workers, progress=self._progress, stage=stage
                )["best"]
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


def _is_made(file: Path, expected: Mapping[str, str]) -> bool:
    """Return whether the descriptor file is there with exactly these attributes."""
    try:
        return file.is_file() and dict(read_attributes(file)) == dict(expected)
    except SubmissionError:
        return False


def _read_list(file: Path, made_by: Mapping[str, object]) -> Rows | None:
    """Return the rows in the file of a list; None if it is not there, damaged, or of another recipe."""
    try:
        # Opened here, since numpy leaves a damaged file open.
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
            if json.loads(str(stored["recipe"])) != made_by:
                return None
            return merging.Rows(*(stored[column] for column in _COLUMNS))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def _write_list(file: Path, made_by: Mapping[str, object], rows: Rows) -> None:
    columns = {column: getattr(rows, column) for column in _COLUMNS}
    with atomic.replacing(file) as temporary, temporary.open("wb") as opened:
        np.savez(opened, recipe=np.array(json.dumps(made_by)), **columns)
