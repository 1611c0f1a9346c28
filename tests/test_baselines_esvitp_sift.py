"""EsViTp's keypoints: OpenCV's SIFT as parametrised, match counts, exact recall, files, and the matcher end to end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from ndec_baselines import load_matcher
from ndec_baselines.base import SplitImages
from ndec_baselines.describing.boxes import Box
from ndec_baselines.esvitp import CARD, SIFT_CARD, WHOLE_CARD, recall, sift, store
from ndec_baselines.esvitp.matching import KeypointMatcher
from ndec_baselines.esvitp.nearest import (
    Nearest,
    SinglePrecision,
    WholeNumbers,
    fastest_product,
    is_exact,
)
from ndec_baselines.esvitp.pairs import match_count, pair_score, squared_distances
from ndec_baselines.esvitp.recall import elected, recalled
from ndec_baselines.esvitp.sift import Keypoints, keypoints, luma, rooted
from ndec_baselines.esvitp.store import KeypointFiles, find_keypoints
from ndec_baselines.networks.inference import TorchBaseline
from ndec_bench.data.images import open_images
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ndec_bench.matches import Matches

Rng = np.random.Generator


class Point(NamedTuple):
    """What OpenCV's keypoint says of its octave and place."""

    pt: tuple[float, float]
    size: float
    octave: int


def _picture(seed: int, width: int = 240, height: int = 180) -> Image.Image:
    """Return a picture of blobs of several sizes, which has keypoints in several octaves."""
    rng = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(rng.integers(0, 256, (height // cell, width // cell, 3), dtype=np.uint8)).resize(
                (width, height), Image.Resampling.BICUBIC
            ),
            dtype=np.float64,
        )
        for cell in (6, 12, 30)
    ]
    return Image.fromarray(np.mean(layers, axis=0).astype(np.uint8))


def _random(rng: Rng, count: int, side: int = 300) -> Keypoints:
    return Keypoints(
        rng.uniform(0, side, (count, 2)).astype(np.float32), rng.integers(0, 90, (count, 128), dtype=np.uint8)
    )


# --- keypoints ---------------------------------------------------------------------------------------------------


def test_luma_of_flat_images_by_hand() -> None:
    """White is 16 + 219 = 235, black 16; red has the luma 76 and 16 + 219 · 76 / 255 = 81.3."""
    assert set(luma(Image.new("RGB", (20, 10), "white")).ravel().tolist()) == {235}
    assert set(luma(Image.new("RGB", (20, 10), "black")).ravel().tolist()) == {16}
    assert set(luma(Image.new("RGB", (20, 10), (255, 0, 0))).ravel().tolist()) == {81}


@pytest.mark.parametrize(
    ("size", "reduced"),
    [
        ((608, 1016), (300, 501)),
        ((1016, 608), (501, 300)),
        ((200, 1000), (200, 1000)),
        ((299, 400), (299, 400)),
        ((300, 400), (299, 399)),  # 300 / 300.00001 is below 1 in single precision, and so is its product truncated
        ((301, 4000), (300, 3986)),
        ((1, 1), (1, 1)),
    ],
)
def test_the_short_side_is_at_most_300_and_sizes_are_truncated(size: tuple[int, int], reduced: tuple[int, int]) -> None:
    """608 x 1016 is the picture of the authors' demonstration: 300 / 608 · 1016 = 501.3."""
    assert luma(Image.new("RGB", size)).shape == reduced[::-1]


def test_root_sift_by_hand() -> None:
    """255 · sqrt(1/4) = 127.5 and a half make 128; 255 · sqrt(3/4) = 220.8 makes 221; zeros stay."""
    values = np.zeros((2, 128), dtype=np.uint8)
    values[0, 5], values[0, 9] = 1, 3
    found = rooted(values)
    assert found.dtype == np.uint8
    assert (found[0, 5], found[0, 9], found[0].sum(), found[1].sum()) == (128, 221, 349, 0)


