"""Boxes from a CSV, images cut to them: order kept, every bad line named, cut-outs as Pillow cuts and writes them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from ndec_baselines.describing.boxes import Box, CroppedSource, cut, jpeg, of_images, read_boxes
from ndec_bench.data.images import FolderSource, decode_image
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HEADER = "image_id,left,top,right,bottom,score"


def _csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "boxes.csv"
    path.write_bytes(text.encode())
    return path


def _picture(width: int, height: int, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def test_boxes_keep_the_order_of_their_lines(tmp_path: Path) -> None:
    path = _csv(tmp_path, f"{HEADER},kind\nQ1,0,0,10.5,9,0.95,0\nQ2,1,1,2,2,0.5,1\nQ1,-3,2,4,8,1e-1,0\n")
    assert read_boxes(path) == {
        "Q1": (Box(0, 0, 10.5, 9, 0.95), Box(-3, 2, 4, 8, 0.1)),
        "Q2": (Box(1, 1, 2, 2, 0.5, kind=1),),
    }


@pytest.mark.parametrize("text", [f"{HEADER}\n", HEADER, f"\ufeff{HEADER}\r\n\r\n", f"{HEADER},kind\n\n\n"])
def test_a_header_alone_is_no_box(tmp_path: Path, text: str) -> None:
    assert read_boxes(_csv(tmp_path, text)) == {}


def test_without_kinds_all_are_of_kind_0_and_windows_lines_do(tmp_path: Path) -> None:
    assert read_boxes(_csv(tmp_path, f"\ufeff{HEADER}\r\nQ1,0,0,1,1,0.9\r\n")) == {"Q1": (Box(0, 0, 1, 1, 0.9, 0),)}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Q1,0,0,1,1", " has 5 fields, expected 6"),
        ("Q1,0,0,1,1,0.9,0", " has 7 fields, expected 6"),
        (",0,0,1,1,0.9", ": image_id '' is empty"),
        ("Q\x07,0,0,1,1,0.9", ": image_id .* has characters that cannot be printed"),
        (f"{'Q' * 300},0,0,1,1,0.9", ": image_id 'Q+' is longer than 256 characters"),
        ("Q1,a,0,1,1,0.9", ": left 'a' is not a number"),
        ("Q1,0,nan,1,1,0.9", ": top is nan"),
        ("Q1,0,0,inf,1,0.9", ": right is inf"),
        ("Q1,0,0,1,1e300,0.9", ": bottom is 1e\\+300"),
        ("Q1,0,0,1,1,", ": score '' is not a number"),
        ("Q1,5,0,5,1,0.9", r": box \(5, 0, 5, 1\) is empty"),
        ("Q1,0,7,1,3,0.9", r": box \(0, 7, 1, 3\) is empty"),
        ('Q1,"0"x,0,1,1,0.9', ": a quote in the middle of a field"),
        ('Q1,"0,0,1,1,0.9', ": a quote that is never closed"),
        (f"Q1,{'0' * 200_000},0,1,1,0.9", " is longer than 131,072 bytes"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"boxes\.csv: line 3{message}"):
        read_boxes(_csv(tmp_path, f"{HEADER}\nQ0,0,0,1,1,0.5\n{line}\n"))


@pytest.mark.parametrize("kind", ["", "-1", "1.0", "x", "٣", "9" * 5000, "1000001"])
def test_bad_kinds_are_named(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataError, match="line 2: kind is"):
        read_boxes(_csv(tmp_path, f"{HEADER},kind\nQ0,0,0,1,1,0.5,{kind}\n"))


@pytest.mark.parametrize("header", ["", "image_id,left", "Q1,0,0,1,1,0.9", f"{HEADER},kind,more", "left,image_id"])
def test_another_header_is_refused(tmp_path: Path, header: str) -> None:
    with pytest.raises(DataError, match="the first line is"):
        read_boxes(_csv(tmp_path, f"{header}\n"))


def test_what_is_no_text_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_boxes(tmp_path / "none.csv")
    with pytest.raises(DataError, match="cannot be read"):
        read_boxes(tmp_path)
    path = tmp_path / "picture.csv"
    path.write_bytes(HEADER.encode() + b"\n\xff\xd8\xff")
    with pytest.raises(DataError, match="not UTF-8"):
        read_boxes(path)
    path.write_bytes(b"\x00" * 100)
    with pytest.raises(DataError):
        read_boxes(path)


def test_too_many_boxes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ndec_baselines.describing.boxes.MAX_BOXES", 2)
    with pytest.raises(DataError, match="more than 2 boxes"):
        read_boxes(_csv(tmp_path, HEADER + "\nQ1,0,0,1,1,0.9" * 3))


def test_cutting_is_pillows_crop_with_black_outside() -> None:
    image = _picture(40, 30)
    corners = (-2.5, 3.5, 20.4, 31.6)
    assert cut(image, corners, "Q1").tobytes() == image.crop(corners).tobytes()
    assert cut(image, corners, "Q1").size == (22, 28)  # -2.5 rounds to -2, 3.5 to 4
    assert cut(image, corners, "Q1").getpixel((0, 5)) == (0, 0, 0)


@pytest.mark.parametrize("corners", [(0, 0, 0.4, 10), (5.0, 5.0, 4.0, 10.0), (0.0, 0.0, 1e5, 1e5)])
def test_boxes_that_leave_nothing_or_too_much_name_the_image(corners: tuple[float, float, float, float]) -> None:
    with pytest.raises(DataError, match="Q77: a box of"):
        cut(_picture(40, 30), corners, "Q77")


def test_jpeg_is_quality_100_with_subsampled_colour() -> None:
    image = _picture(64, 48)
    with Image.open(io.BytesIO(jpeg(image))) as stored:
        assert stored.format == "JPEG"
        assert {max(table) for table in stored.quantization.values()} == {1}  # type: ignore[attr-defined]
        assert stored.layer[0][1:3] == (2, 2)  # type: ignore[attr-defined]
        assert stored.layer[1][1:3] == (1, 1)  # type: ignore[attr-defined]


def test_a_cropped_source_cuts_the_chosen_image_and_leaves_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(3):
        _picture(60, 40, number).save(folder / f"Q{number}.png")
    plain = FolderSource(folder)
    boxes = {"Q0": (Box(0, 0, 5, 5, 0.2), Box(10, 8, 40, 30, 0.9)), "Q1": (Box(1, 1, 9, 9, 0.1),), "Q9": ()}
    asked = []

    def choose(size: tuple[int, int], found: Sequence[Box]) -> tuple[float, float, float, float] | None:
        asked.append(size)
        return next((box.corners for box in found if box.score > 0.5), None)

    source = CroppedSource(plain, boxes, choose)
    assert list(source.ids) == ["Q0", "Q1", "Q2"]
    with Image.open(folder / "Q0.png") as stored:
        expected = jpeg(stored.crop((10, 8, 40, 30)))
    assert source.read_bytes("Q0") == expected
    assert source.read("Q0").tobytes() == decode_image(expected, "").tobytes()
    assert source.read("Q0").mode == "RGB"
    for kept in ("Q1", "Q2"):
        assert source.read_bytes(kept) == plain.read_bytes(kept)
        assert source.read(kept).tobytes() == plain.read(kept).tobytes()
    assert set(asked) == {(60, 40)}
    assert len(asked) == 5  # three times for Q0, twice for Q1; Q2 has no detection


def test_detections_keyed_by_file_name_are_those_of_the_images() -> None:
    box = (Box(0, 0, 5, 5, 0.2),)
    told: list[str] = []
    assert of_images({"queries/q0.JPG": box, "Q9": box}, ["Q0", "Q1"], "b.csv", told.append) == {"Q0": box, "Q9": box}
    assert told == [
        "b.csv: 1 detection ids are written otherwise than in the split and were matched without folder, suffix and "
        "case (queries/q0.JPG is Q0)"
    ]
    with pytest.raises(DataError, match=r"b\.csv: none of its 1 detection ids is known: it has X, expected are ids"):
        of_images({"X": box}, ["Q0", "Q1"], "b.csv", told.append)
