"""The protocol table: one submission under every published protocol, from one search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndec_bench.protocol import PROTOCOLS
from ndec_bench.results.record import ProtocolEntry
from ndec_bench.scoring.context import NOT_NORMALISED
from ndec_bench.scoring.parts import score_list

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ndec_bench.protocol import Protocol
    from ndec_bench.scoring.context import Context
    from ndec_bench.scoring.lists import Lists


def entries(normalisations: Sequence[str]) -> Iterator[tuple[str, Protocol, str]]:
    """Yield name, protocol and score normalisation of each entry of a table with these ``normalisations``."""
    for score_norm in normalisations:
        for name, protocol in PROTOCOLS.items():
            yield name if score_norm == NOT_NORMALISED else f"{name}+{score_norm}", protocol, score_norm


def protocol_table(lists: Lists, context: Context) -> dict[str, ProtocolEntry]:
    """Return the entries by name; those that a list of pairs cannot support are left out."""
    split, facts = context.split, context.facts
    table = {}
    for name, protocol, score_norm in entries(facts.normalisations):
        if not lists.complete("all", protocol):
            continue
        metric = facts.metric if score_norm == NOT_NORMALISED else "ip"
        parts = {
            part: score_list(part, lists.pairs(part, protocol, score_norm), context.truth, protocol)[0]
            for part in split.parts
            if lists.complete(part, protocol)
        }
        most = protocol.max_dimension
        table[name] = ProtocolEntry(
            **parts["all"].model_dump(),
            protocol=protocol.name,
            candidates=protocol.candidates(len(split.query_ids)),
            metric=metric,
            score_norm=score_norm,
            signature=context.signature(protocol, metric, score_norm),
            within_rules=not (most and facts.dimensions and facts.dimensions > most),
            parts=parts,
        )
    return table
