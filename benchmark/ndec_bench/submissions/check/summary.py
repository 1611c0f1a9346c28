"""The summary of a check: Markdown for a comment on a pull request, and the same as data.

Names, titles and messages hold what strangers wrote. In the comment they stand in code spans, where nothing is a link,
a mention, HTML or the end of a table cell.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from ndec_bench.submissions.policy import declared_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ndec_bench.results.record import Result
    from ndec_bench.submissions.check.check import Report
    from ndec_bench.submissions.check.problem import Problem
    from ndec_bench.submissions.check.standing import Change, Neighbour, Place

MOST_ROWS = 40
MOST_PROBLEMS = 60
MOST_BYTES = 55_000
"""A comment may have 65,536 characters, and what is scored again stands below."""

MOST_EDITS = 20
_MOST_HINT_LINES = 12
_LONG = 600
_BIDI_CONTROLS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def markdown(report: Report) -> str:
    """Return the summary of ``report`` as Markdown: rows that changed, their places and neighbours, and problems.

    What each row declares stands with it. The same report gives the same text.
    """
    lines = [f"## Submissions: {_verdict(report)}", ""]
    if report.changes is not None:
        lines += [_counted(report.changes), ""]
        shown = report.changes[:MOST_ROWS]
        if shown:
            lines += [*_rows(shown), ""]
        if len(report.changes) > len(shown):
            lines += [f"{len(report.changes) - len(shown)} more rows are not shown.", ""]
        for change in shown:
            if change.row.kind != "removed":
                lines += [*_details(change), ""]
    for title, problems in (("Errors", report.errors), ("Warnings", report.warnings)):
        if problems:
            lines += [f"### {title}", "", *_listed(problems), ""]
    return _within(lines)


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
        "micro_ap": _micro_ap(row.found.result) if row.found else None,
        "micro_ap_before": _micro_ap(row.before.result) if row.before else None,
        "level": change.level,
        "unranked": list(change.unranked),
        "place": _place_content(change.place),
        "waits": change.waits,
        "place_before": _place_content(change.before),
        "neighbours": [_neighbour_content(one) for one in change.neighbours],
        "declared": {name: list(values) for name, values in _declared(change).items()},
        "url": row.url,
    }


def code(text: str, most: int = 160) -> str:
    """Return ``text`` as a code span that also keeps inside a table cell, cut behind ``most`` characters."""
    plain = "".join(one if one.isprintable() else " " for one in _BIDI_CONTROLS.sub("", text))
    plain = " ".join(plain.replace("`", "'").replace("|", "¦").split())
    if len(plain) > most:
        plain = f"{plain[:most]}..."
    return f"`{plain or '-'}`"


def _within(lines: Sequence[str]) -> str:
    """Return ``lines`` as one text, without the last ones if it would be too long: a cut inside one opens its code."""
    left, kept = MOST_BYTES, list[str]()
    for line in "\n".join(lines).rstrip("\n").split("\n"):
        left -= len(line.encode(errors="replace")) + 1
        if left < 0:
            end = ["  ```"] if kept.count("  ```toml") > kept.count("  ```") else []
            kept += [*end, "", "The rest is not shown."]
            break
        kept.append(line)
    return "\n".join(kept) + "\n"


def _verdict(report: Report) -> str:
    errors, warnings = len(report.errors), len(report.warnings)
    if not errors and not warnings:
        return "no problems"
    return f"{_number(errors, 'error')}, {_number(warnings, 'warning')}"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _counted(changes: Sequence[Change]) -> str:
    counts = Counter(change.row.kind for change in changes)
    parts = [f"{counts[kind]} {kind}" for kind in ("new", "changed", "edited", "removed") if counts[kind]]
    return f"Rows: {', '.join(parts)}." if parts else "No row changes."


def _rows(changes: Sequence[Change]) -> Iterator[str]:
    yield "| Row | | Method | Table | µAP (95 % interval) | Level | Rank | Rank before |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for change in changes:
        row = change.row
        found = row.found or row.before
        title = row.card.card.method.title if row.card else ""
        table = f"{found.result.split}, {found.result.track}, {found.protocol}" if found else ""
        cells = (
            code(row.name),
            row.kind,
            code(title),
            code(table),
            _score(row.found.result) if row.found else "-",
            change.level or "-",
            _rank(change),
            _place(change.before),
        )
        yield f"| {' | '.join(cells)} |"


def _score(result: Result) -> str:
    part = result.parts.get("all")
    if part is None:
        return "-"
    interval = part.micro_ap_interval
    shown = "" if interval is None else f" ({interval[0]:.4f} to {interval[1]:.4f})"
    return f"{part.micro_ap:.4f}{shown}"


def _rank(change: Change) -> str:
    if change.place is None:
        return f"not ranked: {', '.join(change.unranked)}" if change.unranked else "-"
    place = _place(change.place)
    return f"{place} once verified" if change.waits else place


def _place(place: Place | None) -> str:
    if place is None:
        return "-"
    if place.best is None:
        return f"{place.rank} of {place.among}"
    return f"{place.rank} ({place.best} to {place.worst}) of {place.among}, group {place.group}"


def _details(change: Change) -> Iterator[str]:
    yield f"### {code(change.row.name)}"
    yield ""
    before = change.row.before
    if before is not None and change.row.kind == "changed" and change.row.found is not None:
        yield f"µAP was {_score(before.result)} and is {_score(change.row.found.result)}."
        yield ""
    if change.neighbours:
        yield "| Neighbour | | µAP minus the neighbour's (95 % interval) | Intervals of µAP |"
        yield "| --- | --- | --- | --- |"
        yield from map(_neighbour, change.neighbours)
        yield ""
    if change.row.kind != "new":
        yield from _edited(change)
    declared = "; ".join(f"{name.replace('_', ' ')}: {', '.join(values)}" for name, values in _declared(change).items())
    yield f"Declared: {declared}."
    details = change.row.card.card.declarations.details if change.row.card else ""
    if details:
        yield ""
        yield code(details, _LONG)
    yield ""
    yield (
        f"File: {code(change.row.url)}." if change.row.url else "File: no public address, so nobody can score it again."
    )


def _edited(change: Change) -> Iterator[str]:
    """Yield what of the card is another than before: a verified row may be lost or won by a word of it."""
    before, now = (
        {} if file is None else dict(_flat(file.card.model_dump(mode="json")))
        for file in (change.row.card_before, change.row.card)
    )
    differing = [key for key in dict.fromkeys((*before, *now)) if before.get(key) != now.get(key)]
    for key in differing[:MOST_EDITS]:
        yield f"- {code(key)}: was {code(str(before.get(key, '')))}, is {code(str(now.get(key, '')))}"
    if len(differing) > MOST_EDITS:
        yield f"- and {len(differing) - MOST_EDITS:,} more"
    if differing:
        yield ""


def _flat(content: dict[str, Any]) -> Iterator[tuple[str, object]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", one) for inner, one in value.items())
        else:
            yield key, value


def _neighbour(one: Neighbour) -> str:
    if one.paired is None:
        difference = "-"
    else:
        low, high = one.paired.interval
        verdict = "differ" if one.paired.significant else "no significant difference"
        difference = f"{one.paired.difference:+.4f} ({low:+.4f} to {high:+.4f}): {verdict}"
    overlap = {True: "overlap", False: "apart", None: "-"}[one.overlap]
    return f"| {code(one.name)} | {'above' if one.above else 'below'} | {difference} | {overlap} |"


def _declared(change: Change) -> dict[str, tuple[str, ...]]:
    return declared_values(change.row.card.card if change.row.card else None)


def _listed(problems: Sequence[Problem]) -> Iterator[str]:
    for problem in problems[:MOST_PROBLEMS]:
        lines = (problem.hint or "").splitlines()[:_MOST_HINT_LINES]
        yield f"- {code(str(problem), _LONG)}" + (f": {code(lines[0], _LONG)}" if len(lines) == 1 else "")
        if len(lines) > 1:
            yield from ("", "  ```toml", *(f"  {line.replace('`', chr(39))}" for line in lines), "  ```", "")
    if len(problems) > MOST_PROBLEMS:
        yield f"- and {len(problems) - MOST_PROBLEMS:,} more"


def _micro_ap(result: Result) -> float | None:
    part = result.parts.get("all")
    return part.micro_ap if part else None


def _place_content(place: Place | None) -> dict[str, Any] | None:
    if place is None:
        return None
    return {
        "rank": place.rank,
        "best": place.best,
        "worst": place.worst,
        "group": place.group,
        "among": place.among,
    }


def _neighbour_content(one: Neighbour) -> dict[str, Any]:
    return {
        "name": one.name,
        "above": one.above,
        "difference": one.paired.difference if one.paired else None,
        "interval": list(one.paired.interval) if one.paired else None,
        "overlap": one.overlap,
    }
