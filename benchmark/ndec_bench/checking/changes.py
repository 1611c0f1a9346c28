"""What a pull request changes, against a checkout of the branch that it goes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ndec_bench.checking.problem import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ndec_bench.checking.reading import CardFile, Repository, ResultFile
    from ndec_bench.report import Result

_SAME = 1e-9
_MAY_BE_ADDED = frozenset({"recall_at_precision"})


@dataclass(frozen=True)
class Row:
    """A row of a table that a pull request adds or changes.

    Attributes
    ----------
    name
        Name of the submission.
    kind
        ``new``, ``changed`` (another list or other scores), ``edited`` (the card or facts about the run) or
        ``removed``.
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
    """Return whether the list of pairs or any score differs; provenance, notes and further precisions are no scores."""
    if before.predictions_sha256 != now.predictions_sha256:
        return True
    return any(_content(before)[key] != value for key, value in _content(now).items())


def problems_of_row(row: Row, repository: Repository, *, maintainer: bool) -> Iterator[Problem]:
    """Yield what a pull request may not do to a row."""
    if row.kind == "removed" and row.before is not None:
        path = repository.results / row.before.protocol / f"{row.name}.json"
        hint = "rows stay; if this one must not, ask the maintainers in an issue"
        yield Problem(str(path), None, "", "was removed", hint)
        return
    if row.card is None:
        return
    old = row.card_before.card if row.card_before else None
    if old is not None:
        lost = [change for change in old.changes if change not in row.card.card.changes]
        for change in lost:
            yield row.card.problem(("changes",), f"the entry of {change.date} was changed or removed", "put it back")
    if row.kind == "changed" and row.before is not None:
        yield from _unexplained(row, row.before.result, row.card)
    verified = row.card.card.verified
    if verified is not None and verified != (old.verified if old else None) and not maintainer:
        yield row.card.problem(
            ("verified",), "is written by the maintainers", "take it out; they write it after their own check"
        )


def _unexplained(row: Row, before: Result, card: CardFile) -> Iterator[Problem]:
    if "all" not in before.parts:
        return
    value, digest = before.parts["all"].micro_ap, before.predictions_sha256
    known = row.card_before.card.changes if row.card_before else []
    added = [change for change in card.card.changes if change not in known]
    if any(abs(one.old_micro_ap - value) <= _SAME and one.old_predictions_sha256 == digest for one in added):
        return
    entry = (
        "[[changes]]\n"
        'date = "YYYY-MM-DD"\n'
        'reason = "why the row changed"\n'
        f"old_micro_ap = {value!r}\n"
        f'old_predictions_sha256 = "{digest}"'
    )
    key = ("changes",) if card.card.changes else ()
    message = "the result changed, and no new entry of [[changes]] has the old values; add at the end of the card"
    yield card.problem(key, message, entry)


def _content(result: Result) -> dict[str, Any]:
    content = result.model_dump(
        mode="json",
        include={
            "split",
            "protocol",
            "track",
            "metric",
            "asymmetric",
            "partial",
            "truncated",
            "query_independent",
            "missing_references",
            "dimensions",
            "stored_dtype",
            "parts",
            "hard_negatives",
        },
    )
    content["parts"] = {
        name: {key: value for key, value in part.items() if key not in _MAY_BE_ADDED}
        for name, part in content["parts"].items()
    }
    return content
