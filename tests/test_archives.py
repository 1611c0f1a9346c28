"""Archives read in place: pieces as one stream, members found and checked, hostile and damaged ones refused."""

from __future__ import annotations

import io
import os
import random
import shutil
import struct
import subprocess
import tarfile
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_archives import jpeg, ndec_queries, negative_pairs, split, stray_files, tar_of, write_pieces, zip_of

from ndec_bench.archives import joined, safe
from ndec_bench.archives.archive import Archive, pieces
from ndec_bench.archives.joined import JoinedFile
from ndec_bench.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOISE = random.Random(7).randbytes(2_500_000)  # noqa: S311


def _contents(archive: Archive) -> dict[str, bytes]:
    return {name: archive.read(row) for row, name in enumerate(archive.members.names)}


def _files(members: list[tuple[str, bytes]]) -> dict[str, bytes]:
    return {name: content for name, content in members if not name.endswith("/")}


# Several files as one stream


@pytest.fixture(scope="module")
def content_in_pieces(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[Path]]:
    content = NOISE[:1000]
    folder = tmp_path_factory.mktemp("pieces")
    return content, write_pieces(folder, "x", [content[:7], b"", content[7:400], content[400:401], content[401:]])


@given(offset=st.integers(0, 1100), length=st.integers(0, 1100))
def test_joined_files_read_like_one(content_in_pieces: tuple[bytes, list[Path]], offset: int, length: int) -> None:
    content, paths = content_in_pieces
    with JoinedFile(paths) as file:
        assert file.size == len(content)
        assert file.read_at(offset, length) == content[offset : offset + length]


def test_a_joined_file_is_read_by_threads_also_where_the_system_keeps_one_position(
    content_in_pieces: tuple[bytes, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    content, paths = content_in_pieces
    monkeypatch.delattr(joined.os, "pread")  # as on Windows
    with JoinedFile(paths) as file, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda offset: file.read_at(offset, 90), range(1000)))
    assert found == [content[offset : offset + 90] for offset in range(1000)]


def test_a_file_that_shrinks_while_open_and_one_that_is_missing_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    path.write_bytes(NOISE[:100])
    with JoinedFile([path]) as file:
        os.truncate(path, 50)
        with pytest.raises(DataError, match=r"a\.tar: became shorter"):
            file.read_at(0, 100)
    with pytest.raises(DataError, match=r"b\.tar: cannot be opened \(No such file"):
        JoinedFile([path, tmp_path / "b.tar"])


def test_a_closed_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    file = JoinedFile([tmp_path / "a"])
    file.close()
    file.close()
    with pytest.raises(ValueError, match="closed"):
        file.read_at(0, 1)


# Pieces found by name


def test_the_pieces_of_a_split_archive_are_found_beside_the_first(tmp_path: Path) -> None:
    paths = write_pieces(tmp_path, "negative_pair.tar", [b"1", b"2", b"3"])
    (tmp_path / "negative_pair.tar.gz").write_bytes(b"something else")
    (tmp_path / "negative_pair.tar.ac.part").write_bytes(b"unfinished")
    assert pieces(paths[0]) == tuple(paths)
    assert pieces(tmp_path / "negative_pair.tar.gz") == (tmp_path / "negative_pair.tar.gz",)


