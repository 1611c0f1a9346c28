"""The line from images to a page, on a split of a dozen drawn pictures."""

import doctest
import json
import shutil
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ndec_baselines import running
from ndec_baselines.describing import extract
from ndec_bench import mini
from ndec_bench.cli import run
from ndec_bench.descriptors import Descriptors, packing, read_attributes, read_submission, write_descriptors
from ndec_bench.errors import SubmissionError
from ndec_bench.results.describing import Describing, joined, read_describing, read_report
from ndec_bench.results.record import read_result
from ndec_bench.submissions.card import read_card
from ndec_bench.submissions.policy import level_of, undeclared, why_unranked


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with the split ``toy-1``: Q00000 is R000000 brightened; Q00003 is a hard negative."""
    folder = tmp_path / "data" / "toy-1"
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 200, (8, 24, 24, 3), dtype=np.uint8)
    for side, letter, digits in (("queries", "Q", 5), ("references", "R", 6)):
        (folder / "images" / side).mkdir(parents=True)
        for number in range(4):
            picture = pictures[number if side == "references" or number == 0 else 4 + number]
            if side == "queries" and number == 0:
                picture = picture + 20
            Image.fromarray(picture).save(folder / "images" / side / f"{letter}{number:0{digits}d}.png")
    (folder / "split.json").write_text(json.dumps({"name": "toy-1", "digest": "a" * 64}))
    (folder / "ground_truth.csv").write_text("query_id,reference_id\nQ00000,R000000\nQ00001,\nQ00002,\nQ00003,\n")
    (folder / "hard_negatives.txt").write_text("Q00003\n")
    (folder / "references.txt").write_text("".join(f"R{i:06d}\n" for i in range(4)))
    return tmp_path / "data"


def test_examples_of_the_docstrings_run(root: Path) -> None:
    assert doctest.testmod(running, extraglobs={"folder": root}) == (0, 7)


def test_run_leaves_every_stage_on_disk(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ["run", "thumbnail", "--split", "toy-1", "--root", str(root), "--out", str(out), "--name", "mine"]
    assert run([*arguments, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    result = read_result(out / "results" / "ndec-1" / "mine.json")
    assert shown == json.loads((out / "results" / "ndec-1" / "mine.json").read_text())
    assert (result.split, result.parts["all"].micro_ap) == ("toy-1", 1.0)
    assert result.provenance.command == "ndec-bench run thumbnail --split toy-1 --name mine"
    assert result.describing is not None
    assert (result.describing.images, result.describing.baseline) == (8, "thumbnail 1")
    submission = read_submission(out / "submissions" / "mine" / "mine.h5")
    assert (submission.split, len(submission.queries), len(submission.references)) == ("toy-1", 4, 4)
    card = read_card(out / "submissions" / "mine" / "submission.toml")
    assert card.descriptors is not None
    assert card.descriptors.sha256 == result.digests.submission == submission.sha256
    assert (card.name, card.split, card.declarations.labels_used) == ("mine", "toy-1", ["none"])
    assert undeclared(card) == []
    assert card.verified is None


def test_the_demo_vouches_for_what_it_ran_itself(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(out: Path, **_: object) -> None:
        shutil.copytree(root / "toy-1", out)
        description = json.loads((out / "split.json").read_text())
        (out / "split.json").write_text(json.dumps({**description, "name": out.name}))

    monkeypatch.setattr(mini, "build", build)
    monkeypatch.setattr(running, "DEMO_BASELINES", ["thumbnail"])
    report = running.demo(tmp_path / "demo")
    card = read_card(tmp_path / "demo" / "submissions" / "thumbnail" / "submission.toml")
    assert card.verified is not None
    assert (card.verified.level, card.verified.date) == ("re-described", None)
    assert card.verified.note == "made and scored by ndec-bench demo"
    assert level_of(report.results[0], card) == "re-described"
    assert why_unranked(report.results[0], card) == []


@pytest.mark.parametrize("name", ["../evil", "Capital", "a" * 64, "a|b"])
def test_names_that_cannot_be_a_folder_are_refused(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out = tmp_path / "out"
    arguments = ["run", "thumbnail", "--split", "toy-1", "--root", str(root), "--out", str(out), f"--name={name}"]
    assert run(arguments) == 2
    assert "cannot name a folder of submissions" in capsys.readouterr().err
    assert not out.exists()


def test_the_packed_file_scores_to_the_same_result(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = running.run("thumbnail", "toy-1", out, root=root)
    packed = out / "submissions" / "thumbnail" / "thumbnail.h5"
    assert run(["score", str(packed), "--root", str(root), "--out", str(tmp_path / "again.json")]) == 0
    again = read_result(tmp_path / "again.json")
    assert (again.parts, again.predictions_sha256, again.digests) == (
        first.parts,
        first.predictions_sha256,
        first.digests,
    )
    assert again.describing == first.describing


@pytest.mark.parametrize("digest", ["a" * 64, None], ids=["digest of the images", "no digest"])
def test_descriptors_are_kept_by_recipe_and_images_whatever_the_submission_is_called(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digest: str | None
) -> None:
    out, folder = tmp_path / "out", root / "toy-1"
    (folder / "split.json").write_text(json.dumps({"name": "toy-1", **({"digest": digest} if digest else {})}))
    describe, described = extract.describe_images, list[str]()
    monkeypatch.setattr(extract, "describe_images", lambda *a, **b: described.append(b["stage"]) or describe(*a, **b))
    for name, steps in (("first", None), ("second", ("l2",))):
        running.run("thumbnail", "toy-1", out, root=root, options=running.RunOptions(name=name, steps=steps))
    assert described == ["first: describing queries", "first: describing references"]
    assert sorted(path.name for path in (out / "submissions").iterdir()) == ["first", "second"]
    # Other pictures under the same names.
    Image.new("RGB", (24, 24), "red").save(folder / "images" / "queries" / "Q00003.png")
    (folder / "split.json").write_text(json.dumps({"name": "toy-1", **({"digest": "b" * 64} if digest else {})}))
    running.run("thumbnail", "toy-1", out, root=root)
    again = ["thumbnail: describing queries", "thumbnail: describing references"]
    assert described[2:] == (again if digest else again[:1])


def test_describing_a_part_of_a_split_gives_the_file_that_run_takes(root: Path, tmp_path: Path) -> None:
    running.run("thumbnail", "toy-1", tmp_path / "run", root=root)
    (made,) = (tmp_path / "run" / "descriptors" / "thumbnail").glob("references-*.h5")
    out = tmp_path / "references.h5"
    where = ["--split", "toy-1", "--part", "references", "--root", str(root)]
    assert run(["describe", "thumbnail", *where, "--out", str(out)]) == 0
    assert out.read_bytes() == made.read_bytes()


def test_two_runs_give_the_same_submission_bytes(root: Path, tmp_path: Path) -> None:
    files = []
    for out in (tmp_path / "a", tmp_path / "b"):
        running.run("thumbnail", "toy-1", out, root=root)
        files.append((out / "submissions" / "thumbnail" / "thumbnail.h5").read_bytes())
    assert files[0] == files[1]


def described(
    path: Path,
    letter: str,
    *,
    attributes: dict[str, str] | None = None,
    dimension: int = 4,
    norms: NDArray[np.float32] | None = None,
    invalid_ids: Sequence[str] = (),
) -> Path:
    """A descriptor file with what one may hold beside its vectors; rows are given in no order."""
    vectors = np.arange(5 * dimension, dtype=np.float32).reshape(5, dimension) + 1
    descriptors = Descriptors(tuple(f"{letter}{i}" for i in (3, 0, 4, 1, 2)), vectors)
    write_descriptors(path, descriptors, attributes or {}, norms=norms, invalid_ids=invalid_ids)
    return path


def test_pack_keeps_the_recipe_and_leaves_the_digests_of_images_out(tmp_path: Path) -> None:
    common = {"baseline": "x", "metric": "ip"}
    query = described(tmp_path / "q.h5", "Q", attributes={**common, "images_sha256": "1"})
    reference = described(tmp_path / "r.h5", "R", attributes={**common, "images_sha256": "2"})
    background = described(tmp_path / "b.h5", "B", attributes=common)
    arguments = ["pack", "--query", str(query), "--reference", str(reference), "--background", str(background)]
    assert run([*arguments, "--split", "toy-1", "--out", str(tmp_path / "s.h5")]) == 0
    assert read_attributes(tmp_path / "s.h5") == {"baseline": "x", "metric": "ip", "split": "toy-1"}
    packed = read_submission(tmp_path / "s.h5")
    assert packed.background is not None
    assert packed.background.ids == ("B0", "B1", "B2", "B3", "B4")


@pytest.mark.parametrize(
    ("attributes", "dimension", "message"),
    [
        ({"baseline": "y"}, 4, r"r.h5: baseline is 'y', but 'x' in .*q.h5"),
        ({}, 4, r"r.h5: baseline is None, but 'x' in"),
        ({"baseline": "x"}, 2, r"r.h5: 2 dimensions, but 4 in"),
    ],
)
def test_pack_refuses_sides_that_do_not_belong_together(
    tmp_path: Path, attributes: dict[str, str], dimension: int, message: str
) -> None:
    query = described(tmp_path / "q.h5", "Q", attributes={"baseline": "x"})
    reference = described(tmp_path / "r.h5", "R", attributes=attributes, dimension=dimension)
    with pytest.raises(SubmissionError, match=message):
        packing.pack(query, reference, tmp_path / "s.h5", split="toy-1")
    assert not (tmp_path / "s.h5").exists()


def test_pack_carries_norms_and_broken_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    norms = np.array([3, 0, 4, 1, 2], dtype=np.float32)
    query = described(tmp_path / "q.h5", "Q", norms=norms, invalid_ids=["Q9", "Q8"])
    reference = described(tmp_path / "r.h5", "R", norms=norms + 10, invalid_ids=["R7"])
    background = described(tmp_path / "b.h5", "B", norms=norms, invalid_ids=["B7"])
    arguments = ["pack", "--query", str(query), "--reference", str(reference), "--background", str(background)]
    assert run([*arguments, "--split", "toy-1", "--out", str(tmp_path / "s.h5"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["invalid"] == 4
    with read_submission(tmp_path / "s.h5") as packed:
        assert packed.invalid_ids == ("B7", "Q8", "Q9", "R7")
        assert packed.queries.ids == ("Q0", "Q1", "Q2", "Q3", "Q4")
        assert packed.query_norms is not None
        assert packed.reference_norms is not None
        assert packed.query_norms.tolist() == [0, 1, 2, 3, 4]
        assert packed.reference_norms.tolist() == [10, 11, 12, 13, 14]
        assert packed.queries.vectors[:, 0].tolist() == [5, 13, 17, 1, 9]


@pytest.mark.parametrize("lacking", ["q", "r"])
def test_pack_refuses_norms_of_one_side(tmp_path: Path, lacking: str) -> None:
    norms = np.ones(5, dtype=np.float32)
    query = described(tmp_path / "q.h5", "Q", norms=None if lacking == "q" else norms)
    reference = described(tmp_path / "r.h5", "R", norms=None if lacking == "r" else norms)
    with pytest.raises(SubmissionError, match=rf"{lacking}\.h5: no dataset 'norms', but .*\.h5 has one"):
        packing.pack(query, reference, tmp_path / "s.h5", split="toy-1")
    assert not (tmp_path / "s.h5").exists()


def test_broken_images_of_a_split_are_scored_as_without_predictions(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = root / "toy-1" / "images"
    (images / "queries" / "Q00001.png").write_text("no picture")
    (images / "references" / "R000003.png").write_text("no picture")
    for part in ("queries", "references"):
        out = str(tmp_path / f"{part}.h5")
        where = ["--split", "toy-1", "--part", part, "--root", str(root), "--keep-going", "--out", out]
        assert run(["describe", "thumbnail", *where]) == 0
    files = ["--query", str(tmp_path / "queries.h5"), "--reference", str(tmp_path / "references.h5")]
    assert run(["pack", *files, "--split", "toy-1", "--out", str(tmp_path / "s.h5")]) == 0
    capsys.readouterr()
    for given in ([str(tmp_path / "s.h5")], files):
        arguments = ["score", *given, "--split", "toy-1", "--root", str(root), "--out", str(tmp_path / "result.json")]
        assert run(arguments) == 0, capsys.readouterr().err
        result = read_result(tmp_path / "result.json")
        assert any("1 labelled queries are listed in invalid_ids" in note for note in result.notes)
        assert result.parts["all"].queries == 4
        assert not result.partial


def test_pack_carries_what_describing_took(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {}
    for part in ("queries", "references"):
        files[part] = tmp_path / f"{part}.h5"
        where = ["--split", "toy-1", "--part", part, "--root", str(root), "--out", str(files[part])]
        assert run(["describe", "thumbnail", *where]) == 0
    out = tmp_path / "s.h5"
    arguments = ["pack", "--query", str(files["queries"]), "--reference", str(files["references"])]
    arguments += ["--split", "toy-1", "--out", str(out)]
    assert run(arguments) == 0
    took = read_describing(out)
    assert took is not None
    assert (took.baseline, took.device, took.images) == ("thumbnail 1", "cpu", 8)
    reports = [read_report(file) for file in files.values()]
    assert took.seconds == pytest.approx(sum(report.seconds for report in reports if report), abs=1e-3)
    # A record of another file is no record; and what stands beside the submission is not of it any more.
    capsys.readouterr()
    described(files["references"], "R", attributes=read_attributes(files["queries"]))
    described(files["queries"], "Q", attributes=read_attributes(files["queries"]))
    assert run(arguments) == 0
    assert read_describing(out) is None
    assert "what describing took is not recorded" in capsys.readouterr().err


def test_a_json_that_is_somebodys_own_harms_no_packing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    query, reference = described(tmp_path / "q.h5", "Q"), described(tmp_path / "r.h5", "R")
    (tmp_path / "q.h5.json").write_text('{"mine": 1}')
    (tmp_path / "s.h5.json").write_text('{"mine": 2}')
    arguments = ["pack", "--query", str(query), "--reference", str(reference), "--split", "toy-1"]
    assert run([*arguments, "--out", str(tmp_path / "s.h5")]) == 0
    assert (tmp_path / "s.h5.json").read_text() == '{"mine": 2}'


def test_detections_concern_one_side_and_steps_all(tmp_path: Path) -> None:
    common = {"baseline": "x", "steps": "l2", "background_sha256": "c"}
    query = described(tmp_path / "q.h5", "Q", attributes={**common, "detections_sha256": "a"})
    reference = described(tmp_path / "r.h5", "R", attributes=common)
    packing.pack(query, reference, tmp_path / "s.h5", split="toy-1").close()
    assert read_attributes(tmp_path / "s.h5") == {**common, "detections_sha256": "a", "metric": "l2", "split": "toy-1"}
    reference = described(tmp_path / "r.h5", "R", attributes={**common, "detections_sha256": "b"})
    packing.pack(query, reference, tmp_path / "s.h5", split="toy-1").close()
    assert read_attributes(tmp_path / "s.h5")["reference_detections_sha256"] == "b"
    for change in ({"steps": "l2 | centre"}, {"background_sha256": "d"}):
        described(tmp_path / "r.h5", "R", attributes={**common, **change})
        with pytest.raises(SubmissionError, match=r"give all sides the same steps and background"):
            packing.pack(query, reference, tmp_path / "s.h5", split="toy-1")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("in_order", [False, True])
def test_references_of_any_order_and_storage_are_packed_to_the_same_bytes(
    tmp_path: Path, compressed: bool, in_order: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "KEPT_BYTES", 0)  # as if they were too many for memory
    count = 10_000
    vectors = np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)
    ids = np.array([f"R{number:06}" for number in range(count)])
    expected = tmp_path / "expected.h5"
    queries = described(tmp_path / "q.h5", "Q", dimension=8)
    write_descriptors(tmp_path / "sorted.h5", Descriptors(tuple(ids.tolist()), vectors), {})
    packing.pack(queries, tmp_path / "sorted.h5", expected, split="toy-1").close()
    order = np.arange(count) if in_order else np.random.default_rng(1).permutation(count)
    with h5py.File(tmp_path / "r.h5", "w") as file:
        options = {"chunks": (1000, 3), "compression": "gzip"} if compressed else {}
        file.create_dataset("vectors", data=vectors[order], **options)
        file["image_names"] = ids[order].astype("S")
    packing.pack(queries, tmp_path / "r.h5", tmp_path / "s.h5", split="toy-1").close()
    assert (tmp_path / "s.h5").read_bytes() == expected.read_bytes()
    with read_submission(expected) as packed:
        assert packed.references.ids == tuple(ids.tolist())
        assert np.array_equal(packed.references.read(0, count), vectors)


def test_packing_holds_a_block_of_references_at_a_time(tmp_path: Path) -> None:
    count, dimension = 60_000, 512
    size = count * dimension * 4
    query = tmp_path / "q.h5"
    write_descriptors(query, Descriptors(("Q0", "Q1"), np.eye(2, dimension, dtype=np.float32)), {})
    vectors = np.random.default_rng(0).random((count, dimension), dtype=np.float32)
    write_descriptors(tmp_path / "r.h5", Descriptors(tuple(f"R{i:06}" for i in range(count)), vectors), {})
    del vectors
    tracemalloc.start()
    try:
        packing.pack(query, tmp_path / "r.h5", tmp_path / "s.h5", split="toy-1").close()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (tmp_path / "s.h5").stat().st_size > size
    assert peak < 0.75 * size


def test_costs_of_sides_add_up() -> None:
    sides = [Describing(baseline="x 1", device="cpu", images=10, seconds=1.0), Describing(images=30, seconds=1.0)]
    both = joined(sides)
    assert (both.images, both.seconds, both.milliseconds_per_image, both.images_per_second) == (40, 2.0, 50, 20)
    assert (both.baseline, both.device) == ("x 1", "cpu")
    apart = joined([Describing(device="cpu"), Describing(device="cuda"), Describing(device="cpu")])
    assert (apart.baseline, apart.device) == (None, "cpu and cuda")


@pytest.mark.parametrize("in_place", [False, True])
def test_what_describing_took_survives_postprocessing(root: Path, tmp_path: Path, in_place: bool) -> None:
    files = {}
    for side, part in (("query", "queries"), ("reference", "references")):
        files[side] = tmp_path / f"{part}.h5"
        where = ["--split", "toy-1", "--part", part, "--root", str(root)]
        assert run(["describe", "thumbnail", *where, "--out", str(files[side])]) == 0
        made = files[side] if in_place else tmp_path / f"{part}-unit.h5"
        before = read_report(files[side])
        assert run(["postprocess", str(files[side]), "--step", "l2", str(made)]) == 0
        after = read_report(made)
        assert before is not None
        assert after is not None
        assert after.sha256 != before.sha256
        assert (after.seconds, after.images, after.baseline) == (before.seconds, 4, "thumbnail")
        files[side] = made
    sides = ["--query", str(files["query"]), "--reference", str(files["reference"])]
    assert run(["pack", *sides, "--split", "toy-1", "--out", str(tmp_path / "s.h5")]) == 0
    packed = read_describing(tmp_path / "s.h5")
    assert packed is not None
    assert (packed.images, packed.baseline) == (8, "thumbnail 1")
    assert run(["postprocess", str(tmp_path / "s.h5"), "--step", "l2", str(tmp_path / "t.h5")]) == 0
    assert read_describing(tmp_path / "t.h5") == packed


def test_times_of_fused_files_add_up(root: Path, tmp_path: Path) -> None:
    seconds = []
    for name in ("thumbnail", "phash"):
        out = tmp_path / f"{name}.h5"
        where = ["--split", "toy-1", "--part", "queries", "--root", str(root)]
        assert run(["describe", name, *where, "--out", str(out)]) == 0
        report = read_report(out)
        assert report is not None
        seconds.append(report.seconds)
    both = tmp_path / "both.h5"
    other = ["--with", str(tmp_path / "phash.h5")]
    assert run(["postprocess", str(tmp_path / "thumbnail.h5"), *other, "--step", "concat", str(both)]) == 0
    report = read_report(both)
    assert report is not None
    assert (report.images, report.dimension, report.bytes_per_descriptor) == (4, 512, 2048)
    assert report.seconds == pytest.approx(sum(seconds), abs=1e-5)
