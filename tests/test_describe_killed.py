"""Describing that is killed, torn or damaged goes on and ends with the same bytes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
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
from ndec_bench.resume import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ndec_baselines.base import Batch, ModelInput
    from ndec_bench.data.images import ImageSource

COUNT = 40
KILLED_COUNT = 200
KILLS = 20

# Real command lines, each in a process of its own, with a baseline that takes its time and writes what it has every 20
# milliseconds. Processes are forked off one that has imported everything: to start from nothing takes a second.
SERVER = """
import json, os, sys, time
from ndec_baselines.describing import finished_rows
from ndec_baselines.methods.thumbnail import Thumbnail
from ndec_bench.cli import run

described = Thumbnail.describe
def slowly(self, batch):
    time.sleep(0.01 * len(batch))
    return described(self, batch)
Thumbnail.describe = slowly
finished_rows.SECONDS_PER_PART = 0.02
for line in sys.stdin:
    arguments, screen, forked = json.loads(line)
    process = os.fork() if forked else 0
    if process == 0:
        sys.stdout = sys.stderr = open(screen, "w")
        code = run(arguments)
        sys.stdout.close()
        sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
        if forked:
            os._exit(code)
    print(process, flush=True)
    print(os.waitpid(process, 0)[1] if forked else code, flush=True)
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
def every_batch_is_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finished_rows, "SECONDS_PER_PART", 0.0)


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
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and signals")
def test_twenty_kills_end_with_the_same_bytes(tmp_path: Path) -> None:
    folder = draw(tmp_path / "pictures", KILLED_COUNT)
    (folder / "P150.png").write_bytes((folder / "P150.png").read_bytes()[:200])
    undisturbed, out, screen = tmp_path / "undisturbed.h5", tmp_path / "all.h5", tmp_path / "screen"
    command = ["describe", "thumbnail", "--images", str(folder), "--keep-going", "--batch-size", "4", "--out"]
    moments = random.Random(20)  # noqa: S311 -- moments for a test
    partial, reached = out.with_name("all.h5.partial"), list[int]()
    with server() as ask:
        ask([*command, str(undisturbed)], screen, forked=False)
        assert undisturbed.is_file(), screen.read_text()
        for number in range(KILLS):
            before = parts_in(partial)
            process = ask([*command, str(out), "--workers", str(1 + number % 3)], screen, forked=True)
            # From before the first part of this run to a few parts after it.
            while parts_in(partial) == before and not out.exists() and moments.random() > 0.002:
                time.sleep(0.005)
            time.sleep(moments.uniform(0, 0.08))
            os.kill(process.id, signal.SIGKILL)
            process.wait()
            reached.append(parts_in(partial))
            if out.exists():
                break
        assert sum(count > 0 for count in reached) >= 5, "no run got so far as to be worth killing"
        assert ask([*command, str(out)], screen, forked=True).wait() == 0
    assert "going on after" in screen.read_text()
    assert out.read_bytes() == undisturbed.read_bytes()
    report = read_report(out)
    assert report is not None
    assert report.sha256 == sha256_of_file(out)
    assert report.runs > 1
    assert report.images == KILLED_COUNT - 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "all.h5",
        "all.h5.json",
        "pictures",
        "screen",
        "undisturbed.h5",
        "undisturbed.h5.json",
    ]


class Forked:
    """A command at work; ``wait`` returns its status once it has ended."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        assert server.stdout is not None
        self._answers = server.stdout
        self.id = int(self._answers.readline())

    def wait(self) -> int:
        return int(self._answers.readline())


@contextmanager
def server() -> Iterator[Callable[..., Forked]]:
    """Yield what runs a command in a process that can be killed, or in the server itself."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},  # no thread is lost in a fork
    )

    def ask(arguments: list[str], screen: Path, *, forked: bool) -> Forked:
        assert process.stdin is not None
        process.stdin.write(json.dumps([arguments, str(screen), forked]) + "\n")
        process.stdin.flush()
        answer = Forked(process)
        if not forked:
            assert answer.wait() == 0, screen.read_text()
        return answer

    try:
        yield ask
    finally:
        process.communicate()


def parts_in(folder: Path) -> int:
    """Return how many parts the manifest lists."""
    try:
        return len(json.loads((folder / MANIFEST).read_bytes())["parts"])
    except FileNotFoundError:
        return 0


