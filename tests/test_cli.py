"""The command line as a user meets it: stdout, stderr and exit code of each kind of call."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from ndec_bench import __version__
from ndec_bench.cli import run
from ndec_bench.data.ground_truth import write_ground_truth
from ndec_bench.data.split import Split
from ndec_bench.descriptors import Submission
from ndec_bench.results.record import read_result

Make = Callable[..., tuple[Submission, Split]]


@pytest.fixture
def files(make_submission: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a submission, its ground truth and its hard negatives, as somebody else would write them."""
    submission, split = make_submission()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NDEC_ROOT", str(tmp_path / "nothing"))
    with h5py.File("theirs.h5", "w") as file:
        file["query"], file["query_ids"] = submission.queries.vectors, list(submission.queries.ids)
        file["reference"], file["reference_ids"] = submission.references.vectors, list(submission.references.ids)
    Path("gt.csv").write_text(write_ground_truth(split.truth))
    Path("hard.txt").write_text("\n".join(sorted(split.hard_negatives or ())))
    Path("pairs.csv").write_text("query_id,reference_id,score\nQ00000,R000000,0.9\nQ00001,R000005,0.8\n")
    return tmp_path


def test_somebody_elses_lines_of_h5py_score(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["score", "theirs.h5", "--ground-truth", "gt.csv", "--hard-negatives", "hard.txt"]) == 0
    shown = capsys.readouterr()
    assert "theirs on user-" in shown.out
    assert "Cost of the hard negatives" in shown.out
    assert "uAP|split:user-" in shown.out
    assert "bootstrap: 1,000 of 1,000" in shown.err


def test_json_alone_on_stdout_equals_the_file(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["score", "theirs.h5", "--ground-truth", "gt.csv", "--no-bootstrap", "--out", "r.json", "--json"])
    assert code == 0
    content = json.loads(capsys.readouterr().out)
    assert content == json.loads(Path("r.json").read_text())
    assert read_result(files / "r.json").parts["all"].micro_ap == content["parts"]["all"]["micro_ap"]
    assert list(content["parts"]) == ["all"]
    assert content["hard_negatives"] is None


def test_scored_pairs_score(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["score", "pairs.csv", "--ground-truth", "gt.csv", "--no-bootstrap", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["track"], content["parts"]["all"]["micro_ap"]) == ("matching", 1 / 20)


def damaged(kind: str) -> None:  # noqa: PLR0912 -- one branch per kind of damage
    """Damage ``theirs.h5`` in one of the ways that files are damaged."""
    path = Path("theirs.h5")
    if kind == "html":
        path.write_text("<!DOCTYPE html><title>Google Drive - Quota exceeded</title>")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:3000])
    elif kind == "text":
        path.write_text("this is no submission\n")
    elif kind == "absent":
        path.unlink()
    else:
        with h5py.File(path, "r+") as file:
            query, ids = file["query"][:], file["query_ids"].asstr()[:]
            del file["query"], file["query_ids"]
            if kind == "nan":
                query[3, 2] = np.nan
            elif kind == "twice":
                ids[4] = ids[3]
            elif kind == "missing query":
                query, ids = query[1:], ids[1:]
            elif kind == "short ids":
                ids = ids[1:]
            elif kind == "dimensions":
                query = query[:, :5]
            elif kind == "all equal":
                query[:] = 1.0
            if kind != "no query":
                file["query"] = query
            file["query_ids"] = ids.astype(object)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("html", "a web page, expected descriptors"),
        ("empty", "empty, expected descriptors"),
        ("truncated", "truncated"),
        ("text", "not an HDF5 file"),
        ("absent", "cannot be read"),
        ("nan", "row 3 (Q00003) holds nan"),
        ("twice", "id Q00003 is in row 3 and in row 4"),
        ("missing query", "1 of 60 labelled queries have no row, first Q00000"),
        ("short ids", "60 rows but query_ids has 59 ids"),
        ("dimensions", "query has 5 dimensions, reference 16"),
        ("all equal", "all 60 descriptors are equal"),
        ("no query", "no dataset 'query'"),
    ],
)
def test_bad_submissions_get_one_line_and_exit_code_3(
    files: Path, capsys: pytest.CaptureFixture[str], kind: str, message: str
) -> None:
    damaged(kind)
    assert run(["score", "theirs.h5", "--ground-truth", "gt.csv"]) == 3
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert shown.err.startswith("ndec-bench: bad submission: theirs.h5: ")
    assert message in shown.err
    assert run(["score", "theirs.h5", "--ground-truth", "gt.csv", "--json"]) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["kind"], error["exit_code"]) == ("bad submission", 3)
    assert message in error["message"]


