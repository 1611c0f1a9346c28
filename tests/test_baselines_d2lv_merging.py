"""The merging rules of D2LV on lists small enough to follow by hand, and against a slow plain version."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ndec_baselines.d2lv import merging
from ndec_baselines.d2lv.merging import WHOLE, Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    Row = tuple[int, int, int, int, float]


def _rows(*rows: Row) -> Rows:
    columns = list(zip(*rows, strict=True)) if rows else [()] * 5
    return Rows(
        np.array(columns[0], np.int32),
        np.array(columns[1], np.int16),
        np.array(columns[2], np.int32),
        np.array(columns[3], np.int16),
        np.array(columns[4], np.float64),
    )


def _listed(rows: Rows) -> list[Row]:
    columns = (rows.queries, rows.query_crops, rows.references, rows.reference_crops, rows.scores)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_two_of_three_and_all_three_lists_must_agree() -> None:
    lists = [
        _rows((0, 0, 5, WHOLE, 0.9), (0, 4, 5, WHOLE, 0.8), (1, 0, 6, WHOLE, 0.7)),
        _rows((0, 4, 5, WHOLE, 0.6), (1, 0, 6, WHOLE, 0.5)),
        _rows((1, 0, 6, WHOLE, 0.4), (0, 0, 6, WHOLE, 0.3)),
    ]
    assert sorted(row[4] for row in _listed(merging.agreed(lists, 2))) == [0.4, 0.5, 0.6, 0.7, 0.8]
    assert sorted(row[4] for row in _listed(merging.agreed(lists, 3))) == [0.4, 0.5, 0.7]


def test_crops_of_the_reference_are_other_pairs() -> None:
    lists = [_rows((0, WHOLE, 5, crop, 0.9)) for crop in (0, 1, 2)]
    assert len(merging.agreed(lists, 2)) == 0


def test_rows_that_stand_twice_stay_once() -> None:
    rows = _rows((1, 4, 2, WHOLE, 0.5), (0, 0, 2, WHOLE, 0.5), (1, 4, 2, WHOLE, 0.5), (1, 4, 2, WHOLE, 0.6))
    assert _listed(merging.without_repeats(rows)) == [
        (1, 4, 2, WHOLE, 0.5),
        (0, 0, 2, WHOLE, 0.5),
        (1, 4, 2, WHOLE, 0.6),
    ]


def test_small_query_crops_are_dropped() -> None:
    rows = _rows((0, 0, 2, WHOLE, 0.5), (0, 4, 2, WHOLE, 0.6), (1, 4, 2, WHOLE, 0.7))
    small = merging.crop_keys(np.array([0]), np.array([4]))
    assert [row[4] for row in _listed(merging.without_small(rows, small))] == [0.5, 0.7]


def test_cropped_references_become_whole_and_lose_equals() -> None:
    rows = _rows(
        (0, WHOLE, 2, 0, 0.9),
        (0, WHOLE, 2, 0, 0.9),  # the same row from another list: once
        (0, WHOLE, 2, 1, 0.8),
        (0, WHOLE, 2, 7, 0.8),  # equal to the last without its crop: both vanish
        (1, WHOLE, 2, 5, 0.6),
    )
    assert _listed(merging.of_whole_images(rows)) == [
        (0, WHOLE, 2, WHOLE, 0.9),
        (1, WHOLE, 2, WHOLE, 0.6),
    ]


def test_penalty_spares_whole_queries_and_twenty_detections() -> None:
    crops = [0, 1, 8, 10, 999, 1000, 1019, 1020, WHOLE]
    rows = merging.penalised(_rows(*((0, crop, 0, WHOLE, 0.5) for crop in crops)))
    assert rows.scores.tolist() == pytest.approx([0.5, 0.45, 0.45, 0.45, 0.45, 0.5, 0.5, 0.45, 0.45])


def test_whole_queries_against_cropped_references_are_penalised_too() -> None:
    rows = merging.of_one_size([_rows((0, 0, 0, WHOLE, 0.5))], _rows((0, WHOLE, 1, WHOLE, 0.5)))
    assert rows.scores.tolist() == [0.5, 0.45]


def test_final_score_is_the_mean_of_best_and_second() -> None:
    """Of 0.9, 0.7, 0.7, 0.5 the second is 0.5, as 0.7 stands twice: (0.9 + 0.5) / 2 = 0.7. One score alone stays."""
    rows = _rows(
        (0, 0, 0, WHOLE, 0.9),
        (0, 4, 0, WHOLE, 0.7),
        (0, 5, 0, WHOLE, 0.7),
        (0, 6, 0, WHOLE, 0.5),
        (0, 0, 1, WHOLE, 0.3),
        (1, 0, 1, WHOLE, 0.8),
        (1, 4, 1, WHOLE, 0.8),
    )
    found = merging.final([rows])
    assert [row[:4] for row in _listed(found)] == [(0, WHOLE, r, WHOLE) for r in (0, 1)] + [(1, WHOLE, 1, WHOLE)]
    assert found.scores.tolist() == pytest.approx([0.7, 0.3, 0.8])


def test_rows_that_all_sizes_share_count_once() -> None:
    shared = _rows((0, WHOLE, 0, WHOLE, 0.6))
    own = [_rows((0, 0, 0, WHOLE, score)) for score in (0.9, 0.8, 0.1)]
    found = merging.final([merging.joined([shared, rows]) for rows in own])
    assert found.scores.tolist() == pytest.approx([0.85])
    assert merging.final([shared, shared, shared]).scores.tolist() == [0.6]


def _plainly(sizes: Sequence[Sequence[Row]]) -> dict[tuple[int, int], float]:
    """Return the final scores by Python's sets and counters."""
    scores: dict[tuple[int, int], list[float]] = defaultdict(list)
    for query, _, reference, _, score in {row for rows in sizes for row in rows}:
        scores[query, reference].append(score)
    merged = {}
    for pair, values in scores.items():
        best = max(values)
        others = [value for value, times in Counter(values).items() if times == 1 and value != best]
        merged[pair] = (best + max(others)) / 2 if others else best
    return merged


@pytest.mark.parametrize("seed", range(20))
def test_final_scores_equal_the_plain_version(seed: int) -> None:
    random = np.random.default_rng(seed)
    sizes = [
        [
            (q, c, r, WHOLE, s)
            for q, c, r, s in zip(
                random.integers(0, 4, 60).tolist(),
                random.choice([0, 1, 4, 1000], 60).tolist(),
                random.integers(0, 3, 60).tolist(),
                (random.integers(-8, 8, 60) / 8).tolist(),  # equal scores are many, negative ones too
                strict=True,
            )
        ]
        for _ in range(3)
    ]
    found = merging.final([_rows(*rows) for rows in sizes])
    assert {(q, r): s for q, _, r, _, s in _listed(found)} == _plainly(sizes)
    backwards = merging.final([_rows(*rows[::-1]) for rows in sizes[::-1]])
    assert _listed(backwards) == _listed(found)


def test_keys_of_the_largest_numbers_differ() -> None:
    images = [0, 1, merging.MAX_IMAGES - 1]
    crops = [WHOLE, 0, merging.MAX_CROPS - 1]
    rows = _rows(*((q, c, r, d, 0.0) for q in images for c in crops for r in images for d in crops))
    assert len(set(rows.of_crops().tolist())) == 81


def test_empty_lists_give_no_pair() -> None:
    nothing = _rows()
    assert len(merging.agreed([nothing] * 3, 2)) == 0
    assert len(merging.final([merging.of_one_size([nothing], None)])) == 0
