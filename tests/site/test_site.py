from __future__ import annotations

import csv
import io
import json
import posixpath
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import html5lib
import pytest
from markupsafe import escape

from ndec_bench.errors import DataError, SubmissionError
from ndec_bench.report import Result
from ndec_bench.site import build, charts, text
from ndec_bench.site.boards import neighbours, tables
from ndec_bench.site.entries import Entry, read_entries, slug_of
from ndec_bench.site.records import fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.site.conftest import Folders

    from ndec_bench.submission import SubmissionCard

VOID_LINKS = {"a": "href", "link": "href", "img": "src"}
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
    assert report.results == 20
    assert set(report.pages) == set(pages(full_site.out))


def test_contract_addresses_exist(full_site: Folders) -> None:
    built = files(full_site.out)
    for name in (
        "index.html",
        "ndec-mini/index.html",
        "about/index.html",
        "s/whitened-cnn/index.html",
        "splits/disc21-final/index.html",
        "data/v1/results.json",
        "data/v1/results.csv",
        "data/v1/schema.json",
        "data/v1/results/whitened-cnn.json",
    ):
        assert name in built


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


def test_nothing_is_loaded_from_outside_and_nothing_runs(full_site: Folders) -> None:
    for name, html in pages(full_site.out).items():
        for tag, attributes in Links(html).tags:
            assert tag not in {"script", "iframe", "object", "embed", "form", "style", "base"}, name
            assert "style" not in attributes, f"{name}: {tag} has a style attribute"
            assert not [key for key in attributes if key.startswith("on")], name
            if tag != "a":
                assert not str(attributes.get("href", attributes.get("src", ""))).startswith(("http", "//")), name
            elif str(attributes.get("href")).startswith("http"):
                assert "noopener" in str(attributes.get("rel")), name
        assert "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'" in html
    style = (full_site.out / "static/site.css").read_text(encoding="utf-8")
    assert "url(" not in style
    assert "@import" not in style


def test_html_parses_strictly_and_ids_are_unique(full_site: Folders) -> None:
    for name, html in pages(full_site.out).items():
        html5lib.HTMLParser(strict=True).parse(html)
        ids = Links(html).ids
        assert len(ids) == len(set(ids)), name


def test_home_page_with_100_results_is_below_300_kb(
    folders: Folders, make_result: Callable[..., Result], make_card: Callable[..., SubmissionCard]
) -> None:
    for i in range(100):
        name = f"method-{i:03}"
        folders.add(make_result(name, 0.2 + 0.006 * i, replicates=100), make_card(name))
    out = folders.build()
    loaded = ["index.html", "static/site.css", "static/mark.svg"]
    assert sum((out / name).stat().st_size for name in loaded) < 300_000
    assert folders.page().count("<tr") == 102


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
        (result.dimensions, "256"),
        (result.bytes_per_reference, "512"),
        (result.describing.milliseconds_per_image, "4.05"),
    ):
        assert f'<data value="{value}">{shown}</data>' in row
    low, high = everything.micro_ap_interval
    assert f"{low:.3f}–{high:.3f}" in row
    assert "2026-11-20" in row
    assert "Apache-2.0" in row
    assert "CC-BY-NC-4.0" in row


def test_rank_intervals_and_tie_groups_are_shown(full_site: Folders) -> None:
    html = full_site.page()
    ranks = {
        name: plain(row_of(html, name).split('class="rank">')[1].split("</td>")[0]).strip()
        for name in ("whitened-cnn", "contrastive-vit", "distilled-student", "gist", "no-replicates")
    }
    assert ranks["whitened-cnn"].endswith("tie group A")
    assert ranks["contrastive-vit"].endswith("tie group A")
    assert ranks["distilled-student"].endswith("tie group B")
    assert ranks["gist"] == "7–8 tie group E"  # the row without replicates may stand below it
    assert ranks["no-replicates"] == "4 , no interval"


def test_partial_truncated_and_dependent_results_never_rank(full_site: Folders) -> None:
    ranked, *apart = full_site.page().split("<b>Not ranked</b>")
    assert "half-the-references" not in ranked
    assert "half-the-references" in apart[0]
    assert "query-expansion" not in ranked
    assert "dependent" in row_of(apart[0], "query-expansion")
    assert "sees other queries" in full_site.page("s/query-expansion/index.html")
    assert "cut-list" in apart[1]
    page = full_site.page("s/half-the-references/index.html")
    assert "never ranks" in page
    assert "not ranked" in page
    assert "500,000 of 1,000,000 references" in page


