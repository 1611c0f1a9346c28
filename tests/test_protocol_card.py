"""All parts and protocols from one search, against a slow plain account of the same rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndec_bench.data.ground_truth import GroundTruth
from ndec_bench.data.split import Split
from ndec_bench.descriptors import Descriptors, Submission
from ndec_bench.errors import SubmissionError
from ndec_bench.matches import Matches
from ndec_bench.protocol import DRIVENDATA, ISC2021, NDEC_1, NORMALISATIONS, PROTOCOLS, SSCD
from ndec_bench.results.record import Signature
from ndec_bench.scoring.score import Options, score_descriptors, score_matches

if TYPE_CHECKING:
    from ndec_bench.protocol import Protocol

CARD = Options(all_protocols=True, replicates=0)
Pair = tuple[float, str, str]


def plain_scores(submission: Submission, score_norm: str) -> list[Pair]:
    """(score, query, reference) of every pair, in Python floats, component by component."""
    ip = score_norm != "none" or submission.metric == "ip"
    references = np.concatenate([submission.references.read(0, len(submission.references))]).tolist()
    scored = []
    for query, q in zip(submission.queries.ids, submission.queries.vectors.tolist(), strict=True):
        bias = plain_bias(submission, q, score_norm)
        for reference, r in zip(submission.references.ids, references, strict=True):
            score = plain_score(q, r, ip=ip)
            scored.append((score if score_norm == "none" else score - bias, query, reference))
    return scored


def plain_score(q: list[float], r: list[float], *, ip: bool) -> float:
    total = 0.0
    for a, b in zip(q, r, strict=True):
        total += a * b if ip else (a - b) * (a - b)
    return total if ip else -total


def plain_bias(submission: Submission, q: list[float], score_norm: str) -> float:
    if score_norm == "none":
        return 0.0
    assert submission.background is not None
    background = submission.background.read(0, len(submission.background)).tolist()
    nearest = sorted((plain_score(q, t, ip=True) for t in background), reverse=True)
    if score_norm == "sscd-1.0[0,2]":
        return 1.0 * ((nearest[0] + nearest[1] + nearest[2]) / 3)
    return 2.0 * nearest[9]


def plain_list(scored: list[Pair], members: frozenset[str], protocol: Protocol) -> list[Pair]:
    own = sorted(((s, q, r) for s, q, r in scored if q in members), key=lambda pair: (-pair[0], pair[1], pair[2]))
    if not protocol.per_query:
        return own[: 500_000 if protocol.name == "isc2021" else 10 * len(members)]
    kept: dict[str, int] = {}
    first = []
    for pair in own:
        kept[pair[1]] = kept.get(pair[1], 0) + 1
        if kept[pair[1]] <= 10:
            first.append(pair)
    return first


def plain_numbers(ranked: list[Pair], split: Split, members: frozenset[str]) -> tuple[float, float | None]:
    """µAP and recall@P90, wrong pairs first at equal score."""
    true = {pair for pair in split.truth.pairs if pair[0] in members}
    worst_first = sorted(ranked, key=lambda pair: (-pair[0], (pair[1], pair[2]) in true))
    found, total, best = 0, 0.0, None
    for place, (_, query, reference) in enumerate(worst_first, start=1):
        if (query, reference) in true:
            found += 1
            total += found / place
            if found / place >= 0.9:
                best = found / len(true)
    return (total / len(true) if true else 0.0), best


def made(seed: int, *, levels: int, metric: str) -> tuple[Submission, Split]:
    generator = np.random.default_rng(seed)
    query_ids = tuple(f"Q{i:02d}" for i in range(12))
    reference_ids = tuple(f"R{i:02d}" for i in range(40))
    r = generator.integers(-levels, levels + 1, (40, 4)) + 0.25
    q = generator.integers(-levels, levels + 1, (12, 4)) + 0.25
    q[:5] = r[:5]
    b = generator.integers(-levels, levels + 1, (15, 4)) + 0.25
    submission = Submission(
        queries=Descriptors(query_ids, q.astype(np.float32)),
        references=Descriptors(reference_ids, r.astype(np.float32)),
        background=Descriptors(tuple(f"T{i:02d}" for i in range(15)), b.astype(np.float32)),
        metric=metric,  # type: ignore[arg-type]
    )
    truth = GroundTruth(query_ids, tuple((f"Q{i:02d}", f"R{i:02d}") for i in range(6)))
    own = {"mine": frozenset(query_ids[3:9])}
    return submission, Split("drawn", truth, frozenset(query_ids[8:]), reference_ids, own_parts=own)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), levels=st.integers(1, 3), metric=st.sampled_from(["l2", "ip"]))
def test_every_entry_and_part_follows_its_rules(seed: int, levels: int, metric: str) -> None:
    submission, split = made(seed, levels=levels, metric=metric)
    result = score_descriptors(submission, split, options=CARD)
    assert result.protocols is not None
    assert len(result.protocols) == len(PROTOCOLS) * (1 + len(NORMALISATIONS))
    for entry in result.protocols.values():
        protocol = PROTOCOLS[entry.protocol]
        scored = plain_scores(submission, entry.score_norm)
        assert set(entry.parts) == {"all", "isc", "mine"}
        for part, numbers in entry.parts.items():
            ranked = plain_list(scored, split.parts[part], protocol)
            micro_ap, recall = plain_numbers(ranked, split, split.parts[part])
            assert numbers.predictions == len(ranked)
            assert numbers.micro_ap == pytest.approx(micro_ap, abs=1e-12)
            assert numbers.recall_at_p90 == (protocol.unreached if recall is None else pytest.approx(recall, abs=1e-12))
        assert entry.micro_ap == entry.parts["all"].micro_ap
    for part, score in result.parts.items():
        assert score.micro_ap == result.protocols["ndec-1"].parts[part].micro_ap


def test_the_entries_say_which_rules_they_followed() -> None:
    submission, split = made(1, levels=3, metric="l2")
    card = score_descriptors(submission, split, options=CARD).protocols
    assert card is not None
    signatures = {name: Signature.parse(entry.signature) for name, entry in card.items()}
    assert signatures["sscd"].candidates == "query10"
    assert signatures["isc2021"].candidates == "global500000"
    assert signatures["ndec-1"].candidates == "global120"
    assert signatures["sscd+sscd-1.0[0,2]"].metric == "ip"
    assert signatures["sscd+sscd-1.0[0,2]"].score_norm == "sscd-1.0[0,2]"
    assert signatures["isc2021+isc2021-2x10th"].score_norm == "isc2021-2x10th"
    assert signatures["sscd"].metric == "l2"


def test_a_bias_per_query_leaves_the_recall_at_1_of_query_lists_alone() -> None:
    """The invariant of specs and papers: with lists of single queries, a query's own order does not move."""
    submission, split = made(5, levels=3, metric="ip")
    card = score_descriptors(submission, split, options=CARD).protocols
    assert card is not None
    assert card["sscd"].recall_at_1 == card["sscd+sscd-1.0[0,2]"].recall_at_1 == card["sscd+isc2021-2x10th"].recall_at_1
    assert card["sscd"].micro_ap != card["sscd+sscd-1.0[0,2]"].micro_ap


