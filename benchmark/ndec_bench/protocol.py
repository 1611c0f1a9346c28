"""The rules behind a score, each a frozen record with a name; a rule that moves a score gets a new name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ndec_bench.errors import UsageError

Metric = Literal["l2", "ip"]


@dataclass(frozen=True)
class Protocol:
    """The choices that turn scored pairs into numbers.

    Attributes
    ----------
    name
        Name and version, as it stands in signatures and in ``results/<protocol>/``.
    pairs_per_query
        The one list over all labelled queries holds the best ``pairs_per_query * queries`` pairs (global top-K).
    ties
        ``"worst"``: at equal score, pairs that are no match come before matches (isc2021 ``isc/metrics.py``).
    precision_target
        Precision that recall@P90 and its threshold must reach.
    recall_ranks
        Ranks k of recall@k.
    recall_levels
        Recalls at which precision is reported.
    """

    name: str
    pairs_per_query: int = 10
    ties: Literal["worst"] = "worst"
    precision_target: float = 0.9
    recall_ranks: tuple[int, ...] = (1, 10)
    recall_levels: tuple[float, ...] = (0.5, 0.7, 0.8)

    def cap(self, queries: int) -> int:
        """Return how many pairs the one list may hold for ``queries`` labelled queries."""
        return self.pairs_per_query * queries


NDEC_1 = Protocol(name="ndec-1")

PROTOCOLS = {NDEC_1.name: NDEC_1}


def get_protocol(name: str) -> Protocol:
    """Return the protocol called ``name``.

    Raises
    ------
    UsageError
        If there is none of that name.
    """
    if name not in PROTOCOLS:
        raise UsageError(f"protocol {name!r} is unknown", hint=f"known: {', '.join(sorted(PROTOCOLS))}")
    return PROTOCOLS[name]
