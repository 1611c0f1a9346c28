"""From folders to a folder: read results and cards, write the site; what has not changed comes from the last build."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ndec_bench.errors import DataError
from ndec_bench.progress import silent
from ndec_bench.site.comparing import replicates_js
from ndec_bench.site.exports import card_schema_json, feed_atom, results_bib, results_tex
from ndec_bench.site.output import MANIFEST, Output, check_replaceable, replacing_folder, resolved
from ndec_bench.site.pages import Site, pages
from ndec_bench.site.records import results_csv, results_json, schema_json
from ndec_bench.submissions.entries import read_entries

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_bench.progress import Progress
    from ndec_bench.submissions.entries import Entry

_LIBRARIES = ("jinja2", "markupsafe", "numpy", "pydantic", "pydantic-core")
_STATIC = Path(__file__).parent / "static"


@dataclass(frozen=True)
class SiteReport:
    """What was built.

    Attributes
    ----------
    index
        The home page.
    results
        Number of results shown.
    pages
        Paths of all pages inside the site, sorted.
    rebuilt
        Number of pages that were made anew; the others were taken from the last build.
    """

    index: Path
    results: int
    pages: tuple[str, ...]
    rebuilt: int


def build(
    results: Path,
    out: Path,
    *,
    submissions: Path | None = None,
    private: bool = False,
    url: str | None = None,
    progress: Progress = silent,
) -> SiteReport:
    """Return a report of the site built in the folder ``out`` from results and submission cards.

    Parameters
    ----------
    results
        Folder; every ``**/*.json`` in it must be a result (`ndec_bench.results.record.Result`).
    out
        Folder of the site. It is written beside its place and moved there when complete; a folder that exists is
        replaced only if it is empty or a site. Pages of submissions that show nothing new keep their file.
    submissions
        Folder of ``<name>/submission.toml``. A result without a card is shown, marked "no card".
    private
        Rank also what nobody verified or declared, and say so on every page: for a site of one's own results.
    url
        Address at which the site will stand, for the links of the feed; they are relative without it.
    progress
        Told of results read and pages written.

    Raises
    ------
    DataError
        If a folder is missing or lies in ``out``, a file is no result, two results share a name, runs of one method
        differ in more than their seed, or ``out`` holds something else.
    SubmissionError
        If a card breaks its schema or has another name than its folder.
    """
    target = resolved(out)
    check_replaceable(target)
    for folder in (results, submissions):
        if folder is not None and resolved(folder).is_relative_to(target):
            raise DataError(
                f"{folder}: lies in the folder of the site, {out}, which is replaced as a whole",
                hint="build into a folder of its own",
            )
    entries = read_entries(results, submissions, progress, private=private)
    site = Site.of(entries, _digest(entries), private=private)
    program = program_digest()
    written, rebuilt = [], 0
    with replacing_folder(out) as folder:
        output = Output(folder, target)
        output.copy_tree(_STATIC, "static")
        for page in pages(site):
            key = None if page.made_of is None else _key(program, page.path, page.made_of)
            rebuilt += output.write(page.path, page.render, key=key)
            written.append(page.path)
            progress("writing pages", min(len(written), len(entries)), len(entries))
        _write_data(output, site, entries, url, program)
        output.write(MANIFEST, output.manifest)
    return SiteReport(out / "index.html", len(entries), tuple(sorted(written)), rebuilt)


def program_digest() -> str:
    """Return the SHA-256 (hex) over the templates, the code and the libraries that pages are made by."""
    package = Path(__file__).parents[1]
    files = sorted(path for path in package.rglob("*") if path.suffix in (".py", ".j2", ".toml") and path.is_file())
    made_by = [f"{name} {version(name)}" for name in _LIBRARIES]
    digest = hashlib.sha256("\n".join([sys.version, *made_by, ""]).encode())
    for path in files:
        digest.update(
            f"{path.relative_to(package).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode()
        )
    return digest.hexdigest()


def _write_data(output: Output, site: Site, entries: Sequence[Entry], url: str | None, program: str) -> None:
    output.write("data/v1/results.json", lambda: results_json(site.tables))
    output.write("data/v1/results.csv", lambda: results_csv(site.tables))
    output.write("data/v1/results.tex", lambda: results_tex(site.tables))
    output.write("data/v1/results.bib", lambda: results_bib(entries))
    output.write("data/v1/schema.json", schema_json)
    output.write("data/v1/submission.schema.json", card_schema_json)
    output.write("feed.atom", lambda: feed_atom(site.tables, url))
    for entry in entries:
        output.write(f"data/v1/results/{entry.slug}.json", entry.source.read_bytes, key=entry.sha256)
    for row in (row for table in site.tables for board in table.boards for row in (*board.rows, *board.unranked)):
        path = f"data/v1/replicates/{row.slug}.js"
        runs = [entry.sha256 for entry in row.entries]
        output.write(path, partial(replicates_js, row), key=_key(program, path, runs))


def _key(program: str, path: str, made_of: object) -> str:
    return hashlib.sha256(f"{program}\n{path}\n{made_of!r}".encode("utf-8", "surrogatepass")).hexdigest()


def _digest(entries: Sequence[Entry]) -> str:
    """Return the SHA-256 (hex) over name, result file and card of every entry."""
    cards = [entry.card.model_dump_json() if entry.card else "" for entry in entries]
    lines = [f"{entry.slug} {entry.sha256} {card}\n" for entry, card in zip(entries, cards, strict=True)]
    return hashlib.sha256("".join(lines).encode("utf-8")).hexdigest()
