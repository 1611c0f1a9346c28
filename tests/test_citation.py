import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from ndec_bench.data.known import KNOWN
from ndec_bench.errors import DataError
from ndec_bench.printable import one_line
from ndec_bench.protocol import PROTOCOLS, get_protocol
from ndec_bench.results import citation, published
from ndec_bench.results.citation import cite, methods_sentence, tex
from ndec_bench.results.published import MEASURES, PublishedRow, company, published_rows, published_split
from ndec_bench.results.record import ListScores, PartScore, ProtocolEntry, Result, Signature, read_result
from ndec_bench.submissions.card import SubmissionCard

REPOSITORY = Path(__file__).parents[1]
MINI = read_result(REPOSITORY / "results" / "ndec-1" / "mini-phash.json")


def changed(result: Result, **fields: object) -> Result:
    return Result.model_validate(result.model_dump() | fields)


def signed(result: Result, **fields: str) -> str:
    return str(Signature.parse(result.signature).model_copy(update=fields))


def card_part(part: PartScore, queries: int) -> ListScores:
    values = {field: getattr(part, field) for field in ListScores.model_fields}
    return ListScores.model_validate(values | {"queries": queries})


def on_known_split(name: str, *, card: tuple[str, ...] = (), **fields: object) -> Result:
    """The mini result as if scored on a known split; ``card`` names entries as PROTOCOL or PROTOCOL+NORM."""
    known = KNOWN[name]
    sizes = {"all": known.queries} | ({"isc": 25_000} if name == "ndec" else {})
    parts = {
        part: MINI.parts[part].model_copy(
            update={"queries": queries, "cap": 10 * queries, "positives": known.positives}
        )
        for part, queries in sizes.items()
    }
    entries = {}
    for entry in card:
        protocol, _, norm = entry.partition("+")
        own = {part: card_part(score, sizes[part]) for part, score in parts.items()}
        entries[entry] = ProtocolEntry(
            **own["all"].model_dump(),
            protocol=protocol,
            candidates=get_protocol(protocol).candidates(known.queries),
            metric="ip" if norm else "l2",
            score_norm=norm or "none",
            signature=MINI.signature,
            within_rules=True,
            parts=own,
        )
    content = {
        "split": name,
        "signature": signed(MINI, split=name),
        "references": 1_000_000,
        "parts": {part: score.model_dump() for part, score in parts.items()},
        "digests": MINI.digests.model_dump() | {"ground_truth": known.pairs_sha256},
        "protocols": {entry: value.model_dump() for entry, value in entries.items()} or None,
    }
    return changed(MINI, **(content | fields))


def submission_card(**method: str) -> SubmissionCard:
    authors = method.pop("authors", "Ada Example;Bo Example").split(";")
    return SubmissionCard.model_validate(
        {"name": "mini-phash", "split": "ndec-mini-1", "authors": authors, "method": {"title": "A method"} | method}
    )


# --- a strict reader of BibTeX, enough for what we write ---

REQUIRED = {
    "article": {"author", "title", "journal", "year"},
    "inproceedings": {"author", "title", "booktitle", "year"},
    "misc": {"author", "title"},
}
VERBATIM = {"url"}


@dataclass
class Parsed:
    kind: str
    key: str
    fields: dict[str, str]


def parse_bibtex(text: str) -> list[Parsed]:
    entries = []
    position = 0
    while match := re.compile(r"\s*@([a-z]+)\{([^\s,{}\"#%~\\]+),\s*").match(text, position):
        kind, key = match.groups()
        position, fields = match.end(), {}
        while text[position] != "}":
            head = re.compile(r"\s*([a-z]+) = \{").match(text, position)
            assert head, text[position : position + 40]
            start = position = head.end()
            depth = 1
            while depth:  # BibTeX counts every brace, with a backslash before it or not
                depth += {"{": 1, "}": -1}.get(text[position], 0)
                position += 1
            assert head[1] not in fields
            fields[head[1]] = text[start : position - 1]
            position += 1 if text[position] == "," else 0
            position = re.compile(r"\s*").match(text, position).end()  # type: ignore[union-attr]
        position += 1
        entries.append(Parsed(kind, key, fields))
    assert not text[position:].strip(), text[position:]
    return entries