def test_bad_data_gets_exit_code_4(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["score", "theirs.h5", "--ground-truth", "absent.csv"]) == 4
    assert "absent.csv: cannot be read" in capsys.readouterr().err
    assert run(["score", "theirs.h5", "--split", "ndec-mini-1"]) == 4
    assert "ndec-bench mini build --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["score", "theirs.h5"], "does not say which split it is for"),
        (["score", "theirs.h5", "--ground-truth", "gt.csv", "--split", "ndec"], "exclude each other"),
        (["score", "theirs.h5", "--hard-negatives", "hard.txt"], "goes with --ground-truth"),
        (["score", "theirs.h5", "--ground-truth", "gt.csv", "--protocol", "x"], "protocol 'x' is unknown"),
        (["score"], "no submission is given"),
        (["score", "theirs.h5", "--surprise"], "No such option"),
        (["surprise"], "No such command"),
    ],
)
def test_wrong_use_gets_exit_code_2(
    files: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""
    assert run([*arguments, "--json"]) == 2
    assert message.split("'", maxsplit=1)[0] in json.loads(capsys.readouterr().out)["error"]["message"]


def test_a_failed_write_keeps_the_old_result(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("r").write_text("a file where a folder is wanted")
    code = run(["score", "theirs.h5", "--ground-truth", "gt.csv", "--no-bootstrap", "--out", "r/result.json"])
    assert code == 4
    assert "r/result.json: cannot be written" in capsys.readouterr().err
    assert Path("r").read_text() == "a file where a folder is wanted"


def test_an_unwritable_result_is_known_before_the_work(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("folder").mkdir()
    for option in ("--out", "--save-matches"):
        assert run(["score", "theirs.h5", "--ground-truth", "gt.csv", option, "folder"]) == 4
        assert capsys.readouterr().err == (
            "ndec-bench: bad or missing data: folder: is a folder; give the name of a file\n"
        )
    assert list(Path("folder").iterdir()) == []


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"ndec-bench {__version__}\n"
    assert run(["--help"]) == 0
    text = capsys.readouterr().out
    assert "Exit codes: 0 done, 2 wrong use, 3 bad submission, 4 bad or missing data" in text
    for command in ("baselines", "demo", "describe", "mini", "pack", "run", "score", "site"):
        assert f"\n  {command} " in text


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, ndec_bench.cli; code = ndec_bench.cli.run(['--help']);"
        "heavy = {'numpy', 'pandas', 'h5py', 'torch', 'PIL', 'pydantic', 'scipy', 'jinja2'} & set(sys.modules);"
        "sys.exit(f'imported: {heavy}' if heavy else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_scoring_never_imports_torch(files: Path) -> None:
    code = (
        "import sys, ndec_bench.cli;"
        "code = ndec_bench.cli.run(['score', 'theirs.h5', '--ground-truth', 'gt.csv', '--json']);"
        "sys.exit('torch' in sys.modules or code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.name != "posix", reason="sends a POSIX signal")
def test_an_interrupted_run_says_so_with_exit_code_6(files: Path) -> None:
    # The search says that it is at work and stays there, its threads alive, until the signal comes.
    code = (
        "import sys, threading; from ndec_bench.cli import main; from ndec_bench.search import exact\n"
        "def stay(search):\n"
        "    print('at work', file=sys.stderr, flush=True); threading.Event().wait(600)\n"
        "exact._Search.finished = stay; main()"
    )
    command = [sys.executable, "-c", code, "score", "theirs.h5", "--ground-truth", "gt.csv", "--out", "r.json"]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    assert any("at work" in line for line in child.stderr)
    child.send_signal(signal.SIGINT)
    _, message = child.communicate(timeout=120)
    assert child.returncode == 6, message
    assert message.splitlines()[-1].startswith("ndec-bench: interrupted: stopped")
    assert not Path("r.json").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["pack", "--query", "a.h5", "--reference", "b.h5", "--split", "x", "--split", "y", "--out", "p.h5"],
        ["score", "a.h5", "--ground-truth", "gt.csv", "--ground-truth=other.csv"],
        ["postprocess", "a.h5", "b.h5", "--step", "l2", "--background", "c.h5", "--background", "d.h5"],
        ["submit", "new", "mine", "--title", "one", "--title", "two"],
    ],
)
def test_an_option_of_one_value_is_refused_twice(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*arguments, "--json"]) == 2
    assert "is given 2 times" in json.loads(capsys.readouterr().out)["error"]["message"]
