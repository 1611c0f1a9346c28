"""LaTeX, BibTeX, Atom and the schema of a card, as the programs that read them would."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import pytest

from ndec_bench.progress import silent
from ndec_bench.site.exports import FEED_ENTRIES, data_files, feed_atom, results_bib, results_tex
from ndec_bench.submissions.entries import Entry, read_entries, slug_of
from ndec_bench.submissions.ranking import boards

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.site.conftest import Folders

ROOT = Path(__file__).parents[2]
ATOM = "{http://www.w3.org/2005/Atom}"
HOSTILE = r"\input{/etc/passwd} 100% & $x_1^2$ #1 ~ { } <b>|\end{tabular} " + '"q" é ı̇'
INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T00:00:00Z")


@pytest.fixture
def make_entry(folders: Folders) -> Callable[..., Entry]:
    """Return the maker of an entry; ``card`` and ``method`` replace fields of its card, ``result`` of the result."""

    def made(
        name: str,
        quality: float = 0.5,
        split: str = "ndec",
        *,
        has_card: bool = True,
        card: dict[str, Any] | None = None,
        method: dict[str, Any] | None = None,
        **result: object,
    ) -> Entry:
        written = folders.card(name, **(method or {})).model_copy(update=card or {}) if has_card else None
        found = folders.result(name, quality, split, **result)
        return Entry(found, written, Path(name), "0" * 64, slug_of(name), private=True)

    return made


def cells(tex: str) -> list[list[str]]:
    """Return the cells of all lines of tables, as TeX would part them."""
    code = "\n".join(line for line in tex.splitlines() if not line.startswith("%"))
    lines = [line[: -len(r" \\")] for line in code.splitlines() if line.endswith(r" \\")]
    return [re.split(r" (?<!\\)& ", line) for line in lines]


def balanced(tex: str) -> bool:
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", tex):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0


# --- LaTeX ---


def test_a_row_in_latex(make_entry: Callable[..., Entry]) -> None:
    entry = make_entry("one", 0.5, replicates=0, bytes_per_reference=5120, dimensions=1280)
    tex = results_tex(boards([entry]))
    assert r"\begin{tabular}{llrrrrrrr}" in tex
    head, row = cells(tex)
    assert head == ["Rank", "Method", r"$\mu$AP", "R@P90", "ISC", "Cost", "Hit", "Dim", "Bytes"]
    # The ISC part has 0.09 more, its weighted form 0.006 less than that; 11 % of hard negatives are hit, rounded down.
    assert row[:3] == ["1", "One", "0.500"]
    assert row[4:] == ["0.590", "0.084", r"11.0\,\%", "1{,}280", "5{,}120"]


def test_intervals_and_tie_groups_in_latex(make_entry: Callable[..., Entry]) -> None:
    tex = results_tex(boards([make_entry("a", 0.7), make_entry("b", 0.699), make_entry("c", 0.4)]))
    _, first, second, third = cells(tex)
    assert re.fullmatch(r"0\.700 \{\\footnotesize \[0\.6\d\d, 0\.7\d\d\]\}", first[2])
    assert (first[0], second[0], third[0]) == ("1--2", "1--2", "3")
    assert tex.index(second[2]) < tex.index(r"\addlinespace") < tex.index(third[2])


def test_what_is_not_there_is_a_dash_and_minus_is_a_sign(make_entry: Callable[..., Entry]) -> None:
    matching = {"track": "matching", "metric": "score", "dimensions": None, "bytes_per_reference": None}
    entry = make_entry("pairs", 0.5, **matching)
    account = entry.result.hard_negatives
    assert account
    changed = entry.result.model_copy(
        update={"hard_negatives": account.model_copy(update={"cost": -0.0123, "at_p90_isc": None})}
    )
    (_, row) = cells(results_tex(boards([Entry(changed, entry.card, entry.source, entry.sha256, "pairs", True)])))
    assert row[5:] == ["$-0.012$", "--", "--", "--"]


@pytest.mark.parametrize(
    ("title", "written"),
    [
        ("50% & $x_1$ #2", r"50\% \& \$x\_1\$ \#2"),
        (r"\input{a}", r"{\textbackslash}input{\textbraceleft}a{\textbraceright}"),
        ('Ærø "å" naïve Ōé', r"""{\AE}r{\o} ''{\r{a}}'' na{\"{\i}}ve {\={O}}{\'{e}}"""),
        ("µ-net – a × b…", r"$\mu$-net -- a $\times$ b{\ldots}"),
        ("漢字", "the-name"),
        ("Net \U0001f600", "the-name"),
        ("\u202eevil", "evil"),
    ],
)
def test_titles_in_latex(make_entry: Callable[..., Entry], title: str, written: str) -> None:
    assert cells(results_tex(boards([make_entry("the-name", method={"title": title})])))[1][1] == written


def test_a_name_without_a_card_stays_on_its_line(make_entry: Callable[..., Entry]) -> None:
    assert cells(results_tex(boards([make_entry("a\n\\b & c", has_card=False)])))[1][1] == r"a {\textbackslash}b \& c"


