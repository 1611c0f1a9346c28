"""The files for papers and programs: JSON, CSV, Parquet, LaTeX, Markdown, BibTeX and an Atom feed."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

from ndec_bench import __version__
from ndec_bench.printable import one_line
from ndec_bench.results import citation
from ndec_bench.results.record import result_schema
from ndec_bench.site import text
from ndec_bench.site.boards import kind_of
from ndec_bench.submissions.card import SubmissionCard
from ndec_bench.submissions.entries import slug_of
from ndec_bench.submissions.leaderboard import results_frame, rows_frame, standings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

    from ndec_bench.results.record import Result
    from ndec_bench.site.boards import SplitTables
    from ndec_bench.submissions.entries import Entry
    from ndec_bench.submissions.ranking import Board, Row

DATA_VERSION = 1
FEED = "feed.atom"
FEED_ENTRIES = 50
TAG = "tag:ndec-bench,2026:"
"""Begins the identifiers of the feed, which never change (RFC 4151); the address of the site may."""
NEVER = "1970-01-01"

_NONE = "–"
_TEX_HEADS = {"µAP": r"$\mu$AP"}
# What pdfTeX prints without further packages; citation.tex has the rest of ASCII.
_SIGNS = {
    '"': "''",
    "µ": r"$\mu$",
    "μ": r"$\mu$",
    "–": "--",
    "—": "---",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "…": r"{\ldots}",
    "×": r"$\times$",
    "±": r"$\pm$",
    "−": "$-$",
    "→": r"$\rightarrow$",
    "\u2010": "-",
    "\u2011": "-",
    "ß": r"{\ss}",
    "æ": r"{\ae}",
    "Æ": r"{\AE}",
    "œ": r"{\oe}",
    "Œ": r"{\OE}",
    "ø": r"{\o}",
    "Ø": r"{\O}",
    "ł": r"{\l}",
    "Ł": r"{\L}",
    "ı": r"{\i}",
}
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}
_HEADER = r"""% Results by ndec-bench {version}, one table per split, track and protocol; needs \usepackage{{booktabs}}.
% SHA-256 over the names and files of all results: {digest}
%
% Rank: interval of places, 1 + rows significantly better to n - rows significantly worse; space parts tie groups.
% mAP (printed with a mu): micro average precision with its 95 per cent bootstrap interval over queries.
% R@P90: highest recall at a precision of 0.90 or more; -- where it is never reached.
% ISC, "w/o hard" on ndec-mini: micro average precision without the hard negatives.
% Cost: what hard negatives take from it when the share of queries without a match is held equal.
% Hit: hard negatives with a false alarm at the threshold that has 90 per cent precision without them.
% Dim, Bytes: dimensions and bytes of a reference's descriptor.  --: not recorded, or not defined.
%
% Cite the data, the tool and each method that you name: their entries are in results.bib, under the keys
% {keys}, ndecbench and method:NAME. Name the protocol. "ndec-bench cite RESULT.json"
% writes the sentence for the methods section.
"""


def data_files(
    tables: Sequence[SplitTables], entries: Sequence[Entry], url: str | None
) -> Iterator[tuple[str, str | bytes]]:
    """Yield path and content of every file for programs, apart from those of single results."""
    found = [board for table in tables for board in table.boards]
    frame = results_frame(found)
    yield "data/v1/results.json", results_json(found)
    yield "data/v1/results.csv", results_csv(frame)
    yield "data/v1/results.parquet", frame.to_parquet(index=False)
    yield "data/v1/results.tex", results_tex(found)
    yield "data/v1/results.md", results_markdown(found)
    yield "data/v1/results.bib", results_bib(entries)
    yield "data/v1/schema.json", _json(result_schema())
    yield "data/v1/submission.schema.json", _json(SubmissionCard.model_json_schema())
    yield FEED, feed_atom(found, url)


def results_json(found: Sequence[Board]) -> str:
    """Return ``data/v1/results.json``: every result, its card and its place, each list sorted by name.

    Results follow ``schema.json``. The replicates are left out; they are in ``data/v1/results/<name>.json``. Under
    ``rows`` are the rows of several seeds, with their mean and spread. One record per line.
    """
    entries = sorted((entry for board in found for entry in board.entries), key=lambda entry: entry.result.name)
    lists = {
        "results": [_without_replicates(entry.result) for entry in entries],
        "standings": standings(found),
        "submissions": [
            card.model_dump(mode="json") for card in {e.result.name: e.card for e in entries}.values() if card
        ],
        "rows": sorted(_rows_of_runs(found), key=lambda row: str(row["row"])),
    }
    # The C encoder takes no indent, and a thousand results are 30 MB.
    texts = [f'"{name}": [{_lines_of(records)}]' for name, records in lists.items()]
    return f'{{"schema_version": {DATA_VERSION},\n' + ",\n".join(texts) + "}\n"


def results_csv(frame: pd.DataFrame) -> str:
    """Return ``data/v1/results.csv``: one line per result, sorted by split, track, protocol and rank.

    Numbers are unrounded; an empty cell is a value that is not known or not reached. Text that a spreadsheet would
    take for a formula starts with an apostrophe.
    """
    shown = frame.copy()
    for name in frame.columns:
        if frame[name].dtype == "boolean":
            shown[name] = frame[name].map({True: "true", False: "false"})
        elif frame[name].dtype == "string":
            shown[name] = frame[name].str.replace(r"^(?=[=+\-@\t])", "'", regex=True)
    return shown.to_csv(index=False, lineterminator="\n")


def results_tex(found: Sequence[Board]) -> str:
    """Return ``data/v1/results.tex``: the ranked rows of every board as a ``tabular`` for LaTeX with booktabs.

    The text is ASCII. A title with a sign that pdfTeX would not print as it comes is replaced by the name of the
    submission.
    """
    keys = f"{citation.NDEC.key}, {citation.DISC21.key}"
    lines = sorted(f"{entry.slug} {entry.sha256}\n" for board in found for entry in board.entries)
    digest = hashlib.sha256("".join(lines).encode("utf-8")).hexdigest()
    header = _HEADER.format(version=one_line(__version__), digest=digest, keys=keys)
    body = "\n".join(_tabular(board) for board in found if board.rows) or "% No row ranks yet.\n"
    return f"{header}\n{body}"


def results_markdown(found: Sequence[Board]) -> str:
    """Return ``data/v1/results.md``: the ranked rows of every board as a table in Markdown, as in ``results.tex``."""
    body = "\n".join(_markdown_table(board) for board in found if board.rows) or "No row ranks yet.\n"
    return f"# Results by ndec-bench {__version__}\n\n{body}"


def results_bib(entries: Sequence[Entry]) -> str:
    """Return ``data/v1/results.bib``: BibTeX entries of the data, the tool, and every submission with a card.

    The year is that of the card's date; the note holds the signature of the result, of several that under ndec-1.
    """
    tool = {
        "author": f"{{{citation.TOOL_AUTHORS}}}",
        "title": citation.TOOL_TITLE,
        "note": f"Version {citation.tex(__version__)}",
    }
    found = [citation.NDEC, citation.DISC21, citation.Entry("misc", "ndecbench", tool)]
    first: dict[str, Entry] = {}
    for entry in entries:
        first.setdefault(entry.result.name, entry)
    found += [_method(entry, entry.card) for entry in first.values() if entry.card]
    return "\n\n".join(map(str, found)) + "\n"


def feed_atom(found: Sequence[Board], base_url: str | None = None) -> str:
    """Return ``feed.atom`` (RFC 4287): the 50 newest results by the date of their card, then by name.

    Results without a date are left out. Addresses are relative to the root of the site where ``base_url``, its own
    address, is not given.
    """
    dated = [
        (entry.card.date, entry.result.name, entry, board)
        for board in found
        for entry in board.entries
        if entry.card and entry.card.date
    ]
    newest = sorted(sorted(dated, key=lambda found: found[1]), key=lambda found: found[0], reverse=True)[:FEED_ENTRIES]
    root = ET.Element("feed", {"xmlns": "http://www.w3.org/2005/Atom", "xml:lang": "en"})
    _add(root, "id", f"{TAG}results")
    _add(root, "title", "ndec-bench: new results")
    _add(root, "updated", _instant(newest[0][0] if newest else NEVER))
    _add(_add(root, "author"), "name", citation.TOOL_AUTHORS)
    _add(root, "generator", "ndec-bench", version=__version__)
    _add(root, "link", rel="alternate", type="text/html", href=_address(base_url, "index.html"))
    if base_url is not None:
        _add(root, "link", rel="self", type="application/atom+xml", href=_address(base_url, FEED))
    for date, _, entry, board in newest:
        _feed_entry(root, date, entry, board, base_url)
    ET.indent(root, " ")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


# --- JSON ---


def _json(schema: dict[str, Any]) -> str:
    return json.dumps(schema, ensure_ascii=False, indent=1) + "\n"


def _without_replicates(result: Result) -> dict[str, Any]:
    content = result.model_dump(mode="json")
    for part in content["parts"].values():
        part["replicates"] = None
    return content


def _lines_of(records: Sequence[dict[str, Any]]) -> str:
    return ",".join("\n" + json.dumps(record, ensure_ascii=False, allow_nan=False) for record in records)


def _rows_of_runs(found: Sequence[Board]) -> list[dict[str, Any]]:
    return [
        {
            "row": row.slug,
            "title": row.title,
            "runs": [entry.result.name for entry in row.entries],
            "micro_ap": row.result.parts["all"].micro_ap,
            "micro_ap_interval": row.result.parts["all"].micro_ap_interval,
            "recall_at_p90": row.result.parts["all"].recall_at_p90,
            "micro_ap_deviation": row.spread.deviation,
            "micro_ap_range": [row.spread.low, row.spread.high],
        }
        for board in found
        for row in board.rows
        if row.spread is not None
    ]


# --- Tables for papers ---


def _tabular(board: Board) -> str:
    heads = [_TEX_HEADS.get(head, head) for head in _heads(board)]
    everything = board.sample.parts["all"]
    facts = f"{everything.queries:,} queries, {everything.positives:,} true pairs, {board.references:,} references"
    lines = [
        f"% {_comment(board.title)}, {board.track} track, protocol {_comment(board.protocol)}: {facts};",
        f"% SHA-256 of the split {board.edition}",
        rf"\begin{{tabular}}{{ll{'r' * (len(heads) - 2)}}}",
        r"\toprule",
        " & ".join(heads) + r" \\",
        r"\midrule",
    ]
    for number, (row, (rank, score, *others)) in enumerate(zip(board.rows, _cells(board), strict=True)):
        if row.starts_group and number:
            lines.append(r"\addlinespace")
        micro_ap, _, interval = score.partition(" ")
        shown = _tex_cell(micro_ap) + (rf" {{\footnotesize {interval}}}" if interval else "")
        cells = [_tex_cell(rank), _tex_name(row), shown, *map(_tex_cell, others)]
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _markdown_table(board: Board) -> str:
    heads = _heads(board)
    lines = [heads, ["---", "---", *["---:"] * (len(heads) - 2)]]
    lines += [
        [rank, _markdown(_name(row, one_line(row.title) or row.slug)), *others]
        for row, (rank, *others) in zip(board.rows, _cells(board), strict=True)
    ]
    title = _markdown(f"{board.title}, {board.track} track, protocol {board.protocol}")
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"## {title}\n\nSHA-256 of the split: {board.edition}\n\n{table}\n"


def _heads(board: Board) -> list[str]:
    isc = "w/o hard" if kind_of(board.split) == "mini" else "ISC"
    hard = [isc, "Cost", "Hit"] if board.has_hard_negatives else []
    return ["Rank", "Method", "µAP", "R@P90", *hard, "Dim", "Bytes"]


def _cells(board: Board) -> list[list[str]]:
    """Return what the ranked rows show next to their method: rank, µAP with its interval, and the other figures."""
    table = rows_frame([board])
    table = table[table["ranked"]]
    places = zip(table["rank"], table["rank_best"].fillna(0), table["rank_worst"].fillna(0), strict=True)
    ranks = [str(best or rank) if best == worst else f"{best}–{worst}" for rank, best, worst in places]
    bounds = zip(table["micro_ap_low"], table["micro_ap_high"], table["micro_ap_low"].notna(), strict=True)
    intervals = [f" [{low:.3f}, {high:.3f}]" if known else "" for low, high, known in bounds]
    columns = [ranks, [f"{score:.3f}{interval}" for score, interval in zip(table["micro_ap"], intervals, strict=True)]]
    columns.append(_shown(table["recall_at_p90"], "{:.3f}"))
    if board.has_hard_negatives:
        columns += [_shown(table[name], "{:.3f}") for name in ("micro_ap_isc", "hard_negative_cost")]
        columns.append(_shown(100 * table["hard_negatives_hit"], "{:.1f} %"))
    columns += [_shown(table[name], "{:,}") for name in ("dimensions", "bytes_per_reference")]
    return [list(row) for row in zip(*columns, strict=True)]


def _shown(values: pd.Series, form: str) -> list[str]:
    return [form.format(value) if known else _NONE for value, known in zip(values, values.notna(), strict=True)]


def _name(row: Row, name: str) -> str:
    return name if len(row.entries) == 1 else f"{name} ({len(row.entries)} runs)"


def _markdown(words: str) -> str:
    """Return ``words`` as Markdown that shows them: nothing is a link, HTML or the end of a cell."""
    return re.sub(r"([\\`*_{}\[\]<>#|~$&!:@])", r"\\\1", one_line(words))


def _tex_cell(cell: str) -> str:
    for sign, written in (("–", "--"), (",", "{,}"), (" %", r"\,\%")):
        cell = cell.replace(sign, written)
    return f"${cell}$" if re.match(r"-\d", cell) else cell


def _tex_name(row: Row) -> str:
    title = _tex(row.title)
    return _name(row, citation.tex(slug_of(row.slug)) if title is None else title)


def _tex(title: str) -> str | None:
    """Return ``title`` as TeX in ASCII; None if it has a sign that plain pdfTeX does not print."""
    signs = []
    for sign in unicodedata.normalize("NFC", one_line(title)):
        written = _SIGNS.get(sign) or (citation.tex(sign) or sign if sign.isascii() else _accented(sign))
        if written is None:
            return None
        signs.append(written)
    return "".join(signs) or None


def _accented(sign: str) -> str | None:
    parts = unicodedata.normalize("NFD", sign)
    letter, accent = parts[0], _ACCENTS.get(parts[1:])
    if accent is None or not (letter.isascii() and letter.isalpha()):
        return None
    bare = {"i": r"\i", "j": r"\j"}.get(letter, letter)
    return rf"{{\{accent}{{{bare}}}}}"


def _comment(words: str) -> str:
    """Return ``words`` for a comment: on one line, in ASCII."""
    return one_line(words).encode("ascii", "replace").decode("ascii")


# --- BibTeX ---


def _method(entry: Entry, card: SubmissionCard) -> citation.Entry:
    given = citation.method_entry(card)
    fields = {"author": given.fields["author"], "title": given.fields["title"]}
    if card.date is not None:
        fields["year"] = card.date[:4]
    code = given.fields.get("note")
    paper = given.fields.get("url")
    if paper is not None or code is not None:
        fields["howpublished"] = rf"\url{{{paper}}}" if paper is not None else str(code)
    notes = [f"Scored as {citation.tex(entry.result.signature)}"]
    if card.seed is not None:
        notes.insert(0, f"Seed {card.seed}")
    if paper is not None and code is not None:
        notes.insert(0, code)
    fields["note"] = ". ".join(notes)
    return citation.Entry(given.kind, given.key, fields)


# --- Atom ---


def _feed_entry(root: ET.Element, date: str, entry: Entry, board: Board, base_url: str | None) -> None:
    score = entry.result.parts["all"]
    run = f", run {entry.seed}" if entry.family and entry.seed >= 0 else ""
    title = f"{entry.title}{run}: µAP {text.score(score.micro_ap)} on {board.title}, {board.track} track"
    element = _add(root, "entry")
    _add(element, "id", f"{TAG}result/{entry.slug}")
    _add(element, "title", title)
    _add(element, "published", _instant(date))
    _add(element, "updated", _instant(date))
    for author in entry.card.authors if entry.card else ():
        _add(_add(element, "author"), "name", author)
    _add(element, "link", rel="alternate", type="text/html", href=_address(base_url, entry.page))
    _add(element, "summary", " ".join(_sentences(entry, board)), type="text")


def _sentences(entry: Entry, board: Board) -> Iterator[str]:
    score = entry.result.parts["all"]
    within = f" (95 % interval {text.interval(score.micro_ap_interval)})" if score.micro_ap_interval else ""
    recall = (
        "never 90 % precision" if score.recall_at_p90 is None else f"recall {text.score(score.recall_at_p90)} at P90"
    )
    yield f"µAP {text.score(score.micro_ap)}{within}, {recall}, protocol {board.protocol}."
    yield f"Verified level: {entry.level}."
    if not entry.ranks:
        yield f"Not ranked: {', '.join(entry.reasons)}."


def _add(parent: ET.Element, name: str, words: str | None = None, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, name, attributes)
    # XML takes no control characters, and submitters wrote some of these words.
    element.text = None if words is None else one_line(words)
    return element


def _instant(date: str) -> str:
    return f"{date}T00:00:00Z"


def _address(base_url: str | None, path: str) -> str:
    return path if base_url is None else f"{base_url.rstrip('/')}/{path}"