def check_bibtex(text: str) -> list[Parsed]:
    entries = parse_bibtex(text)
    assert len({entry.key for entry in entries}) == len(entries)
    for entry in entries:
        assert REQUIRED[entry.kind] <= set(entry.fields)
        for name, value in entry.fields.items():
            assert value.strip()
            assert value.isprintable()
            if name not in VERBATIM:
                assert not re.search(r"(?<!\\)[&%$#_^~]", re.sub(r"\\url\{[^{}]*\}", "", value)), value
            else:
                assert not re.search(r"[{}\\^\s]", value), value
    return entries


@pytest.mark.parametrize(
    ("result", "keys"),
    [
        (on_known_split("ndec"), ["wang2023benchmark", "douze2021disc"]),
        (on_known_split("disc21-dev1"), ["douze2021disc", "papakipos2022results"]),
        (on_known_split("disc21-final"), ["douze2021disc", "papakipos2022results"]),
        (MINI, ["wang2023benchmark"]),
        (changed(MINI, split="user-1a2b3c4d"), []),
        (changed(on_known_split("ndec"), split="user-1a2b3c4d"), ["wang2023benchmark", "douze2021disc"]),
    ],
    ids=["ndec", "dev1", "final", "mini", "user", "ndec as a user split"],
)
def test_each_split_has_its_entries(result: Result, keys: list[str]) -> None:
    entries = check_bibtex(cite(result, submission_card()).bibtex)
    assert [entry.key for entry in entries] == [*keys, "ndecbench", "method:mini-phash"]


def test_facts_of_the_known_papers() -> None:
    ndec, disc = check_bibtex(cite(on_known_split("ndec")).bibtex)[:2]
    isc = check_bibtex(cite(on_known_split("disc21-dev")).bibtex)[1]
    assert (ndec.fields["year"], ndec.fields["volume"], ndec.fields["pages"]) == ("2023", "37", "2672--2679")
    assert "arXiv:2106.09672" in disc.fields["journal"]
    assert (isc.fields["volume"], isc.fields["year"], isc.fields["pages"]) == ("176", "2022", "1--12")
    assert isc.fields["note"] == "arXiv:2202.04007"
    assert [len(entry.fields["author"].split(" and ")) for entry in (ndec, disc, isc)] == [3, 12, 14]


