"""The choices behind a score, and the context that every step of scoring shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ndec_bench import __version__
from ndec_bench.metrics.bootstrap import REPLICATES
from ndec_bench.progress import silent
from ndec_bench.protocol import NDEC_1, Protocol
from ndec_bench.results.record import Signature
from ndec_bench.search import NO_RULE, parse_rule

if TYPE_CHECKING:
    from pathlib import Path

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
        The rules.
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
        """Raise UsageError if the rule is unknown or the pairs could not be written in the end."""
        rule = parse_rule(self.asymmetric)
        object.__setattr__(self, "asymmetric", NO_RULE if rule is None else str(rule))


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
