"""The summary of a check: Markdown for a comment on a pull request, and the same as data.

Names, titles and messages hold what strangers wrote. In the comment they are in code spans, where nothing is a link,
a mention, HTML or the end of a table cell.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ndec_bench.printable import one_line
from ndec_bench.submissions.check.changes import NEEDS_MAINTAINER, edits
from ndec_bench.submissions.policy import declared_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_bench.metrics.compare import Paired
    from ndec_bench.submissions.check.changes import Edit, Row
    from ndec_bench.submissions.check.check import Report
    from ndec_bench.submissions.check.repository import ResultFile
    from ndec_bench.submissions.check.standing import Change, Place

MOST_ROWS = 40
MOST_BYTES = 55_000
"""A comment may have 65,536 characters, and what is scored again follows below."""

_LIMITS = {"most_edits": 20, "most_problems": 60, "most_hints": 12, "long": 600}
_BIDI_CONTROLS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_TEMPLATE = Path(__file__).with_name("summary.md.j2")


def markdown(report: Report) -> str:
    """Return the summary of ``report`` as Markdown: rows that changed, their places and neighbours, and problems.

    What each row declares is with it. The same report gives the same text, of at most `MOST_BYTES`.
    """
    import jinja2

    # What goes into the text is made harmless by the filter "code", not by HTML's escapes.
    environment = jinja2.Environment(autoescape=False, trim_blocks=True, undefined=jinja2.StrictUndefined)  # noqa: S701
    environment.filters["code"] = code
    environment.globals |= {
        "headline": headline,
        "counted": _counted,
        "score": _score,
        "rank": _rank,
        "place": _place,
        "difference": _difference,
        "edited": _edited,
        "declared": _declared,
        **_LIMITS,
    }
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return _within(template.render(report=report, rows=(report.changes or ())[:MOST_ROWS]))


def change_content(change: Change) -> dict[str, Any]:
    """Return ``change`` as data for ``--json``."""
    row = change.row
    found = row.found or row.before
    result = found.result if found else None
    return {
        "name": row.name,
        "kind": row.kind,
        "title": row.card.card.method.title if row.card else None,
        "protocol": found.protocol if found else None,
        "split": result.split if result else None,
        "track": result.track if result else None,
        "micro_ap": _micro_ap(row.found),
        "micro_ap_before": _micro_ap(row.before),
        "level": change.level,
        "unranked": list(change.unranked),
        "place": asdict(change.place) if change.place else None,
        "waits": change.waits,
        "place_before": asdict(change.before) if change.before else None,
        "neighbours": [
            {
                "name": one.name,
                "above": one.above,
                "difference": one.paired.difference if one.paired else None,
                "interval": list(one.paired.interval) if one.paired else None,
                "overlap": one.overlap,
            }
            for one in change.neighbours
        ],
        "declared": {name: list(values) for name, values in _declared(row).items()},
        "edits": [asdict(edit) for edit in edits(row)],
        "url": row.url,
    }


def verdict(report: Report) -> str:
    """Return how many errors and warnings there are, in words, and first of all whether a maintainer is needed."""
    errors, warnings = len(report.errors), len(report.warnings)
    if not errors and not warnings:
        return "no problems"
    counts = f"{number(errors, 'error')}, {number(warnings, 'warning')}"
    return f"{NEEDS_MAINTAINER}; {counts}" if report.needs_maintainer else counts


def headline(report: Report) -> str:
    """Return the verdict with the gravest problem: what needs a maintainer, else the first error or warning."""
    gravest = [one for one in report.errors if one.message.startswith(NEEDS_MAINTAINER)]
    first = next(iter((*gravest, *report.errors, *report.warnings)), None)
    return verdict(report) if first is None else f"{verdict(report)}: {code(str(first), _LIMITS['long'])}"


def number(count: int, noun: str) -> str:
    """Return ``count`` with its noun, as in ``1 error`` and ``2 errors``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def code(text: str, most: int = 160) -> str:
    """Return ``text`` as a code span that also keeps inside a table cell, cut after ``most`` characters."""
    plain = one_line(_BIDI_CONTROLS.sub("", text)).replace("`", "'").replace("|", "¦")
    if len(plain) > most:
        plain = f"{plain[:most]}..."
    return f"`{plain or '-'}`"


def _within(text: str) -> str:
    """Return ``text`` without its last lines if it would be too long; a cut inside a code block closes it."""
    left, kept = MOST_BYTES, list[str]()
    for line in text.rstrip("\n").split("\n"):
        left -= len(line.encode(errors="replace")) + 1
        if left < 0:
            end = ["  ```"] if kept.count("  ```toml") > kept.count("  ```") else []
            kept += [*end, "", "The rest is not shown."]
            break
        kept.append(line)
    return "\n".join(kept) + "\n"


def _counted(changes: Sequence[Change]) -> str:
    counts = Counter(change.row.kind for change in changes)
    parts = [f"{counts[kind]} {kind}" for kind in ("new", "changed", "edited", "removed") if counts[kind]]
    return f"Rows: {', '.join(parts)}." if parts else "No row changes."


def _micro_ap(file: ResultFile | None) -> float | None:
    part = file.result.parts.get("all") if file else None
    return part.micro_ap if part else None


def _score(file: ResultFile | None) -> str:
    part = file.result.parts.get("all") if file else None
    if part is None:
        return "-"
    interval = part.micro_ap_interval
    shown = "" if interval is None else f" ({interval[0]:.4f} to {interval[1]:.4f})"
    return f"{part.micro_ap:.4f}{shown}"


def _rank(change: Change) -> str:
    if change.place is None:
        return f"not ranked: {', '.join(change.unranked)}" if change.unranked else "-"
    return f"{_place(change.place)} once verified" if change.waits else _place(change.place)


def _place(place: Place | None) -> str:
    if place is None:
        return "-"
    if place.best is None:
        return f"{place.rank} of {place.among}"
    return f"{place.rank} ({place.best} to {place.worst}) of {place.among}, group {place.group}"


def _difference(paired: Paired | None) -> str:
    if paired is None:
        return "-"
    low, high = paired.interval
    words = "differ" if paired.significant else "no significant difference"
    return f"{paired.difference:+.4f} ({low:+.4f} to {high:+.4f}): {words}"


def _declared(row: Row) -> dict[str, tuple[str, ...]]:
    return declared_values(row.card.card if row.card else None)


def _edited(changes: Sequence[Change]) -> list[tuple[str, list[Edit]]]:
    """Return the names of rows that were there before, with what changes in each."""
    found = [(change.row.name, edits(change.row)) for change in changes]
    return [(name, some) for name, some in found if some]