def test_tracks_and_splits_are_never_mixed(full_site: Folders) -> None:
    home, mini = full_site.page(), full_site.page("ndec-mini/index.html")
    first, second = home.split("Matching track</h2>")
    assert "pair-matcher" not in first
    assert "whitened-cnn" not in second
    assert "s/thumbnail/" not in home
    small = mini[mini.index("ndec-mini-1-small</bdi></h2>") :]
    assert "s/thumbnail-small/" in small
    assert "s/thumbnail/" not in small
    assert "s/final-sscd/" not in home + mini
    assert "s/final-sscd/" in full_site.page("splits/disc21-final/index.html")


def test_editions_of_a_split_get_tables_of_their_own(folders: Folders, make_result: Callable[..., Result]) -> None:
    other = {"submission": "5b" * 32, "ground_truth": "67" * 32, "split": "ee" * 32}
    folders.add(make_result("one"))
    folders.add(make_result("two", digests=other))
    folders.build()
    html = folders.page()
    assert html.count('<table class="ranked">') == 2
    assert "edition eeeeeeee" in html


def test_names_are_escaped_once(full_site: Folders) -> None:
    for page in pages(full_site.out).values():
        assert "&amp;#" not in page
        assert "&amp;lt;" not in page


def test_hard_negative_columns_are_left_out_where_the_split_knows_none(full_site: Folders) -> None:
    assert "Hard negatives" not in full_site.page("splits/disc21-final/index.html")
    assert "Hard negatives" in full_site.page()


def test_mini_stands_under_its_warning_and_on_the_home_page_only_without_ndec(
    full_site: Folders, folders: Folders, make_result: Callable[..., Result]
) -> None:
    warning = "This is a smoke test, never evidence about NDEC."
    assert warning in full_site.page("ndec-mini/index.html")
    assert warning not in full_site.page()
    assert warning in full_site.page("s/thumbnail/index.html")
    folders.add(make_result("thumbnail", 0.3, "ndec-mini-1-small"))
    folders.build()
    assert warning in folders.page()
    assert "s/thumbnail/index.html" in folders.page()
    assert "without them" in folders.page()
    assert "ISC part" not in plain(folders.page("s/thumbnail/index.html"))


def test_mini_tells_the_order_of_methods(full_site: Folders) -> None:
    order = full_site.page("ndec-mini/index.html").split("Order of methods found on it</h3>")[1].split("</ol>")[0]
    assert re.findall(r"s/([a-z-]+)/", order) == ["random-features", "mini-phash", "thumbnail"]


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
    cells = {
        " ".join(unescape(plain(cell)).split()) for cell in re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", page, re.DOTALL)
    }
    for field, value in fields(recorded):
        assert field in cells
        assert text.without_overrides(value) in cells, field
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


def test_a_page_shows_the_card(full_site: Folders) -> None:
    page = full_site.page("s/whitened-cnn/index.html")
    for shown in (
        "First Author",
        "An image becomes a vector",
        "https://example.org/paper.pdf",
        "every score holds for its pair alone",
        "5b" * 32,
    ):
        assert shown in page
    assert 'rel="noopener nofollow ugc"' in page
    assert "no card" in full_site.page("s/shop/index.html")
    assert "no card" not in page


def test_the_curve_has_a_table_with_stored_points(full_site: Folders) -> None:
    curve = json.loads((full_site.results / "ndec-1/whitened-cnn.json").read_text())["parts"]["all"]["pr_curve"]
    place = next(i for i, recall in enumerate(curve["recall"]) if recall >= 0.5)
    page = full_site.page("s/whitened-cnn/index.html")
    row = page.split('<th scope="row">0.50</th>')[1].split("</tr>")[0]
    assert f'<data value="{curve["precision"][place]}">' in row
    assert f'<data value="{curve["threshold"][place]}">' in row


