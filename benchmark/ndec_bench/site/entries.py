"""What the site shows: every result below a folder, each with the card of its submission."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ndec_bench import policy
from ndec_bench.errors import DataError, SubmissionError
from ndec_bench.report import read_result
from ndec_bench.site.output import MARKER
from ndec_bench.site.text import without_overrides
from ndec_bench.submission import CARD_FILE, NAME_PATTERN, read_card

if TYPE_CHECKING:
    from pathlib import Path

    from ndec_bench.policy import Level
    from ndec_bench.progress import Progress
    from ndec_bench.report import Result
    from ndec_bench.submission import SubmissionCard


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
        return without_overrides(self.card.method.title if self.card else self.result.name) or self.slug

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
    def declared(self) -> dict[str, tuple[str, ...]]:
        """Return the values of each declaration by its name; unknown without a card."""
        return policy.declared_values(self.card)


def read_entries(results: Path, submissions: Path | None, progress: Progress, *, private: bool = False) -> list[Entry]:
    """Return every result in ``results/**/*.json`` with the card ``submissions/<name>/submission.toml``, by name.

    Hidden files and the contents of sites built earlier are passed over. ``private`` is that of the entries.

    Raises
    ------
    DataError
        If the folder is missing, a file is no result, or two results share a name; the message names the files.
    SubmissionError
        If a card breaks its schema or has another name than its folder.
    """
    if not results.is_dir():
        raise DataError(f"{results}: no folder of results", hint='make one with "ndec-bench score --out"')
    cards = {} if submissions is None else read_cards(submissions)
    files = _result_files(results)
    entries: dict[str, Entry] = {}
    for done, path in enumerate(files, start=1):
        result = read_result(path)
        slug = slug_of(result.name)
        if slug in entries:
            raise DataError(
                f"{path}: submission {result.name!r} already has a result in {entries[slug].source}",
                hint="remove one of the two files, or score one again under another name",
            )
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        entries[slug] = Entry(result, cards.get(result.name), path, digest, slug, private)
        progress("reading results", done, len(files))
    return [entries[slug] for slug in sorted(entries)]


def read_cards(submissions: Path) -> dict[str, SubmissionCard]:
    """Return the cards in ``submissions/*/submission.toml`` by name.

    Raises
    ------
    DataError
        If the folder is missing.
    SubmissionError
        If a card breaks its schema or has another name than its folder.
    """
    if not submissions.is_dir():
        raise DataError(f"{submissions}: no folder of submissions", hint="check the path, or leave it out")
    cards = {}
    for path in sorted(submissions.glob(f"*/{CARD_FILE}")):
        card = read_card(path)
        if card.name != path.parent.name:
            raise SubmissionError(
                f"{path}: name is {card.name!r}, its folder {path.parent.name!r}",
                hint="give both the same name",
            )
        cards[card.name] = card
    return cards


def slug_of(name: str) -> str:
    """Return ``name`` where it can stand in an address, otherwise what is left of it with a short digest.

    An address takes what a submission's name may be (`ndec_bench.submission.NAME_PATTERN`).
    """
    if re.fullmatch(NAME_PATTERN, name):
        return name
    kept = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
    return f"{kept or 'unnamed'}-{hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:8]}"


def _result_files(results: Path) -> list[Path]:
    # A site may have been built inside the folder of results; what it holds are copies.
    built = {marker.parent for marker in results.rglob(MARKER)}
    found = (path for path in results.rglob("*.json") if path.is_file())
    return sorted(path for path in found if not path.name.startswith(".") and built.isdisjoint(path.parents))
