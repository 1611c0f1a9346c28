"""Which of two results is better, and how sure that is: paired differences of stored bootstrap replicates.

All results of a split resample the same queries with the same weights, replicate by replicate, so the
difference of two results can be taken within each replicate without their predictions (paired bootstrap:
Koehn, Statistical Significance Tests for Machine Translation Evaluation, EMNLP 2004; used likewise in
sacrebleu's ``significance.py``).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

import numpy as np

from ndec_bench.errors import DataError, UsageError
from ndec_bench.metrics import bootstrap
from ndec_bench.results.record import Signature

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from ndec_bench.results.record import PartScore, Replicates, Result

Measure = Literal["micro_ap", "recall_at_p90"]


@dataclass(frozen=True)
class Paired:
    """How far result ``a`` lies above result ``b``.

    Attributes
    ----------
    difference
        Measure of ``a`` minus measure of ``b``, as scored.
    interval
        95 % percentile interval of the difference.
    p_value
        Two-sided; see `paired`.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float

    @property
    def significant(self) -> bool:
        """Return whether the interval leaves out 0."""
        return self.interval[0] > 0 or self.interval[1] < 0


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
    best: int | None
    worst: int | None
    group: int | None


@dataclass(frozen=True)
class Entry:
    """A result and the name it goes by in a comparison.

    Attributes
    ----------
    label
        Its name; with the place where several share a name.
    place
        Where it came from, as messages name it: a file.
    result
        The result.
    """

    label: str
    place: str
    result: Result


@dataclass(frozen=True)
class Pair:
    """Two results and how far ``a`` lies above ``b``.

    Attributes
    ----------
    a, b
        Labels of the results.
    paired
        Difference, interval and p-value of the two alone.
    p_holm
        The p-value adjusted for all pairs of the comparison; see `holm`.
    """

    a: str
    b: str
    paired: Paired
    p_holm: float


@dataclass(frozen=True)
class Comparison:
    """Results of one split under one protocol, set against each other.

    Attributes
    ----------
    split, split_sha256, protocol, part, measure
        What is compared.
    replicates, stream
        Number of bootstrap replicates behind each interval, and the stream of their weights.
    entries
        The results: two as given, three and more by score descending.
    standings
        The standings of the same results, in the same order.
    pairs
        All pairs, the first result of each standing first in ``entries``.
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
    entries: tuple[Entry, ...]
    standings: tuple[Standing, ...]
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]


def compare(results: Sequence[tuple[str, Result]], *, part: str = "all", measure: Measure = "micro_ap") -> Comparison:
    """Return the comparison of two or more results, each given as its place (a file, for messages) and itself.

    Two results are compared as given, first minus second; three and more are put in the order of their scores, and
    each pair is higher minus lower.

    Raises
    ------
    UsageError
        If fewer than two results are given.
    DataError
        If a result is partial, given twice, without the part or its replicates, or of another split, protocol or
        stream than the first; the message names the place.
    """
    _check_comparable(results, part)
    entries = _entries(results)
    standings = {id(s.result): s for s in rank_intervals([result for _, result in results], part=part, measure=measure)}
    if len(entries) > 2:
        places = {key: number for number, key in enumerate(standings)}
        entries.sort(key=lambda entry: places[id(entry.result)])
    differences = [(a, b, paired(a.result, b.result, part=part, measure=measure)) for a, b in combinations(entries, 2)]
    adjusted = holm([found.p_value for _, _, found in differences])
    first = results[0][1]
    replicates = _replicates(first, part)
    return Comparison(
        split=first.split,
        split_sha256=first.digests.split,
        protocol=first.protocol,
        part=part,
        measure=measure,
        replicates=len(replicates.micro_ap),
        stream=replicates.stream,
        entries=tuple(entries),
        standings=tuple(standings[id(entry.result)] for entry in entries),
        pairs=tuple(Pair(a.label, b.label, found, p) for (a, b, found), p in zip(differences, adjusted, strict=True)),
        notes=tuple(_notes(entries, part, measure, len(replicates.micro_ap), len(differences))),
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return ``p_values`` adjusted for their number, in the same order (Holm's step-down procedure).

    With the m values sorted, p_(1) <= ... <= p_(m)::

        p_holm_(i) = max over j <= i of min(1, (m - j + 1) * p_(j))

    Calling different every pair with an adjusted value of at most 0.05 errs anywhere among all m pairs with a chance
    of at most 5 %, however the pairs depend on each other (Holm, A Simple Sequentially Rejective Multiple Test
    Procedure, Scandinavian Journal of Statistics 6, 1979).
    """
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for step, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - step) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def signature_of(result: Result) -> Signature:
    """Return the signature of ``result``; raises DataError if it cannot be read."""
    try:
        return Signature.parse(result.signature)
    except ValueError as error:
        raise DataError(f"{result.name}: {error}", hint="score again") from error


