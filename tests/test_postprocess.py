"""Post-processing of files: how steps are written, what may stand together, what a file carries, and the command."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from ndec_baselines import registry
from ndec_bench.cli import run
from ndec_bench.descriptors import (
    Descriptors,
    Submission,
    read_attributes,
    read_descriptors,
    read_submission,
    write_descriptors,
    write_submission,
)
from ndec_bench.errors import DataError, SubmissionError, UsageError
from ndec_bench.postprocess import (
    STEPS,
    Pca,
    Shift,
    Step,
    Stretch,
    Workspace,
    apply,
    needs_background,
    neighbours,
    parse_step,
    parse_steps,
    postprocess_file,
    postprocess_sides,
    usage,
    workspace,
)
from ndec_bench.postprocess.sequence import in_sequence
from ndec_bench.postprocess.step import parameters

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

EVERY_STEP = [
    "l2",
    "centre",
    "pca:dim=5,whiten=yes",
    "pca:dim=8,whiten=no,sample=60,seed=7",
    "score-norm:first=1,last=3,factor=1",
    "stretch",
    "subtract",
    "shift:neighbours=20",
    "sign",
    "int8",
]


def vectors(letter: str, count: int, dimension: int = 8, seed: int = 1) -> Descriptors:
    """Unit vectors off the origin, with ids in order."""
    generator = np.random.default_rng([seed, ord(letter), count, dimension])
    rows = generator.normal(size=(count, dimension)) + 0.5
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return Descriptors(tuple(f"{letter}{i:04d}" for i in range(count)), rows.astype(np.float32))


def shuffled(descriptors: Descriptors, seed: int = 3) -> Descriptors:
    return descriptors.take(np.random.default_rng(seed).permutation(len(descriptors)))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Folder:
    """Files of a small split: ``q.h5``, ``r.h5``, ``b.h5``, and all of it as ``sub.h5``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.sides = {"q": vectors("Q", 30), "r": vectors("R", 50), "b": vectors("B", 90)}
        for name, side in self.sides.items():
            write_descriptors(self / f"{name}.h5", side, {"metric": "l2", "baseline": "toy"})
        submission = Submission(self.sides["q"], self.sides["r"], self.sides["b"], split="toy")
        write_submission(self / "sub.h5", submission, {"baseline": "toy"})

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def file(self, name: str, out: str, steps: Sequence[str], **options: Any) -> Path:  # noqa: ANN401
        postprocess_file(self / name, self / out, steps, **options)
        return self / out


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


# How steps are written


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("l2", "l2"),
        ("centre", "centre"),
        (" stretch ", "stretch:neighbours=5,factor=2.5"),
        ("stretch:factor=3", "stretch:neighbours=5,factor=3"),
        ("subtract", "subtract:neighbours=10,factor=0.35,smooth=10,power=3"),
        ("shift", "shift:neighbours=100,nearest=3,factor=1.8"),
        ("pca:whiten=yes,dim=256", "pca:dim=256,whiten=yes,on=background"),
        ("pca:dim=9,whiten=no,seed=5,sample=70,on=references", "pca:dim=9,whiten=no,sample=70,seed=5,on=references"),
        ("sign", "sign"),
        ("int8", "int8:scale=dimension,on=background"),
        ("pq:bytes=64", "pq:bytes=64,seed=0,on=background"),
        ("score-norm:first=1,last=3,factor=1", "score-norm:first=1,last=3,factor=1"),
        ("score-norm:first=10,last=10,factor=1e-07", "score-norm:first=10,last=10,factor=1e-07"),
        ("mean", "mean"),
        ("concat", "concat"),
    ],
)
def test_a_step_is_read_and_written_in_full(text: str, full: str) -> None:
    step = parse_step(text)
    assert str(step) == full
    assert parse_step(full) == step
    assert STEPS[step.name] is type(step)
    assert usage(type(step)).partition(":")[0].partition("[")[0] == step.name
    assert all(f"{key}=" in usage(type(step)) for key in parameters(type(step)))
    assert step.about
    assert step.source


