"""Comparisons of results: ranks, paired differences and tie groups."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from ndec_bench.errors import DataError, UsageError
from ndec_bench.metrics.compare import Paired, holm, paired_difference, rank_bounds
from ndec_bench.results.record import Signature

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ndec_bench.results.record import PartScore, Replicates, Result

Measure = Literal["micro_ap", "recall_at_p90"]

_LEVEL = 0.05
_SAME_FILES = "compare results of one split; score both against the same files"
_SAME_REPLICATES = "score both again with the same version and number of replicates"
_MAY_DIFFER = {
    "metric": "metric",
    "score normalisation": "score_norm",
    "asymmetric rule": "asymmetric",
    "version": "version",
}


@dataclass(frozen=True)
class Standing:
    """The place of one result among others.

    Attributes
    ----------
    result
        The result.
    rank
        1 + number of results with a higher score.
    best, worst
        Rank interval: 1 + number of results significantly better, and n minus number significantly worse;
        None without comparable replicates.
    group
        Number of the tie group, from 1 in rank order; None without comparable replicates.
    """

    result: Result
    rank: int
    best: int | None = None
    worst: int | None = None
    group: int | None = None


@dataclass(frozen=True)
class Entry:
    """A result in a comparison.

    Attributes
    ----------
    name
        Its name; with the file where several share a name.
    file
        Where it came from, as messages name it.
    score, interval
        Its measure, 0 if never reached, and the bootstrap interval.
    rank, best, worst, group
        As in `Standing`.
    """

    name: str
    file: str
    score: float
    interval: tuple[float, float] | None
    rank: int
    best: int | None
    worst: int | None
    group: int | None


@dataclass(frozen=True)
class Pair:
    """Two results, by name, and how far ``a`` lies above ``b``.

    Attributes
    ----------
    difference, interval, p_value, significant
        Of the two alone, as in `ndec_bench.metrics.compare.Paired`.
    p_holm
        The p-value adjusted for all pairs of the comparison.
    """

    a: str
    b: str
    difference: float
    interval: tuple[float, float]
    p_value: float
    p_holm: float
    significant: bool


@dataclass(frozen=True)
class Comparison:
    """Results of one split under one protocol; the fields are those of the JSON of ``ndec-bench compare``.

    Attributes
    ----------
    split, split_sha256, protocol, part, measure
        What is compared.
    replicates, stream
        Number of bootstrap replicates behind each interval, and the stream of their weights.
    results
        Two as given, three and more by score descending.
    pairs
        All pairs, the earlier of ``results`` first.
    notes
        What differs between the results or limits the comparison.
    """

    split: str
    split_sha256: str
    protocol: str
    part: str
    measure: Measure
    replicates: int
    stream: str
    results: tuple[Entry, ...]
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]


def compare(results: Sequence[tuple[str, Result]], *, part: str = "all", measure: Measure = "micro_ap") -> Comparison:
    """Return the comparison of two or more results, each given as its file (for messages) and itself.

    Two results are compared as given, first minus second; three and more are put in the order of their scores, and
    each pair is higher minus lower.

    Raises
    ------
    UsageError
        If fewer than two results are given.
    DataError
        If a result is partial, given twice, without the part or its replicates, or of another split, protocol or
        stream than the first; the message names the file.
    """
    _check_comparable(results, part)
    names = Counter(result.name for _, result in results)
    labels = {
        id(result): result.name if names[result.name] == 1 else f"{result.name} ({file})" for file, result in results
    }
    files = {id(result): file for file, result in results}
    standings = {id(one.result): one for one in rank_intervals([one for _, one in results], part=part, measure=measure)}
    ordered = [result for _, result in results] if len(results) == 2 else [one.result for one in standings.values()]
    differences = [(a, b, paired(a, b, part=part, measure=measure)) for a, b in combinations(ordered, 2)]
    adjusted = holm([found.p_value for _, _, found in differences])
    first = results[0][1]
    replicates = _replicates(first, part)
    entries = []
    for result in ordered:
        score, standing = result.parts[part], standings[id(result)]
        interval = score.micro_ap_interval if measure == "micro_ap" else score.recall_at_p90_interval
        place = (standing.rank, standing.best, standing.worst, standing.group)
        entries.append(Entry(labels[id(result)], files[id(result)], _point(score, measure), interval, *place))
    return Comparison(
        split=first.split,
        split_sha256=first.digests.split,
        protocol=first.protocol,
        part=part,
        measure=measure,
        replicates=len(replicates.micro_ap),
        stream=replicates.stream,
        results=tuple(entries),
        pairs=tuple(
            Pair(labels[id(a)], labels[id(b)], found.difference, found.interval, found.p_value, p, found.significant)
            for (a, b, found), p in zip(differences, adjusted, strict=True)
        ),
        notes=tuple(
            _notes({labels[id(one)]: one for one in ordered}, part, measure, len(replicates.micro_ap), len(adjusted))
        ),
    )


def paired(a: Result, b: Result, *, part: str = "all", measure: Measure = "micro_ap") -> Paired:
    """Return the difference ``a`` minus ``b`` of ``measure`` on ``part``, with interval and p-value.

    See `ndec_bench.metrics.compare.paired_difference`. A recall@P90 that is never reached counts 0, as in its
    replicates.

    Raises
    ------
    DataError
        If a result has no such part or no replicates, or the two do not stem from one split, stream and count.
    """
    if a.digests.split != b.digests.split:
        raise DataError(f"{a.name} and {b.name}: different splits ({_split(a)} and {_split(b)})", hint=_SAME_FILES)
    first, second = _replicates(a, part), _replicates(b, part)
    if _kind(first) != _kind(second):
        raise DataError(
            f"{a.name} and {b.name}: replicates cannot be paired "
            f"({_describe(first)} and {_describe(second)}, part {part})",
            hint=_SAME_REPLICATES,
        )
    difference = _point(a.parts[part], measure) - _point(b.parts[part], measure)
    return paired_difference(difference, getattr(first, measure), getattr(second, measure))


def rank_intervals(results: Sequence[Result], *, part: str = "all", measure: Measure = "micro_ap") -> list[Standing]:
    """Return the standings of ``results`` on ``part``, best score first (equal scores by name).

    See `ndec_bench.metrics.compare.rank_bounds`. Results whose replicates are missing, or of another stream or count
    than those of most results, keep their rank and get no interval and no group; they are never counted as better or
    worse.

    Raises
    ------
    DataError
        If the results stem from different splits, or one has no such part.
    """
    ordered = sorted(results, key=lambda result: (-_point(_part(result, part), measure), result.name))
    for result in ordered[1:]:
        if result.digests.split != ordered[0].digests.split:
            raise DataError(
                f"{ordered[0].name} and {result.name}: different splits ({_split(ordered[0])} and {_split(result)})",
                hint="rank results of one split only",
            )
    points = [_point(result.parts[part], measure) for result in ordered]
    standings = [
        Standing(result, 1 + sum(other > point for other in points))
        for result, point in zip(ordered, points, strict=True)
    ]
    kinds = [_kind(result.parts[part].replicates) for result in ordered]
    counts = Counter(kind for kind in kinds if kind is not None)
    if not counts:
        return standings
    common = min(counts, key=lambda kind: (-counts[kind], kind))  # equally many: by name, not by order
    places = [place for place, kind in enumerate(kinds) if kind == common]
    replicates = np.array([getattr(ordered[place].parts[part].replicates, measure) for place in places])
    for place, found in zip(places, rank_bounds(replicates, len(ordered)), strict=True):
        standings[place] = Standing(ordered[place], standings[place].rank, found.best, found.worst, found.group)
    return standings


def signature_of(result: Result) -> Signature:
    """Return the signature of ``result``; raises DataError if it cannot be read."""
    try:
        return Signature.parse(result.signature)
    except ValueError as error:
        raise DataError(f"{result.name}: {error}", hint="score again") from error


def _check_comparable(results: Sequence[tuple[str, Result]], part: str) -> None:
    if len(results) < 2:
        raise UsageError("nothing to compare", hint="give two or more results")
    files: dict[tuple[str, ...], str] = {}
    known: dict[str, tuple[str, str]] = {}
    for file, result in results:
        if result.partial:
            raise DataError(
                f"{file}: {result.name} is a partial result ({result.missing_references:,} references missing), "
                "which is never ranked",
                hint="describe all references and score again",
            )
        values = _must_agree(file, result, part)
        known = known or values
        # The same submission scored by two versions is two results; on two machines it is one.
        identity = (result.signature, result.predictions_sha256, result.digests.submission)
        if files.setdefault(identity, file) is not file:
            raise DataError(f"{file}: the same result as {files[identity]}", hint="give each result once")
        for what, (value, hint) in values.items():
            if value != known[what][0]:
                same_pairs = what == "split" and results[0][1].digests.ground_truth == result.digests.ground_truth
                raise DataError(
                    f"{file}: {what} {value}, but {results[0][0]} has {known[what][0]}",
                    hint=_score_by_name(results[0][1].split, result.split) if same_pairs else hint,
                )


def _score_by_name(*splits: str) -> str:
    named = next((split for split in splits if not split.startswith("user-")), "NAME")
    return f"the true pairs are the same: score both with --split {named}, not with --ground-truth"


def _must_agree(file: str, result: Result, part: str) -> dict[str, tuple[str, str]]:
    """Return what is the same in all results of a comparison, each with the hint for one that differs."""
    try:
        replicates = _replicates(result, part)
    except DataError as error:
        raise DataError(f"{file}: {error.message}", hint=error.hint) from error
    return {
        "split": (_split(result), _SAME_FILES),
        "true pairs": (result.digests.ground_truth[:8], "score against the same files"),
        "protocol": (result.protocol, "score both under the same protocol"),
        "replicates": (_describe(replicates), _SAME_REPLICATES),
    }


def _notes(results: dict[str, Result], part: str, measure: Measure, replicates: int, pairs: int) -> list[str]:
    notes = []
    signatures = {name: signature_of(result) for name, result in results.items()}
    for what, field in _MAY_DIFFER.items():
        notes += _differing(what, ((name, getattr(signature, field)) for name, signature in signatures.items()))
    notes += _differing("track", ((name, result.track) for name, result in results.items()))
    scores = {name: result.parts[part] for name, result in results.items()}
    notes += [
        f"{name}: the list of pairs was full, so its score may be too low"
        for name, score in scores.items()
        if not score.complete
    ]
    if measure == "recall_at_p90":
        notes += [
            f"{name}: precision 0.90 is never reached and counts 0"
            for name, score in scores.items()
            if not score.recall_at_p90
        ]
    least = 2 / (replicates + 1)
    if pairs * least > _LEVEL:
        notes.append(
            f"{replicates:,} replicates give no p-value below {least:.4f}, so among {pairs:,} pairs none can reach "
            f"{_LEVEL} after Holm's adjustment; compare fewer results for that"
        )
    return notes


def _differing(what: str, values: Iterable[tuple[str, str]]) -> list[str]:
    """Return a note that names who has which value of ``what``; none where all have the same."""
    owners: dict[str, list[str]] = {}
    for name, value in values:
        owners.setdefault(value, []).append(name)
    if len(owners) < 2:
        return []
    return [f"different {what}: " + "; ".join(f"{value} ({', '.join(owners[value])})" for value in sorted(owners))]


def _point(score: PartScore, measure: Measure) -> float:
    return score.micro_ap if measure == "micro_ap" else score.recall_at_p90 or 0.0


def _part(result: Result, part: str) -> PartScore:
    if part not in result.parts:
        raise DataError(
            f"{result.name}: no part {part!r} (there are: {', '.join(sorted(result.parts))})",
            hint="compare on a part that all results have",
        )
    return result.parts[part]


def _replicates(result: Result, part: str) -> Replicates:
    replicates = _part(result, part).replicates
    if replicates is None or not replicates.micro_ap:
        raise DataError(
            f"{result.name}: no bootstrap replicates for part {part}",
            hint="score again without --no-bootstrap",
        )
    return replicates


def _kind(replicates: Replicates | None) -> tuple[str, int, int] | None:
    if replicates is None or not replicates.micro_ap:
        return None
    return replicates.stream, len(replicates.micro_ap), len(replicates.recall_at_p90)


def _describe(replicates: Replicates) -> str:
    return f"{len(replicates.micro_ap)} of stream {replicates.stream}"


def _split(result: Result) -> str:
    return f"{result.split} {result.digests.split[:8]}"
