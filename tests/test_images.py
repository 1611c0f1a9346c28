"""Image sources: what is found, what it is called, and what broken or hostile files do."""

from __future__ import annotations

import io
import multiprocessing
import os
import re
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_archives import (
    disc21_images,
    jpeg,
    ndec_queries,
    negative_pairs,
    shard_name,
    split,
    stray_files,
    tar_of,
    write_pieces,
    zip_of,
)

from ndec_bench.archives import safe
from ndec_bench.data import images
from ndec_bench.data.images import ArchiveSource, SelectedSource, left_out, open_images, read_image
from ndec_bench.errors import DataError


def _picture(size: tuple[int, int] = (12, 8), seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _png_claiming(width: int, height: int) -> bytes:
    """Return a small PNG file whose header promises width x height grey pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


def test_a_folder_is_searched_recursively_and_ids_are_sorted_stems(tmp_path: Path) -> None:
    for name in ("b/Q2.png", "a/deep/Q10.JPG", "Q1.webp", ".hidden/Q3.png", "b/._Q2.png", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".txt":
            path.write_text("no image")
        else:
            _picture().save(path)
    assert tuple(open_images(tmp_path).ids) == ("Q1", "Q10", "Q2")


def test_read_returns_the_stored_pixels_in_rgb(tmp_path: Path) -> None:
    picture = _picture(seed=3)
    picture.save(tmp_path / "Q1.png")
    image = open_images(tmp_path).read("Q1")
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), np.asarray(picture))


def test_exif_orientation_is_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate by 90 degrees to show"
    _picture((12, 8)).save(tmp_path / "Q1.jpg", exif=exif)
    assert open_images(tmp_path).read("Q1").size == (12, 8)


@pytest.mark.parametrize(("mode", "value", "expected"), [("L", 7, (7, 7, 7)), ("RGBA", (9, 8, 7, 0), (9, 8, 7))])
def test_other_modes_become_rgb_and_transparency_is_dropped(
    tmp_path: Path, mode: str, value: int | tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    Image.new(mode, (4, 4), value).save(tmp_path / "Q1.png")
    assert open_images(tmp_path).read("Q1").getpixel((0, 0)) == expected


def test_several_folders_are_one_source(tmp_path: Path) -> None:
    for name in ("one/Q2.png", "two/Q1.png"):
        (tmp_path / name).parent.mkdir()
        _picture().save(tmp_path / name)
    source = open_images(tmp_path / "one", tmp_path / "two")
    assert tuple(source.ids) == ("Q1", "Q2")
    assert source.read("Q2").size == (12, 8)


def test_an_id_in_two_folders_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        _picture().save(tmp_path / name / "Q1.png")
    with pytest.raises(DataError, match="Q1 is in two sources"):
        open_images(tmp_path / "one", tmp_path / "two")


def test_nothing_found_missing_and_a_file_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "file.zip").write_bytes(b"no zip")
    with pytest.raises(DataError, match="missing, expected a folder"):
        open_images(tmp_path / "nowhere")
    with pytest.raises(DataError, match="neither zip nor tar, expected a zip or tar archive"):
        open_images(tmp_path / "file.zip")


def _truncated_jpeg() -> bytes:
    buffer = io.BytesIO()
    _picture((200, 200)).save(buffer, "JPEG")
    return buffer.getvalue()[: len(buffer.getvalue()) // 2]


def _broken_png() -> bytes:
    buffer = io.BytesIO()
    _picture((50, 50)).save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    content[60:80] = bytes(20)
    return bytes(content)


@pytest.mark.parametrize("side", [9_000, 30_000], ids=["above our limit", "above Pillow's limit"])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    (tmp_path / "Q1.png").write_bytes(_png_claiming(side, side))
    with pytest.raises(DataError, match=r"Q1\.png: .*80,000,000"):
        read_image(tmp_path / "Q1.png")
    with pytest.raises(DataError, match=r"a\.zip: Q1\.png: .*80,000,000"):
        open_images(_write(tmp_path / "a.zip", zip_of([("Q1.png", _png_claiming(side, side))]))).read("Q1")


def test_the_limit_is_on_pixels_not_on_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _picture((40, 5)).save(tmp_path / "Q1.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 200)
    assert read_image(tmp_path / "Q1.png").size == (40, 5)
    monkeypatch.setattr(images, "MAX_PIXELS", 199)
    with pytest.raises(DataError, match="40 x 5 pixels"):
        read_image(tmp_path / "Q1.png")


# Folders and archives alike


Place = Callable[[dict[str, bytes]], Path]


@pytest.fixture(params=["folder", "zip", "tar"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """Write files as a folder, a zip or a tar."""

    def written(files: dict[str, bytes]) -> Path:
        if request.param != "folder":
            content = (zip_of if request.param == "zip" else tar_of)(list(files.items()))
            return _write(tmp_path / f"files.{request.param}", content)
        for name, content in files.items():
            _write(tmp_path / "files" / name, content)
        return tmp_path / "files"

    return written


@pytest.mark.parametrize("names", [("a/Q1.png", "b/Q1.png"), ("Q1.png", "Q1.jpg")])
def test_two_images_with_one_id_are_refused_with_both_names(place: Place, names: tuple[str, str]) -> None:
    with pytest.raises(DataError, match=r"files.*: two images have the id Q1") as caught:
        open_images(place({name: jpeg(1) for name in names}))
    assert all(name in str(caught.value) for name in names)


def test_no_images_and_an_unknown_id_are_told(place: Place) -> None:
    with pytest.raises(DataError, match="no images found"):
        open_images(place({"notes.txt": b"no image"}))
    with pytest.raises(DataError, match="'Q9' is not in this source"):
        open_images(place({"Q1.jpg": jpeg(1)})).read("Q9")


def test_images_are_read_from_several_threads(place: Place) -> None:
    source = open_images(place({f"Q{n:02}.jpg": jpeg(n) for n in range(40)}))
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(source.read, source.ids))
    for n, image in enumerate(read):
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(jpeg(n)))))


@pytest.mark.parametrize(
    "content",
    [b"", b"plain text", _truncated_jpeg(), _broken_png(), b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"],
    ids=["empty", "text", "truncated", "damaged", "postscript"],
)
def test_a_broken_image_is_a_data_error_that_names_the_file(place: Place, content: bytes) -> None:
    with pytest.raises(DataError, match=r"files.*images/Q1\.jpg: ") as caught:
        open_images(place({"images/Q1.jpg": content})).read("Q1")
    assert caught.value.exit_code == 4


# Archives as sources


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["references_0.zip", "refs_50k_00.zip", "named-as-nothing"])
@pytest.mark.parametrize("make", [zip_of, lambda members: zip_of(members, deflated=True), tar_of])
def test_an_archive_is_a_source_whatever_its_name(
    tmp_path: Path, name: str, make: Callable[[list[tuple[str, bytes]]], bytes]
) -> None:
    members = [*stray_files("images/"), *disc21_images("R", range(10)), ("__MACOSX/._R000000.jpg", b"resource fork")]
    source = open_images(_write(tmp_path / name, make(members)))
    assert source.ids == tuple(f"R{n:06}" for n in range(10))
    assert source.read_bytes("R000004") == dict(members)["images/references/R000004.jpg"]
    decoded = Image.open(io.BytesIO(source.read_bytes("R000004"))).convert("RGB")
    assert np.array_equal(np.asarray(source.read("R000004")), np.asarray(decoded))


@pytest.mark.parametrize("folder", ["", "images/references/", "images/", "refs_50k_3/", "a/b/c/d/"])
def test_images_lie_at_any_depth_of_an_archive(tmp_path: Path, folder: str) -> None:
    source = open_images(_write(tmp_path / "a.zip", zip_of(disc21_images("R", [5, 3], folder))))
    assert source.ids == ("R000003", "R000005")


def test_a_folder_and_the_archive_of_its_files_are_the_same_source(tmp_path: Path) -> None:
    members = [*ndec_queries(range(25000, 25006)), *stray_files("query_images_h5/")]
    for name, content in members:
        if not name.endswith("/"):
            _write(tmp_path / "files" / name, content)
    archive = open_images(_write(tmp_path / "query_images_h5.tar", tar_of(members)))
    folder = open_images(tmp_path / "files")
    assert folder.ids == archive.ids
    for image_id in folder.ids:
        assert folder.read_bytes(image_id) == archive.read_bytes(image_id)
        assert np.array_equal(np.asarray(folder.read(image_id)), np.asarray(archive.read(image_id)))


def test_zips_folders_and_tars_are_one_source(tmp_path: Path) -> None:
    for shard in range(3):
        name = shard_name("references", shard, padded=shard == 2)
        _write(tmp_path / name, zip_of(disc21_images("R", range(shard * 10, shard * 10 + 10))))
    _write(tmp_path / "more/R900000.jpg", jpeg(1))
    _write(tmp_path / "q.tar", tar_of(ndec_queries([25000])))
    places = ["references_0.zip", "references_1.zip", "references_02.zip", "more", "q.tar"]
    source = open_images(*(tmp_path / place for place in places))
    assert source.ids == ("Q25000", *(f"R{n:06}" for n in range(30)), "R900000")
    assert source.read_bytes("R000021") == disc21_images("R", [21])[0][1]
    assert source.read_bytes("R900000") == jpeg(1)
    for unknown in ("R000030", "A", "Z", ""):
        with pytest.raises(DataError, match="in none of the sources"):
            source.read(unknown)


def test_negative_pairs_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    members = negative_pairs([(1, 613143), (2, 7)])
    expected = ("00001/1", "00001/T613143", "00002/1", "00002/T000007")
    paths = write_pieces(tmp_path, "negative_pair.tar", split(tar_of(members), [2000, 2000]))
    for name, content in members:
        if not name.endswith("/"):
            _write(tmp_path / "files" / name, content)
    for source in (
        open_images(paths[0], id_rule="folder/stem"),
        open_images(*paths, id_rule="folder/stem"),  # as the shell expands negative_pair.tar.*
        open_images(tmp_path / "files", id_rule="folder/stem"),
        open_images(tmp_path / "files/negative_pair", id_rule="folder/stem"),
    ):
        assert source.ids == expected
        assert source.read_bytes("00002/T000007") == members[-1][1]
    with pytest.raises(DataError, match=r"the id 1: negative_pair/00001/1\.jpg and negative_pair/00002/1\.jpg"):
        open_images(paths[0])


def test_without_a_folder_the_id_is_the_stem(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.tar", tar_of([("x.jpg", jpeg(1)), ("y.z.JPEG", jpeg(2))]))
    assert open_images(path, id_rule="folder/stem").ids == ("x", "y.z")


def test_the_order_of_an_archive_is_known(tmp_path: Path) -> None:
    members = negative_pairs([(5, 3), (1, 9), (3, 2)])
    content = tar_of(members)
    path = _write(tmp_path / "negative_pair.tar.aa", content[: content.index(members[-1][1]) + 100])  # the last is cut
    with pytest.raises(DataError, match="cut short"):
        open_images(path, id_rule="folder/stem")
    source = ArchiveSource([path], id_rule="folder/stem", partial=True)
    pairs = [("00005", "T000003"), ("00001", "T000009"), ("00003", "T000002")]
    whole = [f"{folder}/{name}" for folder, training in pairs for name in ("1", training)][:-1]
    assert source.in_stream_order() == whole


def test_a_source_goes_to_worker_processes(tmp_path: Path) -> None:
    _write(tmp_path / "files/R000009.jpg", jpeg(9))
    first = _write(tmp_path / "a.zip", zip_of(disc21_images("R", range(5))))
    pieces = write_pieces(tmp_path, "b.tar", split(tar_of(ndec_queries([25000, 25001])), [1500]))
    source = SelectedSource(open_images(first, pieces[0], tmp_path / "files"), ["R000003", "Q25001", "R000009"])
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(source.read_bytes, source.ids))
    assert found == [source.read_bytes(image_id) for image_id in source.ids]


def test_a_file_of_a_folder_that_is_gone_or_far_too_large_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _write(tmp_path / "Q1.jpg", jpeg(1))
    source = open_images(tmp_path)
    monkeypatch.setattr(safe, "MAX_BYTES", 100)
    with pytest.raises(DataError, match=r"Q1\.jpg: more than 100 bytes"):
        source.read_bytes("Q1")
    path.unlink()
    with pytest.raises(DataError, match=r"Q1\.jpg: cannot be read \(No such file"):
        source.read_bytes("Q1")


# Sources restricted


def test_a_selected_source_has_those_ids_and_no_others(tmp_path: Path) -> None:
    source = open_images(_write(tmp_path / "a.zip", zip_of(disc21_images("R", range(10)))))
    selected = SelectedSource(source, ["R000007", "R000002", "R000007"])
    assert selected.ids == ("R000002", "R000007")
    assert selected.read_bytes("R000007") == source.read_bytes("R000007")
    assert selected.read("R000002").size == (24, 16)
    for read in (selected.read, selected.read_bytes):
        with pytest.raises(DataError, match="'R000003' is not in this source"):
            read("R000003")


def test_selected_ids_that_are_missing_are_counted_and_some_named(tmp_path: Path) -> None:
    source = open_images(_write(tmp_path / "a.zip", zip_of(disc21_images("R", range(2)))))
    with pytest.raises(DataError, match="1 of 2 images are missing: R000007;"):
        SelectedSource(source, ["R000001", "R000007"])
    with pytest.raises(DataError, match="8 of 10 images are missing: R000002, R000003, R000004 and 5 more"):
        SelectedSource(source, [f"R{n:06}" for n in range(10)])


def test_two_sets_of_queries_in_one_folder_are_told_apart_by_number(tmp_path: Path) -> None:
    for name in ("Q00007", "Q24999", "Q25000", "Q49999", "Q50000", "Q99999", "R000001", "Q1x"):
        _write(tmp_path / f"{name}.jpg", jpeg(1))
    source = open_images(tmp_path)
    pattern = re.compile("Q[0-9]{5}")
    assert SelectedSource.matching(source, pattern).ids == ("Q00007", "Q24999", "Q25000", "Q49999", "Q50000", "Q99999")
    assert SelectedSource.matching(source, pattern, range(25_000, 50_000)).ids == ("Q25000", "Q49999")
    with pytest.raises(DataError, match=r"none of 8 images is called T\[0-9\]\{6\}; .*for example Q00007"):
        SelectedSource.matching(source, re.compile("T[0-9]{6}"))
    with pytest.raises(DataError, match="with a number from 100000 to 100001"):
        SelectedSource.matching(source, pattern, range(100_000, 100_002))


def _deep_greys(folder: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Write one grey picture in every depth; return its 8-bit values."""
    eight = np.random.default_rng(5).integers(17, 236, (30, 40), dtype=np.uint8)
    wide = eight.astype(np.float32)
    for name, values in {
        "eight.png": eight,
        "sixteen.png": eight.astype(np.uint16) * 257,
        "twelve.tif": (np.rint(wide * 4095 / 255)).astype(np.uint16),
        "eight_in_sixteen.tif": eight.astype(np.uint16),
        "integer.tif": eight.astype(np.int32) * 257,
        "fraction.tif": wide / 255,
        "float.tif": wide,
    }.items():
        Image.fromarray(values).save(folder / name)
    return eight


def test_deep_greys_are_scaled_by_their_range(tmp_path: Path) -> None:
    eight = _deep_greys(tmp_path)
    source = open_images(tmp_path)
    for image_id in source.ids:
        assert np.array_equal(np.asarray(source.read(image_id))[..., 0], eight), image_id


def test_greys_of_any_other_range_lie_between_black_and_white(tmp_path: Path) -> None:
    values = np.linspace(-3, 70_000, 600, dtype=np.float32).reshape(20, 30)
    values[3, 3] = np.nan
    Image.fromarray(values).save(tmp_path / "a.tif")
    Image.fromarray(np.full((4, 4), -7, dtype=np.float32)).save(tmp_path / "flat.tif")
    grey = np.asarray(open_images(tmp_path).read("a"))[..., 0]
    assert (grey.min(), grey.max()) == (0, 255)
    assert not np.asarray(open_images(tmp_path).read("flat")).any()


def test_every_folder_is_entered_once_and_what_is_no_image_is_counted(tmp_path: Path) -> None:
    top, elsewhere = tmp_path / "images", tmp_path / "elsewhere"
    for name in ("a/Q1.jpeg", "a/Q2.jfif", "a/Q3.jpe", "x.heic", "y.heic", "readme", ".DS_Store", "b.avif"):
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _picture().save(path, "JPEG")
    elsewhere.mkdir()
    _picture().save(elsewhere / "Q4.png")
    (top / "shard").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(top)
    source = open_images(top)
    assert tuple(source.ids) == ("Q1", "Q2", "Q3", "Q4")
    assert left_out(source) == "files left out, no images by their names: 2 .heic, 1 .avif, 1 without a suffix"
    assert left_out(open_images(elsewhere / "back" / "a")) == ""
    archive = open_images(_write(tmp_path / "a.zip", zip_of([("Q5.jpg", jpeg(1)), ("a.txt", b"1"), ("b.heic", b"2")])))
    assert left_out(open_images(top, tmp_path / "a.zip")).endswith(": 3 .heic, 1 .avif, 1 without a suffix, 1 .txt")
    assert tuple(archive.ids) == ("Q5",)


def test_a_link_to_nothing_is_a_broken_image(tmp_path: Path) -> None:
    _picture().save(tmp_path / "Q1.png")
    (tmp_path / "Q2.png").symlink_to("nowhere.png")
    source = open_images(tmp_path)
    assert tuple(source.ids) == ("Q1", "Q2")
    with pytest.raises(DataError, match=r"Q2\.png: a link to a file that is not there; put the file back"):
        source.read("Q2")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (
            b"caf\xe9.png",
            r'"caf\\udce9\.png" makes no image id \(1 such files\): it has characters',
        ),
        (b" Q1.png", "it has white space at its ends"),
        (b"a\tb.png", r'"a\\tb\.png" makes no image id'),
        ("Screenshot at 3.14\u202fPM.png".encode(), None),
        ("\u5199\u771f\u30001.png".encode(), None),
    ],
)
def test_names_are_refused_that_no_reader_of_ids_takes(tmp_path: Path, name: bytes, problem: str | None) -> None:
    _picture().save(tmp_path / "Q0.png")
    (tmp_path / "Q0.png").rename(tmp_path / os.fsdecode(name))
    if problem is None:
        assert open_images(tmp_path).ids == (os.fsdecode(name)[:-4],)
        return
    with pytest.raises(DataError, match=problem):
        open_images(tmp_path)
