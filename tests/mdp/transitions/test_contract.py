"""Every law keeps the contract."""

import numpy as np
import pytest

from laws import LAWS
from sobirl.testing import check_operator


@pytest.mark.parametrize("make", LAWS.values(), ids=LAWS.keys())
def test_keeps_the_contract(make):
    check_operator(make(np.random.default_rng(0)))