def test_descriptors_have_length_255_and_no_octave_below_the_first() -> None:
    found = keypoints(_picture(0))
    assert len(found) > 50
    lengths = np.linalg.norm(found.descriptors.astype(np.float64), axis=1)
    assert np.abs(lengths - 255).max() < 3
    assert found.positions.min() >= 0
    assert (found.positions.max(axis=0) < (240, 180)).all()


def test_parameters_reach_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    opencv: Any = cv2
    create = opencv.SIFT_create

    def spy(**settings: object) -> object:
        asked.update(settings)
        return create(**settings)

    monkeypatch.setattr(cv2, "SIFT_create", spy)
    keypoints(_picture(0))
    assert asked["nfeatures"] == 0
    assert asked["nOctaveLayers"] == 7
    assert asked["contrastThreshold"] / 7 * 255 == pytest.approx(0.5)
    assert asked["edgeThreshold"] == 10
    assert asked["sigma"] == pytest.approx(1.6 * 2 ** (1 / 7))


@pytest.mark.parametrize(
    ("counts", "kept"),
    [
        ({-1: 9, 0: 5, 1: 4, 2: 3, 3: 3, 4: 3, 5: 3}, [0] * 5 + [1] * 4 + [2] * 3 + [3] * 3 + [4] * 3),
        ({-1: 9, 0: 5, 1: 2, 2: 3}, [0] * 5 + [1] * 2),
        ({-1: 9, 1: 7}, []),
    ],
)
def test_the_pyramid_ends_with_an_octave_of_two(counts: dict[int, int], kept: list[int]) -> None:
    points = [Point((float(i), 0.0), 3.0, octave & 255) for octave, n in counts.items() for i in range(n)]
    assert [point.octave for point in sift._kept(points)] == kept


def test_orientations_of_one_place_count_once_for_the_end_of_the_pyramid() -> None:
    points = [Point((1.0, 0.0), 3.0, 0)] * 3 + [Point((float(i), 9.0), 6.0, 1) for i in range(5)]
    assert [point.octave for point in sift._kept(points)] == [0, 0, 0]