def paired(a: Result, b: Result, *, part: str = "all", measure: Measure = "micro_ap") -> Paired:
    """Return the difference ``a`` minus ``b`` of ``measure`` on ``part``, with interval and p-value.

    With replicates x_i of ``a``, y_i of ``b`` (i = 1..B) and d_i = x_i - y_i, the interval is the 95 %
    percentile interval of d (`ndec_bench.metrics.bootstrap.interval`), and::

        p = min(1, 2 * min((#{d_i <= 0} + 1) / (B + 1), (#{d_i >= 0} + 1) / (B + 1)))

    The added 1 keeps p above 0 (Davison and Hinkley, Bootstrap Methods and their Application, 1997, 4.2). A
    recall@P90 that is never reached counts 0, as in its replicates.

    Raises
    ------
    DataError
        If a result lacks the part or its replicates, or the two do not stem from one split, stream and count.
    """
    if a.digests.split != b.digests.split:
        raise DataError(
            f"{a.name} and {b.name}: different splits ({_split(a)} and {_split(b)})",
            hint="compare results of one split; score both against the same files",
        )
    first, second = _replicates(a, part), _replicates(b, part)
    if _kind(first) != _kind(second):
        raise DataError(
            f"{a.name} and {b.name}: replicates cannot be paired "
            f"({_describe(first)} and {_describe(second)}, part {part})",
            hint="score both again with the same version and number of replicates",
        )
    x, y = np.asarray(getattr(first, measure)), np.asarray(getattr(second, measure))
    return Paired(
        difference=_point(a.parts[part], measure) - _point(b.parts[part], measure),
        interval=bootstrap.interval(x - y),
        p_value=_p_value(x - y),
    )


def rank_intervals(results: Sequence[Result], *, part: str = "all", measure: Measure = "micro_ap") -> list[Standing]:
    """Return the standings of ``results`` on ``part``, best score first (equal scores by name).

    One result is significantly better than another if the 95 % interval of their paired difference lies above
    0 (`paired`). With n results, ``best`` = 1 + number significantly better and ``worst`` = n - number
    significantly worse. A tie group starts with a row and takes in the rows that follow as long as their
    difference from that first row is not significant. Results whose replicates are missing, or of another
    stream or count than those of most results, keep their rank and get no interval and no group; they are
    never counted as better or worse.

    Raises
    ------
    DataError
        If the results stem from different splits, or one lacks the part.
    """
    ordered = sorted(results, key=lambda result: (-_point(_part(result, part), measure), result.name))
    _check_one_split(ordered)
    points = [_point(result.parts[part], measure) for result in ordered]
    places, replicates = _comparable(ordered, part, measure)
    better = _significantly_better(replicates)
    groups = _tie_groups(better)
    standings = [
        Standing(result, 1 + sum(other > point for other in points), None, None, None)
        for result, point in zip(ordered, points, strict=True)
    ]
    for i, place in enumerate(places):
        standings[place] = Standing(
            result=ordered[place],
            rank=standings[place].rank,
            best=1 + int(better[:, i].sum()),
            worst=len(ordered) - int(better[i].sum()),
            group=groups[i],
        )
    return standings


def _check_comparable(results: Sequence[tuple[str, Result]], part: str) -> None:
    if len(results) < 2:
        raise UsageError("nothing to compare", hint="give two or more results")
    (first_place, first), *_ = results
    for number, (place, result) in enumerate(results):
        if result.partial:
            raise DataError(
                f"{place}: {result.name} is a partial result ({result.missing_references:,} references missing), "
                "which is never ranked",
                hint="describe all references and score again",
            )
        _check_part(place, result, part)
        same = next((other for other, known in results[:number] if _identity(known) == _identity(result)), None)
        if same is not None:
            raise DataError(f"{place}: the same result as {same}", hint="give each result once")
        if number:
            _check_pair(first_place, first, place, result, part)


def _check_part(place: str, result: Result, part: str) -> None:
    try:
        _replicates(result, part)
    except DataError as error:
        raise DataError(f"{place}: {error.message}", hint=error.hint) from error


def _check_pair(first_place: str, first: Result, place: str, result: Result, part: str) -> None:
    kinds = [_describe(_replicates(first, part)), _describe(_replicates(result, part))]
    for what, known, found, hint in (
        ("split", _split(first), _split(result), "compare results of one split; score both against the same files"),
        ("true pairs", first.digests.ground_truth[:8], result.digests.ground_truth[:8], "score against the same files"),
        ("protocol", first.protocol, result.protocol, "score both under the same protocol"),
        ("replicates", *kinds, "score both again with the same version and number of replicates"),
    ):
        if known != found:
            raise DataError(f"{place}: {what} {found}, but {first_place} has {known}", hint=hint)


