"""What is trained on: built splits and NDEC's own form, what is left out, and how a part is held out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PIL import Image

from ndec_baselines.asl.training_set import TrainingSet, built_set, held_out_plan, ndec_set, read_original
from ndec_bench.data.images import FolderSource, open_images
from ndec_bench.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ndec_bench.data.images import ImageSource


def put(folder: Path, *names: str) -> Path:
    """Write a picture under each name, each of a colour of its own."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 8), (number, 7 * number % 256, 200)).save(path)
    return folder


# A split that was built.


def built(tmp_path: Path, rows: Iterable[tuple[str, str]], *, count: int = 8, every: int = 1) -> TrainingSet:
    images = put(tmp_path / "images", *(f"T{number:06}.png" for number in range(count)))
    lines = "".join(f'{second},{first},"same things, from another place"\n' for first, second in rows)
    (tmp_path / "training_pairs.csv").write_text(f"image_id,look_alike_of,why\n{lines}")
    return built_set(FolderSource(images), tmp_path, every=every)


def test_a_built_split_has_all_its_images_and_its_pairs_in_order(tmp_path: Path) -> None:
    found = built(tmp_path, [("T000005", "T000001"), ("T000003", "T000007")])
    assert found.originals == tuple(f"T{number:06}" for number in range(8))
    assert found.pairs == (("T000003", "T000007"), ("T000005", "T000001"))
    assert found.source.read("T000003").size == (12, 8)


def test_every_other_original_takes_its_look_alikes_along(tmp_path: Path) -> None:
    """Originals are 0, 2, 3, 4, 5, 6, of which 0, 3, 5 stay; 7 follows 3 and 1 follows 5, 8 and 9 lose theirs."""
    rows = [("T000005", "T000001"), ("T000003", "T000007"), ("T000002", "T000008"), ("T000004", "T000009")]
    found = built(tmp_path, rows, count=10, every=2)
    assert found.originals == ("T000000", "T000001", "T000003", "T000005", "T000007")
    assert found.pairs == (("T000003", "T000007"), ("T000005", "T000001"))


def test_without_look_alikes_their_images_are_gone(tmp_path: Path) -> None:
    found = built(tmp_path, [("T000005", "T000001"), ("T000005", "T000007")]).without_look_alikes()
    assert found.originals == ("T000000", "T000002", "T000003", "T000004", "T000005", "T000006")
    assert found.pairs == ()


def test_a_pair_of_unknown_images_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"training_pairs\.csv: line 3: no training image 'T000099'"):
        built(tmp_path, [("T000005", "T000001"), ("T000002", "T000099")])
    with pytest.raises(DataError, match="line 2: no training image 'R000001'"):
        built(tmp_path, [("R000001", "T000001")])


@pytest.mark.parametrize(
    "content", ["", "query_id,reference_id\nT000001,T000002\n", "query_id,reference_id\n", "image_id,why\n"]
)
def test_another_file_under_that_name_is_refused(tmp_path: Path, content: str) -> None:
    images = put(tmp_path / "images", "T000001.png", "T000002.png")
    (tmp_path / "training_pairs.csv").write_text(content)
    with pytest.raises(DataError, match=r"training_pairs\.csv: .*image_id.*look_alike_of"):
        built_set(FolderSource(images), tmp_path)


