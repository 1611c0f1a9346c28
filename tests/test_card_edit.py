"""One table of a card is written, the rest of the file stays as people wrote it."""

from __future__ import annotations

import pytest

from ndec_bench.submissions.card import Files, SubmissionCard, Verified, card_content, write_card
from ndec_bench.submissions.card_edit import with_table

DIGEST = "ab" * 32
VERIFIED = Verified(level="re-scored", predictions_sha256=DIGEST, date="2026-11-26")
TEXT = f"""\
# Ours. [verified] is not ours.
authors = ["A", "B"]  # in this order
name = "mine"
split = 'ndec'

[descriptors]   # on the hub
name = "mine.h5"
sha256 = "{DIGEST}"

# How it works:
[method]
title = "Mine"

"""


def card(text: str) -> SubmissionCard:
    return SubmissionCard.model_validate(card_content(text))


def test_a_table_is_added_and_replaced_and_nothing_else_moves() -> None:
    first = with_table(TEXT, card(TEXT).model_copy(update={"verified": VERIFIED}), "verified")
    assert first.startswith(TEXT + "[verified]\n")
    assert card(first).verified == VERIFIED
    again = VERIFIED.model_copy(update={"level": "re-described", "images": 7})
    second = with_table(first, card(TEXT).model_copy(update={"verified": again}), "verified")
    assert second.startswith(TEXT + "[verified]\n")
    assert card(second).verified == again
    files = Files(name="mine.h5", sha256=DIGEST, url="https://example.org/mine.h5")
    third = with_table(second, card(second).model_copy(update={"descriptors": files}), "descriptors")
    assert third.splitlines()[:6] == [*TEXT.splitlines()[:5], "[descriptors]"]
    assert "\n\n# How it works:\n[method]\n" in third
    assert (card(third).descriptors, card(third).verified) == (files, again)


@pytest.mark.parametrize(
    "table",
    [
        f'descriptors = {{name = "mine.h5", sha256 = "{DIGEST}"}}',
        f'descriptors.name = "mine.h5"\ndescriptors.sha256 = "{DIGEST}"',
        f'["descriptors"]\nname = "mine.h5"\nsha256 = "{DIGEST}"',
    ],
)
def test_other_spellings_are_written_anew(table: str) -> None:
    text = f'name = "mine"\nsplit = "ndec"\nauthors = ["A"]\nmethod.title = "[descriptors]"\n{table}\n'
    after = card(text).model_copy(update={"descriptors": Files(name="b.h5", sha256=DIGEST)})
    assert with_table(text, after, "descriptors") == write_card(after)
