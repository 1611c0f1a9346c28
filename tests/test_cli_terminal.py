"""The command line where its output goes to a narrow terminal, another encoding, a pipe, a full disk, or nowhere."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ndec_bench.cli import console

COMMAND = [sys.executable, "-m", "ndec_bench"]
SCORE = ["score", "pairs.csv", "--ground-truth", "gt.csv", "--no-bootstrap"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "gt.csv").write_text("query_id,reference_id\nQ1,R1\nQ2,R2\nQ3,\n")
    (tmp_path / "pairs.csv").write_text("query_id,reference_id,score\nQ1,R1,0.9\nQ3,R1,0.8\nQ2,R2,0.7\n")
    return tmp_path


def shell(folder: Path, line: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``line`` with bash, where ``"$@"`` is ndec-bench with these arguments."""
    command = ["bash", "-c", f"set -o pipefail; {line}", "bash", *COMMAND, *arguments]
    variables = {**os.environ, "NDEC_ROOT": str(folder / "nothing"), **environment}
    variables.pop("PYTHONUNBUFFERED", None)
    return subprocess.run(
        command,
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


@pytest.mark.parametrize("encoding", ["ascii", "gbk", "cp932", "cp949", "cp866", "koi8-r", "big5", "latin-1", "utf-8"])
def test_what_an_encoding_does_not_have_is_spelled(encoding: str) -> None:
    spelled = "µAP 0.5–0.7, 3 × 4, \udcff".encode(encoding, console._SPELLED).decode(encoding)
    expected = {"utf-8": "µAP 0.5–0.7, 3 × 4, ?", "latin-1": "µAP 0.5-0.7, 3 × 4, ?"}.get(encoding)
    assert spelled == expected or re.fullmatch(r"[µu]AP 0\.5[–-]0\.7, 3 [×x] 4, \?", spelled)


@pytest.mark.parametrize("arguments", [["--help"], ["score", "--help"], SCORE, ["score", "none.csv"]])
def test_every_encoding_gets_its_output(folder: Path, arguments: list[str]) -> None:
    done = shell(folder, '"$@"', *arguments, PYTHONIOENCODING="gbk", PYTHONUTF8="0")
    assert done.returncode == (3 if "none.csv" in arguments else 0), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ('"$@" | head -1', 0, ""),
        ('"$@" >&-', 0, ""),
        ('"$@" 2>&-', 0, ""),
        ('"$@" <&- >&- 2>&-', 0, ""),
        ('"$@" > /dev/full', 4, "standard output: cannot be written (No space left on device)"),
        ('"$@" --json > /dev/full', 4, "standard output: cannot be written (No space left on device)"),
        ('"$@" 2> /dev/full', 0, ""),
    ],
)
def test_a_result_is_kept_where_printing_fails(folder: Path, line: str, code: int, said: str) -> None:
    done = shell(folder, line, *SCORE, "--out", "r.json")
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert (folder / "r.json").stat().st_size > 1000


def test_a_record_is_kept_where_printing_fails(folder: Path) -> None:
    arguments = [each for each in SCORE if each != "--no-bootstrap"]
    done = shell(folder, '"$@" > /dev/full', *arguments, "--record", "--name", "mine")
    assert done.returncode == 4
    assert (folder / "results" / "ndec-1" / "mine.json").exists()


def test_a_failed_check_fails_in_a_pipe_too(folder: Path) -> None:
    done = shell(folder, '"$@" | true', "data", "verify", "--json")
    assert done.returncode == 4


def test_a_name_that_is_not_text_is_one_clear_line(folder: Path) -> None:
    for option in ("--name", "--out"):
        done = shell(folder, f"\"$@\" {option} $'m\\xff'", *SCORE)
        assert done.returncode == 2
        assert done.stderr.startswith('ndec-bench: wrong use: "m\\udcff" is not text in the encoding of this system')
        assert len(done.stderr.splitlines()) == 1


TRAIN = ["train", "asl", "--config", "asl.toml", "--out", "trained"]


@pytest.mark.parametrize(
    ("arguments", "module", "raised", "code", "said"),
    [
        (SCORE, "ndec_bench.errors", "KeyboardInterrupt", 6, "interrupted: stopped"),
        (SCORE, "ndec_bench.scoring.score", "KeyboardInterrupt", 6, "interrupted: stopped"),
        (SCORE, "h5py", "MemoryError('no 9 TiB')", 4, "bad or missing data: not enough memory (no 9 TiB)"),
        (TRAIN, "torch", "ModuleNotFoundError(name='torch')", 2, "wrong use: the package torch is not installed"),
    ],
)
def test_any_end_of_a_command_is_one_clear_line(
    folder: Path, arguments: list[str], module: str, raised: str, code: int, said: str
) -> None:
    program = (
        "import sys, importlib.abc\n"
        "class Finder(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == {module!r}: raise {raised}\n"
        "sys.meta_path.insert(0, Finder())\n"
        f"sys.argv[1:] = {arguments!r}\n"
        "from ndec_bench.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


COLUMNS = ["method", "µAP", "95 % interval", "recall @P90", "without hard neg.", "hard neg. hit", "ms/ image"]
ROWS = [
    ["mobilenetv2-imagenet", "0.123", "0.111–0.456", "not reached", "0.345", "100.0 %", "12.3"],
    ["phash", "0.023", "0.022–0.024", "0.234", "0.567", "10.0 %", "2.3"],
]


@pytest.mark.parametrize(("width", "tables"), [(120, 1), (80, 1), (60, 2), (40, 4), (28, 6)])
def test_a_narrow_terminal_cuts_no_name_and_no_number(monkeypatch: pytest.MonkeyPatch, width: int, tables: int) -> None:
    shown = io.StringIO()
    monkeypatch.setattr(shown, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setenv("COLUMNS", str(width))
    console.table("title", COLUMNS, ROWS)
    out = re.sub(r"\x1b\[\d+m", "", shown.getvalue())
    assert max(map(len, out.splitlines())) <= width
    assert out.count("──\n") + out.count("── \n") == tables
    if width > 28:
        assert all(cell in out for row in ROWS for cell in row)
    assert all(cell in out for row in ROWS for cell in row[1:])
