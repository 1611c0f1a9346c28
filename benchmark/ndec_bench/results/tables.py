"""A result, and a comparison of results, as tables of text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ndec_bench.printable import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ndec_bench.results.comparison import Comparison, Entry, Pair
    from ndec_bench.results.record import (
        Direction,
        DirectionPart,
        HardNegativeAccount,
        PartScore,
        PassingByRule,
        ProtocolEntry,
        Result,
        Share,
        ThresholdAccount,
    )

MEASURES = {"micro_ap": "µAP", "recall_at_p90": "recall@P90"}
_PASSING = {
    "hard negatives hit": "hard_negatives_hit",
    "plain distractors hit": "plain_distractors_hit",
    "copies found": "copies_found",
}


_NAME_WIDTH = 28
_PAIR_WIDTH = 16


@dataclass(frozen=True)
class Table:
    """A table of text: the first ``left`` columns are words, the others numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1
    caption: str | None = None


def result_tables(result: Result) -> Iterator[Table | str]:
    """Yield tables and lines: a row per part, hard negatives, asymmetric rule, protocols, notes and signature."""
    rows = _rows(*map(_part_cells, result.parts.values()))
    yield Table(f"{result.name} on {result.split}, {result.track} track", ["", *result.parts], rows)
    if result.hard_negatives is not None:
        yield from _account(result.hard_negatives)
    if result.direction is not None:
        yield from _direction(result.direction, result.asymmetric)
    if result.protocols is not None:
        yield _protocols(result.protocols)
    for note in result.notes:
        yield f"note: {note}"
    yield result.signature
    yield f"predictions sha256 {result.predictions_sha256}"


def comparison_tables(comparison: Comparison) -> Iterator[Table | str]:
    """Yield tables and lines: the results, paired differences with the best one and of neighbours, and notes."""
    measure = MEASURES[comparison.measure]
    several = len(comparison.results) > 2
    yield Table(
        f"{measure} on {one_line(comparison.split)}, part {one_line(comparison.part)}, "
        f"protocol {one_line(comparison.protocol)}",
        ["", "result", measure, "95 % interval", "rank", "rank interval", "tie group"],
        [_entry_row(number, entry) for number, entry in enumerate(comparison.results, 1)],
        left=2,
    )
    numbers = {entry.name: number for number, entry in enumerate(comparison.results, 1)}
    best = [pair for pair in comparison.pairs if numbers[pair.a] == 1]
    neighbours = [pair for pair in comparison.pairs if numbers[pair.b] - numbers[pair.a] == 1 < numbers[pair.a]]
    columns = ["a - b", "a", "b", "difference", "95 % interval", "p"]
    yield Table(
        "Paired differences: each from the best, and neighbours" if several else "Paired difference",
        [*columns, "p Holm"] if several else columns,
        [_pair_row(pair, numbers, several=several) for pair in best + neighbours],
        left=3,
    )
    yield (
        f"{comparison.replicates:,} replicates of stream {one_line(comparison.stream)}, resampling queries; the same "
        "queries in all results.\n* the interval leaves out 0."
    )
    if several:
        yield (
            f"p Holm is adjusted for all {len(comparison.pairs):,} pairs; p, intervals, rank intervals and tie groups "
            "are not."
        )
    for note in comparison.notes:
        yield f"note: {one_line(note)}"


def _rows(*columns: list[tuple[str, str]]) -> list[list[str]]:
    """Return the rows of columns that have the same names of cells."""
    return [[cells[0][0], *(value for _, value in cells)] for cells in zip(*columns, strict=True)]


