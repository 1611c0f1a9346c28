"""Scoring between epochs: arrays in, a `Result` out, no file and no bootstrap unless asked."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from ndec_bench.data.roots import data_root
from ndec_bench.data.split import Split
from ndec_bench.descriptors import Descriptors, Submission
from ndec_bench.errors import SubmissionError, UsageError
from ndec_bench.matches.record import array_of
from ndec_bench.progress import silent
from ndec_bench.protocol import METRICS, NDEC_1
from ndec_bench.scoring.inputs import split_from
from ndec_bench.scoring.score import Options, score_descriptors
from ndec_bench.scoring.truth import TruthTable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ndec_bench.progress import Progress
    from ndec_bench.protocol import Metric, Protocol
    from ndec_bench.results.record import Result


class TestSplitWarning(UserWarning):
    """The split ranks methods: nothing may be trained, tuned or selected on it."""

    __test__ = False  # not a class of tests, whatever its name looks like


class Evaluator:
    """Scores descriptors in memory against one split, as often as wanted.

    Parameters
    ----------
    split
        A `Split`, the name of a split under ``root``, the folder of a split, or a ground-truth file.
    metric
        ``l2`` or ``ip``.
    protocol
        The rules, or their name.
    root
        Data root, for a name; None for the usual one.
    backend, threads
        Of the search.

    Examples
    --------
    >>> import numpy as np
    >>> import ndec_bench as nb
    >>> from ndec_bench.data.ground_truth import GroundTruth
    >>> split = nb.Split("mine", GroundTruth(("Q1", "Q2"), (("Q1", "R1"),)), test=False)
    >>> evaluator = nb.Evaluator(split)
    >>> queries, references = np.float32([[1, 0], [0, 1]]), np.float32([[1, 0], [0.5, 0.5]])
    >>> evaluator(queries, references, ["Q1", "Q2"], ["R1", "R2"]).parts["all"].micro_ap
    1.0
    """

    def __init__(
        self,
        split: Split | str,
        *,
        metric: Metric = "l2",
        protocol: Protocol = NDEC_1,
        root: Path | None = None,
        backend: str = "auto",
        threads: int | None = None,
    ) -> None:
        """Prepare the truth of the split once.

        Raises
        ------
        DataError
            If a name leads to no split.
        UsageError
            If the split, the metric, the protocol or the threads are not usable: now, not after the first epoch.
        """
        if metric not in METRICS:
            raise UsageError(f"metric {metric!r} is not known", hint=f"give one of {', '.join(METRICS)}")
        if not isinstance(split, Split | str | PathLike):
            raise UsageError(f"split {split!r} is not a split", hint="give a Split, its name, or its folder or file")
        self._options = Options(protocol=protocol, backend=backend, threads=threads, replicates=0)
        self.split = split_from(split, data_root(root))
        self._truth = TruthTable(self.split)
        self._metric = metric
        self._warned = False

    def __call__(
        self,
        queries: Any,  # noqa: ANN401 -- a torch tensor is taken without importing torch
        references: Any,  # noqa: ANN401
        query_ids: Sequence[str],
        reference_ids: Sequence[str],
        *,
        replicates: int = 0,
        name: str = "evaluation",
        progress: Progress = silent,
    ) -> Result:
        """Return the result of one set of descriptors.

        Parameters
        ----------
        queries, references
            (n, d) arrays or torch tensors of any floating-point type and device; cast to float32 once. Tensors are
            detached.
        query_ids, reference_ids
            One id per row.
        replicates
            Bootstrap replicates; 0, the default, gives no intervals.
        name
            Name of the result.
        progress
            Called as ``progress(stage, done, total)``.

        Raises
        ------
        SubmissionError
            If the arrays are not usable descriptors or do not fit the split.
        """
        self._warn_once()
        query_vectors, stored = _float32("queries", queries)
        reference_vectors, _ = _float32("references", references)
        if query_vectors.shape[1:] != reference_vectors.shape[1:]:
            raise SubmissionError(
                f"queries have shape {query_vectors.shape}, references {reference_vectors.shape}",
                hint="describe both sides with the same model",
            )
        submission = Submission(
            queries=Descriptors(_in_order("query_ids", query_ids), query_vectors),
            references=Descriptors(_in_order("reference_ids", reference_ids), reference_vectors),
            metric=self._metric,
            stored_dtype=stored,
        )
        options = replace(self._options, replicates=replicates, name=name)
        return score_descriptors(
            submission, self.split, options=options, progress=progress, where=name, truth=self._truth
        )

    def _warn_once(self) -> None:
        if self.split.test and not self._warned:
            self._warned = True
            warnings.warn(
                f"{self.split.name} is a test split: select nothing on this (no epoch, no threshold, no setting)",
                TestSplitWarning,
                stacklevel=3,
            )


def _float32(where: str, vectors: Any) -> tuple[NDArray[np.float32], str]:  # noqa: ANN401
    """Return ``vectors`` as (n, d) float32 in C order, and the name of the type they came in."""
    array, stored = array_of(where, vectors)
    if array.dtype.kind != "f" or array.ndim != 2:
        raise SubmissionError(
            f"{where}: {stored} of shape {array.shape}, expected floating-point numbers of shape (images, dimensions)",
            hint="give one row per image",
        )
    with np.errstate(over="ignore"):  # a value too large becomes infinite, and is refused as such
        return np.ascontiguousarray(array, dtype=np.float32), stored


def _in_order(where: str, ids: Any) -> tuple[str, ...]:  # noqa: ANN401
    """Return ``ids``, which say whose each row is; refuse what has no order or is one text."""
    if isinstance(ids, set | frozenset | dict | str | bytes) or not isinstance(ids, Iterable):
        raise SubmissionError(
            f"{where}: {type(ids).__name__}, expected ids in the order of the rows", hint="give a list"
        )
    return tuple(ids)
