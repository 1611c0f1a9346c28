"""Image sources: what is found, what it is called, and what broken or hostile files do."""

from __future__ import annotations

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from ndec_bench.data import images
from ndec_bench.data.images import open_images, read_image
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


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


@pytest.mark.parametrize("names", [("a/Q1.png", "b/Q1.png"), ("Q1.png", "Q1.jpg")])
def test_two_images_with_one_id_are_refused_with_both_names(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        _picture().save(tmp_path / name)
    with pytest.raises(DataError, match="two images have the id Q1") as caught:
        open_images(tmp_path)
    assert all(name in str(caught.value) for name in names)


def test_an_id_in_two_folders_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        _picture().save(tmp_path / name / "Q1.png")
    with pytest.raises(DataError, match="Q1 stands in two sources"):
        open_images(tmp_path / "one", tmp_path / "two")


def test_nothing_found_missing_and_a_file_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "file.zip").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images found"):
        open_images(tmp_path / "empty")
    with pytest.raises(DataError, match="missing, expected a folder"):
        open_images(tmp_path / "nowhere")
    with pytest.raises(DataError, match="a file, expected a folder"):
        open_images(tmp_path / "file.zip")


def test_an_unknown_id_is_named(tmp_path: Path) -> None:
    _picture().save(tmp_path / "Q1.png")
    with pytest.raises(DataError, match="'Q9' is not in this source"):
        open_images(tmp_path).read("Q9")


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


@pytest.mark.parametrize(
    "content",
    [b"", b"plain text", _truncated_jpeg(), _broken_png(), b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"],
    ids=["empty", "text", "truncated", "damaged", "postscript"],
)
def test_a_broken_image_is_a_data_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "Q1.jpg").write_bytes(content)
    with pytest.raises(DataError, match=r"Q1\.jpg") as caught:
        open_images(tmp_path).read("Q1")
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("side", [9_000, 30_000], ids=["above our limit", "above Pillow's limit"])
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    (tmp_path / "Q1.png").write_bytes(_png_claiming(side, side))
    with pytest.raises(DataError, match="80,000,000"):
        read_image(tmp_path / "Q1.png")


def test_the_limit_is_on_pixels_not_on_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _picture((40, 5)).save(tmp_path / "Q1.png")
    monkeypatch.setattr(images, "MAX_PIXELS", 200)
    assert read_image(tmp_path / "Q1.png").size == (40, 5)
    monkeypatch.setattr(images, "MAX_PIXELS", 199)
    with pytest.raises(DataError, match="40 x 5 pixels"):
        read_image(tmp_path / "Q1.png")


def test_images_are_read_from_several_threads(tmp_path: Path) -> None:
    for number in range(20):
        _picture((60, 40), seed=number).save(tmp_path / f"Q{number:02}.png")
    source = open_images(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(source.read, source.ids))
    assert all(
        np.array_equal(np.asarray(image), np.asarray(_picture((60, 40), seed=i))) for i, image in enumerate(read)
    )
