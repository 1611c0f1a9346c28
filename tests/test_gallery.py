"""The gallery: rows worked out by hand, a page that is inert and private, and errors that say what to do."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import html5lib
import numpy as np
import pytest
from PIL import Image

from ndec_bench.cli import run
from ndec_bench.data.ground_truth import GroundTruth
from ndec_bench.data.split import Split
from ndec_bench.descriptors import Descriptors, Submission, write_submission
from ndec_bench.errors import UsageError
from ndec_bench.gallery import ResultList, about_size, plan_gallery, read_list, write_gallery
from ndec_bench.gallery.page import thumbnail
from ndec_bench.matches import Matches
from ndec_bench.scoring.score import Options, score_descriptors, score_matches
from ndec_bench.scoring.truth import TruthTable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from playwright.sync_api import Browser

    from ndec_bench.gallery import Gallery, Section

QUERIES = tuple(f"Q{i}" for i in range(1, 9))
REFERENCES = tuple(f"R{i}" for i in range(1, 7))
TRUE = {"Q1": "R1", "Q2": "R2", "Q3": "R3", "Q4": "R4"}
HARD = ("Q5", "Q6")

# Three lists; * is a true pair. Precision 0.9 holds on all queries down to 0.99, 1.0 and 0.8, without hard negatives
# down to 0.9, 0.8 and 0.8.
LISTS = {
    "a": "Q1,R1,0.99 Q5,R2,0.95 Q2,R2,0.9 Q3,R5,0.8 Q3,R3,0.7 Q7,R6,0.6 Q6,R1,0.5 Q5,R1,0.4",  # * - * - * - - -
    "b": "Q1,R1,1.0 Q5,R2,0.95 Q2,R2,0.8 Q3,R5,0.5 Q4,R6,0.4",  # * - * - -
    "c": "Q1,R1,1.0 Q2,R2,0.9 Q3,R3,0.8 Q4,R6,0.7 Q8,R1,0.6",  # * * * - -
}


def small_split(*, hard: bool = True) -> Split:
    truth = GroundTruth(QUERIES, tuple(TRUE.items()))
    return Split("small", truth, frozenset(HARD) if hard else None, REFERENCES, edits={"Q1": ("crop", "flip")})


def matches_of(text: str) -> Matches:
    rows = [row.split(",") for row in text.split()]
    columns = [np.array([row[i] for row in rows], dtype=str) for i in range(3)]
    return Matches(columns[0], columns[1], columns[2].astype(np.float64))


def listed(split: Split, name: str, text: str) -> ResultList:
    matches = matches_of(text)
    result = score_matches(matches, split, options=Options(name=name, replicates=0))
    return ResultList.of(result, matches, TruthTable(split))


def plan(split: Split, lists: dict[str, str], count: int = 24) -> Gallery:
    results = [listed(split, name, text) for name, text in lists.items()]
    return plan_gallery(results, split, TruthTable(split), count=count)


def section(gallery: Gallery, name: str) -> Section:
    return next(one for one in gallery.sections if one.name == name)


def rows(gallery: Gallery, name: str) -> list[str]:
    """Return each row as text: the query, then each reference, * if true, with its rank."""
    return [
        " ".join([row.query, *(f"{'*' * one.true}{one.reference}@{one.rank}" for one in row.references)])
        for row in section(gallery, name).rows
    ]


def test_the_rows_of_one_result_by_hand() -> None:
    gallery = plan(small_split(), {"a": LISTS["a"]})
    assert [one.name for one in gallery.sections] == ["false-positives", "hard-negatives", "missed", "lowest-true"]
    assert rows(gallery, "false-positives") == ["Q5 R2@2", "Q3 R5@4 *R3@5", "Q7 R6@6", "Q6 R1@7"]
    assert rows(gallery, "hard-negatives") == ["Q5 R2@2"]
    assert rows(gallery, "missed") == ["Q3 R5@4 *R3@5", "Q4 *R4@None", "Q2 *R2@3"]
    assert rows(gallery, "lowest-true") == ["Q1 *R1@1"]
    assert "below the threshold of recall@P90 (2) or not in the list (1)" in section(gallery, "missed").text
    kinds = [row.kind for row in section(gallery, "false-positives").rows]
    assert kinds == ["hard negative", "copy", "plain distractor", "hard negative"]
    (row,) = section(gallery, "lowest-true").rows
    assert (row.references[0].score, row.edits) == (0.99, ("crop", "flip"))


def test_what_most_of_several_results_get_wrong_by_hand() -> None:
    gallery = plan(small_split(), LISTS)
    assert rows(gallery, "missed-by-most") == ["Q4 R6@None *R4@None", "Q3 R5@4 *R3@5", "Q2 *R2@3"]
    remarks = [[one.remark for one in row.references] for row in section(gallery, "missed-by-most").rows]
    assert remarks == [
        ["best wrong one in 2 of 3", "missed by 3 of 3"],
        ["best wrong one in 2 of 3", "missed by 2 of 3"],
        ["missed by 2 of 3"],
    ]
    assert rows(gallery, "hit-by-most") == ["Q5 R2@2"]
    assert section(gallery, "hit-by-most").rows[0].references[0].remark == "2 of 3 return it first"


def test_results_without_a_threshold_are_left_out_of_what_most_hit() -> None:
    gallery = plan(small_split(), {**LISTS, "wrong": "Q7,R6,0.9 Q5,R2,0.8"})
    text = section(gallery, "hit-by-most").text
    assert "more than half of 3 results" in text
    assert text.endswith("and left out: wrong.")
    assert section(gallery, "missed-by-most").rows[0].references[1].remark == "missed by 4 of 4"


def test_the_limit_cuts_rows_and_not_totals() -> None:
    gallery = plan(small_split(), LISTS, count=1)
    assert [len(one.rows) for one in gallery.sections] == [1] * 6
    assert [one.total for one in gallery.sections] == [4, 1, 3, 1, 3, 1]


def test_where_precision_is_never_reached_there_is_no_threshold() -> None:
    gallery = plan(small_split(), {"wrong": "Q1,R2,0.9 Q2,R1,0.8 Q1,R1,0.7"})
    assert rows(gallery, "hard-negatives") == []
    assert "precision 0.90 is never reached" in section(gallery, "hard-negatives").text
    assert rows(gallery, "missed") == ["Q2 R1@2 *R2@None", "Q3 *R3@None", "Q4 *R4@None"]
    assert rows(gallery, "lowest-true") == ["Q1 *R1@3"]


def test_a_split_that_does_not_know_its_hard_negatives() -> None:
    gallery = plan(small_split(hard=False), LISTS)
    assert "does not say which queries are hard negatives" in section(gallery, "hard-negatives").text
    assert section(gallery, "false-positives").rows[0].kind == "no copy"
    assert rows(gallery, "hit-by-most") == []
    assert "each at its own threshold of recall@P90" in section(gallery, "hit-by-most").text


def test_of_several_true_references_the_nearest_stands_beside_a_wrong_one() -> None:
    truth = GroundTruth(("Q1", "Q2"), (("Q1", "R1"), ("Q1", "R2"), ("Q1", "R3")))
    split = Split("several", truth, None, REFERENCES)
    gallery = plan(split, {"a": "Q1,R4,0.9 Q1,R2,0.8 Q1,R3,0.7"})
    assert rows(gallery, "false-positives") == ["Q1 R4@1 *R2@2"]
    assert rows(gallery, "missed") == ["Q1 R4@1 *R1@None"]


@pytest.mark.parametrize("seed", range(5))
def test_totals_are_those_of_the_result(
    make_submission: Callable[..., tuple[Submission, Split]], tmp_path: Path, seed: int
) -> None:
    submission, split = make_submission(seed=seed)
    saved = tmp_path / "list.csv"
    result = score_descriptors(submission, split, options=Options(replicates=0, save_matches=saved))
    truth = TruthTable(split)
    gallery = plan_gallery([read_list(saved, result, split)], split, truth)
    account, part = result.hard_negatives, result.parts["all"]
    assert account is not None
    assert account.at_p90_isc is not None
    assert part.recall_at_p90 is not None
    assert section(gallery, "hard-negatives").total == account.at_p90_isc.hard_negatives_hit.hits > 0
    found = round(part.recall_at_p90 * part.positives)
    assert section(gallery, "missed").total == part.positives - found
    assert section(gallery, "lowest-true").total == found


def test_a_list_that_would_count_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="results a and again have the same list"):
        plan(small_split(), {"a": LISTS["a"], "again": LISTS["a"]})


def picture(size: tuple[int, int], seed: int) -> Image.Image:
    generator = np.random.default_rng(seed)
    return Image.fromarray(generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


class Counted:
    """Images made when asked for; it remembers which were."""

    def __init__(self, ids: Sequence[str]) -> None:
        self.ids = ids
        self.asked: list[str] = []

    def read(self, image_id: str) -> Image.Image:
        self.asked.append(image_id)
        return picture((30, 20), len(self.asked))

    def read_bytes(self, image_id: str) -> bytes:
        raise AssertionError(image_id)


def test_only_images_on_the_page_are_read_and_each_once(tmp_path: Path) -> None:
    gallery = plan(small_split(), {"a": LISTS["a"]}, count=1)
    sources = {"queries": Counted(QUERIES), "references": Counted(REFERENCES)}
    report = write_gallery(gallery, sources, tmp_path / "page.html")
    assert sources["queries"].asked == ["Q1", "Q3", "Q5"]
    assert sources["references"].asked == ["R1", "R2", "R3", "R5"]
    assert (report.images, report.unreadable, report.bytes) == (7, (), (tmp_path / "page.html").stat().st_size)


def test_thumbnails_are_small_and_never_enlarged() -> None:
    sizes = {}
    for size in [(1000, 500), (300, 900), (20, 10), (5000, 1)]:
        small = thumbnail(picture(size, 0), 100)
        kind, _, content = small.address.partition(",")
        assert kind == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(content))) as image:
            assert (image.format, image.size) == ("JPEG", (small.width, small.height))
        sizes[size] = (small.width, small.height)
    assert sizes == {(1000, 500): (100, 50), (300, 900): (33, 100), (20, 10): (20, 10), (5000, 1): (100, 1)}


def test_size_and_count_have_bounds() -> None:
    gallery = plan(small_split(), {"a": LISTS["a"]})
    with pytest.raises(UsageError, match="size is 401"):
        about_size(gallery, 401)
    with pytest.raises(UsageError, match="count is 0"):
        plan(small_split(), {"a": LISTS["a"]}, count=0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the small split and its images, one of them broken and one missing, and scored lists."""
    folder = tmp_path_factory.mktemp("gallery")
    split = folder / "small"
    for part, ids in (("queries", QUERIES), ("references", REFERENCES)):
        (split / "images" / part).mkdir(parents=True)
        for number, image_id in enumerate(ids):
            picture((60 + 5 * number, 40), number).save(split / "images" / part / f"{image_id}.png")
    (split / "images" / "references" / "R6.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (split / "images" / "queries" / "Q6.png").unlink()
    (split / "split.json").write_text('{"name": "small"}')
    lines = [f"{query},{TRUE.get(query, '')}\n" for query in QUERIES]
    (split / "ground_truth.csv").write_text("query_id,reference_id\n" + "".join(lines))
    (split / "hard_negatives.txt").write_text("\n".join(HARD))
    (split / "references.txt").write_text("\n".join(REFERENCES))
    for name, text in LISTS.items():
        pairs = folder / f"{name}.csv"
        pairs.write_text("query_id,reference_id,score\n" + "\n".join(text.split()) + "\n")
        score = ["score", str(pairs), "--split", "small", "--root", str(folder), "--no-bootstrap"]
        assert run([*score, "--out", str(folder / f"{name}.json")]) == 0
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A copy of it, where the command is run."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NDEC_ROOT", str(tmp_path / "nothing"))
    capsys.readouterr()
    return tmp_path


