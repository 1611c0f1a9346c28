"""Results below a folder, each with the card of its submission."""

from __future__ import annotations

import hashlib
import re
import shlex
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from ndec_bench.errors import DataError, NdecBenchError, SubmissionError
from ndec_bench.printable import readable
from ndec_bench.protocol import NDEC_1
from ndec_bench.results.record import read_result
from ndec_bench.submissions import policy
from ndec_bench.submissions.card import CARD_FILE, NAME_PATTERN, read_card

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from ndec_bench.progress import Progress
    from ndec_bench.results.record import Result
    from ndec_bench.submissions.card import SubmissionCard
    from ndec_bench.submissions.policy import Level

    Refuse = Callable[[NdecBenchError], None]

MARKER = ".ndec-bench-site"
"""Name of the file by which the folder of a site is known."""


@dataclass(frozen=True)
class Entry:
    """One result with its card.

    Attributes
    ----------
    result
        The result.
    card
        Card of the submission; None where there is none of that name.
    source
        File the result was read from.
    sha256
        SHA-256 (hex) of that file.
    slug
        The submission's part of the page's address.
    private
        Whether the site ranks what nobody verified or declared.
    """

    result: Result
    card: SubmissionCard | None
    source: Path
    sha256: str
    slug: str
    private: bool = False

    @property
    def title(self) -> str:
        """Return the name of the method, without the card the name of the submission."""
        return readable(self.card.method.title if self.card else self.result.name) or self.slug

    @property
    def page(self) -> str:
        """Return the path of the submission's page inside the site."""
        return f"s/{self.slug}/index.html"

    @property
    def family(self) -> str | None:
        """Return what runs of one method share that differ by their seed alone; None where there is one run."""
        return None if self.card is None else self.card.runs_of

    @property
    def seed(self) -> int:
        """Return the seed of the run, -1 where the card names none."""
        return -1 if self.card is None or self.card.seed is None else self.card.seed

    @property
    def level(self) -> Level:
        """Return how far the result is verified."""
        return policy.level_of(self.result, self.card)

    @property
    def reasons(self) -> list[str]:
        """Return why the result does not rank, in few words each; empty if it ranks."""
        return policy.why_unranked(self.result, self.card, private=self.private)

    @property
    def ranks(self) -> bool:
        """Return whether the result ranks."""
        return not self.reasons

    @property
    def check_command(self) -> str:
        """Return the command that checks the result, in a clone of the repository.

        It fetches the file from the card's address; without one, it runs the baseline on record again; without either,
        it wants a copy of the file.
        """
        files, made_by = self.card.descriptors if self.card else None, self.result.describing
        how = " --file FILE"
        if files is not None and files.url is not None:
            how = ""
        elif made_by is not None and made_by.baseline is not None:
            how = " --whole"
        return f"ndec-bench reproduce {shlex.quote(self.result.name)}{how}"

    @property
    def declared(self) -> dict[str, tuple[str, ...]]:
        """Return the values of each declaration by its name; unknown without a card."""
        return policy.declared_values(self.card)


def raised(error: NdecBenchError) -> None:
    """Raise ``error``: what becomes of a row that cannot be shown, where nobody wants the others without it."""
    raise error


def read_entries(
    results: Path,
    submissions: Path | None,
    progress: Progress,
    *,
    private: bool = False,
    refuse: Refuse = raised,
) -> list[Entry]:
    """Return every result in ``results/**/*.json`` with the card ``submissions/<name>/submission.toml``, by address.

    Hidden files and folders and the contents of earlier sites are passed over. ``private`` is that of the entries. A
    submission may have a result under each protocol; the address of that under ndec-1, or of its only one, is its name.

    ``refuse`` is called with an error that names the file for each result and card that is none, for a result with
    numbers that are not finite or without the part ``all``, and for all but one of those that share submission and
    protocol. What it returns from is left out.

    Raises
    ------
    DataError
        If a folder is missing.
    """
    if not results.is_dir():
        raise DataError(f"{results}: no folder of results", hint='make one with "ndec-bench score --out"')
    cards = {} if submissions is None else read_cards(submissions, refuse)
    files = _result_files(results)
    found: list[tuple[Path, Result]] = []
    for done, path in enumerate(files, start=1):
        try:
            found.append((path, _checked(path)))
        except DataError as error:
            refuse(error)
        progress("reading results", done, len(files))
    entries: dict[str, Entry] = {}
    for path, result in sorted(found, key=_claim):
        slug = slug_of(result.name)
        first = entries.get(slug)
        if first is not None and first.result.protocol != result.protocol:
            slug = slug_of(result.name, table=(result.protocol,))
            first = entries.get(slug)
        if first is not None:
            message = f"{path}: submission {result.name!r} already has a result in {first.source}"
            refuse(DataError(message, hint="remove one of the two files, or score one again under another name"))
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        entries[slug] = Entry(result, cards.get(result.name), path, digest, slug, private)
    return [entries[slug] for slug in sorted(entries)]


