"""The whole line of D2LV with toy networks, beside a plain version of it all: dense, in float64, pair by pair."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import d2lv_published
import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import nn

from ndec_baselines import registry
from ndec_baselines.base import LocalWeights, SplitImages
from ndec_baselines.cards import model_cards
from ndec_baselines.d2lv import matcher as module
from ndec_baselines.d2lv import proposals as search
from ndec_baselines.d2lv.crops import centre_boxes, detected, reference_boxes
from ndec_baselines.d2lv.matcher import D2LV
from ndec_baselines.d2lv.merging import WHOLE
from ndec_baselines.d2lv.plan import BACKBONES, VARIANTS, Plan, network_card
from ndec_baselines.describing import extract
from ndec_baselines.describing.boxes import Box
from ndec_baselines.describing.extract import describe_images
from ndec_bench.data.images import FolderSource
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ndec_bench.data.images import ImageSource

    Vectors = NDArray[np.float64]
    Scored = dict[tuple[str, str], float]
    Listed = dict[tuple[str, int, str], float]
    Row = tuple[str, int, str, float]

PLAN = Plan(
    variants=("baseline-cc", "blur-bw"),
    sides=(256, 48),
    dimensions=6,
    sample=9,
    pairs_per_list=120,
)


class Toy(nn.Module):
    """64 numbers of an image's 4 x 4 means, by one random layer and its sine."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.layer = nn.Parameter(0.5 * torch.randn(48, 64, generator=generator))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        means = nn.functional.adaptive_avg_pool2d(images, 4).flatten(1)
        found: torch.Tensor = torch.sin(means @ self.layer)
        return found


def _toy(path: Path, backbone: str) -> Toy:
    return Toy(sum(path.name.encode()))


def _picture(width: int, height: int, seed: int) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> SplitImages:
    """Four queries (turned, cut, pasted into another, of nothing), six references, twelve background images."""
    root = tmp_path_factory.mktemp("split")
    sets = {name: root / name for name in ("queries", "references", "background")}
    for folder in sets.values():
        folder.mkdir()
    references = [_picture(320, 240, seed) for seed in range(6)]
    pasted = _picture(400, 300, 50)
    pasted.paste(references[2].resize((240, 180)), (100, 60))
    queries = [
        references[0].rotate(90, expand=True),
        references[1].crop((90, 60, 230, 220)),
        pasted,
        _picture(220, 90, 51),
    ]
    for name, pictures in (
        ("queries", queries),
        ("references", references),
        ("background", [_picture(200, 150, 100 + seed) for seed in range(12)]),
    ):
        for number, picture in enumerate(pictures):
            picture.save(sets[name] / f"{name[0].upper()}{number}.png")
    boxes = {"Q2": (Box(100, 60, 340, 240, 0.8), Box(0, 0, 9, 9, 0.7, kind=1), Box(10, 10, 390, 290, 0.3))}
    queries_in, references_in, background_in = (FolderSource(folder) for folder in sets.values())
    return SplitImages(queries_in, references_in, background_in, detections=boxes)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> LocalWeights:
    folder = tmp_path_factory.mktemp("weights")
    names = [VARIANTS[variant].file(backbone) for variant in PLAN.variants for backbone in BACKBONES]
    return LocalWeights({name: folder / name for name in names}, "0" * 64)


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_network", _toy)
    monkeypatch.setattr(module, "network_card", lambda *a, **b: replace(network_card(*a, **b), dimension=64))


def _matches(system: D2LV, images: SplitImages, work: Path, cap: int = 1000) -> Scored:
    found = system.match(images, work, cap=cap, workers=1)
    pairs = zip(found.query_ids.tolist(), found.reference_ids.tolist(), found.scores.tolist(), strict=True)
    return {(query, reference): score for query, reference, score in pairs}


# The plain version.


def _jpeg(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=100)
    return Image.open(file).convert("RGB")


def _query_crops(image: Image.Image, boxes: tuple[Box, ...]) -> dict[int, Image.Image]:
    found = {0: image, 1: image.rotate(90, expand=True), 2: image.rotate(180), 3: image.rotate(270, expand=True)}
    found |= {4 + n: image.crop(box) for n, box in enumerate(centre_boxes(image.size))}
    found |= {10 + n: image.crop(box) for n, box in enumerate(search.proposals(np.asarray(image)))}
    for n, box in enumerate(boxes):
        if box.kind == 0:
            size, corners = detected(image.size, box)
            found[1000 + n] = image.resize(size, Image.Resampling.BICUBIC).crop(corners)
    return {number: _jpeg(crop) for number, crop in found.items()}


