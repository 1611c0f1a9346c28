"""From descriptors or matches to a `Result`: check against the split, search once, score every part.

Every part of a split (``all``; ``isc``, all but the hard negatives; the user's own) is scored as if it stood alone: its
own queries, its own cap of ten pairs per query, its own list. All lists come from one search, those without and with an
asymmetric rule among them: a submission with norms is always scored both ways.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from ndec_bench import __version__
from ndec_bench.data.known import recognise
from ndec_bench.descriptors import read_attributes, read_query_ids, read_submission, sha256_of_file
from ndec_bench.errors import SubmissionError, UsageError
from ndec_bench.matches import check_form, read_pairs, write_pairs
from ndec_bench.metrics import bootstrap
from ndec_bench.progress import silent
from ndec_bench.protocol import NDEC_1, NORMALISATIONS, Protocol
from ndec_bench.results import provenance
from ndec_bench.results.record import Digests, Result, Signature
from ndec_bench.scoring import hard_negatives as account
from ndec_bench.scoring import lists as candidates
from ndec_bench.scoring.direction import ScoredLists, TrueNorms, compare_lists
from ndec_bench.scoring.fit import fit_descriptors, fit_matches
from ndec_bench.scoring.lists import GivenLists, SearchedLists, SearchPlan
from ndec_bench.scoring.norms import pair_rule
from ndec_bench.scoring.parts import TruthTable, score_parts
from ndec_bench.scoring.protocol_card import entries, protocol_card
from ndec_bench.search import NO_RULE, parse_rule, resolved, search

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ndec_bench.data.split import Split
    from ndec_bench.descriptors import Descriptors, Submission, VectorSource
    from ndec_bench.matches import Matches
    from ndec_bench.progress import Progress
    from ndec_bench.results.describing import Describing
    from ndec_bench.scoring.fit import Fit
    from ndec_bench.scoring.lists import Lists
    from ndec_bench.search import PairRule

_HEAD = 256
_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


@dataclass(frozen=True)
class Options:
    """What a caller may choose.

    Attributes
    ----------
    name
        Name of the result; None for the name of the file.
    protocol
        The rules.
    card
        Score under every published protocol as well.
    replicates
        Bootstrap replicates; 0 for no intervals.
    precisions
        Further precisions at which the highest recall is reported.
    threshold
        The authors' own operating threshold; None for the one in the file, if there is one.
    asymmetric
        The asymmetric rule of the scores, see `ndec_bench.search.rules`; its canonical text after construction. Where
        the submission has norms, the result tells of the list without a rule and of the list with this one, or with
        ``ratio`` if this is ``none``.
    background
        Descriptors for the normalisations of the card; None for those in the file.
    backend, threads
        Of the search; they change the time, never the result.
    save_matches
        Where to write the list of part ``all``; None for nowhere. CSV if the name ends so, otherwise compact Parquet.
    describing, command
        What making the descriptors took and the command that made the result, if known; recorded, not used.
    """

    name: str | None = None
    protocol: Protocol = NDEC_1
    card: bool = False
    replicates: int = bootstrap.REPLICATES
    precisions: tuple[float, ...] = ()
    threshold: float | None = None
    asymmetric: str = NO_RULE
    background: VectorSource | None = None
    backend: str = "auto"
    threads: int | None = None
    save_matches: Path | None = None
    describing: Describing | None = None
    command: str | None = None

    def __post_init__(self) -> None:
        """Raise UsageError if the rule is none or the pairs could not be written in the end."""
        rule = parse_rule(self.asymmetric)
        object.__setattr__(self, "asymmetric", NO_RULE if rule is None else str(rule))
        if self.save_matches is not None:
            check_form(self.save_matches)


DEFAULTS = Options()
UNNAMED = "unnamed"


@dataclass(frozen=True)
class _Facts:
    """What the submission brings to the result, beside its pairs.

    ``references`` are those that are known of; ``searched`` is how many each query was compared with, None if unknown.
    """

    name: str
    track: Literal["descriptor", "matching"]
    metric: Literal["l2", "ip", "score"]
    sha256: str
    references: int
    searched: int | None
    norms: Sequence[str] = (candidates.PLAIN,)
    dimensions: int | None = None
    bytes_per_reference: int | None = None
    stored_dtype: str | None = None
    truncated: bool = False
    threshold: float | None = None
    query_independent: bool = True


@dataclass(frozen=True)
class _Asymmetry:
    """The lists of one split without a rule and with one, by the norms of the submission."""

    rule: PairRule
    plain: SearchedLists
    ruled: SearchedLists


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
    return score_file_on(path, [split], options=options, progress=progress)[0]


def score_file_on(
    path: Path,
    splits: Sequence[Split],
    *,
    options: Options = DEFAULTS,
    progress: Progress = silent,
) -> list[Result]:
    """Return the results of one submission file on several splits; errors as `score_file`."""
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
    """Return the result of descriptors in memory or in an open file; ``truth`` spares building the table of ``split``.

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
    fits = fit_descriptors(submission, splits, where)
    rows = np.flatnonzero(np.logical_or.reduce([fit.labelled for fit in fits]))
    queries = submission.queries if len(rows) == len(submission.queries) else submission.queries.take(rows)
    truths = truths or [TruthTable(split) for split in splits]
    norms = pair_rule(submission, rows, options.asymmetric, where)
    plan = _plan(submission, queries, norms, splits, options, progress, where)
    with ThreadPoolExecutor(1) as beside:
        beside.submit(account.load)
        found = search(
            queries,
            submission.references,
            plan.wanted,
            backend=options.backend,
            threads=options.threads,
            progress=progress,
        )
    facts = _facts(submission, plan, options)
    if options.background is not None and not options.card:
        for fit in fits:
            fit.notes.append("the background was not used: only the protocol card normalises (--protocol all)")
    if not submission.query_independent:
        for fit in fits:
            fit.notes.append("the vectors of queries depend on other queries: the result is never ranked")
    most, dimension = options.protocol.max_dimension, queries.dimension
    if most and dimension > most:
        for fit in fits:
            fit.notes.append(f"{options.protocol.name} admits {most} dimensions, these descriptors have {dimension}")
    results = []
    for split, fit, truth in zip(splits, fits, truths, strict=True):
        plain = SearchedLists(found, plan, split, truth, submission.references)
        asymmetry = None if norms is None else _Asymmetry(norms, plain, plain.under(norms))
        lists = plain if asymmetry is None or options.asymmetric == NO_RULE else asymmetry.ruled
        results.append(_result(facts, lists, fit, split, truth, options, progress, started, asymmetry))
    return results


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
    fit = fit_matches(matches, split, where)
    kept = matches.take(fit.labelled)
    cap = options.protocol.cap(len(split.query_ids))
    truth = TruthTable(split)
    lists = GivenLists(kept, split, truth, options.protocol)
    if len(kept) > cap and not options.protocol.per_query:
        fit.notes.append(f"{len(kept):,} pairs given; the list of part all holds {cap:,} and was cut")
    for part in split.parts:
        if not lists.complete(part, options.protocol):
            fit.notes.append(
                f"the list of pairs is full, so pairs of part {part} may lack: its figures are marked incomplete, and "
                "what is compared with them (cost of the hard negatives) lacks the same tail"
            )
    if split.reference_ids is None and split.hard_negatives is not None:
        fit.notes.append("pair false-positive rates are left out: a list of pairs does not tell how many were compared")
    facts = _Facts(
        name=options.name or UNNAMED,
        track="matching",
        metric="score",
        sha256=submission_sha256 or matches.sorted().sha256,
        # Without a list of references, those that are named anywhere.
        references=len(split.reference_ids or {*kept.reference_ids.tolist(), *(pair[1] for pair in split.truth.pairs)}),
        searched=None if split.reference_ids is None else len(split.reference_ids),
        truncated=len(kept) > cap,
        threshold=options.threshold,
    )
    return _result(facts, lists, fit, split, truth, options, progress, started)


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
        If it cannot be read, or is no file that can be read twice.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise SubmissionError(f"{path}: no regular file", hint="write the submission to a file first")
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise SubmissionError(
            f"{path}: cannot be read ({error.strerror or error})", hint="check the path and its permissions"
        ) from error
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return True
    if head.startswith(b"PAR1") or b"query_id" in head.partition(b"\n")[0]:
        return False
    # Other text is taken for pairs unless it claims to be HDF5: each reader says what is wrong with its kind of file.
    return path.suffix.lower() in (".h5", ".hdf5") or b"\0" in head


