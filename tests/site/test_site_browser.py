"""The site in Debian's Chromium, opened from disk and served, as a person would see it."""

from __future__ import annotations

import functools
import os
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Self

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Request
    from tests.site.conftest import Folders

    from ndec_bench.report import Result
    from ndec_bench.submission import SubmissionCard

pytestmark = pytest.mark.browser

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PAGES = {
    "home": "index.html",
    "mini": "ndec-mini/index.html",
    "splits": "splits/index.html",
    "split": "splits/disc21-final/index.html",
    "about": "about/index.html",
    "submission": "s/whitened-cnn/index.html",
    "mini submission": "s/random-features/index.html",
    "asymmetric": "s/scattering-net/index.html",
    "partial": "s/half-the-references/index.html",
    "matching": "s/cut-list/index.html",
    "hostile": "s/evil/index.html",
}
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing: apt-get install chromium, or name it in CHROMIUM")
        pytest.skip("Chromium is missing")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def site(
    full_site: Folders,
    make_folders: Callable[[Path], Folders],
    make_result: Callable[..., Result],
    make_card: Callable[..., SubmissionCard],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return the full site with a hostile row in it."""
    text = '<script>alert(1)</script>"\u202egnp.exe ' + "W" * 200
    folders = make_folders(tmp_path_factory.mktemp("hostile"))
    shutil.copytree(full_site.results, folders.results, dirs_exist_ok=True)
    shutil.copytree(full_site.submissions, folders.submissions, dirs_exist_ok=True)
    card = make_card("evil", title=text, description="D" * 3000, code_licence="L" * 300)
    folders.add(make_result("evil", 0.5, notes=[text, "N" * 10_000]), card)
    return folders.build()


@pytest.fixture(scope="module")
def served(site: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


class Opened:
    """A page with everything it asked for and complained about."""

    def __init__(self, browser: Browser, **settings: object) -> None:
        self.context = browser.new_context(**settings)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("requestfailed", self._failed)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _failed(self, request: Request) -> None:
        # A favicon still on its way when the next page is opened is no complaint.
        if request.failure != "net::ERR_ABORTED":
            self.complaints.append(f"{request.url}: {request.failure}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 360)])
def test_axe_finds_nothing(browser: Browser, served: str, scheme: str, width: int) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    # The page's own policy forbids scripts; axe is one, so the policy is lifted for this test alone.
    with Opened(browser, viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True) as opened:
        for name, path in PAGES.items():
            opened.page.goto(served + path)
            opened.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            found = axe.run(opened.page, options=RULES)
            assert found.violations_count == 0, f"{name}: {found.generate_report()}"


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_never_scrolls_sideways(browser: Browser, site: Path, width: int) -> None:
    with Opened(browser, viewport={"width": width, "height": 800}) as opened:
        for name, path in PAGES.items():
            opened.page.goto((site / path).as_uri())
            opened.page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            over = opened.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert over == 0, f"{name} at {width}"


def test_opened_from_disk_all_is_there_and_nothing_is_blocked(browser: Browser, site: Path) -> None:
    with Opened(browser) as opened:
        for path in PAGES.values():
            opened.page.goto((site / path).as_uri())
            assert opened.page.evaluate("getComputedStyle(document.querySelector('.skip')).position") == "absolute"
            assert opened.page.evaluate("document.querySelector('.brand img').naturalWidth") > 0
        assert opened.complaints == []
        assert all(url.startswith("file://") for url in opened.requests)


def test_served_it_asks_nobody_else(browser: Browser, served: str) -> None:
    with Opened(browser) as opened:
        for path in PAGES.values():
            opened.page.goto(served + path)
        assert opened.complaints == []
        assert all(url.startswith(served) for url in opened.requests)


def test_it_is_complete_without_scripts(browser: Browser, site: Path) -> None:
    with Opened(browser, java_script_enabled=False) as opened:
        opened.page.goto((site / "index.html").as_uri())
        opened.page.get_by_role("link", name="Whitened cnn", exact=True).click()
        assert opened.page.get_by_role("heading", level=1).inner_text() == "Whitened cnn"
        opened.page.get_by_role("link", name="Leaderboard", exact=True).click()
        assert opened.page.url.endswith("/index.html")


def test_wide_tables_scroll_in_a_region_that_the_keyboard_reaches(browser: Browser, site: Path) -> None:
    with Opened(browser, viewport={"width": 360, "height": 640}) as opened:
        opened.page.goto((site / "index.html").as_uri())
        opened.page.locator(".scroll").first.focus()
        for _ in range(8):
            opened.page.keyboard.press("ArrowRight")
        opened.page.wait_for_timeout(300)  # scrolling is smooth
        assert opened.page.evaluate("document.activeElement.scrollLeft") > 100
        left = opened.page.evaluate("document.activeElement.querySelector('tbody th').getBoundingClientRect().left")
        edge = opened.page.evaluate("document.activeElement.getBoundingClientRect().left")
        assert left == pytest.approx(edge, abs=1)  # the method stays in view


def test_the_head_of_a_long_table_stays_in_view(browser: Browser, site: Path) -> None:
    with Opened(browser, viewport={"width": 1280, "height": 500}) as opened:
        opened.page.goto((site / "index.html").as_uri())
        opened.page.evaluate("document.documentElement.style.scrollBehavior = 'auto'; window.scrollTo(0, 700)")
        assert opened.page.evaluate("document.querySelector('.ranked thead').getBoundingClientRect().top") == 0


def test_the_first_tab_offers_to_skip_to_the_content(browser: Browser, site: Path) -> None:
    with Opened(browser) as opened:
        opened.page.goto((site / "about/index.html").as_uri())
        opened.page.keyboard.press("Tab")
        assert opened.page.evaluate("document.activeElement.textContent") == "Skip to content"
        opened.page.keyboard.press("Enter")
        assert opened.page.evaluate("document.activeElement.id") == "main"


def test_it_prints(browser: Browser, site: Path) -> None:
    with Opened(browser) as opened:
        opened.page.goto((site / "index.html").as_uri())
        opened.page.emulate_media(media="print", color_scheme="dark")
        assert (
            opened.page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
        )
        assert not opened.page.get_by_role("navigation").is_visible()
        assert opened.page.evaluate("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
