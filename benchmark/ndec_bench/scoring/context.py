"""The choices behind a score, and the context that every step of scoring shares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ndec_bench import __version__
from ndec_bench.errors import UsageError
from ndec_bench.metrics.bootstrap import REPLICATES
from ndec_bench.progress import silent
from ndec_bench.protocol import NDEC_1, Protocol, get_protocol
from ndec_bench.results.record import Signature
from ndec_bench.search import NO_RULE, parse_rule

if TYPE_CHECKING:
    from ndec_bench.data.split import Split
    from ndec_bench.descriptors import VectorSource
    from ndec_bench.progress import Progress
    from ndec_bench.results.describing import Describing
    from ndec_bench.scoring.fit import Fit
    from ndec_bench.scoring.truth import TruthTable

UNNAMED = "unnamed"
NOT_NORMALISED = "none"
"""Name of the scores that no normalisation changed, in signatures and among normalisations."""


@dataclass(frozen=True)
class Options:
    """What a caller may choose.

    Attributes
    ----------
    name
        Name of the result; None for the name of the file.
    protocol
        The rules; a name becomes them.
    all_protocols
        Score under every published protocol as well.
    replicates
        Bootstrap replicates; 0 for no intervals.
    precisions
        Further precisions at which the highest recall is reported.
    threshold
        The authors' own operating threshold; None for the one in the file, if there is one.
    asymmetric
        The asymmetric rule of the scores, see `ndec_bench.search.rules`; its canonical text after construction. Where
        the submission has vector norms, the result reports the list without a rule and the list with this one, or with
        ``ratio`` if this is ``none``.
    background
        Descriptors for the score normalisations of the protocol table; None for those in the file.
    backend, threads
        Of the search; they change the time, never the result.
    save_matches
        Where to write the list of part ``all``; None for nowhere. CSV if the name ends so, otherwise compact Parquet.
    describing, command
        What making the descriptors took and the command that made the result, if known; recorded, not used.
    """

    name: str | None = None
    protocol: Protocol = NDEC_1
    all_protocols: bool = False
    replicates: int = REPLICATES
    precisions: tuple[float, ...] = ()
    threshold: float | None = None
    asymmetric: str = NO_RULE
    background: VectorSource | None = None
    backend: str = "auto"
    threads: int | None = None
    save_matches: Path | None = None
    describing: Describing | None = None
    command: str | None = None

    def __post_init__(self) -> None:
        """Raise UsageError if an option is of the wrong kind or out of range: now, not after the search."""
        for name, kind in (("name", str | None), ("asymmetric", str), ("save_matches", str | PathLike | None)):
            if not isinstance(getattr(self, name), kind):
                raise UsageError(f"{name} {getattr(self, name)!r}", hint="give text")
        rule = parse_rule(self.asymmetric)
        checked = {
            "asymmetric": NO_RULE if rule is None else str(rule),
            "protocol": _protocol(self.protocol),
            "replicates": _whole("replicates", self.replicates, 0),
            "precisions": _precisions(self.precisions),
            "threshold": None if self.threshold is None else finite("threshold", self.threshold),
            "threads": None if self.threads is None else _whole("threads", self.threads, 1),
            "save_matches": None if self.save_matches is None else Path(self.save_matches),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)


def _protocol(given: Any) -> Protocol:  # noqa: ANN401 -- whatever a caller gives
    if isinstance(given, str):
        return get_protocol(given)
    if not isinstance(given, Protocol):
        raise UsageError(f"protocol {given!r} is not a protocol", hint="give a Protocol or the name of one")
    return given


def _whole(name: str, given: Any, least: int) -> int:  # noqa: ANN401
    if isinstance(given, bool) or not isinstance(given, Integral) or int(given) < least:
        raise UsageError(f"{name} {given!r}", hint=f"give a whole number, at least {least}")
    return int(given)


def finite(name: str, given: Any) -> float:  # noqa: ANN401
    """Return ``given`` as a float. Raises UsageError, opened by ``name``, for anything but a finite number."""
    try:
        number = float(given) if not isinstance(given, bool) and isinstance(given, Real) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise UsageError(f"{name} {str(given)[:80]}", hint="give a finite number")
    return number


def _precisions(given: Any) -> tuple[float, ...]:  # noqa: ANN401
    try:
        precisions = tuple(finite("precision", precision) for precision in given)
    except TypeError as error:
        raise UsageError(f"precisions {given!r}", hint="give a tuple of numbers from 0 to 1") from error
    for precision in precisions:
        if not 0 <= precision <= 1:
            raise UsageError(f"precision {precision}", hint="give a number from 0 to 1")
    return precisions


DEFAULTS = Options()


@dataclass(frozen=True)
class Facts:
    """What a submission brings to its result, apart from its pairs.

    Attributes
    ----------
    track, metric, submission_sha256
        As in the result.
    references
        How many are known of.
    searched
        Number of references that each query was compared with; None if unknown: then no pair rates are given.
    normalisations
        Score normalisations that can be made, `NOT_NORMALISED` first.
    dimensions, bytes_per_reference, stored_dtype, truncated, query_independent
        As in the result.
    threshold
        The authors' own; None if they declared none.
    """

    track: Literal["descriptor", "matching"]
    metric: Literal["l2", "ip", "score"]
    references: int
    searched: int | None
    submission_sha256: str = ""
    normalisations: tuple[str, ...] = (NOT_NORMALISED,)
    dimensions: int | None = None
    bytes_per_reference: int | None = None
    stored_dtype: str | None = None
    truncated: bool = False
    threshold: float | None = None
    query_independent: bool = True


@dataclass(frozen=True)
class Context:
    """One submission on one split, and how it is scored: what every step of scoring is given.

    Attributes
    ----------
    truth
        The split with its truth as arrays.
    fit
        How the submission fits the split.
    facts
        What the submission says of itself.
    options
        What the caller chose.
    progress
        Called as ``progress(stage, done, total)``.
    """

    truth: TruthTable
    fit: Fit
    facts: Facts
    options: Options = DEFAULTS
    progress: Progress = silent

    @property
    def split(self) -> Split:
        """Return what is scored against."""
        return self.truth.split

    @property
    def protocol(self) -> Protocol:
        """Return the rules of the score."""
        return self.options.protocol

    def signature(self, protocol: Protocol, metric: str, score_norm: str = NOT_NORMALISED) -> str:
        """Return the line that names every choice behind a score of this submission under ``protocol``."""
        signature = Signature(
            split=self.split.name,
            protocol=protocol.name,
            candidates=protocol.candidates(len(self.split.query_ids)),
            metric=metric,
            score_norm=score_norm,
            asymmetric=self.options.asymmetric,
            ties=protocol.ties,
            ground_truth=self.split.truth.sha256[:8],
            version=__version__,
        )
        return str(signature)
