"""The page "compare": what Python makes for it, and what the browser computes from that."""

from __future__ import annotations

import json
import re
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest

from ndec_bench.results.comparison import compare, paired
from ndec_bench.results.record import read_result
from ndec_bench.site import text
from ndec_bench.site.boards import tables
from ndec_bench.site.comparing import BEST, board_title, compare_rows, matrices, replicates_js
from ndec_bench.submissions.entries import read_entries

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page
    from tests.site.conftest import Folders, Opened

    from ndec_bench.results.comparison import Measure
    from ndec_bench.site.boards import SplitTables
    from ndec_bench.submissions.ranking import Row

ADDRESS = "compare/index.html"


def tables_of(folders: Folders, *, private: bool = False) -> list[SplitTables]:
    return tables(read_entries(folders.results, folders.submissions, lambda *_: None, private=private))


def row_of(found: list[SplitTables], slug: str) -> Row:
    return next(
        row
        for table in found
        for board in table.boards
        for row in (*board.rows, *board.unranked)
        if row.slug.startswith(slug)
    )


def handed_over(script: str) -> tuple[str, dict[str, Any]]:
    """Return what a script of replicates hands to compare.js."""
    match = re.fullmatch(r"ndecBench\.replicates\((\"[^\"]*\"), (\{.*\})\);\n", script)
    assert match
    return json.loads(match[1]), json.loads(match[2])


# What Python makes


def test_rows_hold_the_unrounded_figures(full_site: Folders) -> None:
    rows = {row["id"]: row for row in compare_rows(tables_of(full_site))}
    result = read_result(full_site.results / "ndec-1/whitened-cnn.json")
    row = rows["whitened-cnn"]
    assert row["title"] == "Whitened cnn"
    assert row["page"] == "s/whitened-cnn/index.html"
    assert row["board_title"] == "NDEC, descriptor track"
    assert (row["rank"], row["group"], row["level"], row["runs"]) == (1, "A", "re-scored", 1)
    for name in ("all", "isc"):
        part = result.parts[name]
        assert row["parts"][name] == {
            "micro_ap": part.micro_ap,
            "micro_ap_interval": list(part.micro_ap_interval or ()),
            "recall_at_p90": part.recall_at_p90,
            "recall_at_p90_interval": list(part.recall_at_p90_interval or ()),
            "complete": True,
        }
    assert row["why"] is None
    assert rows["half-the-references"]["why"].startswith("references are missing")
    assert rows["half-the-references"]["cost"] is None
    assert rows["final-sscd"]["parts"].keys() == {"all"}
    boards = [row["board_title"] for row in compare_rows(tables_of(full_site))]
    assert boards[0].startswith("NDEC, ")
    assert boards[-1].startswith("ndec-mini")


def test_tables_of_one_split_are_told_apart(folders: Folders) -> None:
    folders.add(folders.result("old", 0.5))
    digests = folders.result("x").digests.model_copy(update={"split": "ab" * 32}).model_dump()
    folders.add(folders.result("new", 0.5, digests=digests))
    (table,) = tables_of(folders, private=True)
    titles = {board_title(table, board) for board in table.boards}
    assert len(titles) == 2
    assert "NDEC, descriptor track, edition abababab" in titles


def test_a_script_hands_over_replicates_as_stored(full_site: Folders) -> None:
    result = read_result(full_site.results / "ndec-1/gist.json")
    script = replicates_js(row_of(tables_of(full_site), "gist"))
    slug, data = handed_over(script)
    assert slug == "gist"
    for name in ("all", "isc"):
        replicates = result.parts[name].replicates
        assert replicates is not None
        assert data["parts"][name] == replicates.model_dump()
    curve = data["curve"]
    assert curve["path"].startswith("M44")
    assert curve["box"] == [440, 300, 44, 430, 10, 258]
    level, precision = curve["table"][0]
    place = next(i for i, recall in enumerate(result.parts["all"].pr_curve.recall) if recall >= level)
    assert (level, precision) == (0.05, result.parts["all"].pr_curve.precision[place])
    assert script == (full_site.out / "data/v1/replicates/gist.js").read_text(encoding="utf-8")


