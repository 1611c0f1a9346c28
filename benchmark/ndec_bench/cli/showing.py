"""A result as tables in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndec_bench.cli import console

if TYPE_CHECKING:
    from ndec_bench.results.record import (
        CardEntry,
        Direction,
        DirectionPart,
        HardNegativeAccount,
        PartScore,
        PassingByRule,
        Result,
        Share,
        ThresholdAccount,
    )

MEASURES = (
    "µAP",
    "  95 % interval",
    "recall@P90",
    "  95 % interval",
    "threshold at P90",
    "precision at recall 0.5",
    "precision at recall 0.7",
    "precision at recall 0.8",
    "recall@1",
    "recall@10",
    "queries",
    "copies",
    "pairs in the list",
)
_ACCOUNT = (
    "threshold",
    "precision",
    "recall",
    "wrong: hard negatives",
    "wrong: plain distractors",
    "wrong: other reference",
    "hard negatives hit",
    "  95 % interval",
    "plain distractors hit",
    "  95 % interval",
    "alerts per true match",
)

_PASSING = {
    "hard negatives hit": "hard_negatives_hit",
    "plain distractors hit": "plain_distractors_hit",
    "copies found": "copies_found",
}


def show_result(result: Result) -> None:
    """Print a result as tables: a row per part, hard negatives, asymmetric rule, protocol card, signature and notes."""
    columns = [_part_column(part) for part in result.parts.values()]
    rows = list(zip(MEASURES, *columns, strict=True))
    rows += _precision_rows(list(result.parts.values()))
    console.table(f"{result.name} on {result.split}, {result.track} track", ["", *result.parts], rows)
    if result.hard_negatives is not None:
        _show_account(result.hard_negatives)
    if result.direction is not None:
        _show_direction(result.direction, result.asymmetric)
    if result.protocols is not None:
        _show_card(result.protocols)
    for note in result.notes:
        console.out(f"note: {note}")
    console.out(result.signature)
    console.out(f"predictions sha256 {result.predictions_sha256}")


def _part_column(part: PartScore) -> list[str]:
    return [
        f"{part.micro_ap:.4f}" + ("" if part.complete else " incomplete"),
        _interval(part.micro_ap_interval),
        _number(part.recall_at_p90),
        _interval(part.recall_at_p90_interval),
        _threshold(part.threshold_at_p90),
        *(_number(value) for value in part.precision_at_recall.values()),
        f"{part.recall_at_1:.4f}",
        f"{part.recall_at_10:.4f}",
        f"{part.queries:,}",
        f"{part.positives:,}",
        f"{part.predictions:,}",
    ]


def _precision_rows(parts: list[PartScore]) -> list[tuple[str, ...]]:
    return [
        (f"recall at precision {level}", *(_number(part.recall_at_precision[level].recall) for part in parts))
        for level in parts[0].recall_at_precision
    ]


def _show_account(account: HardNegativeAccount) -> None:
    console.out(f"Cost of the hard negatives: {_signed(account.cost)} (plain difference {account.difference:+.4f})")
    transfer = account.transfer
    if transfer.precision is not None:
        console.out(
            f"Thresholds tuned without hard negatives on one half: precision {transfer.precision:.4f}, "
            f"recall {_number(transfer.recall)} on the other"
        )
    accounts = {
        "P90 without them": account.at_p90_isc,
        "P90 of all": account.at_p90_all,
        "your threshold": account.at_own_threshold,
    }
    reached = {name: at for name, at in accounts.items() if at is not None}
    if account.at_p90_isc is None:
        console.out("Without hard negatives, precision 0.90 is never reached: no threshold to judge them by.")
    if reached:
        rows = list(zip(_ACCOUNT, *(_account_column(at) for at in reached.values()), strict=True))
        console.table(f"What passes a threshold, {account.queries:,} hard negatives", ["", *reached], rows)


def _account_column(at: ThresholdAccount) -> list[str]:
    return [
        _threshold(at.threshold),
        _number(at.precision),
        _number(at.recall),
        f"{at.false_positives.hard_negative:,}",
        f"{at.false_positives.plain_distractor:,}",
        f"{at.false_positives.wrong_reference:,}",
        *_share(at.hard_negatives_hit),
        *_share(at.plain_distractors_hit),
        "no true match" if at.alerts_per_true_match is None else f"{at.alerts_per_true_match:.3f}",
    ]


def _show_card(card: dict[str, CardEntry]) -> None:
    rows = [
        [
            name + ("" if entry.within_rules else " *"),
            f"{entry.micro_ap:.4f}",
            _number(entry.recall_at_p90),
            f"{entry.recall_at_1:.4f}",
            f"{entry.parts['isc'].micro_ap:.4f}" if "isc" in entry.parts else "",
        ]
        for name, entry in card.items()
    ]
    outside = any(not entry.within_rules for entry in card.values())
    console.table(
        "Protocol card",
        ["", "µAP", "recall@P90", "recall@1", "µAP isc"],
        rows,
        caption="* more dimensions than these rules admit" if outside else None,
    )


def _show_direction(direction: Direction, asymmetric: str) -> None:
    rows = [row for part, scores in direction.parts.items() for row in _direction_rows(part, scores)]
    if direction.at_p90_isc is not None:
        rows += _passing_rows("P90 isc of the list without", direction.at_p90_isc)
    if direction.at_own_p90_isc is not None:
        rows += _passing_rows("P90 isc of each list", direction.at_own_p90_isc)
    console.table(
        f"Asymmetric similarity: {direction.rule}",
        ["", "without", "with", "difference", "95 % interval"],
        rows,
        caption="the scores above are those " + ("without it" if asymmetric == "none" else "with it"),
    )
    kept, swapped = direction.true_pairs_kept, direction.true_pairs_kept_if_swapped
    console.out(f"True pairs kept: {_of(kept)}; if swapped: {_of(swapped)}")
    if direction.direction_auc is not None:
        interval = direction.direction_auc_interval
        bounds = "" if interval is None else f" ({_interval(interval)})"
        console.out(f"Direction of true pairs told by their norms: AUC {direction.direction_auc:.4f}{bounds}")
    if direction.swap_gap is not None:
        gap = direction.swap_gap
        console.out(
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
        rows.append((f"  {name}", *("" if share is None else _share(share)[0] for share in shares)))
    return [(*row, "", "") for row in rows]


def _of(share: Share) -> str:
    return "none there" if share.rate is None else f"{share.hits:,} of {share.queries:,} = {share.rate:.2%}"


def _signed_interval(interval: tuple[float, float] | None) -> str:
    return "not computed" if interval is None else f"{interval[0]:+.4f} to {interval[1]:+.4f}"


def _interval(interval: tuple[float, float] | None) -> str:
    return "not computed" if interval is None else f"{interval[0]:.4f}–{interval[1]:.4f}"


def _share(share: Share) -> tuple[str, str]:
    if share.rate is None or share.interval is None:
        return "none there", ""
    return f"{share.hits:,} = {share.rate:.2%}", f"{share.interval[0]:.2%}–{share.interval[1]:.2%}"


def _threshold(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def _number(value: float | None) -> str:
    return "not reached" if value is None else f"{value:.4f}"


def _signed(value: float | None) -> str:
    return "unknown (no plain distractors)" if value is None else f"{value:+.4f} µAP"
