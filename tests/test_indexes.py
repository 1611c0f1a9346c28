"""Indexes of compressed vectors next to the exact search: Flat is exact, others by a plain computation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import faiss
import numpy as np
import pytest

import ndec_bench as nb
from ndec_bench.cli import run
from ndec_bench.data.ground_truth import write_ground_truth
from ndec_bench.descriptors import Descriptors, Submission, write_submission
from ndec_bench.errors import UsageError
from ndec_bench.scoring.indexes import score_indexes
from ndec_bench.scoring.score import Options

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUERIES, REFERENCES, DIMENSION = 60, 600, 16


@pytest.fixture(params=["l2", "ip"])
def submission(request: pytest.FixtureRequest) -> Submission:
    """Queries of which half are noisy copies of references; some references are equal."""
    metric: Literal["l2", "ip"] = request.param
    generator = np.random.default_rng(4)
    references = generator.normal(size=(REFERENCES, DIMENSION)).astype(np.float32)
    references[500:520] = references[:20]
    queries = generator.normal(size=(QUERIES, DIMENSION)).astype(np.float32)
    queries[:30] = references[:30] + 0.4 * queries[:30]
    return Submission(
        Descriptors(tuple(f"Q{row:03d}" for row in range(QUERIES)), queries),
        Descriptors(tuple(f"R{row:03d}" for row in range(REFERENCES)), references),
        metric=metric,
    )


@pytest.fixture
def split(tmp_path: Path) -> nb.Split:
    rows = [f"Q{row:03d},{f'R{row:03d}' if row < 30 else ''}\n" for row in range(QUERIES)]
    (tmp_path / "gt.csv").write_text("query_id,reference_id\n" + "".join(rows))
    return nb.Split.from_ground_truth(tmp_path / "gt.csv")


def test_flat_is_the_exact_search(submission: Submission, split: nb.Split) -> None:
    exact, flat, tree = score_indexes(submission, split, ["Flat", "IVF8,Flat"], nprobe=8)
    result = nb.score_descriptors(submission, split, options=Options(replicates=0)).parts["all"]
    for one in (exact, flat, tree):
        assert (one.micro_ap, one.recall_at_p90) == (result.micro_ap, result.recall_at_p90)
        assert one.list_recall == 1.0
    assert exact.bytes_per_reference == 4 * DIMENSION
    assert flat.bytes_per_reference == pytest.approx(4 * DIMENSION, rel=0.01)
    assert flat.build_seconds is not None
    assert flat.queries_per_second is not None


def decoded(index: faiss.Index) -> NDArray[np.float64]:
    return np.asarray(index.reconstruct_n(0, REFERENCES), dtype=np.float64)


def test_a_lossy_index_scores_as_its_decoded_vectors_do(submission: Submission, split: nb.Split) -> None:
    metric = faiss.METRIC_L2 if submission.metric == "l2" else faiss.METRIC_INNER_PRODUCT
    vectors = submission.references.read(0, REFERENCES)
    index = faiss.index_factory(DIMENSION, "SQ4", metric)
    index.train(vectors)
    index.add(vectors)
    rounded = Descriptors(submission.references.ids, decoded(index).astype(np.float32))
    result = nb.score(Submission(submission.queries, rounded, metric=submission.metric), split=split, replicates=0)
    exact, lossy = score_indexes(submission, split, ["SQ4"])
    assert lossy.micro_ap == pytest.approx(result.parts["all"].micro_ap, abs=1e-9)
    assert lossy.list_recall < exact.list_recall == 1.0
    assert lossy.bytes_per_reference < exact.bytes_per_reference / 4


def test_scores_are_those_that_the_index_computes(submission: Submission, split: nb.Split) -> None:
    sign, metric = (-1, faiss.METRIC_L2) if submission.metric == "l2" else (1, faiss.METRIC_INNER_PRODUCT)
    vectors = submission.references.read(0, REFERENCES)
    index = faiss.index_factory(DIMENSION, "PCA8,SQ8", metric)
    index.train(vectors)
    index.add(vectors)
    scores, rows = index.search(submission.queries.vectors, REFERENCES)
    query_ids = np.repeat(submission.queries.ids, REFERENCES)
    pairs = nb.Matches(
        query_ids, np.array(submission.references.ids)[rows.ravel()], sign * scores.ravel().astype(float)
    )
    result = nb.score_matches(pairs.sorted(10 * QUERIES), split, options=Options(replicates=0))
    assert score_indexes(submission, split, ["PCA8,SQ8"])[1].micro_ap == pytest.approx(
        result.parts["all"].micro_ap, abs=1e-6
    )


def test_every_kind_of_index_repeats(submission: Submission, split: nb.Split) -> None:
    factories = ["RR8,IVF4,PQ4x4", "PCA8,Flat", "HNSW16", "IVF16,SQ8"]
    first, again = (
        [
            (one.micro_ap, one.list_recall, one.bytes_per_reference)
            for one in score_indexes(submission, split, factories)
        ]
        for _ in range(2)
    )
    assert first == again
    assert all(0 < share <= 1 for _, share, _ in first)
    one_cell, all_cells = (
        score_indexes(submission, split, ["IVF16,Flat"], nprobe=nprobe)[1].list_recall for nprobe in (None, 16)
    )
    assert one_cell < all_cells == 1.0


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("Nonsense", "faiss refuses the index 'Nonsense'"),
        ("IVF4096,Flat", 'for 600 references "IVF16,Flat" fits'),
        ("PQ5", "faiss refuses the index 'PQ5'"),
        ("", "faiss refuses the index ''"),
    ],
)
def test_an_index_that_cannot_be_built_is_refused(
    submission: Submission, split: nb.Split, factory: str, message: str
) -> None:
    with pytest.raises(UsageError) as raised:
        score_indexes(submission, split, [factory])
    assert message in f"{raised.value.message}; {raised.value.hint}"


def test_an_index_of_bits_is_refused(submission: Submission, split: nb.Split) -> None:
    if submission.metric == "l2":
        with pytest.raises(UsageError, match="LSH compares bits of both sides"):
            score_indexes(submission, split, ["LSH"])


def test_the_command_shows_a_table(
    submission: Submission,
    split: nb.Split,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_submission(Path("mine.h5"), submission)
    Path("truth.csv").write_text(write_ground_truth(split.truth))
    command = ["index", "mine.h5", "--ground-truth", "truth.csv", "--factory", "Flat", "--factory", "IVF4,SQ8"]
    assert run(command) == 0
    shown = capsys.readouterr().out
    assert "IVF4,SQ8" in shown
    assert "recall@P90" in shown
    assert run([*command, "--json"]) == 0
    exact, flat, _ = json.loads(capsys.readouterr().out)["indexes"]
    assert (exact["factory"], exact["micro_ap"]) == ("exact", flat["micro_ap"])
    assert run([*command, "--factory", "none"]) == 2
    assert "faiss refuses the index 'none'" in capsys.readouterr().err