@given(st.integers(1, 10**9), st.floats(min_value=0, exclude_min=True, allow_infinity=False))
def test_every_number_survives_its_writing(neighbours: int, factor: float) -> None:
    step = Stretch(neighbours=neighbours, factor=factor)
    assert parse_step(str(step)) == step


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"step '' is unknown; known: l2, centre, pca:dim=…,whiten=yes\|no\[,sample"),
        ("L2", "step 'L2' is unknown"),
        ("l2:", "'' is not key=value; it is written l2$"),
        ("l2:x=1", "'x' is unknown; it has no parameters; it is written l2$"),
        ("l2:name=l2", "'name=l2' is not key=value"),
        ("stretch:", "'' is not key=value; it is written stretch"),
        ("stretch:k=5", "'k' is unknown; known: neighbours, factor; it is written stretch"),
        ("stretch:neighbours", "'neighbours' is not key=value"),
        ("stretch:neighbours=5,neighbours=6", "'neighbours' appears twice"),
        ("stretch:neighbours=0", "neighbours is 0, expected a whole number of at least 1"),
        ("stretch:neighbours=2.5", "neighbours is 2.5, expected a whole number of at least 1"),
        ("stretch:neighbours=-1", "neighbours is '-1', expected a whole number"),
        ("stretch:factor=0", "factor is 0, expected a number above 0"),
        ("stretch:factor=-2.5", "factor is '-2.5', expected a number above 0"),
        ("stretch:factor=nan", "factor is 'nan', expected a number above 0"),
        ("stretch:factor=1e999", "factor is inf, expected a number above 0"),
        ("stretch:factor=1.2.3", "factor is '1.2.3', expected a number above 0"),
        ("pca", "step pca needs dim, whiten; it is written pca:dim=…,whiten=yes|no"),
        ("pca:dim=4", "step pca needs whiten"),
        ("pca:dim=4,whiten=true", "whiten is 'true', expected yes or no"),
        ("pca:dim=4,whiten=no,on=train", "on is 'train', expected background, references or queries"),
        ("pca:dim=4,whiten=no,sample=9", "sample and seed go together"),
        ("pca:dim=4,whiten=no,seed=9", "sample and seed go together"),
        ("score-norm", "step score-norm needs first, last, factor"),
        ("score-norm:first=3,last=1,factor=1", "last is 1, before first, 3"),
        ("sign:on=background", "'on' is unknown; it has no parameters"),
        ("int8:scale=row", "scale is 'row', expected dimension or global; it is written int8.:scale=dimension.global"),
        ("int8:on=queries", "on is 'queries', expected background or references"),
        ("pq", "step pq needs bytes; it is written pq:bytes="),
        ("pq:bytes=0", "bytes is 0, expected a whole number of at least 1"),
        ("pq:bytes=64,seed=2147483648", "seed is 2147483648, expected a whole number from 0 to 2147483647"),
        ("shift:neighbours=2", "nearest is 3, more than neighbours, 2"),
    ],
)
def test_what_is_no_step_is_told_with_what_is_known(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_step(text)


def test_steps_made_in_python_are_checked_too() -> None:
    assert str(Pca(dim=4, whiten=True)) == "pca:dim=4,whiten=yes,on=background"
    with pytest.raises(UsageError, match=r"dim is True, expected a whole number"):
        Pca(dim=True, whiten=True)
    with pytest.raises(UsageError, match=r"whiten is 'yes', expected yes or no"):
        Pca(dim=4, whiten="yes")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"factor is inf"):
        Shift(factor=float("inf"))


def test_the_steps_of_every_registered_card_can_be_read() -> None:
    read = 0
    for card in map(registry.card, registry.names()):
        for steps in (card.steps, *(expected.steps or () for expected in card.expected)):
            assert parse_steps(map(str, parse_steps(steps))) == parse_steps(steps)
            if steps:
                assert in_sequence(parse_steps(steps), fusing=False, unranked=False).steps == parse_steps(steps)
            read += len(steps)
    assert read > 0


@pytest.mark.parametrize(
    ("steps", "needed"),
    [
        (["l2"], False),
        (["l2", "centre"], True),
        (["pca:dim=4,whiten=yes"], True),
        (["pca:dim=4,whiten=yes,on=references", "l2"], False),
        (["mean", "l2"], False),
        (["score-norm:first=1,last=3,factor=1"], True),
        (["stretch"], True),
        (["subtract"], True),
        (["shift"], True),
        (["sign"], False),
        (["int8"], True),
        (["pq:bytes=2,on=references"], False),
        ([], False),
    ],
)
def test_which_steps_need_a_background(steps: list[str], needed: bool) -> None:
    assert needs_background(steps) is needed
    assert needs_background([parse_step(step) for step in steps]) is needed


# What may stand together


