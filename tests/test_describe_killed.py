"""Describing that is killed, torn or damaged goes on and ends with the same bytes."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

import ndec_baselines
from ndec_baselines.base import Described
from ndec_baselines.describing import extract, finished_rows
from ndec_baselines.describing.extract import describe_images, read_report
from ndec_bench.data.images import open_images
from ndec_bench.descriptors import open_descriptors, sha256_of_file
from ndec_bench.errors import DataError, NdecBenchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ndec_baselines.base import Batch, ModelInput
    from ndec_bench.data.images import ImageSource

COUNT = 40
KILLED_COUNT = 200
KILLS = 20

# A real command line, with a baseline that takes its time and writes what it has every 20 milliseconds.
CHILD = """
import time
from ndec_baselines.describing import finished_rows
from ndec_baselines.methods.thumbnail import Thumbnail
from ndec_bench.cli import main

described = Thumbnail.describe
def slowly(self, batch):
    time.sleep(0.01 * len(batch))
    return described(self, batch)
Thumbnail.describe = slowly
finished_rows.SECONDS_PER_BLOCK = 0.02
main()
"""


def draw(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"P{number:03}.png")
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 small pictures, of which P07, P20 and P21 are broken."""
    folder = draw(tmp_path_factory.mktemp("killed") / "pictures", COUNT)
    for number in (7, 20, 21):
        path = folder / f"P{number:03}.png"
        path.write_bytes(path.read_bytes()[:200])
    return folder


@pytest.fixture(autouse=True)
def every_batch_is_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finished_rows, "SECONDS_PER_BLOCK", 0.0)


class Elsewhere:
    """Thumbnails with norms; whatever is done for a batch is done in the calling thread, as on an accelerator."""

    weights_sha256 = None
    device = "cuda"

    def __init__(self, before: Callable[[int], None] = lambda _: None, version: str = "1") -> None:
        self._inner = ndec_baselines.load("thumbnail")
        self.card = replace(self._inner.card, version=version)
        self._before = before
        self.images = 0

    def preprocess(self, image: Image.Image) -> ModelInput:
        return self._inner.preprocess(image)

    def describe(self, batch: Batch) -> Described:
        self._before(self.images)
        self.images += len(batch)
        vectors = self._inner.describe(batch).vectors
        return Described(vectors, np.abs(vectors).sum(axis=1))


