"""The site in Debian's Chromium, opened from disk and served, as a person would see it."""

from __future__ import annotations

import shutil
from importlib import resources
from typing import TYPE_CHECKING, Any, get_args

import pytest

from ndec_bench.site.boards import tables
from ndec_bench.site.pages import Site, pages
from ndec_bench.submissions import card as submission
from ndec_bench.submissions.entries import Entry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page
    from tests.site.conftest import Folders, Opened


pytestmark = pytest.mark.browser

PAGES = {
    "home": "index.html",
    "final": "disc21-final/index.html",
    "mini": "ndec-mini/index.html",
    "splits": "splits/index.html",
    "compare": "compare/index.html",
    "comparison": "compare/index.html?ids=whitened-cnn,contrastive-vit,gist,no-replicates",
    "submit": "submit/index.html",
    "published": "published/index.html",
    "data": "data/index.html",
    "release": "v1/index.html",
    "about": "about/index.html",
    "submission": "s/whitened-cnn/index.html",
    "seeds": "s/seeded-1/index.html",
    "mini submission": "s/random-features/index.html",
    "asymmetric": "s/scattering-net/index.html",
    "partial": "s/half-the-references/index.html",
    "matching": "s/cut-list/index.html",
    "hostile": "s/evil/index.html",
}
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}}
OPEN_ALL = "document.querySelectorAll('details').forEach((d) => d.open = true)"

# What stands in the tables of a page, in the order shown.
SHOWN = """(board) => [...document.querySelectorAll(`table[data-board="${board}"]:not([data-apart]) tr[data-id]`)]
  .filter((row) => row.checkVisibility()).map((row) => row.dataset.id)"""
HEADS = """[...document.querySelector('table.ranked').tHead.rows[1].cells]
  .filter((th) => th.checkVisibility()).map((th) => th.dataset.k)"""
SORTED = """[...document.querySelectorAll('[aria-sort]')]
  .map((th) => `${th.closest('table').dataset.track} ${th.dataset.k} ${th.getAttribute('aria-sort')}`)"""
# The element with the focus, if nothing of it can be seen.
COVERED = """(() => {
  const focused = document.activeElement;
  const { left, top, width, height } = focused.getBoundingClientRect();
  const parts = [0.1, 0.5, 0.9];
  const found = parts.flatMap((x) => parts.map((y) => document.elementFromPoint(left + x * width, top + y * height)));
  return found.some((one) => focused.contains(one)) ? [] : [focused.outerHTML.slice(0, 80)];
})()"""
# Scrolling is smooth. The policy forbids wait_for_function, which evaluates text inside the page.
SCROLLED = """new Promise((done) => {
  let frames = 300;
  const look = () => {
    const { scrollLeft } = document.activeElement;
    if (scrollLeft > 100 || (frames -= 1) === 0) done(scrollLeft);
    else requestAnimationFrame(look);
  };
  look();
})"""
NO_QUERIES = """
  for (const name of ["pushState", "replaceState"]) {
    const real = history[name].bind(history);
    history[name] = (data, title, url) => {
      if (!String(url).startsWith("#")) throw new DOMException("refused", "SecurityError");
      real(data, title, url);
    };
  }"""


@pytest.fixture(scope="module")
def site(open_site: Folders) -> Path:
    return open_site.out


def _declared(line: str) -> list[list[str]]:
    return [values.split(",") for values in line.split("|")]


DECLARABLE = {
    "labels_used": submission.Labels,
    "train_images": submission.TrainImages,
    "reference_images_in_training": submission.References,
    "ndec_pairs": submission.Answer,
    "background": submission.Background,
    "external_data": submission.Answer,
    "query_independent": submission.Answer,
    "selected_on": submission.Selection,
}
# By title: declarations in that order, dimensions, level of verification. All rank on a private site.
CHOICES: dict[str, tuple[list[list[str]], int | None, str | None]] = {
    "alone": (_declared("none|none|none|no|none|no|yes|none"), 64, "re-described"),
    "broad": (_declared("dev1|imagenet,other|plain|yes|other|yes|yes|dev1"), 256, "re-scored"),
    "closed": (_declared("|".join(["unknown"] * 8)), 512, None),
    "dev-tuned": (_declared("dev1,final|disc21-train|augmented|no|disc21-train|no|yes|train,dev1"), 2048, "re-scored"),
    "éclair": (_declared("none|disc21-train,ndec-train|none|yes|none|no|yes|other"), 256, None),
    "pairwise": (_declared("none|imagenet|none|no|none|yes|yes|train"), None, "re-scored"),
}


