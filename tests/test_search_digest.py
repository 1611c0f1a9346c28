"""One digest for one submission, whatever the threads, blocks, orders and libraries: tests/bench/same_digest.py."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

# Found by adding up, in float64 and component by component, the squared differences of all pairs, outside this package.
DIGESTS = {
    "planted duplicates": "b3dd2f28a609d3b51b47f812d523cf6219b5d131e9c963fe886b8d0df6c5d939",
    "positive features": "af3f4ee15db5697927ab2f8f66a1f9be888a81a45b866831c50f9fddf4c451dc",
    "±1 bits": "9df46764750ff6063e904b5c3d36eda2f9ea602d4f064b8b9977990b5edce119",
}
QUERIES, REFERENCES = 400, 3_000


@pytest.fixture(scope="module")
def demonstration() -> ModuleType:
    path = Path(__file__).parent / "bench" / "same_digest.py"
    spec = importlib.util.spec_from_file_location("same_digest", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["same_digest"] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", DIGESTS)
def test_six_variants_give_the_digest_of_record(demonstration: ModuleType, name: str) -> None:
    made = demonstration.SUBMISSIONS[name](QUERIES, REFERENCES)
    rows = list(demonstration.our_rows(made))
    assert len(rows) == 6
    assert {row.name: row.digest for row in rows} == dict.fromkeys((row.name for row in rows), DIGESTS[name])


@pytest.mark.parametrize("name", ["positive features", "±1 bits"])
def test_a_plain_float32_product_gives_several(demonstration: ModuleType, name: str) -> None:
    """The data is hard enough to tell: there, a plain product changes its list with batch size, threads or order."""
    made = demonstration.SUBMISSIONS[name](QUERIES, REFERENCES)
    rows = list(demonstration.plain_rows(made, demonstration.plain_product))
    assert len({row.digest for row in rows}) > 1
    assert len({row.pairs for row in rows}) > 1


def test_faiss_alone_gives_several_where_references_tie(demonstration: ModuleType) -> None:
    made = demonstration.SUBMISSIONS["±1 bits"](QUERIES, REFERENCES)
    rows = list(demonstration.plain_rows(made, demonstration.plain_faiss))
    assert len({row.pairs for row in rows}) > 1


@pytest.mark.parametrize("name", ["planted duplicates", "±1 bits"])
def test_ties_stand_on_both_sides_of_the_cut(demonstration: ModuleType, name: str) -> None:
    inside, outside = demonstration.tied_at_the_cut(demonstration.SUBMISSIONS[name](QUERIES, REFERENCES))
    assert min(inside, outside) >= (500 if name == "±1 bits" else 1)