def test_no_file_and_no_text_are_refused(tmp_path: Path) -> None:
    source = FolderSource(put(tmp_path / "images", "T000001.png"))
    with pytest.raises(DataError, match=r"training_pairs\.csv: cannot be read"):
        built_set(source, tmp_path)
    (tmp_path / "training_pairs.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"training_pairs\.csv: cannot be read"):
        built_set(source, tmp_path)


# NDEC's own form.


@pytest.fixture
def training(tmp_path: Path) -> ImageSource:
    """Training images 0 to 9 as JPEG files."""
    return open_images(put(tmp_path / "training", *(f"T{number:06}.jpg" for number in range(10))))


@pytest.fixture
def folders(tmp_path: Path) -> ImageSource:
    """Folders of pairs: two with the same training image, one with one of those above, one with neither."""
    names = ("00001/T613143.jpg", "00001/1.jpg", "00002/T000004.jpg", "00002/photo.jpg", "00003/T613143.jpg",
             "00003/a.jpg", "00007/T000700.jpg", "00007/Z.jpg")  # fmt: skip
    return open_images(put(tmp_path / "negative_pair", *names), id_rule="folder/stem")


def test_a_training_image_is_one_original_wherever_it_lies(training: ImageSource, folders: ImageSource) -> None:
    """T613143 lies in two folders, T000004 in a folder and among the training images."""
    found = ndec_set(training, folders)
    assert found.pairs == (
        ("00001/T613143", "00001/1"),
        ("00001/T613143", "00003/a"),
        ("00007/T000700", "00007/Z"),
        ("T000004", "00002/photo"),
    )
    numbers = tuple(f"T{number:06}" for number in range(10))
    of_pairs = ("00001/1", "00001/T613143", "00002/photo", "00003/a", "00007/T000700", "00007/Z")
    assert found.originals == of_pairs + numbers
    assert tuple(found.source.ids) == found.originals
    assert all(found.source.read(image_id).size == (12, 8) for image_id in found.originals)


def test_pairs_come_beside_the_training_images_that_are_taken(training: ImageSource, folders: ImageSource) -> None:
    """Each third is taken: 0, 3, 6, 9. The pair of 4 has that picture in its folder."""
    found = ndec_set(training, folders, every=3)
    assert [i for i in found.originals if "/" not in i] == ["T000000", "T000003", "T000006", "T000009"]
    assert ("00002/T000004", "00002/photo") in found.pairs
    assert "00002/T000004" in found.originals


def test_what_a_validation_split_uses_is_not_trained_on(training: ImageSource, folders: ImageSource) -> None:
    """The folder 00007 itself; T613143 wherever it lies; T000009 among the training images."""
    found = ndec_set(training, folders, left_out_folders={"00007"}, left_out={"T613143", "T000009"})
    assert found.pairs == (("T000004", "00002/photo"),)
    assert found.originals == ("00002/photo", *(f"T{number:06}" for number in range(9)))
    assert tuple(found.source.ids) == found.originals


def test_a_training_image_left_out_takes_its_pair_along(training: ImageSource, folders: ImageSource) -> None:
    found = ndec_set(training, folders, left_out={"T000004"})
    assert "T000004" not in found.originals
    assert not any("00002" in i for pair in found.pairs for i in pair)


def test_without_pairs_the_training_images_stand_alone(training: ImageSource) -> None:
    found = ndec_set(training, None, every=4)
    assert (found.originals, found.pairs) == (("T000000", "T000004", "T000008"), ())
    with pytest.raises(DataError, match="no training image is left"):
        ndec_set(training, None, left_out=set(training.ids))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("00002/T000001.jpg",), "1 images, 1 of them"),
        (("00002/T000001.jpg", "00002/T000002.jpg"), "2 images, 2 of them"),
        (("00002/a.jpg", "00002/b.jpg"), "2 images, 0 of them"),
        (("00002/T000001.jpg", "00002/a.jpg", "00002/b.jpg"), "3 images, 1 of them"),
        (("00002/T1.jpg", "00002/T0000001.jpg"), "2 images, 0 of them"),
    ],
)
def test_a_folder_that_is_no_pair_is_refused(
    tmp_path: Path, training: ImageSource, names: tuple[str, ...], found: str
) -> None:
    pairs = open_images(put(tmp_path / "pairs", "00001/T000005.jpg", "00001/x.jpg", *names), id_rule="folder/stem")
    with pytest.raises(DataError, match=f"negative_pair/00002: {found} training images; expected two and one"):
        ndec_set(training, pairs)
    assert ndec_set(training, pairs, left_out_folders={"00002"}).pairs == (("T000005", "00001/x"),)