@pytest.mark.parametrize(
    ("name", "steps", "options", "message"),
    [
        ("sub.h5", [], {}, "no step"),
        ("sub.h5", ["score-norm:first=1,last=1,factor=1", "l2"], {}, "step score-norm must be last"),
        ("sub.h5", ["mean"], {}, "step mean has nothing to fuse"),
        ("q.h5", ["l2"], {"others": "q.h5"}, "further files, and no step that fuses them"),
        ("q.h5", ["mean", "concat"], {"others": "q.h5"}, "step concat after mean"),
        ("q.h5", ["centre", "mean"], {"others": "q.h5"}, "step centre comes before mean and would be fitted on each"),
        ("sub.h5", ["pca:dim=2,whiten=no,on=queries"], {}, "depend on other queries.*give --unranked"),
        ("q.h5", ["l2", "centre"], {}, "step centre is fitted on background images, and there are none"),
        ("q.h5", ["stretch"], {"background": "b.h5"}, "step stretch treats the sides differently; say what they are"),
        ("q.h5", ["shift"], {"background": "b.h5"}, "step shift treats the sides differently"),
        ("q.h5", ["pca:dim=2,whiten=no,on=references"], {"side": "query"}, "on the references, which are not there"),
        ("q.h5", ["pca:dim=2,whiten=no,on=queries"], {"unranked": True}, "treats the sides differently"),
        ("sub.h5", ["l2"], {"side": "query"}, "holds both sides, --side query says otherwise"),
        ("b.h5", ["score-norm:first=1,last=1,factor=1"], {"side": "background"}, "leaves the background without use"),
    ],
)
def test_wrong_use_is_told_before_the_work(
    folder: Folder, name: str, steps: list[str], options: dict[str, Any], message: str
) -> None:
    files = {key: folder / value for key, value in options.items() if key == "background"}
    others = {key: [folder / value] for key, value in options.items() if key == "others"}
    with pytest.raises(UsageError, match=message):
        folder.file(name, "out.h5", steps, **{**options, **files, **others})
    assert not (folder / "out.h5").exists()


def test_a_background_image_among_the_images_is_named(folder: Folder) -> None:
    rows = vectors("B", 90).vectors.copy()
    write_descriptors(folder / "b.h5", Descriptors((*vectors("B", 89).ids, "Q0007"), rows), {})
    with pytest.raises(SubmissionError, match=r"b\.h5: background image Q0007 is among the queries of .*q\.h5 too \(1"):
        folder.file("q.h5", "out.h5", ["centre"], side="query", background=folder / "b.h5")
    with pytest.raises(SubmissionError, match=r"background image Q0007 is among the queries of .*sub\.h5"):
        folder.file("sub.h5", "out.h5", ["centre"], background=folder / "b.h5")
    with pytest.raises(SubmissionError, match=r"background image Q0007 is among the queries"):
        sides(folder, ["centre"])
    folder.file("r.h5", "out.h5", ["centre"], background=folder / "b.h5")
    # A suffix does not make another image of it.
    write_descriptors(folder / "b.h5", Descriptors((*vectors("B", 89).ids, "R0003.jpg"), rows), {})
    with pytest.raises(SubmissionError, match=r"background image R0003.jpg is among the images of .*r\.h5"):
        folder.file("r.h5", "out.h5", ["centre"], background=folder / "b.h5")


def test_files_that_do_not_belong_together_are_told(folder: Folder) -> None:
    def background(attributes: dict[str, str], dimension: int = 8) -> Path:
        write_descriptors(folder / "other.h5", vectors("B", 90, dimension), attributes)
        return folder / "other.h5"

    with pytest.raises(SubmissionError, match=r"other\.h5: baseline is 'else', expected 'toy' as for .*q\.h5"):
        folder.file("q.h5", "out.h5", ["centre"], background=background({"baseline": "else"}))
    with pytest.raises(SubmissionError, match=r"other\.h5: steps is 'l2', expected ''.*with --side background"):
        folder.file("q.h5", "out.h5", ["centre"], background=background({"steps": "l2"}))
    with pytest.raises(SubmissionError, match=r"other\.h5: 5 dimensions, but 8 in .*q\.h5"):
        folder.file("q.h5", "out.h5", ["centre"], background=background({}, 5))
    folder.file("q.h5", "out.h5", ["centre"], background=background({"images_sha256": "x", "metric": "ip"}))
    with pytest.raises(SubmissionError, match=r"sub\.h5 and .*q\.h5 are not of one form"):
        folder.file("q.h5", "out.h5", ["mean"], others=[folder / "sub.h5"])
    write_descriptors(folder / "r.h5", vectors("R", 50), {"baseline": "else"})
    with pytest.raises(SubmissionError, match=r"r\.h5: baseline is 'else', expected 'toy'"):
        sides(folder, ["l2"])