def test_no_name_breaks_out_of_a_script_or_the_page(folders: Folders) -> None:
    name = '</script><script>alert(1)</script>");alert(1)//\u2028.'
    folders.add(folders.result(name.replace("/", "_"), 0.5))
    folders.add(folders.result("other", 0.4), folders.card("other", title=name))
    out = folders.build(private=True)
    for path in (out / "data/v1/replicates").iterdir():
        assert re.fullmatch(r"[a-z0-9._-]+\.js", path.name)
        handed_over(path.read_text(encoding="ascii"))
    page = folders.page(ADDRESS)
    assert "<script>alert" not in page
    block = page.split('<script type="application/json" id="rows">')[1].split("</script>")[0]
    assert json.loads(block)[1]["title"] == name


def test_the_best_rows_stand_in_pairs(full_site: Folders) -> None:
    found = matrices(tables_of(full_site))
    matrix = found[0]
    assert matrix.title == "NDEC, descriptor track"
    assert [row.slug for row in matrix.rows[:2]] == ["whitened-cnn", "contrastive-vit"]
    assert "no-replicates" not in [row.slug for row in matrix.rows]
    assert len(matrix.rows) <= BEST
    for i, j in combinations(range(len(matrix.rows)), 2):
        assert matrix.cells[i][j] == paired(matrix.rows[i].result, matrix.rows[j].result)
        assert matrix.cells[j][i] is None
    assert all(len(other.rows) > 1 for other in found)
    html = full_site.page(ADDRESS)
    cell = matrix.cells[0][1]
    assert cell is not None
    assert f"{text.signed(cell.difference)}</data><small>{text.signed_interval(cell.interval)}</small>" in html
    assert html.count('class="sure"') == sum(
        cell.significant for other in found for line in other.cells for cell in line if cell
    )


def test_a_site_without_results_has_the_page_too(folders: Folders) -> None:
    folders.build()
    page = folders.page(ADDRESS)
    assert "No table has two ranked rows" in page
    assert "ndec-bench compare A.json B.json" in page


# What the browser computes


@pytest.fixture(scope="module")
def address(served: str) -> str:
    return served + ADDRESS


def differences(page: Page) -> dict[str, list[list[str]]]:
    """Return the cells of the tables of paired differences, by caption; the plot is left out."""
    found: dict[str, list[list[str]]] = page.evaluate(
        """Object.fromEntries([...document.querySelectorAll("#compared-pairs table")].map((table) => [
          table.caption.textContent,
          [...table.tBodies[0].rows].map((row) => [...row.cells].filter((cell) => cell.className !== "plot")
            .map((cell) => cell.querySelector("b")?.textContent ?? cell.textContent)),
        ]))"""
    )
    return found


def choose(page: Page, address: str, *ids: str, measure: str = "") -> None:
    page.goto(f"{address}?ids={','.join(ids)}{measure and f'&measure={measure}'}")
    page.locator("#compared-figures table").wait_for()


@pytest.mark.browser
@pytest.mark.parametrize("measure", ["micro_ap", "recall_at_p90"])
@pytest.mark.parametrize(
    "names",
    [
        ("gist", "whitened-cnn"),
        ("contrastive-vit", "whitened-cnn"),
        ("low", "distilled-student", "multi-crop", "whitened-cnn", "evil"),
        (
            "gist",
            "phash",
            "multi-crop",
            "distilled-student",
            "scattering-net",
            "contrastive-vit",
            "whitened-cnn",
            "evil",
        ),
    ],
)
def test_numbers_are_those_of_ndec_bench_compare(
    page: Page, open_site: Folders, address: str, names: tuple[str, ...], measure: Measure
) -> None:
    results = [(name, read_result(open_site.results / f"ndec-1/{name}.json")) for name in names]
    choose(page, address, *names, measure=measure)
    found = differences(page)
    assert len(found) == 2
    overall = compare(results)
    letters = {entry.name: chr(65 + place) for place, entry in enumerate(overall.results)}
    for part, lines in zip(("all", "isc"), found.values(), strict=True):
        expected = []
        for pair in compare(results, part=part, measure=measure).pairs:
            a, b, it = letters[pair.a], letters[pair.b], pair
            line = [f"{a} − {b}", text.signed(it.difference, 4), text.signed_interval(it.interval, 4)]
            line += [text.p_value(it.p_value), *([text.p_value(pair.p_holm)] if len(names) > 2 else [])]
            higher = f"{a if it.interval[0] > 0 else b} is higher"
            after = ", but not after Holm" if pair.p_holm > 0.05 else ""
            expected.append([*line, f"{higher}{after}" if it.significant else "not told apart"])
        assert lines == expected


