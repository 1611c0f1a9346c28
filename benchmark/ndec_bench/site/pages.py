"""The pages of the site: which there are, and what each template is given."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

import jinja2

from ndec_bench import __version__
from ndec_bench.protocol import NDEC_1
from ndec_bench.site import charts, text
from ndec_bench.site.boards import KINDS, SplitTables, declared_order, kind_of, neighbours, tables
from ndec_bench.site.comparing import compare_rows, matrices
from ndec_bench.site.quoted import quoted_by_split, quoted_for
from ndec_bench.site.records import recorded_text
from ndec_bench.site.scatter import scatter_charts
from ndec_bench.submissions.card import Declarations
from ndec_bench.submissions.policy import LEVELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ndec_bench.site.scatter import ScatterChart
    from ndec_bench.submissions.entries import Entry
    from ndec_bench.submissions.ranking import Board, Row

NAVIGATION = (
    ("index.html", "Leaderboard"),
    ("disc21-final/index.html", "DISC21 final"),
    ("ndec-mini/index.html", "ndec-mini"),
    ("splits/index.html", "Other splits"),
    ("compare/index.html", "Compare"),
    ("submit/index.html", "Submit"),
    ("about/index.html", "About"),
)

DECLARED = (
    ("labels_used", "labels", "used", False),
    ("train_images", "images", "trained on", False),
    ("reference_images_in_training", "references", "trained on", True),
    ("ndec_pairs", "pairs", "of NDEC", True),
    ("background", "background", "set", True),
    ("external_data", "data", "external", True),
    ("query_independent", "pairs", "scored alone", True),
    ("selected_on", "selected", "on", True),
)
"""Columns of the declarations: field, label, its second line, and whether scripts leave it out at first."""

RELEASES = {"v1": NDEC_1.name}
"""Folder of each release and the protocol of its results."""


@dataclass(frozen=True)
class Site:
    """What the whole site shows.

    Attributes
    ----------
    tables
        Tables of every split, by name of the split.
    digest
        SHA-256 (hex) over the results and cards the site is made from.
    private
        Whether what nobody verified or declared ranks as well.
    """

    tables: Sequence[SplitTables]
    digest: str
    private: bool = False

    @classmethod
    def of(cls, entries: Sequence[Entry], digest: str, *, private: bool = False) -> Site:
        """Return the site of ``entries``. Raises DataError as `ndec_bench.site.boards.tables` does."""
        return cls(tables(entries), digest, private)

    def of_kind(self, kind: str) -> list[SplitTables]:
        """Return the tables of splits of one kind, see `ndec_bench.site.boards.kind_of`."""
        return [table for table in self.tables if table.kind == kind]

    def of_protocol(self, protocol: str) -> list[SplitTables]:
        """Return the tables of results under ``protocol``, NDEC first."""
        kept = [
            SplitTables(table.split, tuple(board for board in table.boards if board.protocol == protocol))
            for table in self.tables
        ]
        return sorted((table for table in kept if table.boards), key=lambda table: KINDS.index(table.kind))

    @property
    def frame(self) -> tuple[bool, ...]:
        """Return what every page shows of the whole site: the note on private ones, and a link to other splits."""
        return self.private, bool(self.of_kind("other"))

    @property
    def results(self) -> int:
        """Return the number of results."""
        return sum(table.results for table in self.tables)


@dataclass(frozen=True)
class Page:
    """A page that can be made.

    Attributes
    ----------
    path
        Where it stands inside the site.
    made_of
        Everything that it shows beside the templates and this program, as values that print the same when they are the
        same; None where that is the whole site.
    render
        Returns its HTML.
    """

    path: str
    made_of: object
    render: Callable[[], str]


def pages(site: Site) -> Iterator[Page]:
    """Yield every page, pages of submissions after those of tables."""
    made: dict[str, Sequence[ScatterChart]] = {}

    def charts_of(board: Board) -> Sequence[ScatterChart]:
        return made[board.key] if board.key in made else made.setdefault(board.key, scatter_charts(board))

    context: dict[str, Any] = {"site": site, "charts_of": charts_of}
    yield _page("index.html", "index.html.j2", context)
    yield _page("disc21-final/index.html", "final.html.j2", context)
    yield _page("ndec-mini/index.html", "mini.html.j2", context)
    yield _page("about/index.html", "about.html.j2", context, protocol=NDEC_1)
    yield _page("submit/index.html", "submit.html.j2", context, declarations=_declarations())
    yield _page("published/index.html", "published.html.j2", context, quoted=quoted_by_split())
    yield _page("data/index.html", "data.html.j2", context, protocol=NDEC_1.name)
    yield _page(
        "compare/index.html", "compare.html.j2", context, rows=compare_rows(site.tables), matrices=matrices(site.tables)
    )
    for folder, protocol in RELEASES.items():
        release = site.of_protocol(protocol)
        yield _page(f"{folder}/index.html", "release.html.j2", context, release=release, protocol=protocol)
    if site.of_kind("other"):
        yield _page("splits/index.html", "splits.html.j2", context)
    for table in site.of_kind("other"):
        yield _page(table.page, "split.html.j2", context, table=table)
    for table in site.tables:
        for board in table.boards:
            yield from _submission_pages(table, board, context)


def _submission_pages(table: SplitTables, board: Board, context: dict[str, Any]) -> Iterator[Page]:
    for row in board.rows:
        near = neighbours(board, row)
        beside = [
            (
                other.row.slug,
                other.row.title,
                other.row.standing.rank,
                other.row.result.parts["all"].micro_ap,
                other.paired,
            )
            for other in near
            if other.row.standing
        ]
        place = (context["site"].frame, row.slug, row.title, len(row.entries), _place(row), beside)
        if len(row.entries) > 1:
            runs = [(entry.sha256, _card_text(entry)) for entry in row.entries]
            yield _page(row.page, "runs.html.j2", context, (place, runs), table=table, row=row, neighbours=near)
            near = []
        for entry in row.entries:
            yield _submission_page(table, board, entry, context, (entry.sha256, _card_text(entry), place), row, near)
    for entry in board.apart:
        made_of = (context["site"].frame, entry.sha256, _card_text(entry))
        yield _submission_page(table, board, entry, context, made_of, None, [])


def _submission_page(
    table: SplitTables,
    board: Board,
    entry: Entry,
    context: dict[str, Any],
    made_of: object,
    row: Row | None,
    near: Sequence[object],
) -> Page:
    def context_of() -> dict[str, object]:
        parts = entry.result.parts
        return {
            "chart": charts.curve_chart(parts),
            "curve_rows": charts.curve_rows([part.pr_curve for part in parts.values()]),
            "recorded": recorded_text(entry.result),
        }

    return _page(
        entry.page,
        "submission.html.j2",
        context,
        made_of,
        context_of,
        table=table,
        board=board,
        entry=entry,
        result=entry.result,
        card=entry.card,
        row=row,
        neighbours=near,
    )


def _page(
    path: str,
    template: str,
    shared: dict[str, Any],
    made_of: object = None,
    late: Callable[[], dict[str, object]] = dict,
    **context: object,
) -> Page:
    """Return a page; ``late`` gives the context that is not worth making if the page is at hand already."""

    def render() -> str:
        return (
            _environment()
            .get_template(template)
            .render(here=path, link=_links(path), version=__version__, **shared, **context, **late())
        )

    return Page(path, made_of, render)


def _links(path: str) -> Callable[[str], str]:
    """Return what makes addresses inside the site relative to the page ``path``, so that disks serve as well."""
    folder = posixpath.dirname(path) or "."

    @cache
    def link(target: str) -> str:
        return posixpath.relpath(target, folder)

    return link


def _place(row: Row) -> tuple[object, ...]:
    standing = row.standing
    return () if standing is None else (standing.rank, standing.best, standing.worst, standing.group)


def _card_text(entry: Entry) -> str:
    return entry.card.model_dump_json() if entry.card else ""


def _declarations() -> list[tuple[str, list[str], str]]:
    """Return name, values and meaning of each declaration, from the schema of the card."""
    properties = Declarations.model_json_schema()["properties"]
    found = [(name, prop.get("enum") or prop.get("items", {}).get("enum"), prop) for name, prop in properties.items()]
    return [(name, values, prop["description"]) for name, values, prop in found if values]


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ndec_bench.site"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )
    environment.filters.update(text.FILTERS)
    environment.globals.update(
        bar=charts.bar,
        share_scale=charts.share_scale,
        kind_of=kind_of,
        declared_order=declared_order,
        quoted_for=quoted_for,
        DECLARATIONS=[(name, meaning) for name, _, meaning in _declarations()],
        DECLARED=DECLARED,
        LEVELS=LEVELS,
        NAVIGATION=NAVIGATION,
    )
    return environment
