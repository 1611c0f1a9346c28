"""What ranks: every declaration by itself on every split, as docs/submit.md says, and nothing gained by silence."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ndec_bench.data.known import KNOWN
from ndec_bench.scoring.score import Options, score_descriptors
from ndec_bench.submissions.card import Declarations, Method, SubmissionCard, Verified
from ndec_bench.submissions.policy import (
    LEVELS,
    OWN_LABELS,
    RANKING,
    declared_values,
    level_of,
    never_ranks,
    why_unranked,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ndec_bench.data.split import Split
    from ndec_bench.descriptors import Submission
    from ndec_bench.results.record import Result

SPLITS = ["ndec", "disc21-dev1", "disc21-dev", "disc21-dev2", "disc21-final", "ndec-mini-1"]
HONEST = {
    "labels_used": ["none"],
    "train_images": ["none"],
    "reference_images_in_training": "none",
    "ndec_pairs": "no",
    "background": "none",
    "external_data": "no",
    "query_independent": "yes",
    "selected_on": ["none"],
}
LISTS = ("labels_used", "train_images", "selected_on")

# What is against a value: on the splits named, everywhere (True), or nowhere (not in the table).
AGAINST: dict[tuple[str, str], bool | set[str]] = {
    ("labels_used", "ndec"): True,
    ("labels_used", "dev2"): True,
    ("labels_used", "hand"): True,
    ("labels_used", "dev1"): {"disc21-dev1", "disc21-dev"},
    ("labels_used", "final"): {"disc21-final"},
    ("selected_on", "ndec"): True,
    ("selected_on", "dev2"): True,
    ("selected_on", "dev1"): {"disc21-dev1", "disc21-dev"},
    ("selected_on", "final"): {"disc21-final"},
    ("train_images", "ndec-queries"): True,
    ("query_independent", "no"): True,
}


def choices(name: str) -> tuple[str, ...]:
    found = get_args(Declarations.model_fields[name].annotation)
    return get_args(found[0]) if name in LISTS else found


ALL = [(name, value) for name in HONEST for value in choices(name)]


@pytest.fixture
def result(make_submission: Callable[..., tuple[Submission, Split]]) -> Result:
    submission, split = make_submission()
    return score_descriptors(submission, split, options=Options(name="mine", replicates=0))


def card(result: Result, *, verified: bool = True, **declared: object) -> SubmissionCard:
    return SubmissionCard(
        name="mine",
        split=result.split,
        authors=["A"],
        method=Method(title="Mine"),
        declarations=Declarations.model_validate({**HONEST, **declared}),
        verified=Verified(level="re-scored", predictions_sha256=result.predictions_sha256) if verified else None,
    )


def test_the_table_knows_every_split_and_choice() -> None:
    assert set(KNOWN) == set(OWN_LABELS) == set(SPLITS) - {"ndec-mini-1"}
    assert set(AGAINST) <= set(ALL)
    assert set(HONEST) == set(declared_values(None))


@pytest.mark.parametrize(("split", "declared"), list(product(SPLITS, ALL)))
def test_one_declaration_decides(result: Result, split: str, declared: tuple[str, str]) -> None:
    name, value = declared
    against = AGAINST.get(declared, False)
    refused = against if isinstance(against, bool) else split in against
    on_split = result.model_copy(update={"split": split})
    told = card(on_split, **{name: [value] if name in LISTS else value})
    assert bool(never_ranks(on_split, told)) == refused
    reasons = why_unranked(on_split, told)
    assert bool(reasons) == (refused or value == "unknown")
    if value == "unknown":
        assert reasons == [f"not declared: {name}"]
    assert bool(why_unranked(on_split, told, private=True)) == refused


def every_declaration() -> st.SearchStrategy[dict[str, object]]:
    def several(name: str) -> st.SearchStrategy[list[str]]:
        real = [value for value in choices(name) if value not in ("none", "unknown")]
        alone = st.sampled_from([["none"], ["unknown"]])
        return alone | st.lists(st.sampled_from(real), min_size=1, unique=True)

    return st.fixed_dictionaries(
        {name: several(name) if name in LISTS else st.sampled_from(choices(name)) for name in HONEST}
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(declared=every_declaration(), split=st.sampled_from(SPLITS), silent=st.sets(st.sampled_from(sorted(HONEST))))
def test_silence_never_ranks_what_speech_does_not(
    result: Result, declared: dict[str, object], split: str, silent: set[str]
) -> None:
    on_split = result.model_copy(update={"split": split})
    kept = {name: value for name, value in declared.items() if name not in silent}
    quiet = card(on_split).model_copy(update={"declarations": Declarations.model_validate(kept)})
    if not why_unranked(on_split, quiet):
        assert not silent
        assert not why_unranked(on_split, card(on_split, **declared))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"partial": True}, "references missing"),
        ({"truncated": True}, "list cut"),
        ({"query_independent": False}, "sees other queries"),
    ],
)
def test_what_the_result_says_counts_against_every_card(result: Result, change: dict[str, bool], reason: str) -> None:
    changed = result.model_copy(update=change)
    assert why_unranked(changed, card(changed)) == [reason]
    assert why_unranked(changed, None, private=True) == [reason]


def test_levels_hold_for_one_list(result: Result) -> None:
    assert why_unranked(result, None) == ["no card"]
    assert why_unranked(result, card(result, verified=False)) == ["not verified"]
    assert level_of(result, card(result)) == "re-scored"
    other = result.model_copy(update={"predictions_sha256": "0" * 64})
    assert level_of(other, card(result)) == "reported"
    assert why_unranked(other, card(result)) == ["not verified"]
    assert set(LEVELS) - RANKING == {"reported", "quoted"}


def test_the_page_names_every_choice() -> None:
    page = (Path(__file__).parents[1] / "docs" / "submit.md").read_text(encoding="utf-8")
    for name in HONEST:
        (row,) = re.findall(rf"^\| `{name}`[^|]*\|([^|]*)\|", page, re.MULTILINE)
        assert sorted(re.findall(r"`([^`]+)`", row)) == sorted(choices(name))