def test_the_entries_say_what_citation_cff_says() -> None:
    cff = (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
    assert f'title: "{citation.TOOL_TITLE}"' in cff
    assert f'name: "{citation.TOOL_AUTHORS}"' in cff
    for entry, identifier in ((citation.NDEC, "arXiv:2205.12358"), (citation.DISC21, "arXiv:2106.09672")):
        title = entry.fields["title"].replace("{", "").replace("}", "")
        assert f'title: "{title}"' in cff
        assert identifier in cff
        block = cff.split(title)[1].split("- type: conference-paper")[0].split("- type: article")[0]
        assert block.count("family-names") == len(entry.fields["author"].split(" and "))


def test_the_tool_comes_in_the_version_of_the_result() -> None:
    provenance = MINI.provenance.model_copy(update={"ndec_bench": "3.2.1", "git_commit": "ab" * 20 + "-dirty"})
    note = cite(changed(MINI, provenance=provenance.model_dump())).entries[-1].fields["note"]
    assert note == "Version 3.2.1, protocol ndec-1, commit abababababab-dirty"


@pytest.mark.parametrize(
    "text",
    [
        "50% better & cheaper $x_1^2$ #1 ~ {",
        "}} , author = {Eve",
        r"\input{/etc/passwd} \end{document}",
        '"quoted" <b>bold</b> | `x`',
        "\u202egnirts desrever\u202c and more",
        "Zoë Ünï 漢字",
        "@misc{eve, title={x}}",
    ],
)
def test_what_strangers_write_stays_text(text: str) -> None:
    card = submission_card(title=text, authors=f"{text};Ada Example", paper="https://e.org/a_b%20c#d&e={f}~h")
    result = changed(MINI, name=text + "\n\x1b[31m")
    found = cite(result, card)
    method = check_bibtex(found.bibtex)[-1]
    assert set(method.fields) == {"author", "title", "url"}
    assert method.fields["url"] == "https://e.org/a_b%20c#d&e=%7Bf%7D~h"
    assert found.sentence.isprintable()
    assert one_line(text) in found.sentence
    assert not re.search(r"(?<!\\)[&%$#_^~]", found.sentence_tex)
    assert found.sentence_tex.count("{") == found.sentence_tex.count("}")


@pytest.mark.parametrize(
    ("author", "written"),
    [
        ("Ada Example", "Ada Example"),
        ("Example, Ada", "Example, Ada"),
        ("Smith and Sons", "{Smith and Sons}"),
        ("A, B, and C, Inc.", "{A, B, and C, Inc.}"),
        ("The ndec-bench developers", "{The ndec-bench developers}"),
        ("others", "{others}"),
    ],
)
def test_one_author_stays_one_author(author: str, written: str) -> None:
    assert citation.method_entry(submission_card(authors=author)).fields["author"] == written


def test_tex_by_hand() -> None:
    assert tex("a_b & 5 % of {µAP}\t\\x") == (
        r"a\_b \& 5 \% of {\textbraceleft}{\textmu}AP{\textbraceright} {\textbackslash}x"
    )


def test_a_card_of_something_else_is_noticed() -> None:
    files = {"name": "x.h5", "sha256": "00" * 32}
    card = submission_card().model_copy(update={"name": "other", "split": "ndec"})
    card = SubmissionCard.model_validate(card.model_dump() | {"descriptors": files})
    notes = " ".join(cite(MINI, card).notes)
    assert "the card is of other, the result of mini-phash" in notes
    assert "another file than the one that was scored" in notes
    assert "the card is for ndec, the result on ndec-mini-1" in notes
    assert cite(MINI, submission_card()).notes == ()


# --- the sentence ---


@pytest.mark.parametrize(
    "fact",
    [
        "256-dimensional descriptors of mini-phash (stored as float32)",
        "the split ndec-mini-1",
        "6,941 queries",
        "2,482 of them hard negatives",
        "2,009 true pairs",
        "4,973 references",
        "ndec-bench 0.1.0",
        "protocol ndec-1",
        "the 69,410 best pairs over all queries together",
        "by negated squared Euclidean distance",
        "without score normalisation by the harness",
        "wrong pairs before true ones at equal score",
        "µAP 0.3702 (95 per cent interval 0.3487 to 0.3902, 1,000 Poisson bootstrap replicates over queries)",
        "a recall of 0.3355 at precision 0.90 (0.3111 to 0.3553)",
        "1d243ae007ba439a",
    ],
)
def test_the_sentence_holds_the_facts_of_the_result(fact: str) -> None:
    assert fact in methods_sentence(MINI)


def part_all(**fields: object) -> dict[str, object]:
    return {"parts": {"all": MINI.parts["all"].model_dump() | fields}}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"metric": "ip"}, "by inner product"),
        ({"track": "matching", "metric": "score"}, "The scored pairs of mini-phash were scored"),
        ({"asymmetric": "ratio"}, "after the asymmetric rule ratio"),
        ({"truncated": True}, "cut from a longer list"),
        ({"dimensions": 64}, "64-dimensional"),
        ({"references": 12}, "12 references"),
        ({"signature": signed(MINI, candidates="query10")}, "the 10 best references of each query"),
        (part_all(predictions=12), "12 pairs over all queries together, of 69,410 at most, by"),
        ({"protocol": "isc2021"}, "under the protocol isc2021"),
        ({"predictions_sha256": "f" * 64}, "begins with ffffffffffffffff"),
        ({"signature": signed(MINI, score_norm="sscd-1.0[0,2]")}, "with the score normalisation sscd-1.0[0,2]"),
        (part_all(micro_ap=0.9), "µAP 0.9000"),
        (part_all(recall_at_p90=None), "but never precision 0.90"),
        (part_all(micro_ap_interval=None, replicates=None), "µAP 0.3702 and a recall"),
        ({"hard_negatives": None}, "(6,941 queries; 2,009 true pairs"),
        ({"partial": True, "missing_references": 9, "recall_ceiling": 0.5}, "a partial result, for 9 references are"),
    ],
)
def test_the_sentence_follows_the_result(fields: dict[str, object], words: str) -> None:
    sentence = methods_sentence(changed(MINI, **fields))
    assert words in sentence
    assert words not in methods_sentence(MINI)
    assert sentence.endswith(".")
    assert ". " not in sentence


def test_known_splits_are_named_in_words() -> None:
    assert "scored on DISC21 dev I (phase 1, public half) (25,000 queries" in methods_sentence(
        on_known_split("disc21-dev1", hard_negatives=None)
    )


