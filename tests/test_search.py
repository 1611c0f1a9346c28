"""The search against a plain one: every pair, one component at a time in Python floats, sorted as the protocol says."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ndec_bench.descriptors import Descriptors
from ndec_bench.errors import UsageError
from ndec_bench.search import RATIO, Found, PairRule, Rule, Wanted, exact, parse_rule, search
from ndec_bench.search.frame import Frame
from ndec_bench.search.lists import GlobalList, QueryLists
from ndec_bench.search.products import backend

if TYPE_CHECKING:
    from ndec_bench.protocol import Metric

Line = tuple[str, str, str]
KINDS = ["normal", "unit", "far from centred", "bits", "counts of unequal norm", "planted duplicates", "huge", "tiny"]


def described(letter: str, vectors: np.ndarray) -> Descriptors:
    return Descriptors(tuple(f"{letter}{i:04d}" for i in range(len(vectors))), vectors.astype(np.float32))


def make(kind: str, queries: int, references: int, dimension: int, seed: int = 7) -> tuple[Descriptors, Descriptors]:
    generator = np.random.default_rng(seed)
    q, r = generator.normal(size=(queries, dimension)), generator.normal(size=(references, dimension))
    if kind == "unit":
        q, r = q / np.linalg.norm(q, axis=1)[:, None], r / np.linalg.norm(r, axis=1)[:, None]
    if kind == "far from centred":
        q, r = q * 0.1 + 1000.0, r * 0.1 + 1000.0
    if kind == "bits":
        q, r = np.sign(q), np.sign(r)
    if kind == "counts of unequal norm":
        q, r = np.rint(q * 3) + 1, np.rint(r * 3) + 1
        q[~q.any(axis=1)], r[~r.any(axis=1)] = 1, 1
    if kind == "planted duplicates":
        r[references // 2 :] = r[: references - references // 2]
    if kind == "huge":
        q, r = q * 1e37, r * 1e37
    if kind == "tiny":
        q, r = q * 1e-38, r * 1e-38
    return described("Q", q), described("R", r)


def record(q: list[float], r: list[float], metric: Metric) -> float:
    total = 0.0
    for a, b in zip(q, r, strict=True):
        total += a * b if metric == "ip" else (a - b) * (a - b)
    return total if metric == "ip" else -total


def plain_search(queries: Descriptors, references: Descriptors, want: Wanted) -> list[Line]:
    pairs = []
    for row, (query, q) in enumerate(zip(queries.ids, queries.vectors.tolist(), strict=True)):
        if want.members is not None and not want.members[row]:
            continue
        own = []
        for column, (reference, r) in enumerate(zip(references.ids, references.vectors.tolist(), strict=True)):
            score = record(q, r, want.metric)
            score = score if want.bias is None else score - float(want.bias[row])
            ruled = score if want.rule is None else after_rule(score, want.rule, row, column)
            if ruled is not None:
                own.append(
                    (-(-0.0 if ruled == 0 and want.bias is None and want.metric == "l2" else ruled), query, reference)
                )
        pairs += sorted(own)[: want.cap] if want.per_query else own
    return [(q, r, (-score).hex()) for score, q, r in sorted(pairs)[: None if want.per_query else want.cap]]


def after_rule(score: float, rule: PairRule, row: int, column: int) -> float | None:
    nq, nr, strength = float(rule.query_norms[row]), float(rule.reference_norms[column]), rule.rule.strength
    if strength is None:
        return score if nq <= nr else None
    if rule.rule.name == "hinge":
        return score - strength * max(0.0, nq / nr - 1.0)
    return score - strength * ((nq - nr) / (nq + nr))


def lines(queries: Descriptors, references: Descriptors, found: Found) -> list[Line]:
    rows = zip(found.query_rows.tolist(), found.reference_rows.tolist(), found.scores.tolist(), strict=True)
    return [(queries.ids[q], references.ids[r], score.hex()) for q, r, score in rows]


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("kind", KINDS)
def test_agrees_with_the_plain_search_to_the_bit(metric: Metric, kind: str) -> None:
    queries, references = make(kind, 12, 40, 9)
    for cap in (1, 17, 120, 480, 10_000):
        want = Wanted(cap, metric)
        found = search(queries, references, {"a": want}, query_rows=5, reference_rows=7)["a"]
        assert lines(queries, references, found) == plain_search(queries, references, want)


@pytest.mark.parametrize("library", ["auto", "blas", "faiss", "torch"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_backend_gives_the_same_lists_in_one_pass(library: str, kind: str) -> None:
    queries, references = make(kind, 30, 160, 16)
    generator = np.random.default_rng(1)
    members = generator.random(30) < 0.5
    norms = PairRule(RATIO, generator.random(30).astype(np.float32), generator.random(160).astype(np.float32))
    tilted, hinged = (replace(norms, rule=Rule(name, 2.0)) for name in ("tilt", "hinge"))
    bias = generator.normal(size=30)
    wanted = {
        "all": Wanted(300),
        "some": Wanted(150, members=members),
        "own": Wanted(3, per_query=True),
        "own of some": Wanted(3, "ip", per_query=True, members=members),
        "shifted": Wanted(200, "ip", bias=bias),
        "ruled": Wanted(200, rule=norms),
        "tilted": Wanted(200, rule=tilted),
        "hinged, shifted": Wanted(200, "ip", bias=bias, rule=hinged),
        "own, tilted": Wanted(3, "ip", per_query=True, members=members, rule=tilted),
    }
    found = search(queries, references, wanted, backend=library, threads=2, query_rows=8, reference_rows=50)
    for name, want in wanted.items():
        assert lines(queries, references, found[name]) == plain_search(queries, references, want), name


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    cap=st.integers(1, 260),
    levels=st.integers(1, 4),
    offset=st.sampled_from([0.0, 0.1, 100.0]),
    metric=st.sampled_from(["l2", "ip"]),
    per_query=st.booleans(),
    threads=st.integers(1, 2),
    block=st.integers(1, 40),
)
def test_rows_blocks_and_threads_change_nothing(
    seed: int, cap: int, levels: int, offset: float, metric: Metric, per_query: bool, threads: int, block: int
) -> None:
    generator = np.random.default_rng(seed)
    q = generator.integers(-levels, levels + 1, (8, 5)) + offset
    r = generator.integers(-levels, levels + 1, (30, 5)) + offset
    q[~q.any(axis=1)], r[~r.any(axis=1)] = 1, 1
    q[0], r[0] = 2, 3  # never all equal
    queries, references = described("Q", q), described("R", r)
    want = Wanted(cap, metric, per_query=per_query)
    mixed_queries, mixed = (side.take(generator.permutation(len(side))) for side in (queries, references))
    found = search(mixed_queries, mixed, {"a": want}, threads=threads, query_rows=1 + block // 3, reference_rows=block)[
        "a"
    ]
    assert lines(mixed_queries, mixed, found) == plain_search(queries, references, want)


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    cap=st.integers(1, 60),
    exact_products=st.booleans(),
    like_norms=st.booleans(),
    rule=st.sampled_from(["ratio", "hinge", "tilt"]),
    strength=st.sampled_from([1e-9, 0.1, 3.0, 1e12]),
    metric=st.sampled_from(["l2", "ip"]),
    shifted=st.booleans(),
    per_query=st.booleans(),
    beside=st.booleans(),
    block=st.integers(1, 40),
)
def test_rules_agree_with_the_plain_search_to_the_bit(
    seed: int,
    cap: int,
    exact_products: bool,
    like_norms: bool,
    rule: str,
    strength: float,
    metric: Metric,
    shifted: bool,
    per_query: bool,
    beside: bool,
    block: int,
) -> None:
    """Ties by the dozen, norms of a few values or of forty orders of magnitude, blocks down to one reference."""
    generator = np.random.default_rng(seed)
    q, r = generator.integers(-2, 3, (8, 5)).astype(float), generator.integers(-2, 3, (30, 5)).astype(float)
    if not exact_products:
        q, r = q * 0.1 + 0.3, r * 0.1 + 0.3
    q[~q.any(axis=1)], r[~r.any(axis=1)] = 1, 1
    q[0], r[0] = 2, 3  # never all equal
    queries, references = described("Q", q), described("R", r)
    if like_norms:
        norms = [generator.choice([0.5, 1.0, 1.5, 3.0], size) for size in (8, 30)]
    else:
        norms = [10.0 ** generator.uniform(-20, 20, size) for size in (8, 30)]
    ruled = PairRule(
        RATIO if rule == "ratio" else Rule(rule, strength), norms[0].astype(np.float32), norms[1].astype(np.float32)
    )
    bias = generator.choice([0.0, 0.1, 1.0], 8) if shifted else None
    want = Wanted(cap, metric, per_query=per_query, bias=bias, rule=ruled)
    expected = plain_search(queries, references, want)
    mixed_q, mixed_r = generator.permutation(8), generator.permutation(30)
    mixed = Wanted(
        cap,
        metric,
        per_query=per_query,
        bias=None if bias is None else bias[mixed_q],
        rule=PairRule(ruled.rule, ruled.query_norms[mixed_q], ruled.reference_norms[mixed_r]),
    )
    sides = queries.take(mixed_q), references.take(mixed_r)
    wanted = {"a": mixed, "plain": Wanted(cap)} if beside else {"a": mixed}
    with pytest.MonkeyPatch.context() as patch:
        # Thresholds rise with the first pairs, where a list of this size would else never ask for one.
        patch.setattr("ndec_bench.search.lists._SPARE", 0)
        found = search(*sides, wanted, query_rows=1 + block // 3, reference_rows=block)["a"]
    assert lines(*sides, found) == expected


STRENGTHS = [1e-3, 0.1, 3.0, 1e9, 1e11, 1e14]


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("name", ["hinge", "tilt"])
@pytest.mark.parametrize("kind", [*KINDS, "halves"])
def test_bounds_hold_under_a_penalty_of_any_size(kind: str, name: str, metric: Metric) -> None:
    """An estimate lies within its margin of the score of record; a pair that just reaches its list's threshold passes
    the threshold of the product, in blocks of like and unlike norms. Of "halves" the product is zero for ``l2``.
    """
    queries, references = make("counts of unequal norm" if kind == "halves" else kind, 20, 40, 6)
    if kind == "halves":
        r = np.zeros((40, 6))
        r[:, 0], r[20:, 1] = 2.0, 2.0
        queries, references = (
            described("Q", queries.vectors * (0, 0, 1, 1, 1, 1) + (1, 1, 0, 0, 0, 0)),
            described("R", r),
        )
    generator = np.random.default_rng(5)
    rows, columns = np.repeat(np.arange(20), 40), np.tile(np.arange(40), 20)
    with backend("blas") as product, ThreadPoolExecutor(1) as executor:
        for strength in STRENGTHS:
            norms = [(0.5 + generator.random(size)).astype(np.float32) for size in (20, 40)]
            norms[1][10:30] = norms[1][10]
            rule = PairRule(Rule(name, strength), norms[0], norms[1])
            bias = generator.normal(size=20) if metric == "ip" else None
            run = exact._Search(queries, references, {"a": Wanted(9, metric, bias=bias, rule=rule)}, product, executor)
            records = run._rescorer("a")(rows, columns).reshape(20, 40)
            whole = run._tile(0, 20, *_block(run, references, 0, 40), 0)["a"]
            assert len(whole[0]) == 800
            assert (np.abs(whole[2] - records[whole[0], whole[1]]) <= whole[3]).all()
            for start, stop in ((0, 40), *((column, column + 1) for column in range(40)), (10, 30)):
                block, side = _block(run, references, start, stop)
                _, _, products = product.hits(run._side.vectors, block, np.full(20, -np.inf, np.float32))
                for column in range(start, stop):
                    run._lists["a"].thresholds[:] = records[:, column]
                    asked = run._product_thresholds(0, 20, side, start)
                    assert (products.reshape(20, -1)[:, column - start] >= asked).all()


def _block(run: Any, references: Descriptors, start: int, stop: int) -> Any:  # noqa: ANN401
    side = run._frame.references(references.read(start, stop), references.survey.squared_norms[start:stop])
    return run._product.block(side.vectors), side


@pytest.mark.parametrize("rule", ["ratio", "hinge:1000", "tilt:1000"])
@pytest.mark.parametrize("kind", ["unit", "far from centred", "bits"])
def test_rules_start_from_a_sample_of_their_own_rows(rule: str, kind: str) -> None:
    """With 3,200 references a sample guesses the cut: it must see the norms of the rows that it took."""
    queries, references = make(kind, 40, 3200, 8)
    parsed = parse_rule(rule)
    assert parsed is not None
    # Whoever took the norms of the first rows for those of the sample would guess far too high and look again.
    few = np.where(np.arange(3200) < 16, 3.0, 1.0).astype(np.float32)
    norms = PairRule(parsed, np.full(40, 2.0, np.float32), few)
    stages = []
    want = Wanted(400, rule=norms)
    found = search(queries, references, {"a": want}, progress=lambda stage, *_: stages.append(stage))["a"]
    assert set(stages) == {"searching references"}
    assert lines(queries, references, found) == plain_search(queries, references, want)


def test_blocks_without_a_pair_to_keep_ask_for_no_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a list that never fills would look at every pair there is."""
    queries, references = make("normal", 20, 400, 8)
    norms = PairRule(RATIO, np.full(20, 2.0, np.float32), np.ones(400, np.float32))
    norms.reference_norms[50] = 3.0
    seen = []
    candidates = exact._Search._candidates

    def spied(self: object, name: str, query_rows: np.ndarray, *rest: Any) -> Any:  # noqa: ANN401
        seen.append(len(query_rows))
        return candidates(self, name, query_rows, *rest)

    monkeypatch.setattr(exact._Search, "_candidates", spied)
    want = Wanted(200, rule=norms)
    found = search(queries, references, {"a": want}, reference_rows=40)["a"]
    assert lines(queries, references, found) == plain_search(queries, references, want)
    assert len(found) == 20
    assert sum(seen) == 20 * 40