@pytest.fixture(scope="module")
def choices(full_site: Folders, tmp_path_factory: pytest.TempPathFactory, serve: Callable[[Path], str]) -> str:
    """Return the address of a private site whose rows differ in what can be filtered."""
    folders = type(full_site)(tmp_path_factory.mktemp("choices"))
    several = ("labels_used", "train_images", "selected_on")
    for place, (title, (values, dimensions, level)) in enumerate(CHOICES.items()):
        name = title.replace("é", "e")
        changes: dict[str, Any] = {"dimensions": dimensions}
        if dimensions is None:
            changes |= {"track": "matching", "metric": "score", "bytes_per_reference": None}
        result = full_site.result(name, 0.7 - 0.08 * place, **changes)
        checked = {"level": level, "predictions_sha256": result.predictions_sha256} if level else None
        named = zip(DECLARABLE, values, strict=True)
        declared = {key: found if key in several else found[0] for key, found in named}
        top = {"declarations": declared, "verified": checked}
        folders.add(result, full_site.card(name, top=top, title=title.capitalize()))
    return serve(folders.build(private=True))


@pytest.fixture
def home(page: Page, served: str) -> Page:
    """Return the home page."""
    page.goto(served)
    return page


@pytest.fixture
def chooser(page: Page, choices: str) -> Page:
    """Return the home page of the site of choices."""
    page.goto(choices)
    return page


def shown(page: Page) -> list[str]:
    """Return the names of the rows that a page shows, table by table."""
    boards = page.evaluate("[...document.querySelectorAll('table[data-board]')].map((table) => table.dataset.board)")
    return [name for board in dict.fromkeys(boards) for name in page.evaluate(SHOWN, board)]


def first_column(page: Page, key: str) -> list[str]:
    """Return the sort values of a column of the first table, in the order shown."""
    values: list[str] = page.evaluate(
        """(key) => {
          const table = document.querySelector("table.ranked");
          const place = table.tHead.querySelector(`[data-k="${key}"]`).cellIndex;
          return [...table.tBodies[0].rows].map((row) => row.cells[place].dataset.v ?? row.cells[place].innerText);
        }""",
        key,
    )
    return values


def sort_by(page: Page, key: str) -> None:
    page.locator(f"table.ranked th[data-k={key}] button").first.click()


# Every page


@pytest.mark.parametrize(
    ("scheme", "width", "kinds", "rules"),
    [
        ("light", 1280, tuple(set(PAGES) - {"release", "seeds", "mini submission", "partial", "matching"}), RULES),
        # What is dark or narrow differs in colours and order alone.
        ("dark", 360, ("comparison", "submission"), {"runOnly": {"type": "rule", "values": ["color-contrast"]}}),
    ],
)
def test_axe_finds_nothing(
    open_page: Callable[..., Opened], served: str, scheme: str, width: int, kinds: tuple[str, ...], rules: object
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    # The page's own policy forbids foreign scripts; axe is one, so the policy is lifted for this test alone.
    violations = {}
    with open_page(viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True) as opened:
        for name in sorted(kinds):
            opened.page.goto(served + PAGES[name])
            opened.page.evaluate(OPEN_ALL)
            for box in opened.page.locator(".pick input").all()[:2]:
                box.check()
            found = axe.run(opened.page, options=rules)
            if found.violations_count:
                violations[name] = found.generate_report()
    assert violations == {}


@pytest.mark.parametrize(("place", "width"), [("disk", 320), ("served", 768), ("disk", 1280)])
def test_every_page_fits_is_complete_and_asks_nobody_else(
    open_page: Callable[..., Opened], site: Path, served: str, place: str, width: int
) -> None:
    base = served if place == "served" else f"{site.as_uri()}/"
    with open_page(viewport={"width": width, "height": 800}) as opened:
        for name, path in PAGES.items():
            opened.page.goto(base + path)
            opened.page.evaluate(OPEN_ALL)
            over = opened.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert over == 0, f"{name} at {width}"
            assert opened.page.evaluate("getComputedStyle(document.querySelector('.skip')).position") == "absolute"
            assert opened.page.evaluate("document.querySelector('.brand img').naturalWidth") > 0
            assert opened.page.evaluate("document.documentElement.classList.contains('js')")
        assert opened.complaints == []
        assert all(url.startswith(base if place == "served" else "file://") for url in opened.requests)


def test_the_policy_blocks_what_is_not_of_the_site(open_page: Callable[..., Opened], served: str) -> None:
    with open_page() as opened:
        opened.page.goto(served)
        opened.page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), { textContent: 'window.ran = 1' }))"
        )
        assert opened.page.evaluate("window.ran") is None
        assert any("policy script-src" in complaint for complaint in opened.complaints)


