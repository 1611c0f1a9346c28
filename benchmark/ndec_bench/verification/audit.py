"""Signs that a submission is a copy of another one or carries labels: numbers and sentences, never a verdict.

Each finding says what was measured and why it may matter. There are honest explanations for all of them, so nothing is
refused here: a person has to look.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.stats import rankdata

from ndec_bench.descriptors.vectors import ROWS_PER_READ
from ndec_bench.randomness import Stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from ndec_bench.descriptors import Submission, VectorSource

Severity = Literal["note", "warning"]
Number = float | int | str | list[str]

# Two descriptors are nearly identical when they are this much nearer than those of different images.
NEAR = 1e-4
MANY_NEAR = 0.5
SAMPLE = 500
GRAM_STEP = 1e-3
GRAM_CORRELATION = 0.99
MANY_REPEATED = 0.01
TELLING_AUC = 0.9
FEWEST_QUERIES = 100
SMALLEST_GROUP = 0.01
FEWEST_IN_GROUP = 5
SMALLEST_GAP = 0.05
GAP_TO_NEXT = 5.0
_FEWEST_SHARED = 3
_PLURAL = {"query": "queries", "reference": "references"}
_EXAMPLES = 5
_BUCKET_BYTES = 1 << 28


@dataclass(frozen=True)
class Finding:
    """One thing that was measured.

    Attributes
    ----------
    kind
        ``near_identical``, ``same_geometry``, ``nothing_shared``, ``constant_rows``, ``repeated_rows``,
        ``norms_tell_labels`` or ``norms_in_two_groups``.
    severity
        ``warning`` where somebody should look, ``note`` otherwise.
    side
        ``query`` or ``reference``.
    numbers
        What was measured, by name.
    sentence
        The finding in one sentence.
    """

    kind: str
    severity: Severity
    side: str
    numbers: Mapping[str, Number]
    sentence: str


def _finding(kind: str, side: str, sentence: str, *, warn: bool = False, **numbers: Number) -> Finding:
    return Finding(kind, "warning" if warn else "note", side, numbers, sentence)


@dataclass(frozen=True)
class AuditReport:
    """All findings, in a fixed order."""

    findings: tuple[Finding, ...]

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Return the findings that somebody should look at."""
        return tuple(finding for finding in self.findings if finding.severity == "warning")

    def as_json(self) -> dict[str, Any]:
        """Return the report as what JSON can hold."""
        return {"findings": [asdict(finding) for finding in self.findings]}


def audit(
    submission: Submission,
    other: Submission | None = None,
    positives: frozenset[str] | None = None,
    labelled: frozenset[str] | None = None,
) -> AuditReport:
    """Return the signs that ``submission`` copies ``other`` or carries labels.

    Parameters
    ----------
    submission
        What is looked at. All sides are read block by block.
    other
        Another submission of the same images; None to leave the comparison out. It may have another dimension.
    positives
        Queries with a true reference and the references of true pairs; None if unknown.
    labelled
        All labelled queries, and the references to look at; None for all ids of the submission.
    """
    sides = [("query", submission.queries), ("reference", submission.references)]
    findings: list[Finding] = []
    if other is not None:
        others: dict[str, VectorSource] = {"query": other.queries, "reference": other.references}
        for side, source in sides:
            findings += _compared(side, source, others[side])
    for side, source in sides:
        findings += _rows(side, source)
    findings += _norms(submission, positives, labelled)
    return AuditReport(tuple(findings))


def _compared(side: str, mine: VectorSource, theirs: VectorSource) -> list[Finding]:
    at = {identifier: row for row, identifier in enumerate(theirs.ids)}
    partners = np.array([at.get(identifier, -1) for identifier in mine.ids], dtype=np.int64)
    rows = np.flatnonzero(partners >= 0)
    if len(rows) < _FEWEST_SHARED:
        sentence = f"{side}: {len(rows):,} ids are in both submissions, too few to compare"
        return [_finding("nothing_shared", side, sentence, shared=len(rows))]
    sample = np.sort(np.array(Stream("audit", side, len(rows)).shuffled(rows.tolist())[:SAMPLE]))
    ours, others = _cosines_within(mine, sample), _cosines_within(theirs, partners[sample])
    findings = [_geometry(side, len(sample), ours, others)]
    if mine.dimension == theirs.dimension:
        findings.insert(0, _near(side, mine, theirs, (rows, partners[rows]), ours))
    return findings


