"""The checks of scoring without the search: what a submission holds, and whether it fits its splits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ndec_bench.descriptors import read_background, read_submission, read_submission_parts, sha256_of_file
from ndec_bench.errors import SubmissionError, UsageError
from ndec_bench.matches import read_pairs
from ndec_bench.progress import silent
from ndec_bench.scoring.fit import fit_descriptors, fit_matches
from ndec_bench.scoring.score import is_descriptors
from ndec_bench.verification.audit import audit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ndec_bench.data.split import Split
    from ndec_bench.descriptors import Submission
    from ndec_bench.progress import Progress


@dataclass
class Validation:
    """What was found in one submission; the fields are those of the JSON of ``ndec-bench validate``.

    Attributes
    ----------
    file, track
        What was checked.
    facts
        Counts, metric and digest of the submission.
    splits
        Names of the splits that it fits.
    notes
        What a reader should know, in sentences.
    audit
        Signs that it copies another submission, see `ndec_bench.verification.audit`; None if not asked for.
    valid
        True: what does not fit is an error.
    """

    file: str
    track: str
    facts: Mapping[str, Any]
    splits: list[str]
    notes: list[str] = field(default_factory=list)
    audit: Mapping[str, Any] | None = None
    valid: bool = True


def validate_files(
    files: Sequence[Path],
    splits: Sequence[Split],
    *,
    references: Sequence[Path] = (),
    backgrounds: Sequence[Path] = (),
    other: Path | None = None,
    progress: Progress = silent,
) -> Validation:
    """Return what one submission holds: one file, or the isc2021 files of both sides.

    Parameters
    ----------
    files
        The file; or, where there are ``references``, the query files.
    splits
        What it must fit; none to check the file alone.
    references, backgrounds
        The reference files of the isc2021 form, and files of background descriptors.
    other
        Another submission, to look for signs of copying it.
    progress
        Called as ``progress(stage, done, total)``.

    Raises
    ------
    SubmissionError
        If the submission cannot be scored; the message names file, row or id.
    UsageError
        If ``other`` is to be compared with a list of pairs.
    """
    first = files[0]
    if references:
        with read_submission_parts(files, references, backgrounds, progress=progress) as submission:
            return _descriptors(submission, first, splits, other, progress)
    if not is_descriptors(first):
        return _pairs(first, splits, other, progress)
    with read_submission(first, progress=progress) as submission:
        for path in backgrounds:
            found = read_background(path, progress=progress).dimension
            if found != submission.references.dimension:
                raise SubmissionError(
                    f"{path}: background has {found} dimensions, {first} has {submission.references.dimension}",
                    hint="describe the background with the same model",
                )
        return _descriptors(submission, first, splits, other, progress)


def _descriptors(
    submission: Submission, file: Path, splits: Sequence[Split], other: Path | None, progress: Progress
) -> Validation:
    facts = {
        "queries": len(submission.queries),
        "references": len(submission.references),
        "background": 0 if submission.background is None else len(submission.background),
        "invalid": len(submission.invalid_ids),
        "dimensions": submission.references.dimension,
        "dtype": submission.stored_dtype,
        "metric": submission.metric,
        "split": submission.split,
        "norms": submission.query_norms is not None,
        "threshold": submission.threshold,
        "sha256": submission.sha256,
    }
    found = Validation(str(file), "descriptor", facts, [split.name for split in splits])
    if splits:
        submission, fits = fit_descriptors(submission, splits, str(file))
        found.notes += dict.fromkeys(note for fit in fits for note in fit.notes)
    if other is not None:
        positives = labelled = None
        if splits:
            positives = frozenset(name for split in splits for pair in split.truth.pairs for name in pair)
            labelled = frozenset(query for split in splits for query in split.query_ids)
            labelled = labelled.union(submission.references.ids)
        with read_submission(other, progress=progress) as theirs:
            found.audit = audit(submission, theirs, positives, labelled).as_json()
    return found


def _pairs(file: Path, splits: Sequence[Split], other: Path | None, progress: Progress) -> Validation:
    if other is not None:
        raise UsageError(f"--audit compares descriptors, {file} is a list of pairs", hint="leave --audit out")
    pairs = read_pairs(file, progress=progress)
    fits = [fit_matches(pairs, split, str(file))[1] for split in splits]
    facts = {
        "pairs": len(pairs),
        "queries": len(set(pairs.query_ids.tolist())),
        "references": len(set(pairs.reference_ids.tolist())),
        "metric": "score",
        "sha256": sha256_of_file(file),
    }
    notes = list(dict.fromkeys(note for fit in fits for note in fit.notes))
    return Validation(str(file), "matching", facts, [split.name for split in splits], notes)