def _part_cells(part: PartScore) -> list[tuple[str, str]]:
    return [
        ("µAP", f"{part.micro_ap:.4f}" + ("" if part.complete else " incomplete")),
        ("  95 % interval", _interval(part.micro_ap_interval)),
        ("recall@P90", _number(part.recall_at_p90)),
        ("  95 % interval", _interval(part.recall_at_p90_interval)),
        ("threshold at P90", _threshold(part.threshold_at_p90)),
        *((f"precision at recall {level}", _number(value)) for level, value in part.precision_at_recall.items()),
        ("recall@1", f"{part.recall_at_1:.4f}"),
        ("recall@10", f"{part.recall_at_10:.4f}"),
        ("queries", f"{part.queries:,}"),
        ("copies", f"{part.positives:,}"),
        ("pairs in the list", f"{part.predictions:,}"),
        *((f"recall at precision {level}", _number(at.recall)) for level, at in part.recall_at_precision.items()),
    ]


def _account(account: HardNegativeAccount) -> Iterator[Table | str]:
    cost = "unknown (no plain distractors)" if account.cost is None else f"{account.cost:+.4f} µAP"
    yield f"Cost of the hard negatives: {cost} (plain difference {account.difference:+.4f})"
    transfer = account.transfer
    if transfer.precision is not None:
        yield (
            f"Thresholds tuned without hard negatives on one half: precision {transfer.precision:.4f}, "
            f"recall {_number(transfer.recall)} on the other"
        )
    if account.at_p90_isc is None:
        yield "Without hard negatives, precision 0.90 is never reached: no threshold to judge them by."
    accounts = {
        "P90 without them": account.at_p90_isc,
        "P90 of all": account.at_p90_all,
        "your threshold": account.at_own_threshold,
    }
    reached = {name: at for name, at in accounts.items() if at is not None}
    if reached:
        rows = _rows(*map(_account_cells, reached.values()))
        yield Table(f"What passes a threshold, {account.queries:,} hard negatives", ["", *reached], rows)


def _account_cells(at: ThresholdAccount) -> list[tuple[str, str]]:
    wrong, alerts = at.false_positives, at.alerts_per_true_match
    return [
        ("threshold", _threshold(at.threshold) + ("" if at.complete else " incomplete")),
        ("precision", _number(at.precision)),
        ("recall", _number(at.recall)),
        ("wrong: hard negatives", f"{wrong.hard_negative:,}"),
        ("wrong: plain distractors", f"{wrong.plain_distractor:,}"),
        ("wrong: other reference", f"{wrong.wrong_reference:,}"),
        ("hard negatives hit", _share(at.hard_negatives_hit)),
        ("  95 % interval", _share_interval(at.hard_negatives_hit)),
        ("plain distractors hit", _share(at.plain_distractors_hit)),
        ("  95 % interval", _share_interval(at.plain_distractors_hit)),
        ("alerts per true match", "no true match" if alerts is None else f"{alerts:.3f}"),
    ]


def _protocols(protocols: dict[str, ProtocolEntry]) -> Table:
    rows = [
        [
            name + ("" if entry.within_rules else " *"),
            f"{entry.micro_ap:.4f}",
            _number(entry.recall_at_p90),
            f"{entry.recall_at_1:.4f}",
            f"{entry.parts['isc'].micro_ap:.4f}" if "isc" in entry.parts else "",
        ]
        for name, entry in protocols.items()
    ]
    outside = any(not entry.within_rules for entry in protocols.values())
    return Table(
        "Protocol table",
        ["", "µAP", "recall@P90", "recall@1", "µAP isc"],
        rows,
        caption="* more dimensions than these rules admit" if outside else None,
    )