def test_hostile_words_stay_inside_their_cell(make_entry: Callable[..., Entry]) -> None:
    split = "Our %\n\\input{x} Photos/2026 \U0001f600"
    entries = [
        make_entry("plain"),
        make_entry("evil", 0.4, method={"title": HOSTILE[:60]}),
        make_entry("shop", 0.3, split),
    ]
    tex = results_tex(boards(entries))
    assert tex.isascii()
    assert balanced(tex)
    assert all(len(row) in (6, 9) for row in cells(tex))
    assert r"\input" not in re.sub(r"(?m)^%.*$", "", tex)
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 2
    assert all(len(line) < 500 for line in tex.splitlines())


def test_runs_are_one_row_with_their_number(make_entry: Callable[..., Entry]) -> None:
    runs = [make_entry(f"r{seed}", 0.5 + seed / 10, card={"runs_of": "Family & co", "seed": seed}) for seed in (1, 2)]
    (_, row) = cells(results_tex(boards(runs)))
    assert (row[1], row[2][:5]) == (r"Family \& co (2 runs)", "0.650")


def test_the_header_names_data_and_keys(make_entry: Callable[..., Entry]) -> None:
    entries = [make_entry("a"), make_entry("b", 0.4)]
    tex, bib = results_tex(boards(entries)), results_bib(entries)
    keys = re.search(r"(?m)^% (\w+), (\w+), (\w+) and method:NAME", tex)
    assert keys
    assert all(f"{{{key}," in bib for key in keys.groups())
    changed = Entry(entries[0].result, None, Path("a"), "1" * 64, "a", True)
    digests = [re.findall(r"% SHA-256 over .*: ([0-9a-f]{64})\n", t) for t in (tex, results_tex(boards([changed])))]
    assert len(digests[0]) == len(digests[1]) == 1
    assert digests[0] != digests[1]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdfTeX is missing")
def test_latex_takes_all_of_it(make_entry: Callable[..., Entry], tmp_path: Path) -> None:
    ascii_ = "".join(map(chr, range(32, 127)))
    titles = [HOSTILE, ascii_, "ÀÉÎÕÜŮÇŠŌĂŻŐ ßæÆœŒøØłŁı", "µμ–—‘’“”…×±−→"]
    entries = [make_entry(f"n{i}", 0.3 + i / 10, method={"title": t}) for i, t in enumerate(titles)]
    entries.append(make_entry("shop", 0.3, "Our 100% \U0001f600"))
    (tmp_path / "results.tex").write_text(results_tex(boards(entries)), encoding="utf-8")
    (tmp_path / "paper.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs}\begin{document}\tiny\input{results}\end{document}",
        encoding="utf-8",
    )
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "paper"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Missing character" not in (tmp_path / "paper.log").read_text(encoding="utf-8", errors="replace")


# --- BibTeX ---


def fields_of(bib: str, key: str) -> dict[str, str]:
    (entry,) = re.findall(rf"(?ms)^@\w+\{{{re.escape(key)},\n(.*?)\n\}}$", bib)
    return dict(re.findall(r"(?m)^  (\w+) = \{(.*)\},?$", entry))


def test_each_submission_has_an_entry(make_entry: Callable[..., Entry]) -> None:
    entries = [
        make_entry("one"),
        make_entry("two", has_card=False),
        make_entry("three", card={"date": None, "seed": 7}),
    ]
    bib = results_bib(entries)
    assert re.findall(r"(?m)^@(\w+)\{(.*),$", bib) == [
        ("inproceedings", "wang2023benchmark"),
        ("article", "douze2021disc"),
        ("misc", "ndecbench"),
        ("misc", "method:one"),
        ("misc", "method:three"),
    ]
    one = fields_of(bib, "method:one")
    assert one["author"] == "First Author and Second Author"
    assert one["title"] == "{One}"
    assert one["year"] == "2026"
    assert one["howpublished"] == r"\url{https://example.org/paper.pdf}"
    assert one["note"].startswith(r"Code: \url{https://example.org/code}. Scored as uAP{\textbar}split:ndec{\textbar}")
    three = fields_of(bib, "method:three")
    assert "year" not in three
    assert ". Seed 7. Scored as " in three["note"]


def test_without_a_paper_the_code_is_where_it_is_published(make_entry: Callable[..., Entry]) -> None:
    code = fields_of(results_bib([make_entry("a", method={"paper": None})]), "method:a")
    assert code["howpublished"] == r"Code: \url{https://example.org/code}"
    assert code["note"].startswith("Scored as ")
    neither = fields_of(results_bib([make_entry("a", method={"paper": None, "code": None})]), "method:a")
    assert "howpublished" not in neither


def test_hostile_words_stay_inside_their_entry(make_entry: Callable[..., Entry]) -> None:
    bib = results_bib([make_entry("a", card={"authors": [HOSTILE, "@misc{x,"]}, method={"title": HOSTILE + "}}"})])
    assert balanced(bib)
    assert len(re.findall(r"(?m)^@", bib)) == 4
    assert r"\input" not in bib