def _plan(
    submission: Submission,
    queries: Descriptors,
    norms: PairRule | None,
    splits: Sequence[Split],
    options: Options,
    progress: Progress,
    where: str,
) -> SearchPlan:
    background = options.background or submission.background
    offsets = {}
    if options.card and background is not None:
        if background.dimension != queries.dimension:
            raise SubmissionError(
                f"background has {background.dimension} dimensions, {where} has {queries.dimension}",
                hint="describe the background with the same model",
            )
        offsets = candidates.biases(
            queries,
            background,
            NORMALISATIONS,
            backend=options.backend,
            threads=options.threads,
            progress=progress,
        )
    plan = SearchPlan(queries, submission.metric, offsets)
    for split in splits:
        for part in split.parts:
            plan.add(split, part, options.protocol)
            if norms is not None:
                plan.add(split, part, options.protocol, rule=norms)
            if options.card:
                for _, protocol, score_norm in entries(plan.norms):
                    plan.add(split, part, protocol, score_norm, None if options.asymmetric == NO_RULE else norms)
    return plan


def _facts(submission: Submission, plan: SearchPlan, options: Options) -> _Facts:
    dimension = submission.references.dimension
    return _Facts(
        name=options.name or UNNAMED,
        track="descriptor",
        metric=submission.metric,
        sha256=submission.sha256,
        references=len(submission.references),
        searched=len(submission.references),
        norms=plan.norms,
        dimensions=dimension,
        bytes_per_reference=dimension * _BYTES.get(submission.stored_dtype, 4),
        stored_dtype=submission.stored_dtype,
        threshold=submission.threshold if options.threshold is None else options.threshold,
        query_independent=submission.query_independent,
    )