def _near(
    side: str,
    mine: VectorSource,
    theirs: VectorSource,
    rows: tuple[NDArray[np.int64], NDArray[np.int64]],
    within: NDArray[np.float64],
) -> Finding:
    # Features far from centred have cosines near 1 for any two images: what counts as near is relative to that.
    apart = float(min(1.0, np.median(1.0 - within)))
    limit = 1.0 - NEAR * apart
    count = sum(int((cosines > limit).sum()) for cosines in _cosines_between(mine, theirs, *rows))
    share = count / len(rows[0])
    sentence = (
        f"{side}: {count:,} of {len(rows[0]):,} shared descriptors ({share:.1%}) have a cosine above {limit:.8g} with "
        "the other submission's"
    )
    return _finding(
        "near_identical",
        side,
        sentence,
        warn=share >= MANY_NEAR,
        shared=len(rows[0]),
        near=count,
        share=share,
        cosine_above=limit,
    )


def _geometry(side: str, images: int, ours: NDArray[np.float64], others: NDArray[np.float64]) -> Finding:
    """Compare the cosines between the same images in both: a rotation or a scaling changes none of them."""
    share = float((np.abs(ours - others) <= GRAM_STEP).mean())
    spread = float(min(ours.std(), others.std()))
    correlation = float(np.corrcoef(ours, others)[0, 1]) if spread > 0 else 0.0
    same = correlation >= GRAM_CORRELATION
    sentence = (
        f"{side}: the cosines between {images:,} shared images correlate at {correlation:.4f} with the other "
        f"submission's, {share:.1%} are equal within {GRAM_STEP:g}"
    )
    if same:
        sentence += ": the descriptors are the same up to a rotation or a scaling"
    return _finding(
        "same_geometry", side, sentence, warn=same, images=images, correlation=correlation, equal_share=share
    )