def test_a_mirrored_descriptor_is_that_of_the_mirror_image() -> None:
    picture = _picture(3)
    straight, mirror = keypoints(picture), keypoints(ImageOps.mirror(picture))
    assert np.array_equal(straight.mirrored().mirrored().descriptors, straight.descriptors)
    assert not np.array_equal(straight.mirrored().descriptors, straight.descriptors)
    assert match_count(straight.mirrored(), mirror) > 0.6 * len(mirror)
    assert match_count(straight, mirror) < 0.1 * len(mirror)
    assert pair_score(straight, mirror) == match_count(straight.mirrored(), mirror)


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (12, 12), (200, 7)])
def test_tiny_and_flat_images_have_no_keypoints(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for image in (Image.fromarray(noise), Image.new("RGB", (100, 100), "grey")):
        found = keypoints(image)
        assert found.positions.shape == (len(found), 2)
        assert found.descriptors.shape == (len(found), 128)
    assert len(keypoints(Image.new("RGB", (100, 100), "grey"))) == 0


# --- match counts ------------------------------------------------------------------------------------------------


def test_squared_distances_are_exact_at_the_extremes() -> None:
    assert 128 * 255**2 < 2**24
    rng = np.random.default_rng(0)
    rows = np.concatenate([np.zeros((1, 128)), np.full((1, 128), 255), rng.integers(0, 256, (40, 128))])
    rows = rows.astype(np.uint8)
    whole = rows.astype(np.int64)
    assert np.array_equal(squared_distances(rows, rows), ((whole[:, None] - whole[None]) ** 2).sum(axis=2))


def _count_one_by_one(reference: Keypoints, query: Keypoints) -> int:
    """Return the match count with one loop per rule, as the published program is written."""
    slots: list[list[int]] = []
    here = [tuple(np.rint(place)) for place in reference.positions]
    there = [tuple(np.rint(place)) for place in query.positions]
    for row, values in enumerate(reference.descriptors.astype(int)):
        distances = [int(((values - other) ** 2).sum()) for other in query.descriptors.astype(int)]
        nearest = distances.index(min(distances))
        best, second = distances[nearest], min(distances[:nearest] + distances[nearest + 1 :], default=2**31 - 1)
        if not np.float32(1.8) * np.float32(best) < np.float32(second):
            continue
        fresh = True
        for slot in slots:
            for places, which, mine in ((here, 0, row), (there, 1, nearest)):
                if places[slot[which]] == places[mine]:
                    fresh = False
                    if best <= slot[2]:
                        slot[:] = [row, nearest, best]
        if fresh:
            slots.append([row, nearest, best])
    return len(slots)


def test_match_counts_equal_the_loops() -> None:
    """Copies of few descriptors at few places, so that matches collide on both sides."""
    rng = np.random.default_rng(0)
    counts = []
    for _ in range(60):
        base = rng.integers(0, 60, (20, 128))
        sides = []
        for noise in (4, 1 + rng.integers(0, 8)):
            count = rng.integers(1, 30)
            values = np.clip(base[rng.integers(0, 20, count)] + rng.integers(-noise, noise + 1, (count, 128)), 0, 255)
            sides.append(Keypoints((rng.integers(0, 9, (count, 2)) / 2).astype(np.float32), values.astype(np.uint8)))
        found = match_count(*sides)
        assert found == _count_one_by_one(*sides)
        counts.append(found)
    assert len(set(counts)) > 5


def test_match_counts_by_hand() -> None:
    """One step of 10 in one value is a squared distance of 100."""
    base = np.zeros((3, 128), dtype=np.uint8)
    base[1, 0], base[2, 1] = 200, 200
    places = np.array([[0, 0], [10, 0], [20, 0]], dtype=np.float32)
    assert match_count(Keypoints(places, base), Keypoints(places, base)) == 3
    # Two reference keypoints at one place count once; so do two that meet in one query keypoint.
    close = np.array([[0.4, 0], [-0.4, 0], [20, 0]], dtype=np.float32)
    assert match_count(Keypoints(close, base), Keypoints(places, base)) == 2
    both = base[[0, 0, 2]]
    assert match_count(Keypoints(places, both), Keypoints(places, base)) == 2
    # A query with every descriptor twice has no unique nearest neighbour.
    twice = Keypoints(np.repeat(places, 2, axis=0), np.repeat(base, 2, axis=0))
    assert match_count(Keypoints(places, base), twice) == 0
    # A single query keypoint has no second: it matches whatever it is.
    assert match_count(Keypoints(places[:1], base[:1]), Keypoints(places[:1], base[1:2])) == 1


def test_without_keypoints_nothing_matches() -> None:
    empty = Keypoints(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8))
    some = _random(np.random.default_rng(0), 5)
    assert pair_score(empty, some) == pair_score(some, empty) == 0


# --- recall ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("votes", "distance", "winner"),
    [
        ({7: 4, 8: 3}, 7999, 7),
        ({7: 4, 8: 3}, 8000, None),
        ({7: 3, 8: 2}, 10, None),
        ({7: 4, 8: 4}, 10, None),
        ({7: 4, 8: 5, 9: 1}, 10, 8),
        ({7: 6}, 10, 7),
        ({7: 5}, 10, None),
        ({7: 6}, 8000, None),
        ({}, 10, None),
    ],
)
def test_votes(votes: dict[int, int], distance: int, winner: int | None) -> None:
    owners = np.array([name for name, count in votes.items() for _ in range(count)], dtype=np.int64)
    assert elected(owners, np.full(len(owners), distance, dtype=np.int64)) == winner
    if len(owners):
        # Votes that found no reference at all change nothing.
        more = np.concatenate([owners, [-1, -1]])
        assert elected(more, np.concatenate([np.full(len(owners), distance), [2**60, 2**60]])) == winner


def test_only_the_winners_own_distances_count() -> None:
    owners = np.array([1, 1, 1, 1, 2], dtype=np.int64)
    assert elected(owners, np.array([100, 100, 100, 100, 10**6])) == 1
    assert elected(owners, np.array([100, 100, 100, 40_000, 0])) is None


