"""Take the pictures of README.md and the documentation: python .ci/picture.py SITE docs/img."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from playwright.sync_api import Browser

WIDTH = 1280
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


@dataclass(frozen=True)
class View:
    """One picture: a page of the site as far down as ``height``, or the first element that ``selector`` finds."""

    name: str
    page: str
    height: int = 900
    scheme: Literal["light", "dark"] = "light"
    selector: str | None = None


VIEWS = (
    View("site", "index.html", 1180),
    View("site-dark", "index.html", 1180, "dark"),
    View("charts", "index.html", selector="section:has(> .scatters)"),
    View("submission", "s/mini-scattering/index.html", 1220),
    View("compare", "compare/index.html?ids=mini-scattering,mini-mobilenetv2-whitened,mini-phash", 1500),
)


def main(site: Path, folder: Path) -> None:
    """Write a picture of each view of ``site`` into ``folder``."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        sys.exit("Chromium is missing: apt install chromium, or name it in CHROMIUM.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for view in VIEWS:
            take(browser, view, site, folder / f"{view.name}.png")
        browser.close()


def take(browser: Browser, view: View, site: Path, picture: Path) -> None:
    """Write the picture of ``view``."""
    page = browser.new_page(viewport={"width": WIDTH, "height": view.height}, color_scheme=view.scheme)
    path, _, query = view.page.partition("?")
    address = (site / path).resolve().as_uri()
    page.goto(f"{address}?{query}" if query else address)
    page.wait_for_load_state("networkidle")
    if view.selector is None:
        page.screenshot(path=picture)
    else:
        page.locator(view.selector).first.screenshot(path=picture)
    page.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
