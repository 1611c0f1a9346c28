"""From descriptors or matches to a `Result`: check against the split, search once, score every part.

Every part of a split (``all``; ``isc``, all but the hard negatives; the user's own) is scored as if it stood alone: its
own queries, its own cap of ten pairs per query, its own list. All lists come from one search, those without and with an
asymmetric rule among them: a submission with vector norms is always scored both ways.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ndec_bench.data.ids import check_apart
from ndec_bench.data.known import KNOWN, recognise
from ndec_bench.data.roots import data_root, find_split
from ndec_bench.data.split import Split
from ndec_bench.descriptors import (
    Submission,
    read_attributes,
    read_background,
    read_query_ids,
    read_submission,
    read_submission_parts,
    sha256_of_file,
)
from ndec_bench.errors import SubmissionError, UsageError, os_errors
from ndec_bench.matches import Matches, read_pairs, write_pairs
from ndec_bench.progress import silent
from ndec_bench.protocol import NORMALISATIONS
from ndec_bench.results import provenance
from ndec_bench.results.describing import read_describing
from ndec_bench.results.record import Digests, Result
from ndec_bench.scoring.context import DEFAULTS, UNNAMED, Context, Facts, Options
from ndec_bench.scoring.direction import compare_lists
from ndec_bench.scoring.fit import fit_descriptors, fit_matches, pair_rule
from ndec_bench.scoring.lists import GivenLists, SearchedLists, SearchPlan, biases
from ndec_bench.scoring.parts import score_parts
from ndec_bench.scoring.protocol_table import entries, protocol_table
from ndec_bench.scoring.truth import TruthTable
from ndec_bench.search import NO_RULE, resolved, search

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ndec_bench.descriptors import Descriptors
    from ndec_bench.progress import Progress
    from ndec_bench.results.record import Direction
    from ndec_bench.scoring.lists import Lists
    from ndec_bench.scoring.parts import ScoredLists
    from ndec_bench.search import PairRule

__all__ = [
    "DEFAULTS",
    "Options",
    "is_descriptors",
    "score",
    "score_descriptors",
    "score_file",
    "score_files",
    "score_matches",
    "score_splits",
    "split_from",
    "split_of",
]

_HEAD = 256
_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


def score(
    submission: str | PathLike[str] | Sequence[str | PathLike[str]] | Submission | Matches,
    references: Sequence[str | PathLike[str]] = (),
    *,
    split: Split | str | PathLike[str] | None = None,
    root: Path | None = None,
    progress: Progress = silent,
    **options: Any,  # noqa: ANN401 -- the fields of Options
) -> Result:
    r"""Return the result of a submission, as ``ndec-bench score`` does.

    Parameters
    ----------
    submission
        A file: HDF5 of descriptors, or scored pairs as CSV or Parquet. Or the query files of the isc2021 form, with the
        files of the other side as ``references``. Or a `Submission` or `Matches` in memory.
    references
        The reference files of the isc2021 form.
    split
        What to score against: a `Split`, the name of a known split, the folder of a split, or a ground-truth file. By
        default the split that the submission names, or else the one whose query ids it has.
    root
        Data root, for known splits; None for the usual one.
    progress
        Called as ``progress(stage, done, total)``.
    **options
        See `ndec_bench.scoring.score.Options`: ``name``, ``protocol``, ``all_protocols``, ``replicates``,
        ``precisions``, ``threshold``, ``asymmetric`` and others.

    Raises
    ------
    SubmissionError
        If the submission cannot be scored against the split; the message names file, row or id.
    DataError
        If the split is missing or unusable.
    UsageError
        If nothing says which split is meant, or an option asks for what is not there.

    Examples
    --------
    A file of scored pairs, and a ground truth of three queries of which one has no match:

    >>> from pathlib import Path
    >>> import ndec_bench as nb
    >>> written = Path("gt.csv").write_text("query_id,reference_id\nQ1,R1\nQ2,R2\nQ3,\n")
    >>> written = Path("mine.csv").write_text("query_id,reference_id,score\nQ1,R1,0.9\nQ3,R1,0.8\nQ2,R2,0.7\n")
    >>> result = nb.score("mine.csv", split="gt.csv")
    >>> result.name, round(result.parts["all"].micro_ap, 4)
    ('mine', 0.8333)

    Arrays go in as a `Submission`, by default compared by their distance:

    >>> import numpy as np
    >>> from ndec_bench.descriptors import Submission
    >>> queries = nb.Descriptors(("Q1", "Q2", "Q3"), np.float32([[1, 0], [0, 1], [0.5, 0.5]]))
    >>> references = nb.Descriptors(("R1", "R2"), np.float32([[0.9, 0.1], [0.2, 0.8]]))
    >>> nb.score(Submission(queries, references), split="gt.csv", replicates=0).parts["all"].recall_at_1
    1.0
    """
    chosen = Options(**options)
    root = data_root(root)
    if isinstance(submission, Matches):
        target = split_from(split or recognise(submission.query_ids.tolist(), root=root), root, "the list of pairs")
        return score_matches(submission, target, options=chosen, progress=progress)
    if isinstance(submission, Submission):
        named = split or submission.split or recognise(submission.queries.ids, root=root)
        target = split_from(named, root, "the submission")
        return score_descriptors(submission, target, options=chosen, progress=progress)
    files = [Path(one) for one in ([submission] if isinstance(submission, str | PathLike) else submission)]
    target = split_from(split or split_of(files, root), root, str(files[0]))
    sides = [Path(one) for one in references]
    return score_files(files, [target], references=sides, options=chosen, progress=progress)[0]


def split_from(given: Split | str | PathLike[str] | None, root: Path, where: str = "the submission") -> Split:
    """Return the split that ``given`` means: a `Split`, a name, a folder or a ground-truth file.

    Raises
    ------
    UsageError
        If ``given`` is None: ``where`` does not say which split it is for.
    DataError
        If the split is missing or unusable.
    """
    if given is None:
        raise UsageError(
            f"{where} does not say which split it is for, and its query ids are not those of one known split",
            hint="give --split NAME, or --ground-truth GT.csv, or write the attribute split",
        )
    if isinstance(given, Split):
        return given
    if given not in KNOWN:
        if Path(given).is_file():
            return Split.from_ground_truth(Path(given))
        if Path(given).is_dir():
            return Split.from_folder(Path(given))
    return find_split(str(given), root)


def score_files(
    files: Sequence[Path],
    splits: Sequence[Split],
    *,
    references: Sequence[Path] = (),
    backgrounds: Sequence[Path] = (),
    options: Options = DEFAULTS,
    progress: Progress = silent,
) -> list[Result]:
    """Return the results of one submission on several splits: one file, or the isc2021 files of both sides.

    Parameters
    ----------
    files
        The file; or, where there are ``references``, the query files.
    splits
        What to score against; they share their references.
    references
        The reference files of the isc2021 form.
    backgrounds
        Files of background descriptors: one at most for a single file.
    options, progress
        As in `score_splits`. What describing took is read from the record next to a single file.

    Raises
    ------
    SubmissionError
        If the files cannot be scored; the message names file, row or id.
    """
    first, *others = files
    if references:
        options = replace(options, name=options.name or first.stem)
        with read_submission_parts(files, references, backgrounds, progress=progress) as submission:
            return score_splits(submission, splits, options=options, progress=progress, where=str(first))
    if others or len(backgrounds) > 1:
        raise UsageError(
            "several files make one submission in the isc2021 form alone", hint="give the files of both sides"
        )
    options = replace(options, describing=read_describing(first))
    if backgrounds:
        options = replace(options, background=read_background(backgrounds[0], progress=progress))
    return _score_file(first, splits, options, progress)


def score_file(
    path: Path,
    split: Split,
    *,
    options: Options = DEFAULTS,
    progress: Progress = silent,
) -> Result:
    """Return the result of a submission file: HDF5 descriptors or scored pairs (CSV, Parquet), told apart by content.

    Raises
    ------
    SubmissionError
        If the file cannot be scored against ``split``; the message names file, row or id.
    """
    return _score_file(path, [split], options, progress)[0]


def _score_file(path: Path, splits: Sequence[Split], options: Options, progress: Progress) -> list[Result]:
    options = replace(options, name=options.name or path.stem)
    if is_descriptors(path):
        with read_submission(path, progress=progress) as submission:
            return score_splits(submission, splits, options=options, progress=progress, where=str(path))
    digest = sha256_of_file(path)
    pairs = read_pairs(path, progress=progress)
    return [
        score_matches(pairs, split, options=options, progress=progress, where=str(path), submission_sha256=digest)
        for split in splits
    ]


def score_descriptors(
    submission: Submission,
    split: Split,
    *,
    options: Options = DEFAULTS,
    progress: Progress = silent,
    where: str = "submission",
    truth: TruthTable | None = None,
) -> Result:
    """Return the result of descriptors in memory or in an open file; ``truth`` is that of ``split``, if already built.

    Raises
    ------
    SubmissionError
        If a labelled query has no row, an id does not belong to the split, or the file is for another split.
    UsageError
        If an option asks for what is not there.
    """
    truths = None if truth is None else [truth]
    return score_splits(submission, [split], options=options, progress=progress, where=where, truths=truths)[0]


def score_splits(
    submission: Submission,
    splits: Sequence[Split],
    *,
    options: Options = DEFAULTS,
    progress: Progress = silent,
    where: str = "submission",
    truths: Sequence[TruthTable] | None = None,
) -> list[Result]:
    """Return one result per split; the references are searched once for the queries of all of them.

    Raises
    ------
    SubmissionError
        As `score_descriptors`; a query must be labelled in one of the splits.
    """
    started = time.perf_counter()
    submission, fits = fit_descriptors(submission, splits, where)
    rows = np.flatnonzero(np.logical_or.reduce([fit.labelled for fit in fits]))
    queries = submission.queries if len(rows) == len(submission.queries) else submission.queries.take(rows)
    truths = truths or [TruthTable(split) for split in splits]
    rule = pair_rule(submission, rows, options.asymmetric, where)
    plan = _plan(submission, queries, truths, rule, options, progress, where)
    with ThreadPoolExecutor(1) as loader:
        # Intervals of shares need it, and its import can take longer than all of them.
        loader.submit(import_module, "scipy.special")
        found = search(
            queries,
            submission.references,
            plan.wanted,
            backend=options.backend,
            threads=options.threads,
            progress=progress,
        )
    dimension = submission.references.dimension
    facts = Facts(
        track="descriptor",
        metric=submission.metric,
        references=len(submission.references),
        searched=len(submission.references),
        submission_sha256=submission.sha256,
        normalisations=plan.normalisations,
        dimensions=dimension,
        bytes_per_reference=dimension * _BYTES.get(submission.stored_dtype, 4),
        stored_dtype=submission.stored_dtype,
        threshold=submission.threshold if options.threshold is None else options.threshold,
        query_independent=submission.query_independent,
    )
    results = []
    for fit, truth in zip(fits, truths, strict=True):
        fit.notes.extend(_notes(facts, options))
        context = Context(truth, fit, facts, options, progress)
        lists = SearchedLists(found, plan, truth, submission.references)
        if rule is None:
            results.append(_result(context, lists, _scored(lists, context), started=started))
        else:
            results.append(_result(context, *_scored_both_ways(lists, rule, context), started=started))
    return results


def _notes(facts: Facts, options: Options) -> list[str]:
    notes = []
    if options.background is not None and not options.all_protocols:
        notes.append("the background was not used: only the protocol table normalises (--protocol all)")
    if not facts.query_independent:
        notes.append("the vectors of queries depend on other queries: the result is never ranked")
    most, dimension = options.protocol.max_dimension, facts.dimensions
    if most and dimension and dimension > most:
        notes.append(f"{options.protocol.name} admits {most} dimensions, these descriptors have {dimension}")
    return notes


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
    UsageError
        If an option asks for what only descriptors have.
    """
    started = time.perf_counter()
    if options.asymmetric != NO_RULE:
        raise UsageError(
            f"--asymmetric {options.asymmetric}: {where} is a list of pairs, which has no norms",
            hint="apply the rule before writing the pairs",
        )
    digest = submission_sha256 or matches.sorted().sha256
    matches, fit = fit_matches(matches, split, where)
    kept = matches.take(fit.labelled)
    cap = options.protocol.cap(len(split.query_ids))
    truth = TruthTable(split)
    lists = GivenLists(kept, truth, options.protocol)
    if len(kept) > cap and not options.protocol.per_query:
        fit.notes.append(f"{len(kept):,} pairs given; the list of part all holds {cap:,} and was cut")
    for part in split.parts:
        if not lists.complete(part, options.protocol):
            fit.notes.append(
                f"the list of pairs is full, so pairs of part {part} may be missing: its figures are marked "
                "incomplete, and what is compared with them (cost of the hard negatives) lacks the same tail"
            )
    if split.reference_ids is None and split.hard_negatives is not None:
        fit.notes.append("pair false-positive rates are left out: a list of pairs does not tell how many were compared")
    facts = Facts(
        track="matching",
        metric="score",
        # Without a list of references, those that are named anywhere.
        references=len(split.reference_ids or {*kept.reference_ids.tolist(), *(pair[1] for pair in split.truth.pairs)}),
        searched=None if split.reference_ids is None else len(split.reference_ids),
        submission_sha256=digest,
        truncated=len(kept) > cap,
        threshold=options.threshold,
    )
    context = Context(truth, fit, facts, options, progress)
    return _result(context, lists, _scored(lists, context), started=started)


