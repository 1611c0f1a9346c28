"""``ndec-bench submit`` and ``score --record`` as a user types them."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import h5py
import numpy as np
import pytest
from hub_upload_host import COMMIT, HubUploadHost

from ndec_bench.cli import run
from ndec_bench.data.ground_truth import write_ground_truth
from ndec_bench.descriptors import (
    Descriptors,
    read_submission,
    sha256_of_file,
    write_descriptors,
    write_half,
    write_submission,
)
from ndec_bench.errors import SubmissionError
from ndec_bench.results.record import read_result
from ndec_bench.submissions.card import CARD_FILE, Declarations, read_card

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ndec_bench.data.split import Split
    from ndec_bench.descriptors import Submission

    Make = Callable[..., tuple[Submission, Split]]

# huggingface_hub 2.4 passes the bytes of a large file to its HTTP client in a way that is deprecated there.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

REQUIRED = ["--split", "random", "--author", "Somebody", "--title", "My method"]
DECLARED = {
    "--labels-used": "none",
    "--train-images": "disc21-train",
    "--reference-images-in-training": "none",
    "--ndec-pairs": "no",
    "--background": "none",
    "--external-data": "no",
    "--query-independent": "yes",
    "--selected-on": "dev1",
}
ALL_DECLARED = [text for pair in DECLARED.items() for text in pair]
CARD = Path("submissions/mine/submission.toml")


@pytest.fixture
def files(make_submission: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Submission:
    submission, split = make_submission()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NDEC_ROOT", str(tmp_path / "nothing"))
    write_submission(Path("mine.h5"), replace(submission, split="random", threshold=-3.0))
    Path("gt.csv").write_text(write_ground_truth(split.truth))
    Path("hard.txt").write_text("\n".join(sorted(split.hard_negatives or ())))
    return submission


def new(*arguments: str) -> int:
    return run(["submit", "new", "mine", "--date", "2026-11-26", *arguments])


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    error = json.loads(capsys.readouterr().out)["error"]
    return f"{error['exit_code']}: {error['message']}; {error['hint']}"


# submit new


def test_every_field_has_an_option(files: Submission, capsys: pytest.CaptureFixture[str]) -> None:
    facts = {
        "--track": "descriptor",
        "--description": "An image becomes a vector.",
        "--paper": "https://example.org/p",
        "--code": "https://example.org/c",
        "--code-licence": "MIT",
        "--weights-licence": "none",
        "--commercial-use": "yes",
        "--details": "nothing else",
        "--threshold": "-3.0",
        "--url": "https://example.org/mine.h5",
        "--runs-of": "My method",
        "--seed": "4",
    }
    more = ["--author", "Else", "--labels-used", "dev1"]
    declared = [text for pair in {**DECLARED, "--labels-used": "final"}.items() for text in pair]
    assert new(*REQUIRED, *declared, *more, *(x for pair in facts.items() for x in pair), "--file", "mine.h5") == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.startswith(f"card written to {CARD}\n")
    assert "ndec-bench score mine.h5 --record --name mine" in shown.out
    card = read_card(CARD)
    assert (card.name, card.split, card.authors, card.date) == ("mine", "random", ["Somebody", "Else"], "2026-11-26")
    assert card.declarations.labels_used == ["final", "dev1"]
    assert (card.threshold, card.runs_of, card.seed) == (-3.0, "My method", 4)
    assert card.method.model_dump() == {
        "title": "My method",
        "description": facts["--description"],
        "paper": facts["--paper"],
        "code": facts["--code"],
        "code_licence": "MIT",
        "weights_licence": "none",
        "commercial_use": "yes",
    }
    assert card.descriptors is not None
    assert card.descriptors.model_dump() == {
        "name": "mine.h5",
        "sha256": sha256_of_file(Path("mine.h5")),
        "url": facts["--url"],
    }


def test_options_and_help_know_the_choices_of_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["submit", "new", "--help"]) == 0
    words = " ".join(capsys.readouterr().out.split())
    for name, field in Declarations.model_fields.items():
        flag = f"--{name.replace('_', '-')}"
        arguments = get_args(field.annotation)
        choices = (
            arguments
            if all(isinstance(one, str) for one in arguments)
            else get_args(arguments[0] if arguments else None)
        )
        assert f"{flag} {'|'.join(choices) or 'TEXT'} " in words


def test_the_file_tells_split_and_track(files: Submission, capsys: pytest.CaptureFixture[str]) -> None:
    assert new("--file", "mine.h5", "--author", "Me", "--title", "T", "--json") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["card"] == str(CARD)
    assert len(json.loads(shown.out)["undeclared"]) == 8
    assert "unknown, and what is unknown does not rank: --labels-used, --train-images" in shown.err
    assert (read_card(CARD).split, read_card(CARD).track) == ("random", "descriptor")
    Path("pairs.csv").write_text("query_id,reference_id,score\nQ00000,R000000,0.9\n")
    assert new("--file", "pairs.csv", *REQUIRED, "--force") == 0
    assert read_card(CARD).track == "matching"
    with h5py.File("mine.h5", "a") as file:
        file.attrs["query_independent"] = "no"
    assert new("--file", "mine.h5", "--author", "Me", "--title", "T", "--force") == 0
    assert read_card(CARD).declarations.query_independent == "no"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "x"], "2: missing: --author, --title; give them as options"),
        ([*REQUIRED, "--sha256", "0" * 64], "2: missing: --file-name; give --file, or both"),
        ([*REQUIRED, "--url", "https://x.org"], "2: missing: --sha256, --file-name; give --file, or both"),
        ([*REQUIRED, "--paper", "javascript:x"], "2: --paper: is not an http(s) address"),
        ([*REQUIRED, "--ndec-pairs", "maybe"], "2: --ndec-pairs: Input should be 'no', 'yes' or 'unknown'"),
        ([*REQUIRED, "--labels-used", "none", "--labels-used", "dev1"], "2: --labels-used: has none or unknown with"),
        ([*REQUIRED[:4], "--title", "a\x1bb"], "2: --title: holds control characters"),
        (
            [*REQUIRED, "--file", "mine.h5", "--sha256", "0" * 64],
            "2: --file and --sha256/--file-name exclude each other",
        ),
        ([*REQUIRED[2:], "--split", "ndec", "--file", "mine.h5"], "2: --split ndec, but mine.h5 says random"),
        ([*REQUIRED, "--file", "nothing.h5"], "3: nothing.h5: cannot be read"),
        ([*REQUIRED, "--file", "one.h5"], "3: one.h5: descriptors of one side"),
    ],
)
def test_what_is_wrong_names_the_option(
    files: Submission, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    write_descriptors(Path("one.h5"), files.queries, {})
    assert new(*arguments, "--json") == int(message[0])
    assert message in error_of(capsys)
    assert not CARD.exists()


@pytest.mark.parametrize("name", ["../x", "Mine", "", "a" * 64, ".x"])
def test_a_name_is_part_of_an_address(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    where = ["--submissions", str(tmp_path / "s")]
    assert run(["submit", "new", name, *REQUIRED, *where, "--json"]) == 2
    assert "cannot be the name" in error_of(capsys)
    assert list(tmp_path.iterdir()) == []


def test_a_card_is_not_replaced_unasked(files: Submission, capsys: pytest.CaptureFixture[str]) -> None:
    assert new(*REQUIRED) == 0
    before = CARD.read_bytes()
    assert new(*REQUIRED[:4], "--title", "Else", "--json") == 2
    assert CARD.read_bytes() == before
    assert new(*REQUIRED[:4], "--title", "Else", "--force") == 0
    assert read_card(CARD).method.title == "Else"
    entry = 'date = "2026-11-01"\nreason = "a fix"\nold_micro_ap = 0.5\nold_predictions_sha256 = "' + "0" * 64 + '"\n'
    CARD.write_text(CARD.read_text() + f"[[changes]]\n{entry}")
    assert new(*REQUIRED[:4], "--title", "Third", "--force") == 0
    assert [change.reason for change in read_card(CARD).changes] == ["a fix"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_is_asked(
    files: Submission, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    method = ["ftp://x", "https://example.org/paper", "", "MIT", "", "maybe", "no"]
    declared = ["dev1, dev3", "dev1,final", "", "plain", "yes", "", "no", "yes", "train"]
    answers = ["Me, You", "", "My method", *method, *declared]
    monkeypatch.setattr(sys, "stdin", Terminal("\n".join(answers) + "\n"))
    assert new("--file", "mine.h5") == 0
    card = read_card(CARD)
    assert (card.authors, card.method.title) == (["Me", "You"], "My method")
    assert (card.method.paper, card.method.code) == ("https://example.org/paper", None)
    assert (card.method.code_licence, card.method.weights_licence) == ("MIT", None)
    assert card.method.commercial_use == "no"
    assert card.declarations == Declarations(
        labels_used=["dev1", "final"],
        train_images=["unknown"],
        reference_images_in_training="plain",
        ndec_pairs="yes",
        background="unknown",
        external_data="no",
        query_independent="yes",
        selected_on=["train"],
    )
    asked = capsys.readouterr().err
    assert "labels_used: Ground truth used for training" in asked
    assert "String should have at least 1 character" in asked
    assert "is not an http(s) address" in asked
    assert "Input should be 'yes', 'no' or 'unclear'" in asked
    assert "Input should be 'none', 'dev1'" in asked
    assert "unknown, and what is unknown does not rank: --train-images, --background" in asked


def test_the_end_of_the_answers_writes_nothing(
    files: Submission, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("Me\n"))
    assert new("--file", "mine.h5", "--json") == 6
    assert "no card was written" in error_of(capsys)
    monkeypatch.setattr(sys, "stdin", Terminal(""))
    assert new("--no-input", "--json") == 2
    assert not CARD.exists()


# score --record, submit check


def record(*arguments: str) -> int:
    return run(["score", "mine.h5", "--ground-truth", "gt.csv", "--hard-negatives", "hard.txt", "--record", *arguments])


def test_from_a_file_to_a_pull_request(files: Submission, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["submit", "new", "other-name", "--file", "mine.h5", *REQUIRED, *ALL_DECLARED]) == 0
    card = Path("submissions/other-name/submission.toml")
    assert record() == 0
    place = Path("results/ndec-1/other-name.json")  # the card has the file's digest
    assert capsys.readouterr().out.endswith(f"result recorded in {place}\n")
    result = read_result(place)
    assert result.name == "other-name"
    assert run(["submit", "check"]) == 3  # the split of one's own is named by its ground truth
    assert f"split: is 'random', the result has '{result.split}'" in capsys.readouterr().out
    card.write_text(card.read_text().replace('"random"', f'"{result.split}"'))
    assert run(["submit", "check", "other-name", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    (warning,) = told.pop("problems")
    assert told == {"ok": True, "submissions": 1, "results": 1, "changes": None}
    assert (warning["level"], warning["field"]) == ("warning", "descriptors")
    assert warning["message"] == "has no address, so that nobody can score the file again"
    empty = tmp_path / "base"
    for name in ("results", "submissions"):
        (empty / name).mkdir(parents=True)
    assert run(["submit", "check", "--base", str(empty), "--markdown", "s.md"]) == 0
    assert "new: other-name, rank 1 of 1 once verified" in capsys.readouterr().out
    assert run(["submit", "check", "--base", str(empty), "--markdown", "-"]) == 0
    assert capsys.readouterr().out == Path("s.md").read_text()
    assert run(["submit", "check", "--markdown", "-", "--json"]) == 2


def test_problems_are_lines_and_exit_code_3(files: Submission, capsys: pytest.CaptureFixture[str]) -> None:
    assert new(*REQUIRED, "--file", "mine.h5") == 0
    CARD.write_text(CARD.read_text().replace('track = "descriptor"', 'track = "other"'))
    Path("results").mkdir()
    capsys.readouterr()
    assert run(["submit", "check"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{CARD}:4: track: Input should be 'descriptor' or 'matching'"
    assert lines[-1] == "checked 1 card and 0 results: 1 error, 0 warnings"
    assert run(["submit", "check", "--json"]) == 3
    content = json.loads(capsys.readouterr().out)
    assert content["ok"] is False
    assert content["problems"][0]["line"] == 4
    assert run(["submit", "check", "nobody", "--json"]) == 2
    capsys.readouterr()
    assert run(["submit", "check", "--results", "nothing", "--json"]) == 4


def test_a_card_of_another_file_ends_before_the_search(files: Submission, capsys: pytest.CaptureFixture[str]) -> None:
    assert new(*REQUIRED, "--sha256", "0" * 64, "--file-name", "mine.h5") == 0
    capsys.readouterr()
    assert record("--json") == 3
    shown = capsys.readouterr()
    assert "the card is of a file with SHA-256 0000" in shown.out
    assert "bootstrap" not in shown.err
    assert not Path("results/ndec-1/mine.json").exists()
    assert record("--name", "free") == 0
    assert read_result(Path("results/ndec-1/free.json")).name == "free"


def test_names_of_records(files: Submission, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        assert run(["submit", "new", name, "--file", "mine.h5", *REQUIRED]) == 0
    capsys.readouterr()
    assert record("--json") == 2
    assert "mine.h5 belongs to the cards one, two" in error_of(capsys)
    assert record("--name", "../x", "--json") == 2
    assert "cannot be the name of a submission" in error_of(capsys)
    Path("submissions/one/submission.toml").write_text("broken = ")
    assert record("--json") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["name"] == "two"
    assert "result recorded in results/ndec-1/two.json" in shown.err
    beside = Path("there")
    beside.mkdir()
    Path("mine.h5").rename(beside / "x.h5")
    Path("submissions/two/submission.toml").rename(beside / CARD_FILE)
    scored = ["score", str(beside / "x.h5"), "--ground-truth", "gt.csv", "--record", "--results", "elsewhere"]
    assert run([*scored, "--protocol", "sscd"]) == 0
    assert read_result(Path("elsewhere/sscd/two.json")).protocol == "sscd"


def test_a_changed_record_tells_old_and_new(files: Submission, capsys: pytest.CaptureFixture[str]) -> None:
    assert record() == 0
    first = read_result(Path("results/ndec-1/mine.json"))
    assert record() == 0
    assert "µAP was" not in capsys.readouterr().err
    write_submission(Path("mine.h5"), replace(files, metric="ip"))
    assert record() == 0
    now = read_result(Path("results/ndec-1/mine.json"))
    told = capsys.readouterr().err
    assert f"µAP was {first.parts['all'].micro_ap:.6f} and is {now.parts['all'].micro_ap:.6f}" in told
    assert "[[changes]]" in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "x.json"], "--record and --out exclude each other"),
        (["--no-bootstrap"], "--record keeps intervals"),
    ],
)
def test_what_does_not_go_with_record(
    files: Submission, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert record(*arguments, "--json") == 2
    assert message in error_of(capsys)


def test_parts_and_two_results_of_one_name_are_not_recorded(
    files: Submission, capsys: pytest.CaptureFixture[str]
) -> None:
    write_descriptors(Path("q.h5"), files.queries, {})
    truth = ["--ground-truth", "gt.csv", "--record", "--json"]
    assert run(["score", "--query", "q.h5", "--reference", "q.h5", *truth]) == 2
    assert "--record takes files and one split" in error_of(capsys)
    Path("mine.csv").write_text("query_id,reference_id,score\nQ00000,R000000,0.9\n")
    assert run(["score", "mine.h5", "mine.csv", *truth]) == 2
    assert "would be the second result results/ndec-1/mine.json" in error_of(capsys)


# submit upload


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubUploadHost]:
    from huggingface_hub import constants

    # Its own store takes files of every size over plain HTTP, and is what a fake can speak.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    with HubUploadHost("hf_good") as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def send(*arguments: str) -> int:
    return run(["submit", "upload", *arguments])


def test_an_upload_prints_the_pinned_address(
    files: Submission, hub: HubUploadHost, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = sha256_of_file(Path("mine.h5"))
    assert send("mine.h5", "--to", "hf:me/sets") == 0
    shown = capsys.readouterr()
    url = f"{hub.url}/datasets/me/sets/resolve/{COMMIT}/mine.h5"
    assert shown.out == f"url     {url}\nsha256  {digest}\n"
    assert f"uploading mine.h5, {len(Path('mine.h5').read_bytes()) / 1000:.1f} kB" in shown.err
    assert "to the data set me/sets" in shown.err
    assert hub.stored[digest] == Path("mine.h5").read_bytes()
    assert hub.repositories["me/sets"].files == {"mine.h5": digest}
    assert hub.repositories["me/sets"].private is False
    puts = [method for method, _ in hub.asked].count("PUT")
    assert send("mine.h5", "--to", "hf:me/sets", "--path", "v2/a.h5", "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content == {
        "url": url.replace("mine.h5", "v2/a.h5"),
        "sha256": digest,
        "bytes": len(Path("mine.h5").read_bytes()),
        "card": None,
    }
    assert [method for method, _ in hub.asked].count("PUT") == puts  # it is there already


def test_a_card_gets_address_and_digest(
    files: Submission, hub: HubUploadHost, capsys: pytest.CaptureFixture[str]
) -> None:
    assert new("--file", "mine.h5", *REQUIRED) == 0
    written = f"# ours\n{CARD.read_text()}"
    CARD.write_text(written)
    assert send("mine.h5", "--to", "hf:me/sets", "--card", str(CARD), "--private") == 0
    lines = CARD.read_text().splitlines(keepends=True)
    assert "".join(line for line in lines if not line.startswith("url = ")) == written
    assert hub.repositories["me/sets"].private is True
    card = read_card(CARD)
    assert card.descriptors is not None
    assert card.descriptors.url == f"{hub.url}/datasets/me/sets/resolve/{COMMIT}/mine.h5"
    assert "its row stays reported" in capsys.readouterr().err
    before = CARD.read_bytes()
    write_submission(Path("mine.h5"), replace(files, metric="ip"))
    assert send("mine.h5", "--to", "hf:me/sets", "--card", str(CARD), "--json") == 3
    assert "the card is of a file with SHA-256" in error_of(capsys)
    assert CARD.read_bytes() == before


def test_float16_is_another_file(files: Submission, hub: HubUploadHost, capsys: pytest.CaptureFixture[str]) -> None:
    assert new("--file", "mine.h5", *REQUIRED) == 0
    assert send("mine.h5", "--to", "hf:me/sets", "--float16", "--card", str(CARD)) == 0
    half = Path("mine-float16.h5")
    assert 'record its result with "ndec-bench score mine-float16.h5 --record --name mine"' in capsys.readouterr().err
    card = read_card(CARD)
    assert card.descriptors is not None
    assert (card.descriptors.name, card.descriptors.sha256) == (half.name, sha256_of_file(half))
    with read_submission(half) as made, read_submission(Path("mine.h5")) as whole:
        assert (made.stored_dtype, made.split, made.threshold) == ("float16", "random", -3.0)
        assert made.queries.ids == whole.queries.ids
        assert np.array_equal(made.queries.vectors, whole.queries.vectors.astype(np.float16).astype(np.float32))
    again = Path("again.h5")
    write_half(Path("mine.h5"), again)
    assert again.read_bytes() == half.read_bytes()
    assert send(str(half), "--to", "hf:me/sets", "--float16", "--json") == 3
    assert "float16 already" in error_of(capsys)


@pytest.mark.parametrize(("value", "why"), [(1e5, "a value beyond 65,504"), (1e-9, "nothing but values that become 0")])
def test_a_row_that_float16_cannot_hold_is_named(files: Submission, tmp_path: Path, value: float, why: str) -> None:
    assert isinstance(files.references, Descriptors)
    vectors = files.references.vectors.copy()
    vectors[7] = value
    write_submission(Path("mine.h5"), replace(files, references=Descriptors(files.references.ids, vectors)))
    with pytest.raises(SubmissionError, match=rf"reference row 7 \(R000007\) does not fit float16: {why}"):
        write_half(Path("mine.h5"), Path("half.h5"))
    assert not Path("half.h5").exists()


def test_norms_and_background_stay(files: Submission) -> None:
    norms = np.linspace(0, 1, 60, dtype=np.float32), np.linspace(0, 1, 90, dtype=np.float32)
    whole = replace(
        files, query_norms=norms[0], reference_norms=norms[1], background=files.queries, invalid_ids=("Q99999",)
    )
    write_submission(Path("whole.h5"), whole)
    write_half(Path("whole.h5"), Path("half.h5"))
    with read_submission(Path("half.h5")) as half:
        assert half.query_norms is not None
        assert np.array_equal(half.query_norms, norms[0])
        assert half.background is not None
        assert (len(half.background), half.invalid_ids) == (60, ("Q99999",))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["mine.h5", "--to", "me/sets"], 2, "write hf:USER/REPO"),
        (["mine.h5", "--to", "hf:me/../x"], 2, "write hf:USER/REPO"),
        (["mine.h5", "--to", "hf:me/sets", "--path", "../x"], 2, "cannot be a path on the hub"),
        (["nothing.h5", "--to", "hf:me/sets"], 3, "nothing.h5: not a file"),
        (["mine.h5", "--to", "hf:me/sets", "--card", "nothing.toml"], 3, "nothing.toml: cannot be read"),
        (["gt.csv", "--to", "hf:me/sets", "--float16"], 2, "--float16 takes an HDF5 submission"),
    ],
)
def test_what_cannot_be_uploaded(
    files: Submission,
    hub: HubUploadHost,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    assert send(*arguments, "--json") == code
    assert message in error_of(capsys)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "401: this token may not write to me/sets"),
        (403, "403: this token may"),
        (418, "answered with status 418"),
    ],
)
def test_a_hub_that_refuses(
    files: Submission, hub: HubUploadHost, capsys: pytest.CaptureFixture[str], status: int, message: str
) -> None:
    hub.refusing = status
    assert send("mine.h5", "--to", "hf:me/sets", "--json") == 5
    assert message in error_of(capsys)


def test_no_token_no_hub_and_another_file(
    files: Submission, hub: HubUploadHost, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.other_digest = True
    assert send("mine.h5", "--to", "hf:me/sets", "--json") == 5
    assert "the hub has a file with SHA-256" in error_of(capsys)
    monkeypatch.setenv("HF_TOKEN", "hf_bad")
    assert send("mine.h5", "--to", "hf:me/sets", "--json") == 5
    assert "401" in error_of(capsys)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert send("mine.h5", "--to", "hf:me/sets", "--json") == 5
    assert "127.0.0.1:9: uploading failed (ConnectError" in error_of(capsys)
    monkeypatch.delenv("HF_TOKEN")
    assert send("mine.h5", "--to", "hf:me/sets", "--json") == 2
    assert "set HF_TOKEN" in error_of(capsys)
