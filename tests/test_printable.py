"""Text from outside on its way to a terminal."""

from pathlib import Path

import pytest

from ndec_bench.errors import DataError, SubmissionError, os_errors
from ndec_bench.printable import MAX_ID, escaped, one_line, wrong_ids, wrong_with_id


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\x1b[2Jb", "a [2Jb"),
        ("a\r\n\tb", "a b"),
        ("right\u202eleft", "right left"),
        ("no\ud800text", "no text"),
        ("", ""),
    ],
)
def test_text_from_outside_stays_on_one_line(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_long_text_is_cut_with_a_mark() -> None:
    assert one_line("x" * 10, 4) == "xxx…"
    assert one_line("xxxx", 4) == "xxxx"


def test_names_keep_every_character_as_an_escape() -> None:
    assert escaped("a\nb\u202e") == '"a\\nb\\u202e"'
    assert escaped("x" * 200) == '"' + "x" * 117 + '..."'


@pytest.mark.parametrize(
    ("identifier", "wrong"),
    [
        ("Q25000", None),
        ("x" * MAX_ID, None),
        ("", "is empty"),
        ("x" * (MAX_ID + 1), "is longer than 256 characters"),
        ("Q\x00", "has characters that cannot be printed"),
        ("Screenshot at 3.14.15\u202fPM", None),
        ("two words", None),
        ("\u5199\u771f\u30001", None),
        (" Q1", "has white space at its ends"),
        ("Q1\u3000", "has white space at its ends"),
        ("Q\udce9", "has characters that cannot be printed"),
        ("Q\n1", "has characters that cannot be printed"),
        ("Q\u202e", "has characters that cannot be printed"),
    ],
)
def test_what_is_wrong_with_an_id_is_said(identifier: str, wrong: str | None) -> None:
    assert wrong_with_id(identifier) == wrong
    assert wrong_ids(["Q1", identifier]) == ([] if wrong is None else [1])


def test_an_error_of_the_system_names_place_reason_and_next_step(tmp_path: Path) -> None:
    expected = r"^a\.h5: cannot be read \(No such file or directory\); check the path and its permissions$"
    with pytest.raises(SubmissionError, match=expected), os_errors("a.h5: cannot be read", SubmissionError):
        (tmp_path / "a.h5").read_bytes()
    with pytest.raises(DataError, match=r"^b: no room \(odd\); free disk space$"):
        _fail()


@os_errors("b: no room", hint="free disk space")
def _fail() -> None:
    raise OSError("odd")
