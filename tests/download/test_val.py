"""ndec-val-1 in small: which images it takes, in which direction, what it refuses, and that it builds on."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from small_archives import disc21_images, jpeg, negative_pairs, split, tar_of, zip_of
from static_host import Fault, StaticHost

from ndec_bench.data import known
from ndec_bench.data.ground_truth import GroundTruth, write_ground_truth
from ndec_bench.data.layouts import images_of
from ndec_bench.data.roots import find_split
from ndec_bench.data.split import Split
from ndec_bench.download.derived import pairs, val
from ndec_bench.download.derived.val import ValRule, build_val, excluded_folders, excluded_images, plan_val
from ndec_bench.download.exchange import Policy
from ndec_bench.download.jobs import Run
from ndec_bench.download.links import read_links
from ndec_bench.errors import DataError, InterruptedRun, MissingDataError, NetworkError

if TYPE_CHECKING:
    from collections.abc import Iterator


HASTY = Policy(attempts=2, first_wait=0.001, longest_wait=0.002)
QUERIES = tuple(f"Q{number:05d}" for number in range(25_000))
PAIRS = ((QUERIES[1], "R000002"), (QUERIES[7], "R000030"), (QUERIES[8], "R050001"))
RULE = ValRule(distractors=4, folders=5, others=6)
# In stream order, which is not that of their numbers.
FOLDERS = ((9, 100), (2, 101), (7, 102), (1, 103), (5, 104), (3, 105), (4, 106))


@pytest.fixture(autouse=True)
def _small_world(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = sha256("".join(f"{query},{reference}\n" for query, reference in PAIRS).encode()).hexdigest()
    dev1 = replace(known.KNOWN["disc21-dev1"], positives=len(PAIRS), pairs_sha256=digest)
    monkeypatch.setattr(known, "KNOWN", {**known.KNOWN, "disc21-dev1": dev1})
    numbers = (*range(40), *range(50_000, 50_010))
    monkeypatch.setattr(known, "reference_ids", lambda: tuple(f"R{number:06d}" for number in numbers))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    path = tmp_path / "root" / "disc21-dev1" / "ground_truth.csv"
    path.parent.mkdir(parents=True)
    path.write_text(write_ground_truth(GroundTruth(QUERIES, PAIRS, listed=True)))
    return tmp_path / "root"


def chunk(folders: tuple[tuple[int, int], ...] = FOLDERS) -> bytes:
    """The first piece of the tar: its last folder is cut off in the middle."""
    whole = tar_of(negative_pairs(folders))
    return split(whole, [len(whole) * 95 // 100])[0]


def published() -> dict[str, bytes]:
    return {
        "/negative_pair.tar.aa": chunk(),
        "/dev_queries.zip": _dev_queries(),
        "/references_0.zip": zip_of(disc21_images("R", range(40))),
        "/references_1.zip": zip_of(disc21_images("R", range(50_000, 50_010))),
    }


def _dev_queries() -> bytes:
    ids = val.val_ids(GroundTruth(QUERIES, PAIRS, listed=True), RULE).queries
    return zip_of(disc21_images("Q", [int(each[1:]) for each in ids]))


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[StaticHost]:
    with StaticHost(published()) as running:
        monkeypatch.setenv("NDEC_BENCH_BASE_URL_META", running.url)
        monkeypatch.setenv("NDEC_BENCH_BASE_URL_HUGGINGFACE", running.url)
        yield running


def build(root: Path, run: Run | None = None) -> val.ValReport:
    return build_val(run or Run(root, policy=HASTY), jobs=2, rule=RULE)


def test_it_is_a_split_like_any_other(root: Path, host: StaticHost) -> None:
    report = build(root)
    found = find_split("ndec-val-1", root)
    assert isinstance(found, Split)
    assert not found.test
    assert found.hard_negatives == {"N00009", "N00002", "N00007", "N00001", "N00005"}
    assert len(found.query_ids) == 3 + 4 + 5
    assert found.truth.pairs == PAIRS
    assert len(found.reference_ids or ()) == 3 + 6 + 5
    assert tuple(images_of(found, "queries").ids) == found.query_ids
    assert tuple(images_of(found, "references").ids) == found.reference_ids
    assert report.info.counts == {"copies": 3, "plain distractors": 4, "hard negatives": 5, "references": 14}
    assert not (root / "ndec-val-1.partial").exists()


def test_the_look_alike_asks_and_the_training_image_answers(root: Path, host: StaticHost) -> None:
    build(root)
    found = Split.from_folder(root / "ndec-val-1")
    stored = dict(negative_pairs(FOLDERS))
    for folder, number in FOLDERS[:5]:
        inside = f"negative_pair/{folder:05}/"
        assert images_of(found, "references").read_bytes(f"T{number:06d}") == stored[f"{inside}T{number:06d}.jpg"]
        (look_alike,) = (n for n in stored if n.startswith(inside) and n not in (inside, f"{inside}T{number:06d}.jpg"))
        assert images_of(found, "queries").read_bytes(f"N{folder:05d}") == stored[look_alike]
    assert all(query not in {pair[0] for pair in found.truth.pairs} for query in found.hard_negatives or ())


def test_its_folders_are_left_out_of_training(root: Path, host: StaticHost) -> None:
    assert excluded_folders(root) == excluded_images(root) == frozenset()
    build(root)
    assert excluded_folders(root) == {"00009", "00002", "00007", "00001", "00005"}
    assert excluded_images(root) == {"T000100", "T000101", "T000102", "T000103", "T000104"}


def test_only_what_it_needs_is_fetched(root: Path, host: StaticHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "_STEP", 4096)
    many = tuple((number, number) for number in range(1, 200))
    host.change("/negative_pair.tar.aa", chunk(many))
    build(root)
    sent = sum(request.sent for request in host.requests if request.path == "/negative_pair.tar.aa")
    assert sent < len(chunk(many)) / 4


@pytest.mark.parametrize(
    "members",
    [
        [("negative_pair/00002/T000001.jpg", jpeg(1))],
        [("negative_pair/00002/T000001.jpg", jpeg(1)), ("negative_pair/00002/T000002.jpg", jpeg(2))],
        [("negative_pair/00002/a.jpg", jpeg(1)), ("negative_pair/00002/b.jpg", jpeg(2))],
        [(f"negative_pair/00002/{name}.jpg", jpeg(3)) for name in ("T000001", "a", "b")],
        [("negative_pair/notes/T000001.jpg", jpeg(1)), ("negative_pair/notes/a.jpg", jpeg(2))],
    ],
)
def test_folders_that_are_no_pair_are_passed_over_and_listed(
    root: Path, host: StaticHost, members: list[tuple[str, bytes]]
) -> None:
    first, *rest = (negative_pairs([each]) for each in FOLDERS if each[0] != 2)
    host.change("/negative_pair.tar.aa", tar_of([*first, *members, *(m for each in rest for m in each[1:])]))
    report = build(root)
    folder = members[0][0].split("/")[1]
    assert report.passed_over == (folder,)
    assert folder not in excluded_folders(root)
    assert report.info.counts["hard negatives"] == 5


def test_a_stray_file_in_a_folder_is_no_image(root: Path, host: StaticHost) -> None:
    members = negative_pairs(FOLDERS)
    members.insert(2, (f"{members[1][0].rpartition('/')[0]}/Thumbs.db", b"x"))
    host.change("/negative_pair.tar.aa", tar_of(members))
    assert build(root).passed_over == ()


def test_too_few_folders_are_an_error(root: Path, host: StaticHost) -> None:
    host.change("/negative_pair.tar.aa", chunk(FOLDERS[:3]))
    with pytest.raises(DataError, match=r"negative_pair\.tar\.aa: .* folders with a pair, 5 needed"):
        build(root)
    assert not (root / "ndec-val-1").exists()


def test_a_stopped_build_goes_on_and_fetches_nothing_twice(
    root: Path, host: StaticHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "_STEP", 2048)
    run = Run(root, policy=HASTY)
    told: list[str] = []

    def stop_in_references(stage: str, _done: int, _total: int) -> None:
        told.append(stage)
        if "references" in stage:
            run.stop.set()

    run.progress = stop_in_references
    with pytest.raises(InterruptedRun):
        build(root, run)
    host.requests.clear()
    build(root)
    assert {request.path for request in host.requests} <= {
        "/references_0.zip",
        "/references_1.zip",
        "/negative_pair.tar.aa",
    }
    body = [request for request in host.requests if request.path == "/negative_pair.tar.aa"]
    assert sum(request.sent for request in body) <= 1  # only its size was asked for


def test_a_rebuild_with_other_ids_shows_both_digests(root: Path, host: StaticHost, tmp_path: Path) -> None:
    first = build(root).info.digests["ids"]
    (root / "ndec-val-1").rename(tmp_path / "first")
    assert build(root).info.digests["ids"] == first
    (root / "ndec-val-1").rename(tmp_path / "second")
    host.change("/negative_pair.tar.aa", chunk(tuple((folder, number + 500) for folder, number in FOLDERS)))
    with pytest.raises(DataError, match=rf"ids [0-9a-f]{{64}}, but {first} at the first build"):
        build(root)


def test_what_is_here_is_read_here(root: Path, host: StaticHost) -> None:
    for path, content in published().items():
        home = root / ("ndec" if "pair" in path else "disc21")
        home.mkdir(exist_ok=True)
        (home / path[1:]).write_bytes(content)
    first = build(root).info.digests["ids"]
    assert host.requests == []
    assert json.loads((root / "ndec-val-1" / "split.json").read_text())["digests"]["ids"] == first
    assert (root / "ndec" / "negative_pair.tar.aa").is_file()


def test_a_plan_says_what_it_costs(root: Path, host: StaticHost) -> None:
    planned = plan_val(root)
    assert [each.file.images for each in planned] == [3 + 5_000, 3 + 20_000, 10_000]
    assert all(not each.file.bytes_exact and each.state == "missing" for each in planned)
    build(root)
    assert all(each.state == "present" for each in plan_val(root))


def test_without_the_ground_truth_the_command_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="ndec-bench download disc21 ground-truth"):
        build(tmp_path)


def shifted() -> list[tuple[str, bytes]]:
    """Another version of the pairs: the same folders with other pictures, the look-alikes as PNG by name."""
    members = negative_pairs(tuple((folder, number + 500) for folder, number in FOLDERS))
    return [(name.replace("/1.jpg", "/1.png"), content) for name, content in members]


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_another_version_of_the_chunk_starts_again_and_leaves_no_picture_of_the_first(
    root: Path, host: StaticHost, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    monkeypatch.setattr(pairs, "_STEP", 2048)
    host.fault("/references_0.zip", Fault(status=404), always=True)
    with pytest.raises(NetworkError):
        build(root)
    other = shifted() if suffix == "png" else negative_pairs((folder, number + 500) for folder, number in FOLDERS)
    host.change("/negative_pair.tar.aa", tar_of(other))
    host.fault("/references_0.zip", Fault(), always=True)
    build(root)
    found = Split.from_folder(root / "ndec-val-1")
    queries, references = images_of(found, "queries"), images_of(found, "references")
    assert (tuple(queries.ids), tuple(references.ids)) == (found.query_ids, found.reference_ids)
    assert "T000600" in references.ids
    assert queries.read_bytes("N00009") == dict(other)[f"negative_pair/00009/1.{suffix}"]


def test_a_damaged_beginning_is_fetched_again(root: Path, host: StaticHost) -> None:
    host.fault("/dev_queries.zip", Fault(status=404), always=True)
    with pytest.raises(NetworkError):
        build(root)
    path = root / "ndec-val-1.partial" / "negative_pair.begin.tar"
    content = path.read_bytes()
    path.write_bytes(content[:2048] + bytes(4096) + content[6144:])  # as a power cut may leave it
    host.fault("/dev_queries.zip", Fault(), always=True)
    assert build(root).info.counts["hard negatives"] == 5


def test_a_build_that_fails_at_the_move_fetches_nothing_twice(
    root: Path, host: StaticHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.replace

    def no_move(self: Path, target: Path) -> Path:
        if self.name == "ndec-val-1.partial":
            raise PermissionError(13, "Permission denied")
        return real(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", no_move)
        with pytest.raises(DataError, match="cannot be moved there"):
            build(root)
    host.requests.clear()
    build(root)
    assert host.sent() <= 1  # the size of the chunk was asked for
    assert not list((root / "ndec-val-1").glob("negative_pair.begin*"))


def test_a_folder_in_the_way_is_told_before_anything_is_fetched(root: Path, host: StaticHost) -> None:
    (root / "ndec-val-1").mkdir()
    (root / "ndec-val-1" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="holds no finished split; move it away"):
        build(root)
    assert host.requests == []


def test_stray_files_between_the_folders_are_no_folder(root: Path, host: StaticHost) -> None:
    members = negative_pairs(FOLDERS)
    members.insert(4, ("negative_pair/._00002", b"x"))  # as the tar of macOS writes them
    members.insert(8, ("negative_pair/._00007", b"x"))
    host.files["/negative_pair.tar.aa"] = tar_of(members)
    assert build(root).passed_over == ()


def test_pictures_are_digested(root: Path, host: StaticHost) -> None:
    digests = build(root).info.digests
    folder = root / "ndec-val-1" / "images"
    paths = [path for side in ("queries", "references") for path in sorted((folder / side).iterdir())]
    lines = "".join(f"{path.stem} {sha256(path.read_bytes()).hexdigest()}\n" for path in paths)
    assert digests["pictures"] == sha256(lines.encode()).hexdigest()


def test_the_next_source_is_asked_and_the_first_explained(root: Path, host: StaticHost, tmp_path: Path) -> None:
    links = tmp_path / "links.txt"
    links.write_text(f"{host.url}/gone/refs_50k_0.zip?oe=7FFFFFFF\n")
    (note,) = build(root, Run(root, links=read_links(links), policy=HASTY)).notes
    assert "references_0.zip: link: " in note
    assert "404" in note


def test_many_stops_end_with_the_same_split(
    root: Path, host: StaticHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "_STEP", 3000)
    whole, size = build(root).info.digests, host.sent("/negative_pair.tar.aa")
    (root / "ndec-val-1").rename(tmp_path / "whole")
    host.requests.clear()
    for turn in range(40):
        run, told = Run(root, policy=HASTY), []

        def stop_later(*_: object, run: Run = run, told: list[int] = told, turn: int = turn) -> None:
            told.append(1)
            if len(told) == 10 + 2 * turn:
                run.stop.set()

        run.progress = stop_later
        try:
            digests = build(root, run).info.digests
            break
        except InterruptedRun:
            continue
    assert turn > 3
    assert digests == whole
    assert host.sent("/negative_pair.tar.aa") <= size + turn + 1  # each turn asks for its size, one byte
