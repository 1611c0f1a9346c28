"""The stored index of an archive: used when it fits, built anew when stale, damaged or made up."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from small_archives import disc21_images, negative_pairs, split, tar_of, write_pieces, zip_of

from ndec_bench.archives import index
from ndec_bench.archives.archive import Archive, pieces
from ndec_bench.archives.index import index_places
from ndec_bench.archives.joined import JoinedFile
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Told:
    """Counts how often an archive is walked: progress is told only then."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []

    def __call__(self, stage: str, done: int, total: int, /) -> None:
        self.calls.append((stage, done, total))

    @property
    def walks(self) -> int:
        return sum(done == 0 for _, done, _ in self.calls)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(index, "user_cache_path", lambda *_, **__: folder)
    return folder


@pytest.fixture
def references(tmp_path: Path) -> Path:
    path = tmp_path / "references_0.zip"
    path.write_bytes(zip_of(disc21_images("R", range(20))))
    return path


def _same(first: Archive, second: Archive) -> bool:
    return all(
        np.array_equal(getattr(first.members, name), getattr(second.members, name))
        for name in ("names", "offsets", "heads", "stored", "sizes", "methods", "kind", "whole", "crcs")
        if getattr(first.members, name) is not None
    )


def test_an_archive_is_indexed_once_and_its_index_lies_beside_it(references: Path, cache: Path) -> None:
    told = Told()
    with Archive([references], progress=told) as first, Archive([references], progress=told) as second:
        assert _same(first, second)
        assert second.read(3) == first.read(3)
    assert told.walks == 1
    assert told.calls[-1] == ("indexing references_0.zip", references.stat().st_size, references.stat().st_size)
    assert sorted(path.name for path in references.parent.iterdir()) == ["references_0.zip", "references_0.zip.index"]
    assert not list(cache.iterdir())


def test_the_index_of_a_tar_in_pieces_has_the_name_of_the_first(tmp_path: Path) -> None:
    content = tar_of(negative_pairs([(1, 613143), (2, 7)]))
    paths = write_pieces(tmp_path, "negative_pair.tar", split(content, [3000, 3000]))
    told = Told()
    for _ in range(2):
        with Archive(pieces(paths[0]), progress=told) as archive:
            assert len(archive.members) == 4
    assert told.walks == 1
    assert told.calls[0][0] == "indexing negative_pair.tar"
    assert (tmp_path / "negative_pair.tar.aa.index").is_file()


def test_the_same_archive_has_the_same_index(references: Path) -> None:
    place = index_places(JoinedFile([references]))[0]
    written = []
    for _ in range(2):
        Archive([references]).close()
        written.append(place.read_bytes())
        place.unlink()
    assert written[0] == written[1]


def test_where_the_folder_cannot_be_written_the_index_goes_to_the_cache(references: Path, cache: Path) -> None:
    beside, _ = index_places(JoinedFile([references]))
    beside.mkdir()  # nothing can take this name; the right to write is no obstacle where the tests are the superuser
    told = Told()
    for _ in range(2):
        Archive([references], progress=told).close()
    assert told.walks == 1
    assert [path.name for path in cache.rglob("*.index")] == ["references_0.zip.index"]