@pytest.mark.browser
def test_means_of_seeds_are_compared_like_results(page: Page, open_site: Folders, address: str) -> None:
    rows = {row.title: row for table in tables_of(open_site) for board in table.boards for row in board.rows}
    seeded, other = rows["Seeded network"], rows["Distilled student"]
    expected = paired(seeded.result, other.result)
    choose(page, address, seeded.slug, other.slug)
    (line,) = differences(page)["µAP, all queries"]
    assert line[1:4] == [
        text.signed(expected.difference, 4),
        text.signed_interval(expected.interval, 4),
        text.p_value(expected.p_value),
    ]
    assert "mean of 3 seeds" in page.locator("#compared-figures").inner_text()
    assert "(first seed)" in page.locator("#compared-curves").inner_text()


@pytest.mark.browser
def test_values_halfway_are_rounded_as_python_does(page: Page, folders: Folders) -> None:
    for name, quality in (("base", 0.5), ("up", 0.53125), ("down", 0.40625), ("odd", 0.59375)):
        folders.add(folders.result(name, quality))
    index = folders.build(private=True) / ADDRESS
    for name, shown in (("up", "+0.0312"), ("down", "−0.0938"), ("odd", "+0.0938")):
        choose(page, index.as_uri(), name, "base")
        (line,) = differences(page)["µAP, all queries"]
        difference = read_result(folders.results / f"ndec-1/{name}.json").parts["all"].micro_ap - 0.5
        assert line[1] == text.signed(difference, 4) == shown


@pytest.mark.browser
def test_figures_stand_side_by_side_with_a_chart(page: Page, open_site: Folders, address: str) -> None:
    choose(page, address, "gist", "evil", "whitened-cnn")
    figures = page.locator("#compared-figures tbody tr")
    titles = [line.locator("a").inner_text() for line in figures.all()]
    assert titles == ["Whitened cnn", open_site.hostile.replace("\u202e", ""), "Gist"]
    result = read_result(open_site.results / "ndec-1/whitened-cnn.json")
    cells = figures.first.locator("td").all_inner_texts()
    interval = result.parts["all"].micro_ap_interval
    assert interval is not None
    assert cells[1].split() == ["0.7312", text.interval(interval, 4)]
    assert page.locator("#compared-curves path.line").count() == 6  # three curves, three keys
    assert page.locator("#compared-curves circle").count() == 3
    assert page.locator("#compared-pairs svg.difference.sure").count() == 6
    page.locator("#compared-curves summary").click()
    rows = page.locator("#compared-curves tbody tr")
    assert rows.first.locator("th").inner_text() == "0.05"
    assert len(rows.first.locator("td").all()) == 3
    # The lines of all plots stand on one scale: the zero lines lie above each other.
    zeros = page.evaluate("[...document.querySelectorAll('.zero')].slice(0, 3).map((line) => line.getAttribute('d'))")
    assert len(set(zeros)) == 1


@pytest.mark.browser
def test_only_what_is_compared_is_loaded(open_page: Callable[..., Opened], address: str) -> None:
    with open_page() as opened:
        choose(opened.page, address, "gist", "phash")
        loaded = [url.split("/")[-1] for url in opened.requests if "/replicates/" in url]
        assert sorted(loaded) == ["gist.js", "phash.js"]


@pytest.mark.browser
def test_what_cannot_be_paired_says_why(page: Page, address: str) -> None:
    choose(page, address, "whitened-cnn", "gist", "no-replicates", "few-draws")
    said = page.locator("#compared-pairs").inner_text()
    assert (
        "B cannot be paired on all queries: it has 200 replicates of stream ndec-poisson-1, others have 1,000" in said
    )
    assert "C cannot be paired on all queries: it was scored without bootstrap replicates." in said
    assert len(differences(page)["µAP, all queries"]) == 1
    choose(page, address, "half-the-references", "gist")
    assert "references are missing" in page.locator("#compared-pairs").inner_text()
    assert differences(page) == {}
    assert page.locator("#compared-figures tbody tr").count() == 2