# --- Atom ---


def feed_of(entries: list[Entry], base_url: str | None = None) -> ET.Element:
    feed = ET.fromstring(feed_atom(boards(entries), base_url))  # noqa: S314 - our own
    for element in (feed, *feed.findall(f"{ATOM}entry")):  # RFC 4287, 4.1.1 and 4.1.2
        for required in ("id", "title", "updated"):
            (found,) = element.findall(f"{ATOM}{required}")
            assert found.text
        assert INSTANT.fullmatch(element.findtext(f"{ATOM}updated") or "")
        assert element.findall(f"{ATOM}author")
        assert all(author.findtext(f"{ATOM}name") for author in element.findall(f"{ATOM}author"))
        assert len(element.findall(f"{ATOM}link[@rel='alternate']")) == 1
    ids = [element.text for element in feed.iter(f"{ATOM}id")]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"tag:ndec-bench,2026:[\w./-]+", id_ or "") for id_ in ids)
    return feed


def names_in(feed: ET.Element) -> list[str]:
    return [entry.findtext(f"{ATOM}id", "").rpartition("/")[2] for entry in feed.findall(f"{ATOM}entry")]


def test_newest_results_come_first(make_entry: Callable[..., Entry]) -> None:
    dates = {"b": "2026-03-01", "a": "2026-03-01", "c": "2026-11-02", "d": None, "e": "2025-12-31"}
    entries = [make_entry(name, card={"date": date}) for name, date in dates.items()]
    feed = feed_of([*entries, make_entry("f", has_card=False)])
    assert names_in(feed) == ["c", "a", "b", "e"]
    assert feed.findtext(f"{ATOM}updated") == "2026-11-02T00:00:00Z"
    assert feed.findtext(f"{ATOM}entry/{ATOM}updated") == "2026-11-02T00:00:00Z"


def test_a_feed_ends_at_its_limit(make_entry: Callable[..., Entry]) -> None:
    entries = [make_entry(f"n{i:02}", replicates=0, card={"date": f"2026-01-{1 + i % 28:02}"}) for i in range(60)]
    assert len(names_in(feed_of(entries))) == FEED_ENTRIES == 50


@pytest.mark.parametrize("base", ["https://example.org/bench", "https://example.org/bench/"])
def test_addresses_of_a_feed(make_entry: Callable[..., Entry], base: str) -> None:
    absolute = [link.get("href") for link in feed_of([make_entry("a")], base).iter(f"{ATOM}link")]
    assert absolute == [
        "https://example.org/bench/index.html",
        "https://example.org/bench/feed.atom",
        "https://example.org/bench/s/a/index.html",
    ]
    relative = [link.get("href", "") for link in feed_of([make_entry("a")]).iter(f"{ATOM}link")]
    assert [urljoin("https://example.org/bench/feed.atom", path) for path in relative] == [absolute[0], absolute[2]]


def test_an_entry_of_a_feed(make_entry: Callable[..., Entry]) -> None:
    words = '<b>"net"</b> & \u202ex'
    entry = make_entry(
        "a", 0.5, split="Shop \x0b&<1>", card={"authors": ["A & B"], "verified": None}, method={"title": words}
    )
    element = feed_of([entry]).find(f"{ATOM}entry")
    assert element is not None
    assert element.findtext(f"{ATOM}title") == '<b>"net"</b> & x: µAP 0.500 on Shop &<1>, descriptor track'
    assert element.findtext(f"{ATOM}author/{ATOM}name") == "A & B"
    summary = element.findtext(f"{ATOM}summary", "")
    assert summary.startswith("µAP 0.500 (95 % interval 0.4")
    assert summary.endswith("Verified level: reported.")


def test_the_feed_says_what_does_not_rank(make_entry: Callable[..., Entry]) -> None:
    feed = feed_of([make_entry("a", partial=True, references=5, missing_references=5, recall_ceiling=0.5)])
    assert "Not ranked: references missing." in feed.findtext(f"{ATOM}entry/{ATOM}summary", "")


# --- All of it ---


def test_results_of_the_repository() -> None:
    entries = read_entries(ROOT / "results", ROOT / "submissions", silent, private=True)
    found = boards(entries)
    tex = results_tex(found)
    assert tex.isascii()
    assert balanced(tex)
    assert len(cells(tex)) == sum(len(board.rows) + bool(board.rows) for board in found)
    bib = results_bib(entries)
    assert balanced(bib)
    assert all(bib.count(f"@misc{{method:{entry.slug},") == 1 for entry in entries if entry.card)
    feed_of(entries)
    assert results_tex(found) == tex


def test_the_schema_of_a_card_knows_its_fields(folders: Folders) -> None:
    schema = json.loads(dict(data_files([], [], None))["data/v1/submission.schema.json"])
    card = folders.card("a").model_dump(mode="json")
    assert set(schema["properties"]) == set(card)
    assert schema["additionalProperties"] is False
    assert set(schema["$defs"]["Declarations"]["properties"]) == set(card["declarations"])