class _Plain:
    def __init__(self, images: SplitImages, network: Toy, side: int, *, grey: bool, blur: bool) -> None:
        self.layer, self.side, self.grey = network.layer.detach().double().numpy(), side, grey
        background = self._all(images.background, blur)
        chosen = np.random.RandomState(123).choice(12, 9, replace=False)
        sample = background[chosen]
        self.mean = sample.mean(axis=0)
        _, spread, directions = np.linalg.svd(sample - self.mean, full_matrices=False)
        self.matrix = (directions / spread[:, None])[:6].T
        self.background = self.unit(background)
        self.references = self.unit(self._all(images.references, blur))

    def numbers(self, image: Image.Image, blur: bool = False) -> Vectors:
        if blur:
            image = image.filter(ImageFilter.GaussianBlur(5))
        if self.grey:
            image = image.convert("L").convert("RGB")
        values = np.asarray(image.resize((self.side, self.side), Image.Resampling.BICUBIC)) / 255
        values = (values - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
        means = values.reshape(4, self.side // 4, 4, self.side // 4, 3).mean(axis=(1, 3))
        found: Vectors = np.sin(means.transpose(2, 0, 1).reshape(1, 48) @ self.layer)
        return found

    def _all(self, source: ImageSource | None, blur: bool) -> Vectors:
        assert source is not None
        return np.concatenate([self.numbers(source.read(image_id), blur) for image_id in source.ids])

    def unit(self, rows: Vectors) -> Vectors:
        whitened = (rows - self.mean) @ self.matrix
        found: Vectors = whitened / np.linalg.norm(whitened, axis=1, keepdims=True)
        return found

    def scores(self, query: Image.Image, references: Vectors) -> list[float]:
        vector = self.unit(self.numbers(query))[0]
        nearest = np.sort(self.background @ vector)[::-1][:10]
        found: list[float] = (references @ vector - 2 * nearest.mean()).tolist()
        return found


def _best(scored: Listed) -> Listed:
    return dict(sorted(scored.items(), key=lambda item: -item[1])[: PLAN.pairs_per_list])


def _plain(images: SplitImages, name: str, backbone: str, side: int) -> _Plain:
    variant = VARIANTS[name]
    file = variant.file(backbone).rpartition("/")[2]  # type: ignore[arg-type]
    return _Plain(images, Toy(sum(file.encode())), side, grey=variant.grey, blur=variant.blur)


def _of_cropped_references(images: SplitImages) -> set[Row]:
    queries = {i: images.queries.read(i) for i in images.queries.ids}
    cuts = {}
    for i in images.references.ids:
        image = images.references.read(i)
        cuts[i] = [_jpeg(image.crop(box)) for box in reference_boxes(image.size)]
    lists = []
    for backbone in BACKBONES:
        plain = _plain(images, "baseline-cc", backbone, 256)
        listed: Listed = {}
        for number in range(19):
            rows = plain.unit(np.concatenate([plain.numbers(cuts[i][number]) for i in cuts]))
            for query, image in queries.items():
                listed |= {(query, number, r): s for r, s in zip(cuts, plain.scores(image, rows), strict=True)}
        lists.append(_best(listed))
    stripped = Counter(
        (query, reference, scores[query, number, reference])
        for query, number, reference in lists[0].keys() & lists[1].keys() & lists[2].keys()
        for scores in lists
    )
    return {
        (query, WHOLE, reference, score - 0.05) for (query, reference, score), times in stripped.items() if times == 1
    }


def _of_cropped_queries(images: SplitImages, name: str, side: int) -> set[Row]:
    crops = {i: _query_crops(images.queries.read(i), tuple(images.detections.get(i, ()))) for i in images.queries.ids}
    lists = []
    for backbone in BACKBONES:
        plain = _plain(images, name, backbone, side)
        listed: Listed = {}
        for query, parts in crops.items():
            for number, crop in parts.items():
                scores = plain.scores(crop, plain.references)
                listed |= {(query, number, r): s for r, s in zip(images.references.ids, scores, strict=True)}
        lists.append(_best(listed))
    times = Counter(key for listed in lists for key in listed)
    rows = set()
    for query, number, reference in times:
        if times[query, number, reference] < 2 or min(crops[query][number].size) < VARIANTS[name].least_side:
            continue
        taken_off = 0.0 if number == 0 or 1000 <= number < 1020 else 0.05
        for listed in lists:
            if (query, number, reference) in listed:
                rows.add((query, number, reference, listed[query, number, reference] - taken_off))
    return rows


def _plainly(images: SplitImages) -> Scored:
    rows = _of_cropped_references(images)
    for name in PLAN.variants:
        for side in PLAN.sides:
            rows |= _of_cropped_queries(images, name, side)
    pairs: dict[tuple[str, str], list[float]] = defaultdict(list)
    for query, _, reference, score in rows:
        pairs[query, reference].append(score)
    return {pair: float(np.mean(sorted(scores)[-2:])) for pair, scores in pairs.items()}


@pytest.mark.usefixtures("toys")
def test_line_equals_the_plain_version_and_resumes(
    images: SplitImages, weights: LocalWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = D2LV(model_cards()["d2lv"], weights, PLAN, "cpu")
    found = _matches(system, images, tmp_path)
    expected = _plainly(images)
    assert found.keys() == expected.keys()
    assert max(abs(found[pair] - expected[pair]) for pair in expected) < 2e-5

    # Descriptors are gone, lists are there: nothing is described again, and not one bit changes.
    assert not (tmp_path / "descriptors").exists()
    assert len(list((tmp_path / "lists").rglob("part-*"))) == 3 + 2 * 2 * 3
    monkeypatch.setattr(extract, "describe_images", None)
    assert _matches(system, images, tmp_path) == found
    capped = system.match(images, tmp_path, cap=3, workers=1)
    assert capped.scores.tolist() == sorted(found.values())[::-1][:3]

    # A damaged list is made again.
    monkeypatch.setattr(extract, "describe_images", describe_images)
    (listed,) = (tmp_path / "lists").rglob("part-d2lv-blur-bw-152-48-cropped-queries.npz")
    monkeypatch.setattr(module, "QUERIES_PER_SEARCH", 7)  # and in small blocks, to the same end
    listed.write_bytes(listed.read_bytes()[:100])
    assert _matches(system, images, tmp_path) == found


@pytest.mark.usefixtures("toys")
def test_stopped_runs_go_on(
    images: SplitImages, weights: LocalWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFERENCE_CROPS", 3)
    plan = replace(PLAN, variants=("baseline-cc",), sides=(48,))
    system = D2LV(model_cards()["d2lv"], weights, plan, "cpu")
    whole = _matches(system, images, tmp_path / "whole")
    made: list[str] = []

    def stopping(*arguments: Any, **settings: Any) -> object:  # noqa: ANN401 -- as describe_images takes them
        made.append(settings["stage"])
        if len(made) == 5:  # sample, background, queries and one kind of reference crop are made
            raise KeyboardInterrupt
        return describe_images(*arguments, **settings)

    monkeypatch.setattr(extract, "describe_images", stopping)
    with pytest.raises(KeyboardInterrupt):
        _matches(system, images, tmp_path / "stopped")
    assert _matches(system, images, tmp_path / "stopped") == whole
    assert [stage for stage, times in Counter(made).items() if times > 1] == ["d2lv-baseline-cc-50: reference-crops-1"]


@pytest.mark.usefixtures("toys")
def test_other_images_and_boxes_make_other_lists(images: SplitImages, weights: LocalWeights, tmp_path: Path) -> None:
    plan = replace(PLAN, variants=("blur-bw",), sides=(48,), cropped_references=False)
    system = D2LV(model_cards()["d2lv"], weights, plan, "cpu")
    first = _matches(system, images, tmp_path)
    without = replace(images, detections={})
    assert _matches(system, without, tmp_path) != first
    assert _matches(system, images, tmp_path) == first


@pytest.mark.usefixtures("toys")
def test_a_score_holds_for_its_query_alone(images: SplitImages, weights: LocalWeights, tmp_path: Path) -> None:
    """Without other queries the lists are shorter, so a pair may come in, but a pair in both has one score."""
    from ndec_bench.data.images import SelectedSource

    plan = replace(
        PLAN,
        variants=("baseline-cc",),
        sides=(48,),
        pairs_per_list=100_000,
        cropped_references=False,
    )
    system = D2LV(model_cards()["d2lv"], weights, plan, "cpu")
    together = _matches(system, images, tmp_path / "all")
    alone = replace(images, queries=SelectedSource(images.queries, ["Q2"]))
    found = _matches(system, alone, tmp_path / "one")
    assert found == {pair: score for pair, score in together.items() if pair[0] == "Q2"}


@pytest.mark.usefixtures("toys")
def test_uncut_images_alone(images: SplitImages, weights: LocalWeights, tmp_path: Path) -> None:
    plan = replace(PLAN, variants=("baseline-cc",), sides=(48,), cropped_queries=False, cropped_references=False)
    found = _matches(D2LV(model_cards()["d2lv"], weights, plan, "cpu"), images, tmp_path)
    # Whole queries below 200 pixels do not count either: Q1 is 140 x 160, Q3 220 x 90.
    assert {query for query, _ in found} == {"Q0", "Q2"}


def test_a_matcher_needs_background_and_all_weights(images: SplitImages, weights: LocalWeights, tmp_path: Path) -> None:
    system = D2LV(model_cards()["d2lv"], weights, PLAN, "cpu")
    with pytest.raises(DataError, match="needs background images"):
        system.match(replace(images, background=None), tmp_path, cap=10)
    with pytest.raises(DataError, match=r"33 of 33 weights files .* are missing, the first is V5_baseline_CC"):
        registry.load_matcher("d2lv", weights=tmp_path)


@pytest.mark.slow
def test_published_networks_end_to_end(images: SplitImages, tmp_path: Path) -> None:
    """Real networks with random weights in the published files, at a small size, whole images only."""
    d2lv_published.write("d2lv-baseline-cc", tmp_path)
    loaded = registry.load_matcher("d2lv-baseline-cc", weights=tmp_path)
    assert isinstance(loaded, D2LV)
    assert loaded.plan == Plan(variants=("baseline-cc",), sides=(256,))
    loaded.plan = replace(loaded.plan, sides=(64,), cropped_queries=False, cropped_references=False)
    found = loaded.match(images, tmp_path / "work", cap=5, workers=1)
    assert 0 < len(found) <= 5
    assert np.isfinite(found.scores).all()
