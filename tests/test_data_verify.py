"""``data verify``: each check right, wrong, doubtful and left out. Pairs of ground truths are made up, counts true."""

from __future__ import annotations

import io
import json
import struct
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from made_truth import DEV, HARD, ISC, NDEC, PAIRS, digest, put, records
from PIL import Image
from small_archives import (
    disc21_images,
    jpeg,
    ndec_queries,
    negative_pairs,
    shard_name,
    split,
    stray_files,
    tar_of,
    write_pieces,
    zip_of,
)

from ndec_bench.cli import run
from ndec_bench.data import decoding, known
from ndec_bench.data import verify as verifying
from ndec_bench.data.layouts import SOURCES_FILE, adopt, recognise
from ndec_bench.data.registry import remote_files, shards
from ndec_bench.data.trust import TRUST_FILE, read_trust, sha256_of
from ndec_bench.data.verify import Check, Cost, Verification, cost, verify
from ndec_bench.errors import DataError, InterruptedRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from ndec_bench.progress import Progress


COUNTS = "ndec queries: ISC queries + hard negatives"
IDS = "ndec queries: ids"
FOLDERS = "ndec negative-pairs: folders"
APART = "ndec queries: apart from DISC21 final"


DEV_2 = "".join(f"{query},{reference}\n" for query, reference in PAIRS).encode()
"""Ground truth of DISC21 dev II as a list of matches."""


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "KNOWN", records())


def named(found: Verification, name: str) -> Check:
    """Return the check of that name, of which there is one."""
    (check,) = [each for each in found.checks if each.name == name]
    return check


def names(found: Verification) -> set[str]:
    """Return the names of the checks that were made."""
    return {each.name for each in found.checks if each.state != "skipped"}


def quick(root: Path, *parts: str) -> Verification:
    return verify(root, parts=parts, images=False)


def queries_of(ids: Iterable[str]) -> bytes:
    """Return a zip of empty files; what an archive is, is told by its content, and a zip is made faster than a tar."""
    return zip_of((f"query_images_h5/{each}.jpg", b"") for each in ids)


# Files.


def test_a_file_is_recorded_at_first_sight_and_compared_from_then_on(tmp_path: Path) -> None:
    path = put(tmp_path, "disc21/references_3.zip", zip_of(disc21_images("R", (150_000,))))
    name, first = "disc21/references_3.zip", sha256(path.read_bytes()).hexdigest()
    check = named(quick(tmp_path, "references"), name)
    assert (check.state, check.found) == ("ok", f"SHA-256 {first}")
    assert check.expected == "recorded now, at first sight"
    trusted = read_trust(tmp_path).files[name]
    assert (trusted.sha256, trusted.bytes, trusted.source) == (first, path.stat().st_size, "local")
    assert trusted.describes(path)
    assert named(quick(tmp_path, "references"), name).expected == first

    path.write_bytes(zip_of(disc21_images("R", (150_001,))))
    found = quick(tmp_path, "references")
    check, now = named(found, name), sha256(path.read_bytes()).hexdigest()
    assert (check.state, check.found, check.expected) == ("failed", f"SHA-256 {now}", first)
    assert check.hint == "see docs/data.md, Trust"
    assert not found.ok
    assert read_trust(tmp_path).files[name].sha256 == first, "a wrong file must not become the right one"


def test_a_published_digest_comes_before_the_first_sight(tmp_path: Path) -> None:
    """The trust file cannot vouch for other bytes than those that are published."""
    file = next(each for each in remote_files() if each.name == "mobilenet_v2-b0353104.pth")
    path = put(tmp_path, f"weights/{file.name}", b"other")
    name = f"weights/{file.name}"
    check = named(quick(tmp_path), name)
    assert (check.state, check.expected) == ("failed", file.sha256)
    assert check.hint == f"remove {path} and fetch it again"
    assert name not in read_trust(tmp_path).files


def test_a_file_as_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = sha256(b"weights").hexdigest()
    files = tuple(
        each.model_copy(update={"sha256": own}) if each.part == "mobilenetv2" else each for each in remote_files()
    )
    monkeypatch.setattr(verifying, "remote_files", lambda: files)
    put(tmp_path, "weights/mobilenet_v2-b0353104.pth", b"weights")
    check = named(quick(tmp_path), "weights/mobilenet_v2-b0353104.pth")
    assert (check.state, check.found, check.expected) == ("ok", f"SHA-256 {own}", own)


