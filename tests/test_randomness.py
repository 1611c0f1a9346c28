import hashlib

import numpy as np
import pytest

from ndec_bench.randomness import Stream, key_of, mix


def test_mix_agrees_with_the_published_generator() -> None:
    # Known output: SplitMix64 seeded with 1234567 (Rosetta Code, "Pseudo-random numbers/Splitmix64").
    gamma, mask = 0x9E3779B97F4A7C15, (1 << 64) - 1
    states = np.array([(1234567 + (i + 1) * gamma) & mask for i in range(5)], dtype=np.uint64)
    assert mix(states).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


def test_stream_is_the_counter_form_of_that_generator() -> None:
    key = int.from_bytes(hashlib.sha256(b"a|1").digest()[:8], "big")
    assert key_of("a", 1) == key
    gamma, mask = 0x9E3779B97F4A7C15, (1 << 64) - 1
    states = np.array([(key + (i + 1) * gamma) & mask for i in range(4)], dtype=np.uint64)
    assert Stream("a", 1).u64(4).tolist() == mix(states).tolist()


def test_draws_do_not_depend_on_how_they_are_grouped() -> None:
    together, apart = Stream("x"), Stream("x")
    assert together.u64(7).tolist() == apart.u64(3).tolist() + apart.u64(4).tolist()


def test_children_do_not_depend_on_draws() -> None:
    drawn = Stream("x")
    drawn.u64(5)
    assert drawn.child("y").u64(2).tolist() == Stream("x", "y").u64(2).tolist()


def test_integers_stay_in_range_and_reach_both_ends() -> None:
    values = Stream("range").integers(-3, 4, 10_000)
    assert (values.min(), values.max()) == (-3, 3)
    assert abs(values.mean()) < 0.1


@pytest.mark.parametrize(("low", "high"), [(3, 3), (4, 3), (0, 2**31)])
def test_integers_refuse_an_unusable_range(low: int, high: int) -> None:
    with pytest.raises(ValueError, match="empty or wider"):
        Stream("x").integers(low, high, 1)


def test_sample_is_a_part_of_a_permutation() -> None:
    assert sorted(Stream("s").shuffled(range(20))) == list(range(20))
    assert Stream("s").sample(range(20), 5) == Stream("s").shuffled(range(20))[:5]
    with pytest.raises(ValueError, match="21 asked for, 20 there"):
        Stream("s").sample(range(20), 21)


def test_units_are_uniform_below_one() -> None:
    values = Stream("u").units(20_000)
    assert 0.0 <= values.min() < values.max() < 1.0
    assert abs(values.mean() - 0.5) < 0.01
