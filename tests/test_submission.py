from pathlib import Path

import pytest
from pydantic import ValidationError

from ndec_bench.errors import SubmissionError
from ndec_bench.submissions.card import (
    Change,
    Declarations,
    Files,
    Method,
    SubmissionCard,
    Verified,
    card_content,
    read_card,
    sentences_of,
    with_table,
    write_card,
)

CARD = SubmissionCard(
    name="thumbnail",
    split="ndec-mini-1",
    authors=['Somebody "quoted" \\ O\'Name', "Zweite Ünïcode 名前"],
    method=Method(title="Thumbnail", paper="https://example.org/paper", code_licence="Apache-2.0"),
    declarations=Declarations(labels_used=["dev1"], background="other"),
    descriptors=Files(name="thumbnail.h5", sha256="0" * 64),
    threshold=-0.5,
    runs_of="Thumbnail",
    seed=3,
    verified=Verified(
        level="re-described", predictions_sha256="1" * 64, date="2026-11-26", images=2000, lowest_cosine=1.0
    ),
    changes=[Change(date="2026-11-25", reason="a fix", old_micro_ap=0.25, old_predictions_sha256="2" * 64)],
)


def test_a_card_reads_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "submission.toml"
    path.write_text(write_card(CARD), encoding="utf-8")
    assert read_card(path) == CARD


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('name = "thumbnail"', 'name = "Thumb nail"'), "name: String should match pattern"),
        (('title = "Thumbnail"', ""), "method.title: is missing"),
        (('title = "Thumbnail"', 'title = "a\\u0000b"'), "method.title: .*control characters"),
        (("https://example.org/paper", "javascript:alert(1)"), "method.paper: .*not an http"),
        (('background = "other"', 'background = "maybe"'), "declarations.background: Input should be 'none'"),
        (("[method]", "[method]\nsurprise = 1"), "method.surprise: is not a field of this version"),
        (("0" * 64, "12"), "descriptors.sha256: String should match pattern"),
        (("[method]", "[method"), "not TOML"),
        (('"dev1"', '"dev1", "none"'), "declarations.labels_used: .*none or unknown with other values"),
        (('"dev1"', '"dev1", "dev1"'), "declarations.labels_used: .*names a value twice"),
        (('[\n    "dev1",\n]', "[]"), "declarations.labels_used: List should have at least 1 item"),
        (('"dev1"', '"dev3"'), "declarations.labels_used.0: Input should be 'none', 'dev1'"),
        (("seed = 3", "seed = -1"), "seed: Input should be greater than or equal to 0"),
        (("threshold = -0.5", "threshold = nan"), "threshold: Input should be a finite number"),
        (('"re-described"', '"reported"'), "verified.level: Input should be 're-described' or 're-scored'"),
        (
            ("old_micro_ap = 0.25", "old_micro_ap = 25"),
            "changes.0.old_micro_ap: Input should be less than or equal to 1",
        ),
        (('"2026-11-25"', '"2026-11-31"'), "changes.0.date: .*day"),
    ],
)
def test_every_broken_field_is_named(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    path = tmp_path / "submission.toml"
    text = write_card(CARD)
    assert change[0] in text
    path.write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(SubmissionError, match=message) as caught:
        read_card(path)
    assert str(path) in str(caught.value)


def test_absent_and_oversized_cards(tmp_path: Path) -> None:
    with pytest.raises(SubmissionError, match="cannot be read"):
        read_card(tmp_path / "submission.toml")
    (tmp_path / "big.toml").write_bytes(b"#" * (1 << 21))
    with pytest.raises(SubmissionError, match="larger than 1 MiB"):
        read_card(tmp_path / "big.toml")


def test_what_is_left_out_is_unknown_and_short_forms_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "submission.toml"
    start = 'name = "x"\nsplit = "ndec"\nauthors = ["A"]\n[method]\ntitle = "X"\n'
    path.write_text(start)
    declared = read_card(path).declarations.model_dump(exclude={"details"})
    assert all(value in ("unknown", ["unknown"]) for value in declared.values())
    path.write_text(f'{start}[declarations]\nlabels_used = "dev1"\nndec_pairs = true\nexternal_data = false\n')
    declarations = read_card(path).declarations
    assert (declarations.labels_used, declarations.ndec_pairs, declarations.external_data) == (["dev1"], "yes", "no")


def test_a_sentence_in_place_of_a_choice_is_kept_and_declares_nothing() -> None:
    given = {"train_images": "DISC21 training images", "selected_on": "dev1", "details": "Frozen trunk"}
    read = Declarations.model_validate(given)
    assert read.train_images == ["unknown"]
    assert read.selected_on == ["dev1"]
    assert read.details == "Frozen trunk; train_images: DISC21 training images"
    assert sentences_of(given) == {"train_images": "DISC21 training images"}
    with pytest.raises(ValidationError, match="Input should be 'none', 'disc21-train'"):
        Declarations.model_validate({"train_images": ["DISC21 training images"]})


# One table of a card is written, the rest of the file stays as people wrote it.

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
