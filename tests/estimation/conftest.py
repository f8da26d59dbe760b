"""A panel of machines and the estimate from it, which many tests read."""

import pytest

from machines import TRUTH, known, machines


@pytest.fixture(scope="session")
def panel():
    return known().simulate(TRUTH, units=60, periods=30, seed=1)


@pytest.fixture(scope="session")
def result(panel):
    return machines().fit(panel)
