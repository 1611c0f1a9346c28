"""Published results on NDEC and DISC21, and which of them compare with a result under the same rules.

The rows are in ``published.toml``, each with what is known of the rules behind it. A number
means little without its rules (list, normalisation, labels), so a row says ``unknown`` where its source is silent.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ndec_bench.data.known import KNOWN, REFERENCES
from ndec_bench.protocol import PROTOCOLS
from ndec_bench.results.record import Signature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_bench.results.record import ListScores, PartScore, Result

TABLE = Path(__file__).with_name("published.toml")

MEASURES = ("micro_ap", "recall_at_p90", "recall_at_1", "recall_at_10")

# Half of DISC21 dev, but the source does not say which.
UNNAMED_HALF = "disc21-phase1-half"
# The known matches of dev I alone, 4,991 queries and 4,991 references (facebookresearch/isc2021 list_files/subset_1_*).
SUBSET_1 = "subset_1"

Printed = Annotated[str, Field(pattern=r"^[0-9]{1,2}\.[0-9]{1,5}$")]
Words = Annotated[str, Field(min_length=1, max_length=200)]


class PublishedRow(BaseModel):
    """One published result; the measures hold the digits as printed, see `share` for their values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Words
    split: Literal["ndec", "disc21-dev1", "disc21-dev2", "disc21-dev", "disc21-final", "disc21-phase1-half", "subset_1"]
    track: Literal["descriptor", "matching", "unknown"]
    score_norm: Literal["none", "sscd-1.0[0,2]", "isc2021-2x10th", "own", "unknown"] = Field(
        description="As in signatures; own: a rule of the method itself, part of its vectors or scores"
    )
    candidates: Literal["global500000", "query10", "cut500000", "unknown"] = Field(
        description="As in signatures; cut500000: cut from a list of 500,000 pairs made for 50,000 queries"
    )
    micro_ap: Printed
    recall_at_p90: Printed | None = None
    recall_at_1: Printed | None = None
    recall_at_10: Printed | None = None
    trained_on: tuple[Literal["none", "dev1"], ...] | None = Field(
        default=None, description="Labels used, as in submission cards; null where the source does not tell"
    )
    source: Words = Field(description="Repository and file, or paper")
    remark: str = Field(default="", max_length=200)

    def share(self, measure: str) -> float | None:
        """Return a measure (one of `MEASURES`) as a share from 0 to 1; None where it is not printed.

        A printed number above 1 is in per cent. No row prints one per cent or less.
        """
        printed: str | None = getattr(self, measure)
        if printed is None:
            return None
        value = float(printed)
        return value / 100 if value > 1 else value

    def shown(self, measure: str) -> str | None:
        """Return a measure (one of `MEASURES`) as a share with as many digits as were printed; None if it was not."""
        printed: str | None = getattr(self, measure)
        if printed is None:
            return None
        return str(Decimal(printed).scaleb(-2)) if Decimal(printed) > 1 else printed

    def record(self) -> dict[str, Any]:
        """Return the row for JSON: each measure as a share, and the digits as printed under ``printed``."""
        printed = {measure: getattr(self, measure) for measure in MEASURES}
        shares = {measure: self.share(measure) for measure in MEASURES}
        return self.model_dump(mode="json") | shares | {"printed": printed}


@cache
def published_rows() -> tuple[PublishedRow, ...]:
    """Return all published rows in the order of the file."""
    tables: list[dict[str, Any]] = tomllib.loads(TABLE.read_text(encoding="utf-8"))["table"]
    return tuple(
        PublishedRow.model_validate({field: value for field, value in (table | row).items() if field != "rows"})
        for table in tables
        for row in table["rows"]
    )


@dataclass(frozen=True)
class Figures:
    """What a result has to compare with a published row: one part under one protocol.

    Attributes
    ----------
    part, entry
        Part of the result, and entry of its protocol table or the protocol of the result itself.
    split
        The published split that the part is.
    candidates, score_norm
        As in signatures, for this part.
    within_rules
        False where the dimension is above what the protocol admits.
    micro_ap, recall_at_p90, recall_at_1, recall_at_10
        The figures.
    """

    part: str
    entry: str
    split: str
    candidates: str
    score_norm: str
    within_rules: bool
    micro_ap: float
    recall_at_p90: float | None
    recall_at_1: float
    recall_at_10: float


@dataclass(frozen=True)
class Comparable:
    """A row that compares with the result, the figures that it compares with, and what to say with it."""

    row: PublishedRow
    figures: Figures
    caveats: tuple[str, ...]


@dataclass(frozen=True)
class NotComparable:
    """A row of the same split under other or unknown rules, and in few words why."""

    row: PublishedRow
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Company:
    """The published rows of a result's split: those under its rules and the others."""

    comparable: tuple[Comparable, ...] = ()
    not_comparable: tuple[NotComparable, ...] = ()


