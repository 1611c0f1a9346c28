"""The folder of the site: replaced as a whole, and nothing of anybody else is lost."""

from __future__ import annotations

import errno
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ndec_bench.errors import DataError
from ndec_bench.site import build
from ndec_bench.site.output import replacing_folder

if TYPE_CHECKING:
    from tests.site.conftest import Folders

FOREIGN = {
    "CNAME": "bench.example.org",
    ".git/objects/ab/cd": "object",
    "docs/index.html": "documentation",
    "s/one/notes.txt": "next to a page of ours",
    "s/two/more/notes.txt": "in a folder that goes",
    ".ndec-bench-sites": "a name much like ours",
}


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def put_foreign(out: Path) -> None:
    for name, text in FOREIGN.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text)
    (out / ".git/refs/tags").mkdir(parents=True)
    (out / ".git/hook").symlink_to("nowhere")
    (out / "docs/index.html").chmod(0o755)


def check_foreign(out: Path) -> None:
    assert {name: (out / name).read_text() for name in FOREIGN} == FOREIGN
    assert (out / ".git/refs/tags").is_dir()  # git is lost without its empty folders
    assert (out / ".git/hook").readlink() == Path("nowhere")
    assert (out / "docs/index.html").stat().st_mode & 0o777 == 0o755


def check_alone(out: Path) -> None:
    """Check that no build left anything next to the site."""
    assert not [path for path in out.parent.iterdir() if path.name.startswith(".site")]


def test_files_that_are_not_ours_stay_and_ours_go(folders: Folders, tmp_path: Path) -> None:
    for name in ("one", "two"):
        folders.put(name)
    put_foreign(folders.build())
    for name in ("one", "two"):
        (folders.results / f"ndec-1/{name}.json").unlink()
    for _ in range(2):
        folders.build()
        check_foreign(folders.out)
        assert sorted(path.name for path in folders.out.glob("s/*/*")) == ["more", "notes.txt"]
        assert not list(folders.out.glob("data/v1/results/*"))
    build(folders.results, tmp_path / "fresh", submissions=folders.submissions)
    fresh, found = files(tmp_path / "fresh"), files(folders.out)
    assert {name: found[name] for name in fresh} == fresh
    assert set(found) - set(fresh) == set(FOREIGN)
    check_alone(folders.out)


@pytest.mark.parametrize("name", ["index.html/mine.txt", "s/one", "s/one/index.html", "feed.atom"])
def test_a_file_in_the_place_of_a_page_is_refused(folders: Folders, name: str) -> None:
    out = folders.build()
    foreign = out / name
    for path in (foreign, *foreign.parents):
        if path.is_file() and path.is_relative_to(out):
            path.unlink()
    foreign.parent.mkdir(parents=True, exist_ok=True)
    foreign.write_text("mine")
    marker = out / ".ndec-bench-site"
    marker.write_text(marker.read_text().replace("feed.atom\n", ""))
    before = files(out)
    folders.put("one")
    with pytest.raises(DataError, match="is in the place of a file of the site"):
        folders.build()
    assert files(out) == before
    check_alone(out)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("site/precious.txt", "precious", "is not a site of ndec-bench"),
        ("site/.ndec-bench-site", "Built by ndec-bench site, which replaces this folder.", "does not list the files"),
        ("site/.ndec-bench-site", "", "does not list the files"),
        ("site", "precious", "is not a folder"),
    ],
)
def test_what_is_not_a_site_is_left_alone(folders: Folders, name: str, text: str, said: str) -> None:
    path = folders.out.parent / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        folders.build()
    assert path.read_text() == text


def test_links_in_a_circle_are_an_error(folders: Folders) -> None:
    folders.out.symlink_to(folders.out)
    with pytest.raises(DataError, match="cannot be followed"):
        folders.build()


@pytest.mark.parametrize("failing", ["block", "second move"])
def test_a_failed_build_leaves_the_old_site(folders: Folders, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    put_foreign(folders.build())
    before = files(folders.out)
    folders.put("one")
    rename = Path.rename

    def refusing(path: Path, target: Path) -> Path:
        if path.name.endswith("-new"):
            raise PermissionError(errno.EACCES, "not now")
        return rename(path, target)

    if failing == "block":
        monkeypatch.setattr("ndec_bench.site.exports.results_csv", lambda _: 1 / 0)
    else:
        monkeypatch.setattr(Path, "rename", refusing)
    with pytest.raises(ZeroDivisionError if failing == "block" else DataError):
        folders.build()
    assert files(folders.out) == before
    check_foreign(folders.out)
    check_alone(folders.out)


@pytest.mark.parametrize("killed", ["before the moves", "between the moves", "after the moves"])
@pytest.mark.parametrize("made", [False, True])
def test_a_killed_build_is_put_right_by_the_next(folders: Folders, killed: str, made: bool) -> None:
    put_foreign(folders.build())
    fresh, old = (folders.out.with_name(f".site.ndec-bench-{word}") for word in ("new", "old"))
    if killed != "after the moves":
        shutil.copytree(folders.out, fresh, symlinks=True)
    if killed == "between the moves":
        folders.out.rename(old)
        if made:  # as scripts do before they build
            folders.out.mkdir()
    elif killed == "after the moves":
        shutil.copytree(folders.out, old, symlinks=True)
    folders.put("one")
    folders.build()
    check_foreign(folders.out)
    assert (folders.out / "s/one/index.html").is_file()
    check_alone(folders.out)


def test_a_moved_site_is_not_given_up_for_a_folder_that_is_not_ours(folders: Folders) -> None:
    put_foreign(folders.build())
    old = folders.out.with_name(".site.ndec-bench-old")
    folders.out.rename(old)
    folders.out.mkdir()
    (folders.out / "precious.txt").touch()
    with pytest.raises(DataError, match="is not a site"):
        folders.build()
    check_foreign(old)


def test_builds_at_the_same_time_are_no_harm(folders: Folders, tmp_path: Path) -> None:
    put_foreign(folders.build())

    def write(word: str) -> None:
        with replacing_folder(folders.out) as fresh:
            for number in range(50):
                (fresh / f"{number}.html").write_text(word)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, "abcdefgh"))
    check_foreign(folders.out)
    assert len({(folders.out / f"{number}.html").read_text() for number in range(50)}) == 1
    check_alone(folders.out)


def test_a_site_inside_the_folder_of_results_is_not_read_again(folders: Folders) -> None:
    path = folders.put("one")
    left = folders.results / ".site.ndec-bench-new/data/v1/results"
    left.mkdir(parents=True)
    shutil.copy(path, left)  # a build was killed
    out = folders.results / "site"
    build(folders.results, out)
    first = files(out)
    build(folders.results, out)
    assert files(out) == first
    assert [page.parent.name for page in out.glob("s/*/*")] == ["one"]


def test_a_site_never_replaces_the_results_it_is_made_from(folders: Folders) -> None:
    folders.build()
    folders.results = folders.out / "results"
    path = folders.put("one")
    with pytest.raises(DataError, match="lies in the folder of the site"):
        folders.build()
    assert path.is_file()