def test_nothing_follows_a_step_that_must_be_last(folder: Folder) -> None:
    out = folder.file("sub.h5", "out.h5", ["score-norm:first=1,last=3,factor=1"])
    with pytest.raises(SubmissionError, match=r"out\.h5: its steps end in score-norm, after which no step may follow"):
        folder.file(out.name, "again.h5", ["l2"])


def test_what_can_not_be_searched_is_refused_with_its_image(folder: Folder) -> None:
    mean = np.arange(8, dtype=np.float32) / 8
    background = Descriptors(("B0", "B1"), np.array([mean + 0.25, mean - 0.25], dtype=np.float32))
    write_descriptors(folder / "b.h5", background, {})
    queries = Descriptors(("Q0", "Q1"), np.array([mean + 1.0, mean], dtype=np.float32))
    write_descriptors(folder / "q.h5", queries, {})
    with pytest.raises(SubmissionError, match=r"query after centre: row 1 \(Q1\) is all zeros"):
        folder.file("q.h5", "out.h5", ["centre"], side="query", background=folder / "b.h5")


# What a file carries


def test_a_submission_keeps_its_form_and_what_belongs_to_its_rows(folder: Folder) -> None:
    q, r, b = shuffled(folder.sides["q"]), shuffled(folder.sides["r"]), shuffled(folder.sides["b"])
    with h5py.File(folder / "theirs.h5", "w") as file:
        for name, side in (("query", q), ("reference", r), ("background", b)):
            file[name], file[f"{name}_ids"] = side.vectors, list(side.ids)
        file["query_norms"] = np.array([float(i[1:]) for i in q.ids])
        file["reference_norms"] = np.array([float(i[1:]) + 0.5 for i in r.ids])
        file["invalid_ids"] = ["R0007", "Q0003"]
        file.attrs.update({"split": "toy", "threshold": -0.25, "model": "ours"})
    report = postprocess_file(folder / "theirs.h5", folder / "out.h5", ["centre", "stretch"])
    with read_submission(folder / "out.h5") as out:
        assert out.queries.ids == tuple(i for i in folder.sides["q"].ids if i != "Q0003")
        assert out.references.ids == tuple(i for i in folder.sides["r"].ids if i != "R0007")
        assert out.background is not None
        assert out.background.ids == folder.sides["b"].ids
        assert out.query_norms is not None
        assert out.reference_norms is not None
        assert out.query_norms.tolist() == [float(i[1:]) for i in out.queries.ids]
        assert out.reference_norms.tolist() == [float(i[1:]) + 0.5 for i in out.references.ids]
        assert out.invalid_ids == ("Q0003", "R0007")
        assert out.split == "toy"
        assert out.metric == "l2"
        assert out.threshold is None
        assert out.stored_dtype == "float32"
        background = out.background.read(0, 90).astype(np.float64)
    np.testing.assert_allclose(background.mean(axis=0), np.zeros(8), atol=1e-7)
    assert read_attributes(folder / "out.h5") == {
        "background_sha256": digest(folder / "theirs.h5"),
        "metric": "l2",
        "model": "ours",
        "split": "toy",
        "steps": "centre | stretch:neighbours=5,factor=2.5",
    }
    assert [str(step) for step, _ in report.steps] == ["centre", "stretch:neighbours=5,factor=2.5"]
    assert dict(report.files[0].images) == {"query": 29, "reference": 49, "background": 90}
    assert report.notes == ("the threshold is left out: it was on the scale of the scores before these steps",)
    assert report.query_independent


def test_a_descriptor_file_keeps_norms_and_invalid_ids(folder: Folder) -> None:
    some = shuffled(folder.sides["q"])
    norms = np.array([float(i[1:]) for i in some.ids], dtype=np.float32)
    recipe = {"baseline": "toy", "images_sha256": "abc", "metric": "ip"}
    write_descriptors(folder / "q.h5", some, recipe, norms=norms, invalid_ids=["Q9999"])
    out = folder.file("q.h5", "out.h5", ["pca:dim=3,whiten=yes", "l2"], background=folder / "b.h5")
    with h5py.File(out) as file:
        assert [i.decode() for i in file["image_names"]] == list(folder.sides["q"].ids)
        assert file["norms"][:].tolist() == [float(i[1:]) for i in folder.sides["q"].ids]
        assert [i.decode() for i in file["invalid_ids"]] == ["Q9999"]
        assert file["vectors"].dtype == np.float32
    assert read_attributes(out) == {
        **recipe,
        "background_sha256": digest(folder / "b.h5"),
        "steps": "pca:dim=3,whiten=yes,on=background | l2",
    }