@pytest.mark.parametrize("kind", [SinglePrecision, WholeNumbers])
def test_nearest_keypoints_are_exact_and_ties_go_to_the_first(kind: type[SinglePrecision | WholeNumbers]) -> None:
    rng = np.random.default_rng(0)
    queries = rng.integers(0, 3, (1500, 128), dtype=np.uint8)  # few values: many ties
    references = rng.integers(0, 3, (5000, 128), dtype=np.uint8)
    references[3000:] = references[:2000]
    queries[:20] *= np.uint8(127)
    owners = np.arange(5000) // 10
    # Far below 2^53, so that float64 is exact here.
    whole, others = queries.astype(np.float64), references.astype(np.float64)
    distances = (whole**2).sum(1)[:, None] + (others**2).sum(1) - 2 * whole @ others.T
    with ThreadPoolExecutor(2) as pool:
        nearest = Nearest(queries, pool, kind())
        assert set(nearest.owners) == {-1}
        for start, stop in pairwise((0, 700, 700, 4096, 5000)):
            nearest.offer(references[start:stop], owners[start:stop])
    assert np.array_equal(nearest.owners, owners[distances.argmin(axis=1)])
    assert np.array_equal(nearest.distances(), distances.min(axis=1))


class _Saturating(WholeNumbers):
    """What processors without VNNI may do: sums of two products stop at the bounds of int16."""

    def scores(
        self, rows: NDArray[np.uint8], side: tuple[object, NDArray[np.int32]], start: int, stop: int
    ) -> NDArray[np.int32]:
        bound: NDArray[np.int32] = 2 * 64 * 32767 - side[1][start:stop]
        return np.minimum(super().scores(rows, side, start, stop), bound)


def test_products_are_tried_at_the_extremes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_exact(SinglePrecision())
    assert is_exact(WholeNumbers())
    assert not is_exact(_Saturating())
    monkeypatch.setattr("ndec_baselines.esvitp.nearest.WholeNumbers", _Saturating)
    fastest_product.cache_clear()
    try:
        assert isinstance(fastest_product(), SinglePrecision)
    finally:
        fastest_product.cache_clear()


@pytest.mark.parametrize("trouble", [AttributeError, RuntimeError])
def test_a_torch_without_int8_products_is_done_without(
    monkeypatch: pytest.MonkeyPatch, trouble: type[Exception]
) -> None:
    def fail(*_: object) -> None:
        raise trouble("no such product")

    monkeypatch.setattr(WholeNumbers, "scores", fail)
    fastest_product.cache_clear()
    try:
        assert isinstance(fastest_product(), SinglePrecision)
    finally:
        fastest_product.cache_clear()


def _files(folder: Path, sets: dict[str, Keypoints], monkeypatch: pytest.MonkeyPatch) -> KeypointFiles:
    """Return files with these keypoints, written by the code under test from flat images of one width each."""
    folder.mkdir(parents=True)
    ids = sorted(sets)
    for width, image_id in enumerate(ids, start=1):
        Image.new("RGB", (width, 1)).save(folder / f"{image_id}.png")
    monkeypatch.setattr(store, "keypoints", lambda image: sets[ids[image.width - 1]])
    return find_keypoints(open_images(folder), folder / "found", {}, workers=2)


