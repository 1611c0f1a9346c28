"""The leaderboard as a folder, made from folders of results and submission cards."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ndec_bench.errors import DataError
from ndec_bench.progress import silent
from ndec_bench.site.boards import tables
from ndec_bench.site.comparing import replicates_js
from ndec_bench.site.exports import data_files
from ndec_bench.site.output import check_replaceable, replacing_folder, resolved
from ndec_bench.site.pages import Site, pages
from ndec_bench.submissions.entries import read_entries
from ndec_bench.submissions.ranking import fitting

if TYPE_CHECKING:
    from ndec_bench.errors import NdecBenchError
    from ndec_bench.progress import Progress

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
    left_out
        Why files were left out, each named: what is no result or card, or does not fit its row.
    """

    index: Path
    results: int
    pages: tuple[str, ...]
    left_out: tuple[str, ...] = ()


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
        Folder; every ``**/*.json`` in it should be a result (`ndec_bench.results.record.Result`). One that is none, or
        cannot be shown, is left out and named in the report: one bad row never keeps the others from their page.
    out
        Folder of the site. It is built next to its place and moved there when complete; a folder that exists is
        replaced only if it is empty or a site. Files in it that no build wrote are kept.
    submissions
        Folder of ``<name>/submission.toml``. A result without a card is shown, marked "no card".
    private
        Rank also what nobody verified or declared, and say so on every page: for a site of one's own results.
    url
        Address of the site, for the links of the feed; they are relative without it.
    progress
        Called with the number of results read and of pages written.

    Raises
    ------
    DataError
        If a folder is missing or lies in ``out``, or ``out`` holds something else.
    """
    target = resolved(out)
    check_replaceable(target)
    for folder in (results, submissions):
        if folder is not None and resolved(folder).is_relative_to(target):
            raise DataError(
                f"{folder}: lies in the folder of the site, {out}, which is replaced as a whole",
                hint="build into a folder of its own",
            )
    refused: list[NdecBenchError] = []
    found = read_entries(results, submissions, progress, private=private, refuse=refused.append)
    entries = fitting(found, refused.append)
    site = Site(tables(entries), entries, private)
    written = []
    with replacing_folder(out) as folder:
        shutil.copytree(_STATIC, folder / "static", copy_function=shutil.copyfile)
        for path, html in pages(site):
            _write(folder / path, html)
            written.append(path)
            progress("writing pages", min(len(written), len(entries)), len(entries))
        for path, content in data_files(site.tables, entries, url):
            _write(folder / path, content)
        for row in site.rows:
            _write(folder / f"data/v1/replicates/{row.slug}.js", replicates_js(row))
        for entry in entries:
            _write(folder / f"data/v1/results/{entry.slug}.json", entry.source.read_bytes())
    return SiteReport(out / "index.html", len(entries), tuple(sorted(written)), tuple(map(str, refused)))


def _write(path: Path, content: str | bytes) -> None:
    """Write a file and its folders; text is UTF-8 with LF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
