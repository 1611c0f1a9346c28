"""From descriptors or matches to a `Result`: check against the split, search, score every part.

Every part of a split (``all``; ``isc``, all but the hard negatives) is scored as if it stood alone: its own queries,
its own cap of ten pairs per query, its own list.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from ndec_bench import __version__, bootstrap, metrics, provenance
from ndec_bench.account import hard_negative_account
from ndec_bench.descriptors import Descriptors, Submission, read_attributes, read_submission, sha256_of_file
from ndec_bench.errors import SubmissionError
from ndec_bench.matches import Matches, read_pairs, write_pairs
from ndec_bench.parts import TruthTable, score_part
from ndec_bench.progress import silent
from ndec_bench.protocol import NDEC_1, Protocol
from ndec_bench.report import Describing, Digests, Result, Signature
from ndec_bench.search import search

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ndec_bench.data.split import Split
    from ndec_bench.progress import Progress

_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Options:
    """What a caller may choose.

    Attributes
    ----------
    name
        Name of the result; None for the name of the file.
    protocol
        The rules.
    replicates
        Bootstrap replicates; 0 for no intervals.
    save_matches
        Where to write the list of part ``all`` as CSV of pairs; None for nowhere.
    describing, command
        What making the descriptors took and the command that made the result, if known; recorded, not used.
    """

    name: str | None = None
    protocol: Protocol = NDEC_1
    replicates: int = bootstrap.REPLICATES
    save_matches: Path | None = None
    describing: Describing | None = None
    command: str | None = None


DEFAULTS = Options()
UNNAMED = "unnamed"


@dataclass(frozen=True)
class _Facts:
    """What the submission brings to the result, beside its pairs."""

    name: str
    track: Literal["descriptor", "matching"]
    metric: Literal["l2", "ip", "score"]
    sha256: str
    references: int
    notes: list[str]
    dimensions: int | None = None
    bytes_per_reference: int | None = None
    stored_dtype: str | None = None
    missing: int = 0
    recall_ceiling: float = 1.0
    truncated: bool = False


def score_file(
    path: Path,
    split: Split,
    *,
    options: Options = DEFAULTS,
    progress: Progress = silent,
) -> Result:
    """Return the result of a submission file: HDF5 descriptors or scored pairs as CSV, told apart by content.

    Raises
    ------
    SubmissionError
        If the file cannot be scored against ``split``; the message names file, row or id.
    """
    options = replace(options, name=options.name or path.stem)
    if _is_hdf5(path):
        return score_descriptors(read_submission(path), split, options=options, progress=progress, where=str(path))
    digest = sha256_of_file(path)
    pairs = read_pairs(path)
    return score_matches(pairs, split, options=options, progress=progress, where=str(path), submission_sha256=digest)


def score_descriptors(
    submission: Submission,
    split: Split,
    *,
    options: Options = DEFAULTS,
    progress: Progress = silent,
    where: str = "submission",
) -> Result:
    """Return the result of descriptors in memory.

    Raises
    ------
    SubmissionError
        If a labelled query has no row, an id does not belong to the split, or the file is for another split.
    """
    started = time.perf_counter()
    # A user's own ground truth may well be that of the split the file names.
    if split.reference_ids is not None and submission.split not in (None, split.name):
        raise SubmissionError(
            f"{where}: says it is for split {submission.split!r}, scored against {split.name!r}",
            hint="choose the matching split, or correct the file's attribute split",
        )
    queries, notes = _labelled_queries(where, submission, split)
    references = submission.references
    _check_reference_ids(where, references.ids, split)
    missing, ceiling = _missing(references.ids, split)
    if missing:
        notes.append(
            f"partial: {missing:,} references are missing; recall can reach {ceiling:.4f}; "
            "figures on hard negatives are left out, for the look-alikes are missing too"
        )
    itemsize = np.dtype(submission.stored_dtype).itemsize
    facts = _Facts(
        name=options.name or UNNAMED,
        track="descriptor",
        metric=submission.metric,
        sha256=submission.sha256,
        references=len(references),
        dimensions=references.dimension,
        bytes_per_reference=references.dimension * itemsize,
        stored_dtype=submission.stored_dtype,
        missing=missing,
        recall_ceiling=ceiling,
        notes=notes,
    )
    found = _search_parts(queries, submission, split, options.protocol, progress)
    return _result(facts, found, split, options, progress, started)


def score_matches(
    matches: Matches,
    split: Split,
    *,
    options: Options = DEFAULTS,
    progress: Progress = silent,
    where: str = "pairs",
    submission_sha256: str = "",
) -> Result:
    """Return the result of scored pairs (matching track). A list longer than the cap is cut and marked truncated.

    Raises
    ------
    SubmissionError
        If a pair names a query or reference outside the split, or no labelled query at all.
    """
    started = time.perf_counter()
    labelled = metrics.codes_of(matches.query_ids, split.query_ids) >= 0
    notes = _check_unlabelled(where, matches.query_ids[~labelled], split)
    if not labelled.any():
        raise SubmissionError(f"{where}: no pair names a labelled query", hint="check the form of the query ids")
    _check_reference_ids(where, tuple(np.unique(matches.reference_ids).tolist()), split)
    kept = matches.take(labelled)
    cap = options.protocol.cap(len(split.query_ids))
    if len(kept) > cap:
        notes.append(f"{len(kept):,} pairs given; the list of part all holds {cap:,} and was cut")
    facts = _Facts(
        name=options.name or UNNAMED,
        track="matching",
        metric="score",
        sha256=submission_sha256 or matches.sorted().sha256,
        references=len(split.reference_ids or np.unique(kept.reference_ids)),
        truncated=len(kept) > cap,
        notes=notes,
    )
    found = {part: _own_list(kept, queries, options.protocol) for part, queries in split.parts.items()}
    return _result(facts, found, split, options, progress, started)


def split_named_in(path: Path) -> str | None:
    """Return the split that the submission file ``path`` names in its attribute ``split``; None if it names none."""
    return read_attributes(path).get("split") if _is_hdf5(path) else None


def _is_hdf5(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(len(_HDF5_SIGNATURE))
    except OSError as error:
        raise SubmissionError(
            f"{path}: cannot be read ({error.strerror or error})", hint="check the path and its permissions"
        ) from error
    # A text file is taken for pairs; anything else is left to the HDF5 reader, which names what it is.
    return head == _HDF5_SIGNATURE or path.suffix.lower() in (".h5", ".hdf5") or b"\0" in head


def _labelled_queries(where: str, submission: Submission, split: Split) -> tuple[Descriptors, list[str]]:
    present = np.array(submission.queries.ids)
    codes = metrics.codes_of(present, split.query_ids)
    notes = _check_unlabelled(where, present[codes < 0], split)
    accounted = {*submission.queries.ids, *submission.invalid_ids}
    absent = [query for query in split.query_ids if query not in accounted]
    if absent:
        raise SubmissionError(
            f"{where}: {len(absent):,} of {len(split.query_ids):,} labelled queries have no row, first {absent[0]}",
            hint="describe every query; list images that could not be decoded in the dataset invalid_ids",
        )
    keep = np.flatnonzero(codes >= 0)
    kept = Descriptors(tuple(submission.queries.ids[i] for i in keep), submission.queries.vectors[keep])
    invalid = sum(query in set(submission.invalid_ids) for query in split.query_ids)
    if invalid:
        notes.append(f"{invalid:,} labelled queries are listed in invalid_ids and have no predictions")
    return kept, notes


def _check_unlabelled(where: str, ids: NDArray[np.str_], split: Split) -> list[str]:
    if len(ids) == 0:
        return []
    names = np.unique(ids)
    if split.reference_ids is not None:
        raise SubmissionError(
            f"{where}: {len(names):,} query ids are not in split {split.name}, first {names[0]}",
            hint=f"its queries look like {split.query_ids[0]}",
        )
    return [f"{len(names):,} queries that the ground truth does not label were dropped, first {names[0]}"]


def _check_reference_ids(where: str, ids: tuple[str, ...], split: Split) -> None:
    """Raise SubmissionError for references outside a split that knows its references."""
    if split.reference_ids is None:
        return
    foreign = sorted(set(ids) - frozenset(split.reference_ids))
    if foreign:
        raise SubmissionError(
            f"{where}: {len(foreign):,} reference ids are not in split {split.name}, first {foreign[0]}",
            hint=f"its references look like {split.reference_ids[0]}",
        )


def _missing(ids: tuple[str, ...], split: Split) -> tuple[int, float]:
    """Return how many references of the split are missing, and the recall that can be reached without them."""
    present = frozenset(ids)
    missing = len(split.reference_ids) - len(present) if split.reference_ids is not None else 0
    reachable = sum(reference in present for _, reference in split.truth.pairs)
    if split.reference_ids is None:
        missing = len({reference for _, reference in split.truth.pairs} - present)
    return missing, reachable / len(split.truth.pairs) if split.truth.pairs else 1.0


def _search_parts(
    queries: Descriptors, submission: Submission, split: Split, protocol: Protocol, progress: Progress
) -> dict[str, Matches]:
    """Return the list of each part: the global one, and for smaller parts a search of their own queries.

    The list of part ``all`` cannot serve ``isc``: hard negatives may have pushed out pairs that belong in it.
    """
    lists = {}
    for part, members in split.parts.items():
        rows = [row for row, query in enumerate(queries.ids) if query in members]
        own = Descriptors(tuple(queries.ids[row] for row in rows), queries.vectors[rows])
        lists[part] = search(
            own,
            submission.references,
            protocol.cap(len(members)),
            metric=submission.metric,
            progress=progress,
            stage=f"searching for part {part}",
        )
    return lists


def _own_list(matches: Matches, members: frozenset[str], protocol: Protocol) -> Matches:
    own = metrics.codes_of(matches.query_ids, sorted(members)) >= 0
    return matches.take(own).sorted(protocol.cap(len(members)))


def _result(
    facts: _Facts,
    found: dict[str, Matches],
    split: Split,
    options: Options,
    progress: Progress,
    started: float,
) -> Result:
    protocol = options.protocol
    if options.save_matches is not None:
        write_pairs(options.save_matches, found["all"])
    truth = TruthTable(split)
    lists = {part: truth.pairs(matches) for part, matches in found.items()}
    parts = {
        part: score_part(part, pairs, truth, protocol, replicates=options.replicates, progress=progress)
        for part, pairs in lists.items()
    }
    account = None
    # Without all references the look-alikes are missing too, and the account would flatter.
    if "isc" in lists and not facts.missing:
        account = hard_negative_account(
            lists["all"], lists["isc"], truth.kinds, split.query_ids, truth.positives, protocol
        )
    return Result(
        name=facts.name,
        split=split.name,
        protocol=protocol.name,
        track=facts.track,
        metric=facts.metric,
        signature=str(_signature(facts.metric, split, protocol)),
        predictions_sha256=found["all"].sha256,
        partial=facts.missing > 0,
        truncated=facts.truncated,
        missing_references=facts.missing,
        recall_ceiling=facts.recall_ceiling,
        dimensions=facts.dimensions,
        bytes_per_reference=facts.bytes_per_reference,
        stored_dtype=facts.stored_dtype,
        references=facts.references,
        parts=parts,
        hard_negatives=account,
        describing=options.describing,
        notes=facts.notes,
        digests=Digests(submission=facts.sha256, ground_truth=split.truth.sha256, split=split.sha256),
        provenance=provenance.collect(time.perf_counter() - started, options.command),
    )


def _signature(metric: str, split: Split, protocol: Protocol) -> Signature:
    return Signature(
        split=split.name,
        protocol=protocol.name,
        candidates=f"global{protocol.cap(len(split.query_ids))}",
        metric=metric,
        ties=protocol.ties,
        ground_truth=split.truth.sha256[:8],
        version=__version__,
    )
