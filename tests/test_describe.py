"""Images to a descriptor file: rows, bytes, shards, failures, and the command."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from PIL import Image, ImageFilter

import ndec_baselines
from ndec_baselines import extract
from ndec_baselines.base import recipe
from ndec_baselines.extract import Shard, describe_images, read_report, sidecar
from ndec_bench.cli import run
from ndec_bench.data.images import open_images
from ndec_bench.descriptors import read_attributes, read_descriptors, sha256_of_file
from ndec_bench.errors import DataError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_baselines.base import Described, ModelInput

COUNT = 21


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """21 small pictures in a folder, P00 to P20."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(COUNT):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(3)).save(folder / f"P{number:02}.png")
    return folder


@pytest.mark.parametrize("name", ["phash", "scattering", "thumbnail"])
def test_the_same_bytes_for_any_batch_size_and_workers(pictures: Path, tmp_path: Path, name: str) -> None:
    baseline, source = ndec_baselines.load(name), open_images(pictures)
    digests = {
        describe_images(baseline, source, tmp_path / f"{size}-{workers}.h5", batch_size=size, workers=workers).sha256
        for size, workers in ((1, 1), (3, 2), (16, 1), (16, 3), (100, 2))
    }
    assert len(digests) == 1


@pytest.mark.parametrize("name", ["phash", "scattering", "thumbnail"])
def test_shards_in_order_are_the_whole_and_a_limit_is_its_beginning(pictures: Path, tmp_path: Path, name: str) -> None:
    baseline, source = ndec_baselines.load(name), open_images(pictures)
    describe_images(baseline, source, tmp_path / "whole.h5")
    whole = read_descriptors(tmp_path / "whole.h5")
    parts = []
    for index in (1, 2, 3, 4):
        describe_images(baseline, source, tmp_path / f"{index}.h5", shard=Shard(index, 4))
        parts.append(read_descriptors(tmp_path / f"{index}.h5"))
    assert tuple(i for part in parts for i in part.ids) == whole.ids
    assert np.array_equal(np.concatenate([part.vectors for part in parts]), whole.vectors)
    describe_images(baseline, source, tmp_path / "first.h5", limit=5)
    first = read_descriptors(tmp_path / "first.h5")
    assert first.ids == whole.ids[:5]
    assert np.array_equal(first.vectors, whole.vectors[:5])


def test_rows_are_those_of_describing_one_by_one(pictures: Path, tmp_path: Path) -> None:
    baseline, source = ndec_baselines.load("thumbnail"), open_images(pictures)
    describe_images(baseline, source, tmp_path / "all.h5")
    descriptors = read_descriptors(tmp_path / "all.h5")
    assert descriptors.ids == tuple(f"P{number:02}" for number in range(COUNT))
    for image_id, vector in zip(descriptors.ids, descriptors.vectors, strict=True):
        one = baseline.describe(np.asarray(baseline.preprocess(source.read(image_id)))[None]).vectors[0]
        assert np.array_equal(vector, one)


def test_the_file_holds_vectors_names_and_the_recipe(pictures: Path, tmp_path: Path) -> None:
    baseline = ndec_baselines.load("phash")
    describe_images(baseline, open_images(pictures), tmp_path / "all.h5", attributes={"images_sha256": "ab"})
    with h5py.File(tmp_path / "all.h5") as file:
        assert file["vectors"].shape == (COUNT, 256)
        assert file["vectors"].dtype == np.float32
        assert file["image_names"].shape == (COUNT,)
    assert read_attributes(tmp_path / "all.h5") == {**recipe(baseline), "images_sha256": "ab"}