def _direction(direction: Direction, asymmetric: str) -> Iterator[Table | str]:
    rows = [row for part, scores in direction.parts.items() for row in _direction_rows(part, scores)]
    if direction.at_p90_isc is not None:
        rows += _passing_rows("P90 isc of the list without", direction.at_p90_isc)
    if direction.at_own_p90_isc is not None:
        rows += _passing_rows("P90 isc of each list", direction.at_own_p90_isc)
    yield Table(
        f"Asymmetric similarity: {direction.rule}",
        ["", "without", "with", "difference", "95 % interval"],
        rows,
        caption="the scores above are those " + ("without it" if asymmetric == "none" else "with it"),
    )
    kept, swapped = direction.true_pairs_kept, direction.true_pairs_kept_if_swapped
    yield f"True pairs kept: {_of(kept)}; if swapped: {_of(swapped)}"
    if direction.direction_auc is not None:
        interval = direction.direction_auc_interval
        bounds = "" if interval is None else f" ({_interval(interval)})"
        yield f"Direction of true pairs told by their norms: AUC {direction.direction_auc:.4f}{bounds}"
    if direction.swap_gap is not None:
        gap = direction.swap_gap
        yield (
            f"Swap gap of true pairs: mean {gap.mean:+.6g}, median {gap.median:+.6g}, above 0: {_of(gap.above_zero)}"
        )


def _direction_rows(part: str, scores: DirectionPart) -> list[tuple[str, ...]]:
    without, ruled = scores.without_rule, scores.with_rule
    return [
        (
            f"µAP, {part}",
            f"{without.micro_ap:.4f}",
            f"{ruled.micro_ap:.4f}",
            f"{scores.micro_ap_difference:+.4f}",
            _signed_interval(scores.micro_ap_difference_interval),
        ),
        (
            f"recall@P90, {part}",
            _number(without.recall_at_p90),
            _number(ruled.recall_at_p90),
            f"{scores.recall_at_p90_difference:+.4f}",
            _signed_interval(scores.recall_at_p90_difference_interval),
        ),
    ]


def _passing_rows(where: str, passing: PassingByRule) -> list[tuple[str, ...]]:
    without, ruled = passing.without_rule, passing.with_rule
    rows = [(f"at {where}", *("not reached" if one is None else _threshold(one.threshold) for one in (without, ruled)))]
    for name, field in _PASSING.items():
        shares = [None if one is None else getattr(one, field) for one in (without, ruled)]
        rows.append((f"  {name}", *("" if share is None else _share(share) for share in shares)))
    return [(*row, "", "") for row in rows]


def _of(share: Share) -> str:
    return "none there" if share.rate is None else f"{share.hits:,} of {share.queries:,} = {share.rate:.2%}"


def _signed_interval(interval: tuple[float, float] | None) -> str:
    return "not computed" if interval is None else f"{interval[0]:+.4f} to {interval[1]:+.4f}"


def _interval(interval: tuple[float, float] | None) -> str:
    return "not computed" if interval is None else f"{interval[0]:.4f}–{interval[1]:.4f}"


def _share(share: Share) -> str:
    return "none there" if share.rate is None else f"{share.hits:,} = {share.rate:.2%}"


def _share_interval(share: Share) -> str:
    return "" if share.interval is None else f"{share.interval[0]:.2%}–{share.interval[1]:.2%}"


def _threshold(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def _number(value: float | None) -> str:
    return "not reached" if value is None else f"{value:.4f}"


def _entry_row(number: int, entry: Entry) -> list[str]:
    return [
        str(number),
        _short(entry.name, _NAME_WIDTH),
        f"{entry.score:.4f}",
        "" if entry.interval is None else _interval(entry.interval),
        str(entry.rank),
        f"{entry.best}–{entry.worst}",
        str(entry.group),
    ]


def _pair_row(pair: Pair, numbers: dict[str, int], *, several: bool) -> list[str]:
    row = [
        f"{numbers[pair.a]} - {numbers[pair.b]}",
        _short(pair.a, _PAIR_WIDTH),
        _short(pair.b, _PAIR_WIDTH),
        f"{pair.difference:+.4f}" + ("*" if pair.significant else " "),
        _signed_interval(pair.interval),
        f"{pair.p_value:.4f}",
    ]
    return [*row, f"{pair.p_holm:.4f}"] if several else row


def _short(text: str, width: int) -> str:
    # Names that are long often differ at their end.
    shown, tail = one_line(text), width // 3
    return shown if len(shown) <= width else f"{shown[: width - tail - 1]}…{shown[-tail:]}"
