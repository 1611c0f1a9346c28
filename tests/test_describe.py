"""Images to a descriptor file: rows, bytes, shards, failures, and the command."""

from __future__ import annotations

import json
import shutil
import threading
import time
import tracemalloc
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import PIL
import pytest
from PIL import Image, ImageFilter

import ndec_baselines
from ndec_baselines.base import Described, recipe
from ndec_baselines.describing.extract import Shard, describe_images, read_report, sidecar
from ndec_baselines.describing.row_blocks import in_order
from ndec_baselines.methods import thumbnail
from ndec_bench.cli import run
from ndec_bench.data.images import open_images
from ndec_bench.descriptors import open_descriptors, read_attributes, read_descriptors, sha256_of_file
from ndec_bench.errors import DataError, MissingDataError, SubmissionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ndec_baselines.base import Batch, ModelInput

COUNT = 21


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """21 small pictures in a folder, P00 to P20."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(COUNT):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(3)).save(folder / f"P{number:02}.png")
    return folder


@pytest.mark.parametrize("name", ["gist", "phash", "scattering", "thumbnail"])
def test_the_same_bytes_for_any_batch_size_and_workers(pictures: Path, tmp_path: Path, name: str) -> None:
    baseline, source = ndec_baselines.load(name), open_images(pictures)
    digests = {
        describe_images(baseline, source, tmp_path / f"{size}-{workers}.h5", batch_size=size, workers=workers).sha256
        for size, workers in ((1, 1), (3, 2), (16, 3))
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
    assert read_report(out) is None
    assert read_report(tmp_path / "none.h5") is None


def test_versions_are_found_under_the_name_that_is_imported(pictures: Path, tmp_path: Path) -> None:
    baseline = _Faulty(lambda described: described)
    baseline.card = replace(baseline.card, requires=("PIL", "no_such_package"))
    report = describe_images(baseline, open_images(pictures), tmp_path / "all.h5")
    assert report.libraries["PIL"] == report.libraries["pillow"] == PIL.__version__
    assert report.libraries["no_such_package"] == "unknown"


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


@pytest.fixture
def broken(pictures: Path, tmp_path: Path) -> Path:
    """The pictures, of which P02 is cut short, P13 is text, and P14 is too large."""
    folder = shutil.copytree(pictures, tmp_path / "images")
    (folder / "P02.png").write_bytes((pictures / "P02.png").read_bytes()[:300])
    (folder / "P13.png").write_text("no picture")
    Image.new("1", (9000, 9000)).save(folder / "P14.png")
    return folder


def test_a_broken_image_is_named_and_no_file_is_written(broken: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"P02\.png.*leave broken images out with --keep-going") as told:
        describe_images(ndec_baselines.load("thumbnail"), open_images(broken), tmp_path / "all.h5", batch_size=4)
    assert "kept" not in str(told.value)  # it is in the first batch: nothing was finished
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (4, 2), (16, 3)])
def test_broken_images_are_left_out_and_listed(broken: Path, tmp_path: Path, batch_size: int, workers: int) -> None:
    baseline, told = ndec_baselines.load("thumbnail"), list[str]()
    out = tmp_path / "all.h5"
    report = describe_images(
        baseline,
        open_images(broken),
        out,
        keep_going=True,
        batch_size=batch_size,
        workers=workers,
        tell=told.append,
    )
    assert (report.images, report.invalid_images) == (COUNT - 3, 3)
    with open_descriptors(out) as file:
        assert file.invalid_ids == {"P02", "P13", "P14"}
        assert set(file.vectors.ids) == {f"P{number:02}" for number in range(COUNT)} - file.invalid_ids
    whole = read_descriptors(out)
    for name in ("P02", "P13", "P14"):
        (broken / f"{name}.png").unlink()
    describe_images(baseline, open_images(broken), tmp_path / "good.h5")
    good = read_descriptors(tmp_path / "good.h5")
    assert whole.ids == good.ids
    assert np.array_equal(whole.vectors, good.vectors)
    assert [text.split(": ")[1] for text in told if text.startswith("left out")] == [
        "image P02",
        "image P13",
        "image P14",
    ]
    assert told[-1] == f"3 broken images are left out; {out} lists them in invalid_ids"


def test_the_list_of_broken_images_on_the_screen_is_bounded(pictures: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(pictures, tmp_path / "images")
    for number in range(30):
        (folder / f"X{number:02}.png").write_text("no picture")
    told: list[str] = []
    report = describe_images(
        ndec_baselines.load("thumbnail"),
        open_images(folder),
        tmp_path / "all.h5",
        keep_going=True,
        tell=told.append,
    )
    assert report.invalid_images == 30
    assert len([text for text in told if text.startswith("left out")]) == 20
    assert any("no longer named" in text for text in told)
    assert told[-1].startswith("30 broken images")


def test_nothing_but_broken_images_is_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(5):
        (folder / f"P{number}.png").write_text("no picture")
    with pytest.raises(DataError, match=r"all 5 images are broken, the first: .*P0\.png"):
        describe_images(ndec_baselines.load("thumbnail"), open_images(folder), tmp_path / "all.h5", keep_going=True)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def _because(cause: BaseException) -> DataError:
    error = DataError("P05: no readable image")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        _because(MemoryError()),
        _because(OSError(5, "Input/output error")),
        _because(FileNotFoundError(2, "gone")),
        _because(_because(OSError(116, "Stale file handle"))),
        MissingDataError("P05: no readable image"),
    ],
)
def test_what_is_no_fault_of_the_image_is_never_taken_for_one(pictures: Path, tmp_path: Path, error: DataError) -> None:
    source = open_images(pictures)

    class Failing:
        ids = source.ids
        read_bytes = staticmethod(source.read_bytes)

        def read(self, image_id: str) -> Image.Image:
            if image_id == "P05":
                raise error
            return source.read(image_id)

    with pytest.raises(DataError, match="P05: no readable image") as told:
        describe_images(ndec_baselines.load("thumbnail"), Failing(), tmp_path / "all.h5", keep_going=True)
    assert "--keep-going" not in str(told.value)  # it would not help


class _Stopping:
    """A source that is interrupted at its eighth image, as by Ctrl-C."""

    def __init__(self, folder: Path) -> None:
        self._source = open_images(folder)
        self.ids, self.read_bytes = self._source.ids, self._source.read_bytes

    def read(self, image_id: str) -> Image.Image:
        if image_id >= "P08":
            raise KeyboardInterrupt
        return self._source.read(image_id)


def test_an_interrupted_run_leaves_the_file_as_it_was_and_no_thread(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "all.h5"
    out.write_bytes(b"from before")
    baseline = ndec_baselines.load("thumbnail")
    with pytest.raises(KeyboardInterrupt):
        describe_images(baseline, _Stopping(pictures), out, batch_size=2, workers=2)
    assert out.read_bytes() == b"from before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.h5", "all.h5.partial"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("describe")]
    told: list[str] = []
    report = describe_images(baseline, open_images(pictures), out, tell=told.append)
    assert f"going on after 8 of {COUNT} images, found in {out}.partial" in told
    assert report.sha256 == describe_images(baseline, open_images(pictures), tmp_path / "b.h5").sha256


def test_only_a_few_batches_are_ahead_of_the_reader() -> None:
    begun: list[int] = []

    def work(unit: int) -> int:
        begun.append(unit)
        return unit

    results = in_order(work, list(range(100)), workers=2)
    assert next(results) == 0
    assert len(begun) <= 4
    assert list(results) == list(range(1, 100))


def test_what_will_be_done_is_told_before_it_is(pictures: Path, tmp_path: Path) -> None:
    events: list[str] = []
    describe_images(
        ndec_baselines.load("thumbnail"),
        open_images(pictures),
        tmp_path / "all.h5",
        workers=3,
        tell=events.append,
        progress=lambda _, done, total: events.append(f"{done}/{total}"),
    )
    assert events[0] == (
        f"describing {COUNT} images with thumbnail on cpu, 3 workers: 21.5 kB of descriptors, 43.0 kB of disk until "
        "they are finished"
    )
    assert events[1] == f"0/{COUNT}"


def test_a_disk_that_is_too_small_is_told_before_the_work(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=40_000))

    def fail(*call: object) -> None:
        raise AssertionError("work began")

    with pytest.raises(DataError, match=r"all\.h5: describing needs 44\.4 kB more of that disk, 40\.0 kB are free"):
        describe_images(ndec_baselines.load("thumbnail"), open_images(pictures), tmp_path / "all.h5", progress=fail)
    assert list(tmp_path.iterdir()) == []


class _Faulty:
    """Thumbnails with ``fault`` done to each batch."""

    device, weights_sha256 = "cpu", None

    def __init__(self, fault: Callable[[Described], Described]) -> None:
        self._inner, self._fault = ndec_baselines.load("thumbnail"), fault
        self.card, self.preprocess = self._inner.card, self._inner.preprocess

    def describe(self, batch: Batch) -> Described:
        return self._fault(self._inner.describe(batch))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda d: Described(d.vectors[:, :-1]), r"float32 of shape \(4, 255\), expected float32 of shape \(4, 256\)"),
        (lambda d: Described(d.vectors[:-1]), r"shape \(3, 256\)"),
        (lambda d: Described(d.vectors[:, :1]), r"shape \(4, 1\)"),
        (lambda d: Described(d.vectors.astype(np.float64)), "gives float64"),
        (
            lambda d: Described(d.vectors * np.float32(0)),
            "image P00: its descriptor by baseline thumbnail is all zeros",
        ),
        (lambda d: Described(d.vectors / np.float32(0)), "image P00: its descriptor .* is not finite"),
        (lambda d: Described(np.ones_like(d.vectors)), "all 21 descriptors are equal"),
        (lambda d: Described(d.vectors, d.vectors[:, 0] * 0 - 1), "image P00: its norm .* is negative"),
        (lambda d: Described(d.vectors, d.vectors), r"norms of float32 of shape \(4, 256\)"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_descriptors_that_are_none_end_the_run(
    pictures: Path, tmp_path: Path, fault: Callable[[Described], Described], message: str
) -> None:
    with pytest.raises(SubmissionError, match=message):
        describe_images(_Faulty(fault), open_images(pictures), tmp_path / "all.h5", batch_size=4, keep_going=True)
    assert not (tmp_path / "all.h5").exists()


def test_norms_for_some_images_alone_end_the_run(pictures: Path, tmp_path: Path) -> None:
    batches: list[int] = []

    def now_and_then(described: Described) -> Described:
        batches.append(1)
        return described if len(batches) % 2 else Described(described.vectors, np.ones(len(described.vectors), "f4"))

    with pytest.raises(SubmissionError, match="norms for some images and none for others"):
        describe_images(_Faulty(now_and_then), open_images(pictures), tmp_path / "a.h5", batch_size=4, workers=1)


def test_norms_are_stored_in_the_order_of_the_rows(pictures: Path, tmp_path: Path) -> None:
    baseline = _Faulty(lambda d: Described(d.vectors, np.abs(d.vectors).max(axis=1)))
    describe_images(baseline, open_images(pictures), tmp_path / "a.h5", batch_size=4, workers=2)
    with h5py.File(tmp_path / "a.h5") as file:
        assert sorted(file) == ["image_names", "norms", "vectors"]
        assert file["norms"].dtype == np.float32
        assert np.array_equal(file["norms"][:], np.abs(file["vectors"][:]).max(axis=1))


@pytest.mark.parametrize(("micro_batch", "expected"), [(1, 16), (8, 16), (12, 24), (16, 16), (32, 32)])
def test_units_of_work_are_whole_micro_batches(pictures: Path, tmp_path: Path, micro_batch: int, expected: int) -> None:
    baseline = _Faulty(lambda d: d)
    baseline.micro_batch = micro_batch  # type: ignore[attr-defined]
    assert describe_images(baseline, open_images(pictures), tmp_path / "a.h5").batch_size == expected


def test_memory_does_not_hold_all_vectors(pictures: Path, tmp_path: Path) -> None:
    """512 components for 60,000 images are 123 MB; checking a block of 4,096 rows takes half of that at most."""
    picture = open_images(pictures).read("P00")

    class Many:
        ids = tuple(f"{number:06}" for number in range(60_000))

        def read(self, image_id: str) -> Image.Image:
            return picture

        def read_bytes(self, image_id: str) -> bytes:
            return b""

    class Wide:
        device, weights_sha256 = "cpu", None
        card = replace(ndec_baselines.card("thumbnail"), dimension=512)
        described = 0

        def preprocess(self, image: Image.Image) -> ModelInput:
            return np.zeros(1, dtype=np.float32)

        def describe(self, batch: Batch) -> Described:
            self.described += len(batch)
            return Described(np.full((len(batch), 512), self.described, dtype=np.float32))

    tracemalloc.start()
    try:
        describe_images(Wide(), Many(), tmp_path / "a.h5", batch_size=1000, workers=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = 60_000 * 512 * 4
    assert (tmp_path / "a.h5").stat().st_size > size
    assert peak < 0.75 * size


def test_an_accelerator_describes_in_the_calling_thread(pictures: Path, tmp_path: Path) -> None:
    """With the model elsewhere the workers decode, and batches go to the model one at a time."""
    inner = ndec_baselines.load("thumbnail")
    threads: set[str] = set()

    prepared: list[int] = []
    ahead: list[int] = []

    class Elsewhere:
        card, device, weights_sha256 = inner.card, "cuda", None
        done = 0

        def preprocess(self, image: Image.Image) -> ModelInput:
            assert threading.current_thread().name.startswith("describe")
            prepared.append(1)
            return inner.preprocess(image)

        def describe(self, batch: Batch) -> Described:
            threads.add(threading.current_thread().name)
            time.sleep(0.02)  # the model is the slower of the two: batches pile up before it
            ahead.append(len(prepared) - self.done)
            self.done += len(batch)
            return inner.describe(batch)

    report = describe_images(Elsewhere(), open_images(pictures), tmp_path / "a.h5", batch_size=2, workers=2)
    assert max(ahead) <= 2 * 2 * 2
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


def test_the_command_keeps_going_and_says_what_it_left_out(
    broken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "all.h5"
    arguments = ["describe", "thumbnail", "--images", str(broken), "--out", str(out), "--batch-size", "2"]
    assert run(arguments) == 4
    assert "or leave broken images out with --keep-going; the 2 images that are finished" in capsys.readouterr().err
    assert run([*arguments, "--keep-going"]) == 0
    captured = capsys.readouterr()
    assert "broken images  3, listed in invalid_ids" in captured.out
    for text in ("going on after 2 of 21 images", "left out: image P02", "P13.png", "9000 x 9000 pixels"):
        assert text in captured.err
    with open_descriptors(out) as file:
        assert file.invalid_ids == {"P02", "P13", "P14"}


def test_precision_is_passed_on_recorded_and_changes_the_descriptors(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["describe", "scattering", "--images", str(pictures), "--device", "cpu", "--limit", "4"]
    assert run([*arguments, "--out", str(tmp_path / "full.h5")]) == 0
    assert run([*arguments, "--out", str(tmp_path / "half.h5"), "--precision", "bfloat16", "--json"]) == 0
    captured = capsys.readouterr()
    assert "with scattering on cpu in bfloat16" in captured.err
    full, half = (read_descriptors(tmp_path / f"{name}.h5").vectors for name in ("full", "half"))
    assert not np.array_equal(full, half)
    assert np.einsum("ij,ij->i", full, half).min() > 0.9  # unit vectors, of the same images
    assert "precision" not in read_attributes(tmp_path / "full.h5")
    assert read_attributes(tmp_path / "half.h5")["precision"] == "bfloat16"
    assert json.loads(sidecar(tmp_path / "half.h5").read_text())["precision"] == "bfloat16"


def test_queries_are_cut_to_the_detections_that_the_user_brings(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cutting = replace(thumbnail.BASELINES["thumbnail"], choose_box=lambda size, boxes: boxes[0].corners)
    monkeypatch.setitem(thumbnail.BASELINES, "thumbnail", cutting)
    detections = tmp_path / "boxes.csv"
    detections.write_text("image_id,left,top,right,bottom,score\nP03,5,5,45,30,0.9\n")
    arguments = ["describe", "thumbnail", "--images", str(pictures)]
    assert run([*arguments, "--out", str(tmp_path / "whole.h5")]) == 0
    assert run([*arguments, "--out", str(tmp_path / "cut.h5"), "--detections", str(detections)]) == 0
    whole, cut = (read_descriptors(tmp_path / f"{name}.h5").vectors for name in ("whole", "cut"))
    assert np.flatnonzero((whole != cut).any(axis=1)).tolist() == [3]
    assert "detections_sha256" not in read_attributes(tmp_path / "whole.h5")
    assert read_attributes(tmp_path / "cut.h5")["detections_sha256"] == sha256_of_file(detections)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["describe", "nothing", "--images", ".", "--out", "a.h5"], 2, "'nothing' is unknown"),
        (["describe", "thumbnail", "--images", "no/such/folder", "--out", "a.h5"], 4, "missing, expected a folder"),
        (["describe", "thumbnail", "--images", ".", "--out", "a.h5", "--shard", "3/2"], 2, "shard 3/2"),
        (["describe", "thumbnail", "--images", ".", "--out", "a.h5", "--weights", "w"], 2, "takes no weights"),
        (
            ["describe", "thumbnail", "--images", ".", "--out", "a.h5", "--precision", "float16"],
            2,
            "no other precision",
        ),
        (["describe", "thumbnail", "--images", ".", "--out", "a.h5", "--detections", "b.csv"], 2, "does not cut"),
        (["describe", "thumbnail", "--images", ".", "--out", "a.h5", "--weights-sha256", "ab"], 2, "takes no weights"),
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