def test_a_file_that_cannot_be_read_is_one_failed_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "disc21/references_3.zip", zip_of(disc21_images("R", (150_000,))))
    put(tmp_path, "disc21/train_0.zip", zip_of(disc21_images("T", (0,))))

    def disk_error(path: Path, progress: Progress, stage: str) -> str:
        if path.name == "references_3.zip":
            raise DataError(f"{path}: cannot be read (Input/output error)", hint="check the disk")
        return sha256_of(path, progress, stage)

    monkeypatch.setattr(verifying, "sha256_of", disk_error)
    found = quick(tmp_path)
    check = named(found, "disc21/references_3.zip")
    assert (check.state, check.hint) == ("failed", "check the disk")
    assert "Input/output error" in check.found
    assert named(found, "disc21/train_0.zip").state == "ok"
    assert "disc21/references_3.zip" not in read_trust(tmp_path).files


def test_of_an_empty_root_everything_is_skipped_and_nothing_written(tmp_path: Path) -> None:
    found = verify(tmp_path / "none")
    assert {check.state for check in found.checks} == {"skipped"}
    assert len(found.checks) == 5 + 6  # ground truths and image sets
    assert found.ok
    assert not (tmp_path / "none").exists()
    assert cost(tmp_path / "none") == Cost(0, 0, None)


def test_damaged_records(tmp_path: Path) -> None:
    """Without the trust file nothing can be checked; without the record of folders the files still can."""
    put(tmp_path, "disc21/references_3.zip", b"x")
    put(tmp_path, SOURCES_FILE, b"{")
    found = verify(tmp_path)
    assert named(found, "disc21/references_3.zip").state == "ok"
    assert {check.state for check in found.checks if check.name.endswith(": images")} == {"failed"}
    assert f"{SOURCES_FILE}: damaged" in named(found, "disc21 references: images").found
    put(tmp_path, TRUST_FILE, b"{")
    with pytest.raises(DataError, match=f"{TRUST_FILE}: damaged"):
        verify(tmp_path)


# Ground truths.


def test_a_published_truth(tmp_path: Path) -> None:
    path = put(tmp_path, "ndec/public_ground_truth_h5.csv", NDEC)
    found = quick(tmp_path, "ground-truth")
    check = named(found, "ground truth of ndec")
    assert check.state == "ok"
    assert check.found == f"49,252 queries, 5,009 pairs, SHA-256 {digest(PAIRS)} ({path})"
    assert check.expected == f"49,252 queries, 5,009 pairs, SHA-256 {digest(PAIRS)}"
    assert named(found, "ground truth of disc21-dev2").state == "ok"  # taken from NDEC's
    assert named(found, "ground truth of disc21-dev1").state == "skipped"
    assert named(found, "ground truth of disc21-final").hint
    assert named(found, "ndec/public_ground_truth_h5.csv").state == "ok"


def test_a_derived_truth_is_named_as_such(tmp_path: Path) -> None:
    put(tmp_path, "disc21/dev_ground_truth.csv", DEV)
    path = put(tmp_path, f"ndec/{known.DERIVED_FILE}", NDEC)
    found = quick(tmp_path, "ground-truth")
    check = named(found, "ground truth of ndec")
    assert (check.state, check.found.endswith(f"({path})")) == ("ok", True)
    assert named(found, "ground truth of disc21-dev").found.startswith("50,000 queries, 10,000 pairs")
    path.unlink()
    put(tmp_path, "disc21/dev_ground_truth.csv", b"")
    found = quick(tmp_path, "ground-truth")
    assert named(found, "ground truth of ndec").state == "skipped", "it waits for the query archive"
    assert named(found, "ground truth of disc21-dev").state == "failed"


