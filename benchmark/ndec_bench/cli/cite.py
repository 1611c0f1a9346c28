"""``ndec-bench cite`` and ``compare``: how to cite a result, and which of several is better."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from ndec_bench.cli import console
from ndec_bench.printable import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from ndec_bench.results.citation import Citation
    from ndec_bench.results.published import Comparable, NotComparable, PublishedRow

_WIDTH = 96
_METHOD_WIDTH = 36
MEASURES = {"micro_ap": "µAP", "recall_at_p90": "R@P90", "recall_at_1": "R@1", "recall_at_10": "R@10"}
_Row = TypeVar("_Row")


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command()(compare)
    app.command()(cite)


def compare(
    results: Annotated[
        list[Path] | None,
        typer.Argument(help="Two or more results of one split.", metavar="RESULT.json...", show_default=False),
    ] = None,
    part: Annotated[str, typer.Option(help="Part of the split.", metavar="NAME")] = "all",
    measure: Annotated[Literal["micro_ap", "recall_at_p90"], typer.Option(help="What to compare.")] = "micro_ap",
    json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON, with all pairs.")] = False,
) -> None:
    """Compare results of one split: paired differences with intervals and p-values, and tie groups.

    Two results are compared as given, the first minus the second. Three and more are put in the order of their
    scores. No predictions are needed: results store the bootstrap replicates that are paired here.
    """
    from dataclasses import asdict

    from ndec_bench.errors import DataError
    from ndec_bench.results import comparison
    from ndec_bench.results.record import read_result
    from ndec_bench.results.tables import comparison_tables

    paths = results or []
    for number, path in enumerate(paths):
        if path.resolve() in [other.resolve() for other in paths[:number]]:
            raise DataError(f"{path}: given twice", hint="give each result once")
    found = comparison.compare([(str(path), read_result(path)) for path in paths], part=part, measure=measure)
    if json:
        console.out_json(asdict(found))
    else:
        console.show(comparison_tables(found))


def cite(
    result: Annotated[Path, typer.Argument(help="A result.", metavar="RESULT.json", show_default=False)],
    card: Annotated[
        Path | None,
        typer.Option(
            help="The card of the submission: adds its method.", metavar="submission.toml", show_default=False
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
) -> None:
    """Cite a result: a sentence for the methods section, BibTeX, and the published results that compare with it."""
    from ndec_bench.results.citation import cite as cite_result
    from ndec_bench.results.record import read_result
    from ndec_bench.submissions.card import read_card

    found = read_result(result)
    citation = cite_result(found, None if card is None else read_card(card))
    if json:
        content = {"name": found.name, "signature": found.signature, "predictions_sha256": found.predictions_sha256}
        console.out_json(content | _content(citation))
    else:
        _show(citation, partial=found.partial)


def _content(citation: Citation) -> dict[str, Any]:
    return {
        "sentence": citation.sentence,
        "sentence_tex": citation.sentence_tex,
        "bibtex": citation.bibtex,
        "beside": [
            own.row.record() | {"yours": asdict(own.figures), "caveats": list(own.caveats)}
            for own in citation.company.comparable
        ],
        "not_comparable": [
            other.row.record() | {"reasons": list(other.reasons)} for other in citation.company.not_comparable
        ],
        "notes": list(citation.notes),
    }


def _show(citation: Citation, *, partial: bool) -> None:
    console.out("For the methods section\n")
    console.out(_filled(citation.sentence))
    console.out(f"\nBibTeX\n\n{citation.bibtex}\n\nPublished results that compare with it\n")
    comparable, others = citation.company.comparable, citation.company.not_comparable
    if comparable:
        _show_comparable(comparable)
    elif partial:
        console.out("None: the result is partial.")
    else:
        console.out("None under the same rules." if others else "None: no results on this split are known here.")
    if others:
        _show_others(others)
    for note in citation.notes:
        console.out(_filled(f"note: {note}", indent=2))


def _show_comparable(comparable: Sequence[Comparable]) -> None:
    sources = _numbered(own.row.source for own in comparable)
    remarks = _numbered(text for own in comparable for text in _remarks(own))
    for group in _grouped(comparable, lambda own: (own.figures.part, own.figures.entry)):
        rows = [
            [
                one_line(own.row.method, _METHOD_WIDTH),
                *(own.row.shown(measure) or "" for measure in MEASURES),
                _labels(own.row),
                f"[{sources[own.row.source]}]",
                " ".join(_letter(remarks[text]) for text in _remarks(own)),
            ]
            for own in group
        ]
        figures = group[0].figures
        yours = ["yours", *(_number(getattr(figures, measure)) for measure in MEASURES), "", "", ""]
        title = f"{figures.entry}, part {figures.part}: list {figures.candidates}, normalisation {figures.score_norm}"
        console.table(title, ["method", *MEASURES.values(), "labels", "from", "see"], [yours, *rows])
    for text, number in sources.items():
        console.out(_filled(f"[{number}] {text}", indent=4))
    for text, number in remarks.items():
        console.out(_filled(f"{_letter(number)}: {text}", indent=3))


def _show_others(others: Sequence[NotComparable]) -> None:
    reasons = _numbered(", ".join(other.reasons) for other in others)
    shown = list(MEASURES)[:2]
    console.out("\nPublished results that are not comparable with it\n")
    for group in _grouped(others, lambda other: other.row.split):
        rows = [
            [
                one_line(other.row.method, _METHOD_WIDTH),
                other.row.score_norm,
                *(other.row.shown(measure) or "" for measure in shown),
                _labels(other.row),
                _letter(reasons[", ".join(other.reasons)]),
            ]
            for other in group
        ]
        columns = ["method", "normalisation", *(MEASURES[measure] for measure in shown), "labels", "why not"]
        console.table(group[0].row.split, columns, rows, left=2)
    for text, number in reasons.items():
        console.out(_filled(f"{_letter(number)}: {text}", indent=3))


def _remarks(own: Comparable) -> list[str]:
    return [*own.caveats, *filter(None, [own.row.remark])]


def _grouped(rows: Sequence[_Row], key: Callable[[_Row], Hashable]) -> list[list[_Row]]:
    """Return ``rows`` parted by ``key``, parts and rows in the order of first sight."""
    parts: dict[Hashable, list[_Row]] = {}
    for row in rows:
        parts.setdefault(key(row), []).append(row)
    return list(parts.values())


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4f}"


def _labels(row: PublishedRow) -> str:
    return "?" if row.trained_on is None else ", ".join(row.trained_on)


def _numbered(texts: Iterable[str]) -> dict[str, int]:
    return {text: number for number, text in enumerate(dict.fromkeys(texts), 1)}


def _letter(number: int) -> str:
    """Return a, b, ... z, aa, ab, ..."""
    head, last = divmod(number - 1, 26)
    return (_letter(head) if head else "") + chr(ord("a") + last)


def _filled(text: str, *, indent: int = 0) -> str:
    from textwrap import fill

    return fill(text, _WIDTH, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
