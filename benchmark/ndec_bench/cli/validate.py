"""``ndec-bench validate``: the checks of ``score`` without the search."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ndec_bench.cli import console, targets
from ndec_bench.cli.root import Root

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ndec_bench.data.split import Split
    from ndec_bench.descriptors import Submission
    from ndec_bench.progress import Progress
    from ndec_bench.verification.audit import AuditReport


@dataclass(frozen=True)
class _Checked:
    """What was found in one submission; the fields are those of the JSON."""

    file: str
    track: str
    facts: Mapping[str, Any]
    splits: list[str]
    notes: list[str]
    audit: Mapping[str, Any] | None = None
    valid: bool = True


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(validate)


def validate(
    files: targets.Files = None,
    query: targets.Query = None,
    reference: targets.Reference = None,
    background: targets.Background = None,
    ground_truth: targets.GroundTruthFile = None,
    hard_negatives: targets.HardNegatives = None,
    queries: targets.Queries = None,
    part: targets.Parts = None,
    multi: targets.Multi = False,
    split: targets.Splits = None,
    root: Root = None,
    audit: Annotated[
        Path | None,
        typer.Option(
            help="Look for signs of copying this submission, repeated rows, and labels in norms.",
            metavar="OTHER.h5",
            show_default=False,
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Check submissions as score does, without the search.

    Where no split is named and none can be told, or its ground truth is not at hand, the file alone is checked, and
    a note says so.
    """
    targets.check_forms(files, query, reference)
    target = targets.Target(ground_truth, hard_negatives, queries, tuple(part or ()), tuple(split or ()), root, multi)
    checked = []
    with console.progress() as progress:
        if query:
            checked.append(_check_parts(query, reference or [], background or [], target, audit, progress))
        for file in files or ():
            checked.append(_check_file(file, background or [], target, audit, progress))
    if json:
        console.out_json({"files": [asdict(one) for one in checked]})
        return
    for one in checked:
        _show(one)


def _check_file(
    file: Path, background: list[Path], target: targets.Target, other: Path | None, progress: Progress
) -> _Checked:
    from ndec_bench.descriptors import read_submission
    from ndec_bench.scoring.score import is_descriptors

    if not is_descriptors(file):
        return _check_pairs(file, target, other, progress)
    with read_submission(file, progress=progress) as submission:
        _check_background(background, submission, str(file), progress)
        return _check_descriptors(submission, str(file), [file], target, other, progress)


def _check_parts(
    query: list[Path],
    reference: list[Path],
    background: list[Path],
    target: targets.Target,
    other: Path | None,
    progress: Progress,
) -> _Checked:
    from ndec_bench.descriptors import read_submission_parts

    with read_submission_parts(query, reference, background, progress=progress) as submission:
        return _check_descriptors(submission, str(query[0]), query, target, other, progress)


def _check_background(background: list[Path], submission: Submission, where: str, progress: Progress) -> None:
    from ndec_bench.descriptors import read_background
    from ndec_bench.errors import SubmissionError

    for path in background:
        found = read_background(path, progress=progress).dimension
        if found != submission.references.dimension:
            raise SubmissionError(
                f"{path}: background has {found} dimensions, {where} has {submission.references.dimension}",
                hint="describe the background with the same model",
            )


def _check_descriptors(
    submission: Submission,
    where: str,
    files: list[Path],
    target: targets.Target,
    other: Path | None,
    progress: Progress,
) -> _Checked:
    from ndec_bench.scoring.fit import fit_descriptors

    splits, notes = _splits(target, files)
    if splits:
        for fit in fit_descriptors(submission, splits, where):
            notes += [note for note in fit.notes if note not in notes]
    report = None if other is None else _audited(submission, other, splits, progress)
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
    names = [split.name for split in splits]
    return _Checked(where, "descriptor", facts, names, notes, None if report is None else report.as_json())


def _check_pairs(file: Path, target: targets.Target, other: Path | None, progress: Progress) -> _Checked:
    from ndec_bench.descriptors import sha256_of_file
    from ndec_bench.errors import UsageError
    from ndec_bench.matches import read_pairs
    from ndec_bench.scoring.fit import fit_matches

    if other is not None:
        raise UsageError(f"--audit compares descriptors, {file} is a list of pairs", hint="leave --audit out")
    pairs = read_pairs(file, progress=progress)
    splits, notes = _splits(target, [file])
    for split in splits:
        notes += [note for note in fit_matches(pairs, split, str(file)).notes if note not in notes]
    facts = {
        "pairs": len(pairs),
        "queries": len(set(pairs.query_ids.tolist())),
        "references": len(set(pairs.reference_ids.tolist())),
        "metric": "score",
        "sha256": sha256_of_file(file),
    }
    return _Checked(str(file), "matching", facts, [split.name for split in splits], notes)


def _splits(target: targets.Target, files: list[Path]) -> tuple[list[Split], list[str]]:
    """Return what to check against; without any, if none was asked for, a note that says why."""
    from ndec_bench.errors import MissingDataError, UsageError

    try:
        return target.splits(files), []
    except (MissingDataError, UsageError) as error:
        if target != targets.Target(root=target.root):
            raise
        return [], [f"not checked against a split: {error}"]


def _audited(submission: Submission, other: Path, splits: list[Split], progress: Progress) -> AuditReport:
    from ndec_bench.descriptors import read_submission
    from ndec_bench.verification.audit import audit

    positives = labelled = None
    if splits:
        positives = frozenset(name for split in splits for pair in split.truth.pairs for name in pair)
        labelled = frozenset(query for split in splits for query in split.query_ids).union(submission.references.ids)
    with read_submission(other, progress=progress) as theirs:
        return audit(submission, theirs, positives, labelled)


def _show(checked: _Checked) -> None:
    facts = checked.facts
    if checked.track == "matching":
        what = f"{facts['pairs']:,} pairs of {facts['queries']:,} queries and {facts['references']:,} references"
    else:
        what = (
            f"{facts['queries']:,} queries × {facts['references']:,} references, {facts['dimensions']} dimensions, "
            f"{facts['dtype']}, {facts['metric']}"
        )
        if facts["background"]:
            what += f", {facts['background']:,} background images"
    against = f"valid for {', '.join(checked.splits)}" if checked.splits else "valid, checked against no split"
    named = facts.get("split")
    what += f", split {_printable(named)}" if named else ""
    console.out(f"{checked.file}: {checked.track} track, {what}: {against}")
    for note in checked.notes:
        console.out(f"  note: {_printable(note)}")
    for finding in (checked.audit or {}).get("findings", ()):
        console.out(f"  audit {finding['severity']}: {finding['sentence']}")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