def test_a_truth_with_another_digest_fails(tmp_path: Path) -> None:
    swapped = (*PAIRS[:-2], (PAIRS[-2][0], PAIRS[-1][1]), (PAIRS[-1][0], PAIRS[-2][1]))
    put(tmp_path, "ndec/public_ground_truth_h5.csv", replace(NDEC, pairs=swapped))
    check = named(quick(tmp_path), "ground truth of ndec")
    assert check.state == "failed"
    assert f"SHA-256 {digest(swapped)}, expected {digest(PAIRS)}" in check.found
    assert check.hint


# NDEC's queries.


def test_all_of_ndecs_queries(tmp_path: Path) -> None:
    """49,252 = 25,000 + 24,252, by the number in the id alone, and the ids are those of the ground truth."""
    put(tmp_path, "ndec/query_images_h5.tar", tar_of((f"query_images_h5/{each}.jpg", b"") for each in ISC + HARD))
    found = quick(tmp_path, "queries")
    check = named(found, COUNTS)
    assert (check.state, check.found) == ("ok", "49,252 = 25,000 + 24,252")
    assert check.found == check.expected
    assert named(found, IDS).state == "skipped"
    put(tmp_path, "ndec/public_ground_truth_h5.csv", NDEC)
    found = quick(tmp_path, "queries")
    assert (named(found, IDS).state, found.ok) == ("ok", True)


@pytest.mark.parametrize(
    ("ids", "told"),
    [(ISC + HARD[:-1], "49,251 = 25,000 + 24,251"), ((*ISC[1:], *HARD, "Q74252"), "49,252 = 24,999 + 24,253")],
)
def test_wrong_counts_fail(tmp_path: Path, ids: tuple[str, ...], told: str) -> None:
    put(tmp_path, "ndec/query_images_h5.tar", queries_of(ids))
    found = quick(tmp_path, "queries")
    check = named(found, COUNTS)
    assert (check.state, check.found, check.expected) == ("failed", told, "49,252 = 25,000 + 24,252")
    assert check.hint == "the archive is not NDEC's, not whole, or mixed with DISC21's: fetch it again"
    assert not found.ok


def test_other_ids_than_in_the_ground_truth_fail(tmp_path: Path) -> None:
    """The counts can be right and the ids wrong all the same."""
    put(tmp_path, "ndec/public_ground_truth_h5.csv", NDEC)
    put(tmp_path, "ndec/query_images_h5.tar", queries_of((*ISC, *HARD[:-3], "Q80000", "Q80001", "Q80002")))
    found = quick(tmp_path, "queries")
    assert named(found, COUNTS).state == "ok"
    check = named(found, IDS)
    assert (check.state, check.found) == ("failed", "6 differ: Q74249, Q74250, Q74251, Q80000, Q80001")
    assert not found.ok


def test_a_damaged_archive_is_a_failed_check(tmp_path: Path) -> None:
    put(tmp_path, "ndec/query_images_h5.tar", b"<html>not found</html>")
    found = verify(tmp_path)
    check = named(found, "ndec queries: images")
    assert (check.state, check.expected) == ("failed", "49,252")
    assert "query_images_h5.tar: a web page" in check.found
    assert "ndec queries: decoded" not in names(found)


# The other sets.


def pieces_of(root: Path, content: bytes) -> list[Path]:
    (root / "ndec").mkdir(parents=True)
    third = len(content) // 3
    return write_pieces(root / "ndec", "negative_pair.tar", split(content, (third, third)))


def test_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces_of(tmp_path, tar_of([*negative_pairs(((0, 5), (1, 6), (2, 5))), *stray_files("negative_pair/00001/")]))
    check = named(quick(tmp_path), FOLDERS)
    assert (check.state, check.found) == ("failed", "3")
    assert check.expected == "100,000 with one training image and one other each"
    monkeypatch.setattr(verifying, "_PAIR_FOLDERS", 3)
    found = verify(tmp_path, parts=("negative-pairs",), jobs=1)
    assert named(found, FOLDERS).state == "ok"
    assert named(found, "ndec negative-pairs: decoded").found == "6"
    assert found.ok


