"""Crops of D2LV: the tabulated boxes, what is cut, and the parts that selective search proposes."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from ndec_baselines.d2lv import proposals as search
from ndec_baselines.d2lv.crops import (
    QueryCrops,
    QueryImage,
    ReferenceCrops,
    centre_boxes,
    detected,
    parted,
    reference_boxes,
)
from ndec_baselines.d2lv.survey import survey_queries
from ndec_baselines.describing.boxes import Box
from ndec_baselines.describing.extract import images_digest
from ndec_bench.data.images import FolderSource
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def _picture(width: int, height: int, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def _through_jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=100)
    with Image.open(file) as read:
        return read.convert("RGB").tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> FolderSource:
    inside = tmp_path / "images"
    inside.mkdir()
    for number, size in enumerate([(160, 120), (61, 97), (2, 3)]):
        _picture(*size, seed=number).save(inside / f"Q{number}.png")
    return FolderSource(inside)


def test_centre_boxes_by_hand() -> None:
    """From the published script: 1000 x 667 and 1024 x 768."""
    assert centre_boxes((1000, 667)) == (
        (250, 166, 750, 500),
        (166, 111, 500, 333),
        (500, 111, 833, 333),
        (166, 333, 500, 555),
        (500, 333, 833, 555),
    )
    assert centre_boxes((1024, 768))[1] == (170, 128, 512, 384)
    assert centre_boxes((1024, 768))[4] == (512, 384, 853, 640)


def test_reference_boxes_by_hand() -> None:
    boxes = reference_boxes((1024, 768))
    assert len(boxes) == 19
    assert boxes[0] == (0, 0, 1024, 768)
    assert boxes[1:5] == ((0, 0, 512, 384), (512, 0, 1024, 384), (0, 384, 512, 768), (512, 384, 1024, 768))
    assert boxes[5] == (256, 192, 768, 576)
    assert boxes[6] == (0, 0, 341, 256)
    assert boxes[10] == (341, 256, 682, 512)
    assert boxes[14] == (682, 512, 1024, 768)
    assert boxes[15:] == centre_boxes((1024, 768))[1:]


def test_detections_are_cut_from_640_pixels_shifted_by_the_margin() -> None:
    """Twice 667 · 0.64 = 426.88 is padded to 448: 10.56 above. The box (100, 100, 300, 200) is (64, 64, 192, 128)."""
    assert detected((1000, 667), Box(100, 100, 300, 200, 0.5)) == ((640, 426), (64, 75, 192, 139))
    assert detected((667, 1000), Box(100, 100, 200, 300, 0.5)) == ((426, 640), (75, 64, 139, 192))
    assert detected((1024, 768), Box(16, 16, 160, 160, 0.5)) == ((640, 480), (10, 10, 100, 100))


def test_every_query_crop_is_pillows(folder: FolderSource) -> None:
    boxes = {"Q0": (Box(10, 10, 90, 80, 0.9), Box(0, 0, 9, 9, 0.8, kind=1), Box(-20, 30, 50, 140, 0.2))}
    known = {
        "Q0": QueryImage((160, 120), ((5, 6, 70, 80), (30, 40, 150, 119))),
        "Q1": QueryImage((61, 97)),
        "Q2": QueryImage((2, 3)),
    }
    source = QueryCrops(folder, known, boxes)
    image = folder.read("Q0")
    expected = {
        0: image,
        1: image.transpose(Image.Transpose.ROTATE_90),
        2: image.transpose(Image.Transpose.ROTATE_180),
        3: image.transpose(Image.Transpose.ROTATE_270),
        4: image.crop((40, 30, 120, 90)),
        5: image.crop((26, 20, 80, 60)),
        6: image.crop((80, 20, 133, 60)),
        7: image.crop((26, 60, 80, 100)),
        8: image.crop((80, 60, 133, 100)),
        10: image.crop((5, 6, 70, 80)),
        11: image.crop((30, 40, 150, 119)),
        1000: image.resize((640, 480), Image.Resampling.BICUBIC).crop((40, 40, 360, 320)),
        1002: image.resize((640, 480), Image.Resampling.BICUBIC).crop((-80, 120, 200, 560)),
    }
    assert [i for i in source.ids if i.startswith("Q0_")] == sorted(f"Q0_{number}" for number in expected)
    for number, cut in expected.items():
        crop_id = f"Q0_{number}"
        row = list(source.ids).index(crop_id)
        assert source.read(crop_id).tobytes() == _through_jpeg(cut), number
        assert tuple(source.sizes[row]) == cut.size
        assert (source.rows[row], source.numbers[row]) == (0, number)
    assert list(source.ids) == sorted(source.ids)


def test_crops_without_a_pixel_are_left_out(folder: FolderSource) -> None:
    known = {image_id: QueryImage(folder.read(image_id).size) for image_id in folder.ids}
    source = QueryCrops(folder, known, {})
    # Of 2 x 3 pixels the central half is 1 x 2; the thirds have columns 0, 1, 1 and rows 0, 1, 2.
    assert [crop for crop in source.ids if crop.startswith("Q2")] == [f"Q2_{n}" for n in (0, 1, 2, 3, 4, 5, 7)]
    for crop_id in source.ids:
        assert source.read(crop_id).size == tuple(source.sizes[list(source.ids).index(crop_id)])


def test_whole_queries_alone(folder: FolderSource) -> None:
    known = {image_id: QueryImage(folder.read(image_id).size) for image_id in folder.ids}
    assert list(QueryCrops(folder, known, {}, whole_only=True).ids) == ["Q0_0", "Q1_0", "Q2_0"]


def test_what_is_cut_is_in_the_digest(folder: FolderSource) -> None:
    known = {image_id: QueryImage(folder.read(image_id).size) for image_id in folder.ids}
    plain = QueryCrops(folder, known, {}).sha256
    assert QueryCrops(folder, known, {"Q0": (Box(1, 1, 9, 9, 0.5, kind=1),)}).sha256 == plain
    moved = known | {"Q0": QueryImage((160, 120), ((0, 0, 50, 50),))}
    others = {
        QueryCrops(folder, moved, {}).sha256,
        QueryCrops(folder, known, {"Q0": (Box(1, 1, 9, 9, 0.5),)}).sha256,
        QueryCrops(folder, known, {"Q0": (Box(1, 1, 9, 8, 0.5),)}).sha256,
    }
    assert len(others | {plain}) == 4


def test_every_reference_crop_is_pillows(folder: FolderSource) -> None:
    for number in range(19):
        source = ReferenceCrops(folder, number)
        assert source.ids == tuple(f"Q{image}_{number}" for image in range(3))
        for row, crop_id in enumerate(source.ids):
            image = folder.read(folder.ids[source.rows[row]])
            box = reference_boxes(image.size)[number]
            cut = image.crop(box) if box[2] > box[0] and box[3] > box[1] else image
            assert source.read(crop_id).tobytes() == _through_jpeg(cut)


@pytest.mark.parametrize("crop_id", ["Q1", "_4", "Q1_", "Q1_x", "Q1_-1"])
def test_other_ids_are_no_crops(crop_id: str) -> None:
    with pytest.raises(DataError, match="is not the id of a crop"):
        parted(crop_id)
    assert parted("A_B_12") == ("A_B", 12)


# Selective search, beside a slow version that follows selectivesearch 0.4 pixel by pixel and pair by pair.


def _blocks(seed: int) -> NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    picture = np.asarray(_picture(90, 70, seed)).copy()
    for _ in range(4):
        x, y, w, h = random.integers((0, 0, 12, 12), (60, 45, 50, 40)).tolist()
        picture[y : y + h, x : x + w] = random.integers(0, 256, 3)
    return np.clip(picture + random.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def _slow_regions(picture: NDArray[np.uint8]) -> list[tuple[tuple[int, ...], int]]:
    from skimage.color import rgb2hsv
    from skimage.feature import local_binary_pattern
    from skimage.segmentation import felzenszwalb

    labels = felzenszwalb(picture / 255.0, scale=500, sigma=0.9, min_size=10)
    hsv = rgb2hsv(picture.astype(float))  # of 0 to 255: only the value is spread over the bins
    channels = [local_binary_pattern(picture[:, :, c], 8, 1.0) for c in range(3)]  # type: ignore[no-untyped-call]
    codes = np.stack(channels, axis=2)
    found: dict[int, tuple[list[int], int, NDArray[np.float64], NDArray[np.float64]]] = {}
    for label in dict.fromkeys(labels.ravel().tolist()):
        rows, columns = np.nonzero(labels == label)
        of_colour = [np.histogram(hsv[rows, columns, c], 25, (0.0, 255.0))[0] for c in range(3)]
        of_texture = [np.histogram(codes[rows, columns, c], 10, (0.0, 1.0))[0] for c in range(3)]
        box = [int(v) for v in (columns.min(), rows.min(), columns.max(), rows.max())]
        n = len(rows)
        found[len(found)] = (box, n, np.concatenate(of_colour) / n, np.concatenate(of_texture) / n)

    def alike(a: int, b: int) -> float:
        (one, n, c, t), (other, m, d, u) = found[a], found[b]
        wide, high = max(one[2], other[2]) - min(one[0], other[0]), max(one[3], other[3]) - min(one[1], other[1])
        colours = sum(min(x, y) for x, y in zip(c, d, strict=True))
        textures = sum(min(x, y) for x, y in zip(t, u, strict=True))
        return float(colours + textures + (1 - (n + m) / labels.size) + (1 - (wide * high - n - m) / labels.size))

    pairs = {}
    for a in range(len(found)):
        for b in range(a + 1, len(found)):
            (left, top, right, bottom), other = found[a][0], found[b][0]
            if any(left < other[i] < right for i in (0, 2)) and any(top < other[i] < bottom for i in (1, 3)):
                pairs[a, b] = alike(a, b)
    while pairs:
        a, b = sorted(pairs.items(), key=lambda item: item[1])[-1][0]
        (one, n, c, t), (other, m, d, u) = found[a], found[b]
        new = len(found)
        box = [min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])]
        found[new] = (box, n + m, (c * n + d * m) / (n + m), (t * n + u * m) / (n + m))
        gone = [pair for pair in pairs if a in pair or b in pair]
        for pair in gone:
            del pairs[pair]
        for pair in gone:
            if pair != (a, b):
                rest = pair[1] if pair[0] in (a, b) else pair[0]
                pairs[new, rest] = alike(new, rest)
    return [(tuple(box), n) for box, n, _, _ in found.values()]


@pytest.mark.parametrize("seed", range(6))
def test_regions_equal_the_slow_version(seed: int) -> None:
    picture = _blocks(seed)
    found = search.regions(picture)
    assert list(zip(map(tuple, found.boxes.tolist()), found.pixels.tolist(), strict=True)) == _slow_regions(picture)


def test_boxes_worth_cutting_are_large_compact_and_different() -> None:
    boxes = np.array(
        [
            (0, 0, 50, 50),
            (0, 0, 100, 50),
            (0, 0, 101, 50),
            (0, 0, 50, 101),
            (0, 0, 50, 50),
            (9, 9, 9, 99),
            (0, 0, 60, 60),
        ]
    )
    pixels = np.array([2000, 3000, 3000, 3000, 2500, 2500, 1999])
    assert search.worth_cutting(search.Regions(boxes, pixels)) == [(0, 0, 50, 50), (0, 0, 100, 50)]


def test_thinning_counts_one_pixel_more() -> None:
    """(0,0,9,9) has 10 x 10 pixels, (0,0,9,4) has 10 x 5: they share one half, which is not more than one half."""
    boxes = np.array([(0, 0, 9, 9), (0, 0, 9, 4), (0, 0, 9, 5), (20, 20, 29, 29)])
    assert search.thinned(boxes) == [0, 1, 3]
    assert search.thinned(np.empty((0, 4), dtype=np.int64)) == []


def test_proposals_come_last_found_first_and_are_repeatable() -> None:
    picture = np.asarray(Image.fromarray(_blocks(1)).resize((270, 210)))
    found = search.proposals(picture)
    assert found
    assert found == search.proposals(picture)
    corners = search.worth_cutting(search.regions(picture))
    assert found[0] == corners[-1]
    assert [corners.index(box) for box in found] == sorted((corners.index(box) for box in found), reverse=True)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 3), (60, 60)])
def test_tiny_and_flat_pictures_have_few_proposals(size: tuple[int, int]) -> None:
    assert len(search.proposals(np.full((*size, 3), 77, dtype=np.uint8))) <= 1


def test_a_picture_in_too_many_pieces_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = np.asarray(Image.fromarray(_blocks(1)).resize((270, 210)))
    assert search.proposals(picture)
    monkeypatch.setattr(search, "MAX_SEGMENTS", 1)
    assert search.proposals(picture) == []


# What is known of the queries.


def test_survey_is_kept_and_made_again_when_images_change(
    folder: FolderSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ndec_baselines.d2lv.survey.CHUNK", 2)
    work = tmp_path / "work"
    found = survey_queries(folder, work, proposals=True)
    assert {image_id: known.size for image_id, known in found.items()} == {
        "Q0": (160, 120),
        "Q1": (61, 97),
        "Q2": (2, 3),
    }
    assert found["Q0"].proposals == tuple(search.proposals(np.asarray(folder.read("Q0"))))
    reads = []
    monkeypatch.setattr(FolderSource, "read", lambda self, image_id: reads.append(image_id))
    assert survey_queries(folder, work, proposals=True) == found
    assert not reads
    (work / "00001.json").write_text("{")
    monkeypatch.undo()
    monkeypatch.setattr("ndec_baselines.d2lv.survey.CHUNK", 2)
    assert survey_queries(folder, work, proposals=True) == found
    assert all(not known.proposals for known in survey_queries(folder, work, proposals=False).values())


def test_survey_in_processes_is_the_same(folder: FolderSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = survey_queries(folder, tmp_path / "one", proposals=True)
    monkeypatch.setattr("ndec_baselines.d2lv.survey.CHUNK", 2)
    assert survey_queries(folder, tmp_path / "two", proposals=True, workers=2) == alone


def test_other_images_of_the_same_names_are_told_apart(tmp_path: Path) -> None:
    digests = set()
    for seed in (0, 1):
        inside = tmp_path / str(seed)
        inside.mkdir()
        _picture(30, 20, seed).save(inside / "Q0.png")
        digests.add(images_digest(FolderSource(inside)))
    assert len(digests) == 2