def test_whatever_a_kill_leaves_is_gone_on_from(
    pictures: Path, tmp_path: Path, whole: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is copied before and after every step that changes it; a run that finds such a copy ends the same."""
    work, states, copies = tmp_path / "work", set[tuple[Any, ...]](), list[Path]()
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
        state = tuple(sorted((str(path), path.stat().st_size) for path in work.rglob("*") if path.is_file()))
        if state not in states:
            states.add(state)
            copies.append(tmp_path / f"copy{len(copies):03}")
            shutil.copytree(work, copies[-1])
            for left in copies[-1].glob(f".*-{os.getpid()}-*.part"):  # of a process that is gone, as after a kill
                left.rename(left.with_name(left.name.replace(f"-{os.getpid()}-", "-4194304-")))

    photographed(extract, "write_descriptors")
    photographed(Path, "replace")
    photographed(Path, "unlink")
    assert describe(Elsewhere(), open_images(pictures), work / "all.h5", batch_size=5) == whole
    monkeypatch.undo()
    assert len(copies) > 40
    kinds = set()
    for copy in copies:
        kinds.add(tuple(sorted({path.name[:8] for path in copy.rglob("*")})))
        assert describe(Elsewhere(), open_images(pictures), copy / "all.h5") == whole
        assert sorted(path.name for path in copy.iterdir()) == ["all.h5", "all.h5.json"]
    assert len(kinds) >= 6


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"", lambda content: content[::-1]])
def test_a_damaged_part_alone_is_described_again(
    pictures: Path, tmp_path: Path, whole: str, damage: Callable[[bytes], bytes]
) -> None:
    out, told = tmp_path / "all.h5", list[str]()
    stopped_after(30, pictures, out)
    second = sorted(tmp_path.glob("all.h5.partial/part-*"))[1]
    second.write_bytes(damage(second.read_bytes()))
    baseline = Elsewhere()
    assert describe(baseline, open_images(pictures), out, tell=told.append) == whole
    assert baseline.images == 3 + 7
    assert any("1 of 11 finished parts" in text for text in told)


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
    assert "remove that folder to begin again" in str(told.value)
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


def test_a_folder_without_finished_rows_is_begun_again(pictures: Path, tmp_path: Path, whole: str) -> None:
    out = tmp_path / "all.h5"
    folder = tmp_path / "all.h5.partial"
    folder.mkdir()
    (folder / MANIFEST).write_text('{"baseline": "another"}')
    assert describe(Elsewhere(), open_images(pictures), out) == whole
    folder.mkdir()
    (folder / MANIFEST).write_bytes(b'{"baseline": "cut sho')
    (folder / "part-000000000-000000003.npz").write_bytes(bytes(4000))
    told: list[str] = []
    assert describe(Elsewhere(), open_images(pictures), out, tell=told.append) == whole
    assert any("beginning again" in text for text in told)


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
            go_on.wait(60)

    first = threading.Thread(target=lambda: digests.append(describe(Elsewhere(wait), open_images(pictures), out)))
    first.start()
    try:
        assert at_work.wait(60)
        # Another process: the lock is that of the operating system.
        code = "from ndec_bench.cli import main; main()"
        second = subprocess.run(
            [sys.executable, "-c", code, "describe", "thumbnail", "--images", str(pictures), "--out", str(out)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert second.returncode == DataError.exit_code
        assert "another process is at work there" in second.stderr
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


@pytest.mark.parametrize("failing", ["part-", MANIFEST])
def test_a_full_disk_ends_the_run_and_costs_nothing(
    pictures: Path, tmp_path: Path, whole: str, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    out, left = tmp_path / "all.h5", [4]
    inner = Path.replace

    def full(path: Path, target: Path) -> Path:
        left[0] -= target.name.startswith(failing)
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return inner(path, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DataError, match=rf"{failing}.*: writing failed \(No space left on device\); free disk"):
        describe(Elsewhere(), open_images(pictures), out)
    monkeypatch.undo()
    baseline = Elsewhere()
    assert describe(baseline, open_images(pictures), out) == whole
    assert baseline.images <= COUNT - 3 - 7


def test_a_file_that_comes_and_goes_is_no_broken_picture(pictures: Path, tmp_path: Path) -> None:
    gone = shutil.copytree(pictures, tmp_path / "pictures")
    source = open_images(gone)
    (gone / "P011.png").unlink()
    with pytest.raises(NdecBenchError, match=r"P011\.png: missing"):
        describe(Elsewhere(), source, tmp_path / "all.h5", keep_going=True)
