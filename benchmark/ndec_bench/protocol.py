"""The rules behind a score, each a frozen record with a name; a rule that moves a score gets a new name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ndec_bench.errors import UsageError

Metric = Literal["l2", "ip"]
METRICS: tuple[Metric, ...] = ("l2", "ip")


@dataclass(frozen=True)
class Protocol:
    """The choices that turn scored pairs into numbers.

    Attributes
    ----------
    name
        Name and version, as in signatures and in ``results/<protocol>/``.
    pairs_per_query
        Pairs kept for each labelled query: on average in the one list over all queries (global top-K), or exactly in
        the list of each query, see ``per_query``.
    per_query
        Each query keeps its own nearest references; otherwise all pairs of all queries compete for one list.
    fixed_cap
        Length of the one list whatever the number of queries; None for ``pairs_per_query`` times queries.
    unreached
        What recall@P90 is where the precision is never reached: None, or the 0.0 that some tools print.
    max_dimension
        Largest dimension that the rules admit; None for any.
    ties
        ``"worst"``: at equal score, pairs that are not a match come before matches (isc2021 ``isc/metrics.py``).
    precision_target
        Precision that recall@P90 and its threshold must reach.
    recall_ranks
        Ranks k of recall@k.
    recall_levels
        Recalls at which precision is reported.
    """

    name: str
    pairs_per_query: int = 10
    per_query: bool = False
    fixed_cap: int | None = None
    unreached: float | None = None
    max_dimension: int | None = None
    ties: Literal["worst"] = "worst"
    precision_target: float = 0.9
    recall_ranks: tuple[int, ...] = (1, 10)
    recall_levels: tuple[float, ...] = (0.5, 0.7, 0.8)

    def cap(self, queries: int) -> int:
        """Return how many pairs the list, or all lists of single queries together, may hold for ``queries``."""
        return self.pairs_per_query * queries if self.fixed_cap is None else self.fixed_cap

    def candidates(self, queries: int) -> str:
        """Return the rule of the list as in signatures, for example ``global492520`` or ``query10``."""
        return f"query{self.pairs_per_query}" if self.per_query else f"global{self.cap(queries)}"


@dataclass(frozen=True)
class Normalisation:
    """A score normalisation by the harness: s'(q, r) = ⟨q, r⟩ − factor · mean of ⟨q, t⟩ over near background images t.

    Attributes
    ----------
    name
        As in signatures after ``sn:``.
    factor
        Factor of the mean.
    ranks
        Which of the query's nearest background images, counted from 0 by decreasing inner product.
    source
        Whose rule it is.
    """

    name: str
    factor: float
    ranks: tuple[int, ...]
    source: str

    @property
    def depth(self) -> int:
        """Return how many nearest background images must be known."""
        return max(self.ranks) + 1


NDEC_1 = Protocol(name="ndec-1")
# facebookresearch/isc2021 isc/descriptor_matching.py, scripts/compute_metrics.py: at most 500,000 pairs, 256 dimensions
ISC2021 = Protocol(name="isc2021", fixed_cap=500_000, max_dimension=256)
# The competition's scorer, a copy in lyakaap/ISC21-Descriptor-Track-1st scripts/eval_metrics.py: 10 x labelled queries.
DRIVENDATA = Protocol(name="drivendata", unreached=0.0, max_dimension=256)
# facebookresearch/sscd-copy-detection sscd/disc_eval.py, and juntae9926/RDCD rdcd/ndec_eval.py after it: k = 10.
SSCD = Protocol(name="sscd", per_query=True, unreached=0.0)

PROTOCOLS = {protocol.name: protocol for protocol in (NDEC_1, ISC2021, DRIVENDATA, SSCD)}
_ALIASES = {"rdcd": SSCD}

SSCD_NORMALISATION = Normalisation(
    name="sscd-1.0[0,2]",
    factor=1.0,
    ranks=(0, 1, 2),
    source="facebookresearch/sscd-copy-detection sscd/disc_eval.py",
)
ISC2021_NORMALISATION = Normalisation(
    name="isc2021-2x10th",
    factor=2.0,
    ranks=(9,),
    source="facebookresearch/isc2021 scripts/score_normalization.py",
)
NORMALISATIONS = (SSCD_NORMALISATION, ISC2021_NORMALISATION)


def get_protocol(name: str) -> Protocol:
    """Return the protocol called ``name``.

    Raises
    ------
    UsageError
        If there is none of that name.
    """
    known = PROTOCOLS | _ALIASES
    if name not in known:
        raise UsageError(f"protocol {name!r} is unknown", hint=f"known: {', '.join(sorted(known))}")
    return known[name]