def test_wide_tables_scroll_in_a_region_that_the_keyboard_reaches(open_page: Callable[..., Opened], site: Path) -> None:
    with open_page(viewport={"width": 360, "height": 640}) as opened:
        opened.page.goto((site / "index.html").as_uri())
        opened.page.locator(".scroll").first.focus()
        for _ in range(8):
            opened.page.keyboard.press("ArrowRight")
        scrolled = opened.page.evaluate(SCROLLED)
        assert scrolled > 100
        left = opened.page.evaluate("document.activeElement.querySelector('tbody th').getBoundingClientRect().left")
        edge = opened.page.evaluate("document.activeElement.getBoundingClientRect().left")
        assert left == pytest.approx(edge, abs=1)  # the method stays in view


def test_a_table_that_fits_lies_free_under_a_head_that_stays(open_page: Callable[..., Opened], site: Path) -> None:
    with open_page(viewport={"width": 1700, "height": 500}) as opened:
        opened.page.goto((site / "index.html").as_uri())
        assert opened.page.evaluate("document.querySelector('.scroll').classList.contains('fits')")
        opened.page.evaluate("document.documentElement.style.scrollBehavior = 'auto'; window.scrollTo(0, 900)")
        assert opened.page.evaluate("document.querySelector('.ranked thead').getBoundingClientRect().top") == 0
        opened.page.set_viewport_size({"width": 700, "height": 500})
        opened.page.wait_for_function("!document.querySelector('.scroll').classList.contains('fits')")