def test_without_background_there_is_no_normalisation() -> None:
    submission, split = made(1, levels=3, metric="l2")
    alone = Submission(submission.queries, submission.references)
    card = score_descriptors(alone, split, options=CARD).protocols
    assert card is not None
    assert set(card) == {"ndec-1", "isc2021", "drivendata", "sscd"}
    given_apart = Options(all_protocols=True, replicates=0, background=submission.background)
    again = score_descriptors(alone, split, options=given_apart).protocols
    assert again == score_descriptors(submission, split, options=CARD).protocols


def test_wide_descriptors_are_outside_the_rules_of_the_competition() -> None:
    generator = np.random.default_rng(0)
    sides = [
        Descriptors(tuple(f"{s}{i:02d}" for i in range(12)), generator.normal(size=(12, 257)).astype(np.float32))
        for s in "QR"
    ]
    truth = GroundTruth(sides[0].ids, (("Q00", "R00"),))
    card = score_descriptors(Submission(*sides), Split("wide", truth), options=CARD).protocols
    assert card is not None
    assert [name for name, entry in card.items() if not entry.within_rules] == ["isc2021", "drivendata"]


def test_a_background_of_another_dimension_is_refused() -> None:
    submission, split = made(1, levels=3, metric="l2")
    other = Descriptors(("T0", "T1"), np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32))
    with pytest.raises(SubmissionError, match="background has 2 dimensions, submission has 4"):
        score_descriptors(submission, split, options=Options(all_protocols=True, background=other))


@pytest.mark.parametrize("protocol", [NDEC_1, ISC2021, DRIVENDATA, SSCD])
def test_one_protocol_alone_gives_the_numbers_of_its_entry(protocol: Protocol) -> None:
    submission, split = made(3, levels=2, metric="l2")
    card = score_descriptors(submission, split, options=CARD).protocols
    alone = score_descriptors(submission, split, options=Options(protocol=protocol, replicates=0))
    assert card is not None
    entry = card[protocol.name]
    assert alone.protocol == protocol.name
    assert alone.signature == entry.signature
    for part, score in alone.parts.items():
        assert score.micro_ap == entry.parts[part].micro_ap
        assert score.recall_at_p90 == entry.parts[part].recall_at_p90


def test_pairs_support_what_they_can() -> None:
    """All pairs support the whole card; the global list alone leaves out what it cannot hold."""
    submission, split = made(3, levels=2, metric="l2")
    scored = plain_scores(submission, "none")
    everything = Matches(
        *(np.array(column) for column in ([p[1] for p in scored], [p[2] for p in scored], [p[0] for p in scored]))
    )
    by_pairs = score_matches(everything, split, options=CARD)
    by_descriptors = score_descriptors(submission, split, options=CARD)
    assert by_pairs.truncated
    assert by_pairs.predictions_sha256 == by_descriptors.predictions_sha256
    assert by_pairs.protocols is not None
    assert by_descriptors.protocols is not None
    assert set(by_pairs.protocols) == {"ndec-1", "drivendata", "sscd"}  # 480 pairs cannot fill a list of 500,000
    for name, entry in by_pairs.protocols.items():
        assert entry.micro_ap == by_descriptors.protocols[name].micro_ap
    full = score_matches(everything.sorted(120), split, options=CARD)
    assert not full.truncated
    assert full.protocols is not None
    assert set(full.protocols) == {"ndec-1", "drivendata"}
    assert full.parts["all"].complete
    assert not full.parts["isc"].complete
    few = score_matches(everything.sorted(50), split, options=CARD)
    assert few.protocols is not None
    assert set(few.protocols) == {"ndec-1", "isc2021", "drivendata", "sscd"}
    assert all(part.complete for part in few.parts.values())
