"""``ndec-bench score`` in all its forms, as a user types them."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pytest

from ndec_bench.cli import console, run
from ndec_bench.cli.options import spread
from ndec_bench.data.ground_truth import write_ground_truth
from ndec_bench.descriptors import Descriptors, write_descriptors, write_submission
from ndec_bench.results.record import read_result
from ndec_bench.results.tables import result_tables

if TYPE_CHECKING:
    from collections.abc import Callable

    from ndec_bench.data.split import Split
    from ndec_bench.descriptors import Submission

    Make = Callable[..., tuple[Submission, Split]]

TRUTH = ["--ground-truth", "gt.csv"]


@pytest.fixture
def files(make_submission: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Submission:
    submission, split = make_submission()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NDEC_ROOT", str(tmp_path / "nothing"))
    write_submission(Path("mine.h5"), submission)
    references = submission.references
    assert isinstance(references, Descriptors)
    first, rest = np.arange(40), np.arange(40, len(references))
    write_descriptors(Path("r1.h5"), references.take(first), {})
    write_descriptors(Path("r2.h5"), references.take(rest), {})
    write_descriptors(Path("q1.h5"), submission.queries.take(np.arange(25)), {})
    write_descriptors(Path("q2.h5"), submission.queries.take(np.arange(25, 60)), {})
    generator = np.random.default_rng(5)
    background = Descriptors(tuple(f"T{i:02d}" for i in range(20)), generator.normal(size=(20, 16)).astype(np.float32))
    write_descriptors(Path("b.h5"), background, {})
    Path("gt.csv").write_text(write_ground_truth(split.truth))
    Path("hard.txt").write_text("\n".join(sorted(split.hard_negatives or ())))
    Path("first.txt").write_text("\n".join(split.query_ids[:30]))
    return submission


def scored(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:  # noqa: ANN401
    code = run(["score", *arguments, "--no-bootstrap", "--json"])
    shown = capsys.readouterr()
    assert code == 0, shown
    return json.loads(shown.out)


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = run(["score", *arguments, "--no-bootstrap", "--json"])
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["exit_code"] == code
    return code, f"{error['message']}; {error['hint']}"


def test_the_isc2021_form_scores_like_one_file(files: Submission, capsys: pytest.CaptureFixture[str]) -> None:
    whole = scored(capsys, "mine.h5", *TRUTH)
    apart = scored(capsys, "--query", "q1.h5", "q2.h5", "--reference", "r2.h5", "r1.h5", *TRUTH)
    repeated = scored(
        capsys, "--query", "q1.h5", "--query", "q2.h5", "--reference", "r1.h5", "--reference", "r2.h5", *TRUTH
    )
    for other in (apart, repeated):
        assert other["predictions_sha256"] == whole["predictions_sha256"]
        assert other["parts"] == whole["parts"]


def test_a_background_gives_the_normalised_entries(files: Submission, capsys: pytest.CaptureFixture[str]) -> None:
    one = scored(capsys, "mine.h5", *TRUTH, "--protocol", "all", "--background", "b.h5")
    apart = ["--query", "q1.h5", "q2.h5", "--reference", "r1.h5", "r2.h5", "--background", "b.h5"]
    assert scored(capsys, *apart, *TRUTH, "--protocol", "all")["protocols"] == one["protocols"]
    assert len(one["protocols"]) == 12
    without = scored(capsys, "mine.h5", *TRUTH, "--protocol", "all")
    assert set(without["protocols"]) == {"ndec-1", "isc2021", "drivendata", "sscd"}
    assert without["signature"] == one["signature"]
    assert scored(capsys, "mine.h5", *TRUTH)["protocols"] is None
    unused = scored(capsys, "mine.h5", *TRUTH, "--background", "b.h5")
    assert unused["notes"] == ["the background was not used: only the protocol table normalises (--protocol all)"]


@pytest.mark.parametrize("backend", ["auto", "blas", "faiss", "torch"])
def test_backends_and_threads_leave_the_digest_alone(
    files: Submission, capsys: pytest.CaptureFixture[str], backend: str
) -> None:
    first = scored(capsys, "mine.h5", *TRUTH)
    again = scored(capsys, "mine.h5", *TRUTH, "--backend", backend, "--threads", "1")
    assert again["predictions_sha256"] == first["predictions_sha256"]
    assert again["provenance"]["backend"] == ("blas" if backend == "auto" else backend)


def test_saved_matches_score_to_the_same_digest(files: Submission, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("list.parquet", "list.csv", "list"):
        first = scored(capsys, "mine.h5", *TRUTH, "--save-matches", name)
        again = scored(capsys, name, *TRUTH)
        assert again["track"] == "matching"
        assert again["predictions_sha256"] == first["predictions_sha256"]
        assert again["parts"]["all"]["micro_ap"] == first["parts"]["all"]["micro_ap"]
    assert Path("list").read_bytes()[:4] == b"PAR1"
    assert Path("list.csv").read_text().startswith("query_id,reference_id,score\n")


def test_several_files_are_several_submissions(files: Submission, capsys: pytest.CaptureFixture[str]) -> None:
    write_submission(Path("other.h5"), replace(files, metric="ip"))
    results = scored(capsys, "mine.h5", "other.h5", *TRUTH, "--out", "results")
    assert [result["name"] for result in results] == ["mine", "other"]
    assert [result["metric"] for result in results] == ["l2", "ip"]
    assert {path.name for path in Path("results").iterdir()} == {"mine.json", "other.json"}
    assert read_result(Path("results/other.json")).metric == "ip"
    assert failed(capsys, "mine.h5", "other.h5", *TRUTH, "--out", "gt.csv")[0] == 2
    assert failed(capsys, "mine.h5", "other.h5", *TRUTH, "--save-matches", "m")[0] == 2


def test_a_ground_truth_of_matches_needs_the_list_of_queries(
    files: Submission, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = Path("gt.csv").read_text().splitlines()
    Path("matches.csv").write_text("\n".join(row for row in rows[1:] if not row.endswith(",")))
    code, message = failed(capsys, "mine.h5", "--ground-truth", "matches.csv")
    assert code == 4
    assert "40 queries of mine.h5 are not in it, first Q00020" in message
    assert "--queries IDS.txt" in message
    Path("ids.txt").write_text("\n".join(files.queries.ids))
    whole = scored(capsys, "mine.h5", *TRUTH)
    listed = scored(capsys, "mine.h5", "--ground-truth", "matches.csv", "--queries", "ids.txt")
    assert listed["parts"] == whole["parts"]
    truth = {row.split(",")[0]: [x for x in row.split(",")[1:] if x] for row in rows[1:]}
    Path("gt.json").write_text(json.dumps(truth))
    assert scored(capsys, "mine.h5", "--ground-truth", "gt.json")["parts"] == whole["parts"]


def test_parts_of_ones_own(files: Submission, capsys: pytest.CaptureFixture[str]) -> None:
    result = scored(capsys, "mine.h5", *TRUTH, "--hard-negatives", "hard.txt", "--part", "first=first.txt")
    assert list(result["parts"]) == ["all", "isc", "first"]
    assert result["parts"]["first"]["queries"] == 30
    assert result["parts"]["first"]["cap"] == 300
    assert failed(capsys, "mine.h5", *TRUTH, "--part", "first.txt")[0] == 2
    assert (
        "--part x appears twice" in failed(capsys, "mine.h5", *TRUTH, "--part", "x=first.txt", "--part", "x=b.txt")[1]
    )


def test_precisions_and_the_own_threshold(files: Submission, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["mine.h5", *TRUTH, "--hard-negatives", "hard.txt", "--precision", "0.5", "0.99", "--threshold", "-9.5"]
    result = scored(capsys, *arguments)
    points = result["parts"]["all"]["recall_at_precision"]
    assert list(points) == ["0.5", "0.99"]
    assert points["0.5"]["recall"] >= (points["0.99"]["recall"] or 0.0)
    assert result["own_threshold"] == -9.5
    assert result["hard_negatives"]["at_own_threshold"]["threshold"] == -9.5
    with h5py.File("mine.h5", "a") as file:
        file.attrs["threshold"] = -9.5
    assert scored(capsys, *arguments[:-2])["own_threshold"] == -9.5


def test_the_ratio_rule_drops_pairs_before_the_cap(files: Submission, capsys: pytest.CaptureFixture[str]) -> None:
    code, message = failed(capsys, "mine.h5", *TRUTH, "--asymmetric", "ratio")
    assert code == 3
    assert "needs the datasets query_norms and reference_norms" in message
    with h5py.File("mine.h5", "a") as file:
        file["query_norms"] = np.where(np.arange(60) < 30, 1.0, 3.0).astype(np.float32)
        file["reference_norms"] = np.full(90, 2.0, dtype=np.float32)
    plain = scored(capsys, "mine.h5", *TRUTH)
    ruled = scored(capsys, "mine.h5", *TRUTH, "--asymmetric", "ratio", "--save-matches", "m.csv")
    assert "|asym:ratio|" in ruled["signature"]
    assert "|asym:none|" in plain["signature"]
    queries = {line.split(",")[0] for line in Path("m.csv").read_text().splitlines()[1:]}
    assert queries <= {f"Q{i:05d}" for i in range(30)}
    assert ruled["parts"]["all"]["predictions"] == 600  # the cap is that of all 60 queries, filled by the other half
    Path("p.csv").write_text("query_id,reference_id,score\nQ00000,R000000,1\n")
    assert failed(capsys, "p.csv", *TRUTH, "--asymmetric", "ratio")[0] == 2


@pytest.fixture
def normed(files: Submission) -> Submission:
    """The same files; every third query is longer than all references."""
    with h5py.File("mine.h5", "a") as file:
        file["query_norms"] = np.where(np.arange(60) % 3 == 0, 3.0, 1.0).astype(np.float32)
        file["reference_norms"] = np.full(90, 2.0, dtype=np.float32)
    return files


@pytest.mark.parametrize("rule", ["surprise", "ratio:2", "tilt:", "tilt:-1", "tilt:nan", "hinge:1e400"])
def test_a_wrong_rule_is_told_before_anything_is_read(
    files: Submission, capsys: pytest.CaptureFixture[str], rule: str
) -> None:
    code, message = failed(capsys, "absent.h5", *TRUTH, "--asymmetric", rule)
    assert code == 2
    assert f"asymmetric rule '{rule}'" in message
    assert "expected none, ratio, ratio-after-list, hinge:L or tilt:L" in message


def test_help_names_every_rule(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("score", "run"):
        assert run([command, "--help"]) == 0
        # A narrow terminal breaks lines behind hyphens.
        text = " ".join(capsys.readouterr().out.split()).replace("- ", "-")
        assert "Asymmetric rule on the norms: none, ratio, ratio-after-list, hinge:L or tilt:L." in text


@pytest.mark.parametrize(
    ("rule", "named", "signed"),
    [("none", "ratio", "none"), ("ratio", "ratio", "ratio"), ("tilt:0.50", "tilt:0.5", "tilt:0.5")],
)
def test_both_scores_are_printed_and_the_signature_names_the_rule(
    normed: Submission, capsys: pytest.CaptureFixture[str], rule: str, named: str, signed: str
) -> None:
    arguments = ["mine.h5", *TRUTH, "--hard-negatives", "hard.txt", "--asymmetric", rule]
    assert run(["score", *arguments, "--out", "r.json"]) == 0
    shown = capsys.readouterr().out
    result = read_result(Path("r.json"))
    assert result.direction is not None
    assert result.direction.rule == named
    assert (result.asymmetric, f"|asym:{signed}|" in result.signature) == (signed, True)
    block = shown[shown.index(f"Asymmetric similarity: {named}") :]
    without, ruled = (getattr(result.direction.parts["all"], which).micro_ap for which in ("without_rule", "with_rule"))
    assert result.parts["all"].micro_ap == (without if rule == "none" else ruled)
    assert without != ruled
    cells = [line.split() for line in block.splitlines()]
    low, high = result.direction.parts["all"].micro_ap_difference_interval or (0.0, 0.0)
    row = f"µAP, all {without:.4f} {ruled:.4f} {ruled - without:+.4f} {low:+.4f} to {high:+.4f}"
    assert row.split() in cells
    assert "True pairs kept: 13 of 20 = 65.00%; if swapped: 7 of 20 = 35.00%" in block
    # t is 1/3 thirteen times and -1/5 seven times: all sums but those of two of the seven are above zero.
    assert f"told by their norms: AUC {1 - 49 / 400:.4f} (" in block
    assert ("the scores above are those without it" in block) == (rule == "none")
    assert ("Swap gap of true pairs: mean" in block) == (rule == "tilt:0.50")
    at = result.direction.at_p90_isc
    assert at is not None
    assert at.without_rule is not None
    assert at.with_rule is not None
    for label, field in (("hard negatives hit", "hard_negatives_hit"), ("copies found", "copies_found")):
        pair = [getattr(one, field) for one in (at.without_rule, at.with_rule)]
        assert f"{label} {' '.join(f'{share.hits} = {share.rate:.2%}' for share in pair)}".split() in cells


def test_json_holds_the_direction_only_with_norms(files: Submission, capsys: pytest.CaptureFixture[str]) -> None:
    assert "direction" not in scored(capsys, "mine.h5", *TRUTH)
    with h5py.File("mine.h5", "a") as file:
        file["query_norms"], file["reference_norms"] = np.ones(60, np.float32), np.ones(90, np.float32)
    direction = scored(capsys, "mine.h5", *TRUTH)["direction"]
    assert direction["rule"] == "ratio"
    assert direction["true_pairs_kept"]["rate"] == direction["true_pairs_kept_if_swapped"]["rate"] == 1.0
    assert direction["direction_auc"] == 0.5


def test_results_without_and_with_a_rule_are_compared(normed: Submission, capsys: pytest.CaptureFixture[str]) -> None:
    for rule in ("none", "hinge:2"):
        assert (
            run(["score", "mine.h5", *TRUTH, "--asymmetric", rule, "--name", rule[:5], "--out", f"{rule[:5]}.json"])
            == 0
        )
    capsys.readouterr()
    assert run(["compare", "hinge.json", "none.json", "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)
    assert "different asymmetric rule: hinge:2.0 (hinge); none (none)" in compared["notes"]
    told = read_result(Path("hinge.json")).direction
    assert told is not None
    assert compared["pairs"][0]["difference"] == told.parts["all"].micro_ap_difference
    assert tuple(compared["pairs"][0]["interval"]) == told.parts["all"].micro_ap_difference_interval


def test_forms_exclude_each_other(files: Submission, capsys: pytest.CaptureFixture[str]) -> None:
    assert "exclude each other" in failed(capsys, "mine.h5", "--query", "q1.h5", *TRUTH)[1]
    assert "go together" in failed(capsys, "--query", "q1.h5", *TRUTH)[1]
    assert "goes with --ground-truth" in failed(capsys, "mine.h5", "--queries", "first.txt")[1]
    assert failed(capsys, "mine.h5", "--split", "ndec")[0] == 4


def test_several_values_after_one_option(files: Submission) -> None:
    given = ["score", "--query", "a", "b", "--reference", "c", "--json", "d", "--query", "e"]
    expected = ["score", "--query", "a", "--query", "b", "--reference", "c", "--json", "d", "--query", "e"]
    assert spread(given) == expected
    assert spread(["--background", "a", "b", "--reference", "c"])[2:4] == ["--background", "b"]
    # What cannot be a further value is the submission.
    assert spread(["score", "--background", "b.h5", "mine.h5"]) == ["score", "--background", "b.h5", "mine.h5"]
    given = ["--precision", "0.5", ".9", "mine.h5", "--part", "x=a", "y=b", "mine.h5", "--split", "n", "m", "mine.h5"]
    assert spread(given) == [
        *("--precision", "0.5", "--precision", ".9", "mine.h5"),
        *("--part", "x=a", "--part", "y=b", "mine.h5"),
        *("--split", "n", "--split", "m", "mine.h5"),
    ]
    assert spread(["--split", "n", "--", "m"]) == ["--split", "n", "--", "m"]


def test_nothing_is_overwritten_unasked(files: Submission, capsys: pytest.CaptureFixture[str]) -> None:
    Path("there").mkdir()
    write_submission(Path("there/mine.h5"), replace(files, metric="ip"))
    code, message = failed(capsys, "mine.h5", "there/mine.h5", *TRUTH, "--out", "results")
    assert (code, "mine.h5 and there/mine.h5 would both be the result mine" in message) == (2, True)
    assert failed(capsys, "mine.h5", "b.h5", *TRUTH, "--name", "x", "--out", "results")[0] == 2
    before = Path("mine.h5").read_bytes()
    for option in ("--out", "--save-matches"):
        for path in ("mine.h5", "there/../mine.h5", "gt.csv"):
            code, message = failed(capsys, "mine.h5", *TRUTH, option, path)
            assert (code, f"{path} is an input of this command" in message) == (2, True)
    assert Path("mine.h5").read_bytes() == before


@pytest.mark.parametrize("threshold", ["nan", "inf", "-inf"])
def test_a_threshold_is_a_number(files: Submission, capsys: pytest.CaptureFixture[str], threshold: str) -> None:
    code, message = failed(capsys, "mine.h5", *TRUTH, f"--threshold={threshold}")
    assert (code, f"--threshold {threshold}; give a finite number" in message) == (2, True)


def test_pairs_are_told_by_content_whatever_their_name(files: Submission, capsys: pytest.CaptureFixture[str]) -> None:
    first = scored(capsys, "mine.h5", *TRUTH, "--save-matches", "list.csv")
    Path("list.csv").rename("list.h5")
    assert scored(capsys, "list.h5", *TRUTH)["predictions_sha256"] == first["predictions_sha256"]
    os.mkfifo("pipe.h5")
    code, message = failed(capsys, "pipe.h5", *TRUTH)
    assert (code, "pipe.h5: not a regular file" in message) == (3, True)


def test_pairs_alone_do_not_tell_how_many_were_compared(files: Submission, capsys: pytest.CaptureFixture[str]) -> None:
    truth = [*TRUTH, "--hard-negatives", "hard.txt"]
    whole = scored(capsys, "mine.h5", *truth, "--save-matches", "list.csv")["hard_negatives"]["at_p90_all"]
    result = scored(capsys, "list.csv", *truth)
    pairs = result["hard_negatives"]["at_p90_all"]
    assert pairs["pair_rates"] is None
    assert pairs | {"pair_rates": whole["pair_rates"]} == whole
    assert "pair false-positive rates are left out" in " ".join(result["notes"])
    assert run(["score", "list.csv", *truth, "--json"]) == 0  # with bootstrap
    account = json.loads(capsys.readouterr().out)["hard_negatives"]["at_p90_all"]
    assert account["pair_rates"] is None
    assert account["alerts_per_true_match_interval"] is not None


def test_too_many_dimensions_for_a_protocol_are_noted(
    make_submission: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    submission, split = make_submission(dimension=300)
    write_submission(tmp_path / "wide.h5", submission)
    (tmp_path / "gt.csv").write_text(write_ground_truth(split.truth))
    arguments = [str(tmp_path / "wide.h5"), "--ground-truth", str(tmp_path / "gt.csv")]
    assert scored(capsys, *arguments)["notes"] == []
    notes = scored(capsys, *arguments, "--protocol", "isc2021")["notes"]
    assert notes == ["isc2021 admits 256 dimensions, these descriptors have 300"]


def test_an_incomplete_account_is_marked(files: Submission, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["score", "mine.h5", *TRUTH, "--hard-negatives", "hard.txt", "--no-bootstrap", "--out", "r.json"]) == 0
    assert "incomplete" not in capsys.readouterr().out
    result = read_result(Path("r.json"))
    assert result.hard_negatives is not None
    account = result.hard_negatives.at_p90_all
    assert account is not None
    cut = account.model_copy(update={"complete": False})
    account_of_cut = result.hard_negatives.model_copy(update={"at_p90_all": cut})
    console.show(result_tables(result.model_copy(update={"hard_negatives": account_of_cut})))
    (row,) = (line for line in capsys.readouterr().out.splitlines() if " incomplete" in line)
    assert row.split()[0] == "threshold"
