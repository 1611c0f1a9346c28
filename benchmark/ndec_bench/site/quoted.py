"""Published numbers as the site shows them: quoted, not measured here, and never ranked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ndec_bench.results.published import MEASURES, SUBSET_1, UNNAMED_HALF, published_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ndec_bench.results.published import PublishedRow

SPLITS = {
    "ndec": ("NDEC", "All 49,252 queries, half of them hard negatives, with 1,000,000 references."),
    "disc21-final": ("DISC21 final", "The 50,000 queries that decided the Image Similarity Challenge 2021."),
    "disc21-dev2": ("DISC21 dev II", "The 25,000 queries that are NDEC without its hard negatives."),
    "disc21-dev1": ("DISC21 dev I", "The 25,000 queries whose labels the challenge gave out for training."),
    "disc21-dev": ("DISC21 dev, both halves", "All 50,000 queries of phase 1."),
    UNNAMED_HALF: ("DISC21 dev, half not named", "One half of phase 1; the source does not say which."),
    SUBSET_1: ("DISC21 subset 1", "The 4,991 copies of dev I and their 4,991 references alone: a small, easy task."),
}
"""Splits of published rows in the order of the page, each with its title and what it is."""

_TRACKS = {"unknown": "not stated"}
_LISTS = {
    "global500000": "500,000 pairs over all queries",
    "query10": "10 pairs per query",
    "cut500000": "cut from 500,000 pairs for 50,000 queries",
    "unknown": "not stated",
}
_NORMALISATIONS = {
    "none": "none",
    "sscd-1.0[0,2]": "SSCD’s, by the background set",
    "isc2021-2x10th": "the organisers’, by the background set",
    "own": "the method’s own",
    "unknown": "not stated",
}
_LABELS = {"none": "none", "dev1": "dev I"}

# A repository is at the start of a source, or after one of these words.
_ADDRESSES = re.compile(
    r"(?:(?:^|(?<=\bin )|(?<=\bfrom ))(?P<repository>[\w-]+/[\w.-]+))|arXiv (?P<paper>\d{4}\.\d{5})", re.ASCII
)


@dataclass(frozen=True)
class QuotedRow:
    """One published row in the words of the page.

    Attributes
    ----------
    row
        The row.
    track, candidates, score_norm, labels
        Its rules; "not stated" where the source is silent.
    measures
        µAP, recall@P90, recall@1 and recall@10 as shares, with the digits that were printed; None where it has none.
    source
        Pieces of the source, each with its address or None.
    """

    row: PublishedRow
    track: str
    candidates: str
    score_norm: str
    labels: str
    measures: tuple[str | None, ...]
    source: tuple[tuple[str, str | None], ...]


@dataclass(frozen=True)
class QuotedSplit:
    """The published rows of one split: its name, title and explanation."""

    split: str
    title: str
    about: str
    rows: tuple[QuotedRow, ...]


def quoted_for(split: str) -> list[QuotedRow]:
    """Return the published rows that belong on the page of ``split``, in the order of the table; often none."""
    return [_quoted(row) for row in published_rows() if row.split == split]


def quoted_by_split() -> list[QuotedSplit]:
    """Return all published rows by split, in the order of `SPLITS`."""
    return [QuotedSplit(split, *words, tuple(quoted_for(split))) for split, words in SPLITS.items()]


def _quoted(row: PublishedRow) -> QuotedRow:
    return QuotedRow(
        row=row,
        track=_TRACKS.get(row.track, row.track),
        candidates=_LISTS[row.candidates],
        score_norm=_NORMALISATIONS[row.score_norm],
        labels="not stated" if row.trained_on is None else ", ".join(_LABELS[label] for label in row.trained_on),
        measures=tuple(row.shown(measure) for measure in MEASURES),
        source=tuple(_pieces(row.source)),
    )


def _pieces(source: str) -> Iterator[tuple[str, str | None]]:
    start = 0
    for found in _ADDRESSES.finditer(source):
        if found.start() > start:
            yield source[start : found.start()], None
        repository, paper = found["repository"], found["paper"]
        yield found[0], f"https://github.com/{repository}" if repository else f"https://arxiv.org/abs/{paper}"
        start = found.end()
    if start < len(source):
        yield source[start:], None