@pytest.mark.parametrize(
    "strange",
    [
        [("negative_pair/00007/T000001.jpg", b"")],  # alone
        [(f"negative_pair/00007/T00000{n}.jpg", b"") for n in "12"],  # no look-alike
        [(f"negative_pair/00007/{n}.jpg", b"") for n in "12"],  # no training image
        [(f"negative_pair/00007/{name}.jpg", b"") for name in ("T000001", "1", "2")],  # three
    ],
)
def test_strange_folders_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strange: list[tuple[str, bytes]]
) -> None:
    monkeypatch.setattr(verifying, "_PAIR_FOLDERS", 2)
    pieces_of(tmp_path, tar_of([*negative_pairs(((1, 5),)), *strange]))
    check = named(quick(tmp_path), FOLDERS)
    assert (check.state, check.found) == ("failed", "2, 1 without one training image and one other: 00007")


def test_a_whole_set_without_a_gap(tmp_path: Path) -> None:
    ids = [f"Q{number}" for number in range(50_000, 100_000)]
    put(tmp_path, "disc21/final_queries.zip", queries_of(ids))
    check = named(quick(tmp_path), "disc21 final-queries: images")
    assert (check.state, check.found, check.expected) == ("ok", "50,000", "50,000")


def test_missing_shards_are_counted_and_limit_the_recall(tmp_path: Path) -> None:
    """Pairs are made up: R000000, R000007, R000014 and so on, so three of shard 0 are in the first 15 references."""
    name = "disc21 references: images"
    put(tmp_path, f"disc21/{shard_name('references', 0)}", zip_of(disc21_images("R", range(15))))
    put(tmp_path, f"disc21/{shard_name('references', 1)}", zip_of(disc21_images("R", (50_000, 99_999))))
    check = named(quick(tmp_path), name)
    assert check.state == "warning"
    assert check.found == (
        "17; missing 999,983: 49,985 of shard 0, 49,998 of shard 1, 50,000 of shard 2, 50,000 of shard 3, "
        "50,000 of shard 4 and others"
    )
    assert (check.hint or "").startswith('"ndec-bench download disc21 references"; until then results are partial')
    put(tmp_path, "disc21-dev2/ground_truth.csv", DEV_2)
    found = quick(tmp_path)
    told = "3 of 5,009 matched references are there: recall on NDEC can reach 0.0006"
    assert named(found, name).found.endswith(f"; {told}")
    assert found.ok, "partial is not wrong"


def test_only_references_limit_the_recall(tmp_path: Path) -> None:
    put(tmp_path, "disc21-dev2/ground_truth.csv", DEV_2)
    put(tmp_path, "disc21/train_19.zip", zip_of(disc21_images("T", (999_999,))))
    check = named(quick(tmp_path), "disc21 training: images")
    assert (check.state, "recall" in check.found) == ("warning", False)


def test_a_folder_that_is_gone_is_not_there(tmp_path: Path) -> None:
    put(tmp_path, "theirs/R000001.jpg", jpeg(1))
    adopt(recognise(tmp_path / "theirs"), tmp_path / "root")
    (tmp_path / "theirs").rename(tmp_path / "elsewhere")
    check = named(quick(tmp_path / "root"), "disc21 references: images")
    assert check.state == "skipped"
    assert check.hint == 'put it back, mount its disk, or leave it out with "ndec-bench data forget disc21/references"'


# Known pictures.


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, bytes]], None]:
    """Make these the pictures whose digests are published."""

    def made(pictures: Mapping[str, bytes]) -> None:
        sums = {name: sha256(content).hexdigest() for name, content in pictures.items()}
        monkeypatch.setattr(verifying, "pictures", lambda: sums)

    return made


