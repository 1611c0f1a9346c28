"""``compare`` and ``cite`` as a user meets them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ndec_bench.cli import run
from ndec_bench.data.known import KNOWN
from ndec_bench.data.split import Split
from ndec_bench.descriptors import Descriptors, Submission
from ndec_bench.results.record import Result, read_result, write_result
from ndec_bench.scoring.score import Options, score_descriptors

REPOSITORY = Path(__file__).parents[1]
MINI = [REPOSITORY / "results" / "ndec-1" / f"mini-{name}.json" for name in ("phash", "scattering", "thumbnail")]
WIDTH = 100


@pytest.fixture
def scored(make_submission: Callable[..., tuple[Submission, Split]], tmp_path: Path) -> Path:
    """Results of two submissions to a tiny split."""
    submission, split = make_submission()
    for name, sign in (("plain", 1.0), ("noisy", 1.6)):
        vectors = submission.queries.vectors.copy()
        vectors[::3] *= sign
        changed = Submission(Descriptors(submission.queries.ids, vectors), submission.references)
        options = Options(name=name, replicates=200, all_protocols=True)
        write_result(tmp_path / f"{name}.json", score_descriptors(changed, split, options=options))
    return tmp_path


def shown(arguments: Sequence[object], capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    assert run([str(argument) for argument in arguments]) == code
    return capsys.readouterr().out


def test_compare_two_results_of_our_own_scoring(scored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [scored / "plain.json", scored / "noisy.json"]
    content = json.loads(shown(["compare", *files, "--json"], capsys))
    assert {"split", "part", "measure", "replicates", "stream", "results", "pairs"} <= set(content)
    assert (content["part"], content["measure"], content["replicates"]) == ("all", "micro_ap", 200)
    assert content["stream"] == "ndec-poisson-1"
    assert set(content["results"][0]) == {"name", "file", "score", "interval", "rank", "best", "worst", "group"}
    (pair,) = content["pairs"]
    assert set(pair) == {"a", "b", "difference", "interval", "p_value", "p_holm", "significant"}
    a, b = (read_result(file).parts["all"].micro_ap for file in files)
    assert (pair["a"], pair["b"], pair["difference"]) == ("plain", "noisy", a - b)
    backwards = json.loads(shown(["compare", *files[::-1], "--json"], capsys))["pairs"][0]
    assert (backwards["difference"], backwards["p_value"]) == (-pair["difference"], pair["p_value"])


def test_compare_says_what_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(["compare", *MINI[:2], "--part", "isc", "--measure", "recall_at_p90"], capsys)
    for fact in (
        "recall@P90 on ndec-mini-1",
        "part isc",
        "protocol ndec-1",
        "1,000 replicates of stream ndec-poisson-1",
    ):
        assert fact in text
    assert "p Holm" not in text


def test_compare_three_results_shows_holm_and_fits_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(["compare", *MINI], capsys)
    assert "p Holm" in text
    assert "adjusted for all 3 pairs" in text
    assert max(map(len, text.splitlines())) <= WIDTH
    content = json.loads(shown(["compare", *MINI, "--json"], capsys))
    assert [entry["rank"] for entry in content["results"]] == [1, 2, 3]
    assert [entry["name"] for entry in content["results"]] == ["mini-scattering", "mini-phash", "mini-thumbnail"]
    assert len(content["pairs"]) == 3
    # 1,000 replicates, none of another sign: p = 2 / 1001, and three times that after Holm.
    assert [pair["p_holm"] for pair in content["pairs"]] == pytest.approx([6 / 1001] * 3)


def test_compare_fits_a_terminal_with_long_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for number, path in enumerate(MINI):
        result = read_result(path).model_copy(update={"name": f"a-name-of-many-letters-{'x' * 36}-{number}\x1b[31m"})
        files.append(tmp_path / f"{number}.json")
        write_result(files[-1], result)
    text = shown(["compare", *files], capsys)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "\x1b[31m" not in text


def partial(result: Result) -> Result:
    return result.model_copy(update={"partial": True, "missing_references": 2})


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "nothing to compare"),
        ([MINI[0]], 2, "nothing to compare"),
        ([MINI[0], MINI[0]], 4, "given twice"),
        ([MINI[0], MINI[0].parent / ".." / "ndec-1" / MINI[0].name], 4, "given twice"),
        ([MINI[0], "absent.json"], 4, "absent.json: cannot be read"),
        ([MINI[0], REPOSITORY / "pyproject.toml"], 4, "not a result of this version"),
        ([*MINI, "--part", "none"], 4, "no part 'none'"),
        ([*MINI, "--measure", "accuracy"], 2, "accuracy"),
    ],
)
def test_compare_wrong_use(
    arguments: list[object], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["compare", *map(str, arguments)]) == code
    assert message in capsys.readouterr().err


def test_compare_refuses_two_splits(scored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["compare", str(MINI[0]), str(scored / "plain.json")]) == 4
    assert "plain.json: split random" in capsys.readouterr().err


def test_cite_prints_three_sections(capsys: pytest.CaptureFixture[str]) -> None:
    card = REPOSITORY / "submissions" / "mini-phash" / "submission.toml"
    text = shown(["cite", MINI[0], "--card", card], capsys)
    places = [text.index(head) for head in ("For the methods section", "BibTeX", "Published results that compare")]
    assert places == sorted(places)
    assert "@misc{method:mini-phash," in text
    assert "None: no results on this split are known here." in text


def test_cite_as_json(scored: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = json.loads(shown(["cite", scored / "plain.json", "--json"], capsys))
    facts = {"name", "signature", "predictions_sha256"}
    assert set(content) == facts | {"sentence", "sentence_tex", "bibtex", "beside", "not_comparable", "notes"}
    result = read_result(scored / "plain.json")
    assert f"µAP {result.parts['all'].micro_ap:.4f}" in content["sentence"]
    assert "200 Poisson bootstrap replicates" in content["sentence"]
    assert result.predictions_sha256[:16] in content["sentence"]


def on_dev(result: Result) -> Result:
    """The result as if it had been scored on both halves of DISC21 dev."""
    known = KNOWN["disc21-dev"]
    part = result.parts["all"].model_copy(update={"queries": known.queries, "cap": 500_000})
    digests = result.digests.model_copy(update={"ground_truth": known.pairs_sha256})
    return result.model_copy(
        update={"split": known.name, "references": 1_000_000, "parts": {"all": part}, "digests": digests}
    )


def test_cite_shows_published_rows_in_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_result(tmp_path / "dev.json", on_dev(read_result(MINI[0])))
    text = shown(["cite", tmp_path / "dev.json"], capsys)
    beside, apart = text.split("Published results that compare with it")[1].split("that are not comparable")
    assert "GIST PCA-256" in beside
    assert "0.15553" in beside
    assert "facebookresearch/isc2021 docs/3_gist_full.md" in beside
    assert "ndec-1, part all: list global500000, normalisation none" in beside
    assert "0.1442" in beside  # printed as 14.42
    assert "yours" in beside
    assert "SSCD disc_mixup R50 512-d, raw" in apart
    assert max(map(len, (beside + apart).splitlines())) <= WIDTH
    content = json.loads(shown(["cite", tmp_path / "dev.json", "--json"], capsys))
    gist = next(row for row in content["beside"] if row["method"] == "GIST PCA-256")
    assert gist["micro_ap"] == 0.15553
    assert gist["printed"]["recall_at_1"] == "0.24010"
    assert gist["yours"]["entry"] == "ndec-1"
    assert all(row["reasons"] for row in content["not_comparable"])


def test_cite_of_a_partial_result_names_it_and_shows_no_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_result(tmp_path / "p.json", partial(on_dev(read_result(MINI[0]))))
    text = shown(["cite", tmp_path / "p.json"], capsys)
    assert "a partial result" in " ".join(text.split())
    assert "None: the result is partial." in text
    assert "GIST" not in text


def test_cite_refuses_a_bad_card_with_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "card.toml").write_text("name = 1")
    assert run(["cite", str(MINI[0]), "--card", str(tmp_path / "card.toml")]) == 3
    assert "card.toml" in capsys.readouterr().err
    assert run(["cite", str(tmp_path / "absent.json")]) == 4