def test_a_broken_signature_is_an_error_with_a_name() -> None:
    with pytest.raises(DataError, match="mini-phash: no signature"):
        cite(changed(MINI, signature="uAP|nonsense"))


# --- published rows ---


def rows(method: str, split: str, **fields: str) -> list[PublishedRow]:
    return [
        row
        for row in published_rows()
        if row.method == method and row.split == split and all(getattr(row, k) == v for k, v in fields.items())
    ]


def test_the_table_is_sound() -> None:
    table = published_rows()
    assert len({(r.method, r.split, r.track, r.score_norm, r.source) for r in table}) == len(table) == 100
    assert {r.split for r in table} == set(KNOWN) | {published.SUBSET_1, published.UNNAMED_HALF}
    for row in table:
        assert row.method.isprintable()
        for measure in MEASURES:
            share = row.share(measure)
            assert share is None or 0.01 < share <= 1
            printed = getattr(row, measure)
            assert printed is None or float(printed) <= 1 or len(printed.split(".")[1]) <= 2
        assert row.recall_at_10 is None or row.share("recall_at_10") >= row.share("recall_at_1")  # type: ignore[operator]
        assert row.score_norm not in ("sscd-1.0[0,2]", "isc2021-2x10th") or row.trained_on == ("none",)


@pytest.mark.parametrize(
    ("method", "split", "fields", "printed"),
    [
        ("CopyNCE ViT-B + ViT-S", "ndec", {}, ("72.5", "36.8", None, None)),
        ("D2LV + ASL", "ndec", {}, ("61.3", None, None, None)),
        ("GIST 960-d", "subset_1", {}, ("0.27063", "0.22501", "0.33380", "0.37808")),
        ("MultiGrain 1500-d", "disc21-dev1", {"score_norm": "none"}, ("0.15402", "0.03426", "0.44861", "0.48387")),
        (
            "SSCD disc_mixup R50 512-d, PCA-whitened",
            "disc21-dev",
            {"score_norm": "sscd-1.0[0,2]"},
            ("0.72428", "0.6308", "0.7820", None),
        ),
        ("RDCD FastViT-T12 256-d", "disc21-dev", {}, ("67.4", None, None, None)),
        ("ViT4ICD", "disc21-dev2", {}, ("78.60", "73.60", "82.49", "84.27")),
        ("D2LV, all tricks", "disc21-dev2", {}, ("0.90035", "0.81887", None, None)),
        ("CopyNCE 336, local crops", "disc21-dev2", {}, ("88.7", "83.9", None, None)),
        ("VisionForce (D2LV)", "disc21-final", {}, ("0.8329", "73.1", None, None)),
    ],
)
def test_values_typed_by_hand(method: str, split: str, fields: dict[str, str], printed: tuple[str | None, ...]) -> None:
    (row,) = rows(method, split, **fields)
    assert tuple(getattr(row, measure) for measure in MEASURES) == printed


def test_a_record_has_the_share_and_the_digits_as_printed() -> None:
    (row,) = rows("VisionForce (D2LV)", "disc21-final")
    record = row.record()
    assert (record["micro_ap"], record["recall_at_p90"]) == (0.8329, pytest.approx(0.731))
    assert record["printed"] == {
        "micro_ap": "0.8329",
        "recall_at_p90": "73.1",
        "recall_at_1": None,
        "recall_at_10": None,
    }


def beside(result: Result) -> dict[tuple[str, str], str]:
    return {(own.row.method, own.row.score_norm): own.figures.entry for own in company(result).comparable}


def apart(result: Result) -> dict[tuple[str, str], str]:
    return {(o.row.method, o.row.score_norm): ", ".join(o.reasons) for o in company(result).not_comparable}


def test_dev1_under_ndec_1_alone_has_no_company() -> None:
    result = on_known_split("disc21-dev1")  # its list holds 250,000 pairs, theirs 500,000
    assert beside(result) == {}
    reasons = apart(result)
    assert reasons["GIST PCA-256", "none"] == "other list (500,000 pairs over all queries)"
    assert reasons["MultiGrain 1500-d", "isc2021-2x10th"].endswith("normalised (isc2021-2x10th)")
    assert reasons["EsViTp, CNN", "own"] == "half of phase 1 not named"
    assert any("--protocol all" in note for note in cite(result).notes)