def test_the_first_tab_offers_to_skip_to_the_content(page: Page, site: Path) -> None:
    page.goto((site / "about/index.html").as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_it_prints(page: Page, site: Path) -> None:
    page.goto((site / "index.html").as_uri() + "?q=whitened&cols=cost&ids=whitened-cnn,gist")
    page.emulate_media(media="print", color_scheme="dark")
    paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert paper == "rgb(255, 255, 255)"
    assert not page.get_by_role("navigation").is_visible()
    for hidden in (".tools", ".picked", ".theme", ".pick"):
        assert not page.locator(hidden).first.is_visible(), hidden
    assert page.evaluate("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
    assert shown(page) == ["whitened-cnn"]  # the view at hand
    assert page.evaluate(HEADS) == ["rank", "method", "cost"]


def test_a_printed_view_says_what_it_leaves_out(page: Page, site: Path) -> None:
    page.emulate_media(media="print")
    page.goto((site / "index.html").as_uri())
    assert page.locator(".view").inner_text() == ""
    page.goto((site / "index.html").as_uri() + "?q=whitened&level=re-scored&sort=-bytes")
    assert page.locator(".view").inner_text() == (
        "Only the 1 of 18 rows that fit are shown. Search: whitened; Verified: re-scored or better. "
        "Sorted by bytes / reference, descending."
    )
    page.emulate_media(media="screen")
    assert not page.locator(".view").is_visible()


def test_what_has_the_focus_is_never_under_a_head(open_page: Callable[..., Opened], site: Path) -> None:
    with open_page(viewport={"width": 320, "height": 500}, reduced_motion="reduce") as opened:
        opened.page.goto((site / "index.html").as_uri())
        opened.page.evaluate("scrollTo(0, 1e6)")
        opened.page.locator(".apart tbody a").last.focus()
        under = []
        for _ in range(60):
            opened.page.keyboard.press("Shift+Tab")
            under += opened.page.evaluate(COVERED)
        assert under == []


# Without scripts


def test_it_is_complete_without_scripts(open_page: Callable[..., Opened], site: Path) -> None:
    with open_page(java_script_enabled=False) as opened:
        for path in PAGES.values():
            opened.page.goto(f"{site.as_uri()}/{path}")
            for button in opened.page.locator("button, input, select").all():
                assert not button.is_visible(), f"{path}: a dead control"
        opened.page.goto((site / "index.html").as_uri())
        for extra in opened.page.locator("table.ranked .x").all()[:30]:
            assert extra.is_visible()
        opened.page.get_by_role("link", name="Whitened cnn", exact=True).first.click()
        assert opened.page.get_by_role("heading", level=1).inner_text() == "Whitened cnn"
        opened.page.get_by_role("link", name="Leaderboard", exact=True).click()
        assert opened.page.url.endswith("/index.html")


# The theme


def test_the_theme_is_kept_and_there_before_the_first_paint(open_page: Callable[..., Opened], served: str) -> None:
    with open_page(color_scheme="light") as opened:
        page = opened.page
        page.add_init_script(
            """new MutationObserver((_, observer) => {
              const root = document.documentElement;
              if (!document.body) return;
              window.atFirst = [root.dataset.theme, root.classList.contains("js")];
              observer.disconnect();
            }).observe(document, { childList: true, subtree: true });"""
        )
        page.goto(served)
        toggle = page.get_by_role("button", name="Dark")
        assert toggle.get_attribute("aria-pressed") == "false"
        assert page.evaluate("window.atFirst") == [None, True]
        light = page.evaluate("getComputedStyle(document.body).color")
        toggle.click()
        assert toggle.get_attribute("aria-pressed") == "true"
        dark = page.evaluate("getComputedStyle(document.body).color")
        assert dark != light
        page.goto(served + "about/index.html")
        assert page.evaluate("window.atFirst") == ["dark", True]
        assert page.evaluate("getComputedStyle(document.body).color") == dark
        assert page.evaluate("document.querySelector('script').src").endswith("static/theme.js")
        assert not page.evaluate("document.querySelector('script').defer || document.querySelector('script').async")
        page.get_by_role("button", name="Dark").click()
        page.reload()
        assert page.evaluate("window.atFirst") == ["light", True]
        assert opened.complaints == []


def test_the_theme_follows_the_system_until_it_is_chosen(open_page: Callable[..., Opened], served: str) -> None:
    with open_page(color_scheme="dark") as opened:
        opened.page.goto(served)
        assert opened.page.get_by_role("button", name="Dark").get_attribute("aria-pressed") == "true"
        opened.page.emulate_media(color_scheme="light")
        opened.page.locator("[data-theme-toggle][aria-pressed=false]").wait_for()


def test_the_page_that_is_open_is_marked_in_forced_colours(page: Page, site: Path) -> None:
    page.emulate_media(forced_colors="active")
    page.goto((site / "index.html").as_uri())
    marked, other, ground = page.evaluate(
        """[...document.querySelectorAll('.top li a')].slice(0, 2).map((a) => getComputedStyle(a).borderBottomColor)
        .concat(getComputedStyle(document.documentElement).backgroundColor)"""
    )
    assert marked != other == ground


def test_rank_and_method_always_stay(page: Page, served: str) -> None:
    page.goto(served + "?cols=")
    assert page.evaluate(HEADS) == ["rank", "method"]
    page.goto(served + "?cols=nonsense")
    assert len(page.evaluate(HEADS)) > 10


def test_a_browser_without_storage_still_has_both_themes(open_page: Callable[..., Opened], served: str) -> None:
    with open_page(color_scheme="light") as opened:
        opened.page.add_init_script(
            "Object.defineProperty(window, 'localStorage', { get() { throw new DOMException('refused'); } })"
        )
        opened.page.goto(served)
        opened.page.get_by_role("button", name="Dark").click()
        assert opened.page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert opened.complaints == []


# Copying


def test_commands_are_copied(open_page: Callable[..., Opened], served: str) -> None:
    with open_page(permissions=["clipboard-read", "clipboard-write"]) as opened:
        opened.page.goto(served + "compare/index.html")
        opened.page.locator(".copy button").first.click()
        opened.page.locator(".copy [role=status]", has_text="Copied").first.wait_for()
        copied = opened.page.evaluate("navigator.clipboard.readText()")
        assert copied == opened.page.locator(".copy pre").first.inner_text().strip()


def test_where_copying_is_refused_the_command_is_selected(page: Page, served: str) -> None:
    page.add_init_script(
        """Object.defineProperty(navigator, "clipboard", { value: undefined });
        document.execCommand = () => false;"""
    )
    page.goto(served + "compare/index.html")
    page.locator(".copy button").first.click()
    page.locator(".copy [role=status]", has_text="Selected").first.wait_for()
    assert page.evaluate("getSelection().toString().trim()") == "ndec-bench compare A.json B.json"


# Sorting


def test_a_click_sorts_and_says_so(home: Page) -> None:
    assert home.evaluate(SORTED) == ["descriptor rank ascending", "matching rank ascending"]
    by_rank = first_column(home, "rank")
    sort_by(home, "recall_at_p90")
    # One order holds for every table that has the column, those of rows that do not rank too.
    assert home.evaluate(SORTED) == [
        f"{track} recall_at_p90 descending" for track in ("descriptor", "descriptor", "matching", "matching")
    ]
    values = [float(value) for value in first_column(home, "recall_at_p90") if value]
    assert values == sorted(values, reverse=True)
    sort_by(home, "recall_at_p90")
    assert home.evaluate(SORTED)[0] == "descriptor recall_at_p90 ascending"
    values = [float(value) for value in first_column(home, "recall_at_p90") if value]
    assert values == sorted(values)
    sort_by(home, "method")
    titles = home.evaluate(
        "[...document.querySelectorAll('table.ranked')[0].querySelectorAll('tbody th > a')].map(a => a.innerText)"
    )
    assert titles[0].startswith("<script>")
    assert titles[1:] == sorted(titles[1:], key=str.lower)
    sort_by(home, "rank")
    assert first_column(home, "rank") == by_rank


def test_the_keyboard_sorts(home: Page) -> None:
    home.locator("th[data-k=micro_ap] button").first.focus()
    home.keyboard.press("Enter")
    assert home.evaluate(SORTED)[0] == "descriptor micro_ap descending"
    home.keyboard.press("Space")
    assert home.evaluate(SORTED)[0] == "descriptor micro_ap ascending"
    assert home.evaluate("document.activeElement.closest('th').dataset.k") == "micro_ap"
    home.keyboard.press("Tab")
    assert home.evaluate("document.activeElement.closest('th').dataset.k") == "recall_at_p90"


def test_missing_values_come_last_both_ways(home: Page) -> None:
    lasts = []
    for _ in range(2):
        home.locator("table[data-apart] th[data-k=cost] button").first.click()
        lasts.append(home.evaluate("document.querySelector('table[data-apart] tbody').lastElementChild.dataset.id"))
    assert lasts == ["half-the-references", "half-the-references"]


def test_equal_values_keep_the_order_of_the_ranks(home: Page) -> None:
    before = shown(home)
    sort_by(home, "dimensions")  # 256 in all rows
    assert shown(home) == before
    sort_by(home, "dimensions")
    assert shown(home) == before


def test_lines_between_tie_groups_show_in_the_order_of_ranks_alone(home: Page) -> None:
    colours = """[...document.querySelector('table.ranked').tBodies[0].rows].slice(1)
      .map((row) => getComputedStyle(row).borderTopColor)"""
    assert len(set(home.evaluate(colours))) == 2
    sort_by(home, "cost")
    assert len(set(home.evaluate(colours))) == 1
    sort_by(home, "rank")
    assert len(set(home.evaluate(colours))) == 2


def test_a_line_moves_to_the_first_row_of_its_group_that_is_left(page: Page, folders: Folders) -> None:
    for name, quality in (("keep-1", 0.73), ("drop-2", 0.6001), ("keep-3", 0.6)):
        folders.add(folders.result(name, quality))
    lines = "[...document.querySelectorAll('tr[data-id]')].map((row) => row.classList.contains('starts'))"
    page.goto((folders.build(private=True) / "index.html").as_uri())
    assert page.evaluate(lines) == [False, True, False]
    page.get_by_role("searchbox").fill("keep")
    assert shown(page) == ["keep-1", "keep-3"]
    assert page.evaluate(lines)[2]
    page.get_by_role("searchbox").fill("")
    assert page.evaluate(lines) == [False, True, False]


# Search and filters


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("ALONE", ["alone"]),
        ("eclair", ["eclair"]),
        ("Éclair", ["eclair"]),
        ("tuned dev", ["dev-tuned"]),
        ("first author broad", ["broad"]),
        ("second author broad", ["broad"]),  # the row says "et al."
        ("pair", ["pairwise"]),
        ("code", []),  # the word on a link is no author
        ("  ", ["alone", "broad", "closed", "dev-tuned", "eclair", "pairwise"]),
    ],
)
def test_search_knows_titles_names_and_authors(chooser: Page, words: str, found: list[str]) -> None:
    chooser.get_by_role("searchbox").fill(words)
    assert sorted(shown(chooser)) == sorted(found)
    count = chooser.locator(".tools output").inner_text()
    assert count == (f"{len(found)} of 6 rows" if len(found) < 6 else "6 rows")