@pytest.mark.parametrize(
    "names",
    [
        ("x.zip.001", "x.zip.002", "x.zip.003"),
        ("x.00", "x.01", "x.02"),
        ("x.01", "x.02"),
        ("x.tar.partaa", "x.tar.partab"),
        ("x.tar.part1", "x.tar.part2"),
        ("x.taraa", "x.tarab"),
        ("x.part0000", "x.part0001"),
    ],
)
def test_pieces_are_found_under_every_usual_name(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in (*names, "x.tar.gz", "y.001"):
        (tmp_path / name).write_bytes(b"1")
    assert [path.name for path in pieces(tmp_path / names[0])] == list(names)
    with pytest.raises(DataError, match=f"later piece of an archive; give the first one, {names[0]}"):
        pieces(tmp_path / names[1])


def test_a_zip_in_numbered_pieces_with_backslashes_in_its_names_is_read(tmp_path: Path) -> None:
    content = zip_of([("im/R1.jpg", jpeg(1)), ("im/deep/R2.jpg", jpeg(2))]).replace(b"im/", b"im\\")
    for number, start in enumerate(range(0, len(content), 400), start=1):
        (tmp_path / f"x.zip.{number:03d}").write_bytes(content[start : start + 400])
    with Archive(pieces(tmp_path / "x.zip.001")) as archive:
        assert list(archive.members.names) == ["im/R1.jpg", "im/deep/R2.jpg"]
        assert archive.read(1) == jpeg(2)


def test_more_than_26_pieces_are_found(tmp_path: Path) -> None:
    names = [f"x.tar.{one}{two}" for one in "ab" for two in "abcdefghijklmnopqrstuvwxyz"][:30]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in pieces(tmp_path / "x.tar.aa")] == names


def test_a_missing_piece_and_a_later_one_are_refused(tmp_path: Path) -> None:
    paths = write_pieces(tmp_path, "negative_pair.tar", [b"1", b"2", b"3"])
    with pytest.raises(DataError, match=r"later piece.*give the first one, negative_pair\.tar\.aa"):
        pieces(paths[2])
    paths[1].unlink()
    with pytest.raises(DataError, match=r"negative_pair\.tar\.ab: missing, but negative_pair\.tar\.ac is there"):
        pieces(paths[0])


# What is found in sound archives

DIALECTS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
LONG = "negative_pair/00001/" + "a long name of a look-alike " * 8 + ".jpg"
STRANGE = [
    (LONG, jpeg(1)),
    ("negative_pair/00001/Größe 漢字.jpg", jpeg(2)),
    ("./x//y.jpg", jpeg(3)),
    ("empty.txt", b""),
]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_members_of_a_tar_are_found_and_read(tmp_path: Path, dialect: str) -> None:
    members = [*ndec_queries(range(25000, 25020)), *stray_files("query_images_h5/")]
    if dialect != "ustar":  # which has room for 100 characters
        members += STRANGE
    path = tmp_path / "query_images_h5.tar"
    path.write_bytes(tar_of(members, dialect=DIALECTS[dialect]))
    expected = _files(members)
    if "./x//y.jpg" in expected:
        expected["x/y.jpg"] = expected.pop("./x//y.jpg")
    with Archive([path]) as archive:
        assert archive.members.names == sorted(expected)
        assert _contents(archive) == expected
        assert archive.members.whole
        ordered = [archive.members.names[row] for row in archive.members.in_stream_order()]
        assert ordered[:2] == ["query_images_h5/Q25000.jpg", "query_images_h5/Q25001.jpg"]
        row = archive.members.find("query_images_h5/Q25003.jpg")
        assert row is not None
        assert archive.read(row) == jpeg(25003)
        assert archive.members.find("query_images_h5/Q2500") is None


@pytest.mark.parametrize("deflated", [False, True])
def test_members_of_a_zip_are_found_and_read(tmp_path: Path, deflated: bool) -> None:
    members = [("images/", b""), *((f"images/{n}.jpg", jpeg(n)) for n in range(20)), *stray_files(), *STRANGE[1:2]]
    path = tmp_path / "references_0.zip"
    path.write_bytes(zip_of(members, deflated=deflated))
    with Archive([path]) as archive:
        assert _contents(archive) == _files(members)


