"""Published numbers on the pages: every digit as printed, every rule in words, no rank."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, get_args

import html5lib
import pytest

from ndec_bench.results.published import MEASURES, PublishedRow, published_rows
from ndec_bench.site import quoted
from ndec_bench.site.pages import _environment
from ndec_bench.site.quoted import quoted_by_split, quoted_for

if TYPE_CHECKING:
    from ndec_bench.site.quoted import QuotedRow


def one(method: str, split: str) -> QuotedRow:
    (found,) = [row for row in quoted_for(split) if row.row.method == method]
    return found


@pytest.mark.parametrize(
    ("method", "split", "measures"),
    [
        ("CopyNCE ViT-B + ViT-S", "ndec", ("0.725", "0.368", None, None)),
        ("VisionForce (D2LV)", "disc21-final", ("0.8329", "0.731", None, None)),
        ("DINO ViT-S", "disc21-dev2", ("0.200", "0.068", None, None)),
        ("ViT4ICD", "disc21-dev2", ("0.7860", "0.7360", "0.8249", "0.8427")),
        ("GIST 960-d", "subset_1", ("0.27063", "0.22501", "0.33380", "0.37808")),
    ],
)
def test_shares_have_the_digits_that_were_printed(method: str, split: str, measures: tuple[str | None, ...]) -> None:
    assert one(method, split).measures == measures


def test_no_number_is_another_than_the_published_one() -> None:
    for found in (row for group in quoted_by_split() for row in group.rows):
        for measure, shown in zip(MEASURES, found.measures, strict=True):
            share = found.row.share(measure)
            assert (share is None) == (shown is None)
            assert shown is None or float(shown) == pytest.approx(share, abs=1e-12)


def test_each_published_row_stands_on_the_page_once() -> None:
    shown = [row.row for group in quoted_by_split() for row in group.rows]
    assert len(shown) == len(published_rows())
    assert set(shown) == set(published_rows())
    assert all(group.rows for group in quoted_by_split())


def test_a_split_has_its_own_rows_alone() -> None:
    assert {row.row.split for row in quoted_for("ndec")} == {"ndec"}
    assert len(quoted_for("disc21-final")) == 12
    for split in ("ndec-mini-1", "ndec-mini-1-small", "", "Our Shop's Photos/2026"):
        assert quoted_for(split) == []


@pytest.mark.parametrize(("field", "words"), [("candidates", quoted._LISTS), ("score_norm", quoted._NORMALISATIONS)])
def test_every_rule_has_words(field: str, words: dict[str, str]) -> None:
    assert set(words) == set(get_args(PublishedRow.model_fields[field].annotation))


def test_every_split_has_a_title() -> None:
    assert set(quoted.SPLITS) == set(get_args(PublishedRow.model_fields["split"].annotation))


def test_what_a_source_does_not_tell_is_not_stated() -> None:
    row = one("CopyNCE ViT-B + ViT-S", "ndec")
    assert (row.track, row.candidates, row.score_norm, row.labels) == ("not stated",) * 4
    row = one("lyakaap (CNNCL)", "disc21-final")
    assert (row.track, row.labels) == ("descriptor", "dev I")
    assert row.candidates == "500,000 pairs over all queries"


def test_sources_link_repositories_and_papers() -> None:
    row = one("VisionForce (BoT)", "disc21-final")
    assert row.source == (
        ("drivendataorg/image-similarity-challenge", "https://github.com/drivendataorg/image-similarity-challenge"),
        (" README; recall@P90 from ", None),
        ("eddielyc/CopyNCE", "https://github.com/eddielyc/CopyNCE"),
        (" assets/poster.png", None),
    )
    paper = one("GIST 960-d", "disc21-dev").source
    assert ("arXiv 2106.09672", "https://arxiv.org/abs/2106.09672") in paper


def test_sources_lose_no_word_and_link_nothing_else() -> None:
    for row in published_rows():
        pieces = list(quoted._pieces(row.source))
        assert "".join(piece for piece, _ in pieces) == row.source
        for piece, address in pieces:
            assert address is None or re.fullmatch(r"[\w-]+/[\w.-]+|arXiv [\d.]+", piece)
            assert not piece.startswith(("posts/", "assets/", "docs/")) or address is None


def test_the_page_marks_all_of_it_as_quoted() -> None:
    page = str(_environment().get_template("quoted.html.j2").module.quoted_page(quoted_by_split(), str))
    html5lib.HTMLParser(strict=True).parseFragment(page)
    groups = quoted_by_split()
    assert page.count('<span class="level quoted">quoted</span>') == len(groups)
    assert page.count("not measured here, never ranked</caption>") == len(groups)
    assert page.count('<th scope="row">') == len(published_rows())
    for group in groups:
        assert f'<a href="#{group.split}">' in page
        assert page.count(f'id="{group.split}"') == 1
    assert " style=" not in page
    regions = re.findall(r'role="region" tabindex="0" aria-labelledby="([^"]+)"', page)
    assert len(regions) == len(set(regions)) == len(groups)
    assert all(page.count(f'id="{region}"') == 1 for region in regions)
