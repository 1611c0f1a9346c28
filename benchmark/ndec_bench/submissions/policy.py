"""Rules of ranking and levels of verification. The page "How to submit" says the same.

Levels, strongest first: *re-described* (the maintainers ran the method on images again), *re-scored* (the descriptors
or pairs are public and give the same list of pairs), *reported* (nobody but the submitters checked), *quoted* (read in
a paper, `ndec_bench.results.published`). Only the first two rank.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ndec_bench.submissions.card import Declarations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_bench.results.record import Result
    from ndec_bench.submissions.card import SubmissionCard

Level = Literal["re-described", "re-scored", "reported", "quoted"]
LEVELS: tuple[Level, ...] = ("re-described", "re-scored", "reported", "quoted")
RANKING: frozenset[Level] = frozenset({"re-described", "re-scored"})

NEVER_LABELS = {"dev2": "dev II", "ndec": "NDEC"}
"""Ground truth that no ranked method may have seen, on any split."""

OWN_LABELS = {
    "disc21-dev1": {"dev1"},
    "disc21-dev": {"dev1", "dev2"},
    "disc21-dev2": {"dev2"},
    "disc21-final": {"final"},
    "ndec": {"dev2", "ndec"},
}
"""Ground truth of a split itself, by its name."""


def level_of(result: Result, card: SubmissionCard | None) -> Level:
    """Return how far ``result`` is verified: as its card says if the check gave this very list of pairs."""
    verified = card.verified if card else None
    if verified is None or verified.predictions_sha256 != result.predictions_sha256:
        return "reported"
    return verified.level


def never_ranks(result: Result, card: SubmissionCard | None) -> list[str]:
    """Return why ``result`` may not rank whoever checked it, in few words each; empty if nothing is against it."""
    reasons = []
    if result.partial:
        reasons.append("references missing")
    if result.truncated:
        reasons.append("list cut")
    declared = card.declarations if card else None
    if not result.query_independent or (declared and declared.query_independent == "no"):
        reasons.append("sees other queries")
    if declared:
        reasons += _seen(result.split, declared)
    return reasons


def undeclared(card: SubmissionCard | None) -> list[str]:
    """Return the names of declarations that are unknown; all of them without a card."""
    return [name for name, values in declared_values(card).items() if "unknown" in values]


def why_unranked(result: Result, card: SubmissionCard | None, *, private: bool = False) -> list[str]:
    """Return why ``result`` does not rank, in few words each; empty if it ranks.

    What is unknown does not rank, so that it is never above an honest "yes". ``private`` ranks what nobody
    verified or declared, for a site that its builder alone answers for.
    """
    reasons = never_ranks(result, card)
    if private:
        return reasons
    if card is None:
        return [*reasons, "no card"]
    unknown = undeclared(card)
    if unknown:
        reasons.append(f"not declared: {', '.join(unknown)}")
    if level_of(result, card) not in RANKING:
        reasons.append("not verified")
    return reasons


def declared_values(card: SubmissionCard | None) -> dict[str, tuple[str, ...]]:
    """Return the values of each declaration by its name, in the order of the schema; unknown without a card."""
    declared = card.declarations if card else Declarations()
    content = declared.model_dump(exclude={"details"})
    return {name: (value,) if isinstance(value, str) else tuple(value) for name, value in content.items()}


def _seen(split: str, declared: Declarations) -> list[str]:
    reasons = []
    used, selected = set(declared.labels_used), set(declared.selected_on)
    never = {*NEVER_LABELS, *OWN_LABELS.get(split, set())}
    trained = sorted(used & never)
    if trained:
        reasons.append(f"trained on labels of {_names(trained)}")
    if "hand" in used:
        reasons.append("test images labelled by hand")
    tuned = sorted(selected & never)
    if tuned:
        reasons.append(f"selected on {_names(tuned)}")
    if "ndec-queries" in declared.train_images:
        reasons.append("trained on NDEC queries")
    return reasons


def _names(labels: Sequence[str]) -> str:
    names = {**NEVER_LABELS, "dev1": "dev I", "final": "DISC21 final"}
    return " and ".join(names[label] for label in labels)