def test_the_card_brings_company_entry_by_entry() -> None:
    plain_card = on_known_split("disc21-dev1", card=("ndec-1", "isc2021", "sscd"))
    assert beside(plain_card) == {("GIST PCA-256", "none"): "isc2021", ("MultiGrain 1500-d", "none"): "isc2021"}
    assert apart(plain_card)["MultiGrain 1500-d", "isc2021-2x10th"] == "normalised (isc2021-2x10th)"
    full = on_known_split("disc21-dev1", card=("ndec-1", "isc2021", "isc2021+isc2021-2x10th"))
    assert beside(full)["MultiGrain 1500-d", "isc2021-2x10th"] == "isc2021+isc2021-2x10th"


def test_on_fifty_thousand_queries_ndec_1_has_the_organisers_list() -> None:
    found = beside(on_known_split("disc21-dev"))
    assert found["GIST PCA-256", "none"] == "ndec-1"
    assert not any(method.startswith("SSCD") for method, _ in found)
    found = beside(on_known_split("disc21-dev", card=("sscd", "sscd+sscd-1.0[0,2]")))
    assert found["SSCD disc_mixup R50 512-d, raw", "none"] == "sscd"
    assert found["RDCD FastViT-T12 256-d", "sscd-1.0[0,2]"] == "sscd+sscd-1.0[0,2]"


def test_tracks_do_not_mix() -> None:
    descriptors = on_known_split("disc21-final")
    pairs = on_known_split("disc21-final", track="matching", metric="score")
    assert set(beside(descriptors)) == {
        ("lyakaap (CNNCL)", "own"),
        ("S-square (EfNet)", "own"),
        ("VisionForce (BoT)", "own"),
    }
    assert apart(descriptors)["separate", "own"] == "matching track"
    assert set(beside(pairs)) == {("VisionForce (D2LV)", "own"), ("separate", "own"), ("imgFp (EsViT + SIFT)", "own")}
    (bot,) = (own for own in company(descriptors).comparable if "BoT" in own.row.method)
    assert bot.caveats == ("has its own normalisation in its vectors",)


def test_ndec_stands_alone_but_its_isc_part_is_dev_two() -> None:
    result = on_known_split("ndec", card=tuple(PROTOCOLS))
    rows_beside = company(result).comparable
    assert {own.row.split for own in rows_beside} == {"disc21-dev2"}
    assert {own.figures.part for own in rows_beside} == {"isc"}
    cnncl = next(own for own in rows_beside if own.row.method == "CNNCL (lyakaap)")
    assert "cut from a list of 500,000 pairs" in cnncl.caveats[0]
    assert "cap of 250,000" in cnncl.caveats[0]
    reasons = apart(result)
    assert "list rule not stated" in reasons["CopyNCE ViT-B + ViT-S", "unknown"]
    assert reasons["D2LV + ASL", "unknown"].startswith("matching track")
    assert any("CopyNCE ViT-B + ViT-S: two networks" in note for note in cite(result).notes)


def test_a_split_is_told_by_its_content() -> None:
    ndec = on_known_split("ndec")
    assert published_split(ndec) == "ndec"
    assert published_split(changed(ndec, split="user-1")) == "ndec"
    assert published_split(changed(ndec, split="user-1", references=999_999)) is None
    assert published_split(changed(ndec, references=999_999)) == "ndec"  # pictures that could not be read
    assert published_split(changed(MINI, split="ndec")) is None
    dev_1 = on_known_split("disc21-dev1")
    alone = dev_1.parts["all"].model_copy(update={"queries": 4_991})
    subset = changed(dev_1, split="user-2", references=4_991, parts={"all": alone.model_dump()})
    assert published_split(subset) == "subset_1"


def test_partial_results_have_no_company() -> None:
    result = on_known_split("disc21-dev", partial=True, missing_references=3, recall_ceiling=0.99)
    found = cite(result)
    assert (found.company.comparable, found.company.not_comparable) == ((), ())
    assert "partial" in found.sentence


def test_a_vector_too_wide_is_said() -> None:
    result = on_known_split("disc21-dev", protocol="isc2021", dimensions=960)
    assert all(
        own.caveats[-1] == "yours has more dimensions than the protocol admits" for own in company(result).comparable
    )
    assert company(result).comparable