def _claim(found: tuple[Path, Result]) -> tuple[str, bool, bool, str, Path]:
    """Return what sorts results by their right to the address of their name: first ndec-1 and files in their place."""
    path, result = found
    elsewhere = (path.parent.name, path.stem) != (result.protocol, result.name)
    return result.name, result.protocol != NDEC_1.name, elsewhere, result.protocol, path


def read_cards(submissions: Path, refuse: Refuse = raised) -> dict[str, SubmissionCard]:
    """Return the cards in ``submissions/*/submission.toml`` by name.

    ``refuse`` is called with an error for each that breaks its schema or has another name than its folder.

    Raises
    ------
    DataError
        If the folder is missing.
    """
    if not submissions.is_dir():
        raise DataError(f"{submissions}: no folder of submissions", hint="check the path, or leave it out")
    cards = {}
    for path in sorted(submissions.glob(f"*/{CARD_FILE}")):
        try:
            card = read_card(path)
            if card.name != path.parent.name:
                raise SubmissionError(
                    f"{path}: name is {card.name!r}, its folder {path.parent.name!r}", hint="give both the same name"
                )
        except SubmissionError as error:
            refuse(error)
        else:
            cards[card.name] = card
    return cards


def cards_next_to(results: Path) -> Path | None:
    """Return the folder ``submissions`` next to the folder ``results``; None if there is none."""
    folder = results.parent / "submissions"
    return folder if folder.is_dir() else None


def slug_of(name: str, *, table: Sequence[str] = ()) -> str:
    """Return ``name`` where an address takes it, otherwise what is left of it with a short digest.

    An address takes what a submission's name may be (`ndec_bench.submissions.card.NAME_PATTERN`). The digest is over
    the name and the words of ``table``, so that equal names of two tables differ; with these it is always there.
    """
    if not table and re.fullmatch(NAME_PATTERN, name):
        return name
    whole = "\n".join((name, *table))
    kept = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    return f"{kept or 'unnamed'}-{hashlib.sha256(whole.encode('utf-8', 'replace')).hexdigest()[:8]}"


def _result_files(results: Path) -> list[Path]:
    # A site may have been built inside the folder of results; what it holds are copies.
    built = {marker.parent for marker in results.rglob(MARKER)}
    found = (path for path in results.rglob("*.json") if path.is_file())
    return sorted(path for path in found if not _hidden(path, results) and built.isdisjoint(path.parents))


def _hidden(path: Path, root: Path) -> bool:
    # A build that was killed leaves half a site in a hidden folder.
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _checked(path: Path) -> Result:
    """Return the result in ``path`` if it has part ``all``, finite numbers, and lists as long as they should be.

    The scorer writes no others, and no page, table or script has a place for them.
    """
    result = read_result(path)
    if "all" not in result.parts:
        raise DataError(f"{path}: no scores of part all", hint='score again with "ndec-bench score"')
    for name, part in result.parts.items():
        curve = part.pr_curve
        if len({len(curve.recall), len(curve.precision), len(curve.threshold)}) > 1:
            raise DataError(f"{path}: lists of parts.{name}.pr_curve differ in length", hint="score again")
    odd = _not_finite(result.model_dump())
    if odd is not None:
        raise DataError(f"{path}: {odd} is not a finite number", hint="score again")
    return result


def _not_finite(value: object, name: str = "") -> str | None:
    """Return the dotted name of the first number that is not finite."""
    if isinstance(value, dict):
        found = (_not_finite(below, f"{name}.{key}" if name else str(key)) for key, below in value.items())
    elif isinstance(value, list | tuple):
        if all(type(below) is float and isfinite(below) for below in value):
            return None
        found = (_not_finite(below, name) for below in value)
    else:
        return name if isinstance(value, float) and not isfinite(value) else None
    return next((below for below in found if below is not None), None)
