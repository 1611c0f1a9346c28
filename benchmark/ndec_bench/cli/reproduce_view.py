"""What ``ndec-bench reproduce`` prints: recorded and new scores side by side, what differs, the sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ndec_bench.cli import console

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_bench.cli.reproduce_ways import Sampled
    from ndec_bench.results.differences import Comparison, Verdict
    from ndec_bench.results.record import Result
    from ndec_bench.submissions.card import Verified

_MOST_DIFFERENCES = 20
_SHOWN = ("micro_ap", "recall_at_p90", "recall_at_1")


def show(
    recorded: Sequence[Result], found: Sequence[Result], comparisons: Sequence[Comparison], sampled: Sampled | None
) -> None:
    """Print tables of recorded and new scores, and how a sample agrees."""
    for before, now, comparison in zip(recorded, found, comparisons, strict=True):
        console.table(
            f"{before.name} on {before.split}, protocol {before.protocol}: {comparison.verdict}",
            ["", "recorded", "now", "difference"],
            [*_rows(before, now), *_other_rows(comparison)],
            caption=_caption(comparison),
        )
    if sampled is not None:
        agreement = sampled.agreement
        console.summary(
            {
                "described again": f"{agreement.images:,} images with {sampled.baseline}, seed {sampled.seed}",
                "lowest cosine": f"{agreement.lowest_cosine:.6f} ({agreement.lowest_id})",
                "mean cosine": f"{agreement.mean_cosine:.6f}",
                "length apart": f"{100 * agreement.length:.3f} % at most ({agreement.length_id})",
                **(
                    {}
                    if agreement.norm is None
                    else {"norm apart": f"{100 * agreement.norm:.3f} % at most ({agreement.norm_id})"}
                ),
                "verdict": "OK" if agreement.passed else "FAIL",
            }
        )


def _rows(before: Result, now: Result) -> list[list[str]]:
    rows = [["list of pairs", before.predictions_sha256[:12], now.predictions_sha256[:12], ""]]
    for part in before.parts:
        if part in now.parts:
            for measure in _SHOWN:
                first, second = (getattr(one.parts[part], measure) for one in (before, now))
                apart = "" if None in (first, second) else f"{second - first:+.6f}"
                rows.append([f"parts.{part}.{measure}", _number(first), _number(second), apart])
    return rows


def _other_rows(comparison: Comparison) -> list[list[str]]:
    """Return rows of differing values that `_rows` does not show."""
    shown = tuple(f".{measure}" for measure in _SHOWN)
    others = [
        one
        for one in comparison.differences
        if not (one.field.startswith("parts.") and one.field.count(".") == 2 and one.field.endswith(shown))
    ]
    return [[_value(one.field), _value(one.recorded), _value(one.found), ""] for one in others[:_MOST_DIFFERENCES]]


def _caption(comparison: Comparison) -> str:
    from ndec_bench.results.differences import RESCORED

    if comparison.verdict == "OK":
        return "the same list of pairs and the same scores"
    same = "the same list of pairs" if comparison.same_list else "another list of pairs"
    return f"{same}, {len(comparison.differences):,} values differ; close: µAP and recall@P90 within {RESCORED}"


def _number(value: float | None) -> str:
    return "not reached" if value is None else f"{value:.6f}"


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6f}"
    plain = "".join(sign if sign.isprintable() else " " for sign in str(value))
    return "none" if value is None else plain[:80]


def content(
    name: str,
    verdict: Verdict,
    recorded: Sequence[Result],
    comparisons: Sequence[Comparison],
    sampled: Sampled | None,
    verified: Verified | None,
) -> dict[str, Any]:
    """Return the same as data for ``--json``."""
    from dataclasses import asdict

    results = [
        {"protocol": one.protocol, **asdict(comparison)} for one, comparison in zip(recorded, comparisons, strict=True)
    ]
    sample = None
    if sampled is not None:
        sample = {
            "baseline": sampled.baseline,
            "seed": sampled.seed,
            "passed": sampled.agreement.passed,
            **asdict(sampled.agreement),
        }
    return {
        "name": name,
        "verdict": verdict,
        "results": results,
        "sample": sample,
        "verified": None if verified is None else verified.model_dump(mode="json"),
    }
