"""From folders to a folder: read results and cards, write the site."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ndec_bench.progress import silent
from ndec_bench.site.entries import read_entries
from ndec_bench.site.output import check_replaceable, copy_tree, replacing_folder, write_page
from ndec_bench.site.pages import Site, pages
from ndec_bench.site.records import results_csv, results_json, schema_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_bench.progress import Progress
    from ndec_bench.site.entries import Entry

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
    """

    index: Path
    results: int
    pages: tuple[str, ...]


def build(results: Path, out: Path, *, submissions: Path | None = None, progress: Progress = silent) -> SiteReport:
    """Return a report of the site built in the folder ``out`` from results and submission cards.

    Parameters
    ----------
    results
        Folder; every ``**/*.json`` in it must be a result (`ndec_bench.report.Result`).
    out
        Folder of the site. It is written beside its place and moved there when complete; a folder that exists is
        replaced only if it is empty or a site.
    submissions
        Folder of ``<name>/submission.toml``. A result without a card is shown, marked "no card".
    progress
        Told of results read and pages written.

    Raises
    ------
    DataError
        If a folder is missing, a file is no result, two results share a name, or ``out`` holds something else.
    SubmissionError
        If a card breaks its schema or has another name than its folder.
    """
    check_replaceable(out.resolve())
    entries = read_entries(results, submissions, progress)
    site = Site.of(entries, _digest(entries))
    written = []
    with replacing_folder(out) as folder:
        copy_tree(_STATIC, folder / "static")
        total = len(entries)
        for path, html in pages(site):
            write_page(folder, path, html)
            written.append(path)
            progress("writing pages", min(len(written), total), total)
        _write_data(folder, site, entries)
    return SiteReport(index=out / "index.html", results=total, pages=tuple(sorted(written)))


def _write_data(folder: Path, site: Site, entries: Sequence[Entry]) -> None:
    write_page(folder, "data/v1/results.json", results_json(site.tables))
    write_page(folder, "data/v1/results.csv", results_csv(site.tables))
    write_page(folder, "data/v1/schema.json", schema_json())
    for entry in entries:
        write_page(folder, f"data/v1/results/{entry.slug}.json", entry.source.read_bytes())


def _digest(entries: Sequence[Entry]) -> str:
    """Return the SHA-256 (hex) over name, result file and card of every entry."""
    cards = [entry.card.model_dump_json() if entry.card else "" for entry in entries]
    lines = [f"{entry.slug} {entry.sha256} {card}\n" for entry, card in zip(entries, cards, strict=True)]
    return hashlib.sha256("".join(lines).encode("utf-8")).hexdigest()
