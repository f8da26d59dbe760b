"""The deep world is one of single precision, which the rest of the test run is not."""

import jax
import pytest


@pytest.fixture(autouse=True)
def single_precision():
    with jax.enable_x64(False):
        yield