def test_neighbours_are_compared_in_pairs(full_site: Folders) -> None:
    entries = read_entries(full_site.results, full_site.submissions, lambda *_: None)
    board = next(b for t in tables(entries) for b in t.boards if (b.split, b.track) == ("ndec", "descriptor"))
    entry = next(e for e in entries if e.result.name == "distilled-student")
    names = [near.row.entry.result.name for near in neighbours(board, entry)]
    assert names == ["contrastive-vit", "scattering-net", "multi-crop", "phash", "gist"]  # no-replicates is left out
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
    assert json.loads(full_site.page("data/v1/schema.json"))["title"] == "Result"
    original = (full_site.results / "ndec-1/whitened-cnn.json").read_bytes()
    assert (full_site.out / "data/v1/results/whitened-cnn.json").read_bytes() == original


def test_csv_cells_are_no_formulas(
    folders: Folders, make_result: Callable[..., Result], make_card: Callable[..., SubmissionCard]
) -> None:
    folders.add(make_result("one"), make_card("one", title='=HYPERLINK("x")'))
    folders.build()
    (row,) = csv.DictReader(io.StringIO(folders.page("data/v1/results.csv")))
    assert row["title"] == '\'=HYPERLINK("x")'


# What comes from outside


def test_hostile_text_is_shown_and_harmless(
    folders: Folders,
    make_result: Callable[..., Result],
    make_card: Callable[..., SubmissionCard],
    make_direction: Callable[..., dict[str, Any]],
) -> None:
    long = "W" * 290
    card = make_card(
        "evil", title=HOSTILE, description=HOSTILE * 10 + "x" * 2000, code_licence=HOSTILE, weights_licence=long
    )
    provenance = make_result("evil").provenance.model_copy(update={"command": HOSTILE, "cpu": HOSTILE})
    folders.add(
        make_result(
            "evil",
            notes=[HOSTILE, "N" * 10_000],
            provenance=provenance.model_dump(),
            signature=HOSTILE,
            direction=make_direction(0.5, 10, 10, 10, rule=HOSTILE),
        ),
        card,
    )
    folders.build()
    for name in ("index.html", "s/evil/index.html"):
        html = folders.page(name)
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
        assert "{{ 7*7 }}" in html
        assert "<script" not in html
        assert "onerror=alert" not in "".join(re.findall(r"<[^>]*>", html))
        assert not re.search("[\u202a-\u202e\u2066-\u2069]", html)
        html5lib.HTMLParser(strict=True).parse(html)


def test_hostile_names_stay_inside_the_site(folders: Folders, make_result: Callable[..., Result]) -> None:
    result = make_result("../../escape <b>")
    path = folders.results / "a.json"
    path.write_text(result.model_dump_json(), encoding="utf-8")
    before = set(folders.results.parent.parent.iterdir())
    out = folders.build()
    assert set(folders.results.parent.parent.iterdir()) == before
    (page,) = (out / "s").glob("*/index.html")
    assert re.fullmatch(r"escape-b-[0-9a-f]{8}", page.parent.name)
    assert "../../escape &lt;b&gt;" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["a", "sscd.v2_x-1", "0"])
def test_slug_keeps_good_names(name: str) -> None:
    assert slug_of(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "Ä", "A", "a/b", "x" * 200, "\ud800", "a\n"])