def test_score_norm_leaves_a_background_of_no_use_out(folder: Folder) -> None:
    report = postprocess_file(folder / "sub.h5", folder / "out.h5", ["l2", "score-norm:first=1,last=3,factor=1"])
    with read_submission(folder / "out.h5") as out:
        assert out.background is None
        assert out.metric == "ip"
        assert out.queries.dimension == 9
    assert report.notes == ("the background is left out: it has no use after step score-norm",)
    assert (report.metric, report.dimension) == ("ip", 9)


def test_steps_that_look_at_other_queries_mark_the_file_for_good(folder: Folder) -> None:
    steps = ["pca:dim=4,whiten=yes,on=queries"]
    report = postprocess_file(folder / "sub.h5", folder / "out.h5", steps, unranked=True)
    assert not report.query_independent
    assert report.notes == ("the vectors of queries depend on other queries: the result cannot be ranked",)
    assert report.background_sha256 is None
    again = postprocess_file(folder / "out.h5", folder / "again.h5", ["l2"])
    assert not again.query_independent
    assert read_attributes(folder / "again.h5")["query_independent"] == "no"


def test_a_background_that_is_not_needed_is_said_to_be_unused(folder: Folder) -> None:
    report = postprocess_file(folder / "q.h5", folder / "out.h5", ["l2"], background=folder / "b.h5")
    assert report.notes == (f"{folder / 'b.h5'} was not used: no step is fitted on the background",)
    assert "background_sha256" not in read_attributes(folder / "out.h5")


def test_fused_files_say_of_what_they_are_made(folder: Folder) -> None:
    same = {"baseline": "toy", "metric": "l2", "steps": "l2"}
    norms = np.ones(30, dtype=np.float32)
    write_descriptors(folder / "a.h5", shuffled(vectors("Q", 30, 4)), {**same, "weights": "one"}, norms=norms)
    write_descriptors(folder / "b2.h5", vectors("Q", 30, 3), {**same, "weights": "two", "images_sha256": "x"})
    report = postprocess_file(folder / "a.h5", folder / "out.h5", ["concat"], others=[folder / "b2.h5"])
    assert read_attributes(folder / "out.h5") == {
        **same,
        "images_sha256": "x",
        "steps": "l2 | concat",
        "weights": "one + two",
    }
    assert report.notes == ("the norms of the images are left out: each file has its own",)
    assert report.steps == (("concat", {}),)
    expected = np.concatenate([vectors("Q", 30, 4).vectors, vectors("Q", 30, 3).vectors], axis=1)
    np.testing.assert_array_equal(read_descriptors(folder / "out.h5").vectors, expected)
    write_descriptors(folder / "c.h5", vectors("Q", 30, 3), {"baseline": "toy", "steps": "l2"})  # it means l2
    folder.file("a.h5", "out.h5", ["concat"], others=[folder / "c.h5"])
    write_descriptors(folder / "d.h5", vectors("Q", 30, 3), {**same, "metric": "ip"})
    with pytest.raises(SubmissionError, match=r"d\.h5: metric is 'ip', but 'l2' in .*c\.h5"):
        folder.file("c.h5", "out.h5", ["concat"], others=[folder / "d.h5"])
    write_descriptors(folder / "c.h5", vectors("Q", 30, 3), {**same, "steps": ""})
    with pytest.raises(SubmissionError, match=r"c\.h5: steps is '', but 'l2' in .*a\.h5"):
        folder.file("a.h5", "out.h5", ["concat"], others=[folder / "c.h5"])
    write_submission(folder / "bare.h5", Submission(folder.sides["q"], folder.sides["r"]), {"baseline": "toy"})
    for names in (("sub.h5", "bare.h5"), ("bare.h5", "sub.h5")):
        with pytest.raises(SubmissionError, match=r"bare\.h5: no background images, which .*h5 has"):
            folder.file(names[0], "out.h5", ["concat"], others=[folder / names[1]])


