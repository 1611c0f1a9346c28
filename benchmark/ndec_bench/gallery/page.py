"""The page as HTML: one file that asks for nothing and runs nothing."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2
from markupsafe import Markup

from ndec_bench import __version__
from ndec_bench.printable import without_overrides
from ndec_bench.search import NO_RULE
from ndec_bench.site import text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ndec_bench.gallery.sections import Gallery, Side
    from ndec_bench.gallery.thumbnails import Thumbnail

_TEMPLATES = Path(__file__).parent / "templates"


def render(gallery: Gallery, thumbnails: Mapping[tuple[Side, str], Thumbnail | None]) -> str:
    """Return the page of ``gallery`` with its pictures; the same input gives the same text."""
    # The policy admits this one style by its digest, and pictures by their data: whatever else is in the page is inert.
    style = (_TEMPLATES / "gallery.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode("utf-8")).digest()).decode("ascii")
    return (
        _environment()
        .get_template("gallery.html.j2")
        .render(
            gallery=gallery,
            first=gallery.results[0],
            thumbnails=thumbnails,
            style=Markup(style),  # noqa: S704 -- our own file
            policy=f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
            "base-uri 'none'; form-action 'none'",
            rule=None if gallery.results[0].asymmetric == NO_RULE else gallery.results[0].asymmetric,
            version=__version__,
        )
    )


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(count=text.count, score=text.score, threshold=text.threshold, plain=without_overrides)
    return environment
