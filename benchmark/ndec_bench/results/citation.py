"""Citations of results: one sentence for the methods section, BibTeX, and the published rows that compare with it.

Names and titles in results and cards were written by strangers; `tex` makes them harmless.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from ndec_bench.data.known import KNOWN
from ndec_bench.errors import DataError
from ndec_bench.printable import one_line
from ndec_bench.results.comparison import signature_of
from ndec_bench.results.published import SUBSET_1, Company, company, published_split

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ndec_bench.results.record import PartScore, Result
    from ndec_bench.submissions.card import SubmissionCard

# As in CITATION.cff, which is not part of an installed package; a test holds the two together.
TOOL_TITLE = "ndec-bench: a reproducible benchmark harness and leaderboard for practical image copy detection"
TOOL_AUTHORS = "The ndec-bench developers"

_DIGEST_SHOWN = 16
_COMMIT_SHOWN = 12
_METRICS = {
    "l2": "by negated squared Euclidean distance",
    "ip": "by inner product",
    "score": "by the scores of the method itself",
}
_SPECIALS = {
    "\\": r"{\textbackslash}",
    "{": r"{\textbraceleft}",
    "}": r"{\textbraceright}",
    "~": r"{\textasciitilde}",
    "^": r"{\textasciicircum}",
    "<": r"{\textless}",
    ">": r"{\textgreater}",
    "|": r"{\textbar}",
    '"': "''",  # as every font encoding has it
    "µ": r"{\textmu}",
    "μ": r"{\textmu}",
} | {sign: "\\" + sign for sign in "$&%#_"}


@dataclass(frozen=True)
class Entry:
    """One BibTeX entry; the values of ``fields`` are TeX already."""

    kind: str
    key: str
    fields: Mapping[str, str]

    def __str__(self) -> str:
        rows = [f"  {name} = {{{value}}}" for name, value in self.fields.items()]
        return f"@{self.kind}{{{self.key},\n" + ",\n".join(rows) + "\n}"


@dataclass(frozen=True)
class Citation:
    """All that is needed to cite a result.

    Attributes
    ----------
    sentence, sentence_tex
        For the methods section, as plain text and as TeX.
    entries
        BibTeX entries: data first, then the tool, then the method.
    company
        Published rows; empty for a partial result.
    notes
        What does not fit together, or is easily misread.
    """

    sentence: str
    sentence_tex: str
    entries: tuple[Entry, ...]
    company: Company
    notes: tuple[str, ...]

    @property
    def bibtex(self) -> str:
        """Return the entries as text, a blank line between two."""
        return "\n\n".join(map(str, self.entries))


NDEC = Entry(
    "inproceedings",
    "wang2023benchmark",
    {
        "author": "Wang, Wenhao and Sun, Yifan and Yang, Yi",
        "title": "A Benchmark and {Asymmetrical-Similarity} Learning for Practical Image Copy Detection",
        "booktitle": "Proceedings of the {AAAI} Conference on Artificial Intelligence",
        "volume": "37",
        "number": "3",
        "pages": "2672--2679",
        "year": "2023",
    },
)
DISC21 = Entry(
    "article",
    "douze2021disc",
    {
        "author": r"Douze, Matthijs and Tolias, Giorgos and Pizzi, Ed and Papakipos, Zo{\"e} and Chanussot, Lowik and "
        r"Radenovic, Filip and Jenicek, Tomas and Maximov, Maxim and Leal-Taix{\'e}, Laura and Elezi, Ismail and "
        r"Chum, Ond{\v{r}}ej and Canton Ferrer, Cristian",
        "title": "The 2021 Image Similarity Dataset and Challenge",
        "journal": "arXiv preprint arXiv:2106.09672",
        "year": "2021",
    },
)
# proceedings.mlr.press/v176/papakipos22a; the long version is arXiv 2202.04007.
ISC2021 = Entry(
    "inproceedings",
    "papakipos2022results",
    {
        "author": r"Papakipos, Zo{\"e} and Tolias, Giorgos and Jenicek, Tomas and Pizzi, Ed and Yokoo, Shuhei and "
        r"Wang, Wenhao and Sun, Yifan and Zhang, Weipu and Yang, Yi and Addicam, Sanjay and "
        r"Papadakis, Sergio Manuel and Canton Ferrer, Cristian and Chum, Ond{\v{r}}ej and Douze, Matthijs",
        "title": "Results and Findings of the 2021 {Image Similarity Challenge}",
        "booktitle": "Proceedings of the {NeurIPS} 2021 Competitions and Demonstrations Track",
        "series": "Proceedings of Machine Learning Research",
        "volume": "176",
        "pages": "1--12",
        "publisher": "PMLR",
        "year": "2022",
        "note": "arXiv:2202.04007",
    },
)


def cite(result: Result, card: SubmissionCard | None = None) -> Citation:
    """Return sentence, BibTeX and published company of ``result``; ``card`` adds the entry of its method.

    Raises
    ------
    DataError
        If the result has no part ``all`` or its signature cannot be read.
    """
    sentence = methods_sentence(result)
    entries = [*_data_entries(result), tool_entry(result)]
    if card is not None:
        entries.append(method_entry(card))
    rows = company(result)
    return Citation(sentence, tex(sentence), tuple(entries), rows, tuple(_notes(result, card, rows)))


def methods_sentence(result: Result) -> str:
    """Return one English sentence that says what was scored, on what, by which rules and with which outcome.

    Raises
    ------
    DataError
        If the result has no part ``all`` or its signature cannot be read.
    """
    if "all" not in result.parts:
        raise DataError(f"{one_line(result.name)}: no part 'all'", hint="score again")
    score = result.parts["all"]
    return (
        f"{_subject(result)} scored on {_split_words(result, score)} with {_tool_words(result)} under the protocol "
        f"{one_line(result.protocol)} ({_rules_words(result, score)}) and reached {_outcome_words(result, score)}; the "
        f"SHA-256 of the predictions begins with {result.predictions_sha256[:_DIGEST_SHOWN]}."
    )


def tool_entry(result: Result) -> Entry:
    """Return the entry of ndec-bench in the version that made ``result``."""
    provenance = result.provenance
    version = f"Version {tex(provenance.ndec_bench)}, protocol {tex(result.protocol)}"
    commit = f", commit {tex(_short_commit(provenance.git_commit))}" if provenance.git_commit else ""
    return Entry("misc", "ndecbench", {"author": f"{{{TOOL_AUTHORS}}}", "title": TOOL_TITLE, "note": version + commit})


def method_entry(card: SubmissionCard) -> Entry:
    """Return the entry of the method that ``card`` describes, under the key ``method:NAME``.

    A card tells no venue and no year; who knows the paper's own entry takes that instead.
    """
    fields = {"author": " and ".join(map(_author, card.authors)), "title": f"{{{tex(card.method.title)}}}"}
    if card.method.paper is not None:
        fields["url"] = _url(card.method.paper)
    if card.method.code is not None:
        fields["note"] = rf"Code: \url{{{_url(card.method.code)}}}"
    return Entry("misc", f"method:{card.name}", fields)


def tex(text: str) -> str:
    """Return ``text`` as TeX that prints it: specials escaped, braces balanced, nothing that does not print."""
    return "".join(_SPECIALS.get(sign, sign) for sign in one_line(text))


def _data_entries(result: Result) -> list[Entry]:
    split = published_split(result) or result.split
    if split == "ndec":
        return [NDEC, DISC21]
    if split == SUBSET_1 or split.startswith("disc21-"):
        return [DISC21, ISC2021]
    # ndec-mini has pictures of its own and takes the idea of hard negatives from NDEC.
    return [NDEC] if split.startswith("ndec-mini") else []


def _subject(result: Result) -> str:
    if result.track == "matching":
        return f"The scored pairs of {one_line(result.name)} were"
    width = f"{result.dimensions}-dimensional " if result.dimensions is not None else ""
    stored = f" (stored as {one_line(result.stored_dtype)})" if result.stored_dtype else ""
    return f"The {width}descriptors of {one_line(result.name)}{stored} were"


def _split_words(result: Result, score: PartScore) -> str:
    title = KNOWN[result.split].title if result.split in KNOWN else f"the split {one_line(result.split)}"
    hard = result.hard_negatives
    among = f", {hard.queries:,} of them hard negatives" if hard is not None else ""
    words = (
        f"{title} ({score.queries:,} queries{among}; {score.positives:,} true pairs; {result.references:,} references; "
        f"SHA-256 of the true pairs {result.digests.ground_truth[:_DIGEST_SHOWN]}…)"
    )
    if result.partial:
        words += (
            f", a partial result, for {result.missing_references:,} references are missing and recall can reach "
            f"{result.recall_ceiling:.4f} at most,"
        )
    return words


def _tool_words(result: Result) -> str:
    commit = result.provenance.git_commit
    return f"ndec-bench {one_line(result.provenance.ndec_bench)}" + (
        f" (commit {_short_commit(commit)})" if commit else ""
    )


def _rules_words(result: Result, score: PartScore) -> str:
    signature = signature_of(result)
    words = [_list_words(signature.candidates, score), _METRICS[result.metric]]
    if signature.score_norm == "none":
        words.append("without score normalisation by the harness")
    else:
        words.append(f"with the score normalisation {one_line(signature.score_norm)}")
    if result.asymmetric != "none":
        words.append(f"after the asymmetric rule {one_line(result.asymmetric)}")
    if result.truncated:
        words.append("cut from a longer list")
    return " ".join(words) + f", {_TIES.get(signature.ties, 'ties as ' + one_line(signature.ties))}"


def _list_words(candidates: str, score: PartScore) -> str:
    if candidates.startswith("query"):
        return f"the {one_line(candidates.removeprefix('query'))} best references of each query"
    if score.predictions < score.cap:
        return f"{score.predictions:,} pairs over all queries together, of {score.cap:,} at most,"
    return f"the {score.cap:,} best pairs over all queries together"


_TIES = {"worst": "wrong pairs before true ones at equal score"}


def _outcome_words(result: Result, score: PartScore) -> str:
    words = f"µAP {score.micro_ap:.4f}"
    if score.micro_ap_interval is not None:
        count = len(score.replicates.micro_ap) if score.replicates is not None else None
        by = f"{count:,} Poisson bootstrap replicates over queries" if count else "bootstrap over queries"
        words += f" (95 per cent interval {_range(score.micro_ap_interval)}, {by})"
    if not score.recall_at_p90:
        return words + ", but never precision 0.90"
    words += f" and a recall of {score.recall_at_p90:.4f} at precision 0.90"
    return words if score.recall_at_p90_interval is None else f"{words} ({_range(score.recall_at_p90_interval)})"


def _notes(result: Result, card: SubmissionCard | None, rows: Company) -> list[str]:
    notes = [
        f"{own.row.method}: {own.row.remark}"
        for own in rows.not_comparable
        if own.row.split == "ndec" and own.row.remark
    ]
    if rows.not_comparable and result.protocols is None:
        notes.append("without a protocol table fewer rows match: score with --protocol all, and with --background")
    if card is None:
        return notes
    if card.name != result.name:
        notes.append(f"the card is of {one_line(card.name)}, the result of {one_line(result.name)}")
    if card.descriptors is not None and card.descriptors.sha256 != result.digests.submission:
        notes.append("the card names another file than the one that was scored (SHA-256 differs)")
    if card.split != result.split:
        notes.append(f"the card is for {one_line(card.split)}, the result on {one_line(result.split)}")
    return notes


def _author(name: str) -> str:
    # BibTeX parts names at " and " and at commas, and takes a last word for a family name: what has more of these
    # than a person's name, or ends in a small letter's word ("The ndec-bench developers"), stays in one piece.
    whole = tex(name)
    parted = re.search(r"(?i)(^|\s)(and|others)(\s|$)", whole) or whole.count(",") > 1
    return f"{{{whole}}}" if parted or whole.split(" ")[-1][:1].islower() else whole


def _url(address: str) -> str:
    # What TeX would read is written in per cent; a per cent sign itself is safe in a url field and in \url.
    return quote(address, safe=":/?#[]@!$&'()*+,;=%-._~")


def _short_commit(commit: str) -> str:
    head, dash, dirty = one_line(commit).partition("-")
    return head[:_COMMIT_SHOWN] + dash + dirty


def _range(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.4f} to {interval[1]:.4f}"
