"""An order: what a user asks for, planned, carried out, and reported.

::

    Order ── plan ──> Plan ── carry_out ──> Report
                        │                     ├─ outcomes of whole files
                        └ shown before        ├─ which ground truth of NDEC is used
                                              └─ a subset of the references, or ndec-val-1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ndec_bench.data import layouts
from ndec_bench.data.registry import RemoteFile, select
from ndec_bench.data.truth import NdecTruth, settle
from ndec_bench.download import cost
from ndec_bench.download.derived import subset as subsets
from ndec_bench.download.derived import val
from ndec_bench.download.jobs import Outcome, Run, download, failures
from ndec_bench.errors import MissingDataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

VAL_NAMES = ("ndec-val", "ndec-val-1")
_WITH_A_SUBSET = ("ground-truth", "queries", "negative-pairs")


@dataclass(frozen=True)
class Order:
    """What a user asks for.

    Attributes
    ----------
    files
        Whole files.
    subset, seed
        The subset of NDEC's references, if one is asked for, and its seed.
    val
        Whether ndec-val-1 is asked for.
    """

    files: tuple[RemoteFile, ...]
    subset: subsets.SubsetRule | None = None
    seed: int = 0
    val: bool = False

    def plan(self, root: Path) -> cost.Plan:
        """Return the plan of this order under ``root``. Raises DataError if a record there is damaged."""
        pieces: tuple[cost.Planned, ...] = ()
        if self.subset is not None:
            pieces = subsets.plan_subset(root, self.subset, self.seed)
        elif self.val:
            pieces = val.plan_val(root)
        return cost.plan(self.files, root, pieces=pieces)


@dataclass(frozen=True)
class Report:
    """What became of an order.

    Attributes
    ----------
    outcomes
        What became of each file, in the order of the plan.
    truth
        Which ground truth of NDEC is used; None where it was not asked for.
    subset, val
        What was made of pieces, if anything.
    """

    outcomes: tuple[Outcome, ...]
    truth: NdecTruth | None = None
    subset: subsets.SubsetReport | None = None
    val: val.ValReport | None = None

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """Return the outcomes that make the order fail."""
        return failures(self.outcomes, truth=self.truth is not None and self.truth.used is not None)


def order(dataset: str, parts: Sequence[str] = (), *, subset: str | None = None, seed: int = 0) -> Order:
    """Return the order for ``parts`` of ``dataset``, all by default.

    Parameters
    ----------
    dataset
        ``ndec``, ``disc21``, ``weights`` or ``ndec-val``.
    parts
        Names of parts; of weights, the names of the weights.
    subset, seed
        For ``ndec``: rule and seed of a subset of the references, in place of all of them.

    Raises
    ------
    UsageError
        If something is unknown or does not go together; the message lists what does.
    """
    if dataset in VAL_NAMES:
        if parts or subset is not None:
            raise UsageError(f"{dataset} has no parts and no subsets", hint=f"ndec-bench download {dataset}")
        return Order(select("disc21", ["ground-truth"])[:1], val=True)
    if subset is None:
        return Order(select(dataset, parts))
    if dataset != "ndec":
        raise UsageError("--subset belongs to ndec", hint="ndec-bench download ndec --subset matched+20000")
    rule = subsets.parse_subset(subset)
    for part in parts:
        if part not in _WITH_A_SUBSET:
            raise UsageError(
                f"--subset takes the place of the references; {part!r} cannot be asked for with it",
                hint=f"parts that go with a subset: {', '.join(_WITH_A_SUBSET)}",
            )
    return Order(select("ndec", parts or _WITH_A_SUBSET[:2]), subset=rule, seed=seed)


def carry_out(order: Order, plan: cost.Plan, run: Run, *, jobs: int) -> Report:
    """Return what became of ``order``: files first, then the ground truth, then pieces. The caller holds the lock.

    Pieces are not begun when a file failed.

    Raises
    ------
    DataError
        If the disk is too small, two ground truths disagree, or a piece is not what it must be.
    NetworkError
        If no source has a piece.
    InterruptedRun
        If the run is stopped; what was received is kept.
    """
    outcomes = download(plan, run, jobs=jobs)
    truth = None
    if any(file.ground_truth == "ndec" or file.part == "queries" for file in order.files):
        truth = settle(run.root, _query_ids(run))
    report = Report(outcomes, truth)
    if report.failed:
        return report
    if order.subset is not None:
        taken = subsets.fetch_subset(run, order.subset, order.seed, jobs=jobs)
        return Report(outcomes, truth, subset=taken)
    if order.val:
        return Report(outcomes, truth, val=val.build_val(run, jobs=jobs))
    return report


def _query_ids(run: Run) -> tuple[str, ...] | None:
    try:
        return tuple(layouts.open_set(run.root, "ndec", "queries").ids)
    except MissingDataError:
        return None