class _Pipe:
    """A file that can be written on but not moved in."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, content: bytes) -> int:
        self.content += content
        return len(content)

    def flush(self) -> None:
        pass


def test_a_zip64_and_a_zip_written_as_a_stream_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive, archive.open("images/R000000.jpg", "w", force_zip64=True) as member:
        member.write(jpeg(0))
    with Archive([path]) as archive:
        assert _contents(archive) == {"images/R000000.jpg": jpeg(0)}
    # Streams of unknown length: sizes stand behind the data, the header has zeros.
    pipe = _Pipe()
    with zipfile.ZipFile(pipe, "w") as archive:  # type: ignore[call-overload]
        archive.writestr("images/R000001.jpg", jpeg(1))
    path.write_bytes(pipe.content)
    with Archive([path]) as archive:
        assert _contents(archive) == {"images/R000001.jpg": jpeg(1)}


def test_a_name_in_the_old_code_page_is_read(tmp_path: Path) -> None:
    content = zip_of([("images/Gr##e.jpg", jpeg(1))]).replace(b"Gr##e", "Größe".encode("cp437"))
    (tmp_path / "a.zip").write_bytes(content)
    with Archive([tmp_path / "a.zip"]) as archive:
        assert _contents(archive) == {"images/Größe.jpg": jpeg(1)}


def test_a_long_extra_field_is_read_over(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    info = zipfile.ZipInfo("R000000.jpg")
    info.extra = struct.pack("<HH", 0x7777, 5000) + bytes(5000)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(info, jpeg(0))
    with Archive([path]) as archive:
        assert _contents(archive) == {"R000000.jpg": jpeg(0)}


def test_the_pieces_of_a_tar_may_be_cut_anywhere(tmp_path: Path) -> None:
    members = [*negative_pairs([(1, 613143), (2, 5)]), *STRANGE[:2]]
    content = tar_of(members)
    for cut in (1, 257, 511, 512, 513, 1024, 1100, 3000, len(content) - 1):
        paths = write_pieces(tmp_path, "negative_pair.tar", split(content, [cut, min(700, len(content) - cut - 1)]))
        with Archive(pieces(paths[0])) as archive:
            assert _contents(archive) == _files(members), cut


def test_threads_read_one_archive_at_once(tmp_path: Path) -> None:
    members = [(f"{n:03}.jpg", NOISE[n * 9000 : n * 9000 + 8000 + n]) for n in range(200)]
    (tmp_path / "a.zip").write_bytes(zip_of(members, deflated=True))
    paths = write_pieces(tmp_path, "a.tar", split(tar_of(members), [300_001, 500_000]))
    for parts in ([tmp_path / "a.zip"], paths):
        with Archive(parts) as archive, ThreadPoolExecutor(8) as pool:
            rows = [row for row in range(200) for _ in range(3)]
            assert list(pool.map(archive.read, rows)) == [members[row][1] for row in rows]


COMMANDS = {
    "tar, GNU": ["tar", "--format=gnu", "-cf", "OUT", "."],
    "tar, POSIX": ["tar", "--format=posix", "-cf", "OUT", "negative_pair", "empty.txt"],
    "tar, v7": ["tar", "--format=v7", "-cf", "OUT", "--exclude=*look-alike*", "."],
    "zip": ["zip", "-qr", "OUT", "."],
    "zip, stored": ["zip", "-0qr", "OUT", "."],
    "zip, piped": ["sh", "-c", "zip -qr - . > OUT"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_archives_of_other_programs_are_read_and_as_pieces_of_split(tmp_path: Path, name: str) -> None:
    needed = [shutil.which(program) for program in (COMMANDS[name][0], "split", name.partition(",")[0])]
    if None in needed:
        pytest.skip(f"{name} or split is not installed")
    members = _files([*negative_pairs([(1, 613143), (2, 7)]), *STRANGE[:2], ("empty.txt", b"")])
    for path, content in members.items():
        (tmp_path / "in" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / path).write_bytes(content)
    out = tmp_path / "x.zip"
    command = [part.replace("OUT", str(out)) for part in COMMANDS[name]]
    subprocess.run([shutil.which(command[0]) or "", *command[1:]], cwd=tmp_path / "in", check=True)
    subprocess.run([shutil.which("split") or "", "-b", "1300", out, tmp_path / "y."], check=True)
    expected = {path: content for path, content in members.items() if "v7" not in name or "look-alike" not in path}
    for parts in ((out,), pieces(tmp_path / "y.aa")):
        with Archive(parts) as archive:
            assert _contents(archive) == expected
    assert len(parts) > 3


# Archives that are cut short or damaged


@pytest.mark.parametrize("dialect", ["gnu", "pax"])
def test_a_tar_cut_anywhere_lists_what_is_whole_only_when_asked_to(tmp_path: Path, dialect: str) -> None:
    members = [*negative_pairs([(1, 613143)]), *STRANGE[:2], ("last.jpg", jpeg(9))]
    content = tar_of(members, dialect=DIALECTS[dialect])
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        ends = {info.name: info.offset_data + info.size for info in tar if info.isfile()}
    path = tmp_path / "negative_pair.tar.aa"
    for cut in [*range(1, 1024, 97), *range(1024, max(ends.values()) + 512, 256)]:
        path.write_bytes(content[:cut])
        if cut < 512:  # not even a header
            with pytest.raises(DataError, match="neither zip nor tar"):
                Archive([path], partial=True)
            continue
        with pytest.raises(DataError, match=r"cut short: negative_pair\.tar\.aa hold"):
            Archive([path])
        with Archive([path], partial=True) as archive:
            assert not archive.members.whole
            assert set(archive.members.names) == {name for name, end in ends.items() if end <= cut}, cut
            assert all(archive.read(row) for row in range(len(archive.members)))


def test_a_hole_in_a_tar_does_not_pass_for_its_end(tmp_path: Path) -> None:
    members = [(f"Q{n}.jpg", NOISE[:3000]) for n in range(10)]
    content = bytearray(tar_of(members))
    content[5 * 3584 : 5 * 3584 + 512] = bytes(512)  # the sixth header
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DataError, match="the tar ends at byte 17,920, but more than padding follows"):
        Archive([tmp_path / "a.tar"], partial=True)


def test_a_damaged_header_is_told_with_its_place(tmp_path: Path) -> None:
    content = bytearray(tar_of([(f"Q{n}.jpg", NOISE[:3000]) for n in range(10)]))
    content[3584:3600] = b"garbage garbage "
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(DataError, match="damaged at byte 3,584, where a header should be"):
        Archive([tmp_path / "a.tar"], partial=True)


def test_wrong_bytes_in_a_zip_are_found_by_the_checksum(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    for deflated, reason in ((False, r"its checksum \(CRC-32\) is wrong"), (True, "damaged")):
        content = bytearray(zip_of([("images/R000001.jpg", NOISE[:4000])], deflated=deflated))
        content[2000] ^= 1
        path.write_bytes(content)
        with (
            Archive([path]) as archive,
            pytest.raises(DataError, match=rf'a\.zip: member "images/R000001\.jpg".*{reason}'),
        ):
            archive.read(0)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>Sign in</html>", "a web page"),
        (b"plain text" * 100, "neither zip nor tar"),
        (zip_of([("a.jpg", jpeg(1)), ("b.jpg", jpeg(2))])[:-30], "not a complete zip archive"),
        (zip_of([("a.jpg", jpeg(1))])[:100], "not a complete zip archive"),
    ],
)
def test_what_is_no_archive_is_told(tmp_path: Path, content: bytes, found: str) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.zip: {found}"):
        Archive([tmp_path / "a.zip"])


@pytest.mark.parametrize("kind", ["tar", "pax", "zip", "deflated"])
def test_bytes_changed_at_random_never_break_out(tmp_path: Path, kind: str) -> None:
    """Whatever is changed: the members, or a DataError; in a zip never other contents, whose checksums tell."""
    members = [*negative_pairs([(1, 613143), (2, 7)]), ("x.txt", b"text"), *STRANGE[:2]]
    if kind in {"zip", "deflated"}:
        sound = zip_of(members, deflated=kind == "deflated")
    else:
        sound = tar_of(members, dialect=DIALECTS["pax" if kind == "pax" else "gnu"])
    told: list[str]
    generator, path, told = random.Random(kind), tmp_path / "a", []  # noqa: S311
    expected = _files(members)
    for _ in range(150):
        content = bytearray(sound)
        for _ in range(generator.choice((1, 1, 3, 20))):
            content[generator.randrange(len(content))] = generator.choice(
                (0, 0x37, 0x80, 0xFF, generator.randrange(256))
            )
        path.write_bytes(content)
        (tmp_path / "a.index").unlink(missing_ok=True)
        try:
            with Archive([path]) as archive:
                for row, name in enumerate(archive.members.names):
                    found = archive.read(row)
                    assert kind in {"tar", "pax"} or found == expected.get(name, found)
        except DataError as error:
            told.append(str(error))
    assert len(told) > 20
    assert all(map(str.isprintable, told))


# Hostile archives


def _tar(info: tarfile.TarInfo, content: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _named(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


BAD_NAMES = {
    "/etc/passwd.jpg": "absolute path",
    "\\\\host\\share.jpg": "absolute path",
    "C:/windows/a.jpg": "absolute path",
    "c:a.jpg": "absolute path",
    "../a.jpg": "leaves its folder",
    "images/../../a.jpg": "leaves its folder",
    "images\\..\\a.jpg": "leaves its folder",
    "images/..": "leaves its folder",
    "a\x1b[2Jb.jpg": "control character",
    "a\nb.jpg": "control character",
    "a\x85b.jpg": "control character",
    "a\u2028b.jpg": "control character",
    "x" * 1025: "1,025 characters",
}


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_dangerous_name_is_refused_and_shown_harmless(tmp_path: Path, name: str, kind: str) -> None:
    content = _tar(_named(name)) if kind == "tar" else zip_of([(name, b"x")])
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DataError, match=BAD_NAMES[name]) as caught:
        Archive([tmp_path / "a"])
    assert str(caught.value).isprintable()
    assert "fetch it again from its publisher" in str(caught.value)


def test_a_nul_in_a_name_of_a_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zip_of([("a.jpg#.exe", b"x")]).replace(b"a.jpg#", b"a.jpg\0"))
    with pytest.raises(DataError, match=r'member "a\.jpg\\x00\.exe": a control character'):
        Archive([tmp_path / "a.zip"])


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a pipe"),
        (tarfile.GNUTYPE_SPARSE, "a file with holes"),
        (b"Q", "of unknown kind b'Q'"),
    ],
)
def test_links_devices_and_other_kinds_are_refused(tmp_path: Path, kind: bytes, found: str) -> None:
    (tmp_path / "a.tar").write_bytes(_tar(_named("Q1.jpg", kind, "/etc/passwd")))
    with pytest.raises(DataError, match=rf'member "Q1\.jpg": {found}'):
        Archive([tmp_path / "a.tar"])


def _zip_info(name: str, mode: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, mode << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(_zip_info("Q1.jpg", 0o120777))
    with pytest.raises(DataError, match="a link or a device"):
        Archive([tmp_path / "a.zip"])


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tar_of([("x/a.jpg", b"1"), ("b.jpg", b"2"), ("./x/a.jpg", b"3")]))
    with pytest.raises(DataError, match=r'"x/a\.jpg": appears twice in the archive'):
        Archive([tmp_path / "a.tar"])
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = zip_of([("a.jpg", b"1"), ("a.jpg", b"2")])
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match=r'"a\.jpg": appears twice in the archive'):
        Archive([tmp_path / "a.zip"])


def _patched(content: bytes, local: int, central: int, value: bytes) -> bytes:
    """Return a zip with ``value`` at those offsets of the header of its first member and of its first central one."""
    changed = bytearray(content)
    directory = changed.index(b"PK\x01\x02")
    if local >= 0:
        changed[local : local + len(value)] = value
    if central >= 0:
        changed[directory + central : directory + central + len(value)] = value
    return bytes(changed)


ONE = zip_of([("Q1.jpg", NOISE[:1000])])
TWO = zip_of([("a.jpg", b"a" * 500), ("b.jpg", b"b" * 500)], deflated=True)
SECOND = TWO.index(b"PK\x03\x04", 4)
SHORT, LONG_NUMBER = struct.Struct("<H").pack, struct.Struct("<I").pack
BAD_ZIPS: dict[str, tuple[bytes, str]] = {
    "encrypted": (_patched(ONE, 6, 8, SHORT(1)), "encrypted"),
    "encrypted by its own header": (_patched(ONE, 6, -1, SHORT(1)), "encrypted"),
    "method": (_patched(ONE, 8, 10, SHORT(14)), "compressed by method 14, expected stored or deflated"),
    "sizes differ": (_patched(ONE, -1, 24, LONG_NUMBER(2000)), "1,000 bytes stored, but 2,000 stated"),
    "outside": (_patched(TWO, -1, 42, LONG_NUMBER(1 << 30)), "overlaps the next member or lies outside"),
    "inside another": (_patched(TWO, -1, 42, LONG_NUMBER(10)), "overlaps the next member or lies outside"),
    "the same place": (_patched(TWO, -1, 42, LONG_NUMBER(SECOND)), "overlaps the next member or lies outside"),
    "too long": (_patched(ONE, -1, 20, LONG_NUMBER(50_000) * 2), "overlaps the next member or lies outside"),
    "too large": (_patched(TWO, -1, 24, LONG_NUMBER(300 << 20)), "314,572,800 bytes, at most 268,435,456"),
    "wrong CRC": (_patched(TWO, -1, 16, LONG_NUMBER(7)), r"its checksum \(CRC-32\) is wrong"),
    "more than stated": (_patched(TWO, -1, 24, LONG_NUMBER(100)), "does not unpack to the 100 bytes"),
    "less than stated": (_patched(TWO, -1, 24, LONG_NUMBER(501)), "does not unpack to the 501 bytes"),
    "cut": (_patched(TWO, -1, 20, LONG_NUMBER(4)), "does not unpack to the 500 bytes"),
    "not deflated": (_patched(TWO, 35, -1, b"\xff"), "damaged, Error"),
    "other name": (_patched(TWO, 30, -1, b"x"), "is not where the index says"),
    "long header": (_patched(TWO, 28, -1, SHORT(40)), "cut short, or runs into the next one"),
}


@pytest.mark.parametrize("name", BAD_ZIPS)
def test_zips_that_lie_or_cannot_be_read_are_refused(tmp_path: Path, name: str) -> None:
    content, found = BAD_ZIPS[name]
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.zip: member.*{found}"), Archive([tmp_path / "a.zip"]) as archive:
        _contents(archive)


def test_a_zip_without_the_header_of_a_member_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(_patched(TWO, SECOND, -1, b"x"))
    with Archive([tmp_path / "a.zip"]) as archive, pytest.raises(DataError, match=r"damaged header \(no member begins"):
        archive.read(1)


def test_decompression_bombs_are_refused(tmp_path: Path) -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = b"".join([*(bomb.compress(bytes(2**20)) for _ in range(65)), bomb.flush()])
    frame = zip_of([("Q1.jpg", data)])
    told = _patched(frame, 8, 10, struct.pack("<H", 8))
    honest = _patched(told, -1, 24, struct.pack("<I", 65 * 2**20))
    (tmp_path / "a.zip").write_bytes(honest)
    with pytest.raises(DataError, match=r"unpack to 68,157,440, a decompression bomb"):
        Archive([tmp_path / "a.zip"])
    lying = _patched(told, -1, 24, struct.pack("<I", 1000))
    (tmp_path / "a.zip").write_bytes(lying)
    with Archive([tmp_path / "a.zip"]) as archive, pytest.raises(DataError, match="does not unpack to the 1,000 bytes"):
        archive.read(0)


def test_an_image_of_a_tar_that_is_too_large_is_refused_but_no_other_file(tmp_path: Path) -> None:
    for name in ("notes.txt", "Q1.jpg"):
        info = tarfile.TarInfo(name)
        info.size = safe.MAX_BYTES + 1
        with (tmp_path / name).open("wb") as file:  # a sparse file
            file.write(info.tobuf(tarfile.GNU_FORMAT))
            file.truncate(512 + safe.MAX_BYTES + 512 + 10240)
    with pytest.raises(DataError, match=r'"Q1\.jpg": 268,435,457 bytes, at most'):
        Archive([tmp_path / "Q1.jpg"])
    with Archive([tmp_path / "notes.txt"]) as archive, pytest.raises(DataError, match="268,435,457 bytes, at most"):
        archive.read(0)


def _too_many() -> bytes:
    return tar_of([(f"{n}.txt", b"") for n in range(30)])


def _header_that_claims_the_memory() -> bytes:
    info = _named("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    info.size = 2 * 2**20
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(info.size) + _tar(_named("a.jpg"))


def _headers_without_end() -> bytes:
    info = _named("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    info.size = 1
    return (info.tobuf(tarfile.GNU_FORMAT) + b"a" + bytes(511)) * 3000


def _member_of_negative_size(field: str) -> Callable[[], bytes]:
    def made() -> bytes:
        info = _named("a.jpg")
        if field == "pax":
            info.pax_headers = {"size": "-2048"}
            return _tar(info)
        header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        header[124:136] = b"\xff" * 10 + b"\xf8\x00"  # -2048 in base 256
        header[148:156] = b"        "
        header[148:156] = b"%06o\0 " % sum(header)
        return bytes(header) + bytes(10240)

    return made


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (_too_many, "more than 20 members"),
        (_header_that_claims_the_memory, "at most 1048576 are accepted"),
        (_headers_without_end, "not a readable tar archive|cut short"),
        (_member_of_negative_size("pax"), "backwards|not a readable tar|damaged"),
        (_member_of_negative_size("base 256"), "backwards|not a readable tar|damaged"),
    ],
    ids=["too many", "large header", "nested headers", "negative pax size", "negative size"],
)
def test_headers_made_to_exhaust_the_reader_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[], bytes], found: str
) -> None:
    monkeypatch.setattr(safe, "MAX_MEMBERS", 20)
    (tmp_path / "a.tar").write_bytes(make())
    with pytest.raises(DataError, match=found):
        Archive([tmp_path / "a.tar"])


def test_a_name_that_is_no_utf8_is_shown_in_escapes_and_can_be_read(tmp_path: Path) -> None:
    name = b"negative_pair/00001/\xcd\xbc.jpg".decode("utf-8", "surrogateescape")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as tar:
        info = tarfile.TarInfo(name)
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    (tmp_path / "a.tar").write_bytes(buffer.getvalue().replace(b"\xcd\xbc", b"\xcd\x20"))
    for _ in range(2):  # the second time out of the stored index
        with pytest.raises(DataError), Archive([tmp_path / "a.tar"]):  # the checksum of the header is wrong now
            pass
    (tmp_path / "a.tar").write_bytes(buffer.getvalue().replace(b"\xcd\xbc", b"\xbc\xcd"))
    for _ in range(2):
        with Archive([tmp_path / "a.tar"]) as archive:
            assert _contents(archive) == {"negative_pair/00001/\\xbc\\xcd.jpg": b"abc"}