def test_the_report_beside_the_file(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "all.h5"
    report = describe_images(ndec_baselines.load("thumbnail"), open_images(pictures), out)
    assert read_report(out) == report
    assert report.images == COUNT
    assert (report.baseline, report.version, report.device) == ("thumbnail", "1", "cpu")
    assert (report.dimension, report.bytes_per_descriptor) == (256, 1024)
    assert report.sha256 == sha256_of_file(out)
    assert report.milliseconds_per_image == pytest.approx(1000 * report.seconds / COUNT, abs=1e-3)
    assert report.libraries["numpy"] == np.__version__
    out.write_bytes(b"another file")
    assert read_report(out) is None
    sidecar(out).write_text("{}")
    with pytest.raises(DataError, match=r"all\.h5\.json: no report"):
        read_report(out)
    assert read_report(tmp_path / "none.h5") is None


def test_progress_counts_images_to_the_end(pictures: Path, tmp_path: Path) -> None:
    calls: list[tuple[str, int, int]] = []
    describe_images(
        ndec_baselines.load("thumbnail"),
        open_images(pictures),
        tmp_path / "all.h5",
        batch_size=8,
        progress=lambda *call: calls.append(call),
        stage="describing references",
    )
    assert calls == [("describing references", done, COUNT) for done in (0, 8, 16, 21)]


def test_a_broken_image_is_named_and_nothing_is_written(pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for path in pictures.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "P13.png").write_bytes((pictures / "P13.png").read_bytes()[:300])
    with pytest.raises(DataError, match=r"P13\.png"):
        describe_images(ndec_baselines.load("thumbnail"), open_images(folder), tmp_path / "all.h5", batch_size=4)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


class _Stopping:
    """A source that is interrupted at its eighth image, as by Ctrl-C."""

    def __init__(self, folder: Path) -> None:
        self._source = open_images(folder)
        self.ids = self._source.ids

    def read(self, image_id: str) -> Image.Image:
        if image_id >= "P08":
            raise KeyboardInterrupt
        return self._source.read(image_id)


def test_an_interrupted_run_writes_nothing_and_leaves_no_thread(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "all.h5"
    out.write_bytes(b"from before")
    with pytest.raises(KeyboardInterrupt):
        describe_images(ndec_baselines.load("thumbnail"), _Stopping(pictures), out, batch_size=2, workers=2)
    assert out.read_bytes() == b"from before"
    assert [path.name for path in tmp_path.iterdir()] == ["all.h5"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("describe")]


def test_only_a_few_batches_are_ahead_of_the_reader() -> None:
    begun: list[int] = []

    def work(unit: int) -> int:
        begun.append(unit)
        return unit

    results = extract._in_order(work, list(range(100)), workers=2)
    assert next(results) == 0
    assert len(begun) <= 4
    assert list(results) == list(range(1, 100))


def test_an_accelerator_describes_in_the_calling_thread(pictures: Path, tmp_path: Path) -> None:
    """With the model elsewhere the workers decode, and batches go to the model one at a time."""
    inner = ndec_baselines.load("thumbnail")
    threads: set[str] = set()

    class Elsewhere:
        card, device, weights_sha256 = inner.card, "cuda", None
        preprocess = staticmethod(inner.preprocess)

        def describe(self, batch: ModelInput) -> Described:
            threads.add(threading.current_thread().name)
            return inner.describe(batch)

    report = describe_images(Elsewhere(), open_images(pictures), tmp_path / "a.h5", batch_size=4, workers=2)
    assert threads == {threading.current_thread().name}
    assert report.sha256 == describe_images(inner, open_images(pictures), tmp_path / "b.h5").sha256


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "-1/3", "1/3/5", "١/٣"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected i/n"):
        Shard.parse(text)


def test_shards_differ_in_size_by_one_at_most() -> None:
    ids = [str(number) for number in range(10)]
    parts = [Shard.parse(f"{index}/4").of(ids) for index in (1, 2, 3, 4)]
    assert [len(part) for part in parts] == [2, 3, 2, 3]
    assert [i for part in parts for i in part] == ids


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 0}, "limit 0"),
        ({"batch_size": 0}, "batch size 0"),
        ({"workers": 0}, "workers 0"),
        ({"limit": 2, "shard": Shard(1, 5)}, "no image left"),
    ],
)
def test_numbers_out_of_range_are_refused(
    pictures: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        describe_images(ndec_baselines.load("thumbnail"), open_images(pictures), tmp_path / "a.h5", **options)


def test_a_target_that_cannot_be_written_is_refused_before_the_work(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    def fail(*call: object) -> None:
        raise AssertionError("work began")

    for out in (tmp_path, tmp_path / "file" / "a.h5"):
        with pytest.raises(DataError):
            describe_images(ndec_baselines.load("thumbnail"), open_images(pictures), out, progress=fail)


# The command


def test_the_command_describes(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new folder" / "all.h5"
    assert run(["describe", "thumbnail", "--images", str(pictures), "--out", str(out), "--limit", "4", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["images"] == 4
    assert report["sha256"] == sha256_of_file(out)
    assert json.loads(sidecar(out).read_text()) == report


def test_the_command_takes_several_folders_and_a_shard(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = tmp_path / "more"
    more.mkdir()
    Image.effect_noise((30, 30), 50).convert("RGB").save(more / "A.png")
    folders = ["--images", str(pictures), "--images", str(more)]
    assert (
        run(["describe", "phash", *folders, "--out", str(tmp_path / "a.h5"), "--shard", "1/2", "--device", "cpu"]) == 0
    )
    assert read_descriptors(tmp_path / "a.h5").ids == ("A", *(f"P{number:02}" for number in range(10)))
    captured = capsys.readouterr()
    assert "11" in captured.out
    assert "describing images" in captured.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["describe", "nothing", "--images", ".", "--out", "a.h5"], 2, "'nothing' is unknown"),
        (["describe", "thumbnail", "--images", "no/such/folder", "--out", "a.h5"], 4, "missing, expected a folder"),
        (["describe", "thumbnail", "--images", ".", "--out", "a.h5", "--shard", "3/2"], 2, "shard 3/2"),
        (["describe", "thumbnail", "--images", ".", "--out", "a.h5", "--weights", "w"], 2, "takes no weights"),
        (["describe", "thumbnail", "--out", "a.h5"], 2, "which images to describe is not said"),
        (["describe", "thumbnail", "--out", "a.h5", "--split", "ndec"], 2, "which images to describe is not said"),
        (["describe", "thumbnail", "--out", "a.h5", "--images", ".", "--split", "ndec"], 2, "do not go together"),
    ],
)
def test_the_command_ends_with_its_exit_code_and_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    assert run(arguments) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_a_bomb_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("1", (9500, 9500)).save(tmp_path / "P1.png")
    assert run(["describe", "thumbnail", "--images", str(tmp_path), "--out", str(tmp_path / "a.h5")]) == 4
    error = capsys.readouterr().err
    assert "P1.png: more than 80,000,000 pixels" in error
    assert "Warning" not in error
    assert "Traceback" not in error