def company(result: Result) -> Company:
    """Return which published rows compare with ``result``, in the order of the file.

    A row may if it is of the same split and track, its list was made by the same rule and its scores were normalised
    in the same way, in the result itself or in an entry of its protocol table. The part ``isc`` of NDEC is DISC21
    dev II. Rows cut from one list of 500,000 pairs for 50,000 queries compare with a list of ten pairs per query
    on average, which is said in a caveat. A partial result and a split without published rows have no company.

    Raises
    ------
    ValueError
        If the signature of the result cannot be parsed.
    """
    figures = _figures(result)
    splits = {own.split for own in figures}
    if splits & {"disc21-dev1", "disc21-dev2"}:
        splits.add(UNNAMED_HALF)
    comparable, not_comparable = [], []
    for row in published_rows():
        if row.split not in splits:
            continue
        fitting = next((own for own in figures if _same_rules(row, own, result.track)), None)
        if fitting is not None:
            comparable.append(Comparable(row, fitting, tuple(_caveats(row, fitting))))
        else:
            not_comparable.append(NotComparable(row, tuple(_reasons(row, figures, result))))
    return Company(tuple(comparable), tuple(not_comparable))


def published_split(result: Result) -> str | None:
    """Return the split of published rows that ``result`` was scored on, by its content; None if there is none.

    True pairs (by digest), number of queries and number of references must be those of the split, whatever it is
    called in the result.
    """
    queries, truth = result.parts["all"].queries, result.digests.ground_truth
    for known in KNOWN.values():
        named = result.split == known.name  # then images that could not be read may be missing from the references
        if truth == known.pairs_sha256 and queries == known.queries and (named or result.references == REFERENCES):
            return known.name
    dev_1 = KNOWN["disc21-dev1"]
    alone = queries == result.references == dev_1.positives
    return SUBSET_1 if alone and truth == dev_1.pairs_sha256 else None


def _figures(result: Result) -> list[Figures]:
    split = None if result.partial or "all" not in result.parts else published_split(result)
    if split is None:
        return []
    splits = {"all": split}
    if split == "ndec" and "isc" in result.parts and result.parts["isc"].queries == KNOWN["disc21-dev2"].queries:
        splits["isc"] = "disc21-dev2"
    score_norm = Signature.parse(result.signature).score_norm
    rules = PROTOCOLS.get(result.protocol)
    within = not (rules and rules.max_dimension and (result.dimensions or 0) > rules.max_dimension)
    found = [
        _figure(part, splits[part], result.protocol, result.protocol, score_norm, within, score)
        for part, score in result.parts.items()
        if part in splits and score.complete
    ]
    for name, entry in (result.protocols or {}).items():
        found += [
            _figure(part, splits[part], name, entry.protocol, entry.score_norm, entry.within_rules, score)
            for part, score in entry.parts.items()
            if part in splits
        ]
    return [own for own in found if own is not None]


def _figure(
    part: str, split: str, entry: str, protocol: str, score_norm: str, within: bool, score: PartScore | ListScores
) -> Figures | None:
    rules = PROTOCOLS.get(protocol)
    if rules is None:
        return None
    return Figures(
        part=part,
        entry=entry,
        split=split,
        candidates=rules.candidates(score.queries),
        score_norm=score_norm,
        within_rules=within,
        **{measure: getattr(score, measure) for measure in MEASURES},
    )


def _same_rules(row: PublishedRow, own: Figures, track: str) -> bool:
    return (
        row.split == own.split
        and row.track == track
        and _same_list(row, own)
        # A matcher's scores come as they are: what its authors did to them is theirs on both sides.
        and (track == "matching" or _harness_norm(row) == own.score_norm)
    )


def _same_list(row: PublishedRow, own: Figures) -> bool:
    # Half of a list of 500,000 pairs for 50,000 queries is about what 25,000 queries have by themselves.
    return own.candidates == ("global250000" if row.candidates == "cut500000" else row.candidates)


def _harness_norm(row: PublishedRow) -> str:
    return "none" if row.score_norm == "own" else row.score_norm


def _caveats(row: PublishedRow, own: Figures) -> list[str]:
    said = []
    if row.candidates == "cut500000":
        said.append("cut from a list of 500,000 pairs made for 50,000 queries; yours had a cap of 250,000 by itself")
    if row.score_norm == "own" and row.track == "descriptor":
        said.append("has its own normalisation in its vectors")
    if not own.within_rules:
        said.append("yours has more dimensions than the protocol admits")
    return said


def _reasons(row: PublishedRow, figures: Sequence[Figures], result: Result) -> list[str]:
    if row.split == UNNAMED_HALF:
        return ["half of phase 1 not named"]
    here = [own for own in figures if own.split == row.split]
    same_list = [own for own in here if _same_list(row, own)]
    said = []
    if row.track != result.track:
        said.append("track not stated" if row.track == "unknown" else f"{row.track} track")
    if row.candidates == "unknown":
        said.append("list rule not stated")
    elif not same_list:
        said.append(f"other list ({_LISTS[row.candidates]})")
    if row.score_norm == "unknown":
        said.append("normalisation not stated")
    elif row.track == result.track == "descriptor" and _harness_norm(row) not in {
        own.score_norm for own in same_list or here
    }:
        said.append("not normalised" if _harness_norm(row) == "none" else f"normalised ({row.score_norm})")
    return said


_LISTS = {
    "global500000": "500,000 pairs over all queries",
    "query10": "10 per query",
    "cut500000": "cut from 500,000 for 50,000 queries",
}