def split_of(paths: Sequence[Path], root: Path) -> str | None:
    """Return the split that submission files are for: the one their attribute ``split`` names, else by query ids.

    ``paths`` belong to one submission; ``root`` is where splits lie. None where nothing tells.
    """
    queries: set[str] = set()
    for path in paths:
        if not is_descriptors(path):
            queries.update(read_pairs(path).query_ids.tolist())
            continue
        name = read_attributes(path).get("split")
        if name is not None:
            return name
        queries.update(read_query_ids(path))
    return recognise(queries, root=root)


def is_descriptors(path: Path) -> bool:
    """Return whether ``path`` is to be read as HDF5 descriptors, by content; otherwise it holds scored pairs.

    Raises
    ------
    SubmissionError
        If it cannot be read, or is not a file that can be read twice.
    """
    with os_errors(f"{path}: cannot be read", SubmissionError):
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise SubmissionError(f"{path}: not a regular file", hint="write the submission to a file first")
        with path.open("rb") as file:
            head = file.read(_HEAD)
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return True
    if head.startswith(b"PAR1") or b"query_id" in head.partition(b"\n")[0]:
        return False
    # Other text is taken for pairs unless it claims to be HDF5: each reader says what is wrong with its kind of file.
    return path.suffix.lower() in (".h5", ".hdf5") or b"\0" in head


