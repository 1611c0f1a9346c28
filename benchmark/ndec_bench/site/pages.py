"""The pages of the site: which there are, and what each template is given."""

from __future__ import annotations

import hashlib
import json
import posixpath
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import jinja2

from ndec_bench import __version__
from ndec_bench.protocol import NDEC_1
from ndec_bench.site import charts, text
from ndec_bench.site.boards import KINDS, SplitTables, declared_order, kind_of, neighbours
from ndec_bench.site.comparing import compare_rows, matrices
from ndec_bench.site.quoted import quoted_by_split, quoted_for
from ndec_bench.site.scatter import scatter_charts
from ndec_bench.submissions.card import Declarations
from ndec_bench.submissions.policy import LEVELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ndec_bench.site.boards import Neighbour
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

LONG_LIST = 8


@dataclass(frozen=True)
class Site:
    """What the whole site shows.

    Attributes
    ----------
    tables
        Tables of every split, by name of the split.
    entries
        The results in them, by name.
    private
        Whether what nobody verified or declared ranks as well.
    """

    tables: Sequence[SplitTables]
    entries: Sequence[Entry]
    private: bool = False

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
    def rows(self) -> list[Row]:
        """Return the rows of all tables, ranked ones of a table first."""
        boards = (board for table in self.tables for board in table.boards)
        return [row for board in boards for row in (*board.rows, *board.unranked)]

    @property
    def results(self) -> int:
        """Return the number of results."""
        return len(self.entries)

    @cached_property
    def digest(self) -> str:
        """Return the SHA-256 (hex) over name, result file and card of every entry."""
        lines = (
            f"{entry.slug} {entry.sha256} {entry.card.model_dump_json() if entry.card else ''}\n"
            for entry in self.entries
        )
        return hashlib.sha256("".join(lines).encode("utf-8")).hexdigest()


def pages(site: Site) -> Iterator[tuple[str, str]]:
    """Yield path and HTML of every page, pages of submissions after those of tables."""
    made: dict[str, list[ScatterChart]] = {}

    def charts_of(board: Board) -> list[ScatterChart]:
        if board.key not in made:
            made[board.key] = scatter_charts(board)
        return made[board.key]

    def page(path: str, template: str, **context: object) -> tuple[str, str]:
        shown = _environment().get_template(template)
        html = shown.render(
            here=path, link=_links(path), version=__version__, site=site, charts_of=charts_of, **context
        )
        return path, html

    yield page("index.html", "index.html.j2")
    yield page("disc21-final/index.html", "final.html.j2")
    yield page("ndec-mini/index.html", "mini.html.j2")
    yield page("about/index.html", "about.html.j2", protocol=NDEC_1)
    yield page("submit/index.html", "submit.html.j2", declarations=_declarations())
    yield page("published/index.html", "published.html.j2", quoted=quoted_by_split())
    yield page("data/index.html", "data.html.j2", protocol=NDEC_1.name)
    yield page("compare/index.html", "compare.html.j2", rows=compare_rows(site.tables), matrices=matrices(site.tables))
    for folder, protocol in RELEASES.items():
        release = site.of_protocol(protocol)
        yield page(f"{folder}/index.html", "release.html.j2", release=release, protocol=protocol)
    if site.of_kind("other"):
        yield page("splits/index.html", "splits.html.j2")
    for table in site.of_kind("other"):
        yield page(table.page, "split.html.j2", table=table)
    for table in site.tables:
        for board in table.boards:
            for row in board.rows:
                near = neighbours(board, row)
                if len(row.entries) > 1:
                    yield page(row.page, "runs.html.j2", table=table, row=row, neighbours=near)
                    near = []
                for entry in row.entries:
                    yield page(entry.page, "submission.html.j2", **_submission(table, board, entry, row, near))
            for entry in board.apart:
                yield page(entry.page, "submission.html.j2", **_submission(table, board, entry, None, []))


def _submission(
    table: SplitTables, board: Board, entry: Entry, row: Row | None, near: Sequence[Neighbour]
) -> dict[str, object]:
    """Return what the page of a submission is given; ``row`` is None where it does not rank."""
    parts = entry.result.parts
    return {
        "table": table,
        "board": board,
        "entry": entry,
        "result": entry.result,
        "card": entry.card,
        "row": row,
        "neighbours": near,
        "chart": charts.curve_chart(parts),
        "curve_rows": charts.curve_rows([part.pr_curve for part in parts.values()]),
        "recorded": "".join(f"{name}: {value}\n" for name, value in fields(entry.result.model_dump(mode="json"))),
    }


def fields(record: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted name, value as one line of text) of every field of a record; long lists as their length.

    They are shown as one text and not as a table: a result has some four hundred fields, and a thousand pages of them
    take their time.
    """
    for key, value in record.items():
        name = f"{above}{key}"
        if isinstance(value, dict) and value:
            yield from fields(value, f"{name}.")
        elif isinstance(value, list) and len(value) > LONG_LIST:
            yield name, f"{len(value):,} values, in the JSON file"
        elif isinstance(value, str) and value.isprintable():
            yield name, value
        elif type(value) in (int, float):
            yield name, repr(value)  # as in JSON, at a fifth of its price
        else:
            yield name, json.dumps(value, ensure_ascii=False)


def _links(path: str) -> Callable[[str], str]:
    """Return what makes addresses inside the site relative to the page ``path``, so that disks serve as well."""
    folder = posixpath.dirname(path) or "."

    @cache
    def link(target: str) -> str:
        return posixpath.relpath(target, folder)

    return link


def _declarations() -> list[tuple[str, list[str], str]]:
    """Return name, values and meaning of each declaration, from the schema of the card."""
    properties = Declarations.model_json_schema()["properties"]
    found = [(name, prop.get("enum") or prop.get("items", {}).get("enum"), prop) for name, prop in properties.items()]
    return [(name, values, prop["description"]) for name, values, prop in found if values]


@cache
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