def test_every_declaration_filters_and_unknown_never_passes_for_none(chooser: Page) -> None:
    chooser.evaluate(OPEN_ALL)
    for place, (name, known) in enumerate(DECLARABLE.items()):
        select = chooser.locator(f"select[name={name}]")
        offered = [option.get_attribute("value") for option in select.locator("option").all()]
        assert offered[0] == ""
        assert set(offered[1:]) == set(get_args(known)), name
        for value in get_args(known):
            select.select_option(value)
            fit = {row.replace("é", "e") for row, (values, _, _) in CHOICES.items() if value in values[place]}
            assert set(shown(chooser)) == fit, f"{name}={value}"
            assert ("closed" in fit) == (value == "unknown")
            assert f"{name}={value}" in chooser.url
        select.select_option("")


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("track", "matching", ["pairwise"]),
        ("track", "descriptor", ["alone", "broad", "closed", "dev-tuned", "eclair"]),
        ("dims", "64", ["alone"]),
        ("dims", "256", ["alone", "broad", "eclair"]),
        ("dims", "1024", ["alone", "broad", "closed", "eclair"]),
        ("dims", "more", ["dev-tuned"]),
        ("level", "re-described", ["alone"]),
        ("level", "re-scored", ["alone", "broad", "dev-tuned", "pairwise"]),
        ("level", "reported", ["closed", "eclair"]),
    ],
)
def test_other_filters(chooser: Page, name: str, value: str, found: list[str]) -> None:
    chooser.locator(f"select[name={name}]").select_option(value)
    assert sorted(shown(chooser)) == found


