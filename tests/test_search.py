import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndec_bench.descriptors import Descriptors
from ndec_bench.protocol import Metric
from ndec_bench.search import exact, search


def descriptors(letter: str, vectors: np.ndarray) -> Descriptors:
    return Descriptors(tuple(f"{letter}{i:04d}" for i in range(len(vectors))), vectors.astype(np.float32))


def plain_search(queries: Descriptors, references: Descriptors, cap: int, metric: Metric) -> list[tuple[str, str, str]]:
    """Every pair, one component at a time in Python floats, sorted as the protocol says."""
    pairs = []
    for query, q in zip(queries.ids, queries.vectors.tolist(), strict=True):
        for reference, r in zip(references.ids, references.vectors.tolist(), strict=True):
            score = 0.0
            for a, b in zip(q, r, strict=True):
                score += a * b if metric == "ip" else -((a - b) * (a - b))
            pairs.append((-score, query, reference))
    return [(query, reference, (-score).hex()) for score, query, reference in sorted(pairs)[:cap]]


def as_lines(matches: object) -> list[tuple[str, str, str]]:
    return [
        (str(q), str(r), s.hex())
        for q, r, s in zip(matches.query_ids, matches.reference_ids, matches.scores.tolist(), strict=True)  # type: ignore[attr-defined]
    ]


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("kind", ["normal", "far from centred", "integers with many ties", "planted duplicates"])
def test_agrees_with_the_plain_search_to_the_bit(metric: Metric, kind: str) -> None:
    generator = np.random.default_rng(7)
    q, r = generator.normal(size=(12, 9)), generator.normal(size=(40, 9))
    if kind == "far from centred":
        q, r = q + 1000.0, r + 1000.0
    if kind == "integers with many ties":
        q, r = np.sign(q), np.sign(r)
    if kind == "planted duplicates":
        r[20:] = r[:20]
    queries, references = descriptors("Q", q), descriptors("R", r)
    for cap in (1, 17, 120, 480, 10_000):
        assert as_lines(search(queries, references, cap, metric=metric)) == plain_search(
            queries, references, cap, metric
        )


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cap=st.integers(1, 200), levels=st.integers(1, 4))
def test_row_order_and_block_size_change_nothing(seed: int, cap: int, levels: int) -> None:
    generator = np.random.default_rng(seed)
    q = generator.integers(-levels, levels + 1, (8, 5)) + 0.1
    r = generator.integers(-levels, levels + 1, (30, 5)) + 0.1
    queries, references = descriptors("Q", q), descriptors("R", r)
    order = generator.permutation(30)
    shuffled = Descriptors(tuple(references.ids[i] for i in order), references.vectors[order])
    whole = search(queries, references, cap)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "_BLOCK_BYTES", 8 * 8 * 7)
        in_blocks = search(queries, shuffled, cap)
    assert whole.sha256 == in_blocks.sha256


def test_a_plain_float32_product_would_choose_other_pairs() -> None:
    """The reason for the fixed order: uncentred float32 features, where a float32 matrix product errs visibly."""
    generator = np.random.default_rng(3)
    q = (generator.normal(size=(20, 64)) + 300.0).astype(np.float32)
    r = (generator.normal(size=(400, 64)) + 300.0).astype(np.float32)
    naive = 2 * (q @ r.T) - (q * q).sum(1)[:, None] - (r * r).sum(1)[None, :]
    top = np.argsort(-naive, axis=None, kind="stable")[:200]
    ours = search(descriptors("Q", q), descriptors("R", r), 200)
    chosen = {(f"Q{i // 400:04d}", f"R{i % 400:04d}") for i in top.tolist()}
    assert chosen != set(zip(ours.query_ids.tolist(), ours.reference_ids.tolist(), strict=True))