# The part held out.


def tied(tmp_path: Path) -> TrainingSet:
    """40 images; 0-1-2 are tied through two pairs, 10-11 and 20-21 and 30-31 by one each."""
    rows = [(0, 1), (2, 1), (10, 11), (20, 21), (30, 31)]
    return built(tmp_path, [(f"T{first:06}", f"T{second:06}") for first, second in rows], count=40)


@pytest.mark.parametrize("seed", range(8))
def test_parts_are_disjoint_and_keep_together_what_is_tied(tmp_path: Path, seed: int) -> None:
    found = tied(tmp_path)
    training, held = found.parted(0.25, seed)
    assert set(training.originals).isdisjoint(held.originals)
    assert sorted(training.originals + held.originals) == list(found.originals)
    assert 10 <= len(held.originals) <= 12
    assert sorted(training.pairs + held.pairs) == list(found.pairs)
    for part in (training, held):
        assert list(part.originals) == sorted(part.originals)
        for pair in part.pairs:
            assert set(pair) <= set(part.originals)


def test_the_seed_draws_the_part(tmp_path: Path) -> None:
    found = tied(tmp_path)
    parts = [found.parted(0.25, seed)[1].originals for seed in range(6)]
    assert len(set(parts)) == 6
    assert found.parted(0.25, 3)[1].originals == parts[3]
    assert len(set().union(*parts)) > 20


def test_no_share_is_no_part(tmp_path: Path) -> None:
    found = tied(tmp_path)
    training, held = found.parted(0.0, 1)
    assert (training.originals, training.pairs) == (found.originals, found.pairs)
    assert (held.originals, held.pairs) == ((), ())


def test_the_plan_asks_for_copies_of_originals_and_for_their_look_alikes(tmp_path: Path) -> None:
    found = built(tmp_path, [("T000005", "T000001"), ("T000003", "T000007")])
    plan = held_out_plan(found, copies=2)
    assert plan.references == ("T000000", "T000002", "T000003", "T000004", "T000005", "T000006")
    assert plan.copies == tuple((reference, number) for reference in plan.references for number in (1, 2))
    assert plan.hard == (("T000007", 0), ("T000007", 1), ("T000001", 0), ("T000001", 1))


def test_a_limited_plan_keeps_look_alikes_of_its_own_references(tmp_path: Path) -> None:
    found = built(tmp_path, [("T000005", "T000001"), ("T000002", "T000007")])
    plan = held_out_plan(found, copies=1, limit=3)
    assert plan.references == ("T000000", "T000002", "T000003")
    assert plan.hard == (("T000007", 0), ("T000007", 1))


def test_an_empty_part_cannot_be_planned(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the part held out is empty"):
        held_out_plan(tied(tmp_path).parted(0.0, 1)[1])


# Reading.


@pytest.mark.parametrize(
    ("size", "expected"),
    [((2048, 1000), (512, 250)), ((300, 1536), (100, 512)), ((512, 512), (512, 512)), ((400, 30), (400, 30))],
)
def test_large_originals_are_scaled_down_and_small_ones_left(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    """All of it: the left half is of one colour, the right of another."""
    image = Image.new("RGB", size, (10, 120, 240))
    image.paste((250, 0, 90), (size[0] // 2, 0, *size))
    image.save(tmp_path / "T000001.png")
    found = read_original(FolderSource(tmp_path), "T000001", 512)
    assert found.size == expected
    wide, tall = expected
    for x in (0, wide // 2 - 4):
        assert [found.getpixel((x, y)) for y in (0, tall - 1)] == [(10, 120, 240)] * 2
    for x in (wide // 2 + 4, wide - 1):
        assert [found.getpixel((x, y)) for y in (0, tall - 1)] == [(250, 0, 90)] * 2
