"""Several runs of one method, which differ by their seed alone, as one result."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from ndec_bench.metrics import bootstrap
from ndec_bench.results.record import Replicates, Share

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ndec_bench.results.record import HardNegativeAccount, PartScore, Result, ThresholdAccount


@dataclass(frozen=True)
class Spread:
    """How far the runs of a method lie apart in one measure.

    Attributes
    ----------
    runs
        Their number, at least 2.
    mean
        Arithmetic mean.
    deviation
        Sample standard deviation, dividing by ``runs`` - 1.
    low, high
        Least and greatest value.
    """

    runs: int
    mean: float
    deviation: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of two or more values."""
    return Spread(len(values), fmean(values), stdev(values), min(values), max(values))


def mean_of(results: Sequence[Result], name: str) -> Result:
    """Return the mean of two or more results of one split under one protocol, called ``name``.

    Scores, and the replicates behind their intervals, are averaged run by run: replicate i of the mean is the mean of
    the replicates i, which all resample the same queries. The interval is thus that of the mean over queries; it says
    nothing of the seeds, see `Spread`. A measure that a run never reaches, and what cannot be averaged (thresholds,
    curves, digests), is the first run's or None.
    """
    first = results[0]
    parts = {
        part: _mean_part(score, [result.parts[part] for result in results])
        for part, score in first.parts.items()
        if all(part in result.parts for result in results)
    }
    times = [result.describing.milliseconds_per_image if result.describing else None for result in results]
    accounts = [result.hard_negatives for result in results]
    return first.model_copy(
        update={
            "name": name,
            "parts": parts,
            "hard_negatives": _mean_account([account for account in accounts if account is not None]),
            "describing": first.describing
            and first.describing.model_copy(update={"milliseconds_per_image": _mean(times)}),
            "direction": None,
            "protocols": None,
        }
    )


def _mean_part(first: PartScore, parts: Sequence[PartScore]) -> PartScore:
    replicates = _mean_replicates([part.replicates for part in parts])
    return first.model_copy(
        update={
            "micro_ap": fmean(part.micro_ap for part in parts),
            "micro_ap_interval": bootstrap.interval(replicates.micro_ap) if replicates else None,
            "recall_at_p90": _mean(part.recall_at_p90 for part in parts),
            "recall_at_p90_interval": bootstrap.interval(replicates.recall_at_p90) if replicates else None,
            "threshold_at_p90": None,
            "recall_at_1": fmean(part.recall_at_1 for part in parts),
            "recall_at_10": fmean(part.recall_at_10 for part in parts),
            "precision_at_recall": {},
            "recall_by_edit": None,
            "replicates": replicates,
        }
    )


def _mean_replicates(found: Sequence[Replicates | None]) -> Replicates | None:
    given = [replicates for replicates in found if replicates is not None]
    kinds = {(r.stream, len(r.micro_ap), len(r.recall_at_p90)) for r in given}
    if len(given) < len(found) or len(kinds) != 1:
        return None
    return Replicates(
        stream=given[0].stream,
        micro_ap=[fmean(values) for values in zip(*(r.micro_ap for r in given), strict=True)],
        recall_at_p90=[fmean(values) for values in zip(*(r.recall_at_p90 for r in given), strict=True)],
    )


def _mean_account(accounts: Sequence[HardNegativeAccount]) -> HardNegativeAccount | None:
    if not accounts:
        return None
    first = accounts[0]
    transfer = first.transfer.model_copy(
        update={
            "precision": _mean(account.transfer.precision for account in accounts),
            "recall": _mean(account.transfer.recall for account in accounts),
        }
    )
    return first.model_copy(
        update={
            "cost": _mean(account.cost for account in accounts),
            "difference": fmean(account.difference for account in accounts),
            "at_p90_isc": _mean_threshold([account.at_p90_isc for account in accounts]),
            "transfer": transfer,
        }
    )


def _mean_threshold(found: Sequence[ThresholdAccount | None]) -> ThresholdAccount | None:
    given = [account for account in found if account is not None]
    if len(given) < len(found):
        return None
    shares = [account.hard_negatives_hit for account in given]
    return given[0].model_copy(update={"hard_negatives_hit": _mean_share(shares)})


def _mean_share(shares: Sequence[Share]) -> Share:
    return Share(
        hits=sum(share.hits for share in shares),
        queries=sum(share.queries for share in shares),
        rate=_mean(share.rate for share in shares),
        interval=None,  # the same queries in every run: a binomial interval over all would be too narrow
    )


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean; None if a value is missing."""
    found = list(values)
    given = [value for value in found if value is not None]
    return fmean(given) if len(given) == len(found) else None
