import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from ndec_bench.atomic import check_writable, replacing, write_bytes, write_text
from ndec_bench.descriptors import Descriptors, write_descriptors
from ndec_bench.errors import DataError


def test_a_failing_block_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "result.json"
    write_text(target, "old")

    def stop_half_way() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stop_half_way()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_folders_are_made_and_line_ends_kept(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b.txt", "x\ny\n")
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"x\ny\n"


def test_files_are_readable_as_the_umask_allows(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("")
    write_text(tmp_path / "ours", "")
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_an_unusable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/x: cannot be written"):
        write_text(tmp_path / "file" / "x", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text("old")

    def write_to_a_full_disk() -> None:
        with replacing(tmp_path / "result.json"), Path("/dev/full").open("wb", buffering=0) as full:
            full.write(b"x")

    with pytest.raises(DataError, match=r"result.json: writing failed \(No space left on device\); free disk space"):
        write_to_a_full_disk()
    assert (tmp_path / "result.json").read_text() == "old"


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_one_and_its_file_is_written(tmp_path: Path, *, exists: bool) -> None:
    (tmp_path / "there").mkdir()
    real, link = tmp_path / "there" / "real.json", tmp_path / "link.json"
    if exists:
        real.write_text("old")
    link.symlink_to(Path("there") / "real.json")
    check_writable(link)
    write_text(link, "new")
    assert (link.is_symlink(), real.read_text()) == (True, "new")
    assert [path.name for path in tmp_path.rglob("*.part")] == []


def test_a_circle_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(DataError, match="a: cannot be written"):
        check_writable(tmp_path / "a")


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    check_writable(pipe)
    writer = threading.Thread(target=write_bytes, args=(pipe, b"content"))
    writer.start()
    assert pipe.read_bytes() == b"content"
    writer.join(60)
    assert pipe.is_fifo()
    with pytest.raises(DataError, match="is not a regular file"):
        check_writable(pipe, regular=True)


@pytest.mark.parametrize(("minor", "allowed"), [(3, True), (7, False), (5, False)])
def test_the_null_device_is_written_to_and_others_are_refused(tmp_path: Path, minor: int, *, allowed: bool) -> None:
    node = tmp_path / "node"
    try:
        os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
    except PermissionError:
        pytest.skip("only root can make a device")
    before = node.stat()
    if allowed:
        check_writable(node)
        write_text(node, "gone")
    else:
        for write in (check_writable, lambda path: write_text(path, "lost")):
            with pytest.raises(DataError, match="is a device or a socket; give the name of a file"):
                write(node)
    assert (node.stat().st_ino, node.stat().st_rdev) == (before.st_ino, before.st_rdev)
    assert list(tmp_path.iterdir()) == [node]


def test_standard_output_is_written_to_in_order(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from ndec_bench.atomic import write_text\n"
        "print('before'); write_text(Path('/dev/stdout'), 'content\\n'); print('after')"
    )
    with (tmp_path / "out").open("w") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    assert (tmp_path / "out").read_text() == "before\ncontent\nafter\n"


def test_left_overs_of_a_killed_run_are_removed_by_the_next(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys; from ndec_bench.atomic import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as path: path.write_text('half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "killed.json"], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    with replacing(tmp_path / "mine.json") as at_work:
        at_work.write_text("mine")
        subprocess.run([sys.executable, "-c", code.replace(", 9", ", 0"), tmp_path / "next.json"], check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.json", "next.json"]


@pytest.mark.parametrize("missing", [1, 100, 2_000, 20_000])
def test_a_disk_that_fills_while_hdf5_closes_is_one_clear_error(tmp_path: Path, missing: int) -> None:
    resource = pytest.importorskip("resource")
    ids = tuple(f"Q{i:04d}" for i in range(200))
    vectors = Descriptors(ids, np.random.default_rng(0).normal(size=(200, 64)).astype(np.float32))
    path = tmp_path / "a.h5"
    write_descriptors(path, vectors, {})
    size = path.stat().st_size
    path.write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - missing, before[1]))
    try:
        with pytest.raises(DataError, match=r"a.h5: writing failed \(File too large\); free disk space"):
            write_descriptors(path, vectors, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path.name for path in tmp_path.iterdir()] == ["a.h5"]
    assert path.read_text() == "old"
