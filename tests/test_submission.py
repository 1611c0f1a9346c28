from pathlib import Path

import pytest

from ndec_bench.errors import SubmissionError
from ndec_bench.submission import Declarations, Files, Method, SubmissionCard, read_card, write_card

CARD = SubmissionCard(
    name="thumbnail",
    split="ndec-mini-1",
    authors=['Somebody "quoted" \\ O\'Name', "Zweite Ünïcode 名前"],
    method=Method(title="Thumbnail", paper="https://example.org/paper", code_licence="Apache-2.0"),
    declarations=Declarations(labels_used=["dev1"], background="other"),
    descriptors=Files(name="thumbnail.h5", sha256="0" * 64),
    threshold=-0.5,
)


def test_a_card_reads_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "submission.toml"
    path.write_text(write_card(CARD), encoding="utf-8")
    assert read_card(path) == CARD


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('name = "thumbnail"', 'name = "Thumb nail"'), "name: String should match pattern"),
        (('title = "Thumbnail"', ""), "method.title: Field required"),
        (('title = "Thumbnail"', 'title = "a\\u0000b"'), "method.title: .*control characters"),
        (("https://example.org/paper", "javascript:alert(1)"), "method.paper: .*no http"),
        (('background = "other"', 'background = "maybe"'), "declarations.background: Input should be 'none'"),
        (("[method]", "[method]\nsurprise = 1"), "method.surprise: Extra inputs are not permitted"),
        (("0" * 64, "12"), "descriptors.sha256: String should match pattern"),
        (("[method]", "[method"), "no TOML"),
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
