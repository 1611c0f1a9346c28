"""Every image decoded once: what a stopped run did is not done again, and the end is the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from small_archives import jpeg, zip_of

from ndec_bench.data.decoding import FOLDER, decode_all
from ndec_bench.data.images import open_images
from ndec_bench.data.layouts import Holding
from ndec_bench.errors import DataError
from ndec_bench.progress import silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

BLOCK = 1_000
IDS = tuple(f"Q{number:05d}" for number in range(2_500))
BROKEN = ("Q00007", "Q00999", "Q01000", "Q02499")


class Counting:
    """A source that keeps count of what is read of it."""

    def __init__(self, ids: Sequence[str] = IDS, broken: Iterable[str] = BROKEN, stop: str | None = None) -> None:
        self.ids = ids
        self.broken = frozenset(broken)
        self.stop = stop
        self.reads: list[str] = []
        self.threads: set[int] = set()

    def read(self, image_id: str) -> Image.Image:
        self.threads.add(threading.get_ident())
        if image_id == self.stop:
            raise KeyboardInterrupt
        self.reads.append(image_id)
        if image_id in self.broken:
            raise DataError(f"{image_id}: no readable image")
        return Image.new("RGB", (1, 1))

    def read_bytes(self, image_id: str) -> bytes:
        raise NotImplementedError


def decode(
    source: Counting, root: Path, *paths: Path, name: str = "disc21/dev-queries", jobs: int | None = 1
) -> dict[str, str]:
    holding = Holding("disc21", "dev-queries", "archives", paths) if paths else None
    return decode_all(source, root, name, holding, jobs=jobs, progress=silent)


def blocks(root: Path) -> list[int]:
    """Return the first rows of the blocks that the only manifest lists."""
    manifests = list((root / FOLDER).glob("*/manifest.json"))
    return [int(name[:8]) for path in manifests for name in json.loads(path.read_bytes())["parts"]]


FAILURES = {each: f"{each}: no readable image" for each in BROKEN}


def test_what_does_not_decode_is_told_with_its_reason(tmp_path: Path) -> None:
    source = Counting()
    assert decode(source, tmp_path) == FAILURES
    assert sorted(source.reads) == list(IDS)
    assert blocks(tmp_path) == [0, 1_000, 2_000]


@pytest.mark.parametrize("jobs", [1, 2, 5, None])
def test_any_number_of_threads_finds_the_same(tmp_path: Path, jobs: int | None) -> None:
    source = Counting()
    found = decode(source, tmp_path, jobs=jobs)
    assert list(found.items()) == list(FAILURES.items())
    assert sorted(source.reads) == list(IDS), "each is decoded once"
    assert 1 <= len(source.threads) <= (jobs or os.cpu_count() or 1)
    assert threading.get_ident() not in source.threads
    assert blocks(tmp_path) == [0, 1_000, 2_000]


def test_a_second_run_decodes_nothing_and_knows_the_broken(tmp_path: Path) -> None:
    decode(Counting(), tmp_path)
    second = Counting(broken=())
    assert decode(second, tmp_path) == FAILURES
    assert second.reads == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_goes_on_where_it_was_interrupted(tmp_path: Path, jobs: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        decode(Counting(stop="Q01500"), tmp_path, jobs=jobs)
    assert blocks(tmp_path) == [0]
    second = Counting()
    assert list(decode(second, tmp_path, jobs=jobs).items()) == list(FAILURES.items())
    assert sorted(second.reads) == list(IDS[BLOCK:])


def test_an_interrupt_stops_the_other_threads(tmp_path: Path) -> None:
    class Slow(Counting):
        def read(self, image_id: str) -> Image.Image:
            time.sleep(0 if image_id == self.stop else 0.02)
            return super().read(image_id)

    source = Slow(stop="Q00000")
    with pytest.raises(KeyboardInterrupt):
        decode(source, tmp_path, jobs=2)
    assert len(source.reads) < BLOCK // 2, "not all of its share"


def test_progress_counts_what_was_done_before(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        decode(Counting(stop="Q02000"), tmp_path)
    told: list[tuple[str, int, int]] = []
    decode_all(Counting(), tmp_path, "disc21/dev-queries", None, jobs=1, progress=lambda *step: told.append(step))
    stage = "decoding disc21/dev-queries"
    assert told == [(stage, 2_000, 2_500), (stage, 2_500, 2_500)]
    told.clear()
    decode_all(Counting(), tmp_path, "disc21/dev-queries", None, jobs=1, progress=lambda *step: told.append(step))
    assert told == [(stage, 2_500, 2_500)], "a stage ends even if nothing is left"


def test_a_damaged_block_alone_is_decoded_again(tmp_path: Path) -> None:
    decode(Counting(), tmp_path)
    (part,) = (tmp_path / FOLDER).glob("*/part-00000000.json")
    part.write_bytes(b"{}")
    second = Counting()
    assert list(decode(second, tmp_path).items()) == list(FAILURES.items()), "in the order of the ids"
    assert sorted(second.reads) == list(IDS[:BLOCK])


def test_what_was_decoded_is_of_these_files_alone(tmp_path: Path) -> None:
    """Other files, the same written anew, another set, other ids: all is decoded."""
    first, second = tmp_path / "a.zip", tmp_path / "b.zip"
    first.write_bytes(b"one")
    second.write_bytes(b"two")

    def decoded(*paths: Path, ids: Sequence[str] = IDS, name: str = "disc21/dev-queries") -> bool:
        """Return whether all images were decoded; else none was."""
        source = Counting(ids)
        assert decode(source, tmp_path, *paths, name=name) == FAILURES
        assert len(source.reads) in {0, len(ids)}
        return len(source.reads) > 0

    assert decoded(first)
    assert not decoded(first)
    os.utime(second, ns=(0, first.stat().st_mtime_ns))
    assert decoded(second), "of the same size and time"
    assert decoded(first, second)
    assert decoded(first, name="disc21/final-queries")
    assert decoded(first, ids=(*IDS[:1_200], "Q01199a", *IDS[1_201:])), "as many, with the same first and last"
    assert not decoded(first)
    os.utime(first, ns=(0, 0))
    assert decoded(first)
    assert not decoded(first)
    first.write_bytes(b"longer")
    os.utime(first, ns=(0, 0))
    assert decoded(first)
    assert not decoded(second), "what is known of the other files is kept"


def test_a_picture_written_anew_in_a_folder_is_decoded_again(tmp_path: Path) -> None:
    """The folder's own time does not tell of it: it is that of files that come and go."""
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    (folder / "Q00000.jpg").write_bytes(jpeg(1))
    path = folder / "deep" / "Q00001.jpg"
    path.write_bytes(b"")
    holding = Holding("disc21", "dev-queries", "folder", (folder,))

    def broken() -> list[str]:
        return list(decode_all(open_images(folder), tmp_path, "x", holding, jobs=1, progress=silent))

    assert broken() == ["Q00001"]
    path.write_bytes(jpeg(2))
    assert broken() == []
    path.write_bytes(jpeg(2)[:-100])
    assert broken() == ["Q00001"]
    source = open_images(folder)
    path.unlink()
    path.symlink_to("nowhere.jpg")
    assert list(decode_all(source, tmp_path, "x", holding, jobs=1, progress=silent)) == ["Q00001"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_bytes(b"")
    with pytest.raises(DataError, match="cannot be written"):
        decode(Counting(), tmp_path)


# A real process, killed.

MANY = 5_000


def big(root: Path) -> None:
    """Write an archive whose decoding takes seconds, with broken images in the first and the last block."""
    broken = {f"Q{number:05d}" for number in (3, 999, 4_000, 4_999)}
    pictures = [jpeg(seed, (480, 360)) for seed in range(8)]
    root.joinpath("disc21").mkdir(parents=True)
    (root / "disc21" / "dev_queries.zip").write_bytes(
        zip_of(
            (f"images/queries/{name}.jpg", b"torn" if name in broken else pictures[number % 8])
            for number, name in enumerate(f"Q{n:05d}" for n in range(MANY))
        )
    )


def start(root: Path) -> subprocess.Popen[str]:
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "  # a background job ignores it
    code += "from ndec_bench.cli import main; main()"
    command = ("data", "verify", "--root", str(root), "--part", "dev-queries", "--jobs", "1", "--json")
    return subprocess.Popen(
        [sys.executable, "-c", code, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str], root: Path, blocks_done: int, how: signal.Signals) -> tuple[str, str]:
    """Send ``how`` to ``process`` once that many blocks are decoded; return what it printed."""
    while process.poll() is None and len(blocks(root)) < blocks_done:
        time.sleep(0.005)
    process.send_signal(how)
    try:
        return process.communicate(timeout=60)
    finally:
        process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_process_that_is_stopped_and_killed_ends_with_the_same_result(tmp_path: Path) -> None:
    root = tmp_path / "root"
    big(root)
    process = start(root)
    out, err = end(process, root, 1, signal.SIGINT)
    assert process.returncode == 6, err or "the archive was too small: it ended before"
    error = json.loads(out)["error"]
    assert (error["message"], error["exit_code"]) == ("stopped; what was decoded is kept", 6)
    assert error["hint"] == "the same command goes on from there"

    process = start(root)
    end(process, root, 2, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "the archive was too small: it ended before"
    assert 2 <= len(blocks(root)) < 5

    process = start(root)
    out, err = process.communicate()
    assert process.returncode == 4, err
    decoded = json.loads(out)["checks"][-1]
    assert decoded["name"] == "disc21 dev-queries: decoded"
    assert decoded["found"].startswith("4 of 5,000 do not: Q00003, Q00999, Q04000, Q04999 (")
    assert blocks(root) == [0, 1_000, 2_000, 3_000, 4_000], "no block was decoded twice"