def test_without_any_place_for_an_index_the_archive_is_read_all_the_same(
    references: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_places(JoinedFile([references]))[0].mkdir()
    (cache / "file").write_bytes(b"")
    monkeypatch.setattr(index, "user_cache_path", lambda *_, **__: cache / "file")
    with Archive([references]) as archive:
        assert archive.read(0) == disc21_images("R", [0])[0][1]


def test_another_archive_under_the_name_is_indexed_anew(references: Path) -> None:
    Archive([references]).close()
    references.write_bytes(zip_of(disc21_images("R", range(5))))
    with Archive([references]) as archive:
        assert len(archive.members) == 5


def test_an_archive_written_again_with_the_same_size_is_indexed_anew(references: Path) -> None:
    told = Told()
    Archive([references], progress=told).close()
    state = references.stat()
    os.utime(references, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    Archive([references], progress=told).close()
    assert told.walks == 2


def test_a_further_piece_makes_the_index_stale(tmp_path: Path) -> None:
    content = tar_of(negative_pairs([(1, 613143), (2, 7), (3, 8)]))
    paths = write_pieces(tmp_path, "negative_pair.tar", split(content, [4000]))
    rest = paths[1].read_bytes()
    paths[1].unlink()
    with pytest.raises(DataError, match="cut short"):
        Archive(pieces(paths[0]))
    told = Told()
    with pytest.raises(DataError, match="cut short"):  # remembered, not walked again
        Archive(pieces(paths[0]), progress=told)
    with Archive(pieces(paths[0]), partial=True, progress=told) as archive:
        assert len(archive.members) == 2
    assert told.walks == 0
    paths[1].write_bytes(rest)
    with Archive(pieces(paths[0]), progress=told) as archive:
        assert len(archive.members) == 6
    assert told.walks == 1


# Indexes that nobody should believe


def _remade(content: bytes, change: Callable[[dict[str, Any], bytearray], object]) -> bytes:
    """Return an index with ``change`` made to its head and body and the digest set right again."""
    line, _, rest = content.partition(b"\n")
    head, body = json.loads(line), bytearray(rest)
    change(head, body)
    head["sha256"] = hashlib.sha256(body).hexdigest()
    return json.dumps(head).encode() + b"\n" + bytes(body)


def _number(place: int, value: int) -> Callable[[dict[str, Any], bytearray], object]:
    def change(_: dict[str, Any], body: bytearray) -> None:
        body[place : place + 8] = int(value).to_bytes(8, "little", signed=True)

    return change


ROWS = 20
BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "text": lambda _: b"no index\n" * 1000,
    "cut": lambda content: content[:-1],
    "longer": lambda content: content + b"\n",
    "one bit": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    "nested": lambda _: b"[" * 500_000,
    "no object": lambda _: b"[]\n",
    "other format": lambda content: content.replace(b"archive index 1", b"archive index 0"),
    "head alone": lambda content: content.partition(b"\n")[0],
    "kind": lambda content: _remade(content, lambda head, _: head.update(kind="rar")),
    "whole": lambda content: _remade(content, lambda head, _: head.update(whole=1)),
    "count": lambda content: _remade(content, lambda head, _: head.update(members=10**18)),
    "negative count": lambda content: _remade(content, lambda head, _: head.update(members=-1)),
    "count that is a text": lambda content: _remade(content, lambda head, _: head.update(members="x")),
    "fewer": lambda content: _remade(content, lambda head, _: head.update(members=ROWS - 1)),
    "no kind": lambda content: _remade(content, lambda head, _: head.pop("kind")),
    "names unsorted": lambda content: _remade(content, lambda _, body: body.__setitem__(slice(-10, -4), b"000000")),
    "names no utf-8": lambda content: _remade(content, lambda _, body: body.__setitem__(-10, 0xFF)),
    "negative offset": lambda content: _remade(content, _number(0, -1)),
    "offset outside": lambda content: _remade(content, _number(8, 10**9)),
    "head outside": lambda content: _remade(content, _number(8 * ROWS, 10**9)),
    "large head": lambda content: _remade(content, _number(8 * ROWS, 2**20 + 1)),
    "stored outside": lambda content: _remade(content, _number(8 * 2 * ROWS, 10**9)),
    "overflow": lambda content: _remade(content, _number(8 * 2 * ROWS, 2**63 - 1)),
    "size": lambda content: _remade(content, _number(8 * 3 * ROWS, 7)),
    "method": lambda content: _remade(content, lambda _, body: body.__setitem__(8 * 4 * ROWS, 14)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_damaged_or_impossible_index_is_built_anew(references: Path, name: str) -> None:
    told = Told()
    with Archive([references], progress=told) as sound:
        place = references.with_name("references_0.zip.index")
        right = place.read_bytes()
        broken = BROKEN[name](right)
        assert broken != right
        place.write_bytes(broken)
        with Archive([references], progress=told) as archive:
            assert _same(archive, sound)
    assert told.walks == 2
    assert place.read_bytes() == right


def test_an_index_that_is_no_file_is_not_waited_for(references: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes with names here")
    os.mkfifo(references.with_name("references_0.zip.index"))
    with Archive([references]) as archive:
        assert len(archive.members) == 20


def _exchange(_: dict[str, Any], body: bytearray) -> None:
    body[:16] = body[8:16] + body[:8]


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize(
    ("change", "found"),
    [(_exchange, r'member "a\.jpg" is not where the index says'), (_number(0, 3), "damaged header")],
    ids=["two exchanged", "between members"],
)
def test_an_index_that_fits_but_lies_is_found_out_when_read(
    tmp_path: Path, kind: str, change: Callable[[dict[str, Any], bytearray], object], found: str
) -> None:
    """Offsets point into the archive, and the digest of the index is right."""
    members = [("a.jpg", b"a" * 1000), ("b.jpg", b"b" * 1000)]
    path = tmp_path / "x"
    path.write_bytes(zip_of(members) if kind == "zip" else tar_of(members))
    Archive([path]).close()
    place = tmp_path / "x.index"
    place.write_bytes(_remade(place.read_bytes(), change))
    with Archive([path]) as archive, pytest.raises(DataError, match=found):
        archive.read(0)


def test_an_archive_goes_to_other_processes_with_its_index(references: Path) -> None:
    with Archive([references]) as archive:
        content = pickle.dumps(archive)
        expected = archive.read(4)
    references.with_name("references_0.zip.index").unlink()
    with pickle.loads(content) as again:  # noqa: S301
        assert again.read(4) == expected
    assert not references.with_name("references_0.zip.index").exists()
    references.write_bytes(zip_of(disc21_images("R", range(5))))
    with pytest.raises(DataError, match="changed since it was opened"):
        pickle.loads(content)  # noqa: S301