def again(content: bytes) -> bytes:
    """Return the same picture encoded again, coarser."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(content)).save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


def test_known_pictures_of_disc21(tmp_path: Path, publish: Callable[[Mapping[str, bytes]], None]) -> None:
    publish({"R000107": jpeg(1), "R000445": jpeg(2), "Q26294": jpeg(3), "R999999": jpeg(4)})
    title = "disc21 references: known pictures"
    put(tmp_path, "disc21/references/R000107.jpg", jpeg(1))
    path = put(tmp_path, "disc21/references/R000445.jpg", jpeg(2))
    put(tmp_path, "disc21/references/R000446.jpg", jpeg(3))
    assert (named(quick(tmp_path), title).state, named(quick(tmp_path), title).found) == ("ok", "2 as published")
    path.write_bytes(again(jpeg(2)))
    found = quick(tmp_path)
    assert (named(found, title).state, named(found, title).found) == ("failed", "1 of 2 differ: R000445")
    assert not found.ok


def test_known_pictures_among_ndecs_queries(tmp_path: Path, publish: Callable[[Mapping[str, bytes]], None]) -> None:
    """The same bytes; encoded again, which only DISC21's own file can tell from another picture; another picture."""
    first, second = jpeg(1, (96, 64)), jpeg(2, (96, 64))
    title = "ndec queries: known pictures"
    publish({"Q26294": first, "Q27108": second})
    put(tmp_path, "ndec/query_images_h5/Q26294.jpg", first)
    path = put(tmp_path, "ndec/query_images_h5/Q27108.jpg", second)
    put(tmp_path, "ndec/query_images_h5/Q50000.jpg", jpeg(3))
    assert named(quick(tmp_path), title).found == "2 as published"

    path.write_bytes(again(second))
    check = named(quick(tmp_path), title)
    assert check.state == "warning"
    assert check.found == "1 have other bytes than in DISC21: encoded again, or other pictures"
    put(tmp_path, "disc21/dev_queries/Q26294.jpg", first)
    assert named(quick(tmp_path), title).state == "warning", "the one that differs is not there to compare with"
    put(tmp_path, "disc21/dev_queries/Q27108.jpg", second)
    check = named(quick(tmp_path), title)
    assert (check.state, check.found) == ("ok", "encoded again, the same pictures")

    path.write_bytes(first)
    found = quick(tmp_path)
    check = named(found, title)
    assert (check.state, check.found, check.hint) == ("failed", "other pictures: Q27108", "the archive is not NDEC's")
    assert named(found, "disc21 dev-queries: known pictures").state == "ok"