ONE = ["gallery", "a.json", "--matches", "a.csv", "--images", "."]
THREE = ["gallery", "a.json", "b.json", "c.json", *(f"--matches={name}.csv" for name in LISTS), "--images", "."]


def test_the_page_is_inert_private_and_whole(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*THREE, "--out", "deep/page.html"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "deep/page.html\n"
    assert "13 images are read; the page will have about" in shown.err
    assert "2 of 13 images could not be read (Q6, R6)" in shown.err
    assert "not to be published" in shown.err
    page = Path("deep/page.html").read_text(encoding="utf-8")
    html5lib.HTMLParser(strict=True).parse(page)
    assert "do not publish this page" in page
    assert re.search(r'<meta name="robots" content="noindex', page)
    style = page.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    assert policy[1].replace("&#39;", "'") == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert not re.search(r"<script|<link|https?:|\son\w+=|\sstyle=", page)
    alts = set(re.findall(r'alt="([^"]*)"', page))
    assert {"query Q5", "reference R2, returned and wrong", "reference R2, the true one"} <= alts
    assert "reference <bdi>R6</bdi> could not be read" in page
    assert {f'href="#{name}"' in page for name in ("false-positives", "missed-by-most", "hit-by-most")} == {True}
    assert run([*THREE, "--out", "again.html"]) == 0
    assert Path("again.html").read_text(encoding="utf-8") == page


def test_json_holds_ids_ranks_and_scores(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*ONE, "--json", "--count", "2"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["page"] == "gallery.html"
    assert content["bytes"] == Path("gallery.html").stat().st_size
    assert content["unreadable"] == []
    first = content["sections"][0]
    assert (first["name"], first["total"], len(first["rows"])) == ("false-positives", 4, 2)
    assert first["rows"][1] == {
        "query": "Q3",
        "kind": "copy",
        "references": [
            {"reference": "R5", "true": False, "rank": 4, "score": 0.8, "remark": ""},
            {"reference": "R3", "true": True, "rank": 5, "score": 0.7, "remark": ""},
        ],
        "edits": [],
    }


def test_descriptors_are_searched_again_and_under_their_rule(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    generator = np.random.default_rng(3)
    references = Descriptors(REFERENCES, generator.normal(size=(6, 8)).astype(np.float32))
    queries = Descriptors(QUERIES, generator.normal(size=(8, 8)).astype(np.float32))
    norms = {"query_norms": generator.uniform(1, 2, 8), "reference_norms": generator.uniform(1, 2, 6)}
    write_submission(
        Path("sub.h5"), Submission(queries, references, **{k: v.astype(np.float32) for k, v in norms.items()})
    )
    score = ["score", "sub.h5", "--split", "small", "--root", ".", "--no-bootstrap", "--asymmetric", "ratio"]
    assert run([*score, "--out", "sub.json", "--save-matches", "list.csv"]) == 0
    assert run(["gallery", "sub.json", "--file", "sub.h5", "--images", ".", "--out", "1.html"]) == 0
    assert run(["gallery", "sub.json", "--matches", "list.csv", "--images", ".", "--out", "2.html"]) == 0
    page = Path("1.html").read_bytes()
    assert page == Path("2.html").read_bytes()
    assert b"asymmetric rule <code>ratio</code>" in page


def test_own_ground_truth_and_images_in_an_archive(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = ["--ground-truth", "small/ground_truth.csv", "--hard-negatives", "small/hard_negatives.txt"]
    assert run(["score", "a.csv", *own, "--no-bootstrap", "--out", "own.json"]) == 0
    with zipfile.ZipFile("images.zip", "w") as archive:
        for path in sorted(Path("small/images").rglob("*.png")):
            archive.write(path)
    arguments = ["gallery", "own.json", "--matches", "a.csv", *own]
    assert run([*arguments, "--images", "images.zip", "--out", "1.html"]) == 0
    folders = ["--images", "small/images/queries", "--images", "small/images/references"]
    assert run([*arguments, *folders, "--out", "2.html"]) == 0
    assert Path("1.html").read_bytes() == Path("2.html").read_bytes()
    assert Path("1.html").read_text().count("<img ") == 18
    assert run(arguments) == 4
    assert "give --images" in capsys.readouterr().err


def test_the_root_may_be_elsewhere_or_the_split_itself(folder: Path) -> None:
    base = ["gallery", "a.json", "--matches", "a.csv"]
    pages = []
    for arguments in (["--images", "small"], ["--root", "."], ["--root", ".", "--images", "small/images"]):
        assert run([*base, *arguments]) == 0
        pages.append(Path("gallery.html").read_bytes())
    assert pages == [pages[0]] * 3


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["gallery", "a.json", "--images", "."], 2, "the lists of pairs are not given"),
        ([*ONE, "--file", "a.csv"], 2, "--matches and --file exclude each other"),
        (["gallery", "a.json", "b.json", "--matches", "a.csv", "--images", "."], 2, "2 results, but --matches"),
        (["gallery", "a.json", "--matches", "b.csv", "--images", "."], 4, "b.csv: its list of pairs has SHA-256"),
        (["gallery", "a.json", "a.json", *["--matches", "a.csv"] * 2, "--images", "."], 2, "have the same list"),
        ([*ONE, "--out", "site/deep/page.html"], 2, "a gallery is never published"),
        ([*ONE, "--out", "a.json"], 2, "a.json is an input of this command"),
        ([*ONE, "--ground-truth", "other.csv", "--out", "other.csv"], 2, "other.csv is an input of this command"),
        ([*ONE, "--out", "small"], 4, "small: is a folder"),
        (["gallery", "bare.json", "--matches", "a.csv", "--images", "."], 4, "bare.json: a result without the part"),
        ([*ONE, "--images", "small"], 2, "--images names images"),
        (["gallery", "a.json", "--matches", "a.csv"], 4, "split 'small' is not under"),
        (["gallery", "no.json", "--matches", "a.csv", "--images", "."], 4, "no.json: cannot be read"),
        (["gallery", "a.json", "--matches", "no.csv", "--images", "."], 3, "no.csv"),
        (["gallery", "a.json", "--matches", "a.csv", "--ground-truth", "other.csv"], 4, "a.json: scored on small"),
        (
            ["gallery", "a.json", "--matches", "a.csv", "--ground-truth", "small/ground_truth.csv"],
            4,
            "scored with 2 hard negatives, here are 0",
        ),
        ([*ONE, "--count", "201"], 2, "--count"),
    ],
)
def test_what_does_not_fit_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    Path("site").mkdir()
    Path("site/.ndec-bench-site").touch()
    Path("other.csv").write_text("Q1,R2\n")
    before = Path("a.json").read_bytes()
    Path("bare.json").write_text(json.dumps({**json.loads(before), "parts": {}}))
    assert run(arguments) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert not Path("gallery.html").exists()
    assert Path("a.json").read_bytes() == before


HOSTILE = "<script>alert(1)</script>\"'\u202egnp.exe &amp; {{ 7*7 }} \U0001f5bc" + "W" * 10_000


@pytest.fixture
def hostile(folder: Path) -> Path:
    """A page about a result whose maker chose its name with care."""
    content = json.loads(Path("a.json").read_text())
    Path("a.json").write_text(json.dumps({**content, "name": HOSTILE, "signature": HOSTILE}))
    assert run([*THREE, "--out", "page.html"]) == 0
    return folder / "page.html"


def test_hostile_names_are_text(hostile: Path) -> None:
    page = hostile.read_text(encoding="utf-8")
    assert "{{ 7*7 }}" in page
    assert not re.search("<script|\u202e", page)
    html5lib.HTMLParser(strict=True).parse(page)


RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}}


@pytest.mark.browser
def test_a_browser_shows_it_and_blocks_nothing(browser: Browser, hostile: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for scheme, width in (("light", 1280), ("dark", 768), ("light", 360)):
        said: list[str] = []
        asked: list[str] = []
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("console", lambda message, said=said: said.append(message.text))
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.goto(hostile.as_uri())
        assert said == []
        assert {url.partition(":")[0] for url in asked} <= {"file", "data"}
        assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        assert page.evaluate("getComputedStyle(document.querySelector('.skip')).position") == "absolute"
        widths = page.evaluate("[...document.images].map(i => i.naturalWidth)")
        assert len(widths) > 20
        assert all(widths)
        page.close()
        # The page's own policy forbids scripts; axe is one, so the policy is lifted here.
        lifted = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True)
        lifted.goto(hostile.as_uri())
        found = axe.run(lifted, options=RULES)
        assert found.violations_count == 0, found.generate_report()
        lifted.close()