def test_recall_finds_the_source_whatever_the_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PART_IMAGES", 3)
    rng = np.random.default_rng(0)
    references = {f"R{i}": _random(rng, int(count)) for i, count in enumerate((30, 9, 12, 40, 11, 25, 10))}

    def copy_of(name: str, count: int) -> Keypoints:
        source = references[name]
        return Keypoints(source.positions[:count], source.descriptors[:count] + np.uint8(1))

    queries = {
        "Q0": copy_of("R0", 20),
        "Q1": copy_of("R1", 9),  # too few keypoints
        "Q2": _joined(copy_of("R3", 9), copy_of("R5", 9)),
        "Q3": copy_of("R6", 10),
        # R1 has nine keypoints and takes no part: these vote for strangers, far away.
        "Q4": _joined(copy_of("R1", 9), copy_of("R1", 9)),
    }
    query_files = _files(tmp_path / "q", queries, monkeypatch)
    reference_files = _files(tmp_path / "r", references, monkeypatch)
    assert len(reference_files.parts) == 3
    found = recalled(query_files, reference_files, workers=2)
    assert found == [(0, 0), (3, 6)]
    calls: list[tuple[int, int]] = []
    again = recalled(
        query_files,
        reference_files,
        workers=1,
        query_keypoints=25,
        reference_keypoints=15,
        progress=lambda stage, done, total: calls.append((done, total)),
    )
    assert again == found
    assert calls[0][0] == 0
    assert calls[-1][0] == calls[-1][1] == 7 * 4


@pytest.mark.parametrize("most", [2_000, 20_000, 60_000])
def test_a_disk_that_fills_up_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    resource = pytest.importorskip("resource")
    sets = {"R0": _random(np.random.default_rng(1), 500)}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        with pytest.raises(DataError, match=r"00000.h5: writing failed \(File too large\); free disk space"):
            _files(tmp_path / "images", sets, monkeypatch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.rglob("*.part"))
    assert not list(tmp_path.rglob("*.h5"))


def _joined(first: Keypoints, second: Keypoints) -> Keypoints:
    return Keypoints(
        np.concatenate([first.positions, second.positions]), np.concatenate([first.descriptors, second.descriptors])
    )


def test_without_queries_or_references_nothing_is_recalled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    few = _files(tmp_path / "few", {"A": _random(rng, 9), "B": _random(rng, 0)}, monkeypatch)
    many = _files(tmp_path / "many", {"C": _random(rng, 20)}, monkeypatch)
    assert recalled(few, many, workers=1) == []
    assert recalled(many, few, workers=1) == []


# --- files -------------------------------------------------------------------------------------------------------


