"""The tables for papers and programs: LaTeX, BibTeX, an Atom feed, and the JSON Schema of a card."""

from __future__ import annotations

import hashlib
import json
import unicodedata
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

from ndec_bench import __version__
from ndec_bench.results import citation
from ndec_bench.site import text
from ndec_bench.site.boards import kind_of
from ndec_bench.submissions.card import SubmissionCard
from ndec_bench.submissions.entries import slug_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ndec_bench.results.record import PartScore
    from ndec_bench.site.boards import SplitTables
    from ndec_bench.submissions.entries import Entry
    from ndec_bench.submissions.ranking import Board, Row

FEED = "feed.atom"
FEED_ENTRIES = 50
TAG = "tag:ndec-bench,2026:"
"""Begins the identifiers of the feed, which never change (RFC 4151); the address of the site may."""
NEVER = "1970-01-01"

_NONE = "--"
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


def results_tex(tables: Sequence[SplitTables]) -> str:
    """Return ``data/v1/results.tex``: the ranked rows of every board as a ``tabular`` for LaTeX with booktabs.

    The text is ASCII. A title with a sign that pdfTeX would not print as it comes is replaced by the name of the
    submission.
    """
    boards = [board for table in tables for board in table.boards if board.rows]
    keys = f"{citation.NDEC.key}, {citation.DISC21.key}"
    header = _HEADER.format(version=citation.plain(__version__), digest=_digest(tables), keys=keys)
    body = "\n".join(_tabular(board) for board in boards) if boards else "% No row ranks yet.\n"
    return f"{header}\n{body}"


def results_bib(entries: Sequence[Entry]) -> str:
    """Return ``data/v1/results.bib``: BibTeX entries of the data, the tool, and every submission with a card.

    The year is that of the card's date; the note holds the signature of the result.
    """
    tool = {
        "author": f"{{{citation.TOOL_AUTHORS}}}",
        "title": citation.TOOL_TITLE,
        "note": f"Version {citation.tex(__version__)}",
    }
    found = [citation.NDEC, citation.DISC21, citation.Entry("misc", "ndecbench", tool)]
    found += [_method(entry, entry.card) for entry in entries if entry.card]
    return "\n\n".join(map(str, found)) + "\n"


def feed_atom(tables: Sequence[SplitTables], base_url: str | None = None) -> str:
    """Return ``feed.atom`` (RFC 4287): the 50 newest results by the date of their card, then by name.

    Results without a date are left out. Addresses are relative to the root of the site where ``base_url``, its own
    address, is not given.
    """
    dated = [
        (entry.card.date, entry.result.name, entry, board)
        for table in tables
        for board in table.boards
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


def card_schema_json() -> str:
    """Return ``data/v1/submission.schema.json``, the JSON Schema of ``submission.toml``."""
    return json.dumps(SubmissionCard.model_json_schema(), ensure_ascii=False, indent=1) + "\n"


# --- LaTeX ---


def _digest(tables: Sequence[SplitTables]) -> str:
    entries = (entry for table in tables for board in table.boards for entry in board.entries)
    lines = sorted(f"{entry.slug} {entry.sha256}\n" for entry in entries)
    return hashlib.sha256("".join(lines).encode("utf-8")).hexdigest()


def _tabular(board: Board) -> str:
    hard = board.has_hard_negatives
    isc = r"w/o hard" if kind_of(board.split) == "mini" else "ISC"
    heads = ["Rank", "Method", r"$\mu$AP", "R@P90", *([isc, "Cost", "Hit"] if hard else []), "Dim", "Bytes"]
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
    for number, row in enumerate(board.rows):
        if row.starts_group and number:
            lines.append(r"\addlinespace")
        lines.append(" & ".join(_cells(row, hard)) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _cells(row: Row, hard: bool) -> list[str]:
    everything, isc = row.result.parts["all"], row.result.parts.get("isc")
    cells = [_rank(row), _method_name(row), _with_interval(everything), _number(everything.recall_at_p90)]
    if hard:
        account = row.result.hard_negatives
        hit = account.at_p90_isc.hard_negatives_hit.rate if account and account.at_p90_isc else None
        cells += [
            _number(isc.micro_ap if isc else None),
            _number(account.cost if account else None),
            _NONE if hit is None else rf"{100 * hit:.1f}\,\%",
        ]
    return [*cells, _whole(row.result.dimensions), _whole(row.result.bytes_per_reference)]


def _rank(row: Row) -> str:
    standing = row.standing
    if standing is None:
        return _NONE
    if standing.best is None or standing.best == standing.worst:
        return str(standing.best or standing.rank)
    return f"{standing.best}--{standing.worst}"


def _method_name(row: Row) -> str:
    title = _tex(row.title)
    name = citation.tex(slug_of(row.slug)) if title is None else title
    return name if len(row.entries) == 1 else f"{name} ({len(row.entries)} runs)"


def _tex(title: str) -> str | None:
    """Return ``title`` as TeX in ASCII; None if it has a sign that plain pdfTeX does not print."""
    signs = []
    for sign in unicodedata.normalize("NFC", citation.plain(title)):
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
    return citation.plain(words).encode("ascii", "replace").decode("ascii")


def _with_interval(part: PartScore) -> str:
    if part.micro_ap_interval is None:
        return _number(part.micro_ap)
    low, high = part.micro_ap_interval
    return rf"{_number(part.micro_ap)} {{\footnotesize [{_number(low)}, {_number(high)}]}}"


def _number(value: float | None) -> str:
    if value is None:
        return _NONE
    shown = f"{value:.3f}"
    return f"${shown}$" if shown.startswith("-") else shown


def _whole(value: int | None) -> str:
    return _NONE if value is None else f"{value:,}".replace(",", "{,}")


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
    element.text = None if words is None else citation.plain(words)
    return element


def _instant(date: str) -> str:
    return f"{date}T00:00:00Z"


def _address(base_url: str | None, path: str) -> str:
    return path if base_url is None else f"{base_url.rstrip('/')}/{path}"
