"""The line from images to a page, on a split of a dozen drawn pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ndec_bench import pipeline
from ndec_bench.cli import run
from ndec_bench.cli.run_baseline import method_of
from ndec_bench.data.split import Split
from ndec_bench.descriptors import Descriptors, read_attributes, read_submission, write_descriptors
from ndec_bench.errors import SubmissionError
from ndec_bench.report import Describing, read_result
from ndec_bench.submission import read_card


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
    first = pipeline.run(method_of("thumbnail", "toy-1"), Split.from_folder(root / "toy-1"), out)
    packed = out / "submissions" / "thumbnail" / "thumbnail.h5"
    assert run(["score", str(packed), "--root", str(root), "--out", str(tmp_path / "again.json")]) == 0
    again = read_result(tmp_path / "again.json")
    assert (again.parts, again.predictions_sha256, again.digests) == (
        first.parts,
        first.predictions_sha256,
        first.digests,
    )
    assert again.describing == first.describing


def test_a_second_run_uses_the_descriptors_again_and_changed_pictures_do_not(root: Path, tmp_path: Path) -> None:
    out, folder = tmp_path / "out", root / "toy-1"
    method = method_of("thumbnail", "toy-1")
    pipeline.run(method, Split.from_folder(folder), out)
    file = out / "descriptors" / "thumbnail" / "queries.h5"
    before = (file.stat().st_mtime_ns, file.stat().st_ino)
    pipeline.run(method, Split.from_folder(folder), out)
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == before
    (folder / "split.json").write_text(json.dumps({"name": "toy-1", "digest": "b" * 64}))
    pipeline.run(method, Split.from_folder(folder), out)
    assert (file.stat().st_mtime_ns, file.stat().st_ino) != before
    assert read_attributes(file)["images_sha256"] == "b" * 64


def test_describing_a_part_of_a_split_gives_the_file_that_run_takes(root: Path, tmp_path: Path) -> None:
    pipeline.run(method_of("thumbnail", "toy-1"), Split.from_folder(root / "toy-1"), tmp_path / "run")
    made = tmp_path / "run" / "descriptors" / "thumbnail" / "references.h5"
    out = tmp_path / "references.h5"
    where = ["--split", "toy-1", "--part", "references", "--root", str(root)]
    assert run(["describe", "thumbnail", *where, "--out", str(out)]) == 0
    assert out.read_bytes() == made.read_bytes()


def test_two_runs_give_the_same_submission_bytes(root: Path, tmp_path: Path) -> None:
    split, method = Split.from_folder(root / "toy-1"), method_of("thumbnail", "toy-1")
    files = []
    for out in (tmp_path / "a", tmp_path / "b"):
        pipeline.run(method, split, out)
        files.append((out / "submissions" / "thumbnail" / "thumbnail.h5").read_bytes())
    assert files[0] == files[1]


def descriptor_file(path: Path, letter: str, dimension: int = 3, **attributes: str) -> Path:
    vectors = np.eye(4, dimension, dtype=np.float32) + 0.5
    write_descriptors(path, Descriptors(tuple(f"{letter}{i}" for i in range(4)), vectors), attributes)
    return path


def test_pack_keeps_the_recipe_and_leaves_the_digests_of_images_out(tmp_path: Path) -> None:
    query = descriptor_file(tmp_path / "q.h5", "Q", baseline="x", metric="ip", images_sha256="1")
    reference = descriptor_file(tmp_path / "r.h5", "R", baseline="x", metric="ip", images_sha256="2")
    background = descriptor_file(tmp_path / "b.h5", "B", baseline="x", metric="ip")
    arguments = ["pack", "--query", str(query), "--reference", str(reference), "--background", str(background)]
    assert run([*arguments, "--split", "toy-1", "--out", str(tmp_path / "s.h5")]) == 0
    assert read_attributes(tmp_path / "s.h5") == {"baseline": "x", "metric": "ip", "split": "toy-1"}
    packed = read_submission(tmp_path / "s.h5")
    assert packed.background is not None
    assert packed.background.ids == ("B0", "B1", "B2", "B3")


@pytest.mark.parametrize(
    ("attributes", "dimension", "message"),
    [
        ({"baseline": "y"}, 3, r"r.h5: baseline is 'y', but 'x' in .*q.h5"),
        ({}, 3, r"r.h5: baseline is None, but 'x' in"),
        ({"baseline": "x"}, 2, r"r.h5: 2 dimensions, but 3 in"),
    ],
)
def test_pack_refuses_sides_that_do_not_belong_together(
    tmp_path: Path, attributes: dict[str, str], dimension: int, message: str
) -> None:
    query = descriptor_file(tmp_path / "q.h5", "Q", baseline="x")
    reference = descriptor_file(tmp_path / "r.h5", "R", dimension, **attributes)
    with pytest.raises(SubmissionError, match=message):
        pipeline.pack(query, reference, tmp_path / "s.h5", split="toy-1")
    assert not (tmp_path / "s.h5").exists()


def test_costs_of_sides_add_up() -> None:
    sides = [Describing(baseline="x 1", device="cpu", images=10, seconds=1.0), Describing(images=30, seconds=1.0)]
    joined = pipeline.joined(sides)
    assert (joined.images, joined.seconds, joined.milliseconds_per_image, joined.images_per_second) == (40, 2.0, 50, 20)
    assert (joined.baseline, joined.device) == ("x 1", "cpu")
