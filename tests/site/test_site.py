from __future__ import annotations

import csv
import io
import json
import math
import posixpath
import re
import shutil
from dataclasses import astuple
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import html5lib
import pytest
from markupsafe import escape
from tests.site import conftest

from ndec_bench.cli import run
from ndec_bench.errors import DataError, SubmissionError
from ndec_bench.metrics.bootstrap import interval
from ndec_bench.printable import without_overrides
from ndec_bench.progress import silent
from ndec_bench.results.record import Result
from ndec_bench.site import build, charts, text
from ndec_bench.site.boards import neighbours, tables
from ndec_bench.site.pages import fields
from ndec_bench.submissions.check import check
from ndec_bench.submissions.check.changes import rows
from ndec_bench.submissions.check.repository import read_repository
from ndec_bench.submissions.check.standing import stand
from ndec_bench.submissions.entries import read_entries, slug_of
from ndec_bench.submissions.leaderboard import leaderboard
from ndec_bench.submissions.runs import mean_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.site.conftest import Folders


ROOT = Path(__file__).parents[2]
VOID_LINKS = {"a": "href", "link": "href", "img": "src", "script": "src"}
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)> \"quoted\" 'single' & {{ 7*7 }} "
    "\u202eoverridden\u2069\u2066 \U0001f600 "
)