def _folder(folder: Path, pictures: dict[str, Image.Image]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        picture.save(folder / f"{name}.png")
    return folder


def test_keypoints_are_kept_and_read_by_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PART_IMAGES", 2)
    pictures = {f"A{i}": _picture(i, 120, 90) for i in range(4)} | {"A4": Image.new("RGB", (30, 30))}
    source = open_images(_folder(tmp_path / "images", pictures))
    before = cv2.getNumThreads()
    files = find_keypoints(source, tmp_path / "k", {"baseline": "x"}, workers=2)
    assert cv2.getNumThreads() == before
    assert files.ids == tuple(sorted(pictures))
    assert len(files.parts) == 3
    for place, picture in enumerate(pictures.values()):
        expected = keypoints(picture)
        found = files.of(place)
        assert files.counts[place] == len(expected)
        assert np.array_equal(found.positions, expected.positions)
        assert np.array_equal(found.descriptors, expected.descriptors)
    rows = np.concatenate([files.of(place).descriptors for place in (1, 2, 3)])
    assert np.array_equal(files.descriptors(1, 4), rows)
    assert files.descriptors(4, 5).shape == (0, 128)


def test_an_interrupted_search_goes_on_and_changed_images_begin_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PART_IMAGES", 2)
    folder = _folder(tmp_path / "images", {f"A{i}": _picture(i, 90, 90) for i in range(6)})
    source = open_images(folder)
    read: list[int] = []

    def counted(image: Image.Image) -> Keypoints:
        read.append(1)
        if len(read) == 4:
            raise DataError("stop", hint="")
        return keypoints(image)

    monkeypatch.setattr(store, "keypoints", counted)
    with pytest.raises(DataError, match="stop"):
        find_keypoints(source, tmp_path / "k", {"baseline": "x"}, workers=1)
    monkeypatch.setattr(store, "keypoints", keypoints)
    whole = find_keypoints(source, tmp_path / "k", {"baseline": "x"}, workers=1)
    contents = [part.read_bytes() for part in whole.parts]

    def none(image: Image.Image) -> Keypoints:
        raise AssertionError("nothing is left to do")

    monkeypatch.setattr(store, "keypoints", none)
    again = find_keypoints(source, tmp_path / "k", {"baseline": "x"}, workers=1)
    assert np.array_equal(again.counts, whole.counts)
    for change in ("recipe", "image", "damage"):
        if change == "image":
            _picture(77, 90, 90).save(folder / "A1.png")
        if change == "damage":
            _picture(1, 90, 90).save(folder / "A1.png")
            whole.parts[0].write_bytes(contents[0][:500])
        recipe = {"baseline": "y" if change == "recipe" else "x"}
        with pytest.raises(AssertionError):
            find_keypoints(source, tmp_path / "k", recipe, workers=1)
    monkeypatch.setattr(store, "keypoints", keypoints)
    whole = find_keypoints(source, tmp_path / "k", {"baseline": "x"}, workers=2)
    assert [part.read_bytes() for part in whole.parts] == contents


def test_a_broken_image_is_named(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "images", {"A0": _picture(0, 60, 60)})
    (folder / "A1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"A1\.png"):
        find_keypoints(open_images(folder), tmp_path / "k", {}, workers=1)


# --- the matcher -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> SplitImages:
    """Six references; a crop, a mirrored crop, a stranger, a flat picture, and a small copy on a busy picture."""
    folder = tmp_path_factory.mktemp("split")
    references = {f"R{i}": _picture(i) for i in range(6)}
    collage = _picture(50, 300, 240)
    collage.paste(references["R4"].crop((60, 40, 180, 130)), (20, 30))
    queries = {
        "Q0": references["R2"].crop((40, 30, 220, 170)),
        "Q1": ImageOps.mirror(references["R5"].crop((10, 10, 200, 160))),
        "Q2": _picture(99),
        "Q3": Image.new("RGB", (80, 80), "blue"),
        "Q4": collage,
    }
    detections = {"Q4": (Box(20.5, 30.5, 140.2, 120.9, 0.8),), "Q2": (Box(0, 0, 240, 180, 0.9),)}
    return SplitImages(
        open_images(_folder(folder / "q", queries)), open_images(_folder(folder / "r", references)), None, detections
    )


def _scores(matches: Matches) -> dict[tuple[str, str], float]:
    ids = zip(matches.query_ids.tolist(), matches.reference_ids.tolist(), strict=True)
    return dict(zip(ids, matches.scores.tolist(), strict=True))


def test_sift_finds_copies_and_no_strangers(split: SplitImages, tmp_path: Path) -> None:
    matcher = load_matcher("sift")
    assert (matcher.card, matcher.device, matcher.weights_sha256) == (SIFT_CARD, "cpu", None)
    stages: dict[str, tuple[int, int]] = {}
    plain = replace(split, detections={})
    matches = matcher.match(
        plain, tmp_path, cap=100, workers=2, progress=lambda stage, done, total: stages.update({stage: (done, total)})
    )
    scores = _scores(matches)
    # Mirrored descriptors vote for nobody: the mirrored crop is scored with its mirror image, but not recalled.
    assert ("Q0", "R2") in scores
    assert ("Q4", "R4") not in scores or scores["Q4", "R4"] < scores["Q0", "R2"]
    assert not {query for query, _ in scores} & {"Q1", "Q2", "Q3"}
    found, source = keypoints(split.queries.read("Q0")), keypoints(split.references.read("R2"))
    assert scores["Q0", "R2"] == pair_score(source, found) > 30
    assert all(done == total for done, total in stages.values())
    assert {"finding keypoints in queries", "matching keypoints", "scoring pairs"} <= stages.keys()
    assert matches.sha256 == matcher.match(plain, tmp_path / "again", cap=100, workers=1).sha256
    assert len(matcher.match(plain, tmp_path, cap=1)) == 1


def test_a_cut_out_adds_its_matches(split: SplitImages, tmp_path: Path) -> None:
    matcher = load_matcher("sift")
    plain = _scores(matcher.match(replace(split, detections={}), tmp_path, cap=100))
    cut = _scores(matcher.match(split, tmp_path, cap=100))
    assert cut["Q4", "R4"] > plain.get(("Q4", "R4"), 0)
    assert {pair: score for pair, score in cut.items() if pair[0] != "Q4"} == plain | {
        pair: score for pair, score in cut.items() if pair[0] != "Q4" and pair not in plain
    }
    # The box around Q2 covers the whole picture and is passed over.
    assert not any(query == "Q2" for query, _ in cut)


class _Colours(torch.nn.Module):
    """The mean colour, at unit length: a global descriptor that tells the pictures of this test apart."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        means = images.mean(dim=(2, 3))
        return torch.nn.functional.normalize(torch.cat([means, torch.ones(len(means), 1)], dim=1), dim=1)


def test_the_global_list_is_scored_by_keypoints_and_added(split: SplitImages, tmp_path: Path) -> None:
    def as_values(image: Image.Image) -> torch.Tensor:
        return torch.from_numpy(np.asarray(image.resize((32, 32)), dtype=np.float32).transpose(2, 0, 1) / 255)

    describer = TorchBaseline(
        replace(CARD, dimension=4, weights=None), _Colours(), as_values, device="cpu", micro_batch=2
    )
    whole = _scores(KeypointMatcher(WHOLE_CARD, describer).match(split, tmp_path / "w", cap=100, workers=2))
    local = _scores(load_matcher("sift").match(split, tmp_path / "s", cap=100, workers=2))
    images = {
        side: {i: source.read(i) for i in source.ids}
        for side, source in (("q", split.queries), ("r", split.references))
    }
    rows = {side: np.stack([_rows(as_values(image)) for image in some.values()]) for side, some in images.items()}
    nearest = ((rows["q"][:, None] - rows["r"][None]) ** 2).sum(axis=2).argmin(axis=1)
    expected = dict(local)
    for query, reference in zip(split.queries.ids, nearest, strict=True):
        if query == "Q4":  # described and scored by its cut-out, whose nearest colour is another question
            continue
        pair = query, f"R{reference}"
        score = pair_score(keypoints(images["r"][pair[1]]), keypoints(images["q"][query]))
        expected[pair] = expected.get(pair, 0) + score
    assert {pair: score for pair, score in whole.items() if pair[0] != "Q4"} == {
        pair: score for pair, score in expected.items() if pair[0] != "Q4"
    }
    assert {pair for pair in whole if pair[0] == "Q3"}, "every query has a pair in the global list, if of score 0"
    assert (tmp_path / "w" / "queries.h5").is_file()


def _rows(values: torch.Tensor) -> NDArray[np.float32]:
    row: NDArray[np.float32] = _Colours()(values[None])[0].numpy()
    return row


def test_descriptor_files_of_the_same_recipe_are_used_again(
    split: SplitImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describer = TorchBaseline(
        replace(CARD, dimension=4, weights=None),
        _Colours(),
        lambda image: torch.from_numpy(np.asarray(image.resize((8, 8)), dtype=np.float32).transpose(2, 0, 1) / 255),
        device="cpu",
        micro_batch=2,
    )
    matcher = KeypointMatcher(WHOLE_CARD, describer)
    first = matcher.match(split, tmp_path, cap=100)

    def none(*_: object, **__: object) -> None:
        raise AssertionError("nothing is left to do")

    monkeypatch.setattr("ndec_baselines.describing.extract.describe_images", none)
    assert matcher.match(split, tmp_path, cap=100).sha256 == first.sha256
    with pytest.raises(AssertionError):
        matcher.match(replace(split, detections={}), tmp_path, cap=100)


def test_the_published_limits() -> None:
    limits = (recall.FEWEST_KEYPOINTS, recall.MORE_THAN_VOTES, recall.MORE_THAN_VOTES_ALONE, recall.BELOW_MEAN_DISTANCE)
    assert limits == (10, 3, 5, 8000)
