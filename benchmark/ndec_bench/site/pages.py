"""The pages of the site: which there are, and what each template is given."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import jinja2

from ndec_bench import __version__
from ndec_bench.protocol import NDEC_1
from ndec_bench.site import charts, text
from ndec_bench.site.boards import kind_of, neighbours, tables
from ndec_bench.site.records import fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ndec_bench.site.boards import Board, SplitTables
    from ndec_bench.site.entries import Entry


@dataclass(frozen=True)
class Site:
    """What the whole site shows.

    Attributes
    ----------
    tables
        Tables of every split, by name of the split.
    digest
        SHA-256 (hex) over the results and cards the site is made from.
    """

    tables: Sequence[SplitTables]
    digest: str

    @classmethod
    def of(cls, entries: Sequence[Entry], digest: str) -> Site:
        """Return the site of ``entries``. Raises DataError as `ndec_bench.site.boards.tables` does."""
        return cls(tables(entries), digest)

    def of_kind(self, kind: str) -> list[SplitTables]:
        """Return the tables of NDEC ("ndec"), of the embedded benchmarks ("mini") or of the others ("other")."""
        return [table for table in self.tables if table.kind == kind]

    @property
    def results(self) -> int:
        """Return the number of results."""
        return sum(table.results for table in self.tables)


def pages(site: Site) -> Iterator[tuple[str, str]]:
    """Yield (path inside the site, HTML) of every page."""
    yield _render(site, "index.html", "index.html.j2")
    yield _render(site, "ndec-mini/index.html", "mini.html.j2")
    yield _render(site, "about/index.html", "about.html.j2", protocol=NDEC_1)
    if site.of_kind("other"):
        yield _render(site, "splits/index.html", "splits.html.j2")
    for table in site.of_kind("other"):
        yield _render(site, table.page, "split.html.j2", table=table)
    for table in site.tables:
        for board in table.boards:
            for entry in board.entries:
                yield _submission_page(site, table, board, entry)


def _submission_page(site: Site, table: SplitTables, board: Board, entry: Entry) -> tuple[str, str]:
    parts = entry.result.parts
    recorded = entry.result.model_dump(mode="json")
    return _render(
        site,
        entry.page,
        "submission.html.j2",
        table=table,
        board=board,
        entry=entry,
        result=entry.result,
        card=entry.card,
        row=next((row for row in board.rows if row.entry is entry), None),
        neighbours=neighbours(board, entry),
        chart=charts.curve_chart(parts),
        curve_rows=charts.curve_rows([part.pr_curve for part in parts.values()]),
        recorded=list(fields(recorded)),
    )


def _render(site: Site, path: str, template: str, **context: object) -> tuple[str, str]:
    """Return ``path`` and the page; ``link`` in a template makes an address relative, so that disks serve as well."""
    folder = posixpath.dirname(path)

    def link(target: str) -> str:
        return posixpath.relpath(target, folder or ".")

    html = _environment().get_template(template).render(site=site, here=path, link=link, version=__version__, **context)
    return path, html


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ndec_bench.site"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(text.FILTERS)
    environment.globals.update(bar=charts.bar, share_scale=charts.share_scale, kind_of=kind_of)
    return environment