def test_a_sample_that_misleads_costs_a_second_pass_and_changes_nothing() -> None:
    """The sample sees only references that equal queries; without the second look all others would be lost."""
    generator = np.random.default_rng(2)
    q = generator.normal(size=(40, 8))
    r = generator.normal(size=(3200, 8)) + 5.0
    sampled = [block * 200 + row for block in range(16) for row in range(4)]
    r[sampled] = q[np.arange(len(sampled)) % 40]
    queries, references = described("Q", q), described("R", r)
    stages = []
    want = Wanted(4000)
    found = search(queries, references, {"a": want}, progress=lambda stage, *_: stages.append(stage))["a"]
    assert any(stage.endswith("again") for stage in stages)
    assert lines(queries, references, found) == plain_search(queries, references, want)


def test_a_good_sample_needs_one_pass() -> None:
    queries, references = make("unit", 40, 3200, 8)
    stages = []
    want = Wanted(400)
    found = search(queries, references, {"a": want}, progress=lambda stage, *_: stages.append(stage))["a"]
    assert set(stages) == {"searching references"}
    assert lines(queries, references, found) == plain_search(queries, references, want)


@pytest.mark.parametrize("kind", ["unit", "far from centred", "counts of unequal norm"])
def test_the_guess_from_the_sample_is_near_the_cut(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guess far below the cut would be safe and useless: most pairs would have to be looked at again."""
    queries, references = make(kind, 300, 8000, 16)
    floors: dict[str, float] = {}
    guess = exact._guessed

    def spied(*arguments: Any) -> dict[str, float]:  # noqa: ANN401
        floors.update(guess(*arguments))
        return floors

    monkeypatch.setattr(exact, "_guessed", spied)
    wanted = {"list": Wanted(30_000), "longer": Wanted(120_000)}
    found = search(queries, references, wanted)
    assert found["list"].scores[-1] >= floors["list"]
    assert int((found["longer"].scores >= floors["list"]).sum()) < 90_000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_the_bound_holds_for_any_order_of_additions(kind: str, metric: Metric) -> None:
    """The estimate of each pair, from products added in three orders, lies within its bound of the exact score."""
    queries, references = make(kind, 6, 9, 40)
    frame = Frame(queries, references, metric)
    q = frame.queries(queries.vectors, queries.survey.squared_norms)
    r = frame.references(references.vectors, references.survey.squared_norms)
    rows, columns = np.divmod(np.arange(54), 9)
    bound = frame.error(
        metric, (q.norms[rows], q.slack[metric][rows]), (r.norms[columns], r.slack[metric][columns], r.riding[columns])
    )
    terms = q.vectors[rows] * r.vectors[columns]
    orders = [np.cumsum(terms, axis=1)[:, -1], np.cumsum(terms[:, ::-1], axis=1)[:, -1], terms.sum(axis=1)]
    for products in orders:
        estimates = frame.unit[metric] * products.astype(np.float64) + q.own[metric][rows] + r.own[metric][columns]
        for pair, (row, column) in enumerate(zip(rows.tolist(), columns.tolist(), strict=True)):
            x = [Fraction(v) for v in queries.vectors[row].tolist()]
            y = [Fraction(v) for v in references.vectors[column].tolist()]
            true = sum((a * b if metric == "ip" else -((a - b) ** 2) for a, b in zip(x, y, strict=True)), Fraction(0))
            of_record = record(queries.vectors[row].tolist(), references.vectors[column].tolist(), metric)
            assert abs(Fraction(float(estimates[pair])) - true) <= Fraction(float(bound[pair]))
            assert abs(float(estimates[pair]) - of_record) <= bound[pair]
    assert frame.exact == (kind in ("bits", "counts of unequal norm"))
    assert frame.exact == (not bound.any())


def test_the_bound_is_tight_enough_to_be_of_use() -> None:
    """On centred unit vectors it is some 1e-5, and centring keeps it small on features far from the origin."""
    for kind, most in (("unit", 1e-4), ("far from centred", 1e-2)):
        queries, references = make(kind, 20, 30, 256)
        frame = Frame(queries, references, "l2")
        q = frame.queries(queries.vectors, queries.survey.squared_norms)
        r = frame.references(references.vectors, references.survey.squared_norms)
        bound = frame.error("l2", (q.norms[:20], q.slack["l2"]), (r.norms[:20], r.slack["l2"][:20], r.riding[:20]))
        assert bound.max() < most


def test_a_plain_float32_product_would_choose_other_pairs() -> None:
    """The reason for the fixed order: uncentred float32 features, where a float32 matrix product errs visibly."""
    queries, references = make("far from centred", 20, 400, 64)
    q, r = queries.vectors, references.vectors
    naive = 2 * (q @ r.T) - (q * q).sum(1)[:, None] - (r * r).sum(1)[None, :]
    top = np.argsort(-naive, axis=None, kind="stable")[:200]
    ours = search(queries, references, {"a": Wanted(200)})["a"]
    assert {divmod(i, 400) for i in top.tolist()} != set(
        zip(ours.query_rows.tolist(), ours.reference_rows.tolist(), strict=True)
    )


@pytest.mark.parametrize("per_query", [False, True])
def test_memory_is_bounded_under_any_number_of_ties(per_query: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair ties, in data without an exact product: the lists re-score and cut, and never hold it all."""
    monkeypatch.setattr("ndec_bench.search.lists._SPARE", 100)
    monkeypatch.setattr(exact, "_FIRST_PAIRS", 1000)
    held = []
    kind = QueryLists if per_query else GlobalList
    shrink = kind.shrink
    monkeypatch.setattr(kind, "shrink", lambda self: (shrink(self), held.append(len(self)))[0])
    generator = np.random.default_rng(0)
    vector = generator.normal(size=16)
    q, r = np.tile(vector, (50, 1)), np.tile(vector, (1000, 1))
    q[0], r[0] = vector * 0.9, vector * 1.1
    queries, references = described("Q", q), described("R", r)
    mixed = references.take(generator.permutation(1000))
    want = Wanted(2 if per_query else 100, per_query=per_query)
    found = search(queries, mixed, {"a": want}, reference_rows=20)["a"]
    assert max(held) <= 3 * 100 + 100
    if per_query:
        assert lines(queries, mixed, found) == plain_search(queries, references, want)
    else:
        assert lines(queries, mixed, found) == [("Q0001", f"R{i:04d}", "-0x0.0p+0") for i in range(1, 101)]


@pytest.mark.parametrize("scale", [1.0, 0.1])
def test_a_distance_of_zero_is_negated_and_a_product_of_zero_is_not(scale: float) -> None:
    """As the formulas say, where the float32 product is exact (whole numbers) and where pairs are re-scored."""
    queries = described("Q", scale * np.array([[1.0, 0.0], [2.0, 5.0]]))
    references = described("R", scale * np.array([[-0.0, 1.0], [1.0, 0.0]]))
    zeros = {}
    for metric in ("l2", "ip"):
        found = search(queries, references, {"a": Wanted(4, metric)})["a"]
        zeros[metric] = [score.hex() for score in found.scores.tolist() if score == 0.0]
    assert zeros == {"l2": ["-0x0.0p+0"], "ip": ["0x0.0p+0"]}


def test_unknown_backends_and_counts_are_refused() -> None:
    queries, references = make("normal", 3, 4, 2)
    with pytest.raises(UsageError, match="backend 'gpu' is unknown; known: auto, blas, faiss, torch"):
        search(queries, references, {"a": Wanted(2)}, backend="gpu")
    with pytest.raises(UsageError, match="0 threads"):
        search(queries, references, {"a": Wanted(2)}, threads=0)


def test_a_backend_that_is_not_installed_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(UsageError, match=r"faiss is not installed; .*pip install faiss-cpu"), backend("faiss"):
        pass


def test_a_library_that_multiplies_in_less_than_float32_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, references = make("normal", 30, 40, 32)
    true_matmul = np.matmul

    def as_bfloat16(a: np.ndarray, b: np.ndarray, out: np.ndarray) -> None:
        a, b = ((np.ascontiguousarray(x).view(np.uint32) & 0xFFFF0000).view(np.float32) for x in (a, b))
        true_matmul(a, b, out=out)

    monkeypatch.setattr(np, "matmul", as_bfloat16)
    with pytest.raises(UsageError, match="backend blas does not multiply in float32 precision"):
        search(queries, references, {"a": Wanted(10)})


def test_an_interrupt_stops_the_workers() -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    queries, references = make("normal", 30, 400, 8)
    with pytest.raises(KeyboardInterrupt):
        search(queries, references, {"a": Wanted(10)}, progress=interrupt, reference_rows=10)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("search")]
