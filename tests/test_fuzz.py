"""A few damaged files for every reader in each run of the tests; ``tox -e fuzz`` tries many."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fuzz

if TYPE_CHECKING:
    from random import Random


@pytest.mark.parametrize("reader", fuzz.READERS)
def test_valid_files_are_read(tmp_path: Path, reader: str) -> None:
    assert fuzz.seeds(reader)
    for number, content in enumerate(fuzz.seeds(reader)):
        path = tmp_path / f"{number}{fuzz.READERS[reader].suffix}"
        path.write_bytes(content)
        fuzz.READERS[reader].read(path)


@pytest.mark.parametrize("reader", fuzz.READERS)
def test_a_damaged_file_is_read_or_refused_in_our_words(reader: str) -> None:
    @settings(max_examples=50)
    @given(st.randoms())
    def check(chance: Random) -> None:
        path.write_bytes(fuzz.mutated(reader, chance))
        assert fuzz.fault_of(reader, path) is None

    with TemporaryDirectory() as folder:
        path = Path(folder) / f"damaged{fuzz.READERS[reader].suffix}"
        check()