def test_a_background_of_its_own_is_fused_beforehand(folder: Folder) -> None:
    for letter, count in (("Q", 30), ("B", 90)):
        for scale in (1, 2):
            write_descriptors(folder / f"{letter}{scale}.h5", vectors(letter, count, 6, scale), {"metric": "l2"})
    steps = ["l2", "concat", "pca:dim=4,whiten=yes"]
    with pytest.raises(SubmissionError, match=r"B1\.h5: steps is '', expected 'l2 \| concat'"):
        folder.file("Q1.h5", "out.h5", steps, others=[folder / "Q2.h5"], background=folder / "B1.h5")
    fused = folder.file("B1.h5", "B.h5", ["l2", "concat"], others=[folder / "B2.h5"])
    folder.file("Q1.h5", "out.h5", steps, others=[folder / "Q2.h5"], background=fused)
    # All in one: submissions that hold the background of each scale.
    for scale in (1, 2):
        sides = {letter: vectors(letter, count, 6, scale) for letter, count in (("Q", 30), ("R", 5), ("B", 90))}
        write_submission(folder / f"s{scale}.h5", Submission(sides["Q"], sides["R"], sides["B"]))
    folder.file("s1.h5", "s.h5", steps, others=[folder / "s2.h5"])
    with read_submission(folder / "s.h5") as out:
        np.testing.assert_array_equal(out.queries.vectors, read_descriptors(folder / "out.h5").vectors)


# One set of numbers, by whatever way


def sides(folder: Folder, steps: Sequence[str | Step], **options: Any) -> tuple[Path, Path]:  # noqa: ANN401
    postprocess_sides(
        folder / "q.h5",
        folder / "r.h5",
        steps,
        background=folder / "b.h5",
        out_query=folder / "oq.h5",
        out_reference=folder / "or.h5",
        **options,
    )
    return folder / "oq.h5", folder / "or.h5"


@pytest.mark.parametrize("step", EVERY_STEP)
def test_a_submission_two_files_and_each_file_alone_give_the_same(folder: Folder, step: str) -> None:
    steps = ["centre", "l2", step]
    oq, ors = sides(folder, steps)
    folder.file("sub.h5", "out.h5", steps)
    q, r = read_descriptors(oq).vectors, read_descriptors(ors).vectors
    with read_submission(folder / "out.h5") as out:
        np.testing.assert_array_equal(out.queries.vectors, q)
        np.testing.assert_array_equal(out.references.read(0, 50), r)
    for name, side, expected in (("q.h5", "query", oq), ("r.h5", "reference", ors)):
        alone = folder.file(name, "alone.h5", steps, side=side, background=folder / "b.h5")
        assert digest(alone) == digest(expected)


@pytest.mark.parametrize("step", EVERY_STEP)
def test_two_commands_are_one(folder: Folder, step: str) -> None:
    first = ["centre", "subtract"]
    whole = folder.file("sub.h5", "whole.h5", [*first, step])
    folder.file("sub.h5", "half.h5", first)
    half = folder.file("half.h5", "halves.h5", [step])
    with read_submission(whole) as one, read_submission(half) as other:
        np.testing.assert_array_equal(one.queries.vectors, other.queries.vectors)
        np.testing.assert_array_equal(one.references.read(0, 50), other.references.read(0, 50))
        expected = read_attributes(whole)
    backgrounds = [digest(folder / "sub.h5"), *([digest(folder / "half.h5")] if needs_background([step]) else [])]
    assert read_attributes(half) == {**expected, "background_sha256": " | ".join(backgrounds)}
    # The same with files of one side, whose background goes through the first steps by itself.
    background = folder.file("b.h5", "b1.h5", first, side="background")
    folder.file("q.h5", "q1.h5", first, side="query", background=folder / "b.h5")
    q = folder.file("q1.h5", "q2.h5", [step], side="query", background=background)
    with read_submission(whole) as one:
        np.testing.assert_array_equal(one.queries.vectors, read_descriptors(q).vectors)


def test_the_background_comes_out_as_it_does_in_a_submission(folder: Folder) -> None:
    steps = ["pca:dim=4,whiten=yes", "l2", "subtract", "stretch"]
    sides(folder, steps, out_background=folder / "ob.h5")
    alone = folder.file("b.h5", "alone.h5", steps, side="background")
    folder.file("sub.h5", "out.h5", steps)
    with read_submission(folder / "out.h5") as out:
        assert out.background is not None
        np.testing.assert_array_equal(out.background.read(0, 90), read_descriptors(folder / "ob.h5").vectors)
    assert digest(alone) == digest(folder / "ob.h5")
    # The three can be packed: what they say of themselves is the same.
    attributes = [read_attributes(folder / name) for name in ("oq.h5", "or.h5", "ob.h5")]
    assert attributes[0] == attributes[1] == attributes[2]
    with pytest.raises(UsageError, match=r"it has no use after step score-norm"):
        sides(folder, ["score-norm:first=1,last=1,factor=1"], out_background=folder / "ob.h5")


