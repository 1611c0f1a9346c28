"""The check of a repository, or of a pull request against the branch that it goes to.

Each card and result by itself is read in `repository`; here is whether they belong together, each pair and among all.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from ndec_bench.download.public import is_public
from ndec_bench.errors import UsageError
from ndec_bench.progress import silent
from ndec_bench.submissions.check.changes import NEEDS_MAINTAINER, problems_of_row, rows
from ndec_bench.submissions.check.consistency import inconsistencies, skeleton
from ndec_bench.submissions.check.repository import Problem, in_order, read_repository
from ndec_bench.submissions.check.standing import Change, stand
from ndec_bench.submissions.policy import declared_values, undeclared

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ndec_bench.progress import Progress
    from ndec_bench.submissions.card import Key
    from ndec_bench.submissions.check.repository import CardFile, Repository, ResultFile

_SECRET = re.compile(r"(token|signature|sig|key|secret|passw(or)?d|credential)$", re.IGNORECASE)
_AGAIN = 'score again with "ndec-bench score --record" and commit what it writes'


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
    def needs_maintainer(self) -> bool:
        """Return whether the change edits rows that were there before, which nobody but a maintainer lets pass."""
        return any(one.message.startswith(NEEDS_MAINTAINER) for one in self.errors)

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
        yield from ((name, problem) for problem in _problems_of_card(card, found, public=public))
    for (_, name), scored in found.scored.items():
        yield from ((name, problem) for problem in _problems_of_result(scored, found))
    yield from _same_lists(found)
    yield from _look_alike_titles(found)
    yield from _other_editions(found)


def _check_names(names: Sequence[str], found: Repository) -> None:
    unknown = [name for name in names if name not in found.names]
    if unknown:
        raise UsageError(
            f"no submission {unknown[0]!r} in {found.submissions} or {found.results}",
            hint='write its card with "ndec-bench submit new"',
        )


def _problems_of_card(card: CardFile, repository: Repository, *, public: bool) -> Iterator[Problem]:
    """Yield what is wrong with a card that keeps to the schema, apart from what its results tell.

    ``public`` wants addresses that all can reach, as a pull request must have them; else others are a warning.
    """
    if card.card.name != card.name:
        yield card.problem(("name",), f"is {card.card.name!r}, the folder is {card.name!r}", "give both the same name")
    if all(owner != card.name for _, owner in repository.files):
        where = repository.results / "ndec-1" / f"{card.name}.json"
        yield card.problem((), f"has no result, {where} is missing", 'write it with "ndec-bench score FILE --record"')
    yield from _addresses(card, public=public)
    yield from _other_method(card, repository)
    yield from _keeps_from_ranking(card)
    verified = card.card.verified
    digests = {found.result.predictions_sha256 for found in repository.results_of(card.name)}
    if verified and digests and verified.predictions_sha256 not in digests:
        yield card.problem(
            ("verified", "predictions_sha256"),
            "is not that of the result: the check is void",
            f'check again with "ndec-bench reproduce {card.name} --record"',
            warning=True,
        )


def _keeps_from_ranking(card: CardFile) -> Iterator[Problem]:
    """Yield warnings of what the authors alone can add, and without which the row is not ranked."""
    unknown = undeclared(card.card)
    if unknown:
        message = f"{', '.join(unknown)} unknown, and what is unknown does not rank"
        yield card.problem(("declarations",), message, "declare it: an honest yes ranks", warning=True)
    files = card.card.descriptors
    if card.card.verified is None and files is not None and files.url is None:
        message = "has no address, so that nobody can score the file again"
        hint = 'put it where all can fetch it, "ndec-bench submit upload" does; or ask for a run of the public weights'
        yield card.problem(("descriptors",), message, hint, warning=True)


def _other_method(card: CardFile, repository: Repository) -> Iterator[Problem]:
    """Yield where a card claims to be a run of a method that is another: its row would move that of somebody else."""
    if card.card.runs_of is None:
        return
    group = [other for _, other in sorted(repository.cards.items()) if other.card.runs_of == card.card.runs_of]
    first, hint = group[0], "one row is one method, by the same authors; give other methods another runs_of"
    facts: tuple[tuple[str, object, object], ...] = (
        ("authors", card.card.authors, first.card.authors),
        ("split", card.card.split, first.card.split),
        ("track", card.card.track, first.card.track),
        ("declarations", _declared(card), _declared(first)),
    )
    for name, own, theirs in facts:
        if own != theirs:
            message = f"has other {name} than {first.name}, another run of {card.card.runs_of!r}"
            yield card.problem((name,), message, hint)
    same = [other.name for other in group if other is not card and other.card.seed == card.card.seed]
    if same and card.card.seed is not None:
        yield card.problem(("seed",), f"is that of {same[0]} too, another run of {card.card.runs_of!r}", "give its own")


def _declared(card: CardFile) -> dict[str, tuple[str, ...]]:
    return {name: tuple(sorted(values)) for name, values in declared_values(card.card).items()}


def _addresses(card: CardFile, *, public: bool) -> Iterator[Problem]:
    method, files = card.card.method, card.card.descriptors
    addresses: tuple[tuple[Key, str | None], ...] = (
        (("method", "paper"), method.paper),
        (("method", "code"), method.code),
        (("descriptors", "url"), files.url if files else None),
    )
    for key, address in addresses:
        if address is None:
            continue
        parts = urlsplit(address)
        if not is_public(parts.hostname or ""):
            hint = "put what it names where all can fetch it"
            yield card.problem(key, "is not an address of the public network", hint, warning=not public)
        secrets = [name for name, _ in parse_qsl(parts.query) if _SECRET.search(name)]
        if secrets:
            message = f"has {secrets[0]} in it: signed addresses expire, and what signs them is public here"
            yield card.problem(key, message, "give an address that needs no key", warning=True)


def _problems_of_result(found: ResultFile, repository: Repository) -> Iterator[Problem]:
    """Yield what is wrong with a result that keeps to the schema: in itself, with its place, with its card."""
    result = found.result
    for key, expected in (("name", found.name), ("protocol", found.protocol)):
        value = getattr(result, key)
        if value != expected:
            yield found.problem((key,), f"is {value!r}, the file's place says {expected!r}", _AGAIN)
    for place, message in inconsistencies(result):
        yield found.problem(place, message, _AGAIN)
    if "all" in result.parts and result.parts["all"].replicates is None:
        yield found.problem(("parts", "all"), "has no replicates", "score again without --no-bootstrap")
    card = repository.cards.get(found.name)
    if card is not None:
        yield from _against_card(found, card)
    elif found.name not in repository.folders:
        where = repository.submissions / found.name
        yield found.problem(
            (), f"has no card, {where} is missing", f'write it with "ndec-bench submit new {found.name}"'
        )


def _against_card(found: ResultFile, card: CardFile) -> Iterator[Problem]:
    result, said = found.result, card.card
    for key, of_result in (("split", result.split), ("track", result.track)):
        if getattr(said, key) != of_result:
            yield card.problem((key,), f"is {getattr(said, key)!r}, the result has {of_result!r}")
    if said.descriptors is None:
        hint = f'take name = "..." and sha256 = "{result.digests.submission}"'
        yield card.problem(("descriptors",), "is missing: the card names the file that was scored", hint)
    elif said.descriptors.sha256 != result.digests.submission:
        message = f"is {said.descriptors.sha256}, the result was made from {result.digests.submission}"
        yield card.problem(("descriptors", "sha256"), message, "score that file, or name the one that was scored")
    if said.threshold is not None and result.own_threshold is not None and said.threshold != result.own_threshold:
        message = f"is {said.threshold}, the result was made with {result.own_threshold}"
        yield card.problem(("threshold",), message, "give both the same")
    if not result.query_independent and said.declarations.query_independent == "yes":
        message = "is yes, but the file says that vectors of queries depend on other queries"
        yield card.problem(("declarations", "query_independent"), message, "declare no")


def _same_lists(repository: Repository) -> Iterator[tuple[str, Problem]]:
    """Yield (name, warning) of results that hold the same list of pairs as another submission.

    Runs of one method, which say so with ``runs_of``, may.
    """
    owners: defaultdict[str, list[ResultFile]] = defaultdict(list)
    for _, found in sorted(repository.scored.items()):
        owners[found.result.predictions_sha256].append(found)
    hint = "give runs of one method the same runs_of, else say why in the details"
    for found in (one for group in owners.values() for one in group):
        same = {other.name for other in owners[found.result.predictions_sha256]} - {found.name}
        others = [name for name in sorted(same) if not _one_method(found.name, name, repository)]
        if others:
            message = f"same list of pairs as {', '.join(others)}"
            yield found.name, found.problem(("predictions_sha256",), message, hint, warning=True)


def _one_method(first: str, second: str, repository: Repository) -> bool:
    cards = [repository.cards.get(name) for name in (first, second)]
    runs = {card.card.runs_of if card else None for card in cards}
    return len(runs) == 1 and None not in runs


def _look_alike_titles(repository: Repository) -> Iterator[tuple[str, Problem]]:
    """Yield (name, warning) of titles, of single rows and of runs, that a reader would take for another method's."""
    titles = [
        (card, key, title)
        for _, card in sorted(repository.cards.items())
        for key, title in ((("method", "title"), card.card.method.title), (("runs_of",), card.card.runs_of))
        if title is not None
    ]
    owners: defaultdict[str, list[CardFile]] = defaultdict(list)
    for card, _, title in titles:
        owners[skeleton(title)].append(card)
    hint = "give it a title of its own, in one alphabet"
    for card, key, title in titles:
        other = next((one for one in owners[skeleton(title)] if one.card.authors != card.card.authors), None)
        if other is not None:
            message = f"looks like the title of {other.name}, by other authors"
            yield card.name, card.problem(key, message, hint, warning=True)
        mixed = next((word for word in re.findall(r"\w+", title) if len(_scripts(word)) > 1), None)
        if mixed:
            message = f"{mixed!r} mixes letters of {' and '.join(sorted(_scripts(mixed)))}"
            yield card.name, card.problem(key, message, hint, warning=True)


def _scripts(word: str) -> set[str]:
    names = {unicodedata.name(letter, "").partition(" ")[0].title() for letter in word if letter.isalpha()}
    return names & {"Latin", "Cyrillic", "Greek", "Armenian", "Cherokee"}


def _other_editions(repository: Repository) -> Iterator[tuple[str, Problem]]:
    """Yield (name, warning) of results whose split has another digest or spelling than in most results of that name."""
    editions: defaultdict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for found in repository.scored.values():
        editions[skeleton(found.result.split)][found.result.split, found.result.digests.split] += 1
    for found in repository.scored.values():
        counts = editions[skeleton(found.result.split)]
        usual = min(counts, key=lambda edition: (-counts[edition], edition))
        if (found.result.split, found.result.digests.split) != usual:
            key: Key = ("digests", "split")
            message = f"another edition of {usual[0]}: most results have {usual[1][:12]}"
            hint = "score against the published split; other editions have tables of their own"
            yield found.name, found.problem(key, message, hint, warning=True)