def _plan(
    submission: Submission,
    queries: Descriptors,
    truths: Sequence[TruthTable],
    rule: PairRule | None,
    options: Options,
    progress: Progress,
    where: str,
) -> SearchPlan:
    background = options.background or submission.background
    offsets = {}
    if options.all_protocols and background is not None:
        if background.dimension != queries.dimension:
            raise SubmissionError(
                f"background has {background.dimension} dimensions, {where} has {queries.dimension}",
                hint="describe the background with the same model",
            )
        for side, ids in (("queries", queries.ids), ("references", submission.references.ids)):
            check_apart(where, background.ids, f"the {side}", ids)
        offsets = biases(
            queries,
            background,
            NORMALISATIONS,
            backend=options.backend,
            threads=options.threads,
            progress=progress,
        )
    plan = SearchPlan(queries, submission.metric, offsets)
    for truth in truths:
        for part in truth.split.parts:
            plan.add(truth, part, options.protocol)
            if rule is not None:
                plan.add(truth, part, options.protocol, rule=rule)
            if options.all_protocols:
                for _, protocol, score_norm in entries(plan.normalisations):
                    plan.add(truth, part, protocol, score_norm, None if options.asymmetric == NO_RULE else rule)
    return plan


def _scored(lists: Lists, context: Context) -> ScoredLists:
    protocol = context.protocol
    pairs = {part: lists.pairs(part, protocol) for part in context.split.parts}
    return score_parts(pairs, context, incomplete=frozenset(one for one in pairs if not lists.complete(one, protocol)))