def _cosines_within(source: VectorSource, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the cosines of all pairs of ``rows``, (n (n − 1) / 2,) float64."""
    # In the order of the file, where that is cheap; the pairs in the order asked for.
    order = np.argsort(rows)
    vectors = np.empty((len(rows), source.dimension))
    for place, row in zip(order.tolist(), rows[order].tolist(), strict=True):
        vectors[place] = source.read(row, row + 1)[0]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines: NDArray[np.float64] = (vectors @ vectors.T)[np.triu_indices(len(rows), 1)]
    return cosines


def _cosines_between(
    mine: VectorSource, theirs: VectorSource, rows: NDArray[np.int64], partners: NDArray[np.int64]
) -> Iterator[NDArray[np.float64]]:
    """Yield the cosines of ``rows`` of mine with ``partners`` of theirs, in blocks; ``rows`` increase."""
    # Theirs may be in any order: some of it is held at a time, and mine is streamed past it.
    held = max(1, _BUCKET_BYTES // (4 * theirs.dimension))
    for start in range(0, len(theirs), held):
        here = (partners >= start) & (partners < start + held)
        if here.any():
            bucket = theirs.read(start, start + held)
            for block, inside in _blocks(mine, rows[here]):
                at = slice(*inside)
                yield _cosines(block, bucket[partners[here][at] - start])


def _blocks(source: VectorSource, rows: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.float32], tuple[int, int]]]:
    """Yield the vectors of increasing ``rows`` with the range of ``rows`` they are."""
    first = np.unique(rows // ROWS_PER_READ) * ROWS_PER_READ
    edges = [*np.searchsorted(rows, first).tolist(), len(rows)]
    for start, inside in zip(first.tolist(), pairwise(edges), strict=True):
        block = source.read(start, min(start + ROWS_PER_READ, len(source)))
        yield block[rows[slice(*inside)] - start], inside


def _cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    a, b = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines: NDArray[np.float64] = np.einsum("ij,ij->i", a, b) / lengths
    return cosines


def _rows(side: str, source: VectorSource) -> list[Finding]:
    hashes, constant = [], []
    for start in range(0, len(source), ROWS_PER_READ):
        block = source.read(start, min(start + ROWS_PER_READ, len(source)))
        if source.dimension > 1:
            constant += (start + np.flatnonzero((block == block[:, :1]).all(axis=1))).tolist()
        hashes.append(_hashes(block))
    return [*_constant(side, source, constant), *_repeated(side, source, np.concatenate(hashes))]


def _hashes(block: NDArray[np.float32]) -> NDArray[np.uint64]:
    block = block + np.float32(0)  # the two zeros are equal
    digests = [hashlib.blake2b(row, digest_size=8).digest() for row in block]
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


def _constant(side: str, source: VectorSource, rows: list[int]) -> list[Finding]:
    if not rows:
        return []
    first = [source.ids[row] for row in rows[:_EXAMPLES]]
    share = len(rows) / len(source)
    sentence = f"{side}: {len(rows):,} descriptors ({share:.2%}) have all components equal, first {first[0]}"
    warn = share >= MANY_REPEATED
    return [_finding("constant_rows", side, sentence, warn=warn, rows=len(rows), share=share, first=first)]


def _repeated(side: str, source: VectorSource, hashes: NDArray[np.uint64]) -> list[Finding]:
    _, first, group, count = np.unique(hashes, return_index=True, return_inverse=True, return_counts=True)
    rows = int(count[count > 1].sum())
    if not rows:
        return []
    earliest = np.sort(first[count > 1])
    groups = [np.flatnonzero(group == group[row])[:_EXAMPLES] for row in earliest[:_EXAMPLES].tolist()]
    names = ["=".join(source.ids[row] for row in members.tolist()) for members in groups]
    share = rows / len(source)
    sentence = (
        f"{side}: {rows:,} descriptors ({share:.2%}) appear under several ids, {len(earliest):,} different ones, "
        f"first {names[0]}"
    )
    numbers: dict[str, Number] = {"rows": rows, "groups": len(earliest), "share": share, "first": names}
    return [_finding("repeated_rows", side, sentence, warn=share >= MANY_REPEATED, **numbers)]


def _norms(submission: Submission, positives: frozenset[str] | None, labelled: frozenset[str] | None) -> list[Finding]:
    sides: list[tuple[str, VectorSource, NDArray[np.float32] | None]] = [
        ("query", submission.queries, submission.query_norms),
        ("reference", submission.references, submission.reference_norms),
    ]
    findings: list[Finding] = []
    for side, source, norms in sides:
        measures = {f"length of the {side}": np.sqrt(source.survey.squared_norms)}
        if norms is not None:
            measures[f"{side}_norms"] = norms.astype(np.float64)
        if positives is None:
            findings += [finding for name, values in measures.items() for finding in _two_groups(side, name, values)]
            continue
        known = np.array([labelled is None or identifier in labelled for identifier in source.ids])
        matched = np.array([identifier in positives for identifier in source.ids])[known]
        if matched.any() and not matched.all():
            findings += [_telling(side, name, values[known], matched) for name, values in measures.items()]
    return findings


def _telling(side: str, name: str, values: NDArray[np.float64], matched: NDArray[np.bool_]) -> Finding:
    """Return how well ``values`` tell matched from unmatched images: the area under the ROC curve, ties half."""
    ranks, positives = rankdata(values), int(matched.sum())
    negatives = len(matched) - positives
    above = float(ranks[matched].sum()) - positives * (positives + 1) / 2
    area = above / (positives * negatives)
    telling = max(area, 1 - area) >= TELLING_AUC
    sentence = f"{side}: {name} tells matched from unmatched {_PLURAL[side]} with an AUC of {area:.4f}"
    if telling:
        sentence += ", as labels folded into it would"
    return _finding(
        "norms_tell_labels",
        side,
        sentence,
        warn=telling,
        measure=name,
        auc=area,
        matched=positives,
        unmatched=negatives,
    )


def _two_groups(side: str, name: str, values: NDArray[np.float64]) -> list[Finding]:
    """Return a finding if one gap parts the sorted ``values`` in two.

    The gap, relative to its upper end, is at least 5 % and five times the next widest, with at least 1 % of the
    images, and five of them, on each side. Fewer than 100 images are not judged.
    """
    margin = max(FEWEST_IN_GROUP, int(np.ceil(SMALLEST_GROUP * len(values))))
    if len(values) < FEWEST_QUERIES:
        return []
    ordered = np.sort(values)
    below, above = ordered[margin - 1 : len(values) - margin], ordered[margin : len(values) - margin + 1]
    gaps = (above - below) / np.maximum(above, np.finfo(np.float64).tiny)
    at = int(np.argmax(gaps))
    if gaps[at] < max(SMALLEST_GAP, GAP_TO_NEXT * float(np.delete(gaps, at).max())):
        return []
    lower = margin + at
    numbers: dict[str, Number] = {
        "measure": name,
        "gap": float(gaps[at]),
        "below": lower,
        "above": len(values) - lower,
        "from": float(below[at]),
        "to": float(above[at]),
    }
    sentence = (
        f"{side}: {name} falls into two groups, {lower:,} {_PLURAL[side]} up to {below[at]:.6g} and "
        f"{len(values) - lower:,} from {above[at]:.6g}, with nothing between, as labels folded into it would"
    )
    return [Finding("norms_in_two_groups", "warning", side, numbers, sentence)]