def describe(baseline: Any, source: ImageSource, out: Path, **options: Any) -> str:  # noqa: ANN401
    """Return the digest of the file that describing in batches of three leaves."""
    options = {"batch_size": 3, "workers": 2, "keep_going": True, **options}
    return describe_images(baseline, source, out, **options).sha256


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the file that an undisturbed run writes."""
    return describe(Elsewhere(), open_images(pictures), tmp_path_factory.mktemp("whole") / "all.h5")


class Stop(BaseException):
    """Ends a run as nothing the code expects would."""


def stopped_after(images: int, pictures: Path, out: Path) -> None:
    """Leave what a run leaves that ends after so many described images."""

    def stop(done: int) -> None:
        if done >= images:
            raise Stop

    with pytest.raises(Stop):
        describe(Elsewhere(stop), open_images(pictures), out)


@pytest.mark.slow
def test_twenty_kills_end_with_the_same_bytes(tmp_path: Path) -> None:
    folder = draw(tmp_path / "pictures", KILLED_COUNT)
    (folder / "P150.png").write_bytes((folder / "P150.png").read_bytes()[:200])
    out = tmp_path / "all.h5"
    command = ["describe", "thumbnail", "--images", str(folder), "--keep-going", "--batch-size", "4", "--json"]

    def start(target: Path, *more: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, *command, "--out", str(target), *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    undisturbed = start(tmp_path / "undisturbed.h5")
    _, err = undisturbed.communicate()
    assert undisturbed.returncode == 0, err
    moments = random.Random(20)  # noqa: S311 -- moments for a test
    blocks, reached = out.with_name("all.h5.partial") / finished_rows.BLOCKS, []
    for number in range(KILLS):
        process = start(out, "--workers", str(1 + number % 3))
        before = size_of(blocks)
        # From before the first block of this run to a few blocks after it.
        while size_of(blocks) == before and process.poll() is None and moments.random() > 0.002:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.08))
        alive = process.poll() is None
        process.kill()
        process.communicate()
        reached.append(size_of(blocks))
        if not alive:
            break
    assert sum(alive_size > 0 for alive_size in reached) >= 5, "no run got so far as to be worth killing"
    last = start(out)
    text, err = last.communicate()
    assert last.returncode == 0, err
    assert "going on after" in err
    assert out.read_bytes() == (tmp_path / "undisturbed.h5").read_bytes()
    report = json.loads(text)
    assert report["sha256"] == sha256_of_file(out)
    assert report["runs"] > 1
    assert report["images"] == KILLED_COUNT - 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "all.h5",
        "all.h5.json",
        "pictures",
        "undisturbed.h5",
        "undisturbed.h5.json",
    ]


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_whatever_a_kill_leaves_is_gone_on_from(
    pictures: Path, tmp_path: Path, whole: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is copied before and after every step that changes it; a run that finds such a copy ends the same."""
    work, copies = tmp_path / "work", list[Path]()
    work.mkdir()

    def photographed(owner: Any, name: str) -> None:  # noqa: ANN401
        inner = getattr(owner, name)

        def step(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
            take()
            result = inner(*arguments, **options)
            take()
            return result

        monkeypatch.setattr(owner, name, step)

    def take() -> None:
        copies.append(tmp_path / f"copy{len(copies):03}")
        shutil.copytree(work, copies[-1])

    photographed(finished_rows.FinishedRows, "commit")
    photographed(finished_rows, "_as_text")  # between rows and the line that vouches for them
    photographed(extract, "write_descriptors")
    photographed(Path, "replace")
    photographed(Path, "unlink")
    assert describe(Elsewhere(), open_images(pictures), work / "all.h5") == whole
    monkeypatch.undo()
    assert len(copies) > 50
    kinds = set()
    for copy in copies:
        kinds.add(tuple(sorted(path.name for path in copy.rglob("*") if not path.name.startswith("."))))
        baseline = Elsewhere()
        assert describe(baseline, open_images(pictures), copy / "all.h5") == whole
        assert sorted(path.name for path in copy.iterdir()) == ["all.h5", "all.h5.json"]
    assert len(kinds) >= 6


@pytest.mark.parametrize("name", [finished_rows.ROWS, finished_rows.BLOCKS])
def test_a_torn_file_is_cut_back_to_its_last_sound_block(pictures: Path, tmp_path: Path, whole: str, name: str) -> None:
    stopped_after(30, pictures, tmp_path / "left.h5")
    left = tmp_path / "left.h5.partial"
    size = size_of(left / name)
    described = []
    for length in sorted({0, 1, size - 1, size + 1, *range(0, size, size // 20)}):
        out = tmp_path / f"{length}.h5"
        torn = shutil.copytree(left, out.with_name(out.name + ".partial")) / name
        torn.write_bytes((torn.read_bytes() + b"\0")[:length])
        baseline = Elsewhere()
        assert describe(baseline, open_images(pictures), out) == whole
        described.append(baseline.images)
    # The more was left, the less is described again: all of it at one end, only the rest at the other.
    assert described == sorted(described, reverse=True)
    assert described[0] == COUNT - 3
    assert described[-1] < 10


@pytest.mark.parametrize("name", [finished_rows.ROWS, finished_rows.BLOCKS, finished_rows.HEAD])
def test_a_flipped_bit_is_noticed(pictures: Path, tmp_path: Path, whole: str, name: str) -> None:
    stopped_after(30, pictures, tmp_path / "left.h5")
    left = tmp_path / "left.h5.partial"
    content = (left / name).read_bytes()
    places = random.Random(3).sample(range(len(content)), 25)  # noqa: S311 -- places for a test
    for place in places:
        out = tmp_path / f"{place}.h5"
        folder = shutil.copytree(left, out.with_name(out.name + ".partial"))
        (folder / name).write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        baseline, error = Elsewhere(), ""
        try:
            assert describe(baseline, open_images(pictures), out) == whole
        except UsageError as refusal:
            error = str(refusal)
        if name == finished_rows.HEAD:  # no JSON any more, or the words of another run
            assert baseline.images == COUNT - 3 or "finished images of another run" in error
        else:
            assert error == ""
            assert baseline.images > 7


def test_only_what_is_missing_is_described(pictures: Path, tmp_path: Path, whole: str) -> None:
    out, told = tmp_path / "all.h5", list[str]()
    stopped_after(18, pictures, out)
    assert not out.exists()
    shown: list[tuple[str, int, int]] = []
    baseline = Elsewhere()
    digest = describe(
        baseline, open_images(pictures), out, tell=told.append, progress=lambda *call: shown.append(call), batch_size=5
    )
    assert digest == whole
    done = shown[0][1]
    assert done == 21  # the batch that ended the run, the last of these, is not among them; P07 and P20 are broken
    assert shown[-1][1:] == (COUNT, COUNT)
    assert any(f"going on after {done} of {COUNT} images" in text for text in told)
    report = read_report(out)
    assert report is not None
    assert (report.runs, report.images, report.invalid_images) == (2, COUNT - 3, 3)
    assert baseline.images == COUNT - 3 - 19


def test_norms_come_back_from_the_disk(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "all.h5"
    stopped_after(18, pictures, out)
    describe(Elsewhere(), open_images(pictures), out)
    with open_descriptors(out) as file:
        assert file.norms is not None
        assert np.array_equal(file.norms, np.abs(file.vectors.read(0, len(file.vectors))).sum(axis=1))
        assert file.invalid_ids == {"P007", "P020", "P021"}
        assert len(file.vectors) == COUNT - 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"baseline": Elsewhere(version="2")}, "baseline version was '1', now it is '2'"),
        ({"limit": 39}, "images was '40', now it is '39'"),
        ({"attributes": {"detections_sha256": "ab"}}, "detections sha256 was not given, now it is 'ab'"),
        ({"baseline": ndec_baselines.load("thumbnail")}, "device was 'cuda', now it is 'cpu'"),
    ],
)
def test_finished_rows_of_another_run_are_neither_mixed_in_nor_lost(
    pictures: Path, tmp_path: Path, whole: str, change: dict[str, Any], message: str
) -> None:
    out = tmp_path / "all.h5"
    stopped_after(18, pictures, out)
    options = dict(change)
    with pytest.raises(UsageError, match=message) as told:
        describe(options.pop("baseline", Elsewhere()), open_images(pictures), out, **options)
    assert "remove that folder to begin anew" in str(told.value)
    baseline = Elsewhere()
    assert describe(baseline, open_images(pictures), out) == whole
    assert baseline.images <= COUNT - 3 - 18


def test_rows_of_other_versions_of_the_libraries_are_not_taken_up(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "all.h5"
    stopped_after(18, pictures, out)
    monkeypatch.setattr(extract, "libraries", lambda _: {"numpy": "0.1", "pillow": "0.2"})
    with pytest.raises(UsageError, match=r"version of numpy was '.*', now it is '0\.1'"):
        describe(Elsewhere(), open_images(pictures), out)


def test_other_pictures_of_the_same_names_are_noticed(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "all.h5"
    stopped_after(18, pictures, out)
    others = shutil.copytree(pictures, tmp_path / "others")
    Image.new("RGB", (20, 20), "red").save(others / "P000.png")
    with pytest.raises(UsageError, match="the file of image P000 is not what it was then"):
        describe(Elsewhere(), open_images(others), out)


def test_a_folder_without_finished_rows_is_begun_anew(pictures: Path, tmp_path: Path, whole: str) -> None:
    out = tmp_path / "all.h5"
    folder = tmp_path / "all.h5.partial"
    folder.mkdir()
    (folder / finished_rows.HEAD).write_text('{"baseline": "another"}')
    assert describe(Elsewhere(), open_images(pictures), out) == whole
    folder.mkdir()
    (folder / finished_rows.HEAD).write_bytes(b'{"baseline": "cut sho')
    (folder / finished_rows.ROWS).write_bytes(bytes(4000))
    told: list[str] = []
    assert describe(Elsewhere(), open_images(pictures), out, tell=told.append) == whole
    assert any("beginning anew" in text for text in told)


def test_other_peoples_files_in_that_folder_stay(pictures: Path, tmp_path: Path, whole: str) -> None:
    folder = tmp_path / "all.h5.partial"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    assert describe(Elsewhere(), open_images(pictures), tmp_path / "all.h5") == whole
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]


def test_a_second_run_into_the_same_file_is_refused(pictures: Path, tmp_path: Path, whole: str) -> None:
    out = tmp_path / "all.h5"
    at_work, go_on, digests = threading.Event(), threading.Event(), list[str]()

    def wait(done: int) -> None:
        if done >= 9:
            at_work.set()
            go_on.wait(30)

    first = threading.Thread(target=lambda: digests.append(describe(Elsewhere(wait), open_images(pictures), out)))
    first.start()
    try:
        assert at_work.wait(30)
        # Another process: the lock is that of the operating system.
        code = "from ndec_bench.cli import main; main()"
        second = subprocess.run(
            [sys.executable, "-c", code, "describe", "thumbnail", "--images", str(pictures), "--out", str(out)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == DataError.exit_code
        assert "another process is describing into it" in second.stderr
    finally:
        go_on.set()
        first.join()
    assert digests == [whole]


def test_a_picture_repaired_in_between_is_described(pictures: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(pictures, tmp_path / "pictures")
    out = tmp_path / "all.h5"
    stopped_after(27, folder, out)
    Image.open(folder / "P000.png").crop((0, 0, 10, 10)).save(folder / "P020.png")
    digest = describe(Elsewhere(), open_images(folder), out)
    assert digest == describe(Elsewhere(), open_images(folder), tmp_path / "fresh.h5")
    with open_descriptors(out) as file:
        assert file.invalid_ids == {"P007", "P021"}


def test_without_keep_going_a_broken_picture_on_record_ends_the_run(pictures: Path, tmp_path: Path, whole: str) -> None:
    out = tmp_path / "all.h5"
    stopped_after(18, pictures, out)
    with pytest.raises(DataError, match=r"P007\.png.*--keep-going; the \d+ images that are finished are kept"):
        describe(Elsewhere(), open_images(pictures), out, keep_going=False)
    assert describe(Elsewhere(), open_images(pictures), out) == whole


def test_a_run_that_ends_at_a_broken_picture_keeps_what_it_has(pictures: Path, tmp_path: Path, whole: str) -> None:
    out = tmp_path / "all.h5"
    with pytest.raises(DataError, match=r"P007\.png: no readable image .* the 6 images that are finished are kept"):
        describe(Elsewhere(), open_images(pictures), out, keep_going=False)
    assert not out.exists()
    baseline = Elsewhere()
    assert describe(baseline, open_images(pictures), out) == whole
    assert baseline.images == COUNT - 3 - 6


def test_a_full_disk_ends_the_run_and_costs_nothing(
    pictures: Path, tmp_path: Path, whole: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, left = tmp_path / "all.h5", [3]
    inner = finished_rows._as_text

    def full(line: Any) -> bytes:  # noqa: ANN401
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return inner(line)

    monkeypatch.setattr(finished_rows, "_as_text", full)
    with pytest.raises(DataError, match=r"all\.h5\.partial: writing failed \(No space left on device\); free disk"):
        describe(Elsewhere(), open_images(pictures), out)
    monkeypatch.undo()
    assert describe(Elsewhere(), open_images(pictures), out) == whole


def test_a_file_that_comes_and_goes_is_no_broken_picture(pictures: Path, tmp_path: Path) -> None:
    gone = shutil.copytree(pictures, tmp_path / "pictures")
    source = open_images(gone)
    (gone / "P011.png").unlink()
    with pytest.raises(NdecBenchError, match=r"P011\.png: missing"):
        describe(Elsewhere(), source, tmp_path / "all.h5", keep_going=True)
