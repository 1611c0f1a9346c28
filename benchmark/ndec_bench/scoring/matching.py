"""The exact search alone: the best pairs of descriptor files, where nothing is known to be true."""

from __future__ import annotations

import math
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ndec_bench.descriptors.packing import open_sides, recipe_of
from ndec_bench.errors import DataError, SubmissionError, UsageError, os_errors
from ndec_bench.file_kind import refuse_others
from ndec_bench.matches import Matches
from ndec_bench.printable import one_line
from ndec_bench.progress import silent
from ndec_bench.search import Wanted, search

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ndec_bench.descriptors import Submission
    from ndec_bench.progress import Progress
    from ndec_bench.protocol import Metric
    from ndec_bench.search import Found

    Files = str | PathLike[str] | Sequence[str | PathLike[str]]

PAIRS_PER_QUERY = 10
MOST_PAIRS = 10_000_000
"""Pairs of the longest list; ids and scores of so many pairs take about 1 GB."""
_GROWTH = 8


class _Threshold(BaseModel):
    model_config = ConfigDict(strict=True)

    score: float = Field(allow_inf_nan=False)


class PointFile(BaseModel):
    """What matching needs of the file that ``ndec-bench threshold --out`` writes."""

    model_config = ConfigDict(strict=True)

    metric: str | None
    dimensions: int | None
    baseline: str | None
    recipe: dict[str, str] | None = None
    points: list[_Threshold] = Field(min_length=1)


def match(
    query: Files,
    reference: Files,
    *,
    pairs: int | None = None,
    per_query: int | None = None,
    threshold: float | None = None,
    operating_point: str | PathLike[str] | None = None,
    metric: Metric | None = None,
    backend: str = "auto",
    threads: int | None = None,
    progress: Progress = silent,
) -> Matches:
    """Return the best pairs of descriptor files: score descending, then query id, then reference id.

    It is the list that `ndec_bench.score` scores, without a ground truth. At most one of ``pairs``, ``per_query``,
    ``threshold`` and ``operating_point`` is given; without any the list has ten pairs per query.

    Parameters
    ----------
    query, reference
        Descriptor files of each side, one or several, made by one recipe; images in ``invalid_ids`` have no pairs.
    pairs
        The best so many over all queries.
    per_query
        The best so many of each query.
    threshold
        All pairs with this score or a higher one; scores of ``l2`` are negated squared distances.
    operating_point
        A file that ``ndec-bench threshold --out`` wrote: the threshold of its first point.
    metric
        ``l2`` or ``ip``; None for that of the files, ``l2`` where they name none.
    backend, threads, progress
        As in `ndec_bench.search.search`.

    Raises
    ------
    SubmissionError
        If a file cannot be read, the files do not belong together, or the operating point is of other descriptors.
    UsageError
        If options exclude each other or are out of range, ``metric`` is not that of the files, or the list
        would have more than `MOST_PAIRS` pairs.
    DataError
        If the file of the operating point cannot be read.
    """
    point = None if operating_point is None else read_point(Path(operating_point))
    _check({"pairs": pairs, "per-query": per_query, "threshold": threshold, "operating-point": operating_point})
    submission, recipe = open_sides(_paths(query), _paths(reference), metric=metric or "l2", progress=progress)
    with submission:
        if metric is not None and metric != submission.metric:
            raise UsageError(f"--metric {metric}, but the files say {submission.metric}", hint="leave --metric out")
        if point is not None:
            _check_same(str(operating_point), point, submission, recipe)
            threshold = point.points[0].score

        def best(wanted: Wanted) -> Found:
            lists = search(
                submission.queries,
                submission.references,
                {"list": wanted},
                backend=backend,
                threads=threads,
                progress=progress,
            )
            return lists["list"]

        if threshold is not None:
            found = _above(threshold, submission, best)
        else:
            cap = pairs or per_query or PAIRS_PER_QUERY * len(submission.queries)
            _check_length(cap, submission, per_query=per_query is not None)
            found = best(Wanted(cap, submission.metric, per_query=per_query is not None))
        query_ids, reference_ids = (np.array(side.ids) for side in (submission.queries, submission.references))
        return Matches.trusted(query_ids[found.query_rows], reference_ids[found.reference_rows], found.scores)