def test_filters_add_up_and_reset_takes_them_away(chooser: Page, choices: str) -> None:
    chooser.locator("select[name=dims]").select_option("256")
    chooser.evaluate(OPEN_ALL)
    chooser.locator("select[name=external_data]").select_option("no")
    assert chooser.locator(".more summary").inner_text() == "More filters (1)"
    chooser.get_by_role("searchbox").fill("clair")
    assert shown(chooser) == ["eclair"]
    chooser.get_by_role("button", name="Reset").click()
    assert len(shown(chooser)) == 6
    assert chooser.get_by_role("searchbox").input_value() == ""
    assert chooser.url == choices


def test_where_no_row_fits_the_page_says_so_and_offers_all(chooser: Page) -> None:
    chooser.get_by_role("searchbox").fill("no such method")
    assert chooser.get_by_text("No row fits.").count() == 2
    assert chooser.locator(".tools output").inner_text() == "0 of 6 rows"
    chooser.get_by_role("button", name="Show all rows").first.click()
    assert len(shown(chooser)) == 6
    assert not chooser.get_by_text("No row fits.").first.is_visible()
    assert chooser.evaluate("document.activeElement.name") == "q"


# Columns


def test_columns_are_chosen_and_groups_follow(home: Page) -> None:
    spans = "[...document.querySelector('.groups').querySelectorAll('th')].map((th) => th.hidden ? 0 : th.colSpan)"
    usual = home.evaluate(HEADS)
    assert "recall_at_1" not in usual
    before = home.evaluate(spans)
    assert sum(before) == len(usual) - 2
    home.evaluate(OPEN_ALL)
    home.get_by_role("checkbox", name="recall @1").check()
    assert "recall_at_1" in home.evaluate(HEADS)
    assert home.evaluate(spans) == [before[0] + 1, *before[1:]]
    cells = home.evaluate(
        """[...document.querySelectorAll('table.ranked tr[data-id]')]
          .map((row) => [...row.cells].filter((cell) => cell.checkVisibility()).length)"""
    )
    assert set(cells) == {len(home.evaluate(HEADS))}
    for group in ("Cost of use", "Record"):
        for box in home.get_by_role("group", name=group).get_by_role("checkbox").all():
            box.uncheck()
    assert home.evaluate(spans) == [before[0] + 1, before[1], 0, before[3], 0]
    chosen = home.evaluate(HEADS)
    home.reload()
    assert home.evaluate(HEADS) == chosen
    home.get_by_role("button", name="Reset").click()
    assert home.evaluate(HEADS) == usual
    assert "cols" not in home.url


