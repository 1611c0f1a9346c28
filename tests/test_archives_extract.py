"""Archives unpacked: what is written where, kept, refused, and left after a stop."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from small_archives import disc21_images, negative_pairs, split, stray_files, tar_of, write_pieces, zip_of

from ndec_bench.archives import extract as module
from ndec_bench.archives.extract import extract
from ndec_bench.errors import DataError, InterruptedRun

if TYPE_CHECKING:
    from pathlib import Path

REFERENCES = disc21_images("R", range(12))
PAIRS = negative_pairs([(1, 613143), (2, 7), (3, 9)])


def _tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _images(members: list[tuple[str, bytes]]) -> dict[str, bytes]:
    return {name: content for name, content in members if name.endswith(".jpg")}


@pytest.mark.parametrize("deflated", [False, True])
def test_the_images_of_a_zip_are_unpacked_under_their_paths(tmp_path: Path, deflated: bool) -> None:
    path = tmp_path / "references_0.zip"
    path.write_bytes(zip_of([*REFERENCES, *stray_files("images/")], deflated=deflated))
    told: list[tuple[str, int, int]] = []
    assert extract([path], tmp_path / "out", progress=lambda *call: told.append(call)) == 12
    assert _tree(tmp_path / "out") == _images(REFERENCES)
    total = sum(len(content) for _, content in REFERENCES)
    assert told[-1] == ("unpacking references_0.zip", total, total)


def test_the_pieces_of_a_tar_are_unpacked_without_being_joined(tmp_path: Path) -> None:
    paths = write_pieces(tmp_path, "negative_pair.tar", split(tar_of(PAIRS), [1000, 2222]))
    assert extract(paths, tmp_path / "out") == 6
    assert _tree(tmp_path / "out") == _images(PAIRS)


def test_members_are_selected_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar_of([*PAIRS, ("README.txt", b"text")]))
    assert extract([tmp_path / "a.tar"], tmp_path / "out", select=lambda name: name.startswith("R")) == 1
    assert _tree(tmp_path / "out") == {"README.txt": b"text"}


def test_a_stopped_run_leaves_whole_files_and_the_next_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(zip_of(REFERENCES))
    stop, out = threading.Event(), tmp_path / "out"
    limit = sum(len(content) for _, content in REFERENCES[:5])

    def progress(stage: str, done: int, _: int, /) -> None:
        if stage.startswith("unpacking") and done >= limit:
            stop.set()

    with pytest.raises(InterruptedRun, match="stopped"):
        extract([path], out, progress=progress, stop=stop)
    assert _tree(out) == dict(REFERENCES[:5])
    before = {name: (out / name).stat().st_mtime_ns for name in _tree(out)}
    assert extract([path], out) == 12
    assert _tree(out) == dict(REFERENCES)
    assert {name: (out / name).stat().st_mtime_ns for name in before} == before


def test_an_interruption_in_the_middle_of_a_file_leaves_no_half_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = tmp_path / "a.zip", tmp_path / "out"
    path.write_bytes(zip_of(REFERENCES))
    read = module.Archive.read

    def interrupted(archive: module.Archive, row: int) -> bytes:
        if row == 3:
            raise KeyboardInterrupt
        return read(archive, row)

    monkeypatch.setattr(module.Archive, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extract([path], out)
    monkeypatch.undo()
    assert _tree(out) == dict(REFERENCES[:3])
    # What a killed process leaves behind is written anew, whatever it is.
    half = out / "images/references/.R000003.jpg.part"
    half.symlink_to(tmp_path / "elsewhere")
    extract([path], out)
    assert _tree(out) == dict(REFERENCES)
    assert not (tmp_path / "elsewhere").exists()


def test_files_with_another_size_or_in_a_zip_another_checksum_are_written_anew(tmp_path: Path) -> None:
    name, content = REFERENCES[0]
    (tmp_path / "a.zip").write_bytes(zip_of(REFERENCES))
    (tmp_path / "a.tar").write_bytes(tar_of(REFERENCES))
    for archive, wrong in (("a.zip", content[:-1]), ("a.zip", content[:-1] + b"x"), ("a.tar", content[:-1])):
        out = tmp_path / "out"
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(wrong)
        extract([tmp_path / archive], out)
        assert _tree(out) == dict(REFERENCES)


def test_a_damaged_member_ends_the_run_and_what_was_there_stays(tmp_path: Path) -> None:
    content = bytearray(zip_of(REFERENCES))
    content[content.index(REFERENCES[4][1]) + 100] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match=r"R000004\.jpg.*CRC-32"):
        extract([tmp_path / "a.zip"], tmp_path / "out")
    assert _tree(tmp_path / "out") == dict(REFERENCES[:4])


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zip_of(REFERENCES))
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (out / "images").symlink_to(elsewhere)
    with pytest.raises(DataError, match=r"a link leads out of"):
        extract([tmp_path / "a.zip"], out)
    assert not _tree(elsewhere)
    # A link in the place of a file is replaced, what it points to stays.
    (out / "images").unlink()
    (out / "images/references").mkdir(parents=True)
    (elsewhere / "file").write_bytes(b"precious")
    (out / REFERENCES[0][0]).symlink_to(elsewhere / "file")
    extract([tmp_path / "a.zip"], out)
    assert _tree(out) == dict(REFERENCES)
    assert (elsewhere / "file").read_bytes() == b"precious"


@pytest.mark.parametrize("names", [("a/Q1.jpg", "A/q1.JPG"), ("\u00e9.jpg", "e\u0301.jpg")])
def test_names_that_some_file_systems_take_for_one_are_refused_before_anything_is_written(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    (tmp_path / "a.zip").write_bytes(zip_of([(name, b"x") for name in names]))
    with pytest.raises(DataError, match="the same name as"):
        extract([tmp_path / "a.zip"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_name_that_windows_would_take_for_something_else_is_refused_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.zip").write_bytes(zip_of([("a.txt:hidden.jpg", b"x")]))
    assert extract([tmp_path / "a.zip"], tmp_path / "out") == 1
    monkeypatch.setattr(module, "_ON_WINDOWS", True)
    with pytest.raises(DataError, match="Windows does not allow"):
        extract([tmp_path / "a.zip"], tmp_path / "again")


def test_a_file_where_a_folder_must_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zip_of(REFERENCES))
    (tmp_path / "out").write_bytes(b"a file")
    with pytest.raises(DataError, match=r"out/images/references/R000000\.jpg: writing failed"):
        extract([tmp_path / "a.zip"], tmp_path / "out")


def test_a_hostile_archive_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar_of([*PAIRS, ("../outside.jpg", b"x")]))
    with pytest.raises(DataError, match="leaves its folder"):
        extract([tmp_path / "a.tar"], tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


def test_an_index_with_a_hostile_name_does_not_lead_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a member is checked where it becomes a path, whoever listed it."""
    (tmp_path / "a.zip").write_bytes(zip_of([("a.jpg", b"x")]))
    opened = module.Archive([tmp_path / "a.zip"])
    opened.members.names[0] = "../outside.jpg"  # type: ignore[index]
    monkeypatch.setattr(module, "Archive", lambda *_, **__: opened)
    with pytest.raises(DataError, match="leaves its folder"):
        extract([tmp_path / "a.zip"], tmp_path / "out", select=lambda _: True)
    assert not (tmp_path / "outside.jpg").exists()