def test_slug_of_other_names_fits_an_address(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", slug_of(name))
    assert slug_of(name) != slug_of(name + "b")


# Refusals


def test_a_broken_result_is_named(folders: Folders) -> None:
    bad = folders.results / "deep" / "bad.json"
    bad.parent.mkdir()
    bad.write_text('{"schema_version": 1}', encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(str(bad))):
        folders.build()
    assert not folders.out.exists()


def test_two_results_of_one_name_are_both_named(folders: Folders, make_result: Callable[..., Result]) -> None:
    first = folders.add(make_result("one"))
    second = folders.results / "z.json"
    second.write_bytes(first.read_bytes())
    with pytest.raises(DataError) as error:
        folders.build()
    assert str(first) in str(error.value)
    assert str(second) in str(error.value)


def test_a_card_in_the_wrong_folder_is_refused(
    folders: Folders, make_result: Callable[..., Result], make_card: Callable[..., SubmissionCard]
) -> None:
    folders.add(make_result("one"), make_card("one"))
    (folders.submissions / "one").rename(folders.submissions / "two")
    with pytest.raises(SubmissionError, match="name is 'one', its folder 'two'"):
        folders.build()


def test_missing_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder of results"):
        build(tmp_path / "none", tmp_path / "out")
    with pytest.raises(DataError, match="no folder of submissions"):
        build(tmp_path, tmp_path / "out", submissions=tmp_path / "none")


def test_a_result_without_part_all_is_refused(folders: Folders, make_result: Callable[..., Result]) -> None:
    path = folders.add(make_result("one", parts={}))
    with pytest.raises(DataError, match=f"{re.escape(str(path))}: no scores of part all"):
        folders.build()


# The folder


def test_a_site_is_replaced_and_other_folders_are_not(folders: Folders, make_result: Callable[..., Result]) -> None:
    folders.add(make_result("one"))
    folders.out.mkdir()
    folders.build()
    (folders.results / "ndec-1/one.json").unlink()
    folders.build()
    assert not (folders.out / "s").exists()
    assert not [path for path in folders.out.parent.iterdir() if path.name.startswith(".site")]
    (folders.out / ".ndec-bench-site").unlink()
    with pytest.raises(DataError, match="holds files that are no site"):
        folders.build()
    assert (folders.out / "index.html").is_file()


def test_a_file_in_the_way_is_kept(folders: Folders) -> None:
    folders.out.write_text("precious")
    with pytest.raises(DataError, match="is no folder"):
        folders.build()
    assert folders.out.read_text() == "precious"


def test_a_failed_build_leaves_the_old_site(
    folders: Folders, make_result: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    folders.add(make_result("one"))
    folders.build()
    before = files(folders.out)
    folders.add(make_result("two"))
    monkeypatch.setattr("ndec_bench.site.builder.results_csv", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        folders.build()
    assert files(folders.out) == before


def test_a_site_inside_the_folder_of_results_is_not_read_again(
    folders: Folders, make_result: Callable[..., Result]
) -> None:
    folders.add(make_result("one"))
    out = folders.results / "site"
    build(folders.results, out)
    first = files(out)
    build(folders.results, out)
    assert files(out) == first


def test_submissions_are_optional(folders: Folders, make_result: Callable[..., Result]) -> None:
    folders.add(make_result("one"))
    build(folders.results, folders.out)
    assert "no card" in folders.page()


def test_progress_is_told(folders: Folders, make_result: Callable[..., Result]) -> None:
    folders.add(make_result("one"))
    told: list[tuple[str, int, int]] = []
    build(folders.results, folders.out, progress=lambda *event: told.append(event))
    assert ("reading results", 1, 1) in told
    assert told[-1] == ("writing pages", 1, 1)


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


def test_curve_geometry_by_hand(make_result: Callable[..., Result]) -> None:
    part = make_result("a").parts["all"]
    curve = part.pr_curve.model_copy(update={"recall": [0.0, 0.5, 0.5, 1.0], "precision": [1.0, 1.0, 0.5, 0.5]})
    chart = charts.curve_chart({"all": part.model_copy(update={"pr_curve": curve, "recall_at_p90": None})})
    # 44..430 from left to right, 258..10 from bottom to top
    assert chart.lines[0].path == "M44 10L237 10L237 134L430 134"
    assert chart.lines[0].point is None
    assert [row.level for row in charts.curve_rows([curve])][-1] == 1.0


def test_straight_runs_of_a_curve_are_one_line(make_result: Callable[..., Result]) -> None:
    part = make_result("a").parts["all"]
    recall = [step / 10 for step in range(11)]
    curve = part.pr_curve.model_copy(update={"recall": recall, "precision": [1.0] * 11})
    chart = charts.curve_chart({"all": part.model_copy(update={"pr_curve": curve})})
    assert chart.lines[0].path == "M44 10L430 10"


def test_an_empty_curve_draws_nothing(folders: Folders, make_result: Callable[..., Result]) -> None:
    result = make_result("one")
    empty = result.parts["all"].model_dump() | {"pr_curve": {"recall": [], "precision": [], "threshold": []}}
    folders.add(make_result("one", parts={"all": empty}, hard_negatives=None))
    folders.build()
    assert 'd=""' in folders.page("s/one/index.html")


def test_entry_without_title_falls_back_to_the_address(make_result: Callable[..., Result]) -> None:
    entry = Entry(make_result("\u202e"), None, Path("x"), "", "unnamed-1")
    assert entry.title == "unnamed-1"
