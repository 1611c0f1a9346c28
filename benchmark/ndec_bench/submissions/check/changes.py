"""Changes of a pull request, against a checkout of the branch that it goes to."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ndec_bench.results.differences import FACTS, SCORES
from ndec_bench.submissions.check.repository import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pydantic import BaseModel

    from ndec_bench.results.record import Result
    from ndec_bench.submissions.card import Change, SubmissionCard
    from ndec_bench.submissions.check.repository import CardFile, Repository, ResultFile

NEEDS_MAINTAINER = "needs a maintainer"
_SAME = 1e-9
_LONGEST_LIST = 20
_MOST_NAMED = 4
_MAY_BE_ADDED = frozenset({"recall_at_precision"})
_MAY_FOLLOW = frozenset({"own_threshold", "protocols", "direction"})
"""What a result without it may be given later: it changes nothing that was said."""


@dataclass(frozen=True)
class Row:
    """A row of a table that a pull request adds or changes.

    Attributes
    ----------
    name
        Name of the submission.
    kind
        ``new``, ``changed`` (another list, file or split, or other scores), ``edited`` (the card or facts about the
        run) or ``removed``.
    found, before
        The result now and in the base; None where there is none.
    card, card_before
        The same of the card.
    """

    name: str
    kind: Literal["new", "changed", "edited", "removed"]
    found: ResultFile | None
    before: ResultFile | None
    card: CardFile | None
    card_before: CardFile | None

    @property
    def url(self) -> str | None:
        """Return the address from which the file can be fetched, if the card names one."""
        files = self.card.card.descriptors if self.card else None
        return files.url if files else None


@dataclass(frozen=True)
class Edit:
    """A field of a row that was there before, with its old and new value as text."""

    file: Literal["card", "result"]
    field: str
    before: str
    now: str


def edits(row: Row) -> list[Edit]:
    """Return what a pull request changes in the card and the result of a row that was there before.

    A verified row may be lost or won by a word of it. Of long lists, the length and a digest are shown.
    """
    found: list[Edit] = []
    if row.card_before is not None and row.card is not None:
        found += _differing("card", row.card_before.card, row.card.card)
    if row.before is not None and row.found is not None:
        found += _differing("result", row.before.result, row.found.result)
    return found


def _differing(file: Literal["card", "result"], before: BaseModel, now: BaseModel) -> Iterator[Edit]:
    old, new = (dict(_flat(one.model_dump(mode="json"))) for one in (before, now))
    for field in dict.fromkeys((*old, *new)):
        if old.get(field) != new.get(field):
            yield Edit(file, field, str(old.get(field, "")), str(new.get(field, "")))


def _flat(content: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, object]]:
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        elif isinstance(value, list) and len(value) > _LONGEST_LIST:
            digest = hashlib.sha256(json.dumps(value).encode()).hexdigest()
            yield f"{above}{key}", f"{len(value):,} values, {digest[:12]}"
        else:
            yield f"{above}{key}", value


def rows(repository: Repository, base: Repository) -> list[Row]:
    """Return the rows that differ between ``base`` and ``repository``, by protocol and name."""
    found = []
    for key in sorted({*repository.scored, *base.scored}):
        _, name = key
        now, before = repository.scored.get(key), base.scored.get(key)
        card, card_before = repository.cards.get(name), base.cards.get(name)
        if now is None:
            # One that is there but broken has its own problems.
            if before is not None and key not in repository.files:
                found.append(Row(name, "removed", None, before, card, card_before))
            continue
        texts = (now.text, card.text if card else "")
        if before is not None and texts == (before.text, card_before.text if card_before else ""):
            continue
        kind: Literal["new", "changed", "edited"] = "new"
        if before is not None:
            kind = "changed" if moved(before.result, now.result) else "edited"
        found.append(Row(name, kind, now, before, card, card_before))
    return found


def moved(before: Result, now: Result) -> bool:
    """Return whether the list, its file or split, or any score differs.

    Provenance, notes, what describing took, and further precisions are none of these.
    """
    if before.predictions_sha256 != now.predictions_sha256:
        return True
    old, new = _content(before), _content(now)
    return any(
        old.get(key) != value for key, value in new.items() if key not in _MAY_FOLLOW or old.get(key) is not None
    )


def problems_of_row(row: Row, repository: Repository, base: Repository, *, maintainer: bool) -> Iterator[Problem]:
    """Yield what a pull request may not do to a row."""
    if row.kind == "removed" and row.before is not None:
        path = repository.results / row.before.protocol / f"{row.name}.json"
        hint = "rows stay; if this one must not, ask the maintainers in an issue"
        yield Problem(str(path), None, "", "was removed", hint)
        return
    if row.card is None:
        return
    old = row.card_before.card if row.card_before else None
    yield from _history(row.card, old, [found.result for found in base.results_of(row.name)])
    if row.kind == "changed" and row.before is not None:
        yield from _unexplained(row, row.before.result, row.card)
    if not maintainer:
        yield from _unverified(row, row.card, old)
        yield from _edited(row, row.card)
        yield from _joined(row.card, old, base)


def _edited(row: Row, card: CardFile) -> Iterator[Problem]:
    """Yield where the row of somebody is edited: the authors may be the ones who do, and only people can tell."""
    found = edits(row)
    what = ""
    if found:
        named = ", ".join(edit.field for edit in found[:_MOST_NAMED]) + (", ..." if len(found) > _MOST_NAMED else "")
        what = f"edits a row that was there before ({named})"
    elif row.before is not None and row.card_before is None:
        what = "adds a card to a result that was there before"
    elif row.before is None and row.card_before is not None:
        what = "adds a result to a submission that was there before"
    if what:
        hint = "a maintainer compares old and new, then runs the check with --maintainer"
        yield card.problem((), f"{NEEDS_MAINTAINER}: it {what}", hint)


def _joined(card: CardFile, old: SubmissionCard | None, base: Repository) -> Iterator[Problem]:
    """Yield where a card joins the runs of a row that was there before, whose mean it would move."""
    runs_of = card.card.runs_of
    if runs_of is None or (old is not None and old.runs_of == runs_of):
        return
    others = [name for name, other in sorted(base.cards.items()) if name != card.name and other.card.runs_of == runs_of]
    if others:
        message = f"{NEEDS_MAINTAINER}: it joins the runs of {others[0]}, a row that was there before"
        yield card.problem(
            ("runs_of",), message, "a maintainer asks its authors, then runs the check with --maintainer"
        )


def _history(card: CardFile, old: SubmissionCard | None, results: Sequence[Result]) -> Iterator[Problem]:
    """Yield where the card tells another history of its row than that of the base."""
    known, told = old.changes if old else [], card.card.changes
    for place, change in enumerate(known):
        if place >= len(told) or told[place] != change:
            message = f"the entry of {change.date} was changed or removed"
            yield card.problem(("changes",), message, "put it back; new entries come after the old ones")
            return
    for place, change in enumerate(told[len(known) :], start=len(known)):
        if not any(_tells_of(change, result) for result in results):
            message = "tells of a result that this row did not have"
            yield card.problem(("changes", place), message, "take it out, or give the old values as they were")
        if place and change.date < told[place - 1].date:
            message = f"is {change.date}, the entry before it {told[place - 1].date}"
            yield card.problem(("changes", place, "date"), message, "give the day of the change")
    if old is not None and old.date is not None and (card.card.date is None or card.card.date < old.date):
        yield card.problem(("date",), f"is {card.card.date or 'missing'}, it was {old.date}", "leave the day as it was")


def _unverified(row: Row, card: CardFile, old: SubmissionCard | None) -> Iterator[Problem]:
    """Yield where a row would gain or lose the maintainers' word without them."""
    verified, before = card.card.verified, old.verified if old else None
    digest = row.found.result.predictions_sha256 if row.found else ""
    if verified is None and before is not None and before.predictions_sha256 != digest:
        return  # it was about another list
    if verified != before:
        taken = "put it back as it was" if before else "take it out"
        message = "is written by the maintainers" if verified else "was removed; it is the maintainers'"
        yield card.problem(("verified",), message, f"{taken}; they write it after their own check")
    elif verified and row.found and verified.predictions_sha256 == digest and _says_more(row.before, row.found):
        # The word holds for a list; the scores, the file and the protocol with it were others when it was given.
        message = f"is the list that [verified] is about, but this {row.kind} result of it was not verified"
        yield row.found.problem(("predictions_sha256",), message, "score again; if it stays, ask the maintainers")