# The address


def test_the_address_holds_the_view_and_brings_it_back(chooser: Page, choices: str) -> None:
    chooser.locator("select[name=dims]").select_option("512")
    sort_by(chooser, "recall_at_p90")
    sort_by(chooser, "recall_at_p90")
    chooser.get_by_role("checkbox", name="Select Closed for comparison").check()
    chooser.get_by_role("searchbox").fill("clo")
    chooser.wait_for_url("**/*q=clo*")
    assert chooser.url == f"{choices}?q=clo&dims=512&sort=recall_at_p90&ids=closed"
    assert shown(chooser) == ["closed"]
    chooser.reload()
    assert shown(chooser) == ["closed"]
    assert chooser.get_by_role("searchbox").input_value() == "clo"
    assert chooser.locator("select[name=dims]").input_value() == "512"
    assert chooser.evaluate(SORTED)[0] == "descriptor recall_at_p90 ascending"
    assert chooser.locator(".picked").is_visible()

    chooser.go_back()  # what was typed belongs to the step before it
    assert chooser.get_by_role("searchbox").input_value() == ""
    assert not chooser.locator(".picked").is_visible()
    assert shown(chooser) == ["eclair", "closed", "broad", "alone"]
    chooser.go_back()
    assert shown(chooser) == ["alone", "broad", "closed", "eclair"]
    chooser.go_back()
    assert chooser.evaluate(SORTED)[0] == "descriptor rank ascending"
    chooser.go_back()
    assert chooser.url == choices
    assert len(shown(chooser)) == 6
    chooser.go_forward()
    assert chooser.locator("select[name=dims]").input_value() == "512"
    assert shown(chooser) == ["alone", "broad", "closed", "eclair"]


@pytest.mark.parametrize(
    "query",
    [
        "?dims=77&track=nonsense&sort=nonsense&ids=nobody&level=%F0&q=%E2%80%AE",
        "?sort=-&cols=,,&ids=,&labels_used=",
        "#?dims=nonsense",
        "?constructor=1&__proto__=2&sort=__proto__&ids=constructor",
    ],
)
def test_nonsense_in_the_address_is_passed_over(page: Page, choices: str, query: str) -> None:
    page.goto(choices + query)
    found = shown(page)
    assert len(found) == 6 or "q=" in query
    assert page.evaluate(SORTED)[0] == "descriptor rank ascending"
    assert not page.locator(".picked").is_visible()


def test_anchors_keep_the_view(page: Page, choices: str) -> None:
    page.goto(choices + "?dims=64")
    key = page.locator("table.ranked").first.get_attribute("data-board")
    page.evaluate("(key) => location.hash = key", key)
    assert shown(page) == ["alone"]
    page.locator("select[name=dims]").select_option("more")
    assert page.url == f"{choices}?dims=more#{key}"
    page.reload()
    assert shown(page) == ["dev-tuned"]