def _scored_both_ways(
    lists: SearchedLists, rule: PairRule, context: Context
) -> tuple[SearchedLists, ScoredLists, Direction]:
    """Return the lists of the result, without or with ``rule`` as the options ask, their scores, what the rule does."""

    def scored(one: SearchedLists, name: str) -> ScoredLists:
        def named(stage: str, done: int, total: int, /) -> None:
            context.progress(f"{stage}, {name}", done, total)

        return _scored(one, replace(context, progress=named))

    under_rule = lists.under(rule)
    plain, ruled = scored(lists, "without a rule"), scored(under_rule, f"rule {rule.rule}")
    direction = compare_lists(context, rule, lists, plain, ruled)
    if context.options.asymmetric == NO_RULE:
        return lists, plain, direction
    return under_rule, ruled, direction


def _result(
    context: Context, lists: Lists, scored: ScoredLists, direction: Direction | None = None, *, started: float
) -> Result:
    split, fit, facts, options, protocol = context.split, context.fit, context.facts, context.options, context.protocol
    listed = lists.matches("all", protocol)
    if options.save_matches is not None:
        write_pairs(options.save_matches, listed)
    return Result(
        name=options.name or UNNAMED,
        split=split.name,
        protocol=protocol.name,
        track=facts.track,
        metric=facts.metric,
        signature=context.signature(protocol, facts.metric),
        predictions_sha256=listed.sha256,
        partial=fit.missing > 0,
        truncated=facts.truncated,
        query_independent=facts.query_independent,
        missing_references=fit.missing,
        missing_reference_runs=list(fit.missing_runs),
        recall_ceiling=fit.recall_ceiling,
        dimensions=facts.dimensions,
        bytes_per_reference=facts.bytes_per_reference,
        stored_dtype=facts.stored_dtype,
        references=facts.references,
        parts=dict(scored.parts),
        hard_negatives=scored.account,
        protocols=protocol_table(lists, context) if options.all_protocols else None,
        asymmetric=options.asymmetric,
        direction=direction,
        own_threshold=facts.threshold,
        describing=options.describing,
        notes=fit.notes,
        mapped_ids=dict(fit.mapped_ids) or None,
        digests=Digests(submission=facts.submission_sha256, ground_truth=split.truth.sha256, split=split.sha256),
        provenance=provenance.collect(
            time.perf_counter() - started,
            options.command,
            backend=resolved(options.backend) if facts.track == "descriptor" else None,
            threads=options.threads,
        ),
    )
