import stat
from pathlib import Path

import pytest

from ndec_bench.atomic import replacing, write_text
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