def _says_more(before: ResultFile | None, now: ResultFile) -> bool:
    """Return whether a result says what it did not say, the conditions of its run apart."""
    apart = {"provenance", "notes", "signature"}
    return before is None or before.result.model_dump(exclude=apart) != now.result.model_dump(exclude=apart)


def _unexplained(row: Row, before: Result, card: CardFile) -> Iterator[Problem]:
    if "all" not in before.parts:
        return
    known = row.card_before.card.changes if row.card_before else []
    if any(_tells_of(change, before) for change in card.card.changes[len(known) :]):
        return
    entry = (
        "[[changes]]\n"
        'date = "YYYY-MM-DD"\n'
        'reason = "why the row changed"\n'
        f"old_micro_ap = {before.parts['all'].micro_ap!r}\n"
        f'old_predictions_sha256 = "{before.predictions_sha256}"'
    )
    key = ("changes",) if card.card.changes else ()
    message = "the result changed, and no new entry of [[changes]] has the old values; add at the end of the card"
    yield card.problem(key, message, entry)


def _tells_of(change: Change, result: Result) -> bool:
    part = result.parts.get("all")
    return (
        part is not None
        and abs(change.old_micro_ap - part.micro_ap) <= _SAME
        and change.old_predictions_sha256 == result.predictions_sha256
    )


def _content(result: Result) -> dict[str, Any]:
    content = result.model_dump(
        mode="json",
        include={*FACTS, *SCORES, "digests"},
    )
    content["parts"] = {
        name: {key: value for key, value in part.items() if key not in _MAY_BE_ADDED}
        for name, part in content["parts"].items()
    }
    return content