def read_point(path: Path) -> PointFile:
    """Return the operating point in the JSON file ``path``. Raises DataError."""
    with os_errors(f"{path}: cannot be read", hint="check the path"):
        refuse_others(path, "an operating point in JSON", error=DataError)
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        return PointFile.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise DataError(
            f"{path}: not an operating point ({one_line(where, 80)}: {one_line(first['msg'], 200)})",
            hint='"ndec-bench threshold --out POINT.json" writes one',
        ) from error


def _check(given: Mapping[str, object]) -> None:
    """Raise UsageError unless at most one of the options is given, in its range."""
    asked = {name: value for name, value in given.items() if value is not None}
    if len(asked) > 1:
        raise UsageError(f"{' and '.join(f'--{name}' for name in asked)} exclude each other", hint="give one of them")
    for name, value in asked.items():
        if isinstance(value, int) and name != "threshold" and value < 1:
            raise UsageError(f"--{name} {value}", hint="give one or more")
        if name == "threshold" and not math.isfinite(float(str(value))):
            raise UsageError(f"--threshold {value}", hint="give a finite score")


def _check_length(cap: int, submission: Submission, *, per_query: bool) -> None:
    queries, references = len(submission.queries), len(submission.references)
    length = min(cap, references) * queries if per_query else min(cap, queries * references)
    if length > MOST_PAIRS:
        raise UsageError(f"a list of {length:,} pairs", hint=f"ask for at most {MOST_PAIRS:,}")


def _above(threshold: float, submission: Submission, best: Callable[[Wanted], Found]) -> Found:
    """Return all pairs that reach ``threshold``: the list grows until it ends below, or holds every pair."""
    every = len(submission.queries) * len(submission.references)
    cap = PAIRS_PER_QUERY * len(submission.queries)
    while True:
        cap = min(cap, every, MOST_PAIRS + 1)
        found = best(Wanted(cap, submission.metric))
        count = int(np.searchsorted(-found.scores, -threshold, side="right"))
        if count > MOST_PAIRS:
            raise UsageError(
                f"more than {MOST_PAIRS:,} pairs have a score of {threshold:g} or higher",
                hint="give a higher threshold, or match fewer queries at a time",
            )
        if count < cap or cap == every:
            return type(found)(found.query_rows[:count], found.reference_rows[:count], found.scores[:count])
        cap *= _GROWTH


def _check_same(where: str, point: PointFile, submission: Submission, recipe: Mapping[str, str]) -> None:
    """Raise SubmissionError unless ``point`` was chosen for descriptors of this metric, dimension and recipe."""
    if point.metric is None:
        raise SubmissionError(
            f"{where}: does not say for which descriptors it was chosen",
            hint='give the result too, "ndec-bench threshold RESULT.json --out", or its score as --threshold',
        )
    expected: dict[str, object] = {"metric": point.metric, "dimensions": point.dimensions}
    found: dict[str, object] = {"metric": submission.metric, "dimensions": submission.references.dimension}
    if point.recipe is not None:
        expected |= point.recipe
        found |= recipe_of(recipe)
    elif point.baseline is not None:
        expected["baseline"], found["baseline"] = point.baseline, recipe.get("baseline")
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise SubmissionError(
                f"{where}: chosen for {name} {expected.get(name)!r}, but the descriptors have {found.get(name)!r}",
                hint="choose a threshold for these descriptors",
            )


def _paths(files: Files) -> list[Path]:
    return [Path(files)] if isinstance(files, str | PathLike) else [Path(file) for file in files]
