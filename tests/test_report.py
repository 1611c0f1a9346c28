import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ndec_bench.data.split import Split
from ndec_bench.descriptors import Submission
from ndec_bench.errors import DataError
from ndec_bench.results.record import Result, Signature, read_result, result_json, result_schema, write_result
from ndec_bench.scoring.score import score_descriptors


@pytest.fixture
def result(make_submission: Callable[..., tuple[Submission, Split]]) -> Result:
    submission, split = make_submission()
    return score_descriptors(submission, split)


def test_a_result_reads_back_as_it_was_written(result: Result, tmp_path: Path) -> None:
    write_result(tmp_path / "r.json", result)
    assert read_result(tmp_path / "r.json") == result


def test_the_json_has_the_documented_keys(result: Result) -> None:
    content = json.loads(result_json(result))
    assert {"schema_version", "signature", "predictions_sha256", "partial", "parts", "hard_negatives"} <= content.keys()
    assert set(content["parts"]) == {"all", "isc"}
    assert {
        "micro_ap",
        "micro_ap_interval",
        "recall_at_p90",
        "recall_at_p90_interval",
        "threshold_at_p90",
        "pr_curve",
        "replicates",
        "precision_at_recall",
        "recall_by_edit",
        "recall_at_1",
        "recall_at_10",
        "predictions",
        "positives",
    } <= content["parts"]["all"].keys()


def test_the_schema_describes_what_is_written(result: Result) -> None:
    schema = result_schema()
    content = json.loads(result_json(result))
    # Without norms there is no direction to tell; tests/test_direction.py has results with all fields.
    assert set(content) == set(schema["properties"]) - {"direction", "mapped_ids"}
    assert set(schema["required"]) <= set(content)


RESULTS = sorted((Path(__file__).parents[1] / "results" / "ndec-1").glob("*.json"))


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_committed_results_read_and_write_back(path: Path, tmp_path: Path) -> None:
    result = read_result(path)
    write_result(tmp_path / "again.json", result)
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_results_of_version_0_1_read_with_what_they_lack_left_open(result: Result, tmp_path: Path) -> None:
    content = json.loads(result_json(result))
    for key in ("protocols", "asymmetric", "own_threshold"):
        del content[key]
    for part in content["parts"].values():
        del part["recall_at_precision"], part["complete"]
    for key in ("seed", "backend", "threads"):
        del content["provenance"][key]
    account = content["hard_negatives"]
    del account["at_own_threshold"]
    for at in (account["at_p90_isc"], account["at_p90_all"]):
        del at["pair_rates"], at["alerts_per_true_match_interval"], at["complete"]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(content))
    old = read_result(path)
    assert (old.asymmetric, old.protocols, old.parts["all"].complete) == ("none", None, True)
    assert old.hard_negatives is not None
    assert old.hard_negatives.at_p90_isc is not None
    assert old.hard_negatives.at_p90_isc.pair_rates is None
    assert old.parts["all"].replicates == result.parts["all"].replicates


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "empty, expected a result in JSON"), ("[]", "not a result"), ('{"name": 1}', "Field required")],
)
def test_broken_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_result(path)
    assert str(path) in str(caught.value)
    with pytest.raises(DataError, match="cannot be read"):
        read_result(tmp_path / "absent.json")


def test_signatures_parse_back_and_others_are_refused() -> None:
    text = "uAP|split:ndec|protocol:ndec-1|cand:global492520|metric:l2|sn:none|asym:none|ties:worst|gt:1a2b3c4d|v:0.1.0"
    assert str(Signature.parse(text)) == text
    for broken in ("", "BLEU|" + text, text.replace("|ties:worst", ""), text + "|x:y"):
        with pytest.raises(ValueError, match="no signature"):
            Signature.parse(broken)