class Links(HTMLParser):
    """Collects what a page links and loads, its ids, and every tag with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag in VOID_LINKS and (target := found.get(VOID_LINKS[tag])):
            self.links.append((tag, target))


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pages(folder: Path) -> dict[str, str]:
    return {name: content.decode() for name, content in files(folder).items() if name.endswith(".html")}


def plain(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


# The whole site


def test_two_builds_give_the_same_bytes(full_site: Folders, tmp_path: Path) -> None:
    report = build(full_site.results, tmp_path / "again", submissions=full_site.submissions)
    assert files(tmp_path / "again") == files(full_site.out)
    assert report.index == tmp_path / "again" / "index.html"
    assert report.results == 25
    assert set(report.pages) == set(pages(full_site.out))


def test_contract_addresses_exist(full_site: Folders) -> None:
    built = files(full_site.out)
    folders = ("", "ndec-mini/", "about/", "s/whitened-cnn/", "s/seeded-1/", "disc21-final/", "compare/", "submit/")
    folders += ("published/", "data/", "v1/")
    names = (
        "results.tex results.bib submission.schema.json replicates/whitened-cnn.js results.json results.csv schema.json"
    )
    data = {f"data/v1/{name}" for name in (*names.split(), "results/whitened-cnn.json")}
    assert {"feed.atom", *data, *(f"{folder}index.html" for folder in folders)} <= set(built)


def test_every_internal_link_and_asset_resolves(full_site: Folders) -> None:
    built = pages(full_site.out)
    anchors = {name: set(Links(html).ids) for name, html in built.items()}
    checked = 0
    for name, html in built.items():
        for _, target in Links(html).links:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            assert not target.startswith("/"), f"{name}: {target} does not work from disk"
            path = (
                posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(parts.path))) if parts.path else name
            )
            assert (full_site.out / path).is_file(), f"{name} links {target}"
            if parts.fragment:
                assert parts.fragment in anchors[path], f"{name} links {target}"
            checked += 1
    assert checked > 100


def test_nothing_is_loaded_from_outside_and_no_script_is_inline(full_site: Folders) -> None:
    for name, html in pages(full_site.out).items():
        for tag, attributes in Links(html).tags:
            assert tag not in {"iframe", "object", "embed", "style", "base"}, name
            if tag == "script":
                assert attributes.get("type") == "application/json" or str(attributes["src"]).endswith(".js"), name
            assert "style" not in attributes, f"{name}: {tag} has a style attribute"
            assert not [key for key in attributes if key.startswith("on")], name
            if tag != "a":
                assert not str(attributes.get("href", attributes.get("src", ""))).startswith(("http", "//")), name
            elif str(attributes.get("href")).startswith("http"):
                assert "noopener" in str(attributes.get("rel")), name
        assert "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action" in html
    for path in sorted((full_site.out / "static").glob("*.css")):
        style = path.read_text(encoding="utf-8")
        assert "url(" not in style
        assert "@import" not in style
    for path in sorted((full_site.out / "static").glob("*.js")):
        script = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|fetch\(|XMLHttp", script)


def test_html_parses_strictly_and_ids_are_unique(full_site: Folders) -> None:
    for name, html in pages(full_site.out).items():
        html5lib.HTMLParser(strict=True).parse(html)
        ids = Links(html).ids
        assert len(ids) == len(set(ids)), name


def test_home_page_with_100_results_is_below_300_kb(folders: Folders) -> None:
    for i in range(100):
        name = f"method-{i:03}"
        folders.add(folders.result(name, 0.2 + 0.006 * i, replicates=100), folders.card(name))
    out = folders.build()
    page = folders.page()
    loaded = [out / "index.html", *(path for path in (out / "static").iterdir() if f"static/{path.name}" in page)]
    assert len(loaded) > 6
    assert sum(path.stat().st_size for path in loaded) < 300_000
    assert folders.page().count("<tr data-id=") == 100


# What the tables say


def row_of(html: str, name: str) -> str:
    return next(row for row in html.split("<tr")[1:] if f"s/{name}/index.html" in row)


def test_ranked_row_shows_the_numbers_of_the_json(full_site: Folders) -> None:
    result = Result.model_validate_json((full_site.results / "ndec-1/whitened-cnn.json").read_bytes())
    row, everything, account = row_of(full_site.page(), "whitened-cnn"), result.parts["all"], result.hard_negatives
    hit = account.at_p90_isc.hard_negatives_hit
    for value, shown in (
        (everything.micro_ap, "0.731"),
        (everything.recall_at_p90, f"{everything.recall_at_p90:.3f}"),
        (everything.recall_at_1, "0.841"),
        (result.parts["isc"].micro_ap, "0.821"),
        (account.cost, "0.084"),
        (hit.rate, f"{100 * hit.rate:.1f}\u00a0%"),
        (account.transfer.precision, "0.750"),
        (result.bytes_per_reference, "512"),
        (result.describing.milliseconds_per_image, "4.05"),
    ):
        assert f'data-v="{value:.10g}">{shown}' in row
    assert ">256</td>" in row
    assert ">disc21-train</td>" in row
    assert "re-scored" in row
    low, high = everything.micro_ap_interval
    assert f"{low:.3f}–{high:.3f}" in row
    assert "2026-11-20" in row
    assert "Apache-2.0" in row
    assert "CC-BY-NC-4.0" in row


def test_rank_intervals_and_tie_groups_are_shown(full_site: Folders) -> None:
    html = full_site.page()
    ranks = {
        name: plain(row_of(html, name).split('class="rank"')[1].split(">", 1)[1].split("</td>")[0]).strip()
        for name in ("whitened-cnn", "contrastive-vit", "distilled-student", "gist", "no-replicates")
    }
    assert ranks["whitened-cnn"].endswith("tie group A")
    assert ranks["contrastive-vit"].endswith("tie group A")
    assert ranks["distilled-student"].endswith("tie group B")
    assert ranks["gist"] == "8–9 tie group E"  # the row without replicates may stand below it
    assert ranks["no-replicates"] == "4 , no interval"


def test_what_may_not_rank_stands_apart_with_the_reason(full_site: Folders) -> None:
    ranked, *apart = full_site.page().split("<b>Not ranked</b>")
    for name, reason in (
        ("half-the-references", "references missing"),
        ("query-expansion", "sees other queries"),
        ("only-reported", "not verified"),
        ("saw-labels", "trained on labels of dev II"),
    ):
        assert f"s/{name}/" not in ranked
        assert reason in row_of(apart[0], name)
        page = full_site.page(f"s/{name}/index.html")
        assert "This result does not rank" in page
        assert reason in page
        assert "not ranked" in page
    assert "list cut" in row_of(apart[1], "cut-list")
    assert "no card" in row_of(apart[0], "half-the-references")
    assert "500,000 of 1,000,000 references" in full_site.page("s/half-the-references/index.html")


def test_a_private_site_ranks_what_nobody_verified_and_says_so(full_site: Folders, tmp_path: Path) -> None:
    build(full_site.results, tmp_path / "site", submissions=full_site.submissions, private=True)
    home = (tmp_path / "site/index.html").read_text(encoding="utf-8")
    ranked, *apart = home.split("<b>Not ranked</b>")
    assert "s/only-reported/" in ranked
    assert "s/saw-labels/" in apart[0]
    assert "A private site." in home
    assert "A private site." in (tmp_path / "site/s/gist/index.html").read_text(encoding="utf-8")
    assert "A private site." not in full_site.page()


def test_what_was_not_declared_does_not_rank(folders: Folders) -> None:
    folders.add(folders.result("open"), folders.card("open", top={"declarations": {}}))
    folders.build()
    assert "not declared: labels_used, train_images" in row_of(folders.page(), "open")
    assert 'data-d="unknown|unknown|unknown|unknown|unknown|unknown|unknown|unknown"' in folders.page()


def test_a_check_is_void_when_the_list_of_pairs_changes(folders: Folders) -> None:
    folders.add(folders.result("moved", predictions_sha256="ab" * 32), folders.card("moved"))
    folders.build()
    assert "not verified" in row_of(folders.page(), "moved")
    assert "void: the result has another list of pairs" in folders.page("s/moved/index.html")


def test_runs_of_one_method_are_one_row_with_mean_and_spread(full_site: Folders) -> None:
    rows = [row for row in full_site.page().split("<tr data-id=")[1:] if "mean of 3 seeds" in row]
    (row,) = rows
    assert "0.648 <small>" in row
    assert "mean of 3 seeds, sd 0.004" in row
    slug = re.match(r'"(runs-of-seeded-network-[0-9a-f]{8})"', row)
    assert slug
    page = full_site.page(f"s/{slug[1]}/index.html")
    assert [seed for seed in re.findall(r"s/seeded-(\d)|../seeded-(\d)/", page) if any(seed)] == [
        ("", "1"),
        ("", "2"),
        ("", "3"),
    ]
    assert "0.644–0.652" in page
    run = full_site.page("s/seeded-2/index.html")
    assert "One of 3 runs that differ by their seed alone" in run
    assert f"{slug[1]}/index.html" in run
    content = json.loads(full_site.page("data/v1/results.json"))
    (family,) = content["rows"]
    assert family["runs"] == ["seeded-1", "seeded-2", "seeded-3"]
    assert family["micro_ap"] == pytest.approx(0.648)
    assert family["micro_ap_deviation"] == pytest.approx(0.004)
    ranks = {s["name"]: s["rank"] for s in content["standings"] if s["name"].startswith("seeded")}
    assert len(set(ranks.values())) == 1


def test_runs_of_one_name_have_a_page_in_each_table(folders: Folders) -> None:
    for split in ("ndec", "ndec-mini-1"):
        for seed in (1, 2):
            name = f"{split}-{seed}"
            folders.add(
                folders.result(name, 0.5, split), folders.card(name, split, top={"runs_of": "Both", "seed": seed})
            )
    folders.build()
    found = {path.parent.name: path.read_text(encoding="utf-8") for path in folders.out.glob("s/runs-of-both-*/*")}
    assert len(found) == 2
    assert {split for page in found.values() for split in re.findall(r"\.\./(ndec\S*)-1/index", page)} == {
        "ndec",
        "ndec-mini-1",
    }
    for slug in found:
        assert (folders.out / f"data/v1/replicates/{slug}.js").is_file()
        assert [f"s/{slug}/" in folders.page(page) for page in ("index.html", "ndec-mini/index.html")].count(True) == 1


def test_any_protocol_makes_anchors(folders: Folders) -> None:
    for number, protocol in enumerate(("ndec-1", "my own <b>", "../x", "")):
        content = json.loads(folders.result(f"p{number}").model_dump_json()) | {"protocol": protocol}
        (folders.results / f"p{number}.json").write_text(json.dumps(content), encoding="utf-8")
    folders.build()
    ids = Links(folders.page()).ids
    assert len(ids) == len(set(ids))
    assert not [name for name in ids if re.search(r"[^\w.-]", name)]


def test_the_mean_of_runs_resamples_the_same_queries(folders: Folders) -> None:
    runs = [folders.result(name, quality) for name, quality in (("a", 0.5), ("b", 0.6))]
    mean = mean_of(runs, "mean").parts["all"]
    for field in ("micro_ap", "recall_at_p90"):
        x, y = (getattr(run.parts["all"].replicates, field) for run in runs)
        assert getattr(mean.replicates, field) == pytest.approx([(a + b) / 2 for a, b in zip(x, y, strict=True)])
    assert mean.micro_ap == pytest.approx(0.55)
    assert mean.micro_ap_interval == interval(mean.replicates.micro_ap)
    unpaired = mean_of([runs[0], folders.result("c", replicates=0)], "mean").parts["all"]
    assert unpaired.replicates is None
    assert unpaired.micro_ap_interval is None


def test_a_row_that_changed_tells_what_it_said_before(full_site: Folders) -> None:
    page = full_site.page("s/saw-labels/index.html")
    section = page[page.index('id="changes"') :]
    for shown in ("2026-11-21", "a bug", "0.6125", "7c" * 32):
        assert shown in section


def test_tracks_and_splits_are_never_mixed(full_site: Folders) -> None:
    home, mini = full_site.page(), full_site.page("ndec-mini/index.html")
    first, second = home.split("What it costs")[0].split("Matching track</h2>")
    assert "pair-matcher" not in first
    assert "whitened-cnn" not in second
    assert "s/thumbnail/" not in home
    small = mini[mini.index("ndec-mini-1-small</bdi></h2>") :]
    assert "s/thumbnail-small/" in small
    assert "s/thumbnail/" not in small
    assert "s/final-sscd/" not in home + mini
    assert "s/final-sscd/" in full_site.page("disc21-final/index.html")


def test_editions_of_a_split_get_tables_of_their_own(folders: Folders) -> None:
    other = {"submission": "5b" * 32, "ground_truth": "67" * 32, "split": "ee" * 32}
    folders.add(folders.result("one"))
    folders.add(folders.result("two", digests=other))
    folders.build()
    html = folders.page()
    assert html.count('<table class="ranked"') == 2
    assert "edition eeeeeeee" in html


def test_mini_stands_under_its_warning_and_on_the_home_page_only_without_ndec(
    full_site: Folders, folders: Folders
) -> None:
    warning = "This is a smoke test, never evidence about NDEC."
    assert warning in full_site.page("ndec-mini/index.html")
    assert warning not in full_site.page()
    assert warning in full_site.page("s/thumbnail/index.html")
    folders.add(folders.result("thumbnail", 0.3, "ndec-mini-1-small"))
    folders.build()
    assert warning in folders.page()
    assert "s/thumbnail/index.html" in folders.page()
    assert "µAP <small>without</small>" in folders.page()
    assert "ISC part" not in plain(folders.page("s/thumbnail/index.html"))


def test_an_empty_folder_says_so(folders: Folders) -> None:
    folders.build()
    assert "There are no results here yet." in folders.page()
    assert "There are no results on ndec-mini yet." in folders.page("ndec-mini/index.html")


# A submission's page


@pytest.mark.parametrize(
    "name",
    [
        "whitened-cnn",
        "random-features",
        "pair-matcher",
        "half-the-references",
        "shop",
        "scattering-net",
        "final-sscd",
    ],
)
def test_a_page_shows_every_recorded_field(full_site: Folders, name: str) -> None:
    page = full_site.page(f"s/{name}/index.html")
    recorded = json.loads((full_site.results / f"ndec-1/{name}.json").read_text(encoding="utf-8"))
    lines = set(unescape(page.split('aria-label="All recorded fields">')[1].split("</pre>")[0]).splitlines())
    for field, value in fields(recorded):
        assert without_overrides(f"{field}: {value}") in lines
    assert len(lines) == len(list(fields(recorded)))
    for part in recorded["parts"].values():
        assert f'<data value="{part["micro_ap"]}">{part["micro_ap"]:.4f}</data>' in page
    if recorded["hard_negatives"]:
        for at in (recorded["hard_negatives"]["at_p90_isc"], recorded["hard_negatives"]["at_p90_all"]):
            assert f'<data value="{at["alerts_per_true_match"]}">' in page
    assert escape(recorded["provenance"]["command"]) in page
    assert escape(recorded["signature"]) in page


def test_a_page_shows_both_scores_of_a_submission_with_norms(full_site: Folders) -> None:
    page = full_site.page("s/scattering-net/index.html")
    section = page[page.index('id="direction"') : page.index('id="made"')]
    assert "The scores above are those without it" in section
    rows = {
        " ".join(unescape(plain(row[0])).split()): " ".join(unescape(plain(row[1])).replace("\u00a0", " ").split())
        for row in re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', section, re.DOTALL)
    }
    assert rows["µAP: All queries"] == "0.7251 0.7672 +0.0421 −0.0102 to +0.0815"
    assert rows["recall@P90: ISC part"] == "0.4000 not reached −0.4000"
    assert rows["kept: the query's norm is not above the reference's"] == "93.0 % 4,658 of 5,009"
    assert rows["kept if the reference were the query"] == "8.0 % 400 of 5,009"
    assert rows["AUC of telling the direction"] == "0.9517 0.9426–0.9605"
    assert rows["swap gap of the score: mean"] == "0.123"
    assert rows["true pairs"] == "6.8 % 271 of 4,000"
    assert rows["pairs of hard negatives"] == "– none there 0 of 0"
    tables = section.split("<table")
    assert "21.0 % 5,092 of 24,252" in " ".join(unescape(plain(tables[3])).replace("\u00a0", " ").split())
    assert "not reached" in tables[4]
    other = full_site.page("s/final-sscd/index.html")
    section = other[other.index('id="direction"') : other.index('id="made"')]
    for absent in ("swap gap", "hard negatives hit", "pairs of hard negatives", "ISC part"):
        assert absent not in section
    assert 'id="direction"' not in full_site.page("s/whitened-cnn/index.html")


def test_a_page_shows_the_protocol_card(full_site: Folders) -> None:
    page = full_site.page("s/whitened-cnn/index.html")
    section = page[page.index('id="protocols"') : page.index('id="made"')]
    rows = [" ".join(unescape(plain(row)).split()) for row in section.split("<tr>")[2:]]
    assert rows[0].startswith("sscd query10 none 0.7201 not reached 0.8312 0.8812 0.8089")
    assert "sscd-normalised too many dimensions query10 sscd-1.0[0,2]" in rows[1]
    assert 'id="protocols"' not in full_site.page("s/gist/index.html")


def test_a_page_shows_the_card(full_site: Folders) -> None:
    page = full_site.page("s/whitened-cnn/index.html")
    for shown in (
        "First Author",
        "An image becomes a vector",
        "https://example.org/paper.pdf",
        "Every score holds for its query and reference alone",
        "2026-11-22",
        "5b" * 32,
    ):
        assert shown in page
    assert 'rel="noopener nofollow ugc"' in page
    assert "no card" in full_site.page("s/shop/index.html")
    assert "no card" not in page


@pytest.mark.parametrize(
    ("top", "result", "how"),
    [
        ({}, {}, ""),
        ({"descriptors": None}, {}, " --whole"),
        ({"descriptors": {"name": "x.h5", "sha256": "5b" * 32}}, {"describing": None}, " --file FILE"),
    ],
)
def test_a_page_copies_a_check_that_can_work(
    folders: Folders, top: dict[str, object], result: dict[str, object], how: str
) -> None:
    folders.put("one", top=top, **result)
    folders.build()
    assert f"<code>ndec-bench reproduce one{how}</code>" in folders.page("s/one/index.html")


def test_the_curve_has_a_table_with_stored_points(full_site: Folders) -> None:
    curve = json.loads((full_site.results / "ndec-1/whitened-cnn.json").read_text())["parts"]["all"]["pr_curve"]
    place = next(i for i, recall in enumerate(curve["recall"]) if recall >= 0.5)
    page = full_site.page("s/whitened-cnn/index.html")
    row = page.split('<th scope="row">0.50</th>')[1].split("</tr>")[0]
    assert f'<data value="{curve["precision"][place]}">' in row
    assert f'<data value="{curve["threshold"][place]}">' in row


def test_a_pull_request_is_shown_the_ranks_of_the_site(tmp_path: Path) -> None:
    for name in ("results", "submissions"):
        (tmp_path / name).mkdir()
    report = check(ROOT / "results", ROOT / "submissions", base=tmp_path)
    entries = read_entries(ROOT / "results", ROOT / "submissions", lambda *_: None)
    expected = {
        entry.slug: (row.standing.rank, row.standing.best, row.standing.worst, row.standing.group, len(board.rows))
        for table in tables(entries)
        for board in table.boards
        for row in board.rows
        for entry in row.entries
    }
    found = {change.row.name: change.place and astuple(change.place) for change in report.changes}
    assert len(found) == len(entries)
    assert {name: place for name, place in found.items() if place} == expected
    assert len(expected) > max(place[-1] for place in expected.values())  # some rows have several runs


@pytest.mark.parametrize("waiting", [1, 2])
def test_runs_that_wait_for_a_check_are_shown_the_rank_of_their_row(folders: Folders, waiting: int) -> None:
    for name, quality in (("better", 0.7), ("worse", 0.4)):
        folders.put(name, quality, replicates=1000)
    base = folders.results.parent / "base"
    for name in ("results", "submissions"):
        shutil.copytree(folders.results.parent / name, base / name)
    for seed, quality in ((1, 0.75), (2, 0.55), (3, 0.35)):
        top: dict[str, object] = {"runs_of": "Family", "seed": seed}
        top |= {"verified": None} if seed <= waiting else {}
        folders.put(f"run-{seed}", quality, replicates=1000, top=top)
    head, before = (read_repository(root / "results", root / "submissions", silent) for root in (base.parent, base))
    for change in stand(rows(head, before), head, before, frozenset()):
        assert change.waits == (change.row.card.card.seed <= waiting)
        if change.waits:
            assert (change.place.rank, change.place.among) == (2, 3)
            assert [near.name for near in change.neighbours] == ["better", "worse"]


def test_neighbours_are_compared_in_pairs(full_site: Folders) -> None:
    entries = read_entries(full_site.results, full_site.submissions, lambda *_: None)
    board = next(b for t in tables(entries) for b in t.boards if (b.split, b.track) == ("ndec", "descriptor"))
    row = next(row for row in board.rows if row.slug == "distilled-student")
    names = [near.row.title for near in neighbours(board, row)]
    # Runs of one method count once, and no-replicates is left out.
    assert names == ["Contrastive vit", "Scattering net", "Seeded network", "Multi crop", "Phash", "Gist"]
    page = full_site.page("s/distilled-student/index.html")
    assert "the other is better" in page
    assert "this one is better" in page


# Data files


def test_csv_and_json_hold_the_unrounded_numbers(full_site: Folders) -> None:
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(full_site.page("data/v1/results.csv")))}
    content = json.loads(full_site.page("data/v1/results.json"))
    assert [result["name"] for result in content["results"]] == sorted(rows)
    for recorded in content["results"]:
        result = Result.model_validate_json(json.dumps(recorded))
        row = rows[result.name]
        assert float(row["micro_ap"]) == result.parts["all"].micro_ap
        assert row["recall_at_p90"] == str(result.parts["all"].recall_at_p90)
        assert result.parts["all"].replicates is None
    assert (rows["half-the-references"]["ranked"], rows["half-the-references"]["rank"]) == ("false", "")
    assert (rows["whitened-cnn"]["ranked"], rows["whitened-cnn"]["rank"]) == ("true", "1")
    standing = next(s for s in content["standings"] if s["name"] == "whitened-cnn")
    assert (standing["rank_best"], standing["tie_group"]) == (1, 1)
    assert (standing["level"], standing["not_ranked_because"]) == ("re-scored", [])
    assert rows["half-the-references"]["not_ranked_because"] == "references missing; no card"
    assert rows["saw-labels"]["labels_used"] == "dev1 dev2"
    assert (rows["seeded-2"]["runs_of"], rows["seeded-2"]["seed"]) == ("Seeded network", "2")
    assert json.loads(full_site.page("data/v1/schema.json"))["title"] == "Result"
    original = (full_site.results / "ndec-1/whitened-cnn.json").read_bytes()
    assert (full_site.out / "data/v1/results/whitened-cnn.json").read_bytes() == original


def test_csv_cells_are_no_formulas(folders: Folders) -> None:
    folders.add(folders.result("one"), folders.card("one", title='=HYPERLINK("x")'))
    folders.build()
    (row,) = csv.DictReader(io.StringIO(folders.page("data/v1/results.csv")))
    assert row["title"] == '\'=HYPERLINK("x")'


# What comes from outside


def test_hostile_text_is_shown_and_harmless(folders: Folders) -> None:
    long = "W" * 290
    card = folders.card(
        "evil", title=HOSTILE, description=HOSTILE * 10 + "x" * 2000, code_licence=HOSTILE, weights_licence=long
    )
    provenance = folders.result("evil").provenance.model_copy(update={"command": HOSTILE, "cpu": HOSTILE})
    folders.add(
        folders.result(
            "evil",
            notes=[HOSTILE, "N" * 10_000],
            provenance=provenance.model_dump(),
            signature=HOSTILE,
            direction=folders.direction(0.5, 10, 10, 10, rule=HOSTILE),
        ),
        card,
    )
    folders.build()
    for name in ("index.html", "s/evil/index.html"):
        html = folders.page(name)
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
        assert "{{ 7*7 }}" in html
        assert "<script>" not in html
        assert "onerror=alert" not in "".join(re.findall(r"<[^>]*>", html))
        assert not re.search("[\u202a-\u202e\u2066-\u2069]", html)
        html5lib.HTMLParser(strict=True).parse(html)


def test_hostile_names_stay_inside_the_site(folders: Folders) -> None:
    result = folders.result("../../escape <b>")
    path = folders.results / "a.json"
    path.write_text(result.model_dump_json(), encoding="utf-8")
    before = set(folders.results.parent.parent.iterdir())
    out = folders.build()
    assert set(folders.results.parent.parent.iterdir()) == before
    (page,) = (out / "s").glob("*/index.html")
    assert re.fullmatch(r"escape-b-[0-9a-f]{8}", page.parent.name)
    assert "../../escape &lt;b&gt;" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["", ".", "..", "Ä", "A", "a/b", "x" * 200, "\ud800", "a\n"])
def test_slug_of_other_names_fits_an_address(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", slug_of(name))
    assert slug_of(name) != slug_of(name + "b")


# What is left out


def _written(folders: Folders, changes: dict[str, Any], file: str = "ndec-1/bad.json") -> Path:
    """Write a result called bad with ``changes`` of its JSON."""
    content = _merged(json.loads(folders.result("bad").model_dump_json()), changes)
    path = folders.results / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def _run(folders: Folders, name: str, seed: int, top: dict[str, object], **result: object) -> Path:
    return folders.put(name, top={"runs_of": "Mine", "seed": seed, **top}, **result)


def _runs(folders: Folders, top: dict[str, object], **result: object) -> Path:
    """Put two runs of one method and a third, of a lesser seed, that is none."""
    for seed in (1, 2):
        _run(folders, f"run-{seed}", seed, {})
    return _run(folders, "run-0", 0, top, **result)


def _address(folders: Folders) -> Path:
    """Give a result the name of a row."""
    for seed in (1, 2):
        _run(folders, f"run-{seed}", seed, {})
    (page,) = folders.build().glob("s/runs-of-mine-*")
    return folders.add(folders.result(page.name))


def _moved(folders: Folders) -> Path:
    folders.put("one")
    return (folders.submissions / "one").rename(folders.submissions / "two") / "submission.toml"


DIFFERENT = {"declarations": {**conftest.DECLARED, "external_data": "yes"}}
BAD: dict[str, tuple[Callable[[Folders], Path], str]] = {
    "no result": (lambda f: _written(f, {"parts": 1}), "not a result of this version"),
    "twice": (lambda f: _written(f, {"name": "good"}, "z.json"), "submission 'good' already has a result in "),
    "another's file": (lambda f: _written(f, {"name": "good"}, "ndec-1/aaa.json"), "'good' already has a result in "),
    "no part": (lambda f: _written(f, {"parts": {"all": None}}), "parts.all: Input should be"),
    "no part all": (lambda f: f.add(f.result("one", parts={})), "no scores of part all"),
    "NaN": (lambda f: _written(f, {"provenance": {"seconds": math.nan}}), "provenance.seconds is not a finite number"),
    "infinite": (
        lambda f: _written(f, {"parts": {"all": {"threshold_at_p90": math.inf}}}),
        "parts.all.threshold_at_p90 is not a finite number",
    ),
    "interval": (
        lambda f: _written(f, {"parts": {"all": {"micro_ap_interval": [0.1, math.nan]}}}),
        "micro_ap_interval is not a finite number",
    ),
    "curve": (
        lambda f: _written(f, {"parts": {"all": {"pr_curve": {"recall": [0.5]}}}}),
        "lists of parts.all.pr_curve differ in length",
    ),
    "card": (_moved, "name is 'one', its folder 'two'"),
    "authors": (lambda f: _runs(f, {"authors": ["Else"]}), "a run of 'Mine' but unlike run-1 in authors"),
    "declared": (lambda f: _runs(f, DIFFERENT), "but unlike run-1 in external_data"),
    "size": (
        lambda f: _runs(f, {}, dimensions=64, bytes_per_reference=128),
        "unlike run-1 in dimensions, bytes_per_reference",
    ),
    "address": (_address, "its name is the address of the row of 'Mine'"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_row_is_left_out_and_named_and_the_others_stay(folders: Folders, kind: str) -> None:
    make, said = BAD[kind]
    folders.put("good", 0.7)
    path = make(folders)
    report = build(folders.results, folders.out, submissions=folders.submissions)
    (why,) = report.left_out
    assert why.startswith(f"{path}: ")
    assert said in why
    assert "s/good/index.html" in report.pages
    assert kind == "address" or f"s/{path.stem}/index.html" not in report.pages
    with pytest.raises((DataError, SubmissionError), match=re.escape(said)):
        leaderboard(folders.results)


def test_the_command_names_what_it_left_out(folders: Folders, capsys: pytest.CaptureFixture[str]) -> None:
    folders.put("good")
    where = ["--results", str(folders.results), "--submissions", str(folders.submissions), "--out", str(folders.out)]
    assert run(["site", *where, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["left_out"] == []
    path = _written(folders, {"parts": 1})
    assert run(["site", *where]) == 3
    shown = capsys.readouterr()
    assert shown.out == f"{folders.out / 'index.html'}\n"
    assert f"left out: {path}: not a result of this version" in shown.err
    assert (folders.out / "s/good/index.html").is_file()


def test_a_submission_has_a_page_for_each_protocol(folders: Folders) -> None:
    folders.put("one", 0.7)
    folders.add(folders.result("one", 0.6, protocol="isc2021"))
    folders.put("other", 0.5)
    report = build(folders.results, folders.out, submissions=folders.submissions)
    assert report.left_out == ()
    second = slug_of("one", table=("isc2021",))
    assert {f"s/{slug}/index.html" for slug in ("one", second, "other")} <= set(report.pages)
    assert ">0.700" in row_of(folders.page(), "one")
    assert ">0.600" in row_of(folders.page(), second)
    content = json.loads(folders.page("data/v1/results.json"))
    assert [(s["name"], s["protocol"], s["row"]) for s in content["standings"]] == [
        ("one", "isc2021", second),
        ("one", "ndec-1", "one"),
        ("other", "ndec-1", "other"),
    ]
    assert [card["name"] for card in content["submissions"]] == ["one", "other"]
    assert folders.page("data/v1/results.bib").count("{method:one,") == 1
    assert (folders.out / f"data/v1/results/{second}.json").is_file()


def test_missing_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder of results"):
        build(tmp_path / "none", tmp_path / "out")
    with pytest.raises(DataError, match="no folder of submissions"):
        build(tmp_path, tmp_path / "out", submissions=tmp_path / "none")


def _merged(content: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return content | {
        key: _merged(content[key], value) if isinstance(value, dict) else value for key, value in changes.items()
    }


# Numbers as text and as lengths


@pytest.mark.parametrize(
    ("function", "value", "shown"),
    [
        (text.signed, 0.0123, "+0.012"),
        (text.signed, -0.0123, "−0.012"),
        (text.signed, -0.0001, "0.000"),
        (text.percent, 0.0634, "6.3\u00a0%"),
        (text.significant, 1234.5, "1,234"),
        (text.significant, 4.054, "4.05"),
        (text.significant, 0.00012, "0.00012"),
        (text.significant, 0.0, "0.000"),
        (text.p_value, 0.0005, "0.0005"),
        (text.letters, 27, "AA"),
        (text.letters, 52, "AZ"),
        (text.letters, 53, "BA"),
    ],
)
def test_numbers_as_text(function: Callable[[float], str], value: float, shown: str) -> None:
    assert function(value) == shown


def test_marks_do_not_pile_up() -> None:
    assert without_overrides("Vie\u0302\u0323t " + "e" + "\u0301" * 200 + "x\u202e") == (
        "Vie\u0302\u0323t e\u0301\u0301\u0301\u0301x"
    )


def test_curve_geometry_by_hand(folders: Folders) -> None:
    part = folders.result("a").parts["all"]
    curve = part.pr_curve.model_copy(
        update={"recall": [0.0, 0.1, 0.5, 0.5, 1.0], "precision": [1.0, 1.0, 1.0, 0.5, 0.5]}
    )
    chart = charts.curve_chart({"all": part.model_copy(update={"pr_curve": curve, "recall_at_p90": None})})
    # 44..430 from left to right, 258..10 from bottom to top; what lies on a straight run is left out
    assert chart.lines[0].path == "M44 10L237 10L237 134L430 134"
    assert chart.lines[0].point is None
    assert [row.level for row in charts.curve_rows([curve])][-1] == 1.0


def test_an_empty_curve_draws_nothing(folders: Folders) -> None:
    result = folders.result("one")
    empty = result.parts["all"].model_dump() | {"pr_curve": {"recall": [], "precision": [], "threshold": []}}
    folders.add(folders.result("one", parts={"all": empty}, hard_negatives=None))
    folders.build()
    assert 'd=""' in folders.page("s/one/index.html")


@pytest.mark.parametrize("title", ["\u200b", "\u2066 \u2069", "\u3164\u2800", "\u0301"])
def test_a_title_that_shows_nothing_is_replaced(folders: Folders, title: str) -> None:
    for seed in (1, 2):
        name = f"ghost-{seed}"
        folders.add(folders.result(name), folders.card(name, top={"runs_of": title, "seed": seed}, title=title))
    folders.build()
    assert '<h1><bdi class="user">ghost-1</bdi></h1>' in folders.page("s/ghost-1/index.html")
    assert '<bdi class="user">ghost-1</bdi></a>' in folders.page()
