"""What went wrong in trials: a sound case with one deviation each gives the right number, or one clear message.

Left to tests of their own: devices and full disks (``test_atomic``), encodings and closed streams
(``test_cli_terminal``), arrays given in Python (``test_python_input``), and HDF5 that crashes its library.
"""

from __future__ import annotations

import gzip
import io
import os
import shlex
import subprocess
import sys
import tarfile
import zipfile
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest
from PIL import Image

from ndec_bench.cli import run
from ndec_bench.data.ground_truth import write_ground_truth

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ndec_bench.data.split import Split
    from ndec_bench.descriptors import Submission

    Make = Callable[..., tuple[Submission, Split]]

HEAD = "query_id,reference_id,score\n"
SCORE = "--ground-truth gt.csv --no-bootstrap"
# Made by a writer that is killed: the file says that it is open.
KILLED = """
import os, sys, h5py
with h5py.File("ok.h5") as sound:
    file = h5py.File("killed.h5", "w", libver="latest")
    for name in sound:
        sound.copy(name, file)
    file.flush()
    os._exit(0)
"""


class Writer:
    """Writes the files of all cases into one folder, from the sound case."""

    def __init__(self, folder: Path, submission: Submission, split: Split) -> None:
        queries, references = submission.queries, submission.references
        self.folder, self.truth = folder, write_ground_truth(split.truth)
        self.queries, self.references = (list(queries.ids), queries.vectors), (list(references.ids), references.vectors)
        scores = -np.linalg.norm(queries.vectors[:, None] - references.vectors[None], axis=2)
        places = np.unravel_index(np.argsort(-scores, axis=None)[:600], scores.shape)
        self.pairs = [
            (queries.ids[q], references.ids[r], repr(float(scores[q, r]))) for q, r in zip(*places, strict=True)
        ]

    def hdf5(self, name: str, queries: Sequence[str] = (), references: Sequence[str] = (), **more: object) -> None:
        with h5py.File(self.folder / name, "w") as file:
            file["query"], file["query_ids"] = self.queries[1], list(queries or self.queries[0])
            file["reference"], file["reference_ids"] = self.references[1], list(references or self.references[0])
            for key, value in more.items():
                if isinstance(value, str):
                    file.attrs[key] = value
                else:
                    file[key] = value

    def csv(self, name: str, row: str = "{},{},{}", head: str = HEAD) -> None:
        (self.folder / name).write_text(head + "".join(row.format(*pair) + "\n" for pair in self.pairs))

    def vectors(self, name: str, ids: Sequence[str], rows: NDArray[np.float32]) -> None:
        with h5py.File(self.folder / name, "w") as file:
            file["vectors"], file["image_names"] = rows, list(ids)


def picture(seed: int, kind: str = "PNG") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).resize((160, 120)).save(content, kind)
    return content.getvalue()


def write_submissions(to: Writer) -> None:
    ids, other = to.queries[0], to.references[0]
    to.hdf5("ok.h5")
    to.csv("pairs.csv")
    (to.folder / "d.csv").write_text((to.folder / "pairs.csv").read_text().replace(",-", ","))
    to.csv("pairs-jpg.csv", "{},{}.jpg,{}")
    to.csv("pairs-folder.csv", "queries/{}.png,REFS/{}.JPG,{}")
    to.hdf5("refs-jpg.h5", references=[f"{each}.jpg" for each in other])
    to.hdf5("refs-lower.h5", references=[each.lower() for each in other])
    to.hdf5("refs-other.h5", references=[f"X{each}" for each in other])
    to.hdf5("queries-jpg.h5", queries=[f"{each}.jpg" for each in ids])
    to.vectors("q.h5", ids, to.queries[1])
    to.vectors("r.h5", [f"{each}.jpg" for each in other], to.references[1])
    to.vectors("r-upper.h5", [f"{each}.JPG" for each in other], to.references[1])
    to.vectors("r1.h5", other[:40], to.references[1][:40])
    to.vectors("r2.h5", other[40:], to.references[1][40:])
    to.hdf5("e.h5", invalid_ids=[])
    with h5py.File(to.folder / "qinr.h5", "w") as file:
        file["query"], file["query_ids"] = to.queries[1], ids
        file["reference"], file["reference_ids"] = np.concatenate([to.references[1], to.queries[1]]), other + ids
    for word in ("no", "No", "False", "0"):
        to.hdf5(f"independent-{word}.h5", query_independent=word)
    with h5py.File(to.folder / "t.h5", "w") as file:
        file["query"], file["query_ids"] = to.queries[1].T, ids
        file["reference"], file["reference_ids"] = to.references[1].T, other
    subprocess.run([sys.executable, "-c", KILLED], cwd=to.folder, check=True)
    (to.folder / "decimal-comma.csv").write_text((to.folder / "pairs.csv").read_text().replace(".", ","))
    (to.folder / "latin.csv").write_bytes(HEAD.replace("\n", ",note\n").encode() + b"Q00000,R000000,0.5,caf\xe9\n")