@pytest.mark.parametrize("step", EVERY_STEP)
def test_neither_threads_nor_order_nor_memory_nor_library_change_a_byte(
    folder: Folder, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Blocks of 16 rows, so that there are several; they are part of the rule and stay as they are.
    monkeypatch.setattr(workspace, "_MOST_ROWS", 16)
    steps = ["centre", "l2", step]
    expected = digest(folder.file("sub.h5", "out.h5", steps, threads=1))
    for threads in (2, 5):
        assert digest(folder.file("sub.h5", "out.h5", steps, threads=threads)) == expected
    assert digest(folder.file("sub.h5", "out.h5", steps, backend="faiss")) == expected
    monkeypatch.setattr(apply, "Workspace", partial(Workspace, kept=0))
    assert digest(folder.file("sub.h5", "out.h5", steps)) == expected
    monkeypatch.setattr(neighbours, "_MOST_ROWS", 7)
    assert digest(folder.file("sub.h5", "out.h5", steps)) == expected
    before = {path.name for path in folder.path.iterdir()}
    q, r, b = (shuffled(side) for side in folder.sides.values())
    write_submission(folder / "sub.h5", Submission(q, r, b, split="toy"), {"baseline": "toy"})
    with h5py.File(folder / "rows.h5", "w") as file:
        for name, side in (("query", q), ("reference", r), ("background", b)):
            file[name], file[f"{name}_ids"] = side.vectors, list(side.ids)
        file.attrs.update({"baseline": "toy", "split": "toy"})
    folder.file("rows.h5", "out2.h5", steps)
    with h5py.File(folder / "out.h5") as one, h5py.File(folder / "out2.h5") as other:
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name][:], other[name][:])
    assert {path.name for path in folder.path.iterdir()} - before == {"rows.h5", "out2.h5"}


