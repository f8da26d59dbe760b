"""Every law keeps the contract."""

import numpy as np
import pytest

from laws import LAWS
from sobirl.testing import check_operator

# `test_product.py` and `test_function.py` have more of these.
DEAR = ("a fleet", "a fleet of lists", "a function of arguments", "a function of a closure")
CASES = [
    pytest.param(make, id=name, marks=pytest.mark.slow if name in DEAR else ())
    for name, make in LAWS.items()
]


@pytest.mark.parametrize("make", CASES)
def test_keeps_the_contract(make):
    check_operator(make(np.random.default_rng(0)))
