"""The protocol card: one submission under every published protocol, from one search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndec_bench.metrics import average_precision as metrics
from ndec_bench.protocol import PROTOCOLS
from ndec_bench.results.record import CardEntry, CardPart
from ndec_bench.scoring.lists import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ndec_bench.data.split import Split
    from ndec_bench.protocol import Metric, Protocol
    from ndec_bench.results.record import Signature
    from ndec_bench.scoring.lists import Lists
    from ndec_bench.scoring.parts import PairList, TruthTable


def entries(norms: Sequence[str]) -> Iterator[tuple[str, Protocol, str]]:
    """Yield name, protocol and normalisation of each entry of a card.

    ``norms`` are the normalisations at hand, ``none`` among them.
    """
    for score_norm in norms:
        for name, protocol in PROTOCOLS.items():
            yield name if score_norm == PLAIN else f"{name}+{score_norm}", protocol, score_norm


def protocol_card(
    lists: Lists,
    split: Split,
    truth: TruthTable,
    norms: Sequence[str],
    *,
    metric: Metric | None,
    dimension: int | None,
    sign: Callable[[Protocol, str, str], Signature],
) -> dict[str, CardEntry]:
    """Return the card by name of entry; entries that a list of pairs cannot support are left out.

    Parameters
    ----------
    lists
        Gives the list of each part under each protocol and normalisation.
    split, truth
        What is scored.
    norms
        Normalisations at hand, ``none`` among them.
    metric
        Of the submission; None for given scores.
    dimension
        Of the descriptors; None for given scores. Protocols that admit no more than 256 say so in ``within_rules``.
    sign
        Makes a signature of protocol, metric and normalisation.
    """
    card = {}
    for name, protocol, score_norm in entries(norms):
        if not lists.complete("all", protocol):
            continue
        used = "score" if metric is None else metric if score_norm == PLAIN else "ip"
        parts = {
            part: _part(lists.pairs(part, protocol, score_norm), part, split, truth, protocol)
            for part in split.parts
            if lists.complete(part, protocol)
        }
        card[name] = CardEntry(
            **parts["all"].model_dump(),
            protocol=protocol.name,
            candidates=protocol.candidates(len(split.query_ids)),
            metric=used,
            score_norm=score_norm,
            signature=str(sign(protocol, used, score_norm)),
            within_rules=not (protocol.max_dimension and dimension and dimension > protocol.max_dimension),
            parts=parts,
        )
    return card


def _part(pairs: PairList, part: str, split: Split, truth: TruthTable, protocol: Protocol) -> CardPart:
    positives = truth.positives_in(part)
    ranking = metrics.rank(pairs.scores, pairs.correct, positives)
    point = metrics.recall_at_precision(ranking, protocol.precision_target)
    ranks = metrics.true_ranks(pairs.codes, pairs.scores, pairs.correct)
    return CardPart(
        queries=len(split.parts[part]),
        positives=positives,
        predictions=len(pairs.scores),
        micro_ap=metrics.micro_ap(ranking),
        recall_at_p90=protocol.unreached if point is None else point.recall,
        threshold_at_p90=None if point is None else point.threshold,
        recall_at_1=metrics.recall_at_rank(ranks, positives, 1),
        recall_at_10=metrics.recall_at_rank(ranks, positives, 10),
    )
