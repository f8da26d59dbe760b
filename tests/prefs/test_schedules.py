import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sobirl.core import InvalidInputError
from sobirl.prefs import SCHEDULES, hyperbolic, pairs_per_round


@given(
    total=st.integers(0, 5000),
    rounds=st.integers(1, 300),
    schedule=st.sampled_from([*SCHEDULES, functools.partial(hyperbolic, decay=50)]),
)
def test_the_sum_is_exact(total, rounds, schedule):
    counts = pairs_per_round(total, rounds, schedule)
    assert counts.shape == (rounds,)
    assert counts.sum() == total
    assert counts.min() >= 0
    assert counts.dtype.kind == "i"


def test_a_constant_rate():
    assert pairs_per_round(12, 4, "constant").tolist() == [3, 3, 3, 3]
    assert pairs_per_round(3, 6, "constant").tolist() == [1, 0, 1, 0, 1, 0]


def test_a_hyperbolic_rate():
    """Rates 1, 4/5, 4/6 and 4/7, of which the total is 319/105."""
    counts = pairs_per_round(319_000, 4)
    assert counts.tolist() == [105_000, 84_000, 70_000, 60_000]
    steeper = pairs_per_round(1000, 4, functools.partial(hyperbolic, decay=10.0))
    assert steeper[0] > 2 * steeper[1] > 2 * steeper[3]


def test_the_published_schedule():
    """9,000 pairs in 2,000 rounds, 600 of them at first; about 3,000 after 400 rounds."""
    counts = pairs_per_round(9000, 2000, "hyperbolic", initial=600)
    assert counts[0] == 600
    assert counts.sum() == 9000
    assert 2700 < counts[:400].sum() < 3000
    assert counts[1:].max() <= 7


def test_the_first_round():
    assert pairs_per_round(10, 3, "constant", initial=4).tolist() == [4, 3, 3]
    assert pairs_per_round(10, 3, "constant", initial=0).tolist() == [0, 5, 5]
    assert pairs_per_round(10, 1, initial=10).tolist() == [10]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, 3), "total: must be at least 0, got -1"),
        ((9, 0), "rounds: must be at least 1, got 0"),
        ((9, 3, "linear"), "schedule: there is no 'linear'; choose from constant, hyperbolic"),
        ((9, 3, "constant", 10), "initial: must be between 0 and the total 9, got 10"),
        ((9, 3, "constant", -1), "initial: must be between 0 and the total 9, got -1"),
        ((9, 1, "constant", 3), "initial: must be the total 9 if there is one round, got 3"),
        ((9, 3, lambda p: 0.5 - p), r"rates must be finite and >= 0, got -0.16.* at index \[2\]"),
        ((9, 3, lambda p: p * np.nan), "rates must be finite and >= 0, got nan"),
        ((9, 3, lambda p: 0 * p), "schedule: all rates are 0"),
        ((9, 3, lambda p: p[:2]), r"schedule: must return shape \(3,\), got \(2,\)"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        pairs_per_round(*arguments)