def test_where_the_query_may_not_change_the_view_stands_behind_the_hash(page: Page, choices: str) -> None:
    page.add_init_script(NO_QUERIES)
    page.goto(choices + "?dims=256")
    page.locator("select[name=track]").select_option("descriptor")
    assert page.url == f"{choices}?dims=256#?track=descriptor&dims=256"
    page.locator("select[name=dims]").select_option("64")
    page.reload()
    assert shown(page) == ["alone"]
    page.locator("select[name=dims]").select_option("more")
    key = page.locator("table.ranked").first.get_attribute("data-board")
    page.evaluate("(key) => location.hash = key", key)  # an anchor takes the place of the view, which still holds
    assert shown(page) == ["dev-tuned"]
    page.go_back()
    page.go_back()
    assert shown(page) == ["alone"]
    page.get_by_role("button", name="Reset").click()
    assert len(shown(page)) == 6
    page.reload()
    assert len(shown(page)) == 6


# Selection


def test_selected_rows_of_one_table_go_to_the_comparison(home: Page, served: str) -> None:
    assert not home.locator(".picked").is_visible()
    home.get_by_role("checkbox", name="Select Gist for comparison").check()
    link = home.get_by_role("link", name="Compare selected")
    assert link.get_attribute("aria-disabled") == "true"
    assert link.get_attribute("href") is None
    home.get_by_role("checkbox", name="Select Whitened cnn for comparison").check()
    assert home.locator(".tools output").inner_text().endswith("rows, 2 selected")
    assert home.locator(".picked p").inner_text() == "Gist, Whitened cnn"
    box = home.locator(".pick").first.bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) >= 24
    home.get_by_role("checkbox", name="Select Pair matcher for comparison").check()
    assert "different tables" in home.locator(".picked p").inner_text()
    assert link.get_attribute("href") is None
    home.get_by_role("checkbox", name="Select Pair matcher for comparison").uncheck()
    link.click()
    assert home.url == served + "compare/index.html?ids=gist,whitened-cnn"
    home.locator("#compared-pairs table").first.wait_for()
    home.go_back()
    assert home.locator(".pick input:checked").count() == 2
    home.get_by_role("button", name="Clear").click()
    assert home.locator(".pick input:checked").count() == 0
    assert home.url == served


# Strangers' text and large tables


def test_hostile_titles_stay_text(page: Page, open_site: Folders, served: str) -> None:
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    page.goto(served + "?ids=evil,gist")
    assert page.locator(".picked p").inner_text().startswith("<script>alert(1)</script>")
    assert page.locator("tr[data-id=evil] .pick input").get_attribute("aria-label") == (
        f"Select {open_site.hostile.replace(chr(0x202E), '')} for comparison"
    )
    page.get_by_role("searchbox").fill("<script>")
    assert shown(page) == ["evil"]
    page.goto(served + "?q=<img src=x onerror=alert(1)>&sort=<b>&ids=<i>")
    assert page.get_by_role("searchbox").input_value() == "<img src=x onerror=alert(1)>"


def test_a_thousand_rows_are_sorted_filtered_and_kept_right(page: Page, folders: Folders, tmp_path: Path) -> None:
    one, entries = folders.result("one", replicates=0), []
    for number in range(1000):
        name = f"method-{number:04}"
        score = {"micro_ap": 0.1 + 0.0007 * ((number * 377) % 1000)}
        parts = one.parts | {"all": one.parts["all"].model_copy(update=score)}
        changes = {"name": name, "parts": parts, "dimensions": 32 << (number % 8)}
        result = one.model_copy(update=changes)
        entries.append(Entry(result, folders.card(name), tmp_path, "0" * 64, name, private=True))
    shutil.copytree(resources.files("ndec_bench.site") / "static", tmp_path / "static")
    index = tmp_path / "index.html"
    index.write_text(next(pages(Site(tables(entries), entries, private=True)))[1], encoding="utf-8")
    page.goto(index.as_uri())
    assert page.locator(".tools output").inner_text() == "1000 rows"
    sort_by(page, "micro_ap")
    sort_by(page, "micro_ap")
    values = [float(value) for value in first_column(page, "micro_ap")]
    assert values == sorted(values)
    assert len(set(values)) == 1000
    page.locator("select[name=dims]").select_option("64")
    assert len(shown(page)) == 250
    page.get_by_role("searchbox").fill("method-01")
    expected = [f"method-{number:04}" for number in range(100, 200) if number % 8 < 2]
    assert sorted(shown(page)) == expected
    page.get_by_role("button", name="Reset").click()
    assert shown(page)[0] == "method-0687"  # 687 * 377 leaves 999, the most