def _result(
    facts: _Facts,
    lists: Lists,
    fit: Fit,
    split: Split,
    truth: TruthTable,
    options: Options,
    progress: Progress,
    started: float,
    asymmetry: _Asymmetry | None = None,
) -> Result:
    """Return the result of ``lists``; where there is ``asymmetry``, they are one of its two."""
    protocol = options.protocol
    direction = None
    if asymmetry is None:
        scored = _scored(lists, facts, fit, split, truth, options, progress)
    else:
        rule = asymmetry.rule.rule
        plain = _scored(asymmetry.plain, facts, fit, split, truth, options, _of_list(progress, "without a rule"))
        ruled = _scored(asymmetry.ruled, facts, fit, split, truth, options, _of_list(progress, f"rule {rule}"))
        kept = asymmetry.rule.keeps(*asymmetry.plain.rows("all", protocol))
        direction = compare_lists(rule, truth, _true_norms(asymmetry), plain, ruled, kept)
        scored = plain if lists is asymmetry.plain else ruled
    listed = lists.matches("all", protocol)
    if options.save_matches is not None:
        write_pairs(options.save_matches, listed)

    def sign(rules: Protocol, metric: str, score_norm: str) -> Signature:
        return _signature(rules, metric, score_norm, options.asymmetric, split)

    card = None
    if options.card:
        card = protocol_card(
            lists,
            split,
            truth,
            facts.norms,
            metric=None if facts.metric == "score" else facts.metric,
            dimension=facts.dimensions,
            sign=sign,
        )
    return Result(
        name=facts.name,
        split=split.name,
        protocol=protocol.name,
        track=facts.track,
        metric=facts.metric,
        signature=str(sign(protocol, facts.metric, candidates.PLAIN)),
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
        protocols=card,
        asymmetric=options.asymmetric,
        direction=direction,
        own_threshold=facts.threshold,
        describing=options.describing,
        notes=fit.notes,
        digests=Digests(submission=facts.sha256, ground_truth=split.truth.sha256, split=split.sha256),
        provenance=provenance.collect(
            time.perf_counter() - started,
            options.command,
            backend=resolved(options.backend) if facts.track == "descriptor" else None,
            threads=options.threads,
        ),
    )


def _scored(
    lists: Lists,
    facts: _Facts,
    fit: Fit,
    split: Split,
    truth: TruthTable,
    options: Options,
    progress: Progress,
) -> ScoredLists:
    protocol = options.protocol
    pairs = {part: lists.pairs(part, protocol) for part in split.parts}
    parts, account = score_parts(
        pairs,
        truth,
        protocol,
        replicates=options.replicates,
        precisions=options.precisions,
        own_threshold=facts.threshold,
        references=facts.searched,
        complete={part: lists.complete(part, protocol) for part in split.parts},
        # Without all references the look-alikes are missing too, and the account would flatter.
        account=not fit.missing,
        progress=progress,
    )
    return ScoredLists(pairs["all"], parts, account)


def _of_list(progress: Progress, name: str) -> Progress:
    """Return ``progress`` with the name of a list behind that of each stage."""

    def tell(stage: str, done: int, total: int, /) -> None:
        progress(f"{stage}, {name}", done, total)

    return tell


def _true_norms(asymmetry: _Asymmetry) -> TrueNorms:
    codes, query_rows, reference_rows = asymmetry.plain.true_rows()
    rule = asymmetry.rule
    return TrueNorms(codes, rule.query_norms[query_rows], rule.reference_norms[reference_rows])


def _signature(protocol: Protocol, metric: str, score_norm: str, asymmetric: str, split: Split) -> Signature:
    return Signature(
        split=split.name,
        protocol=protocol.name,
        candidates=protocol.candidates(len(split.query_ids)),
        metric=metric,
        score_norm=score_norm,
        asymmetric=asymmetric,
        ties=protocol.ties,
        ground_truth=split.truth.sha256[:8],
        version=__version__,
    )
