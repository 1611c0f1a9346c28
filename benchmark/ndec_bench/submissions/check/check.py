"""The check of a repository, or of a pull request against the branch that it goes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ndec_bench.errors import UsageError
from ndec_bench.progress import silent
from ndec_bench.submissions.check.changes import problems_of_row, rows
from ndec_bench.submissions.check.problem import Problem, in_order
from ndec_bench.submissions.check.reading import read_repository
from ndec_bench.submissions.check.standing import Change, stand
from ndec_bench.submissions.check.together import other_editions, problems_of_card, problems_of_result, same_lists

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ndec_bench.progress import Progress
    from ndec_bench.submissions.check.reading import Repository


@dataclass(frozen=True)
class Report:
    """What a check found.

    Attributes
    ----------
    submissions, results
        How many of each were checked.
    problems
        What is wrong, by file and line.
    changes
        The rows that differ from the base, by protocol and name; None without a base.
    """

    submissions: int
    results: int
    problems: tuple[Problem, ...]
    changes: tuple[Change, ...] | None

    @property
    def ok(self) -> bool:
        """Return whether there is no error; warnings may be left."""
        return not self.errors

    @property
    def errors(self) -> tuple[Problem, ...]:
        """Return the problems that are errors."""
        return tuple(one for one in self.problems if one.level == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """Return the problems that are warnings."""
        return tuple(one for one in self.problems if one.level == "warning")


def check(
    results: Path,
    submissions: Path,
    names: Sequence[str] = (),
    *,
    base: Path | None = None,
    maintainer: bool = False,
    progress: Progress = silent,
) -> Report:
    """Return everything that is wrong with cards and results, and what changed against ``base``.

    Parameters
    ----------
    results, submissions
        Folders of ``PROTOCOL/NAME.json`` and ``NAME/submission.toml``.
    names
        Submissions to check; all if empty.
    base
        Checkout of the branch that a pull request goes to, with folders ``results`` and ``submissions``.
    maintainer
        Whether the change is a maintainer's, who may write ``[verified]``.
    progress
        Called as ``progress("reading results", done, total)``.

    Raises
    ------
    DataError
        If a folder is missing.
    UsageError
        If there is neither card nor result of a name.
    """
    found = read_repository(results, submissions, progress)
    _check_names(names, found)
    before = None if base is None else read_repository(base / "results", base / "submissions", silent)
    wanted = set(names) or {*found.names, ""}
    changed = [] if before is None else [row for row in rows(found, before) if not names or row.name in wanted]
    everything = list(_problems(found, public=before is not None))
    broken = frozenset(problem.path for _, problem in everything if problem.level == "error")
    told_of = wanted if before is None else {"", *(row.name for row in changed)}  # warnings of others are old news
    problems = [
        problem for name, problem in everything if name in wanted and (problem.level == "error" or name in told_of)
    ]
    if before is not None:
        for row in changed:
            problems += problems_of_row(row, found, before, maintainer=maintainer)
    return Report(
        submissions=sum(name in wanted for name in found.folders),
        results=sum(name in wanted for _, name in found.files),
        problems=tuple(in_order(problems)),
        changes=None if before is None else tuple(stand(changed, found, before, broken)),
    )


def _problems(found: Repository, *, public: bool) -> Iterator[tuple[str, Problem]]:
    yield from found.broken
    for name, card in found.cards.items():
        yield from ((name, problem) for problem in problems_of_card(card, found, public=public))
    for (_, name), scored in found.scored.items():
        yield from ((name, problem) for problem in problems_of_result(scored, found))
    yield from same_lists(found)
    yield from other_editions(found)


def _check_names(names: Sequence[str], found: Repository) -> None:
    unknown = [name for name in names if name not in found.names]
    if unknown:
        raise UsageError(
            f"no submission {unknown[0]!r} in {found.submissions} or {found.results}",
            hint='write its card with "ndec-bench submit new"',
        )
