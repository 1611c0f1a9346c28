"""Signs of copying and of labels: each is found where it was planted, and not where it was not."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from scipy.stats import ortho_group
from sklearn.metrics import roc_auc_score

from ndec_bench.descriptors import Descriptors, Submission, read_submission
from ndec_bench.verification.audit import AuditReport, Finding, audit

QUERIES, REFERENCES, DIMENSION = 300, 5000, 16


def made(seed: int, *, offset: float = 0.0, dimension: int = DIMENSION) -> Submission:
    generator = np.random.default_rng(seed)
    query = generator.normal(size=(QUERIES, dimension)) + offset
    reference = generator.normal(size=(REFERENCES, dimension)) + offset
    return submission(query, reference)


def submission(query: np.ndarray, reference: np.ndarray) -> Submission:
    return Submission(
        Descriptors(tuple(f"Q{i}" for i in range(len(query))), query.astype(np.float32)),
        Descriptors(tuple(f"R{i}" for i in range(len(reference))), reference.astype(np.float32)),
    )


def changed(base: Submission, change: object) -> Submission:
    return submission(change(base.queries.vectors), change(base.references.vectors))  # type: ignore[operator, attr-defined]


def of(report: AuditReport, kind: str, side: str = "reference") -> Finding:
    return next(finding for finding in report.findings if (finding.kind, finding.side) == (kind, side))


def kinds(report: AuditReport) -> set[tuple[str, str]]:
    return {(finding.kind, finding.side) for finding in report.warnings}


BOTH = {(kind, side) for kind in ("near_identical", "same_geometry") for side in ("query", "reference")}
GEOMETRY = {("same_geometry", "query"), ("same_geometry", "reference")}
ROTATION = ortho_group(DIMENSION, seed=1).rvs()


@pytest.mark.parametrize("offset", [0.0, 20.0])
def test_a_copy_is_near_identical_wherever_the_features_lie(offset: float) -> None:
    base = made(1, offset=offset)
    assert kinds(audit(base, base)) == BOTH
    # As written in half precision, and scaled row by row.
    half = changed(base, lambda v: v.astype(np.float16))
    assert kinds(audit(base, half)) == BOTH
    scaled = changed(base, lambda v: v / np.linalg.norm(v, axis=1, keepdims=True))
    assert kinds(audit(base, scaled)) == BOTH


@pytest.mark.parametrize("offset", [0.0, 20.0])
def test_another_method_is_neither(offset: float) -> None:
    # With the offset all cosines are above 0.9: a fixed limit of 0.9999 would not tell copies.
    report = audit(made(1, offset=offset), made(2, offset=offset))
    assert kinds(report) == set()
    assert of(report, "near_identical").numbers["share"] == 0
    assert abs(float(of(report, "same_geometry").numbers["correlation"])) < 0.1  # type: ignore[arg-type]


def test_a_rotated_copy_is_found_even_in_another_dimension() -> None:
    base = made(1)
    turned = changed(base, lambda v: 3 * v @ ROTATION)
    report = audit(base, turned)
    assert kinds(report) == GEOMETRY
    assert of(report, "same_geometry").numbers["images"] == 500
    assert of(report, "same_geometry").numbers["equal_share"] == 1
    padded = changed(base, lambda v: np.hstack([v @ ROTATION, np.zeros((len(v), 4))]))
    report = audit(base, padded)
    assert kinds(report) == GEOMETRY
    assert "near_identical" not in {finding.kind for finding in report.findings}


def test_some_near_rows_are_counted() -> None:
    base = made(1)
    reference = made(2).references.vectors.copy()
    reference[:500] = base.references.vectors[:500]
    other = submission(made(2).queries.vectors, reference)
    near = of(audit(base, other), "near_identical")
    assert (near.severity, near.numbers["near"], near.numbers["share"]) == ("note", 500, 0.1)
    assert near.sentence.startswith("reference: 500 of 5,000 shared descriptors (10.0%) have a cosine above 0.9999")


def test_order_and_buckets_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    base, other = made(1), made(2)
    reference = other.references.vectors.copy()
    reference[::3] = base.references.vectors[::3]
    other = submission(other.queries.vectors, reference)
    straight = audit(base, other)
    order = np.random.default_rng(5).permutation(REFERENCES)
    shuffled = Submission(other.queries, other.references.take(order))  # type: ignore[attr-defined]
    assert audit(base, shuffled).findings == straight.findings
    monkeypatch.setattr("ndec_bench.verification.audit._BUCKET_BYTES", 1000 * DIMENSION * 4)
    assert audit(base, shuffled).findings == straight.findings


def test_only_shared_ids_are_compared() -> None:
    base = made(1)
    renamed = Descriptors(
        tuple(f"{'R' if i % 2 else 'X'}{i}" for i in range(REFERENCES)),
        base.references.read(0, REFERENCES),
    )
    report = audit(base, Submission(base.queries, renamed))
    assert of(report, "near_identical").numbers["shared"] == REFERENCES // 2
    nothing = Descriptors(tuple(f"X{i}" for i in range(REFERENCES)), base.references.read(0, REFERENCES))
    report = audit(base, Submission(base.queries, nothing))
    assert of(report, "nothing_shared").sentence == "reference: 0 ids are in both submissions, too few to compare"


def test_streamed_from_files_gives_the_same(tmp_path: Path) -> None:
    for name, source in (("a", made(1)), ("b", changed(made(1), lambda v: -v @ ROTATION))):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            for side, vectors in (("query", source.queries), ("reference", source.references)):
                file[f"{side}_ids"] = list(vectors.ids)
                file.create_dataset(side, data=vectors.read(0, len(vectors)), chunks=(64, 4), compression="gzip")
    expected = audit(made(1), changed(made(1), lambda v: -v @ ROTATION))
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    with read_submission(paths[0], keep=0) as a, read_submission(paths[1], keep=0) as b:
        assert audit(a, b).findings == expected.findings


def test_constant_and_repeated_rows_are_named() -> None:
    base = made(1)
    query, reference = base.queries.vectors.copy(), base.references.vectors.copy()
    query[[3, 9]] = 0.25
    reference[[4500, 7]] = reference[100]
    reference[4999] = reference[2]
    reference[2, 0] = 0.0
    reference[4999, 0] = -0.0
    report = audit(submission(query, reference))
    constant = of(report, "constant_rows", "query")
    assert (constant.severity, constant.numbers["rows"], constant.numbers["first"]) == ("note", 2, ["Q3", "Q9"])
    assert constant.sentence == "query: 2 descriptors (0.67%) have all components equal, first Q3"
    assert of(report, "repeated_rows", "query").numbers["first"] == ["Q3=Q9"]
    repeated = of(report, "repeated_rows")
    assert repeated.numbers == {"rows": 5, "groups": 2, "share": 0.001, "first": ["R2=R4999", "R7=R100=R4500"]}
    assert repeated.sentence.endswith("appear under several ids, 2 different ones, first R2=R4999")
    reference[:100] = reference[100]
    assert ("repeated_rows", "reference") in kinds(audit(submission(query, reference)))


def test_norms_that_tell_the_labels() -> None:
    generator = np.random.default_rng(4)
    base = made(1)
    matched = generator.random(QUERIES) < 0.3
    positives = frozenset(identifier for identifier, yes in zip(base.queries.ids, matched, strict=True) if yes)
    innocent = of(audit(base, positives=positives), "norms_tell_labels", "query")
    norms = np.linalg.norm(base.queries.vectors.astype(np.float64), axis=1)
    assert innocent.severity == "note"
    assert innocent.numbers["auc"] == pytest.approx(roc_auc_score(matched, norms), abs=1e-12)
    for factor in (3.0, 1 / 3.0):
        vectors = base.queries.vectors * np.where(matched, factor, 1.0)[:, None]
        report = audit(submission(vectors, base.references.read(0, REFERENCES)), positives=positives)
        assert kinds(report) == {("norms_tell_labels", "query")}
        assert "as labels folded into it would" in report.warnings[0].sentence


def test_references_carry_labels_too() -> None:
    generator = np.random.default_rng(4)
    base = made(1)
    references = base.references.read(0, REFERENCES)
    matched = generator.random(REFERENCES) < 0.3
    positives = frozenset(identifier for identifier, yes in zip(base.references.ids, matched, strict=True) if yes)
    vectors = references * np.where(matched, 1.0, 3.0)[:, None]
    report = audit(submission(base.queries.vectors, vectors), positives=positives)
    assert kinds(report) == {("norms_tell_labels", "reference")}
    assert "reference: length of the reference tells matched from unmatched references" in report.warnings[0].sentence
    norms = np.where(matched, 1.0, 3.0).astype(np.float32)
    ruled = Submission(base.queries, base.references, query_norms=np.ones(QUERIES, "f4"), reference_norms=norms)
    assert ("norms_tell_labels", "reference") in kinds(audit(ruled, positives=positives))
    assert ("norms_in_two_groups", "reference") in kinds(audit(ruled))


def test_auc_by_hand_with_ties_and_unlabelled_queries() -> None:
    # Matched 3, 2; unmatched 2, 1: of four pairs 3 > 2, 3 > 1, 2 = 2, 2 > 1, so 3.5 / 4. Q4 is not labelled.
    query = np.array([[3, 0], [0, 2], [2, 0], [1, 0], [50, 0]])
    base = submission(query, np.eye(2))
    report = audit(base, positives=frozenset({"Q0", "Q1"}), labelled=frozenset({"Q0", "Q1", "Q2", "Q3"}))
    assert of(report, "norms_tell_labels", "query").numbers == {
        "measure": "length of the query",
        "auc": 0.875,
        "matched": 2,
        "unmatched": 2,
    }
    assert not [f for f in audit(base, positives=frozenset()).findings if f.kind == "norms_tell_labels"]


def test_labels_in_the_norms_of_an_asymmetric_rule() -> None:
    base = made(1)
    norms = np.where(np.arange(QUERIES) < 50, 2.0, 1.0).astype(np.float32)
    with_norms = Submission(base.queries, base.references, query_norms=norms, reference_norms=np.ones(REFERENCES, "f4"))
    told = audit(with_norms, positives=frozenset(base.queries.ids[:50]))
    assert [finding.numbers["measure"] for finding in told.warnings] == ["query_norms"]
    untold = audit(with_norms)
    assert [finding.kind for finding in untold.warnings] == ["norms_in_two_groups"]
    assert untold.warnings[0].numbers == {
        "measure": "query_norms",
        "gap": 0.5,
        "below": 250,
        "above": 50,
        "from": 1.0,
        "to": 2.0,
    }


def test_two_groups_of_lengths_without_the_truth() -> None:
    base = made(1)
    unit = base.queries.vectors / np.linalg.norm(base.queries.vectors, axis=1, keepdims=True)
    for scale, expected in [(1.0, set()), (1.2, {("norms_in_two_groups", "query")})]:
        vectors = unit * np.where(np.arange(QUERIES) < 30, scale, 1.0)[:, None]
        assert kinds(audit(submission(vectors, base.references.read(0, REFERENCES)))) == expected
    # Four queries are no group, and a few queries are not judged.
    vectors = unit * np.where(np.arange(QUERIES) < 4, 2.0, 1.0)[:, None]
    assert kinds(audit(submission(vectors, base.references.read(0, REFERENCES)))) == set()
    assert kinds(audit(submission(vectors[:50], base.references.read(0, REFERENCES)))) == set()
