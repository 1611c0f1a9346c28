"""Work in parts: what was finished is taken up, what is damaged is made again, another recipe is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ndec_bench.errors import DataError, UsageError
from ndec_bench.resume import LOCK, MANIFEST, PREFIX, digest, keyed, parts_in, spread

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = {"method": "squares", "ids_sha256": "ab" * 32}


def squares(folder: Path, names: list[str], recipe: dict[str, str] = RECIPE, inputs: str = "") -> tuple[int, str]:
    """Make a part for each name; return how many were made now, and the note."""
    made = 0
    with parts_in(folder, recipe) as parts:
        for name in names:
            if not parts.has(name, inputs):
                with parts.adding(name, inputs) as path:
                    path.write_text(str(int(name) ** 2))
                made += 1
        assert list(parts) == sorted(names)
        assert [parts.path(name).read_text() for name in parts] == [str(int(name) ** 2) for name in sorted(names)]
        return made, parts.note


def test_finished_parts_are_taken_up(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    assert squares(folder, ["1", "2"]) == (2, "")
    assert squares(folder, ["1", "2", "3"]) == (1, "")
    assert squares(folder, ["1", "2", "3"], inputs="cd") == (3, "")  # made from other inputs
    manifest = json.loads((folder / MANIFEST).read_bytes())
    assert manifest["recipe"] == {"format": "ndec-parts-1", **RECIPE}
    assert set(manifest["parts"]) == {"1", "2", "3"}


@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_a_damaged_part_alone_is_made_again(tmp_path: Path, damage: str) -> None:
    squares(tmp_path / "work", ["1", "2", "3"])
    part = tmp_path / "work" / f"{PREFIX}2"
    if damage == "gone":
        part.unlink()
    else:
        part.write_text("5" if damage == "changed" else "")
    made, note = squares(tmp_path / "work", ["1", "2", "3"])
    assert made == 1
    assert "1 of 3 finished parts" in note


@pytest.mark.parametrize(
    "manifest", [b"", b"{", b"[]", b'{"recipe": 1}', b'{"recipe": {}, "parts": {"1": {}}}', b"\xff"]
)
def test_a_damaged_manifest_begins_again(tmp_path: Path, manifest: bytes) -> None:
    squares(tmp_path / "work", ["1", "2"])
    (tmp_path / "work" / MANIFEST).write_bytes(manifest)
    made, note = squares(tmp_path / "work", ["1", "2"])
    assert made == 2
    assert "holds nothing that could be used" in note


def test_parts_of_another_recipe_are_refused_and_kept(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    squares(folder, ["1", "2"])
    with pytest.raises(
        UsageError, match=r"holds 2 finished parts of another run: method was 'squares', now it is 'c"
    ) as e:
        squares(folder, ["1"], {**RECIPE, "method": "cubes", "ids_sha256": "cd" * 32})
    assert "run the former command again" in str(e.value)
    assert squares(folder, ["1", "2"]) == (0, "")


def test_left_overs_of_a_kill_are_removed_and_files_of_others_stay(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    squares(folder, ["1"])
    (folder / ".part-2.abc.part").write_text("half")
    (folder / f"{PREFIX}9").write_text("not listed")
    (folder / "mine.txt").write_text("mine")
    squares(folder, ["1"])
    assert sorted(path.name for path in folder.iterdir()) == [LOCK, MANIFEST, "mine.txt", f"{PREFIX}1"]


def test_a_block_that_fails_finishes_no_part(tmp_path: Path) -> None:
    def fail() -> None:
        with parts_in(tmp_path / "work", RECIPE) as parts, parts.adding("1") as path:
            path.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not (tmp_path / "work").exists()  # nothing was finished, so nothing is left


def test_two_processes_do_not_work_in_one_folder(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from ndec_bench.resume import parts_in\nwith parts_in(pathlib.Path(sys.argv[1]), {}): 0"
    )
    with parts_in(tmp_path, RECIPE):
        second = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
        )
    assert "another process is at work there" in second.stderr


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        squares(tmp_path / "file" / "work", ["1"])


def test_discarded_work_leaves_nothing(tmp_path: Path) -> None:
    with parts_in(tmp_path / "work", RECIPE) as parts:
        with parts.adding("1") as path:
            path.write_text("1")
        parts.discard()
    assert not (tmp_path / "work").exists()


def test_each_recipe_has_a_folder_of_its_own(tmp_path: Path) -> None:
    assert keyed(tmp_path, {"a": "1", "b": "2"}) == keyed(tmp_path, {"b": "2", "a": "1"})
    assert keyed(tmp_path, {"a": "1"}) != keyed(tmp_path, {"a": "2"})
    assert digest([1, "x"]) != digest(["1", "x"])


def test_work_is_spread_over_processes() -> None:
    assert list(spread(abs, [1, -2], 1)) == [(1, 1), (-2, 2)]
    assert sorted(spread(abs, [1, -2, 3], 2)) == [(-2, 2), (1, 1), (3, 3)]