def _identity(result: Result) -> tuple[str, ...]:
    # The same submission scored by two versions is two results; on two machines it is one.
    return result.signature, result.predictions_sha256, result.digests.submission


def _entries(results: Sequence[tuple[str, Result]]) -> list[Entry]:
    names = Counter(result.name for _, result in results)
    return [
        Entry(result.name if names[result.name] == 1 else f"{result.name} ({place})", place, result)
        for place, result in results
    ]


def _notes(entries: Sequence[Entry], part: str, measure: Measure, replicates: int, pairs: int) -> list[str]:
    notes = []
    signatures = {entry.label: signature_of(entry.result) for entry in entries}
    for what, field in _MAY_DIFFER.items():
        notes += _differing(what, ((label, getattr(signature, field)) for label, signature in signatures.items()))
    notes += _differing("track", ((entry.label, entry.result.track) for entry in entries))
    scores = {entry.label: entry.result.parts[part] for entry in entries}
    notes += [
        f"{label}: the list of pairs was full, so its score may be too low"
        for label, s in scores.items()
        if not s.complete
    ]
    if measure == "recall_at_p90":
        notes += [
            f"{label}: precision 0.90 is never reached and counts 0"
            for label, s in scores.items()
            if not s.recall_at_p90
        ]
    least = 2 / (replicates + 1)
    if pairs * least > _LEVEL:
        notes.append(
            f"{replicates:,} replicates give no p-value below {least:.4f}, so among {pairs:,} pairs none can reach "
            f"{_LEVEL} after Holm's adjustment; compare fewer results for that"
        )
    return notes


_LEVEL = 0.05
_MAY_DIFFER = {
    "metric": "metric",
    "score normalisation": "score_norm",
    "asymmetric rule": "asymmetric",
    "version": "version",
}


def _differing(what: str, values: Iterable[tuple[str, str]]) -> list[str]:
    """Return a note that names who has which value of ``what``; none where all have the same."""
    owners: dict[str, list[str]] = {}
    for label, value in values:
        owners.setdefault(value, []).append(label)
    if len(owners) < 2:
        return []
    return [f"different {what}: " + "; ".join(f"{value} ({', '.join(owners[value])})" for value in sorted(owners))]


def _comparable(results: Sequence[Result], part: str, measure: Measure) -> tuple[list[int], NDArray[np.float64]]:
    """Return the places of the results that can be paired and a float64 array (results, replicates)."""
    kinds = [_kind(result.parts[part].replicates) for result in results]
    counts = Counter(kind for kind in kinds if kind is not None)
    if not counts:
        return [], np.empty((0, 0))
    common = min(counts, key=lambda kind: (-counts[kind], kind))  # equally many: by name, not by order
    places = [i for i, kind in enumerate(kinds) if kind == common]
    return places, np.array([getattr(results[i].parts[part].replicates, measure) for i in places])


def _significantly_better(replicates: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return a square bool array: [i, j] tells whether result i is significantly better than result j."""
    # With sorted differences d, the interval (d[low], d[high]) lies above 0 if at most ``low`` of d are
    # <= 0, below 0 if more than ``high`` are < 0: counting spares the sort. Both ranks come from interval itself.
    ranks = np.arange(replicates.shape[1], dtype=np.float64)
    low, high = bootstrap.interval(ranks) if replicates.size else (0.0, 0.0)
    better = np.zeros((len(replicates), len(replicates)), dtype=np.bool_)
    for i, own in enumerate(replicates):
        others = replicates[i + 1 :]
        better[i, i + 1 :] = (own <= others).sum(axis=1) <= low
        better[i + 1 :, i] = (own < others).sum(axis=1) > high
    return better


def _tie_groups(better: NDArray[np.bool_]) -> list[int]:
    groups: list[int] = []
    first = 0
    for i in range(len(better)):
        if not groups:
            groups.append(1)
        elif better[first, i] or better[i, first]:
            groups.append(groups[-1] + 1)
            first = i
        else:
            groups.append(groups[-1])
    return groups


def _p_value(differences: NDArray[np.float64]) -> float:
    fewer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (fewer + 1) / (len(differences) + 1))


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


def _check_one_split(results: Sequence[Result]) -> None:
    for result in results[1:]:
        if result.digests.split != results[0].digests.split:
            raise DataError(
                f"{results[0].name} and {result.name}: different splits ({_split(results[0])} and {_split(result)})",
                hint="rank results of one split only",
            )