def test_a_last_batch_of_equal_images_is_searched(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = vectors("Q", 30).vectors.copy()
    rows[28:] = rows[0]
    write_descriptors(folder / "q.h5", Descriptors(folder.sides["q"].ids, rows), {})
    expected = digest(sides(folder, ["stretch"])[0])
    monkeypatch.setattr(neighbours, "_MOST_ROWS", 14)  # 14, 14 and the two that are equal
    assert digest(sides(folder, ["stretch"])[0]) == expected


def test_libraries_multiply_with_one_thread_while_steps_work(folder: Folder) -> None:
    def threads() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

    seen: set[int] = set()
    before = threads()
    sides(folder, ["centre", "l2"], progress=lambda stage, *_: seen.update(threads() if "step" in stage else ()))
    assert seen == {1}
    assert threads() == before


def test_a_file_can_be_written_over_itself(folder: Folder) -> None:
    expected = digest(folder.file("sub.h5", "out.h5", ["centre", "l2"]))
    assert digest(folder.file("sub.h5", "sub.h5", ["centre", "l2"])) == expected


def test_a_failure_leaves_the_old_file_and_nothing_else(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apply, "Workspace", partial(Workspace, kept=0))
    (folder / "out.h5").write_bytes(b"old")
    before = sorted(path.name for path in folder.path.iterdir())
    with pytest.raises(SubmissionError, match=r"needs 500 background images, found 90"):
        folder.file("sub.h5", "out.h5", ["l2", "centre", "stretch:neighbours=500"])
    assert (folder / "out.h5").read_bytes() == b"old"
    assert sorted(path.name for path in folder.path.iterdir()) == before


def test_a_disk_without_room_is_told(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workspace, "_reserve", full)
    monkeypatch.setattr(apply, "Workspace", partial(Workspace, kept=0))
    with pytest.raises(DataError, match=r"no room for intermediate results \(No space left on device\)"):
        folder.file("sub.h5", "out.h5", ["l2"])


def test_intermediate_results_lie_beside_the_output_one_at_a_time(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apply, "Workspace", partial(Workspace, kept=0))
    most = 0

    def look(stage: str, done: int, total: int, /) -> None:
        nonlocal most
        most = max(most, len(list((folder / "out").glob(".out.h5.*.part/*"))))

    folder.file("sub.h5", "out/out.h5", ["l2"] * 6, progress=look)
    # Query, reference and background before the step and after it, not six times that.
    assert 3 <= most <= 6
    steps = ["subtract", "shift:neighbours=20", "pca:dim=4,whiten=yes,sample=50,seed=1", *["subtract"] * 3]
    folder.file("sub.h5", "out/out.h5", steps, progress=look)
    # With the smoothed background for a while.
    assert 6 <= most <= 7
    assert [path.name for path in (folder / "out").iterdir()] == ["out.h5"]


def test_progress_tells_the_place_of_each_step(folder: Folder) -> None:
    stages: dict[str, tuple[int, int]] = {}

    def note(stage: str, done: int, total: int, /) -> None:
        assert done >= stages.get(stage, (0, 0))[0]
        stages[stage] = (done, total)

    sides(folder, ["pca:dim=4,whiten=yes", "l2", "stretch"], progress=note)
    assert stages["step 1 of 3, pca: covariance"] == (90, 90)
    assert stages["step 2 of 3, l2: reference"] == (50, 50)
    assert stages["step 2 of 3, l2: background"] == (90, 90)
    assert stages["step 3 of 3, stretch: query"] == (30, 30)
    # After the last step that needs it the background is left as it is.
    assert "step 3 of 3, stretch: background" not in stages
    assert all(done == total for done, total in stages.values())


# The command


@pytest.fixture
def inside(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """The folder, as the working directory."""
    monkeypatch.chdir(folder.path)
    return folder


def test_the_command_says_what_it_did(inside: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["postprocess", "sub.h5", "--step", "pca:dim=4,whiten=yes", "--step", "l2", "out.h5"]
    assert run(arguments) == 0
    shown = capsys.readouterr()
    assert "pca:dim=4,whiten=yes,on=background, fitted on images 90" in shown.out
    assert digest(inside / "out.h5") in shown.out
    assert "step 1 of 2, pca: covariance: 90 of 90" in shown.err
    assert run([*arguments, "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content == {
        "file": "out.h5",
        "sha256": digest(inside / "out.h5"),
        "steps": [{"step": "pca:dim=4,whiten=yes,on=background", "fitted_on_images": 90}, {"step": "l2"}],
        "images": {"query": 30, "reference": 50, "background": 90},
        "dimensions": 4,
        "metric": "l2",
        "background_sha256": digest(inside / "sub.h5"),
        "query_independent": True,
        "notes": [],
    }


def test_the_command_takes_files_of_one_side(inside: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["postprocess", "q.h5", "out.h5", "--background", "b.h5", "--step", "stretch"]
    assert run([*arguments, "--threads", "1"]) == 2
    assert "say what they are: --side query, reference or background" in capsys.readouterr().err
    assert run([*arguments, "--side", "query"]) == 0
    assert digest(inside / "out.h5") == digest(sides(inside, ["stretch"])[0])
    assert run(["postprocess", "q.h5", "m.h5", "--with", "q.h5", "--step", "mean"]) == 0
    np.testing.assert_array_equal(read_descriptors(inside / "m.h5").vectors, inside.sides["q"].vectors)


def test_the_command_says_what_cannot_be_ranked(inside: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["postprocess", "sub.h5", "out.h5", "--step", "pca:dim=4,whiten=no,on=queries"]
    assert run(arguments) == 2
    assert "which the ranked track does not allow" in capsys.readouterr().err
    assert run([*arguments, "--unranked"]) == 0
    said = "note: the vectors of queries depend on other queries: the result cannot be ranked"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["sub.h5", "out.h5", "--step", "nothing"], 2, "step 'nothing' is unknown; known: l2"),
        (["none.h5", "out.h5", "--step", "l2"], 3, "none.h5: cannot be read"),
        (["text.h5", "out.h5", "--step", "l2"], 3, "text.h5"),
        (["sub.h5", ".", "--step", "l2"], 4, "is a folder"),
    ],
)
def test_errors_have_their_exit_code(
    inside: Folder, arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (inside / "text.h5").write_text("no HDF5")
    assert run(["postprocess", *arguments]) == code
    assert message in capsys.readouterr().err
    assert run(["postprocess", *arguments, "--json"]) == code
    assert json.loads(capsys.readouterr().out)["error"]["exit_code"] == code