def test_a_known_picture_that_cannot_be_read(tmp_path: Path, publish: Callable[[Mapping[str, bytes]], None]) -> None:
    """One damaged picture is one failed check, and the others are made."""
    publish({"R000107": jpeg(1), "Q27108": jpeg(2)})
    content = bytearray(zip_of([("images/R000107.jpg", jpeg(1))]))
    content[len(content) // 2] ^= 1
    put(tmp_path, "disc21/references_0.zip", bytes(content))
    put(tmp_path, "ndec/query_images_h5/Q27108.jpg", jpeg(2)[:-200])
    put(tmp_path, "disc21/dev_queries/Q27108.jpg", jpeg(2))
    found = verify(tmp_path)
    damaged = named(found, "disc21 references: known pictures")
    assert damaged.state == "failed"
    assert 'R000107.jpg": damaged, its checksum (CRC-32) is wrong' in damaged.found
    cut = named(found, "ndec queries: known pictures")
    assert (cut.state, "Q27108.jpg: no readable image" in cut.found) == ("failed", True)
    assert {"disc21 references: decoded", "ndec queries: decoded", "disc21 dev-queries: decoded"} <= names(found)


# The ids from Q50000 on.


def test_disc21_finals_queries_in_the_place_of_hard_negatives(tmp_path: Path) -> None:
    shared = range(50_000, 50_050)
    final = disc21_images("Q", (*shared, 99_999))
    put(tmp_path, "disc21/final_queries.zip", zip_of(final))
    put(tmp_path, "ndec/query_images_h5.tar", tar_of(ndec_queries((25_000, *shared))))
    check = named(quick(tmp_path), APART)
    assert (check.state, check.found) == ("ok", "20 with the same id are other files")

    mixed = [*ndec_queries((25_000,)), *((f"query_images_h5/{name.split('/')[-1]}", each) for name, each in final[:50])]
    put(tmp_path, "ndec/query_images_h5.tar", tar_of(mixed))
    found = quick(tmp_path)
    check = named(found, APART)
    assert check.state == "failed"
    assert check.found.startswith("20 of 20 with the same id are the same file: Q50000, Q50002, ")
    assert "DISC21 final queries are in the place of NDEC's hard negatives" in (check.hint or "")
    assert not found.ok


def test_a_damaged_file_among_those_compared(tmp_path: Path) -> None:
    content = bytearray(zip_of([("images/final_queries/Q50000.jpg", jpeg(1))]))
    content[len(content) // 2] ^= 1
    put(tmp_path, "disc21/final_queries.zip", bytes(content))
    put(tmp_path, "ndec/query_images_h5.tar", tar_of(ndec_queries((25_000, 50_000))))
    check = named(quick(tmp_path), APART)
    assert (check.state, "CRC-32" in check.found) == ("failed", True)


# Every image decodes.


def resized(content: bytes, width: int, height: int) -> bytes:
    """Return a JPEG whose header tells another size than its data have."""
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", height, width) + content[at + 4 :]


def test_every_image_that_does_not_decode_is_named(tmp_path: Path) -> None:
    broken = {
        "R000001": jpeg(1)[:-200],
        "R000002": b"",
        "R000003": b"no image\n",
        "R000004": resized(jpeg(1), 9_000, 9_000),  # more than are accepted, fewer than Pillow warns of
        "R000005": resized(jpeg(1), 60_000, 60_000),
    }
    sound = disc21_images("R", (0, *range(6, 20)))
    put(
        tmp_path,
        "disc21/references_0.zip",
        zip_of([*sound, *((f"images/references/{name}.jpg", content) for name, content in broken.items())]),
    )
    put(tmp_path, "disc21/train_0.zip", zip_of(disc21_images("T", range(3))))
    found = verify(tmp_path)
    assert set(read_trust(tmp_path).files) == {"disc21/train_0.zip"}, "a record must not keep the right copy out"
    second = verify(tmp_path)
    check = named(found, "disc21 references: decoded")
    assert check == named(second, check.name), "told again where nothing is decoded again"
    assert check.state == "failed"
    assert check.found.startswith(f"5 of 20 do not: {', '.join(broken)} ({tmp_path}/disc21/references_0.zip: images/")
    assert "R000001.jpg: no readable image" in check.found
    assert check.hint is not None
    assert (
        "removed the recorded digest of disc21/references_0.zip, so that another copy may take its place" in check.hint
    )
    assert named(found, "disc21 training: decoded").found == "3"
    assert not found.ok
    assert not second.ok


def test_a_published_digest_stays_on_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = zip_of([*disc21_images("R", range(2)), ("images/references/R000002.jpg", b"no image")])
    digest, name = sha256(content).hexdigest(), "disc21/references_0.zip"
    published = [
        each.model_copy(update={"sha256": digest}) if each.key == name else each
        for each in shards("disc21", "references")
    ]
    monkeypatch.setattr(verifying, "shards", lambda *_: published)
    put(tmp_path, name, content)
    check = named(verify(tmp_path, parts=("references",)), "disc21 references: decoded")
    assert (check.state, check.hint) == ("failed", "fetch the archive again, or report the images")
    assert read_trust(tmp_path).files[name].sha256 == digest


def test_without_images_none_is_decoded(tmp_path: Path) -> None:
    put(tmp_path, "disc21/references/R000002.jpg", b"")
    found = quick(tmp_path)
    assert found.ok
    assert not any(name.endswith("decoded") for name in names(found))
    assert not (tmp_path / decoding.FOLDER).exists()


# What is asked for, and how it ends.


def test_only_the_parts_asked_for(tmp_path: Path) -> None:
    """``queries`` are NDEC's: DISC21's two sets of queries have names of their own."""
    for name, content in (
        ("disc21/references_0.zip", zip_of(disc21_images("R", (1,)))),
        ("disc21/dev_queries.zip", zip_of(disc21_images("Q", (1,)))),
        ("disc21/final_queries.zip", zip_of(disc21_images("Q", (50_001,)))),
        ("ndec/query_images_h5.tar", tar_of(ndec_queries((25_000, 50_000)))),
        ("disc21/dev_ground_truth.csv", b"not that"),
    ):
        put(tmp_path, name, content)
    everything = {f"{each.dataset}/{each.name}" for each in remote_files()}

    def read(*parts: str) -> tuple[set[str], set[str]]:
        found = names(verify(tmp_path, parts=parts))
        return found & everything, {name.partition(":")[0] for name in found - everything}

    assert read("references") == ({"disc21/references_0.zip"}, {"disc21 references"})
    assert read("queries") == ({"ndec/query_images_h5.tar"}, {"ndec queries"})
    assert read("dev-queries", "final-queries") == (
        {"disc21/dev_queries.zip", "disc21/final_queries.zip"},
        {"disc21 dev-queries", "disc21 final-queries"},
    )
    files, others = read("ground-truth")
    assert files == {"disc21/dev_ground_truth.csv"}
    assert others == {f"ground truth of disc21-{half}" for half in ("dev", "dev1", "dev2")}
    assert len(read()[0]) == 5
    assert cost(tmp_path, parts=("references",)).images == 1
    assert cost(tmp_path).images == 5


def test_an_interrupted_run_says_so_and_the_next_ends(tmp_path: Path) -> None:
    put(tmp_path, "disc21/dev_queries.zip", zip_of((f"Q{n:05d}.jpg", jpeg(n % 5)) for n in range(2_500)))

    def stop(stage: str, done: int, _: int, /) -> None:
        if stage.startswith("decoding") and done == 1_000:
            raise KeyboardInterrupt

    with pytest.raises(InterruptedRun, match="what was decoded is kept; the same command goes on"):
        verify(tmp_path, progress=stop)
    told: list[tuple[int, int]] = []
    found = verify(
        tmp_path, progress=lambda stage, done, total: told.append((done, total)) if "decoding" in stage else None
    )
    assert told == [(1_000, 2_500), (2_000, 2_500), (2_500, 2_500)]
    assert named(found, "disc21 dev-queries: decoded").found == "2,500"


def test_what_it_costs(tmp_path: Path) -> None:
    path = put(tmp_path, "disc21/references_0.zip", zip_of([*disc21_images("R", range(3)), ("R000003.jpg", b"")]))
    put(tmp_path, "disc21/train/T000001.jpg", jpeg(1))
    put(tmp_path, "disc21/dev_queries.zip", b"no zip")  # its check will tell; the cost is that of the others
    found = cost(tmp_path)
    assert (found.images, found.bytes) == (5, path.stat().st_size)
    assert (found.seconds or 0) > 0


def test_the_command_tells_the_cost_before_it_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = put(tmp_path, "disc21/references_0.zip", zip_of(disc21_images("R", range(3))))
    assert run(["data", "verify", "--root", str(tmp_path), "--jobs", "1", "--json"]) == 0
    out, err = capsys.readouterr()
    first, *rest = err.splitlines()
    assert first.startswith(f"to read: 3 images, {path.stat().st_size / 1000:.1f} kB of archives, at most about 0 s")
    assert "reading references_0.zip: " in "\n".join(rest)
    assert "decoding disc21/references: 3 of 3" in rest
    found = json.loads(out)
    assert set(found) == {"ok", "root", "checks"}
    assert Verification.model_validate({"root": found["root"], "checks": found["checks"]}).ok
    assert run(["data", "verify", "--root", str(tmp_path), "--no-images"]) == 0
    assert "to read" not in capsys.readouterr().err, "nothing is decoded"


def test_the_table_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path, "disc21/references_0.zip", zip_of(disc21_images("R", range(3))))
    put(tmp_path, "disc21/references_1.zip", zip_of(disc21_images("R", (50_000,))))
    assert run(["data", "verify", "--root", str(tmp_path)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == f"Data root {tmp_path}"
    assert "ok files 2 as published or as first recorded" in lines
    assert "ok disc21 references: decoded 4" in lines
    assert not any(line.startswith("- ") for line in lines), "what is not there has no row"
    assert any(line.startswith("Not there: ground truth of ndec, ") for line in lines)
    assert lines[-1] == "Everything that is there is right."
    put(tmp_path, "disc21/references_1.zip", zip_of([("R050000.jpg", b"")]))
    assert run(["data", "verify", "--root", str(tmp_path)]) == 4
    text = capsys.readouterr().out
    assert "FAILED disc21/references_1.zip: SHA-256 " in text
    assert "FAILED disc21 references: decoded: 1 of 4 do not: R050000 (" in text
    assert text.endswith("Some of it is WRONG, see above.\n")