def write_truths(to: Writer) -> None:
    for word in ("nan", "NA", "None", "NULL", "<NA>", "-", "-1"):
        lines = [f"{line}{word}" if line.endswith(",") else line for line in to.truth.splitlines()]
        (to.folder / f"gt-{'N-A' if word == '<NA>' else word}.csv").write_text("\n".join(lines) + "\n")
    head, rest = to.truth.split("\n", 1)
    (to.folder / "gt-qid.csv").write_text(f"qid,rid\n{rest}")
    (to.folder / "gt-sep.csv").write_text(f"sep=,\n{head}\n{rest}")
    (to.folder / "gt-comment.csv").write_text(f"# dev set\n{head}\n{rest}")


def write_other_kinds(to: Writer) -> None:
    pairs = (to.folder / "pairs.csv").read_bytes()
    (to.folder / "pairs.csv.gz").write_bytes(gzip.compress(pairs))
    (to.folder / "pairs-utf16.csv").write_bytes(pairs.decode().encode("utf-16"))
    np.savez(to.folder / "a.npz", query=to.queries[1])
    (to.folder / "lfs.h5").write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'ab' * 32}\nsize 12345\n"
    )


def write_pictures(to: Writer) -> None:
    for folder, names in {
        "one": ("R000009.png",),
        "left-out": ("R000001.png", "R2.jfif", "R3.jpe", "R4"),
        "dangling": ("R000001.png",),
        "names": ("a\u202fb.png", "a\u3000b.png", "a\u00a0b.png"),
        "copies": ("original.png", "copy.png"),
    }.items():
        (to.folder / folder).mkdir()
        for number, name in enumerate(names):
            kind = "PNG" if name.endswith("png") else "JPEG"
            (to.folder / folder / name).write_bytes(picture(0 if folder == "copies" else number, kind))
    (to.folder / "dangling" / "R000002.jpg").symlink_to("nowhere.jpg")
    (to.folder / "left-out" / "shard").symlink_to(to.folder / "one")
    with zipfile.ZipFile(to.folder / "win.zip", "w") as archive:
        for number in range(2):
            entry = zipfile.ZipInfo("x")
            entry.filename = f"images\\R{number:06d}.png"
            archive.writestr(entry, picture(number))
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for number in range(3):
            member = tarfile.TarInfo(f"images/R{number:06d}.png")
            member.size = len(picture(number))
            tar.addfile(member, io.BytesIO(picture(number)))
    whole = content.getvalue()
    for form in ("t.tar.{:03d}", "u.tar.{:02d}", "v.tar.parta{}"):
        for number in range(3):
            named = form.format(number + (form[0] == "t") if "d}" in form else "abc"[number])
            (to.folder / named).write_bytes(whole[number * len(whole) // 3 : (number + 1) * len(whole) // 3])


@pytest.fixture(scope="module")
def inputs(make_submission: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of all cases, in one folder."""
    folder = tmp_path_factory.mktemp("cases")
    writer = Writer(folder, *make_submission(queries=60, references=200))
    (folder / "gt.csv").write_text(writer.truth)
    for write in (write_submissions, write_truths, write_other_kinds, write_pictures):
        write(writer)
    return folder


SOUND = "0.9693"


CASES = [
    # case, command, exit code, what is printed; SOUND is the µAP of the sound case
    ("base", f"score ok.h5 {SCORE}", 0, SOUND),
    ("base", f"score pairs.csv {SCORE}", 0, SOUND),
    ("reference-ids", f"score pairs-jpg.csv {SCORE}", 0, SOUND),
    ("reference-ids", f"score pairs-folder.csv {SCORE}", 0, SOUND),
    ("reference-ids", f"score refs-jpg.h5 {SCORE}", 0, SOUND),
    ("reference-ids", f"score refs-lower.h5 {SCORE}", 0, SOUND),
    ("reference-ids", f"score refs-other.h5 {SCORE}", 3, "XR000000"),
    ("reference-ids", f"score queries-jpg.h5 {SCORE}", 0, SOUND),
    ("pack-suffix", f"score --query q.h5 --reference r.h5 {SCORE}", 0, SOUND),
    ("pack-suffix", f"score --query q.h5 --reference r-upper.h5 {SCORE}", 0, SOUND),
    ("pack-suffix", f"pack --query q.h5 --reference r.h5 --split x --out p1.h5; score p1.h5 {SCORE}", 0, SOUND),
    ("pack-shards", "pack --query q.h5 --reference r1.h5 --reference r1.h5 --split x --out p3.h5", 2, "twice"),
    (
        "pack-shards",
        f"pack --query q.h5 --reference r1.h5 --reference r2.h5 --split x --out p2.h5; score p2.h5 {SCORE}",
        0,
        SOUND,
    ),
    *(
        ("gt-nan", f"score pairs.csv --ground-truth gt-{word}.csv --no-bootstrap", 0, SOUND)
        for word in ("nan", "NA", "None", "NULL", "N-A", "-", "-1")
    ),
    ("gt-header", "score pairs.csv --ground-truth gt-qid.csv --no-bootstrap", 4, "qid"),
    ("gt-header", "score pairs.csv --ground-truth gt-sep.csv --no-bootstrap", 4, "line 2 is a header"),
    ("gt-header", "score pairs.csv --ground-truth gt-comment.csv --no-bootstrap", 4, "# dev set"),
    ("decimal-comma", f"score decimal-comma.csv {SCORE}", 3, "line 2"),
    ("decimal-comma", f"validate decimal-comma.csv {SCORE[:21]}", 3, "line 2"),
    ("csvdiff", f"score latin.csv {SCORE}", 3, "UTF-8"),
    *(
        ("query-independent", f"score independent-{word}.h5 {SCORE} --json", 0, '"query_independent": false')
        for word in ("no", "No", "False", "0")
    ),
    ("distances", f"score d.csv {SCORE}", 0, "if the scores are distances, negate them"),
    ("distances", f"score qinr.h5 {SCORE}", 0, "of queries and of references too"),
    ("empty-invalid", f"score e.h5 {SCORE}", 0, SOUND),
    ("transposed", f"score t.h5 {SCORE}", 3, "transpose"),
    ("killed-writer", f"score killed.h5 {SCORE}", 3, "h5clear"),
    ("file-kind", f"score pairs.csv.gz {SCORE}", 3, "gzip"),
    ("file-kind", f"score pairs-utf16.csv {SCORE}", 3, "UTF-16"),
    ("file-kind", f"score a.npz {SCORE}", 3, "npz"),
    ("file-kind", f"score lfs.h5 {SCORE}", 3, "LFS"),
    ("exact-copies", "describe thumbnail --images copies --out copies.h5", 3, "copies of one picture"),
    ("left-out", "describe thumbnail --images left-out --out left.h5 --json", 0, '"images": 4'),
    ("left-out", "describe thumbnail --images dangling --out d.h5 --keep-going", 0, "R000002"),
    ("file-names", "describe thumbnail --images names --out n.h5; postprocess n.h5 m.h5 --step l2", 0, "m.h5"),
    ("zip-backslash", "describe thumbnail --images win.zip --out w.h5 --json", 0, '"images": 2'),
    ("pieces", "describe thumbnail --images t.tar.001 --out t3.h5 --json", 0, '"images": 3'),
    ("pieces", "describe thumbnail --images u.tar.00 --out u3.h5 --json", 0, '"images": 3'),
    ("pieces", "describe thumbnail --images v.tar.partaa --out v3.h5 --json", 0, '"images": 3'),
    *(
        ("card-names", f"submit new {name} --author A --title T --split ndec --no-input --submissions s", 2, name)
        for name in ("con", "aux", "nul", "com1", "a..")
    ),
]


@pytest.mark.parametrize(("case", "command", "code", "said"), CASES)
def test_a_case_gives_the_right_number_or_one_clear_message(
    inputs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    case: str,
    command: str,
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(inputs)
    monkeypatch.setenv("NDEC_ROOT", str(inputs / "nothing"))
    codes = [run(shlex.split(one)) for one in command.split(";")]
    shown = capsys.readouterr()
    assert codes[-1] == code, (case, shown.err)
    assert not any(codes[:-1])
    if code:
        assert len(shown.err.splitlines()[-1:]) == 1
        assert shown.out == ""
    assert said in shown.out + shown.err


def test_a_name_that_is_not_utf8_is_one_clear_line(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "latin").mkdir()
    try:
        (tmp_path / "latin" / os.fsdecode(b"caf\xe9.png")).write_bytes(picture(0))
    except OSError:
        pytest.skip("this disk has no such names")
    code = run(["describe", "thumbnail", "--images", str(tmp_path / "latin"), "--out", str(tmp_path / "l.h5")])
    assert code == 4
    assert len(capsys.readouterr().err.splitlines()) == 1