@pytest.mark.browser
def test_a_script_that_is_missing_is_named(open_page: Callable[..., Opened], address: str) -> None:
    with open_page() as opened:
        opened.page.route("**/replicates/gist.js", lambda route: route.abort())
        choose(opened.page, address, "gist", "phash")
        said = opened.page.locator("#compared-pairs").inner_text()
        assert "A cannot be paired on all queries: its replicates could not be loaded." in said


@pytest.mark.browser
def test_a_precision_never_reached_counts_0_and_is_said(page: Page, address: str) -> None:
    choose(page, address, "low", "gist", measure="recall_at_p90")
    assert "A: precision 0.90 is never reached and counts 0." in page.locator("#compared-pairs").inner_text()
    assert "not reached" in page.locator("#compared-figures").inner_text()


@pytest.mark.browser
def test_results_are_chosen_on_the_page(page: Page, address: str) -> None:
    page.goto(address)
    assert not page.locator("#compared").is_visible()
    page.get_by_role("searchbox").fill("VIT")
    assert page.locator(".choices label:visible").count() == 1
    page.get_by_role("checkbox", name="Contrastive vit").check()
    assert page.get_by_role("checkbox", name="Pair matcher", include_hidden=True).is_disabled()
    assert "choose another of the same table" in page.locator(".chooser output").inner_text()
    page.get_by_role("searchbox").fill("")
    page.get_by_role("checkbox", name="Gist").check()
    page.locator("#compared-pairs table").first.wait_for()
    assert page.url == f"{address}?ids=contrastive-vit,gist"
    page.get_by_role("radio", name="recall@P90").check()
    page.locator("#compared-pairs caption", has_text="recall@P90, all queries").wait_for()
    assert page.url == f"{address}?ids=contrastive-vit,gist&measure=recall_at_p90"
    page.reload()
    page.locator("#compared-pairs caption", has_text="recall@P90, all queries").wait_for()
    page.go_back()
    page.locator("#compared-pairs caption", has_text="µAP, all queries").wait_for()
    assert page.get_by_role("radio", name="µAP").is_checked()
    page.get_by_role("button", name="Clear").click()
    assert page.url == address
    assert not page.locator("#compared").is_visible()


@pytest.mark.browser
def test_an_address_cannot_mix_tables_or_ask_for_too_many(
    page: Page, folders: Folders, open_site: Folders, address: str
) -> None:
    choose(page, address, "gist", "pair-matcher", "phash", "nobody", "gist", "<b>")
    assert page.locator("#compared-figures tbody tr").count() == 2
    assert "1 of another table left out" in page.locator(".chooser output").inner_text()
    assert "2 left out that no table has as a row" in page.locator(".chooser output").inner_text()
    for number in range(12):
        folders.add(folders.result(f"r{number}", 0.3 + number / 100))
    index = folders.build(private=True) / ADDRESS
    choose(page, index.as_uri(), *(f"r{number}" for number in range(12)))
    assert page.locator("#compared-figures tbody tr").count() == 10
    assert "2 more left out" in page.locator(".chooser output").inner_text()
    assert page.get_by_role("checkbox", name="r11").is_disabled()
    assert len(differences(page)["µAP, all queries"]) == 45
    assert "none can reach 0.05 after Holm’s adjustment" in page.locator("#compared-pairs").inner_text()


@pytest.mark.browser
def test_results_can_be_compared_from_disk(open_page: Callable[..., Opened], open_site: Folders) -> None:
    with open_page() as opened:
        choose(opened.page, (open_site.out / ADDRESS).as_uri(), "gist", "phash", "evil")
        assert len(differences(opened.page)["µAP, all queries"]) == 3
        assert opened.complaints == []
        assert all(url.startswith("file://") for url in opened.requests)


@pytest.mark.browser
def test_without_scripts_the_best_rows_are_there(open_page: Callable[..., Opened], open_site: Folders) -> None:
    with open_page(java_script_enabled=False) as opened:
        opened.page.goto((open_site.out / ADDRESS).as_uri())
        assert not opened.page.locator(".chooser").is_visible()
        assert opened.page.locator("table.matrix").first.is_visible()
        assert opened.page.get_by_text("ndec-bench compare A.json B.json").is_visible()
